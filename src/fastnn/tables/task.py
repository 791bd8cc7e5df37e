"""A task: what is to be learned from a table. Which columns say something, what the target holds, which rows have one.

`task_of` makes it, and with it the recipe that the model keeps. Nothing is trained here. Errors name the table, the
row and the column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from ..scaling import Scaling
from .cells import WHOLE
from .columns import column_of, columns_of
from .encoding import Encoding
from .giveaways import adds_up, gives_away
from .kinds import Column, known_rows
from .numerals import PLAIN, plain_number
from .recipe import Label, Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from .reading import Table

Kind = Literal["classification", "regression"]

MOST_CLASSES = 20           # a target of at most so many different whole numbers holds classes, unless the user says no
FEWEST_ROWS = 20
ASIDE = 100                 # of so many numbers, one at each end has no say in what is far
FAR = 10                    # times the range of the others: a number that lies so far from them is an outlier
MOST_SHOWN = 3              # outliers, in a line
NO_DATES = "make it the days since a day, such as its first one"
# {kind of a target: what to do where its values are too many to be classes}
INSTEAD = {"number": "learn it as a number", "date": NO_DATES, "category": "group its values, or learn another column"}


@dataclass(frozen=True)
class Task:
    """What is learned: a recipe, the columns, and the target in the rows that have one."""

    recipe: Recipe
    columns: dict[str, Column]      # those of the recipe
    rows: NDArray[np.intp]          # indices (n,) of the rows with a target
    y: NDArray[np.intp] | NDArray[np.float64]       # of these: the number of the class, or the number itself (n,)
    learned: NDArray[np.intp] | NDArray[np.float64]     # y, but outliers are brought near
    said: list[str]                 # of each column of the table what it was taken for; before these, of outliers


def task_of(table: Table, target: str, kind: Kind | None = None, *, drop: Sequence[str] = (),
            kinds: Mapping[str, str] | None = None, missing: Sequence[str] = ()) -> Task:
    """Finds out what can be learned of the column `target` from the others.

    `kind` says whether it holds classes or numbers, `drop` which columns are left out, `kinds` what columns are, and
    `missing` which cells are gaps; all are found out otherwise.
    """
    table.column(target)
    check_rows(len(table), table)
    columns, goal, said = columns_to_learn_from(table, target, drop, kinds or {}, missing)
    if kind is None:
        check_kind(table, goal)
    rows = rows_with(goal, table)
    labels = labels_of(goal, rows, table, kind)
    readings = {name: column.reading for name, column in columns.items()}
    encoding = Encoding.of(columns, rows)
    if labels is None:
        y = numbers_of(goal, rows, table)
        if y.min() == y.max():
            raise ValueError(f"{table.path}: column {target!r} is {y[0]:.12g} in each row: nothing is to be learned; "
                             "add rows with other values, or learn another column")
        near = brought_near(y)
        mean, scale = (float(part[0]) for part in vars(Scaling.of(near[:, None])).values())
        said = said_of_outliers(y, near, rows, goal, table) + said
        return Task(Recipe(target, readings, encoding, None, mean, scale), columns, rows, y, near, said)
    if target not in (kinds or {}) and set(labels) <= {"False", "True"}:     # as Python writes them
        labels = [label == "True" for label in labels]
    classes, places = classes_of(labels, goal, table)
    return Task(Recipe(target, readings, encoding, classes), columns, rows, places, places, said)


def columns_to_learn_from(
        table: Table, target: str, drop: Sequence[str], kinds: Mapping[str, str], missing: Sequence[str],
        ) -> tuple[dict[str, Column], Column, list[str]]:
    """(columns to learn from, the target, a line about each column).

    The former are all but those in `drop`, those that nothing can be learned from, and those that say the target again.
    Ids are taken where there is nothing else. ValueError where nothing is left.
    """
    for name in drop:
        table.column(name)
    if target in drop:
        raise ValueError(f"the column {target!r} is the target, and cannot be dropped")
    cells = {name: column for name, column in table.cells.items() if name not in drop}
    try:
        columns = columns_of(cells, target, kinds, missing, table.first_row)
    except ValueError as error:
        raise ValueError(f"{table.path}: {error}") from None
    goal = columns.pop(target)
    again = {name: "" for name, column in columns.items() if name not in kinds and gives_away(column, goal)}
    used = {name: column for name, column in columns.items() if not column.left_out and name not in again}
    together = adds_up({name: column for name, column in used.items() if name not in kinds}, goal)
    if together is not None and len(used) > 2:
        again |= {name: f" together with {other}" for name, other in zip(together, together[::-1], strict=True)}
        used = {name: column for name, column in used.items() if name not in again}
    said = [f"{name}: left out, says {target} again{again[name]} ({column.said})" if name in again else
            f"{name}: {column.said}" for name, column in columns.items()]
    if not used:
        used = {name: column_of(name, table.cells[name], "number", missing) for name, column in columns.items()
                if column.kind == "id" and all(plain_number(cell) is not None for cell in table.texts(name))}
        said = [f"{name}: {used[name].said}" for name in used] or said
    if not used:            # whoever passes nothing else wants just that
        used = {name: columns[name] for name in again if not columns[name].left_out}
        said = [f"{name}: {used[name].said}; says {target} again, but nothing else is there" for name in used] or said
    if not used:
        why = f": {'; '.join(said[:5])}" if said else ""
        raise ValueError(f"{table.path} has no column left to learn from beside {target!r}{why}")
    return used, goal, said


def check_kind(table: Table, goal: Column) -> None:
    """Refuses a target of numbers with text in less than half of the rows: these are more likely gaps than classes."""
    if goal.kind != "category":
        return
    cells = table.texts(goal.name)
    text = [row for row, value in enumerate(goal.values) if value is not None and plain_number(cells[row]) is None]
    if text and len(text) < len(cells) / 2:
        raise ValueError(f"{table.path}: row {text[0] + table.first_row}, column {goal.name!r} is {cells[text[0]]!r}, "
                         "but other rows hold numbers; leave the row out, say --missing with what it holds, or "
                         "--task classification")


def rows_with(goal: Column, table: Table) -> NDArray[np.intp]:
    """The rows that hold a target; ValueError where they are too few."""
    known = known_rows(goal)
    check_rows(int(known.sum()), table)
    return np.flatnonzero(known)


def check_rows(count: int, table: Table) -> None:
    """Refuses a table with too few rows to learn from."""
    if count < FEWEST_ROWS:
        raise ValueError(f"{table.path} has {count} row{'s' * (count != 1)} to learn from, but at least {FEWEST_ROWS} "
                         "are needed; add rows, or fill their target")


def labels_of(goal: Column, rows: NDArray[np.intp], table: Table, kind: Kind | None) -> list[Label] | None:
    """The label of each row, or None where the target holds numbers to predict.

    Text means classes, and so do at most 20 different whole numbers, unless `kind` says otherwise. Numbers are labels
    as numbers, if they were written as Python writes them.
    """
    if goal.kind != "number":
        return None if kind == "regression" else texts_in(table, goal, rows)
    values = cast("NDArray[np.float64]", goal.values)[rows]
    whole = bool((values == np.floor(values)).all())
    if kind == "regression" or (kind is None and not (whole and len(np.unique(values)) <= MOST_CLASSES)):
        return None
    if goal.reading.notation != PLAIN or np.abs(values).max() > WHOLE:      # beyond it different ones are equal
        return texts_in(table, goal, rows)
    return [int(value) for value in values.tolist()] if whole else values.tolist()


def texts_in(table: Table, goal: Column, rows: NDArray[np.intp]) -> list[Label]:
    """The target's cells in these rows, as they stand."""
    cells: list[Label] = list(table.texts(goal.name))
    return [cells[row] for row in rows.tolist()]


def numbers_of(goal: Column, rows: NDArray[np.intp], table: Table) -> NDArray[np.float64]:
    """The target as numbers; ValueError for a cell that is none."""
    if goal.kind == "date":
        raise ValueError(f"{table.path}: column {goal.name!r} holds dates, but must hold numbers; {NO_DATES}")
    if goal.kind != "number":
        cells = table.texts(goal.name)
        row = next(row for row in rows.tolist() if plain_number(cells[row]) is None)
        raise ValueError(f"{table.path}: row {row + table.first_row}, column {goal.name!r} is {cells[row]!r}, but must "
                         "be a finite number; fill it, or leave the row out")
    return cast("NDArray[np.float64]", goal.values)[rows]


def brought_near(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """A target whose outliers count as the farthest number that is none.

    The range is that of all but the lowest and the highest hundredth of the rows, one row at least. An outlier lies ten
    such ranges beyond it: a salary with some zeros too many. Its square would be all that a network sees, and the unit
    of the target so large that all other rows are one number. Where the range is 0, nothing is far.
    """
    ordered = np.sort(y)
    aside = max(1, len(y) // ASIDE)
    low, high = ordered[aside], ordered[-1 - aside]
    with np.errstate(over="ignore"):
        far = FAR * (high - low)
        return np.clip(y, low - far, high + far) if far > 0 else y


def said_of_outliers(y: NDArray[np.float64], near: NDArray[np.float64], rows: NDArray[np.intp], goal: Column,
                     table: Table) -> list[str]:
    """A line about those that `brought_near` changed, if there are any."""
    changed = np.flatnonzero(near != y)
    if not len(changed):
        return []
    cells = table.texts(goal.name)
    shown = [f"{cells[row]} in row {row + table.first_row}, learned as {near[place]:.6g}"
             for place, row in zip(changed.tolist(), rows[changed].tolist(), strict=True)][:MOST_SHOWN]
    return [f"{goal.name}: {len(changed)} of {len(y)} numbers lie far from the others: {'; '.join(shown)}"
            + ("; …" if len(changed) > MOST_SHOWN else "")]


def classes_of(labels: Sequence[Label], goal: Column, table: Table) -> tuple[tuple[Label, ...], NDArray[np.intp]]:
    """(the classes, sorted; of each label its place among them). ValueError where these can hardly be classes."""
    distinct = set(labels)
    if len(distinct) > len(labels) / 2:
        raise ValueError(f"{table.path}: column {goal.name!r} has {len(distinct)} different values in {len(labels)} "
                         f"rows, which are too many to be classes; {INSTEAD[goal.kind]}")
    if len(distinct) < 2:
        raise ValueError(f"{table.path}: column {goal.name!r} is {next(iter(distinct))!r} in each row, but there must "
                         "be two classes at least")
    classes = tuple(sorted(distinct))       # all are of one type
    places = {label: place for place, label in enumerate(classes)}
    return classes, np.array([places[label] for label in labels], np.intp)


def truth_of(recipe: Recipe, table: Table,
             target: str) -> tuple[NDArray[np.intp], NDArray[np.intp] | NDArray[np.float64]]:
    """(the rows of another table that have a target; of these the number of the class, -1 for a class that the recipe
    does not know, or the number itself)."""
    texts = recipe.classes is not None and all(isinstance(label, str) for label in recipe.classes)
    goal = column_of(target, table.column(target), "category" if texts else None, target=True,
                     first_row=table.first_row)
    rows = np.flatnonzero(known_rows(goal))
    if not len(rows):
        raise ValueError(f"{table.path}: column {target!r} is empty in each row, but must hold what is true")
    labels = labels_of(goal, rows, table, "regression" if recipe.classes is None else "classification")
    if labels is None:
        return rows, numbers_of(goal, rows, table)
    places = {str(label): place for place, label in enumerate(recipe.classes or ())}
    return rows, np.array([places.get(str(label), -1) for label in labels], np.intp)
