"""What exports of a table's model share: checks of its networks, and what counts as a gap where there is no text.

Exports take values, not cells: a number for numbers and dates, a text for categories. onnx_export.py and c_export.py
write them, and are the only callers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..training.trainable import checked_network
from .numerals import plain_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..network import Network
    from .kinds import Reading
    from .recipe import Recipe


def checked_members(recipe: Recipe, networks: Sequence[Network]) -> list[Network]:
    """Networks that answer for such a table: one at least, all of one shape, in float32."""
    members = [checked_network(network) for network in networks]
    if not members:
        raise ValueError("networks is empty, but a model has one network at least")
    first = members[0]
    expected = len(recipe.encoding.names()), recipe.n_outputs
    if (first.layer_sizes[0], first.layer_sizes[-1]) != expected:
        raise ValueError(f"a network has {first.layer_sizes[0]} inputs and {first.layer_sizes[-1]} outputs, but the "
                         f"recipe needs {expected[0]} and {expected[1]}: pass the networks that belong to it")
    for member in members:
        if (member.layer_sizes, member.activations) != (first.layer_sizes, first.activations):
            raise ValueError(f"networks are {first!r} and {member!r}, but all members of a model have one shape")
        if member.dtype != "float32":
            raise ValueError(f"a network has dtype {member.dtype}, but members of a table's model are float32")
    return members


def gap_numbers(reading: Reading) -> list[float]:
    """Numbers, or seconds since 1970, that are gaps as the user named them, such as -200."""
    found = {reading.value(text) for text in reading.gaps}
    if reading.kind == "number":
        found |= {plain_number(text) for text in reading.gaps}
    return sorted(float(number) for number in found if number is not None)


def described(reading: Reading) -> str:
    """What to pass for a cell of a column, in a few words."""
    if reading.kind == "number":
        return f"number{reading.described()}"
    return "seconds since 1970" if reading.kind == "date" else "text"
