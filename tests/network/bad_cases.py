"""Wrong input, as a table: what is called, which error it must raise, and the essential words of its message.

The words stand in any order. test_bad_input.py makes each call. No test is here.
"""

import re
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

import fastnn
from fastnn.losses import Loss

NAN, INFINITY = float("nan"), float("inf")
EITHER = (TypeError, ValueError)  # where both names would fit, the contract leaves the choice


def good_X():
    return np.linspace(-1, 1, 24).reshape(6, 4)


def good_targets():
    return np.linspace(0, 1, 12).reshape(6, 2)


def good_labels():
    return np.arange(6) % 3


def with_element(array, value, index=(2, 1)):
    array = np.array(array, dtype=np.float64)
    array[index[: array.ndim]] = value
    return array


def build_networks():
    """A regressor 4-5-2, a classifier 4-5-3 and a binary classifier 4-1, each already trained a little."""
    regressor = fastnn.Network([4, 5, 2], activation="tanh", output="identity", seed=1)
    classifier = fastnn.Network([4, 5, 3], activation="tanh", output="softmax", seed=2)
    binary = fastnn.Network([4, 1], output="sigmoid", seed=3)
    for network, y in ((regressor, good_targets()), (classifier, good_labels()), (binary, np.arange(6) % 2)):
        network.fit(good_X(), y, epochs=2, optimizer=fastnn.SGD(0.1))
    return SimpleNamespace(regressor=regressor, classifier=classifier, binary=binary)


def build(*args, **kwargs):
    return lambda networks: fastnn.Network(*args, **kwargs)


def every_method_that_takes(name, X, y, error, patterns, network="regressor"):
    """The same bad X or y through fit, evaluate and gradients."""
    for method in ("fit", "evaluate", "gradients"):
        yield f"{method}: {name}", lambda n, m=method: getattr(getattr(n, network), m)(X, y), error, patterns


def bad_X():
    features = [r"\bX\b", "63", "features", r"\b4\b", "inputs"]
    for name, X, error, patterns in [
        ("63 features", np.zeros((6, 63)), ValueError, features),
        ("no features", np.zeros((6, 0)), ValueError, [r"\bX\b", r"\b0\b", r"\b4\b"]),
        ("no rows", np.zeros((0, 4)), ValueError, [r"\bX\b", r"\b0\b|zero|empty|no rows"]),
        ("empty list", [], ValueError, [r"\bX\b", r"\b0\b|zero|empty|no rows"]),
        ("three dimensions", np.zeros((6, 4, 1)), ValueError, [r"\bX\b", r"\(6, 4, 1\)|\b3", r"dim|shape"]),
        ("a number", 1.0, ValueError, [r"\bX\b", r"dim|shape"]),
        ("NaN", with_element(good_X(), NAN), ValueError, [r"\bX\b", "nan", "finite"]),
        ("infinity", with_element(good_X(), INFINITY), ValueError, [r"\bX\b", "inf", "finite"]),
        ("minus infinity", with_element(good_X(), -INFINITY), ValueError, [r"\bX\b", "inf", "finite"]),
        ("NaN in float32", with_element(good_X(), NAN).astype("f"), ValueError, [r"\bX\b", "nan", "finite"]),
        ("infinity in float32", with_element(good_X(), INFINITY).astype("f"), ValueError, [r"\bX\b", "inf", "finite"]),
        ("too large for float32", with_element(good_X(), 1e39), ValueError, [r"\bX\b", "inf|large|float32"]),
        (
            "ragged",
            [[1, 2, 3, 4], [1, 2, 3]],
            EITHER,
            [r"\bX\b", "ragged|rectangular|length|inhomogeneous|same"],
        ),
        ("objects", np.full((6, 4), object()), EITHER, [r"\bX\b", "object", "number|numeric|real|float"]),
        ("None", None, EITHER, [r"\bX\b", "object|None", "number|numeric|real|float|array"]),
        ("complex", good_X() + 1j, EITHER, [r"\bX\b", "complex", "real|float"]),
        ("strings", good_X().astype(str), EITHER, [r"\bX\b", "str|<U", "number|numeric|real|float"]),
        (
            "dates",
            np.zeros((6, 4), dtype="datetime64[s]"),
            EITHER,
            [r"\bX\b", "date", "number|numeric|real|float"],
        ),
    ]:
        yield f"predict: {name}", lambda n, X=X: n.regressor.predict(X), error, patterns
        yield f"layer_outputs: {name}", lambda n, X=X: n.regressor.layer_outputs(X), error, patterns
        yield from every_method_that_takes(f"{name} in X", X, good_targets(), error, patterns)
    yield "predict: 63 features, 1-D", lambda n: n.regressor.predict(np.zeros(63)), ValueError, features


def bad_y():
    for name, y, error, patterns in [
        ("another length", good_targets()[:5], ValueError, [r"\by\b", r"\b5\b", r"\b6\b"]),
        ("no rows", np.zeros((0, 2)), ValueError, [r"\by\b", r"\b0\b", r"\b6\b"]),
        ("three columns", np.zeros((6, 3)), ValueError, [r"\by\b", r"\b3\b", r"\b2\b"]),
        ("no column of integers", np.zeros((6, 0), int), ValueError, [r"\by\b", r"\(6, 0\)", r"\(6, 2\)"]),
        ("one column", np.zeros((6, 1)), ValueError, [r"\by\b", r"\b1\b", r"\b2\b"]),
        (
            "a vector for two outputs",
            np.zeros(6),
            ValueError,
            [r"\by\b", r"\(6,\)|1-D|1 dim|one dim|column", r"\b2\b"],
        ),
        ("three dimensions", np.zeros((6, 2, 1)), ValueError, [r"\by\b", r"\(6, 2, 1\)|\b3"]),
        ("a number", 1.0, EITHER, [r"\by\b"]),
        ("NaN", with_element(good_targets(), NAN), ValueError, [r"\by\b", "nan", "finite"]),
        ("infinity", with_element(good_targets(), INFINITY), ValueError, [r"\by\b", "inf", "finite"]),
        ("NaN in float32", with_element(good_targets(), NAN).astype("f"), ValueError, [r"\by\b", "nan", "finite"]),
        ("ragged", [[1, 2]] * 5 + [[1]], EITHER, [r"\by\b", "ragged|rectangular|length|inhomogeneous|same"]),
        ("objects", np.full((6, 2), object()), EITHER, [r"\by\b", "object", "number|numeric|real|float"]),
        ("complex", good_targets() + 1j, EITHER, [r"\by\b", "complex", "real|float"]),
        ("strings", good_targets().astype(str), EITHER, [r"\by\b", "str|<U", "number|numeric|real|float"]),
        ("None", None, EITHER, [r"\by\b"]),
    ]:
        yield from every_method_that_takes(f"{name} in y", good_X(), y, error, patterns)

    for name, y, error, patterns in [
        ("label 3 of 3", [0, 1, 2, 3, 0, 1], ValueError, [r"\by\b", "label", r"\b3\b", r"\b0\b", r"\b2\b"]),
        ("label -1", [0, 1, 2, -1, 0, 1], ValueError, [r"\by\b", "label", "-1", r"\b0\b", r"\b2\b"]),
        (
            "label 2**40",
            [0, 1, 2, 2**40, 0, 1],
            ValueError,
            [r"\by\b", "label", str(2**40), r"\b0\b", r"\b2\b"],
        ),
        ("label 0.5", [0, 1, 2, 0.5, 0, 1], EITHER, [r"\by\b", "label", r"0\.5|float", "integer"]),
        ("label NaN", [0, 1, 2, NAN, 0, 1], EITHER, [r"\by\b", "nan|float"]),
        (
            "labels as strings",
            list("012012"),
            EITHER,
            [r"\by\b", "str|<U", "number|numeric|integer|real|float"],
        ),
        ("label of another length", [0, 1, 2], ValueError, [r"\by\b", r"\b3\b", r"\b6\b"]),
        ("no column of labels", np.zeros((6, 0), int), ValueError, [r"\by\b", r"\(6, 0\)", "labels"]),
        ("probabilities of two classes", np.full((6, 2), 0.5), ValueError, [r"\by\b", r"\b2\b", r"\b3\b"]),
        (
            "probability NaN",
            with_element(np.eye(3)[[0, 1, 2] * 2], NAN),
            ValueError,
            [r"\by\b", "nan", "finite"],
        ),
    ]:
        yield from every_method_that_takes(f"{name} in y", good_X(), y, error, patterns, network="classifier")

    vector = np.arange(6) % 2
    for name, y, patterns in [
        ("two columns for one output", np.stack([vector, vector], axis=1), [r"\by\b", r"\b2\b", r"\b1\b"]),
        ("a vector of another length", vector[:4], [r"\by\b", r"\b4\b", r"\b6\b"]),
    ]:
        yield from every_method_that_takes(
            f"{name} in y", good_X(), y, ValueError, patterns, network="binary"
        )


def bad_sample_weight():
    for name, weight, error, patterns in [
        ("another length", np.ones(5), ValueError, [r"\b5\b", r"\b6\b"]),
        ("two dimensions", np.ones((6, 2)), ValueError, [r"\(6, 2\)|\b2"]),
        ("NaN", [1, 1, NAN, 1, 1, 1], ValueError, ["nan", "finite"]),
        ("infinity", [1, 1, INFINITY, 1, 1, 1], ValueError, ["inf", "finite"]),
        ("negative", [1, 1, -2, 1, 1, 1], ValueError, ["-2|negative"]),
        ("all zero", np.zeros(6), ValueError, ["zero|positive|sum"]),
        ("complex", np.ones(6) + 1j, EITHER, ["complex", "real|float"]),
        ("a dictionary", {0: 1.0}, EITHER, ["dict", "class_weight"]),
        ("a text", "balanced", EITHER, ["balanced", "class_weight"]),
    ]:
        for method in ("evaluate", "gradients", "score"):
            yield (
                f"{method}: {name} in sample_weight",
                lambda n, m=method, w=weight: getattr(n.regressor, m)(
                    good_X(), good_targets(), sample_weight=w
                ),
                error,
                ["sample_weight", *patterns],
            )


def bad_construction():
    for sizes, error, patterns in [
        ([], ValueError, []),
        ([4], ValueError, [r"\b1\b|one|\[4\]", r"\b2\b|two"]),
        ([4, 0, 2], ValueError, [r"\b0\b", r"positive|at least 1|greater|≥"]),
        ([4, -5, 2], ValueError, ["-5", r"positive|at least 1|greater|≥"]),
        ([0, 2], ValueError, [r"\b0\b", r"positive|at least 1|greater|≥"]),
        ([4, 2.5], EITHER, [r"2\.5", "integer|whole"]),
        ([4, "5", 2], EITHER, ["5", "integer|whole"]),
        ([4, NAN], EITHER, ["nan", "integer|whole"]),
        (7, EITHER, [r"\b7\b", "sequence|list|integers"]),
        ([2**31, 2**31, 1], (ValueError, MemoryError), ["large|overflow|memory|many"]),
        ([2**40, 2**40, 2**40], (ValueError, MemoryError), ["large|overflow|memory|many"]),
        ([2**64, 2], (ValueError, MemoryError), ["large|overflow|memory|many"]),
    ]:
        yield (
            f"layer_sizes={sizes}",
            build(sizes, activation="tanh", output="identity"),
            error,
            ["layer_sizes", *patterns],
        )

    for kind, values in {
        "bytes": b"relu", "text": "relu", "a bytearray": bytearray(b"relu"), "memory": memoryview(b"relu"),
        "a set": {64, 10}, "a frozen set": frozenset({64, 10}), "a dictionary": {64: 1, 10: 2},
        "keys": {64: 1, 10: 2}.keys(),
    }.items():
        came = re.escape(repr(values))
        yield f"layer_sizes: {kind}", build(values), TypeError, ["layer_sizes", came, "sequence"]
        yield f"dropout: {kind}", build([4, 3, 3, 2], dropout=values), TypeError, ["dropout", came, "one per hidden"]
        if kind != "text":
            yield (f"activation: {kind}", build([4, 3, 3, 2], activation=values), TypeError,
                   ["activation", came, "one name per hidden"])

    for name, make, error, patterns in [
        ("of no name", lambda: Loss("foo"), ValueError, ["loss is 'foo'", "mse"]),
        ("near a name", lambda: Loss("huberr"), ValueError, ["did you mean 'huber'"]),
        ("whose name is a number", lambda: Loss(3), TypeError, ["loss is 3", "mse"]),
        ("quantile above 1", lambda: Loss("quantile", 7.0), ValueError, ["loss 'quantile' is 7.0", "below 1"]),
        ("quantile 0", lambda: Loss("quantile", 0), ValueError, ["loss 'quantile' is 0", "above 0"]),
        ("focal NaN", lambda: Loss("focal", NAN), ValueError, ["loss 'focal' is nan", "finite"]),
        ("focal text", lambda: Loss("focal", "2"), TypeError, ["loss 'focal' is '2'", "number"]),
        ("mse with a parameter", lambda: Loss("mse", 3.0), ValueError, ["loss 'mse' is 3.0", "has none", "leave it"]),
    ]:
        yield f"Loss: {name}", lambda networks, make=make: make(), error, patterns

    for argument, value, suggested in [
        ("activation", "sigmiod", "sigmoid"),
        ("activation", "ReLU", "relu"),
        ("activation", ["tanh", "leakyrelu"], "leaky_relu"),
        ("output", "sofmax", "softmax"),
        ("loss", "crossentropy", "cross_entropy"),
        ("loss", "half-mse", "half_mse"),
        ("initializer", "he_norml", "he_normal"),
        ("initializer", "glorot_unifrom", "glorot_uniform"),
        ("dtype", "flot32", "float32"),
    ]:
        suggestion = rf"mean\W+(?-i:{suggested})\b"  # did you mean 'sigmoid'?
        came = value if isinstance(value, str) else value[1]
        sizes = [4, 5, 6, 2] if argument == "activation" else [4, 2]
        yield (
            f"{argument}={value}",
            build(sizes, **{argument: value}),
            ValueError,
            [argument, came, suggestion],
        )

    for name, function, error, patterns in [
        (
            "activation of 1 for 2 layers",
            build([4, 5, 6, 2], activation=["tanh"]),
            ValueError,
            ["activation", "1", "2"],
        ),
        (
            "activation of 2 for 1 layer",
            build([4, 5, 2], activation=["tanh"] * 2),
            ValueError,
            ["activation", "2", "1"],
        ),
        (
            "softmax in a hidden layer",
            build([4, 5, 2], activation="softmax"),
            ValueError,
            ["activation", "softmax"],
        ),
        ("exp in a hidden layer", build([4, 5, 2], activation="exp"), ValueError, ["activation", "exp"]),
        ("activation=3", build([4, 5, 2], activation=3), EITHER, ["activation", "3"]),
        ("output=None", build([4, 5, 2], output=None), EITHER, ["output", "None"]),
        ("dtype=float16", build([4, 2], dtype="float16"), EITHER, ["dtype", "float16", "float32", "float64"]),
        ("dtype=int", build([4, 2], dtype=int), EITHER, ["dtype", "int", "float32", "float64"]),
        ("dtype: a dictionary", build([4, 2], dtype={"a": "b"}), EITHER, ["dtype", "'a'", "float32", "float64"]),
        ("dtype: no text", build([4, 2], dtype="\ud800"), EITHER, ["dtype", r"\\ud800", "float32", "float64"]),
        ("a number of 5,000 digits", build([4, 2], l1=10**5000), ValueError, ["l1 is <int object>", "finite"]),
        ("a name of a million letters", build([4, 2], output="x" * 10**6), ValueError, ["output", "1000002 char"]),
    ]:
        yield name, function, error, patterns

    for output, loss, right in [
        ("softmax", "mse", "cross_entropy"),
        ("softmax", "huber", "cross_entropy"),
        ("softmax", "binary_cross_entropy", "sigmoid"),
        ("softmax", "poisson", "exp"),
        ("sigmoid", "cross_entropy", "softmax"),
        ("identity", "binary_cross_entropy", "sigmoid"),
        ("identity", "cross_entropy", "softmax"),
        ("identity", "poisson", "exp"),
        ("sigmoid", "poisson", "exp"),
    ]:
        yield (
            f"{output} with {loss}",
            build([4, 2], output=output, loss=loss),
            ValueError,
            ["loss", loss, output, right],
        )


def fit_with(**options):
    return lambda networks: networks.regressor.fit(good_X(), good_targets(), **options)


def fit_with_optimizer(make_optimizer):
    """The error may come when the optimizer is made or when it is used; the network never notices."""
    return lambda networks: networks.regressor.fit(good_X(), good_targets(), optimizer=make_optimizer())


def bad_training():
    for optimizer in (fastnn.SGD, fastnn.Adam):
        for rate, error, patterns in [
            (-0.1, ValueError, [r"-0\.1"]),
            (NAN, ValueError, ["nan"]),
            (INFINITY, ValueError, ["inf"]),
            (-INFINITY, ValueError, ["inf"]),
            ("fast", EITHER, ["fast|str"]),
            (None, EITHER, ["None"]),
            (1j, EITHER, ["1j|complex"]),
        ]:
            function = fit_with_optimizer(lambda make=optimizer, rate=rate: make(rate))
            yield f"{optimizer.__name__}({rate})", function, error, ["learning_rate", *patterns]

    for name, make_optimizer, patterns in [
        ("momentum=-0.5", lambda: fastnn.SGD(0.1, momentum=-0.5), ["momentum", r"-0\.5"]),
        ("momentum=nan", lambda: fastnn.SGD(0.1, momentum=NAN), ["momentum", "nan"]),
        ("weight_decay=-1", lambda: fastnn.SGD(0.1, weight_decay=-1), ["weight_decay", "-1"]),
        ("beta1=1", lambda: fastnn.Adam(beta1=1.0), ["beta1", r"\b1"]),
        ("beta2=-0.1", lambda: fastnn.Adam(beta2=-0.1), ["beta2", r"-0\.1"]),
        ("epsilon=-1", lambda: fastnn.Adam(epsilon=-1.0), ["epsilon", "-1"]),
    ]:
        yield name, fit_with_optimizer(make_optimizer), ValueError, patterns

    for name, options, error, patterns in [
        ("epochs=-1", {"epochs": -1}, ValueError, ["epochs", "-1"]),
        ("epochs=1.5", {"epochs": 1.5}, EITHER, ["epochs", r"1\.5", "integer|whole"]),
        ("epochs='two'", {"epochs": "two"}, EITHER, ["epochs", "two|str", "integer|whole"]),
        ("batch_size=0", {"batch_size": 0}, ValueError, ["batch_size", r"\b0\b"]),
        ("batch_size=-4", {"batch_size": -4}, ValueError, ["batch_size", "-4"]),
        ("batch_size=2.5", {"batch_size": 2.5}, EITHER, ["batch_size", r"2\.5", "integer|whole"]),
        ("optimizer='adam'", {"optimizer": "adam"}, EITHER, ["optimizer", "adam|str"]),
        ("optimizer=SGD", {"optimizer": fastnn.SGD}, EITHER, ["optimizer", "SGD|class|type"]),
    ]:
        yield name, fit_with(**options), error, patterns

    yield (
        "optimizer of another network",
        lambda n: n.regressor.fit(good_X(), good_targets(), optimizer=n.classifier.optimizer),
        ValueError,
        ["optimizer", "another|other|one network|belongs"],
    )


def read_only(array):
    array.flags.writeable = False
    return array


def bad_out_and_parameters():
    for name, out, error, patterns in [
        ("one row too few", np.empty((5, 2), "f4"), ValueError, [r"\(5, 2\)", r"\(6, 2\)"]),
        ("one column too many", np.empty((6, 3), "f4"), ValueError, [r"\(6, 3\)", r"\(6, 2\)"]),
        ("one dimension", np.empty(12, "f4"), ValueError, [r"\(12,\)", r"\(6, 2\)"]),
        ("float64 for float32", np.empty((6, 2), "f8"), EITHER, ["float64", "float32"]),
        ("integers", np.empty((6, 2), "i4"), EITHER, ["int32", "float32"]),
        ("a list", [[0.0, 0.0]] * 6, EITHER, ["list", "array"]),
        ("read-only", read_only(np.empty((6, 2), "f4")), ValueError, ["read-only|readonly|writ"]),
    ]:
        yield (
            f"out: {name}",
            lambda n, out=out: n.regressor.predict(good_X(), out=out),
            error,
            [r"\bout\b", *patterns],
        )
    yield (
        "out: two dimensions for one sample",
        lambda n: n.regressor.predict(good_X()[0], out=np.empty((1, 2), "f4")),
        ValueError,
        [r"\bout\b", r"\(1, 2\)", r"\(2,\)"],
    )

    for name, v, error, patterns in [
        ("one too few", np.zeros(36), ValueError, ["36", "37"]),
        ("two dimensions", np.zeros((1, 37)), ValueError, [r"\(1, 37\)|\b2|dim", "37"]),
        ("strings", ["a"] * 37, EITHER, ["str|<U|number|numeric|real|float"]),
        ("complex", np.zeros(37) + 1j, EITHER, ["complex"]),
    ]:
        yield f"set_parameters: {name}", lambda n, v=v: n.regressor.set_parameters(v), error, patterns


class Dataset:
    """Rows as PyTorch's datasets give them."""

    def __len__(self):
        return 6

    def __getitem__(self, row):
        if row >= 6:
            raise IndexError
        return good_X()[row], good_labels()[row]


class Tensor:
    """A tensor of PyTorch's that NumPy cannot read."""

    layout, dtype = "torch.strided", "torch.float32"

    def __init__(self, error):
        self.error = error

    def detach(self):
        return self

    def __array__(self, dtype=None, copy=None):
        raise self.error


def one_element(value, shape=(6, 4)):
    array = np.zeros(shape, object)
    array[(2, 1)[:len(shape)]] = value
    return array


def what_to_pass_instead():
    """What is no array of numbers: its type and its place are named, and what to type instead."""
    tensor = r"X\.detach\(\)\.cpu\(\)\.numpy\(\)"
    sparse = pytest.importorskip("scipy.sparse", reason="NOT TESTED: SciPy is not installed")
    for name, X, patterns in [
        ("sparse", sparse.csr_array(np.zeros((6, 4))), ["csr_array", r"X\.toarray\(\)"]),
        ("coo", sparse.coo_matrix(np.zeros((6, 4))), ["coo_matrix", r"X\.toarray\(\)"]),
        ("dict", {"a": [1.0] * 6}, ["dict", r"np\.column_stack\(list\(X\.values\(\)\)\)"]),
        ("bunch", {"data": good_X(), "target": 0}, ["dict", r"X\['data'\]"]),
        ("generator", (row for row in good_X()), ["generator", r"np\.array\(list\(X\)\)"]),
        ("map", map(list, good_X()), ["map", r"np\.array\(list\(X\)\)"]),
        ("values of a dict", {1: 2}.values(), ["dict_values", r"np\.array\(list\(X\)\)"]),
        ("set", {1.0, 2.0}, ["set", "list"]),
        ("path", "data.csv", ["'data.csv'", "loadtxt|read_csv"]),
        ("function", good_X, ["function", "array"]),
        ("dataset", Dataset(), ["Dataset", "array"]),
        ("tensor with gradient", Tensor(RuntimeError("requires grad")), ["Tensor", tensor]),
        ("tensor elsewhere", Tensor(TypeError("cuda")), ["Tensor", tensor]),
        ("None among numbers", one_element(None), ["None", "row 2, column 1", "fill or drop"]),
        ("text among numbers", one_element("red"), ["'red'", "row 2, column 1", "OneHotEncoder"]),
        ("complex among numbers", one_element(1j), ["1j", "row 2, column 1", "real"]),
        ("list among numbers", one_element([1, 2]), [r"\[1, 2\]", "row 2, column 1", "stack"]),
        ("huge integer", one_element(10**400), ["float64"]),
        ("texts of numbers", np.full((6, 4), "1.5"), ["'1.5'", r"astype\(float\)"]),
        ("a gap among texts of numbers", [["1", "2", "3", "?"]] * 6, [r"'\?'", "row 0, column 3", "fill or drop"]),
        ("fields", np.zeros(6, [("a", "f4"), ("b", "f4")]), ["structured_to_unstructured"]),
    ]:
        for method in ("predict", "evaluate"):
            arguments = (X,) if method == "predict" else (X, good_targets())
            yield (f"{method}: X is {name}", lambda n, m=method, a=arguments: getattr(n.regressor, m)(*a),
                   EITHER, [r"\bX\b", *patterns])

    vector, cube = r"X\.reshape\(-1, 1\)", r"X\.reshape\(len\(X\), -1\)"
    yield ("a vector of rows", lambda n: n.regressor.fit(np.zeros(6), np.zeros((6, 2))), ValueError, [vector])
    for name, X in (("a ragged list", [[1], [1, 2]]), ("a tensor", Tensor(RuntimeError("requires grad"))),
                    ("nothing", None), ("a text", "x")):
        yield (f"train_on_batch: {name}", lambda n, X=X: n.regressor.train_on_batch(X, good_targets()), EITHER,
               [r"\bX\b"])
    yield "train_on_batch: a text as y", lambda n: n.binary.train_on_batch(np.ones(4), "yes"), EITHER, [r"\by\b"]
    yield ("a list of numbers", lambda n: n.regressor.fit([1.0] * 6, np.zeros((6, 2))), ValueError,
           [r"np\.asarray\(X\)\.reshape\(-1, 1\)"])
    yield ("images", lambda n: n.regressor.predict(np.zeros((6, 2, 2))), ValueError, [cube])
    yield ("a batch without targets", lambda n: n.regressor.fit([(good_X(), None)]), TypeError, [r"\by\b", "None"])
    yield ("weights in a column",
           lambda n: n.regressor.evaluate(good_X(), good_targets(), sample_weight=np.ones((6, 1))),
           ValueError, ["sample_weight", r"sample_weight\.ravel\(\)"])

    unique = r"classes, y = np\.unique\(y, return_inverse=True\)"
    softmax = r"output='softmax'"
    for name, network, y, patterns in [
        ("names", "classifier", ["cat", "dog", "owl"] * 2, ["'cat'", "row 0", unique, "MLPClassifier"]),
        ("names as objects", "classifier", np.array(["cat", "dog", "owl"] * 2, object), ["'cat'", unique]),
        ("names for a sigmoid", "binary", ["yes", "no"] * 3, ["'yes'", unique]),
        ("a list of columns", "classifier", good_labels()[:, None].tolist(), [r"np\.asarray\(y\)\.ravel\(\)"]),
        ("the name of a column", "binary", "passed", ["'passed'", r"frame\['passed'\]"]),
        ("a column of labels", "classifier", good_labels()[:, None], [r"\(6, 1\)", r"y\.ravel\(\)"]),
        ("labels as floats", "classifier", good_labels() * 1.0, ["float64", r"y\.astype\(int\)"]),
        ("labels as truth values", "classifier", good_labels() > 1, ["bool", r"y\.astype\(int\)"]),
        ("numbers for softmax", "classifier", good_labels() + 0.5, [r"0\.5 in row 0", "output='identity'"]),
        ("labels from 1", "classifier", good_labels() + 1, [r"\b3\b", r"y - 1"]),
        ("scattered labels", "classifier", good_labels() * 10, [r"\b20\b", unique]),
        ("labels from -1", "classifier", good_labels() - 1, ["-1", unique]),
        ("labels for identity", "regressor", good_labels() % 2, [r"\(6,\)", softmax]),
        ("a column of labels for identity", "regressor", good_labels()[:, None] % 2, [softmax, r"y\.ravel\(\)"]),
        ("one-hot for one sigmoid", "binary", np.eye(3)[good_labels()], [r"\[…, 3\]", softmax]),
        ("more columns", "regressor", np.full((6, 5), 0.5), [r"\[…, 5\]"]),
        ("classes 1 and 2 for a sigmoid", "binary", good_labels() % 2 + 1, ["y == 2"]),
        ("classes -1 and 1 for a sigmoid", "binary", good_labels() % 2 * 2 - 1, ["y == 1"]),
        ("three classes for a sigmoid", "binary", good_labels(), [r"\[…, 3\]", softmax]),
        ("a gap", "regressor", with_element(good_targets(), NAN), ["row 2, column 1", "fill or drop"]),
    ]:
        yield from every_method_that_takes(
            f"{name} as y, with advice", good_X(), y, EITHER, [r"\by\b", *patterns], network)


def what_searches_give():
    """Numbers of other types are taken, or refused without contradiction."""
    for name, value in [("32.0", 32.0), ("np.float64(32)", np.float64(32)), ("Fraction(32)", Fraction(32)),
                        ("Decimal(32)", Decimal(32)), ("array(32.0)", np.array(32.0))]:
        yield f"batch_size={name}", fit_with(batch_size=value), TypeError, ["batch_size", "type int: pass 32"]
        yield (f"layer_sizes of {name}", build([4, value, 2]), TypeError, [r"layer_sizes\[1\]", "type int: pass 32"])
    yield "batch_size=inf", fit_with(batch_size=INFINITY), TypeError, ["batch_size is inf", "must be an integer$"]
    yield "tol=1j", fit_with(tol=1j), TypeError, ["tol is 1j", "real number"]


def weigh(weights):
    return lambda n: n.classifier.fit(good_X(), good_labels(), class_weight=weights)


def bad_class_weight():
    class Doubled(dict):
        def items(self):
            return [(1, 2.0), (np.int8(1), 3.0)]

    for name, weights, error, patterns in [
        ("unknown class", {3: 1.0}, ValueError, ["class 3", r"0 … 2"]),
        ("negative class", {-1: 1.0}, ValueError, ["class -1", r"0 … 2"]),
        ("a name", {"cat": 1.0}, ValueError, ["class 'cat'", "numbers 0, 1"]),
        ("half a class", {0.5: 1.0}, ValueError, [r"class 0\.5", "numbers 0, 1"]),
        ("NaN", {NAN: 1.0}, ValueError, ["class nan", "numbers 0, 1"]),
        ("doubled", Doubled(), ValueError, ["twice"]),
        ("a list", [1.0, 2.0, 3.0], TypeError, ["balanced", "dict\\(enumerate"]),
        ("an array", np.ones(3), TypeError, ["balanced", "dict\\(enumerate"]),
        ("another word", "auto", TypeError, ["'auto'", "balanced"]),
        ("a number", 3.0, TypeError, ["balanced"]),
        ("negative weight", {True: -1.0}, ValueError, [r"class_weight\[True\]", "-1"]),
        ("no number", {1: "much"}, TypeError, [r"class_weight\[1\]", "much"]),
    ]:
        yield f"class_weight: {name}", weigh(weights), error, ["class_weight", *patterns]


CASES = [
    *bad_X(),
    *bad_y(),
    *bad_sample_weight(),
    *bad_construction(),
    *bad_training(),
    *bad_out_and_parameters(),
    *what_to_pass_instead(),
    *what_searches_give(),
    *bad_class_weight(),
]
