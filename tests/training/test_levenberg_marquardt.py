"""Levenberg-Marquardt: its equations against NumPy, where it goes and ends, how it goes on, and what it refuses."""

import copy
import pickle
import tracemalloc

import numpy as np
import pytest
from helpers import regression_data, same_bits
from small_networks import LABELS, X, Y, batches, classifier, mse, regressor

import fastnn
from fastnn import reference
from fastnn.activations import ACTIVATIONS
from fastnn.core import Rows
from fastnn.training import levenberg_marquardt
from fastnn.training.levenberg_marquardt import Jacobian
from fastnn.training.ranks import Ranks

pytestmark = pytest.mark.any_isa
ROWS = regression_data(23, 3, 2, "float64", seed=91)
WEIGHTS = np.linspace(0, 2, 23)
TARGETS_OF = {"sigmoid": 0.5, "exp": 2.0}
LM = fastnn.LevenbergMarquardt


def network_of(activation="tanh", output="identity", **arguments):
    return fastnn.Network([3, 5, 4, 2], activation, output, arguments.pop("loss", "mse"), dtype="float64", seed=92,
                          **arguments)


def jacobian_of(network, X, y, weights=None):
    return Jacobian(network._engine, Rows(network._engine, X, y, None, weights))


def residuals_of(network, parameters, X, y, weights=None):
    """r by the network's predictions, in float64: |r|**2 is the mean loss and the l2 penalty."""
    network.set_parameters(parameters)
    weights = np.ones(len(X)) if weights is None else weights
    factor = {"mse": 1.0, "half_mse": 0.5}[network.loss] / (weights.sum() * y.shape[1])
    rows = ((network.predict(X) - y) * np.sqrt(factor * weights)[:, None]).T.ravel()
    penalised = np.concatenate([w.ravel() for w in network.weights]) * np.sqrt(network.l2 / 2)
    return np.concatenate([rows, penalised]).astype(np.float64)


def numerical_jacobian(network, *rows, step=1e-6):
    """By central differences of the predictions."""
    parameters = network.get_parameters().astype(np.float64)
    columns = []
    for shift in step * np.eye(len(parameters)):
        columns.append((residuals_of(network, parameters + shift, *rows)
                        - residuals_of(network, parameters - shift, *rows)) / (2 * step))
    network.set_parameters(parameters)
    return np.array(columns).T


# The equations


@pytest.mark.parametrize("hidden, output", [
    *((name, "identity") for name in ACTIVATIONS if not ACTIVATIONS[name].output_only),
    *(("tanh", name) for name in ACTIVATIONS if name not in ("softmax", "identity"))])
def test_the_jacobian_is_that_of_the_predictions(hidden, output):
    """Each of its numbers, for every activation, in a hidden layer and at the output."""
    network = network_of(hidden, output)
    for bias in network.biases:     # away from kinks
        bias += np.linspace(0.05, 0.1, bias.size)
    X, y = ROWS
    jacobian = jacobian_of(network, X, y, WEIGHTS)
    jacobian.objective(network.get_parameters())
    residuals, transposed = jacobian.of_rows(slice(0, len(X)))
    rows = X, y, WEIGHTS
    assert np.allclose(residuals.ravel(), residuals_of(network, network.get_parameters(), *rows)[:46], atol=1e-14)
    assert np.allclose(transposed.T, numerical_jacobian(network, *rows)[:46], atol=1e-8)
    assert np.abs(transposed).max() > 0.01


@pytest.mark.parametrize("loss", ["mse", "half_mse"])
@pytest.mark.parametrize("block_numbers", [1, 1000, 2**18])
def test_its_sums_are_those_of_numpy(loss, block_numbers, monkeypatch):
    """The objective, J'J and J'r, whatever the blocks of rows, with l2 and sample_weight."""
    monkeypatch.setattr(levenberg_marquardt, "BLOCK_NUMBERS", block_numbers)
    network = network_of(loss=loss, l2=0.3)
    rows = *ROWS, WEIGHTS
    parameters = network.get_parameters()
    r, J = residuals_of(network, parameters, *rows), numerical_jacobian(network, *rows)
    jacobian = jacobian_of(network, *rows)
    objective, square, half_gradient = jacobian.at(parameters)
    assert np.isclose(objective, r @ r, rtol=1e-13) and np.isclose(sum(jacobian.objective(parameters)), r @ r)
    assert np.isclose(jacobian.objective(parameters)[0], network.evaluate(*ROWS, sample_weight=WEIGHTS), rtol=1e-12)
    assert np.allclose(square, J.T @ J, atol=1e-8) and np.allclose(half_gradient, J.T @ r, atol=1e-8)


def test_half_the_gradient_is_that_of_gradients():
    network = network_of()
    gradients = network.gradients(*ROWS, sample_weight=WEIGHTS)
    expected = np.concatenate([part.ravel() for pair in zip(gradients.weights, gradients.biases, strict=True)
                               for part in pair])
    half = jacobian_of(network, *ROWS, WEIGHTS).at(network.get_parameters())[2]
    assert np.allclose(2 * half, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype, close", [("float64", 1e-6), ("float32", 1e-3)])
def test_a_step_is_that_of_the_reference(dtype, close):
    """And it is the first one that makes the objective smaller."""
    network = fastnn.Network([3, 5, 2], "tanh", dtype=dtype, seed=92, l2=0.01)
    twin = fastnn.Network([3, 5, 2], "tanh", dtype="float64", l2=0.01)
    before = network.get_parameters().astype(np.float64)
    twin.set_parameters(before)
    r, J = residuals_of(twin, before, *ROWS), numerical_jacobian(twin, *ROWS)
    optimizer = LM(mu=1e-9, mu_factor=7.0)
    history = network.fit(*ROWS, epochs=1, optimizer=optimizer)
    mu = 1e-9
    while True:
        expected = reference.levenberg_marquardt_update(before, J, r, mu)
        if (after := np.square(residuals_of(twin, expected, *ROWS)).sum()) < r @ r:
            break
        mu *= 7
    assert network.dtype == dtype and np.allclose(network.get_parameters(), expected, rtol=close, atol=close)
    assert np.isclose(optimizer.mu, mu / 7, rtol=1e-12)
    penalty = 0.005 * sum(np.square(w).sum() for w in twin.weights)
    assert np.isclose(history.loss[0], after - penalty, rtol=close) and (optimizer.steps, optimizer.epochs) == (1, 1)


@pytest.mark.parametrize("loss", ["mse", "half_mse"])
def test_a_line_is_the_solution_of_augmented_least_squares(loss):
    """With l2 and weights; the damping is gone after a few steps."""
    X, y = ROWS
    network = fastnn.Network([3, 2], loss=loss, dtype="float64", l2=0.1, seed=1)
    history = network.fit(X, y, epochs=9, sample_weight=WEIGHTS, optimizer=LM(mu=1e-9, tolerance_gradient=1e-12))
    factors = np.sqrt({"mse": 1.0, "half_mse": 0.5}[loss] / (2 * WEIGHTS.sum()) * WEIGHTS)[:, None]
    A = np.block([[factors * X, factors], [np.sqrt(0.05) * np.eye(3), np.zeros((3, 1))]])
    solution = np.linalg.lstsq(A, np.vstack([factors * y, np.zeros((3, 2))]), rcond=None)[0]
    assert np.allclose(network.weights[0], solution[:3], atol=1e-8) and np.allclose(network.biases[0], solution[3])
    assert history.stopped_by == "converged" and len(history.loss) <= 3
    once = fastnn.Network([3, 2], loss=loss, dtype="float64", l2=0.1, seed=1)
    once.fit(X, y, epochs=1, sample_weight=WEIGHTS, optimizer=LM(mu=1e-12))
    assert np.allclose(once.weights[0], solution[:3], atol=1e-9)


def test_weights_count_as_repeated_rows_do():
    X, y = ROWS
    counts = np.arange(23) % 3
    weighted, repeated = network_of(), network_of()
    weighted.fit(X, y, epochs=3, sample_weight=counts, optimizer=LM())
    repeated.fit(X.repeat(counts, axis=0), y.repeat(counts, axis=0), epochs=3, optimizer=LM())
    assert np.allclose(weighted.get_parameters(), repeated.get_parameters(), rtol=1e-7, atol=1e-9)


def test_a_row_of_weight_zero_counts_for_nothing():
    """Even where its residual overflows, or its square does."""
    X, y = ROWS
    weights = np.r_[np.ones(20), np.zeros(3)]
    for value in (1e160, 1e308):
        network, without = network_of(), network_of()
        network.fit(X, np.where(weights[:, None], y, value), epochs=3, sample_weight=weights, optimizer=LM())
        without.fit(X[:20], y[:20], epochs=3, optimizer=LM())
        assert np.allclose(network.get_parameters(), without.get_parameters(), rtol=1e-7, atol=1e-9)


# What it is for


def sine():
    x = np.linspace(-1, 1, 100)[:, None]
    return x, np.sin(2 * np.pi * x), [1, 10, 1], 2e-2


def mackey_glass():
    series = [1.2] * 18
    while len(series) < 500:
        series.append(0.9 * series[-1] + 0.2 * series[-18] / (1 + series[-18]**10))
    series = np.array(series)[100:]
    past = np.stack([series[18 - lag:len(series) - 6 - lag] for lag in (18, 12, 6, 0)], axis=1)
    return 4 * (past - 0.95), 4 * (series[24:] - 0.95)[:, None], [4, 10, 1], 1e-3


@pytest.mark.parametrize("problem", [sine, mackey_glass])
def test_a_tight_target_takes_fewer_iterations_than_lbfgs_needs(problem):
    X, y, sizes, target = problem()
    epochs = {LM: [], fastnn.LBFGS: []}
    for make, counts in epochs.items():
        for seed in range(5):
            network = fastnn.Network(sizes, "tanh", dtype="float64", seed=seed)
            history = network.fit(X, y, epochs=2000, optimizer=make(), tol=target)
            assert history.stopped_by == "tol"
            counts.append(len(history.loss))
    assert 1.3 * sum(epochs[LM]) < sum(epochs[fastnn.LBFGS]), epochs


def test_the_loss_falls_in_every_epoch_and_is_that_of_the_parameters_after_it():
    for dtype in ("float32", "float64"):
        network, seen = regressor(activation="tanh", dtype=dtype), []
        watch = fastnn.Callback()
        watch.on_epoch_end = lambda fit, seen=seen: seen.append(fit.network.evaluate(X, Y))
        history = network.fit(X, Y, epochs=30, optimizer=LM(), callbacks=[watch])
        assert np.allclose(history.loss, seen, rtol=1e-6) and (np.diff(history.loss) < 0).all()
        assert len(history.loss) > 5 and history.learning_rate == []


# Going on


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fits_of_one_epoch_are_one_fit(dtype, tmp_path):
    """Bit for bit, also through copies, pickles and files: mu is kept."""
    def build():
        return regressor(activation="tanh", dtype=dtype, l2=1e-4)

    whole = build()
    expected = whole.fit(X, Y, epochs=8, optimizer=LM(mu=0.5)).loss
    ways = {"same": lambda net: net, "copy": copy.copy, "deepcopy": copy.deepcopy,
            "pickle": lambda net: pickle.loads(pickle.dumps(net)), "file": lambda net: saved(net, tmp_path / "net")}
    for name, way in ways.items():
        network, losses = build(), []
        for epoch in range(8):
            losses += network.fit(X, Y, epochs=1, optimizer=LM(mu=0.5) if epoch == 0 else None).loss
            network = way(network)
        assert losses == expected and same_bits(network.get_parameters(), whole.get_parameters()), name
        assert repr(network.optimizer) == repr(whole.optimizer) and whole.optimizer.mu < 0.5
        assert (network.optimizer.epochs, network.epochs_trained) == (8, 8)


def saved(network, path):
    network.save(path)
    return fastnn.load(path)


def test_an_optimizer_alone_can_be_copied():
    optimizer = LM(mu=0.3, mu_factor=2)
    regressor().fit(X, Y, epochs=2, optimizer=optimizer)
    for other in (copy.copy(optimizer), copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer)),
                  LM(**optimizer.arguments())):
        assert repr(other) == repr(optimizer)
    assert optimizer.mu != 0.3


# Where it ends


def test_it_says_why_it_ended():
    X, y = ROWS
    line = fastnn.Network([3, 2], dtype="float64")
    assert line.fit(X, y, epochs=50, optimizer=LM()).stopped_by == "converged"
    assert line.fit(X, y, epochs=50, optimizer=LM(tolerance_gradient=1e-3)).loss == []      # at once
    slow = network_of().fit(X, y, epochs=50, optimizer=LM(tolerance_change=0.5))
    assert slow.stopped_by == "converged" and len(slow.loss) < 10
    assert network_of().fit(X, y, epochs=2, optimizer=LM()).stopped_by is None
    assert network_of().fit(X, y, epochs=50, optimizer=LM(), tol=10.0).stopped_by == "tol"
    assert network_of().fit(X, y, epochs=50, optimizer=LM(), time_budget=0).stopped_by == "time_budget"
    assert network_of().fit(X, y, epochs=0, optimizer=LM()).loss == []


def test_a_mu_beyond_its_limit_ends_the_fit_and_changes_nothing():
    """In float32 no step of a solved problem is small enough to make it better."""
    network = fastnn.Network([4, 1], seed=3)
    network.fit(X, Y, epochs=30, optimizer=LM())
    optimizer, before = LM(mu=0.1, mu_max=1.0, tolerance_gradient=0), network.get_parameters()
    history = network.fit(X, Y, epochs=30, optimizer=optimizer)
    assert history.stopped_by == "line_search" and same_bits(network.get_parameters(), before) == (history.loss == [])
    before, mu = network.get_parameters(), optimizer.mu
    assert network.fit(X, Y, epochs=30).stopped_by == "line_search" and optimizer.mu == mu
    assert same_bits(network.get_parameters(), before)


def test_it_is_stopped_between_iterations():
    """By a callback, and by early stopping, which brings back the best parameters."""
    network, seen = network_of(), []

    class AtThree(fastnn.Callback):
        def on_epoch_end(self, fit):
            seen.append(fit.network.get_parameters())
            if fit.epoch == 3:
                fit.stop()

    assert network.fit(*ROWS, epochs=50, optimizer=LM(), callbacks=[AtThree()]).stopped_by == "callback"
    assert len(seen) == 3 and same_bits(network.get_parameters(), seen[-1])
    noise = np.random.default_rng(0).normal(size=(60, 2))
    stopping, network = fastnn.EarlyStopping(3), network_of()
    history = network.fit(ROWS[0], noise[:23], epochs=200, optimizer=LM(), early_stopping=stopping,
                          validation_data=(ROWS[0] + 0.3, noise[23:46]))
    assert history.stopped_by == "early_stopping" and stopping.best_epoch < len(history.loss)
    assert network.evaluate(ROWS[0] + 0.3, noise[23:46]) == min(history.validation_loss)


@pytest.mark.parametrize("error", [KeyboardInterrupt, StopIteration, MemoryError])
def test_an_interrupt_leaves_the_last_step_that_was_accepted(error, monkeypatch):
    network, seen, tried = network_of(), [], []
    watch, at = fastnn.Callback(), Jacobian.objective
    watch.on_epoch_end = lambda fit: seen.append((fit.network.get_parameters(), fit.network.optimizer.mu))

    def failing(self, parameters):
        tried.append(parameters)
        if len(seen) == 3:
            raise error
        return at(self, parameters)

    monkeypatch.setattr(Jacobian, "objective", failing)
    with pytest.raises(error):
        network.fit(*ROWS, epochs=50, optimizer=LM(), callbacks=[watch])
    assert same_bits(network.get_parameters(), seen[-1][0]) and network.optimizer.mu == seen[-1][1]
    assert network.epochs_trained == network.optimizer.epochs == 3


@pytest.mark.parametrize("size", [1e200, 1e160])
def test_a_loss_that_is_not_finite_leaves_everything_as_it_was(size):
    network = regressor(dtype="float64", activation="tanh")
    before, optimizer = network.get_parameters(), LM(mu=0.25)
    with pytest.raises(fastnn.DivergenceError, match="in epoch 1, step 1; .*: scale the inputs"):
        network.fit(X, size * Y.astype("float64"), epochs=5, optimizer=optimizer)
    assert same_bits(network.get_parameters(), before) and network.optimizer is None
    assert repr(optimizer) == repr(LM(mu=0.25)) and optimizer.steps == 0


def test_a_step_that_overflows_is_taken_back():
    """An undamped first step out of a plateau, where exp's outputs would be infinite."""
    X, y = np.linspace(-1, 1, 20)[:, None], np.full(20, 50.0)
    network = fastnn.Network([1, 1], output="exp", loss="mse", seed=1)
    network.biases[0][...] = -8
    history = network.fit(X, y, epochs=60, optimizer=LM(mu=1e-12))
    assert np.isfinite(history.loss).all() and history.loss[-1] < history.loss[0] <= 2500


# What it does not do


@pytest.mark.parametrize("build, arguments, words", [
    (lambda: classifier(), {"y": LABELS}, "squared loss .mse, half_mse., but the loss is 'cross_entropy'; pass fastnn"),
    (lambda: regressor(loss="huber"), {}, "but the loss is 'huber'; pass fastnn.LBFGS"),
    (lambda: regressor(loss=mse), {}, "but the loss is a Python function; build the network with loss='mse'"),
    (lambda: regressor(l1=0.1), {}, "l1 is 0.1, but .* a sum of squares; use l2"),
    (lambda: regressor(dropout=0.5), {}, "needs a loss that stays the same, but the network has dropout"),
    (lambda: classifier(label_smoothing=0.1), {"y": LABELS}, "but the loss is 'cross_entropy'"),
    (lambda: regressor(), {"X": batches(), "y": None}, "LevenbergMarquardt, which needs all rows at once, but X is an"),
    (lambda: regressor(), {"batch_size": 10}, "LevenbergMarquardt takes all 50 rows at once; leave it out"),
    (lambda: regressor(), {"steps_per_epoch": 3}, "an epoch of LevenbergMarquardt is one iteration over all rows"),
    (lambda: regressor(), {"class_weight": {0: 1.0}}, "class_weight is .*, but goes with classes"),
    (lambda: fastnn.Network([4, 200, 1]), {}, "network has 1201 parameters, .* max_parameters=1000, .* fastnn.LBFGS"),
], ids=str)
def test_what_it_refuses_is_one_sentence_and_changes_nothing(build, arguments, words):
    network = build()
    before = network.get_parameters()
    with pytest.raises(ValueError, match=words) as caught:
        network.fit(**{"X": X, "y": Y, "optimizer": LM()} | arguments)
    assert same_bits(network.get_parameters(), before) and network.optimizer is None
    assert len(str(caught.value).splitlines()) == 1 and ". " not in str(caught.value)


def test_ranks_and_single_steps_are_refused():
    class Two(Ranks):
        size = 2

    with pytest.raises(ValueError, match="trains in one process, but there are 2 ranks; pass fastnn.LBFGS"):
        LM().loop(regressor()._engine, X, Y, None, None, Two())
    with pytest.raises(ValueError, match="optimizer is LevenbergMarquardt, which needs all rows at once: call fit"):
        regressor().train_on_batch(X, Y, optimizer=LM())


@pytest.mark.parametrize("arguments, words", [
    ({"mu": 0}, "mu is 0, but must be a finite number above 0"), ({"mu_factor": 1}, "mu_factor is 1, but must"),
    ({"mu_max": np.inf}, "mu_max is inf"), ({"mu": 2, "mu_max": 1}, "mu is 2.0, but must be at most mu_max, which is"),
    ({"tolerance_gradient": -1}, "tolerance_gradient is -1"), ({"tolerance_change": np.nan}, "tolerance_change is nan"),
    ({"max_parameters": 0}, "max_parameters is 0"),
])
def test_settings_are_checked(arguments, words):
    with pytest.raises(ValueError, match=words):
        LM(**arguments)
    optimizer = LM()
    with pytest.raises(ValueError, match=words):
        for name, value in arguments.items():
            setattr(optimizer, name, value)


def test_memory_does_not_grow_with_the_rows():
    """J of 20,000 rows, 361 parameters and 3 outputs would take 173 MB."""
    X, y = regression_data(20_000, 4, 3, "float64", seed=1)
    network = fastnn.Network([4, 45, 3], "tanh", dtype="float64", seed=1)
    tracemalloc.start()
    network.fit(X, y, epochs=2, optimizer=LM())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16e6, peak
