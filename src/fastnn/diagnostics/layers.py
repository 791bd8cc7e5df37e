"""What flows through the layers, forwards and backwards: once, or recorded while a network trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .. import ops
from .._checks import checked_integer, real_array
from ..activations import ACTIVATIONS
from ..callbacks import Callback
from ..network import Network

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._types import ArrayLike, FloatArray
    from ..training import Fit


def checked(network: Network) -> Network:
    """network, or an error if it is none."""
    if not isinstance(network, Network):
        raise TypeError(f"network is a {type(network).__name__}, but must be a fastnn.Network")
    return network


def gradient_norms(network: Network, X: ArrayLike, y: ArrayLike, *,
                   sample_weight: ArrayLike | None = None) -> FloatArray:
    """The Euclidean norm of the gradient of each layer's weights: an array (n_layers,), input side first.

    In a healthy network they are alike within some powers of ten; where they shrink towards the inputs, the gradient
    vanishes (Hochreiter, 1991; Glorot and Bengio, 2010).

    >>> import numpy as np, fastnn
    >>> net = fastnn.Network([2, 1])
    >>> net.weights[0][...] = 1
    >>> fastnn.diagnostics.gradient_norms(net, np.eye(2), [1, 0])    # mean of (a - t)**2; only one row errs
    array([1.])
    """
    return norms(checked(network).gradients(X, y, sample_weight=sample_weight).weights)


@dataclass(frozen=True)
class LayerStatistics:
    """The outputs of one layer for some rows, after its activation.

    Attributes
    ----------
    activation : str
    mean, deviation, smallest, largest : float
        Of all values.
    saturated : float
        The share of values whose slope is below 1 % of the largest slope of the activation. Only an activation whose
        slope falls below that on both sides of 0 saturates: sigmoid, tanh, and softmax, whose slope here is
        d y_i / d z_i. All others pass large positive values on in full: 0.
    dead : float
        The share of units whose slope is 0 for every row, so that these rows teach them nothing: ReLU and its kin.
    """

    activation: str
    mean: float
    deviation: float
    smallest: float
    largest: float
    saturated: float
    dead: float


def activation_statistics(network: Network, X: ArrayLike) -> list[LayerStatistics]:
    """What comes out of each layer for X (n, n_inputs): a list of LayerStatistics, input side first.

    >>> import numpy as np, fastnn
    >>> net = fastnn.Network([1, 2, 1], activation="relu")
    >>> net.weights[0][...] = [[1, -1]]
    >>> first, last = fastnn.diagnostics.activation_statistics(net, [[1.0], [3.0]])
    >>> first.mean, first.largest, first.dead
    (1.0, 3.0, 0.5)
    """
    inputs, *outputs = checked(network).layer_outputs(X)
    with np.errstate(invalid="ignore"):     # outputs that have overflown
        return [LayerStatistics(name, float(y.mean(dtype=np.float64)), float(y.std(dtype=np.float64)), float(y.min()),
                                float(y.max()), saturated(name, slope), dead(slope))
                for name, y, slope in zip(network.activations, outputs, slopes(network, inputs), strict=True)]


def slopes(network: Network, X: ArrayLike) -> list[FloatArray]:
    """The slope d y_i / d z_i of each output of each layer, arrays (n, n_out)."""
    x, result = np.asarray(X, network.dtype), []
    for weights, biases, name in zip(network.weights, network.biases, network.activations, strict=True):
        z = np.empty((len(x), weights.shape[1]), x.dtype)
        ops.dense_forward(z, x, weights, biases, "identity")
        x = ACTIVATIONS[name](z)
        # The diagonal of softmax's Jacobian, without its k x k numbers a row.
        result.append(x * (1 - x) if name == "softmax" else ACTIVATIONS[name].derivative(z))
    return result


SATURATED = 0.01                # of the largest slope: sigmoid beyond |z| = 6, tanh beyond |z| = 3
ALL_Z = np.linspace(-30, 30, 6001)      # every slope reaches its limits there; SELU's is largest at 0


def flat(name: str) -> float:
    """The slope below which an activation is saturated; 0 for one that does not saturate."""
    # Of two classes, softmax is the sigmoid of the difference.
    slope = ACTIVATIONS["sigmoid" if name == "softmax" else name].derivative(ALL_Z)
    limit = SATURATED * slope.max()
    return float(limit) if max(slope[0], slope[-1]) < limit else 0.0


FLAT = {name: flat(name) for name in ACTIVATIONS}


def saturated(name: str, slope: FloatArray) -> float:
    """The share of values whose slope is flat."""
    limit = FLAT[name]
    return np.count_nonzero(slope < limit) / slope.size if limit else 0.0


def dead(slope: FloatArray) -> float:
    """The share of units whose slope is 0 in every row."""
    return float(1 - slope.any(axis=0).mean())


def norms(arrays: Sequence[FloatArray]) -> FloatArray:
    """The Euclidean norm of each array; in float64, where the square of a vanishing gradient does not vanish."""
    # Not np.linalg.norm: like all products of NumPy's it wakes the threads of a BLAS, which are in the way of a fit.
    return np.sqrt([np.square(array, dtype=np.float64).sum() for array in arrays])


class Watch(Callback):
    """Records gradients and activations of some rows while a network trains.

    Parameters
    ----------
    X, y : arrays
        The rows to look at, such as 200 of the training rows.
    every : int
        Epochs (as `epochs_trained` counts) from one record to the next. A record takes as long as training on these
        rows two to three times: with 200 of 1,797 rows a quarter to a third of an epoch, with every=10 5 to 10 %.

    Attributes
    ----------
    epochs : list of int
        `epochs_trained` at each record.
    gradient_norms : list of arrays (n_layers,)
        As `gradient_norms` gives them.
    update_ratios : list of arrays (n_layers,)
        The norm of the change of each layer's weights since the last record (first: since the fit began), divided by
        the norm of the weights; 0 where all weights are 0. About 1e-3 a step is a rule of thumb.
    saturated, dead : lists of arrays (n_layers,)
        As LayerStatistics has them.

    They go on in the next fit with the same object, so it belongs to one network.

    >>> import numpy as np, fastnn
    >>> X = np.random.default_rng(0).normal(size=(100, 4))
    >>> watch = fastnn.diagnostics.Watch(X[:20], X[:20, 0], every=2)
    >>> history = fastnn.Network([4, 8, 1]).fit(X, X[:, 0], epochs=6, callbacks=[watch])
    >>> watch.epochs, watch.gradient_norms[-1].shape
    ([2, 4, 6], (2,))
    """

    def __init__(self, X: ArrayLike, y: ArrayLike, every: int = 1) -> None:
        self.X, self.y = real_array("X", X), real_array("y", y)
        self.every = checked_integer("every", every, 1)
        self.epochs: list[int] = []
        self.gradient_norms: list[FloatArray] = []
        self.update_ratios: list[FloatArray] = []
        self.saturated: list[FloatArray] = []
        self.dead: list[FloatArray] = []
        self._network: Network | None = None        # that it belongs to
        self._weights: list[FloatArray] = []        # at the last record

    def on_fit_begin(self, fit: Fit) -> None:
        if self._network not in (None, fit.network):
            raise ValueError("this Watch holds the records of another network; create one for each")
        try:
            fit.network.evaluate(self.X, self.y)
        except (TypeError, ValueError) as error:
            raise type(error)(f"Watch: {error}") from None
        if self._network is None:
            self._network, self._weights = fit.network, [weights.copy() for weights in fit.network.weights]

    def on_epoch_end(self, fit: Fit) -> None:
        network = fit.network
        if network.epochs_trained % self.every:
            return
        changes = norms([now - before for now, before in zip(network.weights, self._weights, strict=True)])
        sizes = norms(network.weights)
        layers = [(saturated(name, slope), dead(slope))
                  for name, slope in zip(network.activations, slopes(network, self.X), strict=True)]
        self.epochs.append(network.epochs_trained)
        self.gradient_norms.append(gradient_norms(network, self.X, self.y))
        self.update_ratios.append(np.divide(changes, sizes, out=np.zeros_like(sizes), where=sizes > 0))
        self.saturated.append(np.array([share for share, _ in layers]))
        self.dead.append(np.array([share for _, share in layers]))
        self._weights = [weights.copy() for weights in network.weights]
