"""Every family of checks can fail: here the thing checked is broken on purpose, and the check must notice.

A `Broken` stands in for the kernels and spoils what one of them does, by as little as the check
claims to see. The checks of gradients, examples, bad input and updates are broken beside them.
"""

import importlib
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import test_activations
import test_bits
import test_ops
import test_ops_errors
import test_ops_memory
from helpers import DTYPES, FEW, OPERATIONS, ROOT, TESTS, Guarded, assert_product, gamma, same_bits, ulps, unit
from numpy.lib.stride_tricks import as_strided

import fastnn
from fastnn import activations, ops
from fastnn.core import dispatch

NOTICED = (AssertionError, pytest.fail.Exception)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


class Broken:
    """The kernels in use, but for one function: it runs, and then `spoil` changes what came out."""

    def __init__(self, name, spoil, before=False):
        self.real, self.name, self.spoil, self.before = dispatch.kernels, name, spoil, before

    def __getattr__(self, name):
        function = getattr(self.real, name)
        if name != self.name:
            return function

        def spoiled(*args):
            if self.before:
                return function(*self.spoil(*args))
            value = function(*args)
            changed = self.spoil(*args)
            return value if value is None or changed is None else value * changed

        return spoiled


@pytest.fixture
def broken(monkeypatch):
    def install(name, spoil, before=False):
        monkeypatch.setattr(dispatch, "kernels", Broken(name, spoil, before))

    return install


def off_by(relative):
    """Moves the largest element of the first output by a small part of itself."""
    def spoil(output, *others):
        if output.size:
            index = np.unravel_index(np.abs(output).argmax(), output.shape)
            output[index] += relative * output[index]
    return spoil


# Bounds


@each_dtype
def test_the_bound_of_products_notices_one_element(dtype):
    rng = np.random.default_rng(50)
    for m, k, n in [(1, 1, 1), (7, 9, 5), (40, 600, 30)]:
        a, b = rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
        c = a.astype(np.longdouble) @ b
        bound = 2 * gamma(k + 1, dtype) * (np.abs(a.astype(float)) @ np.abs(b.astype(float)))
        for i, j in [(0, 0), (m - 1, n - 1), (m // 2, n - 1)]:
            for sign in (-1, 1):
                nearly, off = c.copy(), c.copy()
                nearly[i, j] += sign * 0.9 * bound[i, j]
                off[i, j] += sign * 1.1 * bound[i, j]
                assert_product(nearly, a, b, dtype, precise=np.longdouble)
                with pytest.raises(AssertionError, match="1 of"):
                    assert_product(off, a, b, dtype, precise=np.longdouble)
            missing = c.copy()
            missing[i, j] = np.nan
            with pytest.raises(AssertionError, match="1 of"):
                assert_product(missing, a, b, dtype)


def forget_last_row(y, *others):
    y[-1:] = np.nan


def forget_last_term(y, x, w, b, activation):
    return y, x[:, :-1], w[:-1], b, activation


def forget_bias(y, x, w, b, activation):
    return y, x, w, np.zeros_like(b), activation


@each_dtype
def test_the_checks_of_dense_layers_notice(dtype, broken):
    broken("dense_forward", forget_last_row)
    with pytest.raises(AssertionError):
        test_ops.check_dense_forward(17, 9, 5, dtype)


@each_dtype
@pytest.mark.parametrize("spoil", [forget_last_term, forget_bias])
def test_the_checks_of_dense_layers_notice_a_missing_term(spoil, dtype, broken):
    broken("dense_forward", spoil, before=True)
    for m, k, n in [(1, 1, 1), (17, 9, 5), (60, 1000, 30)]:
        with pytest.raises(AssertionError):
            test_ops.check_dense_forward(m, k, n, dtype)


@each_dtype
@pytest.mark.parametrize("output", [0, 1, 2])
def test_the_checks_of_dense_layers_notice_a_wrong_gradient(output, dtype, broken):
    broken("dense_backward", lambda *args: off_by(1e-3)(args[output]))
    for m, k, n in [(1, 1, 1), (17, 9, 5), (60, 300, 30)]:
        with pytest.raises(AssertionError):
            test_ops.check_dense_backward(m, k, n, dtype)


@each_dtype
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "softplus", "gelu", "softmax", "identity"])
def test_the_checks_of_activations_notice_a_few_roundings(activation, dtype, broken):
    broken("activation_forward", off_by(40 * unit(dtype)))
    with pytest.raises(AssertionError):
        test_ops.test_activation_forward(activation, dtype)


@each_dtype
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "silu", "softmax"])
def test_the_checks_of_slopes_notice_a_thousand_roundings(activation, dtype, broken):
    broken("activation_backward", off_by(1000 * unit(dtype)))
    with pytest.raises(AssertionError):
        test_ops.test_activation_backward(activation, dtype)


@each_dtype
@pytest.mark.parametrize(
    ("loss", "activation"), [("mse", "sigmoid"), ("huber", "tanh"), ("cross_entropy", "softmax")])
def test_the_checks_of_losses_notice(loss, activation, dtype, broken):
    broken("loss_forward_backward", lambda *args: 1 + 300 * unit(dtype))
    with pytest.raises(AssertionError):
        test_ops.test_losses(loss, activation, False, dtype)


@each_dtype
def test_the_checks_of_losses_notice_a_gradient_and_forgotten_weights(dtype, broken):
    broken("loss_forward_backward", lambda dz, *args: off_by(1e-3)(dz) if dz is not None else None)
    with pytest.raises(AssertionError):
        test_ops.test_losses("half_mse", "tanh", False, dtype)
    broken("loss_forward_backward", lambda *args: (*args[:5], None), before=True)
    with pytest.raises(AssertionError):
        test_ops.test_losses("half_mse", "tanh", True, dtype)


@each_dtype
def test_the_check_of_the_update_notices_two_roundings(dtype, broken, isa):
    broken("sgd_update", off_by(4 * unit(dtype)))
    with pytest.raises(AssertionError):
        test_ops.test_sgd_update(dtype, isa)


@each_dtype
def test_the_check_of_in_place_work_notices_an_output_that_is_cleared_first(dtype, broken):
    def clear(y, *others):
        y[...] = 0
        return y, *others

    for name in ("activation_forward", "activation_backward"):
        broken(name, clear, before=True)
        with pytest.raises(AssertionError):
            test_ops.test_activations_work_in_place("tanh", dtype)


# ULP


@each_dtype
def test_ulps_are_counted_right(dtype):
    wide = np.float64 if dtype == "float32" else np.longdouble
    for value in (1.0, 1.5, 1.9999, -3.0, 1e-30, 1e30):
        exact = np.array([np.dtype(dtype).type(value)])
        for steps in range(1, 5):
            moved = exact.copy()
            for _ in range(steps):
                moved = np.nextafter(moved, moved * 2)
            assert ulps(moved, exact.astype(wide), dtype) == steps
    largest, tiny = np.finfo(dtype).max, np.finfo(dtype).smallest_normal
    for wrong, exact in [
        (np.inf, largest / 2), (0, 4 * tiny), (np.nan, 1), (1, np.inf), (-np.inf, np.inf), (0, 1),
    ]:
        assert not ulps(np.array([wrong], dtype), np.array([exact], wide), dtype) <= 100, (wrong, exact)
    for right, exact in [(0, tiny / 2), (np.inf, np.inf), (np.inf, wide(largest) * 2), (0, 0), (-0.0, 0)]:
        assert ulps(np.array([right], dtype), np.array([exact], wide), dtype) == 0, (right, exact)


@each_dtype
@pytest.mark.parametrize("name", ["exp", "tanh", "sigmoid", "softplus", "gelu"])
def test_the_check_of_ulps_notices_one_point(name, dtype, isa):
    if dtype == "float64" and np.finfo(np.longdouble).eps > 2.0**-63:
        pytest.skip("NOT TESTED: np.longdouble is no wider than float64 here")
    z, expected = (a[::61] for a in test_activations.points_and_exact(name, dtype))
    limit = test_activations.limit_of(name, dtype, isa)
    y = getattr(activations, name)(z)
    test_activations.assert_ulps(y, expected, dtype, limit)
    normal = np.flatnonzero((np.abs(expected) > 1e-30) & (np.abs(expected) < 1e30))
    for i in (normal[0], normal[len(normal) // 2], normal[-1]):
        off = y.copy()
        for _ in range(2 * int(np.ceil(limit)) + 1):
            off[i] = np.nextafter(off[i], np.dtype(dtype).type(np.inf))
        with pytest.raises(AssertionError, match="ULP"):
            test_activations.assert_ulps(off, expected, dtype, limit)


@pytest.mark.any_isa
@pytest.mark.parametrize("wrong", [1 + 2**-20, np.nan])
def test_the_sweep_of_every_float32_notices_one_point(wrong, monkeypatch):
    exp, first = activations.exp, 0x3F000000
    point = np.uint32(first + 7_654_321).view(np.float32)

    def off(z):
        return np.where(z == point, exp(z) * np.float32(wrong), exp(z))

    monkeypatch.setattr(activations, "exp", off)
    with pytest.raises(AssertionError, match="ULP"), np.errstate(invalid="ignore"):
        test_activations.assert_worst("exp", "float32", [test_activations.worst_of_float32("exp", first)])


# Bits


@each_dtype
def test_the_comparison_of_rows_notices_one_bit(dtype, broken):
    def flip_a_bit_in_large_batches(y, *others):
        if len(y) > 4:
            y[3:4].view(np.uint8)[0, 0] ^= 1

    broken("dense_forward", flip_a_bit_in_large_batches)
    with pytest.raises(AssertionError):
        test_bits.test_a_row_of_a_dense_layer_does_not_depend_on_the_others(5, 3, dtype)


@each_dtype
def test_the_comparison_of_instruction_sets_notices_one_bit(dtype, monkeypatch):
    def flip(output, *others):
        output.view(np.uint8).ravel()[-1:] ^= 1

    real_load = dispatch.load
    loaded = []

    def load(name):
        kernels = real_load(name)
        monkeypatch.setattr(dispatch, "kernels", kernels)
        loaded.append(name)
        return Broken("activation_forward", flip) if len(loaded) > 1 else kernels

    monkeypatch.setattr(test_bits, "FMA_SETS", [dispatch.FOUND[0]] * 2)
    monkeypatch.setattr(dispatch, "load", load)
    with pytest.raises(AssertionError):
        test_bits.test_operations_have_the_same_bits_on_all_sets_with_fused_multiply_add(
            "activation_forward gelu", dtype)


def test_the_hash_notices_one_bit():
    parameters = np.linspace(0, 1, 100)
    before = test_bits.digest(parameters)
    assert test_bits.digest(parameters.copy()) == before
    parameters[50:].view(np.uint8)[0] ^= 1
    assert test_bits.digest(parameters) != before


def test_the_comparison_of_bits_sees_signs_types_and_shapes():
    assert not same_bits(0.0, -0.0) and not same_bits(np.float32(1), 1.0) and not same_bits([1.0], 1.0)
    assert same_bits(np.nan, np.nan)


# Layouts


def ignore_strides(y, x, *others):
    contiguous = np.empty_like(x, order="C").strides
    return y, as_strided(x, x.shape, np.minimum(np.abs(x.strides), contiguous)), *others


@each_dtype
def test_the_check_of_layouts_notices_ignored_strides(dtype, broken):
    broken("dense_forward", ignore_strides, before=True)
    with pytest.raises(AssertionError):
        test_ops_memory.test_layouts_of_inputs("dense_forward identity", dtype)


@each_dtype
@pytest.mark.parametrize("check", [test_ops_memory.test_layouts_of_inputs, test_ops_memory.test_layouts_of_outputs])
def test_the_check_of_layouts_notices_one_bit(check, dtype, broken):
    def flip_if_strided(y, z, activation):
        if not (y.flags.c_contiguous and z.flags.c_contiguous):
            y[0, 0] = np.nextafter(y[0, 0], np.dtype(dtype).type(9))

    broken("activation_forward", flip_if_strided)
    with pytest.raises(AssertionError):
        check("activation_forward gelu", dtype)


@each_dtype
def test_the_check_of_outputs_notices_a_copy_that_is_written_instead(dtype, broken):
    broken("activation_forward", lambda y, *others: (np.ascontiguousarray(y), *others), before=True)
    with pytest.raises(AssertionError):
        test_ops_memory.test_layouts_of_outputs("activation_forward gelu", dtype)


@each_dtype
def test_the_check_of_layouts_notices_a_changed_input(dtype, broken):
    def change(y, z, activation):
        if z.flags.writeable and not z.flags.c_contiguous:
            z[-1, -1] += 1

    broken("activation_forward", change)
    with pytest.raises(AssertionError):
        test_ops_memory.test_layouts_of_inputs("activation_forward tanh", dtype)


# Stray accesses


def write_beyond_rows(y, *others):
    if y.strides[1] == y.itemsize and y.base is not None:
        as_strided(y, (1, y.shape[1] + 1), y.strides)[0, -1] = 0


def write_before_rows(y, *others):
    if y.base is not None:
        as_strided(y, (2,), (-y.itemsize,))[1] = 0


@pytest.mark.parametrize("spoil", [write_beyond_rows, write_before_rows])
def test_canaries_notice_a_stray_write(spoil, broken):
    broken("activation_forward", spoil)
    with pytest.raises(AssertionError, match="memory around y"):
        operation = OPERATIONS["activation_forward tanh"]
        test_ops_memory.assert_canaries_alive(operation, (5, 6, 7), "float64", slice(16, None))


@pytest.mark.any_isa
@pytest.mark.parametrize("place", ["at_end", "at_start"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_guard_pages_kill_a_process_that_reads_one_element_too_far(place, dtype):
    paths = [str(TESTS), str(Path(fastnn.__file__).parents[1])]
    script = f"""
        import sys
        import numpy as np
        from numpy.lib.stride_tricks import as_strided
        sys.path[:0] = {paths}
        from helpers import Guarded
        a = Guarded().{place}(np.arange(35, dtype="{dtype}").reshape(5, 7))
        assert a.sum() == 595
        print("alive", flush=True)
        step = a.itemsize if "{place}" == "at_end" else -a.itemsize
        corner = a[-1, -1:] if "{place}" == "at_end" else a[0, :1]
        as_strided(corner, (2,), (step,)).sum()
        print("still alive")
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert run.stdout == "alive\n"
    assert run.returncode in (-signal.SIGSEGV, -signal.SIGBUS)


@pytest.mark.any_isa
def test_guarded_arrays_touch_the_guard():
    guard, a = Guarded(), np.arange(35.0).reshape(5, 7)
    first, end = guard.bytes.ctypes.data, guard.bytes.ctypes.data + guard.SIZE
    for place, array, low, high in [
        (guard.at_end, a, end - 280, end), (guard.at_end, a[0], end - 56, end),
        (guard.at_start, a, first, first + 280),
        (lambda a: guard.at_end(a, 128), a, end - 4 * 128 - 56, end),
    ]:
        placed = place(array)
        assert np.lib.array_utils.byte_bounds(placed) == (low, high)
        assert same_bits(placed, array)


# Errors


def test_the_check_of_errors_notices_an_output_that_was_touched(monkeypatch):
    def touch(y, z, activation):
        y[0, 0] = 0
        raise ValueError("activation is wrong")

    monkeypatch.setattr(ops, "activation_forward", touch)
    with pytest.raises(AssertionError):
        test_ops_errors.assert_refused("activation_forward", {"activation": "wrong"}, ValueError, "activation is")


@pytest.mark.parametrize("change", [{}, {"activation": "relu"}])
def test_the_check_of_errors_notices_that_nothing_is_wrong(change):
    with pytest.raises(NOTICED):
        test_ops_errors.assert_refused("activation_forward", change, ValueError)


def test_the_check_of_errors_notices_missing_words():
    with pytest.raises(AssertionError):
        test_ops_errors.assert_refused("activation_forward", {"activation": "wrong"}, ValueError, "no such words")


@pytest.mark.any_isa
def test_the_few_are_there():
    assert set(FEW) < set(OPERATIONS)


@pytest.mark.any_isa
def test_every_seeded_bug_has_its_place(monkeypatch):
    """The line that `make seeded-bugs` changes stands once in its file, and the tests that must notice it exist."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    bugs = importlib.import_module("bugs").BUGS
    for bug in bugs:
        text = (ROOT / "src" / "fastnn" / bug.file).read_text(encoding="utf-8")
        assert text.count(bug.old) == 1, bug.name
        for test in bug.tests:
            name, _, function = test.partition("::")
            [path] = TESTS.rglob(name)
            assert f"def {function}" in path.read_text(encoding="utf-8"), test
    assert len(bugs) > 20
