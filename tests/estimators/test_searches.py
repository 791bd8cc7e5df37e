"""cross_validate and the searches: what scikit-learn's own give with the same estimator, bit for bit."""

import pickle
import warnings

import numpy as np
import pandas
import pytest
import scipy.sparse
import sklearn
import sklearn.experimental.enable_halving_search_cv  # noqa: F401
from estimator_data import XR, YR, X, Y
from sklearn import model_selection
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.decomposition import PCA
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastnn
from fastnn.sklearn import GridSearchCV, HalvingGridSearchCV, MLPClassifier, MLPRegressor, cross_validate, together

pytestmark = [pytest.mark.any_isa, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]

X, Y, XR, YR = X[:120, ::3], Y[:120] % 4, XR[:100], YR[:100] / 100
SMALL = {"hidden_layer_sizes": (5,), "max_iter": 9, "random_state": 0, "learning_rate_init": 0.02}
NAMES = np.array(["ash", "beech", "cedar", "dogwood"])


@pytest.fixture(autouse=True)
def few_train_together(monkeypatch):
    """Two networks are enough for a population here."""
    monkeypatch.setattr(together, "FEWEST", 2)


@pytest.fixture
def trainings(monkeypatch):
    """The number of members of each Population.fit."""
    counts, fit = [], fastnn.Population.fit

    def counting(population, *arguments, **more):
        counts.append(population.n)
        return fit(population, *arguments, **more)

    monkeypatch.setattr(fastnn.Population, "fit", counting)
    return counts


def assert_same_results(ours, theirs):
    assert list(ours) == list(theirs)
    for name, values in theirs.items():
        if "time" in name:
            assert len(ours[name]) == len(values) and (ours[name] > 0).all() == (values > 0).all() or "std" in name
        elif name.startswith("param"):      # of a masked array what is masked is None
            assert [*map(str, list(ours[name]))] == [*map(str, list(values))]
        elif name == "indices":
            for part in ("train", "test"):
                assert all(map(np.array_equal, ours[name][part], values[part]))
        elif name == "estimator":
            for mine, its in zip(ours[name], values, strict=True):
                assert_same_networks(mine, its)
        else:
            np.testing.assert_array_equal(np.array(ours[name]), np.array(values), name)


def assert_same_networks(mine, its):
    assert type(mine) is type(its) and "fit" not in vars(mine) and "set_params" not in vars(mine)
    mine, its = (each[-1] if hasattr(each, "steps") else each for each in (mine, its))
    for array, other in zip(mine.coefs_ + mine.intercepts_, its.coefs_ + its.intercepts_, strict=True):
        np.testing.assert_array_equal(array, other)
    assert mine.loss_curve_ == its.loss_curve_ and mine.n_iter_ == its.n_iter_


def both(estimator, rows, targets, **arguments):
    arguments = {"cv": 3, "return_train_score": True, "return_estimator": True, "return_indices": True} | arguments
    return (cross_validate(estimator, rows, targets, **arguments),
            model_selection.cross_validate(estimator, rows, targets, **arguments))


ESTIMATORS = {
    "classes": (MLPClassifier(**SMALL), X, NAMES[Y]),
    "two classes": (MLPClassifier(**SMALL, class_weight="balanced"), X, Y > 1),
    "number": (MLPRegressor(**SMALL), XR, YR),
    "standardised": (MLPRegressor(**SMALL, standardize=True, dtype="float32"), XR + 3, YR),
    "early stopping": (MLPClassifier(**SMALL | {"max_iter": 30}, early_stopping=True, n_iter_no_change=2), X, Y),
    "no batches": (MLPClassifier(**SMALL, batch_size=500, alpha=0.1), X, Y),
    "adaptive": (MLPRegressor(**SMALL, solver="sgd", learning_rate="adaptive", tol=0.1, n_iter_no_change=1), XR, YR),
    "pipeline": (make_pipeline(StandardScaler(), PCA(4), MLPRegressor(**SMALL)), XR, YR),
    "frame": (make_pipeline(StandardScaler().set_output(transform="pandas"), MLPRegressor(**SMALL)),
              pandas.DataFrame(XR, columns=list("abcdefghij")), pandas.Series(YR)),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_folds_train_together(name, trainings):
    estimator, rows, targets = ESTIMATORS[name]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Got `batch_size` less")
        assert_same_results(*both(estimator, rows, targets))
    assert trainings == ([] if name == "early stopping" else [3])
    assert not hasattr(estimator, "coefs_") and "fit" not in vars(estimator)


def test_few_go_one_after_the_other(monkeypatch, trainings):
    monkeypatch.setattr(together, "FEWEST", 8)
    few, many = MLPRegressor(**SMALL, n_members=7), MLPRegressor(**SMALL, n_members=8)
    for model in (few, many):
        model.fit(XR, YR)
    assert_same_results(*both(MLPRegressor(**SMALL), XR, YR, cv=7))
    assert trainings == [8]
    for mine, its in zip(few.estimators_, many.estimators_, strict=False):
        assert_same_networks(mine, its)


def test_what_goes_one_after_the_other(trainings, tmp_path):
    cached = make_pipeline(StandardScaler(), MLPRegressor(**SMALL), memory=str(tmp_path))
    for estimator, rows, targets, scoring in [
            (MLPRegressor(**SMALL, solver="lbfgs"), XR, YR, "neg_max_error"), (cached, XR, YR, None),
            (MLPClassifier(**SMALL), scipy.sparse.csr_array(X), Y, "neg_log_loss")]:
        assert_same_results(*both(estimator, rows, targets, scoring=scoring))
    assert not trainings
    assert_same_results(*both(Ridge(), XR, YR, return_estimator=False))       # not ours at all


def test_ensembles_are_validated():
    assert_same_results(*both(MLPRegressor(**SMALL, n_members=2), XR, YR, return_estimator=False))


def test_arguments_of_scikit_learn():
    weight = np.random.default_rng(0).uniform(0.5, 2, len(X))
    model = MLPClassifier(**SMALL)
    assert_same_results(*both(model, X, Y, params={"sample_weight": weight}))
    assert_same_results(*both(model, X, Y, scoring=["accuracy", "neg_log_loss"]))
    assert_same_results(*both(model, X, Y, scoring=lambda fitted, rows, targets: {"many": fitted.n_iter_}))
    assert_same_results(*both(model, X, Y, cv=GroupKFold(3), groups=np.arange(len(X)) % 7))
    splits = [(np.arange(60), np.arange(60, 120)), (np.arange(90), np.arange(90, 120))]
    assert_same_results(*both(model, X, Y, cv=splits))
    assert_same_results(*both(model, X, Y, cv=ShuffleSplit(2, random_state=1)))
    random = cross_validate(model, X, Y, cv=ShuffleSplit(2), return_indices=True, return_estimator=True)
    for train, test, fitted, score in zip(
            *random["indices"].values(), random["estimator"], random["test_score"], strict=True):
        assert fitted.score(X[test], Y[test]) == score
        assert_same_networks(fitted, clone(model).fit(X[train], Y[train]))
    with sklearn.config_context(enable_metadata_routing=True):
        routed = MLPClassifier(**SMALL).set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
        assert_same_results(*both(routed, X, Y, params={"sample_weight": weight}))


def test_fits_that_fail():
    model = MLPRegressor(**SMALL | {"solver": "sgd", "learning_rate_init": 1e300})
    wild = XR * np.where(np.arange(len(XR)) < 50, 1, 1e200)[:, None]
    cv = [(np.arange(40), np.arange(40, 50)), (np.arange(60, 90), np.arange(40)), (np.arange(20), np.arange(20, 50))]
    calm = MLPRegressor(**SMALL)
    results = []
    for function in (cross_validate, model_selection.cross_validate):
        with pytest.warns(FitFailedWarning, match="1 fits failed out of a total of 3"):
            results.append(function(calm, wild, YR, cv=cv))
        for error_score in (np.nan, "raise"):
            with pytest.raises(ValueError, match="non-finite parameter weights"):
                function(model, XR, YR, cv=3, error_score=error_score)
        with pytest.raises(ValueError, match="alpha is -1"):
            function(clone(calm).set_params(alpha=-1), XR, YR, cv=3)
        for wrong in ({"cv": "five"}, {"scoring": "goodness"}):
            with pytest.raises(ValueError, match=next(iter(wrong.values()))):
                function(calm, XR, YR, **wrong)
    assert_same_results(*results)
    assert np.isnan(results[0]["test_score"][1])


def assert_same_search(ours, theirs):
    assert_same_results(ours.cv_results_, theirs.cv_results_)
    for name in ("best_index_", "best_score_", "n_splits_", "multimetric_", "n_resources_", "n_candidates_",
                 "n_remaining_candidates_", "n_iterations_", "max_resources_"):
        assert getattr(ours, name, None) == getattr(theirs, name, None), name
    assert str(getattr(ours, "best_params_", None)) == str(getattr(theirs, "best_params_", None))
    if ours.refit:
        assert_same_networks(ours.best_estimator_, theirs.best_estimator_)
        assert ours.refit_time_ > 0


GRID = {"learning_rate_init": [0.001, 0.02], "alpha": [0.0, 0.1], "dropout": [0.0, 0.3]}


def test_candidates_train_together(trainings):
    model = MLPRegressor(**SMALL)
    ours = GridSearchCV(model, GRID, cv=3, return_train_score=True).fit(XR, YR)
    assert trainings == [24]
    assert_same_search(ours, model_selection.GridSearchCV(model, GRID, cv=3, return_train_score=True).fit(XR, YR))
    assert ours.estimator is model and ours.n_jobs is None
    np.testing.assert_array_equal(ours.predict(XR), ours.best_estimator_.predict(XR))
    assert ours.score(XR, YR) == ours.best_estimator_.score(XR, YR)
    assert (ours.cv_results_["mean_fit_time"] > 0).all() and not ours.cv_results_["std_fit_time"].any()


def test_a_population_for_each_shape(trainings):
    grid = {"hidden_layer_sizes": [(4,), (6,)], "random_state": [0, 1], "solver": ["adam", "lbfgs"]}
    model = MLPClassifier(**SMALL)
    ours = GridSearchCV(model, grid, cv=2, n_jobs=2).fit(X, Y)
    assert trainings == [4, 4]
    assert_same_search(ours, model_selection.GridSearchCV(model, grid, cv=2).fit(X, Y))


def test_pipelines_and_other_last_steps(trainings):
    model = make_pipeline(StandardScaler(), MLPRegressor(**SMALL))
    grid = [{"mlpregressor__alpha": [0.0, 0.1], "standardscaler": [StandardScaler(), "passthrough"]},
            {"mlpregressor": [Ridge()]}]
    ours = GridSearchCV(model, grid, cv=KFold(2), refit=False).fit(XR, YR)
    assert trainings == [8]
    assert_same_search(ours, model_selection.GridSearchCV(model, grid, cv=KFold(2), refit=False).fit(XR, YR))


def test_several_scores_and_weights():
    weight = np.random.default_rng(0).uniform(0.5, 2, len(X))
    given = {"param_grid": {"alpha": [0.0, 1.0]}, "cv": 2, "scoring": ["accuracy", "f1_macro"], "refit": "f1_macro"}
    searches = [kind(MLPClassifier(**SMALL), **given).fit(X, Y, sample_weight=weight)
                for kind in (GridSearchCV, model_selection.GridSearchCV)]
    assert_same_search(*searches)


def test_candidates_that_fail():
    grid = {"learning_rate_init": [0.02, 1e300]}
    model = MLPRegressor(**SMALL, solver="sgd")
    searches = []
    for kind in (GridSearchCV, model_selection.GridSearchCV):
        with pytest.warns((FitFailedWarning, UserWarning), match="fits failed|non-finite"):
            searches.append(kind(model, grid, cv=2).fit(XR, YR))
    assert_same_search(*searches)
    for kind in (GridSearchCV, model_selection.GridSearchCV):
        with pytest.raises(ValueError, match="Invalid parameter 'alphas'"):
            kind(model, {"alphas": [1]}, cv=2).fit(XR, YR)
        failing = kind(model, {"alpha": [-1]}, cv=2)
        with pytest.raises(ValueError, match="alpha is -1"):
            failing.fit(XR, YR)
        assert failing.estimator is model


@pytest.mark.parametrize("kind", [GridSearchCV, HalvingGridSearchCV])
def test_searches_are_estimators(kind):
    search = kind(MLPClassifier(**SMALL), {"alpha": [0.0, 1.0]}, cv=2)
    assert clone(search).get_params(deep=False).keys() == search.get_params(deep=False).keys()
    search.fit(X, Y)
    for other in (pickle.loads(pickle.dumps(search)), clone(search).fit(X, Y)):
        np.testing.assert_array_equal(other.predict_proba(X), search.predict_proba(X))
        assert other.best_params_ == search.best_params_
    assert search.n_features_in_ == X.shape[1] and list(search.classes_) == [0, 1, 2, 3]
    nested = model_selection.cross_val_score(search, X, Y, cv=2)
    assert len(nested) == 2 and np.isfinite(nested).all()
    assert isinstance(search, model_selection.GridSearchCV) or kind is HalvingGridSearchCV


def test_callbacks_of_scikit_learn(capsys):
    search = GridSearchCV(MLPRegressor(**SMALL), {"alpha": [0.0, 1.0]}, cv=2).set_callbacks(ProgressBar()).fit(XR, YR)
    assert_same_search(search, model_selection.GridSearchCV(
        MLPRegressor(**SMALL), {"alpha": [0.0, 1.0]}, cv=2).fit(XR, YR))


HALVED = {
    "epochs": (MLPRegressor(**SMALL | {"max_iter": 18}), {}, XR, YR, [27, 9, 3]),
    "some stop": (MLPRegressor(**SMALL | {"max_iter": 40}, tol=0.05, n_iter_no_change=1), {}, XR, YR, None),
    "early stopping": (MLPClassifier(**SMALL | {"max_iter": 30}, early_stopping=True, n_iter_no_change=3), {}, X, Y,
                       None),
    "schedule": (MLPRegressor(**SMALL | {"max_iter": 18, "solver": "sgd", "learning_rate": "invscaling"}), {}, XR, YR,
                 [27, 9, 3]),
    "pipeline": (make_pipeline(StandardScaler(), MLPRegressor(**SMALL | {"max_iter": 18})),
                 {"resource": "mlpregressor__max_iter"}, XR, YR, [27, 9, 3]),
    "rows": (MLPClassifier(**SMALL), {"resource": "n_samples", "max_resources": 120, "random_state": 0}, X, Y, None),
    "aggressive": (MLPRegressor(**SMALL), {"min_resources": 4, "max_resources": 9, "aggressive_elimination": True,
                                           "factor": 2}, XR, YR, None),
}


@pytest.mark.parametrize("name", HALVED)
def test_halving_goes_on_to_the_same_results(name, trainings):
    model, given, rows, targets, members = HALVED[name]
    prefix = "mlpregressor__" if name == "pipeline" else ""
    grid = {prefix + "learning_rate_init": [0.001, 0.02, 0.1], prefix + "alpha": [0.0, 0.1, 1.0]}
    ours = HalvingGridSearchCV(model, grid, cv=3, **given).fit(rows, targets)
    assert ours.max_resources == given.get("max_resources", "auto")
    if members is not None:
        assert trainings == members
    full = {"resource": "max_iter", "max_resources": getattr(model, "max_iter", 18)} | given
    theirs = model_selection.HalvingGridSearchCV(model, grid, cv=3, **full).fit(rows, targets)
    assert_same_search(ours, theirs)


def test_halving_with_solvers_that_begin_anew():
    grid = {"solver": ["adam", "lbfgs"], "alpha": [0.0, 1.0]}
    model = MLPRegressor(**SMALL)
    ours = HalvingGridSearchCV(model, grid, factor=2, cv=2).fit(XR, YR)
    assert_same_search(ours, model_selection.HalvingGridSearchCV(
        model, grid, factor=2, cv=2, resource="max_iter", max_resources=9).fit(XR, YR))


def test_halving_refuses_what_scikit_learn_refuses():
    with pytest.raises(ValueError, match="Cannot use parameter max_iter as the resource"):
        HalvingGridSearchCV(MLPRegressor(**SMALL), {"max_iter": [1, 2]}, cv=2).fit(XR, YR)
    with pytest.raises(ValueError, match="must yield consistent folds"):
        HalvingGridSearchCV(MLPRegressor(**SMALL), {"alpha": [1, 2]}, cv=ShuffleSplit(2)).fit(XR, YR)
