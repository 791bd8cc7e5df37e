"""The results of a race as a table and as JSON. Nothing is timed here."""

import platform
import subprocess
from datetime import date
from importlib import metadata
from pathlib import Path
from statistics import median

import fastnn

from .contenders import CONTENDERS, FastNN
from .populations import OneByOne


def header(racers):
    """The head of the table, with one column for each that takes part."""
    gain = ["one by one ÷ fastnn"] * (OneByOne.name in racers)
    names = [*racers, *gain, "best peer ÷ fastnn", "GFLOP/s", "of the peak"]
    return [f"| work | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]


def row(record, racers, threads):
    """One cell's line, from what `as_record` returns."""
    seconds = record["seconds"]
    times = [duration(min(seconds[name])) if name in seconds else "–" for name in racers]
    if OneByOne.name in racers:
        times.append(f"{record['gain']:.2f}" if "gain" in record else "–")
    rate = record["flops"] / min(seconds[FastNN.name]) / 1e9
    ratio = f"{record['ratio']:.2f} ({record['best_peer']})" if record["best_peer"] else "–"
    return f"| {record['title']} | {' | '.join(times)} | {ratio} | {rate:.3g} | {rate / threads / record['peak']:.0%} |"


def duration(seconds):
    for unit, size in (("s", 1), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.2g} µs"


def left_out(records):
    """Who did not take part, and why: a line for all cells with the same reason."""
    cells = {}
    for record in records:
        for who in record["left_out"].items():
            cells.setdefault(who, []).append(record["cell"])
    return [f"{', '.join(names)}: {name} is left out: {reason}" for (name, reason), names in cells.items()]


def as_record(result):
    """A Result as plain data."""
    best = result.best_peer
    gain = {"gain": result.ratio(OneByOne.name)} if OneByOne.name in result.seconds else {}
    return {
        "cell": result.cell.name, "title": result.cell.title, "flops": result.cell.flops,
        "seconds": result.seconds, "left_out": result.left_out, "peak": median(result.peak) / 1e9,
        "best_peer": best, "ratio": best and result.ratio(best), **gain,
    }


def machine(threads, isa, dtype, contenders):
    """Date, commit, machine, settings and versions of a measurement."""
    config = fastnn.show_config(mode="dict")
    return {
        "date": date.today().isoformat(), "commit": commit(),
        "processor": processor(), "threads": threads, "dtype": dtype,
        "instruction_set": isa or config["instruction set in use"], "held": isa is not None,
        "compiler": config["compiler"], "python": platform.python_version(),
        "versions": {name: version(name) for name in (FastNN.name, *contenders)},
    }


def commit():
    """The commit of the checkout that fastnn is imported from, or None if there is none."""
    try:
        return subprocess.run(["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent,
                              capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def version(name):
    """The version of a contender's library, or None where it is not installed."""
    try:
        return fastnn.__version__ if name == FastNN.name else metadata.version(CONTENDERS[name].package)
    except metadata.PackageNotFoundError:
        return None


def caption(where):
    """A sentence about the machine, the settings and the versions."""
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items() if version)
    held = " for all but NumPy's element-wise loops and ONNX Runtime" if where["held"] else ""
    threads = "one thread" if where["threads"] == 1 else f"{where['threads']} threads"
    return (f"{where['processor']}, {threads}, {where['dtype']}, {where['instruction_set']}{held}; "
            f"compiler {where['compiler']}, flags of setup.py; {versions}; {where['date']}, commit {where['commit']}.")


def processor():
    """Name, maker and model of the processor: names such as AMD EPYC stand for several generations."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
        about = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return f"{about['model name']} ({about['vendor_id']} family {about['cpu family']} model {about['model']})"
    except (OSError, KeyError):
        return platform.processor() or platform.machine()
