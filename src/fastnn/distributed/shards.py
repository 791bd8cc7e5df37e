"""The rows of a fit on several ranks, in shards, each of which has its part in every batch.

All rows are those of rank 0, then those of rank 1, …: which of them a batch has does not depend on how many ranks
there are (`spread_order` in core/batch.pyx).

`Summing` adds the shards' gradients in every step; `Averaging` averages parameters now and then. Both are
sources of rows, as those in training/sources.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from itertools import chain, pairwise
from math import isfinite
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core import Rows, spread_order
from ..training.evaluation import mean_loss, summed
from ..training.rows import fits
from ..training.sources import InMemory, Mapped, mean_loss_of_arrays, overflow_of_arrays, read, selected
from ..training.trainable import engine_of
from .sums import add_in_pairs

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._types import Arrays, FloatArray, Network, Source
    from ..core import Engine, Trainer
    from ..training.fit import MinibatchOptimizer
    from .ranks import SeveralRanks


def bounds_of(n: int, parts: int) -> list[int]:
    """Where each of so many parts of n rows begins, and then n. Half as many parts begin at every other of these."""
    return [n * part // parts for part in range(parts + 1)]


def parts_of(ranks: SeveralRanks, about: str, n: int) -> tuple[int, int, list[int]]:
    """(the number of rows of all ranks, the number of those before this rank's, where its shards begin in its n rows)

    The last of these places is n, where the last shard ends.
    """
    counts = ranks.gathered(about, n)
    total, begin = sum(counts), sum(counts[:ranks.rank])
    if ranks.shards == ranks.size:
        return total, begin, [0, n]
    for rank, (first, last) in enumerate(pairwise(bounds_of(total, ranks.size))):
        if counts[rank] != last - first:
            raise ValueError(f"{about} has {counts[rank]} rows on rank {rank}, but with shards={ranks.shards} it must "
                             f"have {last - first} of all {total}: see fastnn.distributed.local_rows")
    if total < ranks.shards:
        raise ValueError(f"{about} has {total} rows in all, but {ranks.shards} shards need at least one each")
    several = ranks.shards // ranks.size
    return total, begin, [bound - begin for bound in
                          bounds_of(total, ranks.shards)[ranks.rank * several:][:several + 1]]


def total_weight(ranks: SeveralRanks, about: str, weights: list[float]) -> float:
    """The sum of the weights of all ranks' parts."""
    total = summed(concatenated(ranks.gathered(about, weights)))
    if not 0 < total < np.inf:
        raise ValueError(f"{about} sums to {total:g} over all ranks, but must be positive and finite")
    return total


def mean_loss_of(ranks: SeveralRanks, network: Network, rows: Rows) -> Callable[[], float]:
    """A function that returns the mean loss over every rank's rows."""
    _, _, bounds = parts_of(ranks, "validation_data", len(rows))
    engine = engine_of(network)
    parts = [Rows(engine, *selected(rows.arrays, slice(first, last))) for first, last in pairwise(bounds)]
    weight = total_weight(ranks, "validation_data's sample_weight", [part.weight for part in parts])
    parts = [part for part in parts if part.weight]

    def mean_loss_of_all() -> float:
        mine = [mean_loss(network, part) * part.weight for part in parts]
        return summed(concatenated(ranks.gathered("the validation loss", mine))) / weight

    return mean_loss_of_all


def gradients_of(ranks: SeveralRanks, network: Network, rows: Rows
                 ) -> Callable[[FloatArray], tuple[float, FloatArray]]:
    """A function of a block of parameters: the mean loss over every rank's rows, and its gradient, a block."""
    engine = engine_of(network)
    size = engine.parameters.size
    _, _, bounds = parts_of(ranks, "X", len(rows))
    parts = [Rows(engine, *selected(rows.arrays, slice(first, last))) for first, last in pairwise(bounds)]
    weight = total_weight(ranks, "sample_weight", [part.weight for part in parts])
    total = ranks.blocks(size, engine.dtype, 1)[0]
    nothing = 0.0, np.zeros(size, engine.dtype)     # of rows that all weigh nothing

    def gradients(parameters: FloatArray) -> tuple[float, FloatArray]:
        results = [engine.gradients(part, parameters) if part.weight else nothing for part in parts]
        blocks = [block * (part.weight / weight) for part, (_, block) in zip(parts, results, strict=True)]
        add_in_pairs(blocks, total[:size], blocks)
        ranks.add(total)
        mine = [loss * part.weight for part, (loss, _) in zip(parts, results, strict=True)]
        return summed(concatenated(ranks.gathered("the loss", mine))) / weight, total[:size]

    return gradients


class Shard:
    """Rows first … last-1 of all rows, and their part in every batch."""

    def __init__(self, engine: Engine, arrays: Arrays, first: int, last: int) -> None:
        self.engine, self.arrays, self.first, self.last = engine, arrays, first, last
        self.rows = Rows(engine, *arrays) if fits(arrays[0], engine) else None
        self.weight = float(last - first) if arrays[3] is None else summed(arrays[3])

    def begin(self, rows: int, batch: int, epoch: int, shuffle: bool) -> None:
        """Puts them in the order in which an epoch takes them."""
        self.order, starts, places = spread_order(self.first, self.last, rows, batch, self.engine.seed, epoch, shuffle)
        self.starts, self.places = starts.tolist(), places.tolist()
        if self.rows is not None:
            self.rows.arrange(self.order)

    def weights(self) -> list[float]:
        """The weight of each step's part."""
        if self.arrays[3] is None:
            return np.diff(self.starts).astype(float).tolist()
        ordered = self.arrays[3][self.order]
        # One after the other, as kernels add them.
        return [float(ordered[first:last].cumsum()[-1]) if first < last else 0.0
                for first, last in pairwise(self.starts)]

    def part(self, step: int) -> tuple[Rows | None, int, int]:
        """A step's part: rows first … last-1 of the order of some Rows."""
        first, last = self.starts[step:step + 2]
        if self.rows is not None or first == last:
            return self.rows, first, last
        return read(self.engine, self.arrays, self.order, first, last), 0, last - first


class Shards(ABC):
    """This rank's shards as a source of rows."""

    rereads = True

    def __init__(self, ranks: SeveralRanks, engine: Engine, source: Source, batch: int) -> None:
        if not isinstance(source, (InMemory, Mapped)):
            raise ValueError("X is an iterable of batches, but with a communicator each rank must pass its rows as "
                             "arrays or a memory-mapped file")
        self.ranks, self.engine, self.shuffle = ranks, engine, source.shuffle
        self.count, begin, bounds = parts_of(ranks, "X", source.count)
        self.batch = min(batch, self.count)
        if ranks.shards != ranks.size and self.batch % ranks.shards:
            raise ValueError(f"batch_size is {self.batch}, but must be a multiple of shards={ranks.shards}")
        self.steps = -(-self.count // self.batch)
        self.share = source.count / self.count
        self.shards = [Shard(engine, selected(source.arrays, slice(first, last)), begin + first, begin + last)
                       for first, last in pairwise(bounds)]
        self.gather = isinstance(source, InMemory)
        self.weight = total_weight(ranks, "sample_weight", [shard.weight for shard in self.shards])
        self.weighted = any(ranks.gathered("sample_weight", source.arrays[3] is not None))
        # A single rank with a single shard trains as without ranks, but for the order of the rows.
        self.alone = self.shards[0].rows if len(self.shards) == ranks.size == 1 else None

    @cached_property
    def blocks(self) -> list[FloatArray]:
        """Memory for gradients: made when training begins, as all ranks have agreed on its size then."""
        return self.ranks.blocks(self.engine.parameters.size, self.engine.dtype, len(self.shards).bit_length())

    def epoch(self, trainer: Trainer, optimizer: MinibatchOptimizer, number: int) -> float:
        """One pass of all ranks together; returns the mean loss, NaN where it is not finite."""
        trainer.begin()
        for shard in self.shards:
            shard.begin(self.count, self.batch, number, self.shuffle)
        rates = optimizer.rates(self.steps)
        if self.alone is not None:
            trainer.advance(self.alone, self.batch, rates)
            return trainer.finish()
        self.largest = max(int(np.diff(shard.starts).max()) for shard in self.shards)
        losses = [0.0] * len(self.shards)
        done = self.run(trainer, optimizer, np.broadcast_to(rates, self.steps).tolist(), losses)
        trainer.failed = done is None
        if done is not None:
            trainer.total = summed(concatenated(self.ranks.gathered("the loss of an epoch", losses)))
            trainer.seen = min(done * self.batch, self.count)
            trainer.weight = self.weight if done == self.steps else summed(concatenated(self.ranks.gathered(
                "the weight of an epoch", [summed(shard.weights()[:done]) for shard in self.shards])))
        return trainer.finish()

    def mean_loss(self, network: Network) -> float:
        """The mean loss of the parameters as they are, over all ranks' rows."""
        mine = [mean_loss_of_arrays(network, shard.arrays) * shard.weight for shard in self.shards if shard.weight]
        return summed(concatenated(self.ranks.gathered("the training loss", mine))) / self.weight

    def overflows(self) -> bool:
        """Whether a part of any rank's rows is beyond the dtype."""
        mine = any(overflow_of_arrays(self.engine, shard.arrays, self.batch) for shard in self.shards)
        return any(self.ranks.gathered("whether the loss overflows", mine))

    def compute_gradients(self, trainer: Trainer, index: int, step: int, weight: float, loss: float,
                          block: FloatArray) -> float:
        """block := the gradient of a shard's part of a step; returns the loss with its losses added."""
        shard = self.shards[index]
        return trainer.compute_gradients(
            *shard.part(step), self.largest, self.engine.divisor(weight), shard.places[step], loss, block)

    def added(self, block: FloatArray, failed: bool, late: bool) -> bool:
        """block := the sum of every rank's block; returns whether none of them failed.

        `self.late` then says whether any rank is late.
        """
        flag = self.engine.parameters.size
        block[flag] = np.nan if failed else float(late)
        self.ranks.add(block)
        self.late = bool(block[flag] > 0)
        return isfinite(block[flag])

    @abstractmethod
    def run(self, trainer: Trainer, optimizer: MinibatchOptimizer, rates: list[float],
            losses: list[float]) -> int | None:
        """The steps of an epoch at these rates, until a rank's time is over; adds to the loss of each shard. Returns
        how many were done, None if one was not finite."""


class Summing(Shards):
    """Steps along the sum of all shards' gradients."""

    def run(self, trainer: Trainer, optimizer: MinibatchOptimizer, rates: list[float],
            losses: list[float]) -> int | None:
        counts = False          # whether a row with weight has come; without one there is no mean
        for step, weight in enumerate(self.batch_weights()):
            counts = counts or weight > 0
            done = 0
            for index, loss in enumerate(losses):
                losses[index] = self.compute_gradients(trainer, index, step, weight, loss, self.blocks[done])
                done += 1
                # In pairs, and pairs of these, as soon as both are there: the tree of `add_in_pairs`.
                together = index + 1
                while together % 2 == 0:
                    done, together = done - 1, together // 2
                    np.add(self.blocks[done - 1], self.blocks[done], out=self.blocks[done - 1])
            if not self.added(self.blocks[0], not all(map(isfinite, losses)),
                              counts and perf_counter() >= trainer.deadline):
                return None
            trainer.apply_gradients(self.blocks[0], rates[step])
            if self.late:
                return step + 1
        return self.steps

    def batch_weights(self) -> list[float]:
        """The weight of each whole batch."""
        if self.weighted:
            shards = concatenated(self.ranks.gathered(
                "the weights of batches", [shard.weights() for shard in self.shards]))
            return [sum(parts) for parts in zip(*shards, strict=True)]
        return [float(min(self.batch, self.count - step * self.batch)) for step in range(self.steps)]


class Averaging(Shards):
    """Steps of each rank by itself; every so many, parameters and the optimizer's state are averaged."""

    def run(self, trainer: Trainer, optimizer: MinibatchOptimizer, rates: list[float],
            losses: list[float]) -> int | None:
        failed = counts = False
        for step, weight in enumerate(self.shards[0].weights()):
            counts = counts or weight > 0
            if not failed:
                losses[0] = self.compute_gradients(trainer, 0, step, weight, losses[0], self.blocks[0])
                failed = not isfinite(losses[0])
            if not failed:
                trainer.apply_gradients(self.blocks[0], rates[step])
            if (step + 1) % self.ranks.sync_every == 0 or step + 1 == self.steps:
                late = False
                for values in (self.engine.parameters, *optimizer.state):
                    np.multiply(values, self.share, out=self.blocks[0][:values.size])
                    if not self.added(self.blocks[0], failed, counts and perf_counter() >= trainer.deadline):
                        return None
                    late = late or self.late
                    np.copyto(values, self.blocks[0][:values.size])
                if late:
                    return step + 1
        return self.steps


def concatenated(lists: list[list[Any]]) -> list[Any]:
    """The elements of several lists as one list."""
    return list(chain.from_iterable(lists))
