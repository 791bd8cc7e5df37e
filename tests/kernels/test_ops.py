"""Every function of `fastnn.ops` computes its formula, for every size.

The oracle is `fastnn.reference` in float64 (np.longdouble where float64 is tested). Products are held to the
componentwise bound of numerical analysis, |error| <= 2 gamma_K |A| |B|. Outputs start as NaN, so that an element left
out shows. Memory and errors are in test_ops_memory.py and test_ops_errors.py.
"""

import itertools

import numpy as np
import pytest
from helpers import (
    ACTIVATIONS,
    DTYPES,
    OPERATIONS,
    PAIRS,
    activation_backward,
    activation_forward,
    assert_product,
    assert_within,
    forward,
    gamma,
    loss_forward_backward,
    nan,
    same_bits,
    unit,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastnn import ops, reference

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


# Updates


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


# Empty arrays


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
