"""Keras's models come in: layers, activations and scalings compute what Keras documents; the rest is refused by name.

Their configuration and weights are written here, so Keras need not be installed.
"""

import json

import numpy as np
import pytest
from example_networks import B, W, X, assert_same_network, error

from fastnn.activations import ACTIVATIONS
from fastnn.interchange import from_keras

pytestmark = pytest.mark.any_isa


def dense(units, activation="linear", **more):
    return {"class_name": "Dense", "config": {"name": "dense", "units": units, "activation": activation,
                                              "use_bias": True} | more}


def layer(kind, **config):
    return {"class_name": kind, "config": {"name": kind.lower()} | config}


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
