"""The cells of one column: as text, or as an array of numbers or of dates where a library holds them so.

`Texts` keeps many text cells in little memory, `cells_of` makes cells of what a frame, an array or a list holds, and
`texts_of` makes text of any cells. What a column is taken for is decided in `columns.py`, and which columns there are
in `reading.py` and `frames.py`, the callers. No library is imported to find out what came.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import chain
from numbers import Integral, Real
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from .._checks import shown
from .dates import EPOCH

Cells = Sequence[str] | NDArray[np.float64] | NDArray[np.datetime64]    # "", NaN, NaT: a gap; datetime64[s]

WHOLE = 2**53           # integers beyond it are not all float64s
MISSING = ("NoneType", "NAType", "NaTType", "MaskedConstant")       # types of missing values in lists and frames
NO_CELLS = Sized, Iterable, complex, np.complexfloating     # lists, arrays, frames; but text is a cell
BETWEEN = "\0"          # cells of a block: files with it are no tables of text


class Texts(Sequence[str]):
    """The text cells of a long column, in little more memory than the file: blocks of them, each joined to one text.

    No cell may hold NUL. Cells in order are fast. Each jump to another block takes it apart.
    """

    __slots__ = ("_blocks", "_count", "_last", "_size")

    def __init__(self, size: int) -> None:
        """`size` is the number of cells in each block; the last one may have less."""
        self._size = size
        self._blocks: list[str] = []
        self._count = 0
        self._last: tuple[int, list[str]] = (-1, [])        # the block that was taken apart last

    def append(self, cells: Sequence[str]) -> None:
        """Adds a block, of one cell at least."""
        self._blocks.append(BETWEEN.join(cells))
        self._count += len(cells)

    def blocks(self) -> Iterator[Sequence[str]]:
        """All cells, block by block."""
        return (block.split(BETWEEN) for block in self._blocks)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self.blocks())

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        places = range(self._count)[index]      # IndexError beyond the end
        if isinstance(places, range):
            return [self[place] for place in places]
        number, place = divmod(places, self._size)
        last = self._last
        if last[0] != number:
            last = self._last = number, self._blocks[number].split(BETWEEN)
        return last[1][place]

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Texts | list) else NotImplemented

    __hash__ = None         # type: ignore[assignment]


def blocks_of(cells: Sequence[str]) -> Iterator[Sequence[str]]:
    """All text cells of a column, in blocks."""
    return cells.blocks() if isinstance(cells, Texts) else iter((cells,))


# Cells as text


def written(value: Any) -> str:
    """A value as the text of a cell; "" for a missing one."""
    if is_missing(value):
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    if isinstance(value, timedelta | np.timedelta64):
        return written_number(in_seconds(value))
    if isinstance(value, Real) and not isinstance(value, bool | np.bool_):
        return str(int(value)) if isinstance(value, Integral) else written_number(float(value))
    return (value.isoformat(" ") if isinstance(value, datetime) else str(value)).strip()


def written_number(number: float) -> str:
    """The shortest text of a number: without a point where it is whole."""
    return str(int(number)) if number.is_integer() else repr(number)


def texts_of(cells: Cells) -> Sequence[str]:
    """Any cells as text."""
    if not isinstance(cells, np.ndarray):
        return cells
    distinct, places = np.unique(cells, return_inverse=True)
    if distinct.dtype.kind == "f":
        texts = ["" if number != number else written_number(number) for number in distinct.tolist()]
    else:
        texts = ["" if text == "NaT" else text.replace("T", " ").removesuffix(" 00:00:00")
                 for text in distinct.astype(str).tolist()]
    return [texts[place] for place in places.tolist()]


# Cells of what a library holds


def cells_of(name: str, values: Any) -> Cells:
    """The cells of a column: a list, an array, or a Series of a frame.

    Numbers become float64, but text if one is an integer beyond 2**53. Dates become datetime64[s], in UTC where they
    have a time zone. Durations become seconds. All else becomes text: truth values, categories, mixtures.
    TypeError where a value is no cell, such as a list; it counts rows from 0.
    """
    if isinstance(values, np.ma.MaskedArray):
        values = values.filled(np.nan) if values.dtype.kind == "f" else np.array(values.tolist(), object)
    dtype: Any = getattr(values, "dtype", None)
    if hasattr(dtype, "tz"):                # pandas' dates of a time zone
        values = np.asarray(values, "datetime64[s]")
    elif isinstance(dtype, np.dtype):       # an array, or a Series around one
        values = np.asarray(values)
    elif hasattr(dtype, "is_temporal") and (dtype.is_temporal() or dtype.is_float() or (
            dtype.is_integer() and not values.null_count())):       # of polars; NumPy has no gaps among integers
        values = values.to_numpy()
    if isinstance(values, np.ndarray):
        return of_array(name, values)
    return of_objects(name, as_list(name, values), text=hasattr(dtype, "categories"))


def as_list(name: str, values: Any) -> list[Any]:
    """The values of a column as a list, by whichever method there is."""
    method = next((found for found in ("to_pylist", "to_list", "tolist") if hasattr(values, found)), None)
    if method is not None:
        values = getattr(values, method)()
    elif isinstance(values, Sequence) and not isinstance(values, str | bytes):
        values = list(values)
    elif hasattr(values, "__array__"):
        values = np.asarray(values).tolist()
    if not isinstance(values, list):
        raise TypeError(f"column {name!r} is {shown(values)}, but must be a list, an array or a Series of cells")
    return values


def of_array(name: str, values: NDArray[Any]) -> Cells:
    """The cells of an array."""
    kind = values.dtype.kind
    if values.ndim != 1:
        raise TypeError(f"column {name!r} has shape {values.shape}, but must have one dimension: one cell a row")
    if kind in "iu" and values.size and (values.max() > WHOLE or values.min() < -WHOLE):
        return [str(number) for number in values.tolist()]
    if kind in "iuf":
        return values.astype(np.float64, copy=False)
    if kind == "b":
        return ["True" if value else "False" for value in values.tolist()]
    if kind == "M":
        return values.astype("datetime64[s]", copy=False)
    if kind == "m":
        return np.asarray(values / np.timedelta64(1, "s"), np.float64)
    return of_objects(name, values.tolist())        # text, Python's objects


def of_objects(name: str, values: list[Any], text: bool = False) -> Cells:
    """The cells of a list. With `text` all become text."""
    kinds = set(map(type, values))
    wrong = {kind for kind in kinds if issubclass(kind, NO_CELLS) and not issubclass(kind, str | bytes)}
    if wrong:
        row, value = next((row, value) for row, value in enumerate(values) if type(value) in wrong)
        raise TypeError(f"row {row}, column {name!r} holds the {type(value).__name__} {shown(value)}, but must hold a "
                        "number, text, a date or True or False; make it one, or leave the column out")
    if kinds == {str}:
        return [*map(str.strip, values)]
    if text:
        return [*map(written, values)]
    known = set(map(type, (value for value in values if not is_missing(value))))
    for types, convert in ARRAYS:
        if known and all(issubclass(kind, types) and not issubclass(kind, bool | np.bool_) for kind in known):
            array = convert([None if is_missing(value) else value for value in values])
            return [*map(written, values)] if array is None else array
    return [*map(written, values)]


def is_missing(value: Any) -> bool:
    """Whether a value stands for none."""
    if isinstance(value, Decimal):
        return value.is_nan()
    return type(value).__name__ in MISSING or bool(value != value)


def numbers(values: list[Any]) -> NDArray[np.float64] | None:
    """Numbers as float64, NaN for None; None where float64 cannot hold one."""
    try:
        array = np.array([np.nan if value is None else float(value) for value in values])
        large = (values[row] for row in np.flatnonzero(np.abs(array) >= WHOLE).tolist())
        inexact = any(isinstance(value, Integral | Decimal) and abs(int(value)) > WHOLE for value in large)
    except OverflowError:
        return None
    return None if inexact else array


def moments(values: list[Any]) -> NDArray[np.datetime64]:
    """Dates as datetime64[s], NaT for None."""
    return np.array([np.datetime64("NaT") if value is None else moment(value) for value in values], "datetime64[s]")


def moment(value: date | np.datetime64) -> np.datetime64:
    """A date in whole seconds."""
    if isinstance(value, np.datetime64):
        return value.astype("datetime64[s]")
    if not isinstance(value, datetime):
        return np.datetime64(86_400 * (value.toordinal() - EPOCH), "s")
    seconds = 86_400 * (value.toordinal() - EPOCH) + 3600 * value.hour + 60 * value.minute + value.second
    return np.datetime64(seconds - round((value.utcoffset() or timedelta()).total_seconds()), "s")


def durations(values: list[Any]) -> NDArray[np.float64]:
    """Durations in seconds, NaN for None."""
    return np.array([np.nan if value is None else in_seconds(value) for value in values])


def in_seconds(value: timedelta | np.timedelta64) -> float:
    """A duration in seconds."""
    return value.total_seconds() if isinstance(value, timedelta) else float(value / np.timedelta64(1, "s"))


# (types, what makes an array of values that all are of these). NumPy's durations are integers, too: they come first.
ARRAYS: tuple[tuple[tuple[type, ...], Callable[[list[Any]], Cells | None]], ...] = (
    ((timedelta, np.timedelta64), durations), ((date, np.datetime64), moments), ((Real, Decimal), numbers))
