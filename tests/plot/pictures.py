"""Networks to draw, and what can be read from a picture: curves, labels, legends. No test is here."""

import numpy as np

import fastnn

X = np.array([[1.0], [-1], [2], [-2]])      # points and their mirror images: the bias stays 0
Y = 2 * X[:, 0]


def one_weight():
    network = fastnn.Network([1, 1], loss="mse", dtype="float64")
    network.set_parameters(np.zeros(2))
    return network


def classifier(classes=3):
    return fastnn.Network([2, 8, classes], activation="tanh", output="softmax" if classes > 1 else "sigmoid", seed=1)


def history(loss, validation_loss=()):
    made = fastnn.History()
    made.loss, made.validation_loss = list(loss), list(validation_loss)
    return made


def recorded():
    """A Watch that has recorded four epochs of a network of three layers."""
    watch = fastnn.diagnostics.Watch(X, Y)
    fastnn.Network([1, 4, 4, 1], activation="tanh", seed=0).fit(X, Y, epochs=4, callbacks=[watch])
    return watch


def data(line):
    return np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)


def labelled(ax):
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]
