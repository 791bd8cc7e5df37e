"""Pictures of networks and of their training, by matplotlib, which is imported when a picture is drawn.

A function draws into `ax`, or into a new figure of pyplot's, and returns the Axes. It takes its numbers from the
public face of a Network and leaves that as it was. Showing the figure is the caller's, and so are matplotlib's
settings: nothing here calls `show` or touches rcParams. Only `LivePlot` turns to a window or a notebook.

Single curves have the colours of Okabe and Ito (2008), which are told apart with every kind of colour vision; here
they stand from dark to light, so that grey tells neighbours apart too. An order is cividis (Nuñez and others, 2018),
whose lightness is even; a sign is PuOr (Brewer), light in the middle. And colour never speaks alone: line styles,
markers, widths or numbers say the same.
"""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Mapping
from copy import deepcopy
from importlib import import_module
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from ._checks import checked_integer, choose, number, real_array
from ._optional import library
from .activations import ACTIVATIONS, HIDDEN
from .callbacks import Callback
from .network import Network, checked_network
from .optimizers import SGD
from .training import DivergenceError, History
from .training.fit import recorded
from .training.rows import check_inputs, targets
from .training.trainable import engine_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import ModuleType

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D

    from ._types import ActivationName, Array, ArrayLike, FloatArray, HiddenName
    from .training.fit import Fit

__all__ = [
    "LivePlot", "activation", "activation_histograms", "confusion_matrix", "cost_curve", "decision_boundary",
    "fitted_lines", "gradient_norms", "graph", "learning_rates", "loss_curves", "vanishing_gradients",
]

BLACK, BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY = COLORS = (
    "#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")     # lightness 0, 46, 54, 58 … 71
CLASSES = (BLUE, ORANGE, GREEN, PURPLE, VERMILLION, SKY, BLACK)      # two classes differ most in lightness
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")                  # eight, so that no pair with a colour comes again
STYLES = ("-", "--", "-.", ":")
MOST_UNITS = 16                 # of a layer in `graph`
COLUMNS = 4                     # of histograms
DIVERGED = 1e3                  # times the first loss
FEW_TICKS = 5                   # where drawing must be fast: ticks take most of its time


# Gradient descent


def cost_curve(network: Network, X: ArrayLike, y: ArrayLike, *, layer: int = 0, row: int = 0, column: int = 0,
               path: ArrayLike | None = None, span: float | tuple[float, float] | None = None,
               ax: Axes | None = None) -> Axes:
    """The mean loss against one weight, while all others stay; and a descent on it.

    Parameters
    ----------
    network : Network
    X, y : arrays, as `Network.evaluate` takes them
    layer, row, column : int
        The weight `network.weights[layer][row, column]`.
    path : array (n,) or (n, 1), or None
        Values of that weight, in order: dots on the curve, joined by lines; the first one is hollow.
    span : (low, high), number or None
        Which weights are shown, besides the dots; one number is how far to both sides of the network's own.
        None holds the path and the network's own with room beside them.

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
    moved = deepcopy(network)

    def loss(weight: float) -> float:
        moved.weights[layer][row, column] = weight
        return moved.evaluate(X, y)

    dots = steps if len(steps) else np.array([own])
    weights = np.linspace(min(low, *dots), max(high, *dots), 201)
    losses, dot_losses = [loss(weight) for weight in weights], [loss(weight) for weight in dots]
    ax = axes_for(ax)
    ax.plot(weights, losses, color=BLUE, label="mean loss")
    if len(steps):
        label = f"descent, {len(steps) - 1} step{'s' * (len(steps) != 2)}"
        ax.plot(dots, dot_losses, "o--", color=VERMILLION, linewidth=1, label=label)
        ax.plot(dots[:1], dot_losses[:1], "o", color=VERMILLION, markerfacecolor="white", markersize=9, label="start")
    else:
        ax.plot(dots, dot_losses, "o", color=VERMILLION, label="the network's weight")
    return finished(ax, f"weights[{layer}][{row}, {column}]", loss_name(network), legend=True)


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
        last = index == len(curves) - 1
        label = f"line {index + 1} of {len(curves)}" if last or index == 0 else None
        ax.plot(grid, curve, color=color, linewidth=2.5 if last else 1.2, label=label)
    ax.plot(x, targets, "o", color=VERMILLION, markeredgecolor="black", label="data", zorder=3)
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
    the network's dropout and penalties, while the losses are those of `evaluate`. One that diverges is drawn up to
    there, with a cross at its end: where the loss is a thousand times that at the start (or 1e-9, if that is more), or
    no number any more.

    Parameters
    ----------
    network : Network
        Where all start; it is not trained.
    X, y : arrays, as `Network.fit` takes them
    rates : sequence of float, > 0
    epochs : int
        Steps; the loss is taken before the first and after each.

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
    finished(ax, "epoch (one step with all rows)", loss_name(network))
    ax.legend(title="learning rate")
    return ax


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
                  [{"color": BLUE}, {"color": VERMILLION}])
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


# Layers


def activation(name: ActivationName | str, *, span: float = 5.0, ax: Axes | None = None) -> Axes:
    """An activation (solid) and its derivative (dashed) from -span to span.

    >>> import fastnn
    >>> ax = fastnn.plot.activation("gelu", span=3)
    """
    function = ACTIVATIONS[choose("name", name, ACTIVATIONS)]
    if name == "softmax":
        raise ValueError("name is 'softmax', which has no curve: each of its outputs depends on all of its inputs")
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
    """How much of the last layer's gradient reaches the first one: the ratio of their norms against depth, log scale.

    It is taken in new networks with random data: 64 rows, `width` inputs, units a layer and outputs, the initial
    weights that belong to the activation, mean squared error.

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
    """What comes out of each layer for the rows of X, as a histogram a layer; returns the array of Axes (n_layers,).

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
    """Where the bins of a histogram begin and end: also for equal values far enough apart that each bin has a width."""
    low, high = float(values.min()), float(values.max())
    size = max(abs(low), abs(high))
    if high - low > max(1e-9 * size, 1e-300):
        return low, high
    room = max(0.5, size / 2)
    return low - room, high + room


def graph(network: Network, *, ax: Axes | None = None) -> Axes:
    """The network as a graph: a circle a unit, a line a weight; inputs are on the left. Biases are not shown.

    A line's colour and width tell its weight: purple and solid above zero, orange and dashed below, faint near it.
    ValueError for layers of more than 16 units. Beside `ax` comes a colour bar, with each call one more.

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


# Classes


def decision_boundary(network: Network, X: ArrayLike, y: ArrayLike, *, resolution: int = 200,
                      ax: Axes | None = None) -> Axes:
    """The plane of two inputs in the colours of the classes that a network sees there, and the data in it.

    One output means the classes 0 and 1, and is cut at 0.5; of several outputs the largest wins.
    ValueError for classes that do not exclude each other: rows of y without a single largest value.

    Parameters
    ----------
    network : Network with two inputs
    X : array (n, 2)
    y : array, as `Network.fit` takes it: integer labels (n,), or (n, n_outputs)
    resolution : int
        Points of the grid along each side, 2 at least.

    >>> import fastnn
    >>> net = fastnn.Network([2, 8, 1], output="sigmoid")
    >>> ax = fastnn.plot.decision_boundary(net, [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0])
    """
    resolution = checked_integer("resolution", resolution, 2)
    if drawable(network).layer_sizes[0] != 2:
        raise ValueError(f"network has {network.layer_sizes[0]} inputs, but a picture of regions needs 2")
    if network.layer_sizes[-1] == 1 and network.activations[-1] == "softmax":
        raise ValueError("network has one softmax output, which is 1 everywhere, so there is no boundary; a network "
                         "for two classes has one sigmoid output, or two softmax outputs")
    X = check_inputs(X, 2)
    values, labels = targets(engine_of(network), y, len(X))
    if values is not None:
        largest = (values == values.max(axis=1, keepdims=True)).sum(axis=1)
        if (largest > 1).any():
            raise ValueError(f"y has {largest.max()} largest values in row {largest.argmax()}, but must tell one class "
                             "a row")
        labels = values[:, 0] if values.shape[1] == 1 else values.argmax(axis=1)
    n_classes = max(2, network.layer_sizes[-1])
    if not np.isin(labels, range(n_classes)).all():
        raise ValueError(f"y holds {labels[~np.isin(labels, range(n_classes))][0]:g}, but the classes of one output "
                         "are 0 and 1")
    room = 0.1 * np.ptp(X, axis=0) + 1e-9 + 0.5 * (np.ptp(X, axis=0) == 0)
    (left, bottom), (right, top) = X.min(axis=0) - room, X.max(axis=0) + room
    grid = np.meshgrid(np.linspace(left, right, resolution), np.linspace(bottom, top, resolution))
    outputs = network.predict(np.stack(grid, axis=-1).reshape(-1, 2)).reshape(resolution, resolution, -1)
    if outputs.shape[-1] == 1:
        outputs = np.concatenate([1 - outputs, outputs], axis=-1)
    classes = outputs.argmax(axis=-1)
    ax = axes_for(ax)
    from matplotlib.colors import ListedColormap, to_rgb

    colors = [CLASSES[label % len(CLASSES)] for label in range(n_classes)]
    pale = ListedColormap([tuple(0.55 + 0.45 * np.array(to_rgb(color))) for color in colors])
    ax.imshow(classes, cmap=pale, vmin=-0.5, vmax=n_classes - 0.5, extent=(left, right, bottom, top), origin="lower",
              aspect="auto", interpolation="nearest")
    for label in range(n_classes - 1):      # the last class borders on the others alone
        lead = outputs[..., label] - np.delete(outputs, label, axis=-1).max(axis=-1)
        if lead.min() < 0 < lead.max():
            ax.contour(*grid, lead, levels=[0], colors="black", linewidths=1)
    for label, color in enumerate(colors):
        ax.plot(*X[labels == label].T, MARKERS[label % len(MARKERS)], color=color, markeredgecolor="black",
                label=str(label))
    finished(ax, "input 0", "input 1")
    ax.grid(visible=False)
    ax.legend(title="class")
    return ax


def confusion_matrix(y: ArrayLike, predicted: ArrayLike, *, labels: Sequence[Any] | None = None,
                     ax: Axes | None = None) -> Axes:
    """How many rows of each class (down) were predicted as which class (across).

    Parameters
    ----------
    y, predicted : arrays (n,) or (n, 1) of classes, integers or strings; or (n, k) of outputs, of which the largest is
        the class. One column of fractions is one output: the class is 1 above 0.5.
    labels : sequence or None
        The classes in the order of the picture; where classes are integers, strings here are the names of 0, 1, ….
        None is the classes that occur, sorted.

    >>> import fastnn
    >>> ax = fastnn.plot.confusion_matrix([0, 0, 1, 2], [0, 1, 1, 2], labels=["ham", "spam", "eggs"])
    """
    y, predicted = checked_classes("y", y), checked_classes("predicted", predicted)
    if len(y) != len(predicted) or not len(y):
        raise ValueError(f"y has {len(y)} rows and predicted has {len(predicted)}, but they must have equally many, 1 "
                         "at least")
    if (y.dtype.kind in "iu") != (predicted.dtype.kind in "iu"):
        raise TypeError("y and predicted hold classes of different kinds, but both must be integers, or both strings")
    classes = np.unique(np.concatenate([y, predicted])) if labels is None else chosen_classes(labels)
    names = [str(name) for name in classes]
    if classes.dtype.kind == "U" and y.dtype.kind in "iu":
        classes = np.arange(len(names))
    for name, values in (("y", y), ("predicted", predicted)):
        if not np.isin(values, classes).all():
            raise ValueError(f"{name} holds the class {values[~np.isin(values, classes)][0]!s}, but labels tell of "
                             f"{', '.join(map(str, classes))}")
    counts = np.array([[np.sum((y == true) & (predicted == other)) for other in classes] for true in classes])
    ax = axes_for(ax)
    ax.imshow(counts, cmap="Blues", vmin=0)
    size = min(11.0, 120 / len(classes))
    for (down, across), count in np.ndenumerate(counts):
        ax.text(across, down, str(count), ha="center", va="center", fontsize=size,
                color="white" if count > 0.6 * counts.max() else "black")
    ax.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 30 / len(names) else 0)
    ax.set_yticks(range(len(names)), names)
    ax.set_xlabel("predicted class")
    ax.set_ylabel("true class")
    return ax


def checked_classes(name: str, values: Any) -> Array:
    """Classes (n,): integers or strings."""
    try:
        values = np.asarray(values)
        if values.dtype.kind == "O":        # such as the strings of pandas
            values = np.asarray(values.tolist())
    except ValueError:
        raise ValueError(f"{name} has rows of different lengths, but must hold one class or one output a class in "
                         "each") from None
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError(f"{name} holds {values[~np.isfinite(values)][0]}, but must hold finite numbers")
    one_output = False
    if values.ndim == 2 and values.shape[1] == 1:
        values, one_output = values[:, 0], values.dtype.kind == "f"
    elif values.ndim == 2 and values.size and values.dtype.kind in "biuf":
        values = values.argmax(axis=1)
    if values.dtype.kind == "b" or (values.dtype.kind == "f" and (values % 1 == 0).all()):
        values = values.astype(np.intp)
    elif one_output:
        values = (values > 0.5).astype(np.intp)
    if values.ndim != 1 or values.dtype.kind not in "iuU":
        raise ValueError(f"{name} has shape {values.shape} and dtype {values.dtype}, but must hold one class a row, "
                         "an integer or a string, or one output a class")
    return values


def chosen_classes(labels: Any) -> Array:
    """`labels` of a confusion matrix (n_classes,): integers or strings, each once."""
    classes = checked_classes("labels", labels)
    if np.ndim(labels) != 1 or not len(classes) or len(np.unique(classes)) < len(classes):
        raise ValueError(f"labels is {labels!r}, but must be a list of classes or of their names, each once")
    return classes


# While a network trains


class LivePlot(Callback):
    """A picture of the training and validation loss that grows while a network trains.

    In a notebook it is one picture that is updated in its place; in a window (matplotlib's interactive backends) it
    is redrawn there, until the user closes it; without a display the figure is kept up to date, and nothing is
    drawn. A new fit begins a new curve. A copy has the settings, and draws into a figure of its own.

    Parameters
    ----------
    seconds : float
        The least time of training before the first drawing and between two, each of which takes some tens of
        milliseconds: once a second that is a few hundredths of the time. At the end of the fit there is a last one. An
        epoch after which nothing is drawn costs a tenth of a microsecond.
    ax : matplotlib Axes or None
        Where to draw; None is a new figure, which the first drawing makes. `live.ax` is it.

    >>> import numpy as np, fastnn
    >>> live = fastnn.plot.LivePlot(seconds=2)
    >>> history = fastnn.Network([2, 1]).fit(np.eye(2), [0, 1], epochs=10, callbacks=[live])
    >>> len(live.ax.lines[0].get_xdata())
    10
    """

    on_every_rank = False

    def __init__(self, seconds: float = 1.0, *, ax: Axes | None = None) -> None:
        pyplot()
        self.seconds = number("seconds", seconds, low=0)
        check_axes(ax)
        self.ax, self._own = ax, ax is None
        self._lines: dict[str, Line2D] = {}

    def __reduce__(self) -> tuple[type[LivePlot], tuple[float]]:
        """A copy has the settings, and a figure of its own."""
        return LivePlot, (self.seconds,)

    def on_fit_begin(self, fit: Fit) -> None:
        if self.ax is not None and not in_figure(self.ax):
            if not self._own:
                raise ValueError("the ax of this LivePlot has been removed from its figure; create another LivePlot")
            self.ax = None
        self._refresh: Callable[[], None] | None = None     # until the first drawing of the fit
        self._drawn = monotonic()

    def on_epoch_end(self, fit: Fit) -> None:
        if monotonic() - self._drawn >= self.seconds:
            self._draw(fit)

    def on_fit_end(self, fit: Fit) -> None:
        if fit.epoch:
            self._draw(fit)

    def _draw(self, fit: Fit) -> None:
        if self._refresh is None:
            self._begin(fit)
        assert self.ax is not None
        for name, line in self._lines.items():
            losses = getattr(fit.history, name)
            line.set_data(epochs_of(losses), losses)
            line.set_marker("o" if len(losses) == 1 else "")
        self.ax.relim()
        self.ax.autoscale_view()
        if self._refresh is None:
            self._refresh = viewer(self.ax.figure, self._own)
        else:
            self._refresh()
        self._drawn = monotonic()       # again: drawing takes none of the seconds of training

    def _begin(self, fit: Fit) -> None:
        """Empty curves for a fit in place of those of the last one."""
        if self.ax is None:
            new: Axes = pyplot().subplots()[1]      # no constrained layout, which takes a third of a drawing's time
            new.locator_params("y", nbins=FEW_TICKS)
            self.ax = new
        for line in self._lines.values():
            if line.axes is self.ax:                # else the user has removed it
                line.remove()
        self._lines = {"loss": self.ax.plot([], [], color=BLUE, label="training")[0]}
        if "validation_loss" in recorded(fit):
            self._lines["validation_loss"] = self.ax.plot([], [], "--", color=VERMILLION, label="validation")[0]
        whole_numbers(self.ax, FEW_TICKS)
        finished(self.ax, "epoch", loss_name(fit.network)).legend(loc="upper right")


def in_figure(ax: Axes) -> bool:
    """Whether Axes are still part of a figure, be it in others."""
    return ax.figure is not None and ax in ax.figure.findobj(type(ax))


def viewer(figure: Figure | SubFigure, own: bool) -> Callable[[], None]:
    """Brings a figure before the user's eyes, in a window or a notebook if it has one; returns what does it again.

    A notebook's figure that is our own is closed for pyplot, which would show it once more under the cell.
    """
    canvas, manager = figure.canvas, figure.canvas.manager      # a user's own window has no manager
    if canvas.required_interactive_framework is not None:
        # pyplot's own fignum_exists knows numbers, which a new figure takes over.
        from matplotlib._pylab_helpers import Gcf

        def still_open() -> bool:
            return manager is None or manager in Gcf.figs.values()

        def redraw() -> None:
            if still_open():
                canvas.draw_idle()
                canvas.flush_events()
        if manager is not None and still_open():
            manager.show()
        redraw()
        return redraw
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if not hasattr(shell, "kernel"):
        return lambda: None
    notebook: Any = import_module("IPython.display")

    def image() -> Any:
        png = io.BytesIO()
        canvas.print_figure(png, format="png", pil_kwargs={"compress_level": 1})    # half the time of level 6
        return notebook.Image(png.getvalue())
    if own:
        pyplot().close(figure)
    handle = notebook.display(image(), display_id=True)
    return lambda: handle.update(image())


# What the pictures share


def pyplot() -> ModuleType:
    """matplotlib.pyplot; an ImportError that says how to get it."""
    return library("matplotlib.pyplot", "matplotlib", "plot", "fastnn.plot")


def check_axes(ax: Any) -> None:
    """An error for what cannot be drawn into; what takes long begins with it."""
    if not isinstance(ax, (pyplot().Axes, type(None))):
        raise TypeError(f"ax is a {type(ax).__name__}, but must be matplotlib Axes, or None for a new figure")


def axes_for(ax: Any) -> Axes:
    """The Axes to draw into: those given, or those of a new figure."""
    check_axes(ax)
    return pyplot().subplots(layout="constrained")[1] if ax is None else ax


def drawable(network: Network) -> Network:
    """network, or an error if it is none, or if its parameters are not finite."""
    if not np.isfinite(checked_network(network).get_parameters()).all():
        raise ValueError("weights or biases hold NaN or infinity, but must be finite; set them before drawing")
    return network


def new_row(count: int) -> Array:
    """Axes (count,) of a new figure, a few in a row."""
    columns = min(count, COLUMNS)
    rows = -(-count // columns)
    figure, grid = pyplot().subplots(rows, columns, squeeze=False, layout="constrained",
                                     figsize=(max(4, 2.8 * columns), 2.8 * rows))
    for ax in grid.ravel()[count:]:
        ax.remove()
    return grid.ravel()[:count]


def finished(ax: Axes, x: str, y: str, legend: bool = False) -> Axes:
    """ax with its labels, a faint grid behind the curves, and a legend if there is one."""
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.grid(color="0.5", alpha=0.25)
    ax.set_axisbelow(True)
    if legend:
        ax.legend()
    return ax


def whole_numbers(ax: Axes, most: int = 10) -> None:
    """Epochs and layers have no halves: ticks at whole numbers, about `most`."""
    from matplotlib.ticker import MaxNLocator
    ax.xaxis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10], integer=True))


def log_scale(ax: Axes) -> None:
    """A log scale, with 0 at its bottom where a value is 0; no log scale where one is below 0."""
    values = np.concatenate([line.get_ydata(orig=False) for line in ax.lines])
    above = values[values > 0]
    if (values < 0).any() or not len(above):
        ax.set_yscale("linear")
    elif (values == 0).any():
        # From a power of ten, or its tick covers that of 0.
        ax.set_yscale("symlog", linthresh=10 ** math.floor(math.log10(max(above.min(), 1e-300))))
    else:
        ax.set_yscale("log")


def ink(ax: Axes) -> Any:
    """The colour that is seen best on the ground of ax: that of its words."""
    return ax.xaxis.label.get_color()


def look(ax: Axes, index: int, points: int) -> dict[str, Any]:
    """How curve `index` of several looks: some ten markers along it, beside those of a curve that it may cover."""
    step, color = -(-points // 10), COLORS[index % len(COLORS)]
    return {"color": ink(ax) if color == BLACK else color, "linestyle": STYLES[index % len(STYLES)],
            "marker": MARKERS[index % len(MARKERS)], "markevery": (index % step, step)}


def shades(ax: Axes, count: int) -> list[tuple[float, ...]]:
    """Colours from light to dark; on a dark ground from dark to light."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb
    order = colormaps["cividis" if np.mean(to_rgb(ink(ax))) > 0.5 else "cividis_r"]
    return [tuple(color) for color in order(np.linspace(0.15, 1, count) if count > 1 else [1.0])]


def epochs_of(losses: Sequence[float]) -> Array:
    """1, 2, … for the entries of a list in a History."""
    return np.arange(1, len(losses) + 1)


def loss_name(network: Network) -> str:
    """The label of an axis of losses."""
    loss = network.loss
    return f"mean loss ({loss if isinstance(loss, str) else getattr(loss, '__name__', repr(loss))})"


def listed(name: str, values: Any, what: str) -> list[Any]:
    """values as a list of `what`"""
    try:
        return list(values)
    except TypeError:
        raise TypeError(f"{name} is {values!r}, but must be a list of {what}") from None


def one_column(name: str, values: object) -> Array:
    """values (n,) or (n, 1) as (n,)"""
    array = real_array(name, values)
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def finite(name: str, values: object) -> FloatArray:
    """values (n,) in float64, all of them finite."""
    array = real_array(name, values).astype(np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name} has {array.ndim} dimensions, but must have 1")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds {array[~np.isfinite(array)][0]}, but must hold finite numbers")
    return array
