"""Columns of numbers, categories and dates -> the matrix that a network learns from.

An `Encoding` is learned from the rows that train, and from no other row. It is made of plain values: it is saved in a
model file as JSON, in clear text, and what is read back is checked. It has the same bits on every machine: all
arithmetic is by element, quantiles come from sorting, and sums from math.fsum.

This module reads no file and no text of a cell. What kind a column is of is decided in `columns.py`. Whoever trains or
predicts from a table calls this module.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import choose, shown
from .checks import (
    Floats,
    Plain,
    Times,
    checked_fields,
    checked_flag,
    checked_numbers,
    checked_rows,
    checked_texts,
    checked_times,
    is_float,
    named,
    require,
    rises,
)
from .kinds import Column

LARGEST = 1e100         # numbers beyond it count as it: no difference or square of two overflows
SMALLEST = 1e-100       # a scale below it counts as 0
SOFT = 3.0              # scaled numbers stay within ±3
FARTHEST = 1e9          # scaled numbers beyond it are SOFT anyway
BINS = 16               # of a column of numbers, at most
MOST_BINS = 4096        # of all columns of numbers together
MOST_CATEGORIES = 64    # of a column that have a feature of their own
FEWEST_ROWS = 2         # that a category needs for a feature of its own
LONGEST = 1000          # characters of such a category: the recipe must stay small
BLOCK = 2048            # rows that are encoded at a time: they stay in the processor's cache
DAY = 86_400            # seconds
CALENDAR = ("year", "month", "weekday", "hour")


@dataclass(frozen=True)
class Number:
    """A column of numbers: each becomes one scaled number, an indicator of gaps, and up to 16 bins.

    scaled = z / sqrt(1 + (z / 3)²) with z = (x - median) / scale: within ±3 for any x.
    gap = 1 or 0, only where training rows had gaps. A gap counts as the median everywhere else.
    bin = (x - low) / (high - low), but 0 below and 1 above the bin (piecewise-linear encoding: Gorishniy, Rubachev,
    Babenko, "On Embeddings for Numerical Features in Tabular Deep Learning", 2022).
    """

    kind: ClassVar[Literal["number"]] = "number"
    name: str
    median: float
    scale: float                # the interquartile range; the standard deviation where that is 0; 1 where both are
    gaps: bool                  # whether training rows had any
    edges: tuple[float, ...]    # of the bins, rising: one more than bins, or none

    @classmethod
    def of(cls, name: str, values: ArrayLike, bins: int = BINS) -> "Number":
        """The encoding that the values of the rows that train give; NaN is a gap."""
        x = checked_numbers(name, values)
        known = np.sort(bounded(x[~np.isnan(x)]))
        gaps = len(known) < len(x)
        if not len(known):
            return cls(name, 0.0, 1.0, gaps, ())
        edges = bin_edges(known, bins) if bins else ()
        return cls(name, quartile(known, 2), spread(known), gaps, edges if len(edges) > 1 else ())

    def names(self) -> list[str]:
        """The names of the features."""
        return [self.name, *([f"{self.name} is a gap"] if self.gaps else []),
                *(f"{self.name} from {short(low)} to {short(high)}" for low, high in pairwise(self.edges))]

    def encode(self, out: NDArray[np.floating], values: ArrayLike) -> None:
        """Writes the features of each value to a row of `out`."""
        x = checked_numbers(self.name, values)
        gap = np.isnan(x)
        x = bounded(np.where(gap, self.median, x))
        z = np.clip((x - self.median) / self.scale, -FARTHEST, FARTHEST)
        out[:, 0] = z / np.sqrt(1 + np.square(z / SOFT))
        if self.gaps:
            out[:, 1] = gap
        if self.edges:
            edges = np.array(self.edges)
            with np.errstate(over="ignore", under="ignore"):        # of numbers far from a narrow bin
                out[:, 1 + self.gaps:] = np.clip((x[:, None] - edges[:-1]) / np.diff(edges), 0, 1)

    def as_metadata(self) -> Plain:
        return {"kind": self.kind, "name": self.name, "median": self.median, "scale": self.scale, "gaps": self.gaps,
                "edges": list(self.edges)}

    @classmethod
    def from_metadata(cls, plain: object) -> "Number":
        name, fields = named(plain, cls.kind, "median", "scale", "gaps", "edges")
        for part, low, high in (("median", -LARGEST, LARGEST), ("scale", SMALLEST, 2 * LARGEST)):
            require(is_float(fields[part], low, high), name, part, fields[part], f"a float from {low:g} to {high:g}")
        edges = fields["edges"]
        require(isinstance(edges, list) and len(edges) <= BINS + 1 and len(edges) != 1
                and all(is_float(edge, -LARGEST, LARGEST) for edge in edges) and rises(edges),
                name, "edges", edges, f"no float, or 2 to {BINS + 1} that rise and are within ±{LARGEST:g}")
        return cls(name, fields["median"], fields["scale"], checked_flag(name, fields, "gaps"), tuple(edges))


@dataclass(frozen=True)
class Category:
    """A column of categories: each frequent one has a feature, which is 1 in its rows and 0 in others.

    These are the 64 most frequent ones. A category in a single row is not among them: a network would learn that row
    by heart. All others are "other", which has a feature if training rows had any; so a network learns what to expect
    from a category that it does not know. Without that feature a category never seen is 0 everywhere.
    A gap is a category of its own if training rows had gaps; without, it is 0 everywhere.
    """

    kind: ClassVar[Literal["category"]] = "category"
    name: str
    categories: tuple[str, ...]     # with a feature of their own, sorted by text
    other: bool                     # whether training rows had others
    gaps: bool                      # whether training rows had any

    @classmethod
    def of(cls, name: str, values: Sequence[str | None]) -> "Category":
        """The encoding that the values of the rows that train give; None is a gap."""
        rows = Counter(checked_texts(name, values))
        gaps = rows.pop(None, 0) > 0
        counts = {str(text): count for text, count in rows.items() if text is not None}
        frequent = [text for text in counts if counts[text] >= FEWEST_ROWS and len(text) <= LONGEST]
        frequent = sorted(frequent, key=lambda text: (-counts[text], text))[:MOST_CATEGORIES]
        return cls(name, tuple(sorted(frequent)), len(frequent) < len(counts), gaps)

    def names(self) -> list[str]:
        """The names of the features."""
        return [*(f"{self.name} is {text!r}" for text in self.categories),
                *([f"{self.name} is another"] if self.other else []), *([f"{self.name} is a gap"] if self.gaps else [])]

    def encode(self, out: NDArray[np.floating], values: Sequence[str | None]) -> None:
        """Writes the features of each value to a row of `out`."""
        features: dict[str | None, int] = {text: feature for feature, text in enumerate(self.categories)}
        unseen = len(self.categories) if self.other else -1
        features[None] = len(self.categories) + self.other if self.gaps else -1
        found = np.array([features.get(value, unseen) for value in checked_texts(self.name, values)], np.intp)
        rows = np.flatnonzero(found >= 0)
        out[...] = 0
        out[rows, found[rows]] = 1

    def as_metadata(self) -> Plain:
        return {"kind": self.kind, "name": self.name, "categories": list(self.categories), "other": self.other,
                "gaps": self.gaps}

    @classmethod
    def from_metadata(cls, plain: object) -> "Category":
        name, fields = named(plain, cls.kind, "categories", "other", "gaps")
        texts = fields["categories"]
        require(isinstance(texts, list) and len(texts) <= MOST_CATEGORIES
                and all(isinstance(text, str) and len(text) <= LONGEST for text in texts) and rises(texts),
                name, "categories", texts, f"{MOST_CATEGORIES} different texts at most, sorted")
        other, gaps = checked_flag(name, fields, "other"), checked_flag(name, fields, "gaps")
        require(bool(texts) or other or gaps, name, "categories", texts, "some text where there is nothing else")
        return cls(name, tuple(texts), other, gaps)


@dataclass(frozen=True)
class Date:
    """A column of dates: days since the first one, and year, month, weekday (Monday is 0) and hour as numbers.

    What is the same in all training rows is left out, such as the hour where no date has a time: a network could not
    learn from it. The days are always there, and have the only indicator of gaps.
    """

    kind: ClassVar[Literal["date"]] = "date"
    name: str
    first: int                      # the first date that trains, in seconds since 1970
    parts: tuple[Number, ...]       # "days", and those of `CALENDAR` that differ

    @classmethod
    def of(cls, name: str, values: Times) -> "Date":
        """The encoding that the values of the rows that train give; NaT is a gap."""
        times = checked_times(name, values)
        known = times[~np.isnat(times)]
        first = int(known.astype(np.int64).min()) if len(known) else 0
        learned = [Number.of("days", days_since(first, times))]
        learned += [Number.of(part, calendar(part, known)) for part in CALENDAR]
        return cls(name, first, tuple(part for part in learned if part.edges or part.name == "days"))

    def names(self) -> list[str]:
        """The names of the features."""
        return [f"{self.name} {name}" for part in self.parts for name in part.names()]

    def encode(self, out: NDArray[np.floating], values: Times) -> None:
        """Writes the features of each value to a row of `out`."""
        times, start = checked_times(self.name, values), 0
        for part in self.parts:
            stop = start + len(part.names())
            numbers = days_since(self.first, times) if part.name == "days" else calendar(part.name, times)
            part.encode(out[:, start:stop], numbers)
            start = stop

    def as_metadata(self) -> Plain:
        return {"kind": self.kind, "name": self.name, "first": self.first,
                "parts": [part.as_metadata() for part in self.parts]}

    @classmethod
    def from_metadata(cls, plain: object) -> "Date":
        name, fields = named(plain, cls.kind, "first", "parts")
        first, parts = fields["first"], fields["parts"]
        require(type(first) is int and abs(first) < 2**63, name, "first", first, "seconds since 1970")
        require(isinstance(parts, list), name, "parts", parts, "a list")
        numbers = tuple(Number.from_metadata(part) for part in parts)
        known = [part.name for part in numbers]
        require(known == ["days", *(part for part in CALENDAR if part in known)], name, "parts", known,
                f"'days' and then some of {', '.join(CALENDAR)}")
        for part in numbers[1:]:
            require(bool(part.edges) and not part.gaps, name, part.name, part, "numbers that differ, without gaps")
        return cls(name, first, numbers)


Encoded = Number | Category | Date
BY_KIND: dict[str, type[Encoded]] = {"number": Number, "category": Category, "date": Date}


@dataclass(frozen=True)
class Encoding:
    """How each column of a table is encoded; their features stand side by side, in the order of the columns."""

    columns: tuple[Encoded, ...]

    @classmethod
    def of(cls, columns: Mapping[str, Column], rows: ArrayLike) -> "Encoding":
        """The encoding of these columns, learned from the rows of these indices (n,) alone.

        Where there are many columns of numbers, each has fewer bins, or none: a matrix of 17 times as many features
        would be large. ValueError without columns, for a kind that has no encoding, and for indices that are no rows.
        """
        if not columns:
            raise ValueError("columns is empty, but there must be one at least to learn from")
        for name, column in columns.items():
            if column.kind not in BY_KIND:
                raise ValueError(f"column {shown(name)} is of kind {shown(column.kind)}, which has no encoding; leave "
                                 f"it out, or make it one of {', '.join(BY_KIND)}")
        indices = checked_rows(rows, row_count(columns))
        numbers = sum(column.kind == "number" for column in columns.values())
        bins = min(BINS, MOST_BINS // max(numbers, 1))
        encoded: list[Encoded] = []
        for name, column in columns.items():
            values = taken(column.values, indices)
            encoded.append(Number.of(name, values, bins) if column.kind == "number" else
                           BY_KIND[column.kind].of(name, values))
        return cls(tuple(encoded))

    def names(self) -> list[str]:
        """The names of the features, in the order of the matrix."""
        return [name for column in self.columns for name in column.names()]

    def apply(self, columns: Mapping[str, Column], dtype: Literal["float32", "float64"] = "float32",
              rows: NDArray[np.intp] | None = None) -> NDArray[np.floating]:
        """The matrix (n, width) of a table that has these columns, in any order; it may have more.

        `rows` are the indices (n,) of those that are wanted, in their order; None is all. No element is NaN or
        infinite, whatever the numbers are. ValueError where a column is missing or is of another kind.
        """
        chosen = choose("dtype", dtype, ("float32", "float64"))
        missing = [encoded.name for encoded in self.columns if encoded.name not in columns]
        if missing:
            raise ValueError(f"the table has no column {', '.join(map(shown, missing))}, but the encoding needs it")
        used = {encoded.name: columns[encoded.name] for encoded in self.columns}
        for encoded in self.columns:
            if used[encoded.name].kind != encoded.kind:
                raise ValueError(f"column {shown(encoded.name)} is of kind {shown(used[encoded.name].kind)}, but was "
                                 f"{encoded.kind!r} in the rows that trained")
        n, widths = row_count(used), [len(encoded.names()) for encoded in self.columns]
        wanted = np.arange(n) if rows is None else checked_rows(rows, n) if len(rows) else np.empty(0, np.intp)
        ends = np.cumsum(widths).tolist()
        out = np.empty((len(wanted), ends[-1]), chosen)
        for start in range(0, len(wanted), BLOCK):
            some = wanted[start:start + BLOCK]
            for encoded, width, end in zip(self.columns, widths, ends, strict=True):
                encoded.encode(out[start:start + BLOCK, end - width:end], taken(used[encoded.name].values, some))
        return out

    def as_metadata(self) -> Plain:
        """Plain values, for a model file."""
        return {"columns": [column.as_metadata() for column in self.columns]}

    @classmethod
    def from_metadata(cls, plain: object) -> "Encoding":
        """The encoding that `as_metadata` wrote; ValueError for anything that it would not have written."""
        columns = checked_fields(plain, "columns")["columns"]
        if not isinstance(columns, list) or not columns:
            raise ValueError(f"the encoding's columns are {shown(columns)}, but must be a list of one at least")
        encoded = []
        for column in columns:
            kind = column.get("kind") if isinstance(column, dict) else None
            if not isinstance(kind, str) or kind not in BY_KIND:
                raise ValueError(f"a column of the encoding is {shown(column)}, but must have a kind, one of "
                                 f"{', '.join(BY_KIND)}")
            encoded.append(BY_KIND[kind].from_metadata(column))
        for name, count in Counter(column.name for column in encoded).items():
            if count > 1:
                raise ValueError(f"the encoding has {count} columns {shown(name)}, but each must have its own name")
        return cls(tuple(encoded))


# What is learned from the values of a column


def quartile(ordered: Floats, which: int) -> float:
    """The quartile 1, 2 (the median) or 3 of sorted numbers, linear between two of them."""
    place, quarters = divmod((len(ordered) - 1) * which, 4)
    low, high = float(ordered[place]), float(ordered[min(place + 1, len(ordered) - 1)])
    return low + (high - low) * quarters / 4


def spread(ordered: Floats) -> float:
    """What sorted numbers are divided by: the interquartile range, the standard deviation where it is 0, or 1."""
    between = quartile(ordered, 3) - quartile(ordered, 1)
    if between >= SMALLEST:
        return between
    apart = ordered - quartile(ordered, 2)      # exactly 0 in a constant column: no error by rounding is scaled up
    mean = math.fsum(apart.tolist()) / len(apart)
    deviation = math.sqrt(math.fsum(np.square(apart - mean).tolist()) / len(apart))
    return deviation if deviation >= SMALLEST else 1.0


def bin_edges(ordered: Floats, bins: int = BINS) -> tuple[float, ...]:
    """At most bins + 1 (17) different values of sorted numbers, rising: the edges of the bins.

    1. An atom is a value that has as many rows as an edge stands for: rows left / edges left, or more. It becomes an
       edge, and leaves with its rows. This is repeated until no atom is left.
    2. The edges left are quantiles of the rows left, from their first to their last; a single one is their median.

    So the many zeros of a column take one edge, and not all; and each value of a column that has 17 different ones
    or fewer becomes an edge. No quantile comes twice: what is left has fewer rows than lie between two quantiles.
    """
    values, counts = np.unique(ordered, return_counts=True)
    edges: list[float] = []
    while True:
        left = bins + 1 - len(edges)
        atoms = counts * left >= counts.sum()
        if not atoms.any():
            break
        edges += values[atoms].tolist()
        values, counts = values[~atoms], counts[~atoms]
        if not len(values):
            return tuple(sorted(edges))
    last = int(counts.sum()) - 1
    places = [last // 2] if left == 1 else [edge * last // (left - 1) for edge in range(left)]
    edges += values[np.searchsorted(np.cumsum(counts), places, side="right")].tolist()
    return tuple(sorted(edges))


def bounded(x: Floats) -> Floats:
    """Numbers within ±1e100, without a negative zero."""
    return np.clip(x, -LARGEST, LARGEST) + 0.0


def days_since(first: int, times: Times) -> Floats:
    """Days from `first` (in seconds since 1970), NaN for a gap. Differences of integers could overflow."""
    return as_floats(times, (times.astype(np.int64).astype(np.float64) - first) / DAY)


def calendar(part: str, times: Times) -> Floats:
    """One part of `CALENDAR` of each time, NaN for a gap."""
    seconds = times.astype(np.int64)
    if part == "year":
        return as_floats(times, times.astype("datetime64[Y]").astype(np.int64) + 1970)
    if part == "month":
        return as_floats(times, times.astype("datetime64[M]").astype(np.int64) % 12 + 1)
    if part == "weekday":
        return as_floats(times, (seconds // DAY + 3) % 7)       # 1970 began on a Thursday
    return as_floats(times, seconds % DAY // 3600)


def as_floats(times: Times, numbers: NDArray[np.int64] | Floats) -> Floats:
    """Numbers as float64, NaN where the time is a gap."""
    return np.where(np.isnat(times), np.nan, numbers)


def short(number: float) -> str:
    """The shortest text of a number: 3, not 3.0."""
    return repr(number).removesuffix(".0")


# Rows


def row_count(columns: Mapping[str, Column]) -> int:
    """The number of rows, which must be the same in all columns."""
    counts = {name: len(column.values) for name, column in columns.items()}
    (first, n), *others = counts.items()
    for name, count in others:
        if count != n:
            raise ValueError(f"column {shown(name)} has {count} rows, but column {shown(first)} has {n}")
    return n


def taken(values: Any, indices: NDArray[np.intp]) -> Any:
    """Some rows of an array or a list."""
    return values[indices] if isinstance(values, np.ndarray) else [values[index] for index in indices.tolist()]
