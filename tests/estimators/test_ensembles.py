"""Estimators with n_members > 1: the same bits as the networks that they consist of, each fitted alone."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse
from estimator_data import SMALL, XR, YR, X, Y
from joblib import parallel_config
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.datasets import make_multilabel_classification, make_regression
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import scale
from sklearn.utils.estimator_checks import check_estimator

import fastnn
from fastnn.sklearn import MLPClassifier, MLPRegressor, together

pytestmark = [pytest.mark.any_isa, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]

XM, YM = make_multilabel_classification(n_samples=120, random_state=0)
XO, YO = make_regression(n_samples=100, n_targets=2, n_features=6, random_state=0)
TASKS = {
    "classes": (MLPClassifier, X, Y, {}), "two classes": (MLPClassifier, X, Y > 4, {}),
    "labels": (MLPClassifier, scale(XM), YM, {}), "number": (MLPRegressor, XR, scale(YR), {}),
    "numbers": (MLPRegressor, XO, YO, {"standardize": True}),
}
SETTINGS = {
    "adam": {}, "float32": {"dtype": "float32"}, "batches": {"batch_size": 32}, "not shuffled": {"shuffle": False},
    "dropout": {"dropout": 0.3}, "invscaling": {"solver": "sgd", "learning_rate": "invscaling"},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 0.05},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 3, "max_iter": 40},
    "tol": {"tol": 0.05, "n_iter_no_change": 2, "max_iter": 60}, "no penalty": {"alpha": 0},
    "AdamW": {"solver": fastnn.AdamW(fastnn.schedules.CosineDecay(0.02, length=12), weight_decay=0.1)},
    "lbfgs": {"solver": "lbfgs", "max_iter": 5}, "a callback": {},
}
CURVES = "loss_curve_", "validation_loss_curve_", "n_iter_", "t_", "loss_", "best_loss_", "validation_scores_"


@pytest.fixture(autouse=True)
def few_train_together(monkeypatch):
    """Two networks are enough for a population here."""
    monkeypatch.setattr(together, "FEWEST", 2)


def alone(member, X, y, *more):
    """The same network, fitted by itself."""
    return clone(member).fit(X, y, *more)


def assert_same_network(ours, other):
    for mine, its in zip(ours.coefs_ + ours.intercepts_, other.coefs_ + other.intercepts_, strict=True):
        np.testing.assert_array_equal(mine, its)
    for name in CURVES:
        assert getattr(ours, name) == getattr(other, name), name
    assert ours.network_.epochs_trained == other.network_.epochs_trained and ours.network_.seed == other.network_.seed


class Counting(fastnn.Callback):
    def __init__(self):
        self.epochs = 0

    def on_epoch_end(self, fit):
        self.epochs += 1


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("task", ["classes", "number"])
def test_every_member_is_the_network_alone(task, setting):
    kind, rows, targets, more = TASKS[task]
    settings = SMALL | more | SETTINGS[setting]
    counting = Counting()
    if setting == "a callback":
        settings["callbacks"] = [counting]
    ensemble = kind(**settings, n_members=4).fit(rows, targets)
    if setting == "a callback":
        assert counting.epochs == sum(member.n_iter_ for member in ensemble.estimators_)
    assert len(ensemble.estimators_) == 4
    for member in ensemble.estimators_:
        assert_same_network(member, alone(member, rows, targets))
    assert_same_network(ensemble.estimators_[0], kind(**settings).fit(rows, targets))
    seeds = {member.network_.seed for member in ensemble.estimators_}
    assert len(seeds) == 4
    if setting in ("early stopping", "tol"):        # members stop at epochs of their own
        assert len({member.n_iter_ for member in ensemble.estimators_}) > 1 or task == "classes"


@pytest.mark.parametrize("task", TASKS)
def test_predictions_are_means(task):
    kind, rows, targets, more = TASKS[task]
    ensemble = kind(**SMALL | more, n_members=3).fit(rows, targets)
    members = ensemble.estimators_
    if kind is MLPRegressor:
        each = np.array([member.predict(rows) for member in members])
        mean, deviation = ensemble.predict(rows, return_std=True)
        np.testing.assert_allclose(mean, each.mean(axis=0), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(deviation, each.std(axis=0), rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(ensemble.predict(rows), mean)
        assert mean.shape == deviation.shape == targets.shape and deviation.min() > 0
        return
    each = np.array([member.predict_proba(rows) for member in members])
    np.testing.assert_allclose(ensemble.predict_proba(rows), each.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(np.exp(ensemble.predict_log_proba(rows)), each.mean(axis=0), rtol=1e-9)
    expected = each.mean(axis=0) > 0.5 if task == "labels" else ensemble.classes_[each.mean(axis=0).argmax(axis=1)]
    np.testing.assert_array_equal(ensemble.predict(rows), expected)
    assert ensemble.predict(rows).shape == targets.shape


def test_weights_classes_and_rows_to_validate_with():
    weight = np.random.default_rng(0).uniform(0.5, 2, len(X))
    settings = SMALL | {"class_weight": "balanced", "early_stopping": True, "max_iter": 8}
    ensemble = MLPClassifier(**settings, n_members=3).fit(X, Y, weight)
    for member in ensemble.estimators_:
        assert_same_network(member, alone(member, X, Y, weight))
    own = {"X_val": X[:50], "y_val": Y[:50]}
    ensemble = MLPClassifier(**SMALL | {"class_weight": {0: 2}}, n_members=3).fit(X[50:], Y[50:], **own)
    for member in ensemble.estimators_:
        assert_same_network(member, clone(member).fit(X[50:], Y[50:], **own))
        assert len(member.validation_loss_curve_) == member.n_iter_


def test_random_states():
    two, four = (MLPRegressor(**SMALL, n_members=n).fit(XR, YR) for n in (2, 4))
    for member, same in zip(two.estimators_, four.estimators_, strict=False):
        assert_same_network(member, same)       # more members leave the first ones as they are
    given = SMALL | {"random_state": np.random.RandomState(3)}
    first = MLPRegressor(**given, n_members=2).fit(XR, YR).estimators_[0]
    single = MLPRegressor(**SMALL | {"random_state": np.random.RandomState(3)}).fit(XR, YR)
    assert_same_network(first, single)
    unseeded = MLPRegressor(**SMALL | {"random_state": None}, n_members=2).fit(XR, YR)
    assert not np.array_equal(unseeded.estimators_[0].coefs_[0], unseeded.estimators_[1].coefs_[0])


def test_it_goes_on():
    ensemble = MLPRegressor(**SMALL, warm_start=True, n_members=3).fit(XR, YR)
    first = pickle.loads(pickle.dumps(ensemble.estimators_))
    ensemble.set_params(alpha=0.5, max_iter=7).fit(XR, YR)
    for before, after in zip(first, ensemble.estimators_, strict=True):
        assert_same_network(after, before.set_params(alpha=0.5, max_iter=7).fit(XR, YR))
        assert after.network_.epochs_trained == 22
    online = MLPClassifier(**SMALL, n_members=2)
    other = [MLPClassifier(**SMALL | {"random_state": state}) for state in
             (0, MLPClassifier(**SMALL, n_members=2).fit(X, Y).estimators_[1].random_state)]
    for first in range(0, 300, 100):
        for model in (online, *other):
            model.partial_fit(X[first:first + 100], Y[first:first + 100], classes=range(10))
    for member, single in zip(online.estimators_, other, strict=True):
        assert_same_network(member, single)


def test_numbers_of_members_do_not_change_under_way():
    model = MLPRegressor(**SMALL, warm_start=True, n_members=2).fit(XR, YR)
    with pytest.raises(ValueError, match="^n_members is 3, but was 2 in the fit that goes on"):
        model.set_params(n_members=3).fit(XR, YR)
    with pytest.raises(ValueError, match="^n_members is 1, but was 2"):
        model.set_params(n_members=1).partial_fit(XR, YR)
    model.set_params(warm_start=False).fit(XR, YR)
    assert not hasattr(model, "estimators_") and hasattr(model, "coefs_")
    model.set_params(n_members=2).fit(XR, YR)
    assert not hasattr(model, "coefs_") and not hasattr(model, "network_")


def test_copies_and_pickles():
    model = MLPClassifier(**SMALL, n_members=3).fit(X, Y)
    expected = model.predict_proba(X)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), copy.copy(model)):
        np.testing.assert_array_equal(other.predict_proba(X), expected)
    assert not hasattr(clone(model), "estimators_") and clone(model).n_members == 3
    with parallel_config("threading", n_jobs=2):
        assert cross_val_score(model, X, Y, cv=2).mean() > 0.5
    np.testing.assert_array_equal(clone(model).fit(X, Y).predict_proba(X), expected)


def test_to_population():
    model = MLPRegressor(**SMALL, standardize=True, n_members=3).fit(XR + 5, YR)
    population = model.to_population()
    assert isinstance(population, fastnn.Population) and population.n == 3
    mean, deviation = population.mean_std(XR + 5)
    np.testing.assert_allclose(mean[:, 0], model.predict(XR + 5), rtol=1e-9)
    np.testing.assert_allclose(deviation[:, 0], model.predict(XR + 5, return_std=True)[1], rtol=1e-6)
    with pytest.raises(ValueError, match=r"^this MLPRegressor is an ensemble of 3 networks.*call to_population\(\)"):
        model.to_network()
    single = MLPRegressor(**SMALL).fit(XR, YR)
    assert single.to_population().n == 1
    with pytest.raises(NotFittedError):
        MLPRegressor(n_members=2).to_population()


def test_sparse_rows():
    sparse = scipy.sparse.csr_array(X)
    model, dense = MLPClassifier(**SMALL, n_members=2).fit(sparse, Y), MLPClassifier(**SMALL, n_members=2).fit(X, Y)
    np.testing.assert_array_equal(model.predict_proba(sparse), dense.predict_proba(X))


def test_members_that_diverge():
    huge = {"solver": "sgd", "learning_rate_init": 1e30, "hidden_layer_sizes": (4,), "random_state": 0}
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        MLPRegressor(**huge, n_members=3).fit(XR, YR)
    model = MLPRegressor(**SMALL, n_members=3).fit(XR, YR)
    before = model.estimators_
    with pytest.raises(ValueError, match="Solver produced"):
        model.set_params(**huge).fit(XR, YR)
    assert model.estimators_ is before
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)         # nothing else is said, such as by the population
        MLPRegressor(**SMALL, n_members=3).fit(XR, YR)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("settings", [{}, {"early_stopping": True}, {"solver": "lbfgs"}, {"batch_size": 9999}])
def test_warnings_name_the_line_of_the_user(settings):
    with pytest.warns(UserWarning) as warned:
        MLPRegressor(**SMALL | {"max_iter": 2} | settings, n_members=3).fit(XR, YR)
    assert len(warned) >= 3
    assert {warning.filename for warning in warned} == {__file__}


@pytest.mark.parametrize(("arguments", "error", "message"), [
    ({"n_members": 0}, ValueError, "n_members is 0"), ({"n_members": 2.5}, TypeError, "n_members is 2.5"),
])
def test_wrong_numbers_of_members(arguments, error, message):
    with pytest.raises(error, match=message):
        MLPRegressor(**arguments).fit(XR, YR)


def test_what_one_network_cannot_do():
    with pytest.raises(ValueError, match="^return_std is True, but one network has no deviation"):
        MLPRegressor(**SMALL).fit(XR, YR).predict(XR, return_std=True)
    with pytest.raises(ValueError, match="^n_members is 2, but scikit-learn's callbacks follow one network"):
        MLPRegressor(**SMALL, n_members=2).set_callbacks(ProgressBar()).fit(XR, YR)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_checks_of_scikit_learn(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for result in check_estimator(kind(n_members=2, max_iter=60), on_skip=None, on_fail=None):
            assert result["status"] in ("passed", "skipped"), (result["check_name"], result["exception"])
