"""What columns of a table are, and how their cells are read.

A `Reading` is what a model must know to read the cells of a column in another file; a `Column` is one that was read.
Which reading suits a column is found in `columns.py`. Whoever keeps, encodes or exports columns calls this module, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from .._checks import shown
from .cells import written_number
from .dates import ORDERS, clock, seconds
from .numerals import PLAIN, SEPARATORS, Notation, plain_number

Kind = Literal["number", "category", "date", "text", "id", "constant"]
Values = NDArray[np.float64] | NDArray[np.datetime64] | list[str | None]
Value = float | int | str | None        # of one cell; None where it cannot be read

KINDS = ("category", "number", "date", "text")      # what a user can say that a column is
LEFT_OUT = ("text", "id", "constant")               # kinds that nothing is learnt from
MARKERS = frozenset((                               # of gaps, in small letters
    "?", "na", "n/a", "n.a.", "nan", "+nan", "-nan", "nat", "null", "none", "nil", "-", "--", "---", "–", "—",
    ".", "..", "...", "#n/a", "#na", "<na>", r"\n", "#div/0!", "#value!", "#ref!", "#num!", "#name?", "#null!"))
SHOWN = 40              # characters of a cell in a sentence


@dataclass(frozen=True)
class Reading:
    """How the cells of a column are read: what a model must know to read the same column in another file."""

    kind: Literal["number", "category", "date", "text"]
    gaps: tuple[str, ...] = ()      # what the user named
    notation: Notation = PLAIN      # of numbers
    clock: bool = False             # numbers are times of the day, and become seconds
    order: str = ""                 # of dates: YMD, DMY, MDY or serial
    lenient: bool = False           # a cell that is no number or date is a gap, as some were when the model learnt
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
        texts = (self.kind, *self.gaps, notation.decimal, notation.thousands, notation.prefix, notation.suffix,
                 self.order, self.spelling)
        return (all(type(text) is str for text in texts)
                and type(self.clock) is type(self.lenient) is type(notation.magnitudes) is bool
                and not (notation.magnitudes and notation.suffix)
                and self.kind in KINDS and (self.kind in ("number", "date") or not self.lenient)
                and (notation.decimal, notation.thousands) in SEPARATORS
                and (self.kind == "number" or (notation == PLAIN and not self.clock)) and not (
                    self.clock and notation != PLAIN)
                and self.order in (ORDERS if self.kind == "date" else ("",))
                and self.spelling in (("exact", "lower", "number") if self.kind == "category" else ("exact",)))

    def is_gap(self, cell: str) -> bool:
        """Whether a cell says that there is no value."""
        text = cell.strip()
        return not text or text in self.gaps or (self.kind in ("number", "date") and (
            text.casefold() in MARKERS or (self.lenient and self.value(cell) is None)))

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
        if notation.magnitudes:
            said.append("k, M and B behind it are thousands, millions and billions")
        if notation.decimal == ",":
            said.append("decimal comma")
        if notation.thousands:
            said.append(f"{notation.thousands!r} between thousands")
        if self.clock:
            said.append("seconds of a time")
        said += {"DMY": ["day first"], "MDY": ["month first"], "serial": ["days as workbooks count"]}.get(
            self.order, [])
        return "".join(f", {part}" for part in said)

    def example(self) -> str:
        """What to type: a cell that can be read."""
        notation = self.notation
        if self.kind == "number":
            return "18:30:00" if self.clock else f"{notation.prefix}1{notation.decimal}5{notation.suffix}"
        return {"DMY": "31/12/2024", "MDY": "12/31/2024", "serial": "45657"}.get(self.order, "2024-12-31")


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
    return written_number(number)


def quoted(text: str) -> str:
    """A cell in a sentence: short, and in one line."""
    return repr(text if len(text) <= SHOWN else text[:SHOWN - 1] + "…")


def known_rows(column: Column) -> NDArray[np.bool_]:
    """Which rows of a column are no gaps."""
    if isinstance(column.values, list):
        return np.array([value is not None for value in column.values], bool)
    return ~(np.isnat(column.values) if column.values.dtype.kind == "M" else np.isnan(column.values))
