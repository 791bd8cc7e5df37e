"""What holds of all formats in which models come in and go out: wrong arguments, files, missing libraries.

Each format has a file of its own, test_interchange_<format>.py. Whatever goes out computes what the network computes,
and comes back with the same bits; whatever no network can hold is refused in one sentence that names it.
"""

import os
import sys

import pytest

import fastnn
from fastnn import interchange
from fastnn.interchange import from_keras, from_onnx, from_sklearn, to_c, to_onnx, to_sklearn

pytestmark = pytest.mark.any_isa


@pytest.mark.parametrize("name", ["to_c", "to_onnx", "to_torch", "to_sklearn"])
def test_what_is_no_network_is_told_where_it_has_one(name, tmp_path):
    for library in {"to_onnx": ["onnx"], "to_torch": ["torch"]}.get(name, []) + ["sklearn"]:
        pytest.importorskip(library, reason=f"NOT TESTED: {library} is not installed")
    from fastnn.sklearn import MLPRegressor
    rest = [tmp_path / "a.h"] if name in ("to_c", "to_onnx") else []
    with pytest.raises(TypeError, match=r"network is a MLPRegressor, but must be a fastnn.Network; pass its to_netw"):
        getattr(interchange, name)(MLPRegressor(), *rest)
    with pytest.raises(TypeError, match="network is a str, but must be a fastnn.Network$"):
        getattr(interchange, name)("a.h", *rest)


def test_what_is_no_scikit_learn_estimator_or_no_weights_is_named():
    neural = pytest.importorskip("sklearn.neural_network", reason="NOT TESTED: scikit-learn is not installed")
    from sklearn.pipeline import make_pipeline
    with pytest.raises(TypeError, match=r"estimator is a sklearn.pipeline.Pipeline, .*pipeline\[-1\] is that of a"):
        from_sklearn(make_pipeline(neural.MLPRegressor()))
    with pytest.raises(TypeError, match="estimator is the class sklearn.*MLPRegressor, but must be .*, fitted"):
        from_sklearn(neural.MLPRegressor)
    for weights in (None, {"a": 1}, 3):
        with pytest.raises(TypeError, match="weights is .*, but must be the list that model.get_weights"):
            from_keras({"layers": [{"class_name": "Dense", "config": {"units": 2}}]}, weights)


@pytest.mark.parametrize("write", [to_onnx, to_c])
def test_a_file_is_written_wholly_or_not_at_all(write, tmp_path, monkeypatch):
    if write is to_onnx:
        pytest.importorskip("onnx", reason="NOT TESTED: onnx is not installed")
    write(fastnn.Network([2, 1]), tmp_path / "file")
    before = (tmp_path / "file").read_bytes()

    def fail(*_):
        raise OSError("disk full")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
        patch.setattr(os, "fsync", fail)
        write(fastnn.Network([3, 1]), tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_bytes() == before
    with pytest.raises(FileNotFoundError):
        write(fastnn.Network([2, 1]), tmp_path / "no" / "file")


@pytest.mark.parametrize("name, library, module, wanted, arguments", [
    ("to_onnx", "ONNX", "onnx", "onnx>=1.16", (fastnn.Network([2, 1]), "x")),
    ("from_onnx", "ONNX", "onnx", "onnx>=1.16", ("x",)),
    ("to_torch", "PyTorch", "torch", "torch>=2", (fastnn.Network([2, 1]),)),
    ("from_torch", "PyTorch", "torch", "torch>=2", ("x",)),
    ("to_sklearn", "scikit-learn", "sklearn.neural_network", "scikit-learn>=1.9", (fastnn.Network([2, 1]),)),
    ("from_sklearn", "scikit-learn", "sklearn.neural_network", "scikit-learn>=1.9", ("x",))])
def test_a_missing_library_is_named_with_its_cure(name, library, module, wanted, arguments, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError) as caught:
        getattr(interchange, name)(*arguments)
    assert str(caught.value) == f"{name} needs {library}, which is not installed: pip install '{wanted}'"


def test_a_network_with_a_python_loss_goes_out(tmp_path):
    pytest.importorskip("onnx", reason="NOT TESTED: onnx is not installed")

    def loss(outputs, targets):
        return ((outputs - targets) ** 2).mean(), 2 * (outputs - targets) / outputs.size
    network = fastnn.Network([2, 3, 1], loss=loss)
    to_onnx(network, tmp_path / "model.onnx")
    network.to_c(tmp_path / "model.h")
    assert from_onnx(tmp_path / "model.onnx").loss == "mse"
    assert from_sklearn(to_sklearn(network)).loss == "half_mse"
