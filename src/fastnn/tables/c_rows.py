"""The rows that a header's self-test records: some of a table, or rows that are made up from the encoding.

c_export.py is the only caller. A row is recorded as C gets it, so the expected answer is that of the model for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import shown
from .checks import checked_numbers, checked_texts, checked_times
from .columns import Column
from .encoding import DAY, LONGEST, Category, Date, Number
from .exports import gap_numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .columns import Reading
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


def recorded_rows(recipe: Recipe, rows: Mapping[str, Sequence[Any]]) -> dict[str, Column]:
    """At most eight of a table's rows, evenly spaced. ValueError where a column is missing or another is longer."""
    missing = [name for name in recipe.readings if name not in rows]
    if missing:
        raise ValueError(f"rows has no column {', '.join(map(shown, missing))}, which the model needs")
    counts = {name: len(rows[name]) for name in recipe.readings}
    n = min(counts.values())
    if not n or n != max(counts.values()):
        raise ValueError(f"rows has columns of {n} to {max(counts.values())} rows, but all must have as many, and one "
                         "at least")
    chosen = [index * (n - 1) // max(min(n, N_ROWS) - 1, 1) for index in range(min(n, N_ROWS))]
    return {name: Column(name, reading.kind, values_of(name, reading, [rows[name][row] for row in chosen]), "", reading)
            for name, reading in recipe.readings.items()}


def values_of(name: str, reading: Reading, values: Sequence[Any]) -> Any:
    """Some values of a column as the model reads them; what counts as a gap is one."""
    if reading.kind == "category":
        return [as_recorded(reading, text) for text in checked_texts(name, values)]
    if reading.kind == "number":
        numbers = checked_numbers(name, values)
        return np.where(np.isin(numbers, gap_numbers(reading)), np.nan, numbers)
    times = checked_times(name, np.array(values, "datetime64[s]"))
    return np.where(np.isin(times.astype(np.int64), gap_numbers(reading)), np.datetime64("NaT"), times)


def as_recorded(reading: Reading, text: str | None) -> str | None:
    """A text as it comes to a model by way of C: up to a NUL character, and no longer than it takes to be no
    category."""
    text = (text or "").partition("\0")[0][:LONGEST + 1]
    return None if reading.is_gap(text) else str(reading.value(text))
