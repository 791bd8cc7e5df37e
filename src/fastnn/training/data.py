"""What users pass as rows: inputs, targets and weights, checked and converted for one engine.

`as_rows` makes the engine's `Rows` of arrays. A `fit` takes its rows from one of three sources,
whose `epoch` drives a Trainer once over them: `InMemory`, `Mapped` (a memory-mapped file whose
rows are converted some at a time) and `Batches` (an iterable). The first two give the same bits.
"""

from __future__ import annotations

from itertools import takewhile
from math import fsum, inf, isfinite
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from .._checks import (
    check_range,
    checked_labels,
    checked_weights,
    is_whole,
    method_of,
    number,
    place,
    plain,
    real_array,
    shown,
)
from ..core import Rows, called, random_order
from ..losses import CLASSIFYING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .._types import AnyOptimizer, Array, Arrays, ClassWeight, FloatArray, Integers, Labels, Weights
    from ..core import Engine, Trainer
    from ..network import Network
    from ..optimizers import Optimizer

CHUNK_BYTES = 1 << 24           # of a memory-mapped file that are converted together
PART_ROWS = 1024                # of arrays that are looked through after a divergence
END = object()                  # stands for the end of an iterable of batches
VALIDATION = 2**64 - 1          # where an epoch's number makes the rows' order: which rows are held out


class Ranks:
    """The processes among which the rows of a fit are divided: here one has them all.

    `distributed.ranks.SeveralRanks` are several, which train together.
    """

    rank, size = 0, 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        pass

    def gathered(self, about: str, value: Any) -> list[Any]:
        """Every rank's value."""
        return [value]

    def common(self, error: Exception) -> Exception:
        """An error that every rank raises, as all have seen what it is about."""
        return error

    def joined_rows(self, about: str, array: Array) -> Array:
        """The rows of every rank's array, one below the other."""
        return array

    def agree(self, network: Network, optimizer: AnyOptimizer, **arguments: object) -> None:
        """Training begins; ranks that differ in these are refused."""

    def threads(self, most: int | None) -> int | None:
        """The most threads that share a step."""
        return most

    def divided(self, engine: Engine, source: Source, batch: int) -> Source:
        """The source of this rank's part in every batch."""
        return source

    def mean_loss_of(self, network: Network, rows: Rows) -> Callable[[], float]:
        """A function that returns the mean loss over every rank's rows."""
        return lambda: mean_loss(network, rows)

    def gradients_of(self, network: Network, rows: Rows) -> Callable[[], tuple[float, FloatArray]]:
        """A function that returns the same and its gradient, a block."""
        return lambda: network._engine.gradients(rows)


ONE = Ranks()


def check_inputs(X: object, n_inputs: int) -> Array:
    """X as an array (n, n_inputs) with at least one row."""
    given, X = X, real_array("X", X)
    if X.shape[:1] == (0,):
        raise ValueError(f"X has 0 rows (its shape is {X.shape}), but at least 1 is needed")
    if X.ndim != 2:
        reshape = method_of("X", given, "reshape")
        advice = ""
        if X.ndim == 1:
            advice = f"; pass {reshape}(-1, 1) if it is one column, {reshape}(1, -1) if it is one row"
        elif X.ndim > 2 and X.size == len(X) * n_inputs:
            advice = f"; pass {reshape}(len(X), -1)"
        raise ValueError(f"X has {X.ndim} dimensions, but must have 2: (samples, {n_inputs}){advice}")
    if X.shape[1] != n_inputs:
        raise ValueError(f"X has {X.shape[1]} features, but this network was built for {n_inputs} inputs")
    return X


def fits(array: Array, engine: Engine) -> bool:
    """Whether kernels can read an array where it stands."""
    return array.dtype == engine.dtype and array.flags.carray


def converted(name: str, array: Array, engine: Engine, numbers: Integers | None = None,
              given: object = None) -> FloatArray:
    """A 2-D array in the network's dtype, aligned and C-contiguous; refuses NaN and infinity. For the error: `numbers`
    are those of its rows, if these are not 0, 1, …; `given` is what the user passed, if that names columns."""
    result = array
    if not fits(array, engine):
        with np.errstate(over="ignore", under="ignore"):
            result = np.require(array, engine.dtype, ("C", "A"))
    if not engine.kernels.all_finite(result):
        row, column = np.unravel_index(np.isfinite(result).argmin(), result.shape)
        at = place(given, (int(row if numbers is None else numbers[row]), int(column)))
        missing = "; fill or drop what is missing" if np.isnan(array[row, column]) else ""
        raise ValueError(f"{name} holds {array[row, column]}{at}, but must be finite in {engine.dtype}{missing}")
    return result


def inputs(engine: Engine, X: object, given: object = None) -> FloatArray:
    """X as the engine wants it: (n, n_inputs), finite, C-contiguous, of the network's dtype; `given` is what the user
    passed, if X was made of it."""
    return converted("X", check_inputs(X, engine.layer_sizes[0]), engine, given=X if given is None else given)


def takes_labels(engine: Engine) -> bool:
    """Whether targets are classes that exclude each other, or probabilities of these."""
    return engine.activations[-1] == "softmax"


def tells_classes(engine: Engine) -> bool:
    """Whether outputs say which of several classes a row is of: softmax, or one sigmoid with a loss for that. Others
    are numbers, or yes and no to several questions."""
    one = engine.layer_sizes[-1] == 1
    return not one if takes_labels(engine) else one and getattr(engine.loss, "name", None) in CLASSIFYING


def targets(engine: Engine, y: object, rows: int) -> tuple[FloatArray | None, Labels]:
    """(targets (n, n_outputs) of the network's dtype, None), or (None, labels) for integer labels."""
    outputs, given = engine.layer_sizes[-1], y
    y = real_array("y", y)
    if y.ndim not in (1, 2):
        raise ValueError(f"y has {y.ndim} dimensions, but must have 1 or 2")
    if len(y) != rows:
        raise ValueError(f"y has {len(y)} rows, but X has {rows}")
    if takes_labels(engine) and y.ndim == 1:
        return None, checked_labels(y, outputs)
    if y.ndim == 1 and outputs == 1:
        y = y[:, None]
    if y.shape != (rows, outputs):
        raise ValueError(misshapen(engine, y, method_of("y", given, "ravel") + "()"))
    values = converted("y", y, engine, given=given)
    loss = getattr(engine.loss, "name", None)
    if takes_labels(engine) and loss is not None:
        check_range("y", values, 0, 1, "probabilities")
        if np.abs(values.sum(axis=1) - 1).max() > 1e-3:
            row = int(np.abs(values.sum(axis=1) - 1).argmax())
            raise ValueError(
                f"y holds probabilities that sum to {values[row].sum():g} in row {row}, but each must sum to 1")
    elif loss in CLASSIFYING:
        check_range("y", values, 0, 1, f"{loss}'s targets", advice_on_classes(values))
    elif loss == "poisson":
        check_range("y", values, 0, np.inf, "poisson's targets")
    return values, None


def misshapen(engine: Engine, y: Array, flat: str) -> str:
    """The sentence for targets (n,) or (n, k) that do not fit the outputs, and what to do; `flat` makes them (n,)."""
    rows, outputs = len(y), engine.layer_sizes[-1]
    columns = y.shape[1] if y.ndim == 2 else 0
    as_labels = columns < 2 and y.dtype.kind in "iu" and y.min() >= 0 and y.max() < outputs
    if takes_labels(engine):
        return (f"y has shape {y.shape}, but softmax takes labels ({rows},) or probabilities ({rows}, {outputs})"
                + (f"; pass labels as {flat}" if columns == 1 else ""))
    advice = ""
    if as_labels:
        advice = f"; for class labels build the network with output='softmax'{f' and pass {flat}' if columns else ''}"
    elif columns > 1:
        one_hot = ((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all()
        advice = f"; for these targets build Network([…, {columns}]{', output=' + repr('softmax') if one_hot else ''})"
    return f"y has shape {y.shape}, but must have shape ({rows}, {outputs}): one column per output{advice}"


def advice_on_classes(values: FloatArray) -> str:
    """What to do where targets should be 0 or 1, and may be classes with other numbers."""
    if values.shape[1] > 1 or not (values == np.floor(values)).all():
        return ""
    classes = np.unique(values)
    if len(classes) <= 2:
        return f"; write two classes as 0 and 1: pass y == {classes[-1]:g}"
    return f"; {len(classes)} classes need Network([…, {len(classes)}], output='softmax')"


def weights(engine: Engine, values: FloatArray | None, labels: Labels, sample_weight: object,
            class_weight: ClassWeight | None, whole: bool = True, ranks: Ranks = ONE) -> Weights:
    """One weight a row, the product of both kinds; None where there is neither."""
    rows = len(labels if values is None else values)
    if (sample_weight is not None or class_weight is not None) and callable(engine.loss):
        raise ValueError("sample_weight and class_weight need a loss of fastnn's own, but the loss is a Python "
                         "function, which can weigh its rows itself")
    sample_weight = checked_weights("sample_weight", sample_weight, rows, whole)
    if class_weight is None:
        return sample_weight
    one_output = engine.layer_sizes[-1] == 1
    if getattr(engine.loss, "name", None) not in CLASSIFYING or not (takes_labels(engine) or one_output):
        raise ValueError(
            f"class_weight is {class_weight!r}, but goes with classes that exclude each other: output 'softmax', or "
            f"one output 'sigmoid' with a classification loss; here are {engine.layer_sizes[-1]} outputs "
            f"{engine.activations[-1]!r} with loss {engine.loss!r}")
    if values is None:
        shares = None
        counts = np.bincount(labels, minlength=engine.layer_sizes[-1])
    else:
        shares = np.hstack([1 - values, values]) if one_output and not takes_labels(engine) else values
        counts = np.array([fsum(share.tolist()) for share in shares.T])
    every = ranks.gathered("class_weight", counts.tolist())
    factors = class_factors(class_weight, np.array([fsum(count) for count in zip(*every, strict=True)]))
    if shares is None:
        factors = factors[labels]
    else:       # not by a matrix product: a BLAS sums in another order on each processor
        with np.errstate(under="ignore"):
            factors = sum(share.astype(np.float64) * factor for share, factor in zip(shares.T, factors, strict=True))
    with np.errstate(under="ignore"):
        products = factors if sample_weight is None else factors * sample_weight
    return checked_weights("sample_weight times class_weight", products, rows, whole)


def checked_class_weight(class_weight: object) -> ClassWeight | None:
    """class_weight as None, "balanced" or a dictionary {int: float}, from any mapping and pandas' Series."""
    class_weight = plain(class_weight)
    if class_weight is None or (isinstance(class_weight, str) and class_weight == "balanced"):
        return class_weight     # type: ignore[return-value]
    if isinstance(class_weight, str) or not hasattr(class_weight, "items"):
        one_each = not isinstance(class_weight, str) and np.ndim(class_weight) == 1     # type: ignore[arg-type]
        came = " ".join(shown(class_weight).split())
        raise TypeError(f"class_weight is {came}, but must be 'balanced' or a dictionary {{class: weight}}"
                        + ("; pass dict(enumerate(class_weight))" if one_each else ""))
    weights: dict[int, float] = {}
    for label, weight in class_weight.items():
        if not (is_whole(label) or isinstance(label, np.bool_)):
            raise ValueError(f"class_weight names the class {label!r}, but classes are the numbers 0, 1, …")
        if int(label) in weights:
            raise ValueError(f"class_weight names the class {label!r} twice, but each has one weight")
        weights[int(label)] = number(f"class_weight[{label}]", weight, low=0)
    return weights


def class_factors(class_weight: ClassWeight, counts: Array) -> FloatArray:
    """The weight of each class: n / (classes * count) for "balanced", else from a dictionary {class: weight}."""
    if isinstance(class_weight, str):
        return np.divide(fsum(counts), np.count_nonzero(counts) * counts, out=np.zeros(len(counts)),
                         where=counts > 0)
    factors = np.ones(len(counts))
    for label, weight in class_weight.items():
        if not 0 <= label < len(counts):
            raise ValueError(f"class_weight names the class {label!r}, but classes are 0 … {len(counts) - 1}")
        factors[label] = weight
    return factors


def as_rows(engine: Engine, X: object, y: object, sample_weight: object = None,
            class_weight: ClassWeight | None = None, whole: bool = True, ranks: Ranks = ONE) -> Rows:
    """The engine's `Rows` of these arrays; without `whole` they are a part of the rows to learn from."""
    X = inputs(engine, X)
    values, labels = targets(engine, y, len(X))
    return Rows(engine, X, values, labels,
                weights(engine, values, labels, sample_weight, class_weight, whole, ranks))


def mean_loss(network: Network, rows: Rows) -> float:
    """The mean loss of a network over some Rows; a Python loss is asked once, for all of them."""
    loss = network._engine.loss
    if not callable(loss):
        return network._engine.evaluate(rows)
    X, values, labels, _ = rows.arrays
    outputs = network.predict(X)
    if values is None:
        values = np.zeros_like(outputs)
        values[np.arange(len(labels)), labels] = 1
    return called(loss, outputs, values.copy())[0]


def split(engine: Engine, X: object, y: object, sample_weight: object,
          fraction: float) -> list[tuple[Array, Array, Weights]]:
    """(X, y, sample_weight) to train on and the same to validate with: a random `fraction` of the rows, always the
    same for one seed."""
    fraction = number("validation_data", fraction, low=0, high=1, open_low=True)
    if y is None or isinstance(X, np.memmap):
        raise ValueError(f"validation_data is {fraction}, but a fraction can be held out of arrays in memory only; "
                         "pass the rows to validate with: (X, y)")
    X = inputs(engine, X)
    targets(engine, y, len(X))      # checked before the split, so that an error names the user's row
    y = real_array("y", y)
    held_out = max(1, round(fraction * len(X)))
    if held_out >= len(X):
        raise ValueError(f"validation_data is {fraction}, which leaves none of the {len(X)} rows to train on")
    order = random_order(len(X), engine.seed, VALIDATION)
    if sample_weight is not None:
        sample_weight = checked_weights("sample_weight", sample_weight, len(X))
    parts = np.sort(order[held_out:]), np.sort(order[:held_out])
    return [(X[part], y[part], None if sample_weight is None else sample_weight[part]) for part in parts]


def source(engine: Engine, X: Any, y: object, sample_weight: object, class_weight: ClassWeight | None,
           batch_size: int | None, shuffle: bool, steps_per_epoch: int | None = None, ranks: Ranks = ONE) -> Source:
    """Where a fit takes its rows from."""
    if y is None:
        return ranks.divided(engine, Batches(engine, X, batch_size, sample_weight, class_weight, steps_per_epoch), 0)
    if steps_per_epoch is not None:
        raise ValueError(f"steps_per_epoch is {steps_per_epoch}, but goes with an iterable of batches; of arrays an "
                         "epoch takes every row: leave it out")
    batch_size = 32 if batch_size is None else batch_size
    whole = ranks.size == 1
    if isinstance(X, np.memmap) and not fits(X, engine):
        X = check_inputs(X, engine.layer_sizes[0])
        values, labels = targets(engine, y, len(X))
        arrays = X, values, labels, weights(engine, values, labels, sample_weight, class_weight, whole, ranks)
        return ranks.divided(engine, Mapped(engine, arrays, batch_size, shuffle), batch_size)
    rows = as_rows(engine, X, y, sample_weight, class_weight, whole, ranks)
    return ranks.divided(engine, InMemory(engine, rows, batch_size, shuffle), batch_size)


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

    def epoch(self, trainer: Trainer, optimizer: Optimizer, number: int) -> float:
        """One pass; returns the mean loss, NaN where it is not finite."""
        return trainer.epoch(self.rows, self.batch, optimizer.rates(self.steps), number)


class Mapped(WholeArrays):
    """A memory-mapped X of another dtype or layout: its rows are read and converted some at a time."""

    gather = False              # rows come in the order in which they are read

    def __init__(self, engine: Engine, arrays: Arrays, batch: int, shuffle: bool) -> None:
        self.engine, self.arrays, self.shuffle, self.count = engine, arrays, shuffle, len(arrays[0])
        self.batch = min(batch, self.count)
        self.chunk = chunk_rows(engine, self.batch)

    def epoch(self, trainer: Trainer, optimizer: Optimizer, number: int) -> float:
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


def summed(values: Iterable[float]) -> float:
    """The correctly rounded sum; infinity where it overflows."""
    try:
        return fsum(values)
    except OverflowError:
        return inf


def mean_loss_of_arrays(network: Network, arrays: Arrays) -> float:
    """The mean loss of a network over the rows of arrays, some of which count; a memory-mapped X is read in parts."""
    engine = network._engine
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
    """Whether that is so for any part of arrays: a batch, or several small ones."""
    return any(overflows(engine, part) for part in parts_of_arrays(engine, arrays, max(batch, PART_ROWS)))


def read(engine: Engine, arrays: Arrays, order: Integers | None, first: int, last: int) -> Rows:
    """Rows first … last-1 of an order (None: as they stand) of arrays that kernels cannot read where they stand."""
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

    def __init__(self, engine: Engine, batches: Iterable[Any], batch_size: int | None, sample_weight: object,
                 class_weight: ClassWeight | None, steps: int | None) -> None:
        if not hasattr(batches, "__iter__") or hasattr(batches, "__array__"):
            advice = ("; a torch.utils.data.DataLoader(X, batch_size=32) is one"
                      if hasattr(batches, "__getitem__") and not hasattr(batches, "__array__") else "")
            raise TypeError(f"y is missing: without it X must be an iterable of batches (X, y), "
                            f"but is a {type(batches).__name__}{advice}")
        if batch_size is not None or sample_weight is not None:
            raise ValueError("batch_size and sample_weight go with arrays, but X is an iterable: it makes the batches, "
                             "and may yield (X, y, sample_weight)")
        if isinstance(class_weight, str):
            raise ValueError(f"class_weight is {class_weight!r}, but needs all labels at once, and X is an iterable of "
                             "batches; pass a dictionary {class: weight}")
        self.engine, self.batches, self.class_weight, self.steps = engine, batches, class_weight, steps
        self._going: Iterator[Any] = iter(())       # with `steps`: the batches that the last epoch left

    def of_epoch(self) -> Iterable[Any]:
        """The batches of an epoch. It is no generator: closing one that was left needs memory, which may be lacking."""
        if self.steps is None:
            return self.batches
        return takewhile(is_batch, map(self.following, range(self.steps)))

    def following(self, _: int) -> Any:
        """The batch after the last one, of the iterable's beginning after its end; END if it has none."""
        batch = next(self._going, END)
        if batch is END:
            self._going = iter(self.batches)
            batch = next(self._going, END)
        return batch

    def epoch(self, trainer: Trainer, optimizer: Optimizer, number: int) -> float:
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
            raise ValueError("X gave no batch for this epoch: an iterator can be read only once; pass something that "
                             "starts anew, such as a list or an object with __iter__")
        return trainer.finish()

    def mean_loss(self, network: Network) -> float:
        """The mean loss of the parameters as they are, over the last batch alone."""
        return mean_loss(network, self.rows) if self.rows is not None and self.rows.weight else 0.0

    def overflows(self) -> bool:
        """Whether the last batch is beyond the dtype."""
        return self.rows is not None and bool(self.rows.weight) and overflows(self.engine, self.rows)


def is_batch(batch: Any) -> bool:
    """Whether this is no END."""
    return batch is not END


class Source(Protocol):
    """Where the rows of a fit come from."""

    gather: bool                # whether their order is made by the Trainer
    rereads: bool               # whether `mean_loss` and `overflows` read all rows again

    def epoch(self, trainer: Trainer, optimizer: Optimizer, number: int) -> float:
        """One pass; returns the mean loss, NaN where it is not finite."""

    def mean_loss(self, network: Network) -> float:
        """The mean loss of the parameters as they are."""

    def overflows(self) -> bool:
        """Whether loss or gradient of the parameters as they are is beyond the dtype."""
