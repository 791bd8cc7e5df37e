"""Columns of a table: what the cells of one hold, and their values.

`column_of` finds out what a column is. What it found about the way in which cells are written is a `Reading`, which a
model keeps; `convert` reads cells of another table the same way. `columns_of` does all columns of a table. Cells come
from elsewhere, and values are encoded for a network elsewhere. Rows are counted as the user sees them: `first_row` is
the number of the first one, 2 where row 1 names the columns.

A cell is a gap where it is empty or holds what the user named. In a column of numbers or dates the usual markers, such
as NA and ?, are gaps too. In a column of text they are values: there "none" may be a category, and a category of its
own says no less to a network than a gap does.

Cells that come as an array are numbers or dates already. Where they must be anything else, they are read as text.
"""

import math
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import compress
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from .._checks import is_numeral, shown
from .cells import Cells, blocks_of, texts_of
from .dates import ISO, SERIAL, clock, iso_moments, order_of, seconds
from .kinds import KINDS, SHOWN, Column, Kind, Reading, canonical, known_rows, quoted
from .numerals import LARGEST, NEARLY_ALL, PLAIN, notation_at_once, notation_of, plain_number

WORDS = ({"true", "false"}, {"yes", "no"}, {"y", "n"}, {"t", "f"})      # the same in any spelling: True, TRUE
FEW = 20                # a mixture of numbers and text with at most so many different values is a category
FREE_TEXT = 0.5         # the share of different texts from which texts of several words are free text
SHORTEST, LONGEST = 3, 30       # digits of a code
NAT = np.iinfo(np.int64).min
ID = re.compile(r"(?:.*[\s_.-])?(?i:id|index|idx|uuid|guid)|.*[a-z](?:Id|ID)|"
                r"(?i:unnamed: ?0|rownames|row[\s_]?(?:no|nr|number))")

Array = NDArray[Any]                    # of numbers or of dates
Complaint = Callable[[int, str], str]   # says what is wrong with a row, counted from 0, and the text of its cell


def convert(name: str, reading: Reading, cells: Cells, first_row: int = 2) -> Column:
    """The values of a column, read as they were when a model learnt; ValueError for a cell that cannot be.

    Where a model learnt with faults as gaps, they are gaps, but not if most cells are faults: these are another column.
    """
    if reading.lenient and not isinstance(cells, np.ndarray):
        strict = replace(reading, lenient=False)
        counts = Counter(cell for cell in cells if not strict.is_gap(cell))
        if 2 * sum(_faults(strict, counts).values()) > counts.total():
            reading = strict
    return _column(name, reading, cells, lambda row, cell: (
        f"row {row + first_row}, column {name!r} is {quoted(cell)}, but must be a {reading.kind}; type one such as "
        f"{reading.example()}, or leave the cell empty"), _all_at_once(reading, cells))


def _column(name: str, reading: Reading, cells: Cells, complaint: Complaint, array: Array | None) -> Column:
    """A column whose reading is known, and whose values are, if they could be read all at once."""
    if array is not None:
        return _with_gaps(name, reading, cells, complaint, array)
    cells = texts_of(cells)
    distinct = list(dict.fromkeys(cells))
    gaps = {cell for cell in distinct if reading.is_gap(cell)}
    table = {cell: None if cell in gaps else reading.value(cell) for cell in distinct}
    wrong = {cell for cell, value in table.items() if value is None and cell not in gaps}
    if wrong:
        row, cell = next((row, cell) for row, cell in enumerate(cells) if cell in wrong)
        raise ValueError(complaint(row, cell))
    if reading.kind == "number":
        numbers = {cell: np.nan if value is None else value for cell, value in table.items()}
        array = np.array([numbers[cell] for cell in cells], np.float64)
        return _with_gaps(name, reading, cells, complaint, array)
    if reading.kind == "date":
        moments = {cell: NAT if value is None else value for cell, value in table.items()}
        array = np.array([moments[cell] for cell in cells], np.int64).view("datetime64[s]")
        return _with_gaps(name, reading, cells, complaint, array)
    values = [cast("str | None", table[cell]) for cell in cells]
    different = len(set(table.values()) - {None})
    return Column(name, reading.kind, values, _said(reading, gaps, sum(map(gaps.__contains__, cells)), different),
                  reading)


def _all_at_once(reading: Reading, cells: Cells) -> Array | None:
    """All values of a column of numbers or dates, quickly; None where its cells must be read one by one."""
    if isinstance(cells, np.ndarray):
        return cells if reading.kind == ("date" if cells.dtype.kind == "M" else "number") else None
    if reading.kind not in ("number", "date") or reading.clock:
        return None
    notation, read = reading.notation, iso_moments if reading.kind == "date" else _all_plain
    if notation != PLAIN:
        if any(notation.number(gap) is not None and not is_numeral(gap) for gap in reading.gaps):
            return None         # what looks like a number may be a gap
        read = notation.numbers
    arrays = []
    for block in blocks_of(cells):
        array = read(block, reading.is_gap)
        if array is None:
            return None
        arrays.append(array)
    return np.concatenate(arrays)


def _all_plain(cells: Sequence[str], is_gap: Callable[[str], bool]) -> NDArray[np.float64] | None:
    """All cells as numbers in Python's notation, NaN for a gap; None where a cell is neither."""
    try:
        array = np.fromiter(map(float, cells), np.float64, len(cells))
    except ValueError:
        values = []
        for cell in cells:
            try:
                values.append(float(cell))
            except ValueError:
                if not is_gap(cell):
                    return None
                values.append(math.nan)
        array = np.array(values, np.float64)
    large = np.abs(array) >= LARGEST        # false for NaN
    return None if large.any() or "_" in "".join(cells) else array


def _with_gaps(name: str, reading: Reading, cells: Cells, complaint: Complaint, array: Array) -> Column:
    """A column of numbers or dates. Those that the user named are gaps, too, however they are written."""
    named = _named(reading)
    if len(named):
        array = np.where(np.isin(array, named), np.datetime64("NaT") if reading.kind == "date" else np.nan, array)
    if isinstance(cells, np.ndarray) and reading.kind == "number":      # of texts none is too large
        large = np.flatnonzero(np.abs(array) >= LARGEST)
        if len(large):
            raise ValueError(complaint(int(large[0]), texts_of(cells[large[:1]])[0]))
    mask = np.isnat(array) if reading.kind == "date" else np.isnan(array)
    count = int(mask.sum())
    if not count:
        gaps: set[str] = set()
    elif isinstance(cells, np.ndarray):
        gaps = set(texts_of(cells[mask]))
    else:
        gaps = set(compress(cells, mask.tolist()))
    return Column(name, reading.kind, array, _said(reading, gaps, count), reading)


def _named(reading: Reading) -> Array:
    """The gaps that the user named, as numbers or dates, as far as they are."""
    if reading.kind == "number":
        return np.array([float(text) for text in reading.gaps if is_numeral(text)], np.float64)
    moments = [seconds(text, "YMD") for text in reading.gaps if ISO.fullmatch(text)]
    return np.array([moment for moment in moments if moment is not None], "datetime64[s]")


def _said(reading: Reading, gaps: set[str], count: int, different: int | None = None) -> str:
    """What a column is, how many different texts it has, and how many gaps: `count`, written as `gaps` are."""
    said = reading.kind + reading.described()
    if different is not None:
        said += f", {different} different"
    if count:
        markers = [quoted(gap) for gap in sorted(gaps) if gap.strip()]
        markers[3:] = ["…"] if len(markers) > 3 else []
        said += f", {count} gap{'s' if count > 1 else ''}" + (f" ({', '.join(markers)})" if markers else "")
    return said


def _said_of_faults(reading: Reading, cells: Sequence[str], first_row: int) -> str:
    """How many of a column's gaps are faults, and the first one."""
    wrong = _faults(reading, Counter(cell for cell in cells if not reading.is_gap(cell)))
    row, cell = next((row, cell) for row, cell in enumerate(cells, first_row) if cell in wrong)
    count = sum(wrong.values())
    said = f"is no {reading.kind}" if count == 1 else f"are no {reading.kind}s"
    return f", of which {count} {said}: {quoted(cell)} in row {row}" + (", …" if count > 1 else "")


def column_of(name: str, cells: Cells, kind: str | None = None, missing: Iterable[str] = (), *,
              target: bool = False, first_row: int = 2) -> Column:
    """Finds out what a column is, and reads it.

    `kind` is what the user says it is: "category", "number", "date" or "text". `missing` are texts that are gaps
    beside the usual ones. A column that is the `target` is never taken for an id, a constant or free text. A few cells
    in a column of numbers or dates that are none are gaps; ValueError where they are the most, or in the target whose
    kind was found out.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"column {name!r} is said to be {shown(kind)}, but must be one of {', '.join(KINDS)}")
    gaps = tuple(dict.fromkeys(filter(None, map(str.strip, missing))))
    reading, array, note = _found(cells, kind, gaps, target)
    column = _column(name, reading, cells, lambda row, cell: (
        _advice(name, kind, reading, texts_of(cells), row + first_row, cell)), array)
    if reading.lenient:
        note += _said_of_faults(replace(reading, lenient=False), texts_of(cells), first_row)
    column = replace(column, said=column.said + note)
    return column if target or kind is not None else _without_use(column, cells)


def _found(cells: Cells, kind: str | None, gaps: tuple[str, ...], target: bool) -> tuple[Reading, Array | None, str]:
    """How the cells of a column are to be read, their values if these could be read all at once, and a note on it."""
    for reading in _likely(cells, gaps) if kind in (None, "number", "date") else ():
        array = _all_at_once(reading, cells) if kind in (None, reading.kind) else None
        if array is None:
            continue
        if kind is None and not target and reading.kind == "number" and _are_codes(cells, array):
            return Reading("category", gaps, spelling="number"), None, ", codes with zeros in front"
        return reading, array, ""
    cells = texts_of(cells)
    reading, note = _reading(cells, Counter(cells), kind, gaps, target)
    return reading, None, note


def _likely(cells: Cells, gaps: tuple[str, ...]) -> Iterator[Reading]:
    """Readings that most columns of numbers or dates have. No other reading is better if one suits all cells."""
    number = Reading("number", gaps)
    yield number
    yield Reading("date", gaps, order="YMD")
    notation = None if isinstance(cells, np.ndarray) else notation_at_once(cells, number.is_gap)
    if notation not in (None, PLAIN):
        yield replace(number, notation=notation)


def _are_codes(cells: Cells, numbers: Array) -> bool:
    """Whether numbers are codes, such as 00123: all have as many digits, and some begin with 0."""
    known = ~np.isnan(numbers)
    if isinstance(cells, np.ndarray) or not known.any():
        return False
    texts = compress(cells, known.tolist())
    length = len(next(texts))
    return (SHORTEST <= length <= LONGEST and bool(numbers[known].min() < 10 ** (length - 1))
            and all(len(text) == length and text.isdecimal() for text in compress(cells, known.tolist())))


def _reading(cells: Sequence[str], counts: Mapping[str, int], kind: str | None, gaps: tuple[str, ...], target: bool,
             ) -> tuple[Reading, str]:
    """How cells are to be read, and a note on it. Some of numbers or dates may still be unreadable."""
    category = Reading("category", gaps)
    filled = {cell: count for cell, count in counts.items() if not category.is_gap(cell)}
    for reading, note in _candidates(cells, counts, kind, gaps):
        values = {cell: count for cell, count in filled.items() if not reading.is_gap(cell)}
        wrong = _faults(reading, values)
        if values and (not wrong or kind is not None or _is_slip(values, wrong)):
            few = kind is None or 2 * sum(wrong.values()) < sum(values.values())
            return replace(reading, lenient=bool(wrong) and few and not (target and kind is None)), note
    if kind in ("number", "date"):
        return Reading("number", gaps) if kind == "number" else Reading("date", gaps, order="YMD"), ""
    if kind == "text":
        return Reading("text", gaps), ""
    return category if target else replace(category, spelling=_spelling(filled)), ""


def _candidates(cells: Sequence[str], counts: Mapping[str, int], kind: str | None, gaps: tuple[str, ...],
                ) -> Iterator[tuple[Reading, str]]:
    """Readings that suit many cells of a column, the likeliest first, and a note on each."""
    if kind in ("category", "text"):
        return
    number = Reading("number", gaps)
    values = {cell: count for cell, count in counts.items() if not number.is_gap(cell)}
    if kind != "date":
        notation = notation_of(values)
        if notation is not None:
            yield replace(number, notation=notation), ""
    found = order_of(values, cells) if kind != "number" else None
    if found is not None:
        yield Reading("date", gaps, order=found[0]), " (both orders fit)" if found[1] else ""
    if kind == "date" and 2 * sum(map(bool, map(SERIAL.fullmatch, values))) > len(values):
        yield Reading("date", gaps, order="serial"), ""
    if kind != "date" and any(clock(cell) is not None for cell in list(values)[:FEW]):
        yield replace(number, clock=True), ""


def _faults(reading: Reading, counts: Mapping[str, int]) -> dict[str, int]:
    """The cells, none of which is a gap, that cannot be read, and how often each is there."""
    return {cell: count for cell, count in counts.items() if reading.value(cell) is None}


def _is_slip(values: Mapping[str, int], wrong: Mapping[str, int]) -> bool:
    """Whether the cells that are no numbers (or dates) are more likely faults or gaps than categories.

    They are where at most 5 % are wrong beside one and the same text in at most half of the cells, and there are too
    many different values for a category.
    """
    total, count = sum(values.values()), sum(wrong.values())
    same = max(wrong.values(), default=0)
    return len(values) > FEW and 2 * same <= total and count - same <= (1 - NEARLY_ALL) * (total - same)


def _spelling(filled: Mapping[str, int]) -> Literal["exact", "lower", "number"]:
    """Which differences between texts do not count in a column of categories."""
    if {cell.casefold() for cell in filled} in WORDS:
        return "lower"
    numbers = all(plain_number(cell) is not None for cell in filled)
    return "number" if filled and numbers and len({canonical(cell) for cell in filled}) == len(filled) else "exact"


def _advice(name: str, kind: str | None, reading: Reading, cells: Sequence[str], row: int, cell: str) -> str:
    """The sentence for a cell of a file to learn from that is not what (nearly) all others are."""
    others = f"was said to be a {kind}" if kind is not None else f"holds {reading.kind}s in nearly all other rows"
    text = shlex.quote(cell) if len(cell) <= SHOWN and cell.isprintable() else "TEXT"
    count = sum(other == cell for other in cells)
    rows = "" if count == 1 else f" (and so in {count} rows)"
    all_gaps = "" if kind is not None else (
        f", --as {shlex.quote(f'{name}={reading.kind}')} where all that is no {reading.kind} does")
    return (f"row {row}, column {name!r} is {quoted(cell)}{rows}, but the column {others}; correct the cell, or say "
            f"--missing={text} where it means a gap{all_gaps}, or --as {shlex.quote(f'{name}=category')} where it is a "
            "value")


def _without_use(column: Column, cells: Cells) -> Column:
    """The column as it is, or as an id, a constant or free text, from which nothing can be learnt."""
    known = known_rows(column)
    if column.kind == "number":
        found = _number_without_use(column)
    else:
        values = column.values if isinstance(column.values, list) else column.values.view(np.int64).tolist()
        found = None
        if len(set(values)) <= 1:
            found = "constant", (f"{quoted(texts_of(cells[:1])[0])} in each row" if known.any() else
                                 "no value in any row")
        elif column.kind == "category":
            found = _text_without_use(cast("list[str | None]", column.values))
    if found is None:
        return column
    kind, why = found
    reading = Reading("text" if kind == "text" else "category", column.reading.gaps)
    texts = [text if there else None for text, there in zip(texts_of(cells), known.tolist(), strict=True)]
    return Column(column.name, kind, texts, f"{kind}, left out: {why}", reading)


def _number_without_use(column: Column) -> tuple[Kind, str] | None:
    """Why nothing can be learnt from a column of numbers, or None."""
    values = cast(NDArray[np.float64], column.values)
    if np.isnan(values).all():
        return "constant", "no value in any row"
    if (values == values[0]).all():
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
    distinct = set(texts)
    words = sum(len(text.split()) for text in distinct) / max(len(distinct), 1)
    if len(distinct) <= FEW:
        return None
    if words >= 2 and len(distinct) >= FREE_TEXT * len(texts):
        return "text", f"{len(distinct)} different texts of several words in {len(texts)} rows"
    if len(distinct) >= NEARLY_ALL * len(texts):
        return "id", f"{len(distinct)} different texts in {len(texts)} rows"
    return None


def columns_of(cells: Mapping[str, Cells], target: str, kinds: Mapping[str, str] | None = None,
               missing: Iterable[str] = (), first_row: int = 2) -> dict[str, Column]:
    """All columns of a table, in its order, the target with them. Those with `left_out` say why in `said`."""
    kinds = kinds or {}
    for name in (target, *kinds):
        if name not in cells:
            raise ValueError(f"there is no column {quoted(name)}, but the table has {shown(', '.join(cells))}")
    missing = tuple(missing)
    return {name: column_of(name, column, kinds.get(name), missing, target=name == target, first_row=first_row)
            for name, column in cells.items()}
