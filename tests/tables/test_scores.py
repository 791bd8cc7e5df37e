"""Scores of a table model equal those of scikit-learn, or what a slow count says; no order of rows changes a bin."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastnn.tables import scores
from fastnn.tables.scores import Bin

pytestmark = pytest.mark.any_isa
EXACT = {"rel": 1e-13, "abs": 1e-15}


def classified(n, k, seed=0, digits=17):
    """Labels, and probabilities that know something of them; few digits make ties."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    logits = rng.normal(size=(n, k)) + 1.5 * np.eye(k)[y]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return y, np.round(p, digits)


def measured(n, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.lognormal(3, 1, n)
    return y, y * rng.uniform(0.7, 1.4, n)


# Classes


@pytest.mark.parametrize("digits", [17, 1])
@pytest.mark.parametrize("k", [2, 3, 7])
def test_scores_of_classes_are_those_of_scikit_learn(k, digits):
    metrics = pytest.importorskip("sklearn.metrics", reason="NOT TESTED: scikit-learn is not installed")
    y, p = classified(501, k, digits=digits)
    p[:9] = 0               # certain, and some of it wrong
    p[:9, 0] = 1
    one = [metrics.roc_auc_score(y == label, p[:, label]) for label in ([1] if k == 2 else range(k))]
    whole = p / p.sum(axis=1, keepdims=True) if digits > 2 else None
    assert scores.class_scores(y, p) == {
        "accuracy": pytest.approx(metrics.accuracy_score(y, p.argmax(axis=1)), **EXACT),
        "auc": pytest.approx(np.mean(one), **EXACT),
        "log_loss": pytest.approx(-np.log(np.clip(p[range(501), y], 2.0**-52, 1)).mean(), **EXACT)}
    assert (scores.confusion_matrix(y, p) == metrics.confusion_matrix(y, p.argmax(axis=1))).all()
    if whole is not None:
        assert scores.class_scores(y, whole)["log_loss"] == pytest.approx(metrics.log_loss(y, whole), **EXACT)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=30))
def test_auc_is_the_share_of_pairs(rows):
    positive = [value for is_positive, value in rows if is_positive]
    others = [value for is_positive, value in rows if not is_positive]
    if positive and others:
        wins = sum(Fraction(2 * (value > other) + (value == other), 2) for value in positive for other in others)
        expected = float(wins / (len(positive) * len(others)))
        kinds, values = (np.array(part) for part in zip(*rows, strict=True))
        assert scores.auc(kinds, values.astype(float)) == expected


def test_auc_is_of_the_classes_that_occur():
    y, p = classified(300, 4)
    y[y == 3] = 0
    assert scores.class_scores(y, p)["auc"] == np.mean([scores.auc(y == label, p[:, label]) for label in range(3)])


@pytest.mark.parametrize("k", [2, 3])
def test_one_class_alone_has_no_auc(k):
    assert scores.class_scores([1] * 4, np.full((4, k), 1 / k)).keys() == {"accuracy", "log_loss"}


def test_a_certain_error_costs_something_finite():
    assert scores.class_scores([0], [[0.0, 1.0]])["log_loss"] == pytest.approx(52 * math.log(2))
    assert str(scores.class_scores([0], [[1.0, 0.0]])["log_loss"]) == "0.0"


def test_the_baseline_gives_the_shares_of_the_classes():
    y = np.array([0] * 5 + [2] * 3)
    shares = np.tile([5 / 8, 0, 3 / 8], (8, 1))
    baseline, same = scores.class_baseline(y, 3), scores.class_scores(y, shares)
    assert baseline == {"accuracy": 5 / 8, "log_loss": pytest.approx(same["log_loss"], **EXACT)}
    assert str(scores.class_baseline([1, 1], 2)["log_loss"]) == "0.0"


def test_the_confusion_matrix_has_truth_down():
    p = np.eye(3)[[0, 1, 1, 2]]
    assert scores.confusion_matrix([0, 0, 1, 2], p).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]


def test_calibration_of_two_classes_is_that_of_the_second():
    y, p = np.array([0, 1] * 50), np.array([[0.9, 0.1], [0.3, 0.7]] * 50)
    assert scores.class_calibration(y, p) == [Bin(pytest.approx(0.1), 0, 50), Bin(pytest.approx(0.7), 1, 50)]
    assert scores.class_calibration(1 - y, p)[0] == Bin(pytest.approx(0.1), 1, 50)


def test_calibration_of_several_classes_is_that_of_the_most_probable():
    y, p = np.array([0, 1, 2, 2] * 30), np.array([[0.5, 0.3, 0.2], [0.0, 0.1, 0.9]] * 60)
    assert scores.class_calibration(y, p) == [Bin(0.5, 0.5, 60), Bin(0.9, 0.5, 60)]


@pytest.mark.parametrize("y, p, message", [
    ([0, 2], [[0.5, 0.5]] * 2, "label 2"), ([0, 1], [[0.5, 0.5]], "shape"), ([], np.zeros((0, 2)), "one row"),
    ([0], [[1.0]], "two classes"), ([0], [0.5], "shape"), ([0, 1], [[0.5, math.nan]] * 2, "0 to 1"),
    ([0, 1], [[-0.5, 1.5]] * 2, "0 to 1")])
def test_what_is_no_probability_is_refused(y, p, message):
    for function in (scores.class_scores, scores.confusion_matrix, scores.class_calibration):
        with pytest.raises(ValueError, match=message):
            function(np.array(y, int), p)


# Numbers


def test_scores_of_numbers_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics", reason="NOT TESTED: scikit-learn is not installed")
    y, predictions = measured(501)
    assert scores.number_scores(y, predictions) == {
        "rmse": pytest.approx(metrics.root_mean_squared_error(y, predictions), **EXACT),
        "mae": pytest.approx(metrics.mean_absolute_error(y, predictions), **EXACT),
        "r2": pytest.approx(metrics.r2_score(y, predictions), **EXACT)}
    mean = np.full(501, y.mean())
    assert scores.number_baseline(y) == {
        "rmse": pytest.approx(metrics.root_mean_squared_error(y, mean), **EXACT),
        "mae": pytest.approx(metrics.mean_absolute_error(y, mean), **EXACT)}


def test_huge_and_constant_numbers_have_scores():
    assert scores.number_scores([1e100, -1e100], [1e100, 1e100])["rmse"] == pytest.approx(2e100 / math.sqrt(2))
    assert scores.number_scores([3.0, 3.0], [3.0, 3.0]) == {"rmse": 0, "mae": 0, "r2": 1}
    assert scores.number_baseline([7.0]) == {"rmse": 0, "mae": 0}


def test_calibration_of_numbers_has_means_of_tenths():
    y, predictions = measured(1000)
    bins, order = scores.number_calibration(y, predictions), np.argsort(predictions)
    for found, rows in zip(bins, np.split(order, 10), strict=True):
        assert found == Bin(pytest.approx(predictions[rows].mean(), **EXACT), pytest.approx(y[rows].mean(), **EXACT),
                            100)


@pytest.mark.parametrize("y, predictions", [
    ([1.0, 2.0], [1.0]), ([], []), ([[1.0]], [[1.0]]), ([1.0], [math.nan]), ([math.inf], [1.0])])
def test_what_is_no_number_is_refused(y, predictions):
    for function in (scores.number_scores, scores.number_calibration):
        with pytest.raises(ValueError, match="must be"):
            function(y, predictions)


# Both


@pytest.mark.parametrize("n, bins", [(1, 1), (19, 1), (39, 1), (40, 2), (199, 9), (200, 10), (5000, 10)])
def test_bins_are_few_and_have_nearly_as_many_rows_each(n, bins):
    values = np.random.default_rng(n).permutation(n) / 4
    found = scores.bins_of(values, values)
    rows = [each.rows for each in found]
    assert len(found) == bins and sum(rows) == n and max(rows) - min(rows) <= 1
    assert all(low.predicted < high.predicted for low, high in zip(found, found[1:], strict=False))


@given(st.lists(st.integers(0, 3), min_size=60, max_size=200), st.randoms(use_true_random=False))
def test_equal_predictions_are_in_one_bin_and_the_order_of_rows_does_not_matter(values, random):
    true = [random.random() for _ in values]
    order = random.sample(range(len(values)), len(values))
    found = scores.bins_of(np.array(values, float), np.array(true))
    assert found == scores.bins_of(np.array(values, float)[order], np.array(true)[order])
    assert sum(each.rows for each in found) == len(values)
    ends = np.cumsum(np.unique(values, return_counts=True)[1])      # rows up to each value
    assert set(np.cumsum([each.rows for each in found])) <= set(ends)


def test_a_value_of_most_rows_has_a_bin_of_its_own():
    found = scores.bins_of(np.array([0.5] * 5 + [1.0] * 195), np.ones(200))
    assert found == [Bin(0.5, 1, 5), Bin(1, 1, 195)]


def test_rows_are_drawn_from_all_and_each_time_the_same():
    rows = scores.some_rows(1000, 50)
    assert len(set(rows)) == 50 and (np.diff(rows) > 0).all() and rows.max() > 800
    assert (rows == scores.some_rows(1000, 50)).all() and (np.diff(rows) > 1).any()
    assert scores.some_rows(7, 50).tolist() == list(range(7))
