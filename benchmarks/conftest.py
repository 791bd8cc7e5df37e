"""How the kernels' benchmarks measure: contenders take turns, every answer is proved first, the ceiling beside.

    make bench-kernels                          # or: python -m pytest benchmarks --benchmark-quiet

Whole training steps and predictions beside other libraries are `python -m fastnn bench`.

Each cell (one piece of work) runs every contender ROUNDS times in turn, on one core, so that a
slow minute of the machine hits all alike; the table at the end shows each contender's best
round, its arithmetic rate beside the multiply-add peak measured between them, and how many
times faster than NumPy fastnn was. `benchmark` is pytest-benchmark's fixture: its options
(--benchmark-json, --benchmark-compare …) work as usual.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")      # before NumPy is imported

from collections import defaultdict  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402

from fastnn.bench import report  # noqa: E402
from fastnn.core import dispatch  # noqa: E402

ROUNDS = 5
best = defaultdict(dict)        # cell: {contender: seconds}, the best of all rounds
operations = {}                 # cell: floating-point operations, or None where counting them says nothing


def pytest_generate_tests(metafunc):
    if "turn" in metafunc.fixturenames:
        metafunc.parametrize("turn", range(ROUNDS))


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.callspec.params["turn"])      # stable: contenders stay neighbours


@pytest.fixture
def measure(benchmark, turn):
    """Times one contender of a cell, a few milliseconds a round, and keeps the best."""

    def run(cell, contender, function, flops=None, repeats=1):
        operations[cell] = flops and flops / repeats
        benchmark.group = cell
        benchmark.extra_info.update(cell=cell, contender=contender, flops=flops)
        benchmark(function)
        seconds = benchmark.stats.stats.min / repeats
        best[cell][contender] = min(seconds, best[cell].get(contender, np.inf))

    return run


def pytest_addoption(parser):
    parser.addoption("--record", action="store_true", help="write the table to benchmarks/record/kernels.md")


def pytest_terminal_summary(terminalreporter, config):
    if "multiply-add peak" not in best:
        return
    peak = operations["multiply-add peak"] / best.pop("multiply-add peak")["fastnn"] / 1e9
    where = report.caption(report.machine(1, None, "float32", ["numpy"]))
    table = [*HEAD, *(row(cell, peak) for cell in best)]
    terminalreporter.write_line("\n".join(["", where, "", *table]))
    if config.getoption("record"):
        head = f"# Kernels\n\nWritten by `make bench-kernels`. {where}\nMultiply-add peak {peak:.0f} GFLOP/s.\n\n"
        (Path(__file__).parent / "record/kernels.md").write_text(head + "\n".join(table) + "\n")


HEAD = ("| work | fastnn | NumPy | NumPy ÷ fastnn | GFLOP/s | of the peak |", "|---|---|---|---|---|---|")


def row(cell, peak):
    ours, numpy = best[cell]["fastnn"], best[cell].get("numpy", np.nan)
    rate = operations[cell] / ours / 1e9 if operations[cell] else None
    share = "| |" if rate is None else f"| {rate:.0f} | {rate / peak:.0%} |"
    return f"| {cell} | {report.duration(ours)} | {report.duration(numpy)} | {numpy / ours:.2f} {share}"


@pytest.fixture
def kernels():
    return dispatch.kernels
