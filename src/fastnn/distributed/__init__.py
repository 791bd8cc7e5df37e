"""Training on several machines at once: data-parallel, over MPI.

Every process (a *rank*) holds a part of the rows and a copy of the network. In each step it computes
the gradient of its part of the batch; the gradients are added together, and every rank takes the same
step. A script for one process becomes one for many by an argument::

    # mpiexec -n 4 python train.py
    from mpi4py import MPI
    mine = fastnn.distributed.local_rows(len(X))
    net.fit(X[mine], y[mine], batch_size=512, communicator=MPI.COMM_WORLD)

Transport is MPI's, by mpi4py: pip install ".[mpi]", which brings `mpiexec` too.
"""

from __future__ import annotations

from typing import Any

from .._checks import checked_integer, number
from ..training.ranks import Ranks
from .ranks import SeveralRanks, intracommunicator
from .shards import bounds_of

__all__ = ["DataParallel", "local_rows"]


class DataParallel:
    """How ranks train together: a communicator and its settings, for `fit(communicator=…)`.

    Parameters
    ----------
    communicator : mpi4py.MPI.Intracomm or None
        The ranks that train. None is MPI.COMM_WORLD. fastnn uses a copy of it.
    shards : int or None
        The number of parts into which the rows are divided, a power of two. Their gradients are added
        in a fixed order, so 1, 2, 4, … up to `shards` ranks give the same bits. Divide the rows with
        `local_rows` then. None is one part for each rank. This is the fastest, and gives the same bits
        for the same number of ranks.
    sync_every : int
        The number of steps from one exchange to the next. 1 adds gradients in every step. With more, each rank trains
        alone on its part of every batch. Then the parameters and the optimizer's state are averaged (local SGD; Stich,
        2019). This helps if a step is shorter than an exchange. At the end of an epoch all ranks are equal.
    timeout : float
        How many seconds a rank waits for the others at a time. Then the ranks that do not answer are
        named on stderr, and MPI_Abort ends the job.
    """

    def __init__(self, communicator: Any = None, *, shards: int | None = None, sync_every: int = 1,
                 timeout: float = 300.0) -> None:
        self.communicator = intracommunicator(communicator)
        self.shards = None if shards is None else checked_integer("shards", shards, 1)
        self.sync_every = checked_integer("sync_every", sync_every, 1)
        self.timeout = number("timeout", timeout, low=0, open_low=True)
        if self.shards is not None:
            if self.shards & (self.shards - 1):
                raise ValueError(f"shards is {shards}, but must be a power of two, as halves of halves are added")
            if self.shards % self.communicator.size:
                raise ValueError(f"shards is {shards}, which {self.communicator.size} ranks cannot share evenly; "
                                 "run a power of two of them, as many as shards or fewer")
            if self.sync_every > 1:
                raise ValueError(f"shards is {shards} and sync_every is {sync_every}, but only one of them can be "
                                 "given: without a sum in every step there is no order to fix")

    def __repr__(self) -> str:
        return (f"DataParallel({self.communicator.size} ranks, shards={self.shards}, sync_every={self.sync_every}, "
                f"timeout={self.timeout:g})")

    def joined(self) -> Ranks:
        """The ranks of one fit."""
        return SeveralRanks(self.communicator, self.shards or self.communicator.size, self.sync_every, self.timeout)


def joined(communicator: Any) -> Ranks:
    """The ranks of one fit, from what it was given."""
    if not isinstance(communicator, DataParallel):
        communicator = DataParallel(communicator)
    return communicator.joined()


def local_rows(n: int, communicator: Any = None) -> slice:
    """The slice of n rows that belongs to this rank. The lengths of all ranks differ by one row at most.

    `communicator` is an mpi4py communicator; None is MPI.COMM_WORLD.
    """
    communicator = intracommunicator(communicator)
    n = checked_integer("n", n, 0)
    first, last = bounds_of(n, communicator.size)[communicator.rank:communicator.rank + 2]
    return slice(first, last)
