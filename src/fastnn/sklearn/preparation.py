"""What both estimators do before the first epoch: rows checked and encoded, the network built and given its weights.

`Preparation` is the base of Multilayer, which trains. estimators.py has the methods that differ between classes and
numbers as targets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils import column_or_1d
from sklearn.utils.validation import validate_data

from .._checks import real_array
from ..network import Network
from ..scaling import Scaling
from .ensemble import OF_ENSEMBLE
from .parameters import Parameters
from .rows import Rows, ValidationRows, check_columns, dense, fits_single, row_weights, without_objects

if TYPE_CHECKING:
    from .._types import Array, ArrayLike, FloatArray, Weights
    from ..population.model import Population


class Preparation(Parameters):
    """What comes before the first epoch."""

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
    estimators_: list[Any]              # of an ensemble: an estimator of one network for each member
    _population: Population             # of the same networks, for predictions

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
        for name in ("network_", *OF_ENSEMBLE):
            self.__dict__.pop(name, None)

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
