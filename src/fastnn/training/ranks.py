"""What a fit asks of the processes among which its rows are divided (ranks): here one process has them all.

`fit`, its sources of rows and its metrics call these methods wherever several ranks must agree or add something up.
`SeveralRanks` (distributed/ranks.py) answers for several.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from .evaluation import mean_loss

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._types import AnyOptimizer, Array, FloatArray, Network, Source
    from ..core import Engine, Rows


class Ranks:
    """One process, which trains alone.

    `distributed.ranks.SeveralRanks` are several, which train together.
    """

    rank, size = 0, 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        pass

    def gathered(self, about: str, value: Any) -> list[Any]:
        """Every rank's value."""
        return [value]

    def common(self, error: Exception) -> Exception:
        """The error, which every rank raises: all of them have found the same."""
        return error

    def joined_rows(self, about: str, array: Array) -> Array:
        """The rows of every rank's array, one below the other."""
        return array

    def agree(self, network: Network, optimizer: AnyOptimizer, **arguments: object) -> None:
        """Training begins; ranks that differ in these are refused."""

    def threads(self, most: int | None) -> int | None:
        """The most threads that share a step."""
        return most

    def divided(self, engine: Engine, source: Source, batch: int) -> Source:
        """The source of this rank's part in every batch."""
        return source

    def mean_loss_of(self, network: Network, rows: Rows) -> Callable[[], float]:
        """A function that returns the mean loss over every rank's rows."""
        return lambda: mean_loss(network, rows)

    def gradients_of(self, network: Network, rows: Rows) -> Callable[[FloatArray], tuple[float, FloatArray]] | None:
        """A function of a block of parameters: the mean loss over every rank's rows, and its gradient, a block. None
        where one process has all rows, as its engine needs no such function."""
        return None


ONE: Ranks = Ranks()
