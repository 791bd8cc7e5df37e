"""Checks of what `encoding.py` is given: values of columns, indices of rows, and what a model file says of an encoding.

Each check returns the value as the encoding wants it, or raises one sentence. Nothing here learns or encodes.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import shown

Floats = NDArray[np.float64]
Times = NDArray[np.datetime64]
Plain = dict[str, Any]      # what JSON holds

# Checks of what comes from the rest of the library: a mistake there is a TypeError or a ValueError


def checked_numbers(name: str, values: ArrayLike) -> Floats:
    """Numbers (n,)."""
    numbers = np.asarray(values, np.float64)
    if numbers.ndim != 1:
        raise ValueError(f"column {shown(name)} has shape {numbers.shape}, but must hold one number a row")
    return numbers


def checked_texts(name: str, values: Sequence[str | None]) -> Sequence[str | None]:
    """Texts, and None for gaps."""
    wrong = {kind for kind in set(map(type, values)) if not issubclass(kind, str | None)}
    if wrong:
        value = next(value for value in values if type(value) in wrong)
        raise TypeError(f"column {shown(name)} holds {shown(value)}, but categories must be text, and None for a gap")
    return values


def checked_times(name: str, values: Times) -> Times:
    """Times in seconds (n,)."""
    times = np.asarray(values)
    if times.ndim != 1 or times.dtype.kind != "M":
        raise TypeError(f"column {shown(name)} has shape {times.shape} and dtype {times.dtype}, but must hold one "
                        "datetime64 a row")
    return times.astype("datetime64[s]")


def checked_rows(rows: ArrayLike, n: int) -> NDArray[np.intp]:
    """Indices (m,) of some of n rows."""
    indices = np.asarray(rows)
    if indices.ndim != 1 or not indices.size or indices.dtype.kind not in "iu":
        raise ValueError(f"rows has shape {indices.shape} and dtype {indices.dtype}, but must hold the index of one "
                         "row at least that trains")
    if indices.min() < 0 or indices.max() >= n:
        raise ValueError(f"rows holds indices from {indices.min()} to {indices.max()}, but the table has {n} rows")
    return indices.astype(np.intp)


# Checks of what a model file says: each mistake is a ValueError


def checked_fields(plain: object, *fields: str) -> Plain:
    """A dictionary of these fields and no others."""
    if not isinstance(plain, dict) or plain.keys() != set(fields):
        raise ValueError(f"a part of the encoding is {shown(plain)}, but must have the fields {', '.join(fields)}")
    return plain


def named(plain: object, kind: str, *fields: str) -> tuple[str, Plain]:
    """A column's name, and its fields: those of its kind."""
    found = checked_fields(plain, "kind", "name", *fields)
    if found["kind"] != kind:
        raise ValueError(f"a part of the encoding is of kind {shown(found['kind'])}, but must be of kind {kind!r}")
    if not isinstance(found["name"], str):
        raise ValueError(f"the name of a column of the encoding is {shown(found['name'])}, but must be text")
    return found["name"], found


def require(fine: bool, name: str, part: str, came: object, expected: str) -> None:
    """Refuses a part of a column's encoding that is not fine."""
    if not fine:
        raise ValueError(f"the encoding of column {shown(name)} has {part} {shown(came)}, but must have {expected}")


def checked_flag(name: str, fields: Plain, part: str) -> bool:
    """A field that is True or False."""
    require(isinstance(fields[part], bool), name, part, fields[part], "True or False")
    return bool(fields[part])


def is_float(value: object, low: float, high: float) -> bool:
    """Whether this is a float from `low` to `high`. NaN is none; nor is an integer, which JSON tells from a float."""
    return type(value) is float and low <= value <= high


def rises(values: Sequence[Any]) -> bool:
    """Whether each value lies above the one before."""
    return all(low < high for low, high in pairwise(values))
