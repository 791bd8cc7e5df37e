"""L-BFGS: SciPy's, driven by the network's own loss and gradients over all rows at once.

Here SciPy has the loop, and an iteration is an epoch; everything between epochs is that of
training.py. SciPy is imported when it is used.
"""

from __future__ import annotations

import math
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from . import data
from ._checks import Settings, checked_count, checked_integer, number, optional
from ._optional import library
from ._words import explains
from .training import DivergenceError, callbacks_begun

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._core import Engine, Rows
    from ._types import ArrayLike, ClassWeight, FloatArray
    from .network import Network
    from .training import Fit, History


class LBFGS(Settings):
    """Limited-memory BFGS (Liu and Nocedal, 1989): few, expensive steps with all rows, for small problems.

    An epoch of `fit` is one iteration. There is no learning rate: a line search finds each
    step's length. `history_size` pairs of steps approximate the curvature; the fit ends before
    its last epoch where the largest element of the gradient is below `tolerance_gradient`, or
    the loss changes by less than `tolerance_change` of itself ("converged" in
    `history.stopped_by`), or `max_evaluations` of the loss are done, and the line search that
    goes on then ("evaluations"; None is no limit). Each fit starts with an empty history. Needs SciPy.

    The loss and its gradient have the same bits on every machine, but the steps are computed by SciPy and its
    BLAS, whose roundings depend on the processor: runs on different machines agree to rounding, not to the bit.

    >>> import numpy as np, fastnn
    >>> x = np.linspace(-1, 1, 30)[:, None]
    >>> net = fastnn.Network([1, 5, 1], activation="tanh", dtype="float64")
    >>> history = net.fit(x, x**2, epochs=200, optimizer=fastnn.LBFGS())
    >>> history.loss[-1] < 1e-4
    True
    """

    _checks: ClassVar = {
        "history_size": partial(checked_integer, low=1),
        "tolerance_gradient": partial(number, low=0), "tolerance_change": partial(number, low=0),
        "max_evaluations": optional(partial(checked_integer, low=1)),
        "steps": checked_count, "epochs": checked_count,
    }

    history_size: int
    tolerance_gradient: float
    tolerance_change: float
    max_evaluations: int | None
    steps: int
    epochs: int

    @explains
    def __init__(self, history_size: int = 10, tolerance_gradient: float = 1e-7, tolerance_change: float = 1e-9,
                 max_evaluations: int | None = None) -> None:
        self.history_size = history_size
        self.tolerance_gradient = tolerance_gradient
        self.tolerance_change = tolerance_change
        self.max_evaluations = max_evaluations
        self.steps = self.epochs = 0

    def arguments(self) -> dict[str, float]:
        """The arguments that would make it again."""
        return {name: getattr(self, name)
                for name in ("history_size", "tolerance_gradient", "tolerance_change", "max_evaluations")}

    def __repr__(self) -> str:
        return f"LBFGS({', '.join(f'{name}={value!r}' for name, value in self.arguments().items())})"

    def bind(self, engine: Engine) -> None:
        """Sees whether it can train this network."""
        if any(engine.dropout):
            raise ValueError("optimizer is LBFGS, which needs a loss that stays the same, but the network has dropout")
        scipy_minimize()

    def count_epoch(self) -> None:
        """One more iteration is done."""
        self.steps += 1
        self.epochs += 1

    def observe(self, loss: float) -> None:
        """There is no schedule to tell."""


REASONS = "converged", "line_search", "evaluations"


class Task(IntEnum):
    """What rank 0 tells the others."""

    EVALUATE, ACCEPT, END = range(3)


def scipy_minimize() -> Callable[..., Any]:
    return library("scipy.optimize", "SciPy", "lbfgs", "LBFGS").minimize


def whole_batch(network: Network, X: object, y: object, sample_weight: ArrayLike | None,
                class_weight: ClassWeight | None, batch_size: int | None, steps_per_epoch: int | None,
                ranks: data.Ranks) -> Rows:
    """All rows, which L-BFGS takes at once."""
    if y is None:
        raise ValueError("optimizer is LBFGS, which needs all rows at once, but X is an iterable of batches")
    rows = data.as_rows(network._engine, X, y, sample_weight, class_weight, ranks.size == 1, ranks)
    if steps_per_epoch is not None:
        raise ValueError(f"steps_per_epoch is {steps_per_epoch}, but an epoch of LBFGS is one iteration over all rows; "
                         "leave it out")
    if batch_size is not None and batch_size < len(rows):
        raise ValueError(f"batch_size is {batch_size}, but LBFGS takes all {len(rows)} rows at once; leave it out")
    if network.label_smoothing:
        raise ValueError(f"label_smoothing is {network.label_smoothing}, which LBFGS does not know; "
                         "smooth y itself, or pass another optimizer")
    return rows


def run(fit: Fit, rows: Rows, optimizer: LBFGS) -> History:
    """Trains for the fit's epochs, or until something stops it; returns the History."""
    network, engine = fit.network, fit.network._engine
    l1, l2 = engine.l1, engine.l2
    fit.rows = sum(fit._ranks.gathered("X", len(rows)))
    accepted = network.get_parameters()     # of the last iteration
    ranks = fit._ranks
    mean_gradients = ranks.gradients_of(network, rows)

    def evaluate(v: FloatArray) -> tuple[float, FloatArray]:
        with np.errstate(over="ignore"):
            trial = v.astype(network.dtype)
        if not np.isfinite(trial).all():        # the line search has lost its way
            raise diverged()
        with network._at_rest(stepping=True):       # what others copy is what was accepted, and not what is tried
            network.set_parameters(trial)
            try:
                loss, block = mean_gradients()
                for weights, gradient in zip(network.weights, engine.views(block)[0], strict=True):
                    gradient += (l2 * weights + l1 * np.sign(weights)).astype(engine.dtype)
                objective = loss + penalty()
            finally:
                network.set_parameters(accepted)
        gradient = engine.packed(block)
        if not (math.isfinite(objective) and np.isfinite(gradient).all()):
            raise diverged()
        return objective, gradient.astype(np.float64)

    def diverged() -> Exception:
        return ranks.common(DivergenceError(
            network.epochs_trained + 1, 1, math.nan, restored=network.epochs_trained))

    def penalty() -> float:
        total = 0.0
        with np.errstate(over="ignore"):
            for w in network.weights:
                total += float(l1 * np.abs(w, dtype=np.float64).sum()) if l1 else 0.0
                total += float(l2 / 2 * np.square(w, dtype=np.float64).sum()) if l2 else 0.0
        return total

    def accept(v: FloatArray, objective: float) -> bool:
        """An iteration is done; returns whether there is another."""
        nonlocal accepted
        network.set_parameters(v)
        accepted = network.get_parameters()
        goes_on = fit.after_epoch(objective - penalty(), None)
        accepted = network.get_parameters()         # early stopping may have brought back the best ones
        return goes_on

    def led(task: Task, v: FloatArray, loss: float = 0.0) -> None:
        """Tells the other ranks what rank 0 does, so that one line search is that of all of them."""
        if ranks.size > 1:
            ranks.joined_rows("L-BFGS", np.array([task, loss, *v]))

    def lead() -> str:
        """Rank 0's part, which decides; returns why SciPy ended."""

        def objective(v: FloatArray) -> tuple[float, FloatArray]:
            led(Task.EVALUATE, v)
            return evaluate(v)

        stray: list[StopIteration] = []

        def after_iteration(intermediate_result: Any) -> None:
            led(Task.ACCEPT, intermediate_result.x, intermediate_result.fun)
            try:
                goes_on = accept(intermediate_result.x, float(intermediate_result.fun))
            except StopIteration as error:      # a callback's or a metric's, which SciPy would take for the end
                stray.append(error)
                goes_on = False
            if not goes_on:
                raise StopIteration

        result = scipy_minimize()(
            objective, accepted.astype(np.float64), jac=True, method="L-BFGS-B", callback=after_iteration,
            options={"maxiter": fit.epochs, "maxfun": most, "maxcor": optimizer.history_size,
                     "gtol": optimizer.tolerance_gradient, "ftol": optimizer.tolerance_change})
        if stray:
            raise stray[0]
        reason = ("converged" if result.success else "line_search" if result.nfev < most else "evaluations")
        led(Task.END, np.empty(0), REASONS.index(reason))
        return reason

    def follow() -> str:
        """Another rank's part."""
        while True:
            task, number, *v = ranks.joined_rows("L-BFGS", np.empty(0))
            if task == Task.END:
                return REASONS[int(number)]
            if task == Task.EVALUATE:
                evaluate(np.array(v))
            else:
                accept(np.array(v), float(number))

    most = optimizer.max_evaluations or math.inf
    with callbacks_begun(fit):
        if fit.epochs:
            try:
                reason = lead() if ranks.rank == 0 else follow()
            finally:
                network.set_parameters(accepted)
            if fit.history.stopped_by is None and fit.epoch < fit.epochs:
                fit.stop(reason)
    return fit.history
