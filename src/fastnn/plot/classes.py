"""Pictures of classification: the regions of classes in the plane of two inputs, and the confusion matrix.

Style and checks are in style.py and arguments.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import checked_integer
from ..activations import takes_row
from ..training.rows import check_inputs, targets
from ..training.trainable import engine_of
from .arguments import drawable
from .style import MARKERS, axes_for, colors, counts_map, finished, with_legend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from .._types import Array, ArrayLike, FloatArray
    from ..network import Network


def decision_boundary(network: Network, X: ArrayLike, y: ArrayLike, *, resolution: int = 200,
                      ax: Axes | None = None) -> Axes:
    """The plane of two inputs, coloured by the class that a network predicts at each point, and the data in it.

    A network of one output has the classes 0 and 1: an output above 0.5 means 1. If there are several outputs, the
    largest one is the class.

    Parameters
    ----------
    network : Network with two inputs
    X : array (n, 2)
    y : array, as `Network.fit` takes it: integer labels (n,), or (n, n_outputs)
    resolution : int
        Points of the grid along each side, 2 at least.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        For classes that do not exclude each other: a row of `y` has no single largest value.

    See Also
    --------
    confusion_matrix : How many rows of each class are predicted as which class.

    Examples
    --------
    >>> import fastnn
    >>> net = fastnn.Network([2, 8, 1], output="sigmoid")
    >>> ax = fastnn.plot.decision_boundary(net, [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0])
    """
    resolution = checked_integer("resolution", resolution, 2)
    if drawable(network).layer_sizes[0] != 2:
        raise ValueError(f"network has {network.layer_sizes[0]} inputs, but a picture of regions needs 2")
    if network.layer_sizes[-1] == 1 and takes_row(network.activations[-1]):
        raise ValueError("network has one softmax output, which is 1 everywhere, so there is no boundary; a network "
                         "for two classes has one sigmoid output, or two softmax outputs")
    X = check_inputs(X, 2)
    labels = labels_of(network, y, len(X))
    grid = grid_around(X, resolution)
    outputs = outputs_on(grid, network)
    ax = axes_for(ax)
    palette = colors(ax)
    chosen = [palette[label % len(palette)] for label in range(outputs.shape[-1])]
    draw_regions(ax, grid, outputs, chosen)
    for label, color in enumerate(chosen):
        marker = MARKERS[label % len(MARKERS)]
        ax.plot(*X[labels == label].T, marker, color=color, markeredgecolor="black", label=str(label))
    finished(ax, "input 1", "input 2")
    ax.grid(visible=False)
    return with_legend(ax, "class", handlelength=1, frameon=True)      # the frame stands out from the regions


def labels_of(network: Network, y: ArrayLike, rows: int) -> Array:
    """The class (n,) of each row of y, which is as `Network.fit` takes it."""
    values, labels = targets(engine_of(network), y, rows)
    if values is not None:
        largest = (values == values.max(axis=1, keepdims=True)).sum(axis=1)
        if (largest > 1).any():
            raise ValueError(f"y has {largest.max()} largest values in row {largest.argmax()}, but must tell one class "
                             "a row")
        labels = values[:, 0] if values.shape[1] == 1 else values.argmax(axis=1)
    classes = range(max(2, network.layer_sizes[-1]))
    if not np.isin(labels, classes).all():
        raise ValueError(f"y holds {labels[~np.isin(labels, classes)][0]:g}, but the classes of one output are 0 and 1")
    return labels


def grid_around(X: Array, resolution: int) -> tuple[Array, Array]:
    """The coordinates (resolution, resolution) of a grid that contains the points X (n, 2), with a margin."""
    margin = 0.1 * np.ptp(X, axis=0) + 1e-9 + 0.5 * (np.ptp(X, axis=0) == 0)
    (left, bottom), (right, top) = X.min(axis=0) - margin, X.max(axis=0) + margin
    across, up = np.meshgrid(np.linspace(left, right, resolution), np.linspace(bottom, top, resolution))
    return across, up


def outputs_on(grid: tuple[Array, Array], network: Network) -> FloatArray:
    """Outputs (resolution, resolution, n_classes) at the points of a grid. A single output becomes two."""
    outputs = network.predict(np.stack(grid, axis=-1).reshape(-1, 2)).reshape(*grid[0].shape, -1)
    return np.concatenate([1 - outputs, outputs], axis=-1) if outputs.shape[-1] == 1 else outputs


def draw_regions(ax: Axes, grid: tuple[Array, Array], outputs: FloatArray, palette: list[str]) -> None:
    """Fills each class's region of the grid with a pale colour, and draws black lines between the regions.

    `outputs` is (resolution, resolution, n_classes); the class of a point is its largest output.
    """
    from matplotlib.colors import ListedColormap, to_rgb

    pale = ListedColormap([tuple(0.55 + 0.45 * np.array(to_rgb(color))) for color in palette])
    extent = grid[0].min(), grid[0].max(), grid[1].min(), grid[1].max()
    ax.imshow(outputs.argmax(axis=-1), cmap=pale, vmin=-0.5, vmax=len(palette) - 0.5, extent=extent, origin="lower",
              aspect="auto", interpolation="nearest")
    for label in range(len(palette) - 1):        # the lines around the last class are those of its neighbours
        lead = outputs[..., label] - np.delete(outputs, label, axis=-1).max(axis=-1)
        if lead.min() < 0 < lead.max():
            ax.contour(*grid, lead, levels=[0], colors="black", linewidths=1)


def confusion_matrix(y: ArrayLike, predicted: ArrayLike, *, labels: Sequence[Any] | None = None,
                     ax: Axes | None = None) -> Axes:
    """How many rows of each class (down) were predicted as which class (across); a cell of no rows is empty.

    Parameters
    ----------
    y, predicted : arrays (n,) or (n, 1) of classes, integers or strings; or (n, k) of outputs, of which the largest is
        the class. One column of fractions is one output: the class is 1 above 0.5.
    labels : sequence or None
        The classes in the order of the picture; where classes are integers, strings here are the names of 0, 1, ….
        None is the classes that occur, sorted.

    Returns
    -------
    matplotlib Axes

    See Also
    --------
    decision_boundary : The regions of the classes, for a network of two inputs.

    Examples
    --------
    >>> import fastnn
    >>> ax = fastnn.plot.confusion_matrix([0, 0, 1, 2], [0, 1, 1, 2], labels=["ham", "spam", "eggs"])
    """
    counts, names = count_classes(checked_classes("y", y), checked_classes("predicted", predicted), labels)
    ax = axes_for(ax)
    ax.imshow(counts, cmap=counts_map(), vmin=0)
    size = min(11.0, 120 / len(names))
    for down, across in np.argwhere(counts):
        count = counts[down, across]
        ax.text(across, down, str(count), ha="center", va="center", fontsize=size,
                color="white" if count > 0.45 * counts.max() else "black")
    ax.grid(visible=False)
    ax.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 30 / len(names) else 0)
    ax.set_yticks(range(len(names)), names)
    ax.set_xlabel("predicted class")
    ax.set_ylabel("true class")
    return ax


def count_classes(y: Array, predicted: Array, labels: Sequence[Any] | None) -> tuple[Array, list[str]]:
    """(number of rows for each true class (down) and predicted class (across), names of the classes)"""
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
    return counts, names


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
