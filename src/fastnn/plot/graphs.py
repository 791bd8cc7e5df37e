"""The network as a graph: units, weights, and their values where the network is small.

Style and checks are in style.py and arguments.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import real_array
from .arguments import drawable
from .style import axes_for, ink, lines_map

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection

    from .._types import Array, ArrayLike
    from ..network import Network

MOST_UNITS = 16                 # of a layer
MOST_LABELLED = 4               # of a layer, if values are written into the picture,
MOST_NUMBERS = 8                # and weights between two layers


def graph(network: Network, *, values: bool | ArrayLike = False, ax: Axes | None = None) -> Axes:
    """The network as a graph: a circle for each unit, a line for each weight, inputs on the left.

    A line's colour, style and width show its weight: blue and solid above zero, vermillion and dashed below. The line
    of a large weight is wide and strong. The line of a weight near zero is thin and pale.

    Parameters
    ----------
    network : Network
        It has layers of 16 units at most. With `values` it has layers of 4 units at most, and 8 weights at most between
        two layers: 2-4-1 or 3-2-4, but not 3-3-1.
    values : bool or array (n_inputs,)
        Which numbers the picture shows. True writes its weight on each line, and its bias below each unit. A row of
        inputs does so, too, and writes into each circle what comes out of the unit for that row. False shows
        no numbers, and adds a colour bar beside `ax`.
    ax : matplotlib Axes or None
        Numbers need about 3 inches from layer to layer: the Axes of 2-4-1 are 6 inches wide, those of 2-4-2-1 are 9.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        For a network with larger layers.

    See Also
    --------
    weights : The weights of a layer of many inputs, as images.
    activation_histograms : The outputs of layers of many units.

    Examples
    --------
    >>> import fastnn
    >>> ax = fastnn.plot.graph(fastnn.Network([2, 4, 1], activation="tanh", output="sigmoid"), values=[0.5, -1])
    """
    sizes, outputs = drawable(network).layer_sizes, outputs_to_show(network, values)
    if max(sizes) > MOST_UNITS:
        raise ValueError(f"network has a layer of {max(sizes)} units, but a graph is legible with {MOST_UNITS} at most")
    if outputs is not None and (max(sizes) > MOST_LABELLED or max(w.size for w in network.weights) > MOST_NUMBERS):
        raise ValueError(f"network is {'-'.join(map(str, sizes))}, but a graph with values is legible with "
                         f"{MOST_LABELLED} units a layer and {MOST_NUMBERS} weights between two layers at most; draw "
                         "it with values=False")
    ax = axes_for(ax)
    places = [[(layer, size / 2 - unit) for unit in range(size)] for layer, size in enumerate(sizes)]
    lines = draw_weights(ax, network, places)
    x, y = np.array([place for layer in places for place in layer]).T
    ax.scatter(x, y, s=180 if outputs is None else 1300, color=ax.get_facecolor(), edgecolors=ink(ax), zorder=3,
               clip_on=False)
    ax.margins(0.1)
    if outputs is None:
        ax.figure.colorbar(lines, ax=ax, label="weight (dashed: below zero)")
    else:
        write_weights(ax, network, places)
        write_units(ax, network, places, outputs)
    names = ["inputs", *network.activations]
    ax.set_xticks(range(len(sizes)), [f"{name}\n{size}" for name, size in zip(names, sizes, strict=True)])
    ax.set_yticks([])
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return ax


def outputs_to_show(network: Network, values: Any) -> list[Array] | None:
    """What each layer gives for a row of inputs, the row first; no layers without a row; None for no values at all."""
    if isinstance(values, (bool, np.bool_)):
        return [] if values else None
    row = real_array("values", values)
    if row.ndim != 1:
        raise ValueError(f"values has {row.ndim} dimensions, but must be True, False or one row of inputs, such as "
                         f"{[0.5] * network.layer_sizes[0] if network.layer_sizes[0] < 4 else 'X[0]'}")
    return [layer[0] for layer in network.layer_outputs(row[None])]


def draw_weights(ax: Axes, network: Network, places: list[list[tuple[int, float]]]) -> LineCollection:
    """A line for each weight. A small one is wide and strong enough to be seen, with its sign."""
    from matplotlib.collections import LineCollection

    weights = np.concatenate([layer.ravel() for layer in network.weights]).astype(np.float64)
    most = np.abs(weights).max() or 1.0
    edges = [(start, end) for left, right in zip(places, places[1:], strict=False) for start in left for end in right]
    lines = LineCollection(edges, cmap=lines_map(ax), linewidths=0.8 + 2.7 * np.abs(weights) / most, zorder=1,
                           linestyles=["--" if weight < 0 else "-" for weight in weights])
    lines.set_array(weights)
    lines.set_clim(-most, most)
    ax.add_collection(lines)
    return lines


def write_weights(ax: Axes, network: Network, places: list[list[tuple[int, float]]]) -> None:
    """Each weight on its line, at the side of the larger layer, where lines are apart.

    The lines that share a unit of the smaller layer have their numbers in one column, so no two numbers meet.
    """
    for left, right, weights in zip(places, places[1:], network.weights, strict=False):
        widens = len(left) <= len(right)
        columns = np.linspace(0.42, 0.74, min(len(left), len(right))).tolist() if len(left) * len(right) > 1 else [0.5]
        for (row, column), weight in np.ndenumerate(weights):
            share = columns[row] if widens else 1 - columns[column]
            (x0, y0), (x1, y1) = left[row], right[column]
            ax.text(x0 + share * (x1 - x0), y0 + share * (y1 - y0), short(float(weight)), ha="center", va="center",
                    fontsize="small", zorder=2,
                    bbox={"facecolor": ax.get_facecolor(), "edgecolor": "none", "boxstyle": "square,pad=0.1"})


def write_units(ax: Axes, network: Network, places: list[list[tuple[int, float]]], outputs: list[Array]) -> None:
    """The bias below each unit; in it, what comes out, if `outputs` holds it."""
    for layer, biases in zip(places[1:], network.biases, strict=True):
        for place, bias in zip(layer, biases, strict=True):
            ax.annotate(f"bias {short(bias)}", place, (0, -19), textcoords="offset points", ha="center", va="top",
                        fontsize="small", zorder=4)
    for layer, values in zip(places, outputs, strict=False):
        for place, value in zip(layer, values, strict=True):
            ax.annotate(short(value), place, ha="center", va="center", fontsize="small", zorder=4)
    low, high = min(y for layer in places for _, y in layer), max(y for layer in places for _, y in layer)
    ax.set_xlim(-0.3, len(places) - 0.7)
    ax.set_ylim(low - 0.7, high + 0.5)


def short(value: float) -> str:
    """A number with three decimals at most, or a few digits if it is tiny or large; with matplotlib's minus.

    >>> short(-0.50049), short(0.00042), short(1234.5)
    ('−0.5', '0.0004', '1.23e+03')
    """
    size = abs(value)
    text = f"{value:.1g}" if size < 1e-3 else f"{value:.3f}".rstrip("0").rstrip(".") if size < 10 else f"{value:.3g}"
    return text.replace("-", "\N{MINUS SIGN}")
