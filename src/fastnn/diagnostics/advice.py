"""Advice: what is wrong with a network, its data or its training, in sentences with a number and something to try.

Each `about_…` looks for one kind of trouble and yields its sentences; the limits come first, each with its reason.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .._checks import real_array
from ..activations import ACTIVATIONS
from ..optimizers import SGD
from ..training import History
from ..training.evaluation import python_loss
from ..training.rows import takes_labels
from ..training.trainable import checked_network, classifies, engine_of
from .hessian import float64_twin, stable_rate
from .layers import ALL_Z, FLAT, activation_statistics, gradient_norms

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .._types import Array, ArrayLike
    from ..network import Network

ENOUGH_EPOCHS = 10              # with fewer, a low learning rate may just be careful
ENOUGH_ROWS = 10                # with fewer, columns are alike and units are off by chance
FAR = 3.0                       # mean or deviation of a column: curvature grows with the square, to ten times that of 1
TINY = 0.01                     # largest value of a column: its weights receive a hundred times less gradient
FAR_TARGETS = 30.0              # times the outputs: Adam's default rate moves a bias by 0.001 a step, so 30,000 steps
UNBOUNDED = (-1e12, 1e12)       # where an activation without a bound is beyond LARGE, even with a slope of 0.01
LARGE = 1e9
VANISHING = 1e-3                # of the largest gradient: where that layer takes a step, this one takes a thousand
EXPLODING = 1e3                 # times the weights: a step of rate 0.001 changes the weights by all they are
MANY = 0.5                      # of a layer's units dead, or of its values saturated before training: some always are
ALMOST_ALL = 0.9                # of a layer's values saturated after training, when classes told apart saturate many
JITTER = 0.1                    # of the loss: a rise from one epoch to the next beyond the noise of batches
SPIKE = 3.0                     # times what the loss began with, and what outputs of f(0) have: no noise of batches
STILL = 0.01                    # of the loss: less than it falls in ten epochs while there is much left to learn
MOST_CLASSES = 20               # whole numbers from 0 on that look like labels: more are likely to be counts
ROWS_PER_CLASS = 5              # fewer rows of each are likely to be whole numbers by chance
OVERFITTED = 0.2                # of the validation loss, above its best: far more than it jitters


def advise(network: Network, X: ArrayLike, y: ArrayLike, history: History | None = None) -> list[str]:
    """What is wrong with a network, its data or its training, and what to try.

    Parameters
    ----------
    network : Network
    X, y : arrays, as `Network.fit` takes them
        The training rows, or some hundreds of them, drawn at random.
    history : History or None
        What `fit` returned.

    Returns
    -------
    list of str
        One sentence for each finding. An empty list does not prove that all is well: `advise` cannot see, for example,
        wrong labels, or a fit that diverged and so left no history.

    Notes
    -----
    Causes come first. A likely consequence of another finding is not mentioned, so ask again after a change. The limits
    are the constants of this module, each with its reason.

    See Also
    --------
    gradient_norms, activation_statistics, largest_stable_rate : The measures.

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> X = np.random.default_rng(0).normal(size=(50, 2)) * [1, 400]
    >>> fastnn.diagnostics.advise(fastnn.Network([2, 8, 1]), X, X[:, 0])
    ['X has columns far from mean 0 and deviation 1 (1: mean 70.2, deviation 395): standardise them, or no learning \
rate fits all columns']
    """
    if history is not None and not isinstance(history, History):
        raise TypeError(f"history is a {type(history).__name__}, but must be the History that fit returned, or None")
    loss = checked_network(network).evaluate(X, y)      # refuses rows that do not fit
    broken = [f"layer {layer} holds {wrong} weights or biases that are NaN or infinite, so every output is: "
              "set them anew, and train with a smaller learning rate or clip_norm=1"
              for layer, parts in enumerate(zip(network.weights, network.biases, strict=True), 1)
              if (wrong := sum(int((~np.isfinite(part)).sum()) for part in parts))]
    if broken:
        return broken
    if not math.isfinite(loss):
        return [f"the loss is {loss}, because outputs are too large for {network.dtype}: scale inputs and targets, and "
                "draw smaller weights, as initializer=None does"]
    X, y = real_array("X", X).astype(np.float64), real_array("y", y)
    found = [sentence for look in (about_content, about_pair, about_rate) for sentence in look(network, X, y, history)]
    for look in (about_scales, about_layers, about_gradients, about_progress):
        if consequences := list(look(network, X, y, history)):
            return found + consequences
    return found


def about_content(network: Network, X: Array, y: Array, history: History | None) -> Iterator[str]:
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
    if same(y):
        yield (f"all {len(y)} rows have the same target, {np.array2string(y[0], threshold=5)}, so there is nothing to "
               "tell apart: take rows of every kind, and shuffle them before a part is cut off")


def about_pair(network: Network, X: Array, y: Array, history: History | None) -> Iterator[str]:
    """A loss that was not made for the output. (What the constructor refuses need not be looked for.)"""
    output = network.activations[-1]
    if not for_numbers(network) or same(y) or output == "exp":      # exp is made for counts, which may be few
        return
    if not np.isin(y, (0, 1)).all():
        if n_classes := classes_in(y):
            yield (f"the targets are the whole numbers 0 to {n_classes - 1}, and so look like classes, but the loss "
                   f"{network.loss!r} takes them for sizes, as if {n_classes - 1} were more than 0: if they are "
                   f"classes, try output='softmax' with {n_classes} outputs")
        return
    if output == "sigmoid":
        yield (f"the targets are 0 and 1, but the loss {network.loss!r} of the output sigmoid is multiplied by its "
               "slope, 0.25 at most and near 0 where the output is surely wrong: leave loss=None, which is "
               "'binary_cross_entropy'")
    else:
        yield (f"the targets are 0 and 1, but the output {output} is made for numbers: try output='sigmoid', whose "
               "outputs are probabilities")


def classes_in(y: Array) -> int:
    """How many classes the targets look like: whole numbers from 0 on, without a gap, each of several rows; or 0."""
    values = np.unique(y)
    if y.size > len(y) or len(values) > MOST_CLASSES or len(y) < ROWS_PER_CLASS * len(values):
        return 0
    return len(values) if np.array_equal(values, np.arange(len(values))) else 0


def about_rate(network: Network, X: Array, y: Array, history: History | None) -> Iterator[str]:
    """A loss that rises or oscillates, with the learning rate as the likely cause."""
    if history is None or len(history.loss) < 2:
        return
    loss, blank = np.array(history.loss), blank_loss(network, X, y)
    rises = np.diff(loss) > JITTER * np.maximum(np.abs(loss[:-1]), JITTER * blank)
    if loss[-1] - loss[0] > JITTER * max(abs(loss[0]), JITTER * blank):
        what = f"the loss rose from {loss[0]:.3g} to {loss[-1]:.3g}"
    elif rises.mean() > 0.25:
        what = f"the loss oscillates: it rose by more than {JITTER:.0%} in {rises.sum()} of {len(rises)} epochs"
    elif loss.max() > SPIKE * max(abs(loss[0]), blank):
        what = f"the loss rose from {loss[0]:.3g} to {loss.max():.3g} on its way"
    else:
        return
    if not history.learning_rate:
        yield f"{what}: try a smaller learning rate"
        return
    rate, optimizer, bound = max(history.learning_rate), network.optimizer, math.inf
    if isinstance(optimizer, SGD) and optimizer.last_rate == history.learning_rate[-1]:
        m = optimizer.momentum
        bound = stable_rate(network, X, y)[0] * (1 + m) / (1 + 2 * m if optimizer.nesterov else 1)
    if rate > bound:
        yield f"{what}; the learning rate {rate:.3g} is above the stable bound {bound:.2g}: try {bound / 2:.1g}"
    else:
        yield f"{what}, with learning rate {rate:.3g}: try {rate / 3:.1g}"


def about_scales(network: Network, X: Array, y: Array, history: History | None) -> Iterator[str]:
    """Inputs and targets far from the scale that initial weights and learning rates are made for."""
    if len(X) < ENOUGH_ROWS:
        return
    means, deviations, sizes = X.mean(axis=0), X.std(axis=0), np.abs(X).max(axis=0)
    far = np.flatnonzero((deviations > 0) & ((np.abs(means) > FAR) | (deviations > FAR) | (sizes < TINY)))
    if far.size:
        what = (f"{column}: mean {means[column]:.3g}, deviation {deviations[column]:.3g}" for column in far)
        yield (f"X has columns far from mean 0 and deviation 1 ({listed(what)}): standardise them, or no learning rate "
               "fits all columns")
    if not for_numbers(network) or same(y):
        return
    output = ACTIVATIONS[network.activations[-1]]
    reach = output(np.array([*ALL_Z, *UNBOUNDED]))
    low, high = (end if abs(end) < LARGE else math.copysign(math.inf, end) for end in (reach.min(), reach.max()))
    outside = (y < low) | (y > high)
    if outside.any():
        yield (f"{outside.mean():.0%} of the targets lie outside of what the output {output.name} can reach, "
               f"{number(low)} to {number(high)} (they go from {y.min():.3g} to {y.max():.3g}): try "
               "output='identity', or scale the targets")
        return
    targets, outputs = rms(y), rms(network.predict(X))
    spread = y.reshape(len(y), -1).std(axis=0)
    if targets > FAR_TARGETS * max(1.0, outputs) or FAR_TARGETS * targets < min(1.0, outputs):
        remedy = (f"set network.biases[-1][...] = {math.log(y.mean()):.2g}, the logarithm of their mean"
                  if output.name == "exp" and y.mean() > 0 else "standardise the targets")
        yield (f"the targets are of size {targets:.3g} (root mean square), the outputs of size {outputs:.3g}: "
               f"{remedy}, or training begins with a long way to their scale")
    elif spread.max() > FAR_TARGETS * spread.min() > 0:
        yield (f"the targets' columns are of different scales (deviation {spread.min():.3g} to {spread.max():.3g}), so "
               "the loss sees the largest alone: standardise them")


def about_layers(network: Network, X: Array, y: Array, history: History | None) -> Iterator[str]:
    """Units that are all alike, dead, or saturated."""
    layers = list(enumerate(zip(network.weights, network.biases, activation_statistics(network, X), strict=True), 1))
    for layer, (weights, biases, _) in layers[:-1]:
        if len(biases) > 1 and (weights == weights[:, :1]).all() and (biases == biases[0]).all():
            yield (f"the {len(biases)} units of layer {layer} have equal weights, so they compute the same: draw them "
                   "at random, as initializer=None does")
            return
    for layer, (_, _, statistics) in layers:
        name, hidden = statistics.activation, layer < len(layers)
        limit, when, remedy = (
            (MANY, " before training", "the weights of the layer are too large; try initializer=None")
            if network.epochs_trained == 0 else
            (ALMOST_ALL, "", "its weights have become too large; try new ones and a smaller learning rate"))
        if hidden and statistics.saturated > limit:
            yield (f"{statistics.saturated:.0%} of the values of layer {layer} ({name}) are saturated{when}, so "
                   f"hardly any gradient passes: {remedy}")
            return
        if not FLAT[name] and statistics.dead > MANY and len(X) >= ENOUGH_ROWS:
            remedy = "or activation='leaky_relu'" if hidden else "or output='identity'"
            yield (f"{statistics.dead:.0%} of the units of layer {layer} ({name}) are off for all {len(X)} rows and "
                   f"receive no gradient: try a smaller learning rate and new weights, {remedy}")
            return


def about_gradients(network: Network, X: Array, y: Array, history: History | None) -> Iterator[str]:
    """Gradients that vanish on the way to the inputs, or explode."""
    engine = engine_of(network)
    gradients, size = gradient_norms(network, X, y), math.hypot(*engine.norms(engine.parameters))
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
        cause = ("sigmoid in hidden layers has a slope of a quarter at most; try activation='relu'"
                 if "sigmoid" in network.activations[:-1] else
                 "the weights in between are too small; try initializer=None, which chooses by the activation")
        yield f"{which} {factor} gradient than layer {strongest + 1}: {cause}"


def about_progress(network: Network, X: Array, y: Array, history: History | None) -> Iterator[str]:
    """Training that got nowhere, or went on for too long."""
    if history is None or len(history.loss) < 2:
        return
    loss, validation = np.array(history.loss), np.array(history.validation_loss)
    fallen = loss[0] - loss[-1]
    if (len(loss) >= ENOUGH_EPOCHS and 0 <= fallen < STILL * abs(loss[0]) and history.learning_rate
            and loss[-1] > 0.5 * blank_loss(network, X, y)):
        rate = max(history.learning_rate)
        yield (f"the loss has hardly fallen in {len(loss)} epochs, from {loss[0]:.4g} to {loss[-1]:.4g}: try a "
               f"learning rate above {rate:.3g}, and if that does not help, ask whether X tells of the targets at all")
    elif classifies(engine_of(network).loss) and len(X) >= ENOUGH_ROWS and not same(y) and same(classes(network, X)):
        yield (f"the network predicts the same class for all {len(X)} rows, which are of several: train for longer, or "
               "with class_weight='balanced' if the others are rare")
    if validation.size:
        best = int(validation.argmin())
        if validation[-1] - validation[best] > OVERFITTED * abs(validation[best]) and loss[-1] < loss[best]:
            yield (f"the validation loss rose from {validation[best]:.3g} in epoch {best + 1} to {validation[-1]:.3g} "
                   f"in epoch {len(validation)}, while the training loss fell: the network overfits; try "
                   "early_stopping, more rows, a smaller network, l2 or dropout")


def blank_loss(network: Network, X: Array, y: Array) -> float:
    """The size of the loss of a network that has learned nothing: all its weights and biases are 0."""
    twin = float64_twin(network)
    twin.set_parameters(np.zeros(twin.n_parameters))
    return abs(twin.evaluate(X, y))


def classes(network: Network, X: Array) -> Array:
    """The class of each row, or 0 and 1 for each output."""
    outputs = network.predict(X)
    return outputs.argmax(axis=1) if takes_labels(engine_of(network)) else (outputs > 0.5).astype(int)


def for_numbers(network: Network) -> bool:
    """Whether the loss is one of the library's own for targets of any size."""
    engine = engine_of(network)
    return python_loss(engine) is None and not classifies(engine.loss)


def same(rows: Array) -> bool:
    """Whether all rows are alike."""
    return bool((rows == rows[0]).all())


def rms(values: Array) -> float:
    """The root of the mean square."""
    return math.sqrt(np.mean(np.square(values, dtype=np.float64)))


def number(value: float) -> str:
    """A bound in words."""
    return f"{value:.2g}" if math.isfinite(value) else "-infinity" if value < 0 else "infinity"


def listed(items: Iterable[str]) -> str:
    """The first three of them."""
    items = list(items)
    return "; ".join(items[:3]) + (f"; and {len(items) - 3} more" if len(items) > 3 else "")
