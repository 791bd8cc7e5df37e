"""Early stopping of each member by itself, as training/early_stopping.py has it for one network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..training.early_stopping import EarlyStopping
from ..training.metrics import mode_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from .._types import Array, FloatArray, Integers
    from ..core import PopulationEngine


class MemberStopping:
    """What an EarlyStopping remembers of every member: arrays (n,), and a list of their best parameters, or None.

    `settings` is the user's EarlyStopping, of which only the arguments count.
    """

    def __init__(self, settings: EarlyStopping, engine: PopulationEngine) -> None:
        self.settings, self.engine = settings, engine
        self.best_of: str | None = None             # what `best` is the best of, such as "min loss"
        self.best = np.full(engine.n, np.nan)
        self.best_epoch = np.zeros(engine.n, np.int64)
        self.waited = np.zeros(engine.n, np.int64)
        self.best_parameters: list[FloatArray | None] = [None] * engine.n

    def watch(self, recorded: Collection[str]) -> str:
        """Prepares for a fit that records these; returns what it watches."""
        name = self.settings.monitor or ("validation_loss" if "validation_loss" in recorded else "loss")
        if name not in recorded:
            raise ValueError(f"monitor is {name!r}, which this fit does not record; it records "
                             f"{', '.join(sorted(recorded))}")
        mode = self.settings.mode or mode_of(name)
        if mode is None:
            raise ValueError(f"mode is None, but whether a larger {name!r} is better is not known; "
                             "pass mode='max' or 'min'")
        if self.best_of not in (None, f"{mode} {name}"):        # numbers of two kinds are not compared
            self.best[:] = np.nan
            self.waited[:] = self.best_epoch[:] = 0
            self.best_parameters = [None] * self.engine.n
        self.best_of = f"{mode} {name}"
        self.sign = 1 if mode == "min" else -1
        self.same = np.ones(self.engine.n, bool)                # whether every value of this fit equals `best`
        self.name = name
        return name

    def look(self, members: Integers, values: Array, epoch: int) -> Integers:
        """Takes the latest values of these members, after so many epochs of the fit; returns those that stop now. They
        have their best parameters then, if the settings say so."""
        best = self.best[members]
        better = np.isfinite(values) & (
            np.isnan(best) | (self.sign * (best - values) > self.settings.min_change))
        self.same[members] &= np.where(better, epoch == 1, values == best)
        improved, others = members[better], members[~better]
        self.best[improved], self.waited[improved] = values[better], 0
        self.best_epoch[improved] = self.engine.counts()[improved, 1]
        for member in improved.tolist():
            self.best_parameters[member] = self.engine.parameters[member].copy()
        self.waited[others] += 1
        stopped = others[self.waited[others] >= self.settings.patience]
        if self.settings.restore_best:
            for member in stopped[~self.same[stopped]].tolist():
                best_parameters = self.best_parameters[member]
                if best_parameters is not None:
                    self.engine.parameters[member] = best_parameters
        return stopped

    def memory(self) -> tuple[Array, Array, Array, list[FloatArray | None]]:
        """What a fit changes."""
        return self.best.copy(), self.best_epoch.copy(), self.waited.copy(), self.best_parameters.copy()

    def bring_back(self, memory: tuple[Array, Array, Array, list[FloatArray | None]], members: Integers) -> None:
        """Makes what it remembers of these members what it was."""
        best, best_epoch, waited, best_parameters = memory
        self.best[members], self.best_epoch[members] = best[members], best_epoch[members]
        self.waited[members] = waited[members]
        for member in members.tolist():
            self.best_parameters[member] = best_parameters[member]

    def of(self, member: int) -> EarlyStopping:
        """What a network's EarlyStopping would be, but for the best parameters."""
        stopping = EarlyStopping(**self.settings.settings())
        if not np.isnan(self.best[member]):
            stopping.best, stopping.best_epoch = float(self.best[member]), int(self.best_epoch[member])
        stopping.waited = int(self.waited[member])
        return stopping
