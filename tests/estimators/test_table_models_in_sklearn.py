"""TableClassifier and TableRegressor in scikit-learn: its checks, searches, pipelines, threads and processes."""

import pickle
import threading

import numpy as np
import pandas
import pytest
from joblib import Parallel, delayed
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

import fastnn

pytestmark = pytest.mark.any_isa
QUICK = {"members": 2, "hidden": [32], "epochs": 60}

ROWS = "it fits fewer than 20 rows, from which a network learns nothing"
WORDS = "it asks for words of scikit-learn's; the error is of the right class, and says what to do"
NOT_FOR_TABLES = {
    "check_n_features_in_after_fitting": ROWS,
    "check_regressors_no_decision_function": ROWS,
    "check_classifiers_one_label": ROWS,
    "check_fit2d_1feature": ROWS,
    "check_classifier_data_not_an_array": ROWS,
    "check_fit2d_1sample": WORDS,
    "check_fit2d_predict1d": WORDS,
    "check_dtype_object": WORDS,
    "check_estimators_empty_data_messages": WORDS,
    "check_classifiers_regression_target": WORDS,
    "check_complex_data": "a complex number is a TypeError here, as any other value that is no cell",
    "check_requires_y_none": "y=None is a TypeError here",
    "check_supervised_y_2d": "a y of one column means just that, without a warning",
    "check_array_api_input": "scikit-learn skips it itself where SciPy is not told to know other arrays",
}


def of_numbers(tags):
    """The tags of an estimator of numbers: of others scikit-learn rounds the columns of its checks, until some of them
    say the target again, and are left out."""
    tags.input_tags.categorical = tags.input_tags.string = False
    return tags


class Classifier(fastnn.TableClassifier):
    def __sklearn_tags__(self):
        return of_numbers(super().__sklearn_tags__())


class Regressor(fastnn.TableRegressor):
    def __sklearn_tags__(self):
        return of_numbers(super().__sklearn_tags__())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [Classifier, Regressor])
def test_all_checks_of_scikit_learn_pass_that_apply_to_tables(kind):
    results = check_estimator(kind(members=2, hidden=[16], epochs=30), on_fail=None, on_skip=None)
    assert len(results) > 45
    assert {each["check_name"]: each["exception"] for each in results
            if each["status"] != "passed" and each["check_name"] not in NOT_FOR_TABLES} == {}


def frame(rows=80, seed=0):
    rng = np.random.default_rng(seed)
    return pandas.DataFrame({
        "size": pandas.array([None if row % 7 == 0 else row % 5 for row in range(rows)], "Int64"),
        "colour": pandas.Categorical(rng.choice(["red", "green"], rows)),
        "on": pandas.date_range("2024-01-01", periods=rows, tz="Asia/Tokyo"),
        "number": rng.normal(size=rows)}, index=rng.permutation(rows) + 1000)


def labels_of(X, names=("no", "yes")):
    return pandas.Series(np.where(X["number"].to_numpy() > 0, *names[::-1]))


@pytest.mark.parametrize("names", [("no", "yes"), ("0", "1"), ("007", "7"), ("False", "True"), (3, 5), (False, True)])
def test_searches_and_cross_validation_know_the_labels(names):
    X = frame()
    y = labels_of(X, names)
    predicted = cross_val_predict(fastnn.TableClassifier(**QUICK), X, y, cv=3)
    assert accuracy_score(y, predicted) > 0.8
    search = GridSearchCV(fastnn.TableClassifier(**QUICK), {"members": [1, 2]}, cv=2, scoring="roc_auc").fit(X, y)
    assert search.best_score_ > 0.8 and search.classes_.tolist() == list(names)
    assert search.best_estimator_.score(X, y) == accuracy_score(y, search.predict(X))


def test_a_regressor_is_cross_validated():
    X = frame()
    y = 3 * X["number"] + (X["colour"] == "red")
    assert cross_val_score(fastnn.TableRegressor(members=2, epochs=60), X, y, cv=3).mean() > 0.7
    assert is_regressor(fastnn.TableRegressor()) and is_classifier(fastnn.TableClassifier())


def test_a_pipeline_hands_frames_on():
    X = frame()
    piped = make_pipeline(FunctionTransformer(), fastnn.TableClassifier(**QUICK)).fit(X, labels_of(X))
    assert piped.score(X, labels_of(X)) > 0.8 and piped.predict_proba(X.iloc[::-1]).shape == (80, 2)


def test_a_second_fit_forgets_the_first():
    X, learner = frame(), fastnn.TableClassifier(**QUICK)
    first = learner.fit(X, labels_of(X)).predict_proba(X)
    learner.fit(X[["number"]], labels_of(X, (1, 2)))
    assert list(learner.recipe_.readings) == ["number"] and learner.n_features_in_ == 1
    np.testing.assert_array_equal(learner.fit(X, labels_of(X)).predict_proba(X), first)
    np.testing.assert_array_equal(clone(learner).fit(X, labels_of(X)).predict_proba(X), first)


def fitted(seed):
    X = frame()
    return fastnn.TableClassifier(**QUICK, seed=seed).fit(X, labels_of(X))


def test_threads_and_processes_fit_at_once():
    alone, found = [fitted(seed).predict_proba(frame()) for seed in range(3)], {}
    threads = [threading.Thread(target=lambda seed=seed: found.update({seed: fitted(seed)})) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    others = Parallel(n_jobs=2)(delayed(fitted)(seed) for seed in range(3))
    for seed in range(3):
        for model in (found[seed], others[seed], pickle.loads(pickle.dumps(others[seed]))):
            np.testing.assert_array_equal(model.predict_proba(frame()), alone[seed])
