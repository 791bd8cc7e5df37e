"""ONNX's element-wise operators in NumPy, and the activation that a formula of them is.

A formula is recognised by its values, whatever the operators that it consists of: it is evaluated in float64 on a grid,
and compared with every activation of fastnn. A file has constants rounded to float32, so functions count as the same if
such a rounding explains their difference.
"""

from __future__ import annotations

import math
from functools import cache, reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from ..activations import ACTIVATIONS, takes_row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .._types import Array

# {TensorProto.DataType: dtype}, the results of a Cast that are known here.
DTYPES: dict[int, str] = {1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64",
                          9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64"}
ROUNDING = 1e-7     # of a constant in float32, or of two that are multiplied
TINY = 1e-14        # of numbers around 1, of formulas such as exp(z) - 1 in float64
# Steps of every size, for a formula may change at any of them.
STEPS = np.unique(np.concatenate([
    np.geomspace(1e-30, 1e-3, 60), np.linspace(1e-3, 40, 3000), np.geomspace(40, 3e38, 200), np.arange(1.0, 11.0)]))
GRID = np.concatenate([-STEPS[::-1], [0.0], STEPS])

erf, erfc = (np.vectorize(function, otypes=[np.float64]) for function in (math.erf, math.erfc))


def sigmoid(z: Array) -> Array:
    """1 / (1 + exp(-z))"""
    return 1 / (1 + np.exp(-z))


def softplus(z: Array) -> Array:
    """log(1 + exp(z))"""
    return np.logaddexp(z, 0)


def elu(z: Array, alpha: float) -> Array:
    """z above 0, alpha (exp(z) - 1) elsewhere"""
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0)))


def gelu(settings: Mapping[str, Any], z: Array) -> Array:
    """z Phi(z), or its approximation by tanh"""
    if settings["approximate"] == "tanh":
        return 0.5 * z * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))
    return 0.5 * z * erfc(-z / math.sqrt(2))


def clip(settings: Mapping[str, Any], z: Array, low: Array | None = None, high: Array | None = None) -> Array:
    """z between two limits, which were attributes before opset 11"""
    low, high = (settings.get(name) if given is None else given for name, given in (("min", low), ("max", high)))
    z = z if low is None else np.maximum(z, low)
    return z if high is None else np.minimum(z, high)


def divide(a: Array, b: Array) -> Array:
    """a / b; for integers, rounded towards 0"""
    return np.trunc(a / b).astype(a.dtype) if a.dtype.kind in "iu" else a / b


def cast(settings: Mapping[str, Any], z: Array) -> Array:
    """z in another dtype"""
    if settings["to"] not in DTYPES:
        raise ValueError(f"TensorProto.DataType {settings['to']} is not among those that are read")
    return z.astype(DTYPES[settings["to"]])


# By name: the attributes, with their defaults, and the inputs (None for one that is left out) -> the output.
OPERATORS: dict[str, Callable[..., Any]] = {
    "Abs": lambda _, z: np.abs(z), "Neg": lambda _, z: -z, "Sign": lambda _, z: np.sign(z),
    "Exp": lambda _, z: np.exp(z), "Log": lambda _, z: np.log(z), "Sqrt": lambda _, z: np.sqrt(z),
    "Reciprocal": lambda _, z: 1 / z, "Erf": lambda _, z: erf(z), "Tanh": lambda _, z: np.tanh(z),
    "Identity": lambda _, z: z, "Cast": cast,
    "Add": lambda _, a, b: a + b, "Sub": lambda _, a, b: a - b, "Mul": lambda _, a, b: a * b,
    "Div": lambda _, a, b: divide(a, b), "Pow": lambda _, a, b: np.power(a, b).astype(a.dtype),
    "Min": lambda _, *given: reduce(np.minimum, given), "Max": lambda _, *given: reduce(np.maximum, given),
    "Sum": lambda _, *given: reduce(np.add, given), "Mean": lambda _, *given: reduce(np.add, given) / len(given),
    "Greater": lambda _, a, b: a > b, "GreaterOrEqual": lambda _, a, b: a >= b, "Less": lambda _, a, b: a < b,
    "LessOrEqual": lambda _, a, b: a <= b, "Equal": lambda _, a, b: a == b,
    "Not": lambda _, a: ~a, "And": lambda _, a, b: a & b, "Or": lambda _, a, b: a | b,
    "Where": lambda _, condition, a, b: np.where(condition, a, b),
    "Clip": clip, "Relu": lambda _, z: np.maximum(z, 0), "PRelu": lambda _, z, slope: np.where(z < 0, slope * z, z),
    "LeakyRelu": lambda settings, z: np.where(z < 0, settings["alpha"] * z, z),
    "ThresholdedRelu": lambda settings, z: np.where(z > settings["alpha"], z, 0),
    "Elu": lambda settings, z: elu(z, settings["alpha"]),
    "Selu": lambda settings, z: settings["gamma"] * elu(z, settings["alpha"]),
    "Celu": lambda settings, z: np.maximum(z, 0) + np.minimum(
        settings["alpha"] * np.expm1(np.minimum(z, 0) / settings["alpha"]), 0),
    "Sigmoid": lambda _, z: sigmoid(z), "Softplus": lambda _, z: softplus(z), "Softsign": lambda _, z: z / (1 + abs(z)),
    "Gelu": gelu, "Swish": lambda settings, z: z * sigmoid(settings["alpha"] * z),
    "Mish": lambda _, z: z * np.tanh(softplus(z)),
    "HardSigmoid": lambda settings, z: np.clip(settings["alpha"] * z + settings["beta"], 0, 1),
    "HardSwish": lambda _, z: z * np.clip(z / 6 + 0.5, 0, 1),
}


def activation_of(values: Array) -> tuple[str | None, str]:
    """(activation with these values on GRID or None, a phrase about the difference from the closest activation)"""
    names = [name for name in ACTIVATIONS if not takes_row(name)]
    for name in names:
        if not differs(values, name).any():
            return name, ""
    usual = np.abs(GRID) <= 10
    with np.errstate(all="ignore"):
        distance = {name: float(np.abs(values - known(name)[0])[usual].mean()) for name in names}
    closest = min(names, key=lambda name: distance[name] if math.isfinite(distance[name]) else math.inf)
    wrong = np.flatnonzero(differs(values, closest))
    point = wrong[np.argmin(np.abs(np.log(np.abs(GRID[wrong]) + 1e-300)))]      # whose size is nearest to 1
    return None, (f"which gives {values[point]:.7g} at {GRID[point]:.4g}, where {closest}, the closest of fastnn's, "
                  f"gives {known(closest)[0][point]:.7g}")


def differs(values: Array, name: str) -> Array:
    """Whether values differ from those of an activation, for each point of GRID."""
    expected, tolerance = known(name)
    with np.errstate(all="ignore"):
        # Beyond 80, a formula may overflow where the activation does not, as log(1 + exp(z)).
        same = (values == expected) | (np.abs(values - expected) <= tolerance) | (
            ~np.isfinite(values) & (np.abs(GRID) > 80))
    return ~same


@cache
def known(name: str) -> tuple[Array, Array]:
    """(values of an activation on GRID, tolerance): the effect of rounding a constant of its argument or its result."""
    activation = ACTIVATIONS[name]
    expected, slope = activation(GRID), activation.derivative(GRID)
    with np.errstate(all="ignore"):
        size = np.abs(expected)
        tolerance = ROUNDING * (size + np.fmin(np.abs(GRID * slope), 100 * size)) + TINY * np.maximum(1, np.abs(GRID))
    return expected, np.where(np.isfinite(tolerance), tolerance, 0)
