"""Fits of networks of one shape, trained as one population: members of an ensemble, folds, candidates of a search.

`train_together` takes fits that are prepared (multilayer.py). What they give is what each would give alone, bit for
bit: curves, warnings and errors too. Fits that a population cannot train go alone.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ..callbacks import Callback
from ..optimizers import Optimizer
from ..population.optimizers import kind
from ..training import DivergenceError
from ..training.trainable import engine_of
from .ensemble import population_of
from .epochs import Epoch
from .rows import Rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._types import Array, Integers
    from ..network import Network
    from ..population.fit import PopulationFit
    from ..population.model import Population
    from .multilayer import PreparedFit

# With fewer networks of 10-16-1 than this, most lanes of a vector are idle, and one after the other is faster: 5 took
# 1.3 to 1.6 times as long together, 16 took 0.5 to 0.8 of it (AVX-512, one thread, 150 to 2,000 rows).
FEWEST = 8
DIVERGED = "the loss of .* members stopped being finite"


def train_together(fits: Sequence[PreparedFit]) -> list[Exception | None]:
    """Trains and finishes all fits; returns the error of each, which leaves its estimator as it was."""
    errors: list[Exception | None] = [None] * len(fits)
    for places in shapes(fits):
        together = [fits[place] for place in places]
        if len(together) == 1:
            errors[places[0]] = error_of(together[0].train)
            continue
        crowd = Crowd(together)
        crowd.train(together[0].arguments["epochs"])
        for place, error in zip(places, crowd.finish(range(len(places))), strict=True):
            errors[place] = error
    return errors


def error_of(call: Any, *arguments: Any) -> Exception | None:
    """The error that a call raises."""
    try:
        call(*arguments)
    except Exception as error:
        return error
    return None


def shapes(fits: Sequence[PreparedFit]) -> list[list[int]]:
    """The places of fits that one population can train, and of each that goes alone."""
    groups: dict[Any, list[int]] = {}
    for place, fit in enumerate(fits):
        groups.setdefault(shape(fit) if joins(fit) else place, []).append(place)
    return [part for places in groups.values()
            for part in ([places] if len(places) >= FEWEST else [[place] for place in places])]


def joins(fit: PreparedFit) -> bool:
    """Whether a population can train it: by steps, from arrays, with no callbacks of others. Nor is it worth one where
    it is one epoch of partial_fit, or where scores of rows held out, one network at a time, take most of it."""
    given = fit.arguments
    return (isinstance(given["optimizer"], Optimizer) and "y" in given and not fit.estimator.callbacks
            and not fit.call.incremental and given["validation_data"] is None)


def shape(fit: PreparedFit) -> tuple[Any, ...]:
    """What members of a population have in common."""
    network, given = fit.estimator.network_, fit.arguments
    rows, batch = len(given["y"]), given["batch_size"]
    return (network.layer_sizes, network.activations, network.loss, network.dtype, batch if batch < rows else None,
            given["shuffle"], given["epochs"], kind(given["optimizer"]),
            given["sample_weight"] is None)


class Crowd:
    """Prepared fits as a population. It may train in several goes: the next one goes on where the last one stopped."""

    def __init__(self, fits: Sequence[PreparedFit]) -> None:
        networks = [fit.estimator.network_ for fit in fits]
        self.fits = list(fits)
        self.began = [network.epochs_trained for network in networks]
        self.ends: list[tuple[Network, str] | None] = [None] * len(fits)    # of fits that have ended: what stopped them
        self.places = list(range(len(fits)))            # of the fits that go on: the population's members
        self.epochs = 0
        self.population = self.built(networks)
        self.rows, self.of_fit = stacked(fits)

    @staticmethod
    def built(networks: Sequence[Network]) -> Population:
        """The networks before the first epoch. Those of an earlier fit have done some."""
        population = population_of(networks)
        counts = population.engine.counts()
        counts[:, :2] = [(engine_of(network).steps, network.epochs_trained) for network in networks]
        population.engine.set_counts(counts)
        return population

    def keep(self, places: Sequence[int]) -> None:
        """Only these fits go on, as far as they have not ended."""
        members = [member for member, place in enumerate(self.places) if place in set(places)]
        if members and len(members) < len(self.places):
            self.population = self.population.select(members)
        self.places = [self.places[member] for member in members]

    def train(self, epochs: int) -> None:
        """Trains the fits that go on until they have done so many epochs of this fit."""
        if not self.places or epochs <= self.epochs:
            return
        fits, population = [self.fits[place] for place in self.places], self.population
        given, books = fits[0].arguments, BookkeepingOfAll(fits, population)
        optimizers = [fit.arguments["optimizer"] for fit in fits] if self.epochs == 0 else None
        stopped_by: Sequence[str | None] = ["diverged"] * len(fits)
        with suppress(DivergenceError), warnings.catch_warnings():      # of all; of some
            warnings.filterwarnings("ignore", DIVERGED, RuntimeWarning)
            stopped_by = population.fit(
                self.rows.X, self.rows.codes, sample_weight=self.rows.weight, rows=self.rows_of_members(),
                epochs=epochs - self.epochs, optimizer=optimizers, shuffle="own" if given["shuffle"] else False,
                batch_size=max(min(fit.arguments["batch_size"], len(fit.arguments["y"])) for fit in fits),
                callbacks=[books]).stopped_by
        self.epochs = epochs
        for member, (place, reason) in enumerate(zip(self.places, stopped_by, strict=True)):
            if reason is not None:
                self.ends[place] = population[member], "divergence" if reason == "diverged" else reason
        self.keep([place for place in self.places if self.ends[place] is None])

    def rows_of_members(self) -> list[Integers] | None:
        """As `Population.fit` takes them; None where every member learns from all rows."""
        rows = [self.of_fit[place] for place in self.places]
        return None if all(len(learned) == len(self.rows.codes) for learned in rows) else rows

    def finish(self, places: Sequence[int]) -> list[Exception | None]:
        """Gives the estimators of these fits their networks as they are now; returns the error of each."""
        errors = []
        for place in places:
            network, stopped_by = self.ends[place] or (self.population[self.places.index(place)], None)
            error = error_of(self.fits[place].finish, network, stopped_by)
            if error is not None and network.epochs_trained == self.began[place]:
                self.fits[place].undo()
            errors.append(error)
        return errors


class BookkeepingOfAll(Callback):
    """The Bookkeeping of every fit, as a callback of `Population.fit`."""

    def __init__(self, fits: Sequence[PreparedFit], population: Population) -> None:
        self.books = [fit.books for fit in fits]
        self.counts = [len(fit.arguments["y"]) for fit in fits]
        self.l2, self.population = population.l2, population
        self.weights, start = [], 0         # of each layer: columns of the parameters
        for n_in, n_out in pairwise(population.layer_sizes):
            self.weights.append(slice(start, start + n_in * n_out))
            start += (n_in + 1) * n_out
        for member, books in enumerate(self.books):
            books.set_rate = partial(self.set_rate, member)

    def set_rate(self, member: int, rate: float, factor: float) -> None:
        """Gives a member another learning rate, and multiplies its velocity."""
        optimizers, engine = self.population.optimizers, self.population.engine
        assert optimizers is not None
        optimizers.own[member].learning_rate = rate
        engine.set_rate(member, rate)
        for velocity in engine.states:
            velocity[member] *= factor

    def on_epoch_end(self, fit: PopulationFit) -> None:     # type: ignore[override]
        members = fit.members
        losses, squares = fit.history.loss[-1], self.squares(members)
        ended = []
        for member, square in zip(members.tolist(), squares.tolist(), strict=True):
            books = self.books[member]
            loss = books.loss.factor * float(losses[member]) + books.loss.constant
            if self.l2[member]:
                loss += books.loss.penalty(float(self.l2[member]), square)
            if books.end_epoch(Epoch(loss, None, self.counts[member], partial(fit.network.__getitem__, member))):
                ended.append(member)
        if ended:
            fit.stop("tol", ended)

    def squares(self, members: Integers) -> Array:
        """The sum of the squares of these members' weights, summed as for one network."""
        parameters = self.population.parameters[members]
        return sum((np.square(parameters[:, columns], dtype=np.float64).sum(axis=1) for columns in self.weights),
                   np.zeros(len(members)))


def stacked(fits: Sequence[PreparedFit]) -> tuple[Rows, list[Integers]]:
    """(rows of all fits, the numbers of those that each fit learns from). Equal ones come once."""
    distinct: list[Rows] = []
    firsts, numbers = [0], []
    for fit in fits:
        rows = Rows(fit.arguments["X"], fit.arguments["y"], fit.arguments["sample_weight"])
        place = next((place for place, other in enumerate(distinct) if all(map(equal, rows, other))), len(distinct))
        if place == len(distinct):
            distinct.append(rows)
            firsts.append(firsts[-1] + len(rows.codes))
        numbers.append(np.arange(firsts[place], firsts[place + 1]))
    weight = None if distinct[0].weight is None else np.concatenate([rows.weight for rows in distinct])
    return Rows(np.concatenate([rows.X for rows in distinct]), np.concatenate([rows.codes for rows in distinct]),
                weight), numbers


def equal(mine: Any, other: Any) -> bool:
    """Whether two arrays are the same in all; both may be None."""
    if mine is None or other is None:
        return mine is other
    return mine is other or (mine.dtype == other.dtype and np.array_equal(mine, other))
