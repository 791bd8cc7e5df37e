"""Where a fit takes its rows from: each source drives a Trainer once over them, which is an epoch.

There are three: `InMemory`, `Mapped` (a memory-mapped file whose rows are converted some at a time) and `Batches` (an
iterable). The first two give the same bits. `source` chooses one; distributed/shards.py has others, over several ranks.
"""

from __future__ import annotations

from itertools import takewhile
from math import isfinite
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..core import Rows, random_order
from .evaluation import mean_loss, summed
from .ranks import Ranks
from .rows import as_rows, check_inputs, converted, fits, targets, weights
from .trainable import engine_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .._types import Arrays, Integers, Network
    from ..core import Engine, Trainer
    from .fit import MinibatchOptimizer
    from .settings import FitSettings

CHUNK_BYTES = 1 << 24           # of a memory-mapped file that are converted together
PART_ROWS = 1024                # of arrays that are looked through after a divergence
END = object()                  # stands for the end of an iterable of batches


def source(engine: Engine, X: Any, y: object, sample_weight: object, settings: FitSettings, ranks: Ranks) -> Source:
    """Where a fit takes its rows from."""
    if y is None:
        return ranks.divided(engine, Batches(engine, X, sample_weight, settings), 0)
    if settings.steps_per_epoch is not None:
        raise ValueError(f"steps_per_epoch is {settings.steps_per_epoch}, but X is an array, and an epoch takes all "
                         "its rows; leave steps_per_epoch out, or pass an iterable of batches")
    batch_size = 32 if settings.batch_size is None else settings.batch_size
    whole = ranks.size == 1
    if isinstance(X, np.memmap) and not fits(X, engine):
        X = check_inputs(X, engine.layer_sizes[0])
        values, labels = targets(engine, y, len(X))
        arrays = X, values, labels, weights(engine, values, labels, sample_weight, settings.class_weight, whole, ranks)
        return ranks.divided(engine, Mapped(engine, arrays, batch_size, settings.shuffle), batch_size)
    rows = as_rows(engine, X, y, sample_weight, settings.class_weight, whole, ranks)
    return ranks.divided(engine, InMemory(engine, rows, batch_size, settings.shuffle), batch_size)


class WholeArrays:
    """What `InMemory` and `Mapped` share: all rows can be read again."""

    rereads = True
    engine: Engine
    arrays: Arrays
    batch: int

    def mean_loss(self, network: Network) -> float:
        """The mean loss of the parameters as they are."""
        return mean_loss_of_arrays(network, self.arrays)

    def overflows(self) -> bool:
        """Whether a part of the rows is beyond the dtype."""
        return overflow_of_arrays(self.engine, self.arrays, self.batch)


class InMemory(WholeArrays):
    """Rows that the kernels read where they stand."""

    def __init__(self, engine: Engine, rows: Rows, batch: int, shuffle: bool) -> None:
        self.engine, self.rows, self.arrays, self.batch = engine, rows, rows.arrays, min(batch, len(rows))
        self.gather = self.shuffle = shuffle
        self.count = len(rows)
        self.steps = -(-len(rows) // self.batch)

    def epoch(self, trainer: Trainer, optimizer: MinibatchOptimizer, number: int) -> float:
        """One pass; returns the mean loss, NaN where it is not finite."""
        return trainer.epoch(self.rows, self.batch, optimizer.rates(self.steps), number)


class Mapped(WholeArrays):
    """A memory-mapped X of another dtype or layout: its rows are read and converted some at a time."""

    gather = False              # rows come in the order in which they are read

    def __init__(self, engine: Engine, arrays: Arrays, batch: int, shuffle: bool) -> None:
        self.engine, self.arrays, self.shuffle, self.count = engine, arrays, shuffle, len(arrays[0])
        self.batch = min(batch, self.count)
        self.chunk = chunk_rows(engine, self.batch)

    def epoch(self, trainer: Trainer, optimizer: MinibatchOptimizer, number: int) -> float:
        """One pass; returns the mean loss, NaN where it is not finite."""
        order = random_order(self.count, self.engine.seed, number) if self.shuffle else None
        trainer.begin()
        for first in range(0, self.count, self.chunk):
            rows = read(self.engine, self.arrays, order, first, min(first + self.chunk, self.count))
            if not trainer.advance(rows, self.batch, optimizer.rates(-(-len(rows) // self.batch))):
                break
        return trainer.finish()


def chunk_rows(engine: Engine, batch: int) -> int:
    """How many rows of a memory-mapped file are converted together: whole batches."""
    row_bytes = engine.layer_sizes[0] * np.dtype(engine.dtype).itemsize
    return batch * max(1, CHUNK_BYTES // (batch * row_bytes))


def mean_loss_of_arrays(network: Network, arrays: Arrays) -> float:
    """The mean loss of a network over the rows of arrays, whose weights are not all zero. What has to be converted is
    read in parts."""
    engine = engine_of(network)
    if fits(arrays[0], engine):
        return mean_loss(network, Rows(engine, *arrays))
    losses, weights = zip(*((mean_loss(network, rows) * rows.weight, rows.weight)
                            for rows in parts_of_arrays(engine, arrays, chunk_rows(engine, 1))), strict=True)
    return summed(losses) / summed(weights)


def parts_of_arrays(engine: Engine, arrays: Arrays, rows: int) -> Iterator[Rows]:
    """The rows of arrays, so many at a time; parts whose weights are all zero are left out."""
    for first in range(0, len(arrays[0]), rows):
        part = read(engine, arrays, None, first, min(first + rows, len(arrays[0])))
        if part.weight:
            yield part


def overflows(engine: Engine, rows: Rows) -> bool:
    """Whether the loss of some rows or its gradient is beyond the dtype, or the gradient's square, which Adam keeps."""
    loss, gradient = engine.gradients(rows)
    with np.errstate(over="ignore", invalid="ignore"):
        return not (isfinite(loss) and engine.kernels.all_finite(np.square(gradient)))


def overflow_of_arrays(engine: Engine, arrays: Arrays, batch: int) -> bool:
    """Whether any part of the arrays `overflows`: a batch, or several small ones."""
    return any(overflows(engine, part) for part in parts_of_arrays(engine, arrays, max(batch, PART_ROWS)))


def read(engine: Engine, arrays: Arrays, order: Integers | None, first: int, last: int) -> Rows:
    """Rows first … last-1 of arrays, in an order (None: as they stand), converted so that kernels can read them."""
    numbers = np.arange(first, last) if order is None else order[first:last]
    X, values, labels, row_weights = selected(arrays, slice(first, last) if order is None else numbers)
    return Rows(engine, converted("X", np.asarray(X), engine, numbers), values, labels, row_weights)


def selected(arrays: Arrays, part: slice | Integers) -> Arrays:
    """Some rows of each array."""
    X, values, labels, row_weights = arrays
    return (X[part], None if values is None else values[part], None if labels is None else labels[part],
            None if row_weights is None else row_weights[part])


class Batches:
    """An iterable of batches, (X, y) or (X, y, sample_weight): each is one step, as it comes.

    An epoch is all that it gives, or `steps` batches; then the next epoch goes on where it stopped.
    """

    gather = rereads = False
    rows: Rows | None           # the last batch

    def __init__(self, engine: Engine, batches: Iterable[Any], sample_weight: object, settings: FitSettings) -> None:
        if not hasattr(batches, "__iter__") or hasattr(batches, "__array__"):
            advice = ("; a torch.utils.data.DataLoader(X, batch_size=32) is one"
                      if hasattr(batches, "__getitem__") and not hasattr(batches, "__array__") else "")
            raise TypeError(f"y is missing: without it X must be an iterable of batches (X, y), "
                            f"but is a {type(batches).__name__}{advice}")
        if settings.batch_size is not None or sample_weight is not None:
            raise ValueError("batch_size and sample_weight are for arrays, but X is an iterable of batches; leave them "
                             "out, and yield (X, y, sample_weight) to weight rows")
        if isinstance(settings.class_weight, str):
            raise ValueError(f"class_weight is {settings.class_weight!r}, but needs all labels at once, and X is an "
                             "iterable of batches; pass a dictionary {class: weight}")
        self.engine, self.batches = engine, batches
        self.class_weight, self.steps = settings.class_weight, settings.steps_per_epoch
        self._going: Iterator[Any] = iter(())       # with `steps`: the batches that the last epoch left

    def of_epoch(self) -> Iterable[Any]:
        """The batches of an epoch. It is no generator: closing one that was left needs memory, which may be lacking."""
        if self.steps is None:
            return self.batches
        return takewhile(is_batch, map(self.following, range(self.steps)))

    def following(self, _: int) -> Any:
        """The next batch. After its end the iterable begins anew; END if it gives no batch then."""
        batch = next(self._going, END)
        if batch is END:
            self._going = iter(self.batches)
            batch = next(self._going, END)
        return batch

    def epoch(self, trainer: Trainer, optimizer: MinibatchOptimizer, number: int) -> float:
        """One pass; returns the mean loss, NaN where it is not finite."""
        trainer.begin()
        self.rows = None
        for batch in self.of_epoch():
            if not (isinstance(batch, (tuple, list)) and len(batch) in (2, 3)):
                size = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
                arrays = isinstance(self.batches, (tuple, list)) and hasattr(batch, "__array__")
                advice = "; pass arrays one by one: fit(X, y)" if arrays else ""
                raise TypeError(f"X yielded a {type(batch).__name__}{size}, but each batch must be a tuple (X, y) or "
                                f"(X, y, sample_weight){advice}")
            X, y, sample_weight = (*batch, None)[:3]
            self.rows = as_rows(self.engine, X, y, sample_weight, self.class_weight, whole=False)
            if not trainer.advance(self.rows, len(self.rows), optimizer.rates(1)):
                break
        if self.rows is None:
            raise ValueError("X gave no batch for this epoch: an iterator can be read only once; pass an iterable that "
                             "can start again, such as a list or an object with __iter__")
        return trainer.finish()

    def mean_loss(self, network: Network) -> float:
        """The mean loss of the parameters as they are, over the last batch alone."""
        return mean_loss(network, self.rows) if self.rows is not None and self.rows.weight else 0.0

    def overflows(self) -> bool:
        """Whether the last batch is beyond the dtype."""
        return self.rows is not None and bool(self.rows.weight) and overflows(self.engine, self.rows)


def is_batch(batch: Any) -> bool:
    """Whether this is a batch, and not END."""
    return batch is not END


class Source(Protocol):
    """Where the rows of a fit come from."""

    gather: bool                # whether their order is made by the Trainer
    rereads: bool               # whether `mean_loss` and `overflows` read all rows again

    def epoch(self, trainer: Trainer, optimizer: MinibatchOptimizer, number: int) -> float:
        """One pass; returns the mean loss, NaN where it is not finite."""

    def mean_loss(self, network: Network) -> float:
        """The mean loss of the parameters as they are."""

    def overflows(self) -> bool:
        """Whether loss or gradient of the parameters as they are is beyond the dtype."""
