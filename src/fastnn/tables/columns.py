"""Columns of a table: what the text cells of one hold, and their values.

`column_of` finds out what a column is. What it found about the way in which cells are written is a `Reading`, which a
model keeps; `convert` reads cells of another file the same way. `columns_of` does all columns of a table, `gives_away`
finds those that say the target again. Files are read elsewhere, and values are encoded for a network elsewhere. Rows
are counted as the user sees them: `first_row` is the number of the first one, 2 where row 1 names the columns.

A cell is a gap where it is empty or holds what the user named. In a column of numbers or dates the usual markers, such
as NA and ?, are gaps too. In a column of text they are values: there "none" may be a category, and a category of its
own says no less to a network than a gap does.
"""

import math
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from .._checks import shown
from .dates import ORDERS, clock, order_of, seconds
from .numerals import LARGEST, NEARLY_ALL, PLAIN, SEPARATORS, Notation, notation_of, plain_number

Kind = Literal["number", "category", "date", "text", "id", "constant"]
Values = NDArray[np.float64] | NDArray[np.datetime64] | list[str | None]
Value = float | int | str | None        # of one cell; None where it cannot be read

KINDS = ("category", "number", "date", "text")      # what a user can say that a column is
LEFT_OUT = ("text", "id", "constant")               # kinds that nothing is learnt from
MARKERS = frozenset((                               # of gaps, in small letters
    "?", "na", "n/a", "n.a.", "nan", "+nan", "-nan", "nat", "null", "none", "nil", "-", "--", "---", "–", "—",
    ".", "..", "...", "#n/a", "#na", "<na>", r"\n", "#div/0!", "#value!", "#ref!", "#num!", "#name?", "#null!"))
WORDS = ({"true", "false"}, {"yes", "no"}, {"y", "n"}, {"t", "f"})      # the same in any spelling: True, TRUE
FEW = 20                # a mixture of numbers and text with at most so many different values is a category
FREE_TEXT = 0.5         # the share of different texts from which texts of several words are free text
SHOWN = 40              # characters of a cell in a sentence
NAT = np.iinfo(np.int64).min
ID = re.compile(r"(?:.*[\s_.-])?(?i:id|index|idx|uuid|guid)|.*[a-z](?:Id|ID)|"
                r"(?i:unnamed: ?0|rownames|row[\s_]?(?:no|nr|number))")


@dataclass(frozen=True)
class Reading:
    """How the cells of a column are read: what a model must know to read the same column in another file."""

    kind: Literal["number", "category", "date", "text"]
    gaps: tuple[str, ...] = ()      # what the user named
    notation: Notation = PLAIN      # of numbers
    clock: bool = False             # numbers are times of the day, and become seconds
    order: str = ""                 # of dates: YMD, DMY or MDY
    spelling: Literal["exact", "lower", "number"] = "exact"     # of categories: which differences do not count

    def as_metadata(self) -> dict[str, Any]:
        """Plain values, for a model file; only what differs from the default."""
        plain: dict[str, Any] = {"kind": self.kind}
        if self.gaps:
            plain["gaps"] = list(self.gaps)
        for part in (self.notation, self):
            for field in fields(part):
                value = getattr(part, field.name)
                if field.name not in ("kind", "gaps", "notation") and value != field.default:
                    plain[field.name] = value
        return plain

    @classmethod
    def from_metadata(cls, plain: object) -> "Reading":
        """The reading that `as_metadata` wrote; ValueError for anything else."""
        try:
            values = dict(cast(Mapping[str, Any], plain))
            notation = Notation(**{field.name: values.pop(field.name) for field in fields(Notation)
                                   if field.name in values})
            reading = cls(gaps=tuple(values.pop("gaps", ())), notation=notation, **values)
            good = reading._is_consistent() and reading.as_metadata() == plain
        except (KeyError, TypeError, ValueError):
            good = False
        if not good:
            raise ValueError(f"how a column is read is {shown(plain)}, but must be what fastnn writes to a model file")
        return reading

    def _is_consistent(self) -> bool:
        """Whether all parts are of their types and belong to the kind."""
        notation = self.notation
        texts = (self.kind, *self.gaps, *vars(notation).values(), self.order, self.spelling)
        return (all(type(text) is str for text in texts) and type(self.clock) is bool and self.kind in KINDS
                and (notation.decimal, notation.thousands) in SEPARATORS
                and (self.kind == "number" or (notation == PLAIN and not self.clock)) and not (
                    self.clock and notation != PLAIN)
                and self.order in (ORDERS if self.kind == "date" else ("",))
                and self.spelling in (("exact", "lower", "number") if self.kind == "category" else ("exact",)))

    def is_gap(self, cell: str) -> bool:
        """Whether a cell says that there is no value."""
        text = cell.strip()
        return not text or text in self.gaps or (self.kind in ("number", "date") and text.casefold() in MARKERS)

    def value(self, cell: str) -> Value:
        """The value of a cell that is no gap: a number, seconds since 1970, or a text; None where it cannot be read."""
        if self.kind == "number":
            return clock(cell) if self.clock else self.notation.number(cell)
        if self.kind == "date":
            return seconds(cell, self.order)
        if self.spelling == "lower":
            return cell.casefold()
        return canonical(cell) if self.spelling == "number" else cell

    def described(self) -> str:
        """How cells are read, as the end of a sentence about their kind."""
        notation, said = self.notation, []
        if notation.prefix or notation.suffix:
            said.append("in " + " and ".join(map(quoted, filter(None, (notation.prefix, notation.suffix)))))
        if notation.decimal == ",":
            said.append("decimal comma")
        if notation.thousands:
            said.append(f"{notation.thousands!r} between thousands")
        if self.clock:
            said.append("seconds of a time")
        said += {"DMY": ["day first"], "MDY": ["month first"]}.get(self.order, [])
        return "".join(f", {part}" for part in said)

    def example(self) -> str:
        """What to type: a cell that can be read."""
        notation = self.notation
        if self.kind == "number":
            return "18:30:00" if self.clock else f"{notation.prefix}1{notation.decimal}5{notation.suffix}"
        return {"DMY": "31/12/2024", "MDY": "12/31/2024"}.get(self.order, "2024-12-31")


@dataclass(frozen=True)
class Column:
    """A column of a table: its values, and how they were read."""

    name: str
    kind: Kind
    values: Values      # number: float64, NaN for a gap; date: datetime64[s], NaT; all others: texts, None
    said: str           # what it was taken for, and why, in one line
    reading: Reading

    @property
    def left_out(self) -> bool:
        """Whether nothing is learnt from it."""
        return self.kind in LEFT_OUT


def canonical(cell: str) -> str:
    """One spelling for all of a number: 1, 1.0 and 01 are the same category; other text as it is."""
    number = plain_number(cell)
    if number is None:
        return cell
    return str(int(number)) if number.is_integer() else repr(number)


def quoted(text: str) -> str:
    """A cell in a sentence: short, and in one line."""
    return repr(text if len(text) <= SHOWN else text[:SHOWN - 1] + "…")


def convert(name: str, reading: Reading, cells: Sequence[str], first_row: int = 2) -> Column:
    """The values of a column, read as they were when a model learnt; ValueError for a cell that cannot be."""
    return _column(name, reading, cells, lambda row, cell: (
        f"row {row + first_row}, column {name!r} is {quoted(cell)}, but must be a {reading.kind}; type one such as "
        f"{reading.example()}, or leave the cell empty"))


def _column(name: str, reading: Reading, cells: Sequence[str], complaint: Callable[[int, str], str]) -> Column:
    """A column whose reading is known. `complaint` says what is wrong with a row, counted from 0, and its cell."""
    if reading.kind == "number" and reading.notation == PLAIN and not reading.clock:
        array = _all_plain(reading, cells)
        if array is not None:
            return _with_gaps(name, reading, cells, array)
    distinct = list(dict.fromkeys(cells))
    gaps = {cell for cell in distinct if reading.is_gap(cell)}
    table = {cell: None if cell in gaps else reading.value(cell) for cell in distinct}
    wrong = {cell for cell, value in table.items() if value is None and cell not in gaps}
    if wrong:
        row = next(row for row, cell in enumerate(cells) if cell in wrong)
        raise ValueError(complaint(row, cells[row]))
    if reading.kind == "number":
        numbers = {cell: np.nan if value is None else cast(float, value) for cell, value in table.items()}
        return _with_gaps(name, reading, cells, np.array([numbers[cell] for cell in cells], np.float64))
    if reading.kind == "date":
        moments = {cell: NAT if value is None else cast(int, value) for cell, value in table.items()}
        values: Values = np.array([moments[cell] for cell in cells], np.int64).view("datetime64[s]")
        return Column(name, "date", values, _said(reading, cells, gaps), reading)
    values = [cast("str | None", table[cell]) for cell in cells]
    different = len(set(table.values()) - {None})
    return Column(name, reading.kind, values, _said(reading, cells, gaps, different), reading)


def _all_plain(reading: Reading, cells: Sequence[str]) -> NDArray[np.float64] | None:
    """All cells as numbers in Python's notation, NaN for a gap, quickly; None where a cell is neither."""
    values = []
    for cell in cells:
        try:
            values.append(float(cell))
        except ValueError:
            if not reading.is_gap(cell):
                return None
            values.append(math.nan)
    array = np.array(values, np.float64)
    large = np.abs(array) >= LARGEST        # false for NaN
    return None if large.any() or "_" in "".join(cells) else array


def _with_gaps(name: str, reading: Reading, cells: Sequence[str], array: NDArray[np.float64]) -> Column:
    """A column of numbers; those that the user named are gaps, too, however they are written."""
    named = [number for text in reading.gaps if (number := plain_number(text)) is not None]
    if named:
        array[np.isin(array, named)] = np.nan
    gaps = {cells[row] for row in np.flatnonzero(np.isnan(array)).tolist()}
    return Column(name, "number", array, _said(reading, cells, gaps), reading)


def _said(reading: Reading, cells: Sequence[str], gaps: set[str], different: int | None = None) -> str:
    """What a column is, how many different texts it has, and how many gaps."""
    said = reading.kind + reading.described()
    if different is not None:
        said += f", {different} different"
    if gaps:
        count = sum(cell in gaps for cell in cells)
        markers = [quoted(gap) for gap in sorted(gaps) if gap.strip()]
        markers[3:] = ["…"] if len(markers) > 3 else []
        said += f", {count} gap{'s' if count > 1 else ''}" + (f" ({', '.join(markers)})" if markers else "")
    return said


def column_of(name: str, cells: Sequence[str], kind: str | None = None, missing: Iterable[str] = (), *,
              target: bool = False, first_row: int = 2) -> Column:
    """Finds out what a column is, and reads it.

    `kind` is what the user says it is: "category", "number", "date" or "text". `missing` are texts that are gaps
    beside the usual ones. A column that is the `target` is never taken for an id, a constant or free text. ValueError
    for a column of numbers or dates with a few cells that are none.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"column {name!r} is said to be {shown(kind)}, but must be one of {', '.join(KINDS)}")
    gaps = tuple(dict.fromkeys(filter(None, map(str.strip, missing))))
    reading = Reading("number", gaps)
    array = _all_plain(reading, cells) if kind in (None, "number") else None
    if array is not None:
        column = _with_gaps(name, reading, cells, array)
    else:
        counts = Counter(cells)
        reading = _reading(name, cells, counts, kind, gaps, target)
        column = _column(name, reading, cells, lambda row, cell: (
            _advice(name, kind, reading, counts, row + first_row, cell)))
        if reading.order in ("DMY", "MDY"):
            column = replace(column, said=column.said + _order_note(reading, counts, cells))
    return column if target or kind is not None else _without_use(column, cells)


def _reading(name: str, cells: Sequence[str], counts: Mapping[str, int], kind: str | None, gaps: tuple[str, ...],
             target: bool) -> Reading:
    """How the cells of a column are to be read. Some of a column of numbers or dates may still be unreadable."""
    category = Reading("category", gaps)
    filled = {cell: count for cell, count in counts.items() if not category.is_gap(cell)}
    for reading in _candidates(cells, counts, kind, gaps):
        values = {cell: count for cell, count in filled.items() if not reading.is_gap(cell)}
        wrong = {cell: count for cell, count in values.items() if reading.value(cell) is None}
        if values and (not wrong or kind is not None or _is_slip(values, wrong)):
            return reading
    if kind in ("number", "date"):
        return Reading("number", gaps) if kind == "number" else Reading("date", gaps, order="YMD")
    if kind == "text":
        return Reading("text", gaps)
    return category if target else replace(category, spelling=_spelling(filled))


def _candidates(cells: Sequence[str], counts: Mapping[str, int], kind: str | None, gaps: tuple[str, ...],
                ) -> Iterator[Reading]:
    """Readings that suit many cells of a column, the likeliest first."""
    if kind in ("category", "text"):
        return
    number = Reading("number", gaps)
    values = {cell: count for cell, count in counts.items() if not number.is_gap(cell)}
    if kind != "date":
        notation = notation_of(values)
        if notation is not None:
            yield replace(number, notation=notation)
    found = order_of(values, cells) if kind != "number" else None
    if found is not None:
        yield Reading("date", gaps, order=found[0])
    if kind != "date" and any(clock(cell) is not None for cell in list(values)[:FEW]):
        yield replace(number, clock=True)


def _is_slip(values: Mapping[str, int], wrong: Mapping[str, int]) -> bool:
    """Whether the cells that are no numbers (or dates) are more likely faults or gaps than categories.

    They are where at most 5 % are wrong, or at most half by one and the same text, and there are too many different
    values for a category.
    """
    share = sum(wrong.values()) / sum(values.values())
    return len(values) > FEW and (share <= 1 - NEARLY_ALL or (len(wrong) == 1 and share <= 0.5))


def _spelling(filled: Mapping[str, int]) -> Literal["exact", "lower", "number"]:
    """Which differences between texts do not count in a column of categories."""
    if {cell.casefold() for cell in filled} in WORDS:
        return "lower"
    numbers = all(plain_number(cell) is not None for cell in filled)
    return "number" if filled and numbers and len({canonical(cell) for cell in filled}) == len(filled) else "exact"


def _advice(name: str, kind: str | None, reading: Reading, counts: Mapping[str, int], row: int, cell: str) -> str:
    """The sentence for a cell of a file to learn from that is not what (nearly) all others are."""
    others = f"was said to be a {kind}" if kind is not None else f"holds {reading.kind}s in nearly all other rows"
    text = shlex.quote(cell) if len(cell) <= SHOWN and cell.isprintable() else "TEXT"
    count = counts[cell]
    rows = "" if count == 1 else f" (and so in {count} rows)"
    return (f"row {row}, column {name!r} is {quoted(cell)}{rows}, but the column {others}; correct the cell, or say "
            f"--missing={text} where it means a gap, or --as {shlex.quote(f'{name}=category')} where it is a value")


def _order_note(reading: Reading, counts: Mapping[str, int], cells: Sequence[str]) -> str:
    """Says so where nothing but custom decides whether day or month comes first."""
    values = {cell: count for cell, count in counts.items() if not reading.is_gap(cell)}
    found = order_of(values, cells)
    return " (both orders fit)" if found is not None and found[1] else ""


def _without_use(column: Column, cells: Sequence[str]) -> Column:
    """The column as it is, or as an id, a constant or free text, from which nothing can be learnt."""
    found = _number_without_use(column) if column.kind == "number" else None
    if found is None and len(set(_plain_values(column))) <= 1:
        found = "constant", "no value in any row" if all(map(column.reading.is_gap, cells)) else (
            f"{quoted(cells[0])} in each row")
    if found is None and column.kind == "category":
        found = _text_without_use(cast("list[str | None]", column.values))
    if found is None:
        return column
    kind, why = found
    reading = Reading("text" if kind == "text" else "category", column.reading.gaps)
    values: list[str | None] = [None if column.reading.is_gap(cell) else cell for cell in cells]
    return Column(column.name, kind, values, f"{kind}, left out: {why}", reading)


def _number_without_use(column: Column) -> tuple[Kind, str] | None:
    """Why nothing can be learnt from a column of numbers, or None."""
    values = cast(NDArray[np.float64], column.values)
    if len(values) and np.isnan(values).all():
        return "constant", "no value in any row"
    if len(values) and (values == values[0]).all():
        return "constant", f"{values[0]:.12g} in each row"
    if len(values) < 3 or np.isnan(values).any() or (values != np.floor(values)).any():
        return None
    if values[0] in (0, 1) and (np.diff(values) == 1).all():
        return "id", f"it counts the rows from {values[0]:.0f}"
    if ID.fullmatch(column.name) and len(np.unique(values)) == len(values):
        return "id", "each row has another number, and the name is that of an id"
    return None


def _text_without_use(values: list[str | None]) -> tuple[Kind, str] | None:
    """Why nothing can be learnt from a column of text, or None."""
    texts = [value for value in values if value is not None]
    distinct = sorted(set(texts))
    words = sum(len(text.split()) for text in distinct) / max(len(distinct), 1)
    if len(distinct) <= FEW:
        return None
    if words >= 2 and len(distinct) >= FREE_TEXT * len(texts):
        return "text", f"{len(distinct)} different texts of several words in {len(texts)} rows"
    if len(distinct) >= NEARLY_ALL * len(texts):
        return "id", f"{len(distinct)} different texts in {len(texts)} rows"
    return None


def columns_of(cells: Mapping[str, Sequence[str]], target: str, kinds: Mapping[str, str] | None = None,
               missing: Iterable[str] = (), first_row: int = 2) -> dict[str, Column]:
    """All columns of a table, in its order, the target with them. Those with `left_out` say why in `said`."""
    kinds = kinds or {}
    for name in (target, *kinds):
        if name not in cells:
            raise ValueError(f"there is no column {quoted(name)}, but the table has {shown(', '.join(cells))}")
    missing = tuple(missing)
    return {name: column_of(name, column, kinds.get(name), missing, target=name == target, first_row=first_row)
            for name, column in cells.items()}


def gives_away(column: Column, target: Column) -> bool:
    """Whether a column says the target again.

    It does where each of its values stands for one value of the target and the other way round, and each comes twice
    on average; or where both are numbers with a correlation of 1, to 1e-9. Rows without a number do not count in the
    latter.
    """
    ours, theirs = _plain_values(column), _plain_values(target)
    different = len(set(ours))
    if 2 <= different == len(set(theirs)) <= len(theirs) / 2 and len(set(zip(ours, theirs, strict=True))) == different:
        return True
    return column.kind == target.kind == "number" and _correlated(
        cast(NDArray[np.float64], column.values), cast(NDArray[np.float64], target.values))


def _plain_values(column: Column) -> list[Any]:
    """Values to compare; all gaps are equal."""
    if isinstance(column.values, list):
        return column.values
    if column.values.dtype.kind == "M":
        return column.values.view(np.int64).tolist()
    return [None if value != value else value for value in column.values.tolist()]


def _correlated(x: NDArray[np.float64], y: NDArray[np.float64]) -> bool:
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
