"""Weights that a large network stores without padding give the bits of those that it pads.

The twin of a narrow network has as many more outputs as fill its rows, so nothing of it is padding. A softmax makes
nothing of them (their biases are -1e30), so the narrow network's numbers are the first of the twin's, bit for bit.
"""

from functools import partial

import numpy as np
import pytest
from helpers import DTYPES, same_bits

import fastnn
from fastnn import ops

WHOLE = {"float32": 16, "float64": 8}       # elements of 64 bytes
SHAPES = {      # of narrow networks; the last layer's width, or that of the layer before, is what is not padded
    "one block": lambda whole: [1_300_000 // whole, 2],
    "two blocks": lambda whole: [1_350_000 // whole, whole + 3],
    "behind another": lambda whole: [3, 1_300_000 // whole, 2],
}
CASES = {       # optimizer, options of the network, threads
    "SGD": (partial(fastnn.SGD, 0.5), {}, 1), "SGD, 2 threads": (partial(fastnn.SGD, 0.5), {}, 2),
    "momentum": (partial(fastnn.SGD, 0.5, momentum=0.9), {"l2": 1e-3}, 2),
    "Adam": (partial(fastnn.Adam, 0.01), {"l1": 1e-4, "l2": 1e-3}, 1),
}


def is_padded(network, layer=-1):
    weights = network.weights[layer]
    return weights.strides[0] > weights.shape[1] * weights.itemsize


def twins(shape, dtype, **options):
    """A narrow network, the one with whole rows that computes the same, and how wide the narrow one is."""
    sizes = SHAPES[shape](WHOLE[dtype])
    narrow = fastnn.Network(sizes, output="softmax", dtype=dtype, seed=5, **options)
    width, whole = sizes[-1], -(-sizes[-1] // WHOLE[dtype]) * WHOLE[dtype]
    twin = fastnn.Network([*sizes[:-1], whole], output="softmax", dtype=dtype, seed=5, **options)
    for mine, theirs in zip(narrow.weights + narrow.biases, twin.weights + twin.biases, strict=True):
        theirs[...] = 0
        theirs[..., :mine.shape[-1]] = mine
    twin.biases[-1][width:] = -1e30
    assert not is_padded(narrow) and not is_padded(twin)
    return narrow, twin, width


def rows(network, count):
    rng = np.random.default_rng(7)
    X = rng.normal(size=(count, network.layer_sizes[0])).astype(network.dtype) / network.layer_sizes[0] ** 0.5
    return X, rng.integers(network.layer_sizes[-1], size=count)


def check_twins(narrow, twin):
    for mine, theirs in zip(narrow.weights + narrow.biases, twin.weights + twin.biases, strict=True):
        assert same_bits(mine, np.ascontiguousarray(theirs[..., :mine.shape[-1]]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_answers_have_the_bits_of_padded_weights(shape, dtype):
    narrow, twin, width = twins(shape, dtype)
    for count in (1, 2, 7, 100):
        X, labels = rows(narrow, count)
        expected = twin.predict(X)
        assert same_bits(narrow.predict(X), np.ascontiguousarray(expected[:, :width])) and not expected[:, width:].any()
        assert narrow.evaluate(X, labels) == twin.evaluate(X, labels)
    assert same_bits(narrow.layer_outputs(X)[-1], np.ascontiguousarray(expected[:, :width]))
    mine, theirs = narrow.gradients(X[:7], labels[:7]), twin.gradients(X[:7], labels[:7])
    for a, b in zip(mine.weights + mine.biases, theirs.weights + theirs.biases, strict=True):
        assert same_bits(np.ascontiguousarray(a), np.ascontiguousarray(b[..., :a.shape[-1]]))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shape", SHAPES)
def test_training_has_the_bits_of_padded_weights(shape, case):
    optimizer, options, threads = CASES[case]
    narrow, twin, _ = twins(shape, "float32" if threads == 1 else "float64", **options)
    X, labels = rows(narrow, 9)
    for clipping in ({}, {"clip_norm": 0.01}, {"clip_value": 0.001}):
        for network in (narrow, twin):
            network.fit(X, labels, epochs=2, batch_size=5, optimizer=optimizer(**clipping), threads=threads)
        check_twins(narrow, twin)


@pytest.mark.parametrize("activation", ["identity", "relu", "gelu"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_one_output_has_the_bits_of_one_of_many(dtype, activation):
    features, whole = 1_300_000 // WHOLE[dtype], WHOLE[dtype]
    narrow = fastnn.Network([features, 1, 3], activation=activation, dtype=dtype, seed=5)
    twin = fastnn.Network([features, whole], output="identity", dtype=dtype, seed=6)
    twin.weights[0][...], twin.biases[0][...] = narrow.weights[0], narrow.biases[0]
    assert not is_padded(narrow, 0) and not is_padded(twin)
    for count in (1, 2, 3, 5, 8, 15, 100):
        X, _ = rows(narrow, count)
        z = twin.predict(X)
        y = np.empty_like(z)
        ops.activation_forward(y, z, activation)
        assert same_bits(narrow.layer_outputs(X)[1], y[:, :1].copy())


@pytest.mark.any_isa
def test_one_output_without_padding_learns():
    """A linear model of very many features."""
    rng = np.random.default_rng(8)
    X, y = rng.normal(size=(40, 100_000)).astype("f"), rng.normal(size=40)
    network = fastnn.Network([100_000, 1], seed=9)
    assert not is_padded(network)
    history = network.fit(X, y, epochs=30, batch_size=8, optimizer=fastnn.Adam(1e-4))
    assert history.loss[-1] < 0.01 * history.loss[0]


@pytest.mark.any_isa
def test_a_small_network_keeps_its_padding():
    assert is_padded(fastnn.Network([1000, 1])) and is_padded(fastnn.Network([60_000, 1]))
    assert not is_padded(fastnn.Network([80_000, 1]))
