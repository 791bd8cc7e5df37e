"""The same bits: for a row in any batch, on every processor with fused multiply-add, in any layout, again.

The sum of a product runs over k in one order, whatever the sizes of a vector or a batch. The hashes
below hold for avx2, avx512 and neon alike. Neither NumPy, nor its BLAS, nor the C library has a say.
"""

import importlib
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from helpers import DTYPES, FEW, OPERATIONS, assert_within, digest, same_bits, unit

import fastnn
from fastnn import ops
from fastnn.core import dispatch

FMA_SETS = [name for name in ("avx2", "avx512", "neon") if name in dispatch.FOUND]
OPTIMIZERS = {
    "SGD": lambda: fastnn.SGD(0.05),
    "momentum": lambda: fastnn.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "Adam": lambda: fastnn.Adam(0.01),
    "AdamW, regularised": lambda: fastnn.AdamW(0.01, clip_norm=0.3, clip_value=0.2),
    "RMSprop": lambda: fastnn.RMSprop(0.003, momentum=0.5),
    "Adagrad": lambda: fastnn.Adagrad(0.03, learning_rate_decay=0.01),
    "Rprop": lambda: fastnn.Rprop(0.01),
    "L-BFGS": lambda: fastnn.LBFGS(4, tolerance_gradient=0, tolerance_change=0),
}
PENALTIES = {"l1": 1e-3, "l2": 1e-2}
# What is not the same for all optimizers: of the network, and of the fit.
NETWORKS = {"AdamW, regularised": PENALTIES | {"dropout": 0.3}, "L-BFGS": PENALTIES}
FITS = {"L-BFGS": {"batch_size": None, "epochs": 12}}
NETS = {    # layer sizes, hidden activations, output
    "relu-softmax": ([20, 33, 5], "relu", "softmax"),
    "tanh-gelu-sigmoid": ([7, 16, 9, 3], ["tanh", "gelu"], "sigmoid"),
    "elu-softplus-identity": ([3, 40, 17, 1], ["elu", "softplus"], "identity"),
    "silu-selu-exp": ([5, 8, 8, 2], ["silu", "selu"], "exp"),
}
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def on(instruction_set, function, *args):
    """The result of a function while fastnn uses one instruction set."""
    chosen = dispatch.kernels
    dispatch.kernels = dispatch.load(instruction_set)
    try:
        return function(*args)
    finally:
        dispatch.kernels = chosen


def data_for(net, rows=75):
    """Numbers that look random, made without a random generator: fractions that both dtypes hold exactly."""
    sizes, _, output = NETS[net]

    def fractions(*shape):
        return (np.arange(1, np.prod(shape) + 1) ** 2 * 7919 % 1009).reshape(shape) / 512

    X, y = fractions(rows, sizes[0]) - 1, fractions(rows, sizes[-1]) / 2
    return X, np.arange(rows) ** 2 % 11 % sizes[-1] if output == "softmax" else y


def trained(net, dtype, optimizer, X=None, epochs=3):
    """Everything that a fit makes: parameters, losses, predictions."""
    sizes, activation, output = NETS[net]
    network = fastnn.Network(sizes, activation=activation, output=output, dtype=dtype, seed=41,
                             **NETWORKS.get(optimizer, {}))
    own_X, y = data_for(net)
    X = own_X if X is None else X
    history = network.fit(X, y, optimizer=OPTIMIZERS[optimizer](),
                          **({"epochs": epochs, "batch_size": 16} | FITS.get(optimizer, {})))
    return network.get_parameters(), np.array(history.loss), network.predict(X)


def bits(arrays):
    return [a.tobytes() for a in arrays]


# Rows


ROWS = [0, 1, 3, 7, 64, 130]


def rows_that_depend_on_the_batch(run, x):
    """The result of each row alone, and in batches that start at it and at 0; returns rows that differ."""
    alone = np.concatenate([run(x[i:i + 1]) for i in range(len(x))])
    different = set()
    for first, length in itertools.product(ROWS, [2, 3, 4, 5, 6, 7, 8, 13, 17, 65, len(x)]):
        got = run(x[first:first + length])
        for i, row in enumerate(got):
            if row.tobytes() != alone[first + i].tobytes():
                different.add(first + i)
    return different


@each_dtype
@pytest.mark.parametrize(
    ("k", "n"), [(1, 1), (5, 3), (16, 16), (33, 17), (64, 10), (600, 7), (513, 260), (0, 4)])
def test_a_row_of_a_dense_layer_does_not_depend_on_the_others(k, n, dtype):
    rng = np.random.default_rng([42, k, n])
    x, w, b = (rng.normal(size=shape).astype(dtype) for shape in [(131, k), (k, n), n])
    for activation in ("identity", "gelu", "softmax"):
        def run(x, activation=activation):
            y = np.full((len(x), n), np.nan, dtype)
            ops.dense_forward(y, x, w, b, activation)
            return y

        assert not rows_that_depend_on_the_batch(run, x), activation


@each_dtype
@pytest.mark.parametrize("m", [600, 1030])
def test_a_row_of_a_large_batch_is_that_row_alone(m, dtype):
    rng = np.random.default_rng(43)
    x, w, b = (rng.normal(size=shape).astype(dtype) for shape in [(m, 70), (70, 300), 300])
    y, one = np.empty((m, 300), dtype), np.empty((1, 300), dtype)
    ops.dense_forward(y, x, w, b, "tanh")
    for i in range(0, m, 7):
        ops.dense_forward(one, x[i:i + 1], w, b, "tanh")
        assert same_bits(one[0], y[i]), i


@each_dtype
def test_a_hundred_thousand_rows_are_alone_and_in_any_part_what_they_are_together(dtype):
    network = fastnn.Network([20, 64, 33, 3], activation=["gelu", "relu"], output="softmax", dtype=dtype)
    rng = np.random.default_rng(42)
    X = rng.normal(size=(100_000, 20)).astype(dtype)
    together = network.predict(X)
    assert same_bits(np.stack([network.predict(row) for row in X]), together)
    parts = np.split(np.arange(len(X)), np.sort(rng.choice(len(X), 500, replace=False)))
    assert same_bits(np.concatenate([network.predict(X[part]) for part in parts]), together)
    order = rng.permutation(len(X))
    assert same_bits(network.predict(X[order]), together[order])


@each_dtype
def test_a_row_of_dx_does_not_depend_on_the_others(dtype):
    rng = np.random.default_rng(44)
    for k, n in [(5, 3), (33, 17), (300, 40)]:
        dz, w = rng.normal(size=(131, n)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)

        def run(dz, k=k, w=w):
            dx = np.full((len(dz), k), np.nan, dtype)
            ops.dense_backward(dx, None, None, dz, None, w)
            return dx

        assert not rows_that_depend_on_the_batch(run, dz)


# Instruction sets


def needs_two_sets():
    if len(FMA_SETS) < 2:
        pytest.skip(f"NOT TESTED: only {FMA_SETS or 'none'} of the sets with fused multiply-add run here")


@pytest.mark.any_isa
@each_dtype
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_have_the_same_bits_on_all_sets_with_fused_multiply_add(name, dtype):
    needs_two_sets()
    every_size = [(1, 1, 1), (3, 5, 7), (16, 16, 16), (17, 33, 31), (70, 129, 66), (130, 600, 300)]
    for sizes in every_size if name in FEW else every_size[:-1]:
        results = [on(isa, OPERATIONS[name].run, *OPERATIONS[name].arrays(*sizes, dtype)) for isa in FMA_SETS]
        assert all(result == results[0] for result in results), sizes


@pytest.mark.any_isa
@each_dtype
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("net", NETS)
def test_training_has_the_same_bits_on_all_sets_with_fused_multiply_add(net, optimizer, dtype):
    needs_two_sets()
    results = [bits(on(isa, trained, net, dtype, optimizer)) for isa in FMA_SETS]
    assert all(result == results[0] for result in results)


@pytest.mark.any_isa
@each_dtype
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_without_fused_multiply_add_are_close(name, dtype):
    """sse2 rounds twice where the others round once: within 4 (k + 4) roundings of the largest element."""
    if not FMA_SETS or "sse2" not in dispatch.FOUND:
        pytest.skip("NOT TESTED: sse2 and a set with fused multiply-add do not both run here")
    for m, k, n in [(3, 5, 7), (17, 33, 31)]:
        results = []
        for isa in (FMA_SETS[0], "sse2"):
            outputs, inputs = OPERATIONS[name].arrays(m, k, n, dtype)
            value = on(isa, lambda outputs=outputs, inputs=inputs: OPERATIONS[name].call(**outputs, **inputs))
            results.append([np.array([value or 0.0]), *outputs.values()])
        for a, b in zip(*results, strict=True):
            assert_within(a, b, 4 * (max(m, k, n) + 4) * unit(dtype) * np.abs(a).max())


@pytest.mark.any_isa
@each_dtype
@pytest.mark.parametrize("net", NETS)
def test_training_without_fused_multiply_add_is_close(net, dtype):
    """Three epochs of SGD on sse2: parameters and losses within 2000 roundings."""
    if not FMA_SETS or "sse2" not in dispatch.FOUND:
        pytest.skip("NOT TESTED: sse2 and a set with fused multiply-add do not both run here")
    results = [on(isa, trained, net, dtype, "SGD") for isa in (FMA_SETS[0], "sse2")]
    for a, b in zip(*results, strict=True):
        assert_within(a, b, 2000 * unit(dtype) * np.maximum(np.abs(a), 0.1))


# Hashes of the parameters after three epochs, after 12 of L-BFGS. A change of one of them changes the results of
# every user: it needs a line in CHANGELOG.md.
GOLDEN = {
    ("relu-softmax", "float32", "SGD"):
        "b9c6be19f269e6b6c0dc9dbabec701ac30e428a03f1eb61ef2ad457ef90a13dd",
    ("tanh-gelu-sigmoid", "float64", "Adam"):
        "3b71d12867aff92c85ec321e880ed1eaa5bcde795269eac0fea9f6688a716e65",
    ("elu-softplus-identity", "float32", "momentum"):
        "b1f727483ce6519ea0660880746942374744f56fff672203ef8201268ac9908f",
    ("tanh-gelu-sigmoid", "float32", "AdamW, regularised"):
        "61d36141626fdf43bff353c53dce286f049da07328fcff581c7cda19db0b581f",
    ("silu-selu-exp", "float64", "AdamW, regularised"):
        "9701d988a6b5fafd9694b6e1ca73c8f5c13fbd4be9ba90be95b97c7c75983903",
    ("relu-softmax", "float64", "RMSprop"):
        "f2f9a7d2f44dea26ff39dbfd5ff9e2436f58c1f8e3e64bd1fc3eca882382312d",
    ("relu-softmax", "float32", "L-BFGS"):
        "b0f81bea08f446e849d5a551d0f8b76213319256707a9b4b4a4536fe7dca263e",
    ("elu-softplus-identity", "float64", "L-BFGS"):
        "1c35b9265ab25a91a3d42c5bf35bd6bee76b220b78017f4053a90171e99e9497",
}


@pytest.mark.any_isa
@pytest.mark.parametrize("isa_name", ["avx2", "avx512", "neon"])
@pytest.mark.parametrize("case", GOLDEN, ids="-".join)
def test_golden_bits(case, isa_name):
    if isa_name not in FMA_SETS:
        pytest.skip(f"NOT TESTED: {isa_name} does not run here")
    net, dtype, optimizer = case
    assert digest(on(isa_name, trained, net, dtype, optimizer)[0]) == GOLDEN[case]


# Training


@each_dtype
def test_training_does_not_depend_on_what_ran_before(dtype):
    expected = bits(trained("tanh-gelu-sigmoid", dtype, "Adam"))
    np.random.seed(5)
    for net, other in itertools.product(NETS, DTYPES):
        trained(net, other, "momentum", epochs=1)
    for name in FEW:    # leaves other values in whatever memory is shared
        OPERATIONS[name].run(*OPERATIONS[name].arrays(40, 600, 300, dtype))
    assert bits(trained("tanh-gelu-sigmoid", dtype, "Adam")) == expected


@each_dtype
def test_training_does_not_depend_on_the_layout_of_its_data(dtype):
    X, _ = data_for("relu-softmax")
    X = X.astype(dtype)
    expected = bits(trained("relu-softmax", dtype, "Adam", X))
    wide = np.full((len(X), 3 * X.shape[1]), np.nan, dtype)
    wide[:, 5:5 + 2 * X.shape[1]:2] = X
    for layout in (np.asfortranarray(X), X[::-1].copy()[::-1], wide[:, 5:5 + 2 * X.shape[1]:2]):
        assert bits(trained("relu-softmax", dtype, "Adam", layout)) == expected


@each_dtype
def test_training_does_not_depend_on_where_its_memory_lies(dtype):
    expected = bits(trained("elu-softplus-identity", dtype, "Adam"))
    held = []
    for shift in range(1, 20):
        held.append(np.empty(1000 + 7 * shift, np.uint8))
        assert bits(trained("elu-softplus-identity", dtype, "Adam")) == expected


# Libraries


LIBRARIES_MATTER = """
import copy, hashlib, importlib, os, sys
import numpy as np
import fastnn
from fastnn import schedules
from fastnn import scaling
from fastnn.initializers import INITIALIZERS

umath = importlib.import_module(sys.argv[1])
assert not any(umath.__cpu_features__[name] for name in os.environ.get("NPY_DISABLE_CPU_FEATURES", "").split())

def show(name, *arrays):
    print(name, hashlib.sha256(b"".join(np.asarray(array).tobytes() for array in arrays)).hexdigest())

def fractions(*shape):
    return (np.arange(1, np.prod(shape) + 1) ** 2 * 7919 % 1009).reshape(shape) / 512

X, Y, labels = fractions(120, 7) - 1, fractions(120, 5), np.arange(120) ** 2 % 5
shares = (fractions(120, 11) + 0.1) / (fractions(120, 11) + 0.1).sum(axis=1, keepdims=True)
for rate in (schedules.StepDecay(0.05, 2, 0.7, by="step"), schedules.ExponentialDecay(0.05, 0.999, by="step"),
             schedules.ExponentialDecay(0.05, 0.7), schedules.CosineDecay(0.05, 97, by="step"),
             schedules.OneCycle(0.05, 97), schedules.WarmUp(schedules.CosineDecay(0.05, 7), 31),
             schedules.ReduceOnPlateau(0.05, 0.7, patience=0)):
    for dtype in ("float32", "float64"):
        network = fastnn.Network([7, 9, 5], activation="tanh", dtype=dtype)
        history = network.fit(X, Y, epochs=8, optimizer=fastnn.SGD(copy.copy(rate)), metrics=["r2", "mae", "rmse"],
                              early_stopping=fastnn.EarlyStopping(2, monitor="r2"))
        show(f"{rate} {dtype}", network.get_parameters(), history.loss, history.r2, history.mae, history.rmse)
    show(rate, rate.rates(5, 10**6, 100), rate.rates(10**6, 2**60, 100))
for weights in ("balanced", {label: 0.1 + label / 3 for label in range(11)}):
    for dtype in ("float32", "float64"):
        network = fastnn.Network([7, 9, 11], output="softmax", dtype=dtype, label_smoothing=0.1)
        history = network.fit(X, shares, epochs=3, class_weight=weights)
        show(f"{weights} {dtype}", history.loss, network.get_parameters())
        network = fastnn.Network([7, 9, 5], output="softmax", dtype=dtype)
        network.fit(X, labels, class_weight="balanced", metrics=["accuracy"], optimizer=fastnn.AdamW())
        show(f"labels {dtype}", network.get_parameters())
for dtype in ("float32", "float64"):
    network = fastnn.Network([7, 9, 5], activation="tanh", dtype=dtype, l1=1e-3, l2=1e-2)
    history = network.fit(X, Y, epochs=20, optimizer=fastnn.LBFGS(5))
    show(f"L-BFGS {dtype}", history.loss, network.get_parameters(), *network.optimizer.state)
for initializer in INITIALIZERS:
    show(initializer, fastnn.Network([300, 60, 3], dtype="float64", initializer=initializer).get_parameters())
standard = scaling.Scaling.of(X)
show("folded", scaling.folded(fastnn.Network([7, 33, 5], dtype="float64"), standard, None).get_parameters())
"""


def numpy_core():
    """The name of the module that knows what NumPy finds in the processor."""
    return next(name for name in ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath")
                if importlib.util.find_spec(name.rpartition(".")[0]))


def other_libraries():
    """Environments in which NumPy, its BLAS and the C library choose other code than here."""
    umath = importlib.import_module(numpy_core())
    found = [name for name in umath.__cpu_dispatch__ if umath.__cpu_features__[name]]
    several = {f"NumPy without {' '.join(found[first:])}": {"NPY_DISABLE_CPU_FEATURES": " ".join(found[first:])}
               for first in range(len(found))}
    return several | {f"BLAS for {name}": {"OPENBLAS_CORETYPE": name} for name in ("Prescott", "Haswell")} | {
        "the C library without AVX2": {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4,-AVX512F"}}


@pytest.mark.any_isa
def test_training_has_the_same_bits_whatever_numpy_blas_and_the_c_library_choose():
    """Schedules, soft targets with class weights, L-BFGS, initial weights, metrics that stop a fit, folded scalings."""

    def lines(**environment):
        run = subprocess.run([sys.executable, "-c", LIBRARIES_MATTER, numpy_core()], env=os.environ | environment,
                             capture_output=True, text=True, timeout=300, check=False)
        assert run.returncode == 0, run.stderr
        return run.stdout.splitlines()

    expected = lines()
    assert len(expected) == 7 * 3 + 2 * 2 * 2 + 2 + 6 + 1
    for name, environment in other_libraries().items():
        assert lines(**environment) == expected, name
