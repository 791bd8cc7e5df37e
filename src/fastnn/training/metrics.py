"""Metrics by name: what `fit(metrics=…)` records beside the loss.

A metric is a function of the targets and of `predict`'s outputs: a name below, or any callable
`(y, outputs) -> float`. They are taken on the validation rows where there are some (and are called
`validation_<name>` then), else on the training rows. `measured` computes one: it gives targets the shape of the
outputs, and weights to functions that take `sample_weight`. validation.py knows on which rows and when a fit computes
them.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .._checks import choose, number, plain, sequence

if TYPE_CHECKING:
    from .._types import AnyLoss, Array, Float, FloatArray, MetricFunction, Metrics, Weights


def accuracy(y: Array, outputs: Array, sample_weight: Weights = None) -> Float:
    """The share of rows whose class is right: the largest of several outputs, or one output above 0.5."""
    if outputs.shape[1] == 1:
        return np.average((outputs[:, 0] > 0.5) == (np.reshape(y, -1) > 0.5), weights=sample_weight)
    labels = y.argmax(axis=1) if np.ndim(y) == 2 else y
    return np.average(outputs.argmax(axis=1) == labels, weights=sample_weight)


@np.errstate(under="ignore")
def r2(y: Array, outputs: Array, sample_weight: Weights = None) -> Float:
    """1 - sum of squared errors / sum of squared deviations from the mean, a mean over outputs; 0 where y is constant
    (in all rows that count) and missed, 1 where it is met."""
    y, outputs, weights = counting(y, outputs, sample_weight)
    varies = varying(y)
    deviations = y - np.average(y, axis=0, weights=weights)
    # In units of the largest deviation, whose squares neither overflow nor vanish.
    unit = np.where(varies, np.abs(deviations).max(axis=0), 1)
    errors = np.average(((y - outputs) / unit) ** 2, axis=0, weights=weights)
    ratios = np.divide(errors, np.average((deviations / unit) ** 2, axis=0, weights=weights),
                       out=np.sign(np.abs(y - outputs).max(axis=0)), where=varies)
    return 1 - ratios.mean()


@np.errstate(under="ignore")
def mae(y: Array, outputs: Array, sample_weight: Weights = None) -> Float:
    """The mean absolute error."""
    y, outputs, weights = counting(y, outputs, sample_weight)
    return np.average(np.abs(y - outputs), axis=0, weights=weights).mean()


@np.errstate(under="ignore")
def mse(y: Array, outputs: Array, sample_weight: Weights = None) -> Float:
    """The mean squared error."""
    y, outputs, weights = counting(y, outputs, sample_weight)
    return np.average((y - outputs) ** 2, axis=0, weights=weights).mean()


def rmse(y: Array, outputs: Array, sample_weight: Weights = None) -> Float:
    """The root of the mean squared error."""
    return np.sqrt(mse(y, outputs, sample_weight))


def counting(y: Array, outputs: Array, sample_weight: Weights) -> tuple[Array, Array, Weights]:
    """Targets and outputs in float64 and their weights, of the rows that count."""
    y, outputs = np.reshape(y, outputs.shape).astype(np.float64), outputs.astype(np.float64)
    if sample_weight is None:
        return y, outputs, None
    return y[sample_weight > 0], outputs[sample_weight > 0], sample_weight[sample_weight > 0]


def varying(y: Array) -> Array:
    """Which columns hold different numbers."""
    return y.max(axis=0) > y.min(axis=0)


def measured(name: str, function: MetricFunction, y: Array, outputs: FloatArray,
             sample_weight: Weights = None) -> float:
    """The value of a metric, a float that may be NaN.

    y is (n,) or (n, n_outputs) for outputs (n, n_outputs); one number a row gets the outputs' shape, (n, 1),
    and labels, (n,) for several outputs, stay as they are. A function that has a parameter `sample_weight` gets the
    weights, (n,) or None; others know nothing of them. ValueError for a y of another shape, TypeError for a value
    that is no number.

    >>> measured("mae", mae, np.array([1.0, 2.0]), np.array([[1.0], [4.0]]), np.array([3.0, 1.0]))
    0.5
    """
    about = f"the metric {name}"
    if y.ndim == 1 and outputs.shape[1] == 1:
        y = y[:, None]
    if y.shape not in (outputs.shape, outputs.shape[:1]):
        raise ValueError(f"y has shape {y.shape}, but {about} compares it with outputs of shape {outputs.shape}")
    weights = {"sample_weight": sample_weight} if takes_weights(function) else {}
    return number(about, function(y, outputs, **weights), finite=False)


def takes_weights(function: MetricFunction) -> bool:
    """Whether a function has a parameter `sample_weight`."""
    try:
        parameter = inspect.signature(function).parameters.get("sample_weight")
    except (TypeError, ValueError):         # compiled ones may have no signature
        return False
    return parameter is not None and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)


class Metric(NamedTuple):
    """A function of targets and outputs, and which of its values are better."""

    function: MetricFunction
    mode: str
    classes: bool = False


METRICS = {"accuracy": Metric(accuracy, "max", classes=True), "r2": Metric(r2, "max"), "mae": Metric(mae, "min"),
           "mse": Metric(mse, "min"), "rmse": Metric(rmse, "min")}


def mode_of(name: str) -> str | None:
    """Which values are better in the list of a History with this name, "min" or "max"; None where that is not known."""
    metric = METRICS.get(name.removeprefix("validation_"))
    return "min" if name.endswith("loss") else None if metric is None else metric.mode

# Names that a History has already, so no metric can have them.
RECORDED = ("loss", "validation_loss", "learning_rate", "seconds", "stopped_by", "as_dict", "to_frame", "last")


def checked_metrics(metrics: Metrics, loss: AnyLoss, classifying: bool) -> dict[str, MetricFunction]:
    """{name: function} from names and callables."""
    metrics = plain(metrics)
    if isinstance(metrics, str) or callable(metrics):
        metrics = [metrics]
    if metrics is None:
        return {}
    metrics = sequence("metrics", metrics, "be names and functions in a sequence, such as ['accuracy']")
    functions: dict[str, MetricFunction] = {}
    for metric in metrics:
        if callable(metric):
            name, function = getattr(metric, "__name__", type(metric).__name__), metric
        else:
            known = METRICS[choose("metrics", metric, METRICS)]
            name, function = metric, known.function
            if known.classes != classifying:
                kind = ("classes that exclude each other: softmax of several, or one sigmoid" if known.classes
                        else "numbers")
                raise ValueError(f"metrics names {metric!r}, which is for {kind}, but the loss is {loss!r}; "
                                 "pass a function (y, outputs) -> float")
        if name in functions or name in RECORDED:
            raise ValueError(f"metrics holds two functions called {name!r}, or a name that the History has already; "
                             "give each a __name__ of its own")
        functions[name] = function
    return functions
