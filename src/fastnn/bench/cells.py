"""The cells: pieces of work that are timed, with their data and number of operations. This module knows no contender.

A training cell is an epoch over contiguous mini-batches, in the order of the rows. A prediction cell is one call from a
NumPy array to a NumPy array. Data and initial parameters depend on the cell alone, so each contender makes the same.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise

import numpy as np

LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Cell:
    """One piece of work: an epoch of `steps` mini-batches of `batch` rows; with 0 steps, a prediction of these rows."""

    name: str
    title: str
    sizes: tuple
    activation: str         # of hidden layers; the output is linear
    batch: int
    optimizer: str = ""     # "SGD" or "Adam"
    steps: int = 0
    softmax: bool = False   # integer labels and cross-entropy; otherwise mean squared error

    @property
    def trains(self):
        return self.steps > 0

    def inputs(self, dtype, steps=None):
        rows = self.batch * (steps or self.steps or 1)
        return np.random.default_rng(0).uniform(-1, 1, (rows, self.sizes[0])).astype(dtype)

    def targets(self, dtype, steps=None):
        rows = self.batch * (steps or self.steps)
        rng = np.random.default_rng(1)
        if self.softmax:
            return rng.integers(0, self.sizes[-1], rows)
        return rng.uniform(-1, 1, (rows, self.sizes[-1])).astype(dtype)

    def parameters(self, dtype):
        """[(weights (n_in, n_out), biases (n_out,)), …]"""
        rng = np.random.default_rng(2)
        bounds = [np.sqrt(6 / (n_in + n_out)) for n_in, n_out in pairwise(self.sizes)]
        return [(rng.uniform(-bound, bound, (n_in, n_out)).astype(dtype), np.zeros(n_out, dtype))
                for bound, (n_in, n_out) in zip(bounds, pairwise(self.sizes), strict=True)]

    @property
    def flops(self):
        """Floating-point operations of the matrix products in a step or a prediction. The first layer has no input
        gradient."""
        products = [2 * self.batch * n_in * n_out for n_in, n_out in pairwise(self.sizes)]
        return 3 * sum(products) - products[0] if self.trains else sum(products)


CELLS = (
    Cell("1-1-1", "1-1-1 sigmoid, batch 1, SGD", (1, 1, 1), "sigmoid", 1, "SGD", 16384),
    Cell("2-16-1", "2-16-1 tanh, batch 4, SGD", (2, 16, 1), "tanh", 4, "SGD", 16384),
    Cell("16-32-1", "16-32-1 ReLU, batch 1, SGD", (16, 32, 1), "relu", 1, "SGD", 16384),
    Cell("20-64-32-1", "20-64-32-1 ReLU, batch 32, Adam", (20, 64, 32, 1), "relu", 32, "Adam", 1024),
    Cell("8-64-64-4", "8-64-64-4 tanh, batch 64, Adam", (8, 64, 64, 4), "tanh", 64, "Adam", 512),
    Cell("64x12", "64 wide × 12 layers ReLU, batch 64, Adam", (64,) * 13, "relu", 64, "Adam", 128),
    Cell("784-128-10", "784-128-10 ReLU softmax, batch 32, SGD", (784, 128, 10), "relu", 32, "SGD", 256, True),
    Cell("784-256-128-10", "784-256-128-10 ReLU softmax, batch 128, Adam", (784, 256, 128, 10), "relu", 128, "Adam",
         32, True),
    Cell("784-512-512-10", "784-512-512-10 ReLU softmax, batch 256, Adam", (784, 512, 512, 10), "relu", 256, "Adam",
         8, True),
    Cell("1024x3", "1024 wide × 3 layers ReLU, batch 512, SGD", (1024,) * 4, "relu", 512, "SGD", 4),
    Cell("2048x3", "2048 wide × 3 layers ReLU, batch 1024, Adam", (2048,) * 4, "relu", 1024, "Adam", 2),
    Cell("short-1-1-1", "1-1-1, epochs of 256 steps", (1, 1, 1), "sigmoid", 1, "SGD", 256),
    Cell("short-2-16-1", "2-16-1, epochs of 256 steps", (2, 16, 1), "tanh", 4, "SGD", 256),
    Cell("short-16-32-1", "16-32-1, epochs of 256 steps", (16, 32, 1), "relu", 1, "SGD", 256),
    Cell("predict-16-32-1", "predict 16-32-1, 1 row", (16, 32, 1), "relu", 1),
    Cell("predict-8-64-64-4", "predict 8-64-64-4, 1 row", (8, 64, 64, 4), "tanh", 1),
    Cell("predict-8-64-64-4-64", "predict 8-64-64-4, 64 rows", (8, 64, 64, 4), "tanh", 64),
    Cell("predict-784-128-10", "predict 784-128-10, 1 row", (784, 128, 10), "relu", 1, softmax=True),
    Cell("predict-784-128-10-1024", "predict 784-128-10, 1,024 rows", (784, 128, 10), "relu", 1024, softmax=True),
    Cell("predict-1024x3-1024", "predict 1024 wide × 3 layers, 1,024 rows", (1024,) * 4, "relu", 1024),
)


def select(patterns):
    """The cells whose name matches one of the patterns (such as `predict-*`); ValueError for a pattern without one."""
    for pattern in patterns:
        if not any(fnmatchcase(cell.name, pattern) for cell in CELLS):
            raise ValueError(f"{pattern!r} is no cell; known are {', '.join(cell.name for cell in CELLS)}")
    return [cell for cell in CELLS if any(fnmatchcase(cell.name, pattern) for pattern in patterns)]
