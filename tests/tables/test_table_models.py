"""TableClassifier and TableRegressor: what they take, what they answer, what a file keeps, and how they fit in."""

import copy
import pickle

import numpy as np
import pytest

import fastnn
from fastnn.storage.model_file import FormatError, read_model, write_model
from fastnn.tables import file, model
from fastnn.tables.defaults import settings_for
from fastnn.tables.given import table_of
from fastnn.tables.task import brought_near

pytestmark = pytest.mark.any_isa
QUICK = {"members": 2, "hidden": [8], "epochs": 5}


DAYS = np.arange("2020-01-01", "2020-01-31", dtype="datetime64[D]")


def table(rows=60, seed=0):
    """A dict of columns: y is 5 for green, and a little of the size; every seventh size is a gap."""
    rng = np.random.default_rng(seed)
    size = rng.uniform(1, 9, rows).round(2)
    colour = [["red", "green", "blue"][number % 3] for number in range(rows)]
    y = [5.0 * (name == "green") + 0.1 * float(each) for name, each in zip(colour, size, strict=True)]
    sizes = [None if number % 7 == 0 else float(each) for number, each in enumerate(size)]
    return {"size": sizes, "colour": colour, "y": y, "kind": ["good" if value > 2 else "bad" for value in y]}


def without(columns, *names):
    return {name: values for name, values in columns.items() if name not in names}


@pytest.fixture(scope="module")
def regressor():
    return fastnn.TableRegressor(members=2, epochs=150).fit(without(table(), "kind"), "y")


@pytest.fixture(scope="module")
def classifier():
    return fastnn.TableClassifier(members=2, epochs=60).fit(without(table(), "y"), "kind")


def test_numbers_are_learned(regressor):
    other = without(table(seed=1), "kind")
    assert regressor.score(other) > 0.9
    answers = regressor.predict(without(other, "y"))
    assert answers.shape == (60,) and answers.dtype == np.float64
    assert 1 - np.square(answers - other["y"]).sum() / np.square(other["y"] - np.mean(other["y"])).sum() == (
        pytest.approx(regressor.score(other)))


def test_defaults_follow_the_rows_and_the_kind_of_target():
    classes, numbers = settings_for(1000, 8, classes=True), settings_for(1000, 8, classes=False)
    assert (classes.activation, numbers.activation) == ("relu", "gelu")
    assert numbers.learning_rate > classes.learning_rate
    assert settings_for(100_000, 8, classes=True).epochs < classes.epochs < numbers.epochs
    assert settings_for(1000, 1, classes=True).epochs > classes.epochs
    for kind, target, used in ((fastnn.TableClassifier, "kind", classes), (fastnn.TableRegressor, "y", numbers)):
        columns = without(table(rows=30), {"kind": "y", "y": "kind"}[target])
        settings = kind(members=2).fit(columns, target).report_.settings
        assert settings["activation"] == used.activation and settings["epochs"] == str(used.epochs)


def test_a_number_that_is_wrong_by_many_zeros_hides_no_other():
    columns = without(table(rows=200), "kind")
    right = list(columns["y"])
    columns["y"][17], columns["y"][40] = 1e11, -5e8
    model = fastnn.TableRegressor(members=2, epochs=60).fit(columns, "y")
    assert model.report_.said[0].startswith("y: 2 of 200 numbers lie far from the others: 100000000000")
    assert " in row 17, learned as 63.6" in model.report_.said[0] and "; -500000000 in row 40" in model.report_.said[0]
    others = [row for row in range(200) if row not in (17, 40)]
    answers = model.predict(without(columns, "y"))[others]
    assert np.mean(np.abs(answers - np.array(right)[others])) < 2      # the others are 0.1 to 5.9, the unit was 7e9
    assert model.report_.scores["rmse"] > 1e9                           # what is true is scored, whatever is learned


def test_only_numbers_far_from_all_others_are_brought_near():
    rng = np.random.default_rng(0)
    skewed, zeros = np.exp(1.5 * rng.normal(size=5000)), (rng.random(1000) < 0.005) * 1e6
    for y in (skewed, zeros, rng.normal(size=20), np.array([1e308, -1e308] * 20)):
        np.testing.assert_array_equal(brought_near(y), y)
    y = np.append(np.arange(50.0), [9e9, -9e9])
    np.testing.assert_array_equal(brought_near(y), np.append(np.arange(50.0), [539, -490]))


def test_classes_are_learned(classifier):
    other = without(table(seed=1), "y")
    assert list(classifier.classes_) == ["bad", "good"]
    assert classifier.score(other) == 1
    probabilities = classifier.predict_proba(other)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert list(classifier.predict(other)) == other["kind"]
    assert list(classifier.classes_[probabilities.argmax(axis=1)]) == other["kind"]


def test_the_answer_is_the_mean_over_members(classifier, regressor):
    columns = classifier.recipe_.columns(table_of(table()))
    X = classifier.recipe_.encoding.apply(columns)
    mean = np.mean([network.predict(X).astype(np.float64) for network in classifier.networks_], axis=0)
    np.testing.assert_allclose(classifier.predict_proba(table()), mean, rtol=1e-12)
    X = regressor.recipe_.encoding.apply(regressor.recipe_.columns(table_of(table())))
    mean = np.mean([network.predict(X).astype(np.float64)[:, 0] for network in regressor.networks_], axis=0)
    np.testing.assert_allclose(regressor.predict(table()), regressor.recipe_.mean + regressor.recipe_.scale * mean,
                               rtol=1e-12)


def test_many_rows_are_answered_block_by_block(classifier, monkeypatch):
    whole = classifier.predict_proba(table())
    monkeypatch.setattr("fastnn.tables.recipe.ROWS_AT_ONCE", 7)
    np.testing.assert_array_equal(classifier.predict_proba(table()), whole)


def test_predicting_meets_gaps_unseen_text_and_other_order(classifier):
    answers = classifier.predict_proba({"colour": ["violet", None, "green"], "size": [None, float("nan"), 3.0]})
    assert np.isfinite(answers).all() and answers[2, 1] > 0.9


def test_a_missing_column_is_named(classifier):
    with pytest.raises(ValueError, match="no column 'size', which the model needs; it has 'colour'"):
        classifier.predict({"colour": ["red"]})


@pytest.mark.parametrize("labels, meant", [
    ([0, 1], [0, 1]), ([False, True], [False, True]), (["b", "a"], ["b", "a"]), (["10", "9"], ["10", "9"]),
    ([1.0, 2.0], [1, 2]), ([0.5, 1.5], [0.5, 1.5]), (["1", "one"], ["1", "one"]), (["007", "7"], ["007", "7"]),
    (["True", "False"], ["True", "False"]), (["NA", "x"], ["NA", "x"]),
    ([2**60, 2**60 + 1], [str(2**60), str(2**60 + 1)]),
    (np.array(["1", "2"]), ["1", "2"]), (np.array(["1", "2"], object), ["1", "2"]),
])
def test_labels_come_back_as_they_are_meant(labels, meant):
    X = {"x": [number // 2 for number in range(40)]}
    labels = list(labels) * 20 if isinstance(labels, list) else np.tile(labels, 20)
    trained = fastnn.TableClassifier(**QUICK).fit(X, labels)
    assert trained.classes_.tolist() == sorted(meant)
    assert {type(label) for label in trained.classes_.tolist()} == {type(label) for label in meant}
    right = [answer == label for answer, label in zip(trained.predict(X).tolist(), meant * 20, strict=True)]
    assert trained.score(X, labels) == np.mean(right)


def test_labels_of_a_named_column_are_numbers_where_they_are_written_so(tmp_path):
    X = {"x": [number // 2 for number in range(40)]}
    for column, classes in ((["10", "9"], [9, 10]), (["True", "False"], [False, True]), (["a", "NA"], ["NA", "a"])):
        (tmp_path / "t.csv").write_text("x,t\n" + "".join(map("{},{}\n".format, X["x"], column * 20)))
        for source in ({**X, "t": column * 20}, tmp_path / "t.csv"):
            trained = fastnn.TableClassifier(**QUICK).fit(source, "t")
            assert trained.classes_.tolist() == classes and type(trained.classes_.tolist()[0]) is type(classes[0])
            assert trained.score(source) > 0.2


def test_a_target_may_stand_beside_the_table():
    columns = without(table(), "kind", "y")
    beside = fastnn.TableRegressor(**QUICK).fit(columns, table()["y"])
    within = fastnn.TableRegressor(**QUICK).fit({**columns, "y": table()["y"]}, "y")
    np.testing.assert_array_equal(beside.predict(columns), within.predict(columns))
    named = fastnn.TableRegressor(**QUICK).fit({"y": columns["size"], "colour": columns["colour"]}, table()["y"])
    assert list(named.recipe_.readings) == ["y", "colour"]


@pytest.mark.parametrize("arguments, message", [
    ({"members": 0}, "members is 0, but must be at least 1"), ({"members": 31}, "31 members need 62"),
    ({"epochs": 0}, "epochs is 0"), ({"hidden": [0]}, "hidden is 0"), ({"hidden": 8}, "hidden is 8"),
    ({"seed": -1}, "seed is -1"), ({"time_budget": 0}, "time_budget is 0"), ({"drop": "size"}, "drop is 'size'"),
    ({"missing": [-1]}, "missing holds -1"), ({"kinds": {"size": "big"}}, "said to be 'big'"),
    ({"drop": ["nothing"]}, "no column 'nothing'"), ({"progress": "no"}, "progress is 'no'"),
])
def test_arguments_are_checked_before_anything_is_learned(arguments, message):
    learner = fastnn.TableRegressor(**arguments)
    with pytest.raises((TypeError, ValueError), match=message):
        learner.fit(without(table(), "kind"), "y")
    assert not hasattr(learner, "recipe_")


@pytest.mark.parametrize("word, here", [
    ("n_estimators", "members"), ("random_state", "seed"), ("hidden_layer_sizes", "hidden"),
    ("cat_features", "kinds"), ("na_values", "missing"), ("max_iter", "epochs")])
def test_an_unknown_argument_is_answered(word, here):
    with pytest.raises(TypeError, match=rf"^TableClassifier\(\) got .* '{word}'; here it is called {here}"):
        fastnn.TableClassifier(**{word: 3})


@pytest.mark.parametrize("X, y, message", [
    (table(10), "y", "has 10 rows to learn from, but at least 20"), (table(), "z", "has no column 'z'"),
    (table(), [1, 2], "y has 2 rows, but X has 60"), (table(), None, "y is None"),
    (without(table(), "y"), "kind", "must be a finite number"),
    ({"x": range(30), "y": [1.5] * 30}, "y", "'y' is 1.5 in each row: nothing is to be learned; add"),
    ({"x": [1, 2, 3] * 10, "y": DAYS}, "y", "column 'y' holds dates, but must hold numbers; make it the days"),
    ({"x": [1], "y": [2]}, "y", "has 1 row to learn from, but at least 20"), (table(), np.ones((60, 2)), "y has shape"),
])
def test_what_cannot_be_learned_is_refused(X, y, message):
    with pytest.raises((TypeError, ValueError), match=message):
        fastnn.TableRegressor(**QUICK).fit(X, y)


def test_a_refused_fit_leaves_the_model_as_it_was(classifier):
    before = copy.deepcopy(classifier)
    with pytest.raises(ValueError, match="no column"):
        before.fit(table(), "nothing")
    np.testing.assert_array_equal(before.predict_proba(table()), classifier.predict_proba(table()))


def test_nothing_is_predicted_before_anything_is_learned():
    for call in ("predict", "predict_proba", "score", "explain", "save"):
        with pytest.raises(ValueError, match="call fit first"):
            getattr(fastnn.TableClassifier(), call)(table())


@pytest.mark.parametrize("kind, target", [(fastnn.TableClassifier, "kind"), (fastnn.TableRegressor, "y")])
def test_a_model_is_saved_and_loaded(kind, target, tmp_path):
    columns = without(table(), {"kind": "y", "y": "kind"}[target])
    trained = kind(**QUICK).fit(columns, target)
    trained.save(tmp_path / "m")
    again = kind.load(tmp_path / "m")
    np.testing.assert_array_equal(again.answers(columns), trained.answers(columns))
    assert again.report_.as_metadata() == trained.report_.as_metadata() and again.explain() == trained.explain()
    again.save(tmp_path / "n")
    assert (tmp_path / "m").read_bytes() == (tmp_path / "n").read_bytes()
    other = {fastnn.TableClassifier: fastnn.TableRegressor, fastnn.TableRegressor: fastnn.TableClassifier}[kind]
    with pytest.raises(FormatError, match=f"load it with fastnn.{kind.__name__}.load"):
        other.load(tmp_path / "m")
    with pytest.raises(FormatError, match=r"fastnn\.TableClassifier\.load"):
        fastnn.load(tmp_path / "m")


def test_a_network_is_no_table_model(tmp_path):
    fastnn.Network([1, 1]).save(tmp_path / "m")
    with pytest.raises(FormatError, match=r"load it with fastnn\.load"):
        fastnn.TableRegressor.load(tmp_path / "m")


def test_the_file_is_clear_text_and_arrays(classifier, tmp_path):
    classifier.save(tmp_path / "m")
    description, tensors = read_model(tmp_path / "m")
    assert description["table_model"]["recipe"]["target"] == "kind"
    assert b'"categories"' in (tmp_path / "m").read_bytes().replace(b"\\", b"")
    assert description["table_model"]["activations"] == ["relu", "relu", "softmax"]
    assert tensors["weights.0"].shape == (2, *classifier.networks_[0].weights[0].shape)


CHANGES = [
    lambda plain: plain["recipe"].pop("target"), lambda plain: plain["recipe"].update(target=3),
    lambda plain: plain["recipe"].update(classes=["bad"]), lambda plain: plain["recipe"].update(classes=["bad", None]),
    lambda plain: plain["recipe"].update(classes=["a", "b", "c"]), lambda plain: plain["recipe"].update(mean=0),
    lambda plain: plain["recipe"].update(scale="1"), lambda plain: plain["recipe"]["readings"].pop(),
    lambda plain: plain["recipe"]["encoding"]["columns"].pop(), lambda plain: plain.update(seeds=[]),
    lambda plain: plain.update(seeds=[1, 2, 3]), lambda plain: plain.update(seeds=[-1, 0]),
    lambda plain: plain.update(layer_sizes=[1, 2]), lambda plain: plain.update(layer_sizes="10"),
    lambda plain: plain["activations"].pop(), lambda plain: plain.update(activations=["relu", "relu", "identity"]),
    lambda plain: plain.update(activations=["no", "relu", "softmax"]), lambda plain: plain.update(activations=None),
    lambda plain: plain.update(report=3), lambda plain: plain.update(more=3),
    lambda plain: plain["recipe"].update(more=1),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_fastnn_did_not_write_is_refused(classifier, tmp_path, change):
    classifier.save(tmp_path / "m")
    description, tensors = read_model(tmp_path / "m")
    change(description["table_model"])
    write_model(tmp_path / "m", description, tensors)
    with pytest.raises(FormatError, match="is not a valid model"):
        fastnn.TableClassifier.load(tmp_path / "m")


@pytest.mark.parametrize("change", [
    lambda tensors: tensors.pop("biases.0"), lambda tensors: tensors.update(more=np.zeros(1)),
    lambda tensors: tensors.update({"biases.0": tensors["biases.0"][:, :1]}),
    lambda tensors: tensors.update({"biases.0": tensors["biases.0"].astype(np.float64)}),
    lambda tensors: tensors["biases.0"].__setitem__((0, 0), np.nan),
])
def test_other_arrays_are_refused(classifier, tmp_path, change):
    classifier.save(tmp_path / "m")
    description, tensors = read_model(tmp_path / "m")
    tensors = {name: array.copy() for name, array in tensors.items()}
    change(tensors)
    write_model(tmp_path / "m", description, tensors)
    with pytest.raises(FormatError, match="is not a valid model"):
        fastnn.TableClassifier.load(tmp_path / "m")


def test_what_no_file_would_hold_is_refused_before_training(monkeypatch):
    monkeypatch.setattr(model, "train", None)
    names = {f"{number} {'x' * 1000}": [1, 2, 3, 5] * 10 for number in range(1200)}
    with pytest.raises(ValueError, match="bytes, but must fit in"):
        fastnn.TableRegressor(**QUICK).fit(names, [1.5, 2.5] * 20)


def test_a_report_fits_into_the_room_that_is_kept_for_it(classifier):
    assert len(str(classifier.report_.as_metadata())) < file.SPARE


def test_pickles_and_copies_answer_the_same(classifier):
    for again in (copy.deepcopy(classifier), pickle.loads(pickle.dumps(classifier))):
        np.testing.assert_array_equal(again.predict_proba(table()), classifier.predict_proba(table()))


def test_the_important_column_is_named(classifier):
    assert next(iter(classifier.explain())) == "colour"
    assert next(iter(classifier.explain(without(table(seed=2), "y")))) == "colour"


def test_parameters_are_read_and_set():
    learner = fastnn.TableClassifier(4, epochs=3)
    assert repr(learner) == "TableClassifier(members=4, epochs=3)"
    assert learner.get_params()["epochs"] == 3
    assert learner.set_params(epochs=7) is learner and learner.epochs == 7
    with pytest.raises(ValueError, match="'n_members' is no parameter of TableClassifier"):
        learner.set_params(n_members=3)


def test_a_model_is_kept_where_its_report_fails(monkeypatch, tmp_path):
    def fails(*arguments):
        raise ValueError("y or predictions hold NaN")

    monkeypatch.setattr(model, "report_of", fails)
    learner = fastnn.TableRegressor(**QUICK)
    with pytest.warns(UserWarning, match="trained, but there is no report: y or predictions hold NaN"):
        learner.fit(without(table(), "kind"), "y")
    learner.save(tmp_path / "m")
    assert fastnn.TableRegressor.load(tmp_path / "m").report_ is None


def test_another_report_is_refused_as_a_file_is(classifier, tmp_path):
    classifier.save(tmp_path / "m")
    description, tensors = read_model(tmp_path / "m")
    for report in ({}, {**description["table_model"]["report"], "rows": -1}):
        description["table_model"]["report"] = report
        write_model(tmp_path / "m", description, tensors)
        for load in (fastnn.TableClassifier.load, model.opened):
            with pytest.raises(FormatError, match="m is not a valid model: the report"):
                load(tmp_path / "m")


@pytest.mark.parametrize("y, advice", [
    (DAYS, "make it the days since a day"), (np.arange(30) / 7, "learn it as a number"),
    ([f"name {row}" for row in range(30)], "group its values, or learn another column")])
def test_too_many_classes_are_refused_with_advice(y, advice):
    with pytest.raises(ValueError, match=f"30 different values in 30 rows, which are too many to be classes; {advice}"):
        fastnn.TableClassifier(**QUICK).fit({"x": [1, 2, 3] * 10}, y)


def test_a_column_that_says_the_target_is_taken_where_there_is_nothing_else():
    """As whoever passes a single column wants just that."""
    trained = fastnn.TableClassifier(**QUICK).fit({"x": [1, 2] * 20, "same": [7] * 40}, ["a", "b"] * 20)
    assert list(trained.recipe_.readings) == ["x"]
    assert trained.report_.said == ("x: number; says y again, but nothing else is there",)


def test_the_error_before_fit_is_the_one_that_scikit_learn_knows():
    exceptions = pytest.importorskip("sklearn.exceptions")
    with pytest.raises(exceptions.NotFittedError, match="learned nothing yet: call fit first"):
        fastnn.TableRegressor().predict(table())


def test_an_array_of_more_columns_is_refused():
    """They have no names: all might have moved."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=(40, 3)), np.ones(40)])
    trained = fastnn.TableRegressor(**QUICK).fit(X, X[:, 0] ** 3)
    for other in (np.ones((2, 5)), [[1.0] * 5], np.ones((2, 3))):
        with pytest.raises(ValueError, match=f"has {np.shape(other)[1]} columns, but the model learned from one of 4"):
            trained.predict(other)
    np.testing.assert_array_equal(trained.predict(X.tolist()), trained.predict(X))
    named = fastnn.TableRegressor(**QUICK).fit(np.column_stack([X, X[:, 0] ** 3]), "4")
    assert named.predict(X).shape == named.predict(np.column_stack([X, X[:, 0]])).shape == (40,)


def test_what_is_true_may_be_the_same_in_each_row_or_unknown(classifier, regressor):
    assert np.isfinite(regressor.score({"size": [3.0] * 2, "colour": ["red"] * 2}, [1.0, 1.0]))
    assert classifier.score({"size": [3.0] * 2, "colour": ["red"] * 2}, ["other", "bad"]) == 0.5
    with pytest.raises(ValueError, match="no row has a class that the model knows"):
        classifier.explain({"size": [3.0] * 2, "colour": ["red"] * 2}, ["other", "another"])
