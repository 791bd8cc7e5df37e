"""The cells: pieces of work that are timed, with their data and number of operations. This module knows no contender.

A training cell is an epoch over contiguous mini-batches, in the order of the rows. A prediction cell is one call from a
NumPy array to a NumPy array. Data and initial parameters depend on the cell alone, so each contender makes the same.

A population's cell is that work for many networks of one shape. They learn from the same rows: each in a random order
of its own, or all in one random order. In a prediction each network has one row of its own.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise, product

import numpy as np

from ..core import random_order

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

    networks = 1

    @property
    def pieces(self):
        """How many steps or predictions a run has: what is told is its time divided by that."""
        return self.steps or 1

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
        """[(weights (n_in, n_out), biases (n_out,)), …]; a population's have an axis of networks before these."""
        rng = np.random.default_rng(2)
        bounds = [np.sqrt(6 / (n_in + n_out)) for n_in, n_out in pairwise(self.sizes)]
        axes = (self.networks,) if isinstance(self, PopulationCell) else ()
        return [(rng.uniform(-bound, bound, (*axes, n_in, n_out)).astype(dtype), np.zeros((*axes, n_out), dtype))
                for bound, (n_in, n_out) in zip(bounds, pairwise(self.sizes), strict=True)]

    @property
    def flops(self):
        """Floating-point operations of the matrix products in a step or a prediction. The first layer has no input
        gradient."""
        products = [2 * self.batch * n_in * n_out for n_in, n_out in pairwise(self.sizes)]
        return 3 * sum(products) - products[0] if self.trains else sum(products)


@dataclass(frozen=True)
class PopulationCell(Cell):
    """The work of a cell for each of many networks. Training counts steps of one network; a prediction is one call for
    all of them."""

    networks: int = 1
    own: bool = False       # batches: each network's rows in an order of its own; otherwise all have the same batches
    sets: bool = False      # before each prediction all parameters are set

    @property
    def pieces(self):
        return self.networks * self.steps or 1

    @property
    def flops(self):
        return super().flops * (1 if self.trains else self.networks)

    def inputs(self, dtype, steps=None):
        if self.trains:
            return super().inputs(dtype, steps)
        return np.random.default_rng(0).uniform(-1, 1, (self.networks, self.sizes[0])).astype(dtype)

    def vectors(self, dtype):
        """The parameters as an array (networks, parameters of one): W0, b0, W1, b1, … row by row."""
        arrays = [array for pair in self.parameters(dtype) for array in pair]
        return np.concatenate([array.reshape(self.networks, -1) for array in arrays], axis=1)

    def orders(self, steps=None):
        """The numbers of the rows of each batch, as `fit` draws them in a network's first epoch: (steps, batch), or
        (steps, networks, batch) where each has its own."""
        steps = steps or self.steps
        orders = [random_order(steps * self.batch, seed, 0).reshape(steps, self.batch)
                  for seed in range(self.networks if self.own else 1)]
        return np.stack(orders, axis=1).astype(np.int32) if self.own else orders[0].astype(np.int32)


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


POPULATION_SHAPES = (       # sizes, activation, batch, optimizer, steps, softmax, networks
    ((2, 16, 1), "tanh", 4, "SGD", 2048, False, (8, 64, 512)),
    ((16, 32, 1), "relu", 1, "SGD", 2048, False, (8, 64, 512)),
    ((5, 8, 1), "relu", 16, "Adam", 512, False, (8, 64, 512)),
    ((4, 16, 3), "relu", 16, "Adam", 512, True, (8, 64, 512)),
    ((10, 16, 1), "relu", 32, "Adam", 256, False, (8, 64, 512)),
    ((13, 100, 1), "relu", 32, "Adam", 128, False, (8, 64, 512)),
    ((8, 32, 32, 1), "relu", 32, "Adam", 128, False, (8, 64, 512)),
    ((20, 64, 32, 1), "relu", 32, "Adam", 64, False, (8, 64, 512)),
    ((64, 64, 10), "relu", 32, "Adam", 64, True, (8, 64, 512)),
    ((784, 128, 10), "relu", 32, "Adam", 16, True, (8, 64)),
)
USUAL_NETWORKS = 64


def population_cells():
    """A cell for each shape, number of networks and kind of batches; then predictions."""
    words = {"relu": "ReLU", "tanh": "tanh"}
    for sizes, activation, batch, optimizer, steps, softmax, numbers in POPULATION_SHAPES:
        shape, kind = "-".join(map(str, sizes)), words[activation] + " softmax" * softmax
        for networks in numbers:
            for batches in ("own", "shared"):
                yield PopulationCell(
                    f"many-{shape}-{batches}-{networks}",
                    f"{networks} × {shape} {kind}, batch {batch}, {optimizer}, {batches} batches",
                    sizes, activation, batch, optimizer, steps, softmax, networks, batches == "own")
    for activation, sets in product(("relu", "tanh"), (False, True)):
        yield PopulationCell(
            f"many-{'set-' * sets}predict-4-32-2-{activation}-512",
            f"{'set and ' * sets}predict 512 × 4-32-2 {words[activation]}, a row each",
            (4, 32, 2), activation, 1, networks=512, sets=sets)


POPULATIONS = tuple(population_cells())


def select(patterns=None):
    """The cells whose name matches one of the patterns (such as `predict-*`); ValueError for a pattern without one.
    Without patterns, all but populations of few and of very many networks."""
    if patterns is None:
        usual = [cell for cell in POPULATIONS if not cell.trains or cell.networks == USUAL_NETWORKS]
        return [*CELLS, *usual]
    known = CELLS + POPULATIONS
    for pattern in patterns:
        if not any(fnmatchcase(cell.name, pattern) for cell in known):
            raise ValueError(f"{pattern!r} is no cell; known are {', '.join(cell.name for cell in select())}, and "
                             "populations of other numbers of networks, such as many-2-16-1-own-512")
    return [cell for cell in known if any(fnmatchcase(cell.name, pattern) for pattern in patterns)]
