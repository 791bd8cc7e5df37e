"""The mean loss of a network over checked rows: for `evaluate`, validation, and what is chosen after divergence."""

from __future__ import annotations

from math import fsum, inf
from typing import TYPE_CHECKING

import numpy as np

from ..core import called
from .trainable import engine_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._types import LossFunction, Network
    from ..core import Engine, Rows


def python_loss(engine: Engine) -> LossFunction | None:
    """The loss where it is a Python function; None for the library's own."""
    return engine.loss if callable(engine.loss) else None


def mean_loss(network: Network, rows: Rows) -> float:
    """The mean loss of a network over some Rows; a Python loss is asked once, for all of them."""
    engine = engine_of(network)
    function = python_loss(engine)
    if function is None:
        return engine.evaluate(rows)
    X, values, labels, _ = rows.arrays
    outputs = network.predict(X)
    if values is None:
        values = np.zeros_like(outputs)
        values[np.arange(len(labels)), labels] = 1
    return called(function, outputs, values.copy())[0]


def summed(values: Iterable[float]) -> float:
    """The correctly rounded sum; infinity where it overflows."""
    try:
        return fsum(values)
    except OverflowError:
        return inf
