"""Model files of every released version are read by this one: the same network, predictions and continuation.

tools/record_golden_files.py wrote them. On sse2, which rounds otherwise, they are close.
"""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import fastnn

FOLDER = Path(__file__).parent / "data/golden"
EXPECTED = {file: record for path in sorted(FOLDER.glob("*.json"))
            for file, record in json.loads(path.read_text()).items()}
SPEC = importlib.util.spec_from_file_location("recorder", Path(__file__).parent.parent / "tools/record_golden_files.py")
RECORDER = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(RECORDER)


def test_every_file_is_looked_at():
    assert {path.name for path in FOLDER.glob("*.safetensors")} == EXPECTED.keys()
    assert any(file.startswith(fastnn.__version__) for file in EXPECTED)


@pytest.mark.parametrize("file", EXPECTED)
def test_a_file_of_an_older_version_is_the_network_that_it_was(file, isa):
    expected, network = EXPECTED[file], fastnn.load(FOLDER / file)
    for name in ("network", "optimizer", "early_stopping"):
        assert repr(network if name == "network" else getattr(network, name)) == expected[name]
    assert (network.epochs_trained, network.metadata) == (expected["epochs_trained"], expected["metadata"])
    outputs = np.array([[float.fromhex(value) for value in row] for row in expected["outputs"]])
    predicted = network.predict(RECORDER.rows_for(network)[0]).astype("d")
    if isa == "sse2":
        np.testing.assert_allclose(predicted, outputs, rtol=1e-5 if network.dtype == "float32" else 1e-13)
        return
    assert predicted.tobytes() == outputs.tobytes()
    assert RECORDER.continued(network) == expected["continued"]
