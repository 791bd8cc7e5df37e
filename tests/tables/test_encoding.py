"""Columns of a table as inputs of a network: what obvious, slow twins compute, from the rows that train alone.

Whatever comes in, no NaN and no infinity comes out; and what a model file says is read back exactly, or refused.
"""

import copy
import datetime
import json
import math
import statistics
import sys
from collections import Counter
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from helpers import digest, same_bits

from fastnn.tables.encoding import BLOCK, Category, Date, Encoding, Number, bin_edges

pytestmark = pytest.mark.any_isa
NAN = math.nan
LARGEST = sys.float_info.max
TINIEST = 5e-324


@dataclass(frozen=True)
class Column:
    name: str
    kind: str
    values: Any


def number(*values):
    return Column("x", "number", np.array(values, np.float64))


def category(*values):
    return Column("c", "category", list(values))


def date(*values):
    return Column("d", "date", np.array(values, "datetime64[s]"))


def encoded(column, later=None, dtype="float64"):
    """The features of a column that trains, or of a later one, by name."""
    encoding = Encoding.of({"it": column}, range(len(column.values)))
    return dict(zip(encoding.names(), encoding.apply({"it": later or column}, dtype).T.tolist(), strict=True))


def table(n=400, seed=0):
    """A column of each kind, with gaps and without."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(-1000, 1000, (3, n)) / 8
    numbers[1, ::7] = NAN
    numbers[2, rng.integers(0, 10, n) > 1] = 0
    texts = [f"t{i}" for i in rng.integers(0, 90, n) ** 2 // 90]
    days = np.datetime64("2017-12-01", "s") + 3600 * rng.integers(0, 9000, n)
    return {
        "plain": Column("plain", "number", numbers[0]), "gaps": Column("gaps", "number", numbers[1]),
        "zeros": Column("zeros", "number", numbers[2]), "text": Column("text", "category", texts),
        "text, gaps": Column("", "category", [None if i % 5 == 0 else text for i, text in enumerate(texts)]),
        "day": Column("day", "date", np.where(np.arange(n) % 9 == 0, np.datetime64("NaT"), days)),
    }


# Slow twins


def twin_edges(values):
    """Atoms one round at a time, then quantiles, on a plain list and with exact fractions."""
    rest, edges = sorted(values), []
    while rest:
        share = Fraction(len(rest), 17 - len(edges))
        atoms = [value for value, count in Counter(rest).items() if count >= share]
        if not atoms:
            break
        edges += atoms
        rest = [value for value in rest if value not in atoms]
    left = 17 - len(edges)
    if rest and left == 1:
        edges.append(rest[(len(rest) - 1) // 2])
    elif rest:
        edges += [rest[math.floor(Fraction(i * (len(rest) - 1), left - 1))] for i in range(left)]
    return tuple(sorted(edges))


def twin_bin(x, low, high):
    if x <= low:
        return 0.0
    return 1.0 if x >= high else (x - low) / (high - low)


def twin_number(training, values):
    """The features of each value, row by row."""
    known = [value for value in training if not math.isnan(value)]
    first, median, third = statistics.quantiles(known, n=4, method="inclusive")
    scale = third - first or statistics.pstdev(known) or 1
    edges = twin_edges(known)
    rows = []
    for value in values:
        x = median if math.isnan(value) else value
        z = (x - median) / scale
        gap = [float(math.isnan(value))] if len(known) < len(training) else []
        rows.append([z / math.sqrt(1 + (z / 3) ** 2), *gap,
                     *(twin_bin(x, *pair) for pair in zip(edges, edges[1:], strict=False))])
    return np.array(rows)


def columns_of_numbers():
    rng = np.random.default_rng(1)
    yield "normal", rng.normal(size=500)
    yield "two rows", np.array([1.0, 2.0])
    yield "skewed", np.exp(rng.normal(scale=3, size=300))
    yield "mostly zero", np.where(rng.uniform(size=400) < 0.9, 0, rng.integers(1, 200, 400)).astype(float)
    yield "few values", rng.integers(0, 6, 200).astype(float)
    yield "17 values", rng.permutation(np.repeat(np.arange(17.0), rng.integers(1, 40, 17)))
    yield "18 values", rng.permutation(np.repeat(np.arange(18.0), rng.integers(1, 40, 18)))
    yield "an atom of just its share", np.array([*range(65), 21.0, 21.0, 21.0])
    yield "16 atoms and two rare values", np.concatenate([np.repeat(np.arange(16.0), 50), [-7, 99]])
    yield "16 atoms and three rare values", np.concatenate([np.repeat(np.arange(16.0), 50), [-7, 3.5, 99]])
    yield "15 atoms and three rare values", np.concatenate([np.repeat(np.arange(15.0), 50), [-7, 3.5, 99]])
    yield "geometric", np.repeat(np.arange(12.0), 2 ** np.arange(12))
    yield "gaps", np.where(rng.uniform(size=300) < 0.2, NAN, rng.normal(size=300))
    for seed in range(40):
        some = np.random.default_rng(seed)
        yield f"random {seed}", some.zipf(some.uniform(1.1, 4), some.integers(2, 300)).astype(float) % 1000


COLUMNS = dict(columns_of_numbers())


@pytest.mark.parametrize("name", COLUMNS)
def test_numbers_are_those_of_the_slow_twin(name):
    training = COLUMNS[name]
    values = np.concatenate([training, training + 0.3, -3 * training, [NAN, 0, 1e6]])
    features = encoded(number(*training), number(*values))
    np.testing.assert_allclose(np.array(list(features.values())).T, twin_number(training.tolist(), values.tolist()),
                               rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", COLUMNS)
def test_edges_are_different_values_of_the_column_as_many_as_there_can_be(name):
    known = np.sort(COLUMNS[name][~np.isnan(COLUMNS[name])])
    edges = bin_edges(known)
    assert edges == twin_edges(known.tolist())
    assert len(edges) == min(17, len(set(known)))
    assert set(edges) <= set(known) and edges == tuple(sorted(set(edges)))


def test_many_zeros_take_one_edge_and_the_rest_keeps_the_others():
    """Plain quantiles would be 0 fifteen times out of seventeen."""
    edges = bin_edges(np.array([0.0] * 9000 + [float(i) for i in range(1, 1001)]))
    assert edges == (0, 1, *(1 + i * 999 // 15 for i in range(1, 15)), 1000)


def test_the_twin_would_see_plain_quantiles():
    known = np.sort(COLUMNS["mostly zero"])
    assert tuple(sorted(set(np.quantile(known, np.arange(17) / 16, method="lower")))) != twin_edges(known.tolist())


# Numbers


def test_a_gap_is_the_median_and_has_an_indicator_only_where_training_had_gaps():
    features = encoded(number(1, 2, NAN, 4), number(NAN, 2, 4))
    assert features["it"][0] == 0 and features["it is a gap"] == [1, 0, 0]
    assert features["it from 1 to 2"] == [1, 1, 1] and features["it from 2 to 4"] == [0, 0, 1]
    features = encoded(number(1, 2, 4), number(NAN, 2))
    assert list(features) == ["it", "it from 1 to 2", "it from 2 to 4"]
    assert [values[0] for values in features.values()] == [values[1] for values in features.values()]


@pytest.mark.parametrize("values, scale", [
    ((0, 1, 2, 3, 4), 2), ((0, 0, 0, 0, 10), 4), ((7, 7, 7), 1), ((0.1,) * 7, 1), ((3,), 1),
    ((0, 1e-200, 2e-200), 1), ((-1e308, 0, 0, 1e308), 1e100 / 2), ((-1e308, -1e308, 1e308, 1e308), 2e100)])
def test_the_scale_is_the_interquartile_range_or_the_deviation_or_1(values, scale):
    assert Number.of("x", values).scale == pytest.approx(scale, rel=1e-12)


HUGE = [1e300, -1e300, LARGEST, -LARGEST, math.inf, -math.inf, TINIEST, -TINIEST, 0.0, -0.0, NAN, 1e100, 1e-100]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("training", [
    (1, 2, 3), (5, 5), (NAN, NAN), (0, TINIEST, 2 * TINIEST), (-LARGEST, LARGEST), (0, 0, 0, 0, LARGEST), HUGE,
    (0, 2e-100, 4e-100), (1, 1 + 2**-52), (1e300, 1e300 * (1 + 2**-52))])
def test_no_number_gives_nan_or_infinity(training, dtype):
    features = np.array(list(encoded(number(*training), number(*HUGE), dtype).values()))
    assert np.isfinite(features).all()
    assert np.abs(features[0]).max() <= 3 * (1 + 1e-6)
    assert ((features[1:] >= 0) & (features[1:] <= 1)).all()


def test_numbers_beyond_the_edges_saturate():
    features = encoded(number(*range(100)), number(-1e300, -1, 0, 99, 100, 1e300))
    bins = np.array(list(features.values())[1:])
    assert len(bins) == 16
    assert (bins[:, :3] == 0).all() and (bins[:, 3:] == 1).all()
    assert features["it"][0] == pytest.approx(-3) and features["it"][-1] == pytest.approx(3)


def test_a_constant_column_and_one_of_gaps_have_no_bins():
    assert list(encoded(number(3, 3))) == ["it"]
    assert encoded(number(NAN, NAN), number(NAN, 5)) == {"it": pytest.approx([0, 5 / math.sqrt(1 + 25 / 9)]),
                                                         "it is a gap": [1, 0]}


def test_a_negative_zero_is_zero():
    with_zeros, without = (Number.of("x", values) for values in ([-0.0, 0.0, 1, -0.0], [0.0, 0.0, 1, 0.0]))
    assert json.dumps(with_zeros.as_metadata()) == json.dumps(without.as_metadata())


# Categories


def test_each_category_has_a_feature_and_an_unseen_one_has_none():
    column = category("b", "a", "b", "a")
    assert encoded(column) == {"it is 'a'": [0, 1, 0, 1], "it is 'b'": [1, 0, 1, 0]}
    assert encoded(column, category("c", "", None, "a")) == {"it is 'a'": [0, 0, 0, 1], "it is 'b'": [0, 0, 0, 0]}


def test_a_category_of_one_row_is_another_and_so_is_an_unseen_one():
    features = encoded(category("a", "a", "b", None), category("a", "b", "new", None))
    assert features == {"it is 'a'": [1, 0, 0, 0], "it is another": [0, 1, 1, 0], "it is a gap": [0, 0, 0, 1]}


def test_the_64_most_frequent_categories_count_and_ties_go_by_text():
    values = [f"{i:03}" for i in range(70) for _ in range(3 if i >= 60 else 2)]
    column = Category.of("c", values[::-1])
    assert column.categories == (*(f"{i:03}" for i in range(54)), *(f"{i:03}" for i in range(60, 70)))
    assert column.other and len(column.names()) == 65
    assert not Category.of("c", values[:64 * 2]).other


def test_categories_may_be_any_text():
    strange = ["\0", "", "None", "\ud800", "é", "e\u0301", "x" * 1000, "'", "ß"]
    encoding = Encoding.of({"c": category(*strange * 2)}, range(18))
    assert np.array_equal(encoding.apply({"c": category(*strange)}).sum(axis=0), np.ones(9))
    assert len(set(encoding.names())) == 9
    assert Encoding.from_metadata(json.loads(json.dumps(encoding.as_metadata()))) == encoding


def test_a_text_of_a_million_characters_is_another():
    encoding = Encoding.of({"c": category(*["x" * 10**6] * 3, "a", "a")}, range(5))
    assert encoding.names() == ["c is 'a'", "c is another"]
    assert len(json.dumps(encoding.as_metadata())) < 200


def test_a_column_of_gaps_alone():
    assert encoded(category(None, None), category("a", None)) == {"it is a gap": [0, 1]}


# Dates


def test_dates_are_pythons():
    rng = np.random.default_rng(2)
    seconds = rng.integers(-10**10, 10**10, 300)
    times = [datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=int(second)) for second in seconds]
    column = Date.of("d", seconds.astype("datetime64[s]"))
    assert [part.name for part in column.parts] == ["days", "year", "month", "weekday", "hour"]
    first = min(times)
    expected = {
        "days": [(each - first) / datetime.timedelta(days=1) for each in times], "year": [t.year for t in times],
        "month": [t.month for t in times], "weekday": [t.weekday() for t in times], "hour": [t.hour for t in times]}
    for part in column.parts:
        assert part == Number.of(part.name, expected[part.name])
    out = np.empty((300, len(column.names())))
    column.encode(out, seconds.astype("datetime64[s]"))
    start = 0
    for part in column.parts:
        one = np.empty((300, len(part.names())))
        part.encode(one, expected[part.name])
        assert same_bits(out[:, start:start + one.shape[1]].copy(), one)
        start += one.shape[1]


def test_a_date_without_times_has_no_hour_and_what_is_always_the_same_is_left_out():
    column = Date.of("d", np.array(["2020-03-02", "2020-03-10", "2020-03-20"], "datetime64[s]"))
    assert [part.name for part in column.parts] == ["days", "weekday"]
    column = Date.of("d", np.array(["2020-03-02", "2020-03-02T13"], "datetime64[s]"))
    assert [part.name for part in column.parts] == ["days", "hour"]


def test_a_gap_among_dates_has_one_indicator():
    features = encoded(date("2020-01-01", "NaT", "2021-02-03T04"), date("NaT", "2020-01-01"))
    assert features["it days is a gap"] == [1, 0]
    assert [name for name in features if "gap" in name] == ["it days is a gap"]
    assert np.isfinite(list(features.values())).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("training", [["2020-01-01", "2020-01-02"], ["NaT"], [-2**63 + 1, 2**63 - 1]])
def test_no_date_gives_nan_or_infinity(training):
    later = np.array([-2**63 + 1, 2**63 - 1, 0, -1, -2**63]).astype("datetime64[s]")
    column = Column("d", "date", np.array(training).astype("datetime64[s]"))
    assert np.isfinite(list(encoded(column, Column("d", "date", later)).values())).all()


@pytest.mark.parametrize("unit", ["D", "m", "ms", "ns"])
def test_dates_of_any_unit(unit):
    times = np.array(["2020-01-01", "2021-06-07", "NaT"], "datetime64[D]")
    assert Date.of("d", times.astype(f"datetime64[{unit}]")) == Date.of("d", times.astype("datetime64[s]"))


# Tables


def test_the_rows_that_train_decide_alone():
    columns, n = table(), 400
    rows = np.random.default_rng(3).permutation(n)[:250]
    encoding = Encoding.of(columns, rows)
    others = np.setdiff1d(np.arange(n), rows)
    for name, column in table(seed=9).items():       # other values in all other rows
        values = copy.copy(columns[name].values)
        for row in others:
            values[row] = column.values[row]
        columns[name] = replace(column, values=values)
    columns["plain"].values[others[0]] = 1e300
    columns["text"].values[others[1]] = None
    assert Encoding.of(columns, rows) == encoding
    assert Encoding.of(columns, np.sort(rows)) == encoding
    assert Encoding.of(columns, [*rows, others[0]]) != encoding      # the check can fail


def test_the_values_stay_as_they_are():
    columns = table()
    before = copy.deepcopy(columns)
    Encoding.of(columns, range(0, 400, 2)).apply(columns)
    for name, column in columns.items():
        np.testing.assert_array_equal(np.array(column.values), np.array(before[name].values))


def test_features_stand_side_by_side_in_the_order_of_the_encoding():
    columns = table()
    encoding = Encoding.of(columns, range(400))
    matrix = encoding.apply(dict(reversed(columns.items())) | {"more": category("a")}, "float64")
    alone = [Encoding.of({name: column}, range(400)) for name, column in columns.items()]
    assert encoding.names() == [name for each in alone for name in each.names()]
    assert len(set(encoding.names())) == len(encoding.names())
    expected = [each.apply(columns, "float64") for each in alone]
    assert same_bits(matrix, np.concatenate(expected, axis=1))
    assert same_bits(encoding.apply(columns), matrix.astype("float32"))


@pytest.mark.parametrize("n", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3])
def test_any_number_of_rows(n):
    encoding, columns = Encoding.of(table(), range(400)), table(2 * BLOCK + 3, seed=4)
    some = {name: replace(column, values=column.values[:n]) for name, column in columns.items()}
    matrix = encoding.apply(some)
    assert matrix.shape == (n, len(encoding.names()))
    assert same_bits(matrix, encoding.apply(columns)[:n])


def test_the_same_bits_on_every_machine():
    columns = table()
    matrix = Encoding.of(columns, range(300)).apply(columns, "float64")
    assert digest(matrix) == "a6a9c8bbf95f05a46f37a7c35ec0e80af641a4062794d53f85782b0bbee3d43e"


@pytest.mark.parametrize("columns, rows, message", [
    ({}, [0], "columns is empty"),
    ({"a": Column("a", "text", ["x"])}, [0], "column 'a' is of kind 'text', which has no encoding"),
    ({"a": number(1), "b": number(1, 2)}, [0], "column 'b' has 2 rows, but column 'a' has 1"),
    ({"a": number(1)}, [], "rows has shape"),
    ({"a": number()}, [], "rows has shape"),
    ({"a": number(1)}, [True], "rows has shape"),
    ({"a": number(1)}, [1], "rows holds indices from 1 to 1, but the table has 1 rows"),
    ({"a": number(1)}, [-1], "rows holds indices from -1 to -1"),
    ({"a": Column("a", "number", np.ones((2, 2)))}, [0], "column 'a' has shape"),
    ({"a": Column("a", "category", ["x", 3])}, [0, 1], "column 'a' holds 3"),
    ({"a": Column("a", "category", [NAN])}, [0], "column 'a' holds nan"),
    ({"a": Column("a", "date", np.ones(2))}, [0], "column 'a' has shape"),
])
def test_what_cannot_be_learned_from(columns, rows, message):
    with pytest.raises((TypeError, ValueError), match=message.replace("[", r"\[")):
        Encoding.of(columns, rows)


def test_what_cannot_be_encoded():
    encoding = Encoding.of({"a": number(1, 2), "b": category("x", "x")}, [0, 1])
    with pytest.raises(ValueError, match="the table has no column 'a', 'b', but the encoding needs it"):
        encoding.apply({"c": number(1)})
    with pytest.raises(ValueError, match="column 'b' is of kind 'number', but was 'category' in the rows that trained"):
        encoding.apply({"a": number(1), "b": number(1)})
    with pytest.raises(ValueError, match="column 'b' has 2 rows, but column 'a' has 1"):
        encoding.apply({"a": number(1), "b": category("x", "x")})
    with pytest.raises(ValueError, match="dtype is 'float16'"):
        encoding.apply({"a": number(1), "b": category("x")}, "float16")


# Model files


def plain_table():
    return json.loads(json.dumps(Encoding.of(table(), range(400)).as_metadata(), sort_keys=True))


def test_what_was_written_is_read_back_exactly():
    encoding = Encoding.of(table(), range(400))
    again = Encoding.from_metadata(plain_table())
    assert again == encoding and again.as_metadata() == encoding.as_metadata()
    assert same_bits(again.apply(table(seed=6)), encoding.apply(table(seed=6)))
    assert len(json.dumps(encoding.as_metadata())) < 8000


@pytest.mark.parametrize("training", [
    (NAN,), (1,), (-LARGEST, LARGEST), (0, TINIEST), HUGE, (0, 0, 0, 0, LARGEST), (1 / 3, 2 / 3)])
def test_numbers_of_any_size_are_read_back_exactly(training):
    encoding = Encoding.of({"x": number(*training), "d": date(*["NaT"] * len(training))}, range(len(training)))
    assert Encoding.from_metadata(json.loads(json.dumps(encoding.as_metadata()))) == encoding


JUNK = [None, True, 0, 1, -1, 2**70, 0.5, NAN, math.inf, -1e300, 1e101, "", "number", [], {}, [None], [1.0], [2.0, 1.0],
        [1.0, 1.0], [1, 2], [0.0, NAN], ["b", "a"], ["a", "a"], [True], [[]], {"kind": "number"}]


def places(value, place=()):
    """The way to each value inside plain values."""
    yield place
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*place, key))


def changed(plain, place, value):
    """Plain values with another one in one place."""
    if not place:
        return value
    result = copy.copy(plain)
    result[place[0]] = changed(plain[place[0]], place[1:], value)
    return result


def test_junk_in_any_place_is_refused_in_one_sentence_or_is_a_sound_encoding():
    plain, later, refused = plain_table(), table(seed=7), 0
    for place in places(plain):
        for junk in JUNK:
            wrong = changed(plain, place, junk)
            try:
                encoding = Encoding.from_metadata(wrong)
            except ValueError as error:
                refused += 1
                assert "\n" not in str(error) and len(str(error)) < 600
            else:       # such as another median, or another name, which nothing contradicts
                assert json.dumps(encoding.as_metadata()) == json.dumps(encoding_as_written(wrong))
                if [column.name for column in encoding.columns] == list(later):
                    assert np.isfinite(encoding.apply(later)).all()
    assert refused > 2000


def encoding_as_written(plain):
    """Plain values in the order of fields that as_metadata has."""
    order = ["kind", "name", "median", "scale", "categories", "other", "first", "parts", "gaps", "edges", "columns"]
    if isinstance(plain, dict):
        return {key: encoding_as_written(plain[key]) for key in sorted(plain, key=order.index)}
    return [encoding_as_written(each) for each in plain] if isinstance(plain, list) else plain


@pytest.mark.parametrize("place, value, message", [
    ((), None, "a part of the encoding is None, but must have the fields columns"),
    (("columns",), [], "the encoding's columns are [], but must be a list of one at least"),
    (("columns", 0), 3, "a column of the encoding is 3, but must have a kind"),
    (("columns", 0, "kind"), "category", "must have the fields kind, name, categories"),
    (("columns", 0, "kind"), ["number"], "but must have a kind, one of number, category, date"),
    (("columns", 0, "name"), "gaps", "the encoding has 2 columns 'gaps'"),
    (("columns", 0, "name"), 1, "the name of a column of the encoding is 1"),
    (("columns", 0, "median"), NAN, "the encoding of column 'plain' has median nan"),
    (("columns", 0, "median"), 0, "has median 0, but must have a float"),
    (("columns", 0, "median"), 1e101, "has median 1e+101"),
    (("columns", 0, "scale"), 0.0, "has scale 0.0"),
    (("columns", 0, "scale"), -1.0, "has scale -1.0"),
    (("columns", 0, "scale"), math.inf, "has scale inf"),
    (("columns", 0, "gaps"), 1, "has gaps 1, but must have True or False"),
    (("columns", 0, "edges"), [1.0], "has edges [1.0]"),
    (("columns", 0, "edges"), [2.0, 1.0], "has edges [2.0, 1.0]"),
    (("columns", 0, "edges"), [float(i) for i in range(18)], "has edges"),
    (("columns", 3, "categories"), ["b", "a"], "has categories ['b', 'a']"),
    (("columns", 3, "categories"), [f"{i:03}" for i in range(65)], "has categories"),
    (("columns", 3, "categories"), ["x" * 1001], "has categories"),
    (("columns", 3), {"kind": "category", "name": "text", "categories": [], "other": False, "gaps": False},
     "has categories []"),
    (("columns", 5, "first"), 2**63, "has first 9223372036854775808"),
    (("columns", 5, "first"), -2**63, "has first -9223372036854775808"),
    (("columns", 5, "first"), True, "has first True"),
    (("columns", 5, "parts"), [], "has parts []"),
    (("columns", 5, "parts", 1, "name"), "hour", "has parts ['days', 'hour', 'month'"),
    (("columns", 5, "parts", 0, "kind"), "date", "is of kind 'date', but must be of kind 'number'"),
    (("columns", 5, "parts", 1, "gaps"), True, "has year Number("),
    (("columns", 5, "parts", 1, "edges"), [], "has year Number("),
])
def test_what_as_metadata_would_not_have_written(place, value, message):
    with pytest.raises(ValueError) as caught:
        Encoding.from_metadata(changed(plain_table(), place, value))
    assert message in str(caught.value)


def test_a_field_too_many_or_too_few_is_refused():
    plain = plain_table()
    for place in places(plain):
        inner = plain
        for key in place:
            inner = inner[key]
        if isinstance(inner, dict):
            for wrong in (inner | {"more": 1}, {key: inner[key] for key in list(inner)[1:]}, inner | {3: 1}):
                with pytest.raises(ValueError, match="must have"):
                    Encoding.from_metadata(changed(plain, place, wrong))
