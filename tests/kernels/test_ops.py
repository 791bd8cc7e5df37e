"""Every function of `fastnn.ops` computes its formula, for every size, and touches no memory but its own.

The oracle is `fastnn.reference` in float64 (np.longdouble where float64 is tested). Products are
held to the componentwise bound of numerical analysis, |error| <= 2 gamma_K |A| |B|. Layouts must
give the bits of contiguous copies; outputs start as NaN, so that an element left out shows.
"""

import itertools

import numpy as np
import pytest
from helpers import (
    ACTIVATIONS,
    DTYPES,
    FEW,
    INPUT_LAYOUTS,
    LAYOUTS,
    OPERATIONS,
    PAIRS,
    Guarded,
    activation_backward,
    activation_forward,
    assert_product,
    assert_within,
    forward,
    gamma,
    loss_forward_backward,
    misaligned,
    nan,
    same_bits,
    unit,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastnn import ops, reference
from fastnn.losses import NAMES

PRECISE = {"float32": np.float64, "float64": np.longdouble}
AROUND_LANES = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33]
LARGE = [   # beyond every block of a product: its rows, the columns of a panel, 2048 in the sum
    (50, 2049, 65), (49, 65, 2100), (2100, 33, 70),
    (129, 257, 65), (257, 129, 600), (600, 513, 257), (65, 1025, 300), (1, 785, 129), (1031, 2, 3),
    (3, 600, 1), (48, 512, 256), (515, 17, 31),
]
SHAPES = [
    (1, 1), (1, 2), (2, 1), (3, 3), (2, 4), (5, 5), (4, 7), (3, 8), (7, 9), (2, 15), (3, 16), (5, 17),
    (33, 10), (1, 31), (31, 1), (65, 129), (3, 600),
]
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


# Dense layers


def check_dense_forward(m, k, n, dtype, precise=np.float64):
    operation = OPERATIONS["dense_forward identity"]
    outputs, inputs = operation.arrays(m, k, n, dtype)
    operation.run(outputs, inputs)
    assert_product(outputs["y"], inputs["x"], inputs["w"], dtype, inputs["b"], precise)


def check_dense_backward(m, k, n, dtype, precise=np.float64):
    operation = OPERATIONS["dense_backward"]
    outputs, inputs = operation.arrays(m, k, n, dtype)
    operation.run(outputs, inputs)
    dz, x, w = inputs["dz"], inputs["x"], inputs["w"]
    assert_product(outputs["dx"], dz, w.T, dtype, precise=precise)
    assert_product(outputs["dw"], x.T, dz, dtype, precise=precise)
    assert_product(outputs["db"][None], np.ones((1, m)), dz, dtype, precise=precise)


@each_dtype
@pytest.mark.parametrize("m", AROUND_LANES)
def test_dense_layers_of_sizes_around_the_lanes(m, dtype):
    for k, n in itertools.product(AROUND_LANES, repeat=2):
        check_dense_forward(m, k, n, dtype)
        check_dense_backward(m, k, n, dtype)


@each_dtype
@pytest.mark.parametrize(("m", "k", "n"), LARGE)
def test_large_dense_layers(m, k, n, dtype):
    check_dense_forward(m, k, n, dtype)
    check_dense_backward(m, k, n, dtype)


@each_dtype
@pytest.mark.parametrize(("m", "k", "n"), LARGE)
def test_relu_in_the_tile_is_relu_of_the_whole_sum(m, k, n, dtype):
    outputs, inputs = OPERATIONS["dense_forward identity"].arrays(m, k, n, dtype)
    ops.dense_forward(outputs["y"], **inputs)
    rectified = np.empty_like(outputs["y"])
    ops.dense_forward(rectified, **inputs, activation="relu")
    assert same_bits(rectified, np.maximum(outputs["y"], 0) + 0)
    assert (outputs["y"] < 0).any()


def test_dense_layers_against_extended_precision():
    for m, k, n in [(17, 33, 9), (5, 300, 20), (130, 5, 6)]:
        check_dense_forward(m, k, n, "float64", np.longdouble)
        check_dense_backward(m, k, n, "float64", np.longdouble)


@given(sizes=st.tuples(*[st.integers(0, 80)] * 3), dtype=st.sampled_from(DTYPES))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_dense_layers_of_any_size(sizes, dtype):
    check_dense_forward(*sizes, dtype)
    check_dense_backward(*sizes, dtype)


@each_dtype
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_activation_within_a_dense_layer_is_that_activation(activation, dtype):
    """dense_forward(activation) has the bits of dense_forward(identity), then activation_forward."""
    every_size = [(1, 1, 1), (3, 5, 7), (17, 16, 16), (33, 20, 10), (70, 130, 129), (65, 600, 300), (9, 0, 5)]
    for m, k, n in every_size:
        outputs, inputs = forward(activation).arrays(m, k, n, dtype)
        forward(activation).run(outputs, inputs)
        z, y = nan(m, n).astype(dtype), nan(m, n).astype(dtype)
        ops.dense_forward(z, **inputs)
        ops.activation_forward(y, z, activation)
        assert same_bits(outputs["y"], y), (m, k, n)


@each_dtype
def test_infinity_and_nan_reach_the_rows_that_they_belong_to_and_no_other(dtype):
    for m, k, n in [(5, 3, 9), (40, 70, 33)]:
        _, inputs = forward("identity").arrays(m, k, n, dtype)
        inputs["x"][2, 1] = np.nan
        inputs["x"][3, 2] = np.inf
        y = np.zeros((m, n), dtype)
        ops.dense_forward(y, **inputs)
        assert np.isnan(y[2]).all() and np.isinf(y[3]).all()
        assert np.isfinite(np.delete(y, [2, 3], axis=0)).all()


@each_dtype
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_passes_every_activation_of_a_dense_layer(activation, dtype):
    for m, k, n in [(5, 3, 9), (40, 70, 33), (40, 2100, 600)]:      # the last product is made in blocks
        _, inputs = forward(activation).arrays(m, k, n, dtype)
        inputs["x"] /= 100
        inputs["x"][2, 1] = np.nan
        y = np.zeros((m, n), dtype)
        ops.dense_forward(y, **inputs, activation=activation)
        assert np.isnan(y[2]).all() and np.isfinite(np.delete(y, 2, axis=0)).all()


@each_dtype
@pytest.mark.parametrize("wanted", list(itertools.product([True, False], repeat=3)), ids=str)
def test_gradients_that_nobody_wants_are_skipped(wanted, dtype):
    """Each of dx, dw, db may be None, and x or w too where nothing needs it; the others keep their bits."""
    operation = OPERATIONS["dense_backward"]
    for sizes in [(5, 7, 9), (64, 32, 16), (40, 600, 20)]:
        every, inputs = operation.arrays(*sizes, dtype)
        operation.run(every, inputs)
        some, _ = operation.arrays(*sizes, dtype)
        some = {name: a if keep else None for (name, a), keep in zip(some.items(), wanted, strict=True)}
        if some["dx"] is None:
            inputs["w"] = None
        if some["dw"] is None:
            inputs["x"] = None
        ops.dense_backward(**some, **inputs)
        for name, a in some.items():
            assert a is None or same_bits(a, every[name]), name


# Activations


@each_dtype
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_forward(activation, dtype):
    for m, n in SHAPES:
        outputs, inputs = activation_forward(activation).arrays(m, 0, n, dtype)
        ops.activation_forward(outputs["y"], inputs["z"], activation)
        expected = reference.activation_forward(inputs["z"].astype(PRECISE[dtype]), activation)
        # The reference adds 1 to erf, and so is no better than its rounding times z for gelu.
        absolute = np.abs(inputs["z"]) if activation == "gelu" else 0.5
        assert_within(outputs["y"], expected, unit(dtype) * (12 * np.abs(expected) + absolute))


@each_dtype
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_backward(activation, dtype):
    for m, n in SHAPES:
        outputs, inputs = activation_backward(activation).arrays(m, 0, n, dtype)
        ops.activation_forward(inputs["y"], inputs["z"], activation)
        ops.activation_backward(outputs["dz"], **inputs, activation=activation)
        dy, z = inputs["dy"].astype(PRECISE[dtype]), inputs["z"].astype(PRECISE[dtype])
        expected = reference.activation_backward(dy, z, activation)
        size = np.abs(dy) * (1 + np.abs(reference.activation_forward(z, activation)))
        if activation == "softmax":
            size = gamma(n + 8, dtype) / unit(dtype) * np.abs(dy).max(axis=1, keepdims=True)
        assert_within(outputs["dz"], expected, 12 * unit(dtype) * size)


@each_dtype
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_work_in_place(activation, dtype):
    for m, n in SHAPES:
        _, inputs = activation_backward(activation).arrays(m, 0, n, dtype)
        z, dy = inputs["z"].copy(), inputs["dy"].copy()
        y, dz = np.full_like(z, np.nan), np.full_like(z, np.nan)
        ops.activation_forward(y, inputs["z"], activation)
        ops.activation_forward(z, z, activation)
        assert same_bits(z, y)
        ops.activation_backward(dz, **inputs, activation=activation)
        ops.activation_backward(dy, dy, inputs["y"], inputs["z"], activation)
        assert same_bits(dy, dz)


# Losses


@each_dtype
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("loss", "activation"), PAIRS)
def test_losses(loss, activation, weighted, dtype):
    operation = loss_forward_backward(loss, activation, weighted)
    for m, n in SHAPES if (loss, activation) in PAIRS[-3:] else SHAPES[::3]:
        outputs, inputs = operation.arrays(m, 0, n, dtype)
        value = operation.call(**outputs, **inputs)
        assert type(value) is float
        assert operation.call(dz=None, **inputs) == value
        z, t = (inputs[name].astype(PRECISE[dtype]) for name in "zt")
        weights = inputs.get("weights")
        expected, dz = reference.loss_forward_backward(z, t, loss, activation, weights)
        # A loss compares a and t, so its rounding is relative to them, not to their difference.
        size = (1 + np.abs(z) + np.abs(reference.activation_forward(z, activation)) + np.abs(t)) ** 2
        size *= (np.full(m, 1 / m) if weights is None else weights / weights.sum())[:, None]
        size /= 1 if activation == "softmax" else n
        assert abs(value - expected) <= 12 * unit(dtype) * size.sum()
        assert_within(outputs["dz"], dz, 12 * unit(dtype) * size)


@each_dtype
def test_the_loss_of_many_elements_is_summed_without_losing_digits(dtype):
    """A mean over 10⁶ elements is as exact as one of ten: the sum must not be a plain float32 one."""
    z = np.full((2000, 500), 0.1, dtype)
    value = ops.loss_forward_backward(None, z, np.zeros_like(z), "mse")
    assert value == pytest.approx(float(z[0, 0]) ** 2, rel=4 * unit(dtype))


@each_dtype
def test_zero_weight_takes_a_row_out(dtype):
    for loss, activation in PAIRS[::7] + PAIRS[-3:]:
        operation = loss_forward_backward(loss, activation, weighted=True)
        outputs, inputs = operation.arrays(9, 0, 5, dtype)
        inputs["weights"][[2, 5]] = 0
        value = operation.call(**outputs, **inputs)
        assert not outputs["dz"][[2, 5]].any()
        rest = {name: np.delete(a, [2, 5], axis=0) for name, a in inputs.items()}
        assert value == pytest.approx(operation.call(dz=None, **rest), rel=8 * unit(dtype))


@each_dtype
@pytest.mark.parametrize("columns", [1, 2, 3, 9, 17])
def test_large_logits_stay_finite(columns, dtype):
    signs = np.where(np.arange(4 * columns).reshape(4, columns) % 3 == 0, 1, -1)
    z, dz = (1e4 * signs).astype(dtype), nan(4, columns).astype(dtype)
    t = np.full_like(z, 0.25)
    value = ops.loss_forward_backward(dz, z, t, "binary_cross_entropy", "sigmoid")
    assert value == pytest.approx(np.where(signs > 0, 7500, 2500).mean(), rel=4 * unit(dtype))
    assert_within(dz, ((signs > 0) - 0.25) / z.size, 4 * unit(dtype) / z.size)

    t = np.zeros_like(z)
    t[:, 0] = 1
    dz[...] = np.nan
    value = ops.loss_forward_backward(dz, z, t, "cross_entropy", "softmax")
    top = signs == signs.max(axis=1, keepdims=True)
    p = top / top.sum(axis=1, keepdims=True)
    expected = 1e4 * (signs.max(axis=1) - signs[:, 0]) + np.log(top.sum(axis=1))
    assert value == pytest.approx(expected.mean(), rel=8 * unit(dtype), abs=8 * unit(dtype))
    assert_within(dz, (p - t) / 4, 4 * unit(dtype))

    z, t = np.minimum(z, 80), np.full_like(z, 3)    # exp(80) is about the largest that float32 holds
    dz[...] = np.nan
    value = ops.loss_forward_backward(dz, z, t, "poisson", "exp")
    rate = np.exp(z.astype(float))
    assert value == pytest.approx((rate - 3 * z.astype(float)).mean(), rel=8 * unit(dtype))
    assert_within(dz, (rate - 3) / z.size, 8 * unit(dtype) * (rate + 3) / z.size)


def test_a_poisson_rate_beyond_all_numbers_is_infinite_and_not_nan():
    for dtype in DTYPES:
        for t in (0, 3):
            z = np.full((2, 9), 1e4, dtype)
            assert ops.loss_forward_backward(None, z, np.full_like(z, t), "poisson", "exp") == np.inf


# Update


@each_dtype
def test_sgd_update(dtype, isa):
    """One rounding where there is a fused multiply-add, two without."""
    for n in [0, *range(1, 40), 63, 64, 65, 129, 600, 4099]:
        outputs, inputs = OPERATIONS["sgd_update"].arrays(0, 0, n, dtype)
        w, g = outputs["parameters"], inputs["gradients"]
        rate = np.dtype(dtype).type(0.3)
        expected = reference.sgd_update(w.astype(np.longdouble), g.astype(np.longdouble), np.longdouble(rate))
        product = np.abs(np.longdouble(rate) * g)
        ops.sgd_update(w, g, float(rate))
        assert_within(w, expected, 1.01 * unit(dtype) * (np.abs(expected) + product * (isa == "sse2")))


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


# Errors


def arguments(function, dtype="float64"):
    """Right arguments for a function of `fastnn.ops`, by name, for m = 3, k = 2, n = 4."""
    name = {
        "dense_forward": "dense_forward relu", "dense_backward": "dense_backward",
        "activation_forward": "activation_forward tanh", "activation_backward": "activation_backward tanh",
        "loss_forward_backward": "loss mse tanh", "sgd_update": "sgd_update",
        "adam_update": "adam_update",
    }[function]
    outputs, inputs = OPERATIONS[name].arrays(3, 2, 4, dtype)
    extra = {
        "dense_forward": {"activation": "relu"}, "dense_backward": {},
        "sgd_update": {"learning_rate": 0.1}, "adam_update": {"step": 3},
        "loss_forward_backward": {"loss": "mse", "activation": "tanh", "weights": np.ones(3)},
    }.get(function, {"activation": "tanh"})
    return outputs, inputs, extra


def argument(function, name):
    outputs, inputs, extra = arguments(function)
    return (outputs | inputs | extra)[name]


def assert_refused(function, change, error, *words):
    """A call with some arguments replaced raises an error with these words; no output is touched."""
    outputs, inputs, extra = arguments(function)
    every = outputs | inputs | extra
    before = {key: a.tobytes() for key, a in outputs.items()}
    change = change(every) if callable(change) else change
    with pytest.raises(error) as caught:
        getattr(ops, function)(**(every | change))
    for word in words:
        assert word in str(caught.value)
    assert {key: a.tobytes() for key, a in outputs.items()} == before


def each_argument(kinds=("outputs", "inputs")):
    cases = []
    for function in ops.__all__:
        outputs, inputs, _ = arguments(function)
        names = [*(outputs if "outputs" in kinds else ()), *(inputs if "inputs" in kinds else ())]
        cases += [(function, name) for name in names]
    return pytest.mark.parametrize(("function", "name"), cases)


@pytest.mark.any_isa
@pytest.mark.parametrize("function", ops.__all__)
def test_right_arguments_are_taken(function):
    for dtype in DTYPES:
        outputs, inputs, extra = arguments(function, dtype)
        getattr(ops, function)(**outputs, **inputs, **extra)
        assert not any(np.isnan(a).any() for a in outputs.values())


@pytest.mark.any_isa
@each_argument()
def test_a_wrong_dtype_is_a_type_error(function, name):
    for dtype in ("float16", "longdouble", "int64", ">f8", "complex128", "bool"):
        words = f"{name} has dtype {np.dtype(dtype)}, but must have float"
        assert_refused(function, {name: np.ones(argument(function, name).shape, dtype)}, TypeError, words)
    assert_refused(function, lambda a: {name: a[name].astype(object)}, TypeError, "dtype object")
    # Which of two arrays that differ is wrong, nobody can say.
    words = "has dtype float", "must have float"
    assert_refused(function, lambda a: {name: a[name].astype("float32")}, TypeError, *words)


@pytest.mark.any_isa
@each_argument()
def test_a_wrong_shape_is_a_value_error(function, name):
    def longer(a, axis):
        return {name: np.concatenate([a[name], a[name].take([0], axis=axis)], axis=axis)}

    for axis in range(argument(function, name).ndim):
        words = "has shape", "must have shape"
        assert_refused(function, lambda a, axis=axis: longer(a, axis), ValueError, *words)
    assert_refused(function, lambda a: {name: a[name][None]}, ValueError, name + " has shape")
    assert_refused(function, lambda a: {name: a[name][0, ...]}, ValueError, name + " has shape")


@pytest.mark.any_isa
@pytest.mark.parametrize(("function", "name", "shape", "words"), [
    ("dense_forward", "y", (3, 5), "y has shape (3, 5), but must have shape (3, 4)"),
    ("dense_forward", "b", (5,), "b has shape (5,), but must have shape (4"),
    ("dense_forward", "w", (3, 4), "w has shape (3, 4), but must have shape (2"),
    ("dense_backward", "dx", (3, 3), "dx has shape (3, 3), but must have shape (3, 2)"),
    ("dense_backward", "dw", (4, 2), "dw has shape (4, 2), but must have shape (2, 4)"),
    ("dense_backward", "db", (3,), "db has shape (3,), but must have shape (4"),
    ("activation_forward", "y", (4, 3), "y has shape (4, 3), but must have shape (3, 4)"),
    ("activation_backward", "dz", (3, 1), "dz has shape (3, 1), but must have shape (3, 4)"),
    ("loss_forward_backward", "t", (3, 1), "t has shape (3, 1), but must have shape (3, 4)"),
    ("loss_forward_backward", "weights", (4,), "weights has shape (4,), but must have shape (3"),
    ("loss_forward_backward", "weights", (3, 1), "weights has shape (3, 1), but must have shape (3"),
    ("sgd_update", "parameters", (5,), "gradients has shape (4,), but must have shape (5"),
])
def test_a_wrong_shape_is_named_with_the_right_one(function, name, shape, words):
    assert_refused(function, {name: np.ones(shape)}, ValueError, words)


@pytest.mark.any_isa
@each_argument()
def test_a_list_is_no_array(function, name):
    assert_refused(function, lambda a: {name: a[name].tolist()}, TypeError, name + " is a list")


@pytest.mark.any_isa
@each_argument(["outputs"])
def test_a_read_only_output_is_refused(function, name):
    def read_only(a):
        copy = a[name].copy()
        copy.flags.writeable = False
        return {name: copy}

    assert_refused(function, read_only, ValueError, name + " is read-only")


@pytest.mark.any_isa
@each_argument()
def test_none_is_refused_where_an_array_is_needed(function, name):
    if (function, name) in {("dense_backward", "dx"), ("dense_backward", "dw"), ("dense_backward", "db"),
                            ("loss_forward_backward", "dz")}:
        outputs, inputs, extra = arguments(function)
        getattr(ops, function)(**(outputs | inputs | extra | {name: None}))
    else:
        assert_refused(function, {name: None}, TypeError, name + " is ")


@pytest.mark.any_isa
@pytest.mark.parametrize("function", [f for f in ops.__all__ if "activation" in arguments(f)[2]])
def test_an_unknown_activation_gets_a_suggestion(function):
    words = "activation is 'Relu'", "did you mean 'relu'?"
    assert_refused(function, {"activation": "Relu"}, ValueError, *words)
    assert_refused(function, {"activation": "sigmiod"}, ValueError, "did you mean 'sigmoid'?", "softplus")
    for other in (None, 3, b"relu", np.tanh):
        assert_refused(function, {"activation": other}, TypeError, "activation is ", "relu")


@pytest.mark.any_isa
def test_an_unknown_loss_gets_a_suggestion():
    function = "loss_forward_backward"
    words = "loss is 'crossentropy'", "did you mean 'cross_entropy'?"
    assert_refused(function, {"loss": "crossentropy"}, ValueError, *words)
    assert_refused(function, {"loss": "MSE"}, ValueError, "did you mean 'mse'?", "huber")
    assert_refused(function, {"loss": None}, TypeError, "loss is None", "mse")


@pytest.mark.any_isa
def test_a_loss_with_an_activation_that_it_does_not_go_with():
    tried = 0
    for loss, activation in itertools.product(NAMES, ACTIVATIONS):
        if (loss, activation) not in PAIRS:
            needed = {"focal": "sigmoid"} | dict(PAIRS[-3:])
            needed = needed.get(loss, "cross_entropy")
            change = {"loss": loss, "activation": activation}
            words = repr(loss), repr(activation), repr(needed)
            assert_refused("loss_forward_backward", change, ValueError, *words)
            tried += 1
    assert tried == len(NAMES) * len(ACTIVATIONS) - len(PAIRS) == 48


@pytest.mark.any_isa
@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 0)])
def test_a_mean_of_nothing_is_refused(shape):
    change = {"dz": np.ones(shape), "z": np.ones(shape), "t": np.ones(shape), "weights": None}
    words = f"z has shape {shape}", "at least one element"
    assert_refused("loss_forward_backward", change, ValueError, *words)


@pytest.mark.any_isa
def test_weights_that_are_all_zero_are_refused_by_name():
    assert_refused("loss_forward_backward", {"weights": np.zeros(3)}, ValueError, "weights")


@pytest.mark.any_isa
@pytest.mark.parametrize("rate", ["0.1", None, np.ones(3), 1j])
def test_a_learning_rate_is_a_number(rate):
    assert_refused("sgd_update", {"learning_rate": rate}, TypeError, "learning_rate")


@pytest.mark.any_isa
def test_dense_backward_names_the_output_that_needs_a_missing_input():
    assert_refused("dense_backward", {"x": None}, TypeError, "x is None", "dw")
    assert_refused("dense_backward", {"w": None}, TypeError, "w is None", "dx")


@each_dtype
def test_empty_sums_are_zero(dtype):
    """No rows: dw and db are 0. No inputs: y is the bias. No outputs: dx is 0."""
    _, inputs = OPERATIONS["dense_backward"].arrays(0, 5, 7, dtype)
    dw, db = nan(5, 7).astype(dtype), nan(7).astype(dtype)
    ops.dense_backward(None, dw, db, **inputs)
    assert not dw.any() and not db.any()
    outputs, inputs = forward("identity").arrays(3, 0, 7, dtype)
    ops.dense_forward(**outputs, **inputs)
    assert same_bits(outputs["y"], np.tile(inputs["b"], (3, 1)))
    outputs, inputs = OPERATIONS["dense_backward"].arrays(3, 5, 0, dtype)
    ops.dense_backward(**outputs, **inputs)
    assert not outputs["dx"].any()


@each_dtype
@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 0)])
def test_empty_arrays_pass_through(shape, dtype):
    z = np.ones(shape, dtype)
    for activation in ACTIVATIONS:
        ops.activation_forward(np.empty_like(z), z, activation)
        ops.activation_backward(np.empty_like(z), z, z, z, activation)
    ops.sgd_update(np.ones(0, dtype), np.ones(0, dtype), 0.1)
    ops.adam_update(*(np.ones(0, dtype) for _ in range(4)), 1)


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


# Updates with state


SIZES = [1, 7, 16, 33, 1000]


def update_arrays(size, dtype, states):
    rng = np.random.default_rng(size)
    arrays = [rng.normal(size=size) for _ in range(2 + states)]
    arrays[2:] = [np.abs(state) for state in arrays[2:]]        # Adam's second moment is positive
    return [a.astype(dtype) for a in arrays]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_update(size, nesterov, dtype):
    w, g, v = update_arrays(size, dtype, 1)
    expected = reference.momentum_update(*(a.astype("g") for a in (w, g, v)), 0.1, 0.9, 0.01, nesterov)
    ops.sgd_update(w, g, 0.1, velocity=v, momentum=0.9, weight_decay=0.01, nesterov=nesterov)
    for ours, exact in zip((w, v), expected, strict=True):
        assert np.abs(ours - exact).max() <= 8 * unit(dtype) * max(1, np.abs(exact).max())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("step", [1, 2, 1000])
def test_adam_update(size, step, dtype):
    w, g, m, v = update_arrays(size, dtype, 2)
    expected = reference.adam_update(*(a.astype("g") for a in (w, g, m, v)), 0.1, 0.9, 0.999, 1e-8, step)
    ops.adam_update(w, g, m, v, step, learning_rate=0.1)
    for ours, exact in zip((w, m, v), expected, strict=True):
        # beta ** step is a product of step roundings, in double
        bound = 16 * unit(dtype) + step * unit("float64")
        assert np.abs(ours - exact).max() <= bound * max(1, np.abs(exact).max())


@pytest.mark.any_isa
def test_updates_refuse_what_they_cannot_use():
    w, g, v = (np.ones(16) for _ in range(3))
    with pytest.raises(ValueError, match="velocity is None, but momentum needs it"):
        ops.sgd_update(w, g, 0.1, momentum=0.9)
    with pytest.raises(ValueError, match="second shares memory with gradients"):
        ops.adam_update(w, g, v, g, 1)
    with pytest.raises(ValueError, match="step is 0, but must be at least 1"):
        ops.adam_update(w, g, v, np.ones(16), 0)
    with pytest.raises(ValueError, match="velocity has shape"):
        ops.sgd_update(w, g, 0.1, velocity=np.ones(4), momentum=0.9)
    assert np.array_equal(w, np.ones(16))
