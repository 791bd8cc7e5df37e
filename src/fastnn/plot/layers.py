"""Pictures of layers: activations, norms of gradients, histograms of outputs, and the network as a graph.

Style and checks are in style.py and arguments.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from .._checks import checked_integer, choose, number
from ..activations import ACTIVATIONS, HIDDEN, takes_row
from ..network import Network
from .arguments import drawable, finite, listed
from .style import BLUE, COLUMNS, VERMILLION, axes_for, check_axes, finished, log_scale, look, new_row, whole_numbers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes

    from .._types import ActivationName, Array, ArrayLike, FloatArray, HiddenName

MOST_UNITS = 16                 # of a layer in `graph`


def activation(name: ActivationName | str, *, span: float = 5.0, ax: Axes | None = None) -> Axes:
    """An activation (solid) and its derivative (dashed) from -span to span.

    >>> import fastnn
    >>> ax = fastnn.plot.activation("gelu", span=3)
    """
    function = ACTIVATIONS[choose("name", name, ACTIVATIONS)]
    if takes_row(name):
        raise ValueError(f"name is {name!r}, which has no curve: each of its outputs depends on all of its inputs")
    span = number("span", span, low=0, high=1e100, open_low=True)
    z = np.linspace(-span, span, 401)
    ax = axes_for(ax)
    ax.plot(z, function(z), color=BLUE, label=name)
    ax.plot(z, function.derivative(z), "--", color=VERMILLION, label="derivative")
    ax.set_title(f"{name}: {function.__doc__}", fontsize="medium")
    return finished(ax, "pre-activation z", "value", legend=True)


def gradient_norms(norms: ArrayLike | Mapping[str, ArrayLike], *, ax: Axes | None = None) -> Axes:
    """The norms of the layers' gradients on a log scale, with 0 at its bottom; layer 1 is next to the inputs.

    Parameters
    ----------
    norms : array (n_layers,), or {label: array (n_layers,)}
        Such as `[np.linalg.norm(g) for g in net.gradients(X, y).weights]`.

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
    """A histogram of each layer's outputs for the rows of X. Returns the array of Axes (n_layers,).

    Parameters
    ----------
    network : Network
    X : array (n, n_inputs)
    axes : array of as many Axes as there are layers, or None

    >>> import numpy as np, fastnn
    >>> net = fastnn.Network([4, 16, 16, 1], activation="tanh")
    >>> fastnn.plot.activation_histograms(net, np.random.default_rng(0).normal(size=(100, 4))).shape
    (3,)
    """
    outputs = [values.astype(np.float64) for values in drawable(network).layer_outputs(X)[1:]]
    for index, values in enumerate(outputs):
        if not np.isfinite(values).all():
            raise ValueError(f"layer {index + 1} gives values that are not finite, so they have no histogram")
    chosen: Array
    if axes is None:
        chosen = new_row(len(outputs))
    else:
        chosen = np.array(axes, dtype=object).reshape(-1)
        if len(chosen) != len(outputs):
            raise ValueError(f"axes holds {len(chosen)} Axes, but the network has {len(outputs)} layers")
        chosen[:] = [axes_for(ax) for ax in chosen]
    for index, (ax, values, name) in enumerate(zip(chosen, outputs, network.activations, strict=True)):
        ax.hist(values.ravel(), bins=40, range=bin_range(values), weights=np.full(values.size, 100 / values.size),
                color=BLUE)
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


def graph(network: Network, *, ax: Axes | None = None) -> Axes:
    """The network as a graph: a circle for each unit, a line for each weight, inputs on the left. Biases are not shown.

    A line's colour and width show its weight: purple and solid above zero, orange and dashed below, faint near zero.
    ValueError for layers of more than 16 units. Each call adds a colour bar beside `ax`.

    >>> import fastnn
    >>> ax = fastnn.plot.graph(fastnn.Network([2, 4, 1], activation="tanh", output="sigmoid"))
    """
    sizes = drawable(network).layer_sizes
    if max(sizes) > MOST_UNITS:
        raise ValueError(f"network has a layer of {max(sizes)} units, but a graph is legible with {MOST_UNITS} at most")
    ax = axes_for(ax)
    from matplotlib.collections import LineCollection

    places = [[(layer, size / 2 - unit) for unit in range(size)] for layer, size in enumerate(sizes)]
    weights = np.concatenate([layer.ravel() for layer in network.weights]).astype(np.float64)
    most = np.abs(weights).max() or 1.0
    edges = [(start, end) for left, right in zip(places, places[1:], strict=False) for start in left for end in right]
    lines = LineCollection(edges, cmap="PuOr", linewidths=0.4 + 3 * np.abs(weights) / most, zorder=1,
                           linestyles=["--" if weight < 0 else "-" for weight in weights])
    lines.set_array(weights)
    lines.set_clim(-most, most)
    ax.add_collection(lines)
    x, y = np.array([place for layer in places for place in layer]).T
    ax.scatter(x, y, s=180, color="white", edgecolors="black", zorder=2)
    ax.figure.colorbar(lines, ax=ax, label="weight (dashed: below zero)")
    names = ["inputs", *network.activations]
    ax.set_xticks(range(len(sizes)), [f"{name}\n{size}" for name, size in zip(names, sizes, strict=True)])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.margins(0.1)
    return ax
