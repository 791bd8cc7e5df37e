"""What goes on inside a network: gradients layer by layer, saturated and dead units, curvature, and advice.

Everything here looks and changes nothing. What needs more digits than a network has, such as a
difference of two losses, is taken on a float64 twin with the same parameters. Layers are numbered
from 1, the first hidden one, as in the guide.

>>> import numpy as np, fastnn
>>> X = np.random.default_rng(0).normal(size=(100, 4))
>>> net = fastnn.Network([4, *[16] * 8, 1], activation="sigmoid", output="identity")
>>> for sentence in fastnn.diagnostics.advise(net, X, X[:, 0]):
...     print(sentence)         # doctest: +ELLIPSIS
layers 1 to ... receive ... times less gradient than layer 9: sigmoid in hidden layers; try relu
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ._checks import checked_integer, number, real_array
from .callbacks import Callback
from .losses import CLASSIFYING
from .network import Network
from .optimizers import SGD

if TYPE_CHECKING:
    from ._types import Array, ArrayLike, FloatArray
    from .training import Fit, History

__all__ = [
    "GradientCheck", "LayerStatistics", "Watch", "activation_statistics", "advise", "check_gradients", "curvature",
    "gradient_norms", "largest_stable_rate",
]

# The slopes of the activations that can be flat, as shares of the largest one, from the values that they give.
SLOPES = {"sigmoid": lambda a: 4 * a * (1 - a), "tanh": lambda a: 1 - a * a, "relu": lambda a: a > 0}
SATURATING = ("sigmoid", "tanh")
SATURATED = 0.01
EPSILON = float(np.finfo(np.float64).eps)
TINY = float(np.finfo(np.float32).tiny)     # instead of 0 below a fraction
MOST_CHECKED = 2000         # parameters; of more, a sample
ROUNDS = 200                # of the power iteration


# Gradients and activations


def gradient_norms(network: Network, X: ArrayLike, y: ArrayLike, *,
                   sample_weight: ArrayLike | None = None) -> FloatArray:
    """The Euclidean norm of each layer's weight gradient over these rows, (n_layers,), the first layer's first.

    >>> import fastnn
    >>> net = fastnn.Network([1, 1, 1], activation="identity")
    >>> net.set_parameters([2, 0, 3, 0])
    >>> fastnn.diagnostics.gradient_norms(net, [[1.0]], [5.0]).tolist()      # the loss is (6 - 5)²
    [6.0, 4.0]
    """
    gradients = network.gradients(X, y, sample_weight=sample_weight).weights
    return np.array([np.linalg.norm(gradient.astype(np.float64)) for gradient in gradients])


@dataclass(frozen=True)
class LayerStatistics:
    """What a layer gives for some rows.

    Attributes
    ----------
    activation : str
    mean, deviation, smallest, largest : float
        Of its values.
    saturated : float
        For sigmoid and tanh: the share of the values at which the slope is below 1 % of the largest slope.
    dead : float
        The share of the units whose slope is 0 for every row, so that they learn nothing from these.
    """

    activation: str
    mean: float
    deviation: float
    smallest: float
    largest: float
    saturated: float
    dead: float


def activation_statistics(network: Network, X: ArrayLike) -> list[LayerStatistics]:
    """What each layer gives for X (n, n_inputs)."""
    statistics = []
    for values, name in zip(network.layer_outputs(X)[1:], network.activations, strict=True):
        statistics.append(LayerStatistics(
            name, float(values.mean()), float(values.std()), float(values.min()), float(values.max()),
            *flat_shares(values, name)))
    return statistics


def flat_shares(values: FloatArray, activation: str) -> tuple[float, float]:
    """The shares of a layer's values that are saturated, and of its units that are dead."""
    if activation not in SLOPES:
        return 0.0, 0.0
    slopes = SLOPES[activation](values)
    saturated = float(np.mean(slopes < SATURATED)) if activation in SATURATING else 0.0
    return saturated, float(np.mean(~slopes.any(axis=0)))


class Watch(Callback):
    """Looks at a network while it trains, every so many epochs, on rows of your choice.

    Parameters
    ----------
    X, y : arrays
        A batch of rows. It costs a little more than a step on it: 50 rows are enough.
    every : int
        Epochs from one look to the next.

    Attributes, lists with one entry per look: `epochs`, as `epochs_trained` counts; and arrays
    (n_layers,): `gradient_norms`; `update_ratios`, the norm of what the weights have changed since
    the last look divided by the norm of the weights (about 0.001 an epoch is usual); `saturated` and
    `dead`, as in LayerStatistics.

    >>> import numpy as np, fastnn
    >>> X = np.eye(4)
    >>> watch = fastnn.diagnostics.Watch(X, X)
    >>> history = fastnn.Network([4, 8, 4]).fit(X, X, epochs=3, callbacks=[watch])
    >>> watch.epochs, len(watch.gradient_norms), watch.dead[-1].shape
    ([1, 2, 3], 3, (2,))
    """

    def __init__(self, X: ArrayLike, y: ArrayLike, every: int = 1) -> None:
        self.X, self.y, self.every = X, y, checked_integer("every", every, 1)
        self.epochs: list[int] = []
        self.gradient_norms: list[FloatArray] = []
        self.update_ratios: list[FloatArray] = []
        self.saturated: list[FloatArray] = []
        self.dead: list[FloatArray] = []

    def on_fit_begin(self, fit: Fit) -> None:
        self._before = [weights.copy() for weights in fit.network.weights]

    def on_epoch_end(self, fit: Fit) -> None:
        network = fit.network
        if network.epochs_trained % self.every:
            return
        values = network.layer_outputs(self.X)[1:]
        saturated, dead = zip(*map(flat_shares, values, network.activations), strict=True)
        self.epochs.append(network.epochs_trained)
        self.gradient_norms.append(gradient_norms(network, self.X, self.y))
        self.update_ratios.append(np.array([
            np.linalg.norm(now - before) / max(float(np.linalg.norm(now)), TINY)
            for now, before in zip(network.weights, self._before, strict=True)]))
        self.saturated.append(np.array(saturated))
        self.dead.append(np.array(dead))
        for now, before in zip(network.weights, self._before, strict=True):
            before[...] = now


# Curvature


def twin(network: Network) -> Network:
    """A float64 network with the same parameters."""
    result = Network(network.layer_sizes, network.activations[:-1], network.activations[-1], loss=network.loss,
                     dtype="float64", seed=network.seed)
    result.set_parameters(network.get_parameters())
    return result


def packed_gradient(network: Network, parameters: Array, X: Array, y: Array) -> Array:
    """The gradient of the mean loss at these parameters, in the order of `get_parameters`."""
    network.set_parameters(parameters)
    _, weights, biases = network.gradients(X, y)
    return np.concatenate([part.ravel() for pair in zip(weights, biases, strict=True) for part in pair])


def hessian_product(network: Network, parameters: Array, X: Array, y: Array, direction: Array) -> Array:
    """The Hessian of the mean loss times a direction of length 1, by central differences of gradients.

    Their error is of the order of step² by what is left of the series, and of epsilon / step by
    rounding; a step of about the cube root of epsilon makes both about 1e-10.
    """
    step = EPSILON ** (1 / 3) * (1 + np.abs(parameters).max())
    ahead = packed_gradient(network, parameters + step * direction, X, y)
    behind = packed_gradient(network, parameters - step * direction, X, y)
    return (ahead - behind) / (2 * step)


def curvature(network: Network, X: ArrayLike, y: ArrayLike, direction: ArrayLike) -> float:
    """The second derivative of the mean loss along a direction (n_parameters,), whatever its length.

    >>> import fastnn
    >>> net = fastnn.Network([1, 1], loss="mse")
    >>> round(fastnn.diagnostics.curvature(net, [[3.0]], [1.0], [1, 0]), 6)      # (3 w + b - 1)²
    18.0
    """
    direction = real_array("direction", direction).astype(np.float64)
    if direction.shape != (network.n_parameters,):
        raise ValueError(f"direction has shape {direction.shape}, but this network has {network.n_parameters} "
                         "parameters")
    length = float(np.linalg.norm(direction))
    if not 0 < length < np.inf:
        raise ValueError(f"direction has length {length}, but must be finite and not zero")
    direction = direction / length
    copy = twin(network)
    return float(direction @ hessian_product(copy, copy.get_parameters(), np.asarray(X), np.asarray(y), direction))


def largest_stable_rate(network: Network, X: ArrayLike, y: ArrayLike) -> float:
    """Above this learning rate, plain gradient descent over all rows overshoots here: 2 / largest curvature.

    The largest eigenvalue of the Hessian of the mean loss, by power iteration (LeCun, Simard and
    Pearlmutter, 1993). For a quadratic cost the bound is exact; elsewhere it holds near the present
    parameters, and training tends to settle at its edge (Cohen et al., 2021). inf where the cost
    bends up in no direction; RuntimeWarning where the iteration has not settled.

    >>> import fastnn
    >>> net = fastnn.Network([1, 1], loss="mse")
    >>> round(fastnn.diagnostics.largest_stable_rate(net, [[1.0], [-1.0], [0.0], [0.0]], [2.0, -2.0, 0.0, 0.0]), 4)
    1.0
    """
    copy, X, y = twin(network), np.asarray(X), np.asarray(y)
    parameters = copy.get_parameters()
    largest = eigenvalue(copy, parameters, X, y, shift=0.0)
    if largest < 0:         # the largest in size bends down: look again, with all of them moved above 0
        largest = eigenvalue(copy, parameters, X, y, shift=-largest) + largest
    return 2 / largest if largest > 0 else np.inf


def eigenvalue(network: Network, parameters: Array, X: Array, y: Array, shift: float) -> float:
    """The eigenvalue of the Hessian plus `shift` that is largest in size."""
    direction = np.random.default_rng(0).normal(size=len(parameters))
    value = 0.0
    for _ in range(ROUNDS):
        direction /= np.linalg.norm(direction)
        product = hessian_product(network, parameters, X, y, direction) + shift * direction
        before, value = value, float(direction @ product)
        if abs(value - before) <= 1e-6 * abs(value):
            return value
        direction = product
        if not np.linalg.norm(direction) > 0:
            return 0.0
    warnings.warn(f"after {ROUNDS} rounds the largest curvature still changes by {abs(value - before):.1e} of "
                  f"{value:.3g}", RuntimeWarning, stacklevel=3)
    return value


# Checking


@dataclass(frozen=True)
class GradientCheck:
    """How gradients compare with differences of the loss.

    Attributes: `worst`, the parameter that differs most, such as "weights[1][3, 2]"; `analytic` and
    `numeric`, its derivative both ways; `error`, their difference relative to the larger of them (or to a
    thousandth of the largest gradient, for a derivative of nearly 0); `passed`, whether that is within
    `tolerance`. It is true where it passed.
    """

    worst: str
    analytic: float
    numeric: float
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance."""
        return self.error <= self.tolerance

    def __bool__(self) -> bool:
        return self.passed


def check_gradients(network: Network, X: ArrayLike, y: ArrayLike, *, tolerance: float = 1e-5) -> GradientCheck:
    """Compares `network.gradients` with differences of `network.evaluate`, and names the parameter that is worst.

    In float64, by central differences with steps h and h / 2, from which Richardson's extrapolation
    takes the h² error away. Where a kink (of ReLU, say) lies within a step the two disagree; then
    smaller steps are tried, and the pair that agrees best counts. All parameters are checked, of more
    than 2,000 a random sample of so many, always the same.

    >>> import numpy as np, fastnn
    >>> X = np.random.default_rng(0).normal(size=(10, 3))
    >>> bool(fastnn.diagnostics.check_gradients(fastnn.Network([3, 8, 2], activation="tanh"), X, X[:, :2]))
    True
    """
    tolerance = number("tolerance", tolerance, low=0, open_low=True)
    copy = twin(network)
    gradients = copy.gradients(X, y)
    places = [(f"{kind}[{layer}]", parameters, gradient) for kind, all_parameters, all_gradients in (
                  ("weights", copy.weights, gradients.weights), ("biases", copy.biases, gradients.biases))
              for layer, (parameters, gradient) in enumerate(zip(all_parameters, all_gradients, strict=True))]
    indices = [(place, index) for place, (_, parameters, _) in enumerate(places)
               for index in np.ndindex(parameters.shape)]
    if len(indices) > MOST_CHECKED:
        chosen = np.random.default_rng(0).choice(len(indices), MOST_CHECKED, replace=False)
        indices = [indices[number] for number in sorted(chosen)]
    floor = 1e-3 * max(float(np.abs(gradient).max()) for _, _, gradient in places)
    worst = GradientCheck("none", 0.0, 0.0, -1.0, tolerance)
    for place, index in indices:
        name, parameters, gradient = places[place]
        analytic, numeric = float(gradient[index]), slope(copy, parameters, index, X, y)
        error = abs(analytic - numeric) / max(abs(analytic), abs(numeric), floor, EPSILON)
        if not error <= worst.error:
            text = ", ".join(map(str, index))
            worst = GradientCheck(f"{name}[{text}]", analytic, numeric, float(error), tolerance)
    return worst


def slope(network: Network, parameters: Array, index: tuple[int, ...], X: Any, y: Any) -> float:
    """The derivative of the mean loss with respect to one parameter, from differences."""
    value = float(parameters[index])

    def difference(step: float) -> float:
        losses = []
        for change in (step, -step):
            parameters[index] = value + change
            losses.append(network.evaluate(X, y))
        parameters[index] = value
        return (losses[0] - losses[1]) / (2 * step)

    best, least = 0.0, np.inf
    for step in (1e-3, 1e-4, 1e-5):
        whole, half = difference(step * (1 + abs(value))), difference(step * (1 + abs(value)) / 2)
        disagreement = abs(whole - half)
        if disagreement < least:
            best, least = (4 * half - whole) / 3, disagreement
        if disagreement <= 1e-7 * abs(half):
            break
    return best


# Advice

VANISHING = 1e3             # times less gradient than the layer with most: Adam makes up for less
DEAD = 0.3                  # of a layer's units; a fifth and more is usual after ReLU, and does no harm
SATURATED_VALUES = 0.5      # of a layer's values
FAR = 10.0                  # of a mean or a deviation of inputs or targets, which should be about 0 and 1
NEAR = 0.01                 # of a deviation
RISING = 0.4                # of the epochs


def advise(network: Network, X: ArrayLike, y: ArrayLike, history: History | None = None) -> list[str]:
    """What is wrong with a network, its data or its training, in plain sentences; an empty list where nothing is.

    Each sentence has a number, and says what to try. X and y are rows as for `fit`, `history` is what a fit returned.
    """
    for layer, (weights, biases) in enumerate(zip(network.weights, network.biases, strict=True), 1):
        if not (np.isfinite(weights).all() and np.isfinite(biases).all()):
            return [f"the weights or biases of layer {layer} hold NaN or infinity: start anew, with a smaller learning "
                    "rate"]
    rows, targets = np.asarray(X), np.asarray(y)
    return [*about_inputs(rows), *about_targets(network, rows, targets), *about_layers(network, rows, targets),
            *(about_history(network, rows, targets, history) if history is not None else [])]


def numbered(numbers: Array, word: str = "column") -> str:
    """Numbers in words: "column 3", "columns 1, 2 and 7 more"."""
    shown = ", ".join(str(value) for value in numbers[:5])
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return f"{word}{'s' if len(numbers) > 1 else ''} {shown}{more}"


def about_inputs(X: Array) -> list[str]:
    """Columns that are constant, or of another size than the rest of a network expects."""
    mean, deviation = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
    constant = np.flatnonzero(deviation <= 1e-12 * (1 + np.abs(mean)))
    odd = np.setdiff1d(np.flatnonzero((np.abs(mean) > FAR) | (deviation > FAR) | (deviation < NEAR)), constant)
    advice = []
    if 0 < len(constant) == X.shape[1] and len(X) > 1:
        advice.append("all rows of X are the same: there is nothing to learn from")
    elif len(odd):
        worst = odd[np.argmax(np.maximum(np.abs(mean[odd]), deviation[odd]))]
        advice.append(f"X is not standardised: {numbered(odd)} (the mean of column {worst} is {mean[worst]:.3g}, its "
                      f"deviation {deviation[worst]:.3g}); subtract the means and divide by the deviations")
    return advice


def about_targets(network: Network, X: Array, y: Array) -> list[str]:
    """Targets that do not go with the output and its loss."""
    output, loss = network.activations[-1], network.loss
    advice = []
    classes = np.unique(y) if y.ndim == 1 or y.shape[1] == 1 else np.empty(0)
    if len(classes) == 1 and len(y) > 1:
        advice.append(f"y is {classes[0]} in every row: there is nothing to tell apart")
    elif output == "sigmoid" and isinstance(loss, str) and loss not in CLASSIFYING:
        advice.append(f"output sigmoid has the loss {loss}, whose gradient is nearly 0 where the network is most "
                      "wrong: output sigmoid needs binary_cross_entropy")
    elif output == "identity" and set(classes.tolist()) == {0, 1}:
        advice.append("y holds only 0 and 1, but the output is identity: try output sigmoid, with binary_cross_entropy")
    elif output == "identity":
        mean, deviation = float(np.abs(y.mean(axis=0)).max()), float(y.std(axis=0).max())
        if mean > FAR or deviation > FAR or deviation < NEAR:
            advice.append(f"y has mean {mean:.3g} and deviation {deviation:.3g}, but outputs begin near 0 and 1: "
                          "standardise y, and scale predictions back")
    return advice


def about_layers(network: Network, X: Array, y: Array) -> list[str]:
    """Symmetry, gradients that vanish or explode, and units that do not learn."""
    advice = []
    for layer, weights in enumerate(network.weights[:-1], 1):
        if weights.shape[1] > 1 and (weights == weights[:, :1]).all() and (
                network.biases[layer - 1] == network.biases[layer - 1][0]).all():
            return [f"all {weights.shape[1]} units of layer {layer} have the same weights, and will always learn the "
                    "same: start from random weights"]
    norms = gradient_norms(network, X, y)
    least = norms.max() / VANISHING
    low = np.flatnonzero(norms < least)
    hidden = sorted(set(network.activations[:-1]))
    where = f"{', '.join(hidden)} in hidden layers"
    if norms.max() == 0:
        advice.append("no layer receives any gradient: either all rows are fitted exactly, or all units are dead")
    elif len(low) and low[0] == 0:
        last = int(np.flatnonzero(np.diff(np.append(low, len(norms) + 1)) > 1)[0])
        layers = "layer 1 receives" if last == 0 else f"layers 1 to {last + 1} receive"
        ratio = norms.max() / max(float(norms[0]), TINY)
        cure = "relu" if "relu" not in hidden else "fewer layers, or he_normal weights"
        advice.append(f"{layers} {ratio:.0e} times less gradient than layer {int(norms.argmax()) + 1}: {where}; "
                      f"try {cure}")
    elif len(low) and low[-1] == len(norms) - 1:
        ratio = norms.max() / max(float(norms[-1]), TINY)
        advice.append(f"layer {len(norms)} receives {ratio:.0e} times less gradient than layer "
                      f"{int(norms.argmax()) + 1}: it explodes on its way back; try smaller initial weights, or "
                      "clip_norm")
    for layer, statistics in enumerate(activation_statistics(network, X)[:-1], 1):
        if statistics.dead > DEAD:
            advice.append(f"{statistics.dead:.0%} of the units of layer {layer} are dead, their slope being 0 for "
                          "every row: try a smaller learning rate, or leaky_relu")
        if statistics.saturated > SATURATED_VALUES:
            advice.append(f"{statistics.saturated:.0%} of the values of layer {layer} are saturated: its inputs or its "
                          "weights are too large; standardise X, or start from smaller weights")
    return advice


def about_history(network: Network, X: Array, y: Array, history: History) -> list[str]:
    """A loss that rises, or goes up and down."""
    loss = np.array(history.loss)
    if len(loss) < 3:
        return []
    rises = float(np.mean(np.diff(loss) > 0))
    if loss[-1] <= loss[0] and rises <= RISING:
        return []
    what = "the loss rises" if loss[-1] > loss[0] else f"the loss rises in {rises:.0%} of the epochs"
    optimizer = network.optimizer
    rate = history.learning_rate[-1]
    if isinstance(optimizer, SGD):
        bound = largest_stable_rate(network, X, y)
        if rate > bound:
            return [f"{what}: the learning rate {rate:.3g} is above the stable bound {bound:.3g}"]
    return [f"{what}: try a smaller learning rate than {rate:.3g}"]
