"""A report says what the outputs are worth, stays small whatever the table was, comes back from a file as it was, and
makes one page: the same bytes each time, where nothing from a table is code."""

import html.parser
import json
import math
import re
import string
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastnn.tables import scores
from fastnn.tables.report import Report

pytestmark = pytest.mark.any_isa
EVIL = "<script>alert(1)</script> & \"'$x^2$ -->\n\x1b[31m\u202e\ud800 #0072b2 id=\"x\""


def classified(k=3, n=400, classes=None, **said):
    rng = np.random.default_rng(0)
    y = rng.integers(0, k, n)
    logits = rng.normal(size=(n, k)) + 2 * np.eye(k)[y]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    told = {"rows": n, "columns": 2, "members": 8, "importances": {"width": 0.1, "height": 0.4},
            "losses": [[0.9, 0.5, 0.6]] * 8, "best_epochs": [2] * 8, "seconds": 3.21,
            "said": ["width: number", "height: number"], "settings": {"hidden": [64, 64], "members": 8}}
    return Report.of("kind", y, p, classes=classes or list(string.ascii_lowercase[:k]), **{**told, **said})


def measured(n=400, scale=1.0, **said):
    rng = np.random.default_rng(0)
    y = scale * rng.lognormal(3, 1, n)
    told = {"rows": n, "columns": 2, "members": 8, "importances": {"a": 0.5, "b": -0.001}, "losses": [[1.0, 0.5]] * 8,
            "best_epochs": [2] * 8}
    return Report.of("price", y, y * rng.uniform(0.8, 1.2, n), classes=None, **{**told, **said})


def huge(name=EVIL, k=64, columns=2000, members=64, epochs=500):
    return classified(
        k, 3000, [f"{i}{name * 50}" for i in range(k)], rows=10**9, columns=columns, members=members,
        importances={f"{i}{name}": 1 / (1 + i) for i in range(columns)},
        said=[f"{i} {name * 9}" for i in range(columns)],
        losses=np.random.default_rng(1).uniform(size=(members, epochs)).tolist(), best_epochs=[123] * members,
        settings={f"{i}{name}": name * 20 for i in range(50)})


def read_back(report):
    return Report.from_metadata(json.loads(json.dumps(report.as_metadata(), allow_nan=False)))


# What it holds


def test_it_holds_what_was_measured():
    report, rng = classified(2, 300), np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    logits = rng.normal(size=(300, 2)) + 2 * np.eye(2)[y]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert report.scores == {name: float(f"{value:.6g}") for name, value in scores.class_scores(y, p).items()}
    assert report.baseline == pytest.approx(scores.class_baseline(y, 2), rel=1e-5)
    assert np.array_equal(report.confusion, scores.confusion_matrix(y, p))
    assert np.allclose(report.calibration, scores.class_calibration(y, p), rtol=1e-4)
    assert report.importances == (("height", 0.4), ("width", 0.1)) and report.out_of_fold


def test_numbers_keep_some_points():
    report = measured(1000)
    assert len(report.points[0]) == len(report.points[1]) == 300 and report.classes is None
    assert all(0.79 < predicted / true < 1.21 for true, predicted in zip(*report.points, strict=True))
    assert report.confusion == report.mixed == () and report.scores.keys() == {"rmse", "mae", "r2"}


@pytest.mark.parametrize("k, kept", [(2, 2), (30, 30), (31, 31), (32, 30), (64, 30)])
def test_rare_classes_become_one(k, kept):
    report = classified(k, 2000, [f"c{i}" for i in range(k)])
    assert (len(report.classes), report.others) == (kept, k - kept)
    assert sum(map(sum, report.confusion)) == 2000
    rare = {f"c{i}" for i in range(k)} - set(report.classes)
    if rare:
        y = np.random.default_rng(0).integers(0, k, 2000)
        rows = {f"c{i}": count for i, count in enumerate(np.bincount(y))}
        assert max(rows[name] for name in rare) <= min(rows[name] for name in report.classes)


def test_what_is_confused_most_comes_first():
    p = np.eye(4)[[1, 1, 1, 3, 3, 0, 3]]
    report = Report.of("t", [0, 0, 0, 2, 2, 1, 3], p, classes=list("abcd"), rows=7, columns=1, members=8)
    assert report.mixed == (("a", "b", 3), ("c", "d", 2), ("b", "a", 1))


def test_many_epochs_keep_their_smallest_loss():
    losses = [math.inf, math.nan, *np.linspace(2, 1, 198)]
    losses[101] = 0.25
    report = measured(losses=[losses], best_epochs=[102], members=1)
    assert report.every == 4 and len(report.losses[0]) == 50
    assert report.losses[0][(102 - 1) // 4] == min(report.losses[0]) == 0.25
    assert measured(losses=[[math.nan, math.inf, 1.0]]).losses == ((None, None, 1.0),)


def test_classes_are_as_many_as_probabilities():
    with pytest.raises(ValueError, match="2 classes, but probabilities of 3"):
        Report.of("t", [0], [[0.2, 0.3, 0.5]], classes=["a", "b"], rows=1, columns=1, members=1)


# As a file holds it


@pytest.mark.parametrize("make", [classified, measured, huge, lambda: classified(importances=None, said=(), losses=())])
def test_it_comes_back_as_it_was_but_for_the_seconds(make):
    report = make()
    assert read_back(report) == replace(report, seconds=None)


@pytest.mark.parametrize("name", ["", "x" * 100, "データ" * 30, "😀" * 60, "\x00" * 60, EVIL])
@pytest.mark.parametrize("k", [2, 64, 900])
def test_it_is_small(name, k):
    for report in (huge(name, k), measured(5000, -1e-90 / 3, said=[name] * 2000)):
        assert len(json.dumps(report.as_metadata())) <= 20_000


def test_two_fits_have_equal_metadata():
    assert classified(seconds=1.0).as_metadata() == classified(seconds=2.0).as_metadata()


@pytest.mark.parametrize("part, value", [
    ("target", 3), ("target", "\x1b[31m"), ("rows", -1), ("rows", 1.0), ("rows", True), ("validated", 401),
    ("members", 0), ("classes", None), ("classes", ["a", "b"]), ("classes", "abc"), ("classes", [1, 2, 3]),
    ("others", 1), ("others", -1), ("scores", {}), ("scores", {"accuracy": 1, "log_loss": 0.1}), ("scores", []),
    ("scores", {"accuracy": math.nan, "log_loss": 0.1}), ("baseline", {"accuracy": 0.5}), ("confusion", []),
    ("confusion", [[1, 2], [3, 4]]), ("confusion", [[1, 2, 3], [1, 2, 3], [1, 2, -3]]), ("mixed", [["a", "b"]]),
    ("mixed", [["a", 1, 1]]), ("calibration", [[0.5, 0.5]]), ("calibration", [[0.5, 0.5, 0.5]]), ("calibration", 3),
    ("calibration", [[0.5, "", 5]]), ("points", [[1.0], []]), ("points", []), ("points", None),
    ("points", [[], [], []]), ("calibration", [[0.5, 0.5, 0]]),
    ("importances", [["a"]]), ("importances", [["a", 1]]), ("importances", ["ab"]), ("losses", [[1]]),
    ("losses", [1.0]), ("losses", [["x"]]), ("every", 0), ("best_epochs", [0.5]), ("best_epochs", 3),
    ("settings", []), ("settings", {"a": 1}), ("said", "abc"), ("said", [None]), ("seconds", 1.0), ("more", 1)])
def test_what_was_not_written_is_refused(part, value):
    plain = classified().as_metadata()
    with pytest.raises(ValueError, match="the report on a model is"):
        Report.from_metadata({**plain, part: value})


@pytest.mark.parametrize("plain", [None, 3, [], {}, "report"])
def test_what_is_no_report_is_refused(plain):
    with pytest.raises(ValueError, match="the report on a model is"):
        Report.from_metadata(plain)


# As lines


def test_lines_of_classes():
    text = classified(members=8).text()
    assert text == str(classified()) and text.startswith(
        "8 networks, best after 2 epochs, trained in 3.2 s, on 400 rows with 2 columns.\n\nOut of fold: each row is ")
    assert "slightly optimistic, as it chose its epoch by these rows; the mean of all 8 is usually better." in (
        text.replace("\n", " "))
    assert "\n  height  0.4000  ##############################\n  width   0.1000  ########\n" in text
    for part in ("accuracy  0.", "log-loss  0.", "true \\ predicted  ", "rows by p(predicted class)"):
        assert part in text


def test_lines_of_numbers():
    text = measured().text()
    assert "RMSE" in text and "r2" in text and "in variances of the target" in text and "mean truth" in text
    assert "predicted class" not in text and "-0.001" in text


@pytest.mark.parametrize("said, expected", [
    ({"members": 1, "rows": 3200}, "Measured on the 400 rows that were held out"),
    ({"members": 4, "rows": 800}, "Out of fold, for 400 of the rows: each"),
    ({"members": 4}, "Out of fold: each"),
    ({"best_epochs": [2, 7, 5]}, "best after 2 to 7 epochs"), ({"best_epochs": [1]}, "best after 1 epoch,"),
    ({"best_epochs": [], "seconds": None}, "8 networks, on 400 rows"),
    ({"seconds": 0.02}, "in 0.02 s"), ({"seconds": 42.4}, "in 42 s"), ({"seconds": 125}, "in 2 min 5 s")])
def test_it_says_what_it_measured(said, expected):
    assert expected in classified(**said).text()


def test_many_classes_have_no_table():
    text = classified(26, 3000).text()
    assert "of 26 classes, those confused most" in text and "true \\" not in text and "taken for" in text


@pytest.mark.parametrize("make", [huge, classified, measured, lambda: classified(10, classes=["name" * 9] * 10),
                                  lambda: classified(1 + 1, 1), lambda: measured(1), lambda: measured(scale=1e99),
                                  lambda: measured(scale=1e-99)])
def test_lines_are_short_and_plain(make):
    lines = make().text().splitlines()
    assert max(map(len, lines)) <= 125 and len(lines) < 60
    assert all(line.isprintable() and line == line.rstrip() for line in lines)


def test_a_notebook_shows_the_lines_escaped():
    assert "&lt;script&gt;" in classified(classes=[EVIL, "b", "c"])._repr_html_()
    assert "<script>" not in classified(classes=[EVIL, "b", "c"])._repr_html_()


# As a page


@pytest.fixture
def page():
    pytest.importorskip("matplotlib", reason="NOT TESTED: matplotlib is not installed")
    from fastnn.tables import page
    return page.page


class Tags(html.parser.HTMLParser):
    """The tags of a page, its attributes, its ids, and its text; it fails where tags do not close as they opened."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open, self.text = [], [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("make, figures", [(classified, 4), (measured, 4), (huge, 4), (lambda: classified(2), 4),
                                           (lambda: measured(importances=None, losses=[]), 2),
                                           (lambda: measured(losses=[[math.nan]], best_epochs=[1]), 4),
                                           (lambda: measured(1), 4), (lambda: measured(scale=1e99), 4),
                                           (lambda: classified(losses=[[0.0, 0.1], [3.0, 1e-9]], best_epochs=[0, 9]),
                                            4)])
def test_a_page_is_whole_and_needs_nothing(page, make, figures):
    report = make()
    text = page(report)
    found = Tags(text)
    assert found.tags.count("svg") == found.tags.count("figure") == figures and text.startswith("<!DOCTYPE html>")
    assert not {"script", "link", "img", "image", "iframe", "object"} & set(found.tags)
    links = [value for name, value in found.attributes if name in ("src", "href", "xlink:href", "action")]
    assert all(value.startswith("#") for value in links)
    assert not any(name.startswith("on") for name, _ in found.attributes) and "@import" not in text
    addresses = set(re.findall(r"https?://[^\"' ]*", text))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}      # names, not places
    ids = [value for name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids)) and {value[1:] for value in links} <= set(ids)
    assert "currentColor" in text and "#010203" not in text and "prefers-color-scheme: dark" in text
    text.encode()


def test_text_of_a_table_is_text_of_the_page(page):
    report = classified(classes=[EVIL, "b", "c"], said=[EVIL], settings={EVIL: EVIL}, importances={EVIL: 1.0})
    text = page(replace(report, target=EVIL[:30]))
    assert "<script" not in text and "<!--" not in text and Tags(text).text.count("<script>") >= 6
    dollars = Tags(page(classified(classes=["$a$", "b", "c"], importances={'#0072b2 id="': 1.0}))).text
    assert dollars.count("$a$") == 3 and '#0072b2 id="' in dollars


def test_the_same_report_makes_the_same_page(page):
    expected = page(measured())
    assert page(measured()) == expected
    code = ("import sys; sys.path.insert(0, 'tests/tables'); from test_report import measured\n"
            "from fastnn.tables.page import page; sys.stdout.buffer.write(page(measured()).encode())")
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=Path(__file__).parents[2])
    assert there.stdout.decode() == expected


def test_a_report_from_a_file_makes_the_page_without_the_seconds(page):
    assert page(read_back(classified(12))) == page(classified(12)).replace(", trained in 3.2 s", "")


def test_settings_of_matplotlib_do_not_matter_and_do_not_change(page):
    import matplotlib
    from matplotlib import pyplot
    figures = pyplot.get_fignums()      # of other tests
    expected = page(classified())
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "text.usetex": True, "axes.grid": True}):
        before = dict(matplotlib.rcParams)
        assert page(classified()) == expected
        assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == figures


def test_without_matplotlib_there_is_a_sentence(monkeypatch):
    from fastnn.tables.page import page
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="the page of a report needs matplotlib, which is not installed"):
        page(classified())
