"""What users pass: each check returns the value as the library wants it, or raises one full sentence.

A sentence names the argument, what came and what was expected. TypeError where the kind of
thing is wrong, ValueError where its value is. Nothing here knows networks or kernels.
"""

from __future__ import annotations

import math
import sys
from itertools import pairwise
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ._types import Array, Integers, Weights


def choose(argument: str, name: object, known: Collection[str]) -> str:
    """Returns name if it is one of known; else raises an error that suggests the nearest."""
    if isinstance(name, str) and name in known:
        return name
    if not isinstance(name, str):
        raise TypeError(f"{argument} is {name!r}, but must be one of the names {', '.join(known)}")
    from difflib import get_close_matches  # 2 ms of the import

    nearest = get_close_matches(name.lower(), known, n=1, cutoff=0.4)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise ValueError(f"{argument} is {name!r}, which does not exist; {hint}known are {', '.join(known)}")


def number(name: str, value: object, low: float = -math.inf, high: float = math.inf, open_low: bool = False,
           finite: bool = True) -> float:
    """value as a float, or an error: finite, low <= value < high (low < value with open_low)."""
    if not isinstance(value, Real):
        raise TypeError(f"{name} is {value!r}, but must be a number")
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not finite:
        return result
    if not (math.isfinite(result) and low <= result < high) or (open_low and result == low):
        bounds = "" if low == -math.inf else f" {'above' if open_low else 'at least'} {low}"
        bounds += f" and below {high}" if high < math.inf else ""
        raise ValueError(f"{name} is {value!r}, but must be a finite number{bounds}")
    return result


def real_array(name: str, values: object) -> Array:
    """values as a NumPy array of real numbers or booleans."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{name} has rows of different lengths, but must be a regular array of numbers") from None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {array.dtype}, but must hold real numbers")
    if np.ma.is_masked(values):
        raise TypeError(f"{name} is a masked array with masked values, but every value counts; fill or drop them")
    return array.view()     # its shape stays, whatever is done to the caller's array


def checked_integer(name: str, value: object, low: int, high: int = sys.maxsize) -> int:
    """value as an int in low … high."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}, but must be an integer")
    if not low <= int(value) <= high:
        raise ValueError(f"{name} is {value}, " + (
            f"but must be at least {low}" if value < low else f"which is too large: at most {high}"))
    return int(value)


def checked_sizes(layer_sizes: Sequence[int]) -> tuple[int, ...]:
    """layer_sizes as a tuple of at least two positive integers."""
    try:
        sizes = tuple(layer_sizes)
    except TypeError:
        raise TypeError(f"layer_sizes is {layer_sizes!r}, but must be a sequence such as [64, 128, 10]") from None
    if len(sizes) < 2:
        raise ValueError(f"layer_sizes is {list(sizes)}, but must hold at least 2 sizes: inputs and outputs")
    return tuple(checked_integer(f"layer_sizes[{i}]", size, 1) for i, size in enumerate(sizes))


def checked_hidden(activation: str | Sequence[str], layers: int, known: Collection[str],
                   output_too: Collection[str]) -> tuple[str, ...]:
    """The activations of the hidden layers, from one name or one per layer."""
    if isinstance(activation, str):
        return (checked_activation("activation", activation, known, output_too),) * layers
    try:
        names = tuple(activation)
    except TypeError:
        raise TypeError(f"activation is {activation!r}, but must be a name, or one name per hidden layer") from None
    if len(names) != layers:
        raise ValueError(f"activation has {len(names)} names, but there are {layers} hidden layers")
    return tuple(checked_activation(f"activation[{i}]", name, known, output_too) for i, name in enumerate(names))


def checked_activation(argument: str, name: object, known: Collection[str], output_too: Collection[str]) -> str:
    """The name of a hidden layer's activation."""
    if isinstance(name, str) and name in output_too and name not in known:
        raise ValueError(f"{argument} is {name!r}, which only the output can have; known are {', '.join(known)}")
    return choose(argument, name, known)


def checked_shares(name: str, values: Any, layers: int) -> tuple[float, ...]:
    """Numbers from 0 to below 1, one per hidden layer, from one number or one per layer."""
    if isinstance(values, Real):
        return (number(name, values, low=0, high=1),) * layers
    try:
        values = tuple(values)
    except TypeError:
        raise TypeError(f"{name} is {values!r}, but must be a number, or one per hidden layer") from None
    if len(values) != layers:
        raise ValueError(f"{name} has {len(values)} numbers, but there are {layers} hidden layers")
    return tuple(number(f"{name}[{i}]", value, low=0, high=1) for i, value in enumerate(values))


def checked_dtype(dtype: Any) -> str:
    """The name of a float type, from anything that NumPy takes for one."""
    try:
        name = np.dtype(dtype).name if dtype is not None else None
    except TypeError:
        name = dtype
    return choose("dtype", name, ("float32", "float64"))


def check_memory(sizes: Sequence[int], dtype: str) -> None:
    """Refuses a network whose parameters cannot be addressed."""
    n_parameters = sum((n_in + 1) * (n_out + 64) for n_in, n_out in pairwise(sizes))
    if n_parameters * np.dtype(dtype).itemsize > sys.maxsize // 8:
        raise ValueError(
            f"layer_sizes is {list(sizes)}, which makes {n_parameters:.3g} parameters: more than memory can hold")


def checked_labels(y: Array, classes: int) -> Integers:
    """Integer labels (n,) in 0 … classes-1."""
    if y.dtype.kind not in "iu":
        raise TypeError(
            f"y has dtype {y.dtype}, but softmax takes integer labels (n,) or probabilities (n, {classes}); "
            "convert labels with y.astype(int)")
    y = y.copy()        # first: the caller may change y at any time, and an unchecked label is an index into memory
    if y.min() < 0 or y.max() >= classes:
        wrong = y.min() if y.min() < 0 else y.max()
        raise ValueError(f"y holds the label {wrong}, but labels must be in 0 … {classes - 1} for {classes} outputs")
    return y.astype(np.intp, copy=False)


def check_range(name: str, values: Array, low: float, high: float, meaning: str) -> None:
    """Refuses values (n, k) outside low … high."""
    wrong = (values < low) | (values > high)
    if wrong.any():
        row, column = np.unravel_index(wrong.argmax(), wrong.shape)
        bounds = f"between {low} and {high}" if high < np.inf else f"at least {low}"
        raise ValueError(
            f"{name} holds {values[row, column]:g} in row {row}, column {column}, but {meaning} must be {bounds}")


def checked_weights(name: str, weights: Any, rows: int, whole: bool = True) -> Weights:
    """Weights (n,) in float64, or None; without `whole` they are a part of the rows, and may all be zero."""
    if weights is None:
        return None
    weights = real_array(name, weights)
    if weights.shape != (rows,):
        raise ValueError(f"{name} has shape {weights.shape}, but must have shape ({rows},): one weight a row")
    weights = np.require(weights, np.float64, ("C", "A"))
    wrong = ~(np.isfinite(weights) & (weights >= 0))
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"{name} holds {weights[row]} in row {row}, but must be finite and not negative")
    if not whole:
        return weights
    if not weights.any():
        raise ValueError(f"{name} is zero for every row, but at least one must count")
    if not 1e-100 < weights.max() < 1e100:
        weights = weights / weights.max()       # a mean does not change, and no sum overflows
    return weights


def check_out(out: object, shape: tuple[int, ...], dtype: str) -> Array:
    """The memory to predict into: `out` itself, or a stand-in where its layout does not fit."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out is a {type(out).__name__}, but must be a NumPy array")
    out = np.asarray(out)       # of a subclass its memory, whatever its attributes say
    if out.shape != shape:
        raise ValueError(f"out has shape {out.shape}, but the result has shape {shape}")
    if out.dtype != dtype:
        raise ValueError(f"out has dtype {out.dtype}, but the result has dtype {dtype}")
    if not out.flags.writeable:
        raise ValueError("out is read-only, but the result is written to it; pass a writable array")
    fits = out.flags.c_contiguous and out.flags.aligned
    return out if fits else np.empty(shape, dtype)
