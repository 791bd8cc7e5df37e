"""The time of a training step over widths and batches, per floating-point operation: is there a cliff?

    python benchmarks/sweep.py              # writes record/sweep.json and docs/sweep.png (needs matplotlib)

A network of two layers, each as wide as its input, ReLU, plain SGD, one thread. Small sizes cost
more per operation, because every step has a price of its own; what must not be is that a larger
size costs more per operation than its smaller neighbour.
"""

import json
import timeit
from pathlib import Path

import numpy as np

import fastnn
from fastnn.bench import report

WIDTHS = (1, 2, 3, 4, 6, 8, 12, 15, 16, 17, 24, 31, 32, 33, 45, 46, 48, 63, 64, 65, 96, 127, 128, 129, 192, 255, 256,
          257, 384, 511, 512, 513, 768, 1023, 1024, 1025, 1536, 2048)
BATCHES = (1, 2, 3, 4, 5, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 513, 768, 1024, 1536, 2048)
SECONDS = 0.02              # for each of the three measurements of a point
FOLDER = Path(__file__).parent


def operations(width, batch):
    """Of a step's five products: two forward, two for the weights, one for the hidden layer."""
    return 5 * 2 * batch * width * width


def seconds_a_step(width, batch):
    steps = max(1, int(2e6 / (operations(width, batch) + 20_000)))
    rng = np.random.default_rng(0)
    X, y = (rng.uniform(-1, 1, (batch * steps, width)).astype(np.float32) for _ in range(2))
    net = fastnn.Network([width] * 3)
    optimizer = fastnn.SGD(1e-4)

    def epochs(count):
        net.fit(X, y, epochs=count, batch_size=batch, optimizer=optimizer, shuffle=False, threads=1)

    epochs(1)
    once = timeit.timeit(lambda: epochs(1), number=1)
    count = max(1, round(SECONDS / once))
    return min(timeit.repeat(lambda: epochs(count), number=1, repeat=3)) / (count * steps)


def rises(times):
    """(how many times more per operation than the smaller neighbour, width, batch), the worst first."""
    per_operation = {size: seconds / operations(*size) for size, seconds in times.items()}
    found = []
    for (width, batch), cost in per_operation.items():
        for smaller in ((before(WIDTHS, width), batch), (width, before(BATCHES, batch))):
            if None not in smaller:
                found.append((cost / per_operation[smaller], width, batch, smaller))
    return sorted(found, reverse=True)


def before(sizes, size):
    return sizes[sizes.index(size) - 1] if size != sizes[0] else None


def picture(times, path):
    import matplotlib
    matplotlib.use("agg")
    from matplotlib import pyplot
    figure, ax = pyplot.subplots(figsize=(9, 6), layout="constrained")
    image = np.array([[operations(w, b) / times[w, b] / 1e9 for b in BATCHES] for w in WIDTHS])
    mesh = ax.imshow(image, origin="lower", aspect="auto", cmap="viridis", norm="log")
    ax.set_xticks(range(len(BATCHES)), BATCHES, rotation=90)
    ax.set_yticks(range(len(WIDTHS)), WIDTHS, fontsize=7)
    ax.set(xlabel="batch [rows]", ylabel="width [units]", title="A training step of two layers, one thread")
    figure.colorbar(mesh, label="GFLOP/s")
    figure.savefig(path, dpi=110)


def main():
    times = {}
    for width in WIDTHS:
        for batch in BATCHES:
            times[width, batch] = seconds_a_step(width, batch)
        print(width, *(f"{operations(width, b) / times[width, b] / 1e9:.3g}" for b in BATCHES), flush=True)
    for ratio, width, batch, smaller in rises(times)[:12]:
        print(f"{width} wide, batch {batch}: {ratio:.2f} times the cost per operation of {smaller}")
    record = {**report.machine(1, None, "float32", []),
              "steps": [{"width": w, "batch": b, "seconds": s} for (w, b), s in times.items()]}
    (FOLDER / "record/sweep.json").write_text(json.dumps(record, indent=0) + "\n")
    picture(times, FOLDER.parent / "docs/sweep.png")


if __name__ == "__main__":
    main()
