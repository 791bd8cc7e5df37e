"""Activations as functions of arrays, each with its derivative.

>>> import fastnn
>>> fastnn.activations.sigmoid([-3.0, 0.0, 3.0]).round(3)
array([0.047, 0.5  , 0.953])
>>> float(fastnn.activations.sigmoid.derivative(0.0))
0.25

They use the same kernels as networks, so they give the same bits. The formulas are in `kernels/activations.pxd`
(fast) and `reference.py` (readable).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from ._checks import real_array
from .core import dispatch

if TYPE_CHECKING:
    from ._types import ArrayLike, FloatArray

__all__ = [
    "Activation", "elu", "exp", "gelu", "identity", "leaky_relu", "relu", "selu", "sigmoid", "silu", "softmax",
    "softplus", "tanh",
]

# The names that editors offer; test_typing.py compares them with the registries below.
HiddenName = Literal["identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "softplus", "silu", "gelu"]
ActivationName = HiddenName | Literal["softmax", "exp"]


class Activation:
    """An element-wise function `y = activation(z)`; softmax works along the last axis.

    It takes numbers and arrays of any shape. float32 gives float32, everything else gives float64.
    """

    def __init__(self, name: str, formula: str, initializer: str = "glorot_uniform", output_only: bool = False) -> None:
        self.name = name
        self.initializer = initializer
        self.output_only = output_only
        self.__doc__ = formula

    def __repr__(self) -> str:
        return f"<activation {self.name}: {self.__doc__}>"

    def __call__(self, z: ArrayLike) -> FloatArray:
        """The value at z: an array of z's shape."""
        z, rows = as_rows(z)
        y = np.empty_like(rows)
        dispatch.kernels.activation_forward(y, rows, self.name)
        return y.reshape(z.shape)[()]

    def derivative(self, z: ArrayLike) -> FloatArray:
        """The derivative with respect to z, at z: an array of z's shape.

        Softmax's is its Jacobian: for z of shape (..., k), an array (..., k, k) of d y_i / d z_j.
        """
        z, rows = as_rows(z)
        if takes_row(self.name):
            if z.ndim == 0:
                raise ValueError(f"z has 0 dimensions, but {self.name}'s derivative needs at least 1")
            y = self(z)
            return y[..., :, None] * (np.eye(z.shape[-1], dtype=z.dtype) - y[..., None, :])
        y, slope = np.empty_like(rows), np.empty_like(rows)
        dispatch.kernels.activation_forward(y, rows, self.name)
        dispatch.kernels.activation_backward(slope, np.ones_like(rows), y, rows, self.name)
        return slope.reshape(z.shape)[()]


def takes_row(name: str) -> bool:
    """Whether each value of an activation depends on its whole row, as softmax's do, and not on one z alone."""
    return bool(dispatch.kernels.activations[name]["takes_row"])


def as_rows(z: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """z as a float array, and the same as contiguous rows of its last axis."""
    z = real_array("z", z)
    single = z.dtype.kind == "f" and z.dtype.itemsize == 4
    z = np.require(z, np.float32 if single else np.float64, ("C", "A"))
    return z, z.reshape(-1, z.shape[-1] if z.ndim else 1) if z.size else z.reshape(0, 1)


identity = Activation("identity", "z")
sigmoid = Activation("sigmoid", "1 / (1 + exp(-z))")
tanh = Activation("tanh", "tanh(z)")
relu = Activation("relu", "max(z, 0)", "he_normal")
leaky_relu = Activation("leaky_relu", "z for z > 0, 0.01 z elsewhere", "he_normal")
elu = Activation("elu", "z for z > 0, exp(z) - 1 elsewhere", "he_normal")
selu = Activation("selu", "1.0507 z for z > 0, 1.7581 (exp(z) - 1) elsewhere", "lecun_normal")
softplus = Activation("softplus", "log(1 + exp(z))", "he_normal")
silu = Activation("silu", "z sigmoid(z)", "he_normal")
gelu = Activation("gelu", "z Phi(z), Phi the normal distribution function", "he_normal")
softmax = Activation("softmax", "exp(z) / sum of exp(z) along the last axis", output_only=True)
exp = Activation("exp", "exp(z)", output_only=True)

ACTIVATIONS: dict[str, Activation] = {name: globals()[name] for name in dispatch.kernels.activations}
HIDDEN = {name: activation for name, activation in ACTIVATIONS.items() if not activation.output_only}
