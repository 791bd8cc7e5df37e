"""The progress bar of `fit(progress=True)`: tqdm's in a terminal or a notebook, elsewhere a line at the end.

tqdm is imported when it is used. If the output fails, nothing is shown and training goes on. Output fails where a
program has no console, where it is closed, at a broken pipe, or in an encoding that lacks a character.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any

from .._checks import library
from .callback import Callback

if TYPE_CHECKING:
    from .._types import Fit

REFRESH_SECONDS = 0.1


def is_terminal() -> bool:
    """Whether standard error is a terminal."""
    try:
        return bool(sys.stderr.isatty())
    except (AttributeError, OSError, ValueError):       # none, no file, closed
        return False


def say(text: str) -> None:
    """Prints a line on standard error. A failure is ignored."""
    if sys.stderr is not None:                          # print(file=None) would write to standard output
        with suppress(Exception):
            print(text, file=sys.stderr, flush=True)


class ProgressBar(Callback):
    """Shows the number of epochs done, the latest losses and metrics, and rows per second."""

    on_every_rank = False

    def __init__(self) -> None:
        self._tqdm = library("tqdm.auto", "tqdm", "progress", "progress=True").tqdm

    def on_fit_begin(self, fit: Fit) -> None:
        self._rows, self._shown = 0, -REFRESH_SECONDS
        self._start = perf_counter()
        self._live = is_terminal() or "ipykernel" in sys.modules
        self._bar: Any = None
        if self._live:
            with suppress(Exception):
                self._bar = self._tqdm(total=fit.epochs, unit="epoch", dynamic_ncols=True)

    def on_epoch_end(self, fit: Fit) -> None:
        self._rows += fit.rows
        now = perf_counter()
        if self._live and (now - self._shown >= REFRESH_SECONDS or fit.epoch == fit.epochs):
            self._shown = now
            self._draw(fit)

    def on_fit_end(self, fit: Fit) -> None:
        if self._live:
            self._draw(fit, last=True)
        elif fit.epoch:
            say(f"{fit.epoch} of {fit.epochs} epochs: {self._latest(fit)}")

    def _draw(self, fit: Fit, last: bool = False) -> None:
        """Updates the bar. If that fails, it is not shown again."""
        if self._bar is None:
            return
        try:
            self._bar.set_postfix_str(self._latest(fit), refresh=False)
            self._bar.update(fit.epoch - self._bar.n)
            if last:
                self._bar.close()
        except Exception:
            self._bar.disable = True        # otherwise it would draw once more when it is deleted
            self._bar = None

    def _latest(self, fit: Fit) -> str:
        latest = {name: value for name, value in fit.history.last().items()
                  if name not in ("learning_rate", "seconds")}
        speed = self._rows / (perf_counter() - self._start)
        return ", ".join([*(f"{name}={value:.4g}" for name, value in latest.items()), f"{speed:,.0f} rows/s"])
