"""Where the table in a file begins, and what its columns are called: of its first rows those above it, and its names.

Above a table there may be lines about it: comments, a title. Then come one row of names or two, or none. `reading.py`
is the only caller. Nothing is read here, and nothing is known of what columns hold but whether it is numbers.
"""

from collections.abc import Collection
from itertools import dropwhile, takewhile

CONSISTENT = 0.9            # the share of cells that must be numbers where a column holds them
COMMENTS = "#", "%"         # how lines begin that are no rows
ENOUGH = 10                 # rows that show that the one above them is no row like them
GAPS = {"", "?", "-", ".", "na", "n/a", "nan", "null", "none"}      # which are no names, and say nothing of a column

Row = list[str]


def is_comment(row: Row) -> bool:
    return row[0].startswith(COMMENTS)


def without_comments(rows: list[Row]) -> list[Row]:
    """The rows behind the comments that the first ones are; all where nothing else is there."""
    return list(dropwhile(is_comment, rows)) or rows


def lines_above(rows: list[Row], width: int) -> int:
    """How many of the first rows stand above a table of so many columns: comments, and text about it.

    A comment that has a cell for each column is the row of names, if no other is.
    """
    comments = len(rows) - len(without_comments(rows))
    if comments and len(without_mark(rows[comments - 1], width)) == width and not has_header(rows[comments:]):
        return comments - 1
    return comments + len(list(takewhile(lambda row: is_about(row, width), rows[comments:])))


def is_about(row: Row, width: int) -> bool:
    """Whether a row above a table is no part of it: it is too short, or one text in a sheet's row."""
    filled = list(filter(None, row))
    return len(row) < width - 1 or (width > 2 and len(filled) == 1 and not is_number(filled[0]))


def without_mark(row: Row, width: int) -> Row:
    """A comment as a row of names. A # alone is a name, unless the other cells suffice."""
    if row[0] in COMMENTS:
        return row[1:] if len(row) == width + 1 else row
    return [row[0].lstrip("".join(COMMENTS)).strip(), *row[1:]]


def names_in(rows: list[Row]) -> tuple[Row, int]:
    """(the names of columns, the number of rows that they take) where the first row names them.

    A second row of names, of units or of answers is left out. It gives the names that the first row lacks, and all if
    it lacks none itself.
    """
    first, below = rows[0], rows[1:]
    if not is_second_row_of_names(below):
        return first, 1
    second = below[0]
    if all(first):
        return first, 2
    if all(second) and len(set(second)) == len(second):
        return second, 2
    return [name or other for name, other in zip(first, second, strict=True)], 2


def is_second_row_of_names(rows: list[Row]) -> bool:
    """Whether text stands above numbers in the first row, in two columns at least, and a number in none."""
    if len(rows) < 1 + ENOUGH or any(len(row) != len(rows[0]) for row in rows):
        return False
    above = [first for first, *others in zip(*rows, strict=True) if holds_numbers(others)]
    return sum(cell.lower() not in GAPS for cell in above) >= 2 and not any(map(is_number, above))


def has_header(rows: list[Row]) -> bool:
    """Whether the first row names the columns, to judge by the others.

    Text above a column of numbers says yes, and so do whole numbers that count up, such as years. Otherwise a number
    above numbers says no. Where no column says anything, the row names them if none of its cells occurs below.
    """
    if len(rows) < 2 or len(rows[0]) != len(rows[1]):
        return bool(rows)
    text_above = number_above = repeated = False
    for first, *others in zip(*rows, strict=True):
        if holds_numbers(others) and first.lower() not in GAPS:
            number_above |= is_number(first)
            text_above |= not is_number(first)
        repeated |= first in telling(others)
    return text_above or counts_up(rows[0]) or not (number_above or repeated)


def telling(cells: Collection[str]) -> Row:
    """The cells that say something of a column."""
    return [cell for cell in cells if cell.lower() not in GAPS]


def holds_numbers(cells: Collection[str]) -> bool:
    """Whether nearly all cells of a column that say something are numbers."""
    found = telling(cells)
    return bool(found) and sum(map(is_number, found)) >= CONSISTENT * len(found)


def counts_up(row: Row) -> bool:
    """Whether the numbers in a row are whole, three at least, and each is the one before plus 1."""
    numbers = [int(cell) for cell in row if cell.isdecimal()]
    return len(numbers) > 2 and numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def names_expected(rows: list[Row], expected: Collection[str]) -> bool:
    """Whether the first row names expected columns. Names that are numbers may be cells: then it must have them all."""
    found = set(expected).intersection(rows[0]) if rows else set()
    if not found and len(rows) > 1 and not all(map(str.isdecimal, expected)):
        return has_header(rows)         # none is there: an error will tell the names
    return len(found) == len(set(expected)) or not all(map(str.isdecimal, found))


def is_number(cell: str) -> bool:
    """Whether a cell is a number as people write it: with a point or a comma."""
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True
