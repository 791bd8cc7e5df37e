"""A recipe: what a model knows of the table that it learned from, from a row's cells to the answer.

It is made of plain values: a model file holds it in clear text, and exports are written from it. `task.py` makes it,
and whoever has networks and a recipe predicts. Networks are only asked to predict here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import shown
from .columns import convert
from .encoding import Encoding
from .kinds import Column, Reading
from .reading import did_you_mean, listed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ..network import Network
    from .reading import Table

Label = str | int | float | bool

ROWS_AT_ONCE = 8192         # that are encoded and predicted: their features stay within some ten megabytes
MOST_SHOWN = 10             # columns, in a sentence


@dataclass(frozen=True)
class Recipe:
    """What is learned, from which columns, how these are read and encoded, and what outputs mean.

    A model's answer is the mean over its networks: of the probabilities of classes, or of mean + scale * output.
    """

    target: str
    readings: dict[str, Reading]            # of the columns, in order: how cells are read
    encoding: Encoding                      # of the same columns, in the same order
    classes: tuple[Label, ...] | None       # of the outputs; None where the target is a number
    mean: float = 0.0
    scale: float = 1.0

    @property
    def n_outputs(self) -> int:
        """Of each network."""
        return 1 if self.classes is None else len(self.classes)

    def columns(self, table: Table) -> dict[str, Column]:
        """The columns of a table, read as those that trained; ValueError where one is missing or cannot be read."""
        missing = [name for name in self.readings if name not in table.cells]
        if missing:
            there = listed(list(map(repr, table.cells)), MOST_SHOWN)
            raise ValueError(f"{table.path} has no column {listed(list(map(repr, missing)), MOST_SHOWN)}, which "
                             f"the model needs; it has {there}{did_you_mean(missing[0], table.cells)}")
        try:
            return {name: convert(name, reading, table.cells[name], table.first_row)
                    for name, reading in self.readings.items()}
        except ValueError as error:
            raise ValueError(f"{table.path}: {error}") from None

    def answers(self, networks: Sequence[Network], columns: Mapping[str, Column]) -> NDArray[np.float64]:
        """Probabilities (n, classes), or numbers (n,), for the rows of such columns."""
        rows = len(next(iter(columns.values())).values)
        result = np.empty((rows, self.n_outputs))
        for start in range(0, rows, ROWS_AT_ONCE):
            some = np.arange(start, min(start + ROWS_AT_ONCE, rows))
            X = self.encoding.apply(columns, rows=some)
            result[some] = mean_outputs(networks, X)
        return result if self.classes is not None else self.numbers(result)

    def numbers(self, outputs: NDArray[np.floating]) -> NDArray[np.float64]:
        """What outputs (n, 1) say of the target (n,)."""
        return self.mean + self.scale * outputs[:, 0].astype(np.float64)

    def targets(self, y: NDArray[Any]) -> NDArray[Any]:
        """What networks learn of the target: numbers of classes (n,), or standardised numbers (n, 1)."""
        return y if self.classes is not None else ((y - self.mean) / self.scale)[:, None].astype(np.float32)

    def as_metadata(self) -> dict[str, Any]:
        """Plain values, for a model file."""
        return {"target": self.target, "readings": [reading.as_metadata() for reading in self.readings.values()],
                "encoding": self.encoding.as_metadata(),
                "classes": None if self.classes is None else list(self.classes), "mean": self.mean, "scale": self.scale}

    @classmethod
    def from_metadata(cls, plain: object) -> Recipe:
        """What `as_metadata` wrote; ValueError for anything else."""
        try:
            return cls._from_metadata(plain)
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise ValueError(f"what the model says of its table is not what fastnn writes: {error}") from None

    @classmethod
    def _from_metadata(cls, plain: Any) -> Recipe:
        """`from_metadata` with errors of any kind."""
        if plain.keys() != {"target", "readings", "encoding", "classes", "mean", "scale"}:
            raise ValueError(f"its parts are {shown(list(plain))}")
        encoding = Encoding.from_metadata(plain["encoding"])
        readings = [Reading.from_metadata(reading) for reading in plain["readings"]]
        if [column.kind for column in encoding.columns] != [reading.kind for reading in readings]:
            raise ValueError("columns are encoded in another way than they are read")
        if not isinstance(plain["target"], str):
            raise TypeError(f"target is {shown(plain['target'])}")
        for part in ("mean", "scale"):
            if type(plain[part]) is not float or not np.isfinite(plain[part]):
                raise ValueError(f"{part} is {shown(plain[part])}")
        return cls(plain["target"], {column.name: reading for column, reading in zip(encoding.columns, readings,
                                                                                    strict=True)},
                   encoding, checked_classes(plain["classes"]), plain["mean"], plain["scale"])


def mean_outputs(networks: Sequence[Network], X: NDArray[np.floating]) -> NDArray[np.float64]:
    """The mean over networks of their outputs (n, n_outputs), summed in their order."""
    total = networks[0].predict(X).astype(np.float64)
    for network in networks[1:]:
        total += network.predict(X)
    return total / len(networks)


def checked_classes(plain: object) -> tuple[Label, ...] | None:
    """Classes as a model file holds them: two at least, all different."""
    if plain is None:
        return None
    if not isinstance(plain, list) or len(plain) < 2 or len({str(label) for label in plain}) != len(plain):
        raise ValueError(f"classes are {shown(plain)}")
    if not all(isinstance(label, str | int | float) for label in plain):
        raise TypeError(f"classes are {shown(plain)}")
    return tuple(plain)
