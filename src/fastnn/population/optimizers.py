"""The optimizer of every member: one for all, or one each. Their state is the population's, not theirs."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import sequence, shown
from ..optimizers import Adam, Optimizer
from ..schedules import Schedule

if TYPE_CHECKING:
    from .._types import Array, FloatArray, Integers
    from ..core import PopulationEngine


class MemberOptimizers:
    """What users passed, `given`, which stays as it was; copies of it, one for each member, with schedules of their
    own; and how many epochs each member has done with it."""

    def __init__(self, given: Optimizer | tuple[Optimizer, ...], n: int) -> None:
        self.given, self.n = given, n
        self.own: tuple[Optimizer, ...] = ()
        self.epochs = np.zeros(n, np.int64)
        self.renew()

    def each(self) -> tuple[Optimizer, ...]:
        """What was given for each member."""
        return self.given if isinstance(self.given, tuple) else (self.given,) * self.n

    def renew(self) -> None:
        """Copies what was given: its constants may have been set since. What schedules remember stays."""
        before, self.own = self.own, ()
        if isinstance(self.given, tuple) or isinstance(self.given.learning_rate, Schedule):
            own = tuple(copy.copy(optimizer) for optimizer in self.each())
        else:
            own = (copy.copy(self.given),) * self.n         # it remembers nothing
        for new, old in zip(own, before, strict=False):
            if isinstance(new.learning_rate, Schedule) and new.learning_rate == old.learning_rate:
                new.learning_rate = copy.copy(old.learning_rate)
        self.own = own
        self.scheduled = any(isinstance(optimizer.learning_rate, Schedule) for optimizer in own)
        check_alike(own)

    def prepare(self, engine: PopulationEngine, fresh: bool) -> None:
        """Tells the engine every member's constants; if `fresh`, the state before the first step, too."""
        self.renew()
        bound: Optimizer | None = None
        states: list[tuple[FloatArray, ...]] = []
        for member, optimizer in enumerate(self.own):
            if bound is None or optimizer is not self.own[member - 1]:
                bound = copy.copy(optimizer)        # one at a time, as each takes memory
                bound.bind(engine.model)
                state = tuple(engine.model.packed(block) for block in bound.state)
            states.append(state)
            engine.set_optimizer(member, bound)
        if fresh or len(states[0]) != len(engine.states):       # momentum may have been set since
            self.give_state(engine, states, 0 if fresh else len(engine.states))
        if fresh:
            counts = engine.counts()
            counts[:, 2] = 0
            engine.set_counts(counts)

    def give_state(self, engine: PopulationEngine, states: list[tuple[FloatArray, ...]], kept: int) -> None:
        """Gives the engine these blocks of state; it keeps the first ones that it has."""
        blocks = list(engine.states[:kept])[:len(states[0])]
        for index in range(len(blocks), len(states[0])):
            block = engine.block()
            block[...] = [state[index] for state in states]
            blocks.append(block)
        engine.set_states(tuple(blocks))

    def rates(self, engine: PopulationEngine, members: Integers, steps: Array) -> list[Array | None]:
        """The learning rates of these members' coming steps; None where they stay."""
        if not self.scheduled:
            return [None] * len(members)
        counts = engine.counts()
        result: list[Array | None] = []
        for member, many in zip(members.tolist(), steps.tolist(), strict=True):
            optimizer = self.own[member]
            if isinstance(optimizer.learning_rate, float):
                result.append(None)
                continue
            optimizer.steps, optimizer.epochs = int(counts[member, 2]), int(self.epochs[member])
            rates = optimizer.rates(many)
            if isinstance(rates, float):
                engine.set_rate(member, rates)
                result.append(None)
            else:
                result.append(rates)
        return result

    def observe(self, members: Integers, losses: Array) -> None:
        """Tells schedules the losses of an epoch, and that it is done."""
        self.epochs[members] += 1
        if not self.scheduled:
            return
        for member, loss in zip(members.tolist(), losses.tolist(), strict=True):
            if isinstance(self.own[member].learning_rate, Schedule):
                self.own[member].observe(loss)

    def memory(self) -> tuple[Array, list[Any]]:
        """What a fit changes: epochs, and what schedules remember."""
        if not self.scheduled:
            return self.epochs.copy(), [None] * self.n
        return self.epochs.copy(), [rate.state() if isinstance(rate, Schedule) else None
                                    for rate in (optimizer.learning_rate for optimizer in self.own)]

    def bring_back(self, memory: tuple[Array, list[Any]], members: Integers) -> None:
        """Makes these members' epochs and schedules what they were."""
        epochs, states = memory
        self.epochs[members] = epochs[members]
        for member in members.tolist():
            rate = self.own[member].learning_rate
            if isinstance(rate, Schedule):
                rate.set_state(states[member])


def checked_optimizers(optimizer: Any, last: MemberOptimizers | None, n: int) -> MemberOptimizers:
    """The optimizers of a fit; None are the last ones, else Adam() for all."""
    if optimizer is None:
        return last or MemberOptimizers(Adam(), n)
    given = checked_given(optimizer, n)
    if last is not None and (given is last.given or (
            isinstance(given, tuple) and isinstance(last.given, tuple)
            and all(new is old for new, old in zip(given, last.given, strict=True)))):
        return last
    return MemberOptimizers(given, n)


def checked_given(optimizer: Any, n: int) -> Optimizer | tuple[Optimizer, ...]:
    """An optimizer for all members, or one for each."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    if isinstance(optimizer, type):
        raise TypeError(f"optimizer is {shown(optimizer)}, but a population takes an optimizer of steps, such as "
                        "fastnn.Adam(0.01), or one for each member")
    each = sequence("optimizer", optimizer, f"be an optimizer such as fastnn.SGD(0.1), or {n} of them")
    if len(each) != n:
        raise ValueError(f"optimizer holds {len(each)} optimizers, but there are {n} members: pass one for all, or one "
                         "for each")
    for member, own in enumerate(each):
        if not isinstance(own, Optimizer):
            raise TypeError(f"optimizer[{member}] is {shown(own)}, but must be an optimizer such as fastnn.SGD(0.1)")
    check_alike(each)
    return each[0] if all(own is each[0] for own in each) else each


def check_alike(each: tuple[Optimizer, ...]) -> None:
    """Refuses optimizers of two kinds: the steps of members differ in numbers alone."""
    for member, own in enumerate(each):
        if own is not each[0] and kind(own) != kind(each[0]):
            raise ValueError(f"optimizer[{member}] is {own!r}, but must be of the class of optimizer[0], {each[0]!r}, "
                             "and like it in whether it has momentum, nesterov and clipping")


def kind(optimizer: Optimizer) -> tuple[Any, ...]:
    """What members that are trained together must agree in."""
    return (type(optimizer), getattr(optimizer, "momentum", 0) > 0, getattr(optimizer, "nesterov", False),
            optimizer.clip_norm is None, optimizer.clip_value is None)
