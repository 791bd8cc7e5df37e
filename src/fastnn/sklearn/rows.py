"""Rows as the estimators take them: targets, weights, rows to validate with; sparse matrices a batch at a time.

Functions here check or convert what users pass, and know no estimator.
"""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.utils import check_array

from .._checks import checked_weights, validation_rows
from ..core import random_order
from ..scaling import MOST_DEVIATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._types import Array, Weights
    from ..network import Network

LARGEST_INTEGER = 2**24     # float32 holds every integer up to this


class ValidationRows(NamedTuple):
    """Rows to validate with, as they are passed, and the names of their targets and weights in errors."""

    X: Any
    y: Any
    sample_weight: Any
    y_name: str
    weight_name: str


class Rows(NamedTuple):
    """Rows that are checked, with targets as the network takes them: numbers of classes, labels or numbers."""

    X: Any                  # array or sparse matrix (n, n_features)
    codes: Array            # (n,) or (n, n_outputs)
    weight: Weights         # (n,) or None

    def part(self, rows: Any) -> Rows:
        """Those that an index chooses."""
        return Rows(self.X[rows], self.codes[rows], None if self.weight is None else self.weight[rows])


class SparseBatches:
    """The batches of an epoch of sparse rows, each made dense when it is needed: the same as those of dense rows."""

    def __init__(self, network: Network, rows: Rows, batch: int, shuffle: bool) -> None:
        self.network, self.rows = network, Rows(rows.X.tocsr(), rows.codes, rows.weight)
        self.batch, self.shuffle = batch, shuffle

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        count = len(self.rows.codes)
        order = np.arange(count)
        if self.shuffle:
            order = random_order(count, self.network.seed, self.network.epochs_trained)
        for first in range(0, count, self.batch):
            X, codes, weight = self.rows.part(order[first:first + self.batch])
            yield X.toarray(), codes, *(() if weight is None else (weight,))


def rows_to_validate(validation_data: Any, X_val: Any, y_val: Any, sample_weight_val: Any) -> ValidationRows | None:
    """The rows to validate with, in one of the two ways in which `fit` takes them."""
    if validation_data is None:
        given = {"X_val": X_val, "y_val": y_val}
        lacking = [name for name, value in given.items() if value is None]
        if not lacking:
            return ValidationRows(X_val, y_val, sample_weight_val, "y_val", "sample_weight_val")
        if len(lacking) == 1 or sample_weight_val is not None:
            raise ValueError(f"{' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} missing, but rows to "
                             "validate with are X_val and y_val, and with weights sample_weight_val")
        return None
    if not (X_val is None and y_val is None and sample_weight_val is None):
        raise ValueError("validation_data is given, and X_val, y_val or sample_weight_val too, but these are two ways "
                         "to say the same; pass one of them")
    X, y, sample_weight = validation_rows(validation_data)
    return ValidationRows(X, y, sample_weight, "validation_data's y", "validation_data's sample_weight")


def check_columns(name: str, y: Array, expected: tuple[int, ...], whose: str) -> None:
    """Refuses targets (n,) or (n, columns) of other columns than expected; `whose` says who expects them."""
    if y.shape[1:] != expected:
        got, known = (f"{shape[0]} columns" if shape else "one value a row" for shape in (y.shape[1:], expected))
        raise ValueError(f"{name} has {got}, but {whose.format(known)}")


def row_weights(name: str, values: Any, rows: int) -> Weights:
    """Weights (n,) in float64, or None, from what scikit-learn takes for them: also one number, or objects."""
    if isinstance(values, Real):
        values = np.full(rows, float(values))
    elif values is not None and not (isinstance(values, np.ndarray) and values.dtype.kind in "biuf"):
        values = check_array(values, dtype=np.float64, ensure_2d=False, ensure_all_finite=False, input_name=name)
    return checked_weights(name, values, rows)


def fits_single(columns: Any) -> bool:
    """Whether float32 keeps the rows of an array or a sparse matrix apart, and holds their numbers."""
    if np.can_cast(columns.dtype, np.float32):
        return True
    low, high = (np.asarray(dense(extreme(axis=0)), np.float64) for extreme in (columns.min, columns.max))
    size = np.maximum(np.abs(low), np.abs(high))
    if columns.dtype.kind in "iu":
        return bool((size <= LARGEST_INTEGER).all())
    limits = np.finfo(np.float32)
    lost = (size > MOST_DEVIATIONS * (high - low)) & (high > low)
    return not (lost | (size > limits.max) | ((size < limits.tiny) & (size > 0))).any()


def without_objects(array: Any) -> Any:
    """An array in float64 instead of objects, which scikit-learn makes of a data frame's categories."""
    return array.astype(np.float64) if array.dtype == object else array


def dense(X: Any) -> Array:
    return X.toarray() if hasattr(X, "toarray") else X
