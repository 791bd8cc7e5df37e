"""Networks that go out to other formats and come back, and how they are compared. No test is here."""

import numpy as np
from hypothesis import strategies as st

import fastnn
from fastnn.activations import ACTIVATIONS, HIDDEN

DTYPES = ["float32", "float64"]
X = np.random.default_rng(5).normal(scale=2, size=(50, 5))
W, B = np.array([[1, -2, 3], [4, 5, -6]], "f"), np.array([0.5, -0.25, 0.125], "f")      # of a layer


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
