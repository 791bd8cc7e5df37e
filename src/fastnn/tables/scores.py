"""What a table model's outputs are worth: scores beside those of a constant answer, confusion matrix, calibration.

Each function takes the truth and the outputs of the same rows, which should not have trained the network that answers.
Classes are `y` (n,), integers from 0 to k-1, with `probabilities` (n, k); numbers are `y` (n,) with `predictions` (n,).
No sum here depends on a BLAS. Nothing here knows networks, files or text: report.py keeps what comes out, and
summary.py makes sentences of it.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_labels
from ..core import random_order
from ..training.metrics import accuracy, mae, r2, rmse
from .checks import Floats

Integers = NDArray[np.intp]

MOST_BINS = 10                              # of calibration
FEWEST_ROWS = 20                            # of such a bin, about: fewer say little
SMALLEST = float(np.finfo(np.float64).eps)  # a probability below it counts as it in the log-loss


class Bin(NamedTuple):
    """Rows that got similar predictions."""

    predicted: float        # the mean probability, or the mean prediction
    true: float             # the share of rows for which it came true, or the mean truth
    rows: int


# Classes


def class_scores(y: ArrayLike, probabilities: ArrayLike) -> dict[str, float]:
    """Accuracy, log-loss, and AUC: that of the second of two classes, or the mean of each class against all others.

    A class without rows, or without others, has no AUC; where that is so of all classes, `auc` is left out.
    """
    labels, p = checked_classes(y, probabilities)
    scores, occur = {"accuracy": float(accuracy(labels, p))}, np.unique(labels).tolist()
    if len(occur) > 1:
        compared = [1] if p.shape[1] == 2 else occur
        scores["auc"] = math.fsum(auc(labels == label, p[:, label]) for label in compared) / len(compared)
    return {**scores, "log_loss": log_loss(labels, p)}


def class_baseline(y: ArrayLike, classes: int) -> dict[str, float]:
    """The scores of giving each row the shares of the classes in `y`, so that the answer is the most frequent one."""
    counts = np.bincount(checked_labels(np.asarray(y), classes))
    shares = [count / int(counts.sum()) for count in counts.tolist() if count]
    return {"accuracy": max(shares), "log_loss": 0.0 - math.fsum(share * math.log(share) for share in shares)}


def log_loss(labels: Integers, probabilities: Floats) -> float:
    """The mean of -log(probability of the true class)."""
    true = np.maximum(probabilities[np.arange(len(labels)), labels], SMALLEST)
    return 0.0 - mean(np.log(true))


def auc(positive: NDArray[np.bool_], values: Floats) -> float:
    """The share of pairs of a positive and another row in which the positive one has the larger value.

    A tie is half a pair. There must be a row of both kinds. All is counted in whole numbers, so the result is exact.
    """
    others = np.sort(values[~positive])
    below = np.searchsorted(others, values[positive], side="left")
    not_above = np.searchsorted(others, values[positive], side="right")
    pairs = len(others) * (len(values) - len(others))
    return (int(below.sum()) + int(not_above.sum())) / (2 * pairs)


def confusion_matrix(y: ArrayLike, probabilities: ArrayLike) -> Integers:
    """Counts (k, k) of rows by their true class (down) and their most probable one (across)."""
    labels, p = checked_classes(y, probabilities)
    classes = p.shape[1]
    return np.bincount(labels * classes + p.argmax(axis=1), minlength=classes**2).reshape(classes, classes)


def class_calibration(y: ArrayLike, probabilities: ArrayLike) -> list[Bin]:
    """How often it came true what got similar probabilities: the second of two classes, or the most probable of more.

    A model is calibrated where `predicted` and `true` are nearly the same in each bin.
    """
    labels, p = checked_classes(y, probabilities)
    if p.shape[1] == 2:
        return bins_of(p[:, 1], (labels == 1).astype(np.float64))
    return bins_of(p.max(axis=1), (labels == p.argmax(axis=1)).astype(np.float64))


def checked_classes(y: ArrayLike, probabilities: ArrayLike) -> tuple[Integers, Floats]:
    """Labels (n,) and probabilities (n, k)."""
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or p.shape[1] < 2 or p.shape[:1] != np.shape(y) or not len(p):
        raise ValueError(f"probabilities have shape {p.shape} and y has shape {np.shape(y)}, but must be (n, classes) "
                         "and (n,), with one row and two classes at least")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("probabilities hold a number that is not from 0 to 1; pass the outputs of softmax")
    return checked_labels(np.asarray(y), p.shape[1]), p


# Numbers


def number_scores(y: ArrayLike, predictions: ArrayLike) -> dict[str, float]:
    """RMSE, MAE and R², as `Network.fit(metrics=…)` knows them."""
    true, predicted = checked_numbers(y, predictions)
    outputs = predicted[:, None]
    return {"rmse": float(rmse(true, outputs)), "mae": float(mae(true, outputs)), "r2": float(r2(true, outputs))}


def number_baseline(y: ArrayLike) -> dict[str, float]:
    """The RMSE and MAE of always predicting the mean of `y`."""
    true, _ = checked_numbers(y, y)
    always = np.full((len(true), 1), mean(true))
    return {"rmse": float(rmse(true, always)), "mae": float(mae(true, always))}


def number_calibration(y: ArrayLike, predictions: ArrayLike) -> list[Bin]:
    """The mean truth of rows that got similar predictions."""
    true, predicted = checked_numbers(y, predictions)
    return bins_of(predicted, true)


def checked_numbers(y: ArrayLike, predictions: ArrayLike) -> tuple[Floats, Floats]:
    """Truth and predictions, (n,) each and finite."""
    true, predicted = np.asarray(y, np.float64), np.asarray(predictions, np.float64)
    if true.ndim != 1 or true.shape != predicted.shape or not len(true):
        raise ValueError(f"y has shape {true.shape} and predictions have shape {predicted.shape}, but both must be "
                         "(n,), with one row at least")
    if not (np.isfinite(true).all() and np.isfinite(predicted).all()):
        raise ValueError("y or predictions hold NaN or infinity, but must be finite numbers")
    return true, predicted


# Both


def mean(values: Floats) -> float:
    """The mean of one number or more, whose sum is rounded once: it has the same bits on every machine."""
    return math.fsum(values.tolist()) / len(values)


def bins_of(predicted: Floats, true: Floats) -> list[Bin]:
    """At most ten bins of nearly as many rows each, by their prediction; equal predictions are in the same bin."""
    n = len(predicted)
    bins = min(MOST_BINS, max(1, n // FEWEST_ROWS))
    cuts = np.arange(1, bins) * n // bins
    place = np.searchsorted(np.sort(predicted)[cuts], predicted, side="right")
    members = [np.flatnonzero(place == number) for number in range(bins)]
    return [Bin(mean(predicted[rows]), mean(true[rows]), len(rows)) for rows in members if len(rows)]


def some_rows(n: int, most: int) -> Integers:
    """The indices, rising, of `most` of n rows, drawn at random, each time the same; all where there are not more."""
    return np.sort(random_order(n, 0, 0)[:most])
