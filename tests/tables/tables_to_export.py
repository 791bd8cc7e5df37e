"""A table with a column of every kind, models of it, and rows that are hard to get right. No test is here."""

import numpy as np

import fastnn
from fastnn.tables.columns import convert
from fastnn.tables.encoding import Encoding
from fastnn.tables.kinds import Column, Reading
from fastnn.tables.numerals import Notation
from fastnn.tables.recipe import Recipe

NAN, INF = np.nan, np.inf
NAT = np.datetime64("NaT")
ROWS = 60



def cells(*values):
    """Values in turn, for all rows."""
    return [values[row % len(values)] for row in range(ROWS)]


# {name of a column: (how it is read, cells)}; names are hostile on purpose
TABLE = {
    "age": (Reading("number", notation=Notation(suffix="years")), cells("", *(f"{age} years" for age in range(30)))),
    "label": (Reading("number", gaps=("-200",)), cells("-200", *(str(i * i / 8) for i in range(25)))),
    "mostly 0": (Reading("number"), [str(max(0, row - 50)) for row in range(ROWS)]),
    "always 3": (Reading("number"), cells("3")),
    "": (Reading("number"), cells("NA")),
    'a "*/ /* ??/ \\': (Reading("category"), [*cells("red", "green", "", "größer", 'a"b\\', "??/")[1:], "alone"]),
    "class": (Reading("category", gaps=("unknown",)), cells("a", "ab", "abc", "unknown")),
    "CLASS": (Reading("category", spelling="lower"), cells("yes", "No", "YES", "no")),
    "class_2": (Reading("category", spelling="number"), cells("1", "2.5", "-3", "0.5", "0")),
    "fastnn.Clip.1": (Reading("category"), cells("")),
    "when\n": (Reading("date", order="YMD"), [
        f"20{row % 30:02}-{1 + row % 12:02}-{1 + row % 28:02} {row % 24:02}:30:15" for row in range(ROWS)]),
    "дата": (Reading("date", gaps=("1900-01-01",), order="YMD"), cells(
        "1900-01-01", *(f"{year}-03-01" for year in range(1960, 2000)))),
}
READINGS = {name: reading for name, (reading, _) in TABLE.items()}
COLUMNS = {name: convert(name, reading, written) for name, (reading, written) in TABLE.items()}
ENCODING = Encoding.of(COLUMNS, range(ROWS))
WIDTH = len(ENCODING.names())

NUMBERS = [0.0, -0.0, 3.0, 1e-320, -1e300, 1e300, INF, -INF, NAN, 1e16, 59.5, -200.0, 441.0, 12.3456789, 1e100, -1e9]
TEXTS = ["red", "re", "redd", "Red", "größer", None, "", 'a"b\\', "??/", "\U0001f600" * 3000, "grö", "green", "x"]
DATES = ["1969-12-31T23:59:59", "1970-01-01", "0001-01-01", "9999-12-31T23:59:59", "1900-02-28", "1900-03-01", "NaT",
         "2000-02-29T12", "2100-02-28T23:30", "2024-12-31", "1600-02-29", "-0001-02-28", "200000-06-01", "1968-02-29"]
SPELLED = {     # cells, as people write them, and the values that they are
    "CLASS": ["yes", "YES", "Yes", "yEs", "no", "NO", "maybe", "", "ye", "yess"],
    "class_2": ["1", "1.0", "01", "+1", "1.", "2.5", "2.50", "-3", "-3.0", ".5", "0.5", "00", "7", "one", "", "-1"],
    "class": ["a", "ab", "abc", "abcd", "", "unknown", "A", "unknow", "b"]}


def hard_columns():
    """Values that later rows may have, of every column, in 80 rows."""
    def repeated(values):
        return [values[i % len(values)] for i in range(80)]

    columns = {}
    for name, reading in READINGS.items():
        if reading.kind == "number":
            values = np.array(repeated(NUMBERS))
        elif reading.kind == "date":
            values = np.array(repeated(DATES), "datetime64[s]")
        else:
            values = repeated(SPELLED.get(name, TEXTS))
        columns[name] = Column(name, reading.kind, values, "", reading)
    return columns


def as_read(columns):
    """Columns as the model reads them: one spelling for each category, and what the user named is a gap."""
    result = {}
    for name, column in columns.items():
        reading, values = column.reading, column.values
        if column.kind == "category":
            values = [None if text is None or reading.is_gap(text) else reading.value(text) for text in values]
        elif name == "label":
            values = np.where(values == -200, NAN, values)
        elif name == "дата":
            values = np.where(values == np.datetime64("1900-01-01"), NAT, values)
        result[name] = Column(name, column.kind, values, "", reading)
    return result


def moments(n):
    """Columns with n moments, up to three million years away."""
    rng = np.random.default_rng(0)
    times = np.where(rng.random(n) < 0.5, rng.integers(-10**12, 10**12, n), 86_400 * rng.integers(-10**9, 10**9, n))
    return {name: Column(name, column.kind, times.astype("datetime64[s]") if column.kind == "date" else
                         [column.values[i % ROWS] for i in range(n)], "", column.reading)
            for name, column in COLUMNS.items()}


def broken(network):
    """A network that is not finite."""
    network.biases[0][...] = INF
    return network


def model(classes=None, members=3, mean=0.0, scale=1.0, hidden=(16, 8), columns=READINGS):
    """(recipe, networks) with random parameters."""
    encoding = Encoding(tuple(column for column in ENCODING.columns if column.name in columns))
    recipe = Recipe("y", {column.name: READINGS[column.name] for column in encoding.columns}, encoding, classes, mean,
                    scale)
    networks = []
    for seed in range(members):
        network = fastnn.Network([len(encoding.names()), *hidden, recipe.n_outputs],
                                 *(("gelu", "identity") if classes is None else ("relu", "softmax")), seed=seed)
        network.set_parameters(network.get_parameters() + np.random.default_rng(seed).normal(
            scale=0.1, size=network.n_parameters).astype("f"))
        networks.append(network)
    return recipe, networks


def transparent():
    """(recipe, networks) that answer with the features themselves."""
    network = fastnn.Network([WIDTH, WIDTH])
    network.weights[0][...] = np.eye(WIDTH)
    return Recipe("y", READINGS, ENCODING, tuple(range(WIDTH))), [network]


def seconds(times):
    """Dates as exports take them, NaN for a gap."""
    return np.where(np.isnat(times), NAN, times.astype("datetime64[s]").astype(np.int64).astype(float))


REFUSED = [
    (lambda recipe, networks: [], "networks is empty"),
    (lambda recipe, networks: [fastnn.Network([3, 1])], "a network has 3 inputs and 1 outputs, but the recipe needs"),
    (lambda recipe, networks: [*networks, fastnn.Network([WIDTH, 5, 1])], "all members of a model have one shape"),
    (lambda recipe, networks: [fastnn.Network([WIDTH, 1], dtype="float64")], "members of a table's model are float32")]
