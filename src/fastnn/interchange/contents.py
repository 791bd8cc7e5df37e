"""What writers take from a network: its layers, all of one moment, and the names of its inputs and outputs. And what a
file says of them, in JSON."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING

from .._checks import sequence

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .._types import FloatArray
    from ..network import Network


def layers(network: Network) -> list[tuple[FloatArray, FloatArray, str]]:
    """A network's layers in order: (weights (n_in, n_out), biases (n_out,), name of the activation).

    They are copies, all of one moment: another thread may train the network.
    """
    return [(weights, biases, activation) for (weights, biases), activation in zip(
        divided(network.layer_sizes, network.get_parameters()), network.activations, strict=True)]


def divided(layer_sizes: tuple[int, ...], parameters: FloatArray) -> Iterator[tuple[FloatArray, FloatArray]]:
    """The weights and the biases of each layer in parameters (n_parameters,)."""
    start = 0
    for n_in, n_out in pairwise(layer_sizes):
        middle, end = start + n_in * n_out, start + (n_in + 1) * n_out
        yield parameters[start:middle].reshape(n_in, n_out), parameters[middle:end]
        start = end


def checked_names(network: Network, columns: Iterable[object] | None,
                  classes: Iterable[object] | None) -> dict[str, list[str]]:
    """{"columns": names, "classes": names}, without what is None: one name for each input, and one for each output.

    One sigmoid output has two classes: no and yes.
    """
    n_outputs = network.layer_sizes[-1]
    pair = n_outputs == 1 and network.activations[-1] == "sigmoid"
    result = {}
    for argument, names, n, what in (("columns", columns, network.layer_sizes[0], "inputs"),
                                     ("classes", classes, 2 if pair else n_outputs, "outputs")):
        if names is None:
            continue
        texts = result[argument] = [str(name) for name in sequence(argument, names, "be a sequence of names")]
        if len(texts) != n:
            raise ValueError(f"{argument} has {len(texts)} names, but {n} were expected for the network's {what}")
    return result


def in_json(value: object) -> str:
    """A plain value in JSON that UTF-8 can hold: a lone surrogate is escaped."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
