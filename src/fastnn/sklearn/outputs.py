"""What a classifier's network says: probabilities and their logarithms, to all digits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import log_expit

from ..ops import activation_forward, dense_forward
from ..training.sources import CHUNK_BYTES

if TYPE_CHECKING:
    from .._types import Array, FloatArray
    from ..network import Network


def probabilities(network: Network, X: Array) -> FloatArray:
    """The outputs (n, n_classes). A single output is the second class's: the first one's is added."""
    if network.layer_sizes[-1] > 1:
        return network.predict(X)
    z = preactivations(network, X)
    second, first = np.empty_like(z), np.empty_like(z)
    activation_forward(second, z, "sigmoid")
    activation_forward(first, -z, "sigmoid")
    # 1 - p has few correct digits for p near 1. Up to a half it has all, and never contradicts `predict`.
    return np.hstack([np.where(second > 0.5, first, 1 - second), second])


def log_probabilities(network: Network, X: Array) -> FloatArray:
    """The logarithms of `probabilities`, computed from the pre-activations of the last layer."""
    z = preactivations(network, X)
    exact = z.astype(np.float64)
    if network.activations[-1] == "softmax":
        exact -= exact.max(axis=1, keepdims=True)
        others = np.exp(exact)
        np.put_along_axis(others, exact.argmax(axis=1, keepdims=True), 0, axis=1)
        exact -= np.log1p(others.sum(axis=1, keepdims=True))
    elif network.layer_sizes[-1] == 1:
        exact = log_expit(np.hstack([-exact, exact]))
    else:
        activation_forward(z, z, "sigmoid")     # so that equal probabilities have equal logarithms
        exact = np.where(z > 0.5, np.log(np.maximum(z, 0.5)), log_expit(exact))
    return exact.astype(network.dtype)


def preactivations(network: Network, X: Array) -> FloatArray:
    """The pre-activations (n, n_outputs) of the last layer, computed for some rows at a time: `layer_outputs` keeps the
    outputs of every layer."""
    z = np.empty((len(X), network.layer_sizes[-1]), network.dtype)
    rows = max(1, CHUNK_BYTES // (sum(network.layer_sizes) * z.itemsize))
    for first in range(0, len(X) or 1, rows):       # also if there are no rows: the network refuses them
        part = slice(first, first + rows)
        dense_forward(z[part], network.layer_outputs(X[part])[-2], network.weights[-1], network.biases[-1])
    return z
