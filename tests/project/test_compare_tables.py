"""The comparison of models of tables: what its figures mean, what it reads, and how it goes on where a method fails.

No peer is needed, and next to nothing is learned.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks/tables"))
import compare  # noqa: E402
import contenders  # noqa: E402
import page  # noqa: E402
import scores  # noqa: E402
import sources  # noqa: E402

pytestmark = pytest.mark.any_isa


def result(table, method, error, fit=1.0, split=0):
    return {"table": table, "split": split, "method": method, "error": error, "fit": fit, "predict": 0.1,
            "test_rows": 1234}


def test_two_classes_have_the_share_of_pairs_in_the_wrong_order():
    truth, yes = np.array(["no", "yes", "no", "yes", "yes"]), np.array([0.1, 0.4, 0.4, 0.2, 0.9])
    wrong = [(yes[i] < yes[j]) + (yes[i] == yes[j]) / 2 for i in (1, 3, 4) for j in (0, 2)]
    answer = np.stack([1 - yes, yes], axis=1)
    assert scores.error(truth, answer, ["no", "yes"]) == pytest.approx(np.mean(wrong))
    assert scores.error(truth, answer[:, ::-1], ["yes", "no"]) == pytest.approx(np.mean(wrong))


def test_several_classes_have_the_share_of_wrong_answers():
    answer = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.4, 0.5, 0.1], [0.0, 0.1, 0.9]])
    assert scores.error(["a", "c", "a", "b"], answer, ["a", "b", "c"]) == 0.5


def test_numbers_have_the_root_of_the_mean_squared_error():
    assert scores.error([1, 2, 3], np.array([1.0, 4.0, 1.0])) == pytest.approx(np.sqrt(8 / 3))


def test_equal_errors_share_their_rank():
    assert scores.ranks({"a": 0.3, "b": 0.1, "c": 0.3, "d": 0.5}) == {"a": 2.5, "b": 1, "c": 2.5, "d": 4}


def test_ratios_are_to_the_reference_on_the_same_rows():
    results = [result("x", scores.REFERENCE, 0.5, 2.0), result("x", "a", 0.25, 6.0),
               result("x", scores.REFERENCE, 0.2, 1.0, split=1), result("x", "a", 0.4, 3.0, split=1),
               result("y", "a", 0.1),                                           # without a reference
               {"table": "x", "split": 0, "method": "b", "failed": "ValueError"}]
    compared = scores.relative(results)
    assert {key: (r["error_ratio"], r["fit_ratio"]) for key, r in compared.items() if key[2] == "a"} == {
        ("x", 0, "a"): (0.5, 3.0), ("x", 1, "a"): (2.0, 3.0)}
    assert not any(method == "b" or table == "y" for table, _, method in compared)
    assert scores.by_table(compared, "error_ratio")["x"]["a"] == pytest.approx(1.0)     # geometric, not 1.25
    assert scores.by_table(compared, "error")["x"]["a"] == pytest.approx(0.325)


def test_the_summary_has_geometric_means_and_mean_ranks_over_tables():
    results = [result("x", scores.REFERENCE, 1.0, 1.0), result("x", "a", 0.5, 4.0), result("x", "b", 2.0, 0.5),
               result("y", scores.REFERENCE, 10.0, 2.0), result("y", "a", 20.0, 2.0)]
    summary = scores.over_tables(scores.relative(results))
    assert summary["a"] == {"error_ratio": pytest.approx(1.0), "fit_ratio": pytest.approx(2.0), "rank": 1.5,
                            "rows_a_second": pytest.approx(12340), "tables": 2}
    assert summary["b"] == {"error_ratio": pytest.approx(2.0), "fit_ratio": pytest.approx(0.5), "rank": 3,
                            "rows_a_second": pytest.approx(12340), "tables": 1}
    assert summary[scores.REFERENCE]["error_ratio"] == 1 and list(summary)[-1] == "b"


def test_the_page_shows_the_least_error_in_bold_and_what_is_missing():
    results = [{**result("x", scores.REFERENCE, 0.2), "rows": 1000, "columns": 3},
               {**result("x", "linear", 0.1, 0.5), "rows": 1000, "columns": 3},
               {**result("y", scores.REFERENCE, 20_000.0), "rows": 50, "columns": 3}]
    compared = scores.relative(results)
    assert page.over_all(compared)[2:] == ["| logistic, ridge (1 of 2 tables) | 0.500 | 0.5 | 1.0 | 12,000 |",
                                           "| HistGradientBoosting | 1.000 | 1 | 1.5 | 12,000 |"]
    assert page.per_table(compared)[2:] == ["| x | 1,000 × 3 | **0.1** (0.50) | 0.2 (1.00) |",
                                            "| y | 50 × 3 | – | **20,000** (1.00) |"]


def test_tables_are_read_from_the_folder(tmp_path):
    pd.DataFrame({"a": [1, "?", 3], "y": [0, 1, None]}).to_csv(tmp_path / "z.csv", index=False)
    (tmp_path / "tables.json").write_text(json.dumps(
        {"development": {"z": {"file": "z.csv", "target": "y", "task": "classification"},
                         "w": {"file": "w.csv", "target": "y", "task": "regression"}}}))
    found = sources.known(tmp_path)
    assert found["adult"] == (sources.TABLES["adult"], tmp_path / "adult.csv") and len(sources.TABLES) == 10
    frame = sources.load(*found["z"])
    assert frame["a"].isna().tolist() == [False, True] and frame["a"].dtype == "float64"
    with pytest.raises(FileNotFoundError, match="w is no table that can be fetched"):
        sources.load(*found["w"])


def test_columns_know_numbers_dates_and_categories():
    train = pd.DataFrame({"n": [1, 2, 3], "d": ["1/2/2020", "2/2/2020", None], "c": ["x", "x", "y"]})
    test = pd.DataFrame({"n": [4.5], "d": ["3/2/2020"], "c": ["z"]})
    columns = contenders.Columns(train)
    known, new = columns(train), columns(test)
    assert known.dtypes.astype(str).tolist() == ["float64", "float64", "category"]
    assert known["c1"].diff()[1] == 1 and new["c1"][0] - known["c1"][1] == 1            # days
    assert new["c2"].isna().all() and known["c2"].cat.categories.tolist() == ["x", "y"]
    assert contenders.Columns(train, most=1)(train)["c2"].isna().tolist() == [False, False, True]


class Broken:
    def __init__(self, task, seed):
        raise ValueError("no such thing\nand more")


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_race_goes_on_where_a_method_fails(tmp_path, monkeypatch, task):
    monkeypatch.setitem(contenders.METHODS, "broken", contenders.Method("broken", Broken, "fastnn"))
    rng = np.random.default_rng(0)
    x = rng.normal(size=200)
    y = np.where(x > 0, "yes", "no") if task == "classification" else 3 * x
    pd.DataFrame({"x": x, "c": rng.choice(["a", "b"], 200), "y": y}).to_csv(tmp_path / "t.csv", index=False)
    table = sources.Table("t", "y", task)
    with threadpool_limits(1):
        results = list(compare.race(["broken", "linear", scores.REFERENCE], ["t"], {"t": (table, tmp_path / "t.csv")}))
    assert [(r["split"], r["method"]) for r in results] == [
        (split, method) for split in (0, 1) for method in ("broken", "linear", scores.REFERENCE)]
    assert {r.get("failed") for r in results} == {None, "ValueError: no such thing"}
    assert all(r["error"] < 0.1 and r["fit"] > 0 for r in results if r["method"] == "linear")
    assert "linear" in scores.over_tables(scores.relative(results))


def test_an_error_of_nothing_has_a_ratio():
    compared = scores.relative([result("x", scores.REFERENCE, 0.0), result("x", "a", 0.0), result("x", "b", 0.5)])
    summary = scores.over_tables(compared)
    assert summary["a"]["error_ratio"] == 1 and summary["b"]["error_ratio"] > 1000
