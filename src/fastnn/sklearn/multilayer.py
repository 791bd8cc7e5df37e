"""What the estimators share: rows before the first epoch, the fit, the network after the last one.

`Multilayer` is the base of both estimators. It computes nothing: it translates rows and parameters for `Network.fit`,
and a Network's outputs for scikit-learn. parameters.py has the parameters, rows.py checks of rows, epochs.py what
happens between epochs, estimators.py what the two estimators differ in.
"""

from __future__ import annotations

import copy
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn import config_context
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.validation import validate_data

from .._checks import real_array
from ..network import Network
from ..optimizers import Optimizer
from ..scaling import Scaling, folded
from ..training import DivergenceError
from ..training.sources import CHUNK_BYTES
from .epochs import Bookkeeping, ForwardedCallbacks, HeldOut, ReportedLoss
from .parameters import Parameters, takes_all_rows
from .rows import (
    Rows,
    SparseBatches,
    ValidationRows,
    check_columns,
    dense,
    fits_single,
    row_weights,
    without_objects,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._types import AnyOptimizer, Array, ArrayLike, FloatArray, Weights


class Call(NamedTuple):
    """How `fit` or `partial_fit` was called."""

    incremental: bool               # partial_fit
    context: Any                    # of scikit-learn's callbacks; None in partial_fit
    arguments: dict[str, Any]       # of scikit-learn's callbacks
    stacklevel: int                 # of warnings in methods that `_train` calls, so that they name the user's line


class Multilayer(CallbackSupportMixin, Parameters):
    """What both estimators share."""

    # What a fit sets.
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
    _no_improvement_count: int = 0
    _built_from: dict[str, Any] = {}            # see _structure
    _input_scaling: Scaling | None = None       # without `standardize`, and where parameters came from elsewhere
    _target_scaling: Scaling | None = None

    # What differs between classes and numbers as targets: see estimators.py.

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

    # Fitting.

    def _fit(self, X: Any, y: Any, sample_weight: Any, validation: ValidationRows | None = None,
             incremental: bool = False, classes: ArrayLike | None = None) -> Any:
        """Trains. An error before the end of the first epoch leaves the estimator as it was."""
        self._check_parameters()
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        context = None if incremental else self._init_callback_context(task_name="fit", max_subtasks=self.max_iter)
        before, done = self.__dict__.copy(), self._network_and_epochs()
        try:
            with config_context(array_api_dispatch=False):      # so scikit-learn makes NumPy's arrays of others
                self._fit_rows(X, y, sample_weight, validation, incremental, classes, context)
        except BaseException:
            network, epochs = self._network_and_epochs()
            if epochs == (done[1] if network is done[0] else 0):
                self.__dict__ = before
            raise
        return self

    def _network_and_epochs(self) -> tuple[Network | None, int]:
        """The network, and the epochs that it has been trained for."""
        network = self.__dict__.get("network_")
        return network, 0 if network is None else network.epochs_trained

    def _fit_rows(self, X: Any, y: Any, sample_weight: Any, validation: ValidationRows | None, incremental: bool,
                  classes: ArrayLike | None, context: Any) -> None:
        """Checks and encodes the rows, makes the network or finds that it fits them, and trains it."""
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        asks_for_double = not isinstance(X, (list, tuple))      # Python's floats ask for no dtype
        X, y = self._checked_rows(X, y, reset=first)
        sample_weight = row_weights("sample_weight", sample_weight, X.shape[0])
        self._learn_classes(y, incremental, classes)
        rows = Rows(X, weight=self._weights(y, sample_weight, incremental), codes=self._encoded(y))
        held_out = None if validation is None else self._checked_validation(validation, y)
        if not first:
            self._check_unchanged(y)
        random = check_random_state(self.random_state)
        if first:
            self._check_standardizable(rows, incremental)
            self._reset_fit(rows)
            initial = self._initial_parameters(random)
        if self.early_stopping and not takes_all_rows(self.solver) and held_out is None:
            rows, held_out = self._split(rows, sample_weight, random)
        if first or not hasattr(self, "network_"):
            self._build_network(X, y, asks_for_double, seed=int(random.randint(2**31 - 1)))
        if first:
            if initial is not None:
                self.network_.set_parameters(initial)
            self.coefs_, self.intercepts_ = list(self.network_.weights), list(self.network_.biases)
        arguments = {"estimator": self, "X": X, "y": y,
                     "metadata": None if sample_weight is None else {"sample_weight": sample_weight}}
        if context is not None:
            context.call_on_fit_task_begin(**arguments)
        self._train(rows, held_out, Call(incremental, context, arguments, stacklevel=6 if incremental else 7))
        if context is not None:
            context.call_on_fit_task_end(**arguments, reconstruction_attributes=self._reconstruction)

    def _train(self, rows: Rows, held_out: Rows | None, call: Call) -> None:
        """Trains on rows that are ready, and keeps the best parameters of `early_stopping`."""
        network = self._current_network()
        batch = self._rows_per_batch(rows.X.shape[0], call.stacklevel)
        outputs = self._summed_outputs()
        # scikit-learn divides alpha by the rows of a batch, or by their weights. Where a loss is a mean over outputs,
        # it takes the gradient of their sum. Penalties and learning rates here make up for that.
        network.l2 = float(self.alpha) / (outputs * batch * (1 if rows.weight is None else rows.weight.mean()))
        optimizer = self._optimizer
        if not (call.incremental and isinstance(optimizer, Optimizer)):
            optimizer = self._new_optimizer(outputs)
        self._reset_records(call.incremental)
        validation = None
        if held_out is not None:
            validation = Rows(self._scaled(held_out.X), self._scaled_targets(held_out.codes), held_out.weight)
        books = Bookkeeping(self, self._reported_loss(outputs, rows, validation), optimizer, self._scored(validation),
                            self._as_network, self._no_improvement_count)
        callbacks = [books, *self.callbacks]
        if hasattr(self, "_skl_callbacks") and call.context is not None:
            callbacks.append(ForwardedCallbacks(call.context, call.arguments, self._reconstruction))
        given = self._arguments_of_fit(network, rows, batch)
        stopped_by = self._run(books, call, given | {
            "optimizer": optimizer, "validation_data": validation, "callbacks": callbacks})
        if books.held_out is None or not books.held_out.by_loss or self._can_score(rows.codes, rows.weight):
            self._warn_of_the_end(stopped_by, call)
        if self.n_iter_ == 0:           # L-BFGS found nothing to do
            self.loss_ = books.loss.training(
                network.evaluate(given["X"], given["y"], sample_weight=rows.weight), network)
        if books.best_parameters is not None:
            network.set_parameters(books.best_parameters)
        elif books.held_out is not None:
            self._warn_of_no_score(call)

    def _reset_records(self, incremental: bool) -> None:
        """Forgets what epochs of earlier fits recorded, as far as scikit-learn does."""
        self.n_iter_ = 0
        if not incremental:
            self._no_improvement_count = 0
        if not incremental or self.best_loss_ is None:      # losses of other rows do not count
            self.best_loss_ = None if self.early_stopping else np.inf
        if self.early_stopping:
            self.best_validation_score_ = -np.inf
            if self.validation_scores_ is None:             # it was off when the network was built
                self.validation_scores_ = []

    def _reported_loss(self, outputs: int, rows: Rows, validation: Rows | None) -> ReportedLoss:
        constant, validation_constant = (
            0 if part is None else self._loss_constant(part.codes, part.weight) for part in (rows, validation))
        return ReportedLoss(outputs, outputs if self._loss_summed() else 1, constant, validation_constant)

    def _scored(self, validation: Rows | None) -> HeldOut | None:
        """The rows to validate with as `Bookkeeping` scores them, or None where the training loss decides."""
        if validation is None or not self.early_stopping or takes_all_rows(self.solver):
            return None
        by_loss = not self._can_score(validation.codes, validation.weight)
        return HeldOut(*validation, score=self._score, by_loss=by_loss)

    def _run(self, books: Bookkeeping, call: Call, arguments: dict[str, Any]) -> str | None:
        """`Network.fit`. Returns what stopped it, which may be "divergence" if there are best parameters."""
        epochs = 1 if call.incremental else self.max_iter
        try:
            return self.network_.fit(**arguments, epochs=epochs).stopped_by
        except DivergenceError as error:
            if books.best_parameters is None:
                raise ValueError("Solver produced non-finite parameter weights. The input data may contain large "
                                 "values and need to be preprocessed.") from error
            self.validation_scores_.append(np.nan)
            warnings.warn(f"training ended early: {error}", ConvergenceWarning, stacklevel=call.stacklevel)
            return "divergence"
        finally:
            self._no_improvement_count = books.epochs_without_improvement

    def _arguments_of_fit(self, network: Network, rows: Rows, batch: int) -> dict[str, Any]:
        """The rows as `Network.fit` takes them: arrays, or batches of a sparse matrix."""
        at_once = takes_all_rows(self.solver)
        if hasattr(rows.X, "toarray") and not at_once and not self.standardize:
            return {"X": SparseBatches(network, rows, batch, self.shuffle)}
        return {"X": self._scaled(rows.X), "y": self._scaled_targets(rows.codes), "sample_weight": rows.weight,
                "batch_size": None if at_once else batch, "shuffle": self.shuffle}

    def _warn_of_the_end(self, stopped_by: str | None, call: Call) -> None:
        """A ConvergenceWarning where a fit ended before it converged."""
        if takes_all_rows(self.solver) and stopped_by in (None, "evaluations", "line_search"):
            reason = {None: f"max_iter={self.max_iter} is reached", "evaluations": f"max_fun={self.max_fun} is reached",
                      "line_search": "the line search found no better point"}[stopped_by]
            name = self.solver if isinstance(self.solver, str) else type(self.solver).__name__
            warnings.warn(f"{name} failed to converge after {self.n_iter_} iteration(s): {reason}. Increase max_iter "
                          "or max_fun, or scale the data.", ConvergenceWarning, stacklevel=call.stacklevel)
        elif stopped_by is None and not call.incremental:
            warnings.warn(f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization "
                          "hasn't converged yet.", ConvergenceWarning, stacklevel=call.stacklevel)

    @staticmethod
    def _warn_of_no_score(call: Call) -> None:
        warnings.warn("early_stopping found no epoch whose validation score is finite, so the parameters are those "
                      "of the last one; look for rows to validate with that are far from those to train on.",
                      ConvergenceWarning, stacklevel=call.stacklevel)

    # Before the first epoch.

    def _checked_rows(self, X: Any, y: Any, reset: bool, name: str = "y") -> tuple[Any, Array]:
        X, y = validate_data(self, X, y, accept_sparse=["csr", "csc"], multi_output=True, reset=reset,
                             y_numeric=self._numeric_targets)
        y = dense(y)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return without_objects(X), real_array(name, y) if self._numeric_targets else y

    def _checked_validation(self, validation: ValidationRows, targets: Array) -> Rows:
        """Rows to validate with, checked and encoded; `targets` are those to train on."""
        X, y = self._checked_rows(validation.X, validation.y, reset=False, name=validation.y_name)
        check_columns(validation.y_name, y, targets.shape[1:], "y to train on has {}")
        return Rows(X, self._encoded(y), row_weights(validation.weight_name, validation.sample_weight, X.shape[0]))

    def _check_unchanged(self, y: Array) -> None:
        """Refuses to go on with a network that does not fit the parameters, or the targets, any more. A dtype of None
        fits every network."""
        check_columns("y", y, self._built_from.get("columns of y", y.shape[1:]),
                      "the network that goes on was built for {}; fit a new estimator, or without warm_start")
        for name, value in self._structure().items():
            if value is not None and self._built_from.get(name, value) != value:
                raise ValueError(f"{name} is {value!r}, but was {self._built_from[name]!r} when the network was built "
                                 "that goes on; set it back, or fit without warm_start")

    def _check_standardizable(self, rows: Rows, incremental: bool) -> None:
        """Refuses a single row in the first partial_fit, as its deviations would be those of all rows to come."""
        counting = len(rows.codes) if rows.weight is None else np.count_nonzero(rows.weight)
        if incremental and self.standardize and counting < 2:
            raise ValueError("partial_fit got 1 row with weight in its first call, but standardize=True takes the "
                             "means and deviations from that call alone, and needs 2 or more; begin with more rows, or "
                             "pass rows that are standardised")

    def _reset_fit(self, rows: Rows) -> None:
        """Sets the attributes of a fit to what they are before the first epoch, and removes the network."""
        self.n_iter_, self.t_, self.loss_curve_, self.validation_loss_curve_ = 0, 0, [], []
        self.n_outputs_ = self._n_outputs(rows.codes)
        self.out_activation_ = self._out_activation()
        self.n_layers_ = len(self._layer_sizes())
        self.best_loss_, self.validation_scores_, self.best_validation_score_ = np.inf, None, None
        if self.early_stopping:
            self.best_loss_, self.validation_scores_, self.best_validation_score_ = None, [], -np.inf
        self._input_scaling = Scaling.of(dense(rows.X), rows.weight) if self.standardize else None
        self._target_scaling = self._scaling_of_targets(rows.codes, rows.weight)
        self.__dict__.pop("network_", None)

    def _initial_parameters(self, random: np.random.RandomState) -> Array | None:
        """scikit-learn's initial weights and biases, packed (Glorot and Bengio, 2010); None leaves them to the Network,
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

    def _split(self, rows: Rows, sample_weight: Weights, random: np.random.RandomState) -> tuple[Rows, Rows]:
        """(rows to train on, rows to validate with). The latter have weights without `class_weight`."""
        training, held_out = train_test_split(
            np.arange(rows.X.shape[0]), random_state=random, test_size=float(self.validation_fraction),
            stratify=self._strata(rows.codes))
        if len(held_out) < 2:
            raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your "
                             "dataset.")
        for part, fate in ((held_out, "holds out"), (training, "leaves to train on")):
            if sample_weight is not None and not sample_weight[part].any():
                raise ValueError(f"sample_weight is zero for each of the {len(part)} rows that early_stopping {fate}: "
                                 "change validation_fraction or random_state, or pass validation_data")
        return rows.part(training), Rows(rows.X, rows.codes, sample_weight).part(held_out)

    def _build_network(self, X: Any, y: Array, asks_for_double: bool, seed: int) -> None:
        output = "sigmoid" if self.out_activation_ == "logistic" else self.out_activation_
        self.network_ = Network(
            self._layer_sizes(), self._hidden_activations(), output, loss=self._network_loss(),
            dtype=self.dtype or self._dtype_of(X, y, asks_for_double), seed=seed, dropout=self.dropout)
        self._built_from = self._structure() | {"dtype": self.network_.dtype, "columns of y": y.shape[1:]}

    def _dtype_of(self, X: Any, y: Array, asks_for_double: bool) -> str:
        """The network's dtype where no parameter says it."""
        if asks_for_double and X.dtype.kind == "f" and X.dtype.itemsize >= 8:
            return "float64"
        learned = [] if self._input_scaling is not None else [X]        # standardised columns are near 0
        if self._numeric_targets and self._target_scaling is None:
            learned.append(y)
        return "float32" if all(map(fits_single, learned)) else "float64"

    def _layer_sizes(self) -> list[int]:
        return [self.n_features_in_, *self._hidden_sizes(), self.n_outputs_]

    def _summed_outputs(self) -> int:
        """The number of outputs over which scikit-learn sums the loss that it takes the gradient of."""
        return 1 if self.out_activation_ == "softmax" else self.n_outputs_

    def _scaled(self, X: Any) -> Array:
        X = dense(X)
        return X if self._input_scaling is None else self._input_scaling.apply(X)

    def _scaled_targets(self, codes: Array) -> Array:
        return codes if self._target_scaling is None else self._target_scaling.apply(codes.reshape(len(codes), -1))

    # After the last epoch.

    def _current_network(self) -> Network:
        """The network, after it has taken the values of coefs_ and intercepts_ where users put other arrays there."""
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
        """The network's outputs for rows that are not checked yet; `compute` may be another function than `predict`."""
        network = self._current_network()
        if type(X) is np.ndarray and X.ndim == 2 and X.dtype.kind == "f" and not hasattr(self, "feature_names_in_"):
            with suppress(ValueError):      # below it is raised again, in scikit-learn's words
                return compute(network, self._scaled(X))
        with config_context(array_api_dispatch=False):
            X = without_objects(validate_data(self, X, accept_sparse=["csr", "csc"], reset=False))
        if not hasattr(X, "toarray"):
            return compute(network, self._scaled(X))
        rows = max(1, CHUNK_BYTES // (X.shape[1] * X.dtype.itemsize))
        parts = [X[first:first + rows] for first in range(0, X.shape[0], rows)]
        return np.vstack([compute(network, self._scaled(part)) for part in parts])

    def _reconstruction(self) -> dict[str, Any]:
        """The attributes that a copy needs to become what this estimator is now."""
        network = copy.deepcopy(self._current_network())
        return {"network_": network, "coefs_": list(network.weights), "intercepts_": list(network.biases)}

    def to_network(self) -> Network:
        """A new `fastnn.Network` that computes `predict_proba` (of two classes: the second one's), or `predict` of a
        regressor, for rows that are not scaled. With `standardize`, the scalings are part of its first and last layer.
        It is float64 then, if float32 would lose them; ValueError if float64 cannot hold them. It can be saved, and
        exported by `fastnn.interchange`."""
        return self._as_network()

    def _as_network(self, parameters: FloatArray | None = None) -> Network:
        """`to_network` with other parameters than the present ones."""
        network = self._current_network()
        if parameters is not None:
            network = folded(network)
            network.set_parameters(parameters)
        return folded(network, self._input_scaling, self._target_scaling)

    def __getstate__(self) -> dict[str, Any]:
        """Without coefs_ and intercepts_, which are the network's."""
        state = dict(super().__getstate__())
        if "network_" in state:
            self._current_network()
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


def check_shapes(name: str, values: Sequence[Any], arrays: Sequence[Array]) -> None:
    """Refuses values that are not as many as the network's arrays, and of their shapes."""
    if len(values) != len(arrays):
        raise ValueError(f"{name} holds {len(values)} arrays, but the network has {len(arrays)} layers")
    for layer, (value, array) in enumerate(zip(values, arrays, strict=True)):
        if np.shape(value) != array.shape:
            raise ValueError(f"{name}[{layer}] has shape {np.shape(value)}, but that layer's is {array.shape}")
