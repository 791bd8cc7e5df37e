"""A fit of a population: its epochs, and what happens for every member between them."""

from __future__ import annotations

import math
import warnings
from contextlib import ExitStack
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core import random_order
from ..training.divergence import DivergenceError
from ..training.metrics import measured
from ..training.validation import says_nothing
from .divergence import WayBack
from .history import PopulationHistory, record_all
from .members import grouped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._types import Array, Callback, Integers, MetricFunction
    from ..core import PopulationEngine
    from .given import Side
    from .model import Population
    from .optimizers import MemberOptimizers
    from .stopping import MemberStopping

MOST_NAMED = 5          # members in a warning


@dataclass
class Asked:
    """What any fit was asked for, checked."""

    learned: Side
    validated: Side | None
    epochs: int
    metrics: dict[str, MetricFunction]
    tol: float | None
    time_budget: float | None


@dataclass
class Plan(Asked):
    """What a fit of steps was asked for."""

    optimizers: MemberOptimizers
    batch_size: int
    shuffle: str | bool         # "own", "shared" or False
    stopping: MemberStopping | None
    callbacks: tuple[Callback, ...]


class PopulationFit:
    """A fit of a population under way, as callbacks see it.

    Attributes: `network`, the Population; `history`, its PopulationHistory; `epochs`, how many were asked for; `epoch`,
    how many are done; `rows`, those of the last epoch, of all members together; `members`, the numbers of those that
    still train; `model()`, the population. `stop()` ends the training of all, or of some, after this epoch.
    """

    rank = 0

    def __init__(self, population: Population, engine: PopulationEngine, plan: Plan) -> None:
        self.network, self.epochs, self.epoch, self.rows = population, plan.epochs, 0, 0
        self.model = lambda: population
        names = [("validation_" if plan.validated is not None else "") + name for name in plan.metrics]
        self.history = PopulationHistory(engine.n, names, plan.validated is not None)
        self.members = np.arange(engine.n)

    def stop(self, reason: str = "callback", members: Any = None) -> None:
        """Ends the training of these members (None: of all) after this epoch; `reason` becomes their
        `history.stopped_by`."""
        stopped = self.members if members is None else np.intersect1d(self.members, members)
        for member in stopped:
            self.history.stopped_by[member] = reason
        self.members = np.setdiff1d(self.members, stopped)


class Training:
    """The loop of a fit."""

    def __init__(self, population: Population, engine: PopulationEngine, plan: Plan) -> None:
        self.population, self.engine, self.plan = population, engine, plan
        self.fit = PopulationFit(population, engine, plan)
        self.way = WayBack(engine, [plan.optimizers, *([] if plan.stopping is None else [plan.stopping])])
        self.batch = min(plan.batch_size, plan.learned.rows.most)
        self.counts = plan.learned.rows.counts()
        self.keys = [self.key(member) for member in range(engine.n)]
        self.together: tuple[list[int], Integers] = ([], np.empty((0, 2), np.intp))
        self.places = np.empty(0, np.intp)              # where each training member is among these
        self.watched = self.watch()
        self.error: DivergenceError | None = None

    def key(self, member: int) -> tuple[Any, ...]:
        """What members that go through the layers together must agree in: where one has no penalty, none has."""
        optimizer = self.plan.optimizers.own[member]
        return (-int(self.counts[member]), self.population.l1[member] > 0, self.population.l2[member] > 0,
                getattr(optimizer, "weight_decay", 0) > 0, *(self.engine.dropout[member] > 0).tolist())

    def watch(self) -> str | None:
        """The name of what the EarlyStopping watches, if there is one."""
        if self.plan.stopping is None:
            return None
        name = self.plan.stopping.watch(self.recorded())
        function = self.plan.metrics.get(name.removeprefix("validation_"))
        side = self.plan.learned if self.plan.validated is None else self.plan.validated
        for member in range(self.engine.n if function is not None else 0):
            if function is not None and (reason := says_nothing(function, *side.of(member))):
                raise ValueError(f"monitor is {name!r}, which has no meaning for member {member}: {reason}; pass "
                                 "more rows, or monitor the loss")
        return name

    def recorded(self) -> list[str]:
        """The names of what an EarlyStopping can watch."""
        return [name for name in self.fit.history.as_dict() if name not in ("learning_rate", "seconds")]

    def run(self) -> PopulationHistory:
        """Trains for the fit's epochs, or until every member has stopped; returns the history."""
        start = perf_counter()
        deadline = math.inf if self.plan.time_budget is None else start + self.plan.time_budget
        self.engine.deadline = deadline
        with ExitStack() as begun:
            for callback in self.plan.callbacks:
                callback.on_fit_begin(self.fit)     # type: ignore[arg-type]
                begun.callback(callback.on_fit_end, self.fit)     # type: ignore[arg-type]
            try:
                while self.fit.epoch < self.fit.epochs and len(self.fit.members):
                    start = self.epoch(start, deadline)
            except BaseException:
                self.way.to_good(np.flatnonzero(~self.engine.all_finite(range(self.engine.n))))
                raise
        self.warn()
        return self.fit.history

    def epoch(self, start: float, deadline: float) -> float:
        """One epoch of all members that still train, which began at this time; returns the time after it."""
        fit, members = self.fit, self.fit.members
        self.way.begin(members)
        result = self.steps(members)
        losses = self.mean_losses(members, result)
        failed = (result[:, 3] > 0) | ~self.engine.all_finite(members.tolist())
        self.engine.count_epoch(members[~failed].tolist())
        fit.rows = int(result[:, 1].sum())
        if failed.any():
            self.go_back(members[failed], result[failed])
        members, losses = members[~failed], losses[~failed]
        self.way.vouch(members, losses)
        fit.members, fit.epoch = members, fit.epoch + 1
        values = {"loss": losses, **self.validate(members)}
        values["learning_rate"] = self.engine.rates()[members]
        now = perf_counter()
        record_all(fit.history, members.tolist(), values, now - start)
        observed = values.get("validation_loss", losses)
        self.plan.optimizers.observe(members, observed)
        self.stop_some(members, values)
        if now >= deadline:
            fit.stop("time_budget")
        for callback in self.plan.callbacks:
            callback.on_epoch_end(fit)      # type: ignore[arg-type]
        return now

    def steps(self, members: Integers) -> Array:
        """An epoch's steps, as `PopulationEngine.train` tells of them, in the order of the members."""
        engine, plan = self.engine, self.plan
        if len(self.places) != len(members):            # members stop, and never come back
            size = engine.lanes if engine.fits_lanes(self.batch) else 1
            self.together = grouped(members.tolist(), self.keys, size)
            self.places = np.argsort(self.together[0])
        ordered, groups = self.together
        order = self.shared_order() if plan.shuffle == "shared" else None
        rates = plan.optimizers.rates(engine, np.array(ordered), -(-self.counts[ordered] // self.batch))
        result = engine.train(plan.learned.rows, ordered, groups, self.batch, plan.shuffle == "own", order, rates)
        return result[self.places]

    def shared_order(self) -> Integers:
        """The order of rows in this epoch where all members take the same."""
        return random_order(int(self.counts[0]), self.population.seeds[0],
                            int(self.engine.counts()[:, 1].max()))

    def mean_losses(self, members: Integers, result: Array) -> Array:
        """The mean training loss of each member."""
        weights = self.plan.learned.rows.weights_of[members]
        # The time was up, or the loss is not finite.
        for place in np.flatnonzero(result[:, 1] < self.counts[members]).tolist():
            weights[place] = self.weight_seen(int(members[place]), int(result[place, 1]))
        with np.errstate(invalid="ignore", divide="ignore"):
            losses: Array = result[:, 0] / (weights * self.engine.model.divisor(1.0))
        return losses

    def weight_seen(self, member: int, seen: int) -> float:
        """The weight of the first rows of a member's epoch."""
        _, weights = self.plan.learned.of(member)
        if weights is None:
            return float(seen)
        order = np.arange(len(weights))
        if self.plan.shuffle == "shared":
            order = self.shared_order()
        elif self.plan.shuffle == "own":
            order = random_order(len(weights), self.population.seeds[member], int(self.engine.counts()[member, 1]))
        return math.fsum(weights[order[:seen]])

    def validate(self, members: Integers) -> dict[str, Array]:
        """{name: values}: the validation loss and the metrics of these members."""
        plan, values = self.plan, {}
        if plan.validated is not None:
            values["validation_loss"] = self.population.mean_losses(plan.validated, members)
        if plan.metrics:
            side = plan.learned if plan.validated is None else plan.validated
            outputs = self.population.outputs(side.X)
            prefix = "" if plan.validated is None else "validation_"
            for name, function in plan.metrics.items():
                values[prefix + name] = np.array([self.metric(name, function, side, int(member), outputs[member])
                                                  for member in members])
        return values

    def metric(self, name: str, function: MetricFunction, side: Side, member: int, outputs: Array) -> float:
        """A metric of one member."""
        y, weights = side.of(member)
        if side.chosen is not None:
            outputs = outputs[side.chosen[member]]
        return measured(name, function, y, outputs, weights)

    def stop_some(self, members: Integers, values: Mapping[str, Array]) -> None:
        """Ends the training of those whose loss is small enough, or does not improve."""
        plan, fit = self.plan, self.fit
        if plan.stopping is not None and self.watched is not None:
            watched = values[self.watched]
            if self.watched == "loss":          # that of the parameters as they are
                watched = self.population.mean_losses(plan.learned, members)
            fit.stop("early_stopping", plan.stopping.look(members, watched, fit.epoch))
        if plan.tol is not None:
            fit.stop("tol", members[values["loss"] < plan.tol])

    def go_back(self, members: Integers, result: Array) -> None:
        """Puts members back whose loss is not finite any more. They train no further."""
        epoch = int(self.engine.counts()[members[0], 1]) + 1
        rate = float(self.engine.rates()[members[0]])
        self.way.to_better(members, lambda some: self.population.mean_losses(self.plan.learned, some))
        counts = self.engine.counts()[:, 1]
        began = self.way.start.counts[:, 1]
        for member in members:
            self.fit.history.stopped_by[member] = "diverged"
            self.fit.history.epochs[member] = counts[member] - began[member]
        self.error = DivergenceError(epoch, int(result[0, 2]) + 1, rate, False, int(counts[members[0]]),
                                     bool(counts[members[0]] == began[members[0]] and epoch == began[members[0]] + 1))

    def warn(self) -> None:
        """Says which members diverged; DivergenceError where all did."""
        diverged = [member for member, reason in enumerate(self.fit.history.stopped_by) if reason == "diverged"]
        if self.error is not None and len(diverged) == self.engine.n:
            raise self.error
        if diverged:
            warnings.warn(f"the loss of {len(diverged)} of {self.engine.n} members stopped being finite "
                          f"({named(diverged)}); they have the parameters of their last good epoch: give them a "
                          "smaller learning rate", RuntimeWarning, stacklevel=6)
        if self.plan.stopping is None or not self.fit.epoch:
            return
        never = np.setdiff1d(np.flatnonzero(np.isnan(self.plan.stopping.best)), diverged)
        if len(never):
            warnings.warn(f"EarlyStopping watched {self.watched!r}, which was not finite after any epoch "
                          f"({named(never.tolist())}), so there is no best one: the parameters are the latest; pass "
                          "other rows, or monitor something else", RuntimeWarning, stacklevel=6)


def named(members: list[int]) -> str:
    """The first of some members."""
    return f"member{'s' * (len(members) != 1)} " + ", ".join(map(str, members[:MOST_NAMED])) + (
        ", …" * (len(members) > MOST_NAMED))
