"""Models come in and go out: scikit-learn, Keras and C; ONNX and PyTorch are in test_interchange_onnx.py and _torch.py.

Whatever goes out computes what the network computes, and comes back with the same bits; whatever no
network can hold is refused in one sentence that names it.
"""

import copy
import ctypes
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import strategies as st

import fastnn
from fastnn import interchange
from fastnn.activations import ACTIVATIONS, HIDDEN
from fastnn.interchange import from_keras, from_onnx, from_sklearn, to_c, to_onnx, to_sklearn

pytestmark = pytest.mark.any_isa
DTYPES = ["float32", "float64"]
X = np.random.default_rng(5).normal(scale=2, size=(50, 5))
CC, CXX = shutil.which("cc"), shutil.which("c++")
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O2"]


def filled(network, scale=1.0):
    """The network, with random biases and its weights multiplied by scale."""
    rng = np.random.default_rng(1)
    for weights, biases in zip(network.weights, network.biases, strict=True):
        weights[...] *= scale
        biases[...] = rng.normal(size=biases.shape)
    return network


def network_of(activation, dtype, sizes=(5, 17, 9, 4), scale=1.0):
    """A network that has the activation in its output, and in its hidden layers if they can have it."""
    hidden = activation if activation in HIDDEN else "tanh"
    return filled(fastnn.Network(sizes, activation=hidden, output=activation, dtype=dtype, seed=3), scale)


@st.composite
def networks(draw):
    sizes = draw(st.lists(st.integers(1, 20), min_size=2, max_size=5))
    hidden = [draw(st.sampled_from(sorted(HIDDEN))) for _ in sizes[2:]]
    return filled(fastnn.Network(sizes, activation=hidden, output=draw(st.sampled_from(sorted(ACTIVATIONS))),
                                 dtype=draw(st.sampled_from(DTYPES)), seed=draw(st.integers(0, 1000))))


def error(actual, expected):
    """The largest error: absolute for numbers up to 1, relative beyond."""
    assert actual.shape == expected.shape
    return (np.abs(actual - expected) / np.maximum(np.abs(expected), 1)).max()


def assert_same_network(actual, expected):
    assert actual.layer_sizes == expected.layer_sizes and actual.activations == expected.activations
    assert actual.dtype == expected.dtype
    assert actual.get_parameters().tobytes() == expected.get_parameters().tobytes()


# scikit-learn


SKLEARN_DATA = np.random.default_rng(2).normal(size=(40, 5))


def fitted(kind, y, **settings):
    from sklearn import neural_network
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")     # it does not converge in 20 steps
        return getattr(neural_network, kind)(max_iter=20, random_state=0, **settings).fit(SKLEARN_DATA, y)


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("kind, targets, loss", [
    ("MLPClassifier", np.arange(40) % 3, "cross_entropy"), ("MLPClassifier", np.arange(40) % 2, "binary_cross_entropy"),
    ("MLPClassifier", SKLEARN_DATA[:, :3] > 0, "binary_cross_entropy"),
    ("MLPRegressor", SKLEARN_DATA[:, 0], "half_mse"), ("MLPRegressor", SKLEARN_DATA[:, :2], "half_mse"),
    ("MLPRegressor", np.arange(40) % 4, "poisson")])
def test_scikit_learn_comes_in_and_goes_out(kind, targets, loss, activation):
    more = {"loss": "poisson"} if loss == "poisson" else {}
    estimator = fitted(kind, targets, activation=activation, hidden_layer_sizes=(7, 6), **more)
    network = from_sklearn(estimator)
    assert network.loss == loss and network.dtype == "float64"
    state = repr(np.random.get_state())
    again = to_sklearn(network)
    assert repr(np.random.get_state()) == state and again.random_state is None
    assert_same_network(from_sklearn(again), network)
    outputs = estimator.predict_proba(SKLEARN_DATA) if kind == "MLPClassifier" else estimator.predict(SKLEARN_DATA)
    mine = network.predict(SKLEARN_DATA)
    columns = outputs[:, 1:] if mine.shape[1] == 1 and outputs.ndim == 2 else outputs.reshape(mine.shape)
    assert error(mine, columns) < 1e-12
    np.testing.assert_array_equal(again.predict(SKLEARN_DATA), estimator.predict(SKLEARN_DATA))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output, n_outputs", [("softmax", 4), ("softmax", 2), ("sigmoid", 1), ("sigmoid", 3)])
def test_a_classifier_of_scikit_learn_agrees_and_works(output, n_outputs, dtype):
    from sklearn.base import clone
    network = filled(fastnn.Network([5, 8, n_outputs], activation="tanh", output=output, dtype=dtype, seed=1))
    estimator = to_sklearn(network)
    inputs = SKLEARN_DATA.astype(dtype)
    expected = network.predict(inputs)
    if n_outputs == 1:
        expected = np.hstack([1 - expected, expected])
    assert error(estimator.predict_proba(inputs), expected) < (1e-6 if dtype == "float32" else 1e-14)
    labels = (expected > 0.5).astype(int) if output == "sigmoid" and n_outputs > 1 else expected.argmax(axis=1)
    np.testing.assert_array_equal(estimator.predict(inputs), labels)
    assert estimator.score(inputs, labels) == 1
    twin = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(twin.predict_proba(inputs), estimator.predict_proba(inputs))
    assert not hasattr(clone(estimator), "coefs_")
    before = [weights.copy() for weights in estimator.coefs_]
    estimator.partial_fit(inputs, labels)
    assert (estimator.n_iter_, len(estimator.loss_curve_), estimator.t_) == (1, 1, 40)
    changes = [np.abs(new - old).max() for new, old in zip(estimator.coefs_, before, strict=True)]
    assert 0 < max(changes) < 1e-2      # it went on from there
    assert network.predict(inputs[:1]).dtype == dtype


def test_the_classes_of_a_classifier():
    network = filled(fastnn.Network([5, 3], output="softmax"))
    estimator = to_sklearn(network, classes=["a", "b", "c"])
    expected = np.array(["a", "b", "c"])[network.predict(X).argmax(axis=1)]
    np.testing.assert_array_equal(estimator.predict(X.astype("f")), expected)
    for classes in (["a", "b"], ["b", "a", "c"], ["a", "a", "b"]):
        with pytest.raises(ValueError, match="must be 3 different ones in ascending order"):
            to_sklearn(network, classes)
    with pytest.raises(ValueError, match="2 sigmoid outputs are 2 labels"):
        to_sklearn(fastnn.Network([5, 2], output="sigmoid"), [0, 1])
    with pytest.raises(ValueError, match="makes a regressor, which has none"):
        to_sklearn(fastnn.Network([5, 2]), [0, 1])


@pytest.mark.parametrize("sentence, hidden, output, n_outputs", [
    ("relu, tanh, but scikit-learn has one for all", ["relu", "tanh"], "identity", 1),
    ("activation is 'gelu', but scikit-learn has only identity", "gelu", "identity", 1),
    ("output is 'tanh' of 1, but scikit-learn has only", "relu", "tanh", 1),
    ("output is 'softmax' of 1", "relu", "softmax", 1)])
def test_what_scikit_learn_cannot_hold_is_refused(sentence, hidden, output, n_outputs):
    with pytest.raises(ValueError, match=sentence):
        to_sklearn(fastnn.Network([5, 4, 4, n_outputs], activation=hidden, output=output))


def test_what_is_no_fitted_mlp_is_refused():
    from sklearn.linear_model import LinearRegression
    from sklearn.neural_network import MLPRegressor
    with pytest.raises(TypeError, match="LinearRegression, but must be scikit-learn.s MLPClassifier or MLPRegressor"):
        from_sklearn(LinearRegression())
    with pytest.raises(ValueError, match=r"MLPRegressor\(\), which is not fitted"):
        from_sklearn(MLPRegressor())


# Keras


def dense(units, activation="linear", **more):
    return {"class_name": "Dense", "config": {"name": "dense", "units": units, "activation": activation,
                                              "use_bias": True} | more}


def layer(kind, **config):
    return {"class_name": kind, "config": {"name": kind.lower()} | config}


W, B = np.array([[1, -2, 3], [4, 5, -6]], "f"), np.array([0.5, -0.25, 0.125], "f")
KERAS_WEIGHTS = [W, B, np.array([[1.0], [2], [-3]], "f"), np.array([0.5], "f")]
KERAS_FUNCTIONS = {"linear": "identity", "swish": "silu", "exponential": "exp"} | {
    name: name for name in ACTIVATIONS if name not in ("identity", "exp", "leaky_relu")}


@pytest.mark.parametrize("name", KERAS_FUNCTIONS)
@pytest.mark.parametrize("spell", [
    lambda name: dense(1, name),
    lambda name: dense(1, {"class_name": "function", "config": name, "module": "builtins"}),
    lambda name: dense(1, {"class_name": name, "config": {}}),
    lambda name: [dense(1), layer("Activation", activation=name)],
], ids=["name", "function", "class", "layer"])
def test_activations_of_keras(name, spell):
    last = spell(name)
    config = {"layers": [layer("InputLayer"), dense(3, "tanh"), *(last if isinstance(last, list) else [last])]}
    network = from_keras(config, KERAS_WEIGHTS)
    assert network.activations == ("tanh", KERAS_FUNCTIONS[name])
    assert network.dtype == "float32" and (network.weights[0] == W).all() and (network.biases[1] == 0.5).all()


@pytest.mark.parametrize("wrap", [
    lambda layers: {"name": "m", "layers": layers}, lambda layers: layers,
    lambda layers: {"class_name": "Sequential", "config": {"name": "m", "layers": layers}},
    lambda layers: {"class_name": "Sequential", "config": layers},
    lambda layers: {"layers": [{"class_name": "Sequential", "config": {"layers": layers}}]}],
    ids=["get_config", "old get_config", "to_json", "old to_json", "nested"])
def test_layers_of_keras(wrap):
    config = wrap([layer("InputLayer"), layer("Flatten", data_format="channels_last"), dense(3),
                   layer("LeakyReLU", negative_slope=0.01), layer("Dropout", rate=0.25, noise_shape=None),
                   dense(1, None, use_bias=False)])
    network = from_keras(json.loads(json.dumps(config)), KERAS_WEIGHTS[:3], loss="huber", seed=4)
    assert (network.activations, network.dropout) == (("leaky_relu", "identity"), (0.25,))
    assert (network.loss, network.seed, network.biases[1].item()) == ("huber", 4, 0)


def test_dropout_of_keras_that_drops_nothing_is_none():
    assert from_keras([layer("Dropout", rate=0.0), dense(3)], KERAS_WEIGHTS[:2]).dropout == ()


@pytest.mark.parametrize("activation", [
    layer("ReLU", max_value=None, negative_slope=0.0, threshold=0.0), layer("LeakyReLU", alpha=float(np.float32(0.01))),
    layer("ELU", alpha=1.0), layer("Softmax", axis=-1)], ids=lambda layer: layer["class_name"])
def test_activation_layers_of_keras_stand_alone_and_in_dense(activation):
    alone = from_keras([dense(3), activation], KERAS_WEIGHTS[:2])
    assert alone.activations == from_keras([dense(3, activation)], KERAS_WEIGHTS[:2]).activations
    assert alone.activations[0].replace("_", "") == activation["class_name"].lower()


@pytest.mark.parametrize("sentence, config", [
    ("activation 'leaky_relu', whose slope in Keras is 0.2", [dense(3, "leaky_relu")]),
    ("leaky_relu with negative_slope=0.3, but fastnn's is that of negative_slope=0.01",
     [dense(3), layer("LeakyReLU", negative_slope=0.3)]),
    ("leaky_relu with Keras's own slope 0.3", [dense(3), layer("LeakyReLU")]),
    ("relu with max_value=6.0", [dense(3), layer("ReLU", max_value=6.0)]),
    ("elu with alpha=0.5", [dense(3), layer("ELU", alpha=0.5)]),
    ("softmax with axis=0", [dense(3), layer("Softmax", axis=0)]),
    ("activation 'mish', which fastnn", [dense(3, "mish")]),
    ("has the activation {'class_name': 'gelu'.*approximate",
     [dense(3, {"class_name": "gelu", "config": {"approximate": True}})]),
    ("has the activation 3", [dense(3, 3)]),
    (r"layer 1 \(layernormalization\) is a LayerNormalization\(name='layernormalization', epsilon=0.001\), but only",
     [dense(3), layer("LayerNormalization", epsilon=0.001)]),
    (r"layer 1 \(batchnormalization\) takes 4 arrays, but weights has 0 left", [dense(3), layer("BatchNormalization")]),
    ("is a BatchNormalization.*renorm=True", [dense(3), layer("BatchNormalization", renorm=True)]),
    ("is a BatchNormalization.*axis=0", [dense(3), layer("BatchNormalization", axis=0)]),
    (r"layer 1 \(relu\) is a leaky_relu with negative_slope=0.2, but fastnn's is that of negative_slope=0.01",
     [dense(3), layer("ReLU", negative_slope=0.2)]),
    ("is a leaky_relu with max_value=6.0", [dense(3), layer("ReLU", negative_slope=0.01, max_value=6.0)]),
    (r"layer 2 \(rescaling\) scales or shifts what the activation 'relu' gives",
     [dense(3), layer("ReLU"), layer("Rescaling", scale=2.0)]),
    (r"layer 1 \(rescaling\) has the constants \['a'\], but they must be numbers",
     [dense(3), layer("Rescaling", scale=["a"])]),
    (r"layer 1 \(rescaling\) multiplies by or adds NaN", [dense(3), layer("Rescaling")]),
    (r"layer 0 \(normalization\) has a mean of shape \(2,\) and a variance of shape \(1,\)",
     [layer("Normalization", mean=[1.0, 2], variance=[1.0]), dense(3)]),
    (r"layer 1 \(dense\) is a Dense of inputs of shape \(None, 7, 2\), but a fastnn.Network has rows",
     [layer("InputLayer", batch_shape=[None, 7, 2]), dense(3)]),
    (r"layer 0 \(dense\) is a Dense of inputs of shape \(None, 7, 2\)", [dense(3, batch_input_shape=[None, 7, 2])]),
    (r"layer 0 \(dense\) is a Dense of inputs of shape \(None, 7, 2\)",
     [dense(3) | {"build_config": {"input_shape": [None, 7, 2]}}]),
    (r"layer 0 \(dense\) is a Dense of inputs of shape \(None, 7, 2\)",
     {"layers": [dense(3)], "build_input_shape": [None, 7, 2]}),
    (r"layer 0\.0 \(dense\) is a Dense of inputs of shape \(None, 7, 2\)",
     [layer("Sequential", layers=[dense(3)]) | {"build_config": {"input_shape": [None, 7, 2]}}]),
    (r"layer 2 \(softmax\) is a Softmax of inputs of shape \(None, 3, 1\)",
     [dense(3), layer("Reshape", target_shape=[3, 1]), layer("Softmax", axis=1)]),
    (r"the outputs of config have the shape \(None, 3, 1\), but those of a fastnn.Network are rows",
     [dense(3), layer("Reshape", target_shape=[-1, 1])]),
    (r"layer 1 \(dense\) has weights for 2 inputs, but config declares 5",
     [layer("InputLayer", batch_shape=[None, 5]), dense(3)]),
    (r"layer 2 \(dense\) has weights for 2 inputs, but config declares 6",
     [layer("InputLayer", batch_shape=[None, 3, 2]), layer("Flatten"), dense(3)]),
    ("is a SpatialDropout1D", [dense(3), layer("SpatialDropout1D", rate=0.5)]),
    (r"is a Flatten\(.*channels_first", [layer("Flatten", data_format="channels_first"), dense(3)]),
    ("is a Dropout", [dense(3), layer("Dropout", rate=0.5, noise_shape=[1, 3])]),
    (r"layer 0 \(dense\) has 4 units, but its weights are for 3", [dense(4)]),
    (r"layer 1 \(dense\) takes 2 arrays, but weights has 0 left", [dense(3), dense(1)]),
    ("holds 2 arrays, but the layers of config take 1", [dense(3, use_bias=False)]),
    ("the outputs have dropout 0.5, but only hidden", [dense(3), layer("Dropout", rate=0.5)]),
    (r"layer 0 \(dropout\) drops out inputs", [layer("Dropout", rate=0.5), dense(3)]),
    (r"layer 2 \(dropout\) drops out what has dropout already", [dense(3), *[layer("Dropout", rate=0.5)] * 2]),
    ("is that of a Functional", {"class_name": "Functional", "config": {}}),
    ("functional model", {"name": "m", "layers": [], "input_layers": [], "output_layers": []}),
    ("config is not the configuration", {}), ("config is not the configuration", None),
    ("config is not the configuration", [3]), ("no layer of weights", []),
])
def test_what_keras_has_and_fastnn_has_not_is_refused(sentence, config):
    with pytest.raises(ValueError, match=sentence):
        from_keras(config, KERAS_WEIGHTS[:2] if config != [] else [])


MEAN, VARIANCE = np.array([0.5, -1, 2], "f"), np.array([4, 0.25, 1], "f")
GAMMA, BETA = np.array([2, -1, 0.5], "f"), np.array([1, 2, 3], "f")


def normalized(x, gamma=1.0, beta=0.0, epsilon=1e-3):
    return (x - MEAN) / np.sqrt(VARIANCE + epsilon) * gamma + beta


@pytest.mark.parametrize("more, weights, expected", [
    ({}, [GAMMA, BETA, MEAN, VARIANCE], lambda z: normalized(z, GAMMA, BETA)),
    ({"scale": False, "axis": [1]}, [BETA, MEAN, VARIANCE], lambda z: normalized(z, 1, BETA)),
    ({"center": False, "epsilon": 0.5}, [GAMMA, MEAN, VARIANCE], lambda z: normalized(z, GAMMA, 0, 0.5)),
    ({"scale": False, "center": False}, [MEAN, VARIANCE], normalized)],
    ids=["whole", "not scaled", "not centered", "neither"])
def test_batch_normalization_of_keras_becomes_part_of_a_layer(more, weights, expected):
    z, last = X[:, :2] @ W + B, KERAS_WEIGHTS[2:]
    normalization = layer("BatchNormalization", **more)
    network = from_keras([dense(3), normalization, layer("Activation", activation="tanh"), dense(1)],
                         [W, B, *weights, *last])
    assert error(network.predict(X[:, :2]), np.tanh(expected(z)) @ last[0] + last[1]) < 1e-5
    network = from_keras([dense(3, "tanh"), normalization, dense(1)], [W, B, *weights, *last])
    assert error(network.predict(X[:, :2]), expected(np.tanh(z)) @ last[0] + last[1]) < 1e-5
    assert network.dtype == "float32"


@pytest.mark.parametrize("first, weights, expected", [
    (layer("Normalization", axis=(-1,)), [MEAN, VARIANCE, np.array(9)], lambda x: normalized(x, epsilon=0)),
    (layer("Normalization", axis=-1, mean=MEAN.tolist(), variance=VARIANCE.tolist()), [],
     lambda x: normalized(x, epsilon=0)),
    (layer("Normalization", axis=None, mean=3.0, variance=4.0, invert=True), [], lambda x: x * 2 + 3),
    (layer("Normalization", axis=(), mean=3.0, variance=0.0), [], lambda x: (x - 3) / 1e-7),
    (layer("Rescaling", scale=1 / 255, offset=-1.0), [], lambda x: x / 255 - 1),
    (layer("Rescaling", offset=[1.0, 2, 3],
           scale={"class_name": "__numpy__", "config": {"value": GAMMA.tolist(), "dtype": "float64"}}), [],
     lambda x: x * GAMMA + [1, 2, 3])],
    ids=["measured", "constants", "inverted", "constant column", "numbers", "arrays"])
def test_scalings_of_keras_become_part_of_a_layer(first, weights, expected):
    kernel, inputs = W.T.copy(), X[:, :3]
    network = from_keras(json.loads(json.dumps({"layers": [first, dense(2)]})), [*weights, kernel, B[:2]])
    exact = expected(inputs) @ kernel.astype(float) + B[:2]
    assert np.abs(network.predict(inputs) - exact).max() <= 1e-5 * np.abs(exact).max()


def test_layers_of_keras_that_do_nothing_in_inference():
    nothing = [layer("GaussianNoise", stddev=0.1), layer("GaussianDropout", rate=0.1), layer("AlphaDropout", rate=0.1),
               layer("ActivityRegularization", l1=0.1), layer("Identity")]
    network = from_keras([*nothing, dense(3, "relu"), *nothing, layer("Reshape", target_shape=[3]), dense(1), *nothing,
                          layer("Flatten"), layer("Reshape", target_shape=[1])], KERAS_WEIGHTS)
    assert_same_network(network, from_keras([dense(3, "relu"), dense(1)], KERAS_WEIGHTS))
    assert network.dropout == (0,)


def test_pictures_of_keras_become_rows():
    """Flattened row by row, as NumPy's reshape does."""
    layers = [layer("InputLayer", batch_shape=[None, 2, 3]), layer("Rescaling", scale=0.5), layer("Flatten"), dense(1),
              layer("Reshape", target_shape=[1, 1]), layer("Reshape", target_shape=[-1])]
    kernel = np.arange(6.0)[:, None]
    network = from_keras(layers, [kernel, np.zeros(1)])
    pictures = X[:48].reshape(-1, 2, 3)
    assert error(network.predict(pictures.reshape(-1, 6)), pictures.reshape(-1, 6) / 2 @ kernel) < 1e-12


@pytest.mark.parametrize("dtype, expected", [
    (">f4", "float32"), ("<f4", "float32"), (">f8", "float64"), ("<f2", "float32"), (">f2", "float32")])
def test_weights_of_keras_of_another_byte_order_or_of_halves(dtype, expected):
    network = from_keras([dense(3, layer("ReLU", negative_slope=0.01))], [W.astype(dtype), B.astype(dtype)])
    assert (network.dtype, network.activations) == (expected, ("leaky_relu",))
    np.testing.assert_array_equal(network.weights[0], W)
    np.testing.assert_array_equal(network.biases[0], B)


@pytest.mark.filterwarnings("error")
def test_a_negative_variance_is_refused():
    for normalization, weights in ((layer("BatchNormalization"), [GAMMA, BETA, MEAN, -VARIANCE]),
                                   (layer("Normalization"), [MEAN, -VARIANCE, np.array(9)])):
        with pytest.raises(ValueError, match="layer 1 .* multiplies by or adds NaN or infinity"):
            from_keras([dense(3), normalization], [W, B, *weights])


def test_arrays_of_a_normalization_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"arrays of the shapes \(3,\), \(2,\), \(3,\), \(3,\), but all"):
        from_keras([dense(3), layer("BatchNormalization")], [W, B, GAMMA, BETA[:2], MEAN, VARIANCE])
    with pytest.raises(ValueError, match=r"layer 1 .* has constants of shape \(2,\), but one number for each of 3"):
        from_keras([dense(3), layer("BatchNormalization", scale=False, center=False)], [W, B, MEAN[:2], VARIANCE[:2]])


def test_weights_that_are_no_matrix_are_refused():
    with pytest.raises(ValueError, match=r"weights of shape \(2, 3, 1\), but they must have two dimensions"):
        from_keras([dense(3)], [W[:, :, None], B])


# C


needs_cc = pytest.mark.skipif(CC is None, reason="NOT TESTED: there is no C compiler")


def compiled(folder, networks, flags=()):
    """{name: network} as functions of arrays (n, n_inputs), from one library that includes all headers."""
    source = ""
    for name, network in networks.items():
        to_c(network, folder / f"{name}.h")
        kind = "float" if network.dtype == "float32" else "double"
        source += (f'#include "{name}.h"\nvoid run_{name}(const {kind} *x, {kind} *y);\n'
                   f"void run_{name}(const {kind} *x, {kind} *y) {{ {name}_predict(x, y); }}\n")
    (folder / "all.c").write_text(source)
    subprocess.run([CC, "-std=c99", *STRICT, *flags, "-shared", "-fPIC", "all.c", "-o", "all.so", "-lm"], cwd=folder,
                   check=True, capture_output=True, text=True)
    library = ctypes.CDLL(str(folder / "all.so"))

    def runner(name, network):
        function = getattr(library, f"run_{name}")
        function.argtypes, function.restype = [ctypes.c_void_p] * 2, None

        def run(X):
            outputs = np.full((len(X), network.layer_sizes[-1]), np.nan, network.dtype)
            for x, y in zip(np.ascontiguousarray(X, network.dtype), outputs, strict=True):
                function(x.ctypes.data, y.ctypes.data)
            return outputs
        return run
    return {name: runner(name, network) for name, network in networks.items()}


@needs_cc
def test_c_computes_what_the_network_computes(tmp_path):
    """Every activation and dtype, with pre-activations of the usual size."""
    networks = {f"{activation}_{dtype}": network_of(activation, dtype)
                for activation in ACTIVATIONS for dtype in DTYPES}
    for name, run in compiled(tmp_path, networks).items():
        bound = 2e-6 if name.endswith("32") else 1e-14      # fused multiply-adds here, none there
        assert error(run(X), networks[name].predict(X)) < bound, name


@needs_cc
def test_c_stays_finite_where_the_network_does(tmp_path):
    """One layer that hands on what comes: pre-activations up to the edge of overflow."""
    networks = {}
    for activation in ACTIVATIONS:
        for dtype in DTYPES:
            network = networks[f"{activation}_{dtype}"] = fastnn.Network([3, 3], output=activation, dtype=dtype)
            network.weights[0][...] = np.eye(3)
    for name, run in compiled(tmp_path, networks).items():
        largest = 85 if name.startswith("exp_") else 1e4
        steps = np.geomspace(1e-6, largest, 300)
        z = np.concatenate([-steps[::-1], [0], steps, [88, 89, -88, -104, 709, -746][:0 if largest == 85 else 6]])
        z = np.stack([z, np.zeros_like(z), -z / 2], axis=1)
        expected = networks[name].predict(z)
        assert np.isfinite(expected).all(), name
        assert error(run(z), expected) < (1e-6 if name.endswith("32") else 1e-13), name
        if not name.startswith(("relu", "softmax")):
            assert np.isnan(run(np.full((1, 3), np.nan))).all(), name


@needs_cc
def test_random_networks_in_c(tmp_path):
    """Thirty architectures in one library."""
    rng = np.random.default_rng(8)
    networks = {}
    for index in range(30):
        sizes = rng.integers(1, 40, size=rng.integers(2, 7)).tolist()
        networks[f"net_{index}"] = filled(fastnn.Network(
            sizes, activation=rng.choice(sorted(HIDDEN), len(sizes) - 2).tolist(), seed=index,
            output=str(rng.choice(sorted(ACTIVATIONS))), dtype=str(rng.choice(DTYPES))), 0.7)
    for name, run in compiled(tmp_path, networks).items():
        network = networks[name]
        inputs = rng.normal(size=(20, network.layer_sizes[0])).astype(network.dtype)
        assert error(run(inputs), network.predict(inputs)) < (1e-5 if network.dtype == "float32" else 1e-12), name


def self_test(folder, name, expect):
    define = f"-D{name.upper()}_SELF_TEST_MAIN"
    subprocess.run([CC, "-std=c99", *STRICT, define, "-x", "c", f"{name}.h", "-lm", "-o", "test"],
                   cwd=folder, check=True, capture_output=True, text=True)
    done = subprocess.run([folder / "test"], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == (f"{expect} of 8 recorded predictions failed\n", expect > 0)


@needs_cc
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_self_test_passes_and_notices_a_wrong_constant(dtype, tmp_path):
    to_c(network_of("leaky_relu", dtype), tmp_path / "policy.h")
    self_test(tmp_path, "policy", 0)
    text = (tmp_path / "policy.h").read_text()
    assert text.count("z < 0 ? 0.01") == 1
    (tmp_path / "policy.h").write_text(text.replace("z < 0 ? 0.01", "z < 0 ? 0.02"))
    self_test(tmp_path, "policy", 8)


@needs_cc
def test_a_program_can_call_the_self_test(tmp_path):
    to_c(network_of("relu", "float32"), tmp_path / "policy.h")
    (tmp_path / "own.c").write_text('#define POLICY_SELF_TEST\n#include "policy.h"\n'
                                    "int main(void) { return policy_self_test(); }\n")
    subprocess.run([CC, "-std=c99", *STRICT, "own.c", "-lm", "-o", "own"], cwd=tmp_path, check=True)
    assert subprocess.run([tmp_path / "own"]).returncode == 0


@needs_cc
@pytest.mark.skipif(CXX is None, reason="NOT TESTED: there is no C++ compiler")
def test_a_header_alone_compiles_as_c_and_as_cpp(tmp_path):
    """Twice included, nothing called; with and without hidden layers and activations."""
    for index, network in enumerate([network_of("softmax", "float32"), network_of("gelu", "float64"),
                                     fastnn.Network([2, 3])]):
        to_c(network, tmp_path / f"m{index}.h")
    source = "".join(f'#include "m{index}.h"\n#include "m{index}.h"\n' for index in range(3)) + "int unused;\n"
    (tmp_path / "a.c").write_text(source)
    (tmp_path / "a.cpp").write_text(source)
    for command in ([CC, "-std=c99", "a.c"], [CXX, "-std=c++11", "a.cpp"], [CXX, "-std=c++20", "a.cpp"]):
        done = subprocess.run([*command, *STRICT, "-c", "-o", "a.o"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_a_header_depends_on_the_network_and_the_name_alone(tmp_path):
    network = network_of("tanh", "float32")
    (tmp_path / "other").mkdir()
    network.to_c(tmp_path / "a.h")
    to_c(copy.deepcopy(network), str(tmp_path / "other" / "a.h"))
    assert (tmp_path / "a.h").read_bytes() == (tmp_path / "other" / "a.h").read_bytes()
    assert max(map(len, (tmp_path / "a.h").read_text().splitlines())) <= 200


@pytest.mark.parametrize("file, name", [
    ("policy.h", "policy"), ("my-net 2.hpp", "my_net_2"), ("2024.h", "network_2024"), ("_x.h", "x"),
    ("é.h", "u00e9"), ("модель.h", "u043cu043eu0434u0435u043bu044c"), ("a.b.h", "a_b"), ("int.h", "int"),
    ("*?.h", "network"), ("exp.h", "exp"), ("-x.h", "x")])
def test_names_in_c_come_from_the_name_of_the_file(file, name, tmp_path):
    to_c(fastnn.Network([2, 1]), tmp_path / file)
    text = (tmp_path / file).read_text()
    assert f"void {name}_predict(" in text and f"#ifndef {name.upper()}_H" in text
    if CC:
        subprocess.run([CC, "-std=c99", *STRICT, "-x", "c", "-c", f"./{file}", "-o", "a.o"], cwd=tmp_path, check=True)


@needs_cc
@pytest.mark.parametrize("file", ["my model.h", "-x.h", "it's.h", "$HOME `a`.h", "модель.h", "*?.h", "no ending"])
def test_the_comment_names_the_file_and_its_command_works(file, tmp_path):
    to_c(fastnn.Network([2, 1]), tmp_path / file)
    text = (tmp_path / file).read_text(encoding="utf-8")
    assert text.startswith(f"/* {file}: ") and f'#include "{file}"' in text
    command = re.search(r"^ \*     (cc -std=c99 .*)", text, re.MULTILINE)[1]
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("0 of 8 recorded predictions failed\n", 0), done.stderr
    (tmp_path / "a.c").write_text(f'#include "{file}"\nint unused;\n', encoding="utf-8")
    subprocess.run([CC, "-std=c99", *STRICT, "-c", "a.c"], cwd=tmp_path, check=True)


@pytest.mark.parametrize("file, words", [
    ("math.h", "name of a header of the C library"), ("STDIO.H", "name of a header of the C library"),
    ("float.h", "name of a header"), ("unistd.h", "name of a header"), ('a"b.h', "which no #include can name"),
    ("a\nb.h", "which no #include can name"), ("a\\.h", "which no #include can name"),
    (os.fsdecode(b"a\xff.h"), "which no #include can name")])
def test_a_file_that_c_cannot_include_is_refused(file, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        to_c(fastnn.Network([2, 1]), tmp_path / file)
    assert not list(tmp_path.iterdir())


def compile_together(folder, *files):
    source = "".join(f'#include "{file}"\n' for file in files)
    (folder / "all.c").write_text(source + "int unused;\n", encoding="utf-8")
    return subprocess.run([CC, "-std=c99", *STRICT, "-c", "all.c"], cwd=folder, capture_output=True, text=True)


@needs_cc
@pytest.mark.parametrize("other", [
    fastnn.Network([2, 1], seed=1), fastnn.Network([2, 1], dtype="float64"), fastnn.Network([2, 1], output="tanh")],
    ids=["parameters", "dtype", "activation"])
def test_two_networks_of_one_name_stop_the_compiler(other, tmp_path):
    network = fastnn.Network([2, 1])
    for file, written in (("net-1.h", network), ("net_1.h", other), ("net 1.h", network), ("NET_1.h", network)):
        to_c(written, tmp_path / file)
    assert compile_together(tmp_path, "net-1.h", "net-1.h", "net 1.h").returncode == 0
    for second in ("net_1.h", "NET_1.h"):       # the macros of the latter are the same, its functions are not
        done = compile_together(tmp_path, "net-1.h", second)
        assert done.returncode != 0 and "names that begin with" in done.stderr and "rename one" in done.stderr


@needs_cc
def test_headers_in_other_scripts_have_names_of_their_own(tmp_path):
    for file in ("модель.h", "сеть.h", "e\u0301.h", "é.h", "🚀.h"):
        to_c(fastnn.Network([2, 1], seed=len(file)), tmp_path / file)
    done = compile_together(tmp_path, "модель.h", "сеть.h", "e\u0301.h", "é.h", "🚀.h")
    assert done.returncode == 0, done.stderr


def test_what_is_not_finite_is_not_written_in_c(tmp_path):
    network = fastnn.Network([2, 1], output="exp")
    for spoil, words in ((lambda: network.biases[0].fill(1000), "outputs for standard normal inputs and for smaller"),
                         (lambda: network.weights[0].fill(np.inf), "weights or biases hold NaN or infinity, but must")):
        spoil()
        with pytest.raises(ValueError, match=words):
            to_c(network, tmp_path / "a.h")
    assert not list(tmp_path.iterdir())


@needs_cc
@pytest.mark.parametrize("dtype, scale", [("float32", 1e3), ("float32", 1e20), ("float64", 1e12)])
def test_a_network_for_small_inputs_is_written(dtype, scale, tmp_path):
    """Standard normal inputs overflow in exp."""
    for seed in range(20):
        network = fastnn.Network([3, 4], output="exp", dtype=dtype, seed=seed)
        network.weights[0][...] *= scale
        to_c(network, tmp_path / "policy.h")
    self_test(tmp_path, "policy", 0)
    assert np.ptp(recorded(tmp_path, "outputs")) > 0.1      # not exp(0) alone


@needs_cc
@pytest.mark.parametrize("activation, scale, dtype", [
    *((name, 1.0, "float32") for name in ACTIVATIONS if name != "identity"),
    ("relu", 30.0, "float32"), ("sigmoid", 30.0, "float64"), ("softmax", 30.0, "float64"), ("exp", 3.0, "float64")])
def test_the_self_test_notices_that_an_activation_is_missing(activation, scale, dtype, tmp_path):
    """Each of three layers, also where most outputs are 0 or 1."""
    to_c(network_of(activation, dtype, scale=scale), tmp_path / "policy.h")
    text = (tmp_path / "policy.h").read_text()
    calls = list(re.finditer(r"^    (?=policy_\w+\((even|odd|output), \d+\);)", text, re.MULTILINE))
    assert len(calls) == 3 and failures(tmp_path) == 0
    for call in calls:
        (tmp_path / "policy.h").write_text(f"{text[:call.end()]}if (0) {text[call.end():]}")
        assert failures(tmp_path) > 0, text[call.end():].splitlines()[0]


@needs_cc
@pytest.mark.parametrize("size", [1e3, 1e5, 1e7])
@pytest.mark.parametrize("activation", ["tanh", "elu", "silu", "sigmoid"])
def test_the_self_test_of_small_weights_has_large_inputs(activation, size, tmp_path):
    """Weights are small where a network takes columns as large as pascals: close to 0 an activation is a line."""
    network = network_of(activation, "float32")
    network.weights[0][...] /= size
    network.biases[0][...] /= size
    to_c(network, tmp_path / "policy.h")
    assert failures(tmp_path) == 0
    text = (tmp_path / "policy.h").read_text()
    for call in re.finditer(r"^    (?=policy_\w+\((even|odd|output), \d+\);)", text, re.MULTILINE):
        (tmp_path / "policy.h").write_text(f"{text[:call.end()]}if (0) {text[call.end():]}")
        assert failures(tmp_path) > 0, text[call.end():].splitlines()[0]


@needs_cc
def test_the_self_test_notices_errors_of_small_outputs(tmp_path):
    """Outputs of a millionth, such as a regression in SI units may have: tolerances are of their size."""
    network = network_of("relu", "float32", (5, 17, 9, 4))
    small = fastnn.Network([5, 17, 9, 4])
    small.set_parameters(network.get_parameters())
    small.weights[-1][...] *= 1e-6
    small.biases[-1][...] *= 1e-6
    to_c(small, tmp_path / "policy.h")
    assert failures(tmp_path) == 0
    text = (tmp_path / "policy.h").read_text()
    (tmp_path / "policy.h").write_text(text.replace("policy_relu(odd", "if (0) policy_relu(odd"))
    assert failures(tmp_path) == 8


@needs_cc
@pytest.mark.parametrize("weight, biases", [(3.4e38, 0.0), (1e-38, 3.4e38), (0.0, 0.0), (1e38, 1.0)])
def test_numbers_at_the_edge_of_overflow_are_written(weight, biases, tmp_path):
    network = fastnn.Network([2, 3, 1])
    network.weights[0][...], network.biases[0][...] = weight, biases
    network.weights[1][...] = 0.1
    to_c(network, tmp_path / "policy.h")
    assert failures(tmp_path) == 0


def recorded(folder, kind):
    """The numbers in policy.h for the self-test: "inputs" or "outputs"."""
    text = (folder / "policy.h").read_text()
    numbers = re.search(rf"policy_test_{kind}\[\d+\] = {{(.*?)}}", text, re.DOTALL)[1].replace("f", "")
    return np.array([float(number) for number in numbers.split(",")], "f" if " float " in text else "d")


def failures(folder):
    """How many recorded predictions of policy.h fail."""
    subprocess.run([CC, "-std=c99", "-DPOLICY_SELF_TEST_MAIN", "-x", "c", "policy.h", "-lm", "-o", "test"],
                   cwd=folder, check=True)
    return int(subprocess.run([folder / "test"], capture_output=True, text=True).stdout.split()[0])


@needs_cc
@pytest.mark.parametrize("rows", [1, 12])
def test_the_self_test_records_the_inputs_that_are_given(rows, tmp_path):
    network, inputs = network_of("relu", "float32"), 1000 + X[:rows].astype("f")
    network.to_c(tmp_path / "policy.h", inputs=inputs)
    np.testing.assert_array_equal(recorded(tmp_path, "inputs"), inputs.ravel())
    assert failures(tmp_path) == 0


@pytest.mark.parametrize("inputs, error, words", [
    (np.ones(5), ValueError, r"inputs has shape \(5,\), but rows of 5 numbers"),
    (np.ones((0, 5)), ValueError, "and one at least were expected"),
    (np.ones((3, 4)), ValueError, r"inputs has shape \(3, 4\)"), ("abc", TypeError, "inputs has dtype"),
    ([[0] * 5, [np.nan] * 5], ValueError, "inputs: row 1 holds NaN or infinity"),
    ([[0] * 5, [1e39] * 5], ValueError, "inputs: row 1 holds NaN or infinity"),
    ([[0] * 5, [0] * 5, [3e38] * 5], ValueError, "inputs: row 2 leads to outputs of NaN or infinity")])
def test_inputs_that_cannot_be_recorded_are_refused(inputs, error, words, tmp_path):
    with pytest.raises(error, match=words):
        to_c(network_of("relu", "float32"), tmp_path / "a.h", inputs=inputs)
    assert not list(tmp_path.iterdir())


OTHER_TARGET = [*STRICT, "-Wconversion", "-Wdouble-promotion"]


@needs_cc
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["elu", "selu", "softplus", "gelu"])
def test_functions_that_a_library_lacks_are_written_out(activation, dtype, tmp_path):
    """One layer that hands on what comes, from tail to tail; the constants in a memory of another kind."""
    network = fastnn.Network([1, 1], output=activation, dtype=dtype)
    network.weights[0][...] = 1
    flags = [*OTHER_TARGET, "-DPOLICY_OWN_MATH", "-DPOLICY_MEMORY=volatile"]
    run = compiled(tmp_path, {"policy": network}, flags)["policy"]
    steps = np.geomspace(1e-9, 100, 500)
    z = np.concatenate([-steps, [0], steps, np.linspace(-4, 4, 801), [-746, 709, 1e4, -1e4]])[:, None]
    assert error(run(z), network.predict(z)) < (1e-6 if dtype == "float32" else 1e-14)
    near = -steps[steps < 1e-3][:, None]        # the relative error, where numbers are small
    assert np.abs(run(near) / network.predict(near) - 1).max() < (1e-6 if dtype == "float32" else 1e-14)
    assert np.isnan(run(np.full((1, 1), np.nan))).all()


@needs_cc
@pytest.mark.skipif(CXX is None, reason="NOT TESTED: there is no C++ compiler")
def test_constants_may_be_in_a_memory_of_another_kind(tmp_path):
    """Every pointer to them says so: the compiler refuses to drop a qualifier."""
    for index, (activation, dtype) in enumerate([("gelu", "float32"), ("selu", "float64"), ("softmax", "float32")]):
        to_c(network_of(activation, dtype), tmp_path / f"m{index}.h", columns=list("abcde"), classes=list("wxyz"))
        for command in ([CC, "-std=c99", "-x", "c"], [CXX, "-std=c++11", "-x", "c++"]):
            for more in ([], [f"-DM{index}_MEMORY=volatile", f"-DM{index}_OWN_MATH"]):
                options = [*OTHER_TARGET, *more, f"-DM{index}_SELF_TEST_MAIN"]
                subprocess.run([*command, *options, f"m{index}.h", "-lm", "-o", "test"], cwd=tmp_path, check=True)
                subprocess.run([tmp_path / "test"], check=True)


AVR = shutil.which("avr-gcc")


@pytest.mark.skipif(AVR is None, reason="NOT TESTED: there is no avr-gcc")
@pytest.mark.parametrize("activation", HIDDEN)
def test_a_network_fits_a_small_microcontroller(activation, tmp_path):
    """2 kB of memory, 32 kB of flash, and a library without erfc, expm1 and log1p."""
    to_c(network_of(activation, "float32", (8, 32, 16, 4)), tmp_path / "policy.h", columns=list("abcdefgh"))
    (tmp_path / "main.c").write_text(
        '#define POLICY_SELF_TEST\n#include "policy.h"\nint main(void) { return policy_self_test(); }\n')
    subprocess.run([AVR, "-mmcu=atmega328p", "-std=gnu99", "-Os", "-Wall", "-Wextra", "-Werror",
                    "-DPOLICY_MEMORY=__flash", "main.c", "-lm", "-o", "main"], cwd=tmp_path, check=True)


HOSTILE = ["plain", "*/ int x; /*", 'a"b', "a\\", "??/", "two\nlines", "naïve", "", "%s%n", "\ud800", "модель" * 40,
           "\x01" + "1", "/*"]


@needs_cc
@pytest.mark.skipif(CXX is None, reason="NOT TESTED: there is no C++ compiler")
def test_names_of_columns_and_classes_are_in_the_header(tmp_path):
    n = len(HOSTILE)
    to_c(fastnn.Network([n, 2]), tmp_path / "policy.h", columns=HOSTILE, classes=np.array([0, 17]))
    text = (tmp_path / "policy.h").read_text(encoding="utf-8")
    assert " *     column 0: plain\n" in text and " *     class 1: 17\n" in text
    (tmp_path / "a.c").write_text(
        '#include <stdio.h>\n#include "policy.h"\nint main(void) { int i; for (i = 0; i < POLICY_INPUTS; i++) '
        'printf("%s%c", policy_column(i), 0); puts(policy_class(1)); return 0; }\n')
    for command in ([CC, "-std=c99", "-x", "c"], [CXX, "-std=c++11", "-x", "c++"]):
        subprocess.run([*command, *STRICT, "a.c", "-lm", "-o", "a"], cwd=tmp_path, check=True)
        printed = subprocess.run([tmp_path / "a"], capture_output=True, check=True).stdout
        assert printed == "\0".join([*HOSTILE, "17\n"]).encode("utf-8", "surrogatepass")
    to_c(fastnn.Network([n, 1], output="sigmoid"), tmp_path / "policy.h", classes=["no", "yes"])
    assert "class 1: yes" in (tmp_path / "policy.h").read_text()


@pytest.mark.parametrize("names, error, words", [
    ({"columns": ["a"]}, ValueError, "columns has 1 names, but 2 were expected for the network's inputs"),
    ({"classes": ["a", "b"]}, ValueError, "classes has 2 names, but 3 were expected for the network's outputs"),
    ({"columns": "ab"}, TypeError, "columns is 'ab', but must be a sequence of names"),
    ({"columns": 2}, TypeError, "columns is 2, but must be a sequence of names"),
    ({"columns": {"a", "b"}}, TypeError, r"columns is \{'.', '.'\}, but must be a sequence of names")])
def test_names_of_another_number_are_refused(names, error, words, tmp_path):
    with pytest.raises(error, match=words):
        to_c(fastnn.Network([2, 3]), tmp_path / "a.h", **names)
    assert not list(tmp_path.iterdir())


# All of them


@pytest.mark.parametrize("name", ["to_c", "to_onnx", "to_torch", "to_sklearn"])
def test_what_is_no_network_is_told_where_it_has_one(name, tmp_path):
    for library in {"to_onnx": ["onnx"], "to_torch": ["torch"]}.get(name, []) + ["sklearn"]:
        pytest.importorskip(library, reason=f"NOT TESTED: {library} is not installed")
    from fastnn.sklearn import MLPRegressor
    rest = [tmp_path / "a.h"] if name in ("to_c", "to_onnx") else []
    with pytest.raises(TypeError, match=r"network is a MLPRegressor, but must be a fastnn.Network; pass its to_netw"):
        getattr(interchange, name)(MLPRegressor(), *rest)
    with pytest.raises(TypeError, match="network is a str, but must be a fastnn.Network$"):
        getattr(interchange, name)("a.h", *rest)


def test_what_is_no_scikit_learn_estimator_or_no_weights_is_named():
    neural = pytest.importorskip("sklearn.neural_network", reason="NOT TESTED: scikit-learn is not installed")
    from sklearn.pipeline import make_pipeline
    with pytest.raises(TypeError, match=r"estimator is a sklearn.pipeline.Pipeline, .*pipeline\[-1\] is that of a"):
        from_sklearn(make_pipeline(neural.MLPRegressor()))
    with pytest.raises(TypeError, match="estimator is the class sklearn.*MLPRegressor, but must be .*, fitted"):
        from_sklearn(neural.MLPRegressor)
    for weights in (None, {"a": 1}, 3):
        with pytest.raises(TypeError, match="weights is .*, but must be the list that model.get_weights"):
            from_keras({"layers": [{"class_name": "Dense", "config": {"units": 2}}]}, weights)


@pytest.mark.parametrize("write", [to_onnx, to_c])
def test_a_file_is_written_wholly_or_not_at_all(write, tmp_path, monkeypatch):
    if write is to_onnx:
        pytest.importorskip("onnx", reason="NOT TESTED: onnx is not installed")
    write(fastnn.Network([2, 1]), tmp_path / "file")
    before = (tmp_path / "file").read_bytes()

    def fail(*_):
        raise OSError("disk full")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
        patch.setattr(os, "fsync", fail)
        write(fastnn.Network([3, 1]), tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_bytes() == before
    with pytest.raises(FileNotFoundError):
        write(fastnn.Network([2, 1]), tmp_path / "no" / "file")


@pytest.mark.parametrize("name, library, module, wanted, arguments", [
    ("to_onnx", "ONNX", "onnx", "onnx>=1.16", (fastnn.Network([2, 1]), "x")),
    ("from_onnx", "ONNX", "onnx", "onnx>=1.16", ("x",)),
    ("to_torch", "PyTorch", "torch", "torch>=2", (fastnn.Network([2, 1]),)),
    ("from_torch", "PyTorch", "torch", "torch>=2", ("x",)),
    ("to_sklearn", "scikit-learn", "sklearn.neural_network", "scikit-learn>=1.9", (fastnn.Network([2, 1]),)),
    ("from_sklearn", "scikit-learn", "sklearn.neural_network", "scikit-learn>=1.9", ("x",))])
def test_a_missing_library_is_named_with_its_cure(name, library, module, wanted, arguments, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError) as caught:
        getattr(interchange, name)(*arguments)
    assert str(caught.value) == f"{name} needs {library}, which is not installed: pip install '{wanted}'"


def test_a_network_with_a_python_loss_goes_out(tmp_path):
    pytest.importorskip("onnx", reason="NOT TESTED: onnx is not installed")

    def loss(outputs, targets):
        return ((outputs - targets) ** 2).mean(), 2 * (outputs - targets) / outputs.size
    network = fastnn.Network([2, 3, 1], loss=loss)
    to_onnx(network, tmp_path / "model.onnx")
    network.to_c(tmp_path / "model.h")
    assert from_onnx(tmp_path / "model.onnx").loss == "mse"
    assert from_sklearn(to_sklearn(network)).loss == "half_mse"
