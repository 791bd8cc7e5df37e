"""What `Network` promises beyond its figures: views, exchange of parameters, random start, prediction, losses.

A predicted row never depends on its neighbours; integer labels are one-hot rows; a weighted mean is its
formula.
"""

import random

import numpy as np
import pytest
from helpers import DTYPES, packed, regression_data, same_bits
from hypothesis import given
from hypothesis import strategies as st

import fastnn
from fastnn import initializers
from fastnn.core import random_bits


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
def test_parameters_start_on_a_cache_line(dtype):
    networks = [fastnn.Network([1, width], dtype=dtype) for width in range(1, 1000, 37)]
    assert not any(network.weights[0].ctypes.data % 64 for network in networks)


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


@pytest.mark.any_isa
@pytest.mark.parametrize("shape", ["normal", "uniform"])
def test_initial_weights_are_those_of_their_places_whatever_is_drawn_at_a_time(shape, monkeypatch):
    """The random bits of a weight are those of its number in the layer."""
    for sizes in ([7, 5], [1, 100], [100, 1], [3, 17], [16, 16], [2, 1000]):
        network = fastnn.Network(sizes, initializer=f"he_{shape}", seed=9, dtype="float64")
        bits = random_bits(9, 0, 0, network.weights[0].size).reshape(network.weights[0].shape)
        assert same_bits(random_bits(9, 0, 3, 4), bits.ravel()[3:7])
        for piece in (1, 2, 16, 17, 99, 10**6):
            monkeypatch.setattr(initializers, "PIECE", piece)
            again = fastnn.Network(sizes, initializer=f"he_{shape}", seed=9, dtype="float64")
            assert same_bits(again.weights[0], network.weights[0]), (sizes, piece)


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

    wide = np.full((11, 2 * sizes[-1]), 7, dtype=dtype)
    every_other = wide[:, ::2]              # the result is copied into what is no block
    assert network.predict(X, out=every_other) is every_other
    assert same_bits(np.ascontiguousarray(every_other), out) and np.all(wide[:, 1::2] == 7)


@pytest.mark.parametrize("sizes", [[3, 5, 2], [300, 400, 1]], ids=str)     # the latter may take several threads
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 95, 96, 300, 599])      # rows go through the layers some 96 at a time
def test_predict_refuses_a_row_that_is_not_finite_wherever_it_stands(row, value, sizes):
    network = fastnn.Network(sizes)
    X, out = np.ones((600, sizes[0]), "f"), np.full((600, sizes[-1]), 7, "f")
    X[row, 1] = value
    for options in ({}, {"out": out}):
        with pytest.raises(ValueError, match=f"X holds {value} in row {row}, column 1, but must be finite in float32"):
            network.predict(X, **options)
    assert (out == 7).all()
    X[row, 1] = 1
    assert same_bits(network.predict(X), network.predict(X, out=out))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", fastnn.activations.HIDDEN)
def test_nan_in_a_hidden_layer_reaches_the_outputs(activation, dtype):
    for width in (1, 5, 40, 100):
        network = fastnn.Network([3, width, 2], activation=activation, output="identity", dtype=dtype)
        network.biases[0][0] = np.nan
        for rows in (1, 2, 4, 5, 40):
            assert np.isnan(network.predict(np.ones((rows, 3)))).all(), (width, rows)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("read, written", [(0, 0), (0, 2), (0, 4), (4, 0)])
def test_out_may_overlap_the_rows_that_are_read(read, written, dtype):
    network = fastnn.Network([4, 8, 4], dtype=dtype, seed=15)
    memory = np.random.default_rng(16).normal(size=2004).astype(dtype)      # more rows than pass together
    X, out = (memory[start:start + 2000].reshape(500, 4) for start in (read, written))
    expected = network.predict(X.copy())
    network.predict(X, out=out)
    assert same_bits(out, expected)


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


# In one word: classes, scores, metrics


@pytest.mark.parametrize("dtype", DTYPES)
def test_classes(dtype):
    X = np.array([[-1.0], [0.0], [2.0]])
    softmax = fastnn.Network([1, 3], output="softmax", dtype=dtype)
    softmax.set_parameters([-1, 0, 1, 0, 0.5, 0])
    classes = softmax.predict_classes(X)
    assert classes.dtype == np.intp and classes.tolist() == softmax.predict(X).argmax(axis=1).tolist() == [0, 1, 2]
    one = softmax.predict_classes(X[2])
    assert one == 2 and np.ndim(one) == 0 and one.dtype == np.intp

    sigmoid = fastnn.Network([1, 1], output="sigmoid", dtype=dtype)
    sigmoid.set_parameters([1, 0])
    classes = sigmoid.predict_classes(X)
    assert classes.dtype == np.intp and classes.tolist() == [0, 0, 1]       # 0.5 is not above 0.5
    assert sigmoid.predict_classes(X[2]) == 1 and np.ndim(sigmoid.predict_classes(X[2])) == 0

    several = fastnn.Network([1, 2], output="sigmoid", dtype=dtype)
    several.set_parameters([1, -1, 0, 1])
    answers = several.predict_classes(X)
    assert answers.dtype == np.intp and answers.tolist() == [[0, 1], [0, 1], [1, 0]]
    assert several.predict_classes(X[0]).tolist() == [0, 1]


@pytest.mark.parametrize("output, loss", [("identity", None), ("exp", "poisson"), ("tanh", "mse")])
def test_numbers_are_no_classes(output, loss):
    with pytest.raises(ValueError, match=f"output is '{output}', which predicts numbers, and no classes: call predict"):
        fastnn.Network([2, 3], output=output, loss=loss).predict_classes(np.eye(2))


def weighted_r2(y, outputs, weight):
    mean = np.average(y, axis=0, weights=weight)
    errors = np.average((y - outputs) ** 2, axis=0, weights=weight)
    return np.mean(1 - errors / np.average((y - mean) ** 2, axis=0, weights=weight))


@pytest.mark.parametrize("weighted", [False, True])
def test_score_is_accuracy_for_classes_and_r2_for_numbers(weighted):
    X, numbers = regression_data(30, 4, 2)
    weight = np.arange(30) % 4 / 2 if weighted else None
    labels = np.arange(30) % 3
    softmax = fastnn.Network([4, 3], output="softmax", dtype="float64", seed=5)
    right = softmax.predict_classes(X) == labels
    expected = np.average(right, weights=weight)
    assert 0 < expected < 1
    assert softmax.score(X, labels, sample_weight=weight) == pytest.approx(expected, rel=1e-15)
    assert softmax.score(X, np.eye(3)[labels], sample_weight=weight) == pytest.approx(expected, rel=1e-15)
    assert type(softmax.score(X, labels)) is float

    for loss in ("binary_cross_entropy", "focal"):
        sigmoid = fastnn.Network([4, 1], output="sigmoid", loss=loss, dtype="float64", seed=1)
        expected = np.average(sigmoid.predict_classes(X) == labels % 2, weights=weight)
        for y in (labels % 2, labels[:, None] % 2, labels % 2 == 1):
            assert sigmoid.score(X, y, sample_weight=weight) == pytest.approx(expected, rel=1e-15)

    for outputs, loss, output, y in ((2, "mse", "identity", numbers), (1, "mae", "identity", numbers[:, 0]),
                                     (1, "mse", "sigmoid", labels % 2), (2, None, "sigmoid", (numbers > 0) * 1.0)):
        network = fastnn.Network([4, outputs], output=output, loss=loss, dtype="float64", seed=6)
        expected = weighted_r2(y.reshape(30, -1), network.predict(X), weight)
        assert network.score(X, y, sample_weight=weight) == pytest.approx(expected, rel=1e-12)

    def own(outputs, targets):
        return np.mean((outputs - targets) ** 2), 2 * (outputs - targets) / outputs.size

    network = fastnn.Network([4, 2], loss=own, dtype="float64")
    expected = weighted_r2(numbers, network.predict(X), weight)
    assert network.score(X, numbers, sample_weight=weight) == pytest.approx(expected, rel=1e-12)


def test_evaluate_with_metrics_is_what_fit_records():
    X, y = regression_data(30, 4, 1)
    network = fastnn.Network([4, 5, 1], seed=8)

    def bias(y, outputs):
        return np.mean(outputs - np.reshape(y, outputs.shape))

    history = network.fit(X, y, epochs=3, validation_data=(X, y), metrics=["r2", "mae", bias])
    for targets in (y, y[:, 0], y[:, 0].tolist()):
        found = network.evaluate(X, targets, metrics=["r2", "mae", bias])
        assert found == pytest.approx({"loss": history.validation_loss[-1], "r2": history.validation_r2[-1],
                                       "mae": history.validation_mae[-1], "bias": history.validation_bias[-1]})
    assert network.evaluate(X, y) == network.evaluate(X, y, metrics=())["loss"] == found["loss"]
    assert type(network.evaluate(X, y)) is float
    assert network.evaluate(X, y, metrics="r2")["r2"] == network.score(X, y)
    weight = np.arange(30.0)
    found = network.evaluate(X, y, sample_weight=weight, metrics=["mae", "r2"])
    assert found["mae"] == pytest.approx(np.average(np.abs(network.predict(X) - y)[:, 0], weights=weight))
    assert found["loss"] == network.evaluate(X, y, sample_weight=weight)
    assert found["r2"] == network.score(X, y, sample_weight=weight)
    with pytest.raises(ValueError, match="metrics names 'accuracy', which is for classes"):
        network.evaluate(X, y, metrics=["accuracy"])
    with pytest.raises(ValueError, match="'loss'"):
        network.evaluate(X, y, metrics=["loss"])


def test_what_is_scored_is_checked_as_what_is_learned():
    network = fastnn.Network([4, 3], output="softmax")
    for call in (network.score, network.evaluate):
        for X, y, words in ((np.ones((2, 3)), [0, 1], "X has 3 features"), (np.ones((2, 4)), [0, 3], "the label 3"),
                            (np.ones((2, 4)), [0], "y has 1 rows"), (np.ones((2, 4)), [[0], [1]], r"\.ravel\(\)")):
            with pytest.raises((TypeError, ValueError), match=words):
                call(X, y)
        with pytest.raises(ValueError, match="sample_weight has shape"):
            call(np.ones((2, 4)), [0, 1], sample_weight=[1])
