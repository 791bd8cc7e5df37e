"""The rows and small networks with which the tests of `fit` train. No test is here."""

import numpy as np
from helpers import regression_data

import fastnn

X, Y = regression_data(50, 4, 1, "float32", seed=81)
LABELS = np.arange(50) ** 2 % 3


def regressor(**arguments):
    return fastnn.Network([4, 8, 1], seed=82, **arguments)


def classifier(**arguments):
    return fastnn.Network([4, 8, 3], output="softmax", seed=82, **arguments)


def scripted(values):
    """A metric that returns these values one after the other."""
    values = iter(values)

    def metric(y, outputs):
        return next(values)

    return metric


def mse(outputs, targets):
    return ((outputs - targets) ** 2).mean(), 2 * (outputs - targets) / outputs.size


def batches(weights=None):
    parts = [X[i:i + 16] for i in range(0, 50, 16)], [Y[i:i + 16] for i in range(0, 50, 16)]
    return list(zip(*parts, *([] if weights is None else [[weights[i:i + 16] for i in range(0, 50, 16)]]), strict=True))
