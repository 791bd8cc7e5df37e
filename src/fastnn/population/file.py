"""Populations taken apart and put together: a member as a Network, some members as another population, and files.

A file is a safetensors file like a Network's (storage/model_file.py), with a checksum, and holds no code. Its arrays
have a row for each member. What `load` would refuse is never written.
"""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import shown
from ..losses import Loss
from ..network import Network
from ..optimizers import OPTIMIZERS, remade
from ..schedules import Schedule
from ..storage import state
from ..storage.model_file import FormatError, check_target, checked, read_model, write_model
from ..training.early_stopping import EarlyStopping, described
from .file_checks import KEY, STOPPING, check_tensors, checked_plain
from .optimizers import MemberOptimizers, checked_optimizers
from .state import PopulationState, at_rest
from .stopping import MemberStopping

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._types import Array, Integers, Path
    from ..core import PopulationEngine
    from ..optimizers import Optimizer
    from .model import Population

SPARE = 2**12               # characters that training may add to a description
REFUSED = (AttributeError, LookupError, OverflowError, TypeError, ValueError)


def settings(population: Population) -> dict[str, Any]:
    """What all members were built with, as the arguments of a Network."""
    return {"layer_sizes": list(population.layer_sizes), "activation": list(population.activations[:-1]),
            "output": population.activations[-1], "loss": population.engine.model.loss,
            "initializer": population.initializer, "dtype": population.dtype,
            "label_smoothing": population.label_smoothing}


def member(population: Population, index: int) -> Network:
    """A Network with the parameters and the training state of one member."""
    with at_rest(population):
        description, tensors = member_parts(population, index)
        return state.rebuilt(Network, description, tensors)


def member_parts(population: Population, index: int) -> tuple[dict[str, Any], dict[str, Array]]:
    """The parts of which storage/state.py makes a Network."""
    steps, epochs, updates = population.engine.counts()[index].tolist()
    tensors = {f"{part}.{layer}": array[index] for part in ("weights", "biases")
               for layer, array in enumerate(getattr(population, part))}
    description: dict[str, Any] = {
        "network": settings(population) | {
            "seed": population.seeds[index], "dropout": population.dropout[index].tolist(),
            "l1": float(population.l1[index]), "l2": float(population.l2[index])},
        "epochs_trained": epochs, "steps_trained": steps, "optimizer": None, "early_stopping": None, "metadata": {}}
    optimizers, stopping = population.optimizers, population.stopping
    if optimizers is not None:
        own, blocks = copy.copy(optimizers.own[index]), population.engine.states
        description["optimizer"] = {"name": type(own).__name__, "arguments": own.arguments(), "steps": updates,
                                    "epochs": int(optimizers.epochs[index]), "blocks": len(blocks)}
        tensors |= {f"optimizer.{place}": block[index] for place, block in enumerate(blocks)}
    if stopping is not None:
        description["early_stopping"] = described(stopping.of(index))
        best = stopping.best_parameters[index]
        if best is not None:
            tensors["early_stopping.best"] = best
    return description, tensors


def chosen(population: Population, members: Integers) -> Population:
    """Another population of these members, with all of their state."""
    with at_rest(population):
        description, tensors = parts(population)
    description[KEY]["optimizers"] = None if population.optimizers is None else [
        described_optimizer(population.optimizers.own[index]) for index in members.tolist()]
    tensors = {name: array[members] for name, array in tensors.items() if not name.startswith("constant.")}
    result = rebuilt(type(population), description, tensors)
    if population.optimizers is not None and not isinstance(population.optimizers.given, tuple):
        assert result.optimizers is not None
        result.optimizers.given = copy.copy(population.optimizers.given)
    return result


def parts(population: Population) -> tuple[dict[str, Any], dict[str, Array]]:
    """(description, tensors) of a population at rest; the description has its loss and schedules as objects."""
    engine, optimizers, stopping = population.engine, population.optimizers, population.stopping
    epochs = np.zeros(engine.n, np.int64) if optimizers is None else optimizers.epochs
    tensors = {"parameters": engine.parameters.copy(), "counts": np.column_stack([engine.counts(), epochs]),
               "seeds": np.array(population.seeds, np.uint64).view(np.int64), "dropout": population.dropout,
               "l1": population.l1, "l2": population.l2}
    tensors |= {f"optimizer.{index}": block.copy() for index, block in enumerate(engine.states)}
    description: dict[str, Any] = {"network": settings(population), "optimizers": None, "early_stopping": None}
    if optimizers is not None:
        description["optimizers"], constants = described_optimizers(optimizers)
        tensors |= constants
    if stopping is not None:
        description["early_stopping"] = stopping.settings.settings() | {"best_of": stopping.best_of}
        tensors |= {f"early_stopping.{name}": getattr(stopping, name).copy() for name in STOPPING}
        tensors["early_stopping.best_parameters"] = np.array(
            [np.zeros(engine.n_parameters, population.dtype) if best is None else best
             for best in stopping.best_parameters])
    return {KEY: description}, tensors


def described_optimizer(optimizer: Optimizer) -> dict[str, Any]:
    """An optimizer's class and arguments; a schedule is a copy."""
    return {"name": type(optimizer).__name__, "arguments": copy.copy(optimizer).arguments()}


def described_optimizers(optimizers: MemberOptimizers) -> tuple[list[dict[str, Any]], dict[str, Array]]:
    """The optimizer that all members share, or theirs; numbers in which they differ are arrays (n,)."""
    remembering = any(isinstance(own.learning_rate, Schedule) and own.learning_rate.state() for own in optimizers.own)
    if not isinstance(optimizers.given, tuple) and not remembering:
        return [described_optimizer(optimizers.given)], {}
    each = [described_optimizer(own) for own in optimizers.own]
    if any(isinstance(own.learning_rate, Schedule) for own in optimizers.own):
        return each, {}
    first = each[0]["arguments"]
    differing = [name for name, value in first.items()
                 if type(value) is float and any(own["arguments"][name] != value for own in each)]
    if any(own["arguments"][name] != value for own in each for name, value in first.items() if name not in differing):
        return each, {}
    return each[:1], {f"constant.{name}": np.array([own["arguments"][name] for own in each]) for name in differing}


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
    with at_rest(population):
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
        needs_loss = checked_plain(description)["network"]["loss"] is None
        if not needs_loss or callable(loss):
            result = rebuilt(kind, understood(description, loss), tensors)
    except REFUSED as error:
        raise FormatError(f"{path} is not a valid population: {error}") from None
    if needs_loss and not callable(loss):
        raise TypeError(f"loss is {loss!r}, but the population in {path} learned with a Python function, which a file "
                        "cannot hold; pass it: fastnn.Population.load(path, loss=…)")
    if not needs_loss and loss is not None:
        raise TypeError(f"loss is {loss!r}, but the population in {path} has its own: leave it out")
    return result


def rebuilt(kind: type[Population], description: dict[str, Any], tensors: Mapping[str, Array]) -> Population:
    """The population that `parts` took apart. ValueError, LookupError and TypeError for other parts."""
    plain = checked_plain(description)
    check_tensors(tensors, plain)
    seeds = [int(seed) for seed in tensors["seeds"].view(np.uint64)]
    result = kind.__new__(kind)
    result.build(plain["network"], seeds, tensors["dropout"], tensors["l1"], tensors["l2"])
    result.engine.parameters[...] = tensors["parameters"]
    result.engine.set_counts(np.ascontiguousarray(tensors["counts"][:, :3]))
    if plain["optimizers"] is not None:
        result.optimizers = read_optimizers(plain["optimizers"], tensors, len(seeds))
        result.optimizers.epochs[:] = tensors["counts"][:, 3]
        give_states(result.engine, tensors)
        given = len(result.engine.states)
        result.optimizers.prepare(result.engine, False)
        if given not in (0, len(result.engine.states)):     # 0: momentum was set after the last fit
            raise ValueError(f"there are {given} blocks of state, but the optimizers keep {len(result.engine.states)}")
    if plain["early_stopping"] is not None:
        arguments = dict(plain["early_stopping"])
        best_of = arguments.pop("best_of")
        result.stopping = stopping = MemberStopping(EarlyStopping(**arguments), result.engine)
        stopping.best_of = best_of
        for name in STOPPING:
            getattr(stopping, name)[...] = tensors[f"early_stopping.{name}"]
        stopping.best_parameters = [None if np.isnan(best) else block.copy() for best, block in zip(
            stopping.best, tensors["early_stopping.best_parameters"], strict=True)]
    return result


def read_optimizers(saved: list[dict[str, Any]], tensors: Mapping[str, Array], n: int) -> MemberOptimizers:
    """The optimizers that `described_optimizers` described."""
    constants = {name.removeprefix("constant."): array.tolist() for name, array in tensors.items()
                 if name.startswith("constant.")}
    if constants:
        (only,) = saved
        saved = [{"name": only["name"],
                  "arguments": only["arguments"] | {name: values[index] for name, values in constants.items()}}
                 for index in range(n)]
    each = [remade(OPTIMIZERS[plain["name"]], plain["arguments"]) for plain in saved]
    if len(each) not in (1, n):
        raise ValueError(f"there are {shown(len(each))} optimizers for {n} members")
    return checked_optimizers(each[0] if len(each) == 1 else each, None, n)


def give_states(engine: PopulationEngine, tensors: Mapping[str, Array]) -> None:
    """Gives members their optimizers' state."""
    blocks: list[Array] = []
    while (name := f"optimizer.{len(blocks)}") in tensors:
        block = engine.block()
        block[...] = tensors[name]
        blocks.append(block)
    engine.set_states(tuple(blocks))
