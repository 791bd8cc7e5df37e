"""What scikit-learn's users pass to the estimators, what is refused, and what a fit that fails leaves behind."""

import collections
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
from estimator_data import SMALL, XR, YR, X, Y
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import train_test_split

import fastnn.sklearn
from fastnn.sklearn import MLPClassifier, MLPRegressor

pytestmark = [pytest.mark.any_isa, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]


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


def test_warnings_name_the_line_that_called():
    for call in (lambda: MLPClassifier(**SMALL).fit(X, Y),
                 lambda: MLPClassifier(batch_size=1000).partial_fit(X, Y, classes=range(10)),
                 lambda: MLPClassifier(**SMALL, batch_size=1000).fit(X, Y)):
        with pytest.warns(UserWarning) as caught:
            call()
        assert {warning.filename for warning in caught} == {__file__}


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
