"""ARFF, the format of Weka: a table of text with commas, below lines that name its columns and say what they are.

`reading.py` is the only caller. The names are taken from these lines, and the kinds are found out, as in any table.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from itertools import chain

Row = list[str]

ATTRIBUTE = re.compile(r"""@attribute\s+(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^\s{]+))""", re.IGNORECASE)


def is_arff(lines: Iterable[str]) -> bool:
    """Whether the first line that is no comment says @relation."""
    first = next(without_comments(lines), "")
    return first[:9].casefold() == "@relation"


def rows_of_arff(path: str, lines: Iterable[str]) -> Iterator[Row]:
    """The names of the columns, and all rows. A question mark is a gap."""
    lines = without_comments(lines)
    names = []
    for line in lines:
        match = ATTRIBUTE.match(line)
        if match:
            names.append(re.sub(r"\\(.)", r"\1", next(filter(None, match.groups()), "")))
        if line[:5].casefold() == "@data":
            break
    yield names
    first = next(lines, None)
    if first is None:
        return
    if first.startswith("{"):
        raise ValueError(f"{path} is an ARFF file of sparse rows, which are not read; save it as CSV")
    rows = csv.reader(chain([first], lines), quotechar='"' if '"' in first else "'", escapechar="\\",
                      skipinitialspace=True)
    try:
        for row in rows:
            yield ["" if cell.strip() == "?" else cell.strip() for cell in row]
    except csv.Error as error:
        raise ValueError(f"{path} cannot be read as an ARFF file: {error}; look for a quote that is not closed"
                         ) from None


def without_comments(lines: Iterable[str]) -> Iterator[str]:
    return (line for text in lines if (line := text.strip()) and not line.startswith("%"))
