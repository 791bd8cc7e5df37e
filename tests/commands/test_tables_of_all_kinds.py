"""Tables with text, dates and gaps: what columns are taken for, learned from and predicted, and what a model keeps."""

import copy
import csv
import re
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn.__main__ import main
from fastnn.cli import tables
from fastnn.tables.reading import read_table

pytestmark = pytest.mark.any_isa
NAMES = ["id", "day", "size", "colour", "note", "copy", "y"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def rows(count=60):
    """Rows in which y is green's 5, and a little of the size; every seventh size is a gap."""
    rng = np.random.default_rng(0)
    result = []
    for number in range(count):
        colour, size = ["red", "green", "blue"][number % 3], round(float(rng.uniform(1, 9)), 2)
        y = round(5 * (colour == "green") + 0.1 * size, 3)
        result.append([number + 1, f"{number % 28 + 1:02}/{number % 12 + 1:02}/2024", "NA" if number % 7 == 0 else size,
                       colour, f"some words about row {number}", -2 * y, y])
    return result


def write(name, names, cells):
    with open(name, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([names, *cells])


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return code or 0, printed.out, printed.err


@pytest.fixture
def model(capsys):
    write("t.csv", NAMES, rows())
    code, out, err = run(capsys, "train", "t.csv", "--target", "y", "--epochs", 100, "--out", "m")
    assert code == 0, err
    return out


def test_each_column_is_said_and_what_is_of_no_use_is_left_out(model):
    assert model.splitlines()[1:8] == [
        "  id: id, left out: it counts the rows from 1", "  day: date, day first",
        "  size: number, 9 gaps ('NA')", "  colour: category, 3 different",
        "  note: text, left out: 60 different texts of several words in 60 rows",
        "  copy: left out, says y again (number)", "y: a number, from 3 columns"]


def test_it_learns_from_text_and_gaps(model, capsys):
    assert float(re.search(r"r2 (\S+),", model)[1]) > 0.8
    assert run(capsys, "predict", "m", "t.csv", "--out", "p.csv")[0] == 0
    predicted, y = np.loadtxt("p.csv", skiprows=1), np.array([row[-1] for row in rows()])
    assert np.corrcoef(predicted, y)[0, 1] > 0.9


def test_a_saved_model_predicts_the_same(model):
    table = read_table("t.csv")
    trained = tables.train(table, "y", epochs=2)
    trained.network.save("n")
    assert list(tables.predictions(fastnn.load("n"), table)) == list(tables.predictions(trained.network, table))


def test_rows_held_out_decide_nothing(model):
    """Neither medians nor categories: with other cells there, the same network is learned."""
    table = read_table("t.csv")
    order = fastnn.core.random_order(60, 0, 0)
    other = copy.deepcopy(table.cells)
    for row in order[:12]:
        other["size"][row], other["colour"][row] = "3000", "violet"
    one, two = (tables.train(each, "y", drop=["id", "note", "copy"], epochs=2).network
                for each in (table, type(table)("t.csv", other)))
    assert one.get_parameters().tobytes() == two.get_parameters().tobytes()


def test_predicting_meets_gaps_unseen_text_and_other_order(model, capsys):
    write("few.csv", ["colour", "day", "size", "more"], [["violet", "31/12/2030", "", "x"], ["", "", "1e99", "y"]])
    code, out, _ = run(capsys, "predict", "m", "few.csv")
    assert code == 0 and np.isfinite(np.array(out.split()[1:], float)).all()
    write("few.csv", ["colour", "day", "size"], [["red", "1/2/2024", "big"]])
    code, _, err = run(capsys, "predict", "m", "few.csv")
    assert code == 1 and err == ("fastnn: error: few.csv: row 2, column 'size' is 'big', but must be a number; type "
                                 "one such as 1.5, or leave the cell empty\n")


def test_rows_are_counted_as_an_editor_does(capsys):
    cells = [[f"{row}.5", f"{row % 13}.25"] for row in range(60)]
    cells[40][0] = "tall"
    for names, target in ((["x", "y"], "y"), (["7.5", "0.25"], "1")):       # a row of names, or of cells
        write("t.csv", names, cells)
        code, _, err = run(capsys, "train", "t.csv", "--target", target)
        assert code == 1 and "t.csv: row 42, column " in err


def test_what_columns_are_may_be_said(model, capsys):
    code, out, _ = run(capsys, "train", "t.csv", "--target", "y", "--epochs", 1, "--as", "id=number", "note=drop",
                       "copy=number", "--missing", "red")
    assert code == 0
    assert "  id: number\n" in out and "note" not in out and "  copy: number\n" in out
    assert "  colour: category, 2 different, 20 gaps ('red')\n" in out


@pytest.mark.parametrize("text", ["colour", "=number", "colour=tint"])
def test_a_kind_is_a_column_and_one_of_the_kinds(model, capsys, text):
    with pytest.raises(SystemExit):
        main(["train", "t.csv", "--target", "y", "--as", text])
    assert f"is {text!r}, but must be a column, = and one of category, number, date, text, drop" in (
        capsys.readouterr().err)


def test_rows_without_a_target_are_not_learned_from(capsys):
    cells = rows()
    for row in range(0, 30, 3):
        cells[row][-1] = ""
    write("t.csv", NAMES, cells)
    code, out, _ = run(capsys, "train", "t.csv", "--target", "y", "--epochs", 1)
    assert code == 0 and "trained on 40 rows" in out and "10 rows held out" in out
    write("t.csv", NAMES, [[*row[:-1], "yes" if row[-1] == "" or row[-1] > 3 else ""] for row in cells])
    code, _, err = run(capsys, "train", "t.csv", "--target", "y", "--epochs", 1)
    assert code == 1 and "column 'y' is 'yes' in each row, but there must be two classes" in err


def test_ids_are_learned_from_where_there_is_nothing_else(capsys):
    write("t.csv", ["x", "y"], [[number, number % 5 + 0.5] for number in range(40)])
    code, out, _ = run(capsys, "train", "t.csv", "--target", "y", "--epochs", 1)
    assert code == 0 and "  x: number\n" in out


def test_a_target_may_have_a_unit(capsys):
    cells = [[number % 13, f"${number % 13 * 1000 + number / 100:,.2f}"] for number in range(60)]
    write("t.csv", ["x", "price"], cells)
    code, out, _ = run(capsys, "train", "t.csv", "--target", "price", "--epochs", 50)
    assert code == 0 and "price: a number, from 1 columns" in out
    assert run(capsys, "predict", "model.safetensors", "t.csv", "--out", "p.csv")[0] == 0
    assert 3000 < np.loadtxt("p.csv", skiprows=1).mean() < 9000


def test_info_tells_columns_and_export_says_why_not(model, capsys):
    assert "columns         day, size, colour" in run(capsys, "info", "m")[1]
    code, _, err = run(capsys, "export", "m", "--to", "c")
    assert code == 1 and not Path("m.h").exists()
    assert err == ("fastnn: error: the model reads columns that are not all numbers without gaps (day: date, "
                   "size: number, colour: category), which no export can hold yet; use fastnn predict, or train with "
                   "--drop\n")


@pytest.mark.parametrize("change", [
    lambda inputs: inputs.pop("readings"), lambda inputs: inputs.update(readings=3),
    lambda inputs: inputs["readings"].pop(), lambda inputs: inputs["readings"].append({"kind": "number"}),
    lambda inputs: inputs["readings"][1].update(kind="date"), lambda inputs: inputs.update(encoding=[]),
    lambda inputs: inputs["encoding"]["columns"].pop(), lambda inputs: inputs["encoding"]["columns"].reverse(),
    lambda inputs: inputs["encoding"]["columns"][1].update(scale=0.0)])
def test_a_recipe_that_fastnn_did_not_write_is_refused(model, change):
    network = fastnn.load("m")
    inputs = network.metadata[tables.KEY]["inputs"]
    change(inputs)
    with pytest.raises(ValueError, match="what the model says of its table is not what fastnn writes: "):
        list(tables.predictions(network, read_table("t.csv")))
