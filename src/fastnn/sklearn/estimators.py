"""MLPClassifier and MLPRegressor: what is a class here and a number there."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import log_expit, xlogy
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.callback import with_callbacks
from sklearn.metrics import r2_score
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels

from .._checks import checked_weights, choose, number, shown
from ..losses import Loss
from ..ops import activation_forward, dense_forward
from ..training.scaling import Scaling
from ..training.sources import CHUNK_BYTES
from .multilayer import Multilayer, rows_to_validate, set_all

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from .._types import AnyLoss, AnyOptimizer, Array, ArrayLike, DType, FloatArray, HiddenName, Weights
    from ..callbacks import Callback
    from ..network import Network

LOSSES = {"squared_error": "half_mse", "absolute_error": "mae", "huber": "huber", "quantile": "quantile",
          "poisson": "poisson"}


class MLPClassifier(ClassifierMixin, Multilayer):
    """scikit-learn's MLPClassifier, and more: a network that tells classes, or several labels, of rows.

    Its parameters, and what they do, are scikit-learn's (see its documentation of `MLPClassifier`), but:

    Parameters
    ----------
    activation : str or sequence of str, default="relu"
        One for all hidden layers, or one per hidden layer: also those of `fastnn.activations`.
    solver : {"lbfgs", "sgd", "adam"} or an optimizer, default="adam"
        An optimizer such as `fastnn.AdamW(fastnn.schedules.CosineDecay(1e-3, length=200))` brings its
        learning rate and constants along: `learning_rate`, `learning_rate_init`, `power_t`, `momentum`,
        `nesterovs_momentum`, `beta_1`, `beta_2`, `epsilon` and `max_fun` are not used then. Its own can be
        searched: `solver__learning_rate`, `solver__weight_decay`, …
    dropout : float or sequence of float, default=0.0
        The share of each hidden layer's outputs that a training step leaves out.
    class_weight : dict {class: weight}, or a Series or other mapping like that, "balanced" or None
        Multiplies the weight of each row; a class that is not named has 1.
    loss : {"log_loss", "focal"} or what `fastnn.losses.focal` makes, default="log_loss"
    standardize : bool, default=False
        Whether the network learns from inputs brought to mean 0 and deviation 1, as they were in the
        first `fit`, or the first batch of `partial_fit` alone: `predict` does the same. `coefs_` belong to
        inputs like that.
    dtype : {"float32", "float64"} or None
        Of the network and of what it predicts. None: float64 where the first X is an array, a sparse
        matrix or a data frame of that or of wider floats; else, also for lists and integers, float32,
        unless that would not tell rows or numbers to predict apart (such as seconds since 1970).
    callbacks : sequence of fastnn.Callback, default=()
        Called in every fit; scikit-learn's own are set by `set_callbacks`. `fit.network` is the network that
        learns, `fit.model()` what `to_network` would give if the fit ended there. `CheckpointEvery` saves the
        latter: best parameters and scalings, to predict with and to export, and no state of training.

    Attributes are scikit-learn's too, and `network_`, the `fastnn.Network`; `validation_loss_curve_`, empty
    where nothing is validated. `loss_curve_` is there for each solver. With `early_stopping` the best
    parameters are kept, by the score of the rows held out, or of those to validate with.

    It differs in this:

    - Ctrl-C raises KeyboardInterrupt. A loss that stops being finite is a ValueError, and the parameters are
      those of the last good epoch (`fastnn.DivergenceError`); with `early_stopping` a ConvergenceWarning, and the
      best ones, if some were scored.
    - With `early_stopping` the loss decides where a score says little: of one row, of rows with equal targets.
    - Adam's `epsilon` is added where Kingma and Ba (2014) and PyTorch add it, after the correction of the bias.
    - All batches of an epoch have the same penalty `alpha`, also a shorter last one. `loss_curve_` has the penalty
      of the weights after the epoch, and with `sample_weight` the weighted mean over the epoch.
    - What the network is made of (`hidden_layer_sizes`, `activation`, `loss`, `dropout`, `standardize`) cannot be
      changed for a `warm_start`; and this counts epochs without improvement anew, and compares with what the rows of
      this fit say alone. With `early_stopping` they score the parameters that are there first.
    - `momentum` is below 1, sample weights are not negative, labels (several a row) are predicted as a dense array.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastnn.sklearn import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier(32, max_iter=300, learning_rate_init=0.01, standardize=True, random_state=0).fit(X, y)
    >>> model.score(X, y) > 0.95
    True
    """

    _numeric_targets = False
    class_weight: Mapping[Any, float] | str | None
    loss: str | Loss
    classes_: Array
    _multilabel: bool

    def __init__(self, hidden_layer_sizes: int | Sequence[int] = (100,),
                 activation: HiddenName | str | Sequence[str] = "relu", *,
                 solver: str | AnyOptimizer = "adam", alpha: float = 0.0001, batch_size: int | str = "auto",
                 learning_rate: str = "constant", learning_rate_init: float = 0.001, power_t: float = 0.5,
                 max_iter: int = 200, shuffle: bool = True, random_state: Any = None, tol: float = 1e-4,
                 verbose: bool | int = False, warm_start: bool = False, momentum: float = 0.9,
                 nesterovs_momentum: bool = True, early_stopping: bool = False, validation_fraction: float = 0.1,
                 beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8, n_iter_no_change: float = 10,
                 max_fun: int = 15000, dropout: float | Sequence[float] = 0.0,
                 class_weight: Mapping[Any, float] | str | None = None, loss: str | Loss = "log_loss",
                 standardize: bool = False, dtype: DType | None = None, callbacks: Sequence[Callback] = ()) -> None:
        set_all(self, locals())

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None,
            validation_data: Sequence[Any] | None = None, *, X_val: Any = None, y_val: Any = None,
            sample_weight_val: ArrayLike | None = None) -> Self:
        """Trains on all rows until `tol` or `max_iter` stops it, and returns itself.

        Parameters
        ----------
        X : array, sparse matrix or data frame (n, n_features)
        y : array (n,) of classes, or (n, n_labels) of 0 and 1
        sample_weight : array (n,), one number or None
        validation_data : (X, y), (X, y, sample_weight) or None
            Rows to validate with, instead of a share of the others: their loss becomes
            `validation_loss_curve_`, and with `early_stopping` their score decides.
        X_val, y_val, sample_weight_val : as X, y and sample_weight, or None
            The same, as scikit-learn names it. In a pipeline whose first steps change X, pass these:
            `Pipeline(steps, transform_input=["X_val"])` and metadata routing change X_val alike, and
            `validation_data` stays as it is.
        """
        return self._fit(X, y, sample_weight, rows_to_validate(validation_data, X_val, y_val, sample_weight_val))

    @available_if(Multilayer._check_stochastic)
    def partial_fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None,
                    classes: ArrayLike | None = None) -> Self:
        """One epoch on these rows, from where the last call stopped; returns itself.

        `classes`, array (n_classes,), are all that will ever come: needed in the first call. With `standardize`
        means and deviations are those of the first call's rows, of which two or more must have a weight, and
        stay: begin with as many rows as can speak for all.
        """
        return self._fit(X, y, sample_weight, incremental=True, classes=classes)

    def predict(self, X: Any) -> Array:
        """The class of each row, (n,), or its labels, (n, n_labels) of 0 and 1."""
        outputs = self._outputs(X)
        if self._multilabel:
            return (outputs > 0.5).astype(int)
        codes = outputs.argmax(axis=1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0.5).astype(np.intp)
        return self.classes_.take(codes, mode="clip")       # a single class is all that there is

    def predict_proba(self, X: Any) -> FloatArray:
        """The probability of each class, in the order of `classes_`, (n, n_classes); of several labels each its own."""
        return self._outputs(X, probabilities)

    def predict_log_proba(self, X: Any) -> FloatArray:
        """The logarithm of `predict_proba`, with all digits also where that is nearly 0 or 1."""
        return self._outputs(X, log_probabilities)

    def _weights(self, y: Array, sample_weight: Weights, incremental: bool) -> Weights:
        if self.class_weight is None:
            return sample_weight
        class_weight = plain(self.class_weight)
        balanced = isinstance(class_weight, str) and class_weight == "balanced"
        if not balanced and not isinstance(class_weight, dict):
            raise ValueError(f"class_weight is {shown(class_weight)}, but must be 'balanced', a dictionary "
                             "{class: weight} or None")
        if incremental and balanced:
            raise ValueError("class_weight is 'balanced', which needs all rows at once; partial_fit takes a dictionary "
                             "{class: weight}")
        if balanced:
            weights = compute_sample_weight("balanced", y)
        elif y.ndim == 2:
            raise ValueError("class_weight is a dictionary, but y holds several labels a row; weigh the rows with "
                             "sample_weight")
        else:
            weights, known = np.ones(len(y)), set(self.classes_.tolist())
            unknown = [label for label in class_weight if label not in known]
            if unknown and not known <= class_weight.keys():       # else it is one that only these rows lack
                raise ValueError(f"class_weight names the class {unknown[0]!r}, but the classes are {self.classes_}")
            for label, factor in class_weight.items():
                weights[y == label] = number(f"class_weight[{label!r}]", factor, low=0)
        if sample_weight is not None:
            weights = weights * sample_weight
        return checked_weights("sample_weight times class_weight", weights, len(y))

    def _learn_classes(self, y: Array, incremental: bool, classes: ArrayLike | None) -> None:
        """Which classes there are, or whether these are the ones known already."""
        if incremental and classes is None and hasattr(self, "classes_") and not self._multilabel and y.ndim == 1:
            return      # `_encoded` sees what is new; the looks below take ten times as long as a step
        check_classification_targets(y)
        multilabel = type_of_target(y) == "multilabel-indicator"
        present = unique_labels(y)
        if incremental and classes is None and not hasattr(self, "classes_"):
            raise ValueError("classes must be passed on the first call to partial_fit.")
        given = None if classes is None else unique_labels(classes)
        if given is not None and hasattr(self, "classes_") and not np.array_equal(given, self.classes_):
            raise ValueError(f"`classes={given}` is not the same as on last call to partial_fit, was: {self.classes_}")
        if not hasattr(self, "classes_") or not (incremental or self.warm_start):
            known = present if given is None or multilabel else given
        else:
            known = self.classes_
        if self.warm_start and not incremental and set(present) != set(known):
            raise ValueError("warm_start can only be used where `y` has the same classes as in the previous call to "
                             f"fit. Previously got {known}, `y` has {present}")
        if len(np.setdiff1d(present, known)):
            raise ValueError(f"`y` has classes not in `self.classes_`. `self.classes_` has {known}. 'y' has {present}.")
        self.classes_, self._multilabel = known, multilabel

    def _encoded(self, y: Array) -> Array:
        """The numbers of classes, or labels as they are."""
        if self._multilabel:
            return y
        codes = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        if (self.classes_[codes] != y).any():
            raise ValueError(f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has "
                             f"{np.unique(y)}.")
        return codes

    def _n_outputs(self, codes: Array) -> int:
        if self._multilabel:
            return codes.shape[1]
        return len(self.classes_) if len(self.classes_) > 2 else 1

    def _out_activation(self) -> str:
        return "softmax" if len(self.classes_) > 2 and not self._multilabel else "logistic"

    def _network_loss(self) -> str | AnyLoss | None:
        if isinstance(self.loss, Loss):
            return self.loss
        loss = choose("loss", self.loss, ("log_loss", "focal"))
        return None if loss == "log_loss" else str(loss)        # None: the one that goes with the output

    def _loss_summed(self) -> bool:
        return True

    def _loss_constant(self, codes: Array, weight: Weights = None) -> float:
        return 0.0

    def _strata(self, codes: Array) -> Array | None:
        return codes.astype(bool)[:, None] if self.n_outputs_ == 1 else None     # as scikit-learn does it

    def _scaling_of_targets(self, codes: Array, weight: Weights) -> Scaling | None:
        return None

    def _score(self, outputs: FloatArray, codes: Array, weight: Weights = None) -> float:
        """The share of rows that are right."""
        if self.out_activation_ == "softmax":
            right = outputs.argmax(axis=1) == codes
        else:
            right = ((outputs > 0.5) == (codes.reshape(outputs.shape) > 0.5)).all(axis=1)
        return float(np.average(right, weights=weight))

    def _can_score(self, codes: Array, weight: Weights = None) -> bool:
        """Whether rows with weight are of several classes. With one class, a constant answer is always right."""
        counting = codes if weight is None else codes[weight > 0]
        return bool((counting != counting[0]).any())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, Multilayer):
    """scikit-learn's MLPRegressor, and more: a network that computes one number or several of each row.

    Its parameters are scikit-learn's, with what `MLPClassifier` says of further ones and of differences, and:

    Parameters
    ----------
    loss : {"squared_error", "poisson", "absolute_error", "huber", "quantile"}, a Loss or a function
        default="squared_error", half of it; "poisson" with output exp and targets >= 0; "quantile" is
        the median's, `fastnn.losses.quantile(0.9)` another; a Python function as for `Network`.
    standardize : bool, default=False
        Whether the network learns from inputs, and (but for "poisson") targets, of mean 0 and deviation 1, as they
        were in the first `fit`, or the first batch of `partial_fit` alone; `predict` gives numbers like those
        of y, then in float64 whatever `dtype` is. `coefs_` and `loss_curve_` belong to standardised ones.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from fastnn.sklearn import MLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = MLPRegressor(hidden_layer_sizes=16, solver="lbfgs", max_iter=30, standardize=True, random_state=0)
    >>> import warnings
    >>> with warnings.catch_warnings(action="ignore"):       # 30 iterations are few
    ...     model.fit(X, y).score(X, y) > 0.5
    True
    """

    _numeric_targets = True
    loss: str | AnyLoss

    def __init__(self, loss: str | AnyLoss = "squared_error", hidden_layer_sizes: int | Sequence[int] = (100,),
                 activation: HiddenName | str | Sequence[str] = "relu", *,
                 solver: str | AnyOptimizer = "adam", alpha: float = 0.0001, batch_size: int | str = "auto",
                 learning_rate: str = "constant", learning_rate_init: float = 0.001, power_t: float = 0.5,
                 max_iter: int = 200, shuffle: bool = True, random_state: Any = None, tol: float = 1e-4,
                 verbose: bool | int = False, warm_start: bool = False, momentum: float = 0.9,
                 nesterovs_momentum: bool = True, early_stopping: bool = False, validation_fraction: float = 0.1,
                 beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8, n_iter_no_change: float = 10,
                 max_fun: int = 15000, dropout: float | Sequence[float] = 0.0,
                 standardize: bool = False, dtype: DType | None = None, callbacks: Sequence[Callback] = ()) -> None:
        set_all(self, locals())

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None,
            validation_data: Sequence[Any] | None = None, *, X_val: Any = None, y_val: Any = None,
            sample_weight_val: ArrayLike | None = None) -> Self:
        """Trains on all rows until `tol` or `max_iter` stops it, and returns itself.

        X is (n, n_features), an array, sparse matrix or data frame, y (n,) or (n, n_outputs), sample_weight
        (n,) or one number; `validation_data`, (X, y) or (X, y, sample_weight), or X_val, y_val and sample_weight_val,
        as for `MLPClassifier.fit`.
        """
        return self._fit(X, y, sample_weight, rows_to_validate(validation_data, X_val, y_val, sample_weight_val))

    @available_if(Multilayer._check_stochastic)
    def partial_fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """One epoch on these rows, from where the last call stopped; returns itself.

        With `standardize` means and deviations are those of the first call's rows, of which two or more must
        have a weight, and stay: begin with as many rows as can speak for all.
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> Array:
        """The number for each row, (n,), or (n, n_outputs) where there are several."""
        outputs = self._outputs(X)
        if self._target_scaling is not None:
            outputs = self._target_scaling.undo(outputs)        # in float64, as float32 may not tell them apart
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def _weights(self, y: Array, sample_weight: Weights, incremental: bool) -> Weights:
        return sample_weight

    def _learn_classes(self, y: Array, incremental: bool, classes: ArrayLike | None) -> None:
        """There are none."""

    def _encoded(self, y: Array) -> Array:
        return y

    def _n_outputs(self, codes: Array) -> int:
        return 1 if codes.ndim == 1 else codes.shape[1]

    def _out_activation(self) -> str:
        return "exp" if self._network_loss() == "poisson" else "identity"

    def _network_loss(self) -> str | AnyLoss | None:
        if isinstance(self.loss, Loss) or callable(self.loss):
            return self.loss
        if isinstance(self.loss, (Integral, tuple, list)):
            raise TypeError(f"loss is {self.loss!r}, but must be one of the names {', '.join(LOSSES)}; it is the first "
                            f"argument of a regressor: pass hidden_layer_sizes={self.loss!r} by its name")
        return LOSSES[choose("loss", self.loss, LOSSES)]

    def _loss_summed(self) -> bool:
        return self.out_activation_ == "exp"

    def _loss_constant(self, codes: Array, weight: Weights = None) -> float:
        """What scikit-learn's Poisson loss has beside ours, so that it is 0 at best."""
        if self.out_activation_ != "exp":
            return 0.0
        return float(np.average(xlogy(codes, codes) - codes, weights=weight, axis=0).sum())

    def _strata(self, codes: Array) -> Array | None:
        return None

    def _scaling_of_targets(self, codes: Array, weight: Weights) -> Scaling | None:
        standardise = self.standardize and self.out_activation_ == "identity"
        return Scaling.of(codes.reshape(len(codes), -1), weight) if standardise else None

    def _score(self, outputs: FloatArray, codes: Array, weight: Weights = None) -> float:
        """The coefficient of determination; a single row has none."""
        if len(codes) < 2:
            return np.nan
        targets = codes.reshape(outputs.shape).astype(np.float64)
        first = targets[0 if weight is None else int((weight > 0).argmax())]    # less this, a constant is exactly 0
        return float(r2_score(targets - first, outputs - first, sample_weight=weight))

    def _can_score(self, codes: Array, weight: Weights = None) -> bool:
        """Whether some column varies among the rows with weight, without which R² says nothing."""
        counting = (codes if weight is None else codes[weight > 0]).astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.square(counting - counting.mean(axis=0)).sum(axis=0)
        return bool((np.isfinite(squares) & (squares > 0) & (np.ptp(counting, axis=0) > 0)).any())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def probabilities(network: Network, X: Array) -> FloatArray:
    """The outputs (n, n_classes). A single output is the second class's: the first one's is added."""
    if network.layer_sizes[-1] > 1:
        return network.predict(X)
    z = preactivations(network, X)
    second, first = np.empty_like(z), np.empty_like(z)
    activation_forward(second, z, "sigmoid")
    activation_forward(first, -z, "sigmoid")
    # 1 - p has few digits for p near 1, and all of them up to a half, where it never contradicts `predict`.
    return np.hstack([np.where(second > 0.5, first, 1 - second), second])


def log_probabilities(network: Network, X: Array) -> FloatArray:
    """The logarithms of `probabilities`, from what the last activation is applied to."""
    z = preactivations(network, X)
    exact = z.astype(np.float64)
    if network.activations[-1] == "softmax":
        exact -= exact.max(axis=1, keepdims=True)
        others = np.exp(exact)
        np.put_along_axis(others, exact.argmax(axis=1, keepdims=True), 0, axis=1)
        exact -= np.log1p(others.sum(axis=1, keepdims=True))
    elif network.layer_sizes[-1] == 1:
        exact = log_expit(np.hstack([-exact, exact]))
    else:
        activation_forward(z, z, "sigmoid")     # labels that have equal probabilities shall have equal logarithms
        exact = np.where(z > 0.5, np.log(np.maximum(z, 0.5)), log_expit(exact))
    return exact.astype(network.dtype)


def preactivations(network: Network, X: Array) -> FloatArray:
    """z (n, n_outputs), of which the last activation makes the outputs: some rows at a time, as `layer_outputs` keeps
    those of every layer."""
    z = np.empty((len(X), network.layer_sizes[-1]), network.dtype)
    rows = max(1, CHUNK_BYTES // (sum(network.layer_sizes) * z.itemsize))
    for first in range(0, len(X) or 1, rows):       # once for no rows, too: the network refuses them
        part = slice(first, first + rows)
        dense_forward(z[part], network.layer_outputs(X[part])[-2], network.weights[-1], network.biases[-1])
    return z


def plain(class_weight: Any) -> Any:
    """A dictionary from any mapping, or a pandas Series; all else as it is."""
    mapping = isinstance(class_weight, Mapping) or (hasattr(class_weight, "keys") and hasattr(class_weight, "items"))
    return dict(class_weight.items()) if mapping else class_weight
