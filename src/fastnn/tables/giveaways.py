"""Columns of a table that say the target again, each alone or two of them together: nothing is to be learned from them.

Whoever trains from a table calls this module, after `columns.py` has read the columns.
"""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .kinds import Column

Floats = NDArray[np.float64]

MOST = 200          # columns that are tried in pairs: the first ones
SAMPLE = 64         # rows in which each pair is tried, before the others are
FEW = 20            # so few different values of a target may be the sum of two others by nature, or by chance
CLOSE = 1e-9        # the error of a sum, relative to the largest of its numbers


def gives_away(column: Column, target: Column) -> bool:
    """Whether a column says the target again.

    It does where each of its values stands for one value of the target and the other way round, and each comes twice
    on average; or where both are numbers with a correlation of 1, to 1e-9. Rows without a number do not count in the
    latter.
    """
    ours, theirs = plain_values(column), plain_values(target)
    different = len(set(ours))
    if 2 <= different == len(set(theirs)) <= len(theirs) / 2 and len(set(zip(ours, theirs, strict=True))) == different:
        return True
    return column.kind == target.kind == "number" and correlated(
        cast(Floats, column.values), cast(Floats, target.values))


def plain_values(column: Column) -> list[Any]:
    """Values to compare; all gaps are equal."""
    if isinstance(column.values, list):
        return column.values
    if column.values.dtype.kind == "M":
        return column.values.view(np.int64).tolist()
    return [None if value != value else value for value in column.values.tolist()]


def correlated(x: Floats, y: Floats) -> bool:
    """Whether one is the other times a factor, plus a number."""
    both = ~(np.isnan(x) | np.isnan(y))
    x, y = x[both], y[both]
    if len(x) < 3:
        return False
    x, y = x - x.mean(), y - y.mean()
    large = np.abs(x).max(), np.abs(y).max()
    if 0 in large:
        return False
    x, y = x / large[0], y / large[1]
    return bool(abs(x @ y) >= (1 - 1e-9) * np.sqrt((x @ x) * (y @ y)))


def adds_up(columns: Mapping[str, Column], goal: Column) -> list[str] | None:
    """Two columns of numbers that say the target together: it is their sum, difference or product in each row.

    Rows in which one of the three is a gap do not count; the others must hold more than 20 different targets. The first
    200 columns of numbers are tried. None where there are no such two.
    """
    if goal.kind != "number":
        return None
    y = cast(Floats, goal.values)
    known = np.flatnonzero(~np.isnan(y))
    found = {name: cast(Floats, column.values) for name, column in columns.items() if column.kind == "number"}
    found = {name: x for name, x in list(found.items())[:MOST] if len(x) and np.fmax.reduce(x) > np.fmin.reduce(x)}
    if len(known) <= FEW or len(found) < 2:
        return None
    rows = known[np.linspace(0, len(known) - 1, SAMPLE).astype(np.intp)]
    names, sample = list(found), np.array([x[rows] for x in found.values()])
    for first, name in enumerate(names[:-1]):
        for second in np.flatnonzero(combines(sample[first], sample[first + 1:], y[rows]).any(axis=0)).tolist():
            other = names[first + 1 + second]
            both = known[~np.isnan(found[name][known] + found[other][known])]
            if len(np.unique(y[both])) > FEW and combines(found[name][both], found[other][both], y[both]).any():
                return [name, other]
    return None


def combines(a: Floats, b: Floats, y: Floats) -> NDArray[np.bool_]:
    """Whether y is a + b, a - b, b - a and a * b in all rows, (4, ...). Rows with a gap do not count."""
    largest = np.fmax(np.abs(y), np.fmax(np.abs(a), np.abs(b)))
    product = a * b
    wrong = [np.abs(y - value) > CLOSE * largest for value in (a + b, a - b, b - a)]       # false for NaN
    wrong.append(np.abs(y - product) > CLOSE * np.fmax(np.abs(y), np.abs(product)))
    return np.logical_not(np.any(wrong, axis=-1))
