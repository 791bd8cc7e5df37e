"""scikit-learn's own functions, asked twice: first which fits they need, then for scores of the fitted estimators.

`cross_validate` and the searches clone an estimator for each fit. A StandIn in its place gives them clones whose `fit`
only notes its arguments: `rehearsed`. When all of these Jobs are trained, another StandIn hands out their estimators in
the same order, with a `fit` that has nothing left to do: `performed`. Splitters, scorers, results, warnings and what
becomes of failed fits are scikit-learn's in all.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sklearn.base import clone
from sklearn.model_selection import cross_validate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Job:
    """A fit that scikit-learn asks for: an estimator, and the arguments of `fit`."""

    def __init__(self, estimator: Any, X: Any = None, y: Any = None, parameters: dict[str, Any] | None = None) -> None:
        self.estimator, self.X, self.y, self.parameters = estimator, X, y, parameters or {}
        self.error: Exception | None = None

    def note(self, X: Any, y: Any = None, **parameters: Any) -> Any:
        """`fit` in a rehearsal."""
        self.X, self.y, self.parameters = X, y, parameters
        return self.estimator

    def show(self) -> None:
        """Makes `fit` and `set_params` ways to ask for what is already done."""
        self.estimator.fit, self.estimator.set_params = self.fitted, self.unchanged

    def fitted(self, X: Any, y: Any = None, **parameters: Any) -> Any:
        """`fit` when it is done."""
        if self.error is not None:
            raise self.error
        return self.estimator

    def unchanged(self, **parameters: Any) -> Any:
        """`set_params` when it is done."""
        return self.estimator

    def leave(self) -> None:
        """Gives the estimator its own methods back."""
        for name in ("fit", "set_params"):
            vars(self.estimator).pop(name, None)


class StandIn:
    """Stands for an estimator, of which it has everything but for its clones: those come from `clones`. None: before
    a search evaluates candidates it takes a clone to clone, which is the stand-in itself."""

    def __init__(self, estimator: Any, clones: Iterator[Any] | None = None) -> None:
        self.estimator, self.clones = estimator, clones

    def __sklearn_clone__(self) -> Any:
        return self if self.clones is None else next(self.clones)

    def __getattr__(self, name: str) -> Any:
        if name in ("estimator", "clones"):     # while it is copied or unpickled
            raise AttributeError(name)
        return getattr(self.estimator, name)


class SameSplits:
    """A splitter whose splits stay what they were the first time, random ones too."""

    def __init__(self, cv: Any) -> None:
        self.cv = cv
        self.splits: list[Any] | None = None

    def split(self, X: Any, y: Any = None, **groups: Any) -> Iterator[Any]:
        """(rows to train on, rows to test with) of each split."""
        if self.splits is None:
            self.splits = list(self.cv.split(X, y, **groups))
        return iter(self.splits)

    def get_n_splits(self, X: Any = None, y: Any = None, **groups: Any) -> int:
        """How many splits there are."""
        return int(self.cv.get_n_splits(X, y, **groups))


def rehearsed(estimator: Any, X: Any, y: Any, *, cv: SameSplits, groups: Any = None, params: Any = None) -> list[Job]:
    """The fits of a cross-validation, in their order."""
    jobs: list[Job] = []

    def clones() -> Iterator[Any]:
        while True:
            jobs.append(Job(clone(estimator)))
            jobs[-1].estimator.fit = jobs[-1].note
            yield jobs[-1].estimator

    try:
        cross_validate(StandIn(estimator, clones()), X, y, cv=cv, groups=groups, params=params, scoring=nothing,
                       n_jobs=1, error_score="raise")
    finally:
        for job in jobs:
            job.leave()
    return jobs


def nothing(estimator: Any, X: Any, y: Any = None) -> float:
    """A score for a rehearsal."""
    return 0.0


@contextmanager
def performed(jobs: Sequence[Job], stand_in: StandIn) -> Iterator[None]:
    """Within, the stand-in's clones are these jobs' estimators, fitted."""
    for job in jobs:
        job.show()
    stand_in.clones = (job.estimator for job in jobs)
    try:
        yield
    finally:
        for job in jobs:
            job.leave()
