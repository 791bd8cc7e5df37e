"""Multilayer perceptrons of scikit-learn come in and go out: the same outputs, and the same bits of parameters."""

import pickle
import warnings

import numpy as np
import pytest
from example_networks import DTYPES, X, assert_same_network, error, filled

import fastnn
from fastnn.interchange import from_sklearn, to_sklearn

pytestmark = pytest.mark.any_isa
SKLEARN_DATA = np.random.default_rng(2).normal(size=(40, 5))


def fitted(kind, y, **settings):
    from sklearn import neural_network
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")     # it does not converge in 20 steps
        return getattr(neural_network, kind)(max_iter=20, random_state=0, **settings).fit(SKLEARN_DATA, y)


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("kind, targets, loss", [
    ("MLPClassifier", np.arange(40) % 3, "cross_entropy"), ("MLPClassifier", np.arange(40) % 2, "binary_cross_entropy"),
    ("MLPClassifier", SKLEARN_DATA[:, :3] > 0, "binary_cross_entropy"),
    ("MLPRegressor", SKLEARN_DATA[:, 0], "half_mse"), ("MLPRegressor", SKLEARN_DATA[:, :2], "half_mse"),
    ("MLPRegressor", np.arange(40) % 4, "poisson")])
def test_scikit_learn_comes_in_and_goes_out(kind, targets, loss, activation):
    more = {"loss": "poisson"} if loss == "poisson" else {}
    estimator = fitted(kind, targets, activation=activation, hidden_layer_sizes=(7, 6), **more)
    network = from_sklearn(estimator)
    assert network.loss == loss and network.dtype == "float64"
    state = repr(np.random.get_state())
    again = to_sklearn(network)
    assert repr(np.random.get_state()) == state and again.random_state is None
    assert_same_network(from_sklearn(again), network)
    outputs = estimator.predict_proba(SKLEARN_DATA) if kind == "MLPClassifier" else estimator.predict(SKLEARN_DATA)
    mine = network.predict(SKLEARN_DATA)
    columns = outputs[:, 1:] if mine.shape[1] == 1 and outputs.ndim == 2 else outputs.reshape(mine.shape)
    assert error(mine, columns) < 1e-12
    np.testing.assert_array_equal(again.predict(SKLEARN_DATA), estimator.predict(SKLEARN_DATA))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output, n_outputs", [("softmax", 4), ("softmax", 2), ("sigmoid", 1), ("sigmoid", 3)])
def test_a_classifier_of_scikit_learn_agrees_and_works(output, n_outputs, dtype):
    from sklearn.base import clone
    network = filled(fastnn.Network([5, 8, n_outputs], activation="tanh", output=output, dtype=dtype, seed=1))
    estimator = to_sklearn(network)
    inputs = SKLEARN_DATA.astype(dtype)
    expected = network.predict(inputs)
    if n_outputs == 1:
        expected = np.hstack([1 - expected, expected])
    assert error(estimator.predict_proba(inputs), expected) < (1e-6 if dtype == "float32" else 1e-14)
    labels = (expected > 0.5).astype(int) if output == "sigmoid" and n_outputs > 1 else expected.argmax(axis=1)
    np.testing.assert_array_equal(estimator.predict(inputs), labels)
    assert estimator.score(inputs, labels) == 1
    twin = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(twin.predict_proba(inputs), estimator.predict_proba(inputs))
    assert not hasattr(clone(estimator), "coefs_")
    before = [weights.copy() for weights in estimator.coefs_]
    estimator.partial_fit(inputs, labels)
    assert (estimator.n_iter_, len(estimator.loss_curve_), estimator.t_) == (1, 1, 40)
    changes = [np.abs(new - old).max() for new, old in zip(estimator.coefs_, before, strict=True)]
    assert 0 < max(changes) < 1e-2      # it went on from there
    assert network.predict(inputs[:1]).dtype == dtype


def test_the_classes_of_a_classifier():
    network = filled(fastnn.Network([5, 3], output="softmax"))
    estimator = to_sklearn(network, classes=["a", "b", "c"])
    expected = np.array(["a", "b", "c"])[network.predict(X).argmax(axis=1)]
    np.testing.assert_array_equal(estimator.predict(X.astype("f")), expected)
    for classes in (["a", "b"], ["b", "a", "c"], ["a", "a", "b"]):
        with pytest.raises(ValueError, match="must be 3 different ones in ascending order"):
            to_sklearn(network, classes)
    with pytest.raises(ValueError, match="2 sigmoid outputs are 2 labels"):
        to_sklearn(fastnn.Network([5, 2], output="sigmoid"), [0, 1])
    with pytest.raises(ValueError, match="makes a regressor, which has none"):
        to_sklearn(fastnn.Network([5, 2]), [0, 1])


@pytest.mark.parametrize("sentence, hidden, output, n_outputs", [
    ("relu, tanh, but scikit-learn has one for all", ["relu", "tanh"], "identity", 1),
    ("activation is 'gelu', but scikit-learn has only identity", "gelu", "identity", 1),
    ("output is 'tanh' of 1, but scikit-learn has only", "relu", "tanh", 1),
    ("output is 'softmax' of 1", "relu", "softmax", 1)])
def test_what_scikit_learn_cannot_hold_is_refused(sentence, hidden, output, n_outputs):
    with pytest.raises(ValueError, match=sentence):
        to_sklearn(fastnn.Network([5, 4, 4, n_outputs], activation=hidden, output=output))


def test_what_is_no_fitted_mlp_is_refused():
    from sklearn.linear_model import LinearRegression
    from sklearn.neural_network import MLPRegressor
    with pytest.raises(TypeError, match="LinearRegression, but must be scikit-learn.s MLPClassifier or MLPRegressor"):
        from_sklearn(LinearRegression())
    with pytest.raises(ValueError, match=r"MLPRegressor\(\), which is not fitted"):
        from_sklearn(MLPRegressor())
