"""What the estimators share: parameters, rows before the first epoch, and the network after the last one."""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Iterator, Mapping, Set
from contextlib import suppress
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array, check_random_state, column_or_1d
from sklearn.utils.validation import validate_data

from .._checks import (
    checked_dtype,
    checked_hidden,
    checked_integer,
    checked_shares,
    checked_weights,
    choose,
    number,
    real_array,
    sequence,
    shown,
    validation_rows,
)
from ..activations import ACTIVATIONS, HIDDEN
from ..core import random_order
from ..losses import PARAMETERS, as_loss
from ..network import Network
from ..optimizers import SGD, Adam, Optimizer
from ..training import DivergenceError
from ..training.lbfgs import LBFGS
from ..training.scaling import MOST_DEVIATIONS, Scaling, folded
from ..training.settings import checked_callbacks
from ..training.sources import CHUNK_BYTES
from .epochs import Books, Forwarded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._types import AnyLoss, AnyOptimizer, Array, ArrayLike, DType, FloatArray, HiddenName, Weights
    from ..callbacks import Callback

    _HeldOut = tuple[Any, Array, Weights]    # rows, codes, weights

SOLVER = "solver__"
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
LARGEST_INTEGER = 2**24     # float32 holds every integer up to this
RELATIVE_CHANGE = 2.220446049250313e-09     # of the loss, at which SciPy's L-BFGS-B stops by default


class Multilayer(CallbackSupportMixin, BaseEstimator):
    """What both estimators share."""

    # The parameters, which set_all keeps as they are.
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

    # What a fit finds.
    network_: Network
    coefs_: list[FloatArray]
    intercepts_: list[FloatArray]
    n_features_in_: int
    n_iter_: int
    n_layers_: int
    n_outputs_: int
    out_activation_: str
    t_: int
    loss_: float
    loss_curve_: list[float]
    validation_loss_curve_: list[float]
    best_loss_: Any                     # a float; None with early_stopping
    validation_scores_: Any             # a list of floats; None without
    best_validation_score_: Any

    _numeric_targets: bool
    _no_improvement_count: int
    _built_from: dict[str, Any] = {}            # see _structure
    _input_scaling: Scaling | None = None       # without `standardize`, and where parameters came from elsewhere
    _target_scaling: Scaling | None = None

    # What the kinds of targets differ in: see estimators.py.

    def _weights(self, y: Array, sample_weight: Weights, incremental: bool) -> Weights:
        raise NotImplementedError

    def _learn_classes(self, y: Array, incremental: bool, classes: ArrayLike | None) -> None:
        raise NotImplementedError

    def _encoded(self, y: Array) -> Array:
        raise NotImplementedError

    def _n_outputs(self, codes: Array) -> int:
        raise NotImplementedError

    def _out_activation(self) -> str:
        raise NotImplementedError

    def _network_loss(self) -> str | AnyLoss | None:
        raise NotImplementedError

    def _loss_summed(self) -> bool:
        raise NotImplementedError

    def _loss_constant(self, codes: Array, weight: Weights = None) -> float:
        raise NotImplementedError

    def _strata(self, codes: Array) -> Array | None:
        raise NotImplementedError

    def _scaling_of_targets(self, codes: Array, weight: Weights) -> Scaling | None:
        raise NotImplementedError

    def _score(self, outputs: FloatArray, codes: Array, weight: Weights = None) -> float:
        raise NotImplementedError

    def _can_score(self, codes: Array, weight: Weights = None) -> bool:
        """Whether `_score` can tell good outputs from bad ones on such rows."""
        raise NotImplementedError

    # An optimizer as `solver` has parameters of its own, as estimators within estimators have: `solver__momentum`.

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters; with `deep` also those of an optimizer that is the solver, as `solver__learning_rate`."""
        parameters: dict[str, Any] = super().get_params(deep)
        if deep and isinstance(self.solver, (Optimizer, LBFGS)):
            parameters |= {SOLVER + name: value for name, value in self.solver.arguments().items()}
        return parameters

    def set_params(self, **params: Any) -> Any:
        """Sets parameters, and returns itself. `solver__learning_rate` and its kin make a new optimizer of the solver,
        which is left as it was."""
        changes = {name.removeprefix(SOLVER): params.pop(name) for name in list(params) if name.startswith(SOLVER)}
        if changes:
            params["solver"] = changed_optimizer(params.get("solver", self.solver), changes)
        return super().set_params(**params)

    # Fitting.

    def _fit(self, X: Any, y: Any, sample_weight: Any, validation: _Validation | None = None, incremental: bool = False,
             classes: ArrayLike | None = None) -> Any:
        """Trains, or leaves everything as it was if something is wrong before the first epoch is done."""
        self._check_parameters()
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        context = None if incremental else self._init_callback_context(task_name="fit", max_subtasks=self.max_iter)
        before, done = self.__dict__.copy(), self._done()
        try:
            with config_context(array_api_dispatch=False):      # scikit-learn then converts other arrays to NumPy's
                self._go_on(X, y, sample_weight, validation, incremental, classes, context)
        except BaseException:
            network, epochs = self._done()
            if epochs == (done[1] if network is done[0] else 0):
                self.__dict__ = before
            raise
        return self

    def _done(self) -> tuple[Network | None, int]:
        """The network, and the epochs that it has been trained for."""
        network = self.__dict__.get("network_")
        return network, 0 if network is None else network.epochs_trained

    def _go_on(self, X: Any, y: Any, sample_weight: Any, validation: _Validation | None, incremental: bool,
               classes: ArrayLike | None, context: Any) -> None:
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        asks_for_double = not isinstance(X, (list, tuple))      # numbers of Python's own ask for no dtype
        X, y = self._checked_rows(X, y, reset=first)
        sample_weight = row_weights("sample_weight", sample_weight, X.shape[0])
        self._learn_classes(y, incremental, classes)
        weight = self._weights(y, sample_weight, incremental)
        codes = self._encoded(y)
        held_out = None if validation is None else self._checked_validation(validation, y)

        if not first:
            self._check_unchanged(y)

        random = check_random_state(self.random_state)
        counting = len(y) if weight is None else np.count_nonzero(weight)
        if first and incremental and self.standardize and counting < 2:
            raise ValueError("partial_fit got 1 row with weight in its first call, but standardize=True takes the "
                             "means and deviations from that call alone, and needs 2 or more; begin with more rows, or "
                             "pass rows that are standardised")
        if first:
            self._forget(X, codes, weight)
            initial = self._initial_parameters(random)
        rows: Any = slice(None)
        if self.early_stopping and not self._by_lbfgs() and held_out is None:
            rows, held_out = self._split(X, codes, sample_weight, random)
        if first or not hasattr(self, "network_"):
            seed = int(random.randint(2**31 - 1))
            self.network_ = Network(
                self._layer_sizes(), self._activations(), self._output(), loss=self._network_loss(),
                dtype=self.dtype or self._dtype_of(X, y, asks_for_double), seed=seed, dropout=self.dropout)
            self._built_from = self._structure() | {"dtype": self.network_.dtype, "columns of y": y.shape[1:]}
        if first and initial is not None:
            self.network_.set_parameters(initial)
        if first:
            self.coefs_, self.intercepts_ = list(self.network_.weights), list(self.network_.biases)

        hooks = {"estimator": self, "X": X, "y": y,
                 "metadata": None if sample_weight is None else {"sample_weight": sample_weight}}
        if context is not None:
            context.call_on_fit_task_begin(**hooks)
        self._train(X[rows], codes[rows], None if weight is None else weight[rows], held_out, incremental,
                    context, hooks)
        if context is not None:
            context.call_on_fit_task_end(**hooks, reconstruction_attributes=self._reconstruction)

    def _train(self, X: Any, codes: Array, weight: Weights, held_out: _HeldOut | None, incremental: bool, context: Any,
               hooks: Mapping[str, Any]) -> None:
        """Epochs over rows that are ready."""
        network = self._linked()
        batch = self._batch(X.shape[0])
        outputs = self._summed_outputs()
        # scikit-learn divides alpha by the rows of a batch, or by their weights; and where a loss is a mean over
        # outputs, here and there, its gradient is that of their sum: so all else is in proportion.
        network.l2 = self._number("alpha") / (outputs * batch * (1 if weight is None else weight.mean()))
        optimizer = self._optimizer
        if not (incremental and isinstance(optimizer, Optimizer)):
            optimizer = self._new_optimizer(outputs)
        self.n_iter_ = 0
        if not incremental:
            self._no_improvement_count = 0
        if not incremental or self.best_loss_ is None:      # losses of other rows do not count
            self.best_loss_ = None if self.early_stopping else np.inf
        if self.early_stopping:
            self.best_validation_score_ = -np.inf
            if self.validation_scores_ is None:             # it was off when the network was built
                self.validation_scores_ = []
        validation = None
        if held_out is not None:
            validation = self._scaled(held_out[0]), self._scaled_targets(held_out[1]), *held_out[2:]
        books = Books(self, optimizer, outputs, codes, weight, validation)
        callbacks = [books, *self.callbacks]
        if hasattr(self, "_skl_callbacks") and context is not None:
            callbacks.append(Forwarded(context, hooks))
        rows = self._arguments_of_fit(network, X, codes, weight, batch)
        level = 5 if incremental else 6         # of the warnings: the line that called
        try:
            stopped_by = network.fit(**rows, epochs=1 if incremental else self.max_iter, optimizer=optimizer,
                                     validation_data=validation, callbacks=callbacks).stopped_by
        except DivergenceError as error:
            if books.best_parameters is None:
                raise ValueError("Solver produced non-finite parameter weights. The input data may contain large "
                                 "values and need to be preprocessed.") from error
            self.validation_scores_.append(np.nan)
            warnings.warn(f"training ended early: {error}", ConvergenceWarning, stacklevel=level)
            stopped_by = "divergence"
        if not (books.scored and books.nothing_to_tell):
            self._warn_of_the_end(stopped_by, incremental, level + 1)
        if self.n_iter_ == 0:           # L-BFGS found nothing to do
            self.loss_ = books.value(network.evaluate(rows["X"], rows["y"], sample_weight=weight), network)
        if books.best_parameters is not None:
            network.set_parameters(books.best_parameters)
        elif books.scored:
            warnings.warn("early_stopping found no epoch whose validation score is finite, so the parameters are those "
                          "of the last one; look for rows to validate with that are far from those to train on.",
                          ConvergenceWarning, stacklevel=level)

    def _arguments_of_fit(self, network: Network, X: Any, codes: Array, weight: Weights, batch: int) -> dict[str, Any]:
        """The rows as `Network.fit` takes them: arrays, or batches of a sparse matrix."""
        if hasattr(X, "toarray") and not self._by_lbfgs() and not self.standardize:
            return {"X": SparseBatches(network, X, codes, weight, batch, self.shuffle)}
        return {"X": self._scaled(X), "y": self._scaled_targets(codes), "sample_weight": weight,
                "batch_size": None if self._by_lbfgs() else batch, "shuffle": self.shuffle}

    def _warn_of_the_end(self, stopped_by: str | None, incremental: bool, level: int) -> None:
        """A ConvergenceWarning where a fit ended before it converged."""
        if self._by_lbfgs() and stopped_by in (None, "evaluations", "line_search"):
            reason = {None: f"max_iter={self.max_iter} is reached", "evaluations": f"max_fun={self.max_fun} is reached",
                      "line_search": "the line search found no better point"}[stopped_by]
            warnings.warn(f"lbfgs failed to converge after {self.n_iter_} iteration(s): {reason}. Increase max_iter or "
                          "max_fun, or scale the data.", ConvergenceWarning, stacklevel=level)
        elif stopped_by is None and not incremental:
            warnings.warn(f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization "
                          "hasn't converged yet.", ConvergenceWarning, stacklevel=level)

    # What the parameters say.

    def _check_parameters(self) -> None:
        if isinstance(self.solver, str):
            choose("solver", self.solver, SOLVERS)
        elif not isinstance(self.solver, (Optimizer, LBFGS)):
            raise TypeError(f"solver is {shown(self.solver)}, but must be one of {', '.join(SOLVERS)}, or an optimizer "
                            "such as fastnn.AdamW(1e-3)")
        choose("learning_rate", self.learning_rate, LEARNING_RATES)
        for name, bounds in BOUNDS.items():
            number(name, getattr(self, name), **bounds)
        for name in ("max_iter", "max_fun"):
            checked_integer(name, getattr(self, name), 1)
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
        hidden = len(self._hidden())
        checked_hidden(self._activations(), hidden, HIDDEN, ACTIVATIONS)
        checked_shares("dropout", self.dropout, hidden)

    def _number(self, name: str) -> float:
        """A parameter as a float: np.float32 would round all that it is combined with."""
        return float(getattr(self, name))

    def _structure(self) -> dict[str, Any]:
        """The parameters that a network is built from, as it has them, however they are spelled."""
        hidden = self._hidden()
        return {"hidden_layer_sizes": tuple(hidden),
                "activation": checked_hidden(self._activations(), len(hidden), HIDDEN, ACTIVATIONS),
                "loss": as_loss(self.loss) if isinstance(self.loss, str) and self.loss in PARAMETERS else self.loss,
                "dtype": None if self.dtype is None else checked_dtype(self.dtype),
                "dropout": checked_shares("dropout", self.dropout, len(hidden)),
                "standardize": bool(self.standardize)}

    def _check_unchanged(self, y: Array) -> None:
        """Refuses to go on with a network that is not what the parameters say now, or not for such targets; the dtype
        may be left to it."""
        check_columns("y", y, self._built_from.get("columns of y", y.shape[1:]),
                      "the network that goes on was built for {}; fit a new estimator, or without warm_start")
        for name, value in self._structure().items():
            if value is not None and self._built_from.get(name, value) != value:
                raise ValueError(f"{name} is {value!r}, but was {self._built_from[name]!r} when the network was built "
                                 "that goes on; set it back, or fit without warm_start")

    def _by_lbfgs(self) -> bool:
        return self.solver == "lbfgs" or isinstance(self.solver, LBFGS)

    def _hidden(self) -> list[int]:
        given: Any = self.hidden_layer_sizes
        given = (given,) if isinstance(given, Integral) else sequence(
            "hidden_layer_sizes", given, "be a sequence of integers, or one integer")
        sizes = [checked_integer(f"hidden_layer_sizes[{i}]", size, -sys.maxsize) for i, size in enumerate(given)]
        if not all(size > 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return sizes

    def _layer_sizes(self) -> list[int]:
        return [self.n_features_in_, *self._hidden(), self.n_outputs_]

    def _activations(self) -> str | list[str]:
        """Those of the hidden layers, in fastnn's words."""
        names = self.activation
        if isinstance(names, str):
            return "sigmoid" if names == "logistic" else str(names)
        if isinstance(names, bytes) or not np.iterable(names):
            raise TypeError(f"activation is {shown(names)}, but must be a name, or one name per hidden layer")
        plain = [str(name) if isinstance(name, str) else name for name in names]      # others are refused later
        return ["sigmoid" if isinstance(name, str) and name == "logistic" else name for name in plain]

    def _output(self) -> str:
        return "sigmoid" if self.out_activation_ == "logistic" else self.out_activation_

    def _summed_outputs(self) -> int:
        """Over how many outputs scikit-learn sums the loss that it takes the gradient of."""
        return 1 if self.out_activation_ == "softmax" else self.n_outputs_

    def _batch(self, rows: int) -> int:
        if self._by_lbfgs():
            return rows
        if self.batch_size == "auto":
            return min(200, rows)
        if self.batch_size > rows:
            warnings.warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
                          stacklevel=7)
        return min(int(self.batch_size), rows)

    def _new_optimizer(self, outputs: int) -> AnyOptimizer:
        """The optimizer that `solver` names; `outputs` is how much smaller our gradient is than scikit-learn's."""
        if not isinstance(self.solver, str):
            return copy.deepcopy(self.solver)
        if self.solver == "lbfgs":
            return LBFGS(tolerance_gradient=self._number("tol") / outputs, tolerance_change=RELATIVE_CHANGE,
                         max_evaluations=self.max_fun)
        rate = self._number("learning_rate_init")
        if self.solver == "sgd":
            return SGD(rate * outputs, momentum=self.momentum, nesterov=bool(self.nesterovs_momentum and self.momentum))
        return Adam(rate, beta1=self.beta_1, beta2=self.beta_2, epsilon=self._number("epsilon") / outputs)

    # Before the first epoch.

    def _checked_rows(self, X: Any, y: Any, reset: bool, name: str = "y") -> tuple[Any, Array]:
        X, y = validate_data(self, X, y, accept_sparse=["csr", "csc"], multi_output=True, reset=reset,
                             y_numeric=self._numeric_targets)
        y = dense(y)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return without_objects(X), real_array(name, y) if self._numeric_targets else y

    def _checked_validation(self, validation: _Validation, targets: Array) -> _HeldOut:
        """(X, codes, sample_weight), as the network takes them; `targets` are those to train on."""
        X, y = self._checked_rows(validation.X, validation.y, reset=False, name=validation.y_name)
        check_columns(validation.y_name, y, targets.shape[1:], "y to train on has {}")
        return X, self._encoded(y), row_weights(validation.weight_name, validation.sample_weight, X.shape[0])

    def _dtype_of(self, X: Any, y: Array, asks_for_double: bool) -> str:
        """The network's dtype where no parameter says it."""
        if asks_for_double and X.dtype.kind == "f" and X.dtype.itemsize >= 8:
            return "float64"
        learned = [] if self._input_scaling is not None else [X]        # standardised columns are near 0
        if self._numeric_targets and self._target_scaling is None:
            learned.append(y)
        return "float32" if all(map(fits_single, learned)) else "float64"

    def _forget(self, X: Any, codes: Array, weight: Weights) -> None:
        """Makes ready for the first epoch of all."""
        self.n_iter_, self.t_, self.loss_curve_, self.validation_loss_curve_ = 0, 0, [], []
        self.n_outputs_ = self._n_outputs(codes)
        self.out_activation_ = self._out_activation()
        self.n_layers_ = len(self._layer_sizes())
        self.best_loss_, self.validation_scores_, self.best_validation_score_ = np.inf, None, None
        if self.early_stopping:
            self.best_loss_, self.validation_scores_, self.best_validation_score_ = None, [], -np.inf
        self._input_scaling = Scaling.of(dense(X), weight) if self.standardize else None
        self._target_scaling = self._scaling_of_targets(codes, weight)
        self.__dict__.pop("network_", None)

    def _initial_parameters(self, random: np.random.RandomState) -> Array | None:
        """scikit-learn's initial weights and biases, packed (Glorot and Bengio, 2010); None leaves it to the Network,
        where scikit-learn has no such activation."""
        if not isinstance(self.activation, str) or self.activation not in ("identity", "logistic", "tanh", "relu"):
            return None
        factor = 2.0 if self.activation == "logistic" else 6.0
        sizes, arrays = self._layer_sizes(), []
        for fan_in, fan_out in zip(sizes, sizes[1:], strict=False):
            bound = np.sqrt(factor / (fan_in + fan_out))
            arrays.append(random.uniform(-bound, bound, (fan_in, fan_out)).ravel())
            arrays.append(random.uniform(-bound, bound, fan_out))
        return np.concatenate(arrays)

    def _split(self, X: Any, codes: Array, sample_weight: Weights,
               random: np.random.RandomState) -> tuple[Array, _HeldOut]:
        """(numbers of the rows to train on, what is held out of them)"""
        rows, held_out = train_test_split(np.arange(X.shape[0]), random_state=random,
                                          test_size=self._number("validation_fraction"), stratify=self._strata(codes))
        if len(held_out) < 2:
            raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your "
                             "dataset.")
        for part, fate in ((held_out, "holds out"), (rows, "leaves to train on")):
            if sample_weight is not None and not sample_weight[part].any():
                raise ValueError(f"sample_weight is zero for each of the {len(part)} rows that early_stopping {fate}: "
                                 "change validation_fraction or random_state, or pass validation_data")
        return rows, (X[held_out], codes[held_out], None if sample_weight is None else sample_weight[held_out])

    def _scaled(self, X: Any) -> Array:
        X = dense(X)
        return X if self._input_scaling is None else self._input_scaling.apply(X)

    def _scaled_targets(self, codes: Array) -> Array:
        return codes if self._target_scaling is None else self._target_scaling.apply(codes.reshape(len(codes), -1))

    # After it.

    def _linked(self) -> Network:
        """The network, with what stands in coefs_ and intercepts_: its own arrays, unless others were put there."""
        if "network_" not in self.__dict__:
            raise NotFittedError(f"This {type(self).__name__} instance is not fitted yet. Call 'fit' with appropriate "
                                 "arguments before using this estimator.")
        network = self.network_
        own, public = (*network.weights, *network.biases), (*self.coefs_, *self.intercepts_)
        if len(own) != len(public) or any(array is not other for array, other in zip(own, public, strict=True)):
            for name, arrays in (("coefs_", network.weights), ("intercepts_", network.biases)):
                check_shapes(name, getattr(self, name), arrays)
            for array, other in zip(own, public, strict=True):
                array[...] = other
            self.coefs_, self.intercepts_ = list(network.weights), list(network.biases)
        return network

    @property
    def _optimizer(self) -> AnyOptimizer | None:
        return self.network_.optimizer

    def _outputs(self, X: Any, compute: Callable[[Network, Array], FloatArray] = Network.predict) -> FloatArray:
        """What the network gives for rows as they come, before it is called classes or numbers."""
        network = self._linked()
        if type(X) is np.ndarray and X.ndim == 2 and X.dtype.kind == "f" and not hasattr(self, "feature_names_in_"):
            with suppress(ValueError):      # that is explained below, in scikit-learn's words
                return compute(network, self._scaled(X))
        with config_context(array_api_dispatch=False):
            X = without_objects(validate_data(self, X, accept_sparse=["csr", "csc"], reset=False))
        if not hasattr(X, "toarray"):
            return compute(network, self._scaled(X))
        rows = max(1, CHUNK_BYTES // (X.shape[1] * X.dtype.itemsize))
        parts = [X[first:first + rows] for first in range(0, X.shape[0], rows)]
        return np.vstack([compute(network, self._scaled(part)) for part in parts])

    def _reconstruction(self) -> dict[str, Any]:
        """The attributes that make a copy what this estimator is now."""
        network = copy.deepcopy(self._linked())
        return {"network_": network, "coefs_": list(network.weights), "intercepts_": list(network.biases)}

    def to_network(self) -> Network:
        """A new `fastnn.Network` that takes rows as they come and computes `predict_proba` (of two classes: the
        second's), or `predict` of a regressor. With `standardize`, the scalings are part of its first and last layer,
        and it is float64 where float32 would lose what they keep; ValueError where that does not hold them.
        It can be saved, and go where `fastnn.interchange` leads."""
        return self._as_network()

    def _as_network(self, parameters: FloatArray | None = None) -> Network:
        """`to_network` with other parameters than the present ones."""
        network = self._linked()
        if parameters is not None:
            network = folded(network)
            network.set_parameters(parameters)
        return folded(network, self._input_scaling, self._target_scaling)

    def __getstate__(self) -> dict[str, Any]:
        """Without coefs_ and intercepts_, which are the network's."""
        state = dict(super().__getstate__())
        if "network_" in state:
            self._linked()
            del state["coefs_"], state["intercepts_"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "network_" in state:
            self.coefs_, self.intercepts_ = list(self.network_.weights), list(self.network_.biases)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _check_stochastic(self) -> bool:
        if self._by_lbfgs():
            raise AttributeError(
                f"partial_fit is only available for stochastic optimizers. {self.solver} is not stochastic.")
        return True


class SparseBatches:
    """Sparse rows, of which a batch at a time is made dense: an epoch of the batches that dense rows would make."""

    def __init__(self, network: Network, X: Any, codes: Array, weight: Weights, batch: int, shuffle: bool) -> None:
        self.network, self.X, self.codes, self.weight = network, X.tocsr(), codes, weight
        self.batch, self.shuffle = batch, shuffle

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        count = len(self.codes)
        order = np.arange(count)
        if self.shuffle:
            order = random_order(count, self.network.seed, self.network.epochs_trained)
        for first in range(0, count, self.batch):
            part = order[first:first + self.batch]
            weight = () if self.weight is None else (self.weight[part],)
            yield self.X[part].toarray(), self.codes[part], *weight


class _Validation(NamedTuple):
    """Rows to validate with, as they come, and what their targets and weights are called."""

    X: Any
    y: Any
    sample_weight: Any
    y_name: str
    weight_name: str


def rows_to_validate(validation_data: Any, X_val: Any, y_val: Any, sample_weight_val: Any) -> _Validation | None:
    """The rows to validate with, in one of the two ways in which `fit` takes them."""
    if validation_data is None:
        given = {"X_val": X_val, "y_val": y_val}
        lacking = [name for name, value in given.items() if value is None]
        if not lacking:
            return _Validation(X_val, y_val, sample_weight_val, "y_val", "sample_weight_val")
        if len(lacking) == 1 or sample_weight_val is not None:
            raise ValueError(f"{' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} missing, but rows to "
                             "validate with are X_val and y_val, and with weights sample_weight_val")
        return None
    if not (X_val is None and y_val is None and sample_weight_val is None):
        raise ValueError("validation_data is given, and X_val, y_val or sample_weight_val too, but these are two ways "
                         "to say the same; pass one of them")
    X, y, sample_weight = validation_rows(validation_data)
    return _Validation(X, y, sample_weight, "validation_data's y", "validation_data's sample_weight")


def check_columns(name: str, y: Array, expected: tuple[int, ...], whose: str) -> None:
    """Refuses targets (n,) or (n, columns) of other columns than expected; `whose` says who expects them."""
    if y.shape[1:] != expected:
        got, known = (f"{shape[0]} columns" if shape else "one value a row" for shape in (y.shape[1:], expected))
        raise ValueError(f"{name} has {got}, but {whose.format(known)}")


def row_weights(name: str, values: Any, rows: int) -> Weights:
    """Weights (n,) in float64, or None, from what scikit-learn takes for them: also one number, or objects."""
    if isinstance(values, Real):
        values = np.full(rows, float(values))
    elif values is not None and not (isinstance(values, np.ndarray) and values.dtype.kind in "biuf"):
        values = check_array(values, dtype=np.float64, ensure_2d=False, ensure_all_finite=False, input_name=name)
    return checked_weights(name, values, rows)


def changed_optimizer(solver: Any, changes: dict[str, Any]) -> AnyOptimizer:
    """An optimizer like this one but for some of its arguments."""
    if not isinstance(solver, (Optimizer, LBFGS)):
        raise ValueError(f"Invalid parameter {SOLVER + next(iter(changes))!r}: solver is {solver!r}, which has no "
                         "parameters of its own; an optimizer such as fastnn.Adam() has")
    arguments: dict[str, Any] = copy.deepcopy(dict(solver.arguments()))
    for name in changes:
        if name not in arguments:
            raise ValueError(f"Invalid parameter {name!r} for solver {solver}. Valid parameters are: "
                             f"{sorted(arguments)!r}.")
    return type(solver)(**arguments | changes)


def fits_single(columns: Any) -> bool:
    """Whether float32 tells the rows of an array or a sparse matrix apart, and holds their numbers."""
    if np.can_cast(columns.dtype, np.float32):
        return True
    low, high = (np.asarray(dense(extreme(axis=0)), np.float64) for extreme in (columns.min, columns.max))
    size = np.maximum(np.abs(low), np.abs(high))
    if columns.dtype.kind in "iu":
        return bool((size <= LARGEST_INTEGER).all())
    limits = np.finfo(np.float32)
    lost = (size > MOST_DEVIATIONS * (high - low)) & (high > low)
    return not (lost | (size > limits.max) | ((size < limits.tiny) & (size > 0))).any()


def check_repeatable(name: str, value: Any) -> None:
    """Refuses iterators, which can be read once, and what has no order: every fit reads its parameters."""
    if isinstance(value, (Iterator, Mapping, Set)):
        raise TypeError(f"{name} is a {type(value).__name__}, but must be a sequence such as a list")


def check_shapes(name: str, values: Sequence[Any], arrays: Sequence[Array]) -> None:
    """Refuses values that are not as many as the network's arrays, and of their shapes."""
    if len(values) != len(arrays):
        raise ValueError(f"{name} holds {len(values)} arrays, but the network has {len(arrays)} layers")
    for layer, (value, array) in enumerate(zip(values, arrays, strict=True)):
        if np.shape(value) != array.shape:
            raise ValueError(f"{name}[{layer}] has shape {np.shape(value)}, but that layer's is {array.shape}")


def set_all(estimator: Multilayer, arguments: dict[str, Any]) -> None:
    """Keeps the arguments of __init__ as they are: get_params, clone and the check of them belong to scikit-learn."""
    for name, value in arguments.items():
        if name != "self":
            setattr(estimator, name, value)


def without_objects(array: Any) -> Any:
    """Numbers, which scikit-learn leaves as objects where they are the categories of a data frame."""
    return array.astype(np.float64) if array.dtype == object else array


def dense(X: Any) -> Array:
    return X.toarray() if hasattr(X, "toarray") else X
