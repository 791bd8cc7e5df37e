"""The estimators: scikit-learn's contract, its numbers, everything around an estimator, and what is new."""

import collections
import copy
import fractions
import os
import pickle
import re
import subprocess
import sys
import types
import warnings

import numpy as np
import pandas
import polars
import pytest
import scipy.sparse
import sklearn
import sklearn.neural_network
from joblib import parallel_backend
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_digits, make_multilabel_classification, make_regression
from sklearn.exceptions import ConvergenceWarning, NotFittedError, UndefinedMetricWarning
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler, scale

import fastnn.sklearn
from fastnn.sklearn import MLPClassifier, MLPRegressor

pytestmark = [pytest.mark.any_isa, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]

X, Y = load_digits(return_X_y=True)
X, Y = X[:300] / 16, Y[:300]
XR, YR = load_diabetes(return_X_y=True)
XR, YR = scale(XR)[:200], YR[:200]
SMALL = {"hidden_layer_sizes": (12,), "max_iter": 15, "random_state": 0, "learning_rate_init": 0.01}

CHECKS = """
import warnings
warnings.simplefilter("ignore")
from sklearn.utils.estimator_checks import check_estimator
from fastnn.sklearn import MLPClassifier, MLPRegressor
for kind in (MLPClassifier, MLPRegressor):
    for result in check_estimator(kind(), on_skip=None):
        print(kind.__name__, result["check_name"], result["status"])
"""

def test_every_check_of_scikit_learn_passes():
    done = subprocess.run([sys.executable, "-c", CHECKS], env=os.environ | {"SCIPY_ARRAY_API": "1"}, text=True,
                          capture_output=True)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    other = [(name, check) for name, check, status in lines if status != "passed"]
    # scikit-learn skips it itself: its MLP has no decision_function, either
    assert other == [("MLPClassifier", "check_classifiers_multilabel_output_format_decision_function")]
    assert sum(line[0] == "MLPClassifier" for line in lines) > 60
    assert sum(line[0] == "MLPRegressor" for line in lines) > 55


# The same numbers as scikit-learn's, from the same random_state.

XM, YM = make_multilabel_classification(n_samples=200, random_state=0)
XO, YO = make_regression(n_samples=200, n_targets=3, n_features=10, random_state=0)
TASKS = {
    "classes": ("MLPClassifier", X[:200], Y[:200], {}),
    "two classes": ("MLPClassifier", X[:200], Y[:200] > 4, {}),
    "labels": ("MLPClassifier", scale(XM), YM, {}),
    "number": ("MLPRegressor", XR, scale(YR), {}),
    "numbers": ("MLPRegressor", XO, scale(YO), {}),
    "counts": ("MLPRegressor", XR, np.random.default_rng(0).poisson(np.exp(0.3 * scale(YR))), {"loss": "poisson"}),
}
# Adam's epsilon stands elsewhere in scikit-learn's formula, so it is next to nothing here.
SOLVERS = {
    "sgd": ({"solver": "sgd", "learning_rate_init": 0.02}, 1e-9),
    "invscaling": ({"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.1}, 1e-9),
    "adaptive": ({"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 2, "tol": 0.01,
                  "learning_rate_init": 0.02}, 1e-9),
    "no momentum": ({"solver": "sgd", "momentum": 0, "learning_rate": "invscaling", "learning_rate_init": 0.05}, 1e-9),
    "early": ({"solver": "sgd", "early_stopping": True, "validation_fraction": 0.2, "batch_size": 160}, 1e-9),
    "adam": ({"solver": "adam", "learning_rate_init": 1e-3, "epsilon": 1e-30}, 1e-8),
    "lbfgs": ({"solver": "lbfgs", "max_iter": 8}, 1e-5),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("task", TASKS)
def test_the_same_numbers_as_scikit_learn(task, solver, weighted):
    kind, rows, targets, more = TASKS[task]
    settings, tolerance = SOLVERS[solver]
    weight = np.random.default_rng(1).uniform(0.5, 2, 200)[:len(rows)] if weighted else None
    arguments = {"hidden_layer_sizes": (12, 7), "activation": "tanh", "random_state": 3, "max_iter": 25, "alpha": 0.01,
                 "shuffle": False, "batch_size": 200 if weighted else 40, **settings, **more}
    theirs = getattr(sklearn.neural_network, kind)(**arguments).fit(rows, targets, weight)
    ours = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}[kind](**arguments).fit(rows, targets, weight)
    assert ours.n_iter_ == theirs.n_iter_ and ours.t_ == theirs.t_
    for mine, other in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=tolerance * np.abs(other).max())
    if solver == "early":
        np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_, rtol=1e-9)
        assert ours.best_validation_score_ == pytest.approx(theirs.best_validation_score_, rel=1e-9)
    # the penalty is taken at the end of an epoch here, at each of its steps there
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=2e-3)
    for name in ("n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name)


def once(**changes):
    return lambda model, classes: model.set_params(**changes).fit(X[:200], Y[:200])


def some(times=1, **changes):
    def go_on(model, classes):
        for _ in range(times):
            model.set_params(**changes).partial_fit(X[:200], Y[:200], **classes)
    return go_on


@pytest.mark.parametrize("sequence", [
    [some(5, learning_rate="invscaling")], [some(30, learning_rate="adaptive", n_iter_no_change=2, tol=0.01)],
    [once(), some(3)], [once(), once(), once(max_iter=10)], [once(), once(solver="lbfgs"), once(solver="adam")],
    [once(solver="lbfgs", tol=1e6)], [once(solver="lbfgs"), once(alpha=10, tol=1e3)],
    [once(), once(alpha=1.0, batch_size=40), once(learning_rate="invscaling", momentum=0.5)],
], ids=range(8))
def test_the_same_numbers_after_a_sequence(sequence):
    models = [library.MLPClassifier((8,), activation="tanh", solver="sgd", learning_rate_init=0.1, batch_size=50,
                                    max_iter=4, warm_start=True, shuffle=False, random_state=0, epsilon=1e-30)
              for library in (sklearn.neural_network, fastnn.sklearn)]
    for model in models:
        classes = {"classes": range(10)}
        for call in sequence:
            call(model, classes)
            classes = {}
    theirs, ours = models
    for mine, other in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-6 * np.abs(other).max())
    assert (ours.n_iter_, ours.t_) == (theirs.n_iter_, theirs.t_)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=2e-2)


def test_the_comparison_notices_a_small_difference():
    arguments = {**SMALL, "solver": "sgd", "shuffle": False}
    theirs = sklearn.neural_network.MLPClassifier(**arguments).fit(X, Y)
    ours = MLPClassifier(**{**arguments, "alpha": 0.0002}).fit(X, Y)
    assert not np.allclose(ours.coefs_[0], theirs.coefs_[0], rtol=0, atol=1e-9)


def test_the_same_parameters_and_defaults():
    for ours, theirs in ((MLPClassifier, sklearn.neural_network.MLPClassifier),
                         (MLPRegressor, sklearn.neural_network.MLPRegressor)):
        mine = ours().get_params()
        assert theirs().get_params().items() <= mine.items()
        assert ours(7).get_params() != mine


# Everything around an estimator.

def test_pipelines_searches_and_inspection():
    model = make_pipeline(StandardScaler().set_output(transform="pandas"), MLPClassifier(**SMALL))
    names = [f"pixel {i}" for i in range(64)]
    frame = pandas.DataFrame(X, columns=names)
    assert model.fit(frame, Y).score(frame, Y) > 0.9
    assert list(model[-1].feature_names_in_) == [f"pixel {i}" for i in range(64)]
    with parallel_backend("threading", n_jobs=2):
        search = GridSearchCV(MLPClassifier(**{**SMALL, "max_iter": 60}),
                              {"alpha": [1e-4, 10.0], "solver": ["adam", fastnn.AdamW(0.01)]}, cv=3).fit(X, Y)
    serial = GridSearchCV(clone(search.estimator), search.param_grid, cv=3).fit(X, Y)
    assert search.best_score_ > 0.7
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], serial.cv_results_["mean_test_score"])
    calibrated = CalibratedClassifierCV(MLPClassifier(**SMALL), cv=2).fit(X, Y)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1, rtol=1e-6)
    regressor = MLPRegressor(**SMALL, standardize=True).fit(XR, YR)
    assert permutation_importance(regressor, XR, YR, n_repeats=2, random_state=0).importances.shape == (10, 2)


def test_frames_have_names():
    columns = [f"c{i}" for i in range(10)]
    pandas_frame, polars_frame = pandas.DataFrame(XR, columns=columns), polars.DataFrame(XR, schema=columns)
    of_pandas, of_polars = MLPRegressor(**SMALL).fit(pandas_frame, YR), MLPRegressor(**SMALL).fit(polars_frame, YR)
    assert list(of_pandas.feature_names_in_) == list(of_polars.feature_names_in_) == columns
    np.testing.assert_array_equal(of_pandas.predict(pandas_frame), of_polars.predict(polars_frame))
    with pytest.raises(ValueError, match="feature names should match"):
        of_pandas.predict(pandas_frame.rename(columns={"c0": "x"}))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        of_pandas.predict(XR)


@pytest.mark.parametrize("container", [scipy.sparse.csr_array, scipy.sparse.csc_matrix])
def test_sparse_rows_give_the_same_bits(container):
    for kind, targets, rows in ((MLPClassifier, Y, X), (MLPRegressor, YR, XR)):
        dense = kind(**SMALL, early_stopping=True).fit(rows, targets)
        sparse = kind(**SMALL, early_stopping=True).fit(container(rows), targets)
        np.testing.assert_array_equal(dense.coefs_[0], sparse.coefs_[0])
        np.testing.assert_array_equal(dense.predict(rows), sparse.predict(container(rows)))


def test_sparse_rows_are_predicted_some_at_a_time(monkeypatch):
    model = MLPClassifier(**SMALL).fit(X, Y)
    monkeypatch.setattr(fastnn.sklearn.multilayer, "CHUNK_BYTES", 64 * 8 * 7)
    np.testing.assert_array_equal(model.predict_proba(scipy.sparse.csr_array(X)), model.predict_proba(X))


def test_metadata_is_routed():
    with sklearn.config_context(enable_metadata_routing=True):
        weight = np.linspace(0.1, 2, len(X))
        last = MLPClassifier(**SMALL).set_fit_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        model = make_pipeline(scaler, last).fit(X, Y, sample_weight=weight)
        alone = MLPClassifier(**SMALL).fit(StandardScaler().fit_transform(X), Y, sample_weight=weight)
        np.testing.assert_array_equal(model[-1].coefs_[0], alone.coefs_[0])


def test_callbacks_of_scikit_learn(capsys):
    monitor = ScoringMonitor(scoring="accuracy")
    model = MLPClassifier(**SMALL).set_callbacks(ProgressBar(), monitor).fit(X, Y)
    log = monitor.get_logs(select="most_recent").data
    scores = [row["accuracy"] for row in log if row["task_name"] == "epoch"]
    assert len(scores) == model.n_iter_ == 15
    assert scores[-1] == model.score(X, Y)
    assert scores[0] < scores[-1]
    with parallel_backend("threading", n_jobs=2):
        inside = ScoringMonitor(scoring="accuracy")
        make_pipeline(StandardScaler(), MLPClassifier(**SMALL).set_callbacks(inside)).fit(X, Y)
    assert len(inside.get_logs().data) >= 15


def test_a_callback_of_scikit_learn_can_stop():
    class AtFive:
        def setup(self, estimator, context): pass
        def teardown(self, estimator, context): self.torn_down = True
        def on_fit_task_begin(self, estimator, context): pass
        def on_fit_task_end(self, estimator, context): return context.task_name == "epoch" and context.task_id == 4
    callback = AtFive()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)      # it was asked to stop: that is no failure
        assert MLPClassifier(**SMALL).set_callbacks(callback).fit(X, Y).n_iter_ == 5
    assert callback.torn_down


def test_verbose_says_what_happens(capsys):
    """An iteration a line, the score of rows held out, and why it slows down or stops."""
    quick = SMALL | {"max_iter": 30, "tol": 1e3, "n_iter_no_change": 2, "verbose": True}
    model = MLPClassifier(**quick, early_stopping=True).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Iteration 1, loss = {model.loss_curve_[0]:.8f}"
    assert lines[1] == f"Validation score: {model.validation_scores_[0]:f}"
    assert lines[-1] == ("Validation score did not improve more than tol=1000.000000 for 2 consecutive epochs. "
                         "Stopping.")
    MLPClassifier(**quick, solver="sgd", learning_rate="adaptive").fit(X, Y)
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("Iteration")]
    why = "Training loss did not improve more than tol=1000.000000 for 2 consecutive epochs."
    assert lines[0] == f"{why} Setting learning rate to 0.002000"
    assert lines[-1] == f"{why} Learning rate too small. Stopping."


def test_clone_copy_and_pickle():
    model = MLPClassifier(**SMALL, solver=fastnn.SGD(fastnn.schedules.StepDecay(0.1, every=5), momentum=0.9)).fit(X, Y)
    assert not hasattr(clone(model), "coefs_")
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(twin.predict_proba(X), model.predict_proba(X))
        twin.partial_fit(X, Y)
        assert not np.array_equal(twin.coefs_[0], model.coefs_[0])
        assert twin.coefs_[0] is twin.network_.weights[0]
    assert len(pickle.dumps(model)) < 2.5 * 4 * 2 * model.network_.n_parameters + 8000     # weights and momentum, once


def test_what_a_network_is_made_of_stays():
    model = MLPClassifier(**SMALL, warm_start=True).fit(X, Y)
    for change in ({"hidden_layer_sizes": (5,)}, {"activation": "tanh"}, {"dropout": 0.5}, {"standardize": True},
                   {"dtype": "float32"}, {"loss": "focal"}):
        name, = change
        changed = copy.deepcopy(model).set_params(**change)
        with pytest.raises(ValueError, match=f"{name} is .*, but was .* when the network was built"):
            changed.fit(X, Y)
        with pytest.raises(ValueError, match=f"{name} is .*, but was .* when the network was built"):
            changed.partial_fit(X, Y)
        np.testing.assert_array_equal(changed.set_params(**{name: getattr(model, name)}).predict(X), model.predict(X))
        changed.set_params(**change, warm_start=False).fit(X, Y)
    with pytest.raises(ValueError, match=r"hidden_layer_sizes is \(5,\), but was \(12,\) when the network was built"):
        model.set_params(hidden_layer_sizes=5).fit(X, Y)
    model.set_params(hidden_layer_sizes=(12,))
    model.set_params(early_stopping=True, alpha=1.0, solver="sgd").fit(X, Y)
    assert len(model.validation_scores_) == model.n_iter_
    model.set_params(early_stopping=False).fit(X, Y)
    assert model.best_loss_ < np.inf


@pytest.mark.parametrize("spelled", [
    {"hidden_layer_sizes": [12]}, {"hidden_layer_sizes": 12}, {"hidden_layer_sizes": np.array([12])},
    {"hidden_layer_sizes": np.int64(12)}, {"activation": ["logistic"]}, {"activation": "sigmoid"}, {"dropout": [0.5]},
    {"dropout": np.float32(0.5)}, {"dtype": np.float64}, {"dtype": np.dtype("float64")}, {"dtype": None},
    {"standardize": np.True_}, {"loss": fastnn.losses.focal(2)},
], ids=str)
def test_what_a_network_is_made_of_may_be_spelled_otherwise(spelled):
    model = MLPClassifier((12,), "logistic", dropout=0.5, dtype="float64", standardize=True, loss="focal", max_iter=2,
                          warm_start=True).fit(X, Y)
    model.set_params(**spelled).fit(X, Y).partial_fit(X, Y)
    assert model.network_.epochs_trained == 5


def squares(outputs, targets):
    difference = outputs - targets
    return (difference ** 2).mean(), 2 * difference / difference.size


def test_a_loss_that_is_a_function_goes_on_in_another_process(tmp_path):
    model = MLPRegressor(squares, (5,), random_state=0).partial_fit(XR, YR)
    (tmp_path / "model").write_bytes(pickle.dumps(model))
    code = ("import pickle, sys\nfrom test_sklearn import XR, YR, squares\n"
            f"model = pickle.load(open({str(tmp_path / 'model')!r}, 'rb'))\n"
            "print(model.partial_fit(XR, YR).set_params(loss=squares).partial_fit(XR, YR).loss_)")
    done = subprocess.run([sys.executable, "-c", code], cwd=os.path.dirname(__file__), text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == model.partial_fit(XR, YR).partial_fit(XR, YR).loss_
    with pytest.raises(ValueError, match="loss is <function .*>, but was <function squares .*> when the network was"):
        model.set_params(loss=lambda outputs, targets: squares(outputs, targets)).partial_fit(XR, YR)


def test_partial_fit_is_fit():
    whole = MLPClassifier(**SMALL, tol=0).fit(X, Y)
    parts = MLPClassifier(**SMALL, tol=0)
    for _ in range(15):
        parts.partial_fit(X, Y, classes=range(10))
        parts = pickle.loads(pickle.dumps(parts))
    np.testing.assert_array_equal(parts.coefs_[0], whole.coefs_[0])


@pytest.mark.parametrize("unknown", [-1, 7, 19])        # before, among and after those that it knows
def test_partial_fit_refuses_a_class_that_it_does_not_know(unknown):
    model = MLPClassifier(**SMALL).partial_fit(X, 2 * Y, classes=range(0, 20, 2))
    before = model.network_.get_parameters()
    with pytest.raises(ValueError, match=f"has classes not in (.|\n)*{unknown}"):
        model.partial_fit(X, np.where(np.arange(len(Y)) == 5, unknown, 2 * Y))
    np.testing.assert_array_equal(model.network_.get_parameters(), before)


def test_partial_fit_after_lbfgs_takes_the_solver_that_is_set():
    model = MLPClassifier(**{**SMALL, "solver": "lbfgs"}).fit(X, Y)
    model.set_params(solver="adam", batch_size=10).partial_fit(X, Y)
    assert isinstance(model.network_.optimizer, fastnn.Adam) and model.network_.optimizer.steps == 30


def test_coefficients_can_be_set():
    model = MLPRegressor(**SMALL).fit(XR, YR)
    model.coefs_ = [np.zeros_like(w) for w in model.coefs_]
    model.intercepts_[-1] = np.array([7.0])
    np.testing.assert_array_equal(model.predict(XR), 7)
    model.intercepts_[-1][...] = 8
    np.testing.assert_array_equal(model.predict(XR), 8)
    assert pickle.loads(pickle.dumps(model)).predict(XR[:1]) == 8


def test_coefficients_of_another_shape_are_refused():
    """NumPy would repeat a single row; and nothing is taken up before all was looked at."""
    model = MLPRegressor(**SMALL).fit(XR, YR)
    for name, layer, wrong, message in (
            ("coefs_", 1, np.ones((1, 1)), "coefs_[1] has shape (1, 1), but that layer's is (12, 1)"),
            ("coefs_", 0, np.ones((1, 12)), "coefs_[0] has shape (1, 12), but that layer's is (10, 12)"),
            ("intercepts_", 0, 3.0, "intercepts_[0] has shape (), but that layer's is (12,)")):
        changed = copy.deepcopy(model)
        changed.coefs_ = [np.zeros_like(w) for w in model.coefs_]
        getattr(changed, name)[layer] = wrong
        for call, arguments in ((changed.predict, [XR]), (changed.partial_fit, [XR, YR]), (changed.to_network, [])):
            with pytest.raises(ValueError, match=re.escape(message)):
                call(*arguments)
        np.testing.assert_array_equal(changed.network_.get_parameters(), model.network_.get_parameters())
    model.coefs_ = model.coefs_[:1]
    with pytest.raises(ValueError, match="coefs_ holds 1 arrays, but the network has 2 layers"):
        model.predict(XR)


# What is new.

def test_labels_of_any_kind():
    names = np.array([f"digit {i}" for i in range(10)], dtype=object)
    model = MLPClassifier(**SMALL).fit(X, names[Y])
    assert set(model.predict(X)) <= set(names) and model.score(X, names[Y]) > 0.9
    with pytest.raises(ValueError, match=r"has classes not in (.|\n)*digit ten"):
        model.fit(X, names[Y], validation_data=(X[:1], ["digit ten"]))
    assert MLPClassifier(**SMALL).fit(X, np.full(300, "only")).predict(X[:2]).tolist() == ["only", "only"]


def test_classes_weigh():
    rare = np.where(Y == 8, "yes", "no")
    plain = MLPClassifier(**SMALL).fit(X, rare).predict_proba(X)[:, 1].mean()
    heavy = MLPClassifier(**SMALL, class_weight={"yes": 20.0}).fit(X, rare)
    balanced = MLPClassifier(**SMALL, class_weight="balanced").fit(X, rare)
    assert heavy.predict_proba(X)[:, 1].mean() > plain
    weight = np.where(rare == "yes", 150 / (Y == 8).sum(), 150 / (Y != 8).sum())
    by_hand = MLPClassifier(**SMALL).fit(X, rare, weight)
    np.testing.assert_allclose(balanced.coefs_[0], by_hand.coefs_[0])
    weight = np.random.default_rng(0).uniform(0.1, 2, 300)
    both = MLPClassifier(**SMALL, class_weight={"yes": 3.0}).fit(X, rare, weight)
    by_hand = MLPClassifier(**SMALL).fit(X, rare, weight * np.where(rare == "yes", 3, 1))
    np.testing.assert_array_equal(both.coefs_[0], by_hand.coefs_[0])
    both.partial_fit(X[rare == "no"], rare[rare == "no"])
    complete = MLPClassifier(**SMALL, class_weight={"yes": 3.0, "no": 1.0, "maybe": 9.0}).fit(X, rare, weight)
    np.testing.assert_array_equal(complete.coefs_[0], by_hand.coefs_[0])     # a fold of the rows may lack a class
    for wrong in ({"yess": 20.0}, {1: 20.0}, {"yess": 2.0, "no": 1.0}):
        message = re.escape(f"class_weight names the class {next(iter(wrong))!r}, but the classes are ['no' 'yes']")
        with pytest.raises(ValueError, match=message):
            MLPClassifier(**SMALL, class_weight=wrong).fit(X, rare)
        with pytest.raises(ValueError, match=message):
            MLPClassifier(**SMALL, class_weight=wrong).partial_fit(X, rare, classes=["no", "yes"])
    with pytest.raises(ValueError, match="class_weight is a dictionary, but y holds several labels a row"):
        MLPClassifier(**SMALL, class_weight={1: 2.0}).fit(X, np.column_stack([Y == 8, Y == 3]).astype(int))
    with pytest.raises(ValueError, match=r"classes must be passed on the first call to partial_fit\."):
        MLPClassifier(**SMALL).partial_fit(X, Y)
    with pytest.raises(ValueError, match="'balanced', which needs all rows"):
        MLPClassifier(**SMALL, class_weight="balanced").partial_fit(X, rare, classes=["no", "yes"])


def test_layers_of_their_own_dropout_and_optimizers():
    model = MLPClassifier((16, 8), ["gelu", "selu"], solver=fastnn.AdamW(0.01), dropout=[0.1, 0.0], max_iter=30,
                          random_state=0).fit(X, Y)
    assert model.network_.activations == ("gelu", "selu", "softmax") and model.network_.dropout == (0.1, 0.0)
    assert model.score(X, Y) > 0.9
    assert model.solver.network_engine is None      # the parameter itself is left as it was


@pytest.mark.parametrize("loss", ["absolute_error", "huber", "quantile", fastnn.losses.quantile(0.9)])
def test_more_losses(loss):
    model = MLPRegressor(loss, **{**SMALL, "max_iter": 300}, standardize=True).fit(XR, YR)
    above = np.mean(model.predict(XR) < YR)
    assert above < 0.25 if isinstance(loss, fastnn.losses.Loss) else 0.3 < above < 0.7


def test_validation_data_of_ones_own():
    model = MLPClassifier(**{**SMALL, "max_iter": 100}, early_stopping=True, n_iter_no_change=5)
    model.fit(X[:200], Y[:200], validation_data=(X[200:], Y[200:]))
    assert len(model.validation_loss_curve_) == len(model.validation_scores_) == model.n_iter_ < 100
    assert model.score(X[200:], Y[200:]) == max(model.validation_scores_)      # the best are kept
    weight = np.linspace(0, 2, 50)
    silent = MLPRegressor(**SMALL, standardize=True)
    silent.fit(XR[:150], YR[:150], validation_data=(XR[150:], YR[150:], weight))
    assert len(silent.validation_loss_curve_) == 15 and silent.validation_scores_ is None
    error = np.average(np.square((silent.predict(XR[150:]) - YR[150:]) / YR[:150].std()), weights=weight) / 2
    assert silent.validation_loss_curve_[-1] == pytest.approx(error, rel=1e-4)


@pytest.mark.parametrize("settings", [{}, {"early_stopping": True, "n_iter_no_change": 2, "max_iter": 200},
                                      {"standardize": True}, {"solver": "lbfgs", "standardize": True},
                                      {"standardize": True, "early_stopping": True, "learning_rate_init": 0.3}])
def test_a_checkpoint_is_the_estimator(tmp_path, settings):
    """Best parameters and scalings are inside, after every epoch and at the end, however the fit ends."""
    def check_epoch(fit):
        assert fit.model() is not fit.network
        during.append(fastnn.load(path).get_parameters())

    path, during = tmp_path / "model.safetensors", []
    Check = type("Check", (fastnn.Callback,), {"on_epoch_end": lambda self, fit: check_epoch(fit)})
    callbacks = [fastnn.CheckpointEvery(path), Check()]
    for kind, rows, targets in ((MLPClassifier, 50 * X + 7, Y), (MLPRegressor, XR * 30 - 100, YR)):
        model = kind(**SMALL | settings, dtype="float64", callbacks=callbacks).fit(rows, targets)
        saved = fastnn.load(path)
        outputs = model.predict_proba(rows) if kind is MLPClassifier else model.predict(rows)[:, None]
        np.testing.assert_allclose(saved.predict(rows), outputs, rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(saved.get_parameters(), model.to_network().get_parameters())
        assert len(during) == model.n_iter_
        during.clear()


def test_a_checkpoint_while_it_trains_holds_the_best_so_far(tmp_path):
    path, scores = tmp_path / "model.safetensors", []

    class Score(fastnn.Callback):
        def on_epoch_end(self, fit):
            scores.append(np.mean(fastnn.load(path).predict(X[200:]).argmax(axis=1) == Y[200:]))

    model = MLPClassifier(**SMALL | {"learning_rate_init": 0.1, "max_iter": 30}, early_stopping=True,
                          callbacks=[fastnn.CheckpointEvery(path), Score()])
    model.fit(X[:200], Y[:200], validation_data=(X[200:], Y[200:]))
    np.testing.assert_array_equal(scores, np.maximum.accumulate(model.validation_scores_))
    assert scores[-1] > model.validation_scores_[-1]        # the last epoch was not the best


# Numbers that float32 does not hold.

SECONDS = 1.7e9 + 10 * np.arange(100)
LINE = np.arange(100)[:, None]


@pytest.mark.parametrize("targets", [SECONDS, SECONDS.astype(int), 1e39 * np.arange(100), 1e-42 * np.arange(100),
                                     np.column_stack([SECONDS, np.arange(100)])], ids=range(5))
@pytest.mark.parametrize("dtype", [None, "float32"])
def test_predicted_numbers_keep_the_digits_of_the_targets(dtype, targets):
    """As TransformedTargetRegressor gives them, beside their deviation; in the network that leaves, too."""
    arguments = {"hidden_layer_sizes": 16, "solver": "lbfgs", "max_iter": 200, "random_state": 0}
    model = MLPRegressor(**arguments, standardize=True, dtype=dtype).fit(LINE, targets)
    assert model.network_.dtype == "float32" and model.predict(LINE).dtype == "float64"
    theirs = make_pipeline(StandardScaler(), sklearn.neural_network.MLPRegressor(**arguments))
    theirs = TransformedTargetRegressor(theirs, transformer=StandardScaler()).fit(LINE, targets)
    deviation = targets.std(axis=0)
    ours, others = (np.abs(each.predict(LINE) - targets).max(axis=0) / deviation for each in (model, theirs))
    assert (ours < 2 * others + 1e-3).all()
    assert len(set(model.predict(LINE).ravel())) == targets.size
    network = model.to_network()
    assert network.dtype == "float64"
    left = network.predict(LINE).reshape(targets.shape) - model.predict(LINE)
    assert (np.abs(left).max(axis=0) < 1e-5 * deviation).all()
    assert model.score(LINE, targets / 1e30 * 1e30) > 0.99 or deviation.max() > 1e30 or deviation.max() < 1e-30


@pytest.mark.parametrize("rows, dtype", [
    (1_700_000_000 + LINE, "float64"), ((1_700_000_000 + LINE).tolist(), "float64"),
    ((1.7e9 + LINE).tolist(), "float64"), (scipy.sparse.csr_array(1_700_000_000 + LINE), "float64"),
    (1_700_000_000 + LINE[:1], "float64"),
    (LINE.astype("u8") << 40, "float64"), ((1e37 * LINE).tolist(), "float64"), ((1e-41 * LINE).tolist(), "float64"),
    (LINE, "float32"), (LINE.tolist(), "float32"), (2**24 - LINE, "float32"), (1000 + LINE / 7, "float64"),
    ((1000 + LINE / 7).tolist(), "float32"), ((1.7e9 + 1024 * LINE).astype("float32"), "float32"),
], ids=range(14))
def test_rows_that_float32_would_not_tell_apart_make_a_float64_network(rows, dtype):
    """Where no dtype is asked for; standardised rows are near 0, and float32 holds them."""
    targets = np.arange(len(LINE))[:rows.shape[0] if hasattr(rows, "shape") else None] / 50
    for kind in (MLPClassifier, MLPRegressor):
        y = targets if kind is MLPRegressor else np.arange(len(targets)) % 2
        assert kind(max_iter=1).fit(rows, y, validation_data=(rows, y)).network_.dtype == dtype
    assert MLPRegressor(max_iter=1).partial_fit(rows, targets).network_.dtype == dtype
    if len(targets) > 1 and not (hasattr(rows, "dtype") and rows.dtype == "float64"):
        assert MLPRegressor(max_iter=1, standardize=True).fit(rows, targets).network_.dtype == "float32"


def test_targets_that_float32_would_not_tell_apart_make_a_float64_network():
    for targets in (SECONDS, SECONDS.astype(int), 1e39 * np.arange(100), np.column_stack([np.arange(100), SECONDS])):
        assert MLPRegressor(max_iter=1).fit(LINE, targets).network_.dtype == "float64"
        assert MLPRegressor(max_iter=1, standardize=True).fit(LINE, targets).network_.dtype == "float32"
    assert MLPRegressor(max_iter=1).fit(LINE, np.arange(100.0)).network_.dtype == "float32"
    assert MLPClassifier(max_iter=1).fit(LINE, SECONDS.astype(int) % 2 + 10**10).network_.dtype == "float32"


@pytest.mark.parametrize("dtype, network", [
    (">f8", "float64"), (np.longdouble, "float64"), ("<f8", "float64"), (">f4", "float32"), ("f2", "float32"),
    (">f2", "float32"), ("i1", "float32"), ("?", "float32"), (object, "float64")])
def test_the_dtype_of_any_float_decides(dtype, network):
    """float64 and wider, in either order of bytes, make float64; narrower floats float32."""
    rows = np.round(XR, 1).astype(dtype)
    containers = [lambda rows: rows, pandas.DataFrame, np.asfortranarray]
    if dtype not in (">f8", ">f4", "f2", ">f2", object):     # SciPy has no such matrices
        containers.append(scipy.sparse.csr_array)
    for container in containers:
        model = MLPRegressor(max_iter=2, random_state=0).fit(container(rows), YR)
        assert model.network_.dtype == model.predict(container(rows)).dtype == network
        plain = rows.astype(network)
        twin = MLPRegressor(max_iter=2, random_state=0).fit(plain, YR)
        np.testing.assert_array_equal(model.predict(container(rows)), twin.predict(plain))


def test_a_frame_of_categories_that_are_numbers():
    frame = pandas.DataFrame(XR.round()).astype("category")
    model, twin = (MLPRegressor(max_iter=2, random_state=0).fit(rows, YR) for rows in (frame, XR.round()))
    np.testing.assert_array_equal(model.predict(frame), twin.predict(XR.round()))


# Probabilities and their logarithms.

def exact_logarithms(z):
    """Log-softmax of float64 z in long double."""
    z = np.sort(z.astype(np.longdouble), axis=1) - z.max(axis=1, keepdims=True), z - z.max(axis=1, keepdims=True)
    return z[1] - np.log1p(np.exp(z[0][:, :-1]).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("dtype, size", [("float32", 60), ("float32", 1e4), ("float64", 500), ("float64", 1e4)])
def test_logarithms_of_probabilities_have_all_their_digits(dtype, size):
    """Of two classes, of many, and of labels: also where the probability is 0, or 1, in the network's dtype."""
    rows = np.linspace(-size, size, 401, dtype=dtype)[:, None]
    z = rows.astype(np.float64)
    for targets, exact in ((np.arange(401) % 2, np.hstack([z, np.zeros_like(z)])),
                           (np.arange(401) % 3, np.hstack([-z, z, z / 3]))):
        model = MLPClassifier((), max_iter=1, dtype=dtype).fit(rows / size, targets)
        model.coefs_ = [exact[-1:, -model.n_outputs_:] / size if model.n_outputs_ > 1 else -np.ones((1, 1))]
        model.intercepts_ = [np.zeros(model.n_outputs_)]
        found, right = model.predict_log_proba(rows), exact_logarithms(exact)
        assert found.dtype == dtype and np.isfinite(found).all()
        # z is rounded, which the logarithm of a probability near 1 multiplies by z
        tolerance = 4 * np.finfo(dtype).eps * np.where(right < -0.1, 1, size)
        assert (np.abs(found - right) <= tolerance * np.abs(right) + np.finfo(dtype).tiny).all()
        np.testing.assert_array_equal(found, model.predict_log_proba(scipy.sparse.csr_array(rows)))
        probabilities = model.predict_proba(rows)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=4 * np.finfo(dtype).eps)
        np.testing.assert_allclose(probabilities, np.exp(right).astype(np.float64), atol=np.finfo(dtype).tiny * 4,
                                   rtol=size * 4 * np.finfo(dtype).eps)
        np.testing.assert_array_equal(model.predict(rows), probabilities.argmax(axis=1))
    model = MLPClassifier((), max_iter=1, dtype=dtype).fit(rows / size, np.column_stack([targets > 0, targets > 1]))
    model.coefs_, model.intercepts_ = [np.array([[1.0, -1.0]])], [np.zeros(2)]
    found, right = model.predict_log_proba(rows), exact_logarithms(np.hstack([z, np.zeros_like(z)]))
    np.testing.assert_allclose(found[:, 0], right[:, 0].astype(np.float64), rtol=4e-7 if dtype == "float32" else 1e-15,
                               atol=np.finfo(dtype).eps)
    np.testing.assert_array_equal(found[:, 0], found[::-1, 1])


def test_two_classes_are_predicted_as_their_probabilities_say():
    """Around a probability of a half, where 1 - p and sigmoid(-z) round to different sides."""
    for dtype in ("float32", "float64"):
        z = np.finfo(dtype).eps * np.linspace(-4, 4, 2001).astype(dtype)
        rows = np.concatenate([z, np.linspace(-1e-3, 1e-3, 2001, dtype=dtype)])[:, None]
        model = MLPClassifier((), max_iter=1, dtype=dtype).fit(rows, np.arange(len(rows)) % 2)
        model.coefs_, model.intercepts_ = [np.ones((1, 1))], [np.zeros(1)]
        probabilities = model.predict_proba(rows)
        np.testing.assert_array_equal(model.predict(rows), probabilities.argmax(axis=1))
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=np.finfo(dtype).eps)
        np.testing.assert_array_equal(probabilities[:, 1:], model.to_network().predict(rows))


def test_logarithms_are_taken_some_rows_at_a_time(monkeypatch):
    for targets in (Y, Y > 4):
        model = MLPClassifier(**SMALL).fit(X, targets)
        whole = model.predict_log_proba(X), model.predict_proba(X)
        np.testing.assert_array_equal(whole[0].argmax(axis=1), whole[1].argmax(axis=1))
        np.testing.assert_allclose(np.exp(whole[0]), whole[1], rtol=1e-12)
        for module in (fastnn.sklearn.estimators, fastnn.sklearn.multilayer):
            monkeypatch.setattr(module, "CHUNK_BYTES", 86 * 8 * 7)
        np.testing.assert_array_equal(model.predict_log_proba(X), whole[0])
        np.testing.assert_array_equal(model.predict_proba(X), whole[1])
        monkeypatch.undo()
        with pytest.raises(ValueError, match=r"Found array with 0 sample\(s\)"):
            model.predict_log_proba(X[:0])


# Rows held out that say nothing, and other rows than before.

POINTS = np.linspace(-1, 1, 200)[:, None]
SLOPE = 3 * POINTS[:, 0]
QUICK = {"random_state": 0, "max_iter": 300, "learning_rate_init": 0.01, "early_stopping": True}


@pytest.mark.parametrize("rows, weight", [([7], None), ([7, 7, 7], None), ([3, 7, 190], [0, 2, 0])], ids=range(3))
@pytest.mark.parametrize("columns", [1, 2])
def test_the_loss_decides_where_the_score_says_nothing(rows, weight, columns):
    """R squared of one row, of a constant, and of rows of which one counts."""
    targets = SLOPE + 0.1 if columns == 1 else np.column_stack([SLOPE, -SLOPE])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UndefinedMetricWarning)
        for standardize in (False, True):
            model = MLPRegressor(**QUICK, standardize=standardize)
            model.fit(POINTS, targets, validation_data=(POINTS[rows], targets[rows], weight))
            assert model.score(POINTS, targets) > 0.95
            losses = np.array(model.validation_loss_curve_)
            assert len(losses) == len(model.validation_scores_) == model.n_iter_
            network = model.network_
            X_val, y_val = model._scaled(POINTS[rows]), model._scaled_targets(targets[rows])
            assert network.evaluate(X_val, y_val, sample_weight=weight) == losses.min()
            score = model.best_validation_score_
            assert np.isnan(score) if len(rows) == 1 else score in (0, 1)       # as scikit-learn scores constants


def test_the_loss_decides_where_all_rows_are_of_one_class():
    """The first epoch has all of them right, and would be the best for ever."""
    rows = np.random.default_rng(0).normal(size=(400, 2))
    classes = (rows[:, 0] > 0.3).astype(int)
    for held_out, weight in (([rows[:, 0].argmin()], None), (np.argsort(rows[:, 0])[:9], None),
                             (np.argsort(rows[:, 0])[[0, -1]], [1, 0])):
        for kind in (np.int64, bool, str):
            model = MLPClassifier(**QUICK).fit(rows, classes.astype(kind), X_val=rows[held_out],
                                               y_val=classes.astype(kind)[held_out], sample_weight_val=weight)
            assert set(model.validation_scores_) == {1} and model.n_iter_ > 15
            assert model.score(rows, classes.astype(kind)) > 0.97


@pytest.mark.parametrize("dtype", ["u1", "?", "f4", object])
def test_early_stopping_by_targets_of_any_dtype(dtype):
    """Differences of unsigned numbers and of booleans are no numbers."""
    targets = (POINTS[:, 0] > 0).astype(dtype)
    model, twin = (MLPRegressor(**QUICK).fit(POINTS, each) for each in (targets, targets.astype(float)))
    np.testing.assert_array_equal(model.validation_scores_, twin.validation_scores_)


def test_a_constant_column_does_not_outweigh_the_others_score():
    """Three times 0.1 deviates from its own mean by rounding, and R squared would be -1e33."""
    rows = [3, 50, 190]
    targets = np.column_stack([SLOPE, np.full(200, 0.1)])
    model = MLPRegressor(**QUICK).fit(POINTS, targets, validation_data=(POINTS[rows], targets[rows]))
    assert min(model.validation_scores_) > -5 and max(model.validation_scores_) < 1


def test_early_stopping_with_a_constant_target():
    model = MLPRegressor(**QUICK).fit(POINTS, np.full(200, 5.0))
    assert model.n_iter_ > 20
    np.testing.assert_allclose(model.predict(POINTS), 5, atol=1)


def test_no_finite_score_leaves_the_last_parameters_with_a_warning():
    """exp overflows for the rows to validate with, and for them alone."""
    model = MLPRegressor("poisson", (), random_state=0, max_iter=5, early_stopping=True, learning_rate_init=0.1)
    far = np.array([[1e6], [-1e6]])
    with pytest.warns(ConvergenceWarning, match="found no epoch whose validation score is finite") as caught:
        model.fit(POINTS + 2, np.exp(POINTS[:, 0]), validation_data=(far, [1.0, 2.0]))
    assert {warning.filename for warning in caught} == {__file__}
    plain = MLPRegressor("poisson", (), random_state=0, max_iter=5, learning_rate_init=0.1)
    plain.fit(POINTS + 2, np.exp(POINTS[:, 0]), validation_data=(far, [1.0, 2.0]))
    np.testing.assert_array_equal(model.coefs_[0], plain.coefs_[0])


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_warm_start_on_other_rows_learns_them(early_stopping):
    """What the rows of the fit before were scored does not count: the concept is turned round, or the scale."""
    rows = np.random.default_rng(0).normal(size=(400, 2))
    classes = (rows[:, 0] > 0).astype(int)
    model = MLPClassifier(**QUICK | {"early_stopping": early_stopping}, warm_start=True).fit(rows, classes)
    assert model.score(rows, classes) > 0.95
    assert model.fit(rows, 1 - classes).score(rows, 1 - classes) > 0.95
    model = MLPRegressor(**QUICK | {"early_stopping": early_stopping}, warm_start=True).fit(POINTS, 0 * SLOPE)
    assert model.fit(POINTS, SLOPE).score(POINTS, SLOPE) > 0.9


def test_a_warm_start_keeps_the_present_parameters_if_no_others_are_better():
    model = MLPClassifier(**SMALL | {"max_iter": 100}, early_stopping=True, warm_start=True)
    model.fit(X[:200], Y[:200], validation_data=(X[200:], Y[200:]))
    before, score = model.network_.get_parameters(), model.best_validation_score_
    model.set_params(solver=fastnn.SGD(1e-12)).fit(X[:200], Y[:200], validation_data=(X[200:], Y[200:]))
    np.testing.assert_array_equal(model.network_.get_parameters(), before)
    assert model.best_validation_score_ == score == model.score(X[200:], Y[200:])


def test_a_first_epoch_that_diverges_leaves_no_untrained_model():
    for settings in ({}, {"early_stopping": True}):
        model = MLPRegressor(solver=fastnn.SGD(1e300), random_state=0, batch_size=20, **settings)
        with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
            model.fit(XR, YR)
        assert not hasattr(model, "coefs_")
    model = MLPRegressor(**SMALL, early_stopping=True, warm_start=True).fit(XR, YR)
    before = model.network_.get_parameters()
    with pytest.warns(ConvergenceWarning, match="training ended early"):
        model.set_params(solver=fastnn.SGD(1e300), batch_size=20).fit(XR, YR)
    np.testing.assert_array_equal(model.network_.get_parameters(), before)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["<U3", "S3", "m8[s]"])
def test_targets_that_are_no_numbers_are_refused_by_name(kind, dtype):
    X, y = np.ones((9, 2), dtype), np.arange(9).astype(int)
    with pytest.raises(TypeError, match="y has dtype .*, but must hold real numbers"):
        MLPRegressor().fit(X, y.astype(kind))
    with pytest.raises(TypeError, match="y_val has dtype .*, but must hold real numbers"):
        MLPRegressor().fit(X, y, X_val=X, y_val=y.astype(kind))


@pytest.mark.parametrize("arguments, message", [
    ({"batch_size": np.ones((2, 2))}, "batch_size is array([[1., 1.], [1., 1.]]), but must be an integer"),
    ({"early_stopping": np.ones((2, 2))}, "early_stopping is array([[1., 1.], [1., 1.]]), but must be True or False"),
    ({"loss": 100}, "it is the first argument of a regressor: pass hidden_layer_sizes=100 by its name"),
    ({"loss": (10, 5)}, "it is the first argument of a regressor: pass hidden_layer_sizes=(10, 5) by its name"),
    ({"learning_rate": 0.01}, "pass a number as learning_rate_init=0.01, or in an optimizer, solver=fastnn.Adam(0.01)"),
    ({"learning_rate": np.float32(0.5)}, "pass a number as learning_rate_init=0.01"),
])
def test_what_stands_in_the_place_of_another_argument_is_told_its_own(arguments, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        MLPRegressor(**arguments).fit(X, Y)


ONE_HOT = np.eye(3, dtype=int)[np.arange(30) % 3]


@pytest.mark.parametrize("first, then", [(ONE_HOT.argmax(axis=1), ONE_HOT), (ONE_HOT, ONE_HOT.argmax(axis=1))])
def test_targets_stay_of_one_kind(first, then):
    """Classes do not become labels (several a row), nor numbers columns of numbers, in what goes on or validates."""
    X = np.random.default_rng(0).normal(size=(30, 2))
    for Estimator in (MLPClassifier, MLPRegressor):
        fits = [lambda model: model.set_params(warm_start=True).fit(X, then), lambda model: model.partial_fit(X, then)]
        for fit in fits:
            model = Estimator(max_iter=2, random_state=0)
            with warnings.catch_warnings(action="ignore"):
                model.fit(X, first)
            before = model.predict(X)
            with pytest.raises(ValueError, match="y has .*, but the network that goes on was built for "):
                fit(model)
            np.testing.assert_array_equal(model.predict(X), before)
        with pytest.raises(ValueError, match="y_val has .*, but y to train on has "):
            Estimator().fit(X, first, X_val=X, y_val=then)
        with pytest.raises(ValueError, match="validation_data's y has .*, but y to train on has "):
            Estimator().fit(X, first, validation_data=(X, then))


# Rows to validate with, where pipelines can transform them.

def test_a_pipeline_transforms_the_rows_to_validate_with():
    rows, targets, weight = XR * [1e3] + 1e4, YR, np.linspace(1, 2, 50)
    with sklearn.config_context(enable_metadata_routing=True):
        last = MLPRegressor(**SMALL).set_fit_request(X_val=True, y_val=True, sample_weight_val=True)
        model = Pipeline([("scale", StandardScaler()), ("network", last)], transform_input=["X_val"])
        model.fit(rows[:150], targets[:150], X_val=rows[150:], y_val=targets[150:], sample_weight_val=weight)
    scaler = StandardScaler().fit(rows[:150])
    by_hand = MLPRegressor(**SMALL).fit(scaler.transform(rows[:150]), targets[:150],
                                        validation_data=(scaler.transform(rows[150:]), targets[150:], weight))
    assert model[-1].validation_loss_curve_ == by_hand.validation_loss_curve_
    assert model[-1].validation_loss_curve_[-1] < 3 * model[-1].loss_curve_[-1]


@pytest.mark.parametrize("arguments, message", [
    ({"X_val": X}, "y_val is missing, but rows to validate with are X_val and y_val"),
    ({"y_val": Y}, "X_val is missing, but rows to validate with are X_val and y_val"),
    ({"sample_weight_val": np.ones(300)}, "X_val and y_val are missing, but rows to validate with are"),
    ({"X_val": X, "y_val": Y, "validation_data": (X, Y)}, "validation_data is given, and X_val, y_val or"),
    ({"sample_weight_val": np.ones(300), "validation_data": (X, Y)}, "validation_data is given, and X_val"),
    ({"X_val": X, "y_val": Y, "sample_weight_val": -1.0}, "sample_weight_val holds -1.0 in row 0, but must be finite"),
    ({"X_val": X[:, :5], "y_val": Y}, "X has 5 features, but MLPClassifier is expecting 64"),
    ({"X_val": X, "y_val": Y[:5]}, "inconsistent numbers of samples"),
    ({"X_val": X, "y_val": Y + 1}, "has classes not in"),
])
def test_rows_to_validate_with_are_given_in_one_way(arguments, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**SMALL).fit(X, Y, **arguments)


# What scikit-learn's users pass.

ARRAY_API = """
import warnings
warnings.simplefilter("ignore")
import numpy as np, sklearn, torch
from sklearn.model_selection import GridSearchCV
from fastnn.sklearn import MLPClassifier, MLPRegressor
rows = np.random.default_rng(0).normal(size=(60, 3))
weight = torch.linspace(1, 2, 60)
settings = {"max_iter": 3, "random_state": 0, "hidden_layer_sizes": 4}
with sklearn.config_context(array_api_dispatch=True):
    for kind, targets in ((MLPClassifier, (rows[:, 0] > 0).astype(int)), (MLPRegressor, rows[:, 0])):
        for dtype in (torch.float32, torch.float64, torch.int64):
            X, y = torch.tensor(10 * rows).to(dtype), torch.tensor(targets)
            model, twin = kind(**settings).fit(X, y, weight, (X, y, weight)), kind(**settings)
            twin.fit(X.numpy(), targets, weight.numpy(), (X.numpy(), targets, weight.numpy()))
            assert model.network_.dtype == ("float64" if dtype == torch.float64 else "float32")
            calls = [model.predict, *([model.predict_proba, model.predict_log_proba] if kind is MLPClassifier else [])]
            for call in calls:
                assert type(call(X)) is np.ndarray, call
                np.testing.assert_array_equal(call(X), getattr(twin, call.__name__)(X.numpy()))
            assert model.score(X, y, weight) == twin.score(X.numpy(), targets, weight.numpy())
            model.partial_fit(X, y, weight)
            kind(**settings, early_stopping=True).fit(X, y)
            GridSearchCV(kind(**settings), {"alpha": [1, 2]}, cv=2, error_score="raise").fit(X, y).predict(X)
print("done")
"""


def test_tensors_under_array_api_dispatch_give_numpy_arrays():
    pytest.importorskip("torch")
    done = subprocess.run([sys.executable, "-c", ARRAY_API], env=os.environ | {"SCIPY_ARRAY_API": "1"}, text=True,
                          capture_output=True)
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr


def test_sample_weights_of_any_kind():
    """Objects, data frames' own dtypes, lists and one number, as scikit-learn takes them."""
    weight = np.linspace(0.5, 2, 200)
    for kinds, same in ((weight.astype(object), weight), (pandas.Series(weight, dtype="Float64"), weight),
                        (pandas.Series(weight).astype(object), weight), (weight.tolist(), weight),
                        (polars.Series(weight), weight), (2.0, np.full(200, 2.0)), (np.float32(3), np.full(200, 3.0)),
                        (1, np.ones(200)), (True, np.ones(200))):
        model, twin = (MLPRegressor(**SMALL).fit(XR, YR, each, (XR, YR, each)) for each in (kinds, same))
        np.testing.assert_array_equal(model.coefs_[0], twin.coefs_[0])
        assert model.validation_loss_curve_ == twin.validation_loss_curve_
        model, twin = model.partial_fit(XR, YR, kinds), twin.partial_fit(XR, YR, same)
        np.testing.assert_array_equal(model.coefs_[0], twin.coefs_[0])
    for wrong, message in ((np.array([1, None] * 100, object), "sample_weight holds nan in row 1"),
                           (np.array(["a"] * 200, object), "could not convert string to float"),
                           (-1, "sample_weight holds -1.0 in row 0"), (0.0, "sample_weight is zero for every row"),
                           (weight[:, None].astype(object), r"sample_weight has shape \(200, 1\)"),
                           (weight[:5].tolist(), r"sample_weight has shape \(5,\)")):
        with pytest.raises(ValueError, match=message):
            MLPRegressor(**SMALL).fit(XR, YR, wrong)


@pytest.mark.parametrize("make", [dict, pandas.Series, types.MappingProxyType, collections.OrderedDict], ids=str)
def test_class_weights_of_any_mapping(make):
    yes = Y == 8
    expected = MLPClassifier(**SMALL).fit(X, yes, np.where(yes, 20.0, 1.0))
    for weights in ({False: 1, True: 20}, {0: 1, 1: 20}, {True: 20}, {0.0: np.float32(1), 1: np.int8(20)}):
        for targets in (yes, yes.astype(int), yes.astype(float)):
            model = MLPClassifier(**SMALL, class_weight=make(weights)).fit(X, targets)
            np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0])
            model.partial_fit(X, targets)
    words = MLPClassifier(**SMALL, class_weight=make({"no": 1, "yes": 20})).fit(X, np.where(yes, "yes", "no"))
    np.testing.assert_array_equal(words.coefs_[0], expected.coefs_[0])
    with pytest.raises(ValueError, match="class_weight names the class 'maybe', but the classes are"):
        MLPClassifier(**SMALL, class_weight=make({"maybe": 2})).fit(X, np.where(yes, "yes", "no"))


@pytest.mark.parametrize("name, given, plain", [
    ("activation", np.array(["tanh"]), ["tanh"]), ("activation", np.array(["logistic"], object), ["logistic"]),
    ("activation", pandas.Series(["gelu"]), ["gelu"]), ("activation", np.str_("tanh"), "tanh"),
    ("hidden_layer_sizes", np.array([4]), (4,)), ("hidden_layer_sizes", pandas.Series([4]), (4,)),
    ("hidden_layer_sizes", np.int8(4), 4), ("hidden_layer_sizes", range(4, 5), (4,)),
    ("batch_size", np.int32(16), 16), ("batch_size", np.str_("auto"), "auto"),
    ("dropout", np.array([0.25], np.float32), [0.25]), ("dropout", fractions.Fraction(1, 4), 0.25),
    *((name, kind(0.1), float(kind(0.1))) for kind in (np.float16, np.float32)
      for name in ("alpha", "learning_rate_init", "tol", "power_t", "momentum", "beta_1", "beta_2", "epsilon")),
    ("alpha", np.longdouble(0.5), 0.5), ("alpha", fractions.Fraction(1, 2), 0.5),
    ("tol", fractions.Fraction(1, 4), 0.25), ("validation_fraction", fractions.Fraction(1, 4), 0.25),
    ("validation_fraction", np.float32(0.25), 0.25), ("max_iter", np.int64(3), 3),
    ("n_iter_no_change", np.float32(np.inf), np.inf), ("solver", np.str_("sgd"), "sgd"),
    ("loss", np.str_("focal"), "focal"), ("verbose", np.False_, False), ("dtype", np.dtype(">f8"), "float64"),
])
def test_parameters_as_searches_give_them(name, given, plain, tmp_path, capsys):
    settings = SMALL | {"hidden_layer_sizes": (4,), "verbose": True, "early_stopping": True, "n_iter_no_change": 1}
    models = []
    if name in ("power_t", "momentum"):
        settings |= {"solver": "sgd", "learning_rate": "invscaling", "n_iter_no_change": 10}
    for value in (given, plain):
        models.append(clone(MLPClassifier(**settings | {name: value})).fit(X, Y))
        models[-1].set_params(warm_start=True).fit(X, Y)
    np.testing.assert_array_equal(models[0].network_.get_parameters(), models[1].network_.get_parameters())
    models[0].network_.save(tmp_path / "model")
    assert repr(fastnn.load(tmp_path / "model")) == repr(models[1].network_)


@pytest.mark.parametrize("name, value, message", [
    ("activation", np.array("tanh"), "activation is array('tanh', dtype='<U4'), but must be a name, or one name per"),
    ("activation", np.array([["tanh"]]), "activation[0] is array(['tanh'], dtype='<U4'), but must be one of the names"),
    ("activation", [["tanh", "relu"]], "activation[0] is ['tanh', 'relu'], but must be one of the names"),
    ("activation", b"tanh", "activation is b'tanh', but must be a name, or one name per hidden layer"),
    ("activation", None, "activation is None, but must be a name, or one name per hidden layer"),
    ("activation", iter(["tanh"]), "activation is a list_iterator, but must be a sequence such as a list"),
    ("hidden_layer_sizes", iter([4]), "hidden_layer_sizes is a list_iterator, but must be a sequence such as a list"),
    ("hidden_layer_sizes", {64, 32}, "hidden_layer_sizes is a set, but must be a sequence such as a list"),
    ("hidden_layer_sizes", {4: 1}, "hidden_layer_sizes is a dict, but must be a sequence such as a list"),
    ("hidden_layer_sizes", b"4", "hidden_layer_sizes is b'4', but must be a sequence of integers, or one integer"),
    ("hidden_layer_sizes", np.array([[4]]), "hidden_layer_sizes[0] is array([4]), but must be an integer"),
    ("dropout", iter([0.5]), "dropout is a list_iterator, but must be a sequence such as a list"),
    ("callbacks", iter([fastnn.Callback()]), "callbacks is a list_iterator, but must be a sequence such as a list"),
    ("batch_size", np.array([32]), "batch_size is array([32]), but must be an integer"),
    ("batch_size", np.array([32, 64]), "batch_size is array([32, 64]), but must be an integer"),
    ("n_iter_no_change", np.array([3, 4]), "n_iter_no_change is array([3, 4]), but must be an integer"),
    ("verbose", "yes", "verbose is 'yes', but must be True, False or an integer"),
    ("loss", np.array(["log_loss", "focal"]), "loss is array(['log_loss', 'focal'], dtype='<U8'), but must be one of"),
    ("class_weight", np.array([1, 20]), "class_weight is array([ 1, 20]), but must be 'balanced', a dictionary"),
    ("solver", fastnn.SGD, "solver is <class 'fastnn.optimizers.SGD'>, but must be one of lbfgs, sgd, adam, or an"),
], ids=range(20))
def test_arrays_and_others_that_are_refused(name, value, message):
    trained = MLPClassifier(**SMALL | {"hidden_layer_sizes": 4, "max_iter": 1}, warm_start=True).fit(X, Y)
    for model in (MLPClassifier(), trained):
        with pytest.raises((TypeError, ValueError), match=re.escape(message)):
            model.set_params(**{name: value}).fit(X, Y)


def test_the_parameters_of_an_optimizer_can_be_searched():
    optimizer = fastnn.SGD(0.01, momentum=0.5)
    model = MLPClassifier(**SMALL, solver=optimizer)
    nested = {name: value for name, value in model.get_params().items() if name.startswith("solver__")}
    assert nested == {"solver__" + name: value for name, value in optimizer.arguments().items()}
    for others in (model.get_params(deep=False), MLPClassifier().get_params()):
        assert not any(name.startswith("solver__") for name in others)
    search = GridSearchCV(make_pipeline(StandardScaler(), model), cv=2, error_score="raise", param_grid={
        "mlpclassifier__solver__learning_rate": [1e-9, 0.1], "mlpclassifier__solver__nesterov": [True]}).fit(X, Y)
    found = search.best_estimator_[-1].solver
    assert (found.learning_rate, found.nesterov, found.momentum) == (0.1, True, 0.5)
    assert repr(optimizer) == repr(fastnn.SGD(0.01, momentum=0.5)) and model.solver is optimizer
    # all at once, in any order, also with another optimizer; what was passed is not ours to change
    model.set_params(solver__nesterov=False, solver__momentum=0.0)
    assert repr(model.solver) == repr(fastnn.SGD(0.01)) and repr(optimizer) == repr(fastnn.SGD(0.01, momentum=0.5))
    model.set_params(solver__history_size=3, solver=fastnn.LBFGS())
    assert model.solver.history_size == 3 and model.fit(X, Y).score(X, Y) > 0.8
    for kind in (fastnn.Rprop(), fastnn.SGD(fastnn.schedules.ReduceOnPlateau(0.1)), fastnn.LBFGS()):
        twin = clone(MLPClassifier(solver=kind))
        assert twin.solver is not kind and repr(twin.solver) == repr(kind)
        twin.set_params(**{"solver__" + name: value for name, value in kind.arguments().items()})
        assert repr(twin.solver) == repr(kind)


@pytest.mark.parametrize("change, message", [
    ({"solver__lr": 1}, "Invalid parameter 'lr' for solver SGD(learning_rate=0.1, momentum=0.0, nesterov=False, "),
    ({"solver__learning_rate": -1}, "learning_rate is -1, but must be a finite number above 0"),
    ({"solver__nesterov": True}, "nesterov is True, but momentum is 0"),
    ({"solver": "adam", "solver__beta1": 0.5}, "Invalid parameter 'solver__beta1': solver is 'adam', which has no "),
    ({"alpah": 1, "solver__momentum": 0.5}, "Invalid parameter 'alpah' for estimator MLPClassifier"),
])
def test_parameters_of_an_optimizer_that_are_refused(change, message):
    model = MLPClassifier(solver=fastnn.SGD(0.1))
    before = repr(model.get_params())
    with pytest.raises(ValueError, match=re.escape(message)):
        model.set_params(**change)
    assert repr(model.get_params()) == before


def test_standardising_is_part_of_the_model():
    rows, targets = XR * 1000 + 5000, YR * 100 + 1e5
    model = MLPRegressor(**{**SMALL, "max_iter": 200}, standardize=True, dtype="float64").fit(rows, targets)
    by_hand = MLPRegressor(**{**SMALL, "max_iter": 200}, dtype="float64").fit(scale(rows), scale(targets))
    np.testing.assert_allclose(model.predict(rows), by_hand.predict(scale(rows)) * targets.std() + targets.mean(),
                               rtol=1e-9)
    assert model.score(rows, targets) > 0.5
    np.testing.assert_allclose(model.to_network().predict(rows)[:, 0], model.predict(rows), rtol=1e-9)
    classifier = MLPClassifier(**SMALL, standardize=True).fit(X, Y)
    np.testing.assert_allclose(classifier.to_network().predict(X), classifier.predict_proba(X), atol=1e-6)
    for call, right in ((model.predict, rows), (classifier.predict, X), (classifier.predict_proba, X)):
        for wrong in (right[:5, :1], right[:5, :-1], np.hstack([right, right])):
            with pytest.raises(ValueError, match=f"X has {wrong.shape[1]} features, but MLP.* is expecting"):
                call(wrong)


def test_partial_fit_needs_rows_to_standardise_by():
    """Deviations come from the first call alone, and one row, or one that counts, has none."""
    message = "partial_fit got 1 row with weight in its first call, but standardize=True takes the means and deviations"
    one = np.eye(1, len(XR))[0]
    for arguments in ((XR[:1], YR[:1]), (XR, YR, one)):
        model = MLPRegressor(**SMALL, standardize=True)
        with pytest.raises(ValueError, match=message):
            model.partial_fit(*arguments)
        assert vars(model) == vars(MLPRegressor(**SMALL, standardize=True))
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**SMALL, standardize=True).partial_fit(X[:1], Y[:1], classes=range(10))
    for rows in (XR[:2], XR[2:3]):
        model.partial_fit(rows, YR[:len(rows)])
    expected = MLPRegressor(**SMALL, standardize=True).fit(XR[:2], YR[:2])
    np.testing.assert_array_equal(model._input_scaling.scale, expected._input_scaling.scale)
    MLPRegressor(**SMALL).partial_fit(XR[:1], YR[:1])
    MLPRegressor(**SMALL, standardize=True).fit(XR[:1], YR[:1]).partial_fit(XR[:1], YR[:1])


def test_large_integers_are_standardised_before_they_are_rounded():
    seconds = 1_700_000_000 + np.arange(200)[:, None]
    model, twin = (MLPRegressor(**SMALL, standardize=True, dtype="float32").fit(rows, np.arange(200.0))
                   for rows in (seconds, seconds.astype(float)))
    np.testing.assert_array_equal(model.predict(seconds), twin.predict(seconds.astype(float)))


def test_warnings_name_the_line_that_called():
    for call in (lambda: MLPClassifier(**SMALL).fit(X, Y),
                 lambda: MLPClassifier(batch_size=1000).partial_fit(X, Y, classes=range(10)),
                 lambda: MLPClassifier(**SMALL, batch_size=1000).fit(X, Y)):
        with pytest.warns(UserWarning) as caught:
            call()
        assert {warning.filename for warning in caught} == {__file__}


def test_dtypes():
    assert MLPClassifier(**SMALL).fit((X * 16).astype(int), Y).network_.dtype == "float32"
    assert MLPClassifier(**SMALL).fit((X * 16).tolist(), Y).network_.dtype == "float32"
    assert MLPClassifier(**SMALL).fit(X, Y).network_.dtype == "float64"
    assert MLPClassifier(**SMALL, dtype="float32").fit(X, Y).predict_proba(X).dtype == "float32"
    assert MLPRegressor(**SMALL, dtype="float64").fit(XR.astype("float32"), YR).predict(XR).dtype == "float64"


# What goes wrong.

@pytest.mark.parametrize("arguments, message", [
    ({"solver": "adamw"}, "solver is 'adamw', which does not exist; pass the optimizer itself, such as "
                          "solver=fastnn.AdamW(); known are lbfgs, sgd, adam"),
    ({"solver": 3}, "solver is 3, but must be one of lbfgs, sgd, adam, or an optimizer such as fastnn.AdamW(1e-3)"),
    ({"activation": "logstic"}, "activation is 'logstic', which does not exist"),
    ({"alpha": -1}, "alpha is -1, but must be a finite number at least 0"),
    ({"hidden_layer_sizes": (3, 0)}, "hidden_layer_sizes must be > 0, got [3, 0]."),
    ({"dropout": 1.0}, "dropout is 1.0, but must be a finite number at least 0 and below 1"),
    ({"max_iter": 0}, "max_iter is 0, but must be at least 1"),
    ({"batch_size": "all"}, "batch_size is 'all', but must be an integer"),
    ({"loss": "logloss"}, "loss is 'logloss', which does not exist"),
    ({"dtype": "float16"}, "dtype is 'float16', which does not exist"),
    ({"hidden_layer_sizes": "7"}, "hidden_layer_sizes is '7', but must be a sequence of integers, or one integer"),
    ({"hidden_layer_sizes": np.array(7)}, "hidden_layer_sizes is array(7), but must be a sequence of integers, or one"),
    ({"hidden_layer_sizes": (7, 5.5)}, "hidden_layer_sizes[1] is 5.5, but must be an integer"),
    ({"hidden_layer_sizes": (5.5,), "activation": "gelu"}, "hidden_layer_sizes[0] is 5.5, but must be an integer"),
    ({"hidden_layer_sizes": ("a",)}, "hidden_layer_sizes[0] is 'a', but must be an integer"),
    ({"shuffle": "no"}, "shuffle is 'no', but must be True or False"),
    ({"early_stopping": True, "validation_fraction": 0}, "validation_fraction is 0, but early_stopping needs rows"),
    ({"class_weight": "even"}, "class_weight is 'even', but must be 'balanced', a dictionary {class: weight} or None"),
])
def test_wrong_parameters(arguments, message):
    model = MLPClassifier(**arguments)
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        model.fit(X, Y)


def test_rows_held_out_without_weight_are_named():
    held_out = train_test_split(np.arange(300), random_state=np.random.RandomState(0), test_size=0.1)[1]
    model = MLPRegressor(hidden_layer_sizes=3, activation="gelu", early_stopping=True, random_state=0)
    weight = np.ones(300)
    weight[held_out] = 0
    message = "sample_weight is zero for each of the {} rows that early_stopping {}: change validation_fraction or "
    with pytest.raises(ValueError, match=message.format(30, "holds out")):
        model.fit(X, Y, weight)
    with pytest.raises(ValueError, match=message.format(270, "leaves to train on")):
        model.fit(X, Y, 1 - weight)
    weight[held_out[0]] = 1
    assert model.set_params(max_iter=2).fit(X, Y, weight).n_iter_ == 2


def test_before_the_first_fit():
    for call in (lambda model: model.predict(X), lambda model: model.to_network()):
        with pytest.raises(NotFittedError, match="This MLPClassifier instance is not fitted yet"):
            call(MLPClassifier())
    assert pickle.loads(pickle.dumps(MLPClassifier(alpha=0.5))).alpha == 0.5


def test_a_refused_fit_changes_nothing():
    model = MLPClassifier(**SMALL).fit(X, Y)
    before = pickle.dumps(model)
    for wrong in ({"sample_weight": -np.ones(300)}, {"validation_data": X}, {"validation_data": (X[:, :5], Y)}):
        with pytest.raises((TypeError, ValueError)):
            model.fit(X, Y, **wrong)
    with pytest.raises(ValueError, match="has classes not in"):
        model.partial_fit(X, Y + 1)
    letters = np.array(list("abcdefghij"))[Y]
    with pytest.raises(ValueError, match="features"):
        model.fit(X, letters, validation_data=(X[:, :5], Y))
    with pytest.raises(ValueError, match="features"):
        model.fit(X[:, :5], Y, validation_data=(X, Y))
    with pytest.raises(ValueError, match="least populated class"):
        model.set_params(early_stopping=True).fit(X, np.arange(300) == 0)
    model.set_params(early_stopping=False)
    with pytest.raises(ValueError, match="dropout"):
        model.set_params(solver="lbfgs", dropout=0.5).fit(X, Y)
    model.set_params(solver="adam", dropout=0.0)
    with pytest.raises(TypeError, match=r"callbacks\[0\] is 3"):
        model.set_params(callbacks=[3]).fit(X, Y)
    model.set_params(callbacks=())
    assert pickle.dumps(model) == before
    counts = MLPRegressor("poisson", **SMALL).fit(XR, np.abs(YR))
    before = pickle.dumps(counts)
    with pytest.raises(ValueError, match="poisson's targets must"):
        counts.fit(XR, -np.abs(YR))
    assert pickle.dumps(counts) == before


def test_an_error_after_as_many_epochs_as_before_keeps_the_new_network():
    class Interrupt(fastnn.Callback):
        def on_epoch_end(self, fit):
            if fit.epoch == 15:
                raise KeyboardInterrupt
    model = MLPClassifier(**SMALL).fit(X, Y)
    old = model.network_
    with pytest.raises(KeyboardInterrupt):
        model.set_params(callbacks=[Interrupt()]).fit(X, Y)
    assert model.network_ is not old and model.network_.epochs_trained == 15


def test_a_refused_first_fit_leaves_it_unfitted():
    model = MLPClassifier(**SMALL, early_stopping=True)
    with pytest.raises(ValueError, match="least populated class"):
        model.fit(X, np.arange(300) == 0)
    assert vars(model) == vars(MLPClassifier(**SMALL, early_stopping=True))


def test_interrupted_and_diverged_fits_leave_a_model():
    class Interrupt(fastnn.Callback):
        def on_epoch_end(self, fit):
            raise KeyboardInterrupt
    model = MLPClassifier(**SMALL, callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert model.n_iter_ == 1 and model.predict(X).shape == (300,)
    settings = {**SMALL, "learning_rate_init": 1.0, "max_iter": 100, "solver": "sgd", "activation": "identity"}
    diverging = MLPRegressor(**settings)
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        diverging.fit(XR, YR)
    assert not hasattr(diverging, "coefs_")             # each epoch was worse than the first: none was good
    diverging.set_params(learning_rate_init=1e-3, max_iter=3, tol=0).fit(XR, YR)
    before = diverging.coefs_[0].copy()
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        diverging.set_params(learning_rate_init=1.0, max_iter=100, warm_start=True).fit(XR, YR)
    np.testing.assert_array_equal(diverging.coefs_[0], before)


@pytest.mark.parametrize("hidden", ["sklearn", "sklearn.callback"])
def test_without_scikit_learn(hidden):
    code = (f"import sys; sys.modules[{hidden!r}] = None\nimport fastnn\ntry:\n    import fastnn.sklearn\n"
            "except ImportError as error:\n    print(error)")
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    assert done.stdout == ("fastnn.sklearn needs scikit-learn 1.9 or newer, which is not installed: "
                           "pip install 'scikit-learn>=1.9'\n")
