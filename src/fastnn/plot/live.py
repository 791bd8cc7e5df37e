"""LivePlot, a callback: a picture of the losses that grows while a network trains, in a window or a notebook.

This is the only module of the package that shows a figure. `viewer` finds out where the user sees it.
"""

from __future__ import annotations

import io
import sys
from importlib import import_module
from time import monotonic
from typing import TYPE_CHECKING, Any

from .._checks import number
from ..callbacks import Callback
from ..training.fit import recorded
from .style import check_axes, colors, epochs_of, finished, loss_name, pyplot, whole_numbers

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D

    from ..training.fit import Fit

FEW_TICKS = 5                   # drawing ticks takes most of the time of a drawing


class LivePlot(Callback):
    """A picture of the training and validation loss that grows while a network trains.

    In a notebook there is one picture, which is updated in its place. With an interactive backend of matplotlib it is
    redrawn in its window, until the user closes that. Without a display the figure is kept up to date, but not
    drawn. A new fit begins new curves. A copy has the same settings, and draws into a figure of its own.

    Parameters
    ----------
    seconds : float
        The least time of training before the first drawing and between two drawings. A drawing takes some tens of
        milliseconds, so once a second costs a few per cent. The end of the fit is always drawn. An epoch without a
        drawing costs a tenth of a microsecond.
    ax : matplotlib Axes or None
        Where to draw. None is a new figure, which the first drawing makes; `live.ax` then holds its Axes.

    See Also
    --------
    loss_curves : The same curves after the fit.

    Examples
    --------
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
        """A copy or a pickle holds the settings alone: it makes a figure of its own."""
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
            self._update(fit)
            self._show()

    def on_fit_end(self, fit: Fit) -> None:
        if fit.epoch:
            self._update(fit).legend(loc="best")        # it takes too long for every drawing
            self._show()

    def _update(self, fit: Fit) -> Axes:
        """Gives the curves the losses up to now, and returns their Axes."""
        if self._refresh is None:
            self._begin(fit)
        assert self.ax is not None
        for name, line in self._lines.items():
            losses = getattr(fit.history, name)
            line.set_data(epochs_of(losses), losses)
            line.set_marker("o" if len(losses) == 1 else "")
        self.ax.relim()
        self.ax.autoscale_view()
        return self.ax

    def _show(self) -> None:
        assert self.ax is not None
        if self._refresh is None:
            self._refresh = viewer(self.ax.figure, self._own)
        else:
            self._refresh()
        self._drawn = monotonic()       # after drawing: `seconds` counts training alone

    def _begin(self, fit: Fit) -> None:
        """Replaces the curves of the last fit by empty ones."""
        if self.ax is None:
            new: Axes = pyplot().subplots()[1]      # constrained layout would take a third of the time of a drawing
            new.locator_params("y", nbins=FEW_TICKS)
            self.ax = new
        for line in self._lines.values():
            if line.axes is self.ax:                # otherwise the user has removed it
                line.remove()
        first, second, *_ = colors(self.ax)
        self._lines = {"loss": self.ax.plot([], [], color=first, label="training")[0]}
        if "validation_loss" in recorded(fit):
            self._lines["validation_loss"] = self.ax.plot([], [], "--", color=second, label="validation")[0]
        whole_numbers(self.ax, FEW_TICKS)
        finished(self.ax, "epoch", loss_name(fit.network)).legend(loc="upper right")


def in_figure(ax: Axes) -> bool:
    """Whether Axes are still part of a figure, also within other Axes."""
    return ax.figure is not None and ax in ax.figure.findobj(type(ax))


def viewer(figure: Figure | SubFigure, own: bool) -> Callable[[], None]:
    """Shows a figure in its window or in the notebook, if there is one. Returns a function that shows it again.

    In a notebook a figure of our own (`own`) is closed in pyplot, which would show it again under the cell.
    """
    canvas, manager = figure.canvas, figure.canvas.manager      # a user's own window has no manager
    if canvas.required_interactive_framework is not None:
        # pyplot's fignum_exists asks for a number, which a later figure can have.
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
