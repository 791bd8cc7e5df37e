"""Metrics by name: what `fit(metrics=…)` records beside the loss.

A metric is a function of the targets as the user passed them and of `predict`'s outputs; a
name below, or any callable `(y, outputs) -> float`. They are taken on the validation rows
where there are some (and are called `validation_<name>` then), else on the training rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ._checks import choose, number

if TYPE_CHECKING:
    from ._types import AnyLoss, Array, Float, FloatArray, MetricFunction, Metrics
    from .data import Ranks
    from .network import Network


def accuracy(y: Array, outputs: Array) -> Float:
    """The share of rows whose class is right: the largest of several outputs, or one output above 0.5."""
    if outputs.shape[1] == 1:
        return np.mean((outputs[:, 0] > 0.5) == (np.reshape(y, -1) > 0.5))
    return np.mean(outputs.argmax(axis=1) == (y.argmax(axis=1) if np.ndim(y) == 2 else y))


def r2(y: Array, outputs: Array) -> Float:
    """1 - sum of squared errors / sum of squared deviations from the mean, a mean over outputs; 0 where y is constant
    and missed, 1 where it is met."""
    y = np.reshape(y, outputs.shape).astype(np.float64)
    errors = ((y - outputs) ** 2).sum(axis=0)
    deviations = ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    ratios = np.divide(errors, deviations, out=(errors > 0).astype(np.float64), where=deviations > 0)
    return 1 - ratios.mean()


def mae(y: Array, outputs: Array) -> Float:
    """The mean absolute error."""
    return np.abs(np.reshape(y, outputs.shape) - outputs.astype(np.float64)).mean()


def mse(y: Array, outputs: Array) -> Float:
    """The mean squared error."""
    return ((np.reshape(y, outputs.shape) - outputs.astype(np.float64)) ** 2).mean()


def rmse(y: Array, outputs: Array) -> Float:
    """The root of the mean squared error."""
    return np.sqrt(mse(y, outputs))


class Metric(NamedTuple):
    """A function of targets and outputs, and which of its values are better."""

    function: MetricFunction
    mode: str
    classes: bool = False


METRICS = {"accuracy": Metric(accuracy, "max", classes=True), "r2": Metric(r2, "max"), "mae": Metric(mae, "min"),
           "mse": Metric(mse, "min"), "rmse": Metric(rmse, "min")}


RECORDED = ("loss", "validation_loss", "learning_rate", "seconds", "stopped_by", "as_dict", "to_frame", "last")


def checked_metrics(metrics: Metrics, loss: AnyLoss | str, classifying: bool) -> dict[str, MetricFunction]:
    """{name: function} from names and callables."""
    if isinstance(metrics, str) or callable(metrics):
        metrics = [metrics]
    elif not np.iterable(metrics):
        if metrics is None:
            return {}
        raise TypeError(f"metrics is {metrics!r}, but must be names such as 'accuracy' or functions (y, outputs) -> float")
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


class Scored:
    """A metric of a network on some rows, called after each epoch."""

    def __init__(self, name: str, function: MetricFunction, network: Network, X: FloatArray, y: object,
                 ranks: Ranks) -> None:
        self.name, self.function, self.network, self.X, self.ranks = name, function, network, X, ranks
        self.y = ranks.joined_rows(f"the metric {name}", np.asarray(y))

    def __call__(self) -> float:
        about = f"the metric {self.name}"
        outputs = self.ranks.joined_rows(about, self.network.predict(self.X))
        value = number(about, self.function(self.y, outputs), finite=False)
        first: float = self.ranks.gathered(about, value)[0]      # what stops a fit must stop it on every rank
        return first
