"""Permutation importance finds the columns that a model reads, asks only what it promised, and takes bounded time."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from fastnn.tables.encoding import Encoding
from fastnn.tables.importance import ALONE, MOST_CHANGES, columns_that_matter, importances

pytestmark = pytest.mark.any_isa


@dataclass(frozen=True)
class Column:
    kind: str
    values: Any


def table(n, seed=0):
    """Columns "a" and "b" of numbers, "c" of categories; its encoding and matrix."""
    rng = np.random.default_rng(seed)
    columns = {"a": Column("number", rng.normal(size=n)), "b": Column("number", rng.normal(size=n)),
               "c": Column("category", [f"t{i}" for i in rng.integers(0, 3, n)])}
    encoding = Encoding.of(columns, range(n))
    return columns, encoding, encoding.apply(columns)


def starts(encoding):
    return dict(zip([column.name for column in encoding.columns],
                    np.cumsum([0, *(len(column.names()) for column in encoding.columns)]), strict=False))


def test_columns_that_a_model_of_numbers_does_not_read_do_not_matter():
    columns, encoding, X = table(3000)
    at = starts(encoding)

    def outputs_of(X, rows):
        return 5 + 3 * X[:, at["c"]].astype(float) + X[:, at["a"]]

    y = outputs_of(X, None)
    found = importances(outputs_of, encoding, X, y)
    assert found["b"] == 0 and list(found) == ["c", "a", "b"]
    expected = 2 * (3 * X[:, at["c"]]).var() / y.var()      # a shuffled column misses by the difference of two rows
    assert found["c"] == pytest.approx(expected, rel=0.05)
    assert importances(lambda X, rows: 10 * outputs_of(X, rows), encoding, X, 10 * y)["c"] == pytest.approx(found["c"])


def test_columns_that_a_model_of_classes_reads_matter():
    columns, encoding, X = table(1000)
    at = starts(encoding)

    def outputs_of(X, rows):
        second = 0.1 + 0.8 * (X[:, at["b"]] > 0)
        return np.column_stack([1 - second, second])

    y = (X[:, at["b"]] > 0).astype(int)
    found = importances(outputs_of, encoding, X, y)
    assert found["a"] == found["c"] == 0
    assert found["b"] == pytest.approx(0.5 * np.log(9), rel=0.1)      # half of the rows become certainly wrong


@pytest.mark.parametrize("n, repeats", [(1, 5), (700, 2), (5000, 1)])
def test_questions_are_as_promised(n, repeats):
    columns, encoding, X = table(n)
    before, seen, widths = X.copy(), [], [len(column.names()) for column in encoding.columns]
    edges = np.cumsum([0, *widths])

    def outputs_of(some, rows):
        assert some.shape == (min(n, 2000), X.shape[1]) and some.dtype == np.float32
        assert rows.shape == (len(some),) and (np.diff(rows) > 0).all()
        changed = [column for column, (low, high) in enumerate(zip(edges, edges[1:], strict=False))
                   if (some[:, low:high] != X[rows, low:high]).any()]
        for column in changed:          # whole cells have changed their rows
            part = slice(edges[column], edges[column + 1])
            assert sorted(map(tuple, some[:, part])) == sorted(map(tuple, X[rows, part]))
        seen.append(changed)
        return np.zeros(len(some))

    importances(outputs_of, encoding, X, np.arange(n, dtype=float))
    expected = [[column] for column in range(3) for _ in range(repeats)]
    assert seen == [[], *(expected if n > 1 else [[]] * len(expected))]
    assert (before == X).all()


@pytest.mark.parametrize("values, most", [(2**40, 2000), (700, 700), (1, 200)])
def test_wide_rows_are_fewer(values, most, monkeypatch):
    columns, encoding, X = table(3000)
    monkeypatch.setattr("fastnn.tables.importance.MOST_VALUES", X.shape[1] * values)
    asked = []
    importances(lambda some, rows: asked.append(some.shape) or np.zeros(len(some)), encoding, X, np.arange(3000.0))
    assert asked == [(most, X.shape[1])] * 4


def test_repeats_differ():
    columns, encoding, X = table(700)
    asked = []
    importances(lambda some, rows: asked.append(some.copy()) or np.zeros(700), encoding, X, np.arange(700.0))
    assert len({some.tobytes() for some in asked}) == len(asked) == 7


def test_the_row_that_is_asked_about_is_known():
    columns, encoding, X = table(2500)
    y = np.arange(2500.0)
    assert set(importances(lambda some, rows: y[rows], encoding, X, y).values()) == {0}


def test_the_result_is_the_same_each_time():
    columns, encoding, X = table(2500)
    y = X[:, 0].astype(float)
    once, again = (importances(lambda X, rows: X[:, 0], encoding, X, y) for _ in range(2))
    assert once == again and once["a"] > 0


def test_a_constant_target_divides_by_nothing():
    columns, encoding, X = table(50)
    assert importances(lambda X, rows: X[:, 0], encoding, X, np.full(50, 3.0)).keys() == {"a", "b", "c"}


@pytest.mark.parametrize("X, y", [(np.zeros((4, 1)), np.zeros(4)), (np.zeros((4, 3)), np.zeros(5)),
                                  (np.zeros((0, 3)), np.zeros(0)), (np.zeros(3), np.zeros(3))])
def test_a_matrix_of_another_shape_is_refused(X, y):
    encoding = Encoding.of({"c": Column("category", ["s", "s", "t", "t", "u", "u"])}, range(6))
    with pytest.raises(ValueError, match="X has shape"):
        importances(lambda X, rows: y, encoding, X.astype(np.float32), y)


# Many columns


class Counted:
    """The growth of stretches of columns, where those in `matter` add up; it counts how often it is asked."""

    def __init__(self, matter, noise=0.0):
        self.matter, self.noise, self.asked, self.rng = matter, noise, 0, np.random.default_rng(0)

    def __call__(self, first, stop):
        self.asked += 1
        return (sum(value for column, value in self.matter.items() if first <= column < stop)
                + self.noise * float(self.rng.normal()))


@pytest.mark.parametrize("columns", [1, 2, ALONE])
def test_few_columns_are_changed_one_by_one(columns):
    growth = Counted({column: column / 8 for column in range(columns)}, noise=0.01)
    found = columns_that_matter(growth, columns)
    assert sorted(found) == list(range(columns)) and growth.asked == columns


@pytest.mark.parametrize("columns", [ALONE + 1, 2000, 50_000])
def test_the_columns_that_matter_are_found_among_many(columns):
    matter = {int(column): 0.5 + 0.1 * index for index, column in enumerate(np.linspace(0, columns - 1, 8))}
    growth = Counted(matter, noise=0.001)
    found = columns_that_matter(growth, columns)
    assert growth.asked <= MOST_CHANGES
    assert {column for column, value in found.items() if value > 0.4} == matter.keys()
    assert all(found[column] == pytest.approx(value, abs=0.01) for column, value in matter.items())


def test_nothing_is_searched_for_where_nothing_matters():
    growth = Counted({})
    assert columns_that_matter(growth, 5000) == {} and growth.asked == 100


@pytest.mark.parametrize("columns", [201, 999])
def test_the_bound_holds_where_all_matter(columns):
    growth = Counted(dict.fromkeys(range(columns), 1.0))
    columns_that_matter(growth, columns)
    assert growth.asked == MOST_CHANGES or columns == 201
    assert growth.asked <= MOST_CHANGES
