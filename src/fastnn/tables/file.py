"""The file of a table's model: the recipe and the report in clear text, and each layer of all members as one array.

It is a safetensors file like a Network's (storage/model_file.py), with a checksum, and holds no code. What `load` would
refuse is never written. Where a table has hundreds of columns of numbers without bins, what is known of these stands in
arrays, too, as a header has room for some thousand columns alone.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._checks import checked_sizes, shown
from ..network import Network
from ..storage.model_file import FormatError, check_target, checked, read_model, write_model
from .recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .._types import Array, Path

KEY = "table_model"         # of the description
EARLIER = "fastnn.table"    # of the metadata of networks that earlier versions trained from tables
SPARE = 2**15               # characters that a report may take
PARTS = {"recipe", "report", "layer_sizes", "activations", "seeds"}
MOST_MEMBERS = 1000
MOST_SIMPLE = 256           # columns of numbers, read and encoded in the simplest way, that stand in clear text
SIMPLE = {"simple.place": np.int64, "simple.gaps": np.int64, "simple.median": np.float64, "simple.scale": np.float64}
REFUSED = (AttributeError, LookupError, OverflowError, TypeError, ValueError)


class NoTable(FormatError):
    """A file of a network that learned from arrays."""


class Contents(NamedTuple):
    """What a file holds."""

    recipe: Recipe
    networks: list[Network]
    report: dict[str, Any] | None       # as `Report.as_metadata` wrote it


def parts(recipe: Recipe, networks: Sequence[Network],
          report: dict[str, Any] | None) -> tuple[dict[str, Any], dict[str, Array]]:
    """(description, tensors): layer i of all members is weights.i (members, n_in, n_out) and biases.i."""
    first = networks[0]
    description = {KEY: {"recipe": recipe.as_metadata(), "report": report, "layer_sizes": list(first.layer_sizes),
                         "activations": list(first.activations), "seeds": [network.seed for network in networks]}}
    tensors: dict[str, Array] = {
        f"{part}.{layer}": np.stack([getattr(network, part)[layer] for network in networks])
        for part in ("weights", "biases") for layer in range(len(first.weights))}
    return description, tensors | take_simple(description[KEY])


def take_simple(plain: dict[str, Any]) -> dict[str, Array]:
    """Moves columns of numbers without bins to arrays, if they are many: all but their names, which become a list."""
    recipe = plain["recipe"]
    columns, readings = recipe["encoding"]["columns"], recipe["readings"]
    places = [place for place, (column, reading) in enumerate(zip(columns, readings, strict=True))
              if reading == {"kind": "number"} and column["kind"] == "number" and not column["edges"]]
    if len(places) <= MOST_SIMPLE:
        return {}
    simple, taken = [columns[place] for place in places], set(places)
    plain["simple"] = [column["name"] for column in simple]
    recipe["encoding"]["columns"] = [column for place, column in enumerate(columns) if place not in taken]
    recipe["readings"] = [reading for place, reading in enumerate(readings) if place not in taken]
    values = [places, *([column[part] for column in simple] for part in ("gaps", "median", "scale"))]
    return {name: np.array(each, dtype) for (name, dtype), each in zip(SIMPLE.items(), values, strict=True)}


def put_simple_back(plain: dict[str, Any], tensors: dict[str, Array]) -> None:
    """Undoes `take_simple`. A wrong file gives errors of any kind."""
    if "simple" not in plain:
        return
    names = plain.pop("simple")
    arrays = [tensors.pop(name) for name in SIMPLE]
    for array, (name, dtype) in zip(arrays, SIMPLE.items(), strict=True):
        if array.shape != (len(names),) or array.dtype != dtype:
            raise ValueError(f"{name} has shape {array.shape} and dtype {array.dtype}")
    columns, readings = plain["recipe"]["encoding"]["columns"], plain["recipe"]["readings"]
    for name, place, gaps, median, scale in zip(names, *(array.tolist() for array in arrays), strict=True):
        columns.insert(place, {"kind": "number", "name": name, "median": median, "scale": scale, "gaps": bool(gaps),
                               "edges": []})
        readings.insert(place, {"kind": "number"})


def check_saveable(recipe: Recipe, networks: Sequence[Network], path: Path | None = None) -> None:
    """Raises what `save` would raise for such a model, and for this path. Called before training."""
    checked(*parts(recipe, networks, None), spare=SPARE)
    if path is not None:
        check_target(path)


def save(path: Path, recipe: Recipe, networks: Sequence[Network], report: dict[str, Any] | None) -> None:
    """Writes a model."""
    description, tensors = parts(recipe, networks, report)
    try:
        contents_of(json.loads(json.dumps(description)), dict(tensors))
    except REFUSED as error:
        raise ValueError(f"the model was not saved, as it could not be loaded again: {error}") from error
    write_model(path, description, tensors)


def load(path: Path) -> Contents:
    """What `save` wrote; FormatError for anything else."""
    description, tensors = read_model(path)
    if EARLIER in description.get("metadata", {}):
        raise FormatError(f"{path} holds a table's model of an earlier fastnn: train it again with this one")
    if KEY not in description:
        raise NoTable(f"{path} holds a network that learned from arrays, but a table's model was expected: load it "
                      "with fastnn.load")
    try:
        return contents_of(description, tensors)
    except REFUSED as error:
        raise FormatError(f"{path} is not a valid model: {error}") from None


def contents_of(description: dict[str, Any], tensors: dict[str, Array]) -> Contents:
    """The model that `parts` took apart. ValueError, KeyError and TypeError for other parts."""
    plain = description[KEY]
    put_simple_back(plain, tensors)
    if plain.keys() != PARTS:
        raise ValueError(f"its parts are {shown(list(plain))}")
    recipe, seeds = Recipe.from_metadata(plain["recipe"]), plain["seeds"]
    if not isinstance(plain["report"], dict | None):
        raise TypeError(f"the report is {shown(plain['report'])}")
    if not isinstance(seeds, list) or not 1 <= len(seeds) <= MOST_MEMBERS:
        raise ValueError(f"the seeds are {shown(seeds)}")
    sizes = checked_sizes(plain["layer_sizes"])
    if (sizes[0], sizes[-1]) != (len(recipe.encoding.names()), recipe.n_outputs):
        raise ValueError(f"the networks have {sizes[0]} inputs and {sizes[-1]} outputs, but the table has others")
    check_tensors(tensors, sizes, len(seeds))
    *hidden, output = plain["activations"]
    if output != ("identity" if recipe.classes is None else "softmax"):
        raise ValueError(f"the networks' last activation is {shown(output)}, but the target needs another")
    return Contents(recipe, [member(Network(sizes, hidden, output, seed=seed),
                                    {name: array[index] for name, array in tensors.items()})
                             for index, seed in enumerate(seeds)], plain["report"])


def check_tensors(tensors: Mapping[str, Array], sizes: Sequence[int], members: int) -> None:
    """Refuses arrays of other names, shapes or dtypes, before a network is made for them."""
    shapes: dict[str, tuple[int, ...]] = {
        f"weights.{layer}": (members, *shape) for layer, shape in enumerate(pairwise(sizes))}
    shapes |= {f"biases.{layer}": (members, n_out) for layer, n_out in enumerate(sizes[1:])}
    if tensors.keys() != shapes.keys():
        raise ValueError(f"there are the arrays {shown(sorted(tensors))}, but {shown(sorted(shapes))} were expected")
    for name, shape in shapes.items():
        if tensors[name].shape != shape or tensors[name].dtype != np.float32:
            raise ValueError(f"{name} has shape {tensors[name].shape} and dtype {tensors[name].dtype}, but must have "
                             f"{shape} and float32")
        if not np.isfinite(tensors[name]).all():
            raise ValueError(f"{name} holds NaN or infinity")


def member(network: Network, tensors: Mapping[str, Array]) -> Network:
    """A network, given these parameters."""
    for layer, (weights, biases) in enumerate(zip(network.weights, network.biases, strict=True)):
        weights[...] = tensors[f"weights.{layer}"]
        biases[...] = tensors[f"biases.{layer}"]
    return network
