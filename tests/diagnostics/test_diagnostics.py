"""`fastnn.diagnostics`: measures against independent ones; and looking changes nothing.

Advice is in test_advice.py.
"""

import math

import numpy as np
import pytest
from helpers import packed, regression_data, same_bits
from rows_to_diagnose import X, Y, digits, with_nan

import fastnn
from fastnn import activations
from fastnn.diagnostics import (
    Watch,
    activation_statistics,
    advise,
    check_gradients,
    curvature,
    gradient_norms,
    hessian,
    largest_stable_rate,
)
from fastnn.diagnostics.checking import derivative

pytestmark = pytest.mark.any_isa
LABELS = np.arange(60) % 3


def deep(activation, seed):
    return fastnn.Network([32, *[32] * 10, 10], activation=activation, output="softmax", seed=seed)


# Gradients


def test_gradient_norms_are_those_of_the_weights_gradients():
    network, weight = fastnn.Network([4, 8, 3, 1]), np.arange(60.0)
    gradients = network.gradients(X, Y, sample_weight=weight)
    norms = gradient_norms(network, X, Y, sample_weight=weight)
    assert norms.shape == (3,) and norms.dtype == np.float64
    np.testing.assert_allclose(norms, [math.sqrt((w.astype(float) ** 2).sum()) for w in gradients.weights])


def test_the_gradient_vanishes_in_a_deep_sigmoid_network_but_not_with_relu():
    rng = np.random.default_rng(52)
    inputs, labels = rng.normal(size=(200, 32)), rng.integers(0, 10, 200)

    def ratio(activation):      # of layer 10 to layer 1; weights are Glorot's for sigmoid, He's for ReLU
        norms = [gradient_norms(deep(activation, seed), inputs, labels) for seed in range(5)]
        return np.median([norm[9] / norm[0] for norm in norms])

    assert ratio("sigmoid") > 1e5
    assert 1 / 20 < ratio("relu") < 20


def test_a_tiny_gradient_has_a_norm():
    network = fastnn.Network([1, 1])
    network.weights[0][...] = 1e-25         # its square is no float32
    assert gradient_norms(network, [[1.0]], [0.0]) == pytest.approx([2e-25], rel=1e-6)


# Activations


def test_statistics_are_those_of_the_outputs():
    network = fastnn.Network([4, 8, 3, 1], activation=["tanh", "relu"])
    for statistics, name, y in zip(activation_statistics(network, X), ["tanh", "relu", "identity"],
                                   network.layer_outputs(X)[1:], strict=True):
        assert statistics.activation == name
        assert (statistics.smallest, statistics.largest) == (y.min(), y.max())
        assert statistics.mean == pytest.approx(y.mean(), rel=1e-5)
        assert statistics.deviation == pytest.approx(y.std(), rel=1e-5)


def one_to_one(activation, z):
    """The statistics of a layer of one unit whose pre-activations are z."""
    network = fastnn.Network([1, 1, 1], activation=activation, dtype="float64")
    network.weights[0][...] = 1
    return activation_statistics(network, np.reshape(z, (-1, 1)))[0]


@pytest.mark.parametrize("name", activations.HIDDEN)
def test_saturated_is_where_the_slope_is_flat_and_dead_where_it_is_0(name):
    z = np.linspace(-12, 12, 401)
    slopes = getattr(activations, name).derivative(z)
    expected = (slopes < 0.01 * slopes.max()).mean() if name in ("sigmoid", "tanh") else 0
    statistics = one_to_one(name, z)
    assert statistics.saturated == pytest.approx(expected) and statistics.dead == 0
    assert name not in ("sigmoid", "tanh") or 0.4 < expected < 0.8
    assert one_to_one(name, [-3.0, -2.0]).dead == (name == "relu")


def test_softmax_is_saturated_where_the_diagonal_of_its_jacobian_is_flat():
    network = fastnn.Network([4, 3], output="softmax", dtype="float64")
    network.weights[0][...] *= 5
    slopes = np.diagonal(activations.softmax.derivative(X @ network.weights[0]), axis1=1, axis2=2)
    share = activation_statistics(network, X)[0].saturated
    assert share == (slopes < 0.0025).mean() and 0.1 < share < 0.9


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", activations.HIDDEN)
def test_the_slopes_of_every_layer_are_derivatives_of_its_pre_activations(name, dtype):
    network = fastnn.Network([4, 20, 7, 3], activation=name, output="exp", loss="mse", dtype=dtype)
    inputs = X.astype(dtype)
    outputs = network.layer_outputs(inputs)
    slopes = network._engine.layer_outputs(inputs, slopes=True)
    for layer, (slope, activation) in enumerate(zip(slopes, network.activations, strict=True)):
        z = np.empty_like(outputs[layer + 1])
        fastnn.ops.dense_forward(z, outputs[layer], network.weights[layer], network.biases[layer])
        assert same_bits(slope, getattr(activations, activation).derivative(z))


def test_dead_units_are_counted():
    network = fastnn.Network([4, 8, 1])
    network.biases[0][:3] = -100
    assert [statistics.dead for statistics in activation_statistics(network, X)] == [3 / 8, 0]


def test_statistics_of_outputs_that_overflow_are_no_warning(recwarn):
    network = fastnn.Network([4, 8, 1])
    network.weights[0][...] = 3e38
    assert activation_statistics(network, X)[0].largest == math.inf
    assert not recwarn.list


# Watch


def test_watch_records_every_so_many_epochs_over_several_fits():
    network, watch = fastnn.Network([4, 8, 8, 1], activation=["tanh", "relu"]), Watch(X[:20], Y[:20], every=2)
    before = [weights.copy() for weights in network.weights]
    for _ in range(2):
        network.fit(X, Y, epochs=3, callbacks=[watch])
    assert watch.epochs == [2, 4, 6]
    lists = [watch.gradient_norms, watch.update_ratios, watch.saturated, watch.dead]
    assert all(len(values) == 3 and values[0].shape == (3,) for values in lists)
    np.testing.assert_array_equal(watch.gradient_norms[-1], gradient_norms(network, X[:20], Y[:20]))
    statistics = activation_statistics(network, X[:20])
    np.testing.assert_array_equal(watch.saturated[-1], [layer.saturated for layer in statistics])
    np.testing.assert_array_equal(watch.dead[-1], [layer.dead for layer in statistics])
    twin = fastnn.Network([4, 8, 8, 1], activation=["tanh", "relu"])
    for ratios in watch.update_ratios:
        twin.fit(X, Y, epochs=2)
        expected = [np.linalg.norm(now - old) / np.linalg.norm(now)
                    for now, old in zip(twin.weights, before, strict=True)]
        np.testing.assert_allclose(ratios, expected, rtol=1e-5)
        before = [weights.copy() for weights in twin.weights]


def test_a_watch_is_not_taken_by_a_fit_that_was_refused():
    class Refuses(fastnn.Callback):
        def on_fit_begin(self, fit):
            raise RuntimeError("no")

    watch = Watch(X, Y)
    with pytest.raises(RuntimeError):
        fastnn.Network([4, 8, 1]).fit(X, Y, callbacks=[watch, Refuses()])
    fastnn.Network([4, 8, 1]).fit(X, Y, callbacks=[watch])
    assert watch.epochs == [1]


def test_watch_changes_no_training():
    watched, twin = (fastnn.Network([4, 8, 1], dropout=0.2) for _ in range(2))
    history = watched.fit(X, Y, epochs=4, callbacks=[Watch(X[:20], Y[:20])])
    assert history.loss == twin.fit(X, Y, epochs=4).loss
    assert same_bits(watched.get_parameters(), twin.get_parameters())


def test_a_layer_of_zeros_has_no_update_ratio():
    network, watch = fastnn.Network([4, 8, 1]), Watch(X, Y)
    for weights in network.weights:
        weights[...] = 0
    network.fit(X, Y, callbacks=[watch])
    np.testing.assert_array_equal(watch.update_ratios, [[0, 0]])


# Curvature


def exact_hessian(inputs):
    """Of the mean squared error of a linear network with one output: 2 X'X / n, with a column of ones for the bias."""
    columns = np.column_stack([inputs, np.ones(len(inputs))])
    return 2 * columns.T @ columns / len(inputs)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_curvature_of_a_quadratic(dtype):
    network, direction = fastnn.Network([4, 1], dtype=dtype), np.array([1.0, -2, 0, 3, 1])
    expected = direction @ exact_hessian(X) @ direction / (direction @ direction)
    assert curvature(network, X, Y, direction) == pytest.approx(expected, rel=1e-6)
    assert curvature(network, X, Y, -7 * direction) == pytest.approx(expected, rel=1e-6)


def test_curvature_is_the_second_difference_of_the_loss():
    network = fastnn.Network([4, 8, 3], activation="tanh", output="softmax", dtype="float64")
    direction = np.random.default_rng(53).normal(size=network.n_parameters)
    found, parameters, step = curvature(network, X, LABELS, direction), network.get_parameters(), 1e-3
    losses = []
    for shift in (-step, 0, step):
        network.set_parameters(parameters + shift * direction / np.linalg.norm(direction))
        losses.append(network.evaluate(X, LABELS))
    assert found == pytest.approx((losses[0] - 2 * losses[1] + losses[2]) / step**2, rel=1e-4)


def test_gradient_descent_diverges_just_above_the_largest_stable_rate():
    rate = largest_stable_rate(fastnn.Network([4, 1]), X, Y)
    assert rate == pytest.approx(2 / np.linalg.eigvalsh(exact_hessian(X)).max(), rel=1e-2)

    def last_losses(learning_rate):
        network = fastnn.Network([4, 1], dtype="float64")
        history = network.fit(X, Y, epochs=1000, batch_size=60, optimizer=fastnn.SGD(learning_rate))
        return history.loss[-2:]

    below, above = last_losses(0.97 * rate), last_losses(1.03 * rate)
    assert below[1] <= below[0] and above[1] > above[0] and above[1] > 1e3 * below[1]


@pytest.mark.parametrize("activation", ["tanh", "softplus"])
def test_the_largest_eigenvalue_is_found_among_negative_ones(activation):
    network = fastnn.Network([2, 4, 1], activation=activation, dtype="float64", seed=54)
    network.biases[1][...] = -9             # far below the targets: negative curvature in plenty
    inputs, targets = regression_data(30, 2, 1, seed=55)
    product = hessian.hessian(network, inputs, targets)
    matrix = np.column_stack([product(column) for column in np.eye(network.n_parameters)])
    eigenvalues = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    assert eigenvalues[0] < -0.1 < 0.1 < eigenvalues[-1]
    assert largest_stable_rate(network, inputs, targets) == pytest.approx(2 / eigenvalues[-1], rel=1e-2)


@pytest.mark.parametrize("matrix, largest", [
    (np.diag([3.0, -3.0, 1.0]), 3), (np.diag([1.0, -5.0, 0.5]), 1), (np.diag([-1.0, -2.0, -3.0]), -1)])
def test_eigenvalues_of_either_sign(matrix, largest, monkeypatch):
    monkeypatch.setattr(hessian, "hessian", lambda *arguments: lambda v: matrix @ v)
    rate, converged = hessian.stable_rate(fastnn.Network([2, 1]), None, None)
    assert converged and rate == pytest.approx(2 / largest if largest > 0 else math.inf, rel=1e-2)


@pytest.mark.parametrize("shift", [1e6, 1e9, 1e12])
def test_a_gradient_that_is_large_beside_the_curvature(shift):
    net = fastnn.Network([1, 1], dtype="float64")
    assert curvature(net, [[3.0]], [shift], [1, 0]) == pytest.approx(18, rel=1e-2)
    assert largest_stable_rate(net, [[3.0]], [shift]) == pytest.approx(0.1, rel=1e-2)
    net.weights[0][...] = shift
    assert largest_stable_rate(net, [[3.0]], [3 * shift]) == pytest.approx(0.1, rel=1e-2)


def test_no_gradient_and_no_curvature_of_a_linear_loss():
    net = fastnn.Network([1, 1], dtype="float64", loss=lambda o, t: (o.mean(), np.full_like(o, 1 / o.size)))
    assert curvature(net, [[3.0]], [0.0], [1, 0]) == 0


@pytest.mark.parametrize("seed", range(3))
def test_rows_at_kinks_do_not_count_as_curvature(seed, recwarn):
    """A row of zeros stands at the kinks of a new network's units, whose biases are 0."""
    net = fastnn.Network([2, 8, 8, 1], output="sigmoid", seed=seed)
    inputs, targets = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), [0, 1, 1, 0]
    rate = largest_stable_rate(net, inputs, targets)
    assert 0.5 < rate < 2 and not recwarn.list
    loss = net.fit(inputs, targets, epochs=300, batch_size=4, optimizer=fastnn.SGD(rate / 2)).loss
    assert loss[-1] < 0.05


def test_no_positive_curvature_is_an_infinite_rate():
    network = fastnn.Network([4, 1], loss="mae")            # linear in the parameters, kinks aside
    assert largest_stable_rate(network, X, Y) == math.inf


def test_it_says_that_it_did_not_converge(monkeypatch):
    monkeypatch.setattr(hessian, "ITERATIONS", 1)
    with pytest.warns(RuntimeWarning, match="did not converge in 1 iterations"):
        largest_stable_rate(fastnn.Network([4, 8, 1], activation="tanh"), X, Y)


# The gradient check


@pytest.mark.parametrize("activation", activations.HIDDEN)
@pytest.mark.parametrize("seed", range(3))
def test_right_gradients_pass(activation, seed):
    network = fastnn.Network([4, 8, 8, 3], activation=activation, output="softmax", seed=seed)
    check = check_gradients(network, X, LABELS)
    assert check and check.passed and check.error <= 1e-6, check


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "quantile"])
@pytest.mark.parametrize("scale", [1, 100])
def test_right_gradients_pass_for_losses_with_kinks_and_for_large_inputs(loss, scale):
    check = check_gradients(fastnn.Network([4, 8, 8, 1], loss=loss), scale * X, Y)
    assert check, check


def test_kinks_at_the_parameters_do_not_fail_it():
    """A row of zeros and zero biases: every unit is at its kink, as in a new network that learns XOR."""
    inputs, targets = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
    for seed in range(5):
        for activation in ("relu", "leaky_relu", "selu"):
            check = check_gradients(fastnn.Network([2, 8, 8, 1], activation, loss="mae", seed=seed), inputs, targets)
            assert check, check


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu", "selu"])
def test_kinks_near_the_parameters_do_not_fail_it(activation):
    rng = np.random.default_rng(56)
    for seed in range(12):
        inputs, targets = rng.normal(size=(30, 4)).round() * 10.0 ** rng.integers(-2, 3), rng.normal(size=30)
        net = fastnn.Network([4, 6, 6, 1], activation, loss=["mse", "mae", "quantile"][seed % 3], seed=seed)
        check = check_gradients(net, inputs, targets)
        assert check, check


def broken(change):
    def loss(outputs, targets):
        gradient = 2 * (outputs - targets) / outputs.size
        return np.mean((outputs - targets) ** 2), change(gradient)
    return loss


def one_wrong_row(gradient):
    gradient[7] *= 1.01
    return gradient


@pytest.mark.parametrize("change", [lambda g: g / 2, lambda g: -g, lambda g: 0 * g, lambda g: g * (1 + 1e-5),
                                    one_wrong_row])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_wrong_loss_gradient_is_noticed(change, dtype):
    right, wrong = (fastnn.Network([4, 8, 1], loss=broken(how), dtype=dtype) for how in (lambda g: g, change))
    assert check_gradients(right, X, Y)
    check = check_gradients(wrong, X, Y)
    assert not check and not check.passed and check.error > 1e-6
    assert not check_gradients(wrong, [[0, 0, 0, 0], *X[:9]], Y[:10])        # kinks are no excuse
    kind, layer, *index = check.worst.replace("]", "").replace(", ", "[").split("[")
    place = (int(layer), tuple(map(int, index)))
    assert check.analytic == pytest.approx(getattr(wrong.gradients(X, Y), kind)[place[0]][place[1]], abs=0.01)
    assert check.numeric == pytest.approx(getattr(right.gradients(X, Y), kind)[place[0]][place[1]], abs=0.01)


@pytest.mark.parametrize("place", [("weights", 0, (3, 7)), ("weights", 1, (2, 0)), ("biases", 0, 5), ("biases", 1, 0)])
def test_the_one_parameter_that_is_wrong_is_named(place, monkeypatch):
    kind, layer, index = place
    right = fastnn.Network.gradients

    def wrong(*arguments):
        result = right(*arguments)
        getattr(result, kind)[layer][index] *= 1.001
        return result

    monkeypatch.setattr(fastnn.Network, "gradients", wrong)
    check = check_gradients(fastnn.Network([4, 8, 1], "tanh"), X, Y)
    assert check.worst == f"{kind}[{layer}][{str(index).strip('()')}]" and check.error == pytest.approx(1e-3, rel=0.01)


def test_the_numerical_derivative_is_extrapolated_twice():
    def error(step):
        values = np.array([0.3])
        slope, _, _ = derivative(lambda: math.exp(values[0]), values, (0,), [step])
        assert values[0] == 0.3
        return abs(slope / math.exp(0.3) - 1)

    assert error(0.2) / error(0.1) == pytest.approx(64, rel=0.05)       # of the sixth order


def test_a_kink_makes_a_numerical_derivative_doubtful():
    for kink in (0.0, 0.05, 0.35):
        values = np.array([0.0])
        slope, doubt, _ = derivative(lambda: max(values[0] - kink, 0.0), values, (0,), [0.1])   # noqa: B023
        assert doubt >= abs(slope) > 0          # which is 0, or anything up to 1


@pytest.mark.parametrize("scale, shift", [(1, 1e6), (1, 1e12), (1e-11, 0)])
def test_a_loss_that_differences_cannot_tell_is_refused(scale, shift):
    loss = broken(lambda g: g / 2)
    net = fastnn.Network([4, 8, 1], loss=lambda o, t: tuple(scale * part for part in loss(o, t)))
    with pytest.raises(ValueError, match="the loss is .* and its largest slope .*, which is less than rounding leaves"):
        check_gradients(net, X, Y + shift)


def test_a_tolerance_of_ones_own():
    network = fastnn.Network([4, 8, 1], loss=broken(lambda g: g * 1.01))
    assert not check_gradients(network, X, Y, tolerance=1e-3) and check_gradients(network, X, Y, tolerance=0.1)


def test_a_large_network_is_sampled():
    network = fastnn.Network([4, 800, 1], loss=broken(lambda g: g / 2), activation="tanh")
    first, second = (check_gradients(network, X[:5], Y[:5]) for _ in range(2))
    assert network.n_parameters > 2000 and first == second and not first


# All of them


CALLS = {
    "gradient_norms": gradient_norms, "advise": advise, "check_gradients": check_gradients,
    "largest_stable_rate": largest_stable_rate,
    "curvature": lambda net, x, y: curvature(net, x, y, np.ones(getattr(net, "n_parameters", 1))),
    "activation_statistics": lambda net, x, y: activation_statistics(net, x),
    "Watch": lambda net, x, y: net.fit(X, Y, epochs=0, callbacks=[Watch(x, y)]),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_looking_changes_nothing(name, dtype):
    net = fastnn.Network([4, 8, 1], dtype=dtype, dropout=0.5, l2=0.1)
    net.fit(X, Y)
    inputs, targets, parameters = X.copy(), Y.copy(), net.get_parameters()
    gradients = packed(net.gradients(X, Y))
    CALLS[name](net, inputs, targets)
    assert same_bits(net.get_parameters(), parameters) and same_bits(packed(net.gradients(X, Y)), gradients)
    assert same_bits(inputs, X) and same_bits(targets, Y) and net.epochs_trained == 1
    twin = fastnn.Network([4, 8, 1], dtype=dtype, dropout=0.5, l2=0.1)
    twin.fit(X, Y)
    assert net.fit(X, Y).loss == twin.fit(X, Y).loss


@pytest.mark.parametrize("name", CALLS)
def test_rows_that_do_not_fit_are_refused(name):
    with pytest.raises(ValueError, match="X has 3 features, but this network was built for 4 inputs"):
        CALLS[name](fastnn.Network([4, 8, 1]), X[:, :3], Y)


@pytest.mark.parametrize("name", [name for name in CALLS if name != "Watch"])
def test_what_is_no_network_is_refused(name):
    with pytest.raises(TypeError, match=r"network is a list, but must be a fastnn\.Network"):
        CALLS[name]([4, 8, 1], X, Y)


@pytest.mark.parametrize("name", ["check_gradients", "largest_stable_rate", "curvature"])
def test_parameters_that_are_not_finite_are_refused(name):
    with pytest.raises(ValueError, match="weights or biases hold NaN or infinity, but must be finite"):
        CALLS[name](with_nan(), *digits)


@pytest.mark.parametrize("direction, message", [
    (np.ones(3), r"direction has shape \(3,\), but this network has 49 parameters"),
    (np.zeros(49), "direction has the length 0.0, but must be finite and not zero"),
    (np.full(49, np.nan), "direction has the length nan, but"),
])
def test_a_direction_that_is_none_is_refused(direction, message):
    with pytest.raises(ValueError, match=message):
        curvature(fastnn.Network([4, 8, 1]), X, Y, direction)


def test_other_arguments_are_refused():
    net = fastnn.Network([4, 8, 1])
    with pytest.raises(ValueError, match="tolerance is 0, but must be a finite number above 0"):
        check_gradients(net, X, Y, tolerance=0)
    with pytest.raises(TypeError, match="history is a list, but must be the History that fit returned, or None"):
        advise(net, X, Y, [1.0, 2.0])
    with pytest.raises(ValueError, match="every is 0, but must be at least 1"):
        Watch(X, Y, every=0)


def test_a_watch_belongs_to_one_network():
    watch = Watch(X, Y)
    fastnn.Network([4, 8, 1]).fit(X, Y, callbacks=[watch])
    with pytest.raises(ValueError, match="this Watch holds the records of another network; create one for each"):
        fastnn.Network([4, 8, 1]).fit(X, Y, callbacks=[watch])
    assert watch.epochs == [1]
