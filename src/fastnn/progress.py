"""The progress bar of `fit(progress=True)`: tqdm's, in a terminal and in notebooks; elsewhere one line at the end.

tqdm is imported when it is used.
"""

from __future__ import annotations

import sys
from time import perf_counter
from typing import TYPE_CHECKING

from ._optional import library
from .callbacks import Callback

if TYPE_CHECKING:
    from .training import Fit

REFRESH_SECONDS = 0.1


class ProgressBar(Callback):
    """Shows the epochs done, the latest losses and metrics, and rows a second."""

    on_every_rank = False

    def __init__(self) -> None:
        self._tqdm = library("tqdm.auto", "tqdm", "progress", "progress=True").tqdm

    def on_fit_begin(self, fit: Fit) -> None:
        self._rows, self._shown = 0, -REFRESH_SECONDS
        self._start = perf_counter()
        self._live = sys.stderr.isatty() or "ipykernel" in sys.modules
        self._bar = self._tqdm(total=fit.epochs, unit="epoch", disable=not self._live, dynamic_ncols=True)

    def on_epoch_end(self, fit: Fit) -> None:
        self._rows += fit.rows
        now = perf_counter()
        if self._live and (now - self._shown >= REFRESH_SECONDS or fit.epoch == fit.epochs):
            self._shown = now
            self._bar.set_postfix_str(self._latest(fit), refresh=False)
            self._bar.update(fit.epoch - self._bar.n)

    def on_fit_end(self, fit: Fit) -> None:
        if self._live:
            self._bar.set_postfix_str(self._latest(fit), refresh=False)
            self._bar.update(fit.epoch - self._bar.n)
        elif fit.epoch:
            print(f"{fit.epoch} of {fit.epochs} epochs: {self._latest(fit)}", file=sys.stderr)
        self._bar.close()

    def _latest(self, fit: Fit) -> str:
        latest = {name: value for name, value in fit.history.last().items()
                  if name not in ("learning_rate", "seconds")}
        speed = self._rows / (perf_counter() - self._start)
        return ", ".join([*(f"{name}={value:.4g}" for name, value in latest.items()), f"{speed:,.0f} rows/s"])
