"""What the tests share: folders, operations as data, error bounds, memory layouts, guard pages, ULPs.

An `Operation` makes its own arrays for given sizes and runs on any that are put in their place, so
that one test covers every function of `fastnn.ops`. No test is here.
"""

import ctypes
import hashlib
import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from fastnn import ops, reference

TESTS = Path(__file__).parent
DATA = TESTS / "data"
ROOT = TESTS.parent       # of the repository

NOT_SANITIZED = pytest.mark.skipif(
    "libasan" in os.environ.get("LD_PRELOAD", ""), reason="NOT TESTED: AddressSanitizer takes memory in its own way")
DTYPES = ["float32", "float64"]
ACTIVATIONS = [*reference.ACTIVATIONS, "softmax"]
REGRESSION_LOSSES = ["mse", "half_mse", "mae", "huber", "quantile"]
PAIRS = [
    *((loss, activation) for loss in REGRESSION_LOSSES for activation in reference.ACTIVATIONS),
    ("focal", "sigmoid"), ("focal", "softmax"),
    ("binary_cross_entropy", "sigmoid"), ("cross_entropy", "softmax"), ("poisson", "exp"),
]


def unit(dtype):
    """The largest relative error of one rounding."""
    return float(np.finfo(dtype).eps) / 2


def gamma(terms, dtype):
    """Bounds the error of a sum of products, in any order: |error| <= gamma * sum of |products|."""
    return terms * unit(dtype) / (1 - terms * unit(dtype))


def same_bits(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def digest(parameters):
    """A hash of their bits, the same on every machine."""
    return hashlib.sha256(parameters.astype(parameters.dtype.newbyteorder("<")).tobytes()).hexdigest()


def rounds(few, many):
    """Runs a test in few rounds with every change, in many at night."""
    return pytest.mark.parametrize("rounds", [few, pytest.param(many, marks=pytest.mark.nightly)])


# Networks


def regression_data(n, n_in, n_out, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, n_in)).astype(dtype), rng.normal(size=(n, n_out)).astype(dtype)


def packed(gradients):
    pairs = zip(gradients.weights, gradients.biases, strict=True)
    return np.concatenate([part.ravel() for pair in pairs for part in pair])


# Operations


@dataclass(frozen=True)
class Operation:
    """One function of `fastnn.ops`: the arrays that it writes, those that it reads, and the call."""

    outputs: Callable           # (rng, m, k, n) -> {name: array}
    inputs: Callable            # (rng, m, k, n) -> {name: array}
    call: Callable              # (**arrays) -> float or None

    def arrays(self, m, k, n, dtype, seed=0):
        """Fresh outputs and inputs; an output that is not read too is full of NaN."""
        rng = np.random.default_rng([seed, m, k, n])
        outputs, inputs = self.outputs(rng, m, k, n), self.inputs(rng, m, k, n)
        as_dtype = {name: a.astype(dtype) for name, a in inputs.items() if name != "weights"}
        return {name: a.astype(dtype) for name, a in outputs.items()}, inputs | as_dtype

    def run(self, outputs, inputs):
        """The bits that come out: of the returned value, then of every output."""
        value = self.call(**outputs, **inputs)
        value = np.float64(np.nan if value is None else value)
        return [value.tobytes(), *(a.tobytes() for a in outputs.values())]


def nan(*shape):
    return np.full(shape, np.nan)


def forward(activation):
    return Operation(
        outputs=lambda rng, m, k, n: {"y": nan(m, n)},
        inputs=lambda rng, m, k, n: {
            "x": rng.normal(size=(m, k)), "w": rng.normal(size=(k, n)), "b": rng.normal(size=n)},
        call=lambda y, x, w, b: ops.dense_forward(y, x, w, b, activation),
    )


def activation_forward(activation):
    return Operation(
        outputs=lambda rng, m, k, n: {"y": nan(m, n)},
        inputs=lambda rng, m, k, n: {"z": rng.normal(scale=3, size=(m, n))},
        call=lambda y, z: ops.activation_forward(y, z, activation),
    )


def activation_backward(activation):
    def inputs(rng, m, k, n):
        z = rng.normal(scale=3, size=(m, n))
        return {"dy": rng.normal(size=(m, n)), "y": reference.activation_forward(z, activation), "z": z}

    return Operation(
        outputs=lambda rng, m, k, n: {"dz": nan(m, n)},
        inputs=inputs,
        call=lambda dz, dy, y, z: ops.activation_backward(dz, dy, y, z, activation),
    )


def draw_targets(rng, loss, activation, m, n):
    if loss in ("binary_cross_entropy", "focal") and activation == "sigmoid":
        return rng.uniform(size=(m, n))
    if activation == "softmax":
        return rng.dirichlet(np.ones(n), size=m)
    if loss == "poisson":
        return rng.poisson(2.0, size=(m, n)).astype(float)
    return rng.normal(scale=2, size=(m, n))


def loss_forward_backward(loss, activation, weighted=False):
    def inputs(rng, m, k, n):
        arrays = {"z": rng.normal(scale=2, size=(m, n)), "t": draw_targets(rng, loss, activation, m, n)}
        return arrays | ({"weights": rng.uniform(0.5, 2, size=m)} if weighted else {})

    return Operation(
        outputs=lambda rng, m, k, n: {"dz": nan(m, n)},
        inputs=inputs,
        call=lambda dz, z, t, weights=None: ops.loss_forward_backward(dz, z, t, loss, activation, weights),
    )


OPERATIONS = {
    **{f"dense_forward {name}": forward(name) for name in ("identity", "relu", "tanh", "softmax")},
    "dense_backward": Operation(
        outputs=lambda rng, m, k, n: {"dx": nan(m, k), "dw": nan(k, n), "db": nan(n)},
        inputs=lambda rng, m, k, n: {
            "dz": rng.normal(size=(m, n)), "x": rng.normal(size=(m, k)), "w": rng.normal(size=(k, n))},
        call=ops.dense_backward,
    ),
    **{f"activation_forward {name}": activation_forward(name) for name in ACTIVATIONS},
    **{f"activation_backward {name}": activation_backward(name) for name in ACTIVATIONS},
    **{f"loss {loss} {activation}": loss_forward_backward(loss, activation)
       for loss, activation in [
           ("mse", "sigmoid"), ("mse", "tanh"), ("half_mse", "identity"), ("mae", "leaky_relu"),
           ("huber", "exp"), *PAIRS[-3:]]},
    "loss huber gelu, weighted": loss_forward_backward("huber", "gelu", weighted=True),
    "loss cross_entropy softmax, weighted": loss_forward_backward("cross_entropy", "softmax", weighted=True),
    "sgd_update": Operation(
        outputs=lambda rng, m, k, n: {"parameters": rng.normal(size=n)},
        inputs=lambda rng, m, k, n: {"gradients": rng.normal(size=n)},
        call=lambda parameters, gradients: ops.sgd_update(parameters, gradients, 0.1),
    ),
    "sgd_update with velocity": Operation(
        outputs=lambda rng, m, k, n: {name: rng.normal(size=n) for name in ("parameters", "velocity")},
        inputs=lambda rng, m, k, n: {"gradients": rng.normal(size=n)},
        call=lambda parameters, velocity, gradients: ops.sgd_update(
            parameters, gradients, 0.1, velocity, momentum=0.9, weight_decay=0.01, nesterov=True),
    ),
    "adam_update": Operation(
        outputs=lambda rng, m, k, n: {
            name: np.abs(rng.normal(size=n)) for name in ("parameters", "first", "second")},
        inputs=lambda rng, m, k, n: {"gradients": rng.normal(size=n)},
        call=lambda parameters, first, second, gradients: ops.adam_update(
            parameters, gradients, first, second, 3),
    ),
}
# One of each kind of code, where a test is too slow or too much alike to run all of them.
FEW = [
    "dense_forward identity", "dense_forward tanh", "dense_forward softmax", "dense_backward",
    "activation_forward gelu", "activation_forward softmax", "activation_backward silu",
    "activation_backward softmax", "loss mse sigmoid", "loss cross_entropy softmax, weighted",
    "loss binary_cross_entropy sigmoid", "loss poisson exp", "sgd_update",
    "sgd_update with velocity", "adam_update",
]


# Bounds


def assert_within(actual, expected, bound):
    """Every element within its bound; NaN is not."""
    error = np.abs(actual - expected)
    assert actual.shape == expected.shape
    good = (error <= bound) | (actual == expected)
    worst = np.nanmax(error, initial=0)
    assert good.all(), f"{(~good).sum()} of {good.size} elements off, by up to {worst:.3g}"


def assert_product(actual, a, b, dtype, bias=0.0, precise=np.float64):
    """actual is a @ b + bias, up to the error of sums in any order, and as much again for the reference's."""
    a, b, bias = (np.asarray(part, dtype=precise) for part in (a, b, bias))
    terms = a.shape[1] + 1
    assert_within(actual, a @ b + bias, 2 * gamma(terms, dtype) * (np.abs(a) @ np.abs(b) + np.abs(bias)))


def ulps(actual, expected, dtype):
    """|actual - expected| in units of the last place of expected, which is more precise than dtype.

    Subnormal numbers count as zero, as results and between them: an error below twice the smallest
    normal number is none. Beyond the largest number infinity is right (and the largest itself, if
    expected rounds to it).
    """
    limits = np.finfo(dtype)
    wide = actual.astype(expected.dtype)
    _, exponent = np.frexp(expected)
    last_place = np.ldexp(np.ones_like(expected), np.maximum(exponent, limits.minexp + 1) - limits.nmant - 1)
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.where(actual == expected, 0, np.abs(wide - expected) / last_place)
    tiny, largest = limits.smallest_normal, expected.dtype.type(limits.max)
    with np.errstate(invalid="ignore"):
        error[np.abs(wide - expected) < 2 * expected.dtype.type(tiny)] = 0
    beyond = np.abs(expected) > largest
    error[beyond & (actual == np.copysign(np.inf, expected))] = 0
    near = np.abs(expected) > largest * (1 - 4 * expected.dtype.type(limits.eps))
    error[near & np.isinf(actual) & (np.signbit(actual) == np.signbit(expected))] = 0
    error[np.isnan(expected) & np.isnan(actual)] = 0
    return error


# Memory


def misaligned(a):
    moved = np.frombuffer(bytearray(a.nbytes + 1), dtype=a.dtype, offset=1, count=a.size).reshape(a.shape)
    moved[...] = a
    assert a.size == 0 or not moved.flags.aligned
    return moved


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def sliced(a):
    """Every second element of every second row, in memory full of NaN."""
    memory = np.full([2 * size + 1 for size in a.shape], np.nan, a.dtype)
    view = memory[(slice(1, None, 2),) * a.ndim]
    view[...] = a
    return view


def pitched(a):
    """Rows that are contiguous, begin on a 64-byte boundary and have NaN between them."""
    if a.ndim == 1:
        return a.copy()
    pitch = a.shape[1] * a.itemsize // 64 * 64 + 64
    memory = np.frombuffer(bytearray(a.shape[0] * pitch + 64), np.uint8)
    start = -memory.ctypes.data % 64
    rows = memory[start:start + a.shape[0] * pitch].view(a.dtype).reshape(a.shape[0], -1)
    rows[...] = np.nan
    rows[:, :a.shape[1]] = a
    return rows[:, :a.shape[1]]


LAYOUTS = {                     # every one writable, and so good for outputs too
    "C": lambda a: a.copy(),
    "Fortran": lambda a: a.copy(order="F"),
    "sliced": sliced,
    "pitched": pitched,
    "reversed rows": lambda a: a[::-1].copy()[::-1],
    "reversed columns": lambda a: a[..., ::-1].copy()[..., ::-1],
    "transposed": lambda a: a.T.copy().T,
}
INPUT_LAYOUTS = LAYOUTS | {"read-only": read_only}


class Guarded:
    """Memory between two pages that nobody may touch: a stray access kills the process."""

    SIZE = 16 * mmap.PAGESIZE

    def __init__(self):
        self.memory = mmap.mmap(-1, self.SIZE + 2 * mmap.PAGESIZE)
        self.bytes = np.frombuffer(self.memory, np.uint8)[mmap.PAGESIZE:-mmap.PAGESIZE]
        mprotect = ctypes.CDLL(None, use_errno=True).mprotect
        for page in (self.bytes.ctypes.data - mmap.PAGESIZE, self.bytes.ctypes.data + self.SIZE):
            assert mprotect(ctypes.c_void_p(page), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0, "mprotect failed"

    def at_end(self, a, pitch=0):
        """A copy of a whose last byte is the last before the guard; `pitch` bytes from row to row, if any."""
        strides = (pitch, a.itemsize) if pitch and a.ndim == 2 else np.empty_like(a, order="C").strides
        last = sum((n - 1) * stride for n, stride in zip(a.shape, strides, strict=True))
        return self._copy(a, self.SIZE - last - a.itemsize, strides)

    def at_start(self, a):
        """A copy of a whose first byte is the first after the guard."""
        return self._copy(a, 0, np.empty_like(a, order="C").strides)

    def _copy(self, a, offset, strides):
        first = np.frombuffer(self.bytes, a.dtype, offset=offset, count=1)
        view = as_strided(first, a.shape, strides)
        view[...] = a
        return view
