"""Saving and loading: a network and the state of its training as a description and named tensors.

`parts` takes a network apart and `rebuilt` puts it together again, for pickle and copy as they
are, and for files (model_file.py) with everything in the description as plain data: a file holds
no code, and loading runs none. What a file cannot hold are Python functions: see `save`.

`restored` has all checks of what comes from outside. `rebuilt` asks it before it makes a network, and whatever
leaves has passed it too: nothing is written, copied or pickled that could not be read again.
"""

from __future__ import annotations

import copy
import json
import warnings
from dataclasses import asdict
from functools import singledispatch
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import schedules
from .._checks import shown
from ..core import aligned_zeros
from ..losses import Loss
from ..optimizers import OPTIMIZERS, check_epsilon, remade
from ..training.early_stopping import EarlyStopping, check_best, described, from_description
from ..training.lbfgs import LBFGS
from ..training.levenberg_marquardt import LevenbergMarquardt
from ..training.trainable import (
    Progress,
    at_rest,
    build,
    checked_arguments,
    engine_of,
    initializer_of,
    set_progress,
)
from .model_file import FormatError, check_depth, check_target, checked, read_model, write_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .._types import AnyOptimizer, Array, LossFunction, Network, Path

Description = dict[str, Any]        # what JSON can hold, and for pickle a Loss, a function or a Schedule too

SPARE = 4096                # bytes that training may add to a description: an optimizer, early stopping, longer counts
LONG_LIST = 64              # floats or more in a list of metadata: it is an array in the file
MOST_NUMBERS = 2**18        # floats in all these lists: in memory they take four times as much as in the file

KINDS: dict[str, type[AnyOptimizer]] = OPTIMIZERS | {"LBFGS": LBFGS, "LevenbergMarquardt": LevenbergMarquardt}

# Errors that `restored` and `rebuilt` raise for what are no parts of a network.
REFUSED = (AttributeError, LookupError, OverflowError, TypeError, ValueError)


def parts(network: Network) -> tuple[Description, dict[str, Array]]:
    """(description, tensors) of a network, all of one step."""
    with at_rest(network):
        return parts_at_rest(network)


def parts_at_rest(network: Network) -> tuple[Description, dict[str, Array]]:
    """`parts` of a network that no other thread is training now."""
    engine, optimizer, stopping = engine_of(network), network.optimizer, network.early_stopping
    tensors = {f"{kind}.{layer}": array.copy()
               for kind, arrays in (("weights", network.weights), ("biases", network.biases))
               for layer, array in enumerate(arrays)}
    description: Description = {
        "network": {
            "layer_sizes": list(network.layer_sizes), "activation": list(network.activations[:-1]),
            "output": network.activations[-1], "loss": engine.loss, "initializer": initializer_of(network),
            "dtype": network.dtype, "seed": network.seed, "dropout": list(network.dropout), "l1": network.l1,
            "l2": network.l2, "label_smoothing": network.label_smoothing,
        },
        "epochs_trained": network.epochs_trained, "steps_trained": engine.steps,
        "optimizer": None, "early_stopping": None, "metadata": network.metadata,
    }
    if optimizer is not None:
        if KINDS.get(type(optimizer).__name__) is not type(optimizer):
            raise TypeError(f"optimizer is a {type(optimizer).__name__}, but only optimizers of fastnn's own can be "
                            "saved and copied with their network")
        description["optimizer"] = {
            "name": type(optimizer).__name__, "arguments": optimizer.arguments(), "steps": optimizer.steps,
            "epochs": optimizer.epochs, "blocks": len(optimizer.state)}
        tensors |= {f"optimizer.{index}": engine.packed(block) for index, block in enumerate(optimizer.state)}
    if stopping is not None:
        description["early_stopping"] = described(stopping)
        best = stopping.best_parameters
        if best is not None:
            check_best(engine, best)
            tensors["early_stopping.best"] = engine.packed(best)
    return description, tensors


def checked_parts(network: Network) -> tuple[Description, dict[str, Array]]:
    """`parts` with a copy of the metadata; an error where `rebuilt` would raise one."""
    description, tensors = parts(network)
    description["metadata"] = copy.deepcopy(network.metadata)
    restored(description, tensors)
    return description, tensors


def restored(description: Description, tensors: Mapping[str, Array]
             ) -> tuple[AnyOptimizer | None, EarlyStopping | None]:
    """Checks parts without making a network. Returns its optimizer and its EarlyStopping, without their blocks.

    ValueError, KeyError and TypeError for what are no parts.
    """
    settings = description["network"]
    checked_arguments(**settings)
    check_tensors(tensors, **settings)
    sizes = settings["layer_sizes"]
    shape = (sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes)),)
    needed = {f"{part}.{layer}" for part in ("weights", "biases") for layer in range(len(sizes) - 1)}
    for name in ("epochs_trained", "steps_trained"):
        count(description, name)
    if not isinstance(metadata := description.get("metadata", {}), dict):       # which older files do not have
        raise TypeError(f"metadata is {shown(metadata)}, but must be a dictionary")

    optimizer, stopping = None, None
    if description["optimizer"] is not None:
        saved = description["optimizer"]
        optimizer = remade(KINDS[saved["name"]], saved["arguments"])
        optimizer.steps, optimizer.epochs = count(saved, "steps"), count(saved, "epochs")
        check_epsilon(saved["arguments"], settings["dtype"])
        blocks = count(saved, "blocks")
        if blocks and (isinstance(optimizer, LevenbergMarquardt) or (isinstance(optimizer, LBFGS) and blocks % 2)):
            raise ValueError(f"blocks is {blocks}, but must be 0 for LevenbergMarquardt, and even for LBFGS")
        for index in range(blocks):
            check_vector(name := f"optimizer.{index}", tensors[name], shape)
            needed.add(name)
    if description["early_stopping"] is not None:
        stopping = from_description(description["early_stopping"])
        if (name := "early_stopping.best") in tensors:
            check_vector(name, tensors[name], shape)
            needed.add(name)
    if unknown := tensors.keys() - needed:
        raise ValueError(f"there are tensors that no part needs: {', '.join(sorted(unknown))}")
    return optimizer, stopping


def rebuilt(kind: type[Network], description: Description, tensors: Mapping[str, Array]) -> Network:
    """The network that `parts` took apart; `kind` is its class. ValueError, KeyError and TypeError for other parts."""
    optimizer, stopping = restored(description, tensors)
    # `build` and not __init__: that would draw initial weights in vain, and a subclass's may have other arguments. What
    # it has set comes along by __setstate__.
    network = kind.__new__(kind, **description["network"])
    build(network, **description["network"])
    engine = engine_of(network)
    for layer in range(engine.n_layers):
        network.weights[layer][...] = tensors[f"weights.{layer}"]
        network.biases[layer][...] = tensors[f"biases.{layer}"]
    network.metadata = dict(description.get("metadata", {}))
    if optimizer is not None:
        if isinstance(optimizer, LBFGS):        # which keeps as many as there were iterations, up to a limit
            optimizer.set_owner(engine, tuple(aligned_zeros(engine.parameters.size, engine.dtype)
                                              for _ in range(description["optimizer"]["blocks"])))
        else:
            optimizer.bind(engine)
        for index, block in enumerate(optimizer.state):
            if (name := f"optimizer.{index}") in tensors:       # no, if momentum was set after the last fit
                engine.unpack(tensors[name], block)
    if stopping is not None:
        if "early_stopping.best" in tensors:
            stopping.best_parameters = np.zeros_like(engine.parameters)
            engine.unpack(tensors["early_stopping.best"], stopping.best_parameters)
        stopping.belong(engine)
    set_progress(network, Progress(optimizer, stopping, description["epochs_trained"], description["steps_trained"]))
    return network


def check_tensors(tensors: Mapping[str, Array], layer_sizes: Sequence[int], dtype: str, **_: object) -> None:
    """Refuses sizes that the tensors do not have, before anything is made for them, and other dtypes."""
    wrong = [name for name, array in tensors.items() if array.dtype != dtype]
    if wrong:
        raise ValueError(f"{wrong[0]} has dtype {tensors[wrong[0]].dtype}, but the network's is {dtype}")
    for layer, (n_in, n_out) in enumerate(zip(layer_sizes, layer_sizes[1:], strict=False)):
        shapes = tensors[f"weights.{layer}"].shape, tensors[f"biases.{layer}"].shape
        if shapes != ((n_in, n_out), (n_out,)):
            raise ValueError(f"the weights and biases of layer {layer} have shapes {shapes}, but its sizes are "
                             f"{n_in}, {n_out}")


def check_vector(name: str, values: Array, shape: tuple[int, ...]) -> None:
    """Refuses a tensor that is not as long as there are parameters."""
    if values.shape != shape:
        raise ValueError(f"{name} has shape {values.shape}, but there are {shape[0]} parameters")


def count(description: Description, name: str) -> int:
    """A number of steps or epochs."""
    value = description[name]
    if type(value) is not int or not 0 <= value < 2**62:
        raise ValueError(f"{name} is {shown(value)}, but must be a count")
    return value


def save(network: Network, path: Path) -> None:
    """Writes a network to a file. A Python loss is left out, and `load` asks for it; of a learning rate that is a
    Python function the latest value is kept, with a warning. What `load` would refuse is an error before the disk is
    touched."""
    description, tensors, lost = plain_parts(network)
    write_model(path, description, tensors)
    if lost is not None:
        latest = description["optimizer"]["arguments"]["learning_rate"]
        warnings.warn(f"learning_rate is {lost!r}, and a file cannot hold a Python function: who loads the network "
                      f"goes on with the latest rate, {latest:g}, and must set optimizer.learning_rate again",
                      stacklevel=3)


@singledispatch
def check_saveable(network: Any, path: Path | None = None) -> None:
    """Raises what `save` would raise for this network, now or after training, and for this path. Writes nothing.
    Other models that have a `save` register what checks it for them."""
    checked(*plain_parts(network)[:2], spare=SPARE)
    if path is not None:
        check_target(path)


def plain_parts(network: Network) -> tuple[Description, dict[str, Array], schedules.Schedule | None]:
    """`parts` for a file, JSON and arrays alone, which have passed the reader's checks; and a learning rate that a file
    cannot hold."""
    description, tensors = parts(network)
    check_metadata(description["metadata"])
    take_lists(description, tensors)
    trained: Any = network.optimizer
    loss = description["network"]["loss"]
    description["network"]["loss"] = asdict(loss) if isinstance(loss, Loss) else None
    lost: schedules.Schedule | None = None
    rate = getattr(trained, "learning_rate", None)      # those over all rows have none
    if isinstance(rate, schedules.Schedule):
        saved: Any = plain_schedule(rate)
        if saved is None:
            saved, lost = max(trained.last_rate, 1e-300), rate        # 0 would be no learning rate
        description["optimizer"]["arguments"]["learning_rate"] = saved
    try:
        read, arrays = json.loads(json.dumps(description)), dict(tensors)
        put_back(read, arrays)
        restored(understood(read), arrays)
    except REFUSED as error:
        raise ValueError(f"the network was not saved, as fastnn.load would refuse it: {error}") from error
    return description, tensors, lost


def plain_schedule(rate: schedules.Schedule) -> Description | None:
    """A schedule as JSON holds it; None for a Python function and for a schedule of the user's own."""
    try:
        saved = {"settings": rate.settings(), "state": rate.state()}
        return saved if schedules.from_settings(saved["settings"]) == rate else None
    except (TypeError, ValueError):
        return None


def take_lists(description: Description, tensors: dict[str, Array]) -> None:
    """Moves long lists of floats from the metadata to the tensors; `put_back` is the way back."""
    description["metadata"], lists = without_lists(description["metadata"])
    if (numbers := sum(map(len, lists.values()))) > MOST_NUMBERS:
        raise ValueError(f"metadata holds lists of {numbers} floats, but must hold {MOST_NUMBERS} at most; keep them "
                         "in a file of their own")
    if lists:
        description["metadata_lists"] = [list(place) for place in lists]
        tensors |= {f"metadata.{index}": array for index, array in enumerate(lists.values())}


def without_lists(value: Any, place: tuple[str | int, ...] = ()) -> tuple[Any, dict[tuple[str | int, ...], Array]]:
    """Metadata with None in the place of every long list of floats, and these lists as arrays, by their places."""
    if isinstance(value, list) and len(value) >= LONG_LIST and all(type(each) is float for each in value):
        return None, {place: np.array(value)}
    if not isinstance(value, dict | list):
        return value, {}
    lists: dict[tuple[str | int, ...], Array] = {}
    result: Any = {} if isinstance(value, dict) else [None] * len(value)
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        result[key], found = without_lists(inner, (*place, key))
        lists |= found
    return result, lists


def put_back(description: Description, tensors: dict[str, Array]) -> None:
    """Moves the lists that are tensors back to their places in the metadata. A wrong file gives errors of any kind."""
    metadata, left = description.get("metadata", {}), MOST_NUMBERS
    if not isinstance(metadata, dict):
        raise TypeError(f"metadata is a {type(metadata).__name__}, but must be a dictionary")
    for index, (*place, last) in enumerate(description.pop("metadata_lists", ())):
        values = tensors.pop(f"metadata.{index}")
        if values.ndim != 1 or values.dtype != np.float64:
            raise ValueError(f"metadata.{index} has shape {values.shape} and dtype {values.dtype}, but must be "
                             "a list of floats")
        left -= len(values)
        if left < 0 or not np.isfinite(values).all():
            raise ValueError(f"metadata.{index} holds NaN or infinity, or more numbers than fit")
        holder = metadata
        for key in place:
            holder = holder[key]
        if holder[last] is not None:
            raise ValueError(f"metadata.{index} belongs where {holder[last]!r:.80} is")
        holder[last] = values.tolist()


def check_metadata(metadata: Any) -> None:
    """Refuses metadata that JSON does not hold, or not as they are."""
    if not isinstance(metadata, dict):
        raise TypeError(f"metadata is {shown(metadata)}, but must be a dictionary")
    check_depth(metadata)
    for name, value in metadata.items():
        try:
            kept = json.loads(json.dumps({name: value}, allow_nan=False))
        except (TypeError, ValueError):
            kept = None
        if kept != {name: value}:
            raise TypeError(f"metadata[{shown(name)}] is not made of what JSON holds as it is: dictionaries with text "
                            "as keys, lists, text, finite numbers, True, False, None")


def understood(description: Description) -> Description:
    """A description that came from JSON, with its Loss and its Schedule as objects: what `rebuilt` takes."""
    network, optimizer = description["network"], description["optimizer"]
    network["loss"] = unknown_loss if network["loss"] is None else Loss(**network["loss"])
    if optimizer is not None and isinstance(saved := optimizer["arguments"].get("learning_rate"), dict):
        optimizer["arguments"]["learning_rate"] = schedule_of(saved)
    check_metadata(description.get("metadata", {}))
    return description


def schedule_of(saved: Description) -> schedules.Schedule:
    """The schedule that `plain_schedule` described."""
    schedule = schedules.from_settings(saved["settings"])
    schedule.set_state(saved["state"])
    return schedule


def load(kind: type[Network], path: Path, loss: LossFunction | None) -> Network:
    """The network that `save` wrote."""
    description, tensors = read_model(path)
    if "network" not in description:
        how = ("a population, but a network was expected: load it with fastnn.Population.load"
               if "population" in description else "a model of a table, but a network was expected: load it with "
               "fastnn.TableClassifier.load or fastnn.TableRegressor.load")
        raise FormatError(f"{path} holds {how}")
    try:
        put_back(description, tensors)
        network = understood(description)["network"]
        named = network["loss"] is not unknown_loss
        if not named and callable(loss):
            network["loss"] = loss
        result = rebuilt(kind, description, tensors)
    except REFUSED as error:
        raise FormatError(f"{path} is not a valid model: {type(error).__name__}: {error}") from None
    if named:
        if loss is not None:
            raise TypeError(f"loss is {loss!r}, but the network in {path} has its own: leave it out")
        return result
    if loss is None:
        raise TypeError(f"loss is None, but the network in {path} learned with a Python function, which a file cannot "
                        "hold; pass it: fastnn.load(path, loss=…)")
    if not callable(loss):
        raise TypeError(f"loss is {loss!r}, but must be a function (outputs, targets) -> (value, gradient)")
    return result


def unknown_loss(outputs: Array, targets: Array) -> tuple[float, Array]:
    """Stands for the Python loss that a file could not hold."""
    raise NotImplementedError
