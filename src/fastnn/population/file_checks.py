"""What a population's file must be: its description and its arrays, checked before a population is made of them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import checked_integer, checked_sizes, number, shown
from ..training.trainable import checked_arguments
from .members import checked_dropout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._types import Array

KEY = "population"          # of the description
PARTS = {"network", "optimizers", "early_stopping"}
STOPPING = {"best": np.float64, "best_epoch": np.int64, "waited": np.int64}


def checked_plain(description: dict[str, Any]) -> dict[str, Any]:
    """What a description says of a population."""
    plain = description[KEY]
    if not isinstance(plain, dict) or plain.keys() != PARTS or not isinstance(plain["network"], dict):
        raise ValueError(f"its parts are {shown(plain)}")
    stopping = plain["early_stopping"]
    if stopping is not None and not isinstance(stopping["best_of"], str | None):
        raise TypeError(f"best_of is {shown(stopping['best_of'])}")
    return plain


def check_tensors(tensors: Mapping[str, Array], plain: dict[str, Any]) -> None:
    """Refuses arrays of other names, shapes, dtypes or values."""
    network, n = plain["network"], len(tensors["seeds"])
    if n == 0:
        raise ValueError("it has no members")
    checked_arguments(**network, seed=0, dropout=0.0, l1=0.0, l2=0.0)
    for name, (shape, dtype) in expected(tensors, plain, n).items():
        if tensors[name].shape != shape or tensors[name].dtype != dtype:
            raise ValueError(f"{name} has shape {tensors[name].shape} and dtype {tensors[name].dtype}, but must have "
                             f"{shape} and {np.dtype(dtype)}")
    for name in ("counts", "early_stopping.best_epoch", "early_stopping.waited"):
        values = tensors.get(name, np.zeros(0, np.int64))
        for extreme in (values.min(initial=0), values.max(initial=0)):
            checked_integer(name, int(extreme), 0, 2**62 - 1)
    for name in ("l1", "l2"):
        for penalty in tensors[name].tolist():
            number(name, penalty, low=0)
    checked_dropout(tensors["dropout"], n, len(network["layer_sizes"]) - 2)


def expected(tensors: Mapping[str, Array], plain: dict[str, Any], n: int) -> dict[str, tuple[tuple[int, ...], Any]]:
    """{name: (shape, dtype)} of the arrays; ValueError where there are others."""
    sizes, dtype = checked_sizes(plain["network"]["layer_sizes"]), np.dtype(plain["network"]["dtype"])
    block = (n, sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes)))
    result: dict[str, tuple[tuple[int, ...], Any]] = {
        "parameters": (block, dtype), "counts": ((n, 4), np.int64), "seeds": ((n,), np.int64),
        "dropout": ((n, len(sizes) - 2), np.float64), "l1": ((n,), np.float64), "l2": ((n,), np.float64)}
    if plain["optimizers"] is not None:
        blocks = sum(name.startswith("optimizer.") for name in tensors)
        result |= {f"optimizer.{index}": (block, dtype) for index in range(blocks)}
        result |= {name: ((n,), np.float64) for name in tensors if name.startswith("constant.")}
    if plain["early_stopping"] is not None:
        result |= {f"early_stopping.{name}": ((n,), kind) for name, kind in STOPPING.items()}
        result["early_stopping.best_parameters"] = block, dtype
    if tensors.keys() != result.keys():
        raise ValueError(f"there are the arrays {shown(sorted(tensors))}, but {shown(sorted(result))} were expected")
    return result
