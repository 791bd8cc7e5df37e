"""L-BFGS: a fit whose epochs are iterations over all rows at once, those of core/lbfgs.pyx.

Everything between epochs is that of fit.py, and what such optimizers share that of whole_batch.py.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from .._checks import checked_integer, number, optional
from .._words import explains
from ..core import CompiledLBFGS, Minimisation
from .divergence import DivergenceError
from .fit import callbacks_begun
from .trainable import engine_of
from .whole_batch import WholeBatchOptimizer, whole_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._types import Fit, History, Ranks
    from ..core import Engine, Rows
    from .divergence import State
    from .settings import FitSettings


class LBFGS(CompiledLBFGS, WholeBatchOptimizer):
    """Limited-memory BFGS (Liu and Nocedal, 1989): few, expensive steps with all rows, for small problems.

    An epoch of `fit` is one iteration. There is no learning rate: a line search for the strong Wolfe conditions (Moré
    and Thuente, 1994) finds the length of each step. The last `history_size` pairs (a step, and the change of the
    gradient) approximate the curvature. The optimizer keeps them from fit to fit, so n fits with one iteration equal
    one fit with n. It belongs to one network.

    A fit may end before its last epoch, and `history.stopped_by` gives the reason: "converged" if the largest element
    of the gradient is at most `tolerance_gradient`, or if the loss changes by at most `tolerance_change` times the
    loss (or times 1, if the loss is below 1); "evaluations" if the loss was evaluated more than `max_evaluations` times
    (None means no limit); "line_search" if 20 trials found no better point.

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

    def __reduce__(self) -> tuple[type[LBFGS], tuple[Any, ...]]:
        """A copy has the settings, and belongs to no network yet."""
        return LBFGS, tuple(self.arguments().values())

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Of pickles of earlier versions."""
        for name, value in state.items():
            setattr(self, name, value)

    def bind(self, engine: Engine) -> None:
        """Makes this the optimizer of one network."""
        self.keep(engine, self.history_size)

    def loop(self, engine: Engine, X: object, y: object, sample_weight: object, settings: FitSettings,
             ranks: Ranks) -> Callable[[Fit, State], History]:
        """Checks the rows of a fit; returns the function that trains on them."""
        return partial(minimise, whole_batch("LBFGS", engine, X, y, sample_weight, settings, ranks), self, ranks)

    def memory(self) -> tuple[Any, ...]:
        """What a fit changes, for `bring_back`."""
        return self.network_engine, self.state, *super().memory()

    def bring_back(self, memory: tuple[Any, ...], engine: Engine) -> None:
        """Makes it as it was, unless it belongs to another network than the one with this engine."""
        if self.network_engine is engine:
            owner, state, *counts = memory
            self.set_owner(owner, state)
            super().bring_back(tuple(counts), engine)


def minimise(rows: Rows, optimizer: LBFGS, ranks: Ranks, fit: Fit, _: State) -> History:
    """Trains for the fit's epochs, or until something stops it; returns the History."""
    fit.rows = sum(ranks.gathered("X", len(rows)))
    network, most = fit.network, optimizer.max_evaluations
    search = Minimisation(
        engine_of(network), optimizer, rows, ranks.gradients_of(network, rows), optimizer.tolerance_gradient,
        optimizer.tolerance_change, math.inf if most is None else most)
    with callbacks_begun(fit):
        while search.reason is None and fit.history.stopped_by is None and fit.epoch < fit.epochs:
            if search.iterate():
                fit.after_epoch(search.loss, None)
        if search.reason == "diverged":
            epochs = network.epochs_trained
            raise ranks.common(DivergenceError(epochs + 1, 1, math.nan, restored=epochs))
        if search.reason is not None and fit.history.stopped_by is None and fit.epoch < fit.epochs:
            fit.stop(search.reason)
    search.release()
    return fit.history
