"""A loss that is a Python function trains as fastnn's own losses do, and its errors reach the caller."""

import numpy as np
import pytest
from helpers import regression_data, same_bits
from small_networks import LABELS, X, Y, classifier, mse, regressor

import fastnn

pytestmark = pytest.mark.any_isa


def test_a_python_loss_trains_as_ours():
    network, ours = regressor(loss=mse, dropout=0.2, dtype="float64"), regressor(dropout=0.2, dtype="float64")
    np.testing.assert_allclose(network.fit(X, Y, epochs=5).loss, ours.fit(X, Y, epochs=5).loss, rtol=1e-12)
    np.testing.assert_allclose(network.get_parameters(), ours.get_parameters(), rtol=1e-9, atol=1e-12)
    assert network.evaluate(X, Y) == pytest.approx(ours.evaluate(X, Y))
    np.testing.assert_allclose(network.gradients(X, Y).weights[0], ours.gradients(X, Y).weights[0], atol=1e-12)
    assert network.train_on_batch(X[0], Y[0, 0]) == pytest.approx(ours.train_on_batch(X[0], Y[0, 0]))


def test_a_python_loss_of_several_outputs_is_the_mean_that_it_says():
    X, y = regression_data(12, 4, 3, seed=83)
    network, ours = (fastnn.Network([4, 5, 3], loss=loss, dtype="float64", seed=1) for loss in (mse, "mse"))
    assert network.gradients(X, y).loss == pytest.approx(ours.gradients(X, y).loss)     # first: nothing ran before
    np.testing.assert_allclose(network.gradients(X, y).weights[1], ours.gradients(X, y).weights[1], atol=1e-12)
    assert network.train_on_batch(X, y) == pytest.approx(ours.train_on_batch(X, y))
    assert network.fit(X, y).loss == [pytest.approx(ours.fit(X, y).loss[0])]
    history = network.fit(X, y, epochs=20, optimizer=fastnn.LBFGS())
    assert history.loss[-1] == pytest.approx(network.evaluate(X, y)) and type(history.loss[-1]) is float


def test_labels_of_a_python_loss_are_rows_of_0_and_1():
    def loss(outputs, targets):
        np.testing.assert_array_equal(targets, np.eye(3)[LABELS])
        return mse(outputs, targets)

    network = classifier(loss=loss)
    assert network.evaluate(X, LABELS) == network.evaluate(X, np.eye(3)[LABELS])


def test_a_python_loss_runs_in_the_float_state_of_its_caller():
    seen = []

    def loss(outputs, targets):
        seen.append(np.array([5e-324]) * 1.0)
        return mse(outputs, targets)

    network = regressor(loss=loss)
    network.fit(X, Y)
    network.gradients(X, Y)
    assert len(seen) == 3 and all(value == 5e-324 for value in seen)


@pytest.mark.parametrize("loss, error, words", [
    (lambda a, t: (1.0, a * 1j), TypeError, "gradient of the Python loss has dtype complex"),
    (lambda a, t: 1 / 0, ZeroDivisionError, "division"), (lambda a, t: 1.0, TypeError, "returned a float"),
    (lambda a, t: (1.0, np.zeros(3)), ValueError, r"gradient.*has shape \(3,\)"),
    (lambda a, t: ("no", a), TypeError, "value of the Python loss"),
    (lambda a, t: (np.nan, a), fastnn.DivergenceError, "stopped being finite")])
def test_a_python_loss_that_fails_leaves_everything_as_it_was(loss, error, words):
    network = regressor(loss=loss)
    before = network.get_parameters()
    with pytest.raises(error, match=words):
        network.fit(X, Y, optimizer=fastnn.SGD(0.1))
    assert same_bits(network.get_parameters(), before) and network.epochs_trained == 0
    if error is not fastnn.DivergenceError:
        with pytest.raises(error, match=words):
            network.gradients(X, Y)
