"""Curvature of the mean loss: products with its Hessian, and the learning rate that it bounds.

Derivatives are differences of `Network.gradients` of a float64 twin, so the network itself is never touched.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np

from .._checks import real_array
from ..activations import ACTIVATIONS, takes_row
from ..network import Network
from ..training.trainable import checked_network

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._types import ArrayLike, FloatArray
    from ..network import Gradients

# The step of central differences of gradients along a direction of length 1, in float64, for parameters of 1 at most.
# Where the loss is smooth, their truncation (STEP**2) and rounding (2**-52 / STEP) are least together near 6e-6, at
# 1e-10. But every kink of a ReLU that a step crosses adds a jump divided by 2 STEP. At 1e-7 the rounding is 1e-9, and
# 60 times fewer kinks are crossed. Where the gradient is so large that rounding hides the difference, steps are wider.
STEP = 1e-7
WIDEST = 1e-2
ROUNDING = 1e-14                # a relative difference of two gradients that is rounding: they are equal
ENOUGH = 1e-11                  # one that is known to some three digits
MOVED = 1e-3                    # the size of what is added to biases, away from kinks: zeros put whole rows there
ITERATIONS = 500
KINKED = {name for name, activation in ACTIVATIONS.items() if not takes_row(name)
          and abs(activation.derivative(1e-9) - activation.derivative(-1e-9)) > 1e-3}
CLOSE = 0.01                    # an eigenvalue is found when it is known within 1 %; mostly it is much closer then


def curvature(network: Network, X: ArrayLike, y: ArrayLike, direction: ArrayLike) -> float:
    """The second derivative of the mean loss along a direction (n_parameters,), in the order of `get_parameters`.

    It is v @ H @ v, where H is the Hessian at the present parameters, and v is the direction divided by its length. It
    is computed by central differences of gradients, (gradient(p + h v) - gradient(p - h v)) / 2 h, in float64 for any
    dtype. The step h is 1e-7, or 1e-7 times the largest parameter if that is above 1. This leaves about 1e-9 of the
    gradient as rounding, and meets few kinks of ReLUs. If rounding would hide the difference, the step grows, up to
    1e-2. For activations with a kink at 0, all biases are moved by random numbers of size 1e-3, which are always the
    same, because biases of zero put whole rows at the kink.

    >>> import numpy as np, fastnn
    >>> net = fastnn.Network([1, 1])                # loss (3 w + b)**2: its second derivative along w is 2 * 3**2
    >>> round(fastnn.diagnostics.curvature(net, [[3.0]], [0.0], [1, 0]), 4)
    18.0
    """
    size = checked_network(network).n_parameters
    direction = real_array("direction", direction).astype(np.float64)
    if direction.shape != (size,):
        raise ValueError(f"direction has shape {direction.shape}, but this network has {size} parameters")
    length = np.linalg.norm(direction)
    if not 0 < length < math.inf:
        raise ValueError(f"direction has the length {length}, but must be finite and not zero")
    return float(direction / length @ hessian(network, X, y)(direction / length))


def largest_stable_rate(network: Network, X: ArrayLike, y: ArrayLike) -> float:
    """2 / the largest eigenvalue of the Hessian of the mean loss over these rows, at the present parameters.

    Near a minimum, plain gradient descent over all rows diverges with a larger learning rate. For a quadratic loss this
    is exact (LeCun et al., 1998, "Efficient BackProp"). Elsewhere the curvature changes on the way: with a larger rate,
    training moves to flatter places, and often settles where its rate equals this bound (Cohen et al., 2021, "Gradient
    descent on neural networks typically occurs at the edge of stability"). With momentum m, the bound is 1 + m times as
    high. It is infinite if no curvature is positive.

    It is computed by power iteration from a fixed start. Each product with the Hessian is a central difference of
    gradients in float64 (see `curvature`). A RuntimeWarning says if the iteration does not converge.

    >>> import numpy as np, fastnn
    >>> net = fastnn.Network([1, 1])                # the Hessian is 2 * [[9, 3], [3, 1]]
    >>> round(fastnn.diagnostics.largest_stable_rate(net, [[3.0]], [0.0]), 4)
    0.1
    """
    rate, converged = stable_rate(checked_network(network), X, y)
    if not converged:
        warnings.warn(f"the largest curvature did not converge in {ITERATIONS} iterations; the rate {rate:g} is an "
                      "estimate", RuntimeWarning, stacklevel=2)
    return rate


def stable_rate(network: Network, X: ArrayLike, y: ArrayLike) -> tuple[float, bool]:
    """(the largest stable rate, whether it converged)."""
    product = hessian(network, X, y)
    value, radius, converged = largest_eigenvalue(product, network.n_parameters, 0.0)
    if value < 0 or not converged:      # if it is negative, all shifted by its size are 0 or more
        value, _, converged = largest_eigenvalue(product, network.n_parameters, radius)
    return 2 / value if value > 0 else math.inf, converged


def largest_eigenvalue(product: Callable[[FloatArray], FloatArray], size: int,
                       shift: float) -> tuple[float, float, bool]:
    """Power iteration on v -> product(v) + shift * v.

    (the eigenvalue that is largest in size, less shift; that size; whether the iteration has converged)"""
    v = np.random.default_rng(0).normal(size=size)
    for _ in range(ITERATIONS):
        v /= np.linalg.norm(v)
        image = product(v) + shift * v
        value, radius = float(v @ image) - shift, float(np.linalg.norm(image))
        residual = np.linalg.norm(image - (value + shift) * v)      # an eigenvalue is at most that far away
        if residual <= CLOSE * max(abs(value), CLOSE * shift):
            return value, radius, True
        v = image
    return value, radius, False


def hessian(network: Network, X: ArrayLike, y: ArrayLike) -> Callable[[FloatArray], FloatArray]:
    """The function that multiplies the Hessian of the mean loss with a vector of length 1."""
    twin = float64_twin(network)
    if not KINKED.isdisjoint(network.activations):
        move_biases(twin, np.random.default_rng(0))
    parameters = twin.get_parameters()
    size = max(1.0, float(np.abs(parameters).max()))

    def gradient(shift: FloatArray) -> FloatArray:
        twin.set_parameters(parameters + shift)
        return packed(twin.gradients(X, y))

    def product(v: FloatArray) -> FloatArray:
        step = STEP
        while True:
            above, below = gradient(step * size * v), gradient(-step * size * v)
            difference, both = above - below, np.linalg.norm(above + below)
            if np.linalg.norm(difference) > ENOUGH * both or step >= WIDEST:
                break
            step *= 10
        if np.linalg.norm(difference) <= ROUNDING * both:
            return np.zeros_like(difference)
        return difference / (2 * step * size)

    return product


def move_biases(network: Network, generator: np.random.Generator) -> None:
    """Moves the biases away from kinks, by random numbers of size MOVED."""
    for biases in network.biases:
        biases += MOVED * generator.normal(size=biases.shape)


def packed(gradients: Gradients) -> FloatArray:
    """Gradients in the order of `get_parameters`."""
    pairs = zip(gradients.weights, gradients.biases, strict=True)
    return np.concatenate([part.ravel() for pair in pairs for part in pair])


def float64_twin(network: Network) -> Network:
    """A float64 network with these parameters and this loss."""
    parameters = checked_network(network).get_parameters()
    if not np.isfinite(parameters).all():
        raise ValueError("weights or biases hold NaN or infinity, but must be finite; set them first")
    twin = Network(network.layer_sizes, network.activations[:-1], network.activations[-1], network.loss,
                   dtype="float64")
    twin.set_parameters(parameters)
    return twin
