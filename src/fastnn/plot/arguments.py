"""Checks of what users pass to several of the pictures. A check returns its argument as the pictures take it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import real_array
from ..training.trainable import checked_network

if TYPE_CHECKING:
    from .._types import Array, FloatArray
    from ..network import Network


def drawable(network: Network) -> Network:
    """network, or an error if it is none, or if its parameters are not finite."""
    if not np.isfinite(checked_network(network).get_parameters()).all():
        raise ValueError("weights or biases hold NaN or infinity, but must be finite; set them before drawing")
    return network


def listed(name: str, values: Any, what: str) -> list[Any]:
    """values as a list; `what` says in the error what it holds."""
    try:
        return list(values)
    except TypeError:
        raise TypeError(f"{name} is {values!r}, but must be a list of {what}") from None


def one_column(name: str, values: object) -> Array:
    """values (n,) or (n, 1) as (n,)."""
    array = real_array(name, values)
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def finite(name: str, values: object) -> FloatArray:
    """values (n,) in float64, all of them finite."""
    array = real_array(name, values).astype(np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name} has {array.ndim} dimensions, but must have 1")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds {array[~np.isfinite(array)][0]}, but must hold finite numbers")
    return array
