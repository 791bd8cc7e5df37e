"""Data-parallel training on 1, 2 and 4 ranks of this machine, and a model of it on many machines.

    python benchmarks/several_ranks.py         # runs mpiexec itself, in turns, and writes record/several_ranks.json
    python benchmarks/several_ranks.py model   # writes the tables of docs/distributed.md and scaling.png from it

A rank has one thread. Of three interleaved runs the median counts, each of them a median of epochs; the exchange of a
step is what passes from the gradient of this rank to the sum of all, waiting for the slower rank included.
"""

import json
import math
import platform
import shutil
import statistics
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import numpy as np
from tables import ADAM

import fastnn

ROOT = Path(__file__).parent.parent
RECORD = ROOT / "benchmarks/record/several_ranks.json"
PAGE = ROOT / "docs/distributed.md"
RANKS = 1, 2, 4
RUNS = 3
WORK = [        # layer sizes, rows of a global batch
    ([64, 100, 10], 512), ([784, 512, 512, 10], 512), ([784, 512, 512, 10], 2048), ([2048, 2048, 2048, 10], 1024),
]
BYTES = [1 << 8, 1 << 12, 1 << 16, 1 << 20, 1 << 22, 1 << 24]      # of blocks that are added up alone
# Seconds of one message of nothing, bytes a second: of each machine's link.
NETWORKS = {"Ethernet, 10 Gbit/s": (25e-6, 1.15e9), "InfiniBand, 200 Gbit/s": (1.5e-6, 23e9)}
MOST_RANKS, BATCH_OF_PICTURE = 1024, 16384
FEWEST_ROWS = 16    # of a rank: with fewer a product is no longer one of matrices, and slower for each row


def step_seconds(sizes, batch, communicator):
    """Medians of a step and of its exchange, for this rank."""
    from fastnn.distributed.ranks import SeveralRanks

    rng = np.random.default_rng(0)
    batches = 4 if parameters(sizes) > 1e6 else 16
    rows = fastnn.distributed.local_rows(batches * batch, communicator)
    X = rng.normal(size=(batches * batch, sizes[0])).astype("f")[rows]
    y = rng.integers(0, sizes[-1], batches * batch)[rows]
    network = fastnn.Network(sizes, output="softmax")
    exchanged = 0.0
    add = SeveralRanks.add

    def timed(self, block):
        nonlocal exchanged
        start = perf_counter()
        add(self, block)
        exchanged += perf_counter() - start

    fit = dict(batch_size=batch, threads=1, communicator=communicator)
    network.fit(X, y, optimizer=fastnn.Adam(), **fit)
    SeveralRanks.add = timed
    steps, exchanges = [], []
    for _ in range(5):
        exchanged = 0.0
        history = network.fit(X, y, **fit)
        steps.append(sum(history.seconds) / batches)
        exchanges.append(exchanged / batches)
    SeveralRanks.add = add
    return statistics.median(steps), statistics.median(exchanges)


def block_seconds(size, ranks):
    """The median time to add up a block of so many bytes."""
    block = ranks.blocks(size // 4, "float32", 1)[0]
    seconds = []
    for _ in range(30):
        start = perf_counter()
        ranks.add(block)
        seconds.append(perf_counter() - start)
    return statistics.median(seconds)


def of_this_rank():
    """What rank 0 prints: a line of JSON."""
    from mpi4py import MPI

    from fastnn.distributed import DataParallel

    world = MPI.COMM_WORLD
    result = {"steps": [step_seconds(*work, world) for work in WORK], "blocks": {}}
    if world.size > 1:
        with DataParallel(world).joined() as ranks:
            ranks.threads(None)
            result["blocks"] = {size: block_seconds(size, ranks) for size in BYTES}
    if world.rank == 0:
        print(json.dumps(result))


def measure():
    """Runs all, in turns, and writes the record."""
    mpiexec = shutil.which("mpiexec", path=Path(sys.executable).parent) or "mpiexec"
    runs = {ranks: [] for ranks in RANKS}
    for _ in range(RUNS):
        for ranks in RANKS:
            command = [mpiexec, "-n", str(ranks), sys.executable, __file__, "rank"]
            runs[ranks].append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    processor = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                      if line.startswith("model name")), platform.processor())
    record = {"processor": processor, "processors": fastnn.get_num_threads(), "steps": {}, "blocks": {}}
    for ranks, results in runs.items():
        record["steps"][ranks] = [[statistics.median(column) for column in zip(*work, strict=True)]
                                  for work in zip(*(result["steps"] for result in results), strict=True)]
        record["blocks"][ranks] = {size: statistics.median(result["blocks"][size] for result in results)
                                   for size in results[0]["blocks"]}
    RECORD.write_text(json.dumps(record, indent=1) + "\n")


def name(sizes):
    return "-".join(map(str, sizes))


def parameters(sizes):
    return sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))


def exchange_seconds(size, ranks, latency, bandwidth):
    """The model of `add`: two collectives of log2(ranks) messages, in which a rank sends its block and receives one."""
    return 2 * math.log2(ranks) * latency + 2 * size * (ranks - 1) / ranks / bandwidth


def model(step, sizes, ranks, network):
    """Seconds of a step: compute / ranks + latency * log2(ranks) + bytes / bandwidth.

    Adam's update, by its arithmetic, is a part that every rank does, whatever its rows.
    """
    update = min(step, parameters(sizes) * ADAM["float32"])
    return (step - update) / ranks + update + exchange_seconds(4 * parameters(sizes), ranks, *network)


def measured_network(record):
    """Latency and bandwidth of this machine's memory, from the smallest and the largest block of two ranks."""
    seconds = {int(size): value for size, value in record["blocks"]["2"].items()}
    latency = seconds[min(seconds)] / 2
    return latency, max(seconds) / (seconds[max(seconds)] - 2 * latency)


def measured_table(record):
    here = measured_network(record)
    lines = ["| network, global batch | ranks | a step | times as fast | exchange and waiting | the model says |",
             "|---|---|---|---|---|---|"]
    for index, (sizes, batch) in enumerate(WORK):
        one = record["steps"]["1"][index][0]
        for ranks in RANKS:
            step, exchange = record["steps"][str(ranks)][index]
            busy = min(ranks, record["processors"])     # more ranks than processors take turns
            expected = model(one, sizes, busy, here) if ranks <= busy else None
            lines.append(
                f"| {name(sizes)}, {batch} | {ranks} | {step * 1e3:.3g} ms | {one / step:.2f} | "
                f"{f'{exchange / step:.0%}' if ranks > 1 else '–'} | "
                f"{f'{one / expected:.2f}' if expected else 'two ranks a processor'} |")
    return lines


def limits_table(record):
    """Where more ranks stop to pay."""
    lines = ["| network, global batch | connected by | two ranks | best number of ranks | half of each used up to |",
             "|---|---|---|---|---|"]
    for index, (sizes, batch) in enumerate(WORK):
        one = record["steps"]["1"][index][0]
        for kind, network in NETWORKS.items():
            gains = {ranks: one / model(one, sizes, ranks, network) for ranks in ranks_of(batch)}
            best = max(gains, key=gains.get)
            half = max(ranks for ranks, gain in gains.items() if gain >= ranks / 2)
            lines.append(f"| {name(sizes)}, {batch} | {kind} | {gains[2]:.2f} | {best}: {gains[best]:.1f} | {half} |")
    return lines


def ranks_of(batch):
    """1, 2, 4, … as many as have rows enough."""
    return [2 ** power for power in range(MOST_RANKS.bit_length()) if batch / 2 ** power >= FEWEST_ROWS]


def picture(record, path):
    import matplotlib
    matplotlib.use("agg")
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(1, 2, figsize=(6.4, 3.2), sharey=True, layout="constrained")
    ranks = ranks_of(BATCH_OF_PICTURE)
    for ax, (kind, network) in zip(axes, NETWORKS.items(), strict=True):
        ax.plot([1, MOST_RANKS], [1, MOST_RANKS], color="0.7", linewidth=1)
        for index, style in ((0, ":"), (2, "--"), (3, "-")):
            sizes, batch = WORK[index]
            one = record["steps"]["1"][index][0] * BATCH_OF_PICTURE / batch
            ax.plot(ranks, [one / model(one, sizes, n, network) for n in ranks], style, label=name(sizes))
        ax.set(xscale="log", yscale="log", xlabel="ranks", title=kind)
        ax.set_xticks([1, 4, 16, 64, 256, 1024], [1, 4, 16, 64, 256, "1,024"])
        ax.set_yticks([1, 10, 100, 1000], [1, 10, 100, "1,000"])
    axes[0].set_ylabel("times as fast as one rank")
    axes[0].legend()
    figure.savefig(path, dpi=150)


def write_page(record):
    text = PAGE.read_text()
    for table, lines in (("measured", measured_table(record)), ("limits", limits_table(record))):
        begin, end = f"<!-- {table}: written by benchmarks/several_ranks.py -->", f"<!-- end of {table} -->"
        before, rest = text.split(begin)
        text = "\n".join([before + begin, *lines, end + rest.split(end)[1]])
    PAGE.write_text(text)


def main():
    if sys.argv[1:] == ["rank"]:
        of_this_rank()
        return
    if sys.argv[1:] != ["model"]:
        measure()
    record = json.loads(RECORD.read_text())
    write_page(record)
    picture(record, ROOT / "docs/scaling.png")
    latency, bandwidth = measured_network(record)
    print(f"between two ranks here: {latency * 1e6:.2g} microseconds a message, {bandwidth / 1e9:.2g} GB/s")
    print(*measured_table(record), *limits_table(record), sep="\n")


if __name__ == "__main__":
    main()
