"""`fastnn.activations` against formulas that are themselves exact to a small part of an ULP.

float32 is compared with float64 at every 8209th of all bit patterns, and nightly at all of them; float64 with
np.longdouble at seeded points over the whole range, and nightly with mpmath at a million. Errors are in ULP, units
in the last place of the exact value; an exact value below the smallest normal number may come out as 0.
"""

import functools
import importlib.util
import math
import warnings
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from helpers import ACTIVATIONS, DTYPES, read_only, same_bits, ulps, unit

import fastnn
from fastnn import activations
from fastnn.core import dispatch

ELEMENTWISE = [name for name in ACTIVATIONS if name != "softmax"]
CURVED = [name for name in ELEMENTWISE if name not in ("identity", "relu", "leaky_relu")]
MONOTONE = [name for name in ELEMENTWISE if name not in ("silu", "gelu")]
# The largest error in ULP, (with fused multiply-add, without).
LIMITS = {
    "identity": {"float32": (0, 0), "float64": (0, 0)},
    "relu": {"float32": (0, 0), "float64": (0, 0)},
    "leaky_relu": {"float32": (1, 1), "float64": (1, 1)},
    "exp": {"float32": (0.95, 1.25), "float64": (0.95, 1.25)},
    "tanh": {"float32": (1.85, 1.9), "float64": (1.85, 1.9)},
    "sigmoid": {"float32": (1.7, 2), "float64": (1.7, 2)},
    "elu": {"float32": (1, 1.05), "float64": (1.25, 1.25)},
    "selu": {"float32": (2, 2.1), "float64": (1.8, 1.8)},
    "softplus": {"float32": (3, 3), "float64": (3, 3)},
    "silu": {"float32": (2.5, 2.7), "float64": (2.4, 2.5)},
    "gelu": {"float32": (3.2, 3.5), "float64": (3.8, 3.8)},
}
PROMISED = {"exp": 2, "sigmoid": 2, "tanh": 2}      # and 4 of the others
STRIDE = 8209   # a prime
SMALLEST_FLOAT32 = float(np.finfo(np.float32).smallest_normal)
SELU_SCALE_DIGITS, SELU_ALPHA_DIGITS = "1.0507009873554804934193349852946", "1.6732632423543772848170429916717"
SELU_SCALE, SELU_ALPHA = np.longdouble(SELU_SCALE_DIGITS), np.longdouble(SELU_ALPHA_DIGITS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)

needs_longdouble = pytest.mark.skipif(
    np.finfo(np.longdouble).eps > 2.0**-63, reason="NOT TESTED: np.longdouble is no wider than float64 here")

needs_mpmath = pytest.mark.skipif(
    not importlib.util.find_spec("mpmath"), reason="NOT TESTED: mpmath is missing: pip install 'mpmath>=1.3'")


# Exact values


def normal_tail(z):
    """z * Phi(z) for z < 0, without cancellation: 0.5 z erfc(|z| / sqrt 2), in the precision of z.

    erfc is 1 - erf by its series of positive terms below 1.5, and Laplace's continued fraction above.
    exp(-z**2 / 2) is taken in two factors, the first of an argument that is exact.
    """
    x = -z / np.sqrt(z.dtype.type(2))
    high = z.astype(np.float32).astype(z.dtype)
    gauss = np.exp(-high * high / 2) * np.exp(-(z - high) * (z + high) / 2)
    root_pi = np.sqrt(z.dtype.type("3.14159265358979323846264338327950288"))
    small, erfc = x < 1.5, np.empty_like(x)
    s = x[small]
    term, total, n = s.copy(), s.copy(), 0
    while (term > total * np.finfo(z.dtype).eps / 8).any():
        n += 1
        term *= 2 * s * s / (2 * n + 1)
        total += term
    erfc[small] = 1 - 2 / root_pi * gauss[small] * total
    s = x[~small]
    tail = s.copy()
    for n in range(math.ceil(300 / s.min(initial=300)**2), 0, -1):     # the error falls like exp(-2 s sqrt(2 n))
        tail = s + n / (2 * tail)
    erfc[~small] = gauss[~small] / (root_pi * tail)
    return z * erfc / 2


def exact(name, z):
    """The activation at z in the precision of z: good to a small part of an ULP of the dtype tested."""
    if name in ("identity", "relu", "leaky_relu"):
        slope = {"identity": 1, "relu": 0, "leaky_relu": z.dtype.type("0.01")}[name]
        return np.where(z > 0, z, slope * z if slope else 0)
    minus = np.exp(-np.abs(z))
    if name == "sigmoid":
        return np.where(z > 0, 1, minus) / (1 + minus)
    if name == "silu":
        return np.where(z > 0, z, z * minus) / (1 + minus)
    if name == "softplus":
        return np.maximum(z, 0) + np.log1p(minus)
    if name == "gelu":
        tail = normal_tail(-np.minimum(np.abs(z), 45))     # nothing is left of it beyond
        return np.where(z > 0, z + tail, tail)
    if name == "tanh":
        return np.tanh(z)
    if name == "exp":
        return np.exp(z)
    scale, alpha = (1, 1) if name == "elu" else (z.dtype.type(SELU_SCALE), z.dtype.type(SELU_ALPHA))
    return scale * np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0)))


def float32_points():
    points = np.arange(0, 2**32, STRIDE, dtype=np.uint64).astype(np.uint32).view(np.float32)
    edges = [0, -0.0, np.inf, -np.inf, 88.72284, 88.7229, -87.33655, -103.97, -14.5, 9.01, 16.7]
    return np.concatenate([points[np.isfinite(points)], np.float32(edges)])


def float64_points():
    rng = np.random.default_rng(31)
    spread = rng.normal(size=60_000) * 2.0 ** rng.uniform(-1070, 1020, 60_000)
    parts = [
        rng.uniform(-1, 1, 50_000), rng.uniform(-40, 40, 80_000), rng.uniform(-760, 720, 30_000),
        rng.normal(size=20_000) * 2.0 ** rng.uniform(-60, 0, 20_000), spread,
        [0, -0.0, np.inf, -np.inf, 5e-324, -5e-324, 2.3e-308, 709.7827128933839, 709.782712893384, -708.3964,
         -745.2, -37.5193793, 19.0615, 22.0, 36.8, 0.5, -0.5, 0.625, 1.0, -1.0, 1.7e308, -1.7e308],
    ]
    return np.concatenate(parts)


@functools.cache
def points_and_exact(name, dtype):
    z = float32_points() if dtype == "float32" else float64_points()
    with np.errstate(all="ignore"):
        wide = z.astype(np.float64 if dtype == "float32" else np.longdouble)
        finite = np.isfinite(wide)
        expected = np.empty_like(wide)
        expected[finite] = exact(name, wide[finite])
    at_infinity = {"identity": (-np.inf, np.inf), "leaky_relu": (-np.inf, np.inf), "tanh": (-1, 1),
                   "sigmoid": (0, 1), "elu": (-1, np.inf), "selu": (-SELU_SCALE * SELU_ALPHA, np.inf)}
    low, high = at_infinity.get(name, (0, np.inf))
    expected[~finite] = np.where(wide[~finite] > 0, high, low)
    return z, expected


def assert_ulps(actual, expected, dtype, limit):
    error = ulps(actual, expected, dtype)
    worst = error.argmax()
    what = f"{error[worst]:.2f} ULP at point {worst}: {actual[worst]!r}, not {expected[worst]!r}"
    assert error[worst] <= limit, what
    assert not np.isnan(error).any()


def limit_of(name, dtype, isa):
    return LIMITS[name][dtype][isa == "sse2"]


@pytest.mark.any_isa
def test_the_limits_are_within_what_is_promised():
    for name, limits in LIMITS.items():
        for both in limits.values():
            assert max(both) <= PROMISED.get(name, 4)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=needs_longdouble)])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_error_in_ulp(name, dtype, isa):
    z, expected = points_and_exact(name, dtype)
    actual = getattr(activations, name)(z)
    assert actual.dtype == dtype and len(z) >= 200_000
    assert_ulps(actual, expected, dtype, limit_of(name, dtype, isa))


def in_each_arithmetic(function, z):
    """{whether multiply and add are fused: function(z)}: instruction sets that fuse them give the same bits."""
    chosen, values = dispatch.kernels, {}
    try:
        for isa in dispatch.FOUND:
            dispatch.kernels = dispatch.load(isa)
            y = function(z)
            assert same_bits(y, values.setdefault(isa != "sse2", y)), isa
    finally:
        dispatch.kernels = chosen
    return values


def assert_worst(name, dtype, worsts):
    """Of many dictionaries of errors the largest, printed, and within the limits."""
    for fused, arithmetic in (True, "fused multiply-add"), (False, "sse2"):
        errors = [worst[fused] for worst in worsts if fused in worst]
        if not errors:
            print(f"{name}, {dtype}, {arithmetic}: NOT TESTED on this processor")
            continue
        worst = np.max(errors)
        print(f"{name}, {dtype}, {arithmetic}: {worst:.2f} ULP at most")
        assert 0.5 < worst <= LIMITS[name][dtype][not fused], f"{worst:.2f} ULP"


def worst_of_float32(name, start):
    """The largest errors at the 2**24 numbers with these and the following bits, as `assert_worst` takes them.

    Neighbours have values of much the same size, so one division bounds the errors of a whole block; they
    are counted one by one only where they may be larger than all before. Blocks stay in the caches.
    """
    worst = {}
    for block in np.split(np.arange(start, start + 2**24, dtype=np.uint32).view(np.float32), 2**9):
        z = block[np.isfinite(block)]
        if not len(z):
            break
        with np.errstate(all="ignore"):
            expected = exact(name, z.astype(np.float64))
            last_place = np.spacing(max(np.abs(expected).min(), SMALLEST_FLOAT32)) * 2**29    # of float32
            for fused, y in in_each_arithmetic(getattr(activations, name), z).items():
                difference = y - expected
                bound = max(difference.max(), -difference.min()) / last_place
                if not bound <= worst.setdefault(fused, 0):
                    worst[fused] = np.maximum(worst[fused], ulps(y, expected, "float32").max())     # keeps NaN
    return worst


@pytest.mark.nightly
@pytest.mark.any_isa
@pytest.mark.parametrize("name", CURVED)
def test_every_float32(name):
    """The largest error of all finite numbers that there are, on every core."""
    with ProcessPoolExecutor() as pool:
        assert_worst(name, "float32", list(pool.map(worst_of_float32, [name] * 2**8, range(0, 2**32, 2**24))))


# Beside mpmath


def precisely(name, mp, z):
    """The activation at z by mpmath's own functions; its 200 bits outlast what cancels here."""
    z = mp.mpf(z)
    if name == "gelu":
        return z * mp.erfc(-z / mp.sqrt(2)) / 2
    if name in ("sigmoid", "silu"):
        return (z if name == "silu" else 1) / (1 + mp.exp(-z))
    if name == "softplus":
        return mp.log1p(mp.exp(z))
    if name in ("exp", "tanh"):
        return getattr(mp, name)(z)
    scale, alpha = (1, 1) if name == "elu" else (mp.mpf(SELU_SCALE_DIGITS), mp.mpf(SELU_ALPHA_DIGITS))
    return scale * (z if z > 0 else alpha * mp.expm1(z))


def beside_mpmath(name, z):
    """The activation by mpmath, as np.longdouble, which keeps 64 of the bits."""
    import mpmath
    with mpmath.workprec(200):
        parts = [mpmath.frexp(precisely(name, mpmath.mp, point)) for point in z.tolist()]
        high = np.array([float(mantissa) for mantissa, _ in parts])
        low = np.array([float(mantissa - float(mantissa)) for mantissa, _ in parts])
    exponents = np.array([np.clip(exponent, -20_000, 20_000) for _, exponent in parts], dtype=np.int32)
    with np.errstate(under="ignore"):
        return np.ldexp(high.astype(np.longdouble) + low, exponents)


@functools.cache
def float64_points_beside_mpmath():
    """A million points with log-uniform sizes, and boundaries.

    These are where another multiple of ln 2 is taken from the argument of exp, in exp(z), exp(2z)
    and exp(-z**2 / 2), and both neighbours of each.
    """
    rng = np.random.default_rng(32)
    spread = rng.choice([-1.0, 1.0], 10**6) * 2.0 ** rng.uniform(-60, 10, 10**6)
    halves = (np.arange(-1090, 1030) + 0.5) * math.log(2)
    roots = np.sqrt(2 * np.abs(halves))
    boundaries = np.concatenate([halves, halves / 2, roots, -roots])
    return np.concatenate([spread, boundaries, np.nextafter(boundaries, -np.inf), np.nextafter(boundaries, np.inf)])


def worst_of_float64(name, z):
    expected = beside_mpmath(name, z)
    return {fused: ulps(y, expected, "float64").max()
            for fused, y in in_each_arithmetic(getattr(activations, name), z).items()}


@needs_mpmath
@needs_longdouble
@pytest.mark.nightly
@pytest.mark.any_isa
@pytest.mark.parametrize("name", CURVED)
def test_a_million_float64(name):
    """The largest error beside a reference that shares nothing with `exact`, on every core."""
    parts = np.array_split(float64_points_beside_mpmath(), 200)
    with ProcessPoolExecutor() as pool:
        assert_worst(name, "float64", list(pool.map(worst_of_float64, [name] * len(parts), parts)))


@needs_mpmath
@needs_longdouble
@pytest.mark.any_isa
@pytest.mark.parametrize("name", CURVED)
def test_the_exact_values_are_those_of_mpmath(name):
    """`exact` is off by no more than 0.02 ULP of float64 in np.longdouble, and of float32 in float64."""
    z = np.random.default_rng(33).permutation(float64_points_beside_mpmath())[:1000]
    with np.errstate(all="ignore"):
        assert ulps(exact(name, z.astype(np.longdouble)), beside_mpmath(name, z), "float64").max() <= 0.02
        z = z.astype(np.float32).astype(np.float64)
        assert ulps(exact(name, z), beside_mpmath(name, z), "float32").max() <= 0.02


def test_the_exact_values_are_those_of_the_standard_library():
    """The formulas here, at float64, against `math` and to the few digits that everyone knows."""
    z = np.array([-30.0, -8.0, -3.0, -1.5, -0.7, -1e-3, 1e-9, 0.3, 1.4, 2.2, 7.0])
    for name, function in {
        "gelu": lambda z: z * math.erfc(-z / math.sqrt(2)) / 2, "softplus": lambda z: math.log1p(math.exp(z)),
        "elu": lambda z: z if z > 0 else math.expm1(z), "tanh": math.tanh,
        "sigmoid": lambda z: 1 / (1 + math.exp(-z)), "silu": lambda z: z / (1 + math.exp(-z)),
    }.items():
        for precise in (np.float64, np.longdouble):
            values = exact(name, z.astype(precise)).astype(float)
            np.testing.assert_allclose(values, [function(v) for v in z], rtol=3e-13, err_msg=name)


# Special values


VALUES = {  # at 0, at -inf, at +inf
    "identity": (0, -np.inf, np.inf), "sigmoid": (0.5, 0, 1), "tanh": (0, -1, 1), "relu": (0, 0, np.inf),
    "leaky_relu": (0, -np.inf, np.inf), "elu": (0, -1, np.inf), "selu": (0, None, np.inf),
    "softplus": (None, 0, np.inf), "silu": (0, 0, np.inf), "gelu": (0, 0, np.inf), "exp": (1, 0, np.inf),
}


@each_dtype
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_exact_values_at_zero_and_infinity(name, dtype):
    z = np.array([0, -np.inf, np.inf], dtype)
    for point, expected in zip(z, VALUES[name], strict=True):
        if expected is not None:
            for copies in (1, 3, 16, 37):       # whatever a vector's lane
                y = getattr(activations, name)(np.full(copies, point))
                assert np.array_equal(y, np.full(copies, expected)), point


@each_dtype
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_nan_in_nan_out(name, dtype):
    for n in (1, 5, 16, 33):
        z = np.zeros((3, n), dtype)
        z[1, n // 2] = np.nan
        y = getattr(activations, name)(z)
        assert np.isnan(y[1, n // 2]) and np.isfinite(y[[0, 2]]).all()
        if name != "softmax":
            assert np.isnan(y).sum() == 1
            slope = getattr(activations, name).derivative(z)
            constant = name in ("identity", "relu", "leaky_relu")       # slopes, which hide it
            assert np.isnan(slope).sum() == (0 if constant else 1)


@each_dtype
def test_symmetry_and_ranges(dtype):
    z = points_and_exact("identity", dtype)[0]
    tanh, sigmoid = activations.tanh(z), activations.sigmoid(z)
    assert same_bits(activations.tanh(-z), -tanh)
    assert (np.abs(tanh) <= 1).all()
    assert ((sigmoid >= 0) & (sigmoid <= 1)).all()
    assert (activations.softplus(z) >= 0).all() and (activations.exp(z) >= 0).all()
    assert (activations.elu(z) >= -1).all()


@each_dtype
@pytest.mark.parametrize("name", MONOTONE)
def test_monotone(name, dtype, isa):
    """Never falls by more than the error of the two values; at the distances tested here, hardly ever."""
    z = np.unique(points_and_exact(name, dtype)[0])
    y = getattr(activations, name)(z)
    y = y[np.isfinite(y)]
    falls = y[:-1] - y[1:]
    assert (falls <= 2 * limit_of(name, dtype, isa) * np.spacing(np.abs(y[1:]))).all()
    assert (falls > 0).mean() < 0.01


# Shapes and types


@pytest.mark.parametrize(
    "shape", [(), (1,), (0,), (7,), (3, 4), (2, 3, 5), (0, 3), (3, 0), (2, 0, 4), (1, 1, 1, 17)], ids=str)
@each_dtype
def test_shapes(shape, dtype):
    z = np.random.default_rng(1).normal(size=shape).astype(dtype)
    for name in ELEMENTWISE:
        activation = getattr(activations, name)
        for function in (activation, activation.derivative):
            y = function(z)
            assert y.shape == shape and y.dtype == dtype
            assert same_bits(y.ravel(), function(z.ravel()))
    if shape:
        assert activations.softmax(z).shape == shape
        assert activations.softmax.derivative(z).shape == (*shape, shape[-1])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_numbers_lists_integers_and_booleans_give_float64(name):
    activation = getattr(activations, name)
    floats = activation(np.array([-2.0, 0.0, 1.0]))
    for kind in (np.int8, np.int64, np.float16, np.longdouble, ">f8"):
        assert same_bits(activation(np.array([-2, 0, 1], kind)), floats)
    assert same_bits(activation([-2, 0, 1]), floats) and same_bits(activation((-2.0, 0, True)), floats)
    assert same_bits(activation(np.array([False, True])), activation([0.0, 1.0]))
    assert same_bits(activation(np.array([0, 3], np.uint8)), activation([0.0, 3.0]))
    if name != "softmax":
        assert same_bits(activation(-2), floats[0]) and isinstance(activation(-2), np.float64)
        assert isinstance(activation(np.float32(-2)), np.float32)
        assert isinstance(activation.derivative(True), np.float64)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_layouts_and_byte_order(name):
    z = np.random.default_rng(2).normal(size=(6, 8)).astype(np.float32)
    activation = getattr(activations, name)
    for function in (activation, activation.derivative):
        for other in (np.asfortranarray(z), z[::-2, ::3], z.T, np.broadcast_to(z[0], (3, 8)), read_only(z)):
            before = other.tobytes()
            assert same_bits(function(other), function(other.copy(order="C")))
            assert other.tobytes() == before


@each_dtype
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_value_has_the_same_bits_in_any_lane_and_beside_any_others(name, dtype):
    """At every offset of two registers, in every length of a tail, alone, strided and reversed."""
    activation = getattr(activations, name)
    z = np.random.default_rng(34).normal(scale=4, size=67).astype(dtype)
    for function in (activation, activation.derivative):
        whole = function(z)
        for first in range(33):
            assert same_bits(function(z[first:]), whole[first:])
            assert same_bits(function(z[first:first + 1]), whole[first:first + 1])
            assert same_bits(function(z[:len(z) - first]), whole[:len(z) - first])
        for part in (slice(None, None, 3), slice(None, None, -1), slice(60, 3, -2)):
            assert same_bits(function(z[part]), whole[part])


@pytest.mark.any_isa
def test_float32_stays_float32_in_the_other_byte_order():
    z = np.array([-1, 0.5, 2], np.float32)
    assert same_bits(activations.tanh(z.astype(">f4")), activations.tanh(z))


@pytest.mark.any_isa
@pytest.mark.parametrize("z", ["text", b"bytes", [1j], None, ["text"], [[1], [2, 3]]], ids=str)
def test_what_is_no_real_number_is_refused(z):
    for function in (activations.tanh, activations.tanh.derivative, activations.softmax):
        with pytest.raises((TypeError, ValueError), match=r"\bz (has|is None)"):
            function(z)


@pytest.mark.any_isa
def test_softmax_of_one_number():
    assert activations.softmax(-3.0) == 1
    with pytest.raises(ValueError, match=r"\bz\b"):     # a Jacobian needs an axis
        activations.softmax.derivative(-3.0)


def test_no_warning_at_any_value():
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        for name in ACTIVATIONS:
            getattr(activations, name)(np.array([0, 1e300, -1e300, 1e-310, 750.0, -750.0]))
            getattr(activations, name)(np.array([0, 1e38, -1e38, 1e-40, 89, -104], np.float32))


# Softmax


@each_dtype
@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 9, 16, 17, 100])
def test_softmax(n, dtype):
    z = np.random.default_rng(n).normal(scale=4, size=(2, 5, n)).astype(dtype)
    y = activations.softmax(z)
    precise = z.astype(np.longdouble)
    expected = np.exp(precise - precise.max(axis=-1, keepdims=True))
    expected /= expected.sum(axis=-1, keepdims=True)
    # z - max(z) is rounded, and exp amplifies that.
    depth = np.abs(precise - precise.max(axis=-1, keepdims=True))
    assert (np.abs(y - expected) <= (8 + n / 4 + depth) * unit(dtype) * expected).all()
    assert (np.abs(y.astype(float).sum(axis=-1) - 1) <= (4 + n) * unit(dtype)).all()
    for row in np.ndindex(2, 5):
        assert same_bits(y[row], activations.softmax(z[row]))


@each_dtype
def test_softmax_does_not_overflow(dtype):
    y = activations.softmax(np.array([[1e4, -1e4, 1e4], [-1e4, -1e4, -1e4], [1e4, 0, -1e4]], dtype))
    third = np.dtype(dtype).type(1 / 3)
    np.testing.assert_allclose(y, [[0.5, 0, 0.5], [third] * 3, [1, 0, 0]], rtol=2 * unit(dtype))


def test_softmax_does_not_change_when_all_logits_are_shifted():
    z = np.arange(12.0).reshape(3, 4)
    assert same_bits(activations.softmax(z), activations.softmax(z - 64))


def test_softmax_derivative_is_the_jacobian():
    z = np.random.default_rng(3).normal(size=(2, 3, 6))
    jacobian, h = activations.softmax.derivative(z), 1e-5
    for j in range(6):
        step = h * (np.arange(6) == j)
        numerical = (activations.softmax(z + step) - activations.softmax(z - step)) / (2 * h)
        np.testing.assert_allclose(jacobian[..., j], numerical, atol=1e-10)


# Derivatives


def exact_derivative(name, z):
    if name in ("identity", "exp"):
        return np.ones_like(z) if name == "identity" else np.exp(z)
    if name in ("relu", "leaky_relu"):
        return np.where(z > 0, 1, 0 if name == "relu" else z.dtype.type("0.01"))
    minus = np.exp(-np.abs(z))
    sigmoid, other = np.where(z > 0, 1, minus) / (1 + minus), np.where(z > 0, minus, 1) / (1 + minus)
    if name == "sigmoid":
        return sigmoid * other
    if name == "tanh":
        return 1 / np.cosh(z) ** 2
    if name == "softplus":
        return sigmoid
    if name == "silu":
        return sigmoid * (1 + z * other)
    if name == "gelu":
        tail = -normal_tail(-np.abs(z)) / np.abs(z)
        return np.where(z > 0, 1 - tail, tail) + z * np.exp(-z * z / 2) / np.sqrt(
            2 * z.dtype.type("3.14159265358979323846264338327950288"))
    scale, alpha = (1, 1) if name == "elu" else (z.dtype.type(SELU_SCALE), z.dtype.type(SELU_ALPHA))
    return scale * np.where(z > 0, 1, alpha * np.exp(np.minimum(z, 0)))


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=needs_longdouble)])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_derivatives(name, dtype):
    """Right to a few roundings of the largest slope; silu's holds z times a rounded difference."""
    z = np.random.default_rng(4).uniform(-30, 30, 20_000)
    z[10_000:] /= 10
    z = z.astype(dtype)
    expected = exact_derivative(name, z.astype(np.float64 if dtype == "float32" else np.longdouble))
    roundings = 2.5 if name == "gelu" else 10
    bound = roundings * unit(dtype) * (np.abs(expected) if name == "exp" else np.maximum(np.abs(expected), 1))
    if name == "silu":
        bound += unit(dtype) * np.abs(z)
    assert (np.abs(getattr(activations, name).derivative(z) - expected) <= bound).all()


@each_dtype
def test_slopes_at_zero_are_those_of_the_negative_side(dtype):
    selu = 1.0507009873554804934 * 1.6732632423543772848
    for name, slope in {"relu": 0, "leaky_relu": 0.01, "elu": 1, "selu": selu}.items():
        for point in (0.0, -0.0, -np.finfo(dtype).smallest_normal):
            slopes = getattr(activations, name).derivative(np.full(19, point, dtype))
            np.testing.assert_allclose(slopes, slope, rtol=4 * unit(dtype))


@each_dtype
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_derivatives_at_infinity_are_limits(name, dtype):
    low, high = {"identity": (1, 1), "sigmoid": (0, 0), "tanh": (0, 0), "leaky_relu": (0.01, 1),
                 "selu": (0, 1.0507009873554804934), "exp": (0, np.inf)}.get(name, (0, 1))
    slopes = getattr(activations, name).derivative(np.array([-np.inf, -3e38, 3e38, np.inf], dtype))
    np.testing.assert_allclose(slopes, [low, low, high, high], rtol=2 * unit(dtype))


@pytest.mark.any_isa
def test_every_activation_is_tested():
    assert set(activations.ACTIVATIONS) == set(ACTIVATIONS) == {*LIMITS, "softmax"}
    assert all(activations.ACTIVATIONS[name] is getattr(fastnn.activations, name) for name in ACTIVATIONS)
