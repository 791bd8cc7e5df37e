"""L-BFGS: SciPy's, driven by the network's own loss and gradients over all rows at once.

Here SciPy has the loop, and an iteration is an epoch; everything between epochs is that of
fit.py, and what such optimizers share that of whole_batch.py. SciPy is imported when it is used.
"""

from __future__ import annotations

import math
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .._checks import checked_integer, library, number, optional
from .._words import explains
from .divergence import DivergenceError
from .fit import callbacks_begun
from .trainable import at_rest, engine_of
from .whole_batch import WholeBatchOptimizer, whole_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._types import Fit, FloatArray, History, Ranks
    from ..core import Engine, Rows
    from .divergence import State
    from .settings import FitSettings


class LBFGS(WholeBatchOptimizer):
    """Limited-memory BFGS (Liu and Nocedal, 1989): few, expensive steps with all rows, for small problems.

    An epoch of `fit` is one iteration. There is no learning rate: a line search finds each
    step's length. `history_size` pairs of steps approximate the curvature; the fit ends before
    its last epoch where the largest element of the gradient is below `tolerance_gradient`, or
    the loss changes by less than `tolerance_change` of itself ("converged" in
    `history.stopped_by`), or the loss has been evaluated `max_evaluations` times and the line search
    under way has ended ("evaluations"; None is no limit). Each fit starts with an empty history. Needs SciPy.

    The loss and its gradient have the same bits on every machine, but the steps are computed by SciPy and its
    BLAS, whose roundings depend on the processor: runs on different machines agree to rounding, not to the bit.

    >>> import numpy as np, fastnn
    >>> x = np.linspace(-1, 1, 30)[:, None]
    >>> net = fastnn.Network([1, 5, 1], activation="tanh", dtype="float64")
    >>> history = net.fit(x, x**2, epochs=200, optimizer=fastnn.LBFGS())
    >>> history.loss[-1] < 1e-4
    True
    """

    _checks: ClassVar = WholeBatchOptimizer._checks | {
        "history_size": partial(checked_integer, low=1),
        "tolerance_gradient": partial(number, low=0), "tolerance_change": partial(number, low=0),
        "max_evaluations": optional(partial(checked_integer, low=1)),
    }
    _arguments = ("history_size", "tolerance_gradient", "tolerance_change", "max_evaluations")

    history_size: int
    tolerance_gradient: float
    tolerance_change: float
    max_evaluations: int | None

    @explains
    def __init__(self, history_size: int = 10, tolerance_gradient: float = 1e-7, tolerance_change: float = 1e-9,
                 max_evaluations: int | None = None) -> None:
        super().__init__(history_size=history_size, tolerance_gradient=tolerance_gradient,
                         tolerance_change=tolerance_change, max_evaluations=max_evaluations)

    def loop(self, engine: Engine, X: object, y: object, sample_weight: object, settings: FitSettings,
             ranks: Ranks) -> Callable[[Fit, State], History]:
        """Checks the rows of a fit; returns the function that trains on them."""
        rows = whole_batch("LBFGS", engine, X, y, sample_weight, settings, ranks)
        scipy_minimize()
        return partial(minimise, rows, self, ranks)


REASONS = "converged", "line_search", "evaluations"     # why SciPy ended: `history.stopped_by`


class Task(IntEnum):
    """What rank 0 tells the others."""

    EVALUATE, ACCEPT, END = range(3)


def scipy_minimize() -> Callable[..., Any]:
    """SciPy's `minimize`; an ImportError that says how to get it."""
    return library("scipy.optimize", "SciPy", "lbfgs", "LBFGS").minimize


def minimise(rows: Rows, optimizer: LBFGS, ranks: Ranks, fit: Fit, _: State) -> History:
    """Trains for the fit's epochs, or until something stops it; returns the History."""
    fit.rows = sum(ranks.gathered("X", len(rows)))
    minimisation = Minimisation(fit, rows, optimizer, ranks)
    with callbacks_begun(fit):
        if fit.epochs:
            reason = minimisation.run()
            if fit.history.stopped_by is None and fit.epoch < fit.epochs:
                fit.stop(reason)
    return fit.history


class Minimisation:
    """SciPy's search for the parameters with the smallest loss, penalties included. An iteration is an epoch.

    Rank 0 asks SciPy and tells the other ranks what it does, so that one line search is that of all of them.
    """

    def __init__(self, fit: Fit, rows: Rows, optimizer: LBFGS, ranks: Ranks) -> None:
        self.fit, self.optimizer, self.ranks, self.network = fit, optimizer, ranks, fit.network
        self.engine = engine_of(fit.network)
        self.l1, self.l2 = self.engine.l1, self.engine.l2
        self.accepted = self.network.get_parameters()       # of the last iteration
        self.mean_gradients = self.ranks.gradients_of(self.network, rows)
        self.most_evaluations = optimizer.max_evaluations or math.inf
        self.stray: StopIteration | None = None     # a callback's or a metric's, which SciPy would take for the end

    def run(self) -> str:
        """Leaves the parameters of the last iteration; returns one of REASONS."""
        try:
            return self.lead() if self.ranks.rank == 0 else self.follow()
        finally:
            self.network.set_parameters(self.accepted)

    def lead(self) -> str:
        """Rank 0's part, which decides; returns why SciPy ended."""
        result = scipy_minimize()(
            self.objective, self.accepted.astype(np.float64), jac=True, method="L-BFGS-B",
            callback=self.after_iteration,
            options={"maxiter": self.fit.epochs, "maxfun": self.most_evaluations, "maxcor": self.optimizer.history_size,
                     "gtol": self.optimizer.tolerance_gradient, "ftol": self.optimizer.tolerance_change})
        if self.stray is not None:
            raise self.stray
        reason = ("converged" if result.success else
                  "line_search" if result.nfev < self.most_evaluations else "evaluations")
        self.tell(Task.END, np.empty(0), REASONS.index(reason))
        return reason

    def objective(self, v: FloatArray) -> tuple[float, FloatArray]:
        """What SciPy minimises, and its gradient."""
        self.tell(Task.EVALUATE, v)
        return self.evaluate(v)

    def after_iteration(self, intermediate_result: Any) -> None:        # SciPy looks for this name
        """What SciPy calls after each iteration."""
        self.tell(Task.ACCEPT, intermediate_result.x, intermediate_result.fun)
        try:
            goes_on = self.accept(intermediate_result.x, float(intermediate_result.fun))
        except StopIteration as error:
            self.stray, goes_on = error, False
        if not goes_on:
            raise StopIteration

    def tell(self, task: Task, v: FloatArray, number: float = 0.0) -> None:
        """Tells the other ranks what rank 0 does."""
        if self.ranks.size > 1:
            self.ranks.joined_rows("L-BFGS", np.array([task, number, *v]))

    def follow(self) -> str:
        """Another rank's part."""
        while True:
            task, number, *v = self.ranks.joined_rows("L-BFGS", np.empty(0))
            if task == Task.END:
                return REASONS[int(number)]
            if task == Task.EVALUATE:
                self.evaluate(np.array(v))
            else:
                self.accept(np.array(v), float(number))

    def evaluate(self, v: FloatArray) -> tuple[float, FloatArray]:
        """Loss and gradient in float64, penalties included, of these parameters; DivergenceError if not finite."""
        with np.errstate(over="ignore"):
            trial = v.astype(self.network.dtype)
        if not np.isfinite(trial).all():        # the line search has lost its way
            raise self.diverged()
        with at_rest(self.network, stepping=True):      # what others copy is what was accepted, and not what is tried
            self.network.set_parameters(trial)
            try:
                loss, block = self.mean_gradients()
                for weights, gradient in zip(self.network.weights, self.engine.views(block)[0], strict=True):
                    gradient += (self.l2 * weights + self.l1 * np.sign(weights)).astype(self.engine.dtype)
                objective = loss + self.penalty()
            finally:
                self.network.set_parameters(self.accepted)
        gradient = self.engine.packed(block)
        if not (math.isfinite(objective) and np.isfinite(gradient).all()):
            raise self.diverged()
        return objective, gradient.astype(np.float64)

    def penalty(self) -> float:
        """The l1 and l2 penalties of the present weights."""
        total = 0.0
        with np.errstate(over="ignore"):
            for w in self.network.weights:
                total += float(self.l1 * np.abs(w, dtype=np.float64).sum()) if self.l1 else 0.0
                total += float(self.l2 / 2 * np.square(w, dtype=np.float64).sum()) if self.l2 else 0.0
        return total

    def accept(self, v: FloatArray, objective: float) -> bool:
        """An iteration is done; returns whether there is another."""
        self.network.set_parameters(v)
        self.accepted = self.network.get_parameters()
        goes_on = self.fit.after_epoch(objective - self.penalty(), None)
        self.accepted = self.network.get_parameters()       # early stopping may have brought back the best ones
        return goes_on

    def diverged(self) -> Exception:
        """The error where a loss or its gradient is not finite."""
        epochs = self.network.epochs_trained
        return self.ranks.common(DivergenceError(epochs + 1, 1, math.nan, restored=epochs))
