"""DivergenceError, and the way back from it: what a fit can go back to where the loss stops being finite.

A `State` is what a fit changes beside blocks of numbers; `WayBack` knows which states a fit can go back to, with their
blocks. fit.py says when.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .trainable import engine_of, progress_of, set_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._types import AnyOptimizer, EarlyStopping, FloatArray, Network
    from ..core import Trainer

SCALE = "scale the targets and inputs to a size of about 1"


class DivergenceError(ValueError):
    """The loss is no longer finite, so training stops and restores an earlier state of the network.

    - `fit` restores the state from the *beginning* of the last good epoch. An epoch is good if its mean training loss
      is finite and not larger than the loss of the first epoch of this fit.
    - `fit` restores the state from before the fit if no epoch was good, or if that state has a smaller loss over the
      training rows. If the rows came from an iterable, it compares the losses of the last batch.
    - `LBFGS` and `LevenbergMarquardt` restore the state after the last iteration, because their loss never grows.
    - `train_on_batch` restores the state from before the call.

    The restored state consists of the parameters, the optimizer with its state and counts, the memory of a schedule and
    of an `EarlyStopping`, the random numbers and `epochs_trained`. The state from before the fit also says which
    optimizer and which `EarlyStopping` the network has.

    Attributes
    ----------
    epoch : int
        The epoch in which the loss stopped being finite, counted from 1 since the network was built.
    step : int
        The step in this epoch, counted from 1.
    learning_rate : float
        The learning rate of this step. NaN if the optimizer has none.
    single : bool
        Whether the error comes from `train_on_batch`. Then `epoch` and `step` have no meaning.
    restored : int or None
        The network's `epochs_trained` after the restoration. None for `train_on_batch`.
    overflow : bool
        Whether the loss, or the square of its gradient, is too large for the dtype with the restored parameters, too.
        Then no learning rate is small enough.

    Notes
    -----
    A training loss is measured before each step. It therefore shows how good the parameters at the beginning of an
    epoch were, and not those at its end. Each call of `fit` is judged alone: in a loop of fits, the first epoch of each
    fit is its own standard.

    See Also
    --------
    Network.fit : raises this error.
    EarlyStopping : keeps the best parameters.
    """

    def __init__(self, epoch: int, step: int, learning_rate: float, single: bool = False, restored: int | None = None,
                 overflow: bool = False) -> None:
        self.epoch, self.step, self.learning_rate, self.single = epoch, step, learning_rate, single
        self.restored, self.overflow = restored, overflow
        super().__init__(epoch, step, learning_rate, single, restored, overflow)

    def __str__(self) -> str:
        rate, advice = f", with learning rate {self.learning_rate:g}", "try a smaller learning rate"
        back = "from the beginning of the last good epoch"
        if self.single:
            advice = SCALE if self.overflow else f"{advice}, or {SCALE}"
            return f"the loss is not finite{rate}; parameters are as they were before this call: {advice}"
        if math.isnan(self.learning_rate):
            rate, advice = "", "scale the inputs and targets to a size of about 1"
            back = "of the last iteration"
        elif self.overflow:
            advice = SCALE
        earlier = f", epochs_trained is {self.restored}" if self.restored not in (None, self.epoch - 1) else ""
        return (f"the loss stopped being finite in epoch {self.epoch}, step {self.step}{rate}; "
                f"parameters {back} are restored{earlier}: {advice}")


class State:
    """Everything that a fit changes beside the numbers in blocks, as it was when this was made."""

    def __init__(self, network: Network, optimizer: AnyOptimizer, stopping: EarlyStopping | None) -> None:
        self.network, self.optimizer, self.stopping = network, optimizer, stopping
        self.progress, self.of_optimizer = progress_of(network), optimizer.memory()
        self.of_stopping = stopping.memory() if stopping is not None else ()

    def is_now(self) -> bool:
        """Whether nothing has been learned since."""
        now = progress_of(self.network)
        return (now.epochs, now.steps) == (self.progress.epochs, self.progress.steps)

    def bring_back(self) -> None:
        """Restores everything. It takes hardly any memory: the reason may be that memory ran out."""
        set_progress(self.network, self.progress)
        # An optimizer or EarlyStopping that belongs to another network was refused to this one, and is left alone.
        engine = engine_of(self.network)
        if self.stopping is not None:
            self.stopping.bring_back(self.of_stopping, engine)
        self.optimizer.bring_back(self.of_optimizer, engine)


class WayBack:
    """The states that a fit can go back to: the beginnings of the fit, of the last good epoch, of the one under way.

    A training loss belongs to the parameters before the step: an epoch that explodes shows it in the next one's loss.
    So a finished epoch speaks for the parameters with which it began, if its loss is not worse than the first
    epoch's. That may have exploded itself; so after divergence the loss over the training rows chooses between
    the last good epoch and the beginning of the fit. Copies of the blocks take turns: an epoch costs one.
    """

    def __init__(self, trainer: Trainer, start: State, blocks: Sequence[FloatArray],
                 copies: Sequence[list[FloatArray]]) -> None:
        self.trainer, self.start, self.blocks, self.copies = trainer, start, blocks, copies
        self.states = [start] * len(copies)     # the first one is never replaced
        self.begun = self.good = 0              # indices of states and copies
        self.first = math.nan                   # the loss of the first epoch

    def begin(self) -> None:
        """An epoch begins: chooses where the trainer copies the blocks to."""
        if not math.isnan(self.first):
            self.begun = 2 if self.good == 1 else 1
            self.states[self.begun] = State(self.start.network, self.start.optimizer, self.start.stopping)
        copies = self.copies[self.begun]
        copies.extend(np.empty_like(block) for block in self.blocks[len(copies):])
        del copies[len(self.blocks):]
        self.trainer.good = copies

    def vouch(self, loss: float) -> None:
        """An epoch has ended with this finite loss: its beginning is good if that is not above the first one."""
        if math.isnan(self.first):
            self.first = loss
        if loss <= self.first:
            self.good = self.begun

    def to_better(self, mean_loss: Callable[[], float]) -> None:
        """Goes back to the beginning of the last good epoch or of the fit, whichever has the smaller loss."""
        try:
            if self.good:
                losses = []
                for which in (self.good, 0):
                    np.copyto(self.blocks[0], self.copies[which][0])
                    losses.append(mean_loss())
                if not losses[0] <= losses[1]:
                    self.good = 0
        finally:
            self.to_good()

    def to_good(self) -> None:
        """Goes back to the beginning of the last good epoch."""
        self.trainer.good = self.copies[self.good]
        self.trainer.restore()
        self.states[self.good].bring_back()

    def to_begun(self) -> None:
        """Goes back to the beginning of the epoch under way."""
        self.good = self.begun
        self.to_good()
