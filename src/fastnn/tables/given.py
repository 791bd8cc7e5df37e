"""What users pass to a table's model: a table in any of its forms, a target beside it, lists of texts.

Each function returns it as the model wants it, or raises one sentence. Nothing is found out about columns here.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import sequence, shown
from .cells import is_missing
from .frames import table_from
from .reading import Table, read_table

if TYPE_CHECKING:
    from collections.abc import Collection

Y = "y"                 # the name of a target that is passed beside the table


def table_of(X: Any, expected: Collection[str] = ()) -> Table:
    """What a user passes as a table."""
    if isinstance(X, Table):
        return X
    return read_table(X, expected=expected) if isinstance(X, str | os.PathLike) else table_from(X)


def table_and_target(X: Any, y: Any) -> tuple[Table, str]:
    """A table that has the target as a column, and that column's name. y is the name, or holds one value a row."""
    table = table_of(X)
    if isinstance(y, str):
        return table, y
    if y is None:
        raise TypeError("y is None, but must be the name of the column to learn, or one value a row")
    values = np.asarray(y)
    if values.ndim == 2 and values.shape[1] == 1:
        y = values[:, 0]
    elif values.ndim != 1:
        raise ValueError(f"y has shape {values.shape}, but must hold one value a row")
    goal = table_from({Y: y})
    if len(goal) != len(table):
        raise ValueError(f"y has {len(goal)} rows, but X has {len(table)}")
    name = next(name for name in (Y, *map("y{}".format, range(len(table.cells) + 1))) if name not in table.cells)
    return replace(table, cells={**table.cells, name: goal.cells[Y]}), name


def holds_texts(values: Any) -> bool:
    """Whether these are texts, and perhaps gaps."""
    array = np.asarray(values)
    known = [value for value in array.ravel().tolist() if not is_missing(value)] if array.dtype.kind == "O" else []
    return array.dtype.kind in "UST" or (len(known) > 0 and all(isinstance(value, str) for value in known))


def texts(name: str, values: Any) -> tuple[str, ...]:
    """A sequence of texts; a single one is a mistake, as it would be taken letter by letter."""
    checked = sequence(name, values, "be a sequence of texts", "; a single text belongs in a list")
    wrong = [value for value in checked if not isinstance(value, str)]
    if wrong:
        raise TypeError(f"{name} holds {shown(wrong[0])}, but must hold texts")
    return checked
