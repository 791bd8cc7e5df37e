"""scikit-learn: fitted MLPClassifier and MLPRegressor as a Network, and back.

scikit-learn has one activation for all hidden layers: identity, logistic (here sigmoid), tanh or
relu. Its classifiers end in softmax, or in sigmoid for two classes and for several labels at once;
its regressors in identity, or in exp with the Poisson loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import library
from ..activations import ACTIVATIONS
from ..losses import default_loss
from ..training.trainable import checked_network
from .chain import Chain
from .contents import layers
from .spellings import SPELLINGS

if TYPE_CHECKING:
    from .._types import Array, ArrayLike
    from ..network import Network

NAMES = {spelling.sklearn: name for name, spelling in SPELLINGS.items() if spelling.sklearn is not None}
HIDDEN = {name: own for own, name in NAMES.items() if not ACTIVATIONS[name].output_only}


def from_sklearn(estimator: Any) -> Network:
    """A Network that computes what a fitted MLPClassifier or MLPRegressor of scikit-learn computes, with its dtype.

    The outputs of the network are those of `predict_proba` for a classifier, and of `predict` for a regressor. For two
    classes, there is one output: the probability of the second class. The loss is scikit-learn's: cross-entropy,
    "half_mse" or "poisson".

    Raises
    ------
    TypeError
        If `estimator` is another object.
    ValueError
        If it is not fitted.
    ImportError
        If scikit-learn is not installed.

    Examples
    --------

    >>> import fastnn
    >>> from sklearn.neural_network import MLPRegressor
    >>> mlp = MLPRegressor(hidden_layer_sizes=[5], activation="tanh", solver="lbfgs").fit([[0.0], [1.0]], [1.0, 3.0])
    >>> fastnn.interchange.from_sklearn(mlp)
    Network([1, 5, 1], activation=['tanh'], output='identity', loss='half_mse', dtype='float64', seed=0)
    """
    neural = library("sklearn.neural_network", "scikit-learn", "sklearn", "from_sklearn")
    if not isinstance(estimator, (neural.MLPClassifier, neural.MLPRegressor)):
        article, kind = ("the class", estimator) if isinstance(estimator, type) else ("a", type(estimator))
        raise TypeError(f"estimator is {article} {kind.__module__}.{kind.__name__}, but must be "
                        "scikit-learn's MLPClassifier or MLPRegressor, fitted and alone: pipeline[-1] is that of a "
                        "pipeline; fastnn.sklearn's have to_network()")
    if not hasattr(estimator, "coefs_"):
        raise ValueError(f"estimator is {estimator!r}, which is not fitted; call its fit first")
    output = NAMES[estimator.out_activation_]
    chain = Chain()
    for layer, (weights, biases) in enumerate(zip(estimator.coefs_, estimator.intercepts_, strict=True)):
        chain.linear(f"layer {layer}", weights, biases)
        chain.activation(f"layer {layer}", output if layer == len(estimator.coefs_) - 1
                         else NAMES[estimator.activation])
    loss = {"identity": "half_mse", "exp": "poisson"}.get(output) or default_loss(output)
    return chain.network(loss, seed=0)


def to_sklearn(network: Network, classes: ArrayLike | None = None) -> Any:
    """The network as a fitted estimator of scikit-learn.

    It is an MLPClassifier for the outputs softmax and sigmoid, and an MLPRegressor for identity and exp. `predict`,
    `predict_proba` and `score` give the results of the network. `partial_fit` continues from its parameters, with
    scikit-learn's defaults; `set_params` changes them.

    Parameters
    ----------
    network : Network
        All hidden layers have the same activation: identity, sigmoid, tanh or relu. A softmax of two outputs becomes
        one logistic output.
    classes : array (n_classes,) or None
        The names of the classes, in ascending order. None is 0, 1, … Several sigmoid outputs are labels that do not
        exclude each other; they have no other names.

    Raises
    ------
    ValueError
        If scikit-learn has no such activation, or if `classes` do not fit the outputs.
    ImportError
        If scikit-learn is not installed.

    Examples
    --------

    >>> import fastnn
    >>> net = fastnn.Network([4, 8, 3], output="softmax")
    >>> fastnn.interchange.to_sklearn(net, classes=["a", "b", "c"]).classes_.tolist()
    ['a', 'b', 'c']
    """
    neural = library("sklearn.neural_network", "scikit-learn", "sklearn", "to_sklearn")
    checked_network(network)
    output, n_outputs = network.activations[-1], network.layer_sizes[-1]
    settings = settings_of(network)
    parameters: list[tuple[Array, ...]] = [(weights, biases) for weights, biases, _ in layers(network)]
    if output in ("softmax", "sigmoid"):
        several = output == "sigmoid" and n_outputs > 1
        classes = checked_classes(classes, n_outputs if n_outputs > 1 else 2, several)
        if (output, n_outputs) == ("softmax", 2):
            parameters[-1] = tuple(part[..., 1:] - part[..., :1] for part in parameters[-1])
        estimator = neural.MLPClassifier(**settings)
        make_fitted(estimator, parameters, np.eye(n_outputs, dtype=int) if several else classes, classes=classes)
    else:
        if classes is not None:
            raise ValueError(f"classes is {classes!r}, but the output {output!r} makes a regressor, which has none")
        estimator = neural.MLPRegressor(loss="poisson" if output == "exp" else "squared_error", **settings)
        make_fitted(estimator, parameters, np.ones((2, n_outputs))[:, 0 if n_outputs == 1 else slice(None)])
    return estimator.set_params(random_state=None)


def settings_of(network: Network) -> dict[str, Any]:
    """The arguments of an estimator; ValueError for activations that scikit-learn does not have.

    The seed is for `make_fitted` alone: without one, that would change the state of NumPy's global generator.
    """
    *hidden, output = network.activations
    n_outputs = network.layer_sizes[-1]
    if len(set(hidden)) > 1:
        raise ValueError(f"the hidden layers have the activations {', '.join(hidden)}, but scikit-learn has one for "
                         "all of them")
    if hidden and hidden[0] not in HIDDEN:
        raise ValueError(f"the hidden layers' activation is {hidden[0]!r}, but scikit-learn has only "
                         f"{', '.join(HIDDEN)}")
    if output not in ("softmax", "sigmoid", "identity", "exp") or (output, n_outputs) == ("softmax", 1):
        raise ValueError(f"the output is {output!r} of {n_outputs}, but scikit-learn has only softmax (of two or more) "
                         "and sigmoid for classes, identity and exp for numbers")
    return {"hidden_layer_sizes": network.layer_sizes[1:-1], "activation": HIDDEN[hidden[0]] if hidden else "relu",
            "random_state": 0}


def make_fitted(estimator: Any, parameters: list[tuple[Array, ...]], y: ArrayLike, **classes: Any) -> None:
    """Gives an estimator these parameters, and the state of one that has not been trained.

    One step on rows of zeros, with targets `y`, makes all attributes that this version of scikit-learn expects. What
    the step changed is then set back.
    """
    weights = parameters[0][0]
    estimator.partial_fit(np.zeros((len(np.asarray(y)), len(weights)), weights.dtype), y, **classes)
    estimator.coefs_, estimator.intercepts_ = map(list, zip(*parameters, strict=True))
    estimator.loss_curve_, estimator.best_loss_, estimator.loss_ = [], np.inf, np.inf
    estimator.n_iter_ = estimator.t_ = 0
    del estimator._optimizer


def checked_classes(classes: ArrayLike | None, number: int, several: bool) -> Array:
    """The classes of a classifier, in ascending order as scikit-learn keeps them."""
    if classes is None:
        return np.arange(number)
    if several:
        raise ValueError(f"classes is {classes!r}, but {number} sigmoid outputs are {number} labels that do not "
                         "exclude each other, which scikit-learn gives no names; leave classes out")
    result = np.asarray(classes)
    if result.shape != (number,) or not np.array_equal(np.unique(result), result):
        raise ValueError(f"classes is {classes!r}, but must be {number} different ones in ascending order")
    return result
