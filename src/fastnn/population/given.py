"""What users pass to a population as rows, checked: inputs, targets, weights, and which rows each member learns from.

Arrays are shared by all members, or have an axis of members before the others. `Side` is a set of rows: those to learn
from, or those to validate with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import checked_weights, is_number, is_whole, number, real_array, sequence, shown, validation_rows
from ..core import PopulationRows, random_order
from ..training.rows import VALIDATION, inputs, takes_labels, targets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._types import Array, FloatArray, Integers
    from ..core import Engine, PopulationEngine

FOLDS = 2**64 - 2           # stands for an epoch: its order of rows deals them out, and no epoch has that number


class Side:
    """Rows of every member: arrays that are shared or one for each, and the numbers of those that a member has."""

    def __init__(self, engine: PopulationEngine, X: FloatArray, y: Array, values: FloatArray | None,
                 labels: Integers | None, weights: Array | None, chosen: list[Integers] | None) -> None:
        self.engine, self.X, self.y, self.weights, self.chosen = engine, X, y, weights, chosen
        self.values, self.labels = values, labels
        self.rows = PopulationRows(engine, X, values, labels, weights, chosen)

    def with_rows(self, chosen: list[Integers], weights: Array | None) -> Side:
        """The same arrays, of which each member has other rows."""
        return Side(self.engine, self.X, self.y, self.values, self.labels, weights, chosen)

    def of(self, member: int) -> tuple[Array, Array | None]:
        """(y, weights) of a member's rows."""
        y = self.y[member] if self.y.ndim > self.target_dimensions else self.y
        weights = self.weights[member] if self.weights is not None and self.weights.ndim == 2 else self.weights
        if self.chosen is not None:
            y, weights = y[self.chosen[member]], None if weights is None else weights[self.chosen[member]]
        return y, weights

    def arrays_of(self, member: int) -> list[Any]:
        """(X, targets, labels, weights) of a member's rows."""
        own = [None if array is None else array[member] if array.ndim > shared else array
               for array, shared in ((self.X, 2), (self.values, 2), (self.labels, 1), (self.weights, 1))]
        if self.chosen is None:
            return own
        return [None if array is None else array[self.chosen[member]] for array in own]

    @property
    def target_dimensions(self) -> int:
        """Dimensions that y has where all members share it."""
        own = (self.values is not None and self.values.ndim == 3) or (self.labels is not None and self.labels.ndim == 2)
        return self.y.ndim - own


def all_inputs(engine: Engine, X: Any, n: int) -> FloatArray:
    """X as the engine wants it: (rows, n_inputs), or (n, rows, n_inputs) with rows of each member's own."""
    array = real_array("X", X)
    if array.ndim != 3:
        return inputs(engine, array, given=X)
    if len(array) != n:
        raise ValueError(f"X has {len(array)} sets of rows, but there are {n} members: pass (rows, inputs) for all, or "
                         f"({n}, rows, inputs)")
    try:
        return inputs(engine, array.reshape(-1, array.shape[2])).reshape(array.shape)
    except ValueError:
        for_members(lambda member: inputs(engine, array[member]), n)
        raise


def all_targets(engine: Engine, y: Any, n: int, X: FloatArray) -> tuple[Array, FloatArray | None, Integers | None]:
    """(y as an array, targets, labels), shared or for each member; one of the last two is None."""
    array = real_array("y", y)
    rows, outputs = X.shape[-2], engine.layer_sizes[-1]
    own = array.shape[:2] == (n, rows) and (array.ndim == 3 or outputs == 1 or takes_labels(engine))
    if not own and array.ndim > 2:
        raise ValueError(f"y has shape {array.shape}, but there are {n} members and {rows} rows in X: pass y of shape "
                         f"({rows},) or ({rows}, {outputs}) for all, or ({n}, {rows}, {outputs})")
    if not own or (X.ndim == 2 and array.shape == (rows, outputs)):
        return array, *targets(engine, y, rows)
    try:
        values, labels = targets(engine, array.reshape(n * rows, *array.shape[2:]), n * rows)
    except (TypeError, ValueError):
        for_members(lambda member: targets(engine, array[member], rows), n)
        raise
    return (array, None if values is None else values.reshape(n, rows, outputs),
            None if labels is None else labels.reshape(n, rows))


def for_members(check: Callable[[int], object], n: int) -> None:
    """Checks what each member has; the error names the first one for which it fails."""
    for member in range(n):
        try:
            check(member)
        except (TypeError, ValueError) as error:
            argument, rest = str(error).split(" ", 1)
            raise type(error)(f"{argument} of member {member} {rest}") from None


def all_weights(name: str, weights: Any, n: int, rows: int) -> Array | None:
    """sample_weight as float64, (rows,) for all members or (n, rows)."""
    if weights is None:
        return None
    array = real_array(name, weights)
    if array.ndim != 2:
        return checked_weights(name, weights, rows)
    if len(array) != n:
        raise ValueError(f"{name} has {len(array)} rows, but there are {n} members: pass ({rows},) for all, or "
                         f"({n}, {rows})")
    return np.array([checked_weights(f"{name} of member {member}", own, rows) for member, own in enumerate(array)])


def learned_rows(rows: Any, n: int, count: int) -> tuple[
        list[Integers] | None, Array | None, Callable[[], list[Integers]] | None]:
    """(numbers of the rows that each member learns from, weights (n, count), function that gives the numbers of those
    that it leaves out): what is not said is None."""
    if rows is None:
        return None, None, None
    if is_whole(rows):
        return by_folds(dealt(int(rows), count), n)
    array = rectangular(rows)
    if array is not None and array.shape == (count,) and array.dtype.kind in "iu":
        return by_folds(array.astype(np.intp), n)
    if array is not None and array.shape == (n, count) and array.dtype.kind == "f":
        weights = all_weights("rows", array, n, count)
        assert weights is not None
        return None, weights, lambda: [np.flatnonzero(own == 0) for own in weights]
    if array is not None and array.shape == (n, count) and array.dtype.kind in "iu" and array.max() <= 1:
        raise ValueError("rows holds 0 and 1 for every row of X, as whole numbers: pass a mask as rows.astype(bool), "
                         "and weights as rows.astype(float)")
    listed = sequence("rows", rows, f"be {n} arrays of numbers of rows, one for each member")
    if len(listed) != n:
        raise ValueError(f"rows holds {len(listed)} entries, but there are {n} members, and {count} rows in X: pass "
                         f"numbers of rows for each member, weights of shape ({n}, {count}), a number of folds, or the "
                         "fold of each row")
    pairs = [own if is_pair(own) else (own, None) for own in listed]
    chosen = [row_numbers(f"rows of member {member}", own, count) for member, (own, _) in enumerate(pairs)]
    others = [None if other is None else row_numbers(f"rows that member {member} leaves out", other, count)
              for member, (_, other) in enumerate(pairs)]
    return chosen, None, lambda: [others_than(own, count) if other is None else other
                                  for own, other in zip(chosen, others, strict=True)]


def others_than(numbers: Integers, count: int) -> Integers:
    """The numbers of all other rows."""
    left = np.ones(count, bool)
    left[numbers] = False
    return np.flatnonzero(left)


def rectangular(rows: Any) -> Array | None:
    """An array of rows, where they make one."""
    try:
        array = np.asarray(rows)
    except ValueError:
        return None
    return array if array.dtype.kind in "biuf" else None


def is_pair(own: Any) -> bool:
    """Whether this is (rows to learn from, rows to leave out), as scikit-learn's splitters give."""
    return isinstance(own, tuple) and len(own) == 2 and all(np.ndim(each) == 1 for each in own)


def row_numbers(name: str, numbers: Any, count: int) -> Integers:
    """Numbers of rows, or a mask of them, as an array of its own."""
    array = real_array(name, numbers)
    if not array.size:
        raise ValueError(f"{name} is empty, but a member needs at least one row")
    if array.dtype.kind == "b" and array.shape == (count,):
        array = np.flatnonzero(array)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TypeError(f"{name} is {shown(numbers)}, but must be a 1-D array of numbers of rows, 0 to {count - 1}, or "
                        f"a mask of {count}")
    if not len(array):
        raise ValueError(f"{name} is empty, but a member needs at least one row")
    numbers = np.array(array, np.intp)
    if numbers.min() < 0 or numbers.max() >= count:
        wrong = numbers.min() if numbers.min() < 0 else numbers.max()
        raise ValueError(f"{name} holds {wrong}, but X has rows 0 to {count - 1}")
    return numbers


def dealt(folds: int, count: int) -> Integers:
    """The fold of each row: all rows dealt out at random, always in the same way."""
    if not 2 <= folds <= count:
        raise ValueError(f"rows is {folds}, but must be a number of folds from 2 to the {count} rows of X")
    numbers = np.empty(count, np.intp)
    numbers[random_order(count, 0, FOLDS)] = np.arange(count) % folds
    return numbers


def by_folds(fold_of: Integers, n: int) -> tuple[list[Integers], None, Callable[[], list[Integers]]]:
    """Member i learns from all rows but those of fold i; after the last fold the first one comes again."""
    folds = np.unique(fold_of)
    if len(folds) < 2:
        raise ValueError(f"rows puts every row into fold {folds[0]}, which leaves no row to learn from: use two folds "
                         "or more")
    out = [np.flatnonzero(fold_of == fold) for fold in folds]
    others = [np.flatnonzero(fold_of != fold) for fold in folds]
    places = [member % len(folds) for member in range(n)]
    return [others[place] for place in places], None, lambda: [out[place] for place in places]


def sides(population: PopulationEngine, engine: Engine, seeds: Sequence[int], X: Any, y: Any, rows: Any,
          sample_weight: Any, validation_data: Any) -> tuple[Side, Side | None]:
    """The rows to learn from and those to validate with, or None."""
    n = population.n
    X = all_inputs(engine, X, n)
    y, values, labels = all_targets(engine, y, n, X)
    weights = all_weights("sample_weight", sample_weight, n, X.shape[-2])
    chosen, row_weights, rest = learned_rows(rows, n, X.shape[-2])
    everything = Side(population, X, y, values, labels, weights, None)
    if row_weights is not None:
        weights = row_weights if weights is None else row_weights * weights
    held_out: list[Integers] | None = None
    if isinstance(validation_data, str):
        held_out = left_out(validation_data, rest)
    elif is_number(validation_data):
        chosen, held_out = divided(validation_data, chosen, n, X.shape[-2], seeds)
    if chosen is not None or row_weights is not None:
        learned = Side(population, X, y, values, labels, weights, chosen)
    else:
        learned = everything
    check_counts(learned, "sample_weight")
    if held_out is None:
        return learned, None if validation_data is None else validation_side(population, engine, validation_data)
    # Rows that a member leaves out have weight 0 for it; those of a fraction have the weights that its network has.
    validated = everything.with_rows(held_out, everything.weights if isinstance(validation_data, str) else weights)
    check_counts(validated, "validation_data: sample_weight")
    return learned, validated


def check_counts(side: Side, name: str) -> None:
    """Refuses rows of which none counts."""
    for member in np.flatnonzero(side.rows.weights_of == 0):
        raise ValueError(f"{name} is zero for every row of member {member}, but at least one row needs a weight above "
                         "0")


def left_out(word: str, rest: Callable[[], list[Integers]] | None) -> list[Integers]:
    """The rows that each member leaves out."""
    if word != "rest":
        raise ValueError(f"validation_data is {word!r}, but must be 'rest' (the rows that a member leaves out), "
                         "(X, y), a fraction, or None")
    if rest is None:
        raise ValueError("validation_data is 'rest', but every member learns from all rows: pass rows=, such as a "
                         "number of folds")
    numbers = rest()
    for member, own in enumerate(numbers):
        if not len(own):
            raise ValueError(f"validation_data is 'rest', but member {member} leaves no row out")
    return numbers


def divided(fraction: Any, chosen: list[Integers] | None, n: int, count: int,
            seeds: Sequence[int]) -> tuple[list[Integers], list[Integers]]:
    """Each member's rows without a random fraction of them, and that fraction: those that its network alone holds
    out."""
    fraction = number("validation_data", fraction, low=0, high=1, open_low=True)
    learned, held_out = [], []
    for member in range(n):
        own = np.arange(count) if chosen is None else chosen[member]
        many = max(1, round(fraction * len(own)))
        if many >= len(own):
            raise ValueError(f"validation_data is {fraction}, which leaves none of the {len(own)} rows of member "
                             f"{member} to train on")
        order = random_order(len(own), seeds[member], VALIDATION)
        learned.append(own[np.sort(order[many:])])
        held_out.append(own[np.sort(order[:many])])
    return learned, held_out


def validation_side(population: PopulationEngine, engine: Engine, validation_data: Any) -> Side:
    """(X, y) or (X, y, sample_weight), shared or for each member."""
    X, y, sample_weight = validation_rows(validation_data, ", 'rest', or a fraction of the rows")
    try:
        X = all_inputs(engine, X, population.n)
        y, values, labels = all_targets(engine, y, population.n, X)
        weights = all_weights("sample_weight", sample_weight, population.n, X.shape[-2])
        return Side(population, X, y, values, labels, weights, None)
    except (TypeError, ValueError) as error:
        raise type(error)(f"validation_data: {error}") from None
