"""MLPClassifier and MLPRegressor: scikit-learn's, trained by fastnn. Change one import.

Parameters, defaults, attributes and warnings are scikit-learn's, and so are, for the same
`random_state`, the initial weights and the rows held out; further parameters stand at the end.
What is here translates: scikit-learn's words into those of a Network, and what scikit-learn does
between epochs into a callback. Rows are trained on and predicted elsewhere. Needs scikit-learn.
"""

import copy
import warnings
from contextlib import suppress

import numpy as np

try:
    from scipy.special import xlogy
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.callback import CallbackSupportMixin, with_callbacks
    from sklearn.exceptions import ConvergenceWarning, NotFittedError
    from sklearn.metrics import r2_score
    from sklearn.model_selection import train_test_split
    from sklearn.utils import check_random_state, column_or_1d
    from sklearn.utils.class_weight import compute_sample_weight
    from sklearn.utils.metaestimators import available_if
    from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
    from sklearn.utils.validation import validate_data
except ImportError as error:
    raise ImportError("fastnn.sklearn needs scikit-learn 1.9 or newer, which is not installed: "
                      f"pip install 'fastnn-mlp[sklearn]' ({error})") from None

from ._checks import checked_dtype, checked_hidden, checked_integer, checked_shares, checked_weights, choose, number
from .activations import ACTIVATIONS, HIDDEN
from .callbacks import Callback
from .data import CHUNK_BYTES
from .lbfgs import LBFGS
from .losses import Loss
from .network import Network
from .optimizers import SGD, Adam, Optimizer
from .scaling import Scaling, folded
from .training import DivergenceError

__all__ = ["MLPClassifier", "MLPRegressor"]

SOLVERS = ("lbfgs", "sgd", "adam")
LEARNING_RATES = ("constant", "invscaling", "adaptive")
LOSSES = {"squared_error": "half_mse", "absolute_error": "mae", "huber": "huber", "quantile": "quantile",
          "poisson": "poisson"}
BOUNDS = {
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
SMALLEST_RATE = 1e-6        # at which learning_rate="adaptive" stops
SLOWER = 5                  # and what it divides a rate by
RELATIVE_CHANGE = 2.220446049250313e-09     # of the loss, at which SciPy's L-BFGS-B stops by default


class _Multilayer(CallbackSupportMixin, BaseEstimator):
    """What both estimators share."""

    _input_scaling = _target_scaling = None     # without `standardize`, and where parameters came from elsewhere

    def _fit(self, X, y, sample_weight, validation_data=None, incremental=False, classes=None):
        self._check_parameters()
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        X, y = self._checked_rows(X, y, reset=first)
        sample_weight = checked_weights("sample_weight", sample_weight, X.shape[0])
        weight = self._weights(y, sample_weight, incremental)
        self._learn_classes(y, incremental, classes)
        codes = self._encoded(y)
        if validation_data is not None:
            validation_data = self._checked_validation(validation_data)

        random = check_random_state(self.random_state)
        if first:
            self._forget(X, codes, weight)
            initial = self._initial_parameters(random)
        rows, held_out = slice(None), validation_data
        if self.early_stopping and not self._by_lbfgs() and validation_data is None:
            rows, held_out = self._split(X, codes, sample_weight, random)
        if first or not hasattr(self, "network_"):
            seed = int(random.randint(2**31 - 1))
            self.network_ = Network(
                self._layer_sizes(), self._activations(), self._output(), loss=self._network_loss(),
                dtype=self._network_dtype(X), seed=seed, dropout=self.dropout)
        if first and initial is not None:
            self.network_.set_parameters(initial)
        if first:
            self.coefs_, self.intercepts_ = list(self.network_.weights), list(self.network_.biases)

        context = None if incremental else self._init_callback_context(task_name="fit", max_subtasks=self.max_iter)
        hooks = {"estimator": self, "X": X, "y": y,
                 "metadata": None if sample_weight is None else {"sample_weight": sample_weight}}
        if context is not None:
            context.call_on_fit_task_begin(**hooks)
        self._train(X[rows], codes[rows], None if weight is None else weight[rows], held_out, incremental,
                    context, hooks)
        if context is not None:
            context.call_on_fit_task_end(**hooks, reconstruction_attributes=self._reconstruction)
        return self

    def _train(self, X, codes, weight, held_out, incremental, context, hooks):
        """Epochs over rows that are ready."""
        network = self._linked()
        batch = self._batch(X.shape[0])
        outputs = self._summed_outputs()
        # scikit-learn divides alpha by the rows of a batch, or by their weights; and where a loss is a mean over
        # outputs, here and there, its gradient is that of their sum: so all else is in proportion.
        network.l2 = self.alpha / (outputs * batch * (1 if weight is None else weight.mean()))
        optimizer = self._optimizer if incremental and network.optimizer is not None else self._new_optimizer(outputs)
        if not incremental:
            self.n_iter_, self._no_improvement_count = 0, 0
        validation = None
        if held_out is not None:
            validation = self._scaled(held_out[0]), self._scaled_targets(held_out[1]), *held_out[2:]
        callbacks = [_Books(self, optimizer, outputs, codes, weight, validation), *self.callbacks]
        if hasattr(self, "_skl_callbacks") and context is not None:
            callbacks.append(_Forwarded(context, hooks))
        stopped_by = None
        try:
            stopped_by = network.fit(
                self._scaled(X), self._scaled_targets(codes), epochs=1 if incremental else self.max_iter,
                batch_size=None if self._by_lbfgs() else batch, optimizer=optimizer, shuffle=self.shuffle,
                sample_weight=weight, validation_data=validation, callbacks=callbacks).stopped_by
        except DivergenceError as error:
            if not self.early_stopping:
                raise ValueError("Solver produced non-finite parameter weights. The input data may contain large "
                                 "values and need to be preprocessed.") from error
            self.validation_scores_.append(np.nan)
            warnings.warn(f"training ended early: {error}", ConvergenceWarning, stacklevel=4)
            stopped_by = "divergence"
        if self._by_lbfgs() and stopped_by in (None, "evaluations", "line_search"):
            reason = {None: f"max_iter={self.max_iter} is reached", "evaluations": f"max_fun={self.max_fun} is reached",
                      "line_search": "the line search found no better point"}[stopped_by]
            warnings.warn(f"lbfgs failed to converge after {self.n_iter_} iteration(s): {reason}. Increase max_iter or "
                          "max_fun, or scale the data.", ConvergenceWarning, stacklevel=4)
        elif stopped_by is None and not incremental:
            warnings.warn(f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization "
                          "hasn't converged yet.", ConvergenceWarning, stacklevel=4)
        if self.early_stopping and not self._by_lbfgs():
            network.set_parameters(self._best_parameters)

    # What the parameters say.

    def _check_parameters(self):
        if isinstance(self.solver, str):
            choose("solver", self.solver, SOLVERS)
        elif not isinstance(self.solver, (Optimizer, LBFGS)):
            raise TypeError(f"solver is {self.solver!r}, but must be one of {', '.join(SOLVERS)}, or an optimizer such "
                            "as fastnn.AdamW(1e-3)")
        choose("learning_rate", self.learning_rate, LEARNING_RATES)
        for name, bounds in BOUNDS.items():
            number(name, getattr(self, name), **bounds)
        for name in ("max_iter", "max_fun"):
            checked_integer(name, getattr(self, name), 1)
        if self.batch_size != "auto":
            checked_integer("batch_size", self.batch_size, 1)
        if self.n_iter_no_change != np.inf:
            checked_integer("n_iter_no_change", self.n_iter_no_change, 1)
        if self.dtype is not None:
            checked_dtype(self.dtype)
        hidden = len(self._hidden())
        checked_hidden(self._activations(), hidden, HIDDEN, ACTIVATIONS)
        checked_shares("dropout", self.dropout, hidden)

    def _by_lbfgs(self):
        return self.solver == "lbfgs" or isinstance(self.solver, LBFGS)

    def _hidden(self):
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if any(not size > 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return sizes

    def _layer_sizes(self):
        return [self.n_features_in_, *self._hidden(), self.n_outputs_]

    def _activations(self):
        """Those of the hidden layers, in fastnn's words."""
        names = self.activation
        if isinstance(names, str):
            return "sigmoid" if names == "logistic" else names
        return ["sigmoid" if name == "logistic" else name for name in names]

    def _output(self):
        return "sigmoid" if self.out_activation_ == "logistic" else self.out_activation_

    def _network_dtype(self, X):
        """What was asked for, else that of the checked X."""
        return X.dtype.name if self.dtype is None else self.dtype

    def _summed_outputs(self):
        """Over how many outputs scikit-learn sums the loss that it takes the gradient of."""
        return 1 if self.out_activation_ == "softmax" else self.n_outputs_

    def _batch(self, rows):
        if self._by_lbfgs():
            return rows
        if self.batch_size == "auto":
            return min(200, rows)
        if self.batch_size > rows:
            warnings.warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
                          stacklevel=5)
        return min(self.batch_size, rows)

    def _new_optimizer(self, outputs):
        """The optimizer that `solver` names; `outputs` is how much smaller our gradient is than scikit-learn's."""
        if not isinstance(self.solver, str):
            return copy.deepcopy(self.solver)
        if self.solver == "lbfgs":
            return LBFGS(tolerance_gradient=self.tol / outputs, tolerance_change=RELATIVE_CHANGE,
                         max_evaluations=self.max_fun)
        if self.solver == "sgd":
            return SGD(self.learning_rate_init * outputs, momentum=self.momentum,
                       nesterov=bool(self.nesterovs_momentum and self.momentum))
        return Adam(self.learning_rate_init, beta1=self.beta_1, beta2=self.beta_2, epsilon=self.epsilon / outputs)

    # Before the first epoch.

    def _checked_rows(self, X, y, reset):
        double = not isinstance(X, (list, tuple))       # numbers of Python's own ask for no dtype
        X, y = validate_data(self, X, y, accept_sparse=["csr", "csc"], multi_output=True, reset=reset,
                             y_numeric=self._numeric_targets)
        if not (double and X.dtype == np.float64):
            X = X.astype(np.float32, copy=False)
        y = y.toarray() if hasattr(y, "toarray") else y
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y

    def _checked_validation(self, validation_data):
        """(X, codes) or (X, codes, sample_weight), as the network takes them."""
        if not (isinstance(validation_data, (tuple, list)) and len(validation_data) in (2, 3)):
            raise TypeError(f"validation_data is a {type(validation_data).__name__}, but must be a tuple (X, y) or "
                            "(X, y, sample_weight)")
        X, y = self._checked_rows(*validation_data[:2], reset=False)
        weight = checked_weights("validation_data's sample_weight", (*validation_data, None)[2], X.shape[0])
        return X, self._encoded(y), weight

    def _forget(self, X, codes, weight):
        """Makes ready for the first epoch of all."""
        self.n_iter_, self.t_, self.loss_curve_, self.validation_loss_curve_ = 0, 0, [], []
        self.n_outputs_ = self._n_outputs(codes)
        self.out_activation_ = self._out_activation()
        self.n_layers_ = len(self._layer_sizes())
        self.best_loss_, self.validation_scores_, self.best_validation_score_ = np.inf, None, None
        if self.early_stopping:
            self.best_loss_, self.validation_scores_, self.best_validation_score_ = None, [], -np.inf
        self._input_scaling = Scaling.of(_dense(X), weight) if self.standardize else None
        self._target_scaling = self._scaling_of_targets(codes, weight)
        self.__dict__.pop("network_", None)

    def _initial_parameters(self, random):
        """scikit-learn's initial weights and biases, packed (Glorot and Bengio, 2010); None leaves it to the Network,
        where scikit-learn has no such activation."""
        if self.activation not in ("identity", "logistic", "tanh", "relu"):
            return None
        factor = 2.0 if self.activation == "logistic" else 6.0
        sizes, arrays = self._layer_sizes(), []
        for fan_in, fan_out in zip(sizes, sizes[1:], strict=False):
            bound = np.sqrt(factor / (fan_in + fan_out))
            arrays.append(random.uniform(-bound, bound, (fan_in, fan_out)).ravel())
            arrays.append(random.uniform(-bound, bound, fan_out))
        return np.concatenate(arrays)

    def _split(self, X, codes, sample_weight, random):
        """(numbers of the rows to train on, what is held out of them)"""
        rows, held_out = train_test_split(np.arange(X.shape[0]), random_state=random,
                                          test_size=self.validation_fraction, stratify=self._strata(codes))
        if len(held_out) < 2:
            raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your "
                             "dataset.")
        return rows, (X[held_out], codes[held_out], None if sample_weight is None else sample_weight[held_out])

    def _scaled(self, X):
        X = _dense(X)
        return X if self._input_scaling is None else self._input_scaling.apply(X)

    def _scaled_targets(self, codes):
        return codes if self._target_scaling is None else self._target_scaling.apply(codes.reshape(len(codes), -1))

    # After it.

    def _linked(self):
        """The network, with what stands in coefs_ and intercepts_: its own arrays, unless others were put there."""
        network = self.network_
        own, public = (*network.weights, *network.biases), (*self.coefs_, *self.intercepts_)
        if any(array is not other for array, other in zip(own, public, strict=True)):
            for array, other in zip(own, public, strict=True):
                array[...] = other
            self.coefs_, self.intercepts_ = list(network.weights), list(network.biases)
        return network

    @property
    def _optimizer(self):
        return self.network_.optimizer

    def _outputs(self, X):
        """What the network gives for rows as they come, before they are called classes or numbers."""
        if "network_" not in self.__dict__:
            raise NotFittedError(f"This {type(self).__name__} instance is not fitted yet. Call 'fit' with appropriate "
                                 "arguments before using this estimator.")
        network = self._linked()
        if type(X) is np.ndarray and X.ndim == 2 and X.dtype.kind == "f" and not hasattr(self, "feature_names_in_"):
            with suppress(ValueError):      # that is explained below, in scikit-learn's words
                return network.predict(self._scaled(X))
        X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        if not hasattr(X, "toarray"):
            return network.predict(self._scaled(X))
        rows = max(1, CHUNK_BYTES // (X.shape[1] * X.dtype.itemsize))
        parts = [X[first:first + rows] for first in range(0, X.shape[0], rows)]
        return np.vstack([network.predict(self._scaled(part)) for part in parts])

    def _reconstruction(self):
        """The attributes that make a copy what this estimator is now."""
        network = copy.deepcopy(self._linked())
        return {"network_": network, "coefs_": list(network.weights), "intercepts_": list(network.biases)}

    def to_network(self):
        """A new `fastnn.Network` that takes rows as they come and computes `predict_proba` (of two classes: the
        second's), or `predict` of a regressor. With `standardize`, the scalings are part of its first and last layer.
        It can be saved, and go where `fastnn.interchange` leads."""
        return folded(self._linked(), self._input_scaling, self._target_scaling)

    def __getstate__(self):
        """Without coefs_ and intercepts_, which are the network's."""
        state = dict(super().__getstate__())
        if "network_" in state:
            self._linked()
            del state["coefs_"], state["intercepts_"]
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        if "network_" in state:
            self.coefs_, self.intercepts_ = list(self.network_.weights), list(self.network_.biases)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _check_stochastic(self):
        if self._by_lbfgs():
            raise AttributeError(
                f"partial_fit is only available for stochastic optimizers. {self.solver} is not stochastic.")
        return True


class MLPClassifier(ClassifierMixin, _Multilayer):
    """scikit-learn's MLPClassifier, and more: a network that tells classes, or several labels, of rows.

    Its parameters, and what they do, are scikit-learn's (see its documentation of `MLPClassifier`), but:

    Parameters
    ----------
    activation : str or sequence of str, default="relu"
        One for all hidden layers, or one per hidden layer: also those of `fastnn.activations`.
    solver : {"lbfgs", "sgd", "adam"} or an optimizer, default="adam"
        An optimizer such as `fastnn.AdamW(fastnn.schedules.CosineDecay(1e-3, length=200))` brings its
        learning rate and constants along: `learning_rate`, `learning_rate_init`, `power_t`, `momentum`,
        `nesterovs_momentum`, `beta_1`, `beta_2`, `epsilon` and `max_fun` are not used then.
    dropout : float or sequence of float, default=0.0
        The share of each hidden layer's outputs that a training step leaves out.
    class_weight : dict {class: weight}, "balanced" or None
        Multiplies the weight of each row.
    loss : {"log_loss", "focal"} or one of `fastnn.losses`, default="log_loss"
    standardize : bool, default=False
        Whether the network learns from inputs brought to mean 0 and deviation 1, as they were in the
        first fit: `predict` does the same. `coefs_` belong to inputs like that.
    dtype : {"float32", "float64"} or None
        Of the network. None: float64 where X is an array of that, else float32.
    callbacks : sequence of fastnn.Callback, default=()
        Called in every fit; scikit-learn's own are set by `set_callbacks`.

    Attributes are scikit-learn's too, and `network_`, the `fastnn.Network`; `validation_loss_curve_`.
    `loss_curve_` is there for each solver. With `early_stopping` the best parameters are kept, by the score
    of the rows held out, or of `validation_data`.

    It differs in this: Ctrl-C raises KeyboardInterrupt; all batches of an epoch have the same penalty
    `alpha`, also a shorter last one; negative sample weights are refused; and a loss that stops being
    finite is a ValueError that leaves the parameters of the epoch before it (with `early_stopping` a
    ConvergenceWarning, and the best ones).

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

    def __init__(self, hidden_layer_sizes=(100,), activation="relu", *, solver="adam", alpha=0.0001, batch_size="auto",
                 learning_rate="constant", learning_rate_init=0.001, power_t=0.5, max_iter=200, shuffle=True,
                 random_state=None, tol=1e-4, verbose=False, warm_start=False, momentum=0.9, nesterovs_momentum=True,
                 early_stopping=False, validation_fraction=0.1, beta_1=0.9, beta_2=0.999, epsilon=1e-8,
                 n_iter_no_change=10, max_fun=15000, dropout=0.0, class_weight=None, loss="log_loss",
                 standardize=False, dtype=None, callbacks=()):
        _set_all(self, locals())

    @with_callbacks
    def fit(self, X, y, sample_weight=None, validation_data=None):
        """Trains on all rows until `tol` or `max_iter` stops it, and returns itself.

        Parameters
        ----------
        X : array, sparse matrix or data frame (n, n_features)
        y : array (n,) of classes, or (n, n_labels) of 0 and 1
        sample_weight : array (n,) or None
        validation_data : (X, y), (X, y, sample_weight) or None
            Rows to validate with, instead of a share of the others: their loss becomes
            `validation_loss_curve_`, and with `early_stopping` their score decides.
        """
        return self._fit(X, y, sample_weight, validation_data)

    @available_if(_Multilayer._check_stochastic)
    def partial_fit(self, X, y, sample_weight=None, classes=None):
        """One epoch on these rows, from where the last call stopped; returns itself.

        `classes`, array (n_classes,), are all that will ever come: needed in the first call.
        """
        return self._fit(X, y, sample_weight, incremental=True, classes=classes)

    def predict(self, X):
        """The class of each row, (n,), or its labels, (n, n_labels) of 0 and 1."""
        outputs = self._outputs(X)
        if self._multilabel:
            return (outputs > 0.5).astype(int)
        codes = outputs.argmax(axis=1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0.5).astype(np.intp)
        return self.classes_.take(codes, mode="clip")       # a single class is all that there is

    def predict_proba(self, X):
        """The probability of each class, in the order of `classes_`, (n, n_classes); of several labels each its own."""
        outputs = self._outputs(X)
        return np.hstack([1 - outputs, outputs]) if outputs.shape[1] == 1 else outputs

    def predict_log_proba(self, X):
        """The logarithm of `predict_proba`."""
        return np.log(self.predict_proba(X))

    def _weights(self, y, sample_weight, incremental):
        if self.class_weight is None:
            return sample_weight
        if incremental and self.class_weight == "balanced":
            raise ValueError("class_weight is 'balanced', which needs all rows at once; partial_fit takes a dictionary "
                             "{class: weight}")
        weights = compute_sample_weight(self.class_weight, y)
        return weights if sample_weight is None else weights * sample_weight

    def _learn_classes(self, y, incremental, classes):
        """Which classes there are, or whether these are the ones known already."""
        check_classification_targets(y)
        multilabel = type_of_target(y) == "multilabel-indicator"
        present = unique_labels(y)
        if incremental and classes is None and not hasattr(self, "classes_"):
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if classes is not None:
            classes = unique_labels(classes)
            if hasattr(self, "classes_") and not np.array_equal(classes, self.classes_):
                raise ValueError(f"`classes={classes}` is not the same as on last call to partial_fit, was: "
                                 f"{self.classes_}")
        if not hasattr(self, "classes_") or not (incremental or self.warm_start):
            known = present if classes is None or multilabel else classes
        else:
            known = self.classes_
        unseen = np.setdiff1d(present, known)
        if self.warm_start and not incremental and set(present) != set(known):
            raise ValueError("warm_start can only be used where `y` has the same classes as in the previous call to "
                             f"fit. Previously got {known}, `y` has {present}")
        if len(unseen):
            raise ValueError(f"`y` has classes not in `self.classes_`. `self.classes_` has {known}. 'y' has {present}.")
        self.classes_, self._multilabel = known, multilabel

    def _encoded(self, y):
        """The numbers of classes, or labels as they are."""
        if self._multilabel:
            return y
        codes = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        if (wrong := self.classes_[codes] != y).any():
            raise ValueError(f"`y` has the class {y[wrong][0]}, which is not in `self.classes_`: {self.classes_}")
        return codes

    def _n_outputs(self, codes):
        if self._multilabel:
            return codes.shape[1]
        return len(self.classes_) if len(self.classes_) > 2 else 1

    def _out_activation(self):
        return "softmax" if len(self.classes_) > 2 and not self._multilabel else "logistic"

    def _network_loss(self):
        if self.loss == "log_loss":
            return None             # the one that goes with the output
        return self.loss if isinstance(self.loss, Loss) else choose("loss", self.loss, ("log_loss", "focal"))

    def _loss_summed(self):
        return True

    def _loss_constant(self, codes, weight=None):
        return 0.0

    def _strata(self, codes):
        return codes.astype(bool)[:, None] if self.n_outputs_ == 1 else None     # as scikit-learn does it

    def _scaling_of_targets(self, codes, weight):
        return None

    def _score(self, outputs, codes, weight=None):
        """The share of rows that are right."""
        if self.out_activation_ == "softmax":
            right = outputs.argmax(axis=1) == codes
        else:
            right = ((outputs > 0.5) == (codes.reshape(outputs.shape) > 0.5)).all(axis=1)
        return float(np.average(right, weights=weight))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, _Multilayer):
    """scikit-learn's MLPRegressor, and more: a network that computes one number or several of each row.

    Its parameters are scikit-learn's, with what `MLPClassifier` says of further ones and of differences, and:

    Parameters
    ----------
    loss : {"squared_error", "poisson", "absolute_error", "huber", "quantile"}, one of `fastnn.losses`, or a function
        default="squared_error", half of it; "poisson" with output exp and targets >= 0; "quantile" is
        the median's, and `fastnn.losses.quantile(0.9)` another; a Python function as for `Network`.
    standardize : bool, default=False
        Whether the network learns from inputs, and (but for "poisson") targets, of mean 0 and deviation 1, as they
        were in the first fit; `predict` gives numbers like those of y. `coefs_` and `loss_curve_` belong to
        standardised ones.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from fastnn.sklearn import MLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = MLPRegressor(16, solver="lbfgs", max_iter=30, standardize=True, random_state=0)
    >>> import warnings
    >>> with warnings.catch_warnings(action="ignore"):       # 30 iterations are few
    ...     model.fit(X, y).score(X, y) > 0.5
    True
    """

    _numeric_targets = True
    _multilabel = False

    def __init__(self, loss="squared_error", hidden_layer_sizes=(100,), activation="relu", *, solver="adam",
                 alpha=0.0001, batch_size="auto", learning_rate="constant", learning_rate_init=0.001, power_t=0.5,
                 max_iter=200, shuffle=True, random_state=None, tol=1e-4, verbose=False, warm_start=False,
                 momentum=0.9, nesterovs_momentum=True, early_stopping=False, validation_fraction=0.1, beta_1=0.9,
                 beta_2=0.999, epsilon=1e-8, n_iter_no_change=10, max_fun=15000, dropout=0.0, standardize=False,
                 dtype=None, callbacks=()):
        _set_all(self, locals())

    @with_callbacks
    def fit(self, X, y, sample_weight=None, validation_data=None):
        """Trains on all rows until `tol` or `max_iter` stops it, and returns itself.

        X is (n, n_features), an array, sparse matrix or data frame, y (n,) or (n, n_outputs), sample_weight
        (n,); `validation_data`, (X, y) or (X, y, sample_weight), as for `MLPClassifier.fit`.
        """
        return self._fit(X, y, sample_weight, validation_data)

    @available_if(_Multilayer._check_stochastic)
    def partial_fit(self, X, y, sample_weight=None):
        """One epoch on these rows, from where the last call stopped; returns itself."""
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X):
        """The number for each row, (n,), or (n, n_outputs) where there are several."""
        outputs = self._outputs(X)
        if self._target_scaling is not None:
            outputs = self._target_scaling.undo(outputs).astype(outputs.dtype)
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def _weights(self, y, sample_weight, incremental):
        return sample_weight

    def _learn_classes(self, y, incremental, classes):
        """There are none."""

    def _encoded(self, y):
        return y

    def _n_outputs(self, codes):
        return 1 if codes.ndim == 1 else codes.shape[1]

    def _out_activation(self):
        return "exp" if self._network_loss() == "poisson" else "identity"

    def _network_loss(self):
        if isinstance(self.loss, Loss) or callable(self.loss):
            return self.loss
        return LOSSES[choose("loss", self.loss, LOSSES)]

    def _loss_summed(self):
        return self.out_activation_ == "exp"

    def _loss_constant(self, codes, weight=None):
        """What scikit-learn's Poisson loss has beside ours, so that it is 0 at best."""
        if self.out_activation_ != "exp":
            return 0.0
        return float(np.average(xlogy(codes, codes) - codes, weights=weight, axis=0).sum())

    def _strata(self, codes):
        return None

    def _scaling_of_targets(self, codes, weight):
        standardise = self.standardize and self.out_activation_ == "identity"
        return Scaling.of(codes.reshape(len(codes), -1), weight) if standardise else None

    def _score(self, outputs, codes, weight=None):
        """The coefficient of determination."""
        return float(r2_score(codes, outputs, sample_weight=weight))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class _Books(Callback):
    """What scikit-learn does after every epoch: it keeps the curves and the best, and stops or slows down."""

    def __init__(self, estimator, optimizer, outputs, codes, weight, held_out):
        self.estimator, self.optimizer, self.held_out = estimator, optimizer, held_out
        self.scored = estimator.early_stopping and held_out is not None and not estimator._by_lbfgs()
        self.first_rate = getattr(optimizer, "learning_rate", None)
        self.loss_factor = outputs if estimator._loss_summed() else 1
        self.loss_constant = estimator._loss_constant(codes, weight)
        self.validation_constant = 0 if held_out is None else estimator._loss_constant(*held_out[1:])
        self.penalty_factor = 0.0

    def on_fit_begin(self, fit):
        """scikit-learn's loss has the penalty of each batch, alpha / 2 * sum(w ** 2) / rows, in it."""
        outputs = self.estimator._summed_outputs()
        self.penalty_factor = fit.network.l2 / 2 * outputs
        if self.scored and self.estimator.best_validation_score_ == -np.inf:
            self.estimator._best_parameters = fit.network.get_parameters()

    def on_epoch_end(self, fit):
        estimator, network = self.estimator, fit.network
        estimator.n_iter_ += 1
        estimator.loss_ = self.loss_factor * fit.history.loss[-1] + self.loss_constant
        if self.penalty_factor:
            estimator.loss_ += self.penalty_factor * sum(float(np.vdot(w, w)) for w in network.weights)
        estimator.loss_curve_.append(estimator.loss_)
        if fit.history.validation_loss:
            estimator.validation_loss_curve_.append(
                self.loss_factor * fit.history.validation_loss[-1] + self.validation_constant)
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")
        if estimator._by_lbfgs():
            return
        estimator.t_ += fit.rows
        improved = self.score(network) if self.scored else self.compare_loss()
        estimator._no_improvement_count = 0 if improved else estimator._no_improvement_count + 1
        if estimator.solver == "sgd" and estimator.learning_rate == "invscaling":
            self.optimizer.learning_rate = self.first_rate / (estimator.t_ + 1) ** estimator.power_t
        if estimator._no_improvement_count > estimator.n_iter_no_change:
            self.stop_or_slow_down(fit)

    def score(self, network):
        """Whether the score of the rows held out is better than the best by tol; keeps the best parameters."""
        estimator = self.estimator
        X, codes, *weight = self.held_out
        outputs = network.predict(X)
        score = estimator._score(outputs, codes, *weight) if np.isfinite(outputs).all() else np.nan
        improved = score >= estimator.best_validation_score_ + estimator.tol
        estimator.validation_scores_.append(score)
        if estimator.verbose:
            print(f"Validation score: {score:f}")
        if score > estimator.best_validation_score_:
            estimator.best_validation_score_, estimator._best_parameters = score, network.get_parameters()
        return improved

    def compare_loss(self):
        """Whether the training loss is better than the best by tol."""
        estimator = self.estimator
        if estimator.best_loss_ is None:        # early stopping was on in the fit before
            estimator.best_loss_ = np.inf
        improved = estimator.loss_ <= estimator.best_loss_ - estimator.tol
        estimator.best_loss_ = min(estimator.best_loss_, estimator.loss_)
        return improved

    def stop_or_slow_down(self, fit):
        estimator, optimizer = self.estimator, self.optimizer
        what = "Validation score" if self.scored else "Training loss"
        message = (f"{what} did not improve more than tol={estimator.tol:f} for {estimator.n_iter_no_change} "
                   "consecutive epochs.")
        if estimator.solver == "sgd" and estimator.learning_rate == "adaptive":
            if optimizer.learning_rate > SMALLEST_RATE * self.estimator._summed_outputs():
                optimizer.learning_rate /= SLOWER
                estimator._no_improvement_count = 0
                if estimator.verbose:
                    print(f"{message} Setting learning rate to {optimizer.learning_rate:f}")
                return
            message += " Learning rate too small."
        fit.stop("tol")
        if estimator.verbose:
            print(f"{message} Stopping.")


class _Forwarded(Callback):
    """Tells scikit-learn's own callbacks (`estimator.set_callbacks`) of every epoch."""

    def __init__(self, context, hooks):
        self.context, self.hooks, self.epoch = context, hooks, None

    def on_fit_begin(self, fit):
        self.epoch = self.context.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(**self.hooks)

    def on_epoch_end(self, fit):
        if self.epoch.call_on_fit_task_end(
                **self.hooks, reconstruction_attributes=self.hooks["estimator"]._reconstruction):
            fit.stop()
        elif fit.history.stopped_by is None and fit.epoch < fit.epochs:
            self.on_fit_begin(fit)


def _set_all(estimator, arguments):
    """Keeps the arguments of __init__ as they are: get_params, clone and the check of them belong to scikit-learn."""
    for name, value in arguments.items():
        if name != "self":
            setattr(estimator, name, value)


def _dense(X):
    return X.toarray() if hasattr(X, "toarray") else X
