"""cross_validate, GridSearchCV and HalvingGridSearchCV: scikit-learn's, but networks of one shape train together.

What they return is scikit-learn's, and equal to what its own give with the same estimator. Its own also do all of the
work (rehearsal.py) but for the fits: `Session` has those. Where nothing would train together, they are all that runs.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import sklearn.experimental.enable_halving_search_cv  # noqa: F401 (it gives model_selection its halving searches)
from sklearn import get_config, model_selection
from sklearn.base import clone, is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils.parallel import Parallel, delayed

from .multilayer import Multilayer, prepared
from .rehearsal import Job, SameSplits, StandIn, performed, rehearsed
from .together import Crowd, error_of, shapes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Self

    from .multilayer import PreparedFit

RESOURCE = "max_iter"       # whose growth goes on with a network, instead of beginning anew


def cross_validate(estimator: Any, X: Any, y: Any = None, *, groups: Any = None, scoring: Any = None, cv: Any = None,
                   n_jobs: int | None = None, verbose: int = 0, params: Any = None,
                   pre_dispatch: int | str = "2*n_jobs", return_train_score: bool = False,
                   return_estimator: bool = False, return_indices: bool = False,
                   error_score: Any = np.nan) -> dict[str, Any]:
    """`sklearn.model_selection.cross_validate`, whose folds train as one population.

    Arguments and result are those of scikit-learn, and the scores have the same bits as those of its function. It is
    for `MLPClassifier` and `MLPRegressor` of fastnn.sklearn, alone or as the last step of a `Pipeline`. The other steps
    are fitted to each fold as usual. For any other estimator, and with metadata routing, it calls the function of
    scikit-learn.

    `fit_time` is the time of all fits, divided by their number. `n_jobs` applies only to fits that run one after the
    other, such as those of fewer than 8 folds (`n_members` of `MLPClassifier` lists them). A population uses fastnn's
    threads.

    See Also
    --------
    GridSearchCV : compares settings.
    fastnn.Population : the networks that train together.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastnn.sklearn import MLPClassifier, cross_validate
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier(16, max_iter=500, learning_rate_init=0.01, standardize=True, random_state=0)
    >>> result = cross_validate(model, X, y, cv=5)
    >>> sorted(result), bool(result["test_score"].mean() > 0.9)
    (['fit_time', 'score_time', 'test_score'], True)
    """
    given = {"groups": groups, "scoring": scoring, "verbose": verbose, "params": params, "pre_dispatch": pre_dispatch,
             "return_train_score": return_train_score, "return_estimator": return_estimator,
             "return_indices": return_indices, "error_score": error_score}
    if not may_join(estimator):
        result: dict[str, Any] = model_selection.cross_validate(estimator, X, y, cv=cv, n_jobs=n_jobs, **given)
        return result
    check_scoring(estimator, scoring)       # before anything is trained
    splits = SameSplits(check_cv(cv, y, classifier=is_classifier(estimator)))
    start = perf_counter()
    session = Session(rehearsed(estimator, X, y, cv=splits, groups=groups, params=params), n_jobs)
    session.train()
    seconds = perf_counter() - start
    stand_in = StandIn(estimator)
    with performed(session.jobs, stand_in):
        result = model_selection.cross_validate(stand_in, X, y, cv=splits, n_jobs=1, **given)
    result["fit_time"][:] = seconds / len(session.jobs)
    return result


def may_join(estimator: Any) -> bool:
    """Whether fits of an estimator may be trained together."""
    last = last_step(estimator)
    return (isinstance(last, Multilayer) and not get_config()["enable_metadata_routing"]
            and not any(hasattr(each, "_skl_callbacks") for each in (estimator, last)))


def last_step(estimator: Any) -> Any:
    """That of a plain pipeline, or the estimator itself."""
    plain = type(estimator) is Pipeline and estimator.memory is None and estimator.transform_input is None
    return estimator.steps[-1][1] if plain else estimator


class Session:
    """Jobs that are trained, together as far as they can be, and for halving some of them further."""

    def __init__(self, jobs: Sequence[Job], n_jobs: int | None) -> None:
        self.jobs, self.n_jobs = list(jobs), n_jobs
        fits = [prepared_fit(job) for job in jobs]
        ready = [place for place, fit in enumerate(fits) if fit is not None]
        groups = shapes([fit for fit in fits if fit is not None])
        self.crowds: list[tuple[Crowd, list[int]]] = []         # and the places of its jobs
        for group in groups:
            places = [ready[place] for place in group]
            members = [fit for fit in (fits[place] for place in places) if fit is not None]
            if len(members) > 1:
                self.crowds.append((Crowd(members), places))
        joined = {place for _, places in self.crowds for place in places}
        self.alone = [(place, fits[place]) for place in range(len(jobs))
                      if place not in joined and self.jobs[place].error is None]

    def train(self) -> None:
        """Trains all jobs."""
        for crowd, places in self.crowds:
            crowd.train(crowd.fits[0].arguments["epochs"])
            self.finish(crowd, places, range(len(places)))
        errors = Parallel(n_jobs=self.n_jobs, require="sharedmem")(
            delayed(train_alone)(self.jobs[place], fit) for place, fit in self.alone)
        for (place, _), error in zip(self.alone, errors, strict=True):
            self.jobs[place].error = error

    def go_on(self, kept: Sequence[int], name: str, epochs: int) -> list[Job]:
        """Trains these jobs until they have done so many epochs, no others; those that are alone begin anew. Returns
        them in this order. `name` is the parameter that is the number of epochs."""
        for place in kept:
            if any(place == other for other, _ in self.alone):
                self.jobs[place].estimator = clone(self.jobs[place].estimator)
            self.jobs[place].estimator.set_params(**{name: epochs})
        for crowd, places in self.crowds:
            members = [member for member, place in enumerate(places) if place in kept]
            crowd.keep([member for member in members if crowd.ends[member] is None])
            crowd.train(epochs)
            self.finish(crowd, places, members)
        for place, _ in self.alone:
            if place in kept:
                self.jobs[place].error = train_alone(self.jobs[place], None)
        return [self.jobs[place] for place in kept]

    def finish(self, crowd: Crowd, places: Sequence[int], members: Sequence[int]) -> None:
        """Gives these members' estimators what was learned."""
        for member, error in zip(members, crowd.finish(members), strict=True):
            self.jobs[places[member]].error = error


def prepared_fit(job: Job) -> PreparedFit | None:
    """A job up to its first epoch; None where it goes alone, or has failed."""
    estimator = job.estimator
    last = last_step(estimator)
    if (not isinstance(last, Multilayer) or last.n_members != 1 or job.y is None
            or (last is not estimator and job.parameters)):
        return None
    try:
        X = job.X
        if last is not estimator and len(estimator.steps) > 1:
            X = estimator[:-1].fit_transform(X, job.y)
        return prepared(last, X, job.y, **job.parameters)
    except Exception as error:
        job.error = error
        return None


def train_alone(job: Job, fit: PreparedFit | None) -> Exception | None:
    """Trains one job; returns its error."""
    if fit is not None:
        return error_of(fit.train)
    return error_of(lambda: job.estimator.fit(job.X, *(() if job.y is None else (job.y,)), **job.parameters))


class Trainer:
    """Trains the candidates of a search."""

    def __init__(self, estimator: Any, X: Any, y: Any, params: Mapping[str, Any], n_jobs: int | None) -> None:
        self.estimator, self.X, self.y, self.n_jobs = estimator, X, y, n_jobs
        self.groups = params.get("groups")
        self.params = {name: value for name, value in params.items() if name != "groups"} or None
        self.candidates: list[Mapping[str, Any]] = []       # that the session began with
        self.session: Session | None = None

    def train(self, candidates: Sequence[Mapping[str, Any]], splits: SameSplits, epochs: str | None) -> list[Job]:
        """A fitted job for each candidate and split. `epochs` is the parameter with which earlier ones may go on."""
        if self.session is not None and epochs is not None:
            each = len(self.session.jobs) // len(self.candidates)
            places = [each * self.place(candidate, epochs) + split for candidate in candidates for split in range(each)]
            return self.session.go_on(places, epochs, candidates[0][epochs])
        rows = rehearsed(self.estimator, self.X, self.y, cv=splits, groups=self.groups, params=self.params)
        jobs: list[Job] = []
        for candidate in candidates:
            estimator = clone(self.estimator).set_params(**clone(candidate, safe=False))
            if any(hasattr(value, "fit") for value in candidate.values()):      # it may want other rows
                jobs += rehearsed(estimator, self.X, self.y, cv=splits, groups=self.groups, params=self.params)
            else:
                jobs += [Job(clone(estimator), job.X, job.y, job.parameters) for job in rows]
        self.candidates, self.session = list(candidates), Session(jobs, self.n_jobs)
        self.session.train()
        return jobs

    def place(self, candidate: Mapping[str, Any], epochs: str) -> int:
        """Which of the first candidates this is, but for its epochs: its values are the same objects in each round."""
        return next(place for place, first in enumerate(self.candidates)
                    if all(first[name] is value for name, value in candidate.items() if name != epochs))


class SearchTogether:
    """What both searches do otherwise than scikit-learn's: before candidates are evaluated, they are trained."""

    estimator: Any
    n_jobs: int | None
    cv_results_: dict[str, Any]
    _trainer: Trainer | None = None         # during a fit

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Searches, as scikit-learn's `fit` with these arguments."""
        if not may_join(self.estimator) or hasattr(self, "_skl_callbacks"):
            super().fit(X, y, **params)     # type: ignore[misc]
            return self
        estimator, n_jobs = self.estimator, self.n_jobs
        stand_in = StandIn(estimator)
        self._trainer, self._seconds = Trainer(estimator, X, y, params, n_jobs), list[float]()
        self.estimator, self.n_jobs = stand_in, 1
        try:
            super().fit(X, y, **params)     # type: ignore[misc]
            self.cv_results_["mean_fit_time"][:], self.cv_results_["std_fit_time"][:] = self._seconds, 0
        finally:
            self.estimator, self.n_jobs, stand_in.clones = estimator, n_jobs, None
            del self._trainer, self._seconds
        return self

    def _run_search(self, evaluate_candidates: Callable[..., Any], *, callback_ctx: Any) -> None:
        trainer, stand_in = self._trainer, self.estimator
        if trainer is None:
            super()._run_search(evaluate_candidates, callback_ctx=callback_ctx)     # type: ignore[misc]
            return

        def evaluate(candidate_params: Any, cv: Any = None, more_results: Any = None, callback_ctx: Any = None) -> Any:
            candidates, start = list(candidate_params), perf_counter()
            splits = SameSplits(cv or self._checked_cv_orig)        # type: ignore[attr-defined]
            jobs = trainer.train(candidates, splits, self._epochs())
            self._seconds += [(perf_counter() - start) / max(len(jobs), 1)] * len(candidates)
            with performed(jobs, stand_in):
                return evaluate_candidates(candidates, splits, more_results, callback_ctx)

        super()._run_search(evaluate, callback_ctx=callback_ctx)    # type: ignore[misc]
        stand_in.clones = iter([clone(stand_in.estimator)])         # for the best candidate

    def _epochs(self) -> str | None:
        """The name of the parameter with which candidates of earlier rounds go on; None where there are none."""
        return None


class GridSearchCV(SearchTogether, model_selection.GridSearchCV):
    """`sklearn.model_selection.GridSearchCV`, whose candidates train as populations.

    Parameters, attributes and results are those of scikit-learn, and the scores have the same bits as those of its
    class. Candidates train in one population, with all their folds, if they have the same shape of network,
    `batch_size`, `max_iter`, `shuffle` and kind of solver. `alpha`, `learning_rate_init`, `dropout`, `random_state` and
    others may differ. Candidates of another shape form another population. `cross_validate` says for which estimators
    this is true, and what `fit_time` and `n_jobs` mean.

    See Also
    --------
    HalvingGridSearchCV : stops bad candidates early.
    cross_validate : scores one setting.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastnn.sklearn import GridSearchCV, MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier(16, max_iter=100, standardize=True, random_state=0)
    >>> grid = {"learning_rate_init": [1e-4, 1e-3, 1e-2], "alpha": [1e-4, 1e-2]}
    >>> import warnings
    >>> with warnings.catch_warnings(action="ignore"):       # 100 epochs are few
    ...     search = GridSearchCV(model, grid).fit(X, y)
    >>> search.best_params_["learning_rate_init"], bool(search.best_score_ > 0.9)
    (0.01, True)
    """


class HalvingGridSearchCV(SearchTogether, model_selection.HalvingGridSearchCV):
    """`sklearn.model_selection.HalvingGridSearchCV` by epochs, whose candidates train as populations and go on.

    All candidates train for some epochs. Then the best third of them continues, to three times as many epochs, and so
    on (Jamieson and Talwalkar, 2016). scikit-learn's class trains the candidates from the start in every round. Here
    they continue, and the results have the same bits if `random_state` is an int.

    Parameters and attributes are those of scikit-learn, except for two defaults. `resource` is "max_iter" (for a
    pipeline, pass the name of this parameter, such as "mlpregressor__max_iter"). `max_resources="auto"` means the
    `max_iter` of the estimator. With another resource, such as "n_samples", each round trains from the start.

    See Also
    --------
    GridSearchCV : trains all candidates to the end.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastnn.sklearn import HalvingGridSearchCV, MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier(16, max_iter=90, standardize=True, random_state=0)
    >>> grid = {"learning_rate_init": [1e-4, 1e-3, 1e-2], "alpha": [1e-5, 1e-3, 1e-1]}
    >>> import warnings
    >>> with warnings.catch_warnings(action="ignore"):       # 90 epochs are few
    ...     search = HalvingGridSearchCV(model, grid).fit(X, y)
    >>> search.n_candidates_, search.n_resources_
    ([9, 3, 1], [10, 30, 90])
    """

    max_resources: Any

    def __init__(self, estimator: Any, param_grid: Any, *, factor: float = 3, resource: str = RESOURCE,
                 max_resources: int | str = "auto", min_resources: int | str = "exhaust",
                 aggressive_elimination: bool = False, cv: Any = 5, scoring: Any = None, refit: Any = True,
                 error_score: Any = np.nan, return_train_score: bool = True, random_state: Any = None,
                 n_jobs: int | None = None, verbose: int = 0) -> None:
        super().__init__(
            estimator, param_grid, factor=factor, resource=resource, max_resources=max_resources,
            min_resources=min_resources, aggressive_elimination=aggressive_elimination, cv=cv, scoring=scoring,
            refit=refit, error_score=error_score, return_train_score=return_train_score, random_state=random_state,
            n_jobs=n_jobs, verbose=verbose)

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Searches, as scikit-learn's `fit` with these arguments."""
        most = self.max_resources
        if most == "auto":
            self.max_resources = self.estimator.get_params().get(self.resource, most)
        try:
            return super().fit(X, y, **params)
        finally:
            self.max_resources = most

    def _epochs(self) -> str | None:
        estimator = self.estimator.estimator        # what the stand-in stands for
        last = last_step(estimator)
        name = RESOURCE if last is estimator else f"{estimator.steps[-1][0]}__{RESOURCE}"
        return name if self.resource == name else None
