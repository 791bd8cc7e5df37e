"""Writes the tables of docs/performance.md and the chart docs/speed.svg from the results in record/.

    python benchmarks/speed_tables.py

A folder has the results of one kind of processor. A file of them is named by its conditions and a letter for the run:
float32-2-threads-b.json is a second run with two threads. A ratio is the median over the runs, a time the best of them.
The best peer took part in every run of a cell, so that runs are compared with their like; rows that fastnn loses stay,
and a processor without results is NOT MEASURED.
"""

import json
from itertools import pairwise
from pathlib import Path
from statistics import median

from fastnn.bench import report
from fastnn.bench.cells import CELLS
from fastnn.bench.contenders import CONTENDERS, FastNN
from fastnn.bench.populations import POPULATION_CONTENDERS, OneByOne

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- {name}: written by benchmarks/speed_tables.py -->", "<!-- end of {name} -->"
MACHINES = {"amd-zen-5": "AMD Zen 5", "amd-zen-4": "AMD Zen 4", "intel": "Intel"}     # the chart is the first's
AHEAD, BEHIND = "#0072b2", "#d55e00"        # of the chart; distinct for every kind of colour vision
# Seconds a parameter: a square root and a division.
ADAM = {"amd-zen-5": {"float32": 0.11e-9, "float64": 0.22e-9}, "amd-zen-4": {"float32": 0.34e-9, "float64": 0.68e-9}}
CONDITIONS = {"float32-1-thread": "one thread", "float32-2-threads": "two threads", "float32-avx2": "AVX2, one thread",
              "float64-1-thread": "float64, one thread"}


def runs_of(machine, conditions, populations=False):
    """The runs on a machine under these conditions, each the data of one file: those of single networks, or of
    populations, with these cells alone."""
    files = (ROOT / "benchmarks/record" / machine).glob(f"{conditions}-?.json")
    runs = [json.loads(path.read_text()) for path in sorted(files)]
    for run in runs:
        run["cells"] = [record for record in run["cells"] if (OneByOne.name in record["seconds"]) == populations]
    return [run for run in runs if run["cells"]]


def by_cell(runs):
    """{cell: [its record in every run]}"""
    cells = {}
    for run in runs:
        for record in run["cells"]:
            cells.setdefault(record["cell"], []).append(record)
    return cells


def best(records, name):
    """A contender's best time in any run, or None."""
    return min((min(record["seconds"][name]) for record in records if name in record["seconds"]), default=None)


def ratio(records, peer):
    """How many times longer a peer takes: the median over turns beside each other, and over runs."""
    runs = [record["seconds"] for record in records if peer in record["seconds"]]
    return median(
        median(theirs / ours for theirs, ours in zip(run[peer], run[FastNN.name], strict=False)) for run in runs)


def best_peer(records):
    """(ratio, name) of the peer that is nearest to fastnn, or ahead of it, of those in every run."""
    peers = set.intersection(*(set(record["seconds"]) for record in records)) - {FastNN.name, OneByOne.name}
    return min((ratio(records, peer), peer) for peer in peers)


def share_of_peak(records, threads):
    peak = median(record["peak"] for record in records) * 1e9 * threads
    return records[0]["flops"] / best(records, FastNN.name) / peak


def floor(machine, name, records, dtype, threads):
    """Seconds that the products take at the measured peak, and Adam's arithmetic."""
    cell = next(cell for cell in CELLS if cell.name == name)
    parameters = sum((n_in + 1) * n_out for n_in, n_out in pairwise(cell.sizes)) if cell.optimizer == "Adam" else 0
    peak = median(record["peak"] for record in records) * 1e9
    return (cell.flops / peak + parameters * ADAM[machine][dtype]) / threads


def summary():
    """One row a cell: fastnn and its best peer on one thread of the first machine, and how far ahead it is under the
    other conditions, and on the other machines."""
    first, *others = MACHINES
    cells = {conditions: by_cell(runs_of(first, conditions)) for conditions in CONDITIONS}
    elsewhere = [by_cell(runs_of(machine, "float32-1-thread")) for machine in others]
    lines = ["| work | fastnn | best peer | peer ÷ fastnn | of the peak | two threads | AVX2 | float64 | "
             f"{' | '.join(MACHINES[machine] for machine in others)} |", "|---" * (8 + len(others)) + "|"]
    for name, records in cells["float32-1-thread"].items():
        lead, peer = best_peer(records)
        ratios = [f"{best_peer(run[name])[0]:.2f}" if name in run else "–" if run else "NOT MEASURED"
                  for run in [*(cells[other] for other in list(CONDITIONS)[1:]), *elsewhere]]
        lines.append(
            f"| {records[0]['title']} | {report.duration(best(records, FastNN.name))} "
            f"| {report.duration(best(records, peer))} ({peer}) | **{lead:.2f}** "
            f"| {share_of_peak(records, 1):.0%} | {' | '.join(ratios)} |")
    return lines


def counted(runs):
    return f"{len(runs)} {'runs' if len(runs) > 1 else 'run'}"


def commits(runs):
    """Of the runs, in their order, each once."""
    return ", ".join(dict.fromkeys(run["commit"] for run in runs))


def columns_from():
    """What the summary's caption cannot say of all columns: how many runs they are from, and of which commits."""
    first, *others = MACHINES
    columns = [(name.split(",")[0], runs_of(first, conditions)) for conditions, name in CONDITIONS.items()]
    columns += [(MACHINES[machine], runs_of(machine, "float32-1-thread")) for machine in others]
    parts = [f"{name}: {counted(runs)} ({commits(runs)}; {runs[0]['date']})" for name, runs in columns if runs]
    return f"Runs and their commits: {'; '.join(parts)}. Where one is called dirty, files had changed since."


def everybody(machine, conditions):
    """All contenders' times on a machine under some conditions."""
    title, runs = f"### {MACHINES[machine]}, {CONDITIONS[conditions]}", runs_of(machine, conditions)
    if not runs:
        return [title, "", "NOT MEASURED.", ""]
    threads = runs[0]["threads"]
    lines = [title, "",
             f"{counted(runs)}. {report.caption({**runs[0], 'commit': commits(runs)})}", "",
             f"| work | {' | '.join(CONTENDERS)} | peer ÷ fastnn, each run | of the peak | floor |",
             "|---" * (len(CONTENDERS) + 4) + "|"]
    for name, records in by_cell(runs).items():
        times = [best(records, contender) for contender in CONTENDERS]
        ratios = ", ".join(f"{record['ratio']:.2f}" for record in records)
        lines.append(f"| {records[0]['title']} | {' | '.join(report.duration(t) if t else '–' for t in times)} "
                     f"| {ratios} | {share_of_peak(records, threads):.0%} "
                     f"| {report.duration(floor(machine, name, records, runs[0]['dtype'], threads))} |")
    return [*lines, ""]


def many(machine, conditions):
    """The times of all that train or ask many networks, on a machine under some conditions."""
    title = f"### Many networks: {MACHINES[machine]}, {CONDITIONS[conditions]}"
    runs = runs_of(machine, conditions, populations=True)
    if not runs:
        return []
    lines = [title, "", f"{counted(runs)}. {report.caption({**runs[0], 'commit': commits(runs)})}", "",
             f"| work | {' | '.join(POPULATION_CONTENDERS)} | one by one ÷ fastnn | best peer ÷ fastnn |",
             "|---" * (len(POPULATION_CONTENDERS) + 3) + "|"]
    for records in by_cell(runs).values():
        times = [best(records, contender) for contender in POPULATION_CONTENDERS]
        lead, peer = best_peer(records)
        lines.append(f"| {records[0]['title']} | {' | '.join(report.duration(t) if t else '–' for t in times)} "
                     f"| {ratio(records, OneByOne.name):.2f} | **{lead:.2f}** ({peer}) |")
    return [*lines, ""]


def chart(path):
    """Draws how many times longer the best peer takes, for each cell of the first machine on one thread."""
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter
    runs = runs_of(next(iter(MACHINES)), "float32-1-thread")
    cells = by_cell(runs)
    leads = [best_peer(records) for records in cells.values()]
    places = range(len(leads), 0, -1)
    figure, ax = pyplot.subplots(figsize=(8.2, 6.6), layout="constrained", facecolor="white")
    for place, (lead, peer) in zip(places, leads, strict=True):
        color, marker = (AHEAD, "o") if lead >= 1 else (BEHIND, "X")
        ax.plot([1, lead], [place, place], color=color, linewidth=2)
        ax.plot([lead], [place], marker, color=color, markersize=8)
        ax.annotate(f"{lead:.2f} ({peer})", (max(lead, 1), place), xytext=(9, 0), textcoords="offset points",
                    va="center", fontsize=9, color="black")
    ax.axvline(1, color="black", linewidth=1)
    ax.set_yticks(list(places), [records[0]["title"] for records in cells.values()], fontsize=9)
    ax.set_xscale("log")
    ax.set_xticks([1, 2, 5, 10, 20])
    ax.set_xticks([], minor=True)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_xlim(0.8, 60)
    ax.grid(axis="x", color="0.5", alpha=0.25)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("time of the fastest other library ÷ time of fastnn (cross: fastnn is slower)")
    run = runs[0]
    ax.set_title(f"{MACHINES[next(iter(MACHINES))]}, one thread, {run['dtype']}, {run['instruction_set']}; "
                 f"{run['date']}, commit {commits(runs)}", fontsize=9)
    with pyplot.rc_context({"svg.hashsalt": "fastnn"}):         # the same file for the same results
        figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def replace(path, name, lines):
    """Puts lines between the two marks of that name."""
    begin, end = BEGIN.format(name=name), END.format(name=name)
    before, rest = path.read_text().split(begin)
    path.write_text("\n".join([before + begin, *lines, end]) + rest.split(end)[1])


def main():
    runs = runs_of(next(iter(MACHINES)), "float32-1-thread")
    where = report.caption({**runs[0], "commit": commits(runs)})
    replace(ROOT / "docs/performance.md", "summary", [where, "", *summary(), "", columns_from()])
    chart(ROOT / "docs/speed.svg")
    replace(ROOT / "docs/performance.md", "results",
            [line for machine in MACHINES for conditions in CONDITIONS for line in everybody(machine, conditions)])
    lines = [line for machine in MACHINES for conditions in CONDITIONS for line in many(machine, conditions)]
    replace(ROOT / "docs/performance.md", "many networks", lines or ["NOT MEASURED.", ""])


if __name__ == "__main__":
    main()
