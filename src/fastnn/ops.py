"""The kernels as functions, for training loops of your own.

All arrays of a call are NumPy arrays of the same dtype, float32 or float64. Shapes use these letters:

    m  rows (samples)    k  inputs of a layer    n  its outputs

Outputs are the first arguments, and are written in place. Pass None to skip an output. Arrays may have any strides.
There is no copy if rows are contiguous and a multiple of 64 bytes long. A wrong dtype is a TypeError. A wrong shape is
a ValueError, and so is an output that shares memory with another argument. (Activations may work in place.) The GIL is
released while a kernel runs.

>>> import numpy as np
>>> from fastnn import ops
>>> x, w, b = np.array([[1.0, 2.0]]), np.array([[0.5], [-1.0]]), np.array([0.25])
>>> y = np.empty((1, 1))
>>> ops.dense_forward(y, x, w, b, "relu")
>>> y
array([[0.]])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._checks import choose
from .core import dispatch
from .losses import as_loss, check_pair

if TYPE_CHECKING:
    from ._types import ActivationName, FloatArray, LossName, Weights

__all__ = [
    "activation_backward", "activation_forward", "adam_update", "dense_backward", "dense_forward",
    "loss_forward_backward", "sgd_update",
]


def dense_forward(y: FloatArray, x: FloatArray, w: FloatArray, b: FloatArray,
                  activation: ActivationName | str = "identity") -> None:
    """y := activation(x @ w + b), for y (m, n), x (m, k), w (k, n), b (n,)."""
    dispatch.kernels.dense_forward(y, x, w, b, activation)


def dense_backward(dx: FloatArray | None, dw: FloatArray | None, db: FloatArray | None, dz: FloatArray,
                   x: FloatArray | None, w: FloatArray | None) -> None:
    """The gradients of z = x @ w + b from dz (m, n): dx := dz @ w.T, dw := x.T @ dz, db := dz.sum(axis=0).

    dx (m, k), dw (k, n), db (n,); any of them may be None, and then x or w too where no other output needs it.
    """
    dispatch.kernels.dense_backward(dx, dw, db, dz, x, w)


def activation_forward(y: FloatArray, z: FloatArray, activation: ActivationName | str) -> None:
    """y := activation(z), for y and z (m, n); softmax works along rows."""
    dispatch.kernels.activation_forward(y, z, activation)


def activation_backward(dz: FloatArray, dy: FloatArray, y: FloatArray, z: FloatArray,
                        activation: ActivationName | str) -> None:
    """dz := dy * activation'(z), for dz, dy, y, z (m, n) and y = activation(z); for softmax, its Jacobian times dy."""
    dispatch.kernels.activation_backward(dz, dy, y, z, activation)


def loss_forward_backward(dz: FloatArray | None, z: FloatArray, t: FloatArray, loss: LossName | str,
                          activation: ActivationName | str = "identity", weights: Weights = None) -> float:
    """The mean loss of outputs activation(z) against targets t, as a float; dz := its gradient with respect to z.

    dz, z, t (m, n). The mean is over m*n elements (over m rows for "cross_entropy", and for "focal" with "softmax");
    with weights (m,), float64, it is weighted by rows. "binary_cross_entropy" goes with "sigmoid", "cross_entropy"
    with "softmax", "focal" with either of these, "poisson" with "exp".
    """
    choose("activation", activation, dispatch.kernels.activations)
    known: Any = as_loss(loss)
    check_pair(known.name, activation, "activation")
    return dispatch.kernels.loss_forward_backward(dz, z, t, known, activation, weights)


def sgd_update(parameters: FloatArray, gradients: FloatArray, learning_rate: float, velocity: FloatArray | None = None,
               momentum: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False) -> None:
    """parameters := parameters - learning_rate * step, all arrays of shape (size,).

    g = gradients + weight_decay * parameters; step is g, or with velocity, which is updated too,
    v := momentum * v + g, step is v, with nesterov g + momentum * v.
    """
    dispatch.kernels.sgd_update(parameters, gradients, learning_rate, velocity, momentum, weight_decay, nesterov)


def adam_update(parameters: FloatArray, gradients: FloatArray, first: FloatArray, second: FloatArray, step: int,
                learning_rate: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> None:
    """Adam's update of parameters and of its moments first and second, all of shape (size,); step counts from 1.

    The rule is that of `fastnn.Adam`; moments are zeros before the first step.
    """
    dispatch.kernels.adam_update(
        parameters, gradients, first, second, step, learning_rate, beta1, beta2, epsilon)
