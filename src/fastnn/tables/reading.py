"""A table in a file, as it stands: its columns, of text cells unless the file holds arrays.

Finds out what a file does not say: how it is compressed, its encoding, what separates its cells, whether its first row
names the columns. What the cells mean is not known here. Errors name the row, as an editor counts them: row 1 is the
first one that holds anything. Rows are read in blocks, of which only the text stays: a large file takes little more
memory than its size.
"""

import bz2
import csv
import gzip
import io
import lzma
import os
import re
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib.util import find_spec
from itertools import chain, islice
from os import PathLike
from types import ModuleType
from typing import IO, Any

from .._checks import library
from ..storage.model_file import printable
from .arff import is_arff, rows_of_arff
from .cells import Cells, Texts, cells_of, texts_of, written
from .headers import has_header, is_comment, lines_above, names_expected, names_in, without_comments, without_mark

# {how a file begins: its encoding in Python's words, and in people's}
MARKS = {b"\xef\xbb\xbf": ("utf-8-sig", "UTF-8"), b"\xff\xfe": ("utf-16", "UTF-16"), b"\xfe\xff": ("utf-16", "UTF-16")}
SAMPLE = 200                # rows from which the separator and the header are found
MOST_NAMES = 20             # of columns, in a sentence
MOST_COLUMNS = 1 << 17      # twice as many as a model file has room for
BLOCK = 1 << 16             # cells that are read at a time
MOST_BYTES = 1 << 32        # of text, unpacked: a small file may hold any amount
PART = 1 << 20              # bytes that are read at a time
SPACES = " "                # as a separator: one or more of them, or tabs
SEPARATORS = ";", "\t", "|", ",", SPACES        # the first comes first: a comma between digits may be a decimal one
CONSISTENT = 0.9            # the share of rows, from the first such one on, that must have as many cells as most have
IN_SPACES = re.compile(r'"((?:[^"]|"")*)"(?=\s|$)|(\S+)')

DAMAGED = OSError, EOFError, lzma.LZMAError, zlib.error      # what a compressed file that is not whole raises
# And a zip archive: one that is encrypted, of another method, or whose names and sizes are spoiled.
NO_ARCHIVE = zipfile.BadZipFile, RuntimeError, NotImplementedError, IndexError, UnicodeDecodeError, struct.error

EXCEL = b"\xd0\xcf\x11\xe0", b"PK\x03\x04"         # how files begin that hold no text
PARQUET = b"PAR1"

Row = list[str]


@dataclass(frozen=True)
class Table:
    """The cells of a table, column by column: text without spaces around it, or arrays of numbers or dates.

    `path` is what an error calls it. `first_row` is the number of the first row of cells: 2 after a row of names.
    `said` is what was found out.
    """

    path: str
    cells: dict[str, Cells]
    first_row: int = 2
    said: str = ""

    def __len__(self) -> int:
        return len(next(iter(self.cells.values())))

    def column(self, name: str) -> Cells:
        """One column's cells."""
        if name not in self.cells:
            raise ValueError(f"{self.path} has no column {name!r}; it has {listed(self.cells)}"
                             f"{did_you_mean(name, self.cells)}")
        return self.cells[name]

    def texts(self, name: str) -> Sequence[str]:
        """One column's cells, as text in any case."""
        return texts_of(self.column(name))


def listed(names: Collection[str], most: int = MOST_NAMES) -> str:
    """The first names, separated by commas."""
    return printable(", ".join(islice(names, most))) + (", …" if len(names) > most else "")


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """What to add to a sentence where one of the names is nearly this one: in other capitals, spaces or letters."""
    alike = {"".join(other.casefold().split()): other for other in names}
    plain = "".join(name.casefold().split())
    short = [other for other in islice(alike, SAMPLE) if len(other) <= SAMPLE] if len(plain) <= SAMPLE else []
    found = [plain] if plain in alike else get_close_matches(plain, short, 1)
    return f"; did you mean {alike[found[0]]!r}?" if found else ""


def read_table(path: str | PathLike[str], separator: str | None = None, header: bool | None = None,
               expected: Collection[str] = ()) -> Table:
    """Reads a file, or what comes through a pipe. `separator` and `header` say what is found out otherwise; a table in
    which columns are `expected` has a row of names if it names one of these.

    ValueError where it is no table; OSError where it cannot be read; ImportError where a library is missing that its
    format needs.
    """
    name, data = str(path), unpacked(str(path), contents(path))
    if data.startswith(PARQUET):
        return Table(name, from_parquet(name, data), 0, "Parquet, rows counted from 0")
    if data.startswith(EXCEL):
        rows, said = without_empty_ends(from_workbook(name, data)), "Excel, first sheet"
    else:
        text = decoded(name, data)
        if is_arff(text.lines()):
            table = table_of_rows(name, rows_of_arff(name, text.lines()), True, expected, "")
            return replace(table, said="ARFF, rows counted from @data")
        if separator is None:
            separator = found_separator(name, text)
        rows, said = without_empty_ends(rows_of(name, text, separator)), (
            f"{text.said}, cells separated by {spoken(separator)}")
    return table_of_rows(name, rows, header, expected, said)


def table_of_rows(path: str, rows: Iterator[Row], header: bool | None, expected: Collection[str], said: str) -> Table:
    """A Table of rows. The first one may lack the name of a column of row names."""
    sample = list(islice(rows, SAMPLE))
    width = usual_width(without_comments(sample))
    above = lines_above(sample, width)
    sample = sample[above:]
    if len(sample) > 1 and is_comment(sample[0]) and not is_comment(sample[1]):
        sample[0] = without_mark(sample[0], width)
    notes: list[Row] = []
    rows = equally_long(path, chain(sample, rows), width, above + 1, notes)
    sample = list(islice(rows, SAMPLE))
    if header is None:
        header = names_expected(sample, expected) if expected else has_header(sample)
    if len(sample) < 1 + header:
        there_is = "no rows" if not sample else "one row, which names the columns, and none of cells"
        use = "predict" if expected else "learn from"
        raise ValueError(f"{path} has {there_is}, so there is nothing to {use}; pass another file")
    if len(sample[0]) < width and not header:
        raise other_length(path, above + 1, sample[0], width)
    if len(sample[0]) < width:          # R writes the names of rows without a name above them
        sample[0] = ["", *sample[0]]
    names, taken = names_in(sample) if header else (list(map(str, range(width))), 0)
    again = sample[0] if header else None       # in files that were put together of several: a row of gaps
    columns = columns_of_rows(([""] * width if row == again else row for row in chain(sample[taken:], rows)), width)
    said += f"; {said_of_names(above + 1, taken)}"
    if above or notes:
        said += f", {above} above the table and {len(notes)} below it are no rows"
    return Table(path, dict(zip(unique(names), columns, strict=True)), above + taken + 1, said)


def said_of_names(first: int, taken: int) -> str:
    """Which rows name the columns."""
    if taken == 2:
        return f"rows {first} and {first + 1} name the columns"
    return f"row {first} names the columns" if taken else "no row of names"


def columns_of_rows(rows: Iterator[Row], width: int) -> list[Cells]:
    """The columns of rows that all have so many cells."""
    size = max(1, BLOCK // width)
    columns = [Texts(size) for _ in range(width)]
    while block := list(islice(rows, size)):
        for column, cells in zip(columns, zip(*block, strict=True), strict=True):
            column.append(cells)
    return list(columns)


def unique(names: Iterable[str]) -> list[str]:
    """Names, each of its own: a second "a" becomes "a (2)", and an empty one the column's number, from 0."""
    taken: dict[str, int] = {}
    result: list[str] = []
    for number, name in enumerate(names):
        name = name or str(number)
        taken[name] = taken.get(name, 0) + 1
        result.append(name if taken[name] == 1 else f"{name} ({taken[name]})")
    return result if len(set(result)) == len(result) else [f"{name} [{i}]" for i, name in enumerate(result)]


# From a path to bytes


def contents(path: str | PathLike[str]) -> bytes:
    """All bytes of a file or a pipe; a device may have no end."""
    kind = stat.S_IFMT(os.stat(path).st_mode)
    if kind in (stat.S_IFCHR, stat.S_IFBLK):        # such as /dev/zero
        raise OSError(f"{path} is a device, but must be a file or a pipe: pass the path of one")
    with open(path, "rb") as file:
        return at_most(str(path), file)


def at_most(path: str, file: IO[bytes]) -> bytes:
    """All bytes of an open file, unless they are too many."""
    parts, size = [], 0
    while part := file.read(PART):      # what is asked for takes memory at once, even where less is there
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            raise ValueError(f"{path} holds more than {MOST_BYTES >> 30} GB, which is more than is read at once; pass "
                             "a part of its rows")
    return b"".join(parts)


def unpacked(path: str, data: bytes) -> bytes:
    """The bytes of a compressed file as they were before, found by how they begin."""
    openers: dict[bytes, Callable[[IO[bytes]], Any]] = {
        b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file), b"BZh": bz2.BZ2File, b"\xfd7zXZ\0": lzma.LZMAFile}
    for begin, opener in openers.items():
        if data.startswith(begin):
            try:
                with opener(io.BytesIO(data)) as file:
                    return at_most(path, file)
            except DAMAGED as error:
                raise ValueError(f"{path} is compressed, but not whole: {error}; copy it again") from None
    return from_archive(path, data) if data.startswith(b"PK\x03\x04") else data


def from_archive(path: str, data: bytes) -> bytes:
    """The only file of a zip archive; an Excel workbook, which is one, stays as it is."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
            if "[Content_Types].xml" in names:
                return data
            names = [name for name in names if not name.startswith("__MACOSX/")]
            if len(names) != 1:
                raise ValueError(f"{path} holds {len(names)} files ({printable(', '.join(names[:5]))}), but must hold "
                                 "one; unpack it and pass one of them")
            with archive.open(names[0]) as file:
                return at_most(path, file)
    except (*DAMAGED, *NO_ARCHIVE) as error:
        raise ValueError(f"{path} is a zip archive that cannot be unpacked: {error}; unpack it yourself") from None


# From bytes to text


@dataclass(frozen=True)
class Text:
    """The bytes of a file of text, and their encoding: in Python's words, and in people's."""

    data: bytes
    encoding: str
    said: str

    def lines(self) -> IO[str]:
        """All lines, decoded as they are asked for."""
        return io.TextIOWrapper(io.BytesIO(self.data), self.encoding, errors="replace", newline="")


def decoded(path: str, data: bytes) -> Text:
    """The text in bytes: in the encoding that a byte-order mark says, else UTF-8, else Windows-1252."""
    encoding, said = next((found for mark, found in MARKS.items() if data.startswith(mark)), ("utf-8", "UTF-8"))
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise ValueError(f"{path} begins as {said}, but byte {error.start} is not; save it as UTF-8") from None
        # The five bytes that Windows-1252 leaves out are letters of no language: they are replaced.
        text, encoding, said = data.decode("cp1252", errors="replace"), "cp1252", "Windows-1252"
    if "\0" in text:
        raise ValueError(f"{path} holds NUL characters, so it is no table of text: pass a CSV file, a Parquet file or "
                         "an Excel workbook")
    return Text(data, encoding, said)


# From text to rows


def without_empty_ends(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows from the first to the last one that holds anything.

    Between them a row of gaps is a row, as it is predicted like others; an empty line is none.
    """
    empty: list[Row] | None = None
    for row in rows:
        if any(row):
            yield from empty or ()
            yield row
            empty = []
        elif empty is not None and len(row) > 1:
            empty.append(row)


def spoken(separator: str) -> str:
    return {"\t": "tabs", SPACES: "spaces", ",": "commas", ";": "semicolons"}.get(separator, repr(separator))


def rows_of(path: str, text: Text, separator: str) -> Iterator[Row]:
    """The rows of a text, without spaces around cells.

    A row that is one cell, in which the separator stands, was quoted as a whole: its text is read once more.
    """
    lines = text.lines()
    if separator == SPACES:
        rows: Iterable[Row] = ([quoted.replace('""', '"') or plain for quoted, plain in IN_SPACES.findall(line)]
                               for line in lines)
    else:
        rows = csv.reader(lines, delimiter=separator)
    try:
        for row in rows:
            if len(row) > MOST_COLUMNS:
                raise ValueError(f"{path} has a row of {len(row)} cells, which are more than {MOST_COLUMNS}; keep the "
                                 "columns that matter")
            if len(row) == 1 and separator != SPACES and separator in row[0]:
                row = next(csv.reader([row[0]], delimiter=separator), row)
            yield list(map(str.strip, row))
    except csv.Error as error:
        raise ValueError(f"{path} cannot be read as cells separated by {spoken(separator)}: {error}; look for a quote "
                         'that is not closed (")') from None


def found_separator(path: str, text: Text) -> str:
    """What separates cells: that by which most rows of a sample have equally many, and more than one.

    Of several the first in SEPARATORS is taken. Spaces are, if they find more cells than every other.
    """
    best, widest = "", 1
    for separator in SEPARATORS:
        try:
            sample = list(islice(without_empty_ends(rows_of(path, text, separator)), SAMPLE))
        except ValueError:      # quotes that this one does not close
            continue
        widths = list(map(len, without_comments(sample)))
        width, count = Counter(widths).most_common(1)[0] if widths else (1, 0)
        wanted = not best or (separator == SPACES and width > widest)
        if wanted and width > 1 and count >= CONSISTENT * (len(widths) - widths.index(width)):
            best, widest = separator, width
    return best or ","          # one column


def usual_width(sample: list[Row]) -> int:
    """The number of cells that most of the first rows have, without those that are empty in all rows and have no
    name."""
    width = Counter(map(len, sample[1:] or sample)).most_common(1)[0][0] if sample else 0
    while sample and width > len(sample[0]) and not any(any(row[width - 1:]) for row in sample):
        width -= 1
    return width


def equally_long(path: str, rows: Iterable[Row], width: int, first: int, notes: list[Row]) -> Iterator[Row]:
    """Rows of so many cells, the first of which has this number. Empty cells behind them do not count; any other length
    is refused, but the first row may lack one cell. Lines of one cell below the last row become `notes`."""
    for number, row in enumerate(rows, first):
        if notes:
            if len(row) > 1:
                raise other_length(path, number - len(notes), notes[0], width)
        elif not any(row):
            row = [""] * width
        if len(row) != width:
            while len(row) > width and not row[-1]:
                row.pop()
            if len(row) == 1 and width > 2 and number > first:
                notes.append(row)
                continue
            if len(row) != width and not (number == first and len(row) == width - 1):
                raise other_length(path, number, row, width)
        yield row


def other_length(path: str, number: int, row: Row, width: int) -> ValueError:
    """The error for a row that has not as many cells as the others."""
    return ValueError(f"{path}: row {number} has {len(row)} cells, but most rows have {width}; mend it, or leave it "
                      "out")


# Files that hold no text


def from_workbook(path: str, data: bytes) -> Iterator[Row]:
    """The rows of an Excel workbook's first sheet."""
    calamine = library("python_calamine", "python-calamine", "excel", "An Excel workbook")
    try:
        sheet = calamine.CalamineWorkbook.from_filelike(io.BytesIO(data)).get_sheet_by_index(0)
        rows = sheet.to_python()
    except Exception as error:      # of Rust: it has a class for each fault, and no common one
        raise ValueError(f"{path} is no Excel workbook that can be read: {error}; save it as CSV") from None
    return (list(map(written, row)) for row in rows)


def from_parquet(path: str, data: bytes) -> dict[str, Cells]:
    """The columns of a Parquet file, by whichever library is there."""
    readers: dict[str, Callable[[ModuleType], tuple[list[str], list[Any]]]] = {
        "pyarrow.parquet": lambda pyarrow: of_arrow(pyarrow.read_table(io.BytesIO(data))),
        "polars": lambda polars: of_polars(polars.read_parquet(io.BytesIO(data))),
        "duckdb": lambda duckdb: of_duckdb(duckdb.read_parquet(path))}
    there = next((name for name in readers if find_spec(name.partition(".")[0])), "duckdb")     # else the lightest
    module = library(there, "duckdb, polars or pyarrow", "parquet", "A Parquet file")
    try:
        names, columns = readers[there](module)
    except Exception as error:      # each library has its own
        raise ValueError(f"{path} is no Parquet file that can be read: {error}; write it again") from None
    if not columns or not len(columns[0]):
        raise ValueError(f"{path} has no rows, so there is nothing to learn from; pass another file")
    try:
        return {name: cells_of(name, column) for name, column in zip(unique(names), columns, strict=True)}
    except TypeError as error:
        raise TypeError(f"{path}: {error}") from None


def of_arrow(table: Any) -> tuple[list[str], list[Any]]:
    """(names, columns) of an Arrow table."""
    return list(table.column_names), list(table.columns)


def of_polars(frame: Any) -> tuple[list[str], list[Any]]:
    """Those of a frame of polars."""
    return list(frame.columns), frame.get_columns()


def of_duckdb(relation: Any) -> tuple[list[str], list[Any]]:
    """Those of what duckdb read."""
    rows = relation.fetchall()
    return list(relation.columns), [[row[place] for row in rows] for place in range(len(relation.columns))]
