"""A population beside its members alone: the same fit in both ways, and everything that must come out equal.

`Twins` holds a `Population` and one `Network` for each member, built from the same arguments. `Twins.fit` trains both
and compares bits: histories, parameters, the optimizer's state, what early stopping remembers. No test is here.
"""

import copy
import warnings

import numpy as np
from helpers import same_bits

import fastnn


def data(rows=40, inputs=4, outputs=1, seed=11, dtype="float64"):
    """Rows with something to learn in them, and a little noise."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, inputs))
    y = np.tanh(X @ rng.normal(size=(inputs, outputs))) + 0.1 * rng.normal(size=(rows, outputs))
    return X.astype(dtype), y.astype(dtype)


def labels(rows=40, classes=3, seed=12):
    return np.random.default_rng(seed).integers(0, classes, rows)


def state_of(optimizer, engine):
    if optimizer is None:
        return None
    rate = getattr(optimizer, "learning_rate", None)
    memory = rate.state() if isinstance(rate, fastnn.schedules.Schedule) else None
    return (repr(optimizer), optimizer.steps, optimizer.epochs, memory,
            [engine.packed(block).tobytes() for block in optimizer.state])


def everything(network):
    """All that a network's training goes on from."""
    stopping = network.early_stopping
    watched = None if stopping is None else (
        stopping.settings(), stopping.best, stopping.best_epoch, stopping.waited,
        None if stopping.best_parameters is None else stopping.best_parameters.tobytes())
    return {
        "network": repr(network), "seed": network.seed, "dropout": network.dropout, "l1": network.l1, "l2": network.l2,
        "parameters": network.get_parameters().tobytes(), "epochs": network.epochs_trained,
        "optimizer": state_of(network.optimizer, network._engine), "stopping": watched}


def assert_same_network(one, other, about=""):
    found, expected = everything(one), everything(other)
    different = [name for name in expected if found[name] != expected[name]]
    assert not different, f"{about}: other {', '.join(different)}"


def same_numbers(found, expected):
    """Lists of floats, bit for bit; NaN is NaN."""
    return same_bits(np.array(found, float), np.array(expected, float))


def of_member(value, member, n, one):
    """Member's part of an argument: shared ones have as many axes as `one` (or none), others an axis of members."""
    if value is None or isinstance(value, str | float | int):
        return value
    value = np.asarray(value)
    return value[member] if value.ndim > one else value


class Twins:
    """A population, and its members alone."""

    def __init__(self, sizes, n, *, seeds=None, dropout=0.0, l1=0.0, l2=0.0, **shared):
        self.n = n
        self.population = fastnn.Population(sizes, n, seeds=seeds, dropout=dropout, l1=l1, l2=l2, **shared)
        seeds = range(n) if seeds is None else [seeds] * n if np.ndim(seeds) == 0 else seeds
        self.alone = [
            fastnn.Network(sizes, seed=int(seed), dropout=self._dropout(dropout, i),
                           l1=float(np.broadcast_to(l1, n)[i]), l2=float(np.broadcast_to(l2, n)[i]), **shared)
            for i, seed in enumerate(seeds)]
        for i, network in enumerate(self.alone):
            assert same_bits(self.population.parameters[i], network.get_parameters()), f"member {i}: other weights"

    def _dropout(self, dropout, member):
        if np.ndim(dropout) == 0:
            return dropout
        part = np.asarray(dropout)[member]
        return float(part) if part.ndim == 0 else part.tolist()

    def check(self, about="", rows=None):
        """Every member has the bits of its network alone."""
        for i, network in enumerate(self.alone):
            member = f"member {i} {about}"
            assert same_bits(self.population.parameters[i], network.get_parameters()), f"{member}: other parameters"
            assert_same_network(self.population[i], network, member)
            assert self.population.epochs[i] == network.epochs_trained
        if rows is not None:
            self.check_outputs(rows, about)

    def check_outputs(self, X, about=""):
        outputs = self.population.predict(X)
        for i, network in enumerate(self.alone):
            assert same_bits(outputs[i], network.predict(X)), f"member {i} {about}: other outputs"

    def fit(self, X, y, *, rows=None, learned=None, left_out=None, validation_data=None, sample_weight=None,
            optimizer=None, early_stopping=None, shuffle="own", y_axes=None, metrics=(), **shared):
        """Trains both and compares. `learned` are each member's rows, which `rows` says in another way; `left_out`
        those that "rest" means; `y_axes` how many axes a shared y has."""
        history = self.population.fit(
            X, y, rows=rows, validation_data=validation_data, sample_weight=sample_weight, metrics=metrics,
            optimizer=copy.deepcopy(optimizer), early_stopping=copy.deepcopy(early_stopping), shuffle=shuffle, **shared)
        y_axes = y_axes or np.asarray(y).ndim - (np.asarray(X).ndim == 3)
        several = isinstance(optimizer, list | tuple)
        self.histories = []
        for i, network in enumerate(self.alone):
            mine, targets = of_member(X, i, self.n, 2), of_member(y, i, self.n, y_axes)
            weights = of_member(sample_weight, i, self.n, 1)
            validation = self._validation(validation_data, i, mine, targets, weights, left_out, y_axes)
            if learned is not None:
                mine, targets = mine[learned[i]], targets[learned[i]]
                weights = None if weights is None else weights[learned[i]]
            self.histories.append(network.fit(
                mine, targets, sample_weight=weights, validation_data=validation, metrics=metrics,
                optimizer=copy.deepcopy(optimizer[i] if several else optimizer),
                early_stopping=copy.deepcopy(early_stopping), shuffle=bool(shuffle), **shared))
        self.check("after fit")
        self.check_history(history)
        return history

    def _validation(self, validation, member, X, y, weights, left_out, y_axes):
        if validation is None or isinstance(validation, float):
            return validation
        if isinstance(validation, str):
            rest = left_out[member]
            return (X[rest], y[rest]) if weights is None else (X[rest], y[rest], weights[rest])
        axes = (2, y_axes, 1)
        return tuple(of_member(part, member, self.n, axis) for part, axis in zip(validation, axes, strict=False))

    def check_history(self, history):
        n = self.n
        assert len(history) == n
        for i, alone in enumerate(self.histories):
            mine, done = history[i], len(alone.loss)
            assert mine.stopped_by == alone.stopped_by == history.stopped_by[i], f"member {i}"
            names = alone.as_dict().keys() - {"seconds"}
            assert mine.as_dict().keys() - {"seconds"} == names, f"member {i} has other lists"
            for name in names:
                column = getattr(history, name)[:, i]
                assert same_numbers(mine.as_dict()[name], alone.as_dict()[name]), f"member {i}: other {name}"
                assert same_numbers(column[:done], alone.as_dict()[name]), f"member {i}: other column of {name}"
                assert np.isnan(column[done:]).all(), f"member {i}: {name} after it had stopped"


def everything_of(population):
    """All that a fit of a population may change, as values and identities."""
    stopping = population.early_stopping
    return (population.parameters.tobytes(), population.epochs.tolist(), id(population.optimizer), id(stopping),
            population.l1.tolist(), population.l2.tolist(), population.seeds,
            [repr(member) + str([state.tobytes() for state in getattr(member.optimizer, "state", ())]) +
             str(getattr(member.optimizer, "steps", None)) for member in population])


def warned(function):
    """(what a function returns, the RuntimeWarnings that it gives)"""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        return function(), [warning for warning in seen if warning.category is RuntimeWarning]
