"""Some kernels of avx512 have two forms with the same bits, one for Intel's processors. Both run here, on anybody's.

In that form large tiles multiply from memory, Adam finds its root by an estimate, and chains of
neurons train with narrower vectors.
"""

import itertools
import platform
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers import DTYPES, same_bits

import fastnn
from fastnn import ops
from fastnn.core import cpu, dispatch
from fastnn.schedules import ExponentialDecay

pytestmark = pytest.mark.any_isa
needs_avx512 = pytest.mark.skipif("avx512" not in dispatch.FOUND, reason="NOT TESTED: avx512 does not run here")
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def in_form(intel, function, *args):
    """The result of a function while fastnn uses avx512's kernels in their form for Intel, or in the other one."""
    chosen = dispatch.kernels
    dispatch.kernels = dispatch.load("avx512", intel)
    try:
        return function(*args)
    finally:
        dispatch.load("avx512")         # the form is the process's, and not only that of these kernels
        dispatch.kernels = chosen


def same_in_both_forms(function, *args):
    one, other = (in_form(intel, function, *args) for intel in (False, True))
    return all(same_bits(a, b) for a, b in zip(one, other, strict=True))


def test_the_form_is_that_of_the_processors_maker():
    assert dispatch.load.__defaults__ == (cpu.is_intel(),)
    if platform.machine() == "x86_64" and Path("/proc/cpuinfo").exists():
        assert cpu.is_intel() == ("GenuineIntel" in Path("/proc/cpuinfo").read_text(encoding="utf-8"))


# Products


def products(arrays, activation):
    """All that the three products of a layer give."""
    x, w, b, dz = arrays
    y, dx, dw, db = (np.full_like(a, np.nan) for a in (dz, x, w, b))
    ops.dense_forward(y, x, w, b, activation)
    ops.dense_backward(dx, dw, db, dz, x, w)
    return y, dx, dw, db


@needs_avx512
@each_dtype
def test_products_of_every_shape_of_tile(dtype):
    """Rows make tiles of 1 to 6, columns panels of 1 to 4 vectors, and k leaves 0 to 3 of turns of four."""
    lanes = 64 // np.dtype(dtype).itemsize
    widths = [1, *(vectors * lanes + one for vectors in range(1, 10) for one in (0, 1))]
    rng = np.random.default_rng(60)
    for m, n in itertools.product([*range(1, 14), 24, 31], widths):
        for k in (0, 1, 2, 3, 4, 5, 7, 9, 70):
            arrays = [rng.normal(size=shape).astype(dtype) for shape in [(m, k), (k, n), n, (m, n)]]
            assert same_in_both_forms(products, arrays, "relu" if k % 2 else "identity"), (m, n, k)


@needs_avx512
@each_dtype
def test_products_that_are_packed_or_not_finite(dtype):
    rng = np.random.default_rng(61)
    for m, k, n in [(100, 600, 700), (61, 2100, 300), (130, 40, 1030)]:
        arrays = [rng.normal(size=shape).astype(dtype) for shape in [(m, k), (k, n), n, (m, n)]]
        assert same_in_both_forms(products, arrays, "identity"), (m, k, n)
        for array in arrays:
            array.flat[rng.integers(array.size, size=2)] = np.inf, -0.0
        assert same_in_both_forms(products, arrays, "identity"), (m, k, n)


# Fits


FITS = {    # layer sizes, rows of a batch, optimizer
    "SGD": ([40, 150, 70, 3], 48, lambda: fastnn.SGD(0.05)),
    "Adam": ([40, 150, 70, 3], 48, lambda: fastnn.Adam(0.01)),
    "AdamW": ([20, 64, 33, 2], 31, lambda: fastnn.AdamW(0.01, clip_norm=0.3)),
    "few rows": ([16, 32, 1], 1, lambda: fastnn.Adam(0.01)),
    "chain": ([1, 1, 1], 1, lambda: fastnn.SGD(0.1)),
    "long chain": ([1] * 7, 1, lambda: fastnn.SGD(0.1)),
    "chain with a schedule": ([1, 1, 1], 1, lambda: fastnn.SGD(ExponentialDecay(0.1, 0.99, by="step"))),
}


def fitted(name, activation, dtype):
    """Everything that a fit makes: parameters, losses, predictions."""
    sizes, batch, optimizer = FITS[name]
    rng = np.random.default_rng(62)
    X, y = rng.normal(size=(150, sizes[0])), rng.normal(size=(150, sizes[-1]))
    network = fastnn.Network(sizes, activation=activation, dtype=dtype, seed=63)
    history = network.fit(X, y, epochs=3, batch_size=batch, optimizer=optimizer())
    return network.get_parameters(), np.array(history.loss), network.predict(X)


@needs_avx512
@each_dtype
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
@pytest.mark.parametrize("name", FITS)
def test_fits(name, activation, dtype):
    assert same_in_both_forms(fitted, name, activation, dtype)


# Adam's root


def wrong_roots(x):
    """Those of x, positive and normal, of which Adam's root is not the rounded one.

    Without decay of what it has seen, Adam's second moment becomes x (2x before, or for the largest x what is missing
    of 2^127, twice), and its first one the exact root of x, rounded. Their quotient, which is the step, is 1 if and
    only if Adam's root is that one: the quotient of neighbours is not, in any binade.
    """
    largest = np.dtype(x.dtype).type(2) ** (np.finfo(x.dtype).maxexp - 1)
    above = x >= largest
    g = np.where(above, np.ldexp(x.dtype.type(1), np.finfo(x.dtype).maxexp // 2), 0).astype(x.dtype)
    v = 2 * np.where(above, x - largest, x)
    m = 2 * np.sqrt(x) - g
    p = np.zeros_like(x)
    ops.adam_update(p, g, m, v, step=200, learning_rate=1.0, beta1=0.5, beta2=0.5,
                    epsilon=float(np.finfo(x.dtype).tiny))
    assert same_bits(v, x) and same_bits(m, np.sqrt(x))
    return x[p != -1]


def float32_with(exponents, mantissas):
    """All numbers with these exponents and these 23 bits."""
    bits = (np.asarray(exponents)[:, None] + 127 << 23) + np.asarray(mantissas)
    return bits.ravel().astype(np.uint32).view(np.float32)


@needs_avx512
def test_roots_of_float32():
    """All numbers from 1 to 4, and of each binade, the smallest where the estimate is not used too, some thousand."""
    some = np.concatenate([np.arange(0, 2**23, 2003), np.arange(64), 2**23 - 1 - np.arange(64), 2 ** np.arange(23)])
    for x in (float32_with([0, 1], np.arange(2**23)), float32_with(range(-126, 128), some)):
        for intel in (False, True):
            assert in_form(intel, wrong_roots, x).size == 0, intel


def wrong_roots_of_binade(exponent):
    return in_form(True, wrong_roots, float32_with([exponent], np.arange(2**23))).size


@needs_avx512
@pytest.mark.nightly
def test_roots_of_every_float32():
    with ProcessPoolExecutor() as pool:
        assert not any(pool.map(wrong_roots_of_binade, range(-126, 128)))


def square_roots_of(c, bits):
    """All odd numbers below 2**bits whose square is c modulo 2**bits, for an odd c, from those modulo 2, 4, 8 …"""
    roots = {1}
    for bit in range(1, bits):
        roots = {root + half for root in roots for half in (0, 1 << bit)
                 if ((root + half) ** 2 - c) % (1 << bit + 1) == 0}
    return roots


def hardest_float64(distance=1023):
    """The x in [1, 4) whose roots lie nearest to the middle m of two neighbours: |x - m**2| is `distance` * 2**-106 at
    most. A computed root that is off by less before it is rounded is right for all others: that takes 36."""
    found = set()
    for c in range(-distance, distance + 1, 2):
        for bits in (54, 55):       # x has 52 bits behind the point below 2, and one fewer above
            for root in square_roots_of(c, bits):
                for middle in range(root, 1 << 54, 1 << bits):
                    x = middle**2 - c
                    if 1 << 106 <= x < 1 << 108 and x % (1 << (x.bit_length() - 53)) == 0:
                        found.add(x / 2.0**106)
    return np.array(sorted(found))


@needs_avx512
def test_roots_of_float64():
    """The hardest numbers in many binades, random ones in all, and those around the smallest that is estimated."""
    hardest = hardest_float64()
    assert len(hardest) > 300
    rng = np.random.default_rng(64)
    random = np.ldexp(rng.uniform(1, 2, (2046, 500)), np.arange(-1022, 1024)[:, None])
    around = np.ldexp(rng.uniform(1, 2, (80, 20_000)), np.arange(-1010, -930)[:, None])
    binades = np.ldexp(hardest, np.arange(-1022, 1022, 4)[:, None])
    for x in (binades, random, around, rng.uniform(1, 4, 2_000_000)):
        for intel in (False, True):
            assert in_form(intel, wrong_roots, x.ravel()).size == 0, intel


@needs_avx512
@each_dtype
def test_roots_among_zeros_and_what_has_no_root(dtype):
    """Whatever lies in the other lanes of a vector; also where the learning rate meets a moment of zero."""
    tiny, largest = np.finfo(dtype).tiny, np.finfo(dtype).max
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, -1.0, tiny, tiny / 2, -tiny / 2, largest, tiny * 2**24, tiny * 2**53]
    v = np.random.default_rng(65).uniform(0, 4, 4096).astype(dtype)
    for step, number in itertools.product((1, 3, 16, 17), special):
        seen = v.copy()
        seen[::step] = number

        def updated(seen=seen):
            p, g, m, second = np.ones_like(seen), np.zeros_like(seen), np.linspace(-1, 1, 4096), seen.copy()
            ops.adam_update(p, g, m.astype(dtype), second, step=3)
            return p, second

        with np.errstate(all="ignore"):
            assert same_in_both_forms(updated), (step, number)


@needs_avx512
def test_a_wrong_root_would_be_noticed(monkeypatch):
    class Wrong:
        def adam_update(self, p, *others):
            dispatch.load("avx512").adam_update(p, *others)
            p[3] *= 1 + np.finfo(p.dtype).eps
    monkeypatch.setattr(dispatch, "kernels", Wrong())
    x = np.linspace(1, 2, 100, dtype=np.float32)
    assert same_bits(wrong_roots(x), x[3:4])
