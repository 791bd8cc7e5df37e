"""What all pictures share: colours, markers, Axes, scales and labels.

Single curves have the colours of Okabe and Ito (2008), which people with every kind of colour vision can tell apart.
Here they are ordered from dark to light, so neighbours also differ in grey. Colours of an ordered series come from
cividis (Nuñez and others, 2018), whose lightness changes evenly. Colours of a sign come from PuOr (Brewer), which is
light in the middle. Colour is never the only sign: line styles, markers, widths or numbers say the same.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import library

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from matplotlib.axes import Axes

    from .._types import Array
    from ..network import Network

BLACK, BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY = COLORS = (
    "#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")     # lightness 0, 46, 54, 58 … 71
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")      # 8 markers and 7 colours repeat together only after 56 curves
STYLES = ("-", "--", "-.", ":")
COLUMNS = 4                     # of a figure with several Axes


def pyplot() -> ModuleType:
    """matplotlib.pyplot; an ImportError that says how to get it."""
    return library("matplotlib.pyplot", "matplotlib", "plot", "fastnn.plot")


def check_axes(ax: Any) -> None:
    """TypeError for anything but Axes or None. Functions that compute for long call this first."""
    if not isinstance(ax, (pyplot().Axes, type(None))):
        raise TypeError(f"ax is a {type(ax).__name__}, but must be matplotlib Axes, or None for a new figure")


def axes_for(ax: Any) -> Axes:
    """The Axes to draw into: those given, or those of a new figure."""
    check_axes(ax)
    return pyplot().subplots(layout="constrained")[1] if ax is None else ax


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
    """ax with labels, a faint grid behind the curves, and a legend if asked for."""
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.grid(color="0.5", alpha=0.25)
    ax.set_axisbelow(True)
    if legend:
        ax.legend()
    return ax


def whole_numbers(ax: Axes, most: int = 10) -> None:
    """Puts about `most` ticks on the x axis, at whole numbers, as epochs and layers are counted."""
    from matplotlib.ticker import MaxNLocator
    ax.xaxis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10], integer=True))


def log_scale(ax: Axes) -> None:
    """Makes the y axis logarithmic, with 0 at its bottom if a value is 0. It stays linear if a value is negative."""
    values = np.concatenate([line.get_ydata(orig=False) for line in ax.lines])
    above = values[values > 0]
    if (values < 0).any() or not len(above):
        ax.set_yscale("linear")
    elif (values == 0).any():
        # The linear part ends at a power of ten. Otherwise that tick covers the one of 0.
        ax.set_yscale("symlog", linthresh=10 ** math.floor(math.log10(max(above.min(), 1e-300))))
    else:
        ax.set_yscale("log")


def ink(ax: Axes) -> Any:
    """The colour of text in ax, which contrasts best with its background."""
    return ax.xaxis.label.get_color()


def look(ax: Axes, index: int, points: int) -> dict[str, Any]:
    """The look of curve `index` of several. It has about ten markers, at other points than those of its neighbours."""
    step, color = -(-points // 10), COLORS[index % len(COLORS)]
    return {"color": ink(ax) if color == BLACK else color, "linestyle": STYLES[index % len(STYLES)],
            "marker": MARKERS[index % len(MARKERS)], "markevery": (index % step, step)}


def shades(ax: Axes, count: int) -> list[tuple[float, ...]]:
    """Colours from light to dark; on a dark background from dark to light."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb
    order = colormaps["cividis" if np.mean(to_rgb(ink(ax))) > 0.5 else "cividis_r"]
    return [tuple(color) for color in order(np.linspace(0.15, 1, count) if count > 1 else [1.0])]


def epochs_of(losses: Sequence[float]) -> Array:
    """1, 2, … for the entries of a list in a History."""
    return np.arange(1, len(losses) + 1)


def loss_name(network: Network) -> str:
    """The label of an axis that shows losses."""
    loss = network.loss
    return f"mean loss ({loss if isinstance(loss, str) else getattr(loss, '__name__', repr(loss))})"
