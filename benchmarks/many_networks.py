"""Whole jobs with many networks: fastnn.Population beside a loop of fits, JAX and scikit-learn.

    python benchmarks/many_networks.py

An ensemble, a search by cross-validation, and a small model for each customer. Everybody is held to one processor.
fastnn's two ways build the networks, too, and must come to the same losses, bit for bit. JAX starts from the same
parameters and takes the same batches from a table, which is not timed: networks are the last axis, a scan goes over all
steps, a row that fills up a batch counts 0. Half of its losses or more must agree within 0.1 %, as an error of rounding
grows where the learning rate is large. Its first call compiles. scikit-learn trains some of the networks, and its time
is multiplied. Times are the best of turns beside each other.
"""

import os
import warnings
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold
from sklearn.neural_network import MLPRegressor

import fastnn
from fastnn.core import random_order

TURNS = 5
SAMPLE = 8          # networks that scikit-learn trains


@dataclass
class Job:
    """Networks of one shape; each learns from some rows, with a learning rate."""

    name: str
    sizes: tuple
    X: np.ndarray
    y: np.ndarray
    rows: list          # of each network: numbers of rows
    rates: np.ndarray
    batch: int
    epochs: int


def jobs():
    X, y = load_diabetes(return_X_y=True)
    X, y = ((values - values.mean(axis=0)) / values.std(axis=0) for values in (X, y))
    X, y, everything = X.astype("float32"), y.astype("float32"), np.arange(len(X))
    yield Job("ensemble: 32 × 10-16-1, diabetes, 200 epochs", (10, 16, 1), X, y, [everything] * 32, np.full(32, 0.01),
              32, 200)
    folds = [learned for learned, _ in KFold(5, shuffle=True, random_state=0).split(X)]
    yield Job("search: 20 learning rates × 5 folds of it, 100 epochs", (10, 16, 1), X, y, folds * 20,
              np.repeat(np.geomspace(1e-4, 1e-1, 20), 5), 32, 100)
    generator = np.random.default_rng(0)
    counts = generator.integers(40, 61, 512)
    X = generator.uniform(-1, 1, (counts.sum(), 5)).astype("float32")
    slopes = np.repeat(generator.normal(size=(512, 5)), counts, axis=0)
    y = (np.sin(2 * (X * slopes).sum(axis=1)) + 0.1 * generator.normal(size=len(X))).astype("float32")
    yield Job("512 customers: 5-8-1 each, 40 to 60 rows, 100 epochs", (5, 8, 1), X, y,
              np.split(np.arange(len(X)), np.cumsum(counts)[:-1]), np.full(512, 0.01), 16, 100)


def together(job):
    """Losses of the last epoch, by a Population."""
    population = fastnn.Population(job.sizes, len(job.rows))
    everything = all(len(rows) == len(job.X) for rows in job.rows)
    same = len(set(job.rates)) == 1
    optimizer = fastnn.Adam(job.rates[0]) if same else [fastnn.Adam(rate) for rate in job.rates]
    history = population.fit(job.X, job.y, rows=None if everything else job.rows, epochs=job.epochs,
                             batch_size=job.batch, optimizer=optimizer)
    return history.loss[-1]


def one_by_one(job):
    """The same by a Network each."""
    losses = []
    for member, (rows, rate) in enumerate(zip(job.rows, job.rates, strict=True)):
        network = fastnn.Network(job.sizes, seed=member)
        losses.append(network.fit(job.X[rows], job.y[rows], epochs=job.epochs, batch_size=job.batch,
                                  optimizer=fastnn.Adam(rate)).loss[-1])
    return np.array(losses)


def batches(job):
    """(numbers of rows, weights), each (epochs * steps, batch, networks): the batches that fastnn takes."""
    steps = -(-max(map(len, job.rows)) // job.batch)
    numbers = np.zeros((job.epochs, steps * job.batch, len(job.rows)), np.int32)
    weights = np.zeros(numbers.shape, np.float32)
    for member, rows in enumerate(job.rows):
        for epoch in range(job.epochs):
            numbers[epoch, :len(rows), member] = rows[random_order(len(rows), member, epoch)]
        weights[:, :len(rows), member] = 1
    return (values.reshape(job.epochs * steps, job.batch, -1) for values in (numbers, weights))


def jax_training(job):
    """A function that trains all networks with JAX, and returns their losses; networks are the last axis of arrays."""
    import jax
    import jax.numpy as jnp
    jax.config.update("jax_platforms", "cpu")
    numbers, weights = map(jnp.asarray, batches(job))
    networks = list(fastnn.Population(job.sizes, len(job.rows)))
    start = [jnp.stack(arrays, axis=-1) for arrays in zip(*(
        [array for pair in zip(network.weights, network.biases, strict=True) for array in pair]
        for network in networks), strict=True)]
    X, y, rates = jnp.asarray(job.X), jnp.asarray(job.y), jnp.asarray(job.rates, "float32")

    def loss_of(parameters, numbers, weights):
        x = jnp.moveaxis(X[numbers], 1, 2)
        for layer, (w, b) in enumerate(zip(parameters[0::2], parameters[1::2], strict=True)):
            x = jnp.einsum("bkn,kmn->bmn", jax.nn.relu(x) if layer else x, w) + b
        losses = (weights * (x[:, 0] - y[numbers])**2).sum(axis=0)
        return (losses / jnp.maximum(weights.sum(axis=0), 1)).sum(), losses

    def step(state, batch):
        parameters, first, second, count = state
        gradients, losses = jax.grad(loss_of, has_aux=True)(parameters, *batch)
        taken = (batch[1].sum(axis=0) > 0).astype("float32")    # whoever has no row left takes no step
        count = count + taken
        first = [m + 0.1 * taken * (g - m) for m, g in zip(first, gradients, strict=True)]
        second = [v + 0.001 * taken * (g * g - v) for v, g in zip(second, gradients, strict=True)]
        rate, correction = taken * rates / (1 - 0.9**count), 1 / jnp.sqrt(1 - 0.999**count)
        parameters = [p - rate * m / (jnp.sqrt(v) * correction + 1e-8)
                      for p, m, v in zip(parameters, first, second, strict=True)]
        return (parameters, first, second, count), losses

    @jax.jit
    def train(parameters, numbers, weights):
        zeros = [jnp.zeros_like(p) for p in parameters]
        _, losses = jax.lax.scan(step, (parameters, zeros, zeros, jnp.zeros(len(networks))), (numbers, weights))
        last = -(len(numbers) // job.epochs)        # the steps of the last epoch
        return losses[last:].sum(axis=0) / weights[last:].sum(axis=(0, 1))

    return lambda: np.asarray(train(start, numbers, weights))


def scikit_learn(job):
    """Trains SAMPLE of the networks; returns the seconds that all would take."""
    chosen = np.linspace(0, len(job.rows) - 1, SAMPLE).astype(int)
    start = perf_counter()
    for member in chosen:
        rows = job.rows[member]
        model = MLPRegressor(hidden_layer_sizes=job.sizes[1:-1], batch_size=job.batch, alpha=0, max_iter=job.epochs,
                             learning_rate_init=job.rates[member], n_iter_no_change=job.epochs, random_state=member)
        model.fit(job.X[rows], job.y[rows])
    return (perf_counter() - start) / SAMPLE * len(job.rows)


def timed(function, *arguments):
    """(seconds, what it returns)"""
    start = perf_counter()
    result = function(*arguments)
    return perf_counter() - start, result


def best_times(job):
    """Seconds of every contender: the best of turns beside each other; JAX's first call apart."""
    seconds = {"together": [], "one by one": [], "jax": []}
    try:
        training = jax_training(job)
    except ImportError:
        training = None
    first, told = timed(training) if training else (None, None)
    for _ in range(TURNS):
        (ours, losses), (alone, expected) = timed(together, job), timed(one_by_one, job)
        assert np.array_equal(losses, expected), "networks together and one by one differ"
        seconds["together"].append(ours)
        seconds["one by one"].append(alone)
        seconds["jax"] += [timed(training)[0]] if training else []
    assert training is None or np.median(np.abs(told / expected - 1)) < 1e-3, "JAX comes to other losses"
    return {name: min(values, default=None) for name, values in seconds.items()} | {
        "jax, first call": first, "scikit-learn": scikit_learn(job)}


def main():
    warnings.simplefilter("ignore", ConvergenceWarning)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    fastnn.set_num_threads(1)
    print("| job | Population | one by one | JAX | its first call | scikit-learn | one by one ÷ Population | JAX ÷ "
          "Population | scikit-learn ÷ Population |", "|---" * 9 + "|", sep="\n")
    for job in jobs():
        seconds = best_times(job)
        ours = seconds["together"]
        order = "together", "one by one", "jax", "jax, first call", "scikit-learn"
        cells = [f"{1e3 * seconds[name]:.4g} ms" if seconds[name] else "–" for name in order]
        ratios = [f"{seconds[name] / ours:.3g}" if seconds[name] else "–"
                  for name in ("one by one", "jax", "scikit-learn")]
        print(f"| {' | '.join([job.name, *cells, *ratios])} |", flush=True)


if __name__ == "__main__":
    main()
