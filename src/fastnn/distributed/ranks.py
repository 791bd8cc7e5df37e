"""The ranks of one fit: what they tell each other, and what happens when one of them does not.

Everything that waits does so in `SeveralRanks.wait`: a collective is started, and asked until it is done. So a rank
that waits can meanwhile hear that another one has left, answer one that asks whether it is alive, and find out after
the time limit which ones are missing. Calls for shared memory, in which MPI itself waits, come right after such a wait.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import time
from itertools import accumulate
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from .._checks import library
from .._version import __version__
from ..core import aligned_zeros, thread_count
from ..training.progress import say
from ..training.ranks import Ranks
from ..training.trainable import engine_of
from .shards import Averaging, Summing, gradients_of, mean_loss_of
from .sums import add_in_pairs

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._types import AnyOptimizer, Array, FloatArray, Network, Source
    from ..core import Engine, Rows

LEFT, ASKED, ALIVE = 1, 2, 3        # tags of messages: an error's text; "are you there?"; "I am"
BUSY_SECONDS = 1e-4                 # of waiting without giving the processor away, where each rank has one
LISTEN_SECONDS = 1e-3               # from one look for messages to the next
GRACE_SECONDS = 5.0                 # for answers of those who are there, or for one that left to print its error
LAST_WORDS_SECONDS = 1.0            # for what is printed to pass the launcher
SMALL_BYTES = 1 << 15               # blocks of all ranks together that each rank adds up by itself: one exchange
LINE_BYTES = 64                     # of a cache line, at which blocks begin
LINE = 16                           # elements of a block that are whole lines in both dtypes
KINDS = {kind.__name__: kind for kind in (TypeError, ValueError, ImportError, MemoryError)}     # others: RuntimeError
ALIKE = "every rank must build or load the same network and call fit with the same arguments, but for the rows"


def intracommunicator(communicator: Any) -> Any:
    """An mpi4py communicator of this process's group, checked; MPI.COMM_WORLD for None."""
    mpi = library("mpi4py.MPI", "mpi4py", "mpi", "training over several ranks")
    if communicator is None:
        return mpi.COMM_WORLD
    if isinstance(communicator, mpi.Comm) and communicator == mpi.COMM_NULL:
        raise ValueError("communicator is MPI.COMM_NULL, which has no ranks; pass one that this process belongs to")
    if not isinstance(communicator, mpi.Intracomm):
        raise TypeError(f"communicator is {communicator!r}, but must be an intracommunicator of mpi4py, such as "
                        "MPI.COMM_WORLD, or a fastnn.distributed.DataParallel")
    return communicator


def aligned(memory: Any, dtype: str) -> FloatArray:
    """Memory as an array that starts at a multiple of 64 bytes, and so is 64 bytes shorter."""
    values = np.frombuffer(memory, np.uint8)
    start = -values.ctypes.data % LINE_BYTES
    return values[start:start + (len(values) - LINE_BYTES) // 8 * 8].view(dtype)


class SeveralRanks(Ranks):
    """A fit on several ranks, seen from one of them.

    Used as a context: an error that one rank finds before training begins is raised on all of them; one that ends
    the training of one rank alone ends the job.
    """

    def __init__(self, communicator: Any, shards: int, sync_every: int, timeout: float) -> None:
        self._mpi = library("mpi4py.MPI", "mpi4py", "mpi", "training over several ranks")
        self.rank, self.size = communicator.rank, communicator.size
        self.shards, self.sync_every, self.timeout = shards, sync_every, timeout
        self._world = communicator
        self._training = self._known = False        # whether it has begun; whether all know of an error
        self._busy = BUSY_SECONDS                   # 0 where ranks share a processor
        self._questions = 0                         # how many times this rank has asked who is alive
        self._window: Any = None                    # memory of all ranks, on one machine
        self._sent: list[Any] = []                  # texts that may still be on their way

    def __enter__(self) -> SeveralRanks:
        if self.size > 1:
            self._communicator, request = self._world.Idup()
            self._listening = False     # until the copy is there
            self.wait(request)
            self._listening = True
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self.size == 1:
            return
        try:
            if isinstance(error, Exception) and not self._training and not self._known:
                self.gathered("an error", None, error)      # raises it
        finally:
            if error is None or self._known:
                self._free()
            else:
                self._leave(error)

    def _free(self) -> None:
        """Frees the window and the communicator, of which MPI has a limited number."""
        self.wait(self._communicator.Ibarrier())        # MPI's own end of a window waits without a limit
        if self._window is not None:
            self._window.Unlock_all()
            self._window.Free()
        self._communicator.Free()

    # What ranks tell each other

    def gathered(self, about: str, value: Any, error: Exception | None = None) -> list[Any]:
        """Every rank's value, of what JSON holds; where one came with an error, that of the first is raised."""
        if self.size == 1:
            return [value]
        message = [about, value, None if error is None else [type(error).__name__, str(error)]]
        messages = [json.loads(text) for text in self._gathered_bytes(json.dumps(message).encode())]
        self._known = True
        for rank, (_, _, failure) in enumerate(messages):
            if failure is not None:
                raise KINDS.get(failure[0], RuntimeError)(f"rank {rank}: {failure[1]}") from error
        for rank, (other, _, _) in enumerate(messages):
            if other != messages[0][0]:
                raise ValueError(f"rank {rank} is at {other!r}, rank 0 at {messages[0][0]!r}: {ALIKE}")
        self._known = False
        return [value for _, value, _ in messages]

    def common(self, error: Exception) -> Exception:
        """The error, which every rank raises: all of them have found the same."""
        self._known = True
        return error

    def agree(self, network: Network, optimizer: AnyOptimizer, **arguments: object) -> None:
        """Training begins; ranks that differ in these are refused."""
        self._training = True
        if self.size == 1:
            return
        engine = engine_of(network)
        mine = {
            "the version of fastnn": __version__, "the network": network, "epochs_trained": network.epochs_trained,
            "the number of training steps": engine.steps, "the optimizer": optimizer,
            "the number of the optimizer's steps": optimizer.steps, **arguments, "shards": self.shards,
            "sync_every": self.sync_every,
            "FASTNN_ISA": "sse2" if engine.kernels.instruction_set == "sse2" else "avx2, avx512 or neon",
            "a checksum of the parameters": crc32(engine.parameters.data),
            "a checksum of the optimizer's state": [crc32(block.data) for block in optimizer.state],
        }
        # Without addresses, which functions have in their names.
        mine = {name: re.sub(" at 0x[0-9a-f]+", "", str(value)) for name, value in mine.items()}
        first, *others = self.gathered("the beginning of training", mine)
        self._known = True
        for rank, other in enumerate(others, 1):
            for name, value in first.items():
                if other[name] != value:
                    raise ValueError(f"{name} is {other[name]} on rank {rank}, but {value} on rank 0: {ALIKE}")
        self._known = False

    def joined_rows(self, about: str, array: Array) -> Array:
        """The rows of every rank's array, one below the other."""
        if self.size == 1:
            return array
        array = np.ascontiguousarray(array)
        kinds = self.gathered(about, [array.dtype.str, list(array.shape)])
        received = self._gathered_bytes(array.reshape(-1).view(np.uint8))
        return np.concatenate([np.frombuffer(data, dtype).reshape(shape)
                               for data, (dtype, shape) in zip(received, kinds, strict=True)])

    def threads(self, most: int | None) -> int | None:
        """How many threads share this rank's steps: ranks of one machine divide the processors among them, unless the
        user or whoever started them has done so."""
        mask = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        place = [self._mpi.Get_processor_name(), mask]
        processors, sharing = thread_count.available_processors(), self.gathered("threads", place).count(place)
        if sharing > processors:
            self._busy = 0.0
        return most or thread_count.limit or max(1, min(processors // sharing, thread_count.OPENMP_LIMIT))

    def divided(self, engine: Engine, source: Source, batch: int) -> Source:
        """The source of this rank's part in every batch."""
        return (Summing if self.sync_every == 1 else Averaging)(self, engine, source, batch)

    def mean_loss_of(self, network: Network, rows: Rows) -> Callable[[], float]:
        """A function that returns the mean loss over every rank's rows."""
        return mean_loss_of(self, network, rows)

    def gradients_of(self, network: Network, rows: Rows) -> Callable[[FloatArray], tuple[float, FloatArray]]:
        """A function of a block of parameters: the mean loss over every rank's rows, and its gradient, a block."""
        return gradients_of(self, network, rows)

    # Blocks of parameters

    def blocks(self, size: int, dtype: str, count: int) -> list[FloatArray]:
        """Memory for blocks of parameters, with room for a flag after `size` elements. `add` takes the first block.

        Where all ranks are on one machine, and blocks are not small, all of them can read the first one.
        """
        self._slice = -(-(size + LINE) // (LINE * self.size)) * LINE
        whole, itemsize = self._slice * self.size, np.dtype(dtype).itemsize
        self._direct = whole * self.size * itemsize <= SMALL_BYTES
        self._received = aligned_zeros(whole * (self.size if self._direct else 1), dtype).reshape(self.size, -1)
        self._type = self._mpi.FLOAT if dtype == "float32" else self._mpi.DOUBLE
        blocks = [aligned_zeros(whole, dtype) for _ in range(count)]
        self.gathered("memory for gradients", None)     # all are here, and have it: what follows waits without a limit
        if self.size > 1 and not self._direct and self._on_one_machine():
            self._window = self._mpi.Win.Allocate_shared(whole * itemsize + LINE_BYTES, comm=self._communicator)
            self._window.Lock_all()
            self._everyones = [aligned(self._window.Shared_query(rank)[0], dtype)[:whole] for rank in range(self.size)]
            blocks[0] = self._everyones[self.rank]
            blocks[0][:] = 0
        return blocks

    def add(self, block: FloatArray) -> None:
        """block := the sum of every rank's block, the same bits on each.

        Small ones go to every rank, which adds them up. Of larger ones each rank adds up one slice, and then all get
        all slices: no rank sends or receives more than twice the block.
        """
        if self.size == 1:
            return
        if self._direct:
            self.wait(self._communicator.Iallgather(block, self._received))
            add_in_pairs(self._received, block, self._received)
            return
        starts = [self._slice * rank for rank in range(self.size)]
        mine = slice(starts[self.rank], starts[self.rank] + self._slice)
        if self._window is not None:
            self._meet()
            add_in_pairs([theirs[mine] for theirs in self._everyones], block[mine], self._received)
            self._meet()
            for start, theirs in zip(starts, self._everyones, strict=True):
                if theirs is not block:
                    block[start:start + self._slice] = theirs[start:start + self._slice]
            self._meet()
            return
        counts = [self._slice * (rank != self.rank) for rank in range(self.size)]     # nothing to itself
        self.wait(self._communicator.Ialltoallv([block, counts, starts, self._type], [
            self._received, counts, starts, self._type]))
        parts = [block[mine] if rank == self.rank else self._received[rank] for rank in range(self.size)]
        add_in_pairs(parts, block[mine], parts)
        self.wait(self._communicator.Iallgather(self._mpi.IN_PLACE, block))

    def _on_one_machine(self) -> bool:
        """Whether all ranks can share memory."""
        machine = self._communicator.Split_type(self._mpi.COMM_TYPE_SHARED)
        several = machine.size == self.size
        machine.Free()
        return several

    def _meet(self) -> None:
        """Waits until all ranks are here. What each has written before, all can read afterwards."""
        self._window.Sync()
        self.wait(self._communicator.Ibarrier())
        self._window.Sync()

    def _gathered_bytes(self, data: Any) -> list[bytes]:
        """Every rank's bytes."""
        sizes = np.empty(self.size, np.int64)
        self.wait(self._communicator.Iallgather(np.array([len(data)], np.int64), sizes))
        ends = list(accumulate(sizes.tolist()))
        received = bytearray(ends[-1])
        starts = [0, *ends[:-1]]
        self.wait(self._communicator.Iallgatherv(data, [received, sizes, starts, self._mpi.BYTE]))
        return [bytes(received[start:end]) for start, end in zip(starts, ends, strict=True)]

    # Waiting

    def wait(self, request: Any) -> None:
        """Waits until a collective is done, or ends the job."""
        begin = listened = time.monotonic()
        while not request.Test():
            now = time.monotonic()
            if now - begin < self._busy:
                continue
            time.sleep(0)           # others may need the processor
            if self._listening and now - listened >= LISTEN_SECONDS:
                listened = now
                self._listen()
            if now - begin > self.timeout:
                self._give_up(request)

    def _listen(self) -> None:
        """Hears that a rank has left, and answers one that asks."""
        if (message := self._received_text(LEFT)) is not None:
            self._end_job(f"rank {message[0]} left the fit: {message[1]}", GRACE_SECONDS)
        while (message := self._received_text(ASKED)) is not None:
            self._tell(message[0], ALIVE, message[1])

    def _leave(self, error: BaseException) -> None:
        """Tells the other ranks that this one has left the fit.

        While this program goes on, those ranks end the job as soon as they hear of it. If it ends before, it ends the
        job itself, as MPI's own end would wait for the others without a limit.
        """
        text = f"{type(error).__name__}: {error}"
        for rank in self._others():
            self._tell(rank, LEFT, text)
        atexit.register(self._end_job, f"it left the fit: {text}")

    def _others(self) -> list[int]:
        return [rank for rank in range(self.size) if rank != self.rank]

    def _tell(self, rank: int, tag: int, text: str = "") -> None:
        """Sends a text, without waiting."""
        data = text.encode()
        self._sent.append((data, self._communicator.Isend([data, self._mpi.BYTE], dest=rank, tag=tag)))

    def _received_text(self, tag: int) -> tuple[int, str] | None:
        """(rank, text) of a message, if one is there."""
        status = self._mpi.Status()
        if not self._communicator.Iprobe(tag=tag, status=status):
            return None
        data = bytearray(status.Get_count(self._mpi.BYTE))
        self._communicator.Recv([data, self._mpi.BYTE], source=status.source, tag=tag)
        return status.source, data.decode()

    def _give_up(self, request: Any) -> None:
        """Finds out which ranks do not answer, and ends the job; unless what this one waits for is done meanwhile."""
        missing = set(self._others())
        if self._listening:
            self._questions += 1
            for rank in sorted(missing):
                self._tell(rank, ASKED, str(self._questions))
            end = time.monotonic() + min(GRACE_SECONDS, self.timeout)
            while time.monotonic() < end:
                self._listen()
                message = self._received_text(ALIVE)
                if message is not None and message[1] == str(self._questions):      # not late, to an earlier one
                    missing.discard(message[0])
                if request.Test():
                    return
                time.sleep(LISTEN_SECONDS)
        if not self._listening:
            reason = "not every rank called fit"
        elif missing:
            reason = f"{' and '.join(f'rank {rank}' for rank in sorted(missing))} did not come"
        else:
            reason = "every rank waits, but not all for the same"
        self._end_job(f"{reason}, for {self.timeout:g} seconds")

    def _end_job(self, reason: str, after: float = LAST_WORDS_SECONDS) -> None:
        """Ends all ranks, after so many seconds.

        None of them could go on alone: a collective that began without the missing rank never ends, and MPI may write
        to its memory at any time.
        """
        say(f"fastnn: rank {self.rank} ends the job: {reason}")
        time.sleep(after)
        self._world.Abort(1)
