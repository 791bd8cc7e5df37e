"""How far the training of a table's model is, and when it is likely to end.

In a terminal or a notebook this is tqdm's bar, if tqdm is there; elsewhere it is a line for each tenth of the work.
"""

from __future__ import annotations

import importlib.util
import sys
from contextlib import suppress
from time import monotonic
from typing import Any

from .._checks import library
from ..training.progress import is_terminal, say


class Progress:
    """A listener of the members: counts their epochs."""

    def __init__(self, members: int, epochs: int) -> None:
        self.total, self.done, self.start = members * epochs, 0, monotonic()
        self.what = f"{members} networks of {epochs} epochs" if members > 1 else f"{epochs} epochs"
        self.loss = float("nan")
        self.bar: Any = None
        if (is_terminal() or "ipykernel" in sys.modules) and importlib.util.find_spec("tqdm") is not None:
            tqdm = library("tqdm.auto", "tqdm", "progress", "progress=True")
            with suppress(Exception):       # as where there is no console
                self.bar = tqdm.tqdm(total=self.total, unit="epoch", dynamic_ncols=True, desc=self.what)

    def on_epoch_end(self, epoch: int, loss: float) -> None:
        """Counts an epoch of a member."""
        self.loss = loss
        self._count(1)

    def on_fit_end(self, left: int) -> None:
        """Counts the epochs that a member left out."""
        self._count(left)

    def _count(self, epochs: int) -> None:
        before, self.done = self.done, self.done + epochs
        if self.bar is not None:
            with suppress(Exception):
                self.bar.update(epochs)
        elif before * 10 // self.total < self.done * 10 // self.total:
            left = (monotonic() - self.start) / self.done * (self.total - self.done)
            say(f"{self.done / self.total:4.0%} of {self.what}: validation loss {self.loss:.4g}, "
                f"about {left:.0f} s left")

    def close(self) -> None:
        """Ends the bar."""
        if self.bar is not None:
            with suppress(Exception):
                self.bar.close()
