"""What the formats share: a chain of layers, as it is read one piece after the other and becomes a Network.

A reader calls `linear`, `activation` and `dropout` in the order in which data flows, and then
`network`. What no Network can hold is a ValueError that begins with `where`: the words by which
the reader names the piece, such as "layer 3". Nothing here knows a foreign library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..activations import ACTIVATIONS, HIDDEN
from ..network import Network

if TYPE_CHECKING:
    from .._types import AnyLoss, Array, ArrayLike, FloatArray


def layers(network: Network) -> list[tuple[FloatArray, FloatArray, str]]:
    """A network's layers in order, copied: (weights (n_in, n_out), biases (n_out,), name of the activation)."""
    with network._at_rest():
        return [(weights.copy(), biases.copy(), activation) for weights, biases, activation
                in zip(network.weights, network.biases, network.activations, strict=True)]


class Chain:
    """Layers, as they come in."""

    def __init__(self) -> None:
        self.weights: list[Array] = []
        self.biases: list[Array] = []
        self.activations: list[str | None] = []     # None as long as it may still come
        self.rates: list[float] = []

    def linear(self, where: str, weights: ArrayLike, biases: ArrayLike | None = None) -> None:
        """A layer of weights (n_in, n_out) and biases (n_out,), None for zeros."""
        weights = np.asarray(weights)
        if weights.dtype not in (np.float32, np.float64):
            raise ValueError(f"{where} has weights of dtype {weights.dtype}, but they must be float32 or float64")
        if weights.ndim != 2:
            raise ValueError(f"{where} has weights of shape {weights.shape}, but they must have two dimensions")
        biases = np.zeros(weights.shape[1], weights.dtype) if biases is None else np.asarray(biases)
        if biases.dtype != weights.dtype or biases.shape != weights.shape[1:]:
            raise ValueError(f"{where} has biases of shape {biases.shape} and dtype {biases.dtype}, but its weights "
                             f"have shape {weights.shape} and dtype {weights.dtype}")
        if self.weights and weights.dtype != self.weights[0].dtype:
            raise ValueError(f"{where} has dtype {weights.dtype}, but the layers before it have "
                             f"{self.weights[0].dtype}: a network has one dtype")
        if self.weights and len(weights) != len(self.biases[-1]):
            raise ValueError(f"{where} takes {len(weights)} inputs, but the layer before it has "
                             f"{len(self.biases[-1])} outputs")
        if self.activations:
            self._settle()
            if self.activations[-1] not in HIDDEN:
                raise ValueError(f"{where} follows {self.activations[-1]!r}, which only the output can have; hidden "
                                 f"layers can have {', '.join(HIDDEN)}")
        self.weights.append(weights)
        self.biases.append(biases)
        self.activations.append(None)
        self.rates.append(0.0)

    def add(self, where: str, biases: Array) -> None:
        """Numbers that are added to the outputs of the latest layer, before its activation."""
        if not self.activations or self.activations[-1] is not None:
            raise ValueError(f"{where} adds a constant, which only a layer of weights can take up, right after it")
        self.biases[-1] = self.biases[-1] + biases

    def activation(self, where: str, name: str) -> None:
        """The activation of the latest layer."""
        if not self.activations:
            raise ValueError(f"{where} is the activation {name!r}, but there is no layer of weights before it")
        if self.activations[-1] is not None:
            raise ValueError(f"{where} is the activation {name!r}, but the layer before it has its own or has dropout "
                             f"already: a layer is weights, biases, one activation, and then dropout")
        self.activations[-1] = name

    def dropout(self, where: str, rate: float) -> None:
        """The share of the latest layer's outputs that a training step leaves out."""
        if not rate:
            return
        if not self.activations:
            raise ValueError(f"{where} drops out inputs, but only the outputs of hidden layers can have dropout")
        if self.rates[-1]:
            raise ValueError(f"{where} drops out what has dropout already: a hidden layer has one rate")
        self._settle()
        self.rates[-1] = rate

    def network(self, loss: str | AnyLoss | None, seed: int) -> Network:
        """The Network of these layers; `loss` None is the default of its output."""
        if not self.weights:
            raise ValueError("there is no layer of weights, but a network needs at least one")
        if self.rates[-1]:
            raise ValueError(f"the outputs have dropout {self.rates[-1]:g}, but only hidden layers can have it")
        *hidden, output = (activation or "identity" for activation in self.activations)
        sizes = [len(self.weights[0]), *map(len, self.biases)]
        network = Network(sizes, activation=hidden, output=output, loss=loss, dtype=self.weights[0].dtype, seed=seed,
                          dropout=self.rates[:-1])
        for to_weights, to_biases, weights, biases in zip(
                network.weights, network.biases, self.weights, self.biases, strict=True):
            to_weights[...], to_biases[...] = weights, biases
        return network

    def _settle(self) -> None:
        """A layer that was not followed by an activation has none."""
        if self.activations[-1] is None:
            self.activations[-1] = "identity"


def unsupported(where: str, what: str, instead: str) -> ValueError:
    """The error for a piece that no Network can hold."""
    return ValueError(f"{where} is {what}, but {instead}; activations are {', '.join(ACTIVATIONS)}")
