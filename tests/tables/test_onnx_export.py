"""The model of a table in ONNX: from cells to the answer, ONNX Runtime computes what the model computes."""

import json

import numpy as np
import pytest
import tables_to_export as tables

import fastnn
from fastnn.tables.onnx_export import input_names, spellings, to_onnx
from fastnn.tables.recipe import Recipe

pytestmark = pytest.mark.any_isa
onnx = pytest.importorskip("onnx", reason="NOT TESTED: onnx is not installed")
runtime = pytest.importorskip("onnxruntime", reason="NOT TESTED: onnxruntime is not installed")


def session_of(path):
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(path, columns):
    """The file's outputs for these columns, by name."""
    session = session_of(path)
    feeds = {}
    for given, column in zip(session.get_inputs(), columns.values(), strict=True):
        values = column.values
        if column.kind == "category":
            values = np.array(["" if text is None else text for text in values], object)
        feeds[given.name] = np.asarray(tables.seconds(values) if column.kind == "date" else values)[:, None]
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, feeds), strict=True))


def test_features_are_those_of_the_encoding(tmp_path):
    """Gaps, texts never seen, spellings, huge numbers, infinities, dates of all times."""
    recipe, networks = tables.transparent()
    to_onnx(recipe, networks, tmp_path / "model.onnx")
    for columns in (tables.COLUMNS, tables.hard_columns(), tables.moments(50_000)):
        features = run(tmp_path / "model.onnx", columns)["probabilities"]
        expected = recipe.encoding.apply(tables.as_read(columns))
        np.testing.assert_allclose(features, expected, rtol=2e-7, atol=1e-30)
        assert np.ptp(expected, axis=0).max() > 0.9


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("classes, kind", [
    ((0, 1, 7), np.int64), (("no", "yes"), object), ((False, True), object), ((2**70, 1), object)])
def test_classes_and_probabilities(classes, kind, members, tmp_path):
    recipe, networks = tables.model(classes, members)
    to_onnx(recipe, networks, tmp_path / "model.onnx")
    for columns in (tables.COLUMNS, tables.hard_columns()):
        expected = recipe.answers(networks, tables.as_read(columns))
        outputs = run(tmp_path / "model.onnx", columns)
        assert list(outputs) == ["label", "probabilities"] and outputs["probabilities"].dtype == np.float32
        np.testing.assert_allclose(outputs["probabilities"], expected, rtol=1e-5)
        labels = [classes[place] if kind == np.int64 else str(classes[place]) for place in expected.argmax(axis=1)]
        assert outputs["label"].tolist() == labels and outputs["label"].dtype == kind


@pytest.mark.parametrize("mean, scale", [(0.0, 1.0), (-3.5, 1e-6), (1.7e9, 0.1)])
def test_a_number(mean, scale, tmp_path):
    """Also one whose digits float32 would lose."""
    recipe, networks = tables.model(mean=mean, scale=scale)
    to_onnx(recipe, networks, tmp_path / "model.onnx")
    columns = tables.hard_columns()
    expected = recipe.answers(networks, tables.as_read(columns))
    [(name, numbers)] = run(tmp_path / "model.onnx", columns).items()
    assert (name, numbers.shape, numbers.dtype) == ("prediction", (80, 1), np.float64)
    np.testing.assert_allclose(numbers[:, 0] - mean, expected - mean, atol=1e-5 * scale)
    assert np.ptp(numbers) > 0.1 * scale


@pytest.mark.parametrize("names", [["age"], ["class"], ["дата"], ["class_2", "age"], ["always 3"], [""]])
def test_a_table_of_few_columns(names, tmp_path):
    recipe, networks = tables.model(("a", "b"), columns=names)
    to_onnx(recipe, networks, tmp_path / "model.onnx")
    columns = {name: column for name, column in tables.hard_columns().items() if name in names}
    expected = recipe.answers(networks, tables.as_read(columns))
    np.testing.assert_allclose(run(tmp_path / "model.onnx", columns)["probabilities"], expected, rtol=1e-5)
    nothing = {name: tables.Column(name, column.kind, column.values[:0], "", column.reading)
               for name, column in columns.items()}
    assert run(tmp_path / "model.onnx", nothing)["probabilities"].shape == (0, 2)


def test_a_wrong_constant_is_noticed(tmp_path):
    recipe, networks = tables.model(("a", "b"))
    to_onnx(recipe, networks, tmp_path / "model.onnx")
    expected = recipe.answers(networks, tables.as_read(tables.COLUMNS))
    model = onnx.load(tmp_path / "model.onnx")
    arrays = [tensor for tensor in model.graph.initializer if tensor.data_type == 11 and tensor.dims]
    assert [tensor.name.split(".")[1] for tensor in arrays] == ["medians", "scales", "lows", "widths"]
    for tensor in arrays:
        before = onnx.numpy_helper.to_array(tensor)
        tensor.CopyFrom(onnx.numpy_helper.from_array(before * 1.01 + 0.01, tensor.name))
        onnx.save(model, tmp_path / "wrong.onnx")
        assert np.abs(run(tmp_path / "wrong.onnx", tables.COLUMNS)["probabilities"] - expected).max() > 1e-4
        tensor.CopyFrom(onnx.numpy_helper.from_array(before, tensor.name))


def test_the_file_says_what_it_holds(tmp_path):
    recipe, networks = tables.model(("no", "yes\ud800"))
    for name in ("a", "b"):
        to_onnx(recipe, networks, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    model = onnx.load(tmp_path / "a")
    onnx.checker.check_model(model, full_check=True)
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": 13, "ai.onnx.ml": 2}
    said = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert said["columns"] == list(tables.TABLE) and said["classes"] == ["no", "yes\ud800"]
    assert Recipe.from_metadata(said["fastnn.table"]) == recipe
    inputs = {value.name: value.doc_string for value in model.graph.input}
    assert list(inputs)[:5] == ["age", "label_", "mostly 0", "always 3", "_"]
    assert list(inputs)[5:] == list(tables.TABLE)[5:]
    assert inputs["age"] == "number, in 'years'; NaN is a gap" and inputs["class"] == "text; empty text is a gap"
    used = {name for node in model.graph.node for name in node.input} | {"label", "probabilities"}
    assert used >= {name for node in model.graph.node for name in node.output}      # no node is for nothing


@pytest.mark.parametrize("columns, names", [
    (["a", "é", "two words"], ["a", "é", "two words"]), (["", "_"], ["__", "_"]),
    (["label", "label_", "prediction"], ["label__", "label_", "prediction_"]),
    (["a\0", "a\\x00"], ["a\\x00_", "a\\x00"]), (["\ud800"], ["\\ud800"])])
def test_names_of_inputs(columns, names):
    assert input_names(columns) == names


@pytest.mark.parametrize("text, spelling, some, count", [
    ("yes", "exact", ["yes"], 1), ("yes", "lower", ["yes", "YES", "yEs"], 12), ("false", "lower", ["FALSE"], 48),
    ("1", "number", ["1", "1.0", "01", "+1", "1.", "001.00"], 24), ("-2.5", "number", ["-2.5", "-02.50"], 9),
    ("0.5", "number", [".5", "+0.50"], 24), ("0", "number", ["-0", "0.0"], 36), ("1e-05", "number", ["1e-05"], 1),
    ("x", "number", ["x"], 1)])
def test_spellings_of_a_category(text, spelling, some, count):
    found = spellings(text, spelling)
    assert set(some) <= set(found) and len(found) == len(set(found)) == count
    reading = tables.Reading("category", spelling=spelling)
    assert {reading.value(cell) for cell in found} == {text}


def test_a_category_with_too_many_spellings_is_refused():
    with pytest.raises(ValueError, match="has 1.05e[+]06 spellings in capital and small letters"):
        spellings("a" * 20, "lower")


@pytest.mark.parametrize("spoil, words", tables.REFUSED)
def test_networks_of_another_table_are_refused(spoil, words, tmp_path):
    recipe, networks = tables.model()
    with pytest.raises(ValueError, match=words):
        to_onnx(recipe, spoil(recipe, networks), tmp_path / "model.onnx")
    with pytest.raises(TypeError, match="must be a fastnn.Network"):
        to_onnx(recipe, ["network"], tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
    assert isinstance(networks[0], fastnn.Network)
