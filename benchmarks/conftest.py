"""How the benchmarks measure: contenders take turns, every answer is proved first, the ceiling is measured beside.

    make bench                                  # or: python -m pytest benchmarks --benchmark-quiet

Each cell (one piece of work) runs every contender ROUNDS times in turn, on one core, so that a
slow minute of the machine hits all alike; the table at the end shows each contender's best
round, its arithmetic rate beside the multiply-add peak measured between them, and how many
times faster than NumPy fastnn was. `benchmark` is pytest-benchmark's fixture: its options
(--benchmark-json, --benchmark-compare …) work as usual.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")      # before NumPy is imported

import platform  # noqa: E402
import subprocess  # noqa: E402
from collections import defaultdict  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402

import fastnn  # noqa: E402
from fastnn import _dispatch  # noqa: E402

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
    parser.addoption("--record", action="store_true", help="write the tables to benchmarks/RESULTS.md and README.md")


def pytest_terminal_summary(terminalreporter, config):
    if "multiply-add peak" not in best:
        return
    peak = operations["multiply-add peak"] / best.pop("multiply-add peak")["fastnn"] / 1e9
    rows = {cell: row(cell, peak) for cell in best}
    terminalreporter.write_line("\n".join(["", machine(peak), "", *HEAD, *rows.values()]))
    if config.getoption("record"):
        root = Path(__file__).parent.parent
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, check=True
        ).stdout.strip()
        head = f"# Benchmark results\n\nWritten by `make bench-record` at commit {commit}. {machine(peak)}\n\n"
        (root / "benchmarks/RESULTS.md").write_text(head + "\n".join([*HEAD, *rows.values()]) + "\n")
        training = [line for cell, line in rows.items() if "batch" in cell]
        before, rest = (root / "README.md").read_text().split(BEGIN)
        table = "\n".join([BEGIN, machine(peak), "", *HEAD, *training, END])
        (root / "README.md").write_text(before + table + rest.split(END)[1])


HEAD = ("| work | fastnn | NumPy | NumPy / fastnn | GFLOP/s | of the peak |", "|---|---|---|---|---|---|")
BEGIN, END = "<!-- table by make bench-record -->", "<!-- end of the table -->"


def machine(peak):
    config = fastnn.show_config(mode="dict")
    return (f"{cpu_name()}, one core; compiler {config['compiler']}, flags of setup.py, "
            f"{config['instruction set in use']}; NumPy {np.__version__}; float32; "
            f"multiply-add peak {peak:.0f} GFLOP/s, measured in the same run.")


def row(cell, peak):
    ours, numpy = best[cell].get("fastnn", np.nan), best[cell].get("numpy", np.nan)
    rate = operations[cell] / ours / 1e9 if operations[cell] else None
    share = "| |" if rate is None else f"| {rate:.0f} | {rate / peak:.0%} |"
    return f"| {cell} | {duration(ours)} | {duration(numpy)} | {numpy / ours:.2f} {share}"


def duration(seconds):
    return f"{seconds * 1e6:.3g} µs" if seconds < 1e-3 else f"{seconds * 1e3:.3g} ms"


def cpu_name():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return name


@pytest.fixture
def kernels():
    return _dispatch.kernels
