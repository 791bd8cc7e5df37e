"""Pictures of gradient descent and of training: losses against a weight or epochs, and fitted lines.

Networks are copied before they are trained or changed here. Style and checks are in style.py and arguments.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import checked_integer, number, real_array
from ..network import Network
from ..optimizers import SGD
from ..training import DivergenceError, History
from .arguments import drawable, finite, listed, one_column
from .style import (
    axes_for,
    check_axes,
    colors,
    epochs_of,
    finished,
    log_scale,
    look,
    loss_name,
    shades,
    whole_numbers,
    with_legend,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from matplotlib.axes import Axes

    from .._types import ArrayLike, FloatArray

DIVERGED = 1e3                  # times the first loss: learning_rates stops there
RISE = 0.25                     # of a curve's height, on both sides of its lowest point, makes a valley


def cost_curve(network: Network, X: ArrayLike, y: ArrayLike, *, layer: int = 0, row: int = 0, column: int = 0,
               path: ArrayLike | None = None, span: float | tuple[float, float] | None = None,
               ax: Axes | None = None) -> Axes:
    """The mean loss against one weight, while all others stay; and the path of a descent on that curve.

    The picture counts layers, inputs and units from 1: its "weight of layer 2, input 3 → unit 1" is
    `network.weights[1][2, 0]`. A network of one weight has the "weight w".

    Parameters
    ----------
    network : Network
    X, y : arrays, as `Network.evaluate` takes them
    layer, row, column : int
        The weight `network.weights[layer][row, column]`.
    path : array (n,) or (n, 1), or None
        Values of that weight, in order: dots on the curve, joined by lines; the first one is hollow. The dots have the
        colours that `fitted_lines` gives as many lines, so the two pictures belong beside each other.
    span : (low, high), number or None
        Which weights are shown, besides the dots. One number is the distance to both sides of the network's weight.
        None shows the path and the network's weight, with a margin. It also shows the bottom of the curve's valley and
        a part of both slopes, if the bottom is near.

    Returns
    -------
    matplotlib Axes

    See Also
    --------
    fitted_lines : The lines that belong to the dots.
    learning_rates : How the loss falls with several learning rates.

    Examples
    --------
    >>> import fastnn
    >>> net = fastnn.Network([1, 1], loss="mse")
    >>> ax = fastnn.plot.cost_curve(net, [[1], [2]], [2, 4], path=[0, 2.5, 1.875, 2.03125])
    """
    check_axes(ax)
    layer = checked_integer("layer", layer, 0, len(drawable(network).weights) - 1)
    row = checked_integer("row", row, 0, network.weights[layer].shape[0] - 1)
    column = checked_integer("column", column, 0, network.weights[layer].shape[1] - 1)
    own = float(network.weights[layer][row, column])
    steps = finite("path", [] if path is None else one_column("path", path))
    low, high = checked_span(span, own, steps)
    dots = steps if len(steps) else np.array([own])

    def losses(weights: FloatArray) -> FloatArray:
        return losses_along(network, X, y, (layer, row, column), weights)

    low, high = min(low, *dots), max(high, *dots)
    if span is None:
        low, high = with_valley(losses, low, high)
    weights = np.linspace(low, high, 201)
    curve, heights = losses(weights), losses(dots)
    ax = axes_for(ax)
    ax.plot(weights, curve, color="0.5", linewidth=2, label="mean loss")
    if len(steps):
        draw_path(ax, dots, heights)
    else:
        ax.plot(dots, heights, "o", color=colors(ax)[1], label="the network's weight")
    return finished(ax, weight_name(network, layer, row, column), loss_name(network), legend=True)


def draw_path(ax: Axes, dots: FloatArray, heights: FloatArray) -> None:
    """The dots of a descent, from the first colour of a series to its last, and lines that join them."""
    ax.plot(dots, heights, "--", color="0.5", linewidth=1)
    last = len(dots) - 1
    hollow: dict[str, Any] = {"markerfacecolor": "none", "markersize": 10, "markeredgewidth": 2.5}
    for index, color in enumerate(shades(ax, len(dots))):
        ax.plot(dots[index:index + 1], heights[index:index + 1], "o", color=color, label=iteration(index, last),
                zorder=3, **({} if index else hollow))


def iteration(index: int, last: int) -> str | None:
    """The label of the state after `index` iterations of `last`: only the first and the last one have one."""
    return "start" if index == 0 else f"iteration {last}" if index == last else None


def weight_name(network: Network, layer: int, row: int, column: int) -> str:
    """A weight as people say it: they count from 1."""
    if tuple(network.layer_sizes) == (1, 1):
        return "weight w"
    return f"weight of layer {layer + 1}, input {row + 1} \N{RIGHTWARDS ARROW} unit {column + 1}"


def losses_along(network: Network, X: ArrayLike, y: ArrayLike, place: tuple[int, int, int],
                 values: FloatArray) -> FloatArray:
    """The mean loss (n,) for each value (n,) of the weight at (layer, row, column), in a copy of the network."""
    network, (layer, row, column) = deepcopy(network), place
    losses = []
    for value in values:
        network.weights[layer][row, column] = value
        losses.append(network.evaluate(X, y))
    return np.array(losses)


def with_valley(losses: Callable[[FloatArray], FloatArray], low: float, high: float) -> tuple[float, float]:
    """(low, high), moved apart if that shows the bottom of a valley and a part of both slopes.

    A side moves by a quarter of the width until the loss there is well above the lowest one, or eight times. If it is
    not above then, the side stays where it was.
    """
    known = losses(np.linspace(low, high, 21))
    top, lowest, ends = known.max(), known.min(), []
    for end, step in ((low, (low - high) / 4), (high, (high - low) / 4)):
        further = losses(end + step * np.arange(9))
        above = further - np.minimum(np.minimum.accumulate(further), lowest)
        found = np.flatnonzero(above >= RISE * (top - lowest))
        ends.append(end + step * found[0] if len(found) else end)
    return ends[0], ends[1]


def checked_span(span: Any, own: float, steps: FloatArray) -> tuple[float, float]:
    """(low, high) of the weights that a cost curve shows."""
    if span is None:
        low, high = min([own, *steps]), max([own, *steps])
        room = (high - low) / 4 or max(1.0, abs(own))
        return low - room, high + room
    try:
        low, high = (own - number("span", span, 0, open_low=True), own + span) if np.ndim(span) == 0 else span
    except (TypeError, ValueError):
        raise ValueError(f"span is {span!r}, but must be two numbers (low, high), or one above 0") from None
    low, high = number("span[0]", low), number("span[1]", high)
    if low >= high:
        raise ValueError(f"span is {span!r}, but its first number must be below its second")
    return low, high


def fitted_lines(X: ArrayLike, y: ArrayLike, lines: Iterable[tuple[float, float] | Network], *,
                 ax: Axes | None = None) -> Axes:
    """The data of one input, and the line that was fitted after each iteration: faint first, the last one strongest.

    Parameters
    ----------
    X, y : arrays (n,) or (n, 1)
    lines : sequence of (slope, intercept) or of Networks with one input and one output, at least one
        The line at the start, and those after each iteration.

    Returns
    -------
    matplotlib Axes

    See Also
    --------
    cost_curve : The descent that leads from line to line; its dots have the colours of the lines.

    Examples
    --------
    >>> import fastnn
    >>> ax = fastnn.plot.fitted_lines([0, 1, 2], [1, 3, 5], [(0, 0), (1, 0.6), (1.6, 0.9)])
    """
    x, targets = (finite(name, one_column(name, values)) for name, values in (("X", X), ("y", y)))
    if len(x) != len(targets) or not len(x):
        raise ValueError(f"X has {len(x)} rows and y has {len(targets)}, but they must have equally many, 1 at least")
    grid = np.linspace(x.min(), x.max(), 200) if len(set(x)) > 1 else x[0] + np.linspace(-1, 1, 200)
    curves = [heights(f"lines[{index}]", line, grid) for index, line in
              enumerate(listed("lines", lines, "(slope, intercept) or Networks, such as [(2, 1)]"))]
    if not curves:
        raise ValueError("lines is empty, but must hold at least one (slope, intercept) or Network")
    ax = axes_for(ax)
    for index, (curve, color) in enumerate(zip(curves, shades(ax, len(curves)), strict=True)):
        last = len(curves) - 1
        ax.plot(grid, curve, color=color, linewidth=2.5 if index == last else 1.5,
                label=iteration(index, last) if last else "fitted line")
    ax.plot(x, targets, "o", color=colors(ax)[1], markeredgecolor="black", label="data", zorder=3)
    return finished(ax, "input x", "output y", legend=True)


def heights(name: str, line: Any, grid: FloatArray) -> FloatArray:
    """The values of a fitted line on a grid (n,)."""
    if isinstance(line, Network):
        if (line.layer_sizes[0], line.layer_sizes[-1]) != (1, 1):
            raise ValueError(f"{name} has {line.layer_sizes[0]} inputs and {line.layer_sizes[-1]} outputs, but a line "
                             "in a plane needs one of each")
        return drawable(line).predict(grid[:, None])[:, 0]
    values = real_array(name, line)
    if values.shape != (2,):
        raise ValueError(f"{name} is {line!r}, but must be (slope, intercept) or a Network, as in lines=[(2, 1)]")
    values = finite(name, values)
    return values[0] * grid + values[1]


def learning_rates(network: Network, X: ArrayLike, y: ArrayLike, rates: Sequence[float], *, epochs: int = 50,
                   ax: Axes | None = None) -> Axes:
    """The mean loss against epochs for several learning rates, on a log scale (linear where a loss is negative).

    For each rate a copy of the network is trained by plain gradient descent: `SGD(rate)`, all rows in one step, with
    the network's dropout and penalties. The losses are those of `evaluate`. If a rate diverges, its curve ends with a
    cross: where the loss is not finite, or is a thousand times the loss at the start (or 1e-9, if that is more).

    Parameters
    ----------
    network : Network
        Every copy starts from its parameters; the network itself is not trained.
    X, y : arrays, as `Network.fit` takes them
    rates : sequence of float, > 0
    epochs : int
        Steps; the loss is taken before the first and after each.

    Returns
    -------
    matplotlib Axes

    See Also
    --------
    cost_curve : The path of one descent on the curve of the loss.
    fastnn.diagnostics.largest_stable_rate : The learning rate from which a descent diverges.

    Examples
    --------
    >>> import fastnn
    >>> net = fastnn.Network([1, 1], loss="mse")
    >>> ax = fastnn.plot.learning_rates(net, [[1], [2]], [2, 4], [0.01, 0.1, 0.9], epochs=20)
    """
    check_axes(ax)
    epochs = checked_integer("epochs", epochs, 1)
    rates = [float(rate) for rate in finite("rates", rates)]
    if not rates or min(rates) <= 0:
        raise ValueError(f"rates is {rates}, but must hold learning rates above 0, at least one")
    drawable(network).evaluate(X, y)
    courses = [descent(network, X, y, rate, epochs) for rate in rates]
    ax = axes_for(ax)
    for index, (rate, (losses, diverged)) in enumerate(zip(rates, courses, strict=True)):
        label = f"{rate:g}, diverges" if diverged else f"{rate:g}"
        line, = ax.plot(range(len(losses)), losses, label=label, **look(ax, index, len(losses)))
        if diverged:
            ax.plot([len(losses) - 1], losses[-1:], "x", color=line.get_color(), markersize=12, markeredgewidth=3)
    log_scale(ax)
    whole_numbers(ax)
    return with_legend(finished(ax, "epoch (one step with all rows)", loss_name(network)), "learning rate")


def descent(network: Network, X: ArrayLike, y: ArrayLike, rate: float, epochs: int) -> tuple[list[float], bool]:
    """(the losses of a copy before and after each epoch, whether it diverged)"""
    network, optimizer = deepcopy(network), SGD(rate)
    losses = [network.evaluate(X, y)]
    for _ in range(epochs):
        try:
            network.fit(X, y, batch_size=len(np.asarray(X)), optimizer=optimizer, shuffle=False)
        except DivergenceError:
            return losses, True
        loss = network.evaluate(X, y)
        if not math.isfinite(loss):
            return losses, True
        losses.append(loss)
        if loss > DIVERGED * max(abs(losses[0]), 1e-9):
            return losses, True
    return losses, False


def loss_curves(histories: History | Mapping[str, History], *, ax: Axes | None = None) -> Axes:
    """The losses of one or several fits against epochs: training solid, validation dashed, its best epoch a star.

    Parameters
    ----------
    histories : History, or {label: History}

    Returns
    -------
    matplotlib Axes

    See Also
    --------
    LivePlot : The same curves while a network trains.
    watch : What happens in the layers meanwhile.

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> X = np.linspace(-1, 1, 50)[:, None]
    >>> history = fastnn.Network([1, 8, 1]).fit(X, X**2, epochs=20, validation_data=0.2)
    >>> ax = fastnn.plot.loss_curves(history)
    """
    named = {None: histories} if isinstance(histories, History) else histories
    if not isinstance(named, Mapping) or not all(isinstance(history, History) for history in named.values()):
        raise TypeError(f"histories is {histories!r}, but must be a History or a dictionary {{label: History}}")
    if not named:
        raise ValueError("histories is empty, but must hold at least one History")
    for label, history in named.items():
        if not history.loss:
            which = "" if label is None else f" {label!r}"
            raise ValueError(f"the history{which} holds no epoch, so it has no curve to draw")
    ax = axes_for(ax)
    for index, (label, history) in enumerate(named.items()):
        curves = ([look(ax, index, len(history.loss))] * 2 if len(named) > 1 else
                  [{"color": color} for color in colors(ax)[:2]])
        marker = {"marker": "o"} if len(history.loss) == 1 else {}      # a line of one point cannot be seen
        for kind, losses, curve, style in zip(("training", "validation"), (history.loss, history.validation_loss),
                                              curves, ("-", "--"), strict=True):
            if losses:
                ax.plot(epochs_of(losses), losses, label=kind if label is None else f"{label}, {kind}",
                        **marker | curve | {"linestyle": style})
        if np.isfinite(history.validation_loss).any():
            best = int(np.nanargmin(history.validation_loss))
            once = "best epoch" if "best epoch" not in ax.get_legend_handles_labels()[1] else None
            ax.plot([best + 1], [history.validation_loss[best]], "*", color=curves[1]["color"], markersize=20,
                    markeredgecolor="white", markeredgewidth=1.5, zorder=3, label=once)
    whole_numbers(ax)
    return finished(ax, "epoch", "mean loss", legend=True)
