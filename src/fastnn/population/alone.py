"""Fits of members one after the other, each as a Network: for optimizers whose epoch is an iteration over all rows."""

from __future__ import annotations

import copy
import warnings
from time import perf_counter
from typing import TYPE_CHECKING

from ..training.divergence import DivergenceError
from ..training.early_stopping import EarlyStopping
from ..training.trainable import engine_of
from .history import PopulationHistory, of_members

if TYPE_CHECKING:
    from .._types import History, Network
    from ..training.lbfgs import LBFGS
    from ..training.levenberg_marquardt import LevenbergMarquardt
    from .fit import Asked
    from .model import Population


class Soloists:
    """Every member as a Network, with an optimizer of its own, which remembers what it has seen."""

    def __init__(self, population: Population, given: LBFGS | LevenbergMarquardt) -> None:
        self.given = given
        self.networks = [population[member] for member in range(population.n)]
        self.optimizers = [copy.copy(given) for _ in self.networks]

    def fit(self, population: Population, asked: Asked, stopping: EarlyStopping | None,
            threads: int | None) -> PopulationHistory:
        """Trains every member; returns what all of them recorded. One that diverges is as its network is then."""
        deadline = None if asked.time_budget is None else perf_counter() + asked.time_budget
        histories: list[History | DivergenceError] = []
        try:
            for member, network in enumerate(self.networks):
                network.set_parameters(population.parameters[member])       # they may have been set since
                network.l1, network.l2 = population.l1[member], population.l2[member]
                left = None if deadline is None else max(0.0, deadline - perf_counter())
                histories.append(self.fit_one(member, network, asked, stopping, left, threads))
        finally:
            for member in range(min(len(histories) + 1, population.n)):     # also one that has raised
                self.take_back(population, member)
        diverged = [member for member, told in enumerate(histories) if isinstance(told, DivergenceError)]
        if len(diverged) == population.n:
            raise histories[0]      # type: ignore[misc]
        if diverged:
            warnings.warn(f"the loss of {len(diverged)} of {population.n} members stopped being finite (member "
                          f"{diverged[0]} is the first); they have the parameters of their last good iteration: scale "
                          "the inputs and targets to a size of about 1", RuntimeWarning, stacklevel=5)
        return of_members([None if isinstance(told, DivergenceError) else told for told in histories])

    def begun(self) -> bool:
        """Whether any member has learned something with its optimizer."""
        return any(network.optimizer is optimizer
                   for network, optimizer in zip(self.networks, self.optimizers, strict=True))

    def fit_one(self, member: int, network: Network, asked: Asked, stopping: EarlyStopping | None, left: float | None,
                threads: int | None) -> History | DivergenceError:
        """One member's fit."""
        learned, validated = asked.learned, None
        if asked.validated is not None:
            validated = asked.validated.arrays_of(member)[0], *asked.validated.of(member)
        y, weights = learned.of(member)
        own = network.early_stopping
        if stopping is not None and (own is None or own.settings() != stopping.settings()):
            own = EarlyStopping(**stopping.settings())
        try:
            return network.fit(learned.arrays_of(member)[0], y, sample_weight=weights, epochs=asked.epochs,
                               optimizer=self.optimizers[member], validation_data=validated,
                               metrics=list(asked.metrics.values()), tol=asked.tol, time_budget=left, threads=threads,
                               early_stopping=None if stopping is None else own)
        except DivergenceError as error:
            return error

    def member(self, population: Population, member: int) -> Network:
        """A copy of a member's network."""
        network = copy.copy(self.networks[member])
        network.set_parameters(population.parameters[member])
        return network

    def take_back(self, population: Population, member: int) -> None:
        """Gives the population what a member has learned."""
        network, counts = self.networks[member], population.engine.counts()
        population.parameters[member] = network.get_parameters()
        counts[member] = engine_of(network).steps, network.epochs_trained, 0
        population.engine.set_counts(counts)

