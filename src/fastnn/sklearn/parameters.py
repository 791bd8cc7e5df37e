"""The estimators' parameters: their checks, and what a network and an optimizer are made of because of them.

`Parameters` is the base of both estimators. It knows scikit-learn's parameters, and translates them; it has no rows and
no network. multilayer.py asks it in each fit.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Iterator, Mapping, Set
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator

from .._checks import checked_dtype, checked_hidden, checked_integer, checked_shares, choose, number, sequence, shown
from ..activations import ACTIVATIONS, HIDDEN
from ..losses import PARAMETERS, as_loss
from ..optimizers import SGD, Adam
from ..training.lbfgs import LBFGS
from ..training.settings import checked_callbacks, is_optimizer
from ..training.whole_batch import WholeBatchOptimizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._types import AnyLoss, AnyOptimizer, DType, HiddenName
    from ..callbacks import Callback

SOLVER = "solver__"         # begins the parameters of an optimizer that is the solver
SOLVERS = ("lbfgs", "sgd", "adam")
LEARNING_RATES = ("constant", "invscaling", "adaptive")
BOUNDS: dict[str, dict[str, Any]] = {
    "alpha": {"low": 0},
    "learning_rate_init": {"low": 0, "open_low": True},
    "power_t": {"low": 0},
    "tol": {"low": 0},
    "momentum": {"low": 0, "high": 1},
    "validation_fraction": {"low": 0, "high": 1},
    "beta_1": {"low": 0, "high": 1},
    "beta_2": {"low": 0, "high": 1},
    "epsilon": {"low": 0, "open_low": True},
}
RELATIVE_CHANGE = 2.220446049250313e-09     # of the loss, at which SciPy's L-BFGS-B stops by default


class Parameters(BaseEstimator):
    """The parameters of both estimators.

    A number becomes a float before it is combined with others: np.float32 would round the result.
    """

    # `keep_arguments` stores them as they are given.
    loss: str | AnyLoss
    hidden_layer_sizes: int | Sequence[int]
    activation: HiddenName | str | Sequence[str]
    solver: str | AnyOptimizer
    alpha: float
    batch_size: Any                     # an int or "auto"
    learning_rate: str
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    random_state: Any
    tol: float
    verbose: bool | int
    warm_start: bool
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool
    validation_fraction: float
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: float
    max_fun: int
    dropout: float | Sequence[float]
    standardize: bool
    dtype: DType | None
    callbacks: Sequence[Callback]
    n_members: int

    def _network_loss(self) -> str | AnyLoss | None:
        """The loss in fastnn's words; None is the one that goes with the output."""
        raise NotImplementedError

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters; with `deep` also those of an optimizer that is the solver, as `solver__learning_rate`."""
        parameters: dict[str, Any] = super().get_params(deep)
        if deep and is_optimizer(self.solver):
            parameters |= {SOLVER + name: value for name, value in self.solver.arguments().items()}
        return parameters

    def set_params(self, **params: Any) -> Any:
        """Sets parameters, and returns itself. `solver__learning_rate` and its kin make a new optimizer of the solver,
        which is left as it was."""
        changes = {name.removeprefix(SOLVER): params.pop(name) for name in list(params) if name.startswith(SOLVER)}
        if changes:
            params["solver"] = changed_optimizer(params.get("solver", self.solver), changes)
        return super().set_params(**params)

    def _check_parameters(self) -> None:
        """Checks all parameters, those that a network is built from last."""
        self._check_solver()
        if not (isinstance(self.batch_size, str) and self.batch_size == "auto"):
            checked_integer("batch_size", self.batch_size, 1)
        if not (isinstance(self.n_iter_no_change, Real) and self.n_iter_no_change == np.inf):
            checked_integer("n_iter_no_change", self.n_iter_no_change, 1)
        if not isinstance(self.verbose, (Integral, np.bool_)):
            raise TypeError(f"verbose is {shown(self.verbose)}, but must be True, False or an integer")
        for name in ("shuffle", "warm_start", "nesterovs_momentum", "early_stopping", "standardize"):
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise TypeError(f"{name} is {shown(getattr(self, name))}, but must be True or False")
        if self.early_stopping and self.validation_fraction == 0:
            raise ValueError("validation_fraction is 0, but early_stopping needs rows to validate with")
        if self.dtype is not None:
            checked_dtype(self.dtype)
        for name in ("hidden_layer_sizes", "activation", "dropout", "callbacks"):
            check_repeatable(name, getattr(self, name))
        checked_callbacks(self.callbacks)
        self._network_loss()
        hidden = len(self._hidden_sizes())
        checked_hidden(self._hidden_activations(), hidden, HIDDEN, ACTIVATIONS)
        checked_shares("dropout", self.dropout, hidden)

    def _check_solver(self) -> None:
        """Checks the solver, its constants and its limits."""
        if isinstance(self.solver, str):
            choose("solver", self.solver, SOLVERS)
        elif not is_optimizer(self.solver):
            raise TypeError(f"solver is {shown(self.solver)}, but must be one of {', '.join(SOLVERS)}, or an optimizer "
                            "such as fastnn.AdamW(1e-3)")
        choose("learning_rate", self.learning_rate, LEARNING_RATES)
        for name, bounds in BOUNDS.items():
            number(name, getattr(self, name), **bounds)
        for name in ("max_iter", "max_fun", "n_members"):
            checked_integer(name, getattr(self, name), 1)

    def _structure(self) -> dict[str, Any]:
        """The parameters that a network is built from, in one spelling each."""
        hidden = self._hidden_sizes()
        return {"hidden_layer_sizes": tuple(hidden),
                "activation": checked_hidden(self._hidden_activations(), len(hidden), HIDDEN, ACTIVATIONS),
                "loss": as_loss(self.loss) if isinstance(self.loss, str) and self.loss in PARAMETERS else self.loss,
                "dtype": None if self.dtype is None else checked_dtype(self.dtype),
                "dropout": checked_shares("dropout", self.dropout, len(hidden)),
                "standardize": bool(self.standardize)}

    def _hidden_sizes(self) -> list[int]:
        given: Any = self.hidden_layer_sizes
        given = (given,) if isinstance(given, Integral) else sequence(
            "hidden_layer_sizes", given, "be a sequence of integers, or one integer")
        sizes = [checked_integer(f"hidden_layer_sizes[{i}]", size, -sys.maxsize) for i, size in enumerate(given)]
        if not all(size > 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return sizes

    def _hidden_activations(self) -> str | list[str]:
        """The activations of the hidden layers in fastnn's words."""
        names = self.activation
        if isinstance(names, str):
            return "sigmoid" if names == "logistic" else str(names)
        if isinstance(names, bytes) or not np.iterable(names):
            raise TypeError(f"activation is {shown(names)}, but must be a name, or one name per hidden layer")
        plain = [str(name) if isinstance(name, str) else name for name in names]      # others are refused later
        return ["sigmoid" if isinstance(name, str) and name == "logistic" else name for name in plain]

    def _rows_per_batch(self, rows: int, stacklevel: int) -> int:
        """The rows of a batch, of so many rows in all."""
        if takes_all_rows(self.solver):
            return rows
        if self.batch_size == "auto":
            return min(200, rows)
        if self.batch_size > rows:
            warnings.warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
                          stacklevel=stacklevel)
        return min(int(self.batch_size), rows)

    def _new_optimizer(self, outputs: int) -> AnyOptimizer:
        """The optimizer that `solver` names; scikit-learn's gradient is `outputs` times ours."""
        if not isinstance(self.solver, str):
            return copy.deepcopy(self.solver)
        if self.solver == "lbfgs":
            return LBFGS(tolerance_gradient=float(self.tol) / outputs, tolerance_change=RELATIVE_CHANGE,
                         max_evaluations=self.max_fun)
        rate = float(self.learning_rate_init)
        if self.solver == "sgd":
            return SGD(rate * outputs, momentum=self.momentum, nesterov=bool(self.nesterovs_momentum and self.momentum))
        return Adam(rate, beta1=self.beta_1, beta2=self.beta_2, epsilon=float(self.epsilon) / outputs)


def keep_arguments(estimator: Parameters, arguments: dict[str, Any]) -> None:
    """Stores the arguments of __init__ unchanged, as scikit-learn's get_params and clone expect. `fit` checks them."""
    for name, value in arguments.items():
        if name != "self":
            setattr(estimator, name, value)


def takes_all_rows(solver: Any) -> bool:
    """Whether a solver takes no batches: its iteration is over all rows."""
    return bool(solver == "lbfgs" or isinstance(solver, WholeBatchOptimizer))


def check_stochastic(estimator: Parameters) -> bool:
    """True where an estimator has partial_fit; else an AttributeError, as `available_if` wants it."""
    if takes_all_rows(estimator.solver):
        raise AttributeError(
            f"partial_fit is only available for stochastic optimizers. {estimator.solver} is not stochastic.")
    return True


def changed_optimizer(solver: Any, changes: dict[str, Any]) -> AnyOptimizer:
    """A new optimizer with the arguments of `solver`, but for some changes."""
    if not is_optimizer(solver):
        raise ValueError(f"Invalid parameter {SOLVER + next(iter(changes))!r}: solver is {solver!r}, which has no "
                         "parameters of its own; an optimizer such as fastnn.Adam() has")
    arguments: dict[str, Any] = copy.deepcopy(dict(solver.arguments()))
    for name in changes:
        if name not in arguments:
            raise ValueError(f"Invalid parameter {name!r} for solver {solver}. Valid parameters are: "
                             f"{sorted(arguments)!r}.")
    return type(solver)(**arguments | changes)


def check_repeatable(name: str, value: Any) -> None:
    """Refuses iterators, which can be read only once, and collections without order: every fit reads its parameters."""
    if isinstance(value, (Iterator, Mapping, Set)):
        raise TypeError(f"{name} is a {type(value).__name__}, but must be a sequence such as a list")
