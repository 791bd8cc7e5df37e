"""What flows through the layers, forwards and backwards: once, or recorded while a network trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._checks import checked_integer, real_array
from ..activations import ACTIVATIONS
from ..callbacks import Callback
from ..network import Network
from ..training.rows import as_rows
from ..training.trainable import checked_network, engine_of

if TYPE_CHECKING:
    from .._types import ArrayLike, Fit, FloatArray


def gradient_norms(network: Network, X: ArrayLike, y: ArrayLike, *,
                   sample_weight: ArrayLike | None = None) -> FloatArray:
    """The Euclidean norm of the gradient of each layer's weights: an array (n_layers,), input side first.

    In a healthy network they are alike within some powers of ten. If they shrink towards the inputs, the gradient
    vanishes (Hochreiter, 1991; Glorot and Bengio, 2010).

    >>> import numpy as np, fastnn
    >>> net = fastnn.Network([2, 1])
    >>> net.weights[0][...] = 1
    >>> fastnn.diagnostics.gradient_norms(net, np.eye(2), [1, 0])    # mean of (a - t)**2; only one row errs
    array([1.])
    """
    engine = engine_of(checked_network(network))
    _, gradients = engine.gradients(as_rows(engine, X, y, sample_weight))
    return engine.norms(gradients)


@dataclass(frozen=True)
class LayerStatistics:
    """The outputs of one layer for some rows, after its activation.

    Attributes
    ----------
    activation : str
    mean, deviation, smallest, largest : float
        Of all values.
    saturated : float
        The share of values whose slope is below 1 % of the largest slope of the activation. Only sigmoid, tanh and
        softmax saturate, because their slopes fall below that on both sides of 0. (The slope of softmax here is
        d y_i / d z_i.) For all others it is 0.
    dead : float
        The share of units whose slope is 0 for every row. They learn nothing from these rows. Only ReLU and similar
        activations have such units.
    """

    activation: str
    mean: float
    deviation: float
    smallest: float
    largest: float
    saturated: float
    dead: float


def activation_statistics(network: Network, X: ArrayLike) -> list[LayerStatistics]:
    """Statistics of each layer's outputs for X (n, n_inputs): a list of LayerStatistics, input side first.

    >>> import numpy as np, fastnn
    >>> net = fastnn.Network([1, 2, 1], activation="relu")
    >>> net.weights[0][...] = [[1, -1]]
    >>> first, last = fastnn.diagnostics.activation_statistics(net, [[1.0], [3.0]])
    >>> first.mean, first.largest, first.dead
    (1.0, 3.0, 0.5)
    """
    inputs, *outputs = checked_network(network).layer_outputs(X)
    slopes = engine_of(network).layer_outputs(inputs, slopes=True)
    with np.errstate(invalid="ignore"):     # outputs that have overflown
        return [LayerStatistics(name, float(y.mean(dtype=np.float64)), float(y.std(dtype=np.float64)), float(y.min()),
                                float(y.max()), saturated(name, slope), dead(slope))
                for name, y, slope in zip(network.activations, outputs, slopes, strict=True)]


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
    return float(1 - np.count_nonzero(np.logical_or.reduce(slope)) / slope.shape[1])


class Watch(Callback):
    """Records gradients and activations of some rows while a network trains.

    Parameters
    ----------
    X, y : arrays
        The rows to look at, such as 50 of the training rows.
    every : int
        Epochs from one record to the next, as `epochs_trained` counts. A record takes about as long as one and a half
        epochs on these rows, and 50 µs at least. For example, training has 1,797 rows. Then 20 rows add 4 % to an epoch
        of 64-256-128-10 (6 ms) and 8 % to one of 64-100-10 (0.9 ms); 50 rows add 6 and 10 %, and 200 rows 14 and 21 %.
        With every=10, it is a tenth of that.

    Attributes
    ----------
    epochs : list of int
        `epochs_trained` at each record.
    gradient_norms : list of arrays (n_layers,)
        As `gradient_norms` gives them.
    update_ratios : list of arrays (n_layers,)
        The norm of the change of each layer's weights since the last record, divided by the norm of the weights. The
        first record counts from the beginning of the fit. It is 0 if all weights are 0. About 1e-3 per step is usual.
    saturated, dead : lists of arrays (n_layers,)
        As LayerStatistics has them.

    A later fit with the same object adds to its records, so it belongs to one network.

    See Also
    --------
    fastnn.plot.watch : Draws the records.

    Examples
    --------

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

    def on_fit_begin(self, fit: Fit) -> None:
        network, engine = fit.network, engine_of(fit.network)
        if self.epochs and network is not self._network:
            raise ValueError("this Watch holds the records of another network; create one for each")
        try:
            self._rows = as_rows(engine, self.X, self.y)
        except (TypeError, ValueError) as error:
            raise type(error)(f"Watch: {error}") from None
        if not self.epochs:
            self._network, self._parameters = network, engine.parameters.copy()    # at the last record

    def on_epoch_end(self, fit: Fit) -> None:
        network, engine = fit.network, engine_of(fit.network)
        if network.epochs_trained % self.every:
            return
        _, gradients = engine.gradients(self._rows)
        np.subtract(engine.parameters, self._parameters, out=self._parameters)
        sizes, changes = engine.norms(engine.parameters), engine.norms(self._parameters)
        np.copyto(self._parameters, engine.parameters)
        layers = [(saturated(name, slope), dead(slope)) for name, slope in
                  zip(engine.activations, engine.layer_outputs(self._rows.arrays[0], slopes=True), strict=True)]
        self.epochs.append(network.epochs_trained)
        self.gradient_norms.append(engine.norms(gradients))
        self.update_ratios.append(np.divide(changes, sizes, out=np.zeros_like(sizes), where=sizes > 0))
        self.saturated.append(np.array([share for share, _ in layers]))
        self.dead.append(np.array([share for _, share in layers]))
