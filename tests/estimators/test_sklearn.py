"""The estimators: scikit-learn's contract, its numbers, and everything around an estimator."""

import copy
import os
import pickle
import re
import subprocess
import sys
import warnings

import numpy as np
import pandas
import polars
import pytest
import scipy.sparse
import sklearn
import sklearn.neural_network
from estimator_data import SMALL, XR, YR, X, Y
from joblib import parallel_backend
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.datasets import make_multilabel_classification, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

import fastnn.sklearn
from fastnn.sklearn import MLPClassifier, MLPRegressor

pytestmark = [pytest.mark.any_isa, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]

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
