"""Levenberg-Marquardt: Gauss-Newton steps with a damping, over all rows at once, for small networks and squared losses.

The objective (the mean loss and the l2 penalty) is a sum of squares |r|**2. With J = dr/dp an iteration solves

    (J'J + mu I) d = J'r,    p := p - d

and divides mu by mu_factor if the objective falls; else p stays, mu is multiplied, and the equations are solved again.
`Jacobian` has J'J and J'r, block by block of rows; `Damped` has the iterations. Everything between them is that of
fit.py and of whole_batch.py.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .._checks import checked_integer, number
from .._words import explains
from ..core import Engine
from .divergence import DivergenceError
from .evaluation import python_loss
from .fit import callbacks_begun
from .trainable import at_rest, engine_of
from .whole_batch import WholeBatchOptimizer, whole_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._types import Fit, FloatArray, History, Ranks
    from ..core import Rows
    from .divergence import State
    from .settings import FitSettings

# {loss: its factor of a squared difference}, for those that are a sum of squares.
SQUARED = {"mse": 1.0, "half_mse": 0.5}
SMALLEST_MU = 1e-20             # a mu of 0 could not grow again
BLOCK_NUMBERS = 2**18           # of J at a time: 2 MB, which a cache of the second level holds


class LevenbergMarquardt(WholeBatchOptimizer):
    """Levenberg-Marquardt (Marquardt, 1963; Hagan and Menhaj, 1994): few steps with all rows, to small errors.

    It is for squared losses ("mse", "half_mse") and networks of some hundred parameters. An iteration solves equations
    with n_parameters**2 numbers, so networks with more than `max_parameters` parameters are not accepted. It reaches
    smaller errors than first-order optimizers. In noisy data it also fits the noise, so hold rows out. It minimises the
    loss with `l2` and `sample_weight`.

    An epoch of `fit` is one iteration. There is no learning rate. Instead `mu` damps a step: 0 is a Gauss-Newton step,
    and a large mu is a short step along the gradient. After a step that makes the loss smaller, mu is divided by
    `mu_factor`. Any other step is undone, mu is multiplied by `mu_factor`, and the iteration tries again. The
    attribute `mu` is the present value, with which the next fit continues.

    A fit may end before its last epoch, and `history.stopped_by` gives the reason: "converged" if the largest element
    of the gradient is below `tolerance_gradient`, or if the loss changes by less than `tolerance_change` times itself;
    "line_search" if mu would be above `mu_max`, so no better point was found.

    NumPy's BLAS and LAPACK sum and solve J'J in float64. Their rounding depends on the processor, so results on
    different machines agree to rounding, but not to the bit.

    >>> import numpy as np, fastnn
    >>> x = np.linspace(-1, 1, 30)[:, None]
    >>> net = fastnn.Network([1, 5, 1], activation="tanh", dtype="float64")
    >>> history = net.fit(x, x**2, epochs=50, optimizer=fastnn.LevenbergMarquardt())
    >>> history.loss[-1] < 1e-6
    True
    """

    _checks: ClassVar = WholeBatchOptimizer._checks | {
        "mu": partial(number, low=0, open_low=True), "mu_factor": partial(number, low=1, open_low=True),
        "mu_max": partial(number, low=0, open_low=True),
        "tolerance_gradient": partial(number, low=0), "tolerance_change": partial(number, low=0),
        "max_parameters": partial(checked_integer, low=1),
    }
    _arguments = "mu", "mu_factor", "mu_max", "tolerance_gradient", "tolerance_change", "max_parameters"

    mu: float
    mu_factor: float
    mu_max: float
    tolerance_gradient: float
    tolerance_change: float
    max_parameters: int

    @explains
    def __init__(self, mu: float = 1e-2, mu_factor: float = 10.0, mu_max: float = 1e10,
                 tolerance_gradient: float = 1e-7, tolerance_change: float = 1e-9, max_parameters: int = 1000) -> None:
        super().__init__(mu=mu, mu_factor=mu_factor, mu_max=mu_max, tolerance_gradient=tolerance_gradient,
                         tolerance_change=tolerance_change, max_parameters=max_parameters)

    def _check_together(self, settings: dict[str, Any]) -> None:
        if settings["mu"] > settings.get("mu_max", math.inf):
            raise ValueError(f"mu is {settings['mu']}, but must be at most mu_max, which is {settings['mu_max']}")

    def loop(self, engine: Engine, X: object, y: object, sample_weight: object, settings: FitSettings,
             ranks: Ranks) -> Callable[[Fit, State], History]:
        """Checks the network and the rows of a fit; returns the function that trains on them."""
        if ranks.size > 1:
            raise ValueError("optimizer is LevenbergMarquardt, which trains in one process, but there are "
                             f"{ranks.size} ranks; pass fastnn.LBFGS()")
        check_network(engine, self.max_parameters)
        return partial(minimise, whole_batch("LevenbergMarquardt", engine, X, y, sample_weight, settings, ranks), self)

    def memory(self) -> tuple[Any, ...]:
        """What a fit changes, for `bring_back`."""
        return self.mu, *super().memory()

    def bring_back(self, memory: tuple[Any, ...], engine: Engine) -> None:
        """Makes it as it was."""
        # Past the checks, which compare with a mu_max that may have been set since.
        vars(self)["mu"] = memory[0]
        super().bring_back(memory[1:], engine)


def check_network(engine: Engine, most: int) -> None:
    """Refuses a network whose objective is no sum of squares, or that has more than so many parameters."""
    if python_loss(engine) is not None:
        raise ValueError("optimizer is LevenbergMarquardt, which needs the residuals of a squared loss, but the loss "
                         "is a Python function; build the network with loss='mse', or pass fastnn.LBFGS()")
    name = getattr(engine.loss, "name", None)
    if name not in SQUARED:
        raise ValueError(f"optimizer is LevenbergMarquardt, which goes with a squared loss ({', '.join(SQUARED)}), but "
                         f"the loss is {name!r}; pass fastnn.LBFGS()")
    if engine.l1:
        raise ValueError(f"l1 is {engine.l1}, but LevenbergMarquardt needs a penalty that is a sum of squares; use l2, "
                         "or pass fastnn.LBFGS()")
    parameters = engine.packed(engine.parameters).size
    if parameters > most:
        raise ValueError(f"the network has {parameters} parameters, but LevenbergMarquardt has max_parameters={most}, "
                         "because the time of a step grows with their cube; pass fastnn.LBFGS(), or a larger "
                         "max_parameters")


def minimise(rows: Rows, optimizer: LevenbergMarquardt, fit: Fit, _: State) -> History:
    """Trains for the fit's epochs, or until something stops it; returns the History."""
    fit.rows = len(rows)
    damped = Damped(fit, rows, optimizer)
    with callbacks_begun(fit):
        reason = None
        while reason is None and fit.history.stopped_by is None and fit.epoch < fit.epochs:
            reason = damped.iterate()
        if reason is not None and fit.history.stopped_by is None and fit.epoch < fit.epochs:
            fit.stop(reason)
    return fit.history


class Damped:
    """The iterations. The network's parameters change only where a step is accepted."""

    def __init__(self, fit: Fit, rows: Rows, optimizer: LevenbergMarquardt) -> None:
        self.fit, self.optimizer, self.network = fit, optimizer, fit.network
        self.engine = engine_of(fit.network)
        self.jacobian = Jacobian(self.engine, rows)

    def iterate(self) -> str | None:
        """Takes one step that makes the objective smaller, and ends an epoch; returns why there is no other."""
        optimizer, parameters = self.optimizer, self.network.get_parameters()
        objective, square, half_gradient = self.jacobian.at(parameters)
        if not (math.isfinite(objective) and np.isfinite(square).all() and np.isfinite(half_gradient).all()):
            epochs = self.network.epochs_trained
            raise DivergenceError(epochs + 1, 1, math.nan, restored=epochs)
        if 2 * np.abs(half_gradient).max() < optimizer.tolerance_gradient:
            return "converged"
        mu = optimizer.mu
        while mu <= optimizer.mu_max:
            trial = stepped(parameters, square, half_gradient, mu)
            loss, penalty = self.jacobian.objective(trial)
            if loss + penalty < objective:
                self.accept(trial, max(mu / optimizer.mu_factor, SMALLEST_MU))
                self.fit.after_epoch(loss, None)
                change = objective - (loss + penalty)
                return "converged" if change <= optimizer.tolerance_change * objective else None
            mu *= optimizer.mu_factor
        return "line_search"

    def accept(self, trial: FloatArray, mu: float) -> None:
        """The network goes on from here, with this damping."""
        with at_rest(self.network, stepping=True):
            self.network.set_parameters(trial)
            vars(self.optimizer)["mu"] = mu


def stepped(parameters: FloatArray, square: FloatArray, half_gradient: FloatArray, mu: float) -> FloatArray:
    """The parameters after a step with this damping, in their dtype; NaN where the equations have no solution.

    LU rather than Cholesky: NumPy solves no triangular equations, and two more LUs take longer than what is saved."""
    damped = square.copy()
    damped.flat[::len(damped) + 1] += mu
    try:
        step = np.linalg.solve(damped, half_gradient)
    except np.linalg.LinAlgError:
        step = np.full(len(damped), math.nan)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        return (parameters - step).astype(parameters.dtype)


class Jacobian:
    """J'J, J'r and |r|**2 at any parameters: by an engine of its own, so what the network has stays as it is.

    r are the residuals of rows and outputs, times a factor that makes |r|**2 the mean loss; l2 is a residual
    sqrt(l2 / 2) w more for each weight w. Values and slopes of layers are the kernels', in the network's dtype; all
    else is in float64. `parts` are the rows, some at a time. J is stored transposed: one line for each parameter, a
    column for each output and row.
    """

    def __init__(self, engine: Engine, rows: Rows) -> None:
        self.engine = Engine(engine.kernels, engine.dtype, engine.layer_sizes, engine.activations, engine.loss,
                             engine.dropout, 0.0, 0.0, 0.0, engine.seed)
        self.engine.most_threads = engine.most_threads
        self.x, targets, _, weights = rows.arrays
        assert targets is not None      # of a squared loss there are no labels
        self.targets = targets
        factor = SQUARED[engine.loss.name] / (rows.weight * targets.shape[1])   # type: ignore[union-attr]
        self.factors = np.full(len(rows), math.sqrt(factor)) if weights is None else np.sqrt(factor * weights)
        self.half_l2 = engine.l2 / 2 * is_weight(self.engine)
        self.size = len(self.half_l2)
        block_rows = min(len(rows), max(1, BLOCK_NUMBERS // (self.size * targets.shape[1])))
        self.block = np.empty(self.size * block_rows * targets.shape[1])
        # Rows of weight 0 count for nothing, even where their residuals overflow.
        counted = np.flatnonzero(self.factors)
        starts = range(0, len(counted), block_rows)
        self.parts: list[Any] = [slice(start, start + block_rows) if len(counted) == len(rows) else
                                 counted[start:start + block_rows] for start in starts]

    def objective(self, parameters: FloatArray) -> tuple[float, float]:
        """The mean loss of these parameters, and their penalty; NaN or infinity where they overflow."""
        if not np.isfinite(parameters).all():
            return math.nan, math.nan
        self.engine.unpack(parameters, self.engine.parameters)
        loss = 0.0
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            for part in self.parts:
                x = self.x[part]
                outputs = np.empty((len(x), self.targets.shape[1]), self.engine.dtype)
                self.engine.predict(x, outputs)
                loss += float(np.square(self.residuals(outputs, part)).sum())
            return loss, float(self.half_l2 @ np.square(parameters, dtype=np.float64)) if self.half_l2.any() else 0.0

    def at(self, parameters: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        """(|r|**2, J'J, J'r) at these parameters."""
        self.engine.unpack(parameters, self.engine.parameters)
        loss, square, gradient = 0.0, np.zeros((self.size, self.size)), np.zeros(self.size)
        product = np.empty_like(square)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            for part in self.parts:
                residuals, transposed = self.of_rows(part)
                loss += float(np.square(residuals).sum())
                square += np.matmul(transposed, transposed.T, out=product)
                gradient += transposed @ residuals.ravel()
            if self.half_l2.any():
                values = parameters.astype(np.float64)
                loss += float(self.half_l2 @ np.square(values))
                square.flat[::self.size + 1] += self.half_l2
                gradient += self.half_l2 * values
        return loss, square, gradient

    def residuals(self, outputs: FloatArray, part: Any) -> FloatArray:
        """r of these rows' outputs, (n_outputs, rows)."""
        return (outputs.T.astype(np.float64) - self.targets[part].T) * self.factors[part]

    def of_rows(self, part: Any) -> tuple[FloatArray, FloatArray]:
        """r of some rows, (n_outputs, rows), and their part of J', (parameters, n_outputs * rows)."""
        engine, x = self.engine, self.x[part]
        values = [x, *engine.layer_outputs(x)]
        slopes = [slope.T.astype(np.float64) for slope in engine.layer_outputs(x, slopes=True)]
        outputs, rows = len(slopes[-1]), len(x)
        transposed = self.block[:self.size * outputs * rows].reshape(self.size, outputs * rows)
        delta = np.zeros((outputs, outputs, rows))      # d r of an output / d z of a unit: (units, outputs, rows)
        delta[range(outputs), range(outputs)] = slopes[-1] * self.factors[part]
        weights, end = engine.views(engine.parameters)[0], self.size
        for layer in reversed(range(engine.n_layers)):
            n_in, n_out = weights[layer].shape
            start = end - (n_in + 1) * n_out
            transposed[end - n_out:end].reshape(delta.shape)[...] = delta
            inputs = values[layer].T.astype(np.float64)
            np.multiply(inputs[:, None, None], delta, out=transposed[start:end - n_out].reshape(n_in, *delta.shape))
            if layer:
                delta = (weights[layer].astype(np.float64) @ delta.reshape(n_out, -1)).reshape(n_in, outputs, rows)
                delta *= slopes[layer - 1][:, None]
            end = start
        return self.residuals(values[-1], part), transposed


def is_weight(engine: Engine) -> FloatArray:
    """1 for each weight, 0 for each bias, in the order of `get_parameters`."""
    block = np.zeros_like(engine.parameters)
    for weights in engine.views(block)[0]:
        weights[...] = 1
    return engine.packed(block).astype(np.float64)
