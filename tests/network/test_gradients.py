"""`Network.gradients` against numerical derivatives of `Network.evaluate`, for every activation and loss
that go together.

The numerical derivative is Richardson's extrapolation of three central differences, in float64. Inputs
are drawn until every pre-activation and every loss stays clear of its kinks, so nothing is skipped: each
test states how many elements it compared. The last tests falsify a gradient on purpose and expect the
checker to notice.
"""

import itertools

import numpy as np
import pytest

import fastnn

HIDDEN = ["identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "softplus", "silu", "gelu"]
REGRESSION_LOSSES = ["mse", "half_mse", "mae", "huber", "quantile"]
OUTPUT_AND_LOSS = [
    *itertools.product([*HIDDEN, "exp"], REGRESSION_LOSSES),
    ("sigmoid", "binary_cross_entropy"),
    ("softmax", "cross_entropy"),
    ("exp", "poisson"),
    ("sigmoid", "focal"),
    ("softmax", "focal"),
]
KINK_AT_ZERO = {"relu", "leaky_relu", "elu", "selu"}  # in the slope or (ELU) the second derivative

# One extrapolation, (4 D(h) - D(2h)) / 3, leaves a truncation error of h⁴ times a fifth derivative beside a
# rounding error of 2⁻⁵²/h: with networks this curved they meet near 1e-10 of the largest element, which is no
# margin. A second one, of D(h), D(2h) and D(4h), cuts the truncation to h⁶: at h = 1e-3 the error is at most
# 6e-12 of the largest element and 2e-8 of each one.
STEP = 1e-3
KINK_MARGIN = 0.05  # a step of 4 h moves no pre-activation and no output that far

OF_LARGEST = 1e-10  # |numerical - analytical| relative to the largest element
OF_ELEMENT = 1e-7  # and relative to the element itself, unless that is tiny:
NOT_TINY = 1e-6  # ... relative to the largest element

ROWS, SIZES = 3, {1: [3, 2], 2: [3, 4, 2], 3: [3, 4, 3, 2]}  # by depth, the number of weight layers
N_PARAMETERS = {1: 8, 2: 26, 3: 39}
HIDDEN_LAYERS = {
    1: [()],
    2: [(name,) for name in HIDDEN],
    3: list(zip(HIDDEN[::2], HIDDEN[1::2], strict=True)),
}


def packed(gradients):
    pairs = zip(gradients.weights, gradients.biases, strict=True)
    return np.concatenate([part.ravel() for pair in pairs for part in pair])


def numerical_gradient(network, X, y, **options):
    parameters = network.get_parameters()

    def loss_at(i, shift):
        moved = parameters.copy()
        moved[i] += shift
        network.set_parameters(moved)
        return network.evaluate(X, y, **options)

    def central_difference(i, h):
        return (loss_at(i, h) - loss_at(i, -h)) / (2 * h)

    gradient = np.empty_like(parameters)
    for i, parameter in enumerate(parameters):
        h = STEP * max(1, abs(parameter))
        d1, d2, d4 = (central_difference(i, step) for step in (h, 2 * h, 4 * h))
        once, once_wider = (4 * d1 - d2) / 3, (4 * d2 - d4) / 3
        gradient[i] = (16 * once - once_wider) / 15
    network.set_parameters(parameters)
    return gradient


def assert_gradients_agree(analytical, numerical):
    """Compare every element; return how many were compared, and how many of them relative to themselves."""
    assert analytical.shape == numerical.shape
    assert np.isfinite(analytical).all()
    error, largest = np.abs(analytical - numerical), np.abs(numerical).max()
    assert largest > 0
    assert np.all(error <= OF_LARGEST * largest), f"off by {error.max() / largest:.1e} of the largest element"
    not_tiny = np.abs(numerical) >= NOT_TINY * largest
    relative = error[not_tiny] / np.abs(numerical[not_tiny])
    assert np.all(relative <= OF_ELEMENT), f"an element is off by {relative.max():.1e} of itself"
    return error.size, relative.size


def draw_targets(rng, output, loss, shape):
    if loss == "binary_cross_entropy" or (loss, output) == ("focal", "sigmoid"):
        return rng.uniform(size=shape)
    if output == "softmax":
        return rng.dirichlet(np.ones(shape[1]), size=shape[0])
    if loss == "poisson":
        return rng.poisson(2.0, size=shape).astype(np.float64)
    return rng.uniform(-2.5, 2.5, size=shape)


def is_clear_of_kinks(network, X, y):
    layers = network.layer_outputs(X)
    for activation, w, b, x in zip(
        network.activations, network.weights, network.biases, layers, strict=False
    ):
        if activation in KINK_AT_ZERO and np.abs(x @ w + b).min() < KINK_MARGIN:
            return False
    distance = np.abs(layers[-1] - y)
    if network.loss in ("mae", "quantile"):
        return distance.min() > KINK_MARGIN
    if network.loss == "huber":
        return np.abs(distance - 1).min() > KINK_MARGIN and distance.min() < 1 < distance.max()
    return True


def draw_case(hidden, output, loss):
    """A network, inputs and targets: the first ones clear of kinks, whose gradients are zero or not tiny."""
    network = fastnn.Network(
        SIZES[len(hidden) + 1], activation=list(hidden), output=output, loss=loss, dtype="float64"
    )
    rng = np.random.default_rng(17)
    for _ in range(1000):
        network.set_parameters(rng.normal(scale=0.7, size=network.n_parameters))
        X = rng.normal(size=(ROWS, 3))
        y = draw_targets(rng, output, loss, (ROWS, 2))
        if is_clear_of_kinks(network, X, y):
            gradients = network.gradients(X, y)
            elements = np.abs(packed(gradients))
            smallest, largest = elements[elements > 0].min(initial=1), elements.max()
            if largest > 0.05 and smallest > 1e-4 * largest and all(np.any(dw) for dw in gradients.weights):
                return network, X, y
    raise AssertionError(f"no case found for {hidden=}, {output=}, {loss=}")


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize(("output", "loss"), OUTPUT_AND_LOSS)
def test_gradients(output, loss, depth):
    compared = compared_relatively = 0
    for hidden in HIDDEN_LAYERS[depth]:
        network, X, y = draw_case(hidden, output, loss)
        counts = assert_gradients_agree(packed(network.gradients(X, y)), numerical_gradient(network, X, y))
        compared += counts[0]
        compared_relatively += counts[1]
    assert compared == N_PARAMETERS[depth] * len(HIDDEN_LAYERS[depth])
    assert compared_relatively >= compared / 2  # the others are exactly zero: units switched off


def test_every_pair_of_output_and_loss_is_covered():
    assert len(OUTPUT_AND_LOSS) == len(set(OUTPUT_AND_LOSS)) == 60


@pytest.mark.parametrize(("output", "loss"), OUTPUT_AND_LOSS)
def test_gradients_with_sample_weight(output, loss):
    network, X, y = draw_case(("tanh", "tanh"), output, loss)
    weight = np.array([0.5, 3.0, 1.25])
    analytical = packed(network.gradients(X, y, sample_weight=weight))
    numerical = numerical_gradient(network, X, y, sample_weight=weight)
    assert assert_gradients_agree(analytical, numerical)[0] == N_PARAMETERS[3]
    unweighted = packed(network.gradients(X, y))
    assert np.abs(analytical - unweighted).max() > 1e-3 * np.abs(unweighted).max()


def test_gradients_of_integer_labels():
    network, X, _ = draw_case(("tanh", "tanh"), "softmax", "cross_entropy")
    y = np.array([1, 0, 1])
    assert (
        assert_gradients_agree(packed(network.gradients(X, y)), numerical_gradient(network, X, y))[0]
        == N_PARAMETERS[3]
    )


def test_gradients_change_nothing():
    network, X, y = draw_case(("tanh", "tanh"), "identity", "mse")
    parameters = network.get_parameters()
    first, second = network.gradients(X, y), network.gradients(X, y)
    assert packed(first).tobytes() == packed(second).tobytes()
    assert network.get_parameters().tobytes() == parameters.tobytes()
    assert network.epochs_trained == 0


# The checker itself


@pytest.mark.parametrize(
    ("output", "loss"), [("identity", "mse"), ("softmax", "cross_entropy"), ("exp", "poisson")]
)
def test_the_checker_notices_any_element_that_is_off(output, loss):
    network, X, y = draw_case(("tanh", "tanh"), output, loss)
    analytical, numerical = packed(network.gradients(X, y)), numerical_gradient(network, X, y)
    assert_gradients_agree(analytical, numerical)
    for i in range(analytical.size):
        for falsify in (lambda g: g * (1 + 1e-5), lambda g: g * (1 - 1e-5), lambda g: -g, lambda g: 0.0):
            falsified = analytical.copy()
            falsified[i] = falsify(falsified[i])
            with pytest.raises(AssertionError, match="off by"):
                assert_gradients_agree(falsified, numerical)


def test_the_checker_notices_a_tiny_element_that_is_not_tiny_enough():
    numerical = np.array([1.0, 1e-8])
    assert assert_gradients_agree(np.array([1.0, 1.005e-8]), numerical) == (2, 1)
    with pytest.raises(AssertionError, match="off by"):
        assert_gradients_agree(np.array([1.0, 1.1e-8 + 1e-9]), numerical)


def test_the_checker_notices_a_kink():
    """At a pre-activation of exactly zero, differences see the mean of the slopes of the two sides."""
    network = fastnn.Network([1, 1], output="relu", loss="half_mse", dtype="float64")
    network.set_parameters(np.zeros(2))
    X, y = np.array([[1.0]]), np.array([1.0])
    assert not is_clear_of_kinks(network, X, y)
    analytical = packed(network.gradients(X, y))
    np.testing.assert_array_equal(analytical, [0, 0])  # the slope at 0 is that of the negative side
    with pytest.raises(AssertionError, match="off by"):
        assert_gradients_agree(analytical, numerical_gradient(network, X, y))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_focal_loss_that_vanishes_is_zero(dtype):
    """(1 - a)^gamma is below all numbers where a row is surely right, and NaN stays NaN."""
    network = fastnn.Network([2, 2], output="softmax", loss=fastnn.losses.focal(200), dtype=dtype)
    network.weights[0][...], network.biases[0][...] = np.eye(2), 0
    gradients = network.gradients([[10.0, 0.0]], [0])
    assert gradients.loss == 0 and not gradients.weights[0].any()
    z = np.array([[np.nan, 0]], dtype)
    assert np.isnan(fastnn.ops.loss_forward_backward(None, z, np.array([[1, 0]], dtype), "focal", "softmax"))
