"""L-BFGS: its formula, where it stops, how it goes on from fit to fit, what a search that fails leaves, what it
refuses."""

import copy
import json
import pickle
import signal
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from helpers import same_bits
from small_networks import LABELS, X, Y, classifier, mse, regressor, scripted

import fastnn
from fastnn import reference
from fastnn.storage.state import parts, rebuilt

pytestmark = pytest.mark.any_isa

TO_THE_END = {"tolerance_gradient": 0, "tolerance_change": 0}


def objective(network, rows):
    """Loss and penalties, and their gradient, in the order of get_parameters."""
    gradients, total, flat = network.gradients(*rows), 0.0, []
    for w, dw, db in zip(network.weights, gradients.weights, gradients.biases, strict=True):
        value, slope = reference.penalty(w.astype("float64"), network.l1, network.l2)
        total += value
        flat += [(dw + slope).ravel(), db]
    return gradients.loss + total, np.concatenate(flat).astype("float64")


def pairs_of(network):
    """The pairs (s, y) that the network's optimizer keeps, the oldest first."""
    blocks = [network._engine.packed(block).astype("float64") for block in network.optimizer.state]
    return list(zip(blocks[::2], blocks[1::2], strict=True))


@pytest.mark.parametrize("dtype, rounding", [("float32", 1e-3), ("float64", 1e-8)])
@pytest.mark.parametrize("options", [{}, {"l1": 1e-3, "l2": 1e-2}], ids=["", "penalties"])
def test_an_iteration_is_the_formula(dtype, rounding, options):
    """A step along the direction of the pairs, of a length that meets the strong Wolfe conditions."""
    network, optimizer = regressor(dtype=dtype, activation="tanh", **options), fastnn.LBFGS(3)
    rows = X.astype(dtype), Y.astype(dtype)
    for iteration in range(8):
        pairs = pairs_of(network) if iteration else []
        before, (value, gradient) = network.get_parameters().astype("float64"), objective(network, rows)
        history = network.fit(*rows, optimizer=optimizer)
        s, (after, gradient_after) = network.get_parameters() - before, objective(network, rows)
        direction = reference.lbfgs_direction(gradient, pairs)
        step = s @ direction / (direction @ direction)
        np.testing.assert_allclose(s, step * direction, atol=rounding * np.abs(s).max())
        assert reference.strong_wolfe(value, gradient @ direction, step, after, gradient_after @ direction)
        kept = pairs_of(network)[:-1]
        assert len(kept) == min(2, iteration)
        np.testing.assert_array_equal(kept, pairs[len(pairs) - len(kept):])
        np.testing.assert_allclose(pairs_of(network)[-1][0], s, atol=1e-12)
        np.testing.assert_allclose(pairs_of(network)[-1][1], gradient_after - gradient, atol=1e-8)
        assert history.loss[0] == network.evaluate(*rows)


def biases_that_minimise(function, start):
    """A network whose biases are all that its loss depends on."""
    def loss(outputs, _):
        value, gradient = function(outputs[0])
        return value, gradient[None]

    network = fastnn.Network([1, len(start)], dtype="float64", loss=loss)
    network.weights[0][...], network.biases[0][...] = 0, start
    return network, np.zeros((1, 1)), np.zeros((1, len(start)))


def rosenbrock(x):
    gap = x[1:] - x[:-1]**2
    gradient = np.zeros_like(x)
    gradient[1:] += 200 * gap
    gradient[:-1] -= 400 * x[:-1] * gap + 2 * (1 - x[:-1])
    return (100 * gap**2 + (1 - x[:-1])**2).sum(), gradient


def quartic(x):
    factors = np.arange(1, len(x) + 1)
    return (x**4 + factors * x**2).sum(), 4 * x**3 + 2 * factors * x


def wavy_valley(x):
    factors = np.arange(1, len(x) + 1)**2
    inner = 1 + (factors * (x - 3)**2).sum()
    return np.log(inner) + np.sin(5 * x).sum() / 10, 2 * factors * (x - 3) / inner + np.cos(5 * x) / 2


@pytest.mark.parametrize("function, start", [
    (rosenbrock, [-1.2, 1, 0.5, 2, -1]), (rosenbrock, np.linspace(-20, 20, 12)), (quartic, np.linspace(-3, 3, 7)),
    (wavy_valley, np.linspace(-3, 13, 6)), (wavy_valley, [50.0, -8.0])])
def test_iterations_are_those_of_scipy(function, start):
    """Which follows the same papers: until roundings add up, the same points after as many evaluations."""
    minimize = pytest.importorskip("scipy.optimize", reason="NOT TESTED: SciPy is not installed").minimize
    calls, found, expected = {"ours": 0, "scipy": 0}, [], []

    def counted(who, x):
        calls[who] += 1
        return function(x)

    network, *rows = biases_that_minimise(partial(counted, "ours"), start)
    watch = fastnn.Callback()
    watch.on_epoch_end = lambda fit: found.append(fit.network.biases[0].copy())
    network.fit(*rows, epochs=14, optimizer=fastnn.LBFGS(5, **TO_THE_END), callbacks=[watch])
    minimize(partial(counted, "scipy"), np.array(start, float), jac=True, method="L-BFGS-B", callback=lambda x:
             expected.append(x.copy()), options={"maxiter": 14, "maxcor": 5, "gtol": 0, "ftol": 0})
    assert len(found) == len(expected) and calls["ours"] == calls["scipy"]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_scipy_is_not_needed():
    code = ("import sys; sys.modules['scipy'] = None\nimport fastnn\n"
            "fastnn.Network([1, 1]).fit([[1.0], [2.0]], [1.0, 2.0], optimizer=fastnn.LBFGS())")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


CASES = {
    "float32": (regressor, {}, Y), "float64": (regressor, {"dtype": "float64", "activation": "tanh"}, Y),
    "penalties": (regressor, {"l1": 1e-3, "l2": 1e-2}, Y), "a Python loss": (regressor, {"loss": mse}, Y),
    "classes": (classifier, {"dtype": "float64"}, LABELS)}


def everything(network):
    """All that training has made, as bytes."""
    return [network.get_parameters().tobytes(), [block.tobytes() for block in network.optimizer.state],
            network.optimizer.steps, network.optimizer.epochs, network.epochs_trained]


@pytest.mark.parametrize("history_size", [2, 10])
@pytest.mark.parametrize("case", CASES)
def test_n_fits_of_one_iteration_are_one_of_n(case, history_size):
    make, options, y = CASES[case]
    weights = None if case == "a Python loss" else np.linspace(0.5, 2, len(y))
    one, several = make(**options), make(**options)
    expected = one.fit(X, y, epochs=9, optimizer=fastnn.LBFGS(history_size), sample_weight=weights).loss
    optimizer = fastnn.LBFGS(history_size)
    losses = [several.fit(X, y, optimizer=optimizer, sample_weight=weights).loss[0] for _ in range(9)]
    assert losses == expected and everything(several) == everything(one)
    assert len(optimizer.state) == 2 * min(history_size, 9) and optimizer.steps == optimizer.epochs == 9


WAYS = {"copy": copy.copy, "pickle": lambda network: pickle.loads(pickle.dumps(network))}


@pytest.mark.parametrize("way", [*WAYS, "file"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_copy_goes_on_as_the_original(way, dtype, tmp_path):
    network, expected = regressor(dtype=dtype), regressor(dtype=dtype)
    expected.fit(X, Y, epochs=8, optimizer=fastnn.LBFGS(3))
    network.fit(X, Y, epochs=5, optimizer=fastnn.LBFGS(3))
    before = everything(network)
    if way == "file":
        network.save(tmp_path / "model")
    twin = fastnn.load(tmp_path / "model") if way == "file" else WAYS[way](network)
    assert everything(twin) == before == everything(network)
    twin.fit(X, Y, epochs=3, optimizer=twin.optimizer)
    assert everything(twin) == everything(expected) and everything(network) == before
    alone = copy.copy(network.optimizer)
    assert repr(alone) == repr(network.optimizer) and (alone.state, alone.steps) == ((), 0)


def test_a_file_of_before_has_no_pairs():
    """And one of an odd number of blocks, or with pairs of other sizes, is none."""
    network = regressor()
    network.fit(X, Y, epochs=3, optimizer=fastnn.LBFGS())
    description, tensors = parts(network)
    saved = description["optimizer"]
    few = {name: tensor for name, tensor in tensors.items() if not name.startswith("optimizer")}
    assert saved["blocks"] == 6 == len(tensors) - len(few)
    loaded = rebuilt(fastnn.Network, description | {"optimizer": saved | {"blocks": 0}}, few)
    assert loaded.optimizer.state == () and loaded.optimizer.steps == 3
    loaded.fit(X, Y, epochs=2)
    assert loaded.optimizer.steps == 5 and len(loaded.optimizer.state) == 4
    few["optimizer.0"] = tensors["optimizer.0"]
    with pytest.raises(ValueError, match="blocks is 1, but must be .* even for LBFGS"):
        rebuilt(fastnn.Network, description | {"optimizer": saved | {"blocks": 1}}, few)
    with pytest.raises(ValueError, match=r"optimizer.1 has shape \(3,\), but there are"):
        rebuilt(fastnn.Network, description, tensors | {"optimizer.1": tensors["optimizer.1"][:3]})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_threads_change_no_bit(dtype):
    rng = np.random.default_rng(83)
    wide, y = rng.normal(size=(200, 300)), rng.normal(size=(200, 200))
    results = []
    for threads in (1, 2, 3):
        network = fastnn.Network([300, 200, 200], activation="tanh", dtype=dtype, l2=1e-3)
        network.fit(wide, y, epochs=3, optimizer=fastnn.LBFGS(), threads=threads)
        results.append(everything(network))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("change", ["parameters", "l2"])
def test_what_a_callback_changes_counts_from_the_next_iteration_on(change):
    """As what is changed between two fits; the pairs stay."""
    def changed(network):
        if change == "l2":
            network.l2 = 0.1
        else:
            network.weights[0][...] += 0.01

    class AfterThree(fastnn.Callback):
        def on_epoch_end(self, fit):
            if fit.epoch == 3:
                changed(fit.network)

    one, several = regressor(), regressor()
    one.fit(X, Y, epochs=7, optimizer=fastnn.LBFGS(), callbacks=[AfterThree()])
    several.fit(X, Y, epochs=3, optimizer=fastnn.LBFGS())
    changed(several)
    several.fit(X, Y, epochs=4)
    assert everything(one) == everything(several)
    plain = regressor()
    plain.fit(X, Y, epochs=7, optimizer=fastnn.LBFGS())
    assert everything(plain) != everything(one)


def test_a_callback_may_train_with_the_same_optimizer():
    class Trains(fastnn.Callback):
        def on_epoch_end(self, fit):
            fit.network.fit(X, Y, optimizer=fit.network.optimizer)

    one, several = regressor(), regressor()
    one.fit(X, Y, epochs=4, optimizer=fastnn.LBFGS(2), callbacks=[Trains()])
    several.fit(X, Y, epochs=8, optimizer=fastnn.LBFGS(2))
    assert everything(one)[:2] == everything(several)[:2]


def test_fewer_pairs_from_the_next_fit_on():
    network, optimizer = regressor(), fastnn.LBFGS(6)
    network.fit(X, Y, epochs=6, optimizer=optimizer)
    latest = [block.tobytes() for block in optimizer.state[-4:]]
    optimizer.history_size = 3
    twin = pickle.loads(pickle.dumps(network))
    for each in (network, twin):
        each.fit(X, Y)
        assert [block.tobytes() for block in each.optimizer.state[:4]] == latest and len(each.optimizer.state) == 6
    assert everything(network) == everything(twin)


def test_a_step_along_which_the_slope_does_not_grow_is_no_pair():
    network, *rows = biases_that_minimise(lambda x: (-x.sum(), -np.ones_like(x)), [0.0, 0.0])
    history = network.fit(*rows, epochs=2, optimizer=fastnn.LBFGS())
    assert network.optimizer.state == () and len(history.loss) == 2 and history.loss[1] < history.loss[0] < 0


def test_pairs_that_lead_upwards_are_given_up():
    network, plain = regressor(), regressor()
    network.fit(X, Y, epochs=4, optimizer=fastnn.LBFGS())
    plain.set_parameters(network.get_parameters())
    for block in network.optimizer.state[::2]:
        block *= -1
    network.fit(X, Y)
    plain.fit(X, Y, optimizer=fastnn.LBFGS())
    assert same_bits(network.get_parameters(), plain.get_parameters()) and len(network.optimizer.state) == 2


def test_a_search_that_finds_no_better_point_ends_the_fit():
    """The gradient has the wrong sign."""
    network = regressor(loss=lambda outputs, targets: (mse(outputs, targets)[0], -mse(outputs, targets)[1]))
    before = network.get_parameters()
    history = network.fit(X, Y, epochs=5, optimizer=fastnn.LBFGS())
    assert history.stopped_by == "line_search" and history.loss == [] and network.epochs_trained == 0
    assert same_bits(network.get_parameters(), before)


@pytest.mark.parametrize("error", [KeyboardInterrupt, StopIteration, MemoryError])
@pytest.mark.parametrize("at", [1, 2, 9])
def test_an_error_within_a_search_leaves_the_last_iteration(error, at):
    """And before the first one all that there was, an optimizer with pairs too."""
    calls, failing = 0, False

    def loss(outputs, targets):
        nonlocal calls
        calls += failing
        if calls == at:
            raise error
        return mse(outputs, targets)

    network, seen = regressor(loss=loss), []
    network.fit(X, Y, epochs=3, optimizer=fastnn.LBFGS(2))
    seen.append(everything(network))
    watch, failing = fastnn.Callback(), True
    watch.on_epoch_end = lambda fit: seen.append(everything(fit.network))
    with pytest.raises(error):
        network.fit(X, Y, epochs=50, callbacks=[watch])
    assert everything(network) == seen[-1] and (len(seen) > 2) == (at == 9)
    new = fastnn.LBFGS()
    calls = at - 1
    with pytest.raises(error):
        network.fit(X, Y, optimizer=new)
    assert network.optimizer is not new and everything(network) == seen[-1] and (new.state, new.steps) == ((), 0)
    regressor().fit(X, Y, optimizer=new)


def test_control_c_leaves_a_whole_iteration():
    """Of our own loss, within compiled code; a twin that was left alone has it, too."""
    rows = np.random.default_rng(84).normal(size=(5000, 20)).astype("f")

    def fit(network, epochs):
        network.fit(rows, rows[:, 0] * rows[:, 1], epochs=epochs, optimizer=fastnn.LBFGS(**TO_THE_END))

    def interrupted(*_):
        raise KeyboardInterrupt

    network, twin = (fastnn.Network([20, 64, 1], activation="tanh") for _ in range(2))
    before = signal.signal(signal.SIGALRM, interrupted)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            fit(network, 10**6)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    done = network._engine.steps
    assert network.epochs_trained in (done - 1, done)       # between an iteration and its count there is Python
    fit(twin, done)
    assert same_bits(network.get_parameters(), twin.get_parameters())


def test_nobody_sees_what_a_search_tries():
    """Not even its loss, which runs in the middle of it; and it cannot train the network."""
    seen, accepted = set(), set()

    def loss(outputs, targets):
        seen.add(network.get_parameters().tobytes())
        with pytest.raises(RuntimeError, match="a Python loss cannot train the network"):
            network.fit(X, Y)
        return mse(outputs, targets)

    network, watch = regressor(loss=loss), fastnn.Callback()
    accepted.add(network.get_parameters().tobytes())
    watch.on_epoch_end = lambda fit: accepted.add(fit.network.get_parameters().tobytes())
    network.fit(X, Y, epochs=5, optimizer=fastnn.LBFGS(), callbacks=[watch])
    assert seen < accepted and len(seen) == 5


def test_an_optimizer_with_pairs_belongs_to_one_network():
    network, other, optimizer = regressor(), regressor(), fastnn.LBFGS()
    network.fit(X, Y, optimizer=optimizer)
    with pytest.raises(ValueError, match="optimizer holds the state of another network"):
        other.fit(X, Y, optimizer=optimizer)
    assert other.optimizer is None and len(optimizer.state) == 2


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
    """The gradient's square overflows."""
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
    with pytest.raises(ValueError, match="label_smoothing is 0.1, but LBFGS does not support it"):
        network.fit(X, LABELS, optimizer=fastnn.LBFGS())
