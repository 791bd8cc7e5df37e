"""What happens between epochs: history, validation, the ways to stop, and the way back from divergence and errors.

`Network.fit` prepares a `Fit` and one of the sources of training/data.py; `run` drives it. Epochs
themselves run in `core.Trainer`, without Python. A `State` is what a fit changes; `WayBack` knows which ones
a fit can go back to.
"""

from __future__ import annotations

import math
from contextlib import ExitStack, nullcontext
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Self

import numpy as np

from .._words import meant
from ..core import Trainer
from ..metrics import METRICS
from ..optimizers import Optimizer
from ..schedules import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pandas

    from .._types import AnyOptimizer, FloatArray
    from ..callbacks import Callback, EarlyStopping
    from ..metrics import Scored
    from ..network import Network
    from .data import Ranks, Source

SCALE = "scale the targets and inputs to a size of about 1"
OF_STOPPING = "best", "best_epoch", "waited", "best_parameters", "_best_of", "_engine"  # what it remembers


class DivergenceError(ValueError):
    """The loss stopped being finite. After `fit` everything is as it was when the last good epoch began, after
    `train_on_batch` as it was before the call.

    A training loss tells how good parameters were before each step. So an epoch speaks for the parameters with which
    it began, and is good if its mean training loss was finite and not larger than that of the fit's first
    epoch. If no epoch was good, or if the parameters before the fit have a smaller loss over the training rows (of an
    iterable: over its last batch), everything is as it was before the fit. (A loop of fits is not seen as one.)
    "Everything" is: parameters, the optimizer with its state and counts, what a schedule and an EarlyStopping
    remember, random numbers, `epochs_trained`; and before the first epoch also which optimizer and EarlyStopping the
    network has. A loss of `LBFGS` never grows: it goes back to the last iteration.

    Attributes: `epoch` (counted since the network was built, from 1), `step` (within that
    epoch, from 1), `learning_rate` (NaN for `LBFGS`, which has none), `single` (whether it was a
    `train_on_batch`; its epoch and step say nothing), `restored` (the network's `epochs_trained` now; None for
    `train_on_batch`), `overflow` (whether the loss or its gradient, squared, is beyond the dtype with the parameters
    that are back, too: then no learning rate is small enough).
    """

    def __init__(self, epoch: int, step: int, learning_rate: float, single: bool = False, restored: int | None = None,
                 overflow: bool = False) -> None:
        self.epoch, self.step, self.learning_rate, self.single = epoch, step, learning_rate, single
        self.restored, self.overflow = restored, overflow
        super().__init__(epoch, step, learning_rate, single, restored, overflow)

    def __str__(self) -> str:
        rate, advice = f", with learning rate {self.learning_rate:g}", "try a smaller learning rate"
        if self.single:
            advice = SCALE if self.overflow else f"{advice}, or {SCALE}"
            return f"the loss is not finite{rate}; parameters are as they were before this call: {advice}"
        if math.isnan(self.learning_rate):
            rate, advice = "", "scale the inputs and targets to a size of about 1"
        elif self.overflow:
            advice = SCALE
        earlier = f", epochs_trained is {self.restored}" if self.restored not in (None, self.epoch - 1) else ""
        return (f"the loss stopped being finite in epoch {self.epoch}, step {self.step}{rate}; "
                f"parameters of the last good epoch are restored{earlier}: {advice}")


class History:
    """What a `fit` recorded: lists with one entry per epoch.

    Attributes
    ----------
    loss : list of float
        Mean training loss, taken while the parameters moved: each row's is that before its step; without penalties.
    validation_loss : list of float
        Mean loss on the validation rows after the epoch; empty without these.
    learning_rate : list of float
        That of the epoch's last step; empty for LBFGS, which has none.
    seconds : list of float
        What the epoch took, validation and metrics included.
    stopped_by : str or None
        What ended the fit: "tol", "early_stopping", "time_budget", "callback", for LBFGS "converged",
        "evaluations" or "line_search" (it found no better point); None where it was just the number of epochs.

    Each metric is a list too, under its name: `history.validation_accuracy`. Printed, a History is some lines, with the
    first, the best and the last value of each list; a notebook shows a table.

    An epoch that `time_budget` has cut short is recorded as the others are, by the rows that it has seen. After a
    `DivergenceError` the lists that callbacks see keep the epochs that were undone.
    """

    loss: list[float]
    validation_loss: list[float]
    learning_rate: list[float]
    seconds: list[float]
    stopped_by: str | None

    def __init__(self, metrics: Iterable[str] = ()) -> None:
        self.loss, self.validation_loss, self.learning_rate, self.seconds = [], [], [], []
        self.stopped_by = None
        self._metrics: dict[str, list[float]] = {name: [] for name in metrics}

    def __getattr__(self, name: str) -> list[float]:
        if not name.startswith("_") and name in self._metrics:
            return self._metrics[name]
        if name.startswith("_"):
            raise AttributeError(name)
        recorded = self.as_dict()
        raise AttributeError(f"History has no {name!r}; {meant('monitor', name, recorded)}it has {', '.join(recorded)}")

    def as_dict(self) -> dict[str, list[float]]:
        """{name: list}, for everything that was recorded."""
        lists = {"loss": self.loss, "validation_loss": self.validation_loss, **self._metrics,
                 "learning_rate": self.learning_rate, "seconds": self.seconds}
        return {name: values for name, values in lists.items() if values or name == "loss"}

    def to_frame(self) -> pandas.DataFrame:
        """The same as a pandas DataFrame with one row per epoch, numbered from 1. Needs pandas."""
        import pandas
        return pandas.DataFrame(self.as_dict(), index=pandas.RangeIndex(1, len(self.loss) + 1, name="epoch"))

    def last(self) -> dict[str, float]:
        """{name: its latest value}"""
        return {name: values[-1] for name, values in self.as_dict().items() if values}

    def __repr__(self) -> str:
        """Some lines, however many epochs there are."""
        rows = [("", *COLUMNS), *self._summary()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [f"  {row[0]:{widths[0]}}" + "".join(f"  {cell:>{width}}" for cell, width in
                                                      zip(row[1:], widths[1:], strict=True)) for row in rows]
        return "\n".join([self._headline(), *(line.rstrip() for line in lines if self.loss)])

    def _repr_html_(self) -> str:
        """The same as a table, for notebooks."""
        from html import escape  # 1 ms of the import

        rows = [("th", ("", *COLUMNS)), *(("td", row) for row in self._summary())] if self.loss else []
        cells = "".join("<tr>" + "".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in row) + "</tr>"
                        for kind, row in rows)
        return f"<table><caption>{escape(self._headline())}</caption>{cells}</table>"

    def _headline(self) -> str:
        stopped = f", stopped by {self.stopped_by!r}" if self.stopped_by is not None else ""
        epochs = f"{len(self.loss)} epoch{'s' * (len(self.loss) != 1)}"
        return f"History of {epochs} in {sum(self.seconds):.3g} s{stopped}"

    def _summary(self) -> list[tuple[str, ...]]:
        """For each list its name, and the first, the best and the last value; which is best is known of losses and of
        metrics by name."""
        rows: list[tuple[str, ...]] = []
        for name, values in self.as_dict().items():
            if name == "seconds" or not values:
                continue
            metric = METRICS.get(name.removeprefix("validation_"))
            mode = "min" if name.endswith("loss") else metric.mode if metric is not None else None
            finite = [(value, epoch) for epoch, value in enumerate(values, 1)
                      if value is not None and math.isfinite(value)]
            best, epoch = ("", "")
            if mode is not None and finite:
                value, number = min(finite) if mode == "min" else max(finite, key=lambda pair: pair[0])
                best, epoch = f"{value:.4g}", str(number)
            rows.append((name, brief(values[0]), best, epoch, brief(values[-1])))
        return rows


COLUMNS = ("first", "best", "in epoch", "last")


def brief(value: float | None) -> str:
    """A number in four digits."""
    return "" if value is None else f"{value:.4g}"


Watched = tuple[float, "FloatArray", int]       # a value; the parameters that have it; how many epochs ago they did


class Fit:
    """A fit under way, as callbacks see it.

    Attributes: `network`; `history`; `epochs`, how many were asked for; `epoch`, how many of
    these are done; `rows`, those of an epoch; `rank`, which process this is of those that train
    together (0 without a communicator); `model()`, the network to be saved and used: `network` itself,
    or what an estimator of `fastnn.sklearn` makes of it. `stop()` ends the fit after this epoch.
    """

    model: Callable[[], Network]

    def __init__(self, network: Network, optimizer: AnyOptimizer, epochs: int, validation: Callable[[], float] | None,
                 metrics: Mapping[str, Scored], tol: float | None, time_budget: float | None,
                 callbacks: Sequence[Callback], ranks: Ranks) -> None:
        self.network, self.epochs, self.epoch, self.rows, self.rank = network, epochs, 0, 0, ranks.rank
        self.history = History(metrics)
        self.model = lambda: network
        self._optimizer, self._validation, self._metrics, self._ranks = optimizer, validation, metrics, ranks
        self._tol = tol
        self._callbacks = [callback for callback in callbacks if self.rank == 0 or callback.on_every_rank]
        self._epoch_start = perf_counter()
        self._deadline = math.inf if time_budget is None else self._epoch_start + time_budget
        self._watches_loss = False      # whether an EarlyStopping watches the training loss
        self._exact_loss: Callable[[float], Watched] | None = None      # then: from the recorded loss to the exact one
        self._watched_loss: Watched | None = None

    def stop(self, reason: str = "callback") -> None:
        """Ends the fit after this epoch; `reason` becomes `history.stopped_by`."""
        self.history.stopped_by = reason

    def _watched(self, name: str) -> Watched:
        """The latest value of a list of the history, and the parameters that have it."""
        if name == "loss" and self._watched_loss is not None:
            return self._watched_loss
        return getattr(self.history, name)[-1], self.network._engine.parameters, 0

    def after_epoch(self, loss: float, learning_rate: float | None) -> bool:
        """Records an epoch, and returns whether the fit goes on."""
        history = self.history
        with self.network._at_rest():       # a copy has both counts, or neither
            self.network._epochs_trained += 1
            self._optimizer.count_epoch()
        # What may raise comes before the first list grows.
        validation_loss = self._validation() if self._validation is not None else None
        values = [metric() for metric in self._metrics.values()]
        if self._exact_loss is not None:
            self._watched_loss = self._exact_loss(loss)
        self.epoch += 1
        history.loss.append(loss)
        if learning_rate is not None:
            history.learning_rate.append(learning_rate)
        if validation_loss is not None:
            loss = validation_loss
            history.validation_loss.append(loss)
        for recorded, value in zip(history._metrics.values(), values, strict=True):
            recorded.append(value)
        now = perf_counter()
        history.seconds.append(now - self._epoch_start)
        self._epoch_start = now
        self._optimizer.observe(loss)
        if self._tol is not None and history.loss[-1] < self._tol:
            self.stop("tol")
        elif now >= self._deadline:
            self.stop("time_budget")
        for callback in self._callbacks:
            callback.on_epoch_end(self)
        history.stopped_by = next(filter(None, self._ranks.gathered("the end of an epoch", history.stopped_by)), None)
        return history.stopped_by is None


class State:
    """Everything that a fit changes beside the numbers in blocks, as it is now; `bring_back` restores it."""

    def __init__(self, network: Network, optimizer: AnyOptimizer, stopping: EarlyStopping | None) -> None:
        self.network, self.optimizer, self.stopping = network, optimizer, stopping
        self.of_network = (network._optimizer, network._early_stopping, network._epochs_trained, network._engine.steps)
        self.counts = optimizer.steps, optimizer.epochs
        if isinstance(optimizer, Optimizer):
            self.belongs = optimizer.network_engine, optimizer.state
            rate = optimizer.learning_rate
            self.schedule = (rate, rate.state()) if isinstance(rate, Schedule) else None
        self.of_stopping = [getattr(stopping, name) for name in OF_STOPPING] if stopping is not None else []

    def is_now(self) -> bool:
        """Whether nothing has been learned since."""
        return (self.network._epochs_trained, self.network._engine.steps) == self.of_network[2:]

    def bring_back(self) -> None:
        """Restores everything. It takes hardly any memory: the reason may be that memory ran out."""
        network, optimizer = self.network, self.optimizer
        network._optimizer, network._early_stopping, network._epochs_trained, network._engine.steps = self.of_network
        # An optimizer or EarlyStopping that belongs to another network was refused to this one, and is left alone.
        if self.stopping is not None and self.stopping._engine is network._engine:
            for name, value in zip(OF_STOPPING, self.of_stopping, strict=True):
                setattr(self.stopping, name, value)
        if isinstance(optimizer, Optimizer) and optimizer.network_engine is not network._engine:
            return
        optimizer.steps, optimizer.epochs = self.counts
        if isinstance(optimizer, Optimizer):
            engine, state = self.belongs
            if optimizer.network_engine is not engine or optimizer.state is not state:
                optimizer.set_owner(engine, state)
            if self.schedule is not None:
                self.schedule[0].set_state(self.schedule[1])


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


def run(fit: Fit, source: Source, optimizer: Optimizer, start: State) -> History:
    """Trains for the fit's epochs, or until something stops it; returns the History. `start` is before the fit."""
    network, engine = fit.network, fit.network._engine
    # Memory that stays for the next fit, as clearing it anew takes long; a fit beside this one gets its own.
    copies, engine.copies = engine.copies, ([], [], [])
    trainer = Trainer(engine, optimizer, source.gather, [])
    trainer.deadline = fit._deadline
    way = WayBack(trainer, start, (engine.parameters, *optimizer.state), copies)
    if fit._watches_loss:
        fit._exact_loss = partial(watched_loss, network, source, trainer)
    try:
        with callbacks_begun(fit) if fit._callbacks else nullcontext():
            try:
                epochs(fit, source, optimizer, trainer, way)
            except BaseException:
                if trainer.spoiled:
                    way.to_good()
                raise
        trainer.release()       # not after an error: its memory may hold what is not finite
    finally:
        engine.copies = copies
    return fit.history


def epochs(fit: Fit, source: Source, optimizer: Optimizer, trainer: Trainer, way: WayBack) -> None:
    """Runs the epochs of a fit, until something stops it."""
    for _ in range(fit.epochs):
        way.begin()
        loss = source.epoch(trainer, optimizer, fit.network.epochs_trained)
        rate = optimizer.last_rate
        fit.rows = trainer.seen
        if trainer.weight == 0 and not trainer.failed:
            way.to_begun()
            raise fit._ranks.common(ValueError(
                "sample_weight, times class_weight, is zero for every row of an epoch, but at least one must count"))
        if not math.isfinite(loss):
            raise fit._ranks.common(diverged(fit, source, way, trainer.steps, rate))
        way.vouch(loss)
        if not fit.after_epoch(loss, rate):
            break


def diverged(fit: Fit, source: Source, way: WayBack, step: int, rate: float) -> DivergenceError:
    """Goes back to the last good epoch; returns the error that says so."""
    network = fit.network
    step = min(fit._ranks.gathered("the step that diverged", step))
    epoch, overflow = network.epochs_trained + 1, way.start.is_now()
    way.to_better(partial(source.mean_loss, network))
    if not callable(network._engine.loss):      # a Python loss may have no such limit, or count its calls
        overflow = source.overflows()
    return DivergenceError(epoch, step, rate, False, network.epochs_trained, overflow)


def watched_loss(network: Network, source: Source, trainer: Trainer, loss: float) -> Watched:
    """What an EarlyStopping watches after an epoch whose recorded loss is this: the loss of the parameters as they
    are. Where the rows are not read again, that of a single step is the loss of the parameters before it, unless
    dropout or smoothed targets make it another loss than `evaluate` gives."""
    engine = network._engine
    if source.rereads or (trainer.steps == 1 and (any(engine.dropout) or engine.label_smoothing)):
        return source.mean_loss(network), network._engine.parameters, 0
    if trainer.steps == 1:
        return loss, trainer.good[0], 1
    return loss, network._engine.parameters, 0


class callbacks_begun(ExitStack[None]):
    """Within it every callback's on_fit_begin has been called; their on_fit_end follow, whatever happens."""

    def __init__(self, fit: Fit) -> None:
        super().__init__()
        self.fit = fit

    def __enter__(self) -> Self:
        super().__enter__()
        with ExitStack() as begun:
            for callback in self.fit._callbacks:
                callback.on_fit_begin(self.fit)
                begun.callback(callback.on_fit_end, self.fit)
            self.push(begun.pop_all())
        return self
