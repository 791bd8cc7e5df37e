"""Any allocation may fail: Python's, C's, and a thread's. Then there is an exception, and the network still works.

Programs in processes of their own make each allocation fail in turn. Many rounds are `nightly`.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import textwrap

import pytest
from helpers import NOT_SANITIZED, rounds
from programs import answer, python

pytestmark = pytest.mark.any_isa

EACH_ALLOCATION = """
    import json, os, pickle, re, sys, tempfile, traceback
    import numpy as np, fastnn
    from fastnn import ops

    {arming}    # arm(n): the n-th allocation from now on fails, from 0; disarm(): whether it came to that, or None

    # Others' faults: CPython's where it raises, opens a file or pickles; NumPy's where a copy or a loop finds no
    # buffer, and in `ctypes.data`. Nothing of fastnn's may be named, and where it neither raises nor lets NumPy
    # compute (STRICT) nothing is tolerated.
    FOREIGN = re.compile(
        "SystemError: (<(ufunc|(built-in )?(function|method)) '?(?!.*fastnn).*> returned (NULL without setting|a "
        "result with) an exception|error return without exception set|NULL object passed to Py_BuildValue)|"
        "RuntimeError: can't allocate read lock|PicklingError: Can't pickle <.*: import of module .* failed")
    STRICT = {{"predict", "predict, short way", "evaluate", "gradients", "layer outputs", "train on batch",
              "train on batch, short way", "fit", "first fit", "shared fit", "shared predict", "operation"}}

    rng = np.random.default_rng(85)
    X, Y = rng.normal(size=(24, 5)), rng.normal(size=(24, 2))
    X32, Y32 = X.astype("f"), Y.astype("f")
    wide = rng.normal(size=(256, 400)).astype("f")
    fit = dict(batch_size=8, shuffle=False)
    folder = tempfile.mkdtemp()
    path = os.path.join(folder, "model")

    def loss(outputs, targets):
        difference = outputs - targets
        return float((difference * difference).mean()), 2 * difference / difference.size

    def network(**options):
        return fastnn.Network([5, 9, 2], activation="gelu", **options)

    def trained(steps=3, **options):
        net = network(**options)
        optimizer = fastnn.Adam(0.01)
        for step in range(steps):
            rows = slice(8 * (step % 3), 8 * (step % 3) + 8)
            net.fit(X[rows], Y[rows], optimizer=optimizer, **fit)
        return net

    def large():
        net = fastnn.Network([400, 400, 1])
        net.fit(wide[:64], wide[:64, 0], batch_size=64, optimizer=fastnn.Adam(0.01), threads=2)
        return net              # the next fit's batch is larger, and needs other memory

    def shared_fit(net):
        net.fit(wide, wide[:, 0], batch_size=256, threads=2)
        return net

    def diverge(net, **options):
        try:
            net.fit(*options.pop("rows"), **options)
        except fastnn.DivergenceError:
            return
        raise AssertionError("it did not diverge")

    def strided(_):
        y, x, w = np.full((24, 8), np.nan)[:, ::2], np.ones((24, 6))[:, ::2], np.ones((3, 8))[:, ::2]
        ops.dense_forward(y, x, w, np.zeros(8)[::2])
        assert y.tolist() == [[3.0] * 4] * 24

    PATH = [trained(steps).get_parameters().tobytes() for steps in range(13)]
    PYTHON_PATH = [trained(steps, loss=loss).get_parameters().tobytes() for steps in range(13)]
    LARGE_PATH = [b"", large().get_parameters().tobytes(), shared_fit(large()).get_parameters().tobytes()]

    def on_path(path, low, high):
        # the network is where some whole number of steps leads, and goes on from there
        def check(net):
            steps = net.optimizer.steps if net.optimizer else 0
            assert low <= steps <= high, f"{{steps}} steps"
            assert net.get_parameters().tobytes() == path[steps], f"not the bits of {{steps}} steps"
            if steps % 3 == 0:
                net.fit(X, Y, optimizer=net.optimizer or fastnn.Adam(0.01), **fit)
                assert net.get_parameters().tobytes() == path[steps + 3], "other bits afterwards"
            assert net.predict(X).tobytes() == net.predict(X32).tobytes()
        return check

    def unchanged(net):
        assert net.get_parameters().tobytes() == PATH[3], "changed"
        twin = trained()
        for each in (net, twin):
            each.fit(X, Y, optimizer=fastnn.Adam(0.01), **fit)
        assert net.get_parameters().tobytes() == twin.get_parameters().tobytes(), "other bits afterwards"

    def file_is_whole(net):
        if os.path.exists(path):
            assert fastnn.load(path).get_parameters().tobytes() == PATH[3]
        on_path(PATH, 3, 3)(net)
        trained().save(path)
        assert os.listdir(folder) == ["model"]

    def large_on_path(net):
        assert net.get_parameters().tobytes() == LARGE_PATH[net.optimizer.steps], "changed"
        if net.optimizer.steps == 1:
            assert shared_fit(net).get_parameters().tobytes() == LARGE_PATH[2], "other bits afterwards"

    def nothing(_=None):
        pass

    def spoiled(net):
        try:
            net.predict(X)
        except MemoryError:
            net.weights[0][0, 0] += 1
            raise

    def misnamed(net):
        try:
            net.predict(X)
        except MemoryError:
            raise SystemError("<method 'predict' of 'fastnn' objects> returned NULL without setting an exception")

    same = on_path(PATH, 3, 3)
    OPERATIONS = {{     # what there is before, what is done, what must hold after an error
        "build": (nothing, lambda _: network(), nothing),
        "predict": (trained, lambda net: net.predict(X), same),
        "predict, short way": (trained, lambda net: net.predict(X32), same),
        "evaluate": (trained, lambda net: net.evaluate(X, Y), same),
        "gradients": (trained, lambda net: net.gradients(X, Y), same),
        "layer outputs": (trained, lambda net: net.layer_outputs(X), same),
        "set parameters": (trained, lambda net: net.set_parameters(net.get_parameters()), same),
        "train on batch": (trained, lambda net: net.train_on_batch(X[:8], Y[:8]), on_path(PATH, 3, 4)),
        "train on batch, short way": (
            lambda: fastnn.Network([5, 1]), lambda net: [net.train_on_batch(x, 0.5) for x in X32[:4]], nothing),
        "fit": (trained, lambda net: net.fit(X, Y, epochs=2, **fit), on_path(PATH, 3, 9)),
        "first fit": (network, lambda net: net.fit(X, Y, epochs=2, optimizer=fastnn.Adam(0.01), **fit),
                      on_path(PATH, 0, 6)),
        "fit with everything": (trained, lambda net: net.fit(
            X, Y, epochs=2, validation_data=(X, Y), metrics=["r2"], early_stopping=fastnn.EarlyStopping(5), **fit),
            on_path(PATH, 3, 9)),
        "fit of batches": (trained, lambda net: net.fit([(X[i:i + 8], Y[i:i + 8]) for i in (0, 8, 16)], epochs=2),
                           on_path(PATH, 3, 9)),
        "fit by a Python loss": (lambda: trained(loss=loss), lambda net: net.fit(X, Y, epochs=2, **fit),
                                 on_path(PYTHON_PATH, 3, 9)),
        "diverge": (trained, lambda net: diverge(
            net, rows=[[(X[:8], Y[:8]), (1e30 * X[8:16], Y[8:16])]]), on_path(PATH, 3, 4)),
        "diverge by the rate": (trained, lambda net: diverge(
            net, rows=(1e3 * X, Y), epochs=3, optimizer=fastnn.SGD(3e38), **fit), unchanged),
        "save": (trained, lambda net: net.save(path), file_is_whole),
        "load": (lambda: trained().save(path), lambda _: fastnn.load(path), nothing),
        "pickle": (trained, lambda net: pickle.loads(pickle.dumps(net)), same),
        "operation": (nothing, strided, nothing),
        "shared fit": (large, shared_fit, large_on_path),
        "shared predict": (large, lambda net: net.predict(wide), large_on_path),
        "spoiled": (trained, spoiled, same),
        "misnamed": (trained, misnamed, same),
    }}

    unraisable = []
    sys.unraisablehook = lambda hook: unraisable.append(f"ignored: {{hook.exc_value!r}} in {{hook.object!r}}")
    report = {{}}
    for name in {names}:
        before, operation, check = OPERATIONS[name]
        operation(before())         # imports and caches
        failures, quiet, wrong, foreign, n = 0, 0, [], {{}}, -1
        while quiet <= {patience}:
            n += 1 if n < {all_up_to} or quiet else 7
            subject, error = before(), None
            arm(n)
            try:
                operation(subject)
                reached = disarm()
            except BaseException as caught:
                reached = disarm()
                error = caught
            reached = error is not None if reached is None else reached
            failures += reached
            quiet = 0 if reached else quiet + 1     # a cache that is not made does without
            line = error and traceback.format_exception_only(error)[-1].strip()
            if error is not None and not isinstance(error, MemoryError):
                if name not in STRICT and FOREIGN.search(line):
                    foreign[line[:60]] = foreign.get(line[:60], 0) + 1
                else:
                    wrong.append([n, "".join(traceback.format_exception(error))])
            # pyo3 leaves one behind where safetensors panics
            wrong += [[n, text] for text in unraisable if not text.endswith("in None")]
            unraisable.clear()
            try:
                check(subject)
            except BaseException as caught:
                wrong.append([n, line, "".join(traceback.format_exception(caught))])
        report[name] = [failures, wrong[:3], foreign]
    print(json.dumps(report))
"""
PYTHONS = """
    import _testcapi
    def arm(n): _testcapi.set_nomemory(n, n + 1)
    disarm = _testcapi.remove_mem_hooks
"""
GENERATORS = """
    import _testcapi
    for n in range(60):
        _testcapi.set_nomemory(n, n + 1)
        try:
            tuple(int(i) for i in (1, 2, 3))
        except MemoryError:
            pass
        _testcapi.remove_mem_hooks()
"""
OPERATIONS = [
    "build", "predict", "predict, short way", "evaluate", "gradients", "layer outputs", "set parameters",
    "train on batch", "train on batch, short way", "fit", "first fit", "fit with everything", "fit of batches",
    "fit by a Python loss", "diverge", "diverge by the rate", "save", "load", "pickle", "operation", "shared fit",
    "shared predict",
]


def check_allocations(names, arming, patience, all_up_to=10**6, **options):
    """Allocations of an operation fail in turn: all, or the first so many and then every seventh; returns
    {name: how many did}."""
    script = textwrap.dedent(EACH_ALLOCATION).format(
        arming=textwrap.dedent(arming), names=names, patience=patience, all_up_to=all_up_to)
    report = answer(script, timeout=1200, **options)
    for name, (failures, wrong, foreign) in report.items():
        print(f"{name}: {failures} allocations failed; others' errors: {foreign}")
        assert not wrong, f"{name}, at allocation {wrong[0][0]}: " + "\n".join(map(str, wrong[0][1:]))
    return {name: failures for name, (failures, *_) in report.items()}


def testcapi_or_skip():
    pytest.importorskip("_testcapi", reason="NOT TESTED: this Python has no _testcapi")
    if sys.version_info >= (3, 14):
        pytest.skip("NOT TESTED: list.append of CPython 3.14 frees an item twice where the list cannot grow")
    if hasattr(sys, "gettotalrefcount") or sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("NOT TESTED: this build of CPython dies where its own allocations fail, with no extension module")
    if python(GENERATORS).returncode < 0:
        pytest.skip("NOT TESTED: this CPython (3.12.1 and 3.13.0 do) dies where a generator of its own finds no memory")


@rounds(150, 10**6)
def test_every_python_allocation_may_fail(rounds):
    testcapi_or_skip()
    counts = check_allocations(OPERATIONS, PYTHONS, patience=40, all_up_to=rounds, RUST_BACKTRACE="0")
    assert min(counts.values()) >= 3 and sum(counts.values()) > 1500, counts


@pytest.mark.parametrize("name, words", [("spoiled", "not the bits of 3 steps"), ("misnamed", "SystemError")])
def test_the_check_of_allocations_can_fail(name, words):
    testcapi_or_skip()
    with pytest.raises(AssertionError, match=words):
        check_allocations([name], PYTHONS, patience=40)


SHIM = r"""
    #define _GNU_SOURCE
    #include <dlfcn.h>
    #include <errno.h>
    #include <pthread.h>
    #include <stdlib.h>
    #include <string.h>

    extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_memalign(size_t, size_t);
    static volatile int armed;
    static long wanted, seen;
    static const char *whose = "?";

    void shim_arm(const char *library, long n) { whose = library; wanted = n; seen = 0; armed = 1; }
    int shim_disarm(void) { armed = 0; return seen > wanted; }

    static int fails(void *caller)
    {
        Dl_info info;
        if (!armed)
            return 0;
        armed = 0;          /* what looks for the caller may allocate */
        int theirs = dladdr(caller, &info) && info.dli_fname && strstr(info.dli_fname, whose);
        armed = 1;
        if (!theirs || __sync_fetch_and_add(&seen, 1) != wanted)
            return 0;
        errno = ENOMEM;
        return 1;
    }

    #define FAILS fails(__builtin_return_address(0))
    void *malloc(size_t n) { return FAILS ? NULL : __libc_malloc(n); }
    void *calloc(size_t n, size_t size) { return FAILS ? NULL : __libc_calloc(n, size); }
    void *aligned_alloc(size_t to, size_t n) { return FAILS ? NULL : __libc_memalign(to, n); }
    void *memalign(size_t to, size_t n) { return FAILS ? NULL : __libc_memalign(to, n); }
    int posix_memalign(void **result, size_t to, size_t n)
    {
        return FAILS || !(*result = __libc_memalign(to, n)) ? ENOMEM : 0;
    }
    int pthread_create(pthread_t *thread, const pthread_attr_t *with, void *(*start)(void *), void *argument)
    {
        int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
        real = dlsym(RTLD_NEXT, "pthread_create");
        return FAILS ? EAGAIN : real(thread, with, start, argument);
    }
"""
C = """
    import ctypes
    shim = ctypes.CDLL(None)
    library = os.fsencode({library})
    def arm(n): shim.shim_arm(library, ctypes.c_long(n))
    disarm = shim.shim_disarm
"""
LIBRARIES = {      # part of the path of those whose allocations fail; a checkout may lie in a folder of any name
    "fastnn": "os.path.join(os.path.dirname(fastnn.__file__), '')",
    "NumPy": "'_multiarray_umath'",
}


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """A library that lets a chosen allocation of C fail, to be loaded before all others."""
    compiler = shutil.which(os.environ.get("CC", "gcc"))
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("NOT TESTED: needs Linux and a C compiler")
    path = tmp_path_factory.mktemp("shim") / "shim.so"
    built = subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-w", "-x", "c", "-", "-o", path, "-ldl"], input=SHIM,
                           text=True, capture_output=True, check=False)
    if built.returncode:
        pytest.skip(f"NOT TESTED: the shim does not compile here: {built.stderr.splitlines()[0]}")
    return str(path)


@NOT_SANITIZED
@pytest.mark.parametrize("library", LIBRARIES)
def test_every_c_allocation_may_fail(library, shim):
    """Those of fastnn's own libraries, and those of NumPy's, where parameters and results come from."""
    counts = check_allocations(OPERATIONS, C.format(library=LIBRARIES[library]), patience=0, LD_PRELOAD=shim)
    if library == "fastnn":
        needed = ["build", "predict", "evaluate", "gradients", "first fit", "operation", "shared fit", "shared predict"]
        assert all(counts[name] >= 1 for name in needed), counts
    else:
        assert sum(counts.values()) > 100, counts


@NOT_SANITIZED
def test_the_check_of_c_allocations_can_fail(shim):
    with pytest.raises(AssertionError, match="not the bits of 3 steps"):
        check_allocations(["spoiled"], C.format(library=LIBRARIES["fastnn"]), patience=0, LD_PRELOAD=shim)


@NOT_SANITIZED
@pytest.mark.parametrize("threads", [2, 4])
def test_a_thread_that_cannot_be_had_is_done_without(threads, shim):
    """pthread_create fails; the bits are those of one thread."""
    same, sizes = answer(f"""
        import ctypes, json, os
        import numpy as np, fastnn
        from fastnn import core
        shim, library = ctypes.CDLL(None), os.fsencode(os.path.dirname(core.__file__))
        X = np.random.default_rng(86).uniform(-1, 1, (256, 400)).astype("f")
        def trained(threads):
            net = fastnn.Network([400, 400, 1])
            net.fit(X, X[:, 0], epochs=2, batch_size=256, threads=threads)
            return net.get_parameters().tobytes()
        alone, same, sizes = trained(1), [], []
        trained_at_last = lambda: trained({threads})
        for n in range(3 * {threads}):
            shim.shim_arm(library, ctypes.c_long(n))
            try:
                same.append(trained_at_last() == alone)
            except MemoryError:
                pass
            shim.shim_disarm()
            sizes.append(core.team_size())
        same.append(trained_at_last() == alone)
        sizes.append(core.team_size())
        print(json.dumps([same, sizes]))
    """, LD_PRELOAD=shim)
    assert same and all(same) and min(sizes) == 1 and sizes[-1] == threads, (same, sizes)
