"""The optimizer of every member: one for all, or one each. Their state is the population's, not theirs."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from .._checks import sequence, shown
from ..optimizers import Adam, Optimizer
from ..schedules import Schedule
from ..training.settings import is_optimizer

if TYPE_CHECKING:
    from .._types import Array, FloatArray, Integers
    from ..core import PopulationEngine


class MemberOptimizers:
    """What users passed, `given`, and an optimizer of each member's own, `own`, which tells its learning rates."""

    def __init__(self, given: Optimizer | tuple[Optimizer, ...], n: int) -> None:
        self.given = given
        each = given if isinstance(given, tuple) else (given,)
        self.scheduled = any(isinstance(optimizer.learning_rate, Schedule) for optimizer in each)
        # A schedule may remember losses, and counts steps: then every member needs a copy.
        if self.scheduled and not isinstance(given, tuple):
            each = tuple(copy.copy(given) for _ in range(n))
        self.own = each if len(each) == n else each * n

    def prepare(self, engine: PopulationEngine, fresh: bool) -> None:
        """Tells the engine every member's constants; if `fresh`, the state before the first step, too."""
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
        for member, many in zip(members, steps, strict=True):
            optimizer = self.own[member]
            optimizer.steps = int(counts[member, 2])
            rates = optimizer.rates(int(many))
            if isinstance(rates, float):
                engine.set_rate(member, rates)
                result.append(None)
            else:
                result.append(rates)
        return result

    def observe(self, members: Integers, losses: Array) -> None:
        """Tells schedules the losses of an epoch, and that it is done."""
        if self.scheduled:
            for member, loss in zip(members, losses, strict=True):
                self.own[member].observe(float(loss))
                self.own[member].count_epoch()


def checked_optimizers(optimizer: Any, last: MemberOptimizers | None, n: int) -> MemberOptimizers:
    """The optimizers of a fit; None are the last ones, else Adam() for all."""
    if optimizer is None:
        return last or MemberOptimizers(Adam(), n)
    if last is not None and (optimizer is last.given or (
            isinstance(optimizer, (list, tuple)) and tuple(optimizer) == last.given)):
        return last
    if isinstance(optimizer, Optimizer):
        return MemberOptimizers(optimizer, n)
    if is_optimizer(optimizer) or isinstance(optimizer, type):
        raise TypeError(f"optimizer is {shown(optimizer)}, but a population takes an optimizer of steps, such as "
                        "fastnn.Adam(0.01), or one for each member")
    each = sequence("optimizer", optimizer, f"be an optimizer such as fastnn.SGD(0.1), or {n} of them")
    if len(each) != n:
        raise ValueError(f"optimizer holds {len(each)} optimizers, but there are {n} members: pass one for all, or one "
                         "for each")
    for member, own in enumerate(each):
        if not isinstance(own, Optimizer):
            raise TypeError(f"optimizer[{member}] is {shown(own)}, but must be an optimizer such as fastnn.SGD(0.1)")
        if kind(own) != kind(each[0]):
            raise ValueError(f"optimizer[{member}] is {own!r}, but all members take the same kind of step: "
                             f"optimizer[0] is {each[0]!r}")
    if len({id(own) for own in each}) == 1:
        return MemberOptimizers(each[0], n)
    return MemberOptimizers(tuple(each), n)


def kind(optimizer: Optimizer) -> tuple[Any, ...]:
    """What members that are trained together must agree in."""
    return (type(optimizer), getattr(optimizer, "momentum", 0) > 0, getattr(optimizer, "nesterov", False),
            optimizer.clip_norm is None, optimizer.clip_value is None)
