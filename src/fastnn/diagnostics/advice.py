"""Advice: what is wrong with a network, its data or its training, in sentences with a number and something to try.

Each `about_…` looks for one kind of trouble and yields its sentences; the limits come first, each with its reason.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..activations import ACTIVATIONS
from ..losses import PAIRED
from ..optimizers import SGD
from ..training import History
from .hessian import stable_rate
from .layers import ALL_Z, FLAT, activation_statistics, checked, gradient_norms

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .._types import Array, ArrayLike
    from ..network import Network

ENOUGH_ROWS = 10                # with fewer, columns are alike and units are off by chance
FAR = 3.0                       # mean or deviation of a column: curvature grows with the square, to ten times that of 1
TINY = 0.01                     # largest value of a column: its weights receive a hundred times less gradient
FAR_TARGETS = 30.0              # times the outputs: Adam's default rate moves a bias by 0.001 a step, so 30,000 steps
VANISHING = 1e-3                # of the largest gradient: where that layer takes a step, this one takes a thousand
EXPLODING = 1e3                 # times the weights: a step of rate 0.001 changes the weights by all they are
MANY = 0.5                      # of a layer's units dead, or of its values saturated: some always are
JITTER = 0.1                    # of the loss: a rise from one epoch to the next beyond the noise of batches


def advise(network: Network, X: ArrayLike, y: ArrayLike, history: History | None = None) -> list[str]:
    """What is wrong with a network, its data or its training, and what to try: sentences, none if all is well.

    X, y are the training rows, or some hundreds of them drawn at random; `history` is what `fit` returned. Causes come
    first: what is likely to be a consequence of a finding is not mentioned, so ask again after a change. The limits
    are the constants of this module, each with its reason.

    >>> import numpy as np, fastnn
    >>> X = np.random.default_rng(0).normal(size=(50, 2)) * [1, 400]
    >>> fastnn.diagnostics.advise(fastnn.Network([2, 8, 1]), X, X[:, 0])
    ['X has columns far from mean 0 and deviation 1 (1: mean 70.2, deviation 395): standardise them, or no learning \
rate fits all columns']
    """
    if history is not None and not isinstance(history, History):
        raise TypeError(f"history is a {type(history).__name__}, but must be the History that fit returned, or None")
    loss = checked(network).evaluate(X, y)      # refuses rows that do not fit
    broken = [f"layer {layer} holds {wrong} weights or biases that are NaN or infinite, so every output is: "
              "set them anew, and train with a smaller learning rate or clip_norm=1"
              for layer, parts in enumerate(zip(network.weights, network.biases, strict=True), 1)
              if (wrong := sum(int((~np.isfinite(part)).sum()) for part in parts))]
    if broken:
        return broken
    if not math.isfinite(loss):
        return [f"the loss is {loss}, because outputs are too large for {network.dtype}: scale inputs and targets, and "
                "draw smaller weights, as initializer=None does"]
    X, y = np.asarray(X, np.float64), np.asarray(y)
    found = [*about_content(X, y), *about_pair(network, y), *about_history(network, X, y, history)]
    for look in (about_scales, about_layers, about_gradients):
        if consequences := list(look(network, X, y)):
            return found + consequences
    return found


def about_content(X: Array, y: Array) -> Iterator[str]:
    """Columns and targets that hold nothing to learn from."""
    if len(X) < ENOUGH_ROWS:
        return
    varies = np.ptp(X, axis=0) > 0
    constant = np.flatnonzero(~varies & (X[0] != 0))    # zeros, such as the rim of an image, do no harm
    if constant.size:
        what = listed(f"{column} is {X[0, column]:.3g}" for column in constant)
        yield f"X has constant columns ({what}), which only add to the biases: leave them out"
    first: dict[bytes, int] = {}
    pairs = [(column, first.setdefault(X[:, column].tobytes(), column)) for column in np.flatnonzero(varies).tolist()]
    copies = [f"{column} is {original}" for column, original in pairs if column != original]
    if copies:
        yield (f"X has columns that repeat others ({listed(copies)}), and so share a weight between them: leave them "
               "out")
    if (y == y[0]).all():
        yield (f"all {len(y)} rows have the same target, {np.array2string(y[0], threshold=5)}, so there is nothing to "
               "tell apart: take rows of every kind, and shuffle them before a part is cut off")


def about_pair(network: Network, y: Array) -> Iterator[str]:
    """A loss that was not made for the output. (What the constructor refuses need not be looked for.)"""
    output = network.activations[-1]
    if output == "sigmoid" and for_numbers(network) and np.isin(y, (0, 1)).all():
        yield (f"the targets are 0 and 1, but the loss {network.loss!r} of the output sigmoid is multiplied by its "
               "slope, 0.25 at most and near 0 where the output is surely wrong: leave loss=None, which is "
               "'binary_cross_entropy'")


def about_history(network: Network, X: Array, y: Array, history: History | None) -> Iterator[str]:
    """A loss that rises or oscillates, with the learning rate as the likely cause."""
    if history is None or len(history.loss) < 2:
        return
    loss = np.array(history.loss)
    rises = (loss[1:] > (1 + JITTER) * loss[:-1]) & (loss[1:] > JITTER * loss[0])
    if loss[-1] > (1 + JITTER) * loss[0]:
        what = f"the loss rose from {loss[0]:.3g} to {loss[-1]:.3g}"
    elif rises.mean() > 0.25:
        what = f"the loss oscillates: it rose by more than {JITTER:.0%} in {rises.sum()} of {len(rises)} epochs"
    else:
        return
    rate, optimizer = history.learning_rate[-1], network.optimizer
    bound = math.inf
    if isinstance(optimizer, SGD):
        m = optimizer.momentum
        bound = stable_rate(network, X, y)[0] * (1 + m) / (1 + 2 * m if optimizer.nesterov else 1)
    if rate > bound:
        yield f"{what}; the learning rate {rate:.3g} is above the stable bound {bound:.2g}: try {bound / 2:.1g}"
    else:
        yield f"{what}, with learning rate {rate:.3g}: try {rate / 3:.1g}"


def about_scales(network: Network, X: Array, y: Array) -> Iterator[str]:
    """Inputs and targets far from the scale that initial weights and learning rates are made for."""
    means, deviations, sizes = X.mean(axis=0), X.std(axis=0), np.abs(X).max(axis=0)
    far = np.flatnonzero((np.abs(means) > FAR) | (deviations > FAR) | ((sizes < TINY) & (sizes > 0)))
    if far.size:
        what = (f"{column}: mean {means[column]:.3g}, deviation {deviations[column]:.3g}" for column in far)
        yield (f"X has columns far from mean 0 and deviation 1 ({listed(what)}): standardise them, or no learning rate "
               "fits all columns")
    if not for_numbers(network):
        return
    output = ACTIVATIONS[network.activations[-1]]
    reach = output(np.array([*ALL_Z, -1e6, 1e6]))
    outside = (y < reach.min()) | (y > reach.max())
    if outside.any():
        yield (f"{outside.mean():.0%} of the targets lie outside of what the output {output.name} can reach, "
               f"{reach.min():.2g} to {f'{reach.max():.2g}' if reach.max() < 1e6 else 'infinity'} (they go from "
               f"{y.min():.3g} to {y.max():.3g}): try output='identity', or scale the targets")
        return
    targets, outputs = rms(y), rms(network.predict(X))
    if targets > FAR_TARGETS * max(1.0, outputs) or FAR_TARGETS * targets < min(1.0, outputs):
        yield (f"the targets are of size {targets:.3g} (root mean square), the outputs of size {outputs:.3g}: "
               "standardise the targets, or training begins with a long way to their scale")


def about_layers(network: Network, X: Array, y: Array) -> Iterator[str]:
    """Units that are all alike, dead, or saturated before training."""
    layers = list(enumerate(zip(network.weights, activation_statistics(network, X), strict=True), 1))
    for layer, (weights, _) in layers[:-1]:
        if weights.shape[1] > 1 and (weights == weights[0, 0]).all():
            yield (f"all weights of layer {layer} are {weights[0, 0]:.3g}, so its {weights.shape[1]} units compute the "
                   "same: draw them at random, as initializer=None does")
            return
    for layer, (_, statistics) in layers:
        name = statistics.activation
        if FLAT[name]:
            if statistics.saturated > MANY and layer < len(layers) and network.epochs_trained == 0:
                yield (f"{statistics.saturated:.0%} of the values of layer {layer} ({name}) are saturated before "
                       "training, so hardly any gradient passes: the weights of the layer are too large; try "
                       "initializer=None")
                return
        elif statistics.dead > MANY and len(X) >= ENOUGH_ROWS:
            yield (f"{statistics.dead:.0%} of the units of layer {layer} ({name}) are off for all {len(X)} rows and "
                   "receive no gradient: try a smaller learning rate and new weights, or activation='leaky_relu'")
            return


def about_gradients(network: Network, X: Array, y: Array) -> Iterator[str]:
    """Gradients that vanish on the way to the inputs, or explode."""
    gradients, size = gradient_norms(network, X, y), math.hypot(*network._engine.norms(network._engine.parameters))
    strongest, total = int(gradients.argmax()), math.hypot(*gradients)
    if not total <= EXPLODING * size and size:
        yield (f"the gradient is {total / size:.0e} times as large as the weights, most of it in layer "
               f"{strongest + 1}: the weights are too large; try initializer=None, or an optimizer with clip_norm=1")
        return
    weak = np.flatnonzero(gradients[:strongest] < VANISHING * gradients[strongest])
    if weak.size:
        first, last, least = weak[0], weak[-1], gradients[weak].min()
        which = f"layer {first + 1} receives" if first == last else f"layers {first + 1} to {last + 1} receive up to"
        factor = f"{gradients[strongest] / least:.0e} times less" if least else "infinitely less"
        cause = ("sigmoid in hidden layers passes on a quarter of it at most; try activation='relu'"
                 if "sigmoid" in network.activations[:-1] else
                 "the weights in between are too small; try initializer=None, which chooses by the activation")
        yield f"{which} {factor} gradient than layer {strongest + 1}: {cause}"


def for_numbers(network: Network) -> bool:
    """Whether the loss is one of the library's own for targets of any size."""
    return not callable(network.loss) and getattr(network.loss, "name", network.loss) not in PAIRED


def rms(values: Array) -> float:
    """The root of the mean square."""
    return math.sqrt(np.mean(np.square(values, dtype=np.float64)))


def listed(items: Iterable[str]) -> str:
    """The first three of them."""
    items = list(items)
    return "; ".join(items[:3]) + (f"; and {len(items) - 3} more" if len(items) > 3 else "")
