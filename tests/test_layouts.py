"""Every memory layout and dtype of the arguments gives the bits of its plain copy, and is left as it was."""

import copy

import numpy as np
import pytest
from helpers import DTYPES, packed, same_bits
from hypothesis import given
from hypothesis import strategies as st

import fastnn


def misaligned(a):
    """The same array, one byte away from any boundary."""
    memory = np.empty(a.nbytes + 1, dtype=np.uint8)
    moved = memory[1:].view(a.dtype).reshape(a.shape)
    moved[...] = a
    assert not moved.flags.aligned
    return moved


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


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
