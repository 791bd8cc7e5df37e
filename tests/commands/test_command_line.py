"""The command line: from a CSV file to a model, to predictions, and every mistake on one line."""

import csv
import gzip
import io
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT
from sklearn.datasets import load_diabetes, load_iris

import fastnn
from fastnn.__main__ import main
from fastnn.cli import tables
from fastnn.storage.model_file import read_model, write_model
from fastnn.tables.columns import column_of
from fastnn.tables.members import Folds
from fastnn.tables.reading import Table, read_table
from fastnn.tables.task import labels_of, task_of

pytestmark = pytest.mark.any_isa
EXAMPLES = ROOT / "examples"
FLOWERS = ["sepal length", "sepal width", "petal length", "petal width"]


def write(path, header, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def text(path):
    return Path(path).read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder with two tables: flowers.csv with names of classes, patients.csv with a number."""
    monkeypatch.chdir(tmp_path)
    iris, diabetes = load_iris(), load_diabetes(scaled=False)
    write("flowers.csv", [*FLOWERS, "species"],
          [[*row, iris.target_names[label]] for row, label in zip(iris.data, iris.target, strict=True)])
    write("patients.csv", [*diabetes.feature_names, "progression"], np.column_stack([diabetes.data, diabetes.target]))
    return tmp_path


def run(capsys, *arguments):
    """(exit code, standard output, standard error)"""
    code = main([str(argument) for argument in arguments])
    return (code or 0, *capsys.readouterr())


def test_the_flowers_among_the_examples_are_those_of_scikit_learn(folder):
    assert read_table("flowers.csv").cells == read_table(EXAMPLES / "flowers.csv").cells


def test_classes_from_train_to_predict(folder, capsys):
    code, out, err = run(capsys, "train", "flowers.csv", "--target", "species", "--out", "iris.safetensors")
    assert code == 0
    assert out.splitlines()[:6] == [
        "flowers.csv: 150 rows, 5 columns; UTF-8, cells separated by commas; row 1 names the columns",
        "  sepal length: number", "  sepal width: number", "  petal length: number", "  petal width: number",
        "species: one of 3 classes (setosa, versicolor, virginica), from 4 columns"]
    assert "8 networks, best after " in out and "on 150 rows with 4 columns." in out and "Out of fold" in out
    assert float(re.search(r"accuracy +(\S+)", out)[1]) > 0.9
    assert re.match(r" 1\d% of 8 networks of \d+ epochs: validation loss \S+, about \d+ s left\n", err)

    code, out, _ = run(capsys, "predict", "iris.safetensors", "flowers.csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0 and len(rows) == 150
    assert list(rows[0]) == ["species", "p(setosa)", "p(versicolor)", "p(virginica)"]
    names = load_iris().target_names[load_iris().target]
    assert np.mean([row["species"] for row in rows] == names) > 0.9
    assert all(abs(sum(float(row[name]) for name in list(row)[1:]) - 1) < 1e-5 for row in rows)

    code, out, _ = run(capsys, "info", "iris.safetensors")
    assert code == 0 and re.search(r"^layers +\d+ -> 128 -> 128 -> 3$", out, re.MULTILINE)
    assert re.search(r"^classes +setosa, versicolor, virginica$", out, re.MULTILINE) and "Out of fold" in out


def wide_table(columns, width=8):
    """A table of so many columns of numbers and a target, in 24 rows; names are so many characters long."""
    numbers = np.random.default_rng(0).normal(size=(columns, 24)).round(3)
    cells = {f"{i:0{width}}": [str(x) for x in column] for i, column in enumerate(numbers)}
    return Table("wide.csv", cells | {"y": [str(x + i) for i, x in enumerate(numbers[0])]})


def test_a_table_of_many_columns_is_learned_saved_and_predicted(folder, capsys):
    table = wide_table(11_000)
    write("wide.csv", list(table.cells), zip(*table.cells.values(), strict=True))
    arguments = "--members", 1, "--hidden", 4, "--epochs", 2
    assert run(capsys, "train", "wide.csv", "--target", "y", *arguments)[0] == 0
    trained = fastnn.TableRegressor(1, hidden=[4], epochs=2).fit(table, "y")
    loaded = fastnn.TableRegressor.load("model.safetensors")
    assert loaded.recipe_ == trained.recipe_
    assert list(tables.predictions(loaded, table)) == list(tables.predictions(trained, table))
    assert run(capsys, "predict", "model.safetensors", "wide.csv")[0] == 0


def test_a_table_whose_model_no_file_would_hold_is_refused_before_it_is_learned(monkeypatch):
    monkeypatch.setattr(fastnn.Network, "fit", None)
    with pytest.raises(ValueError, match="the description and the metadata take .* bytes, but must fit in"):
        fastnn.TableRegressor(1, hidden=[2]).fit(wide_table(11_000, width=100), "y")


def test_a_file_that_cannot_be_written_is_known_before_the_work(folder, capsys, monkeypatch):
    """Here, as its temporary name would be too long."""
    monkeypatch.setattr(fastnn.Network, "fit", None)
    code, out, err = run(capsys, "train", "flowers.csv", "--target", "species", "--out", "m" * 250)
    assert (code, out) == (1, "") and "File name too long" in err and sorted(os.listdir()) == [
        "flowers.csv", "patients.csv"]


@pytest.mark.parametrize("command", [
    ["predict", "pipe", "flowers.csv"], ["info", "pipe"], ["export", "pipe", "--to", "c"]])
def test_a_model_that_is_no_regular_file_is_not_waited_for(folder, capsys, command):
    os.mkfifo("pipe")
    code, out, err = run(capsys, *command)
    assert (code, out) == (1, "") and err == (
        "fastnn: error: pipe is a pipe, but must be a regular file: pass the path of one\n")


def test_a_table_may_come_through_a_pipe(folder, capsys):
    """As for other commands: `fastnn train <(zcat flowers.csv.gz) --target species`."""
    os.mkfifo("pipe")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: open("pipe", "wb").write(open("flowers.csv", "rb").read()))     # noqa: SIM115
        code, out, _ = run(capsys, "train", "pipe", "--target", "species", "--epochs", "2")
    assert code == 0 and "on 150 rows with 4 columns" in out


def test_a_table_from_a_device_is_not_read_without_end(folder, capsys):
    os.symlink("/dev/zero", "zero")
    code, out, err = run(capsys, "train", "zero", "--target", "species")
    assert (code, out) == (1, "") and err == (
        "fastnn: error: zero is a device, but must be a file or a pipe: pass the path of one\n")


def test_a_table_of_another_kind_is_learned_and_predicted(folder, capsys):
    lines = text("flowers.csv").replace(",", ";").splitlines()[1:]        # semicolons, no names
    Path("t.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    code, out, _ = run(capsys, "train", "t.gz", "--target", "4", "--epochs", 2)
    assert code == 0 and out.splitlines()[0] == (
        "t.gz: 150 rows, 5 columns; UTF-8, cells separated by semicolons; no row of names")
    Path("few.csv").write_text("\n".join(line.replace(";", ",") for line in lines[:2]), encoding="utf-8")
    code, out, _ = run(capsys, "predict", "model.safetensors", "few.csv")
    assert code == 0 and len(out.splitlines()) == 3
    Path("odd.csv").write_text(text("flowers.csv").replace(",", "^"), encoding="utf-8")
    assert run(capsys, "train", "odd.csv", "--target", "species", "--epochs", 2, "--separator", "^")[0] == 0


@pytest.mark.parametrize("separator", ["", ",,", '"'])
def test_a_separator_is_one_character(folder, capsys, separator):
    with pytest.raises(SystemExit):
        main(["train", "flowers.csv", "--target", "species", "--separator", separator])
    assert f"is {separator!r}, but must be one character, such as ';', or tab or space" in capsys.readouterr().err


def test_empty_lines_at_the_end_are_no_rows(folder, capsys):
    with open("flowers.csv", "a", encoding="utf-8") as file:
        file.write("\n\n")
    assert len(read_table("flowers.csv")) == 150


def test_info_of_a_network_without_a_table(folder, capsys):
    fastnn.Network([4, 3]).save("bare")
    code, out, _ = run(capsys, "info", "bare")
    assert code == 0 and "4 -> 3" in out and "columns" not in out and "optimizer" not in out


def test_export_of_a_network_without_a_table(folder, capsys):
    fastnn.Network([4, 3]).save("bare")
    assert run(capsys, "export", "bare", "--to", "c") == (0, "saved bare.h\n", "")


def test_a_number_and_columns_in_another_order(folder, capsys):
    code, report, _ = run(capsys, "train", "patients.csv", "--target", "progression", "--hidden", 16, "--drop", "sex")
    assert code == 0
    model = fastnn.TableRegressor.load("model.safetensors")
    assert model.networks_[0].layer_sizes[1:] == (16, 1) and "sex" not in model.recipe_.readings
    assert run(capsys, "predict", "model.safetensors", "patients.csv", "--out", "p.csv") == (0, "", "")
    values, y = np.loadtxt("p.csv", skiprows=1), load_diabetes().target
    np.testing.assert_allclose(values, model.predict("patients.csv"), rtol=1e-11)
    assert np.corrcoef(values, y)[0, 1] > 0.6
    table = read_table("patients.csv").cells
    write("turned.csv", list(table)[::-1], zip(*list(table.values())[::-1], strict=True))
    run(capsys, "predict", "model.safetensors", "turned.csv", "--out", "q.csv")
    assert text("p.csv") == text("q.csv")


@pytest.mark.parametrize("members", [1, 3])
def test_the_report_is_about_rows_that_training_did_not_see(folder, capsys, members):
    arguments = "train", "patients.csv", "--target", "progression", "--epochs", 20, "--members", members
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    model, table = fastnn.TableRegressor.load("model.safetensors"), read_table("patients.csv")
    task = task_of(table, "progression")
    folds = Folds.of(442, members, 0)
    outputs = np.concatenate([network.predict(task.recipe.encoding.apply(task.columns, rows=folds.order[
        folds.own(member)])) for member, network in enumerate(model.networks_)])
    errors = task.recipe.numbers(outputs) - task.y[folds.order[:folds.answered]]
    assert float(re.search(r"RMSE +(\S+)", out)[1]) == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=1e-3)
    assert ("Out of fold" in out) == (members > 1) and ("held out" in out) == (members == 1)


def test_the_same_seed_gives_the_same_file(folder, capsys):
    arguments = ["train", "flowers.csv", "--target", "species", "--epochs", 5]
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(capsys, *arguments, "--out", name, "--seed", seed)
    a, b, c = (path.read_bytes() for path in map(Path, "abc"))
    assert a == b != c


@pytest.mark.parametrize("cells, task, labels", [
    (["b", "a", "b"], None, ["b", "a", "b"]), (["10", "9", "10"], None, [10, 9, 10]), (["0.5", "1", "1"], None, None),
    (["1", "2", "x"], None, ["1", "2", "x"]), ([str(i) for i in range(21)], None, None),
    (["1", "2"], "regression", None), (["0.5", "1"], "classification", [0.5, 1.0]),
    (["1.0", "2", "1"], None, [1, 2, 1]), (["8GB", "16GB", "8GB"], None, ["8GB", "16GB", "8GB"])])
def test_what_a_target_is(cells, task, labels):
    goal = column_of("y", cells, target=True)
    assert labels_of(goal, np.arange(len(cells)), Table("t.csv", {"y": cells}), task) == labels


def quick(path):
    """A model of flowers in a file."""
    model = fastnn.TableClassifier(2, hidden=[4], epochs=1).fit(read_table("flowers.csv"), "species")
    model.save(path)
    return model


def broken(line, column, cell):
    rows = [row.split(",") for row in text("flowers.csv").splitlines()]
    rows[line - 1][column] = cell
    write("broken.csv", ["petal", *rows[0][1:]], rows[1:])


@pytest.mark.parametrize("change, arguments, message", [
    (lambda: broken(9, 0, "tall"), "train broken.csv --target petal",
     "broken.csv: row 9, column 'petal' is 'tall', but the column holds numbers in nearly all other rows; correct the "
     "cell, or say --missing=tall where it means a gap, --as petal=number where all that is no number does, or --as "
     "petal=category where it is a value"),
    (lambda: write("broken.csv", ["a", "b"], [[1, 2], [1, 2, 3]]), "train broken.csv --target a",
     "broken.csv: row 3 has 3 cells, but most rows have 2; mend it, or leave it out"),
    (lambda: write("broken.csv", ["a", "b"], [[1, 2], [2, 3], [1, 4], [2, 3]]), "train broken.csv --target a",
     "at least 20 are needed"),
    (lambda: write("broken.csv", ["a", "b"], [[1, row % 7] for row in range(50)]), "train broken.csv --target a",
     "must be two classes"),
    (lambda: write("broken.csv", ["a", "b"], [[row % 7, 2] for row in range(50)]), "train broken.csv --target a",
     "broken.csv has no column left to learn from beside 'a': b: constant, left out: 2 in each row"),
    (lambda: None, "train flowers.csv --target species --as colour=category", "there is no column 'colour'"),
    (lambda: Path("broken.csv").write_bytes(b"\xff\xfe\x00"), "train broken.csv --target a",
     "broken.csv begins as UTF-16, but byte 2 is not; save it as UTF-8"),
    (Path("broken.csv").touch, "train broken.csv --target a", "broken.csv has no rows, so there is nothing"),
    (lambda: None, "train flowers.csv --target specie", "flowers.csv has no column 'specie'; it has sepal length"),
    (lambda: None, "train flowers.csv --target species --drop colour", "flowers.csv has no column 'colour'"),
    (lambda: None, "train flowers.csv --target species --task regression",
     "row 2, column 'species' is 'setosa', but must be a finite number"),
    (lambda: None, "train missing.csv --target y", "No such file or directory: 'missing.csv'"),
    (lambda: None, "train flowers.csv --target species --out nowhere/m", "--out is 'nowhere/m', which is no file in"),
    (lambda: None, "train flowers.csv --target species --out .", "--out is '.', which is no file in a folder"),
    (lambda: None, "train flowers.csv --target species --out flowers.csv", "which is what is read; give another name"),
    (lambda: fastnn.Network([4, 3]).save("net.onnx"), "export net.onnx --to onnx", "which is what is read"),
    (lambda: fastnn.Network([4, 3]).save("net"), "export net --to c --out nowhere/net.h", "which is no file in"),
    (lambda: write("broken.csv", ["a"], [[1]] * 30), "train broken.csv --target a",
     "no column left to learn from beside 'a'"),
    (lambda: write("broken.csv", ["a", "b"], [[row % 7, f"name {row}"] for row in range(30)]),
     "train broken.csv --target b",
     "column 'b' has 30 different values in 30 rows, which are too many to be classes"),
    (lambda: None, "train flowers.csv --target species --drop species", "'species' is the target, and cannot be"),
    (lambda: None, "train flowers.csv --target species --seed -1", "seed is -1, but must be at least 0"),
    (lambda: None, "train flowers.csv --target species --epochs 0", "epochs is 0, but must be at least 1"),
    (lambda: broken(9, 0, "1e300"), "train broken.csv --target petal", "column 'petal' is '1e300', but the"),
    (lambda: write("broken.csv", ["a", "b"], [[row % 7, row % 3] for row in range(30)] + [[1, "lost"]]),
     "train broken.csv --target b", "row 32, column 'b' is 'lost', but other rows hold numbers; leave the row out, "),
    (lambda: None, "train flowers.csv --target species --separator ;", "has no column 'species'; it has sepal length,"),
    (lambda: None, "train flowers.csv --target species --no-header", "has no column 'species'; it has 0, 1, 2, 3, 4"),
    (lambda: None, "train flowers.csv --target species --hidden 0", "hidden is 0, but must be at least 1"),
    (lambda: None, "predict flowers.csv flowers.csv", "flowers.csv cannot be read as a model"),
    (lambda: fastnn.Network([4, 3]).save("bare"), "predict bare flowers.csv --out bare",
     "--out is 'bare', which is what is read"),
    (lambda: fastnn.Network([4, 3]).save("bare"), "predict bare flowers.csv", "does not know which columns it needs"),
    (lambda: None, "train flowers.csv --target species --members 0", "members is 0, but must be at least 1"),
    (lambda: None, "train flowers.csv --target species --time-budget 0", "time_budget is 0"),
    (lambda: None, "train flowers.csv --target species --report nowhere/r", "--report is 'nowhere/r', which is no"),
    (lambda: quick("m"), "export m --to torch", "which goes to ONNX or C as a whole: pass --to onnx or --to c"),
    (lambda: quick("m"), "predict m patients.csv",
     "patients.csv has no column 'sepal length', 'sepal width', 'petal length', 'petal width', which the model needs"),
])
def test_mistakes_are_one_line_and_leave_no_file(folder, capsys, change, arguments, message):
    change()
    capsys.readouterr()
    before = {name: Path(name).read_bytes() for name in os.listdir()}
    code, out, err = run(capsys, *arguments.split())
    assert (code, out) == (1, "")
    assert err.startswith("fastnn: error: ") and message in err and err.count("\n") == 1
    assert {name: Path(name).read_bytes() for name in os.listdir()} == before


def test_a_pipe_is_refused_before_any_work(folder, capsys):
    """A file of that name is made, and takes the pipe's place: nothing would come out of it."""
    os.mkfifo("pipe")
    code, out, err = run(capsys, "train", "flowers.csv", "--target", "species", "--out", "pipe")
    assert (code, out) == (1, "") and "--out is 'pipe', which is no file in a folder that exists" in err
    assert Path("pipe").is_fifo()


HOSTILE = "\x1b[2J\x07\u202e\ud800\r\nfastnn: all is well"
ESCAPED = r"\x1b[2J\x07\u202e\ud800\r\nfastnn: all is well"


def hostile(path, label):
    """A model in a file whose target, first column and first class are called so."""
    model = quick("tame")
    description, tensors = read_model("tame")
    recipe = description["table_model"]["recipe"]
    recipe["target"] = recipe["encoding"]["columns"][0]["name"] = recipe["classes"][0] = label
    write_model(path, description, tensors)
    return model


def test_what_a_file_says_steers_no_terminal(folder, capsys):
    """Names of columns and classes in a CSV file and in a model are escaped wherever they are printed."""
    hostile("hostile", HOSTILE)
    for command in (("info", "hostile"), ("export", "hostile", "--to", "c"), ("predict", "hostile", "flowers.csv")):
        code, out, err = run(capsys, *command)
        assert "\x1b" not in out + err and "\r" not in out + err and "\u202e" not in out + err
        assert ESCAPED in out + err or command[0] != "info"
    header = [HOSTILE.replace("\ud800", ""), *FLOWERS[1:], "species"]
    write("hostile.csv", header, [["1", "2", "3", "4", "a"]] * 30)
    code, out, err = run(capsys, "train", "hostile.csv", "--target", "width")
    assert code == 1 and "\x1b" not in err and r"\x1b[2J" in err and err.count("\n") == 1


def test_errors_about_a_table_quote_it_escaped(folder):
    table = Table("hostile.csv", {"\x1b[2J": ["1"] * 30})
    for ask in (lambda: table.column("width"), lambda: list(tables.predictions(quick("m"), table))):
        with pytest.raises(ValueError, match=r"it has '?\\\\?x1b\[2J'?$"):
            ask()


def test_predictions_on_a_terminal_are_escaped(folder, capsys, monkeypatch):
    """Elsewhere they are the cells of a CSV file, as they stand."""
    model = quick("m")
    model.recipe_ = replace(model.recipe_, classes=("\x1b[2J", "b", "c"))
    model.save("hostile")
    assert "p(\x1b[2J)" in run(capsys, "predict", "hostile", "flowers.csv")[1]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    out = run(capsys, "predict", "hostile", "flowers.csv")[1]
    assert "\x1b" not in out and r"p(\x1b[2J)" in out


def test_no_cell_of_the_predictions_is_a_formula(folder, capsys):
    """A spreadsheet takes a cell for text that begins with an apostrophe; what stands behind it is as it was."""
    write("t.csv", ["x", "=y"], [[number // 2, ["=1+1", "-", "+a", "@b"][number % 4]] for number in range(80)])
    assert run(capsys, "train", "t.csv", "--target", "=y", "--epochs", 1, "--members", 2)[0] == 0
    cells = {row[0] for row in csv.reader(io.StringIO(run(capsys, "predict", "model.safetensors", "t.csv")[1]))}
    assert cells <= {"'=y", "'=1+1", "'-", "'+a", "'@b"} and len(cells) > 1
    assert tables.as_cell(-1) == "-1"


def test_as_a_program(folder):
    def fastnn_program(*arguments, **more):
        return subprocess.run([sys.executable, "-m", "fastnn", *arguments], capture_output=True, text=True, **more)
    assert fastnn_program("config").stdout.startswith("fastnn:")
    assert fastnn_program("--version").stdout == f"fastnn {fastnn.__version__}\n"
    assert fastnn_program().returncode == fastnn_program("fly").returncode == 2
    assert "usage: fastnn" in fastnn_program("--help").stdout
    failed = fastnn_program("info", "missing")
    assert failed.returncode == 1 and "Traceback" not in failed.stderr
    assert fastnn_program("train", "flowers.csv", "--target", "species", "--epochs", "2").returncode == 0
    reader, writer = os.pipe()
    os.close(reader)        # as `head` does when it has had enough
    early = subprocess.run([sys.executable, "-m", "fastnn", "predict", "model.safetensors", "flowers.csv"],
                           stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (early.returncode, early.stderr) == (1, "")


@pytest.mark.parametrize("to, ending", [("c", ".h"), ("onnx", ".onnx"), ("torch", ".pt")])
def test_export_of_a_network_that_learned_from_arrays(folder, capsys, to, ending):
    module = {"onnx": "onnx", "torch": "torch"}.get(to)
    if module is not None:
        pytest.importorskip(module, reason=f"NOT TESTED: {module} is not installed")
    network = fastnn.Network([4, 5, 3], output="softmax")
    network.save("m.safetensors")
    code, out, err = run(capsys, "export", "m.safetensors", "--to", to)
    assert (code, err) == (0, "") and out.endswith(f"saved m{ending}\n")
    X = np.eye(4, dtype=np.float32)
    if to == "onnx":
        np.testing.assert_array_equal(fastnn.interchange.from_onnx("m.onnx").predict(X), network.predict(X))
    if to == "torch":
        import torch
        other = fastnn.interchange.to_torch(fastnn.Network([4, 5, 3], output="softmax", seed=1))
        other.load_state_dict(torch.load("m.pt"))
        np.testing.assert_allclose(other(torch.from_numpy(X)).detach(), network.predict(X), rtol=1e-5)


def test_ctrl_c(folder, capsys, monkeypatch):
    def interrupted(*arguments, **more):
        raise KeyboardInterrupt
    monkeypatch.setattr(fastnn.TableClassifier, "fit_task", interrupted)
    code, _, err = run(capsys, "train", "flowers.csv", "--target", "species")
    assert (code, err, Path("model.safetensors").exists()) == (130, "fastnn: interrupted\n", False)


def test_a_report_does_not_take_the_place_of_the_model(folder, capsys):
    for out, page in (("m", "m"), ("m", "./m"), (str(Path("m").absolute()), "m")):
        code, _, err = run(capsys, "train", "flowers.csv", "--target", "species", "--out", out, "--report", page)
        assert code == 1 and f"--report is '{page}', which is --out, too; give another name" in err
        assert not Path("m").exists()


def test_a_model_that_finds_its_disk_full_is_saved_elsewhere(folder, capsys, monkeypatch):
    save = fastnn.TableClassifier.save

    def full(model, path):
        if path == "m":
            raise OSError(28, "No space left on device", path)
        save(model, path)

    monkeypatch.setattr(fastnn.TableClassifier, "save", full)
    code, _, err = run(capsys, "train", "flowers.csv", "--target", "species", "--out", "m", "--members", "1",
                       "--epochs", "1")
    other = err.splitlines()[-1].rpartition("; the model was saved as ")[2]
    assert code == 1 and "No space left on device" in err and fastnn.TableClassifier.load(other).classes_.size == 3
    Path(other).unlink()
    Path(other).parent.rmdir()
