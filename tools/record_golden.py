"""Records model files of this version, and what follows from them, in tests/data/golden/<version>/.

    python tools/record_golden.py

Each release adds its own, which is then never written again: test_golden.py loads them all, compares
predictions and trains on. Inputs are simple formulas and stand in record.json, so that the test reads everything
from there. An instruction set with fused multiply-add must run: the recorded bits are those of avx2, avx512 and neon.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

import fastnn
from fastnn import schedules
from fastnn.cli import tables
from fastnn.core import dispatch
from fastnn.tables.reading import Table

FOLDER = Path(__file__).parent.parent / "tests" / "data" / "golden" / fastnn.__version__
ROWS, BATCH, SIZES = 24, 10, [4, 6, 5, 3]
WARM_UP = schedules.WarmUp(schedules.CosineDecay(0.01, 10), 5)
OPTIMIZERS = {      # each with another schedule
    "sgd": ("float64", lambda: fastnn.SGD(schedules.StepDecay(0.05, 2, factor=0.5), momentum=0.9, nesterov=True)),
    "adam": ("float32", lambda: fastnn.Adam(schedules.ExponentialDecay(0.01, 0.9), clip_value=0.1)),
    "adamw": ("float32", lambda: fastnn.AdamW(WARM_UP, weight_decay=0.1, clip_norm=0.5)),
    "rmsprop": ("float32", lambda: fastnn.RMSprop(schedules.OneCycle(0.01, 30), momentum=0.5)),
    "adagrad": ("float64", lambda: fastnn.Adagrad(schedules.ReduceOnPlateau(0.05), learning_rate_decay=0.01)),
    "rprop": ("float64", lambda: fastnn.Rprop(0.01)),
}


def fractions(*shape, start=1):
    """Numbers from 0 to 1 that look random, and that both dtypes hold exactly."""
    return (np.arange(start, start + np.prod(shape)) ** 2 * 7919 % 1009).reshape(shape) / 1024


X, Y = 2 * fractions(ROWS, SIZES[0]) - 1, fractions(ROWS, SIZES[-1], start=50)
CELLS = {"length": [f"{4 * x:.2f}" for x in X[:, 0]], "width": [f"{x + 7:.3f}" for x in X[:, 1]],
         "metal": [["tin", "zinc", ""][row % 3] for row in range(ROWS)],
         "day": [f"2024-{1 + row % 12:02}-{1 + row:02}" for row in range(ROWS)],
         "colour": ["red" if x > 0 else "blue" for x in X[:, 0]]}


def models():
    """The networks, by the names of their files."""
    for dtype in ("float32", "float64"):
        yield f"untrained-{dtype}", fastnn.Network(SIZES, output="sigmoid", dtype=dtype)
    network = fastnn.Network(SIZES, dtype="float32")
    network.metadata = {"long": {"lists": [fractions(100).tolist(), fractions(64).tolist()]}, "short": [0.1, 1e300]}
    yield "lists-float32", network
    for name, (dtype, optimizer) in OPTIMIZERS.items():
        network = fastnn.Network(SIZES, activation=["tanh", "gelu"], dtype=dtype, seed=3, dropout=[0.1, 0.2], l2=1e-3)
        network.metadata["made by"] = "tools/record_golden.py"
        network.fit(X, Y, epochs=3, batch_size=BATCH, optimizer=optimizer(), validation_data=(X / 2, Y),
                    early_stopping=fastnn.EarlyStopping(5))
        yield f"{name}-{dtype}", network


def digest(network):
    """A network's parameters and its optimizer's state as one hash."""
    blocks = np.concatenate([network.get_parameters(), *network.optimizer.state])
    return hashlib.sha256(blocks.astype(blocks.dtype.newbyteorder("<")).tobytes()).hexdigest()


def main():
    assert dispatch.kernels.instruction_set != "sse2", "the bits would be those of sse2 alone"
    FOLDER.mkdir(parents=True, exist_ok=True)
    record = {"X": X.tolist(), "Y": Y.tolist(), "batch_size": BATCH}
    for name, network in models():
        network.save(FOLDER / f"{name}.safetensors")
        predictions = network.predict(X).tolist()
        history = network.fit(X, Y, batch_size=BATCH, optimizer=network.optimizer or fastnn.SGD(0.1),
                              validation_data=(X / 2, Y), early_stopping=network.early_stopping)
        record[name] = {"predictions": predictions, "next_loss": history.loss[0], "next_digest": digest(network)}
    table = Table("golden.csv", CELLS)
    model = fastnn.TableClassifier(2, hidden=[6], epochs=20).fit(table, "colour")
    model.save(FOLDER / "table.safetensors")
    record["table"] = {"cells": CELLS, "predictions": list(tables.predictions(model, table))}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in record.items())
    (FOLDER / "record.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
