"""What all pictures share: colours, markers, Axes, legends, scales and labels.

Every colour of every picture comes from here. Curves and classes share one list: the colours of Okabe and Ito (2008),
which people with every kind of colour vision can tell apart. The first of several is blue, the second is vermillion. On
a dark background they are sky blue and orange, which are lighter. A sign has the same two colours: blue is above zero,
vermillion is below. Counts go from white to dark blue. An ordered series, such as iterations, has colours of viridis
(Smith and van der Walt, 2015), whose lightness changes evenly. Colour is never the only sign: line styles, markers,
widths or numbers say the same.
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
    from matplotlib.colors import Colormap

    from .._types import Array, ArrayLike
    from ..network import Network

BLACK, WHITE = "#000000", "#ffffff"
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
ON_LIGHT = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
ON_DARK = (SKY, ORANGE, GREEN, PURPLE, VERMILLION, BLUE, WHITE)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")      # 8 markers and 7 colours repeat together only after 56 curves
STYLES = ("-", "--", "-.", ":")
COLUMNS = 4                     # of a figure with several Axes
FAINTEST = 0.45                 # the strength of a colour that stands for a weight of almost 0


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


def new_row(count: int, columns: int = COLUMNS, inches: float = 2.8) -> Array:
    """Axes (count,) of a new figure, `columns` in a row at most, each about `inches` wide and high."""
    columns = min(count, columns)
    rows = -(-count // columns)
    figure, grid = pyplot().subplots(rows, columns, squeeze=False, layout="constrained",
                                     figsize=(max(4, inches * columns), inches * rows))
    for ax in grid.ravel()[count:]:
        ax.remove()
    return grid.ravel()[:count]


def given_or_new(axes: ArrayLike | None, count: int, what: str, **new: Any) -> Array:
    """The Axes (count,) to draw into: those given, or those of `new_row`; `what` says in the error what each is for."""
    if axes is None:
        return new_row(count, **new)
    chosen: Array = np.array(axes, dtype=object).reshape(-1)
    if len(chosen) != count:
        raise ValueError(f"axes holds {len(chosen)} Axes, but {what}")
    chosen[:] = [axes_for(ax) for ax in chosen]
    return chosen


def finished(ax: Axes, x: str, y: str, legend: bool = False) -> Axes:
    """ax with labels, a faint grid behind the curves, and a legend if asked for."""
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.grid(color="0.5", alpha=0.25)
    ax.set_axisbelow(True)
    return with_legend(ax) if legend else ax


def with_legend(ax: Axes, title: str | None = None, **look: Any) -> Axes:
    """ax with a legend where it covers no curve and no marker: within, or else on the right, beside ax."""
    legend = ax.legend(title=title, **look)
    ax.get_xlim(), ax.get_ylim()                    # matplotlib computes the limits when it is asked for them
    box = legend.get_window_extent()
    if any(covers(box, line) for line in ax.lines):
        ax.legend(title=title, loc="upper left", bbox_to_anchor=(1, 1), borderaxespad=0.2, **look)
    return ax


def covers(box: Any, line: Any) -> bool:
    """Whether a rectangle covers a part of a curve, or one of the markers of a line that has only these."""
    path = line.get_transform().transform_path(line.get_path())
    if line.get_linestyle() == "None":
        near = box.padded(line.get_markersize())
        return any(near.contains(*point) for point in path.vertices)
    return bool(path.intersects_bbox(box, filled=False))


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


def dark(ax: Axes) -> bool:
    """Whether ax has a dark background, on which text is light."""
    from matplotlib.colors import to_rgb
    return bool(np.mean(to_rgb(ink(ax))) > 0.5)


def colors(ax: Axes) -> tuple[str, ...]:
    """The colours of curves and of classes in ax, in their order."""
    return ON_DARK if dark(ax) else ON_LIGHT


def look(ax: Axes, index: int, points: int) -> dict[str, Any]:
    """The look of curve `index` of several. It has about ten markers, at other points than those of its neighbours."""
    step, palette = -(-points // 10), colors(ax)
    return {"color": palette[index % len(palette)], "linestyle": STYLES[index % len(STYLES)],
            "marker": MARKERS[index % len(MARKERS)], "markevery": (index % step, step)}


def shades(ax: Axes, count: int) -> list[tuple[float, ...]]:
    """Colours of an ordered series from light to dark; on a dark background from dark to light."""
    from matplotlib import colormaps
    first, last = (0.35, 1.0) if dark(ax) else (0.82, 0.0)
    return [tuple(color) for color in colormaps["viridis"](np.linspace(first, last, count) if count > 1 else [last])]


def counts_map() -> Colormap:
    """Colours of counts: white for 0, then darker and darker blue."""
    from matplotlib.colors import LinearSegmentedColormap
    return LinearSegmentedColormap.from_list("counts", [WHITE, BLUE, "#003d61"])


def signs_map() -> Colormap:
    """Colours of the pixels of a weight: vermillion below 0, white at 0, blue above."""
    from matplotlib.colors import LinearSegmentedColormap
    return LinearSegmentedColormap.from_list("signs", [VERMILLION, WHITE, BLUE])


def lines_map(ax: Axes) -> Colormap:
    """Colours of the line of a weight: as `signs_map`, but a line near 0 still stands out from the background of ax."""
    from matplotlib.colors import ListedColormap, to_rgb
    strength = np.linspace(FAINTEST, 1, 128)[:, None]
    ground = np.full(3, 0.0 if dark(ax) else 1.0)
    above, below = (strength * to_rgb(color) + (1 - strength) * ground for color in colors(ax)[:2])
    return ListedColormap(np.concatenate([below[::-1], above]))


def epochs_of(losses: Sequence[float]) -> Array:
    """1, 2, … for the entries of a list in a History."""
    return np.arange(1, len(losses) + 1)


def loss_name(network: Network) -> str:
    """The label of an axis that shows losses."""
    loss = network.loss
    return f"mean loss ({loss if isinstance(loss, str) else getattr(loss, '__name__', repr(loss))})"
