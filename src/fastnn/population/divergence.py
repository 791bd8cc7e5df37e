"""The way back of members whose loss stops being finite, as training/divergence.py has it for one network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._types import Array, Integers
    from ..core import PopulationEngine


Memory = Sequence[Any]      # of arrays (n,) and lists of n


def copy_members(kept: Memory, others: Memory, members: Integers) -> None:
    """kept := others, for these members."""
    for own, other in zip(kept, others, strict=True):
        for member in members.tolist():
            own[member] = other[member]


class Remembering(Protocol):
    """What remembers something of every member: its optimizers, an EarlyStopping."""

    def memory(self) -> Any: ...

    def bring_back(self, memory: Any, members: Integers) -> None: ...


class Snapshot:
    """All members' numbers and counts, as they were when it was taken."""

    def __init__(self, engine: PopulationEngine, remembering: Sequence[Remembering]) -> None:
        self.engine, self.remembering = engine, remembering
        self.blocks: list[Array] = []
        self.counts = engine.counts()
        self.memories = [each.memory() for each in remembering]

    def take(self, members: Integers) -> None:
        """Copies what these members are now."""
        blocks = self.engine.parameters, *self.engine.states
        if not self.blocks:
            self.blocks = [block.copy() for block in blocks]
        elif len(members) == len(blocks[0]):
            for kept, block in zip(self.blocks, blocks, strict=True):
                np.copyto(kept, block)
        else:
            for kept, block in zip(self.blocks, blocks, strict=True):
                kept[members] = block[members]
        self.counts[members] = self.engine.counts()[members]
        for kept, now in zip(self.memories, (each.memory() for each in self.remembering), strict=True):
            copy_members(kept, now, members)

    def adopt(self, other: Snapshot, members: Integers) -> None:
        """Takes these members from another snapshot."""
        if not self.blocks:
            self.blocks = [block.copy() for block in other.blocks]
        for kept, block in zip(self.blocks, other.blocks, strict=True):
            kept[members] = block[members]
        self.counts[members] = other.counts[members]
        for kept, others in zip(self.memories, other.memories, strict=True):
            copy_members(kept, others, members)

    def put_back(self, members: Integers) -> None:
        """Makes these members what they were."""
        for kept, block in zip(self.blocks, (self.engine.parameters, *self.engine.states), strict=True):
            block[members] = kept[members]
        counts = self.engine.counts()
        counts[members] = self.counts[members]
        self.engine.set_counts(counts)
        for each, memory in zip(self.remembering, self.memories, strict=True):
            each.bring_back(memory, members)


class WayBack:
    """What members can go back to: the beginnings of the fit, of the last good epoch, of the one under way.

    An epoch is good if its mean loss is finite and not above that of the fit's first epoch: it speaks for the
    parameters with which it began. After divergence the loss over the training rows chooses between the last good
    epoch and the beginning of the fit.
    """

    def __init__(self, engine: PopulationEngine, remembering: Sequence[Remembering]) -> None:
        self.engine, self.remembering = engine, remembering
        self.start = self.good = self.begun = Snapshot(engine, remembering)
        self.first = np.full(engine.n, np.nan)      # each member's loss in its first epoch
        self.start.take(np.arange(engine.n))

    def begin(self, members: Integers) -> None:
        """An epoch of these members begins."""
        if np.isnan(self.first).all():
            return
        if self.begun is self.start:
            self.begun = Snapshot(self.engine, self.remembering)
        self.begun.take(members)

    def vouch(self, members: Integers, losses: Array) -> None:
        """An epoch of these members has ended with these finite losses."""
        first = np.isnan(self.first[members])
        self.first[members[first]] = losses[first]
        good = members[losses <= self.first[members]]
        if self.begun is self.start:
            return
        if len(good) == self.engine.n:
            self.good, self.begun = self.begun, self.good
            return
        if self.good is self.start:
            self.good = Snapshot(self.engine, self.remembering)
            self.good.adopt(self.start, np.arange(self.engine.n))
        self.good.adopt(self.begun, good)

    def to_better(self, members: Integers, mean_loss: Callable[[Integers], Array]) -> None:
        """Puts these members back to the beginning of the last good epoch or of the fit, whichever has the smaller
        loss."""
        self.start.put_back(members)
        if self.good is self.start:
            return
        at_start = mean_loss(members)
        self.good.put_back(members)
        worse = members[~(mean_loss(members) <= at_start)]
        self.start.put_back(worse)

    def to_good(self, members: Integers) -> None:
        """Puts these members back to the beginning of the last good epoch."""
        if len(members):
            self.good.put_back(members)
