"""What the formats share: a chain of layers that a reader builds piece by piece, and that becomes a Network.

A reader calls `linear`, `affine`, `activation` and `dropout` in the order in which data flows, and then `network`.
Scalings and shifts beside a layer become part of it: they are multiplied in float64, and the result is rounded once.
A piece that no Network can hold is a ValueError, which begins with `where`: the reader's name of the piece, such as
"layer 3". This module knows no other library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..activations import ACTIVATIONS, HIDDEN
from ..network import Network
from ..scaling import MOST_DEVIATIONS

if TYPE_CHECKING:
    from .._types import AnyLoss, Array, ArrayLike


class Chain:
    """The layers that have been read so far."""

    def __init__(self) -> None:
        self.dtype = np.dtype(np.float32)           # of the layers as they were read
        self.weights: list[Array] = []              # of that dtype, or of float64 where a scaling became part of them
        self.biases: list[Array] = []
        self.activations: list[str | None] = []     # the last one is None until it is read
        self.rates: list[float] = []                # of dropout
        self.pending: tuple[str, Array, Array] | None = None        # (where, scale, shift), for the next layer
        self.far = False    # whether inputs are so far from 0 that float32 would not keep rows apart

    def linear(self, where: str, weights: ArrayLike, biases: ArrayLike | None = None) -> None:
        """A layer of weights (n_in, n_out) and biases (n_out,), None for zeros."""
        weights = native(weights)
        if weights.dtype not in (np.float32, np.float64):
            raise ValueError(f"{where} has weights of dtype {weights.dtype}, but they must be float32 or float64")
        if weights.ndim != 2:
            raise ValueError(f"{where} has weights of shape {weights.shape}, but they must have two dimensions")
        added = np.zeros(weights.shape[1], weights.dtype) if biases is None else native(biases)
        if added.dtype != weights.dtype or added.shape != weights.shape[1:]:
            raise ValueError(f"{where} has biases of shape {added.shape} and dtype {added.dtype}, but its weights "
                             f"have shape {weights.shape} and dtype {weights.dtype}")
        if self.weights and weights.dtype != self.dtype:
            raise ValueError(f"{where} has dtype {weights.dtype}, but the layers before it have "
                             f"{self.dtype}: a network has one dtype")
        if self.weights and len(weights) != len(self.biases[-1]):
            raise ValueError(f"{where} takes {len(weights)} inputs, but the layer before it has "
                             f"{len(self.biases[-1])} outputs")
        if self.activations:
            self._finish_layer()
            if self.activations[-1] not in HIDDEN:
                raise ValueError(f"{where} follows {self.activations[-1]!r}, which only the output can have; hidden "
                                 f"layers can have {', '.join(HIDDEN)}")
        self.dtype = weights.dtype
        if self.pending is not None:    # (scale x + shift) @ weights + biases
            before, scale, shift = self.pending
            scale, shift = columns(before, scale, len(weights)), columns(before, shift, len(weights))
            self.far |= not self.weights and np.abs(shift).max(initial=0) > MOST_DEVIATIONS
            added = added + shift @ weights.astype(np.float64)
            weights = weights * scale[:, None]
            self.pending = None
        self.weights.append(weights)
        self.biases.append(added)
        self.activations.append(None)
        self.rates.append(0.0)

    def affine(self, where: str, scale: ArrayLike, shift: ArrayLike) -> None:
        """Columns x become scale * x + shift. Both are one number, or one for each column.

        They become part of the layer of weights right before, or else of the next one. If there is neither, `network`
        refuses them.
        """
        scale, shift = np.asarray(scale, np.float64), np.asarray(shift, np.float64)
        if not (np.isfinite(scale).all() and np.isfinite(shift).all()):
            raise ValueError(f"{where} multiplies by or adds NaN or infinity, but only finite numbers can become part "
                             "of a layer")
        if self.activations and self.activations[-1] in (None, "identity") and not self.rates[-1]:
            scale, shift = (columns(where, part, len(self.biases[-1])) for part in (scale, shift))
            self.weights[-1] = self.weights[-1] * scale
            self.biases[-1] = self.biases[-1] * scale + shift
            return
        if self.pending is not None:
            _, earlier_scale, earlier_shift = self.pending
            n = max(part.size for part in (scale, shift, earlier_scale, earlier_shift))
            scale, shift, earlier_scale, earlier_shift = (
                columns(where, part, n) for part in (scale, shift, earlier_scale, earlier_shift))
            scale, shift = scale * earlier_scale, scale * earlier_shift + shift
        self.pending = where, scale, shift

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
        self._finish_layer()
        self.rates[-1] = rate

    def network(self, loss: str | AnyLoss | None, seed: int) -> Network:
        """The Network of these layers; `loss` None is the default of its output."""
        if not self.weights:
            raise ValueError("there is no layer of weights, but a network needs at least one")
        if self.rates[-1]:
            raise ValueError(f"the outputs have dropout {self.rates[-1]:g}, but only hidden layers can have it")
        if self.pending is not None:
            raise ValueError(f"{self.pending[0]} scales or shifts what the activation {self.activations[-1]!r} gives, "
                             "but only a layer of weights right before it or after it can take that up")
        *hidden, output = (activation or "identity" for activation in self.activations)
        sizes = [len(self.weights[0]), *map(len, self.biases)]
        network = Network(sizes, activation=hidden, output=output, loss=loss, dtype=self._wide_enough(), seed=seed,
                          dropout=self.rates[:-1])
        for to_weights, to_biases, weights, biases in zip(
                network.weights, network.biases, self.weights, self.biases, strict=True):
            to_weights[...], to_biases[...] = weights, biases
        return network

    def _wide_enough(self) -> np.dtype[Any]:
        """The layers' dtype; float64 where float32 would lose the scalings that became part of them."""
        range32 = np.finfo(np.float32)
        for folded in (part for part in (*self.weights, *self.biases) if part.dtype != self.dtype):
            largest = np.abs(folded).max(axis=-1, initial=0)    # of each input's weights, or of the biases
            if self.far or ((largest > range32.max) | (largest < range32.tiny) & (largest > 0)).any():
                return np.dtype(np.float64)
        return self.dtype

    def _finish_layer(self) -> None:
        """Gives the latest layer the activation identity, if none was read."""
        if self.activations[-1] is None:
            self.activations[-1] = "identity"


def native(values: ArrayLike) -> Array:
    """An array in this machine's byte order."""
    array = np.asarray(values)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def columns(where: str, values: Array, n: int) -> Array:
    """One number for each of n columns."""
    if values.shape not in ((), (1,), (n,)):
        raise ValueError(f"{where} has constants of shape {values.shape}, but one number for each of {n} columns, or "
                         "one for all, was expected")
    return np.broadcast_to(values, n)


def unsupported(where: str, what: str, instead: str) -> ValueError:
    """The error for a piece that no Network can hold."""
    return ValueError(f"{where} is {' '.join(what.split())}, but {instead}; activations are {', '.join(ACTIVATIONS)}")
