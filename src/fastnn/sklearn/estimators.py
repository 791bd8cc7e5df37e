"""MLPClassifier and MLPRegressor: what differs between classes and numbers as targets.

Both are a Multilayer, which calls the methods here whose names begin with an underscore.
"""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from scipy.special import logsumexp, xlogy
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.callback import with_callbacks
from sklearn.metrics import r2_score
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels

from .._checks import checked_weights, choose, number, shown
from ..losses import Loss
from ..scaling import Scaling
from .ensemble import deviation_over_members, mean_over_members
from .multilayer import Multilayer
from .outputs import log_probabilities, probabilities
from .parameters import check_stochastic, keep_arguments
from .rows import rows_to_validate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from .._types import AnyLoss, AnyOptimizer, Array, ArrayLike, DType, FloatArray, HiddenName, Weights
    from ..callbacks import Callback

LOSSES = {"squared_error": "half_mse", "absolute_error": "mae", "huber": "huber", "quantile": "quantile",
          "poisson": "poisson"}


class MLPClassifier(ClassifierMixin, Multilayer):
    """A network that predicts the class of each row, or several labels, as scikit-learn's MLPClassifier does.

    The parameters are those of scikit-learn (see its documentation of `MLPClassifier`). These are additional or differ:

    Parameters
    ----------
    activation : str or sequence of str, default="relu"
        One activation for all hidden layers, or one per hidden layer. All names of `fastnn.activations` are accepted.
    solver : {"lbfgs", "sgd", "adam"} or an optimizer, default="adam"
        An optimizer such as `fastnn.AdamW(fastnn.schedules.CosineDecay(1e-3, length=200))` has its own
        learning rate and constants. Then `learning_rate`, `learning_rate_init`, `power_t`, `momentum`,
        `nesterovs_momentum`, `beta_1`, `beta_2`, `epsilon` and `max_fun` are not used. A search can change
        `solver__learning_rate`, `solver__weight_decay`, …
    dropout : float or sequence of float, default=0.0
        The probability with which a training step sets an output of a hidden layer to zero.
    class_weight : dict {class: weight}, or a Series or other mapping like that, "balanced" or None
        Multiplies the weight of each row by the weight of its class. A class that is not named has the weight 1.
    loss : {"log_loss", "focal"} or what `fastnn.losses.focal` makes, default="log_loss"
    standardize : bool, default=False
        Whether inputs are scaled to mean 0 and standard deviation 1, in training and in `predict`. Means and
        deviations come from the rows of the first `fit`, or of the first call of `partial_fit`. `coefs_` apply to
        scaled inputs.
    dtype : {"float32", "float64"} or None
        The type of the network and its outputs. None means float64 if the first X is an array, a sparse matrix or a
        data frame of float64 or wider floats. Otherwise, also for lists and integers, it means float32, unless
        different rows or targets would become equal in that (such as seconds since 1970).
    callbacks : sequence of fastnn.Callback, default=()
        Called in every fit. (`set_callbacks` sets the callbacks of scikit-learn.) `fit.network` is the network that
        is trained. `fit.model()` is the network that `to_network` would return if the fit ended now, with the best
        parameters and the scalings. `CheckpointEvery` saves it, for predictions and exports, without the state of
        training.
    n_members : int, default=1
        The number of networks. More than 1 form an ensemble, which predicts the mean of their outputs. They differ in
        their random numbers, and the first is the network of n_members=1. 8 or more networks train together
        (`fastnn.Population`), with the same bits as one after the other. They train one after the other with
        `early_stopping` or other rows for validation, with "lbfgs", sparse rows or `callbacks`, and in `partial_fit`.
        `estimators_` has one estimator for each network, with `network_`, `coefs_` and curves. The ensemble itself does
        not have these attributes. Its `n_iter_` is the largest of all networks, and its `loss_` is their mean.

    Notes
    -----
    The attributes are those of scikit-learn, with two more: `network_`, the `fastnn.Network`, and
    `validation_loss_curve_`, which is empty without validation. Every solver has a `loss_curve_`. With
    `early_stopping` the fit ends with the best parameters, by the score on the rows for validation.

    These points differ from scikit-learn:

    - Ctrl-C raises KeyboardInterrupt. If the loss is no longer finite, `fit` raises a `fastnn.DivergenceError`, which
      is a ValueError and says which parameters are restored. With `early_stopping`, if some parameters were scored, it
      is a ConvergenceWarning, and the best of them are kept.
    - With `early_stopping` the loss decides if the score has little meaning: for one row, or for equal targets.
    - Adam's `epsilon` is added where Kingma and Ba (2014) and PyTorch add it, after the correction of the bias.
    - All batches of an epoch have the same penalty `alpha`, also a shorter last one. `loss_curve_` contains the penalty
      of the weights after the epoch, and with `sample_weight` the weighted mean over the epoch.
    - `hidden_layer_sizes`, `activation`, `loss`, `dropout`, `standardize` and `n_members` cannot be changed for a
      `warm_start`. It counts epochs without improvement from 0, and compares losses and scores of this fit alone. With
      `early_stopping` the parameters are scored before the first epoch, too.
    - `momentum` is below 1, sample weights are not negative, several labels a row are predicted as a dense array.

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
                 standardize: bool = False, dtype: DType | None = None, callbacks: Sequence[Callback] = (),
                 n_members: int = 1) -> None:
        keep_arguments(self, locals())

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
            Rows to validate with, instead of a share of the rows to train on: their loss becomes
            `validation_loss_curve_`, and with `early_stopping` their score decides.
        X_val, y_val, sample_weight_val : as X, y and sample_weight, or None
            The same, under scikit-learn's names. Pass these in a pipeline whose first steps change X:
            `Pipeline(steps, transform_input=["X_val"])` and metadata routing change X_val in the same way, but not
            `validation_data`.
        """
        return self._fit(X, y, sample_weight, rows_to_validate(validation_data, X_val, y_val, sample_weight_val))

    @available_if(check_stochastic)
    def partial_fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None,
                    classes: ArrayLike | None = None) -> Self:
        """One epoch on these rows, starting from the present parameters; returns itself.

        `classes`, array (n_classes,), are all classes of this and later calls; the first call needs them. With
        `standardize`, means and deviations are those of the first call's rows, of which two or more must have a
        weight. They stay, so the first rows should be many, and like all others.
        """
        return self._fit(X, y, sample_weight, incremental=True, classes=classes)

    def predict(self, X: Any) -> Array:
        """The class of each row, (n,), or its labels, (n, n_labels) of 0 and 1. Those of the mean probabilities of an
        ensemble's members."""
        outputs = mean_over_members(self._outputs(X))
        if self._multilabel:
            return (outputs > 0.5).astype(int)
        codes = outputs.argmax(axis=1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0.5).astype(np.intp)
        return self.classes_.take(codes, mode="clip")       # with a single class, code 1 means that class, too

    def predict_proba(self, X: Any) -> FloatArray:
        """The probability of each class, (n, n_classes) in the order of `classes_`, or of each label, (n, n_labels).
        The mean over an ensemble's members."""
        return mean_over_members(self._outputs(X, probabilities if getattr(self, "n_outputs_", 1) == 1 else None))

    def predict_log_proba(self, X: Any) -> FloatArray:
        """The logarithm of `predict_proba`, exact to all digits also for probabilities near 0 or 1."""
        logarithms = self._outputs(X, log_probabilities)
        if logarithms.ndim == 2:
            return logarithms
        of_sums = logsumexp(logarithms.astype(np.float64), axis=0)
        return (of_sums - np.log(len(logarithms))).astype(logarithms.dtype)

    def _weights(self, y: Array, sample_weight: Weights, incremental: bool) -> Weights:
        if self.class_weight is None:
            return sample_weight
        class_weight = as_dictionary(self.class_weight)
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
            if unknown and not known <= class_weight.keys():       # if all known ones are named, more do no harm
                raise ValueError(f"class_weight names the class {unknown[0]!r}, but the classes are {self.classes_}")
            for label, factor in class_weight.items():
                weights[y == label] = number(f"class_weight[{label!r}]", factor, low=0)
        if sample_weight is not None:
            weights = weights * sample_weight
        return checked_weights("sample_weight times class_weight", weights, len(y))

    def _learn_classes(self, y: Array, incremental: bool, classes: ArrayLike | None) -> None:
        """Stores the classes and whether y holds several labels, or checks that y has no new classes."""
        if incremental and classes is None and hasattr(self, "classes_") and not self._multilabel and y.ndim == 1:
            return      # `_encoded` refuses new classes; the checks below take ten times as long as a step
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
        """The number of each row's class, or labels as they are."""
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
        """The share of rows whose prediction is right."""
        if self.out_activation_ == "softmax":
            right = outputs.argmax(axis=1) == codes
        else:
            right = ((outputs > 0.5) == (codes.reshape(outputs.shape) > 0.5)).all(axis=1)
        return float(np.average(right, weights=weight))

    def _can_score(self, codes: Array, weight: Weights = None) -> bool:
        """Whether the rows with weight are of several classes. With one class, a constant answer is always right."""
        counting = codes if weight is None else codes[weight > 0]
        return bool((counting != counting[0]).any())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, Multilayer):
    """A network that predicts one number, or several, for each row, as scikit-learn's MLPRegressor does.

    The parameters are those of scikit-learn. The additional parameters and the differences are those of
    `MLPClassifier`, and these:

    Parameters
    ----------
    loss : {"squared_error", "poisson", "absolute_error", "huber", "quantile"}, a Loss or a function
        default="squared_error", which is half the squared difference. "poisson" has the output exp, and needs targets
        >= 0. "quantile" predicts the median, and `fastnn.losses.quantile(0.9)` another quantile. A Python function is
        as for `Network`.
    standardize : bool, default=False
        Whether inputs and targets are scaled to mean 0 and standard deviation 1 (with "poisson" only the inputs).
        Means and deviations come from the rows of the first `fit`, or of the first call of `partial_fit`. `predict`
        scales its results back and returns float64 for every `dtype`. `coefs_` and `loss_curve_` are for scaled
        numbers.

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
                 standardize: bool = False, dtype: DType | None = None, callbacks: Sequence[Callback] = (),
                 n_members: int = 1) -> None:
        keep_arguments(self, locals())

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

    @available_if(check_stochastic)
    def partial_fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """One epoch on these rows, starting from the present parameters; returns itself.

        With `standardize`, means and deviations are those of the first call's rows, of which two or more must have a
        weight. They stay, so the first rows should be many, and like all others.
        """
        return self._fit(X, y, sample_weight, incremental=True)

    @overload
    def predict(self, X: Any, return_std: Literal[False] = False) -> Array: ...

    @overload
    def predict(self, X: Any, return_std: Literal[True]) -> tuple[Array, Array]: ...

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """The number for each row, (n,), or (n, n_outputs) where there are several; an ensemble's is its members' mean.
        With `return_std` also how much these disagree, their standard deviation, as a second array of this shape."""
        outputs = self._outputs(X)
        if self._target_scaling is not None:
            outputs = self._target_scaling.undo(outputs)        # in float64, as float32 may make them equal
        if return_std and outputs.ndim == 2:
            raise ValueError("return_std is True, but one network has no deviation: fit with n_members=8, or so")
        predicted = [mean_over_members(outputs)] + ([deviation_over_members(outputs)] if return_std else [])
        predicted = [values[:, 0] if values.shape[1] == 1 else values for values in predicted]
        return tuple(predicted) if return_std else predicted[0]

    def _weights(self, y: Array, sample_weight: Weights, incremental: bool) -> Weights:
        return sample_weight

    def _learn_classes(self, y: Array, incremental: bool, classes: ArrayLike | None) -> None:
        """Numbers have no classes."""

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
        """What scikit-learn adds to a Poisson loss, so that the smallest possible one is 0."""
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
        first = targets[0 if weight is None else int((weight > 0).argmax())]    # makes constant targets exactly 0
        return float(r2_score(targets - first, outputs - first, sample_weight=weight))

    def _can_score(self, codes: Array, weight: Weights = None) -> bool:
        """Whether some column varies among the rows with weight. R² says nothing without that."""
        counting = (codes if weight is None else codes[weight > 0]).astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.square(counting - counting.mean(axis=0)).sum(axis=0)
        return bool((np.isfinite(squares) & (squares > 0) & (np.ptp(counting, axis=0) > 0)).any())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def as_dictionary(class_weight: Any) -> Any:
    """A mapping or a pandas Series as a dictionary; anything else as it is."""
    mapping = isinstance(class_weight, Mapping) or (hasattr(class_weight, "keys") and hasattr(class_weight, "items"))
    return dict(class_weight.items()) if mapping else class_weight
