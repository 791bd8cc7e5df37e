"""Every memory layout and dtype of the arguments gives the bits of its plain copy, and is left as it was."""

import copy
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType

import numpy as np
import pytest
from helpers import DTYPES, misaligned, packed, read_only, same_bits
from hypothesis import given
from hypothesis import strategies as st

import fastnn
from fastnn._checks import checked_labels, checked_weights


def every_second(a):
    return np.repeat(np.repeat(a, 2, axis=0), 2, axis=-1)[::2, ::2] if a.ndim == 2 else np.repeat(a, 2)[::2]


LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "strided": every_second,
    "reversed": lambda a: a[::-1].copy()[::-1],
    "reversed columns": lambda a: a[..., ::-1].copy()[..., ::-1],
    "read-only": read_only,
    "misaligned": misaligned,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "transposed": lambda a: a.T.copy().T,
    "list": lambda a: a.tolist(),
}
KINDS = ["float16", "float32", "float64", "int8", "int64", "uint8", "bool"]


def results_of(X, y, dtype):
    """Bits of everything that reads X and y."""
    network = fastnn.Network([6, 5, 2], activation="tanh", output="sigmoid", dtype=dtype, seed=26)
    results = [network.predict(X), *network.layer_outputs(X), network.predict(X[3])]
    gradients = network.gradients(X, y)
    results += [packed(gradients), gradients.loss, network.evaluate(X, y)]
    results.append(network.fit(X, y, epochs=2, batch_size=4, optimizer=fastnn.SGD(0.1)).loss)
    results.append(network.get_parameters())
    return [np.asarray(result).tobytes() for result in results]


def values_of_kind(kind):
    rng = np.random.default_rng(27)
    X = rng.uniform(0, 2, size=(11, 6)) if kind == "bool" else rng.uniform(0, 9, size=(11, 6))
    return X.astype(kind), rng.uniform(0, 2, size=(11, 2)).astype("int8").astype(kind)


def snapshot(a):
    return copy.deepcopy(a) if isinstance(a, list) else (a.tobytes(), a.dtype, a.strides, a.flags.writeable)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_any_layout_gives_the_bits_of_its_plain_copy_and_is_left_as_it_was(kind, dtype):
    X, y = values_of_kind(kind)
    expected = results_of(np.ascontiguousarray(X, dtype=dtype), np.ascontiguousarray(y, dtype=dtype), dtype)
    compared = 0
    for name, lay_out in LAYOUTS.items():
        if name == "misaligned" and X.itemsize == 1:
            continue  # a byte is always aligned
        other_X, other_y = lay_out(X), lay_out(y)
        before = snapshot(other_X), snapshot(other_y)
        assert results_of(other_X, other_y, dtype) == expected, name
        assert (snapshot(other_X), snapshot(other_y)) == before, name
        compared += 1
    assert compared == len(LAYOUTS) - (X.itemsize == 1)


@given(data=st.data(), dtype=st.sampled_from(DTYPES))
def test_any_slice_gives_the_bits_of_its_plain_copy(data, dtype):
    memory = np.random.default_rng(28).normal(size=(40, 30)).astype(dtype)
    row_step, column_step = (
        data.draw(st.sampled_from([-3, -2, -1, 1, 2, 3])),
        data.draw(st.sampled_from([-2, -1, 1, 2])),
    )
    first_row, first_column = data.draw(st.integers(13, 26)), data.draw(st.integers(12, 17))
    view = memory[first_row::row_step, first_column::column_step][:, :6]
    before = memory.tobytes()
    network = fastnn.Network([6, 5, 2], activation="tanh", output="identity", dtype=dtype, seed=29)
    assert same_bits(network.predict(view), network.predict(view.copy()))
    assert memory.tobytes() == before


@pytest.mark.parametrize("dtype", DTYPES)
def test_sample_weight_may_have_any_layout(dtype):
    network = fastnn.Network([6, 5, 2], activation="tanh", output="sigmoid", dtype=dtype, seed=26)
    X, y = values_of_kind("float64")
    weight = np.arange(1.0, 12.0)
    expected = network.evaluate(X, y, sample_weight=weight)
    for name, lay_out in LAYOUTS.items():
        assert network.evaluate(X, y, sample_weight=lay_out(weight)) == expected, name
    assert network.evaluate(X, y, sample_weight=weight.astype("int16")) == expected


# Frames, and arrays of Python's numbers


def frames():
    """Frames of pandas and polars, and arrays of objects, with the numbers that they hold."""
    pandas = pytest.importorskip("pandas", reason="NOT TESTED: pandas is not installed")
    polars = pytest.importorskip("polars", reason="NOT TESTED: polars is not installed")
    a, b = [1, 0, 3, 1], [0.5, -1.25, 2.0, 0.125]
    mixed, whole = np.array([a, b]).T, np.array([a, a]).T
    flags = np.array([[True, True, False, True], b]).T
    series = pandas.Series
    yield "bool and float", pandas.DataFrame({"a": flags[:, 0] == 1, "b": b}), flags
    yield "Int64 and Float64", pandas.DataFrame({"a": series(a, dtype="Int64"), "b": series(b, dtype="Float64")}), mixed
    yield "boolean and float", pandas.DataFrame({"a": series(flags[:, 0] == 1, dtype="boolean"), "b": b}), flags
    yield "objects", pandas.DataFrame({"a": series(a, dtype=object), "b": series(b, dtype=object)}), mixed
    yield "categories that are numbers", pandas.DataFrame({"a": pandas.Categorical(a), "b": b}), mixed
    yield "sparse columns", pandas.DataFrame({"a": pandas.arrays.SparseArray(a), "b": b}), mixed
    yield "decimals", polars.DataFrame({"a": list(map(Decimal, a)), "b": list(map(Decimal, map(str, b)))}), mixed
    yield "decimals and floats", polars.DataFrame({"a": list(map(Decimal, a)), "b": b}), mixed
    yield "bool and float of polars", polars.DataFrame({"a": flags[:, 0] == 1, "b": b}), flags
    yield "integers", pandas.DataFrame({"a": series(a, dtype="Int64"), "b": series(a, dtype="UInt8")}), whole
    yield "objects of NumPy", np.array([[np.float32(x), Fraction(y)] for x, y in mixed], object), mixed
    yield "lists of decimals", [[Decimal(x), y] for x, y in mixed], mixed


@pytest.mark.parametrize("dtype", DTYPES)
def test_frames_give_the_bits_of_their_numbers(dtype):
    for name, frame, numbers in frames():
        network = fastnn.Network([2, 3, 2], dtype=dtype, seed=1)
        for X, y, expected_X, expected_y in ((frame, numbers, numbers, numbers), (numbers, frame, numbers, numbers)):
            assert network.evaluate(X, y) == network.evaluate(expected_X, expected_y), name
        assert same_bits(network.predict(frame), network.predict(numbers)), name
        twin = fastnn.Network([2, 3, 2], dtype=dtype, seed=1)
        network.fit(frame, frame, epochs=2, batch_size=2, validation_data=(frame, frame))
        twin.fit(numbers, numbers, epochs=2, batch_size=2, validation_data=(numbers, numbers))
        assert same_bits(network.get_parameters(), twin.get_parameters()), name


def test_labels_and_weights_may_be_columns_of_frames():
    pandas = pytest.importorskip("pandas", reason="NOT TESTED: pandas is not installed")
    polars = pytest.importorskip("polars", reason="NOT TESTED: polars is not installed")
    X, labels, weight = np.eye(4), [2, 0, 1, 2], [1.0, 0.5, 2.0, 1.0]
    network = fastnn.Network([4, 3], output="softmax")
    expected = network.evaluate(X, labels, sample_weight=weight)
    for y in (pandas.Series(labels, dtype="Int64"), pandas.Series(labels, dtype=object), polars.Series(labels),
              pandas.Series(pandas.Categorical(labels)), np.array(labels, object)):
        for weights in (pandas.Series(weight, dtype="Float64"), polars.Series(weight), np.array(weight, object),
                        [Decimal(x) for x in weight]):
            assert network.evaluate(X, y, sample_weight=weights) == expected


@pytest.mark.any_isa
def test_a_bad_cell_of_a_frame_is_named_by_its_column():
    pandas = pytest.importorskip("pandas", reason="NOT TESTED: pandas is not installed")
    polars = pytest.importorskip("polars", reason="NOT TESTED: polars is not installed")
    network = fastnn.Network([2, 1])
    numbers = [1.0, 2.0, 3.0]
    for frame, words in [
        (pandas.DataFrame({"size": numbers, "age": pandas.Series([1, None, 3], dtype="Int64")}),
         "in row 1, column 'age'"),
        (pandas.DataFrame({"size": numbers, "age": [1, np.nan, 3]}), "holds nan in row 1, column 'age'"),
        (pandas.DataFrame({"size": numbers, "ok": pandas.Series([True, None, True], dtype="boolean")}),
         "in row 1, column 'ok'"),
        (pandas.DataFrame({"size": numbers, "name": ["a", "b", "c"]}), "holds 'a' in row 0, column 'name'"),
        (pandas.DataFrame({"size": numbers, "name": pandas.Categorical(["a", "b", "c"])}),
         "'a' in row 0, column 'name'"),
        (pandas.DataFrame({"size": numbers, "day": pandas.date_range("2020", periods=3)}), "in row 0, column 'day'"),
        (pandas.DataFrame({"day": pandas.date_range("2020", periods=3)}), "column 'day'"),
        (pandas.DataFrame({0: numbers, 7: [None, "b", 1.0]}), "holds None in row 0, column 7"),
        (polars.DataFrame({"size": numbers, "ok": [True, None, True]}), "in row 1, column 'ok'"),
        (polars.DataFrame({"size": numbers, "age": [1, 2, None]}), "holds nan in row 2, column 'age'"),
        (polars.DataFrame({"size": numbers, "name": ["a", "b", "c"]}), "holds 'a' in row 0, column 'name'"),
        (polars.DataFrame({"size": numbers}).with_columns(day=polars.date(2020, 1, 1)), "Date in column 'day'"),
    ]:
        for call in (lambda X: network.predict(X), lambda X: network.evaluate(X, numbers),
                     lambda X: network.fit(X, numbers), lambda X: network.fit(X, numbers, validation_data=0.4),
                     lambda X: network.fit(np.ones((3, 2)), numbers, validation_data=(X, numbers))):
            with pytest.raises((TypeError, ValueError), match=words) as caught:
                call(frame)
            assert "X " in str(caught.value)
    with pytest.raises(TypeError, match=r"X is a LazyFrame, .*pass X\.collect\(\)"):
        network.predict(polars.DataFrame({"a": numbers, "b": numbers}).lazy())


NUMBERS = [np.float32, np.float64, np.longdouble, np.float16, Fraction, Decimal, np.array]


@pytest.mark.any_isa
@pytest.mark.parametrize("kind", NUMBERS, ids=lambda kind: kind.__name__)
def test_numbers_of_any_type_are_taken(kind):
    """As arguments: searches draw them with NumPy, and read them from files."""
    half = kind(0.5)
    network = fastnn.Network([2, 3, 3, 1], dropout=half, l2=half, output="sigmoid", label_smoothing=half)
    assert network.dropout == (0.5, 0.5) and network.l2 == 0.5 and network.label_smoothing == 0.5
    assert fastnn.Network([2, 3, 3, 1], dropout=[half, 0]).dropout == (0.5, 0)
    X, y = np.eye(2).repeat(2, axis=0), [0, 1, 1, 0]
    history = network.fit(X, y, validation_data=half, optimizer=fastnn.SGD(half, momentum=half), class_weight={0: half})
    assert len(history.validation_loss) == 1
    assert network.optimizer.momentum == 0.5 and network.optimizer.learning_rate == 0.5


@pytest.mark.any_isa
@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.array], ids=lambda kind: kind.__name__)
def test_integers_of_any_type_are_taken(kind):
    network = fastnn.Network(np.array([2, 3, 1]), seed=kind(7))
    assert network.layer_sizes == (2, 3, 1) and network.seed == 7 and type(network.seed) is int
    network.fit(np.eye(2), [0, 1], epochs=kind(3), batch_size=kind(1), threads=kind(1))
    assert network.epochs_trained == 3
    assert fastnn.Network([2, kind(4), 1]).layer_sizes == (2, 4, 1)


@pytest.mark.any_isa
def test_names_may_be_numpys():
    for name in (np.str_("tanh"), np.array("tanh"), np.array(["tanh", "tanh"]), ["tanh", np.str_("tanh")]):
        network = fastnn.Network([2, 3, 3, 1], name, np.str_("sigmoid"), np.array("focal"), np.str_("he_normal"))
        assert network.activations == ("tanh", "tanh", "sigmoid")
        assert {type(name) for name in network.activations} == {str} and network.loss == "focal"
        history = network.fit(np.eye(2), [0, 1], metrics=np.array(["accuracy"]))
        assert network.evaluate(np.eye(2), [0, 1], metrics=np.array("accuracy")).keys() == {"loss", "accuracy"}
        assert len(history.accuracy) == 1
    history = fastnn.Network([2, 1]).fit(np.eye(2), [0, 1], metrics=np.array(["mae", "r2"]))
    assert len(history.r2) == 1


def weighted_loss(class_weight, sigmoid=True):
    network = fastnn.Network([2, 1] if sigmoid else [2, 2], output="sigmoid" if sigmoid else "softmax", seed=3)
    return network.fit(np.eye(2)[[0, 1, 1, 0, 1]], [0, 1, 1, 0, 0], class_weight=class_weight, shuffle=False).loss


@pytest.mark.parametrize("sigmoid", [True, False])
def test_keys_of_class_weight_are_classes_whatever_their_type(sigmoid):
    pandas = pytest.importorskip("pandas", reason="NOT TESTED: pandas is not installed")
    expected = weighted_loss({0: 1, 1: 20}, sigmoid)
    assert expected != weighted_loss(None, sigmoid)
    for weights in ({False: 1, True: 20}, {np.False_: 1, np.True_: 20}, {0.0: 1, 1.0: 20}, {1: 20},
                    {np.int8(0): np.float32(1), np.uint64(1): Fraction(20)}, {np.float32(1): Decimal(20)},
                    pandas.Series([1, 20]), pandas.Series([20.0, 1.0], index=[True, False]), MappingProxyType({1: 20})):
        assert weighted_loss(weights, sigmoid) == expected, weights
    with pytest.raises(ValueError, match="names the class 1 twice"):
        weighted_loss(pandas.Series([1, 2], index=[1, 1]), sigmoid)


class Tensor:
    """A number as PyTorch and JAX have it: an array without dimensions, of another type."""

    ndim = 0

    def __init__(self, value):
        self.value = value

    def item(self):
        return self.value


@pytest.mark.any_isa
def test_numbers_may_be_tensors_without_dimensions():
    network = fastnn.Network([2, Tensor(3), 1], dropout=Tensor(0.5), l2=Tensor(0.25))
    assert (network.layer_sizes, network.dropout, network.l2) == ((2, 3, 1), (0.5,), 0.25)
    network.fit(np.eye(2), [0, 1], batch_size=Tensor(1), optimizer=fastnn.SGD(Tensor(0.125)))
    assert network.optimizer.learning_rate == 0.125


class Changing(np.ndarray):
    """Labels that another thread changes as soon as they have been looked at."""

    def max(self, *arguments, **more):
        largest = super().max(*arguments, **more)
        self[0] = 2**40
        return largest


@pytest.mark.any_isa
def test_labels_and_weights_are_checked_where_nobody_else_can_change_them():
    """Labels are places in memory: one that changes after the check would be read from anywhere."""
    labels = checked_labels(np.array([0, 2, 1]).view(Changing), 3)
    assert labels.tolist() == [0, 2, 1] and labels.dtype == np.intp and type(labels) is np.ndarray
    for kind in ("int8", "int64", "uint64"):
        given = np.array([0, 2, 1], kind)
        assert not np.shares_memory(checked_labels(given, 3), given)
    weight = np.ones(3)
    assert not np.shares_memory(checked_weights("sample_weight", weight, 3), weight)
