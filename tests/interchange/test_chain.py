"""The chain of layers that all formats are read into: what lies beside a layer becomes part of it."""

import numpy as np
import pytest

import fastnn
from fastnn import interchange
from fastnn.interchange.chain import Chain
from fastnn.interchange.contents import checked_names, layers

pytestmark = pytest.mark.any_isa
RNG = np.random.default_rng(0)
W, B, V = RNG.normal(size=(3, 4)), RNG.normal(size=4), RNG.normal(size=(4, 2))
S3, T3, S4, T4 = (RNG.normal(size=n) for n in (3, 3, 4, 4))
X = RNG.normal(size=(20, 3))


def chain_of(*pieces, dtype="float64"):
    """A chain of pieces: (name of the method, its arguments)."""
    chain = Chain()
    for index, (method, *values) in enumerate(pieces):
        if method == "linear":
            values = [np.asarray(value, dtype) for value in values]
        getattr(chain, method)(f"piece {index}", *values)
    return chain


@pytest.mark.parametrize("pieces, expected", [
    ([("affine", S3, T3), ("linear", W, B)], (X * S3 + T3) @ W + B),
    ([("affine", S3, T3), ("affine", 2.0, [3.0]), ("linear", W, B)], ((X * S3 + T3) * 2 + 3) @ W + B),
    ([("affine", 2.0, 3.0), ("affine", S3, T3), ("linear", W, B)], ((X * 2 + 3) * S3 + T3) @ W + B),
    ([("linear", W, B), ("affine", S4, T4)], (X @ W + B) * S4 + T4),
    ([("linear", W), ("affine", S4, 0.5), ("affine", -1, T4), ("activation", "tanh"), ("linear", V)],
     np.tanh(-((X @ W) * S4 + 0.5) + T4) @ V),
    ([("linear", W, B), ("activation", "tanh"), ("affine", S4, T4), ("linear", V)],
     (np.tanh(X @ W + B) * S4 + T4) @ V),
    ([("linear", W, B), ("affine", S4, T4), ("linear", V)], ((X @ W + B) * S4 + T4) @ V),
    ([("linear", W, B), ("activation", "identity"), ("affine", 0.0, T4)], np.tile(T4, (20, 1))),
    ([("linear", W, B), ("activation", "tanh"), ("affine", S4, T4), ("dropout", 0.5), ("linear", V)],
     (np.tanh(X @ W + B) * S4 + T4) @ V),
    ([("linear", W, B), ("dropout", 0.5), ("affine", S4, T4), ("linear", V)], ((X @ W + B) * S4 + T4) @ V),
])
def test_scalings_become_part_of_a_layer(pieces, expected):
    network = chain_of(*pieces).network(None, 0)
    np.testing.assert_allclose(network.predict(X), expected, rtol=1e-12, atol=1e-12)
    network = chain_of(*pieces, dtype="float32").network(None, 0)
    assert network.dtype == "float32"
    np.testing.assert_allclose(network.predict(X), expected, rtol=1e-4, atol=1e-5)


def test_a_fold_is_rounded_once_and_other_layers_keep_their_bits():
    chain = chain_of(("linear", W), ("affine", S4, T4), ("activation", "relu"), ("linear", V), dtype="float32")
    network = chain.network(None, 0)
    np.testing.assert_array_equal(network.weights[0], (W.astype("f").astype(float) * S4).astype("f"))
    np.testing.assert_array_equal(network.weights[1], V.astype("f"))


@pytest.mark.parametrize("scale, shift, dtype", [
    (1.0, 999.0, "float32"), (1.0, -1001.0, "float64"), (1e-3, -1.7e6, "float64"), (1e-3, 0.0, "float32"),
    (1e-42, 0.0, "float64"), (1e39, 0.0, "float64"), (0.0, 0.0, "float32")])
def test_a_network_is_float64_where_float32_loses_a_scaling(scale, shift, dtype):
    chain = chain_of(("affine", scale, shift), ("linear", W, B), ("activation", "tanh"), ("affine", 2.0, 0.0),
                     ("linear", V / 2), dtype="float32")
    network = chain.network(None, 0)
    assert network.dtype == dtype
    x = (np.arange(5.0)[:, None] + np.zeros(3) - shift) / (scale or 1)
    expected = np.tanh((x * scale + shift) @ W + B) @ V
    np.testing.assert_allclose(network.predict(x), expected, rtol=1e-4, atol=1e-4 if dtype == "float32" else 1e-6)


def test_parameters_of_another_byte_order_are_read():
    chain = Chain()
    chain.linear("it", W.astype(">f4"), B.astype(">f4"))
    network = chain.network(None, 0)
    assert network.dtype == "float32"
    np.testing.assert_array_equal(network.weights[0], W.astype("f"))


@pytest.mark.parametrize("sentence, pieces", [
    ("piece 2 scales or shifts what the activation 'tanh' gives, but only a layer of weights right before",
     [("linear", W), ("activation", "tanh"), ("affine", 2.0, 0.0)]),
    (r"piece 1 has constants of shape \(3,\), but one number for each of 4 columns",
     [("linear", W), ("affine", S3, 0.0)]),
    (r"piece 0 has constants of shape \(4,\), but one number for each of 3", [("affine", 1.0, T4), ("linear", W)]),
    (r"piece 1 has constants of shape \(3,\)", [("affine", 1.0, T4), ("affine", S3, 0.0), ("linear", W)]),
    (r"piece 1 has constants of shape \(20, 4\)", [("linear", W), ("affine", np.ones((20, 4)), 0.0)]),
    ("piece 1 multiplies by or adds NaN or infinity", [("linear", W), ("affine", np.inf, 0.0)]),
    ("piece 1 multiplies by or adds NaN or infinity", [("linear", W), ("affine", 1.0, [0, np.nan, 0, 0])]),
    ("there is no layer of weights", [("affine", 2.0, 0.0)]),
])
def test_what_no_layer_takes_up_is_refused(sentence, pieces):
    with pytest.raises(ValueError, match=sentence):
        chain_of(*pieces).network(None, 0)


def test_names_of_columns_and_classes():
    network, yes = fastnn.Network([2, 3], output="softmax"), fastnn.Network([2, 1], output="sigmoid")
    assert checked_names(network, None, None) == {}
    assert checked_names(network, ["a", 2], iter("xyz")) == {"columns": ["a", "2"], "classes": ["x", "y", "z"]}
    assert checked_names(yes, None, [False, True]) == {"classes": ["False", "True"]}
    for columns, classes, sentence in ((["a"], None, "columns has 1 names, but 2 were expected for .* inputs"),
                                       (None, ["a"], "classes has 1 names, but 3 were expected for .* outputs")):
        with pytest.raises(ValueError, match=sentence):
            checked_names(network, columns, classes)
    with pytest.raises(TypeError, match="columns is 'ab', but must be a sequence of names"):
        checked_names(network, "ab", None)
    with pytest.raises(TypeError, match="classes is {'a'}, but must be a sequence of names"):
        checked_names(network, None, {"a"})         # whose order is no order


class Moving(fastnn.Network):
    """A network that another thread seems to train: it is another one after each look at its parameters."""

    def get_parameters(self):
        parameters = super().get_parameters()
        self.set_parameters(parameters + 1)
        return parameters

    def __copy__(self):
        """A copy is of one moment, and nobody trains it."""
        still = fastnn.Network(self.layer_sizes, seed=self.seed)
        still.set_parameters(self.get_parameters())
        return still


@pytest.mark.parametrize("leave", [layers, interchange.to_c])
def test_what_leaves_is_of_one_moment(leave, tmp_path):
    """Weights, biases and the recorded pairs of a header are those of one step."""
    def left(network):
        if leave is layers:
            return repr(layers(network))
        leave(network, tmp_path / "net.h")
        return (tmp_path / "net.h").read_text(encoding="utf-8")

    assert left(Moving([2, 3, 1], seed=3)) == left(fastnn.Network([2, 3, 1], seed=3))
