"""Pictures of layers: activations, norms of gradients, histograms of outputs, weights, and what a Watch has recorded.

Style and checks are in style.py and arguments.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import checked_integer, choose, number
from ..activations import ACTIVATIONS, HIDDEN, takes_row
from ..diagnostics import Watch
from ..network import Network
from .arguments import drawable, finite, listed
from .style import (
    COLUMNS,
    axes_for,
    check_axes,
    colors,
    finished,
    given_or_new,
    log_scale,
    look,
    shades,
    signs_map,
    whole_numbers,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes

    from .._types import ActivationName, Array, ArrayLike, FloatArray, HiddenName

# Formulas as matplotlib sets them. An activation without an entry shows the formula of its docstring.
FORMULAS = {
    "identity": "$z$",
    "sigmoid": r"$1\;/\;(1 + e^{-z})$",
    "relu": r"$\max(0, z)$",
    "leaky_relu": "$z$ for $z > 0$, $0.01\\,z$ elsewhere",
    "elu": "$z$ for $z > 0$, $e^z - 1$ elsewhere",
    "selu": "$1.0507\\,z$ for $z > 0$, $1.7581\\,(e^z - 1)$ elsewhere",
    "softplus": r"$\log(1 + e^z)$",
    "silu": r"$z\;/\;(1 + e^{-z})$",
    "gelu": r"$z\,\Phi(z)$, $\Phi$ the normal distribution function",
    "exp": "$e^z$",
}
# What `watch` draws: the label of the y axis, and whether its scale is logarithmic.
RECORDS = {
    "gradient_norms": ("norm of the gradient", True),
    "update_ratios": ("norm of change ÷ norm of weights", True),
    "saturated": ("share of saturated outputs", False),
    "dead": ("share of dead units", False),
}


def activation(name: ActivationName | str, *, span: float = 5.0, ax: Axes | None = None) -> Axes:
    """An activation (solid) and its derivative (dashed) from -span to span.

    Parameters
    ----------
    name : str
        Any activation but softmax, each of whose outputs depends on all of its inputs.
    span : float

    Returns
    -------
    matplotlib Axes

    See Also
    --------
    fastnn.activations : The functions themselves.
    activation_histograms : What comes out of the activations of a network.

    Examples
    --------
    >>> import fastnn
    >>> ax = fastnn.plot.activation("gelu", span=3)
    """
    function = ACTIVATIONS[choose("name", name, ACTIVATIONS)]
    if takes_row(name):
        raise ValueError(f"name is {name!r}, which has no curve: each of its outputs depends on all of its inputs")
    span = number("span", span, low=0, high=1e100, open_low=True)
    z = np.linspace(-span, span, 401)
    ax = axes_for(ax)
    first, second, *_ = colors(ax)
    ax.plot(z, function(z), color=first, label=name)
    ax.plot(z, function.derivative(z), "--", color=second, label="derivative")
    formula = FORMULAS.get(name, function.__doc__)
    ax.set_title(formula if formula == f"{name}(z)" else f"{name}: {formula}", fontsize="medium")
    return finished(ax, "pre-activation z", "value", legend=True)


def gradient_norms(norms: ArrayLike | Mapping[str, ArrayLike], *, ax: Axes | None = None) -> Axes:
    """The norms of the layers' gradients on a log scale, with 0 at its bottom; layer 1 is next to the inputs.

    Parameters
    ----------
    norms : array (n_layers,), or {label: array (n_layers,)}
        Such as `fastnn.diagnostics.gradient_norms(net, X, y)`.

    Returns
    -------
    matplotlib Axes

    See Also
    --------
    fastnn.diagnostics.gradient_norms : The norms for a network and some rows.
    watch : The norms while a network trains.
    vanishing_gradients : How they depend on the depth of a network.

    Examples
    --------
    >>> import fastnn
    >>> ax = fastnn.plot.gradient_norms({"sigmoid": [1e-3, 1e-2, 0.1], "relu": [0.2, 0.3, 0.2]})
    """
    named = {str(label): finite(f"norms[{label!r}]", values) for label, values in norms.items()} if isinstance(
        norms, Mapping) else {"": finite("norms", norms)}
    for label, values in named.items():
        if not len(values) or values.min() < 0:
            raise ValueError(f"norms{f'[{label!r}]' if label else ''} is {values.tolist()}, but must hold one norm a "
                             "layer, none of them negative")
    if not named:
        raise ValueError("norms is empty, but must hold at least one array")
    ax = axes_for(ax)
    for index, (label, values) in enumerate(named.items()):
        ax.plot(range(1, len(values) + 1), values, label=label, **look(ax, index, 1))
    log_scale(ax)
    whole_numbers(ax)
    return finished(ax, "layer (1 is next to the inputs)", "norm of the gradient", legend=list(named) != [""])


def vanishing_gradients(depths: Iterable[int] = range(2, 21),
                        activations: Sequence[HiddenName | str] = ("sigmoid", "tanh", "relu"), *, width: int = 32,
                        seed: int = 0, ax: Axes | None = None) -> Axes:
    """The norm of the first layer's gradient divided by that of the last layer, against depth, on a log scale.

    It is measured in new networks on random data: 64 rows; `width` inputs, units in each layer, and outputs; the
    initial weights that belong to the activation; mean squared error.

    Parameters
    ----------
    depths : sequence of int, layers of weights
    activations : sequence of str, those of the hidden layers
    width : int
    seed : int

    Returns
    -------
    matplotlib Axes

    See Also
    --------
    gradient_norms : The norms of all layers of a network of yours.

    Examples
    --------
    >>> import fastnn
    >>> ax = fastnn.plot.vanishing_gradients(range(2, 12, 3), ["sigmoid", "relu"], width=8)
    """
    check_axes(ax)
    depths = [checked_integer(f"depths[{index}]", depth, 1) for index, depth in
              enumerate(listed("depths", depths, "integers such as [2, 5, 10]"))]
    activations = [activations] if isinstance(activations, str) else listed(
        "activations", activations, "names such as ['tanh', 'relu']")
    activations = [choose("activations", name, HIDDEN) for name in activations]
    if not depths or not activations:
        raise ValueError("depths and activations must hold at least one each, but one of them is empty")
    if len(set(activations)) < len(activations):
        raise ValueError(f"activations is {activations}, but must hold each name once")
    width = checked_integer("width", width, 1)
    seed = checked_integer("seed", seed, 0, 2**64 - 1)
    X, y = np.random.default_rng(seed).normal(size=(2, 64, width))
    ratios = {name: [gradient_ratio([width] * (depth + 1), name, seed, X, y) for depth in depths]
              for name in activations}
    ax = axes_for(ax)
    for index, (name, values) in enumerate(ratios.items()):
        ax.plot(depths, values, label=name, **look(ax, index, 1))
    log_scale(ax)
    whole_numbers(ax)
    return finished(ax, "depth (layers of weights)", "gradient norm, first layer ÷ last layer", legend=True)


def gradient_ratio(sizes: list[int], name: str, seed: int, X: FloatArray, y: FloatArray) -> float:
    """The norm of the first layer's gradient divided by the last one's; NaN where that is zero."""
    network = Network(sizes, activation=name, dtype="float64", seed=seed)
    weights = network.gradients(X, y).weights
    first, last = (float(np.linalg.norm(weights[layer])) for layer in (0, -1))
    return first / last if last else math.nan


def activation_histograms(network: Network, X: ArrayLike, *, axes: ArrayLike | None = None) -> Array:
    """A histogram of each layer's outputs for the rows of X.

    Parameters
    ----------
    network : Network
    X : array (n, n_inputs)
    axes : array of as many Axes as there are layers, or None

    Returns
    -------
    array (n_layers,) of Axes

    See Also
    --------
    fastnn.diagnostics.activation_statistics : The same as a few numbers for each layer.
    watch : How many outputs are saturated, and how many units are dead, while a network trains.

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> net = fastnn.Network([4, 16, 16, 1], activation="tanh")
    >>> fastnn.plot.activation_histograms(net, np.random.default_rng(0).normal(size=(100, 4))).shape
    (3,)
    """
    outputs = [values.astype(np.float64) for values in drawable(network).layer_outputs(X)[1:]]
    for index, values in enumerate(outputs):
        if not np.isfinite(values).all():
            raise ValueError(f"layer {index + 1} gives values that are not finite, so they have no histogram")
    chosen = given_or_new(axes, len(outputs), f"the network has {len(outputs)} layers")
    for index, (ax, values, name) in enumerate(zip(chosen, outputs, network.activations, strict=True)):
        ax.hist(values.ravel(), bins=40, range=bin_range(values), weights=np.full(values.size, 100 / values.size),
                color=colors(ax)[0])
        finished(ax, f"output of layer {index + 1} ({name})", "share of values (%)" if index % COLUMNS == 0 else "")
    return chosen


def bin_range(values: FloatArray) -> tuple[float, float]:
    """The first and last edge of a histogram's bins: far enough apart for each bin to have a width."""
    low, high = float(values.min()), float(values.max())
    size = max(abs(low), abs(high))
    if high - low > max(1e-9 * size, 1e-300):
        return low, high
    room = max(0.5, size / 2)
    return low - room, high + room


def weights(network: Network, shape: tuple[int, int], *, layer: int = 0, units: int = 16,
            axes: ArrayLike | None = None) -> Array:
    """What each unit of a layer looks for: its incoming weights as a small image.

    A unit multiplies each input by its weight, and adds the products. Inputs that are large where the image is blue
    (weights above 0) make its output large. Inputs that are large where it is vermillion (weights below 0) make its
    output small. White is a weight of 0. All images have the same scale, which the colour bar shows.

    Parameters
    ----------
    network : Network
    shape : (rows, columns)
        The size of an image, such as (8, 8) for a layer of 64 inputs. The inputs fill it row by row.
    layer : int
        `network.weights[layer]` is drawn.
    units : int
        How many units are drawn at most, from the first one on.
    axes : array of as many Axes as there are units to draw, or None

    Returns
    -------
    array (n_units,) of Axes

    See Also
    --------
    graph : All weights of a small network.

    Examples
    --------
    >>> import fastnn
    >>> net = fastnn.Network([64, 32, 10], output="softmax")
    >>> fastnn.plot.weights(net, (8, 8), units=6).shape
    (6,)
    """
    layer = checked_integer("layer", layer, 0, len(drawable(network).weights) - 1)
    units = checked_integer("units", units, 1)
    matrix = network.weights[layer].astype(np.float64)
    rows, columns = checked_shape(shape, len(matrix))
    images = matrix.T[:units].reshape(-1, rows, columns)
    most = np.abs(images).max() or 1.0
    chosen = given_or_new(axes, len(images), f"{len(images)} units are to be drawn", columns=8,
                          inches=0.8 if len(images) > 4 else 1.6)
    for index, (ax, image) in enumerate(zip(chosen, images, strict=True)):
        drawn = ax.imshow(image, cmap=signs_map(), vmin=-most, vmax=most, interpolation="nearest")
        ax.set_title(f"unit {index + 1}", fontsize="small")
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set(visible=True, color="0.5", linewidth=0.5)
    chosen[0].figure.colorbar(drawn, ax=list(chosen), label="weight")
    return chosen


def checked_shape(shape: Any, inputs: int) -> tuple[int, int]:
    """(rows, columns) of an image of a unit's weights."""
    try:
        rows, columns = (checked_integer("shape", size, 1) for size in shape)
    except (TypeError, ValueError):
        raise ValueError(f"shape is {shape!r}, but must be two whole numbers above 0, such as (8, 8)") from None
    if rows * columns != inputs:
        raise ValueError(f"shape is {shape!r}, which makes {rows * columns} pixels, but a unit of this layer has "
                         f"{inputs} weights; choose rows and columns whose product is that number")
    return rows, columns


def watch(watch: Watch, what: str = "gradient_norms", *, ax: Axes | None = None) -> Axes:
    """What a Watch recorded while a network trained: a curve for each layer, against epochs.

    Layer 1 is next to the inputs. The layers have the colours of a series, from light to dark.

    Parameters
    ----------
    watch : fastnn.diagnostics.Watch
    what : str
        "gradient_norms" and "update_ratios" have a log scale, with 0 at its bottom. "saturated" and "dead" are shares
        from 0 to 1.

    Returns
    -------
    matplotlib Axes

    See Also
    --------
    fastnn.diagnostics.Watch : The callback that records, and what the four records are.
    gradient_norms : The norms at one time, against layers.
    loss_curves : The losses of the same fit.

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> X = np.random.default_rng(0).normal(size=(100, 4))
    >>> watch = fastnn.diagnostics.Watch(X[:20], X[:20, 0])
    >>> history = fastnn.Network([4, 8, 8, 1]).fit(X, X[:, 0], epochs=10, callbacks=[watch])
    >>> ax = fastnn.plot.watch(watch)
    """
    if not isinstance(watch, Watch):
        raise TypeError(f"watch is a {type(watch).__name__}, but must be a fastnn.diagnostics.Watch")
    label, logarithmic = RECORDS[choose("what", what, RECORDS)]
    if not watch.epochs:
        raise ValueError("watch holds no record, so it has no curve to draw; pass it to fit, as in callbacks=[watch]")
    values = np.array(getattr(watch, what))
    ax = axes_for(ax)
    for index, color in enumerate(shades(ax, values.shape[1])):
        style = look(ax, index, len(values)) | {"color": color}
        ax.plot(watch.epochs, values[:, index], label=f"layer {index + 1}", **style)
    if logarithmic:
        log_scale(ax)
    whole_numbers(ax)
    return finished(ax, "epoch", label, legend=True)
