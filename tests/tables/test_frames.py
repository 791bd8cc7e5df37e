"""Tables that are no files: frames, dictionaries and arrays become the same cells, and are read as the same file is."""

import datetime as dt
import enum
import fractions
import sys
from decimal import Decimal

import numpy as np
import pytest

from fastnn.tables.columns import column_of, convert
from fastnn.tables.frames import table_from
from fastnn.tables.given import table_of
from fastnn.tables.reading import read_table

pytestmark = pytest.mark.any_isa
NAN = float("nan")
BERLIN = dt.timezone(dt.timedelta(hours=2))


@pytest.fixture
def pandas():
    return pytest.importorskip("pandas", reason="NOT TESTED: pandas is not installed")


@pytest.fixture
def polars():
    return pytest.importorskip("polars", reason="NOT TESTED: polars is not installed")


def cells(column, name="x"):
    """One column's cells, as table_from makes them."""
    return table_from({name: column}).cells[name]


def numbers(column):
    found = cells(column)
    assert found.dtype == np.float64 and found.shape == (len(column),)
    return found.tolist()


def dates(column):
    found = cells(column)
    assert found.dtype == "datetime64[s]"
    return [str(value).removesuffix("T00:00:00") for value in found]


def same(found, expected):
    """Whether numbers are the same; NaN is NaN."""
    np.testing.assert_array_equal(found, np.array(expected, np.float64))
    return True


# Numbers


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "uint64", "float16", "float32", "float64", "longdouble",
                                   ">f8", ">i4"])
def test_arrays_of_numbers_become_float64(dtype):
    assert numbers(np.array([1, 2, 100], dtype)) == [1, 2, 100]
    assert numbers(np.array([[1, 2], [3, 4]], dtype)[:, 1]) == [2, 4]


def test_numbers_among_objects_become_float64():
    assert same(numbers([1, 2.5, None, NAN]), [1, 2.5, NAN, NAN])
    assert same(numbers([Decimal("1.25"), Decimal("NaN"), 3, fractions.Fraction(1, 4)]), [1.25, NAN, 3, 0.25])
    assert same(numbers(np.array([np.float32(0.5), np.int8(3), None], object)), [0.5, 3, NAN])
    assert same(numbers([Decimal("sNaN"), 1]), [NAN, 1])
    assert numbers(range(3)) == [0, 1, 2] and numbers((1, 2)) == [1, 2]


def test_an_array_is_not_copied_nor_changed():
    array = np.array([1, -200, np.inf, 4])
    assert np.shares_memory(cells(array), array)
    column_of("x", cells(array), missing=["-200", "inf"])
    assert array.tolist() == [1, -200, np.inf, 4]


@pytest.mark.parametrize("big", [[2**53 + 1, 1], [-2**53 - 1, 1], [2**63, 2**64 - 1], [2**70, None], [10**400, 1],
                                 [Decimal(2**53 + 1), Decimal("0.5")], [Decimal("Infinity"), 1]])
def test_whole_numbers_that_float64_lacks_stay_text(big):
    assert cells(big) == ["" if value is None else str(value) for value in big]
    if None not in big and all(isinstance(value, int) and abs(value) < 2**64 for value in big):
        assert cells(np.array(big)) == list(map(str, big))
    assert numbers([2**53, -2**53]) == [2.0**53, -2.0**53]


def test_the_smallest_int64_is_text():
    assert cells(np.array([-2**63, 1])) == [str(-2**63), "1"]
    assert cells([np.int64(-2**63), 1]) == [str(-2**63), "1"]


def test_masked_values_are_gaps():
    assert same(cells(np.ma.array([1.5, 2.5], mask=[False, True])), [1.5, NAN])
    assert same(cells(np.ma.array([1, 2], mask=[True, False])), [NAN, 2])
    assert cells(np.ma.array(["a", "b"], mask=[True, False])) == ["", "b"]
    assert same(table_from(np.ma.array([[1, 2.0]], mask=[[0, 1]])).cells["1"], [NAN])


# Dates and durations


def test_dates_become_whole_seconds():
    assert dates(np.array(["2024-05-01", "NaT"], "datetime64[D]")) == ["2024-05-01", "NaT"]
    assert dates(np.array([-1, 1_500_000_000], "datetime64[ns]")) == ["1969-12-31T23:59:59", "1970-01-01T00:00:01"]
    assert dates([dt.date(2024, 5, 1), dt.datetime(1969, 5, 1, 23, 30, 59, 999999), None]) == [
        "2024-05-01", "1969-05-01T23:30:59", "NaT"]
    assert dates([np.datetime64("2024-05-01T10:00:00.5"), np.datetime64("NaT")]) == ["2024-05-01T10:00:00", "NaT"]
    assert dates([dt.date.min, dt.date.max]) == ["0001-01-01", "9999-12-31"]


def test_a_time_zone_becomes_utc():
    assert dates([dt.datetime(2024, 5, 1, 1, 30, tzinfo=BERLIN), dt.datetime(2024, 5, 1)]) == [
        "2024-04-30T23:30:00", "2024-05-01"]
    assert dates([dt.datetime(1, 1, 1, tzinfo=BERLIN)]) == ["0000-12-31T22:00:00"]


def test_durations_become_seconds_and_times_stay_text():
    assert same(numbers(np.array([1500, "NaT"], "timedelta64[ms]")), [1.5, NAN])
    assert same(numbers([dt.timedelta(days=1), None, np.timedelta64(2, "s")]), [86400, NAN, 2])
    assert cells([dt.time(18, 30), None]) == ["18:30:00", ""]
    assert column_of("x", cells([dt.time(18, 30), None])).values[0] == 66600


# Text


def test_all_else_becomes_text():
    assert cells([True, False, None]) == ["True", "False", ""] and cells(np.array([True, False])) == ["True", "False"]
    assert cells([" a ", "b", None, NAN]) == ["a", "b", "", ""]
    assert cells(["a", 1, 2.0, 2.5, True, None, dt.date(2024, 5, 1), Decimal("1.50")]) == [
        "a", "1", "2", "2.5", "True", "", "2024-05-01", "1.50"]
    assert cells([True, 1]) == ["True", "1"]
    assert cells(np.array(["a ", "bc"])) == ["a", "bc"]
    assert cells(np.array([b"caf\xc3\xa9", b"\xff"])) == ["café", "\N{REPLACEMENT CHARACTER}"]
    assert cells([dt.timedelta(seconds=90), "x"]) == ["90", "x"]
    assert cells([enum.Enum("Colour", "RED").RED]) == ["Colour.RED"]
    assert cells([None, None]) == ["", ""]


@pytest.mark.parametrize("value", [[1], (1,), {"a": 1}, {1}, np.array([1, 2]), np.array(5), bytearray(b"a"), 1 + 2j,
                                   np.complex64(1), iter([1])])
def test_what_is_no_cell_is_refused_with_its_place(value):
    with pytest.raises(TypeError, match=r"^the dict: row 1, column 'x' holds the .*, but must hold a number, text, a "
                                        r"date or True or False; make it one, or leave the column out$"):
        table_from({"a": [1, 2], "x": ["b", value]})


@pytest.mark.parametrize("column, sentence", [
    (5, r"the dict: column 'x' is 5, but must be a list, an array or a Series of cells"),
    ("abc", "the dict: column 'x' is 'abc', but must be a list"), (None, "the dict: column 'x' is None"),
    ({"a": 1}, "the dict: column 'x' is {'a': 1}"), (np.zeros((2, 2)), r"the dict: column 'x' has shape \(2, 2\)"),
    (np.array(5.0), r"the dict: column 'x' has shape \(\)"), (np.zeros(2, "c8"), "the dict: row 0, column 'x' holds"),
    (np.zeros(2, "f4, i4"), "the dict: row 0, column 'x' holds the tuple")])
def test_what_is_no_column_is_refused(column, sentence):
    with pytest.raises(TypeError, match=sentence):
        table_from({"x": column})


# Which columns there are


def test_a_path_is_read(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,x\n2,y\n")
    for given in (path, str(path)):
        assert table_of(given).cells == read_table(path).cells == {"a": ["1", "2"], "b": ["x", "y"]}
    assert table_of(path).first_row == 2


def test_rows_have_numbers_as_names():
    for data in (np.array([[1.5, 2], [3, 4]]), [[1.5, 2], (3, 4)], ([1.5, 2], np.array([3, 4]))):
        table = table_from(data)
        assert {name: column.tolist() for name, column in table.cells.items()} == {"0": [1.5, 3], "1": [2, 4]}
        assert (table.first_row, len(table)) == (0, 2)
    assert table_from([["a", 1], [None, 2]]).cells["0"] == ["a", ""]
    assert table_from(np.array([["a", 1]], object)).cells["1"].tolist() == [1]
    with pytest.warns(PendingDeprecationWarning):
        matrix = np.matrix([[1, 2]])
    assert table_from(matrix).cells["1"].tolist() == [2]


def test_a_structured_array_has_names():
    data = np.array([(1, b"a", "2024-05-01"), (2, b"b", "NaT")], [("n", "i4"), ("s", "S1"), ("d", "M8[D]")])
    for table in (table_from(data), table_from(data.view(np.recarray))):
        assert list(table.cells) == ["n", "s", "d"]
        assert table.cells["n"].tolist() == [1, 2] and table.cells["s"] == ["a", "b"]
        assert np.isnat(table.cells["d"]).tolist() == [False, True]


def test_names_become_text_each_of_its_own():
    assert list(table_from({0: [1], "0": [2], None: [3], 1.0: [4], ("a", 1): [5]}).cells) == [
        "0", "0 (2)", "2", "1", "('a', 1)"]
    assert table_from({0: [1]}).column("0").tolist() == [1]


@pytest.mark.parametrize("data, sentence", [
    ({}, "the dict has no columns; pass one that has, and a row at least"),
    ({"a": []}, "the dict has no rows; pass one that has a row at least"),
    ([], "the list has no rows"), ([[]], "the list has no columns"), (np.zeros((0, 3)), "the ndarray has no rows"),
    (np.zeros((3, 0)), "the ndarray has no columns"), (np.zeros(0, "f4, i4"), "the ndarray has no rows"),
    ({"a": [1, 2], "b": [1]}, "the dict: column 'b' has 1 cells, but column 'a' has 2; all must have as many"),
    ([[1, 2], [3]], "the list: row 1 has 1 cells, but row 0 has 2; all must have as many"),
    (np.zeros(3), r"the ndarray has shape \(3,\), but a table has rows and columns"),
    (np.zeros((2, 2, 2)), r"the ndarray has shape \(2, 2, 2\)")])
def test_a_table_without_cells_or_of_uneven_columns_is_refused(data, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        table_from(data)


@pytest.mark.parametrize("data, sentence", [
    (5, "the int is no table"),
    (None, "the NoneType is no table; pass an array, a list or a frame"), ({1, 2}, "the set is no table; pass a list"),
    (b"a,b", "the bytes is no table"), (iter([[1]]), "the list_iterator is no table"),
    ([{"a": 1}], r"the list: row 0 is {'a': 1}, but must be a list of cells; pass pandas.DataFrame\(it\)"),
    ([1, 2], "the list: row 0 is 1, but must be a list of cells; pass a dictionary of columns, or rows"),
    (["ab", "cd"], "the list: row 0 is 'ab', but must be a list of cells")])
def test_what_is_no_table_is_refused_in_one_sentence(data, sentence):
    with pytest.raises(TypeError, match=f"^{sentence}"):
        table_from(data)


# Frames


def test_a_frame_of_pandas(pandas):
    frame = pandas.DataFrame({
        "int": [1, 2, 3], "float": [1.5, NAN, 3], "nullable": pandas.array([1, None, 3], "Int64"),
        "on": pandas.array([True, None, False], "boolean"), "text": ["a", None, " b "],
        "object": ["a", 1, None], "category": pandas.Categorical([3, 1, None]),
        "day": pandas.to_datetime(["2024-05-01 00:00:00", None, "2024-05-02 10:00:30"]),
        "zone": pandas.to_datetime(["2024-05-01", None, "2024-05-02"]).tz_localize("Asia/Tokyo"),
        "long": pandas.to_timedelta([1, None, 90], "s"), "month": pandas.period_range("2024-01", periods=3, freq="M"),
        "range": pandas.cut([1, 2, 3], [0, 2, 4]), "string": pandas.array(["a", None, "b"], "string"),
        "decimal": [Decimal(1), None, Decimal("2.5")], "sparse": pandas.arrays.SparseArray([0, 0, 1.5]),
    }, index=[7, 7, 9])
    found = table_from(frame)
    assert (found.path, found.said, found.first_row, len(found)) == ("the DataFrame", "pandas DataFrame", 0, 3)
    assert {name: list(map(str, found.texts(name))) for name in found.cells} == {
        "int": ["1", "2", "3"], "float": ["1.5", "", "3"], "nullable": ["1", "", "3"], "on": ["True", "", "False"],
        "text": ["a", "", "b"], "object": ["a", "1", ""], "category": ["3", "1", ""],
        "day": ["2024-05-01", "", "2024-05-02 10:00:30"],
        "zone": ["2024-04-30 15:00:00", "", "2024-05-01 15:00:00"], "long": ["1", "", "90"],
        "month": ["2024-01", "2024-02", "2024-03"], "range": ["(0, 2]", "(0, 2]", "(2, 4]"],
        "string": ["a", "", "b"], "decimal": ["1", "", "2.5"], "sparse": ["0", "0", "1.5"]}
    kinds = {name: getattr(column, "dtype", "text") for name, column in found.cells.items()}
    assert kinds == dict.fromkeys(kinds, "text") | dict.fromkeys(
        ["int", "float", "nullable", "long", "decimal", "sparse"], np.float64) | dict.fromkeys(
        ["day", "zone"], np.dtype("datetime64[s]"))


def test_names_of_pandas_may_occur_twice_or_have_levels(pandas):
    frame = pandas.DataFrame([[1, 2, 3]], columns=["a", "a", 0])
    assert {name: column.tolist() for name, column in table_from(frame).cells.items()} == {
        "a": [1], "a (2)": [2], "0": [3]}
    frame.columns = pandas.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)])
    assert list(table_from(frame).cells) == ["('a', 1)", "('a', 2)", "('b', 1)"]


def test_large_integers_of_pandas_stay_text(pandas):
    frame = pandas.DataFrame({"a": [2**60, 1], "b": pandas.array([2**60, None], "Int64")})
    assert table_from(frame).cells == {"a": [str(2**60), "1"], "b": [str(2**60), ""]}


def test_frames_without_cells_and_series_are_refused(pandas, polars):
    for library in (pandas, polars):
        with pytest.raises(ValueError, match="the DataFrame has no columns"):
            table_from(library.DataFrame())
        with pytest.raises(ValueError, match="the DataFrame has no rows"):
            table_from(library.DataFrame({"a": []}))
        with pytest.raises(TypeError, match="the Series is no table"):
            table_from(library.Series([1, 2]))
        assert cells(library.Series([1.5, 2.5])).tolist() == [1.5, 2.5]
    with pytest.raises(TypeError, match=r"the LazyFrame is no table; pass it.collect\(\)"):
        table_from(polars.LazyFrame({"a": [1]}))
    with pytest.raises(TypeError, match=r"^the DataFrame: row 1, column 'x' holds the list \[1\], but must hold"):
        table_from(pandas.DataFrame({"x": ["a", [1]]}))


def test_a_frame_of_polars(polars):
    frame = polars.DataFrame({
        "int": [1, None, 3], "float": [1.5, NAN, None], "on": [True, None, False], "text": ["a", None, " b "],
        "day": [dt.date(2024, 5, 1), None, dt.date(2024, 5, 2)], "moment": [dt.datetime(2024, 5, 1, 10), None, None],
        "zone": [dt.datetime(2024, 5, 1, tzinfo=BERLIN), None, None], "hour": [dt.time(18, 30), None, None],
        "long": [dt.timedelta(seconds=90), None, None], "decimal": [Decimal("2.5"), None, None],
        "none": [None, None, None], "big": [2**60, None, 1], "bytes": [b"a", None, b"b"]})
    frame = frame.with_columns(category=frame["text"].cast(polars.Categorical))
    found = table_from(frame)
    assert found.said == "polars DataFrame"
    assert {name: list(found.texts(name)) for name in found.cells} == {
        "int": ["1", "", "3"], "float": ["1.5", "", ""], "on": ["True", "", "False"], "text": ["a", "", "b"],
        "day": ["2024-05-01", "", "2024-05-02"], "moment": ["2024-05-01 10:00:00", "", ""],
        "zone": ["2024-04-30 22:00:00", "", ""], "hour": ["18:30:00", "", ""], "long": ["90", "", ""],
        "decimal": ["2.5", "", ""], "none": ["", "", ""], "big": [str(2**60), "", "1"], "bytes": ["a", "", "b"],
        "category": ["a", "", "b"]}
    with pytest.raises(TypeError, match=r"the DataFrame: row 0, column 'x' holds the list \[1\]"):
        table_from(polars.DataFrame({"x": [[1]]}))


class Arrow:
    """What an Arrow table and its columns are asked for. NOT TESTED with pyarrow itself."""

    def __init__(self, *values):
        self.values = values

    column_names = ("a", "b")

    @property
    def columns(self):
        return [Arrow(*column) for column in self.values]

    def to_pylist(self):
        return list(self.values)


def test_an_arrow_table():
    table = table_from(Arrow([1, None], ["x", None]))
    assert same(table.cells["a"], [1, NAN]) and table.cells["b"] == ["x", ""]


def test_no_library_is_imported_to_find_out(monkeypatch):
    for module in ("pandas", "polars", "pyarrow"):
        monkeypatch.setitem(sys.modules, module, None)
    assert table_from({"a": [1]}).cells["a"].tolist() == [1]


# The same table, in a file and in a frame


def test_a_frame_and_its_file_are_read_the_same(pandas, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame({
        "id": range(60), "size": rng.normal(size=60).round(3), "count": rng.integers(0, 9, 60),
        "gap": np.where(rng.random(60) < 0.2, NAN, rng.normal(size=60).round(2)), "on": rng.random(60) < 0.5,
        "colour": rng.choice(["red", "green", "blue"], 60), "day": pandas.date_range("2024-01-01", periods=60),
        "minus": rng.choice([-200, 1, 2], 60), "one": [7] * 60, "none": [NAN] * 60, "user_id": rng.permutation(60) + 5})
    frame.to_csv("t.csv", index=False)
    ours, theirs = table_from(frame), read_table("t.csv")
    assert list(ours.cells) == list(theirs.cells)
    for name in ours.cells:
        typed, text = (column_of(name, table.cells[name], missing=["-200"]) for table in (ours, theirs))
        assert (typed.kind, typed.said) == (text.kind, text.said)
        np.testing.assert_array_equal(typed.values, text.values)
        for learned in (typed, text):
            for table in (ours, theirs):
                again = convert(name, learned.reading, table.cells[name])
                if not learned.left_out:
                    np.testing.assert_array_equal(again.values, text.values)


class Wrapped:
    """What NumPy can read, and has no other method."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


def test_what_numpy_can_read_is_a_table_and_a_column():
    data = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert table_from(Wrapped(data)).cells["1"].tolist() == [2, 4]
    assert table_from({"a": Wrapped(data[0])}).cells["a"].tolist() == [1, 2]
    with pytest.raises(TypeError, match="the Wrapped is no table"):
        table_from(Wrapped(data[0]))


@pytest.mark.parametrize("form", ["csr", "coo", "dok"])
def test_a_sparse_array_is_refused(form):
    sparse = pytest.importorskip("scipy.sparse", reason="NOT TESTED: SciPy is not installed")
    with pytest.raises(TypeError, match=rf"the {form}_array is sparse, which is no table; pass it.toarray\(\)"):
        table_from(sparse.eye_array(3).asformat(form))
