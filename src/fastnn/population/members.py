"""Which members go through the layers together, and what each of them has of a setting that may be one for all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import checked_integer, is_number, number, plain, real_array, sequence

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._types import Array, Integers


def one_each(name: str, values: Any, n: int, check: Callable[[str, Any], Any]) -> list[Any]:
    """A value for each member, checked: the same for all, or a sequence of n."""
    values = plain(values)
    if is_number(values):
        return [check(name, values)] * n
    listed = sequence(name, values, f"be a number for all members, or a sequence of {n}, one for each")
    if len(listed) != n:
        raise ValueError(f"{name} holds {len(listed)} values, but there are {n} members: pass a number for all, or one "
                         "for each")
    return [check(f"{name}[{member}]", value) for member, value in enumerate(listed)]


def checked_seeds(seeds: Any, n: int) -> tuple[int, ...]:
    """The seed of each member; None is 0, 1, …, and a number is the seed of all."""
    if seeds is None:
        return tuple(range(n))
    return tuple(one_each("seeds", seeds, n, lambda name, value: checked_integer(name, value, 0, 2**64 - 1)))


def checked_dropout(dropout: Any, n: int, hidden: int) -> Array:
    """float64 (n, hidden): the share of each member's hidden layers."""
    shares = np.zeros((n, hidden))
    if is_number(plain(dropout)):
        shares[:] = number("dropout", plain(dropout), low=0, high=1)
        return shares
    values = real_array("dropout", dropout)
    if values.shape not in ((n,), (n, hidden)):
        raise ValueError(f"dropout has shape {values.shape}, but must be a number, ({n},) with one for each member, or "
                         f"({n}, {hidden}) with one for each of its hidden layers")
    shares[:] = values if values.ndim == 2 else values[:, None]
    for member in range(n):
        for share in shares[member]:
            number(f"dropout of member {member}", share, low=0, high=1)
    return shares


def grouped(members: Sequence[int], keys: Sequence[Any], size: int) -> tuple[list[int], Integers]:
    """Members in the order in which they go through the layers, and groups of these (groups, 2): the place of the first
    and how many, at most `size` members with equal keys each. The largest group comes first."""
    alike: dict[Any, list[int]] = {}
    for member in members:
        alike.setdefault(keys[member], []).append(member)
    parts = [alike[key][first:first + size] for key in sorted(alike) for first in range(0, len(alike[key]), size)]
    parts.sort(key=len, reverse=True)
    counts = np.array([len(part) for part in parts], np.intp)
    return [member for part in parts for member in part], np.stack([np.cumsum(counts) - counts, counts], axis=1)
