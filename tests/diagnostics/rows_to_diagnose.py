"""Rows that `fastnn.diagnostics` looks at, and a network that it refuses. No test is here."""

import numpy as np
from helpers import regression_data
from sklearn.datasets import load_digits

import fastnn

DIGITS, DIGIT_LABELS = load_digits(return_X_y=True)
DIGITS = DIGITS / 16
X, Y = regression_data(60, 4, 1, seed=51)


def with_nan():
    result = fastnn.Network([64, 8, 10], output="softmax")
    result.weights[1][2, :3] = np.nan
    return result


digits = DIGITS, DIGIT_LABELS
