"""The report on members, each of which answers for the rows that it did not learn from.

`report_of` measures what `members.train` returns; scores, importances and the report itself have modules of their own.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from .importance import importances
from .report import Report

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .members import Folds, Settings, Trained
    from .task import Task


def report_of(task: Task, folds: Folds, trained: Trained, X: NDArray[np.float32], settings: Settings,
              seconds: float) -> Report:
    """What the members are worth out of fold. X is in the order of the folds."""
    recipe, answered = task.recipe, folds.answered
    classes, order = recipe.classes, folds.order[:answered]
    outputs = trained.outputs if classes is not None else recipe.numbers(trained.outputs)

    def out_of_fold(some: NDArray[np.float32], rows: NDArray[np.intp]) -> NDArray[np.floating]:
        """Each row's answer by the member that did not learn from it; rows rise, so folds follow each other."""
        ends = np.searchsorted(rows, folds.starts[:folds.members + 1])
        parts = [network.predict(some[start:end]) for network, (start, end)
                 in zip(trained.networks, pairwise(ends), strict=True) if end > start]
        result = np.concatenate(parts)
        return result if classes is not None else recipe.numbers(result)

    return Report.of(
        recipe.target, task.y[order], outputs, classes=classes, rows=len(task.rows), columns=len(task.columns),
        members=folds.members, said=task.said, losses=trained.losses, best_epochs=trained.best_epochs,
        importances=importances(out_of_fold, recipe.encoding, X[:answered], task.learned[order]),
        settings=vars(settings), seconds=seconds)
