"""A table from what a program holds: a frame of pandas or polars, an Arrow table, a dictionary of columns, an array.

given.py calls `table_from` for whatever is no path. What came is told by its methods, so no library is imported. What
values become stands in `cells.py`. Rows are counted from 0, as these libraries do.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._checks import instead, shown
from .cells import cells_of, written
from .reading import Table, of_arrow, of_polars, unique


def table_from(data: object) -> Table:
    """The table of a frame, a dictionary of columns, or rows: a 2-D array, a structured one, or lists.

    Columns of rows are called "0", "1", …; an index does not count. ValueError where it has no rows, no columns or
    columns of several lengths, or another shape; TypeError where it is no table, or holds what is no cell.
    """
    path = f"the {type(data).__name__}"
    names, columns = columns_in(path, data)
    if not columns:
        raise ValueError(f"{path} has no columns; pass one that has, and a row at least")
    try:
        cells = {name: cells_of(name, column) for name, column in zip(unique(names), columns, strict=True)}
    except TypeError as error:
        raise TypeError(f"{path}: {error}") from None
    first = next(iter(cells))
    for name, column in cells.items():
        if len(column) != len(cells[first]):
            raise ValueError(f"{path}: column {name!r} has {len(column)} cells, but column {first!r} has "
                             f"{len(cells[first])}; all must have as many")
    if not len(cells[first]):
        raise ValueError(f"{path} has no rows; pass one that has a row at least")
    module = type(data).__module__.partition(".")[0]
    return Table(path, cells, 0, type(data).__name__ if module == "builtins" else f"{module} {type(data).__name__}")


def columns_in(path: str, data: Any) -> tuple[list[str], list[Any]]:
    """(names, columns) of anything but a file."""
    if hasattr(data, "toarray"):                        # of SciPy; some of these are also mappings
        raise TypeError(f"{path} is sparse, which is no table; {instead('it', data)}")
    if hasattr(data, "iloc") and hasattr(data, "columns"):                  # pandas; names may occur twice
        return [*map(written, data.columns)], [data.iloc[:, place] for place in range(len(data.columns))]
    if hasattr(data, "get_columns") and hasattr(data, "columns"):                                        # polars
        return of_polars(data)
    if hasattr(data, "column_names") and hasattr(data, "columns"):           # Arrow
        return of_arrow(data)
    if isinstance(data, Mapping):
        return [*map(written, data)], list(data.values())
    if isinstance(data, np.ndarray):
        return columns_of_array(path, data)
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return columns_of_rows(path, data)
    array = np.asarray(data) if hasattr(data, "__array__") and not hasattr(data, "detach") else None
    if array is not None and array.ndim == 2:
        return columns_of_array(path, array)
    raise TypeError(f"{path} is no table; {instead('it', data)}")


def columns_of_array(path: str, data: np.ndarray[Any, Any]) -> tuple[list[str], list[Any]]:
    """Those of an array (rows, columns), or of a structured one (rows,)."""
    if not isinstance(data, np.ma.MaskedArray):
        data = np.asarray(data)         # also of np.matrix, whose columns have two dimensions
    if data.dtype.names is not None and data.ndim == 1:
        return list(data.dtype.names), [data[name] for name in data.dtype.names]
    if data.ndim != 2:
        raise ValueError(f"{path} has shape {data.shape}, but a table has rows and columns; pass an array of two "
                        "dimensions")
    return [str(place) for place in range(data.shape[1])], list(data.T)


def columns_of_rows(path: str, rows: Sequence[Any]) -> tuple[list[str], list[Any]]:
    """Those of a list of rows."""
    if not rows:
        raise ValueError(f"{path} has no rows; pass one that has a row at least")
    for number, row in enumerate(rows):
        if not isinstance(row, list | tuple | np.ndarray):
            hint = "pass pandas.DataFrame(it)" if isinstance(row, Mapping) else "pass a dictionary of columns, or rows"
            raise TypeError(f"{path}: row {number} is {shown(row)}, but must be a list of cells; {hint}")
        if len(row) != len(rows[0]):
            raise ValueError(f"{path}: row {number} has {len(row)} cells, but row 0 has {len(rows[0])}; all must have "
                             "as many")
    return [str(place) for place in range(len(rows[0]))], [list(column) for column in zip(*rows, strict=True)]
