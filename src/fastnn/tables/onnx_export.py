"""ONNX: the model of a table as one file, from the values of its columns to the answer.

The graph reads columns, makes the features that encoding.py makes, with the same arithmetic, and hands them to the
members; the answer is their mean. All columns of numbers go through the same few nodes, and so do the parts of dates,
which are integers until then. Texts are looked up in a table that has every spelling of each category, as far as
spellings can be listed. The file is for opset 13 and ai.onnx.ml 2, and ONNX Runtime has all of it.
"""

from __future__ import annotations

from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import library, shown
from ..interchange.onnx_graph import Graph, add_network, write
from .encoding import DAY, FARTHEST, LARGEST, SOFT, Category, Date, Number
from .exports import checked_members, described, gap_numbers
from .numerals import plain_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from .._types import Path
    from ..network import Network
    from .kinds import Reading
    from .recipe import Recipe

ML = "ai.onnx.ml"
ML_VERSION = 2              # the first one in which LabelEncoder takes lists of keys
FLOAT, INT64, STRING, DOUBLE = 1, 7, 8, 11      # TensorProto.DataType
OUTPUTS = "label", "probabilities", "prediction"
LAST_SECOND = 9.2e18        # dates beyond are as late: their seconds must be integers of 64 bits
MOST_SPELLINGS = 4096       # of one category
ZEROS = 2                   # zeros before and behind a number that are another spelling of it


def to_onnx(recipe: Recipe, networks: Sequence[Network], path: Path) -> None:
    """Writes the model to an ONNX file, which needs nothing of fastnn.

    It has an input for each column, (n, 1) for any n: double for numbers (NaN is a gap) and for dates (seconds since
    1970, NaN is a gap), string for categories (empty is a gap), without spaces around the text. An input is called as
    its column, but for names that the file cannot hold or that its outputs have; the metadata "columns" lists the
    columns' own names, in the order of the inputs. Outputs of classes are "label" (n,), int64 where all classes are
    integers and string otherwise, and "probabilities" (n, classes) in float; of a number "prediction" (n, 1) in
    double. The metadata "fastnn.table" is the recipe, "classes" the classes, both in JSON.

    A category that is a number may be spelled with a sign, with two zeros more before it and with two behind the
    point; other spellings of it, such as 1e0, count as other texts.

    The file is written wholly or not at all, and the same arguments make the same bytes. ValueError for networks that
    do not belong to the recipe; OSError where the file cannot be written; ImportError without ONNX.
    """
    onnx = library("onnx", "ONNX", "onnx", "to_onnx")
    members = checked_members(recipe, networks)
    metadata: dict[str, object] = {"fastnn.table": recipe.as_metadata(), "columns": list(recipe.readings)}
    if recipe.classes is not None:
        metadata["classes"] = list(recipe.classes)
    write(onnx, path, graph_of(onnx, recipe, members), metadata, {ML: ML_VERSION})


def graph_of(onnx: Any, recipe: Recipe, members: Sequence[Network]) -> Any:
    """The model as a GraphProto."""
    names = input_names(recipe.readings)
    prefix = "fastnn."
    while any(name.startswith(prefix) for name in names):
        prefix = f"_{prefix}"
    graph = Graph(onnx, prefix)
    features = Features(graph)
    for name, reading, encoded in zip(names, recipe.readings.values(), recipe.encoding.columns, strict=True):
        features.add(name, reading, encoded)
    X = features.joined()
    outputs = [graph.apply("Cast", add_network(graph, member, X, f"{prefix}member.{number}."), to=DOUBLE)
               for number, member in enumerate(members)]
    mean = graph.apply("Div", graph.apply("Sum", *outputs), float(len(members)))
    inputs = [column(onnx, name, reading) for name, reading in zip(names, recipe.readings.values(), strict=True)]
    answer = number(graph, recipe, mean) if recipe.classes is None else label(graph, recipe, mean)
    return graph.finished(inputs, answer)


def column(onnx: Any, name: str, reading: Reading) -> Any:
    """An input."""
    kind, gap = (STRING, "empty text") if reading.kind == "category" else (DOUBLE, "NaN")
    return onnx.helper.make_tensor_value_info(name, kind, ["n", 1], utf8(f"{described(reading)}; {gap} is a gap"))


def number(graph: Graph, recipe: Recipe, mean: str) -> list[Any]:
    """The output of a model that predicts a number."""
    scaled = graph.apply("Mul", mean, float(recipe.scale))
    graph.node("Add", [scaled, graph.constant(f"{graph.prefix}mean", np.array(float(recipe.mean)))], "prediction")
    return [graph.onnx.helper.make_tensor_value_info("prediction", DOUBLE, ["n", 1])]


def label(graph: Graph, recipe: Recipe, mean: str) -> list[Any]:
    """The outputs of a model that predicts classes."""
    classes = recipe.classes or ()
    whole = all(type(name) is int and abs(name) < 2**63 for name in classes)
    texts = np.array(classes, np.int64) if whole else np.array([utf8(str(name)) for name in classes], object)
    largest = graph.apply("ArgMax", mean, axis=1, keepdims=0)
    graph.node("Gather", [graph.constant(f"{graph.prefix}classes", texts), largest], "label")
    graph.node("Cast", [mean], "probabilities", to=FLOAT)
    info = graph.onnx.helper.make_tensor_value_info
    return [info("label", INT64 if whole else STRING, ["n"]), info("probabilities", FLOAT, ["n", len(classes)])]


# Names and texts


def utf8(text: str) -> str:
    """A text that UTF-8 can hold: a lone surrogate is written out."""
    return text.encode("utf-8", "backslashreplace").decode()


def input_names(columns: Iterable[str]) -> list[str]:
    """Names of inputs, each of its own: those of the columns, but for names that are empty, hold a NUL character or a
    lone surrogate, or are those of outputs."""
    taken = dict.fromkeys(columns)
    names: dict[str, None] = {}         # in order
    for column in taken:
        name = utf8(column).replace("\0", "\\x00")
        while not name or name in OUTPUTS or name in names or (name != column and name in taken):
            name += "_"
        names[name] = None
    return list(names)


def spellings(text: str, spelling: str) -> list[str]:
    """The texts that are the category `text`, as far as they can be listed."""
    if spelling == "lower":
        letters = [[letter for letter in dict.fromkeys((small, small.upper(), *("ſ" if small == "s" else ""))) if
                    letter.casefold() == small] or [small] for small in text]
        count = np.prod([float(len(ways)) for ways in letters])
        if count > MOST_SPELLINGS:
            raise ValueError(f"the category {shown(text)} has {count:.3g} spellings in capital and small letters, but "
                             f"a file in ONNX can hold {MOST_SPELLINGS}: learn with the column as it is spelled")
        return list(map("".join, product(*letters)))
    if spelling == "number" and plain_number(text) is not None and "e" not in text:
        sign = "-" if text.startswith("-") else ""
        whole, _, fraction = text.removeprefix("-").partition(".")
        signs = ("-",) if sign else ("", "+", "-") if float(text) == 0 else ("", "+")
        starts = ["0" * zeros + whole for zeros in range(ZEROS + 1)] + ([""] if whole == "0" and fraction else [])
        ends = [f".{fraction}{'0' * zeros}" for zeros in range(ZEROS + 1)] + ([] if fraction else [""])
        return ["".join(parts) for parts in product(signs, starts, ends)]
    return [text]


# From columns to features


class Features:
    """Adds columns to a graph, and joins their features as the networks expect them.

    Numbers come first in what is joined: each one scaled, then the gaps, then the bins; behind them categories, column
    by column. `places` says where each feature of the encoding is found there.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.numbers: list[Number] = []
        self.values: list[str] = []                     # of each number (n, 1) in double, NaN for a gap
        self.categories: list[str] = []                 # features of each category
        self.order: list[tuple[str, int]] = []          # of each column in order: its kind, its number or its width

    def add(self, name: str, reading: Reading, encoded: Number | Category | Date) -> None:
        """Adds a column."""
        if isinstance(encoded, Category):
            self.categories.append(category(self.graph, name, reading, encoded))
            self.order.append(("category", len(encoded.names())))
            return
        value = with_gaps(self.graph, name, reading)
        if isinstance(encoded, Number):
            self._add_number(value, encoded)
            return
        parts = date_parts(self.graph, value, encoded.first)
        for part in encoded.parts:
            self._add_number(parts[part.name], part)

    def _add_number(self, value: str, encoded: Number) -> None:
        self.order.append(("number", len(self.numbers)))
        self.numbers.append(encoded)
        self.values.append(value)

    def joined(self) -> str:
        """The matrix (n, features), in the order of the encoding."""
        blocks = (numbers(self.graph, self.numbers, self.values) if self.numbers else []) + self.categories
        return self.graph.apply("Gather", self.graph.apply("Concat", *blocks, axis=1), self.places(), axis=1)

    def places(self) -> NDArray[np.int64]:
        """Where the features stand in what is joined."""
        gap = len(self.numbers)
        edge = gap + sum(encoded.gaps for encoded in self.numbers)
        text = edge + sum(map(bins, self.numbers))
        found: list[int] = []
        for kind, which in self.order:
            if kind == "category":
                found += range(text, text + which)
                text += which
                continue
            encoded = self.numbers[which]
            found += [which, *([gap] if encoded.gaps else []), *range(edge, edge + bins(encoded))]
            gap, edge = gap + encoded.gaps, edge + bins(encoded)
        return np.array(found, np.int64)


def bins(encoded: Number) -> int:
    """How many bins a number has."""
    return max(0, len(encoded.edges) - 1)


def with_gaps(graph: Graph, name: str, reading: Reading) -> str:
    """A column of numbers or dates, NaN for all that is a gap."""
    for gap in gap_numbers(reading):
        name = graph.apply("Where", graph.apply("Equal", name, gap), np.nan, name)
    return name


def numbers(graph: Graph, encoded: Sequence[Number], values: Sequence[str]) -> list[str]:
    """The features of all numbers: scaled, gaps, bins. See `Number.encode` for the formulas."""
    x = graph.apply("Concat", *values, axis=1)
    medians = graph.constant(f"{graph.prefix}medians", np.array([[column.median for column in encoded]]))
    scales = graph.constant(f"{graph.prefix}scales", np.array([[column.scale for column in encoded]]))
    gap = graph.apply("IsNaN", x)
    x = graph.apply("Clip", graph.apply("Where", gap, medians, x), -LARGEST, LARGEST)
    z = graph.apply("Clip", graph.apply("Div", graph.apply("Sub", x, medians), scales), -FARTHEST, FARTHEST)
    soft = graph.apply("Div", z, SOFT)
    root = graph.apply("Sqrt", graph.apply("Add", graph.apply("Mul", soft, soft), 1.0))
    blocks = [graph.apply("Cast", graph.apply("Div", z, root), to=FLOAT)]
    with_gap = np.array([index for index, column in enumerate(encoded) if column.gaps], np.int64)
    if len(with_gap):
        blocks.append(graph.apply("Gather", graph.apply("Cast", gap, to=FLOAT), with_gap, axis=1))
    edges = [(index, low, high) for index, column in enumerate(encoded) for low, high in pairwise(column.edges)]
    if edges:
        which, low, high = map(np.array, zip(*edges, strict=True))
        lows = graph.constant(f"{graph.prefix}lows", low[None])
        widths = graph.constant(f"{graph.prefix}widths", (high - low)[None])
        steps = graph.apply("Sub", graph.apply("Gather", x, which.astype(np.int64), axis=1), lows)
        within = graph.apply("Clip", graph.apply("Div", steps, widths), 0.0, 1.0)
        blocks.append(graph.apply("Cast", within, to=FLOAT))
    return blocks


def category(graph: Graph, name: str, reading: Reading, encoded: Category) -> str:
    """The features of a category."""
    places: dict[str, int] = {}
    for place, text in enumerate(encoded.categories):
        for spelled in spellings(text, reading.spelling):
            places.setdefault(spelled, place)
    gap = len(encoded.categories) + encoded.other if encoded.gaps else -1
    places |= dict.fromkeys(("", *reading.gaps), gap)
    places = {text: place for text, place in places.items() if text == utf8(text)}      # no string can be the others
    found = graph.apply("LabelEncoder", name, domain=ML, keys_strings=list(places),
                        values_int64s=list(places.values()),
                        default_int64=len(encoded.categories) if encoded.other else -1)
    hot = graph.apply("OneHotEncoder", found, domain=ML, cats_int64s=list(range(len(encoded.names()))), zeros=1)
    return graph.apply("Squeeze", hot, np.array([1], np.int64))


def date_parts(graph: Graph, value: str, first: int) -> dict[str, str]:
    """What `Date` encodes, of dates in seconds since 1970: parts by name, (n, 1) in double, NaN for a gap.

    Year and month come from days by integer arithmetic over eras of 400 years that begin on the first of March, when
    a leap day is the last day of its year.
    """
    def step(operator: str, *operands: str | int) -> str:
        return graph.apply(operator, *operands)

    gap = graph.apply("IsNaN", value)
    whole = graph.apply("Clip", graph.apply("Floor", graph.apply("Where", gap, 0.0, value)), -LAST_SECOND, LAST_SECOND)
    seconds = graph.apply("Cast", whole, to=INT64)
    second = step("Mod", seconds, DAY)                                              # of the day
    day = step("Div", step("Sub", seconds, second), DAY)                            # since 1970
    shifted = step("Add", day, 719_468)                                             # since March 1 of the year 0
    of_era = step("Mod", shifted, 146_097)
    era = step("Div", step("Sub", shifted, of_era), 146_097)
    # 365 days in all years but leap years: one day less for each 4 years, one more for each 100, one less for 400
    leap = step("Sub", step("Div", of_era, 1460), step("Div", of_era, 36_524))
    leap = step("Add", leap, step("Div", of_era, 146_096))
    year = step("Div", step("Sub", of_era, leap), 365)                              # of the era
    before = step("Sub", step("Add", step("Mul", year, 365), step("Div", year, 4)), step("Div", year, 100))
    of_year = step("Sub", of_era, before)
    month = step("Div", step("Add", step("Mul", of_year, 5), 2), 153)               # March is 0
    integers = {
        "year": step("Add", step("Add", year, step("Mul", era, 400)), step("Div", month, 10)),
        "month": step("Add", step("Mod", step("Add", month, 2), 12), 1),
        "weekday": step("Mod", step("Add", day, 3), 7),                             # 1970 began on a Thursday
        "hour": step("Div", second, 3600)}
    parts = {part: graph.apply("Cast", integer, to=DOUBLE) for part, integer in integers.items()}
    since = graph.apply("Sub", graph.apply("Cast", seconds, to=DOUBLE), float(first))
    parts["days"] = graph.apply("Div", since, float(DAY))
    return {part: graph.apply("Where", gap, np.nan, found) for part, found in parts.items()}
