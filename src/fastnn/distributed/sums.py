"""Sums of arrays in one fixed order, whoever computes them: for the ranks' blocks, and for a rank's shards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._types import Array


def add_in_pairs(parts: Sequence[Array] | Array, out: Array, room: Sequence[Array] | Array) -> None:
    """out := the sum of the parts: neighbours first, then neighbours of these, a tree. So the sum of 8 parts is that
    of 2 sums of 4, bit for bit. `room` is for half as many arrays, and may be the parts themselves."""
    while len(parts) > 2:
        pairs = zip(parts[::2], parts[1::2], room, strict=False)
        parts = [*(np.add(a, b, out=c) for a, b, c in pairs), *parts[len(parts) // 2 * 2:]]
    if len(parts) == 2:
        np.add(parts[0], parts[1], out=out)
    else:
        np.copyto(out, parts[0])
