"""The worked figures of the guide that fastnn grew from, reproduced through the public face.

One weight under gradient descent, two sigmoid neurons by hand, the activation functions, and the training
loop with its two ways to stop and its one way to fail. Where the guide's own text is wrong, the test says
so and asserts what is right.
"""

import numpy as np
import pytest

import fastnn
from fastnn import activations

# The guide goes on from rounded intermediate figures: one or two units of the last printed digit are allowed.
GUIDE_GRADIENTS = {"w2": (0.05706, 2e-5), "b2": (0.0948, 1e-4), "w1": (0.001021, 1e-6), "b1": (0.01021, 1e-5)}
GUIDE_NEW_VALUES = {"w2": (0.427, 1e-3), "b2": (0.612, 1e-3), "w1": (0.1496, 1e-4), "b1": (0.3959, 1e-4)}


# One weight: J(w) = mean (z - w x)², z = 2 x, from w = 0


def mirrored(*points):
    """X and z of the points and of their mirror images, which keep the bias at 0."""
    x, z = np.array([sign * np.array(point, dtype=np.float64) for point in points for sign in (1, -1)]).T
    return x[:, np.newaxis], z


def one_weight(dtype="float64"):
    network = fastnn.Network([1, 1], output="identity", loss="mse", dtype=dtype, seed=0)
    network.set_parameters(np.zeros(2))
    return network


def path_of_weight(X, z, learning_rate, steps, dtype="float64"):
    network, optimizer = one_weight(dtype), fastnn.SGD(learning_rate)
    path = []
    for _ in range(steps):
        network.fit(X, z, epochs=1, batch_size=len(X), optimizer=optimizer, shuffle=False)
        path.append(network.weights[0].item())
        assert network.biases[0].item() == 0
    return path


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-14)])
def test_one_weight_converges_when_mean_square_of_x_is_one_half(dtype, tolerance):
    X, z = mirrored((1, 2), (0, 0))
    assert np.mean(X**2) == 0.5
    path = path_of_weight(X, z, 0.4, steps=4, dtype=dtype)
    np.testing.assert_allclose(path, [0.8, 1.28, 1.568, 1.7408], rtol=tolerance)


def test_one_weight_reaches_two():
    X, z = mirrored((1, 2), (0, 0))
    assert path_of_weight(X, z, 0.4, steps=80)[-1] == pytest.approx(2, rel=1e-15, abs=0)


def test_points_that_the_guide_calls_convergent_swing_on_the_edge_of_stability():
    X, z = mirrored((1, 2), (2, 4))
    path = path_of_weight(X, z, 0.4, steps=8)
    np.testing.assert_allclose(path, [4, 0, 4, 0, 4, 0, 4, 0], rtol=0, atol=1e-12)


def test_cost_of_one_weight_is_the_mean_square():
    X, z = mirrored((1, 2), (2, 4))
    history = one_weight().fit(X, z, epochs=2, batch_size=4, optimizer=fastnn.SGD(0.4), shuffle=False)
    assert one_weight().evaluate(X, z) == pytest.approx(10, rel=1e-15)
    np.testing.assert_allclose(history.loss, [10, 10], rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_larger_learning_rate_diverges_and_the_last_good_epoch_is_back(dtype):
    X, z = mirrored((1, 2), (2, 4))
    network, twin = one_weight(dtype), one_weight(dtype)
    with pytest.raises(fastnn.DivergenceError, match="(?i)epoch") as caught:
        network.fit(X, z, epochs=1000, batch_size=4, optimizer=fastnn.SGD(0.9), shuffle=False)

    for word in ("epoch", "step", "learning rate", "0.9"):
        assert word in str(caught.value).replace("_", " ")
    # Each epoch was worse than the one before, so the last good one is the first, with the parameters that it had.
    assert network.epochs_trained == caught.value.restored == 0 and caught.value.epoch > 30
    assert f"epoch {caught.value.epoch}, step 1" in str(caught.value) and "epochs_trained is 0" in str(caught.value)
    assert network.get_parameters().tobytes() == twin.get_parameters().tobytes()
    assert network.evaluate(X, z) == twin.evaluate(X, z) and network.optimizer is None


def test_divergence_is_a_value_error():
    assert issubclass(fastnn.DivergenceError, ValueError)


def test_divergence_restores_the_state_of_the_optimizer_and_of_the_random_numbers_too():
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(40, 3)), rng.normal(size=40)
    far_away = np.full(40, 1e200)  # finite targets whose squared error is not

    def train(*, with_accident):
        network = fastnn.Network([3, 5, 1], activation="tanh", output="identity", dtype="float64", seed=2)
        optimizer = fastnn.SGD(0.05, momentum=0.9)
        network.fit(X, y, epochs=3, batch_size=8, optimizer=optimizer)
        if with_accident:
            before = network.get_parameters()
            with pytest.raises(fastnn.DivergenceError):
                network.fit(
                    X, np.where(np.arange(40) < 39, y, far_away), epochs=1, batch_size=8, optimizer=optimizer
                )
            assert network.get_parameters().tobytes() == before.tobytes()
            assert network.epochs_trained == 3
        network.fit(X, y, epochs=3, batch_size=8, optimizer=optimizer)
        return network.get_parameters().tobytes()

    assert train(with_accident=True) == train(with_accident=False)


# Two sigmoid neurons in a row


def two_neurons(loss):
    network = fastnn.Network([1, 1, 1], activation="sigmoid", output="sigmoid", loss=loss, dtype="float64")
    network.weights[0][...] = 0.15
    network.biases[0][...] = 0.4
    network.weights[1][...] = 0.45
    network.biases[1][...] = 0.65
    return network


X_ONE, TARGET = np.array([[0.1]]), np.array([0.25])


def gradients_by_name(gradients):
    _, (w1, w2), (b1, b2) = gradients.loss, gradients.weights, gradients.biases
    return {"w1": w1.item(), "b1": b1.item(), "w2": w2.item(), "b2": b2.item()}


def assert_agree(values, expected):
    for name, (value, tolerance) in expected.items():
        assert values[name] == pytest.approx(value, rel=0, abs=tolerance), name


@pytest.mark.parametrize("loss", ["half_mse", "mse"])
def test_two_neurons_forward(loss):
    network = two_neurons(loss)
    x, a1, a2 = network.layer_outputs(X_ONE)
    z1 = x @ network.weights[0] + network.biases[0]
    z2 = a1 @ network.weights[1] + network.biases[1]
    figures = [round(figure.item(), 4) for figure in (z1, a1, z2, a2)]
    assert figures == [0.415, 0.6023, 0.9210, 0.7153]
    assert network.predict(X_ONE).item() == a2.item()


def test_two_neurons_error_is_not_the_one_that_the_guide_prints():
    error = two_neurons("mse").gradients(X_ONE, TARGET).loss
    assert error == pytest.approx(0.216459, rel=0, abs=5e-7)
    assert round(error, 4) == 0.2165  # the guide prints 0.2176
    assert two_neurons("half_mse").gradients(X_ONE, TARGET).loss == pytest.approx(error / 2, rel=1e-15)


def test_two_neurons_gradients_of_the_guide_are_those_of_half_the_squared_error():
    of_half = gradients_by_name(two_neurons("half_mse").gradients(X_ONE, TARGET))
    assert_agree(of_half, GUIDE_GRADIENTS)
    of_whole = gradients_by_name(two_neurons("mse").gradients(X_ONE, TARGET))
    for name, gradient in of_whole.items():
        assert gradient == pytest.approx(2 * of_half[name], rel=1e-14)


@pytest.mark.parametrize(("loss", "factor"), [("half_mse", 1), ("mse", 2)])
def test_two_neurons_update(loss, factor):
    network = two_neurons(loss)
    network.fit(X_ONE, TARGET, epochs=1, batch_size=1, optimizer=fastnn.SGD(0.4), shuffle=False)
    new_values = dict(zip(("w1", "b1", "w2", "b2"), network.get_parameters(), strict=True))
    old_values = {"w1": 0.15, "b1": 0.4, "w2": 0.45, "b2": 0.65}
    gradients = gradients_by_name(two_neurons("half_mse").gradients(X_ONE, TARGET))
    for name, old in old_values.items():
        assert new_values[name] == pytest.approx(old - 0.4 * factor * gradients[name], rel=1e-15)
    if loss == "half_mse":
        assert_agree(new_values, GUIDE_NEW_VALUES)


# Activation functions


def both_dtypes(values):
    return [np.array(values, dtype=dtype) for dtype in ("float32", "float64")]


def test_sigmoid():
    for z in both_dtypes([0, 3, -3]):
        np.testing.assert_allclose(activations.sigmoid(z)[0], 0.5, rtol=0)
        np.testing.assert_allclose(activations.sigmoid.derivative(z), [0.25, 0.045, 0.045], rtol=0, atol=5e-4)
    for z in both_dtypes(np.linspace(-10, 10, 2001)):
        slope = activations.sigmoid.derivative(z)
        assert slope.max() == 0.25 == slope[1000]
        assert np.all(np.diff(activations.sigmoid(z)) >= 0)
    for z in both_dtypes([-1e4, 1e4]):
        np.testing.assert_allclose(activations.sigmoid(z), [0, 1], rtol=0, atol=2 * np.finfo(z.dtype).tiny)


def test_tanh():
    for z in both_dtypes(np.linspace(-5, 5, 1001)):
        value = activations.tanh(z)
        np.testing.assert_array_equal(activations.tanh(-z), -value)
        assert value.dtype == z.dtype
        assert np.abs(value).max() < 1
        np.testing.assert_allclose(value, np.tanh(z), rtol=4 * np.finfo(z.dtype).eps)
        assert activations.tanh.derivative(z).max() == 1
    for z in both_dtypes([-1e4, 1e4]):
        np.testing.assert_array_equal(activations.tanh(z), [-1, 1])


def test_relu():
    for z in both_dtypes([-2, -0.5, 0, 0.5, 2]):
        np.testing.assert_array_equal(activations.relu(z), [0, 0, 0, 0.5, 2])
        np.testing.assert_array_equal(activations.relu.derivative(z), [0, 0, 0, 1, 1])


def test_leaky_relu():
    for z in both_dtypes([-2, -0.5, 0, 0.5, 2]):
        slope = z.dtype.type(0.01)
        np.testing.assert_array_equal(activations.leaky_relu(z), np.where(z > 0, z, slope * z))
        np.testing.assert_array_equal(activations.leaky_relu.derivative(z), np.where(z > 0, 1, slope))


def test_softmax_of_logarithms_gives_the_probabilities_back():
    for probabilities in both_dtypes([0.51, 0.18, 0.31]):
        tolerance = 8 * np.finfo(probabilities.dtype).eps
        np.testing.assert_allclose(activations.softmax(np.log(probabilities)), probabilities, rtol=tolerance)


def test_softmax_sums_to_one():
    for z in both_dtypes(np.random.default_rng(3).normal(scale=5, size=(50, 7))):
        np.testing.assert_allclose(activations.softmax(z).sum(axis=1), 1, rtol=8 * np.finfo(z.dtype).eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_logits_overflow_nowhere(dtype):
    tiny = 2 * np.finfo(dtype).tiny
    z = np.array([[1e4, -1e4, 0], [-1e4, 0, 1e4]], dtype=dtype)
    np.testing.assert_allclose(activations.softmax(z), [[1, 0, 0], [0, 0, 1]], rtol=0, atol=tiny)

    network = fastnn.Network([1, 3], output="softmax", dtype=dtype)
    network.weights[0][...] = [[1e4, -1e4, 0]]
    np.testing.assert_allclose(network.predict([[1.0]]), [[1, 0, 0]], rtol=0, atol=tiny)
    assert network.evaluate([[1.0]], [0]) == 0
    assert network.evaluate([[1.0]], [1]) == 2e4


# Training loop: random start, forward, error, backward, update, until the number of epochs or until E < 0.001


def random_two_neurons(seed):
    return fastnn.Network(
        [1, 1, 1], activation="sigmoid", output="sigmoid", loss="mse", dtype="float64", seed=seed
    )


def test_training_stops_as_soon_as_the_error_is_small():
    network = random_two_neurons(seed=4)
    history = network.fit(X_ONE, TARGET, epochs=10_000, batch_size=1, optimizer=fastnn.SGD(0.4), tol=0.001)
    assert 1 < len(history.loss) == network.epochs_trained < 10_000
    assert history.loss[-1] < 0.001
    assert min(history.loss[:-1]) >= 0.001


def test_training_stops_at_the_number_of_epochs():
    network = random_two_neurons(seed=4)
    history = network.fit(X_ONE, TARGET, epochs=5, batch_size=1, optimizer=fastnn.SGD(0.4), tol=0.001)
    assert len(history.loss) == network.epochs_trained == 5
    assert history.loss == sorted(history.loss, reverse=True)
    assert history.loss[-1] >= 0.001


def test_training_starts_at_random():
    starts = {random_two_neurons(seed).get_parameters().tobytes() for seed in range(10)}
    assert len(starts) == 10
