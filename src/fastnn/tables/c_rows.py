"""The rows that a header's self-test records. They are made up from the encoding: no row of a table gets into a file.

c_export.py is the only caller. Rows become text in C there, and the model's answers for them are recorded with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .encoding import DAY, Category, Date, Number
from .kinds import Column

if TYPE_CHECKING:
    from collections.abc import Callable

    from .recipe import Recipe

N_ROWS = 8
FARTHEST_SECOND = 2.0**62


def made_up_rows(recipe: Recipe) -> dict[str, Column]:
    """Rows with numbers from all bins, categories, texts that are none, and gaps."""
    return {encoded.name: Column(encoded.name, encoded.kind, MADE_UP[type(encoded)](encoded, column), "", reading)
            for column, (encoded, reading) in enumerate(zip(recipe.encoding.columns, recipe.readings.values(),
                                                            strict=True))}


def is_gap(row: int, column: int) -> bool:
    """Whether a made-up cell is a gap."""
    return (row + column) % N_ROWS == N_ROWS - 1


def place(row: int, column: int, n: int) -> int:
    """Which of n bins or categories a made-up cell is of: rows go over all of them, columns begin at another one."""
    return (row * max(n // N_ROWS, 1) + column) % n


def made_up_numbers(encoded: Number, column: int) -> Any:
    """Numbers within the bins, or around the median where there is none; NaN for a gap."""
    values = []
    for row in range(N_ROWS):
        edge = place(row, column, max(len(encoded.edges) - 1, 1))
        low, high = encoded.edges[edge:edge + 2] or (encoded.median, encoded.median + encoded.scale)
        values.append(np.nan if is_gap(row, column) else low + (high - low) * (row + 1) / (N_ROWS + 1))
    return np.array(values)


def made_up_texts(encoded: Category, column: int) -> Any:
    """Categories, and now and then a text that is none of them; None for a gap."""
    other = "another"
    while other in encoded.categories:
        other += "_"
    texts = [*encoded.categories, other]
    return [None if is_gap(row, column) else texts[place(row, column, len(texts))] for row in range(N_ROWS)]


def made_up_dates(encoded: Date, column: int) -> Any:
    """Dates within the bins of days, at all hours; NaT for a gap."""
    days = made_up_numbers(encoded.parts[0], column)
    hours = DAY // N_ROWS * np.arange(N_ROWS)
    seconds = np.clip(encoded.first + DAY * np.floor(np.nan_to_num(days)) + hours, -FARTHEST_SECOND, FARTHEST_SECOND)
    return np.where(np.isnan(days), np.datetime64("NaT"), seconds.astype(np.int64).astype("datetime64[s]"))


MADE_UP: dict[type, Callable[[Any, int], Any]] = {
    Number: made_up_numbers, Category: made_up_texts, Date: made_up_dates}
