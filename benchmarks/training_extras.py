"""What dropout, penalties, clipping and weights add to a training step: ratios to the bare step, interleaved.

    python benchmarks/training_extras.py

784-128-10 at batch 32 with SGD, and a fit of 100 epochs of 8 steps of 20-64-32-1 with validation, early
stopping and history beside the time of its kernels. docs/performance.md has the results.
"""

import statistics
from time import perf_counter

import numpy as np

import fastnn
from fastnn.training.rows import as_rows

CASES = {           # of Network, of SGD, of fit
    "bare": ({}, {}, {}), "dropout 0.2": ({"dropout": 0.2}, {}, {}), "l2": ({"l2": 1e-4}, {}, {}),
    "l1": ({"l1": 1e-4}, {}, {}), "clip_value": ({}, {"clip_value": 1.0}, {}),
    "clip_norm, not reached": ({}, {"clip_norm": 1e3}, {}), "clip_norm, reached": ({}, {"clip_norm": 0.1}, {}),
    "label_smoothing": ({"label_smoothing": 0.1}, {}, {}),
    "sample_weight": ({}, {}, {"sample_weight": np.linspace(1, 2, 2048)}),
}


def fastest(run, times):
    return min(timed(run) for _ in range(times))


def timed(run):
    start = perf_counter()
    run()
    return perf_counter() - start


def steps():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(2048, 784)).astype("float32"), rng.integers(0, 10, 2048)
    runs = {}
    for name, (network, optimizer, fit) in CASES.items():
        net = fastnn.Network([784, 128, 10], output="softmax", **network)
        sgd = fastnn.SGD(0.01, **optimizer)
        runs[name] = lambda net=net, sgd=sgd, fit=fit: net.fit(X, y, batch_size=32, optimizer=sgd, **fit)
    turns = [{name: timed(run) for name, run in runs.items()} for _ in range(60)]
    for name in runs:
        ratio = statistics.median(turn[name] / turn["bare"] for turn in turns)
        print(f"{name:24} {min(turn[name] for turn in turns) / 64 * 1e6:7.1f} µs a step, {ratio:.3f} of the bare one")


def epochs():
    rng = np.random.default_rng(0)
    X, held_out = rng.normal(size=(256, 20)).astype("float32"), rng.normal(size=(64, 20)).astype("float32")

    def fit():
        net = fastnn.Network([20, 64, 32, 1])
        net.fit(X, X[:, 0])
        return timed(lambda: net.fit(X, X[:, 0], epochs=100, validation_data=(held_out, held_out[:, 0]),
                                     early_stopping=fastnn.EarlyStopping(1000)))

    whole = min(fit() for _ in range(60))
    net = fastnn.Network([20, 64, 32, 1])
    many = np.tile(X, (100, 1))
    kernels = fastest(lambda: net.fit(many, many[:, 0]), 60)        # 800 steps in one epoch
    rows = as_rows(net._engine, held_out, held_out[:, 0])
    kernels += 100 * fastest(lambda: net._engine.evaluate(rows), 2000)
    print(f"100 epochs of 8 steps: {whole * 1e3:.2f} ms, {1 - kernels / whole:.1%} of it outside the kernels")


if __name__ == "__main__":
    fastnn.set_num_threads(1)
    steps()
    epochs()
