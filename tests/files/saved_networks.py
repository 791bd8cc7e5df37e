"""Trained networks to save and to copy, what must come back of them, and the ways to copy them. No test is here."""

import copy
import pickle

from helpers import regression_data

import fastnn
from fastnn import schedules

X, Y = regression_data(30, 4, 2, seed=71)
OPTIMIZERS = [
    fastnn.SGD(0.1, momentum=0.5), fastnn.Adam(schedules.CosineDecay(0.1, 5), clip_norm=1.0), fastnn.AdamW(),
    fastnn.RMSprop(momentum=0.1), fastnn.Adagrad(), fastnn.Rprop(), fastnn.LBFGS(history_size=5),
    fastnn.LevenbergMarquardt(mu=0.1),
    fastnn.SGD(schedules.WarmUp(schedules.ReduceOnPlateau(0.1, patience=0), 3)),
]


def goes_with(optimizer):
    """A loss and a factor l1 that go with an optimizer."""
    if isinstance(optimizer, fastnn.LevenbergMarquardt):
        return {"loss": "half_mse", "l1": 0.0}
    return {"loss": fastnn.losses.quantile(0.3), "l1": 0.1}


def mse(outputs, targets):
    return ((outputs - targets) ** 2).mean(), 2 * (outputs - targets) / outputs.size


def trained(optimizer=None, **arguments):
    """A network with a little of everything that a file holds."""
    network = fastnn.Network([4, 3, 2], **arguments)
    network.fit(X, Y, epochs=2, optimizer=optimizer or fastnn.Adam(), early_stopping=fastnn.EarlyStopping(5))
    return network


def everything(network):
    """What a file must bring back."""
    optimizer, stopping = network.optimizer, network.early_stopping
    block = stopping.best_parameters
    state = getattr(optimizer, "state", ())
    if getattr(optimizer, "momentum", None) == 0:       # which may have been set since the last fit
        state = state[:0 if isinstance(optimizer, fastnn.SGD) else 1]
    return {
        "network": repr(network), "parameters": network.get_parameters().tobytes(), "metadata": network.metadata,
        "optimizer": repr(optimizer), "done": (optimizer.steps, optimizer.epochs),
        "state": [network._engine.packed(block).tobytes() for block in state],
        "stopping": (stopping.settings(), stopping.best, stopping.best_epoch, stopping.waited),
        "best": block if block is None else block.tobytes()}


def copied(network):
    return copy.copy(network)


def deeply_copied(network):
    return copy.deepcopy(network)


def pickled(network):
    return pickle.loads(pickle.dumps(network))


def deep(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value
