"""ONNX files come in and go out: ONNX Runtime computes what the network computes.

Whatever goes out comes back with the same bits; files that are broken, or lead to others, are refused. Graphs that
other programs write are in test_interchange_onnx_graphs.py.
"""

import json
import os

import numpy as np
import pytest
from example_networks import DTYPES, X, assert_same_network, error, network_of, networks
from hypothesis import given, settings

import fastnn
from fastnn.activations import ACTIVATIONS
from fastnn.interchange import from_onnx, to_onnx

pytestmark = pytest.mark.any_isa


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1.0, 100.0], ids=["usual", "large"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_onnx_runtime_computes_what_the_network_computes(activation, scale, dtype, run, tmp_path):
    if activation == "exp" and scale > 1:
        scale = 3.0                     # larger, it overflows
    network = network_of(activation, dtype, scale=scale)
    to_onnx(network, tmp_path / "model.onnx")
    inputs = X.astype(dtype)
    # Sums in another order err by the products that cancel in them: this is compared with what they are.
    size = max(1, *(np.abs(z).max() for z in network.layer_outputs(inputs)))
    bound = 1e-5 if dtype == "float32" else 5e-7 if activation == "gelu" else 1e-12
    assert np.abs(run(tmp_path / "model.onnx", inputs) - network.predict(inputs)).max() <= bound * size
    assert run(tmp_path / "model.onnx", inputs[:1]).shape == (1, 4)
    assert_same_network(from_onnx(tmp_path / "model.onnx"), network)


@settings(max_examples=40)
@given(networks())
def test_every_network_comes_back_from_onnx(tmp_path_factory, network):
    pytest.importorskip("onnx", reason="NOT TESTED: onnx is not installed")
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    to_onnx(network, path)
    again = from_onnx(path, seed=network.seed)
    assert_same_network(again, network)
    assert repr(again) == repr(network)


def test_an_onnx_file_depends_on_the_network_alone(onnx, tmp_path):
    for name in ("a", "b"):
        to_onnx(network_of("gelu", "float64"), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    model = onnx.load(tmp_path / "a")
    onnx.checker.check_model(model, full_check=True)
    assert (model.producer_name, model.producer_version) == ("fastnn", fastnn.__version__)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 13)]
    [dimension, _] = model.graph.input[0].type.tensor_type.shape.dim
    assert dimension.dim_param == "n"


@pytest.mark.parametrize("activation, dtype", [
    ("leaky_relu", "float32"), ("selu", "float32"), ("gelu", "float32"), ("leaky_relu", "float64"), ("elu", "float64"),
    ("selu", "float64"), ("softplus", "float64"), ("gelu", "float64")])
def test_a_wrong_constant_in_a_file_is_noticed(activation, dtype, run, onnx, tmp_path):
    network = network_of(activation, dtype)
    to_onnx(network, tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    constants = [tensor for tensor in model.graph.initializer if tensor.name.startswith("constant")]
    attributes = [attribute for node in model.graph.node for attribute in node.attribute if attribute.HasField("f")]
    if constants:
        wrong = onnx.numpy_helper.to_array(constants[0]) + 0.001
        constants[0].CopyFrom(onnx.numpy_helper.from_array(np.asarray(wrong), constants[0].name))
    else:
        attributes[0].f += 0.001
    onnx.save(model, tmp_path / "model.onnx")
    inputs = X.astype(dtype)
    assert error(run(tmp_path / "model.onnx", inputs), network.predict(inputs)) > 1e-5
    with pytest.raises(ValueError, match="node"):
        from_onnx(tmp_path / "model.onnx")


def test_what_is_no_onnx_file_is_a_format_error(onnx, tmp_path):
    to_onnx(network_of("relu", "float32"), tmp_path / "model.onnx")
    whole = (tmp_path / "model.onnx").read_bytes()
    fastnn.Network([2, 1]).save(tmp_path / "other")
    for data in (b"", b"\0", b"hello, world", whole[:50], whole[:-50], whole[40:], (tmp_path / "other").read_bytes(),
                 np.random.default_rng(0).bytes(500)):
        (tmp_path / "broken").write_bytes(data)
        with pytest.raises(fastnn.FormatError, match="broken is not a valid ONNX file"):
            from_onnx(tmp_path / "broken")
    with pytest.raises(FileNotFoundError):
        from_onnx(tmp_path / "nothing")


def test_a_changed_file_is_a_network_or_a_sentence(onnx, tmp_path):
    to_onnx(network_of("gelu", "float64", (3, 4, 2)), tmp_path / "model.onnx")
    whole, rng = (tmp_path / "model.onnx").read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        data = bytearray(whole)
        data[rng.integers(len(data))] = rng.integers(256)
        (tmp_path / "changed").write_bytes(data)
        try:
            from_onnx(tmp_path / "changed")
        except ValueError as error:
            assert type(error) in (ValueError, fastnn.FormatError)
            refused += 1
    assert refused > 100


@pytest.fixture
def parts(onnx, tmp_path):
    """A model whose weights lie in a file of their own, and how to change what it says of them."""
    to_onnx(network_of("relu", "float32"), tmp_path / "model.onnx")
    onnx.save(onnx.load(tmp_path / "model.onnx"), tmp_path / "parts.onnx", save_as_external_data=True,
              location="parts.data", size_threshold=0)

    def change(**entries):
        model = onnx.load(tmp_path / "parts.onnx", load_external_data=False)
        kept = {entry.key: entry.value for entry in model.graph.initializer[0].external_data} | entries
        del model.graph.initializer[0].external_data[:]
        for key, value in kept.items():
            model.graph.initializer[0].external_data.add(key=key, value=value)
        (tmp_path / "parts.onnx").write_bytes(model.SerializeToString())
    return change


def test_weights_in_another_file_are_read(parts, tmp_path, monkeypatch):
    expected = from_onnx(tmp_path / "model.onnx")
    assert_same_network(from_onnx(tmp_path / "parts.onnx"), expected)
    monkeypatch.chdir(tmp_path)
    assert_same_network(from_onnx("parts.onnx"), expected)
    (tmp_path / "below").mkdir()
    os.rename("parts.data", "below/parts.data")
    for location in ("below/parts.data", "./below//parts.data"):
        parts(location=location)
        with pytest.raises(FileNotFoundError, match="lies in the file 'parts.data', which is not beside the model"):
            from_onnx("parts.onnx")     # the other tensors are still said to be there
    os.link("below/parts.data", "parts.data")
    assert_same_network(from_onnx("parts.onnx"), expected)


@pytest.mark.parametrize("sentence, entries", [
    ("only files in the model's own folder are read", {"location": "../outside"}),
    ("only files in the model's own folder are read", {"location": "below/../../outside"}),
    ("only files in the model's own folder are read", {"location": "link"}),
    ("only files in the model's own folder are read", {"location": "folder_link/outside"}),
    ("only files in the model's own folder are read", {"location": "/etc/passwd"}),
    ("only files in the model's own folder are read", {"location": ""}),
    ("only files in the model's own folder are read", {"location": "."}),
    ("only files in the model's own folder are read", {"location": "a\0b"}),
    ("pipe is a pipe or a device", {"location": "pipe"}),
    ("parts.data has .* bytes, but a tensor needs those from 1000000 to", {"offset": "1000000"}),
    ("has 340 bytes from -4 of another file", {"offset": "-4"}),
    ("has 1000 bytes from 0 of another file, but its shape and type need 340", {"length": "1000"}),
    ("tensor 'weights.0': invalid literal", {"offset": "zero"}),
    ("tensor 'weights.0': ", {"length": "9" * 5000}),
])
def test_weights_of_anywhere_else_are_refused(sentence, entries, parts, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "outside").write_bytes(bytes(10000))
    for name in ("parts.onnx", "parts.data"):
        os.rename(tmp_path / name, home / name)
    (home / "below").mkdir()
    os.symlink(tmp_path / "outside", home / "link")
    os.symlink(tmp_path, home / "folder_link")
    os.mkfifo(home / "pipe")
    os.symlink(home, tmp_path / "again")
    os.symlink(home / "parts.onnx", tmp_path / "parts.onnx")    # for `parts`, which changes the file in tmp_path
    parts(**entries)
    with pytest.raises(ValueError, match=sentence):
        from_onnx(home / "parts.onnx")
    assert_same_network(from_onnx(tmp_path / "model.onnx"), from_onnx(tmp_path / "model.onnx"))


def test_only_regular_files_are_read(onnx, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    os.symlink("/dev/zero", tmp_path / "zero")
    for name in ("pipe", "zero"):
        with pytest.raises(fastnn.FormatError, match=f"{name} is a pipe or a device, but must be a regular file"):
            from_onnx(tmp_path / name)
    with pytest.raises(IsADirectoryError):
        from_onnx(tmp_path)


def test_names_of_columns_and_classes_travel(onnx, tmp_path):
    """As metadata, which ONNX Runtime shows."""
    runtime = pytest.importorskip("onnxruntime", reason="NOT TESTED: onnxruntime is not installed")
    network, path = fastnn.Network([2, 3], output="softmax"), tmp_path / "named.onnx"
    to_onnx(network, path, columns=["année", 'a "b"'], classes=["x", "y", 3])
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = session.get_modelmeta().custom_metadata_map
    assert {key: json.loads(text) for key, text in names.items()} == {
        "columns": ["année", 'a "b"'], "classes": ["x", "y", "3"]}
    onnx.checker.check_model(onnx.load(path), full_check=True)
    assert_same_network(from_onnx(path), network)
    to_onnx(network, path)
    assert not onnx.load(path).metadata_props
    with pytest.raises(ValueError, match="classes has 2 names, but 3 were expected"):
        to_onnx(network, tmp_path / "never", classes=["a", "b"])
    assert not (tmp_path / "never").exists()
