"""What a fit computes after every epoch beside the training loss: the validation loss, and metrics.

`validation_loss` and `scores` check what users pass and return what `Fit` calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import checked_weights, real_array, validation_rows
from .metrics import checked_metrics, measured, r2, varying
from .rows import as_rows, inputs, tells_classes

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._types import Array, FloatArray, MetricFunction, Metrics, Network, Ranks, Validation, Weights
    from ..core import Engine


def validation_loss(network: Network, engine: Engine, validation_data: Validation | None,
                    ranks: Ranks) -> Callable[[], float] | None:
    """The function that gives the validation loss, or None."""
    if validation_data is None:
        return None
    X, y, sample_weight = validation_rows(validation_data, ", or a fraction of the rows")
    try:
        rows = as_rows(engine, X, y, sample_weight, whole=ranks.size == 1)
    except (TypeError, ValueError) as error:
        raise type(error)(f"validation_data: {error}") from None
    return ranks.mean_loss_of(network, rows)


def scores(network: Network, engine: Engine, metrics: Metrics, learned: Any, validation_data: Any,
           ranks: Ranks) -> dict[str, Scored]:
    """{name in the History: function that takes the metric} of the validation rows, or without them of those to learn
    from: (X, y) or (X, y, sample_weight)."""
    if isinstance(metrics, tuple) and not metrics:
        return {}
    functions = checked_metrics(metrics, engine.loss, tells_classes(engine))
    if not functions:
        return {}
    validating = validation_data is not None
    X, y, sample_weight = (*(validation_data if validating else learned), None)[:3]
    if not validating and (y is None or isinstance(X, np.memmap)):
        raise ValueError("metrics need validation_data where X is an iterable of batches or a memory-mapped file")
    X = inputs(engine, X)
    return {"validation_" * validating + name: Scored(name, function, network, X, y, sample_weight, ranks)
            for name, function in functions.items()}


class Scored:
    """A metric of a network on some rows, called after each epoch."""

    def __init__(self, name: str, function: MetricFunction, network: Network, X: FloatArray, y: object,
                 sample_weight: object, ranks: Ranks) -> None:
        self.name, self.function, self.network, self.X, self.ranks = name, function, network, X, ranks
        about = f"the metric {name}"
        weights = checked_weights("sample_weight", sample_weight, len(X), whole=ranks.size == 1)
        if any(ranks.gathered(about, weights is not None)):
            weights = ranks.joined_rows(about, np.ones(len(X)) if weights is None else weights)
        self.y, self.weights = ranks.joined_rows(about, real_array("y", y)), weights

    def says_nothing(self) -> str:
        """Why the metric cannot tell one network from another on these rows; nothing if it can."""
        return says_nothing(self.function, self.y, self.weights)

    def __call__(self) -> float:
        about = f"the metric {self.name}"
        outputs = self.ranks.joined_rows(about, self.network.predict(self.X))
        value = measured(self.name, self.function, self.y, outputs, self.weights)
        first: float = self.ranks.gathered(about, value)[0]      # what stops a fit must stop it on every rank
        return first


def says_nothing(function: MetricFunction, y: Array, weights: Weights) -> str:
    """Why a metric cannot tell one network from another on these rows; nothing if it can."""
    y = y if weights is None else y[weights > 0]
    if function is not r2 or varying(y.reshape(len(y), -1)).any():
        return ""
    return f"y is the same in each of its rows, of which there are {len(y)}, and r2 measures how y varies"
