"""L-BFGS: where it stops, what it leaves when a search fails, and what it refuses."""

import json
import pickle

import numpy as np
import pytest
from helpers import same_bits
from small_networks import LABELS, X, Y, mse, regressor, scripted

import fastnn

pytestmark = pytest.mark.any_isa


@pytest.mark.parametrize("most", [1, 4, 9])
def test_lbfgs_stops_after_so_many_evaluations(most):
    calls = 0

    def loss(outputs, targets):
        nonlocal calls
        calls += 1
        return mse(outputs, targets)

    history = regressor(loss=loss).fit(X, Y, epochs=50, optimizer=fastnn.LBFGS(max_evaluations=most))
    assert history.stopped_by == "evaluations"
    assert most <= calls <= most + 20 and len(history.loss) <= calls     # a line search that has begun may end
    assert regressor().fit(X, Y, epochs=3, optimizer=fastnn.LBFGS(max_evaluations=1000)).stopped_by is None


def test_lbfgs_is_stopped_between_iterations():
    """By a callback, which leaves the parameters that it saw, and by early stopping, which brings back the best."""
    seen = []

    class AtThree(fastnn.Callback):
        def on_epoch_end(self, fit):
            seen.append(fit.network.get_parameters())
            if fit.epoch == 3:
                fit.stop()

    network = regressor()
    assert network.fit(X, Y, epochs=50, optimizer=fastnn.LBFGS(), callbacks=[AtThree()]).stopped_by == "callback"
    assert len(seen) == 3 and same_bits(network.get_parameters(), seen[-1])
    network = regressor()
    seen.clear()
    watch, stopping = fastnn.Callback(), fastnn.EarlyStopping(2, monitor="validation_metric", mode="min")
    watch.on_epoch_end = lambda fit: seen.append(fit.network.get_parameters())
    history = network.fit(X, Y, epochs=50, optimizer=fastnn.LBFGS(), early_stopping=stopping, callbacks=[watch],
                          metrics=[scripted([3, 1, 2, 2])], validation_data=(X, Y))
    assert history.stopped_by == "early_stopping" and stopping.best_epoch == 2 and len(history.loss) == 4
    assert same_bits(network.get_parameters(), seen[1]) and not same_bits(seen[1], seen[2])
    assert network.fit(X, Y, epochs=0, optimizer=fastnn.LBFGS()).loss == []


def test_lbfgs_that_meets_infinity_leaves_the_last_iteration():
    """The loss fails in a line search, as where a network overflows."""
    calls = 0

    def loss(outputs, targets):
        nonlocal calls
        calls += 1
        return mse(outputs, targets) if calls < 8 else (np.inf, np.zeros_like(outputs))

    network, seen = regressor(loss=loss), []
    watch = fastnn.Callback()
    watch.on_epoch_end = lambda fit: seen.append(fit.network.get_parameters())
    with pytest.raises(fastnn.DivergenceError, match="restored: scale the inputs and targets") as caught:
        network.fit(X, Y, epochs=50, optimizer=fastnn.LBFGS(), callbacks=[watch])
    assert f"in epoch {len(seen) + 1}, step 1;" in str(caught.value) and np.isnan(caught.value.learning_rate)
    assert "learning rate" not in str(caught.value)         # there is none
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert seen and same_bits(network.get_parameters(), seen[-1]) and network.epochs_trained == len(seen)


@pytest.mark.parametrize("size", [1e200, 1e300])
def test_lbfgs_whose_line_search_loses_its_way_has_diverged(size):
    """SciPy's products overflow, and it asks for the loss at NaN."""
    network = regressor(dtype="float64", loss=lambda outputs, targets: (1.0, size * (outputs - targets)))
    before = network.get_parameters()
    with pytest.raises(fastnn.DivergenceError, match="stopped being finite in epoch 1, step 1; .*: scale the inputs"):
        network.fit(X, Y, epochs=50, optimizer=fastnn.LBFGS())
    assert same_bits(network.get_parameters(), before)


def test_lbfgs_of_large_weights_without_a_penalty_has_none():
    """Whose squares overflow: 0 times infinity is no penalty."""
    network = regressor(dtype="float64", activation="tanh")
    network.weights[0][...] *= 1e160
    assert np.isfinite(network.fit(X, Y, epochs=2, optimizer=fastnn.LBFGS()).loss).all()


def test_the_history_of_lbfgs_has_no_learning_rate():
    """As there is none: what is recorded is strict JSON."""
    history = regressor().fit(X, Y, epochs=3, optimizer=fastnn.LBFGS(), validation_data=(X, Y))
    assert history.learning_rate == [] and set(history.as_dict()) == {"loss", "validation_loss", "seconds"}
    assert json.loads(json.dumps([history.as_dict(), history.last()], allow_nan=False))[0] == history.as_dict()
    assert list(history.to_frame().columns) == ["loss", "validation_loss", "seconds"]


def test_lbfgs_does_not_smooth_labels():
    network = fastnn.Network([4, 3], output="softmax", label_smoothing=0.1)
    with pytest.raises(ValueError, match="label_smoothing is 0.1, which LBFGS does not know"):
        network.fit(X, LABELS, optimizer=fastnn.LBFGS())
