"""Networks whose work threads share, and trainings of them. No test is here."""

import numpy as np

import fastnn

COUNTS = (1, 2, 3, 4, 7, 8, 16)


def large_network(dtype="float32", **options):
    """A network whose step is worth 16 threads, and rows for it: 100 a batch and 30 in the last."""
    rng = np.random.default_rng(3)
    X = rng.uniform(-1, 1, (230, 384))
    return fastnn.Network([384, 500, 33, 10], output="softmax", dtype=dtype, **options), X, rng.integers(0, 10, 230)


def train(threads, optimizer, dtype="float32"):
    network, X, y = large_network(dtype, activation=["relu", "gelu"])
    history = network.fit(X, y, epochs=2, batch_size=100, optimizer=optimizer, threads=threads)
    return network.get_parameters(), history.loss


# What is divided: many layers and one, rows and columns; activations that do and do not keep z; dropout, penalties,
# clipping. Each step is sure to be shared, by 16 threads if so many are asked for; the last batch is a smaller one.
NETWORKS = {    # layer sizes, rows, rows of a batch, options
    "classes": ([384, 500, 33, 10], 230, 100, {"activation": ["relu", "gelu"], "output": "softmax"}),
    "deep": ([200] * 7, 220, 96, {"activation": "tanh", "dropout": 0.2, "l2": 1e-3}),
    "one wide layer": ([64, 3000, 1], 250, 100, {"activation": "softplus", "loss": "huber"}),
    "many rows": ([20, 64, 33, 3], 13_000, 6000, {"activation": ["silu", "elu"], "output": "sigmoid"}),
    "odd sizes": ([151, 331, 301, 5], 300, 127, {"activation": ["leaky_relu", "selu"], "l1": 1e-4}),
}
OPTIMIZERS = {
    "SGD": lambda: fastnn.SGD(0.01),
    "momentum, clipped": lambda: fastnn.SGD(0.01, momentum=0.9, nesterov=True, clip_norm=0.5),
    "Adam": lambda: fastnn.Adam(0.001),
}
CASES = [(net, dtype, optimizer) for net in NETWORKS for dtype in ("float32", "float64") for optimizer in OPTIMIZERS]


def trained(net, dtype, optimizer, threads, epochs=1):
    """A network of the list, and its history."""
    sizes, rows, batch, options = NETWORKS[net]
    rng = np.random.default_rng(6)
    X, y = rng.uniform(-1, 1, (rows, sizes[0])), rng.uniform(0, 1, (rows, sizes[-1]))
    network = fastnn.Network(sizes, dtype=dtype, seed=7, **options)
    return network, network.fit(X, y.argmax(1) if options.get("output") == "softmax" else y, epochs=epochs,
                                batch_size=batch, optimizer=OPTIMIZERS[optimizer](), threads=threads)


SHARED_WORK = """
    import os, time
    import numpy as np, fastnn
    from fastnn import core
    X = np.random.default_rng(0).uniform(-1, 1, (256, 400)).astype("f")
    def train(**options):
        network = fastnn.Network([400, 400, 1])
        network.fit(X, X[:, 0], batch_size=256, **options)
        return network.get_parameters().tobytes()
"""
