"""What `Network` promises beyond its figures: views, exchange of parameters, and that every route to a
number gives the same bits.

One batch of `fit` is gradients and update done by hand; n calls of one epoch are one call of n; a
predicted row never depends on its neighbours; every memory layout and dtype gives the bits of its plain
copy and is left as it was. The optimizers are compared with the update rules that PyTorch documents,
written here in NumPy.
"""

import copy
import itertools
import random
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastnn

DTYPES = ["float32", "float64"]
RELATIVE_TOLERANCE = {"float32": 1e-6, "float64": 1e-14}
OPTIMIZERS = {
    "sgd": lambda: fastnn.SGD(0.05),
    "momentum": lambda: fastnn.SGD(0.05, momentum=0.9),
    "nesterov": lambda: fastnn.SGD(0.05, momentum=0.9, nesterov=True),
    "weight_decay": lambda: fastnn.SGD(0.05, weight_decay=0.1),
    "everything": lambda: fastnn.SGD(0.05, momentum=0.8, nesterov=True, weight_decay=0.01),
    "adam": lambda: fastnn.Adam(0.01),
    "adam_other_betas": lambda: fastnn.Adam(0.01, beta1=0.8, beta2=0.99, epsilon=1e-6),
}
few_examples = settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def regression_data(n, n_in, n_out, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, n_in)).astype(dtype), rng.normal(size=(n, n_out)).astype(dtype)


def packed(gradients):
    pairs = zip(gradients.weights, gradients.biases, strict=True)
    return np.concatenate([part.ravel() for pair in pairs for part in pair])


def same_bits(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def test_the_comparison_of_bits_can_fail():
    a = np.array([0.0, 1.0])
    assert same_bits(a, a.copy())
    for other in (np.array([-0.0, 1.0]), np.nextafter(a, [0, 2]), a.astype(np.float32), a[:, np.newaxis]):
        assert not same_bits(a, other)


# Construction and parameters


def test_what_it_was_built_with():
    network = fastnn.Network([5, 4, 3, 2], activation=["tanh", "relu"], output="softmax", dtype="float64")
    assert list(network.layer_sizes) == [5, 4, 3, 2]
    assert list(network.activations) == ["tanh", "relu", "softmax"]
    assert np.dtype(network.dtype) == np.float64
    assert network.n_parameters == 5 * 4 + 4 + 4 * 3 + 3 + 3 * 2 + 2
    assert network.epochs_trained == 0
    assert network.optimizer is None


@pytest.mark.parametrize(
    ("output", "loss"),
    [("softmax", "cross_entropy"), ("sigmoid", "binary_cross_entropy"), ("identity", "mse"), ("exp", "mse")],
)
def test_default_loss(output, loss):
    assert fastnn.Network([2, 2], output=output).loss == loss


def test_one_activation_name_stands_for_every_hidden_layer():
    assert list(fastnn.Network([2, 3, 4, 1], activation="elu", output="tanh").activations) == [
        "elu",
        "elu",
        "tanh",
    ]


@pytest.mark.parametrize("dtype", DTYPES)
def test_shapes(dtype):
    network = fastnn.Network([5, 4, 3], activation="tanh", output="identity", dtype=dtype)
    assert [w.shape for w in network.weights] == [(5, 4), (4, 3)]
    assert [b.shape for b in network.biases] == [(4,), (3,)]
    assert isinstance(network.weights, tuple) and isinstance(network.biases, tuple)
    assert {part.dtype for part in network.weights + network.biases} == {np.dtype(dtype)}

    X, y = regression_data(7, 5, 3)
    assert network.predict(X).shape == (7, 3)
    assert network.predict(X[0]).shape == (3,)
    assert network.predict(X).dtype == dtype
    assert [layer.shape for layer in network.layer_outputs(X)] == [(7, 5), (7, 4), (7, 3)]
    gradients = network.gradients(X, y)
    assert isinstance(gradients.loss, float) and isinstance(network.evaluate(X, y), float)
    assert [dw.shape for dw in gradients.weights] == [(5, 4), (4, 3)]
    assert [db.shape for db in gradients.biases] == [(4,), (3,)]
    assert {part.dtype for part in (*gradients.weights, *gradients.biases)} == {np.dtype(dtype)}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [[1, 1], [3, 5, 2], [17, 33, 7, 1]], ids=str)
def test_weights_and_biases_are_views_of_the_memory_that_training_changes(sizes, dtype):
    network = fastnn.Network(sizes, activation="tanh", output="identity", dtype=dtype)
    weights, biases = network.weights, network.biases
    rng = np.random.default_rng(1)
    for part in (*weights, *biases):
        part[...] = rng.normal(size=part.shape)
    pairs = zip(weights, biases, strict=True)
    assert same_bits(
        network.get_parameters(), np.concatenate([part.ravel() for pair in pairs for part in pair])
    )

    x = rng.normal(size=(2, sizes[0])).astype(dtype)
    expected = x
    for i, (w, b) in enumerate(zip(weights, biases, strict=True)):
        z = expected @ w + b
        expected = np.tanh(z) if i < len(weights) - 1 else z
    np.testing.assert_allclose(network.predict(x), expected, rtol=0, atol=200 * np.finfo(dtype).eps)

    before = [part.copy() for part in (*weights, *biases)]
    network.fit(*regression_data(8, sizes[0], sizes[-1]), epochs=1, optimizer=fastnn.SGD(0.1))
    assert all(np.any(part != old) for part, old in zip((*weights, *biases), before, strict=True))
    assert same_bits(network.get_parameters()[: weights[0].size], weights[0].ravel())


@pytest.mark.parametrize("dtype", DTYPES)
def test_parameters_go_out_and_in_as_a_copy(dtype):
    network = fastnn.Network([3, 4, 2], activation="tanh", output="identity", dtype=dtype)
    v = np.arange(network.n_parameters, dtype=dtype)
    network.set_parameters(v)
    np.testing.assert_array_equal(network.weights[0], np.arange(12).reshape(3, 4))
    np.testing.assert_array_equal(network.biases[0], np.arange(12, 16))
    np.testing.assert_array_equal(network.weights[1], np.arange(16, 24).reshape(4, 2))
    np.testing.assert_array_equal(network.biases[1], [24, 25])

    out = network.get_parameters()
    assert same_bits(out, v)
    out[...] = v[...] = -1  # neither is the network's memory
    assert same_bits(network.get_parameters(), np.arange(26, dtype=dtype))


def test_set_parameters_takes_any_layout():
    network = fastnn.Network([3, 4, 2], activation="tanh", output="identity")
    v = np.random.default_rng(2).normal(size=26).astype(np.float32)
    for same in (
        v.astype(np.float64),
        np.repeat(v, 2)[::2],
        v[::-1].copy()[::-1],
        v.astype(">f4"),
        v.tolist(),
    ):
        network.set_parameters(np.zeros(26))
        network.set_parameters(same)
        assert same_bits(network.get_parameters(), v)


# Random start

VARIANCES = {
    "he": lambda n_in, n_out: 2 / n_in,
    "glorot": lambda n_in, n_out: 2 / (n_in + n_out),
    "lecun": lambda n_in, n_out: 1 / n_in,
}


def assert_spread(w, initializer):
    """Deviation within 2 %, mean within 5 standard errors, and the kind of distribution by its tails."""
    family, distribution = initializer.split("_")
    deviation = VARIANCES[family](*w.shape) ** 0.5
    assert w.std() == pytest.approx(deviation, rel=0.02)
    assert abs(w.mean()) < 5 * deviation / w.size**0.5
    beyond_uniform = np.mean(np.abs(w) > 3**0.5 * deviation * (1 + 1e-6))
    if distribution == "uniform":
        assert beyond_uniform == 0
    else:
        assert 0.07 < beyond_uniform < 0.10  # 0.083 of a normal distribution


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "initializer", [f"{family}_{kind}" for family in VARIANCES for kind in ("normal", "uniform")]
)
def test_initializer(initializer, dtype):
    sizes = [300, 200, 100]
    network = fastnn.Network(
        sizes, activation="tanh", output="identity", initializer=initializer, dtype=dtype, seed=3
    )
    for w, b in zip(network.weights, network.biases, strict=True):
        assert_spread(w.astype(np.float64), initializer)
        assert not b.any()


@pytest.mark.parametrize(
    ("activation", "initializer"),
    [(name, "he_normal") for name in ("relu", "leaky_relu", "elu", "silu", "gelu", "softplus")]
    + [("selu", "lecun_normal")]
    + [(name, "glorot_uniform") for name in ("identity", "sigmoid", "tanh")],
)
def test_default_initializer_of_a_hidden_layer(activation, initializer):
    network = fastnn.Network([300, 200, 1], activation=activation, output="identity", seed=4)
    assert_spread(network.weights[0].astype(np.float64), initializer)


def test_the_check_of_the_spread_can_fail():
    w = np.random.default_rng(5).normal(size=(300, 200)) * (2 / 300) ** 0.5
    assert_spread(w, "he_normal")
    for wrong in ("he_uniform", "glorot_normal", "lecun_normal"):
        with pytest.raises(AssertionError):
            assert_spread(w, wrong)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_seed_decides_every_bit(dtype):
    X, y = regression_data(50, 6, 2)

    def train(seed):
        network = fastnn.Network([6, 9, 2], activation="tanh", output="identity", dtype=dtype, seed=seed)
        start = network.get_parameters()
        network.fit(X, y, epochs=2, batch_size=8, optimizer=fastnn.SGD(0.05))
        return start.tobytes(), network.get_parameters().tobytes()

    assert train(0) == train(0)
    starts, ends = zip(*(train(seed) for seed in range(5)), strict=True)
    assert len(set(starts)) == len(set(ends)) == 5


def test_global_random_state_is_untouched():
    X, y = regression_data(20, 3, 1)
    np.random.seed(6)
    random.seed(6)
    before, before_python = np.random.get_state(legacy=False), random.getstate()
    fastnn.Network([3, 4, 1], activation="relu", output="identity", seed=1).fit(X, y, epochs=2)
    after = np.random.get_state(legacy=False)
    assert (
        same_bits(before["state"]["key"], after["state"]["key"])
        and before["state"]["pos"] == after["state"]["pos"]
    )
    assert random.getstate() == before_python


# Prediction

PREDICTING = [
    ([5, 1], "identity"),
    ([3, 7, 2], "sigmoid"),
    ([64, 48, 10], "softmax"),
    ([17, 33, 65, 3], "gelu"),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("sizes", "output"), PREDICTING)
def test_a_predicted_row_never_depends_on_the_others(sizes, output, dtype):
    network = fastnn.Network(sizes, activation="tanh", output=output, dtype=dtype, seed=7)
    X, _ = regression_data(130, sizes[0], 1, dtype)
    together = network.predict(X)
    for i in range(len(X)):
        assert same_bits(network.predict(X[i]), together[i])
        assert same_bits(network.predict(X[i : i + 1]), together[i : i + 1])
    for n in [*range(2, 20), 31, 32, 33, 63, 64, 65, 127, 128, 129]:
        assert same_bits(network.predict(X[:n]), together[:n])
        assert same_bits(network.predict(X[-n:]), together[-n:])
    assert same_bits(network.predict(X[::-1]), together[::-1])


@given(rows=st.lists(st.integers(0, 39), min_size=1, max_size=90), dtype=st.sampled_from(DTYPES))
@few_examples
def test_rows_may_be_repeated_and_in_any_order(rows, dtype):
    network = fastnn.Network([9, 12, 4], activation="relu", output="softmax", dtype=dtype, seed=8)
    X, _ = regression_data(40, 9, 1, dtype)
    assert same_bits(network.predict(X[rows]), network.predict(X)[rows])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("sizes", "output"), PREDICTING)
def test_out_is_really_that_memory(sizes, output, dtype):
    network = fastnn.Network(sizes, activation="tanh", output=output, dtype=dtype, seed=9)
    X, _ = regression_data(11, sizes[0], 1, dtype)
    memory = np.full((13, sizes[-1]), 7, dtype=dtype)
    out = memory[1:12]
    assert network.predict(X, out=out) is out
    assert same_bits(out, network.predict(X))
    assert np.all(memory[[0, 12]] == 7)

    out_of_one = np.empty(sizes[-1], dtype=dtype)
    assert network.predict(X[3], out=out_of_one) is out_of_one
    assert same_bits(out_of_one, out[3])


@pytest.mark.parametrize("dtype", DTYPES)
def test_predictions_are_the_callers_own(dtype):
    network = fastnn.Network([3, 4, 2], activation="tanh", output="identity", dtype=dtype)
    X, _ = regression_data(5, 3, 1)
    first = network.predict(X)
    kept = first.copy()
    first_layers = network.layer_outputs(X)
    kept_layers = [layer.copy() for layer in first_layers]
    network.predict(X + 1)
    network.layer_outputs(X + 1)
    assert same_bits(first, kept)
    assert all(same_bits(layer, old) for layer, old in zip(first_layers, kept_layers, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
def test_layer_outputs(dtype):
    network = fastnn.Network(
        [4, 6, 5, 3], activation=["relu", "tanh"], output="softmax", dtype=dtype, seed=10
    )
    X, _ = regression_data(9, 4, 1)
    layers = network.layer_outputs(X)
    assert isinstance(layers, list) and len(layers) == 4
    assert same_bits(layers[0], X.astype(dtype))
    assert same_bits(layers[-1], network.predict(X))
    for x, layer, w, b, name in zip(
        layers[:-1], layers[1:], network.weights, network.biases, network.activations, strict=True
    ):
        expected = getattr(fastnn.activations, name)(x @ w + b)
        np.testing.assert_allclose(layer, expected, rtol=0, atol=20 * np.finfo(dtype).eps)


# Losses


def loss_cases():
    """Output, loss, targets of 6 rows x 3 outputs."""
    rng = np.random.default_rng(11)
    for loss in ("mse", "half_mse", "mae", "huber"):
        yield "identity", loss, rng.normal(size=(6, 3)) * 3
    yield "sigmoid", "binary_cross_entropy", rng.uniform(size=(6, 3))
    yield "softmax", "cross_entropy", rng.dirichlet(np.ones(3), size=6)
    yield "softmax", "cross_entropy", np.array([0, 2, 1, 1, 0, 2])
    yield "exp", "poisson", rng.poisson(2.0, size=(6, 3))


def loss_of_each_row(loss, a, t):
    """The formulas of the losses, from outputs a and targets t; one value per row."""
    if loss == "cross_entropy":
        probabilities = np.eye(3)[t] if t.ndim == 1 else t
        return -np.sum(probabilities * np.log(a), axis=1)
    distance = np.abs(a - t)
    elements = {
        "mse": lambda: distance**2,
        "half_mse": lambda: distance**2 / 2,
        "mae": lambda: distance,
        "huber": lambda: np.where(distance < 1, distance**2 / 2, distance - 0.5),
        "binary_cross_entropy": lambda: -t * np.log(a) - (1 - t) * np.log(1 - a),
        "poisson": lambda: a - t * np.log(a),
    }
    return elements[loss]().mean(axis=1)


each_loss = pytest.mark.parametrize(
    ("output", "loss", "y"),
    list(loss_cases()),
    ids=lambda value: value if isinstance(value, str) else f"{value.ndim}-D",
)


@each_loss
@pytest.mark.parametrize("dtype", DTYPES)
def test_evaluate_is_the_formula_and_the_loss_of_gradients(output, loss, y, dtype):
    network = fastnn.Network([4, 5, 3], activation="tanh", output=output, loss=loss, dtype=dtype, seed=12)
    X, _ = regression_data(6, 4, 1)
    a = network.predict(X).astype(np.float64)
    expected = loss_of_each_row(loss, a, y).mean()
    assert network.evaluate(X, y) == pytest.approx(expected, rel=20 * float(np.finfo(dtype).eps))
    assert network.evaluate(X, y) == network.gradients(X, y).loss


@each_loss
def test_sample_weight(output, loss, y):
    network = fastnn.Network([4, 5, 3], activation="tanh", output=output, loss=loss, dtype="float64", seed=12)
    X, _ = regression_data(6, 4, 1)
    weight = np.array([1, 0, 2, 0.5, 1, 3])
    of_row = [network.gradients(X[i : i + 1], y[i : i + 1]) for i in range(6)]

    weighted = network.gradients(X, y, sample_weight=weight)
    expected_loss = np.average([gradients.loss for gradients in of_row], weights=weight)
    expected = np.average([packed(gradients) for gradients in of_row], axis=0, weights=weight)
    assert weighted.loss == pytest.approx(expected_loss, rel=1e-14)
    np.testing.assert_allclose(packed(weighted), expected, rtol=1e-12, atol=1e-15)
    assert network.evaluate(X, y, sample_weight=weight) == weighted.loss

    kept = weight > 0
    without_zeros = network.gradients(X[kept], y[kept], sample_weight=weight[kept])
    np.testing.assert_allclose(packed(without_zeros), packed(weighted), rtol=1e-12, atol=1e-15)
    plain, ones = network.gradients(X, y), network.gradients(X, y, sample_weight=np.full(6, 2.5))
    assert ones.loss == pytest.approx(plain.loss, rel=1e-14)
    np.testing.assert_allclose(packed(ones), packed(plain), rtol=1e-12, atol=1e-15)
    assert plain.loss != pytest.approx(weighted.loss, rel=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_integer_labels_are_one_hot_probabilities(dtype):
    X, _ = regression_data(20, 4, 1)
    labels = np.arange(20) % 3

    def train(y):
        network = fastnn.Network([4, 6, 3], activation="relu", output="softmax", dtype=dtype, seed=13)
        gradients = network.gradients(X, y)
        network.fit(X, y, epochs=3, batch_size=6, optimizer=fastnn.SGD(0.1))
        return network.evaluate(X, y), packed(gradients).tobytes(), network.get_parameters().tobytes()

    assert train(labels) == train(np.eye(3)[labels])
    for kind in ("int8", "uint8", ">i4", "uint64"):
        assert train(labels.astype(kind)) == train(labels)
    assert train(labels.tolist()) == train(labels)


@pytest.mark.parametrize("dtype", DTYPES)
def test_targets_of_one_output_may_be_a_vector_or_a_column(dtype):
    X, y = regression_data(20, 4, 1)

    def train(y):
        network = fastnn.Network([4, 6, 1], activation="relu", output="identity", dtype=dtype, seed=14)
        history = network.fit(X, y, epochs=2, batch_size=6, optimizer=fastnn.SGD(0.1))
        return history.loss, network.evaluate(X, y), network.get_parameters().tobytes()

    assert train(y) == train(y[:, 0])


# Training

TRAINING = [
    ([1, 1], "identity", "mse"),
    ([3, 7, 2], "identity", "huber"),
    ([2, 16, 1], "sigmoid", "binary_cross_entropy"),
    ([20, 64, 32, 1], "identity", "half_mse"),
    ([64, 65, 10], "softmax", "cross_entropy"),
    ([5, 4, 3], "exp", "poisson"),
]


def training_data(sizes, loss, n, dtype):
    X, y = regression_data(n, sizes[0], sizes[-1], dtype, seed=15)
    if loss == "cross_entropy":
        return X, np.arange(n) % sizes[-1]
    if loss == "binary_cross_entropy":
        return X, (y > 0).astype(dtype)
    return X, np.round(np.abs(y)) if loss == "poisson" else y


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("sizes", "output", "loss"), TRAINING)
@pytest.mark.parametrize("n", [1, 2, 7, 32, 65])
def test_one_batch_of_fit_is_gradients_and_update_by_hand(sizes, output, loss, n, dtype):
    network = fastnn.Network(sizes, activation="tanh", output=output, loss=loss, dtype=dtype, seed=16)
    X, y = training_data(sizes, loss, n, dtype)
    for _ in range(3):
        old, gradients = network.get_parameters(), network.gradients(X, y)
        by_hand = old.copy()
        fastnn.ops.sgd_update(by_hand, packed(gradients), 0.1)
        optimizer = network.optimizer or fastnn.SGD(0.1)
        history = network.fit(X, y, epochs=1, batch_size=n, optimizer=optimizer, shuffle=False)
        assert same_bits(network.get_parameters(), by_hand)
        np.testing.assert_allclose(
            by_hand,
            old - 0.1 * packed(gradients),
            rtol=RELATIVE_TOLERANCE[dtype],
            atol=RELATIVE_TOLERANCE[dtype],
        )
        assert history.loss == [pytest.approx(gradients.loss, rel=RELATIVE_TOLERANCE[dtype])]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_last_batch_may_be_short(dtype):
    X, y = regression_data(10, 3, 2, dtype)
    network = fastnn.Network([3, 5, 2], activation="tanh", output="identity", dtype=dtype, seed=17)
    by_hand = fastnn.Network([3, 5, 2], activation="tanh", output="identity", dtype=dtype, seed=17)
    total = 0.0
    for rows in (slice(0, 4), slice(4, 8), slice(8, 10)):
        parameters, gradients = by_hand.get_parameters(), by_hand.gradients(X[rows], y[rows])
        fastnn.ops.sgd_update(parameters, packed(gradients), 0.1)
        by_hand.set_parameters(parameters)
        total += gradients.loss * len(X[rows])
    history = network.fit(X, y, epochs=1, batch_size=4, optimizer=fastnn.SGD(0.1), shuffle=False)
    assert same_bits(network.get_parameters(), by_hand.get_parameters())
    assert history.loss == [pytest.approx(total / 10, rel=RELATIVE_TOLERANCE[dtype])]


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_batch_larger_than_the_data_is_all_of_it(shuffle):
    X, y = regression_data(10, 3, 2)

    def train(batch_size):
        network = fastnn.Network([3, 5, 2], activation="tanh", output="identity", seed=18)
        network.fit(X, y, epochs=3, batch_size=batch_size, optimizer=fastnn.Adam(0.01), shuffle=shuffle)
        return network.get_parameters().tobytes()

    assert train(10) == train(11) == train(1000)
    assert train(10) != train(9)


def test_default_batch_size_is_32_and_default_optimizer_is_adam():
    X, y = regression_data(100, 3, 2)

    def train(**options):
        network = fastnn.Network([3, 5, 2], activation="tanh", output="identity", seed=19)
        network.fit(X, y, epochs=2, **options)
        return network.get_parameters().tobytes()

    assert train() == train(batch_size=32, optimizer=fastnn.Adam()) == train(optimizer=fastnn.Adam(1e-3))
    assert train() != train(batch_size=31)


# fmt: off
GOLDEN_LOSSES = {
    "sgd": [
        1.7273020756908994, 1.3733302982084952, 1.1739534802266023, 1.1178019441477862, 1.110742220304166,
        1.0829281487025668, 1.0610940359747476, 1.0326695104524368, 0.9770679406481837, 0.8595783354893082,
    ],
    "adam": [
        1.8117241370916737, 1.2091503398255783, 1.155504381659662, 1.1494320034578613, 1.137195263133245,
        1.082683150047125, 1.0330757608419765, 0.992912478977546, 0.9509534595542392, 0.9123810166397629,
    ],
}
# fmt: on


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_golden_losses(optimizer, dtype, tolerance):
    """Ten losses of a 4-6-5-3 network, computed once in float64 NumPy from the formulas."""
    network = fastnn.Network([4, 6, 5, 3], activation=["tanh", "gelu"], output="softmax", dtype=dtype)
    network.set_parameters((np.arange(network.n_parameters) * 7 % 11 - 5) / 5)
    X, y = (np.arange(48).reshape(12, 4) * 5 % 13 - 6) / 6, np.arange(12) * 2 % 3
    updates = {"sgd": fastnn.SGD(0.5, momentum=0.5, weight_decay=0.01), "adam": fastnn.Adam(0.05)}[optimizer]
    history = network.fit(X, y, epochs=10, batch_size=5, optimizer=updates, shuffle=False)
    np.testing.assert_allclose(history.loss, GOLDEN_LOSSES[optimizer], rtol=tolerance)


class UpdateRules:
    """The update rules that PyTorch documents for torch.optim.SGD and torch.optim.Adam, in float64 NumPy."""

    @staticmethod
    def sgd(learning_rate, momentum=0.0, nesterov=False, weight_decay=0.0):
        buffer = None

        def update(p, g):
            nonlocal buffer
            g = g + weight_decay * p
            if momentum:
                buffer = g if buffer is None else momentum * buffer + g
                g = g + momentum * buffer if nesterov else buffer
            return p - learning_rate * g

        return update

    @staticmethod
    def adam(learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-8):
        m = v = t = 0

        def update(p, g):
            nonlocal m, v, t
            t += 1
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g**2
            return p - learning_rate * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + epsilon)

        return update


RULES = {
    "sgd": lambda: UpdateRules.sgd(0.05),
    "momentum": lambda: UpdateRules.sgd(0.05, momentum=0.9),
    "nesterov": lambda: UpdateRules.sgd(0.05, momentum=0.9, nesterov=True),
    "weight_decay": lambda: UpdateRules.sgd(0.05, weight_decay=0.1),
    "everything": lambda: UpdateRules.sgd(0.05, momentum=0.8, nesterov=True, weight_decay=0.01),
    "adam": lambda: UpdateRules.adam(0.01),
    "adam_other_betas": lambda: UpdateRules.adam(0.01, beta1=0.8, beta2=0.99, epsilon=1e-6),
}


def path_of_fit(optimizer, steps=25):
    X, y = regression_data(12, 4, 2)
    network = fastnn.Network([4, 6, 2], activation="tanh", output="identity", dtype="float64", seed=20)
    path = []
    for _ in range(steps):
        network.fit(X, y, epochs=1, batch_size=12, optimizer=optimizer, shuffle=False)
        path.append(network.get_parameters())
    return np.array(path)


def path_of_rule(update, steps=25):
    X, y = regression_data(12, 4, 2)
    network = fastnn.Network([4, 6, 2], activation="tanh", output="identity", dtype="float64", seed=20)
    path = []
    for _ in range(steps):
        network.set_parameters(update(network.get_parameters(), packed(network.gradients(X, y))))
        path.append(network.get_parameters())
    return np.array(path)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_follows_its_documented_rule(name):
    np.testing.assert_allclose(
        path_of_fit(OPTIMIZERS[name]()), path_of_rule(RULES[name]()), rtol=0, atol=1e-12
    )


def test_the_check_of_the_optimizers_can_fail():
    """No two rules agree within the tolerance, nor does Adam's with an epsilon that is a little larger."""
    paths = {name: path_of_rule(rule()) for name, rule in RULES.items()}
    for one, other in itertools.combinations(paths, 2):
        assert np.abs(paths[one] - paths[other]).max() > 1e-4
    almost = path_of_rule(UpdateRules.adam(0.01, epsilon=1.1e-8))
    assert np.abs(paths["adam"] - almost).max() > 1e-11


def test_adam_takes_its_first_step_at_the_learning_rate():
    X, y = regression_data(12, 4, 2)
    network = fastnn.Network([4, 6, 2], activation="tanh", output="identity", dtype="float64", seed=20)
    network.set_parameters(np.random.default_rng(21).normal(size=network.n_parameters))
    start, gradient = network.get_parameters(), packed(network.gradients(X, y))
    assert np.abs(gradient).min() > 1e-3
    network.fit(X, y, epochs=1, batch_size=12, optimizer=fastnn.Adam(0.01), shuffle=False)
    np.testing.assert_allclose(network.get_parameters() - start, -0.01 * np.sign(gradient), rtol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_many_calls_of_one_epoch_are_one_call_of_many(name, dtype):
    X, y = regression_data(30, 4, 2)

    def train(epochs_of_call, *, name_it_again):
        network = fastnn.Network([4, 6, 2], activation="tanh", output="identity", dtype=dtype, seed=21)
        optimizer, losses = OPTIMIZERS[name](), []
        for call, epochs in enumerate(epochs_of_call):
            given = optimizer if call == 0 or name_it_again else None  # None: the last one
            losses += network.fit(X, y, epochs=epochs, batch_size=8, optimizer=given).loss
            network.predict(X)  # has no part in the random state
        assert network.epochs_trained == sum(epochs_of_call) == len(losses)
        assert network.optimizer is optimizer
        return losses, network.get_parameters().tobytes()

    at_once = train([6], name_it_again=True)
    assert train([1] * 6, name_it_again=True) == at_once
    assert train([1] * 6, name_it_again=False) == at_once
    assert train([2, 3, 1], name_it_again=True) == at_once


def test_an_optimizer_belongs_to_one_network():
    X, y = regression_data(8, 3, 1)
    first, second = (fastnn.Network([3, 1], output="identity", seed=seed) for seed in (0, 1))
    optimizer = fastnn.SGD(0.1, momentum=0.9)
    first.fit(X, y, optimizer=optimizer)
    before = second.get_parameters()
    with pytest.raises(ValueError, match=r"(?i)optimizer.*network"):
        second.fit(X, y, optimizer=optimizer)
    assert same_bits(second.get_parameters(), before)
    assert second.optimizer is None and second.epochs_trained == 0
    first.fit(X, y, optimizer=optimizer)
    assert first.epochs_trained == 2


def test_a_new_optimizer_starts_afresh():
    X, y = regression_data(8, 3, 1)
    network, fresh = (fastnn.Network([3, 1], output="identity", seed=0) for _ in range(2))
    network.fit(X, y, epochs=3, optimizer=fastnn.Adam(0.1), shuffle=False)
    fresh.set_parameters(network.get_parameters())
    second = fastnn.Adam(0.1)
    for one, optimizer in ((network, second), (fresh, fastnn.Adam(0.1))):
        one.fit(X, y, epochs=3, optimizer=optimizer, shuffle=False)
    assert network.optimizer is second
    assert same_bits(network.get_parameters(), fresh.get_parameters())


def test_tol_stops_after_the_first_epoch_below_it():
    X, y = regression_data(32, 3, 1)
    y = X.sum(axis=1)

    def train(**options):
        network = fastnn.Network([3, 1], output="identity", dtype="float64", seed=22)
        history = network.fit(X, y, epochs=200, batch_size=8, optimizer=fastnn.SGD(0.05), **options)
        return network, history.loss

    _, all_losses = train()
    assert len(all_losses) == 200
    stop = 1 + next(epoch for epoch, loss in enumerate(all_losses) if loss < 1e-3)
    assert 1 < stop < 200
    network, losses = train(tol=1e-3)
    assert losses == all_losses[:stop]
    assert network.epochs_trained == stop
    assert train(tol=losses[-1])[1] == all_losses[: stop + 1]  # below it, not at it


# Shuffling


def order_of_visits(network, X, optimizer):
    """Train one epoch on the rows of the identity matrix, one a batch, and read their order from the steps.

    The bias grows with every step, so each row's own weight moves less than that of the row before it.
    """
    network.set_parameters(np.zeros(network.n_parameters))
    network.fit(X, np.ones(len(X)), epochs=1, batch_size=1, optimizer=optimizer)
    steps = network.weights[0][:, 0]
    assert np.all(steps > 0) and len(set(steps.tolist())) == len(steps)
    expected = 0.002 * 0.998 ** np.arange(len(steps))  # one visit each: w = 0, b = 1 - 0.998^t
    np.testing.assert_allclose(np.sort(steps)[::-1], expected, rtol=1e-2)
    return tuple(np.argsort(-steps).tolist())


def orders(n, epochs, seed):
    network = fastnn.Network([n, 1], output="identity", loss="mse", dtype="float64", seed=seed)
    optimizer = fastnn.SGD(0.001)
    return [order_of_visits(network, np.eye(n), optimizer) for _ in range(epochs)]


def test_an_epoch_visits_every_row_once_in_an_order_that_the_seed_decides():
    first, second = orders(16, epochs=2, seed=23)
    assert sorted(first) == sorted(second) == list(range(16))
    assert first != second
    assert orders(16, epochs=2, seed=23) == [first, second]
    assert orders(16, epochs=2, seed=24) != [first, second]


def test_every_order_is_equally_likely():
    counts = dict.fromkeys(itertools.permutations(range(4)), 0)
    for order in orders(4, epochs=2400, seed=25):
        counts[order] += 1
    chi_square = sum((count - 100) ** 2 / 100 for count in counts.values())
    assert chi_square < 50  # 23 degrees of freedom: exceeded once in a thousand times


# Memory layouts and dtypes


def misaligned(a):
    """The same array, one byte away from any boundary."""
    memory = np.empty(a.nbytes + 1, dtype=np.uint8)
    moved = memory[1:].view(a.dtype).reshape(a.shape)
    moved[...] = a
    assert not moved.flags.aligned
    return moved


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def every_second(a):
    return np.repeat(np.repeat(a, 2, axis=0), 2, axis=-1)[::2, ::2] if a.ndim == 2 else np.repeat(a, 2)[::2]


LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "strided": every_second,
    "reversed": lambda a: a[::-1].copy()[::-1],
    "reversed columns": lambda a: a[..., ::-1].copy()[..., ::-1],
    "read-only": read_only,
    "misaligned": misaligned,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "transposed": lambda a: a.T.copy().T,
    "list": lambda a: a.tolist(),
}
KINDS = ["float16", "float32", "float64", "int8", "int64", "uint8", "bool"]


def results_of(X, y, dtype):
    """Bits of everything that reads X and y."""
    network = fastnn.Network([6, 5, 2], activation="tanh", output="sigmoid", dtype=dtype, seed=26)
    results = [network.predict(X), *network.layer_outputs(X), network.predict(X[3])]
    gradients = network.gradients(X, y)
    results += [packed(gradients), gradients.loss, network.evaluate(X, y)]
    results.append(network.fit(X, y, epochs=2, batch_size=4, optimizer=fastnn.SGD(0.1)).loss)
    results.append(network.get_parameters())
    return [np.asarray(result).tobytes() for result in results]


def values_of_kind(kind):
    rng = np.random.default_rng(27)
    X = rng.uniform(0, 2, size=(11, 6)) if kind == "bool" else rng.uniform(0, 9, size=(11, 6))
    return X.astype(kind), rng.uniform(0, 2, size=(11, 2)).astype("int8").astype(kind)


def snapshot(a):
    return copy.deepcopy(a) if isinstance(a, list) else (a.tobytes(), a.dtype, a.strides, a.flags.writeable)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_any_layout_gives_the_bits_of_its_plain_copy_and_is_left_as_it_was(kind, dtype):
    X, y = values_of_kind(kind)
    expected = results_of(np.ascontiguousarray(X, dtype=dtype), np.ascontiguousarray(y, dtype=dtype), dtype)
    compared = 0
    for name, lay_out in LAYOUTS.items():
        if name == "misaligned" and X.itemsize == 1:
            continue  # a byte is always aligned
        other_X, other_y = lay_out(X), lay_out(y)
        before = snapshot(other_X), snapshot(other_y)
        assert results_of(other_X, other_y, dtype) == expected, name
        assert (snapshot(other_X), snapshot(other_y)) == before, name
        compared += 1
    assert compared == len(LAYOUTS) - (X.itemsize == 1)


@given(data=st.data(), dtype=st.sampled_from(DTYPES))
@few_examples
def test_any_slice_gives_the_bits_of_its_plain_copy(data, dtype):
    memory = np.random.default_rng(28).normal(size=(40, 30)).astype(dtype)
    row_step, column_step = (
        data.draw(st.sampled_from([-3, -2, -1, 1, 2, 3])),
        data.draw(st.sampled_from([-2, -1, 1, 2])),
    )
    first_row, first_column = data.draw(st.integers(13, 26)), data.draw(st.integers(12, 17))
    view = memory[first_row::row_step, first_column::column_step][:, :6]
    before = memory.tobytes()
    network = fastnn.Network([6, 5, 2], activation="tanh", output="identity", dtype=dtype, seed=29)
    assert same_bits(network.predict(view), network.predict(view.copy()))
    assert memory.tobytes() == before


@pytest.mark.parametrize("dtype", DTYPES)
def test_sample_weight_may_have_any_layout(dtype):
    network = fastnn.Network([6, 5, 2], activation="tanh", output="sigmoid", dtype=dtype, seed=26)
    X, y = values_of_kind("float64")
    weight = np.arange(1.0, 12.0)
    expected = network.evaluate(X, y, sample_weight=weight)
    for name, lay_out in LAYOUTS.items():
        assert network.evaluate(X, y, sample_weight=lay_out(weight)) == expected, name
    assert network.evaluate(X, y, sample_weight=weight.astype("int16")) == expected


# The rest of the process


def test_subnormal_numbers_survive_import_and_training():
    """Flush-to-zero must never leak out of the library; a fresh process sees the import too."""
    script = """
        import numpy as np

        def subnormals_survive():
            single, double = np.full(9, 1e-40, dtype=np.float32), np.full(9, 1e-310)
            products = (single * np.float32(1), double * 1.0, np.float64(5e-324) * 1.0)
            return all(bool(np.all(product != 0)) for product in products)

        survived = [subnormals_survive()]
        import fastnn
        survived.append(subnormals_survive())
        for dtype in ("float32", "float64"):
            network = fastnn.Network([3, 4, 1], activation="tanh", output="identity", dtype=dtype)
            X = np.linspace(-1, 1, 30).reshape(10, 3)
            network.fit(X, X[:, 0], epochs=3, optimizer=fastnn.Adam(0.01))
            survived.append(subnormals_survive())
            network.predict(X), network.gradients(X, X[:, 0]), network.evaluate(X, X[:, 0])
            survived.append(subnormals_survive())
            try:
                network.fit(X, 1e30 * X[:, 0], epochs=1000, optimizer=fastnn.SGD(1e30))
            except fastnn.DivergenceError:
                survived.append(subnormals_survive())
        print(survived)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == str([True] * 8)


def test_training_changes_no_setting_of_numpy():
    X, y = regression_data(10, 3, 1)
    before = np.geterr()
    network = fastnn.Network([3, 4, 1], activation="tanh", output="identity")
    with np.errstate(all="raise"):
        network.fit(X, y, epochs=2)
        network.predict(X)
    assert np.geterr() == before
