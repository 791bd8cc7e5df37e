"""Numbers as people write them: decimal commas, thousands separators, currency signs, units, (5.00) for minus 5.

A `Notation` says how the numbers of one column are written, and reads them; `notation_of` finds it from a whole column.
`plain_number` reads a number in Python's notation, which whoever looks for numbers among texts calls, too. What a gap
is stands in `kinds.py`, and what a column is for in `columns.py`.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice

import numpy as np
from numpy.typing import NDArray

LARGEST = 1e100         # absolute value of a number; its square must be finite
LONGEST = 60            # characters of a number with its unit
SAMPLE = 100            # different texts that show that a column holds no numbers at all
NEARLY_ALL = 0.95       # the share of a column's cells that decides what the column is
FOR_NOTATION = 500      # cells that show how the others are written
EXPONENT = r"(?:[eE][+-]?\d+)?"
SPACES = str.maketrans({"\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u2019": "'", "\u2212": "-"})
CURRENCY = r"(?:[A-Za-z]{0,3}[$€£¥₹₩₽₺₪₫₴₱฿]|USD|EUR|GBP|CHF|INR|Rs\.?)"
MAGNITUDES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "bn": 1e9}      # behind a number
# Sign, currency, sign, digits with separators and exponent, unit. A unit holds no digit; + is one: 10,000+. A letter
# before the digits is no unit, as it often makes a code: A11, A12.
SHAPE = re.compile(
    rf"([+-]?)({CURRENCY}?) ?([+-]?)((?:\d[\d., ']*|[.,]\d+)(?:[eE][+-]?\d+)?)"
    r' ?(\+|(?:[^\W\d_]|[%‰°"/$€£¥₹])[^\d+]{0,15})?')
ACCOUNTS = re.compile(r"([^()\d]{0,4})\(([^()+-]+)\)")      # less than 0 in accounts: (5.00), ($5), $(5)


def plain_number(text: str) -> float | None:
    """The finite number, below 1e100, that a text holds in Python's notation, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < LARGEST and "_" not in text else None


@dataclass(frozen=True)
class Notation:
    """How the numbers of a column are written."""

    decimal: str = "."          # or ","
    thousands: str = ""         # or ",", ".", " ", "'"
    prefix: str = ""            # such as "$"
    suffix: str = ""            # such as "kg"; one in the plural is the same
    magnitudes: bool = False    # k, M and B behind a number are thousands, millions and billions

    def number(self, text: str) -> float | None:
        """The number that a cell holds, with the column's unit or without any, or None."""
        number = plain_number(text) if self == PLAIN else None
        if number is not None:
            return number
        parts = split(text)
        units = MAGNITUDES if self.magnitudes else ("", singular(self.suffix))
        if parts is None or parts[1] not in ("", self.prefix) or parts[2] not in units:
            return None
        value = self._value(parts[0])
        if self.magnitudes and value is not None:
            value *= MAGNITUDES[parts[2]]
        return value if value is None or abs(value) < LARGEST else None

    def _value(self, core: str) -> float | None:
        """The number in digits and separators."""
        if not PATTERNS[self.decimal, self.thousands].fullmatch(core):
            return None
        return plain_number(core.replace(self.thousands, "").replace(self.decimal, "."))

    def numbers(self, cells: Sequence[str], is_gap: Callable[[str], bool]) -> NDArray[np.float64] | None:
        """The numbers of many cells at once, as `number` reads each, NaN for a gap; None where one is written in a way
        that only `number` knows."""
        if self.magnitudes:
            return None
        texts = [cell if cell.isascii() else cell.translate(SPACES) for cell in cells]
        match = _shape(self).fullmatch
        for place, text in enumerate(texts):
            if not match(text):
                if not is_gap(cells[place]):
                    return None
                texts[place] = ""
        text = "\n".join(texts)
        for part in (self.prefix, f"{self.suffix}s", self.suffix, self.thousands):
            text = text.replace(part, "") if part not in ("", "s") else text
        array = np.array([float(number) if number else np.nan for number in
                          text.replace(self.decimal, ".").split("\n")], np.float64)
        return None if (np.abs(array) >= LARGEST).any() else array


def notation_at_once(cells: Sequence[str], is_gap: Callable[[str], bool]) -> Notation | None:
    """What `notation_of` finds for a whole column, if `numbers` then reads it all; found from some of its cells.

    A notation that comes earlier would read all of these, too.
    """
    some = Counter(cells[::max(1, len(cells) // FOR_NOTATION)])
    return notation_of({cell: count for cell, count in some.items() if not is_gap(cell)} or {"": 1})


def _pattern(decimal: str, thousands: str) -> re.Pattern[str]:
    whole = r"\d+"
    if thousands:       # groups of three; in India only the last group has three digits: 12,34,567
        separator, group = re.escape(thousands), r"\d{2,3}" if thousands == "," else r"\d{3}"
        whole = rf"(?:\d+|[1-9]\d{{0,2}}(?:{separator}{group})*{separator}\d{{3}})"
    decimal = re.escape(decimal)
    return re.compile(rf"[+-]?(?:{whole}(?:{decimal}\d*)?|{decimal}\d+){EXPONENT}")


@cache
def _shape(notation: Notation) -> re.Pattern[str]:
    """What cells look like that `Notation.numbers` reads: a part of those that `Notation.number` does."""
    core = PATTERNS[notation.decimal, notation.thousands].pattern
    if not (notation.prefix or notation.suffix):
        return re.compile(rf"(?=.{{1,{LONGEST}}}\Z){core}")
    core = core.removesuffix(EXPONENT)          # its e may be in the unit
    prefix, suffix = re.escape(notation.prefix), re.escape(notation.suffix)
    before = rf"(?:[+-]?{prefix} ?(?![+-])|{prefix} ?)?" if prefix else ""
    behind = rf"(?: ?{suffix}{'s?' if len(notation.suffix) > 1 else ''})?" if suffix else ""
    return re.compile(rf"(?=.{{1,{LONGEST}}}\Z){before}{core}{behind}")


PLAIN = Notation()
# In the order in which they are tried. The comma is between thousands where all cells are like 1,234, and decimal where
# one is like 12,5.
SEPARATORS = [(".", ""), (".", ","), (",", ""), (",", "."), (".", " "), (",", " "), (".", "'")]
PATTERNS = {pair: _pattern(*pair) for pair in SEPARATORS}


def singular(unit: str) -> str:
    """The unit without the s of a plural: 1 year, 2 years."""
    return unit[:-1] if len(unit) > 2 and unit.endswith("s") else unit


def split(text: str) -> tuple[str, str, str] | None:
    """Digits with their sign, currency before them and unit (singular) behind them, or None where a text has no such
    shape."""
    if len(text) > LONGEST:
        return None
    text = text.translate(SPACES)
    account = ACCOUNTS.fullmatch(text)
    match = SHAPE.fullmatch(text if account is None else f"-{account[1]}{account[2]}")
    if match is None:
        return None
    first, prefix, second, core, suffix = match.groups(default="")
    return first + second + core.strip(), prefix, singular(suffix.strip())


def notation_of(counts: Mapping[str, int]) -> Notation | None:
    """The notation that reads the most of a column's cells; None where less than half of them look like numbers.

    `counts` has the column's texts without its gaps, and how often each is there.
    """
    if all(plain_number(text) is not None for text in counts):
        return PLAIN
    if not any(map(split, islice(counts, SAMPLE))):
        return None
    total = sum(counts.values())
    parts = {text: found for text in counts if (found := split(text))}
    if 2 * sum(counts[text] for text in parts) < total:
        return None
    prefix, suffixes = _units(counts, parts)
    bodies: Counter[str] = Counter()
    for text, (core, before, behind) in parts.items():
        if before in ("", prefix) and behind in suffixes:
            bodies[core] += counts[text]
    best, most = PLAIN, 0
    for decimal, thousands in SEPARATORS:
        notation = Notation(decimal, thousands)
        read = sum(count for core, count in bodies.items() if notation._value(core) is not None)
        if read > most:
            best, most = notation, read
    if suffixes is MAGNITUDES:
        return replace(best, prefix=prefix, magnitudes=True)
    return replace(best, prefix=prefix, suffix=max(suffixes))


def _units(counts: Mapping[str, int], parts: Mapping[str, tuple[str, str, str]]) -> tuple[str, Collection[str]]:
    """Currency and units of a column, "" with them: what nearly all of its numbers have, or none.

    Numbers without a currency may stand between those with one: 0 and $5. Of units there is one, or several MAGNITUDES.
    """
    before: Counter[str] = Counter()
    behind: Counter[str] = Counter()
    for text, (_, prefix, suffix) in parts.items():
        before[prefix] += counts[text]
        behind[suffix] += counts[text]
    known = Counter({prefix: count for prefix, count in before.items() if prefix})
    prefix, count = known.most_common(1)[0] if known else ("", 0)
    if count < NEARLY_ALL * known.total():
        prefix = ""
    suffix, count = behind.most_common(1)[0]
    found = {unit: behind[unit] for unit in MAGNITUDES if behind[unit]}
    several = len(found) > 1 and sum(found.values()) >= NEARLY_ALL * behind.total()
    if several and (len(found) > 2 or "" not in found):
        return prefix, MAGNITUDES
    if suffix and count >= NEARLY_ALL * behind.total():
        return prefix, ("", suffix)
    return prefix, MAGNITUDES if several else ("",)
