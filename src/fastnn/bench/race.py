"""Checks that all contenders compute the same, and then times them by turns.

Each has a process of its own, because thread pools, BLAS and compilers read their settings when they are loaded, and so
that idle threads of one do not disturb another. Only one process works at a time, and all are limited to the same
processors. A turn is compared with the turns next to it alone, as the machine's speed changes with time.
"""

import math
import os
import timeit
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from statistics import median

import numpy as np

from . import populations
from .cells import CELLS, Cell
from .contenders import CONTENDERS, FastNN, NumPy, Unable
from .populations import POPULATION_CONTENDERS, OneByOne

TURN_SECONDS = 0.15         # a turn repeats its work for about this time, and counts the best repetition
LONGEST_BATCH = 0.005       # shorter repetitions are timed several at once
PROOF_STEPS = 4
FAR_BEHIND = 4              # a contender so many times slower than the fastest gets no second turn

# {instruction set: environment variables that limit the peers' products to it, too}. NumPy's own loops choose theirs by
# the processor. So does YNNPACK, which multiplies JAX's matrices: it is turned off, and XLA's own products are used.
HELD_TO = {
    "avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "OPENBLAS_CORETYPE": "Haswell",
             "ATEN_CPU_CAPABILITY": "avx2",
             "XLA_FLAGS": "--xla_cpu_max_isa=AVX2 --xla_cpu_experimental_ynn_fusion_type="},
}
CHOOSES_BY_PROCESSOR = {"onnxruntime"}          # whose products nothing limits
MOST_OF_PEAK = 1.05         # more operations a second than that cannot be: the peak is measured within some percent


@dataclass
class Result:
    """The times of all turns on one cell, in seconds per step (of one network) or prediction."""

    cell: Cell
    seconds: dict = field(default_factory=dict)     # contender: [of each turn]
    left_out: dict = field(default_factory=dict)    # contender: reason
    peak: list = field(default_factory=list)        # multiply-adds from registers, operations a second, each turn

    def best(self, name):
        return min(self.seconds[name])

    def ratio(self, name):
        """How many times longer a contender takes than fastnn: the median over turns beside each other."""
        ours = self.seconds[FastNN.name]        # a peer that fell far behind has fewer turns
        return median(theirs / mine for theirs, mine in zip(self.seconds[name], ours, strict=False))

    @property
    def best_peer(self):
        """The peer with the smallest ratio; None where fastnn is alone."""
        peers = [name for name in self.seconds if name not in (FastNN.name, OneByOne.name)]
        return min(peers, key=self.ratio, default=None)


def kinds(cell):
    """{name: contender} of those that can take part in a cell's race."""
    return CONTENDERS if cell in CELLS else POPULATION_CONTENDERS


def racers(cells, contenders):
    """The names of all that take part: fastnn first, and each library in all its ways of doing these cells."""
    names = {name: None for cell in cells for name, kind in kinds(cell).items()
             if getattr(kind, "peer", name) in (FastNN.name, *contenders)}
    return list(names)


def race(cells, contenders, processors, *, isa=None, dtype="float32", rounds=5):
    """Yields a Result for each cell, in which fastnn and each of the contenders took `rounds` turns.

    All are limited to these processors, with a thread on each.
    """
    threads = len(processors)
    with ExitStack() as stack:
        stack.enter_context(environment(settings(threads, isa)))
        stack.callback(os.sched_setaffinity, 0, os.sched_getaffinity(0))
        os.sched_setaffinity(0, processors)         # workers inherit this before their libraries start threads
        workers = {
            name: stack.enter_context(ProcessPoolExecutor(1, get_context("spawn")))
            for name in racers(cells, contenders)
        }
        for cell in cells:
            taking_part = {name: worker for name, worker in workers.items() if name in kinds(cell)}
            yield race_one(cell, taking_part, threads, dtype, rounds, isa)


def race_one(cell, workers, threads, dtype, rounds, isa=None):
    result = Result(cell)
    for name, worker in workers.items():
        if isa and name in CHOOSES_BY_PROCESSOR:
            reason = f"cannot be held to {isa}"
        else:
            reason = ask(worker, enter, name, cell, dtype, threads)
        if reason is None:
            result.seconds[name] = []
        elif name == FastNN.name:
            raise RuntimeError(f"fastnn cannot be timed on {cell.name}: {reason}")
        else:
            result.left_out[name] = reason
    for turn in range(rounds):
        fastest = min((min(seconds, default=math.inf) for seconds in result.seconds.values()), default=0)
        for name in list(result.seconds):
            if turn and min(result.seconds[name]) > FAR_BEHIND * fastest:
                continue
            seconds = ask(workers[name], take_turn, cell.pieces)
            if isinstance(seconds, str):
                if name == FastNN.name:
                    raise RuntimeError(f"fastnn cannot be timed on {cell.name}: {seconds}")
                result.left_out[name] = seconds
                del result.seconds[name]
            else:
                result.seconds[name].append(seconds)
        result.peak.append(ask(workers[FastNN.name], peak, dtype))
    leave_out_the_impossible(result, threads)
    return result


def leave_out_the_impossible(result, threads):
    """Leaves out peers that did more operations a second than the instruction set can: they use another one."""
    for name in [name for name in result.seconds if name != FastNN.name]:
        rate, most = result.cell.flops / result.best(name), max(result.peak) * threads
        if rate > MOST_OF_PEAK * most:
            del result.seconds[name]
            result.left_out[name] = (f"does {rate / 1e9:.0f} GFLOP/s, but this instruction set's multiply-adds "
                                     f"reach {most / 1e9:.0f}")


def ask(worker, function, *arguments):
    try:
        return worker.submit(function, *arguments).result()
    except BrokenProcessPool:
        return "its process died"


def processors_for(threads):
    """So many of the processors that this process may use; ValueError where there are fewer."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < threads:
        raise ValueError(f"{threads} threads need as many processors, but this process may use {len(allowed)}")
    return allowed[-threads:]


def settings(threads, isa):
    """Environment variables that give all contenders the same number of threads, and the same instruction set."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "FASTNN_NUM_THREADS")
    instruction_set = {"FASTNN_ISA": isa} | HELD_TO.get(isa, {}) if isa else {}
    return dict.fromkeys(names, str(threads)) | {"TORCHINDUCTOR_COMPILE_THREADS": "1"} | instruction_set


@contextmanager
def environment(values):
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


# In a worker's process

contender = None


def enter(name, cell, dtype, threads):
    """Makes this process's contender for a cell, and checks its results; returns why it cannot take part, or None."""
    global contender
    contender = None            # frees the last cell's memory
    try:
        reason = None if name == NumPy.name and dtype == "float64" else disagreement(name, cell, dtype, threads)
        if reason is None:
            contender = kinds(cell)[name](cell, dtype, threads)
            contender.run()
    except Unable as error:
        reason = str(error)
    except Exception as error:      # the other contenders go on
        reason = f"{type(error).__name__}: {error}"
    return reason


def disagreement(name, cell, dtype, threads):
    """How a contender's loss and parameters after a few steps, or its outputs, differ from NumPy's in float64."""
    steps = min(PROOF_STEPS, cell.steps)
    reference = (NumPy if cell in CELLS else populations.NumPy)(cell, "float64", steps=steps)
    trial = kinds(cell)[name](cell, dtype, threads, steps=steps)
    expected, got = np.asarray(reference.run()), np.asarray(trial.run())
    single = dtype == "float32"
    if not cell.trains:
        same = np.allclose(got.reshape(expected.shape), expected, rtol=0, atol=1e-4 if single else 1e-10)
        return None if same else "predicts something else"
    if not np.allclose(got, expected, rtol=1e-4 if single else 1e-9, atol=0):
        worst = np.argmax(np.abs(got - expected))
        return f"its loss is {got.flat[worst]:.6g}, not {expected.flat[worst]:.6g}"
    # Adam makes a whole step even for a gradient that is only rounding, so single parameters may differ.
    start, got, expected = (
        np.concatenate([np.asarray(array, "float64").reshape(cell.networks, -1) for array in arrays], axis=1)
        for arrays in (sum(cell.parameters("float64"), ()), trial.parameters(), reference.parameters()))
    error = max(np.linalg.norm(got - expected, axis=1) / np.linalg.norm(expected - start, axis=1))
    return None if error < (5e-2 if single else 1e-5) else f"its parameters move elsewhere, by {error:.1%}"


def take_turn(pieces):
    """Seconds per piece, the best of as many repetitions as a turn has time for; or, if it fails, the reason."""
    clock = timeit.Timer(contender.run)
    try:
        once = clock.timeit(1)
        number = max(1, math.ceil(LONGEST_BATCH / once))
        repeated = clock.repeat(math.ceil(TURN_SECONDS / (number * once)), number)
    except Exception as error:      # the other contenders go on
        return f"{type(error).__name__}: {error}"
    return min(once, min(repeated) / number) / pieces


def peak(dtype):
    """Operations per second of multiply-adds in registers, on one thread: what the processor can reach at most."""
    from fastnn.core import dispatch
    rounds = 200_000
    operations = dispatch.kernels.multiply_add_chains(dtype, rounds)
    clock = timeit.Timer(lambda: dispatch.kernels.multiply_add_chains(dtype, rounds))
    return operations / min(clock.repeat(5, 1))
