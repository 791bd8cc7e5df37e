"""What happens between epochs: history, validation, the ways to stop, and the way back from divergence.

`Network.fit` prepares a `Fit` and one of the sources of data.py; `run` drives it. Epochs
themselves run in `_core.Trainer`, without Python.
"""

from __future__ import annotations

import math
from contextlib import ExitStack, nullcontext
from html import escape
from time import perf_counter
from typing import TYPE_CHECKING, Self

import numpy as np

from ._core import Trainer
from ._words import meant
from .metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pandas

    from ._types import AnyOptimizer
    from .callbacks import Callback
    from .data import Ranks, Source
    from .network import Network
    from .optimizers import Optimizer


class DivergenceError(ValueError):
    """The loss stopped being finite. After `fit` the network is as it was after its last good epoch, after
    `train_on_batch` as it was before the call.

    Attributes: `epoch` (counted since the network was built, from 1), `step` (within that
    epoch, from 1), `learning_rate` (NaN for `LBFGS`, which has none), `single` (whether it was a
    `train_on_batch`; its epoch and step say nothing).
    """

    def __init__(self, epoch: int, step: int, learning_rate: float, single: bool = False) -> None:
        self.epoch, self.step, self.learning_rate, self.single = epoch, step, learning_rate, single
        super().__init__(epoch, step, learning_rate, single)

    def __str__(self) -> str:
        if self.single:
            return (f"the loss is not finite, with learning rate {self.learning_rate:g}; parameters are as they were "
                    "before this call: try a smaller learning rate")
        rate, advice = f", with learning rate {self.learning_rate:g}", "try a smaller learning rate"
        if math.isnan(self.learning_rate):
            rate, advice = "", "scale the inputs and targets to a size of about 1"
        return (f"the loss stopped being finite in epoch {self.epoch}, step {self.step}{rate}; "
                f"parameters of the last good epoch are restored: {advice}")


class History:
    """What a `fit` recorded: lists with one entry per epoch.

    Attributes
    ----------
    loss : list of float
        Mean training loss, taken while the parameters moved; without penalties.
    validation_loss : list of float
        Mean loss on the validation rows after the epoch; empty without these.
    learning_rate : list of float
        That of the epoch's last step.
    seconds : list of float
        What the epoch took, validation and metrics included.
    stopped_by : str or None
        What ended the fit: "tol", "early_stopping", "time_budget", "callback", for LBFGS "converged",
        "evaluations" or "line_search" (it found no better point); None where it was just the number of epochs.

    Each metric is a list too, under its name: `history.validation_accuracy`. Printed, a History is some lines, with the
    first, the best and the last value of each list.
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
        rows = [("", *COLUMNS), *self._summary()] if self.loss else []
        cells = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
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


class Fit:
    """A fit under way, as callbacks see it.

    Attributes: `network`; `history`; `epochs`, how many were asked for; `epoch`, how many of
    these are done; `rows`, those of an epoch; `rank`, which process this is of those that train
    together (0 without a communicator); `model()`, the network to be saved and used: `network` itself,
    or what an estimator of `fastnn.sklearn` makes of it. `stop()` ends the fit after this epoch.
    """

    model: Callable[[], Network]

    def __init__(self, network: Network, optimizer: AnyOptimizer, epochs: int, validation: Callable[[], float] | None,
                 metrics: Mapping[str, Callable[[], float]], tol: float | None, time_budget: float | None,
                 callbacks: Sequence[Callback], ranks: Ranks) -> None:
        self.network, self.epochs, self.epoch, self.rows, self.rank = network, epochs, 0, 0, ranks.rank
        self.history = History(metrics)
        self.model = lambda: network
        self._optimizer, self._validation, self._metrics, self._ranks = optimizer, validation, metrics, ranks
        self._tol, self._time_budget = tol, time_budget
        self._callbacks = [callback for callback in callbacks if self.rank == 0 or callback.on_every_rank]
        self._start = self._epoch_start = perf_counter()

    def stop(self, reason: str = "callback") -> None:
        """Ends the fit after this epoch; `reason` becomes `history.stopped_by`."""
        self.history.stopped_by = reason

    def after_epoch(self, loss: float, learning_rate: float) -> bool:
        """Records an epoch, and returns whether the fit goes on."""
        history = self.history
        self.network._epochs_trained += 1
        self._optimizer.count_epoch()
        # What may raise comes before the first list grows.
        validation_loss = self._validation() if self._validation is not None else None
        values = [metric() for metric in self._metrics.values()]
        self.epoch += 1
        history.loss.append(loss)
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
        elif self._time_budget is not None and now - self._start >= self._time_budget:
            self.stop("time_budget")
        for callback in self._callbacks:
            callback.on_epoch_end(self)
        history.stopped_by = next(filter(None, self._ranks.gathered("the end of an epoch", history.stopped_by)), None)
        return history.stopped_by is None


def run(fit: Fit, source: Source, optimizer: Optimizer) -> History:
    """Trains for the fit's epochs, or until something stops it; returns the History."""
    network = fit.network
    blocks = (network._engine.parameters, *optimizer.state)
    # Memory that stays for the next fit, as clearing it anew takes long; a fit beside this one gets its own.
    good, network._last_good = network._last_good, []
    good = [*good, *(np.empty_like(block) for block in blocks[len(good):])][:len(blocks)]
    trainer = Trainer(network._engine, optimizer, source.gather, good)
    try:
        with callbacks_begun(fit) if fit._callbacks else nullcontext():
            for _ in range(fit.epochs):
                loss = source.epoch(trainer, optimizer, network.epochs_trained)
                rate = optimizer.last_rate
                fit.rows = source.count
                if not math.isfinite(loss):
                    step = min(fit._ranks.gathered("the step that diverged", trainer.steps))
                    trainer.restore()
                    raise fit._ranks.common(DivergenceError(network.epochs_trained + 1, step, rate))
                if not fit.after_epoch(loss, rate):
                    break
        trainer.release()       # not after an error: its memory may hold what is not finite
    except BaseException:
        trainer.abandon()
        raise
    finally:
        network._last_good = good
    return fit.history


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
