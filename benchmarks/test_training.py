"""A whole training step inside `fit`, beside a tidy NumPy step; float32, no shuffling.

The time of a step is that of a one-epoch `fit`, history and checks included, divided by its steps.
"""

from itertools import pairwise

import numpy as np
import pytest
from numpy_network import NumPyNetwork

import fastnn

CELLS = {
    "2-16-1 tanh, batch 4, SGD": ([2, 16, 1], "tanh", 4, "SGD", 4096),
    "20-64-32-1 ReLU, batch 32, Adam": ([20, 64, 32, 1], "relu", 32, "Adam", 512),
    "64 wide x 12 layers ReLU, batch 64, Adam": ([64] * 13, "relu", 64, "Adam", 64),
    "784-128-10 ReLU softmax, batch 32, SGD": ([784, 128, 10], "relu", 32, "SGD", 256),
}


def flops_of(sizes, batch):
    """Of the products: forward, weight gradient, and input gradient but for the first layer."""
    products = [2 * batch * n_in * n_out for n_in, n_out in pairwise(sizes)]
    return 3 * sum(products) - products[0]


@pytest.mark.parametrize("contender", ("fastnn", "numpy"))
@pytest.mark.parametrize("cell", CELLS)
def test_training_step(measure, cell, turn, contender):
    sizes, activation, batch, optimizer, steps = CELLS[cell]
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (batch * steps, sizes[0])).astype(np.float32)
    softmax = sizes[-1] == 10
    y = rng.integers(0, 10, len(X)) if softmax else rng.uniform(-1, 1, (len(X), sizes[-1])).astype(np.float32)
    network = fastnn.Network(sizes, activation=activation, output="softmax" if softmax else "identity")
    baseline = NumPyNetwork(network, batch, 1e-3, adam=optimizer == "Adam")
    update = getattr(fastnn, optimizer)(1e-3)

    def fastnn_epoch(rows=None):
        return network.fit(X[:rows], y[:rows], batch_size=batch, optimizer=update, shuffle=False).loss[0]

    def numpy_epoch(rows=None):
        return np.mean([baseline.step(X[i:i + batch], y[i:i + batch]) for i in range(0, rows or len(X), batch)])

    # A few steps only: Adam turns the rounding of a gradient near 0 into a whole step.
    before = [p.copy() for p in (*network.weights, *network.biases)]
    assert fastnn_epoch(4 * batch) == pytest.approx(numpy_epoch(4 * batch), rel=1e-5)
    for start, ours, theirs in zip(before, (*network.weights, *network.biases), baseline.parameters, strict=True):
        change, expected = ours - start, theirs - start
        assert np.linalg.norm(change - expected) <= 1e-2 * np.linalg.norm(expected)
    measure(cell, contender, {"fastnn": fastnn_epoch, "numpy": numpy_epoch}[contender],
            steps * flops_of(sizes, batch), steps)
