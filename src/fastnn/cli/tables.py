"""A table's model on the command line: its predictions as rows of a CSV file, and the names of its outputs.

main.py is the caller. The models themselves, and all that is found out about tables, are in fastnn.tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..tables.model import TableClassifier, TableRegressor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..tables.reading import Table
    from ..tables.recipe import Label, Recipe

FORMULA = ("=", "+", "-", "@", "\t", "\r")      # how text begins that a spreadsheet takes for a formula


def outputs(recipe: Recipe) -> list[str]:
    """The name of each number that a prediction consists of."""
    return [recipe.target] if recipe.classes is None else [f"p({label})" for label in recipe.classes]


def as_cell(label: Label) -> str:
    """A label or a name as a cell. A spreadsheet would run a text that begins as a formula does; an apostrophe before
    it says that it is text."""
    text = str(label)
    return f"'{text}" if isinstance(label, str) and text.startswith(FORMULA) else text


def predictions(model: TableClassifier | TableRegressor, table: Table) -> Iterator[list[str]]:
    """Rows of a CSV file: a header, and the model's prediction for each row of the table."""
    recipe, answers = model.recipe_, model.answers(table)
    if recipe.classes is None:
        yield [as_cell(recipe.target)]
        yield from ([f"{value:.12g}"] for value in answers.tolist())
        return
    yield [as_cell(recipe.target), *outputs(recipe)]
    cells = [as_cell(label) for label in recipe.classes]
    for best, row in zip(answers.argmax(axis=1).tolist(), map(np.ndarray.tolist, answers), strict=True):
        yield [cells[best], *(f"{share:.6f}" for share in row)]
