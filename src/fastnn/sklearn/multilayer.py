"""What the estimators share: the fit, the network after it, and its outputs.

`Multilayer` is the base of both estimators. It computes nothing: it translates rows and parameters for `Network.fit`,
and a Network's outputs for scikit-learn. parameters.py has the parameters, preparation.py what comes before the first
epoch, epochs.py what happens between epochs, estimators.py what the two estimators differ in. A fit is prepared first:
then it trains alone, or in one population with others (together.py), as members of an ensemble (ensemble.py) do.
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
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data

from ..network import Network
from ..optimizers import Optimizer
from ..scaling import folded
from ..training import DivergenceError
from ..training.sources import CHUNK_BYTES
from .ensemble import adopt, check_members, member_outputs, members_of, population_of
from .epochs import Bookkeeping, BookkeepingOfOne, ForwardedCallbacks, HeldOut, ReportedLoss
from .parameters import takes_all_rows
from .preparation import Preparation
from .rows import Rows, SparseBatches, ValidationRows, row_weights, rows_to_validate, without_objects
from .together import train_together

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._types import AnyOptimizer, Array, ArrayLike, FloatArray
    from ..population.model import Population


NOT_FINITE = ("Solver produced non-finite parameter weights. The input data may contain large values and need to be "
              "preprocessed.")


class Call(NamedTuple):
    """How `fit` or `partial_fit` was called."""

    incremental: bool               # partial_fit
    context: Any                    # of scikit-learn's callbacks; None in partial_fit
    arguments: dict[str, Any]       # of scikit-learn's callbacks
    stacklevel: int                 # of warnings in methods that `_finish` calls, so that they name the user's line


class PreparedFit(NamedTuple):
    """A fit that is ready for its first epoch."""

    estimator: Multilayer
    before: dict[str, Any]                  # the estimator's attributes
    done: tuple[Network | None, int]        # its network then, and the epochs of that
    rows: Rows
    books: Bookkeeping
    call: Call
    arguments: dict[str, Any]               # of Network.fit, without callbacks

    def train(self) -> None:
        """Trains the network, and finishes."""
        self.estimator._train(self)

    def finish(self, network: Network, stopped_by: str | None) -> None:
        """Takes a network that was trained elsewhere, where no rows were held out. "divergence" is an error."""
        estimator = self.estimator
        estimator.network_ = network
        estimator.coefs_, estimator.intercepts_ = list(network.weights), list(network.biases)
        estimator._no_improvement_count = self.books.epochs_without_improvement
        if stopped_by == "divergence":
            raise ValueError(NOT_FINITE)
        estimator._finish(self, stopped_by)

    def undo(self) -> None:
        """Leaves the estimator as it was."""
        self.estimator.__dict__ = self.before


class Multilayer(CallbackSupportMixin, Preparation):
    """What both estimators share."""

    # Fitting.

    def _fit(self, X: Any, y: Any, sample_weight: Any, validation: ValidationRows | None = None,
             incremental: bool = False, classes: ArrayLike | None = None) -> Any:
        """Trains. An error before the end of the first epoch leaves the estimator as it was."""
        self._check(incremental)
        if self.n_members > 1:
            return self._fit_members(X, y, sample_weight, validation, incremental, classes)
        context = None if incremental else self._init_callback_context(task_name="fit", max_subtasks=self.max_iter)
        self._train(self._prepared_fit(X, y, sample_weight, validation, incremental, classes, context))
        return self

    def _check(self, incremental: bool = False) -> None:
        """Checks the parameters, alone and with this fit."""
        self._check_parameters()
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        check_members(self, incremental)

    def _fit_members(self, X: Any, y: Any, sample_weight: Any, validation: ValidationRows | None, incremental: bool,
                     classes: ArrayLike | None) -> Any:
        """Trains all members of an ensemble. An error leaves it as it was."""
        fits = []
        for member in members_of(self, incremental):
            fits.append(member._prepared_fit(X, y, sample_weight, validation, incremental, classes, member=True))
        for error in train_together(fits):
            if error is not None:
                raise error
        adopt(self, [fit.estimator for fit in fits])
        self._population = population_of([member.network_ for member in self.estimators_])
        return self

    def _prepared_fit(self, X: Any, y: Any, sample_weight: Any, validation: ValidationRows | None = None,
                      incremental: bool = False, classes: ArrayLike | None = None, context: Any = None, *,
                      member: bool = False) -> PreparedFit:
        """A fit up to its first epoch, of the estimator or of a member of an ensemble. An error leaves it as it was."""
        before, done = self.__dict__.copy(), self._network_and_epochs()
        try:
            with config_context(array_api_dispatch=False):      # so scikit-learn makes NumPy's arrays of others
                rows, held_out, arguments = self._prepare(X, y, sample_weight, validation, incremental, classes)
                calls = 6 if incremental else 7         # from `_warn_of_the_end` to the user's line
                call = Call(incremental, context, arguments, stacklevel=calls + 4 * member)
                if context is not None:
                    context.call_on_fit_task_begin(**arguments)
                batch = self._rows_per_batch(rows.X.shape[0], calls - 1 + member)
                return PreparedFit(self, before, done, rows, *self._plan(rows, held_out, batch, call))
        except BaseException:
            self.__dict__ = before
            raise

    def _network_and_epochs(self) -> tuple[Network | None, int]:
        """The network, and the epochs that it has been trained for."""
        network = self.__dict__.get("network_")
        return network, 0 if network is None else network.epochs_trained

    def _prepare(self, X: Any, y: Any, sample_weight: Any, validation: ValidationRows | None, incremental: bool,
                 classes: ArrayLike | None) -> tuple[Rows, Rows | None, dict[str, Any]]:
        """(rows to train on, rows to validate with, arguments of scikit-learn's callbacks): checks and encodes the
        rows, and makes the network or finds that it fits them."""
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
        return rows, held_out, {"estimator": self, "X": X, "y": y,
                                "metadata": None if sample_weight is None else {"sample_weight": sample_weight}}

    def _plan(self, rows: Rows, held_out: Rows | None, batch: int,
              call: Call) -> tuple[Bookkeeping, Call, dict[str, Any]]:
        """(what is done after each epoch, the call, arguments of Network.fit), for rows that are ready."""
        network = self._current_network()
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
                            self._no_improvement_count)
        return books, call, self._arguments_of_fit(network, rows, batch) | {
            "optimizer": optimizer, "validation_data": validation, "epochs": 1 if call.incremental else self.max_iter}

    def _train(self, fit: PreparedFit) -> None:
        """Trains the network. An error before the end of the first epoch leaves the estimator as it was."""
        try:
            with config_context(array_api_dispatch=False):
                stopped_by = self._run(fit)
                self._finish(fit, stopped_by)
        except BaseException:
            network, epochs = self._network_and_epochs()
            if epochs == (fit.done[1] if network is fit.done[0] else 0):
                fit.undo()
            raise
        if fit.call.context is not None:
            fit.call.context.call_on_fit_task_end(**fit.call.arguments, reconstruction_attributes=self._reconstruction)

    def _finish(self, fit: PreparedFit, stopped_by: str | None) -> None:
        """Warns, and keeps the best parameters of `early_stopping`."""
        books, network = fit.books, self.network_
        if books.held_out is None or not books.held_out.by_loss or self._can_score(fit.rows.codes, fit.rows.weight):
            self._warn_of_the_end(stopped_by, fit.call)
        if self.n_iter_ == 0:           # L-BFGS found nothing to do
            self.loss_ = books.loss.training(network.evaluate(
                fit.arguments["X"], fit.arguments["y"], sample_weight=fit.rows.weight), network)
        if books.best_parameters is not None:
            network.set_parameters(books.best_parameters)
        elif books.held_out is not None:
            self._warn_of_no_score(fit.call)

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

    def _run(self, fit: PreparedFit) -> str | None:
        """`Network.fit`. Returns what stopped it, which may be "divergence" if there are best parameters."""
        callbacks = [BookkeepingOfOne(fit.books, self._as_network), *self.callbacks]
        if hasattr(self, "_skl_callbacks") and fit.call.context is not None:
            callbacks.append(ForwardedCallbacks(fit.call.context, fit.call.arguments, self._reconstruction))
        try:
            return self.network_.fit(**fit.arguments, callbacks=callbacks).stopped_by
        except DivergenceError as error:
            if fit.books.best_parameters is None:
                raise ValueError(NOT_FINITE) from error
            self.validation_scores_.append(np.nan)
            warnings.warn(f"training ended early: {error}", ConvergenceWarning, stacklevel=fit.call.stacklevel - 1)
            return "divergence"
        finally:
            self._no_improvement_count = fit.books.epochs_without_improvement

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

    def _outputs(self, X: Any, compute: Callable[[Network, Array], FloatArray] | None = None) -> FloatArray:
        """The network's outputs (rows, n_outputs) for rows that are not checked yet, or what `compute` makes of network
        and rows. Of an ensemble (n, rows, n_outputs), those of each member."""
        network = self._current_network() if not hasattr(self, "estimators_") else None

        def outputs(rows: Any) -> FloatArray:
            rows = self._scaled(rows)
            if network is None:
                return member_outputs(self.estimators_, self._population, rows, compute)
            return network.predict(rows) if compute is None else compute(network, rows)

        if type(X) is np.ndarray and X.ndim == 2 and X.dtype.kind == "f" and not hasattr(self, "feature_names_in_"):
            with suppress(ValueError):      # below it is raised again, in scikit-learn's words
                return outputs(X)
        with config_context(array_api_dispatch=False):
            X = without_objects(validate_data(self, X, accept_sparse=["csr", "csc"], reset=False))
        if not hasattr(X, "toarray"):
            return outputs(X)
        rows = max(1, CHUNK_BYTES // (X.shape[1] * X.dtype.itemsize))
        return np.concatenate([outputs(X[first:first + rows]) for first in range(0, X.shape[0], rows)], axis=-2)

    def _reconstruction(self) -> dict[str, Any]:
        """The attributes that a copy needs to become what this estimator is now."""
        network = copy.deepcopy(self._current_network())
        return {"network_": network, "coefs_": list(network.weights), "intercepts_": list(network.biases)}

    def to_network(self) -> Network:
        """A new `fastnn.Network` that computes `predict_proba` (of two classes: the second one's), or `predict` of a
        regressor, for rows that are not scaled. With `standardize`, the scalings are part of its first and last layer.
        It is float64 then, if float32 would lose them; ValueError if float64 cannot hold them. It can be saved, and
        exported by `fastnn.interchange`. An ensemble has `to_population`."""
        if hasattr(self, "estimators_"):
            raise ValueError(f"this {type(self).__name__} is an ensemble of {len(self.estimators_)} networks, which no "
                             "Network computes: call to_population(), or estimators_[0].to_network() for its first one")
        return self._as_network()

    def to_population(self) -> Population:
        """A new `fastnn.Population` of the networks that `to_network` gives of each member; of one where there is one.
        The mean of its outputs over members is what the ensemble predicts."""
        members = getattr(self, "estimators_", [self])
        return population_of([member.to_network() for member in members])

    def _as_network(self, parameters: FloatArray | None = None) -> Network:
        """`to_network` with other parameters than the present ones."""
        network = self._current_network()
        if parameters is not None:
            network = folded(network)
            network.set_parameters(parameters)
        return folded(network, self._input_scaling, self._target_scaling)

    def __getstate__(self) -> dict[str, Any]:
        """Without coefs_ and intercepts_, which are the network's."""
        state = {name: value for name, value in super().__getstate__().items() if name != "_population"}
        if "network_" in state:
            self._current_network()
            del state["coefs_"], state["intercepts_"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "network_" in state:
            self.coefs_, self.intercepts_ = list(self.network_.weights), list(self.network_.biases)
        if "estimators_" in state:
            self._population = population_of([member.network_ for member in self.estimators_])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def prepared(estimator: Multilayer, X: Any, y: Any, sample_weight: Any = None, validation_data: Any = None, *,
             X_val: Any = None, y_val: Any = None, sample_weight_val: Any = None) -> PreparedFit:
    """What `estimator.fit` with these arguments would train, for one network. Errors are those of `fit`."""
    validation = rows_to_validate(validation_data, X_val, y_val, sample_weight_val)
    estimator._check()
    return estimator._prepared_fit(X, y, sample_weight, validation)


def check_shapes(name: str, values: Sequence[Any], arrays: Sequence[Array]) -> None:
    """Refuses values that are not as many as the network's arrays, and of their shapes."""
    if len(values) != len(arrays):
        raise ValueError(f"{name} holds {len(values)} arrays, but the network has {len(arrays)} layers")
    for layer, (value, array) in enumerate(zip(values, arrays, strict=True)):
        if np.shape(value) != array.shape:
            raise ValueError(f"{name}[{layer}] has shape {np.shape(value)}, but that layer's is {array.shape}")
