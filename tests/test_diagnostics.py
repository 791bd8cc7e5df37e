"""Diagnostics: figures beside what NumPy says, the sick and the healthy, and that looking changes nothing."""

import numpy as np
import pytest
from helpers import regression_data, same_bits
from sklearn.datasets import load_digits

import fastnn
from fastnn import diagnostics

pytestmark = pytest.mark.any_isa
RNG = np.random.default_rng(0)
DEEP = RNG.normal(size=(256, 32))


def deep(activation, seed):
    return fastnn.Network([32, *[32] * 10, 1], activation=activation, seed=seed)


def test_sigmoids_lose_the_gradient_and_relus_keep_it():
    def ratio(activation):
        norms = [diagnostics.gradient_norms(deep(activation, seed), DEEP, DEEP[:, 0]) for seed in range(5)]
        return np.median([norm[9] / norm[0] for norm in norms])
    assert ratio("sigmoid") > 1e5
    assert 1 / 20 < ratio("relu") < 20


def test_gradient_norms_are_those_of_the_gradients():
    X, y = regression_data(20, 4, 2)
    network = fastnn.Network([4, 5, 2], dtype="float64", seed=1)
    weight = RNG.uniform(0.5, 2, 20)
    expected = [np.sqrt((dw**2).sum()) for dw in network.gradients(X, y, sample_weight=weight).weights]
    np.testing.assert_allclose(diagnostics.gradient_norms(network, X, y, sample_weight=weight), expected, rtol=1e-12)


def test_activation_statistics():
    network = fastnn.Network([1, 4, 2, 1], activation=["relu", "sigmoid"], output="sigmoid", dtype="float64")
    network.weights[0][...] = [[1, -1, 1, 1]]
    network.biases[0][...] = [0, 0, -10, 5]                 # the third is never active for |x| <= 2
    network.weights[1][...] = [[100, 0], [100, 0], [0, 0], [0, 0]]
    x = np.linspace(-2, 2, 21)[:, None]
    first, second, third = diagnostics.activation_statistics(network, x)
    values = network.layer_outputs(x)[1]
    assert (first.activation, first.dead, first.saturated) == ("relu", 0.25, 0.0)
    assert (first.mean, first.deviation) == (pytest.approx(values.mean()), pytest.approx(values.std()))
    assert (first.smallest, first.largest) == (0, 7)
    assert second.saturated == pytest.approx(20 / 42)       # the first unit, but for x = 0
    assert third.dead == 0 and third.activation == "sigmoid"
    softmax = diagnostics.activation_statistics(fastnn.Network([1, 3], output="softmax"), x)
    assert softmax[0].dead == softmax[0].saturated == 0 and softmax[0].mean == pytest.approx(1 / 3)


def test_watch_records_what_the_functions_say():
    X, y = regression_data(40, 4, 2, "float32", seed=3)
    network, twin = (fastnn.Network([4, 8, 2], activation="tanh", seed=1) for _ in range(2))
    watch = diagnostics.Watch(X[:10], y[:10], every=2)
    network.fit(X, y, epochs=5, optimizer=fastnn.SGD(0.1), callbacks=[watch])
    twin.fit(X, y, epochs=2, optimizer=fastnn.SGD(0.1))
    before = [weights.copy() for weights in twin.weights]
    np.testing.assert_array_equal(watch.gradient_norms[0], diagnostics.gradient_norms(twin, X[:10], y[:10]))
    twin.fit(X, y, epochs=2)
    assert watch.epochs == [2, 4] and len(watch.saturated) == len(watch.dead) == 2
    expected = [np.linalg.norm(now - then) / np.linalg.norm(now)
                for now, then in zip(twin.weights, before, strict=True)]
    np.testing.assert_allclose(watch.update_ratios[1], expected, rtol=1e-6)
    twin.fit(X, y, epochs=1)
    assert same_bits(network.get_parameters(), twin.get_parameters())


def quadratic():
    """A linear network, whose cost is a quadratic with the Hessian 2 / n A^T A."""
    X = RNG.normal(size=(50, 3)) * [1, 3, 0.2]
    A = np.hstack([X, np.ones((50, 1))])
    return fastnn.Network([3, 1], loss="mse", dtype="float64"), X, X @ [1.0, 2.0, 3.0], 2 / 50 * A.T @ A


def test_curvature_and_the_largest_stable_rate_of_a_quadratic():
    network, X, y, hessian = quadratic()
    for direction in np.vstack([np.eye(4), RNG.normal(size=(3, 4)) * 100]):
        expected = direction @ hessian @ direction / (direction @ direction)
        assert diagnostics.curvature(network, X, y, direction) == pytest.approx(expected, rel=1e-6)
    bound = diagnostics.largest_stable_rate(network, X, y)
    assert bound == pytest.approx(2 / np.linalg.eigvalsh(hessian)[-1], rel=1e-5)
    for rate, falls in ((0.98 * bound, True), (1.02 * bound, False)):
        copy = fastnn.Network([3, 1], loss="mse", dtype="float64")
        loss = copy.fit(X, y, epochs=400, batch_size=50, optimizer=fastnn.SGD(rate)).loss
        assert (loss[-1] < loss[0]) == falls


def test_a_cost_that_bends_down_has_no_largest_rate():
    def hill(outputs, targets):
        return -(outputs**2).mean(), -2 * outputs / outputs.size
    network = fastnn.Network([1, 1], loss=hill, dtype="float64")
    assert diagnostics.largest_stable_rate(network, [[1.0], [2.0]], [0.0, 0.0]) == np.inf


@pytest.mark.parametrize("activation", ["tanh", "relu", "leaky_relu", "gelu", "selu"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_right_gradients_pass(activation, dtype):
    X, y = regression_data(30, 5, 3, dtype, seed=4)
    for sizes, settings in (([5, 9, 7, 3], {}), ([5, 12, 3], {"loss": "huber"})):
        network = fastnn.Network(sizes, activation=activation, dtype=dtype, seed=2, **settings)
        check = diagnostics.check_gradients(network, X, y)
        assert check and check.passed and check.error < 1e-6, check
    classes = fastnn.Network([5, 80, 40, 4], activation=activation, output="softmax", dtype=dtype)      # a sample
    assert diagnostics.check_gradients(classes, X[:8], np.arange(8) % 4)


def test_a_wrong_gradient_is_found_and_named():
    def wrong(outputs, targets):
        gradient = 2 * (outputs - targets) / outputs.size
        gradient[:, 1] *= 1.001
        return ((outputs - targets) ** 2).mean(), gradient
    X, y = regression_data(30, 4, 2, seed=5)
    check = diagnostics.check_gradients(fastnn.Network([4, 2], loss=wrong), X, y)
    assert not check and check.error == pytest.approx(1e-3, rel=0.01)
    assert check.worst in ("biases[0][1]", *(f"weights[0][{row}, 1]" for row in range(4)))
    assert check.analytic == pytest.approx(1.001 * check.numeric, rel=1e-5)
    assert diagnostics.check_gradients(fastnn.Network([4, 2], loss=wrong), X, y, tolerance=0.01)
    assert not diagnostics.check_gradients(fastnn.Network([4, 6, 2], activation="tanh", loss=wrong), X, y)


# Advice

X, Y = load_digits(return_X_y=True)
X = (X - X.mean(axis=0)) / np.where(X.std(axis=0) > 0, X.std(axis=0), 1)
X, Y = X[:400], Y[:400]
R, T = RNG.normal(size=(200, 4)), RNG.normal(size=(200, 4)) @ [1.0, 0.5, -0.5, 0.2]


def regressor(**settings):
    return fastnn.Network([4, 16, 1], **settings)


def changed(network, change):
    change(network)
    return network


def tapering():
    """Linear layers whose weights grow towards the output: so does what comes back."""
    network = fastnn.Network([4, *[32] * 8, 1], activation="identity")
    for layer, weights in enumerate(network.weights):
        weights *= 0.02 if layer < 4 else 50
    return network


SICK = {
    "vanishing": (lambda: (deep("sigmoid", 0), DEEP, DEEP[:, 0]),
                  r"layers 1 to \d receive \de\+0\d times less gradient than layer 11: sigmoid in hidden layers; "
                  "try relu"),
    "exploding": (lambda: (tapering(), R, T), r"layer 9 receives \de\+0\d times less gradient than layer \d: it expl"),
    "dead": (lambda: (changed(regressor(), lambda net: net.biases[0][:10].fill(-100)), R, T),
             "62% of the units of layer 1 are dead"),
    "saturated": (lambda: (changed(regressor(activation="tanh"), lambda net: net.weights[0].__imul__(50)), R, T),
                  r"\d\d% of the values of layer 1 are saturated"),
    "not standardised": (lambda: (regressor(), R * [1, 1, 1000, 1] + [50, 0, 0, 0], T),
                         "X is not standardised: columns 0, 2 .the mean of column 2 is"),
    "sigmoid with mse": (lambda: (regressor(output="sigmoid", loss="mse"), R, (T > 0).astype(float)),
                         "output sigmoid has the loss mse, .* output sigmoid needs binary_cross_entropy"),
    "identity for yes and no": (lambda: (regressor(), R, (T > 0).astype(float)), "try output sigmoid"),
    "large targets": (lambda: (regressor(), R, T * 1000 + 1e5),
                      r"y has mean 9.99e\+04 and deviation 1.19e\+03, .* standardise y"),
    "symmetry": (lambda: (changed(regressor(), lambda net: net.weights[0].fill(0.1)), R, T),
                 "all 16 units of layer 1 have the same weights"),
    "NaN": (lambda: (changed(regressor(), lambda net: net.weights[1].fill(np.nan)), R, T),
            "the weights or biases of layer 2 hold NaN or infinity"),
    "one class": (lambda: (fastnn.Network([4, 8, 3], output="softmax"), R, np.ones(200, int)),
                  "y is 1 in every row: there is nothing to tell apart"),
}


@pytest.mark.parametrize("case", SICK)
def test_the_sick_get_their_advice_and_no_other(case):
    make, expected = SICK[case]
    network, rows, targets = make()
    advice = diagnostics.advise(network, rows, targets)
    assert len(advice) == 1, advice
    with pytest.raises(AssertionError, match=expected):
        raise AssertionError(advice[0])


def test_the_healthy_get_none():
    digits = fastnn.Network([64, 32, 32, 10], output="softmax")
    assert diagnostics.advise(digits, X, Y) == []
    history = digits.fit(X, Y, epochs=15, optimizer=fastnn.Adam(3e-3))
    assert diagnostics.advise(digits, X, Y, history) == []
    for activation in ("relu", "tanh", "gelu"):
        network = regressor(activation=activation)
        assert diagnostics.advise(network, R, T) == []
        history = network.fit(R, T, epochs=50, batch_size=200, optimizer=fastnn.SGD(0.1))
        assert diagnostics.advise(network, R, T, history) == []


def test_a_rate_that_is_too_large_is_told_with_its_bound():
    network = fastnn.Network([4, 1], loss="mse", dtype="float64")
    bound = diagnostics.largest_stable_rate(network, R, T)
    history = network.fit(R, T, epochs=10, batch_size=200, optimizer=fastnn.SGD(1.2 * bound))
    advice = diagnostics.advise(network, R, T, history)
    assert advice == [f"the loss rises: the learning rate {1.2 * bound:.3g} is above the stable bound {bound:.3g}"]


# Looking

@pytest.mark.parametrize("look", [
    lambda net: diagnostics.gradient_norms(net, R, T), lambda net: diagnostics.activation_statistics(net, R),
    lambda net: diagnostics.curvature(net, R, T, np.ones(net.n_parameters)),
    lambda net: diagnostics.largest_stable_rate(net, R, T), lambda net: diagnostics.check_gradients(net, R, T),
    lambda net: diagnostics.advise(net, R, T)])
def test_looking_changes_nothing(look):
    network, twin = regressor(seed=5), regressor(seed=5)
    for net in (network, twin):
        net.fit(R, T)
    look(network)
    for net in (network, twin):
        net.fit(R, T)
    assert same_bits(network.get_parameters(), twin.get_parameters())


@pytest.mark.parametrize("call, message", [
    (lambda net: diagnostics.gradient_norms(net, R[:, :3], T), "X has 3 features"),
    (lambda net: diagnostics.curvature(net, R, T, [1.0]), r"direction has shape \(1,\), but this network has 97"),
    (lambda net: diagnostics.curvature(net, R, T, np.zeros(97)), "direction has length 0.0, but must be finite"),
    (lambda net: diagnostics.check_gradients(net, R, T, tolerance=0), "tolerance is 0, but must be a finite number"),
    (lambda net: diagnostics.Watch(R, T, every=0), "every is 0, but must be at least 1"),
])
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(regressor())
