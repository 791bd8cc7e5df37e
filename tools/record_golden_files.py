"""Writes the model files of this version that later versions must read: tests/data/golden/<version>*.

    python tools/record_golden_files.py

Once for every release, on a processor with fused multiply-add, where all have the same bits. Beside each file stands
what it predicts, and what it is after one more epoch. Files of older versions stay as they are.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

import fastnn

FOLDER = Path(__file__).parent.parent / "tests/data/golden"
ROWS = 30


def fractions(*shape):
    """Numbers that look random, made without a random generator: float32 holds them exactly."""
    return (np.arange(1, np.prod(shape) + 1) ** 2 * 7919 % 1009).reshape(shape) / 512 - 1


def rows_for(network):
    """X and y that suit a network."""
    n_in, n_out = network.layer_sizes[0], network.layer_sizes[-1]
    softmax = network.activations[-1] == "softmax"
    return fractions(ROWS, n_in), np.arange(ROWS) % n_out if softmax else fractions(ROWS, n_out) / 4 + 0.4


def continued(network):
    """Every bit of a network after one more epoch."""
    history = network.fit(*rows_for(network), batch_size=8, optimizer=network.optimizer or fastnn.SGD(0.1))
    blocks = [network.get_parameters(), *getattr(network.optimizer, "state", ()), np.array(history.loss)]
    return hashlib.sha256(b"".join(block.tobytes() for block in blocks)).hexdigest()


def networks():
    """{name: network}: as it was built; in the middle of a training with all that a file holds."""
    result = {}
    for dtype in ("float32", "float64"):
        result[f"new-{dtype}"] = fastnn.Network([5, 7, 3], activation="tanh", output="softmax", dtype=dtype, seed=1)
        network = result[f"trained-{dtype}"] = fastnn.Network(
            [4, 9, 6, 2], activation=["gelu", "elu"], output="sigmoid", dtype=dtype, seed=2, dropout=[0.25, 0.1],
            l1=1e-4, l2=1e-3, loss="focal", label_smoothing=0.05)
        schedule = fastnn.schedules.WarmUp(fastnn.schedules.ReduceOnPlateau(0.02, patience=1), 5)
        X, y = rows_for(network)
        network.fit(X, y, epochs=4, batch_size=8, optimizer=fastnn.AdamW(schedule, clip_norm=1.0, clip_value=0.5),
                    validation_data=(X[:9], y[:9]), early_stopping=fastnn.EarlyStopping(9, min_change=1e-3))
        network.metadata = {"columns": ["länge", "width"], "note": None, "numbers": [1, 2.5, True]}
    return result


def main():
    FOLDER.mkdir(exist_ok=True)
    expected = {}
    for name, network in networks().items():
        file = f"{fastnn.__version__}-{name}.safetensors"
        network.save(FOLDER / file)
        outputs = network.predict(rows_for(network)[0])
        expected[file] = {
            "outputs": [[float(value).hex() for value in row] for row in outputs], "network": repr(network),
            "optimizer": repr(network.optimizer), "early_stopping": repr(network.early_stopping),
            "epochs_trained": network.epochs_trained, "metadata": network.metadata,
            "continued": continued(fastnn.load(FOLDER / file))}
    (FOLDER / f"{fastnn.__version__}.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
