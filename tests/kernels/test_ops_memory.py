"""No function of `fastnn.ops` touches memory but its own, however arrays are laid out.

Layouts must give the bits of contiguous copies. Outputs start as NaN, so that an element left out shows; guard pages
and canaries notice what is touched beyond an array.
"""

import numpy as np
import pytest
from helpers import (
    ACTIVATIONS,
    DTYPES,
    FEW,
    INPUT_LAYOUTS,
    LAYOUTS,
    OPERATIONS,
    Guarded,
    misaligned,
    same_bits,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastnn import ops
from fastnn.core import dispatch

each_dtype = pytest.mark.parametrize("dtype", DTYPES)


# Layouts


@each_dtype
@pytest.mark.parametrize("name", OPERATIONS)
def test_layouts_of_inputs(name, dtype):
    """Any argument, and all at once, in any layout: the bits of contiguous copies, and inputs unchanged."""
    operation = OPERATIONS[name]
    for sizes in [(5, 6, 7), (33, 16, 32)]:
        expected = operation.run(*operation.arrays(*sizes, dtype))
        for layout, lay_out in INPUT_LAYOUTS.items():
            _, inputs = operation.arrays(*sizes, dtype)
            for changed in [*({argument} for argument in inputs), set(inputs)]:
                outputs, inputs = operation.arrays(*sizes, dtype)
                others = {key: lay_out(a) if key in changed else a for key, a in inputs.items()}
                assert operation.run(outputs, others) == expected, (layout, changed)
                assert all(same_bits(others[key], inputs[key]) for key in inputs), (layout, changed)


@each_dtype
@pytest.mark.parametrize("name", OPERATIONS)
def test_stride_zero_inputs(name, dtype):
    operation = OPERATIONS[name]
    for axis in (0, -1):
        for argument in operation.arrays(5, 6, 7, dtype)[1]:
            outputs, inputs = operation.arrays(5, 6, 7, dtype)
            one = inputs[argument].take([0], axis=axis)
            inputs[argument] = np.broadcast_to(one, inputs[argument].shape)
            assert 0 in inputs[argument].strides
            got = operation.run(outputs, inputs)
            outputs, _ = operation.arrays(5, 6, 7, dtype)
            inputs[argument] = inputs[argument].copy()
            assert got == operation.run(outputs, inputs), argument


@each_dtype
@pytest.mark.parametrize("name", OPERATIONS)
def test_layouts_of_outputs(name, dtype):
    operation = OPERATIONS[name]
    for sizes in [(5, 6, 7), (33, 16, 32)]:
        expected = operation.run(*operation.arrays(*sizes, dtype))
        for layout, lay_out in LAYOUTS.items():
            outputs, inputs = operation.arrays(*sizes, dtype)
            assert operation.run({key: lay_out(a) for key, a in outputs.items()}, inputs) == expected, layout


@each_dtype
@pytest.mark.parametrize("name", FEW)
def test_misaligned_arrays(name, dtype):
    """Inputs and outputs one byte away from any boundary."""
    operation = OPERATIONS[name]
    expected = operation.run(*operation.arrays(5, 6, 7, dtype))
    outputs, inputs = operation.arrays(5, 6, 7, dtype)
    assert operation.run(outputs, {key: misaligned(a) for key, a in inputs.items()}) == expected
    outputs, inputs = operation.arrays(5, 6, 7, dtype)
    assert operation.run({key: misaligned(a) for key, a in outputs.items()}, inputs) == expected


def assert_canaries_alive(operation, sizes, dtype, cut):
    """Runs an operation on outputs cut out of larger memory; nothing outside of the cut may change."""
    expected = operation.run(*operation.arrays(*sizes, dtype))
    outputs, inputs = operation.arrays(*sizes, dtype)
    views, memories = {}, {}
    for key, a in outputs.items():
        memory = np.full([3 * size + 40 for size in a.shape], 12345.678, dtype)
        views[key] = memory[(cut,) * a.ndim][tuple(slice(size) for size in a.shape)]
        views[key][...] = a
        memories[key] = memory
    assert operation.run(views, inputs) == expected
    for key, memory in memories.items():
        views[key][...] = 12345.678
        assert (memory == np.dtype(dtype).type(12345.678)).all(), f"memory around {key} has changed"


CUTS = [slice(16, None), slice(1, None), slice(7, None, 2), slice(-7, None, -2), slice(-3, None, -1)]


@each_dtype
@pytest.mark.parametrize("name", OPERATIONS)
def test_canaries_around_outputs_stay(name, dtype):
    for cut in CUTS:
        for sizes in [(5, 6, 7), (17, 16, 32), (1, 1, 1)]:
            assert_canaries_alive(OPERATIONS[name], sizes, dtype, cut)


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_slices_of_anything(data):
    """Random sizes; every argument is a random slice of larger memory, inputs and outputs alike."""
    operation = OPERATIONS[data.draw(st.sampled_from(FEW))]
    dtype = data.draw(st.sampled_from(DTYPES))
    sizes = data.draw(st.tuples(*[st.integers(1, 20)] * 3))
    expected = operation.run(*operation.arrays(*sizes, dtype))
    outputs, inputs = operation.arrays(*sizes, dtype)

    def slice_of(a):
        steps = data.draw(st.tuples(*[st.sampled_from([-2, -1, 1, 2, 3])] * a.ndim))
        before = data.draw(st.tuples(*[st.integers(0, 17)] * a.ndim))
        whole = [abs(step) * size + first for step, size, first in zip(steps, a.shape, before, strict=True)]
        memory = np.full(whole, np.nan, a.dtype)
        rest = memory[tuple(slice(first, None) for first in before)]
        view = rest[tuple(slice(None, None, step) for step in steps)]
        view[...] = a
        return view, memory

    views = {key: slice_of(a) for key, a in inputs.items()}
    before = {key: memory.tobytes() for key, (_, memory) in views.items()}
    slices = {key: slice_of(a)[0] for key, a in outputs.items()}
    assert operation.run(slices, {key: view for key, (view, _) in views.items()}) == expected
    assert {key: memory.tobytes() for key, (_, memory) in views.items()} == before


# Guard pages


@pytest.fixture(scope="module")
def guards():
    return [Guarded() for _ in range(6)]


@pytest.mark.thread_unsafe(reason="the guarded memory is everybody's")
@each_dtype
@pytest.mark.parametrize("name", OPERATIONS)
def test_nothing_is_touched_beyond_the_ends_of_arrays(name, dtype, guards):
    """Arrays end where an untouchable page begins, or start where one ends: a stray access is fatal."""
    operation = OPERATIONS[name]
    row = 64 * 9
    layouts = [Guarded.at_end, Guarded.at_start, lambda guard, a: guard.at_end(a, row)]
    for size in range(1, 71):
        every_way = [(5, 3, size), (size, 5, 3), (3, size, 5)]
        for sizes in every_way if name in FEW[:4] else every_way[:1 + (name in FEW)]:
            outputs, inputs = operation.arrays(*sizes, dtype)
            expected = operation.run({key: a.copy() for key, a in outputs.items()}, inputs)
            for place in layouts:
                free = iter(guards)
                there = {key: place(next(free), a) for key, a in (outputs | inputs).items()}
                placed = [{key: there[key] for key in arrays} for arrays in (outputs, inputs)]
                assert operation.run(*placed) == expected, sizes


# Shared memory and absurd sizes


@pytest.mark.any_isa
def test_an_output_that_is_still_read_is_refused():
    x, w, b = np.ones((32, 128), "f"), np.ones((128, 128), "f"), np.ones(128, "f")
    with pytest.raises(ValueError, match="y shares memory with x"):
        ops.dense_forward(x, x, w, b)
    dz = np.ones((32, 128), "f")
    with pytest.raises(ValueError, match="dx shares memory with dz"):
        ops.dense_backward(dz, None, None, dz, None, w)
    with pytest.raises(ValueError, match="dz shares memory with t"):
        ops.loss_forward_backward(dz, x, dz, "mse")


@each_dtype
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_arrays_of_an_activation_are_the_same_or_apart(activation, dtype):
    """One row further on, a row would be read after it was written. Arrays that are copied first may overlap."""
    def whole():
        return np.random.default_rng(8).normal(size=(4, 64 // np.dtype(dtype).itemsize)).astype(dtype)

    for written, read in [(slice(1, None), slice(3)), (slice(3), slice(1, None))]:
        memory, other = whole(), whole()[:3]
        with pytest.raises(ValueError, match="y shares memory with z"):
            ops.activation_forward(memory[written], memory[read], activation)
        for place, name in enumerate(["dy", "y", "z"]):
            inputs = [other] * 3
            inputs[place] = memory[read]
            with pytest.raises(ValueError, match=f"dz shares memory with {name}"):
                ops.activation_backward(memory[written], *inputs, activation)
        assert same_bits(memory, whole())

        expected = np.empty_like(other[:, 1:])
        ops.activation_forward(expected, memory[read, 1:], activation)
        ops.activation_forward(memory[written, 1:], memory[read, 1:], activation)
        assert same_bits(memory[written, 1:], expected)


@pytest.mark.any_isa
@pytest.mark.parametrize("n", [5, 16])      # rows of 5 are copied, and written back
def test_outputs_that_share_memory_are_refused(n):
    dz, x, w = np.ones((4, n), "f"), np.ones((4, 3), "f"), np.ones((3, n), "f")
    memory = np.zeros((10, n), "f")
    for dx, dw, db, words in [
            (None, memory[:3], memory[2], "db shares memory with dw"),
            (None, memory[:6:2], memory[4, ::-1], "db shares memory with dw"),
            (memory[:4, :3], memory[3:6], None, "dw shares memory with dx"),
            (memory[:4, :3], None, memory[1], "db shares memory with dx")]:
        with pytest.raises(ValueError, match=words):
            ops.dense_backward(dx, dw, db, dz, x, w)
    p, g = np.ones(n, "f"), np.ones(n, "f")
    with pytest.raises(ValueError, match="velocity shares memory with parameters"):
        ops.sgd_update(p, g, 0.1, p, momentum=0.9)
    with pytest.raises(ValueError, match="second shares memory with first"):
        ops.adam_update(p, g, memory[0], memory[0], 1)
    assert not memory.any() and (p == 1).all()

    dx, dw, db = memory[::3, :3], memory[7::-3], memory[2]      # each in rows that the others leave out
    ops.dense_backward(dx, dw, db, dz, x, w)
    assert (dx == n).all() and (dw == 4).all() and (db == 4).all()


@pytest.mark.any_isa
def test_a_size_that_overflows_is_a_memory_error():
    z = np.broadcast_to(np.float32(0), (2**60, 1))
    with pytest.raises((MemoryError, ValueError)):
        ops.activation_forward(np.empty((1, 1), "f"), z, "relu")


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_finite_looks_at_every_element(dtype):
    for n in (0, 1, 3, 4, 15, 16, 17, 63, 64, 65, 130):
        values = np.full(n, np.finfo(dtype).max, dtype)
        assert dispatch.kernels.all_finite(values)
        for i in range(n):
            for value in (np.nan, np.inf, -np.inf):
                values[i] = value
                assert not dispatch.kernels.all_finite(values), (n, i, value)
            values[i] = -0.0
