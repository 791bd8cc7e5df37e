"""What tests of ONNX ask for by name."""

import pytest


@pytest.fixture
def run():
    """Runs an ONNX file in ONNX Runtime."""
    runtime = pytest.importorskip("onnxruntime", reason="NOT TESTED: onnxruntime is not installed")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4

    def run_file(path, X):
        session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return session.run(None, {session.get_inputs()[0].name: X})[0]
    return run_file


@pytest.fixture
def onnx():
    return pytest.importorskip("onnx", reason="NOT TESTED: onnx is not installed")
