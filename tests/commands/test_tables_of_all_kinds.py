"""Tables with text, dates and gaps: what columns are taken for, learned from and predicted, and what a model keeps."""

import csv
import re

import numpy as np
import pytest

from fastnn.__main__ import main

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
    assert float(re.search(r"r2 +(\S+)", model)[1]) > 0.8
    assert run(capsys, "predict", "m", "t.csv", "--out", "p.csv")[0] == 0
    predicted, y = np.loadtxt("p.csv", skiprows=1), np.array([row[-1] for row in rows()])
    assert np.corrcoef(predicted, y)[0, 1] > 0.9


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
    for names, other, target in ((["x", "y"], "y", "x"), (["7.5", "0.25"], "1", "0")):   # names, or cells
        write("t.csv", names, cells)
        code, _, err = run(capsys, "train", "t.csv", "--target", target)
        assert code == 1 and "t.csv: row 42, column " in err
        code, out, _ = run(capsys, "train", "t.csv", "--target", other, "--epochs", 1)
        assert code == 0 and f"  {target}: number, 1 gap ('tall'), of which 1 is no number: 'tall' in row 42\n" in out


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
    assert code == 0 and "on 50 rows with 3 columns" in out
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


def test_info_tells_columns_and_the_report(model, capsys):
    out = run(capsys, "info", "m")[1]
    assert re.search("^columns +day, size, colour$", out, re.MULTILINE) and "Out of fold" in out
