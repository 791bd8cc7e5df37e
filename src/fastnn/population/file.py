"""Populations taken apart and put together: a member as a Network, some members as another population, and files.

A file is a safetensors file like a Network's (storage/model_file.py), with a checksum, and holds no code. Its arrays
have a row for each member. What `load` would refuse is never written.
"""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import checked_integer, checked_sizes, number, shown
from ..core import PopulationEngine
from ..losses import Loss
from ..network import Network
from ..optimizers import OPTIMIZERS, remade
from ..schedules import Schedule
from ..storage import state
from ..storage.model_file import FormatError, check_target, checked, read_model, write_model
from ..training.early_stopping import EarlyStopping, described
from ..training.trainable import checked_arguments
from .members import checked_dropout, checked_seeds
from .optimizers import MemberOptimizers, checked_optimizers
from .state import PopulationState
from .stopping import MemberStopping

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._types import Array, Integers, Path
    from .model import Population

KEY = "population"          # of the description
PARTS = {"network", "seeds", "optimizers", "early_stopping"}
MOST_MEMBERS = 2**15
SPARE = 2**12               # characters that training may add to a description
STOPPING = {"best": np.float64, "best_epoch": np.int64, "waited": np.int64}
REFUSED = (AttributeError, LookupError, OverflowError, TypeError, ValueError)


def settings(population: Population) -> dict[str, Any]:
    """What all members were built with, as the arguments of a Network."""
    return {"layer_sizes": list(population.layer_sizes), "activation": list(population.activations[:-1]),
            "output": population.activations[-1], "loss": population.engine.model.loss,
            "initializer": population.initializer, "dtype": population.dtype,
            "label_smoothing": population.label_smoothing}


def member(population: Population, index: int) -> Network:
    """A Network with the parameters and the training state of one member."""
    steps, epochs, updates = population.engine.counts()[index].tolist()
    tensors = {f"{part}.{layer}": array for layer, pair in enumerate(population.layers(index))
               for part, array in zip(("weights", "biases"), pair, strict=True)}
    description: dict[str, Any] = {
        "network": settings(population) | {
            "seed": population.seeds[index], "dropout": population.dropout[index].tolist(),
            "l1": float(population.l1[index]), "l2": float(population.l2[index])},
        "epochs_trained": epochs, "steps_trained": steps, "optimizer": None, "early_stopping": None, "metadata": {}}
    if population.optimizers is not None:
        own = copy.copy(population.optimizers.own[index])
        blocks = population.engine.states
        description["optimizer"] = {"name": type(own).__name__, "arguments": own.arguments(), "steps": updates,
                                    "epochs": epochs, "blocks": len(blocks)}
        tensors |= {f"optimizer.{place}": block[index] for place, block in enumerate(blocks)}
    if population.stopping is not None:
        stopping = population.stopping.of(index)
        description["early_stopping"] = described(stopping)
        if stopping.best is not None:
            tensors["early_stopping.best"] = population.stopping.best_parameters[index]
    return state.rebuilt(Network, description, tensors)


def chosen(population: Population, members: Integers) -> Population:
    """Another population of these members, with all of their state."""
    result = population.__new__(type(population))
    result.build(settings(population), [population.seeds[index] for index in members], population.dropout[members],
                 population.l1[members], population.l2[members])
    engine = result.engine
    engine.parameters[...] = population.parameters[members]
    engine.set_counts(np.ascontiguousarray(population.engine.counts()[members]))
    if population.optimizers is not None:
        given = population.optimizers.given
        result.optimizers = MemberOptimizers(
            tuple(copy.copy(given[index]) for index in members) if isinstance(given, tuple) else copy.copy(given),
            len(members))
        give_states(engine, [block[members] for block in population.engine.states])
        result.optimizers.prepare(engine, False)
    if population.stopping is not None:
        result.stopping = MemberStopping(copy.copy(population.stopping.settings), engine)
        result.stopping.best_of = population.stopping.best_of
        for name in (*STOPPING, "best_parameters"):
            getattr(result.stopping, name)[...] = getattr(population.stopping, name)[members]
    return result


def give_states(engine: PopulationEngine, values: list[Array]) -> None:
    """Gives members these blocks of their optimizers' state."""
    blocks = []
    for value in values:
        block = engine.block()
        block[...] = value
        blocks.append(block)
    engine.set_states(tuple(blocks))


def parts(population: Population) -> tuple[dict[str, Any], dict[str, Array]]:
    """(description, tensors) of a population; the description has its loss and schedules as objects."""
    engine, optimizers, stopping = population.engine, population.optimizers, population.stopping
    tensors = {"parameters": engine.parameters.copy(), "counts": engine.counts(), "dropout": population.dropout,
               "l1": population.l1, "l2": population.l2}
    tensors |= {f"optimizer.{index}": block.copy() for index, block in enumerate(engine.states)}
    if stopping is not None:
        tensors |= {f"early_stopping.{name}": getattr(stopping, name).copy() for name in (*STOPPING, "best_parameters")}
    description = {
        "network": settings(population), "seeds": list(population.seeds),
        "optimizers": None if optimizers is None else described_optimizers(optimizers),
        "early_stopping": None if stopping is None else stopping.settings.settings() | {"best_of": stopping.best_of}}
    return {KEY: description}, tensors


def described_optimizers(optimizers: MemberOptimizers) -> list[dict[str, Any]]:
    """The optimizers of all members, or the one that they share. Where schedules remember losses, each has its own."""
    each = optimizers.given if isinstance(optimizers.given, tuple) else (optimizers.given,)
    if any(isinstance(own.learning_rate, Schedule) and own.learning_rate.state() for own in optimizers.own):
        each = optimizers.own
    return [{"name": type(own).__name__, "arguments": copy.copy(own).arguments()} for own in each]


def save(population: Population, path: Path) -> None:
    """Writes a population."""
    write_model(path, *checked_parts(population))


@state.check_saveable.register(PopulationState)
def check_saveable(population: Population, path: Path | None = None) -> None:
    """Raises what `save` would raise for this population, now or after training, and for this path. Writes nothing."""
    checked(*checked_parts(population), spare=SPARE)
    if path is not None:
        check_target(path)


def checked_parts(population: Population) -> tuple[dict[str, Any], dict[str, Array]]:
    """`parts` for a file, which the reader would take."""
    description, tensors = parts(population)
    for optimizer in description[KEY]["optimizers"] or ():
        rate = optimizer["arguments"]["learning_rate"]
        if isinstance(rate, Schedule):
            optimizer["arguments"]["learning_rate"] = state.plain_schedule(rate)
            if optimizer["arguments"]["learning_rate"] is None:
                raise TypeError(f"learning_rate is {rate!r}, but a file cannot hold a Python function: set a number or "
                                "a schedule of fastnn.schedules before you save")
    loss = description[KEY]["network"]["loss"]
    description[KEY]["network"]["loss"] = asdict(loss) if isinstance(loss, Loss) else None
    try:
        rebuilt(type(population), understood(json.loads(json.dumps(description)), loss), dict(tensors))
    except REFUSED as error:
        raise ValueError(f"the population was not saved, as it could not be loaded again: {error}") from error
    return description, tensors


def understood(description: dict[str, Any], loss: Any) -> dict[str, Any]:
    """A description that came from JSON, with its Loss and its schedules as objects: what `rebuilt` takes."""
    plain = description[KEY]
    network = plain["network"]
    network["loss"] = loss if network["loss"] is None else Loss(**network["loss"])
    for optimizer in plain["optimizers"] or ():
        if isinstance(rate := optimizer["arguments"]["learning_rate"], dict):
            optimizer["arguments"]["learning_rate"] = state.schedule_of(rate)
    return description


def load(kind: type[Population], path: Path, loss: Any) -> Population:
    """The population that `save` wrote; FormatError for anything else."""
    description, tensors = read_model(path)
    if KEY not in description:
        raise FormatError(f"{path} holds no population: load it with fastnn.load, or with TableClassifier.load or "
                          "TableRegressor.load if it learned from a table")
    try:
        needs_loss = description[KEY]["network"]["loss"] is None
    except REFUSED as error:
        raise FormatError(f"{path} is not a valid population: {error}") from None
    if needs_loss and not callable(loss):
        raise TypeError(f"loss is {loss!r}, but the population in {path} learned with a Python function, which a file "
                        "cannot hold; pass it: fastnn.Population.load(path, loss=…)")
    try:
        return rebuilt(kind, understood(description, loss), tensors)
    except REFUSED as error:
        raise FormatError(f"{path} is not a valid population: {error}") from None


def rebuilt(kind: type[Population], description: dict[str, Any], tensors: Mapping[str, Array]) -> Population:
    """The population that `parts` took apart. ValueError, LookupError and TypeError for other parts."""
    plain = description[KEY]
    if plain.keys() != PARTS:
        raise ValueError(f"its parts are {shown(list(plain))}")
    network, seeds = plain["network"], plain["seeds"]
    if not isinstance(seeds, list) or not 1 <= len(seeds) <= MOST_MEMBERS:
        raise ValueError(f"the seeds are {shown(seeds)}")
    check_tensors(tensors, network, plain, len(seeds))
    result = kind.__new__(kind)
    result.build(network, list(checked_seeds(seeds, len(seeds))), tensors["dropout"], tensors["l1"], tensors["l2"])
    result.engine.parameters[...] = tensors["parameters"]
    result.engine.set_counts(np.ascontiguousarray(tensors["counts"]))
    if plain["optimizers"] is not None:
        result.optimizers = read_optimizers(plain["optimizers"], len(seeds))
        give_states(result.engine, [tensors[f"optimizer.{index}"] for index in range(blocks_in(tensors))])
        result.optimizers.prepare(result.engine, False)
        for member_of, epochs in zip(result.optimizers.own, tensors["counts"][:, 1].tolist(), strict=True):
            if result.optimizers.scheduled:
                member_of.epochs = epochs
    if plain["early_stopping"] is not None:
        stopping = dict(plain["early_stopping"])
        best_of = stopping.pop("best_of")
        result.stopping = MemberStopping(EarlyStopping(**stopping), result.engine)
        result.stopping.best_of = best_of
        for name in (*STOPPING, "best_parameters"):
            getattr(result.stopping, name)[...] = tensors[f"early_stopping.{name}"]
    return result


def read_optimizers(saved: list[dict[str, Any]], n: int) -> MemberOptimizers:
    """The optimizers that `described_optimizers` described."""
    each = [remade(OPTIMIZERS[plain["name"]], plain["arguments"]) for plain in saved]
    if len(each) not in (1, n):
        raise ValueError(f"there are {len(each)} optimizers for {n} members")
    return checked_optimizers(each[0] if len(each) == 1 else each, None, n)


def blocks_in(tensors: Mapping[str, Array]) -> int:
    """How many blocks of optimizers' state there are."""
    return sum(name.startswith("optimizer.") for name in tensors)


def check_tensors(tensors: Mapping[str, Array], network: dict[str, Any], plain: dict[str, Any], n: int) -> None:
    """Refuses arrays of other names, shapes or dtypes, before a population is made for them."""
    checked_arguments(**network, seed=0, dropout=0.0, l1=0.0, l2=0.0)
    sizes, dtype = checked_sizes(network["layer_sizes"]), np.dtype(network["dtype"])
    block = (n, sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes)))
    expected: dict[str, tuple[tuple[int, ...], Any]] = {
        "parameters": (block, dtype), "counts": ((n, 3), np.int64), "dropout": ((n, len(sizes) - 2), np.float64),
        "l1": ((n,), np.float64), "l2": ((n,), np.float64)}
    expected |= {f"optimizer.{index}": (block, dtype) for index in range(blocks_in(tensors))}
    if plain["early_stopping"] is not None:
        expected |= {f"early_stopping.{name}": ((n,), kind) for name, kind in STOPPING.items()}
        expected["early_stopping.best_parameters"] = block, dtype
    if tensors.keys() != expected.keys() or (plain["optimizers"] is None and blocks_in(tensors)):
        raise ValueError(f"there are the arrays {shown(sorted(tensors))}, but {shown(sorted(expected))} were expected")
    for name, (shape, kind) in expected.items():
        if tensors[name].shape != shape or tensors[name].dtype != kind:
            raise ValueError(f"{name} has shape {tensors[name].shape} and dtype {tensors[name].dtype}, but must have "
                             f"{shape} and {np.dtype(kind)}")
    for name in ("counts", "early_stopping.best_epoch", "early_stopping.waited"):
        for count in tensors.get(name, np.zeros(0, np.int64)).ravel().tolist():
            checked_integer(name, count, 0, 2**62 - 1)
    for name in ("l1", "l2"):
        for penalty in tensors[name].tolist():
            number(name, penalty, low=0)
    checked_dropout(tensors["dropout"], n, len(sizes) - 2)
