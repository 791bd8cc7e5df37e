"""A fit: what happens around and between its epochs, and the loop over them.

`Network.fit` prepares settings, rows, validation and scores, and calls `train`. The optimizer says which loop it needs:
`MinibatchOptimizer` has the one for steps on batches, lbfgs.py and levenberg_marquardt.py others. A `Fit` is what
callbacks see of it; the functions `recorded`, `latest` and `set_watched` are what early_stopping.py needs beyond that.
Epochs of steps run in the compiled `core.Trainer`, without Python.
"""

from __future__ import annotations

import math
from contextlib import ExitStack, nullcontext
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self

from ..core import CompiledOptimizer, Trainer
from ..schedules import Schedule
from .divergence import DivergenceError, State, WayBack
from .evaluation import python_loss
from .history import History, record
from .sources import source
from .trainable import count_epoch, engine_of, set_optimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .._types import FloatArray, Network, Ranks, Source
    from ..core import Engine
    from .settings import FitSettings
    from .validation import Scored

Watched = tuple[float, "FloatArray", int]       # a value; the parameters that have it; how many epochs ago they did


class Fit:
    """A fit under way, as callbacks see it.

    Attributes: `network`; `history`; `epochs`, how many were asked for; `epoch`, how many of
    these are done; `rows`, those of an epoch; `rank`, which process this is of those that train
    together (0 without a communicator); `model()`, the network to be saved and used: `network` itself,
    or what an estimator of `fastnn.sklearn` makes of it. `stop()` ends the fit after this epoch.
    """

    model: Callable[[], Network]

    def __init__(self, network: Network, settings: FitSettings, validation: Callable[[], float] | None,
                 metrics: Mapping[str, Scored], ranks: Ranks) -> None:
        self.network, self.epochs, self.epoch, self.rows, self.rank = network, settings.epochs, 0, 0, ranks.rank
        self.history = History(metrics)
        self.model = lambda: network
        self._settings, self._validation, self._metrics, self._ranks = settings, validation, metrics, ranks
        self._callbacks = [callback for callback in settings.callbacks if self.rank == 0 or callback.on_every_rank]
        self._epoch_start = perf_counter()
        self._deadline = math.inf if settings.time_budget is None else self._epoch_start + settings.time_budget
        self._watches_loss = False      # whether an EarlyStopping watches the training loss
        self._exact_loss: Callable[[float], Watched] | None = None      # then: from the recorded loss to the exact one
        self._watched_loss: Watched | None = None

    def stop(self, reason: str = "callback") -> None:
        """Ends the fit after this epoch; `reason` becomes `history.stopped_by`."""
        self.history.stopped_by = reason

    def after_epoch(self, loss: float, learning_rate: float | None) -> bool:
        """Records an epoch, and returns whether the fit goes on."""
        history, optimizer, tol = self.history, self._settings.optimizer, self._settings.tol
        count_epoch(self.network, optimizer)
        # What may raise comes before the first list grows.
        validation_loss = self._validation() if self._validation is not None else None
        values = [metric() for metric in self._metrics.values()]
        if self._exact_loss is not None:
            self._watched_loss = self._exact_loss(loss)
        self.epoch += 1
        record(history, loss, validation_loss, learning_rate, values)
        now = perf_counter()
        history.seconds.append(now - self._epoch_start)
        self._epoch_start = now
        optimizer.observe(loss if validation_loss is None else validation_loss)
        if tol is not None and loss < tol:
            self.stop("tol")
        elif now >= self._deadline:
            self.stop("time_budget")
        for callback in self._callbacks:
            callback.on_epoch_end(self)
        history.stopped_by = next(filter(None, self._ranks.gathered("the end of an epoch", history.stopped_by)), None)
        return history.stopped_by is None


def recorded(fit: Fit) -> dict[str, Scored | None]:
    """The lists of a fit's history that an EarlyStopping can watch, and which metric fills each."""
    losses = ("loss", "validation_loss") if fit._validation is not None else ("loss",)
    return {**dict.fromkeys(losses), **fit._metrics}


def set_watched(fit: Fit, name: str) -> None:
    """Says that an EarlyStopping watches a list of a fit's history."""
    fit._watches_loss = name == "loss"


def latest(fit: Fit, name: str) -> Watched:
    """The latest value of a list of a fit's history, and the parameters that have it."""
    if name == "loss" and fit._watched_loss is not None:
        return fit._watched_loss
    return getattr(fit.history, name)[-1], engine_of(fit.network).parameters, 0


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


def train(network: Network, engine: Engine, settings: FitSettings, loop: Callable[[Fit, State], History],
          validation: Callable[[], float] | None, metrics: Mapping[str, Scored], ranks: Ranks) -> History:
    """Runs a fit whose arguments are all checked. An error before the first step leaves everything as it was."""
    optimizer, stopping, threads = settings.optimizer, settings.early_stopping, ranks.threads(settings.threads)
    fit = Fit(network, settings, validation, metrics, ranks)
    outer = engine.most_threads     # set by the fit whose callback began this one, if there is such a fit
    start = None
    engine.acquire()
    try:
        engine.most_threads = threads or 0
        start = State(network, optimizer, stopping)     # a user's own schedule may raise
        if stopping is not None:
            stopping.watch(fit)
        optimizer.bind(engine)
        ranks.agree(network, optimizer, epochs=settings.epochs, batch_size=settings.batch_size,
                    shuffle=settings.shuffle, tol=settings.tol, class_weight=settings.class_weight,
                    early_stopping=stopping, time_budget=settings.time_budget)
        set_optimizer(network, optimizer, stopping)
        return loop(fit, start)
    except BaseException:
        if start is not None and start.is_now():
            start.bring_back()
        raise
    finally:
        engine.most_threads = outer
        engine.release()


class MinibatchOptimizer(CompiledOptimizer):
    """How an optimizer trains that takes a step on each batch of rows. WholeBatchOptimizer has these, too."""

    learning_rate: float | Schedule

    def rates(self, steps: int) -> float | FloatArray:
        """The learning rates of so many coming steps: a float, or an array if they differ."""
        raise NotImplementedError

    def loop(self, engine: Engine, X: Any, y: object, sample_weight: object, settings: FitSettings,
             ranks: Ranks) -> Callable[[Fit, State], History]:
        """Checks the rows of a fit; returns the function that trains on them."""
        return partial(run, source(engine, X, y, sample_weight, settings, ranks), self)

    def for_single_steps(self) -> Self:
        """This optimizer, which can train by `train_on_batch`; others refuse."""
        return self

    def memory(self) -> tuple[Any, ...]:
        """What a fit changes beside the numbers in blocks, for `bring_back`."""
        rate = self.learning_rate
        remembered = (rate, rate.state()) if isinstance(rate, Schedule) else None
        return self.steps, self.epochs, self.network_engine, self.state, remembered

    def bring_back(self, memory: tuple[Any, ...], engine: Engine) -> None:
        """Makes it as it was, unless it belongs to another network than the one with this engine."""
        if self.network_engine is not engine:
            return
        self.steps, self.epochs, owner, state, remembered = memory
        if self.network_engine is not owner or self.state is not state:
            self.set_owner(owner, state)
        if remembered is not None:
            schedule, values = remembered
            schedule.set_state(values)


def run(source: Source, optimizer: MinibatchOptimizer, fit: Fit, start: State) -> History:
    """Trains for the fit's epochs, or until something stops it; returns the History. `start` is before the fit."""
    network, engine = fit.network, engine_of(fit.network)
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


def epochs(fit: Fit, source: Source, optimizer: MinibatchOptimizer, trainer: Trainer, way: WayBack) -> None:
    """Runs the epochs of a fit, until something stops it."""
    for _ in range(fit.epochs):
        way.begin()
        loss = source.epoch(trainer, optimizer, fit.network.epochs_trained)
        rate = optimizer.last_rate
        fit.rows = trainer.seen
        if trainer.weight == 0 and not trainer.failed:
            way.to_begun()
            raise fit._ranks.common(ValueError(
                "sample_weight, times class_weight, is zero for every row of an epoch, but at least one row needs a "
                "weight above 0"))
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
    if python_loss(engine_of(network)) is None:     # such a loss may have no such limit, or count its calls
        overflow = source.overflows()
    return DivergenceError(epoch, step, rate, False, network.epochs_trained, overflow)


def watched_loss(network: Network, source: Source, trainer: Trainer, loss: float) -> Watched:
    """What an EarlyStopping watches after an epoch with this recorded loss.

    It is the loss of the present parameters over all rows, where these can be read again. Otherwise the recorded loss
    has to do. An epoch of a single step recorded the loss of the parameters before that step, so it counts for them;
    but with dropout or smoothed targets it is another loss than `evaluate` gives, and the last batch is read again.
    """
    engine = engine_of(network)
    if source.rereads or (trainer.steps == 1 and (any(engine.dropout) or engine.label_smoothing)):
        return source.mean_loss(network), engine.parameters, 0
    if trainer.steps == 1:
        return loss, trainer.good[0], 1
    return loss, engine.parameters, 0
