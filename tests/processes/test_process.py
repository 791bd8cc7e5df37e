"""What fastnn does to the process that it runs in: nothing, but what was asked for.

Import leaves no trace; FASTNN_ISA is obeyed; kernels run without the GIL, can be interrupted, and
serve many threads at once. What must be seen from outside runs in a process of its own.
"""

import ctypes
import os
import subprocess
import sys
import sysconfig
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import regression_data
from programs import python

import fastnn
from fastnn import ops
from fastnn.core import dispatch

# Import


STATE = """
    import locale, os, random, signal, sys, threading, warnings
    import numpy as np

    def state():
        single, double = np.full(9, 1e-40, np.float32), np.full(9, 1e-310)
        return {
            "threads": threading.active_count(),
            "system threads": len(os.listdir("/proc/self/task")) if os.path.exists("/proc/self/task") else 0,
            "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
            "environment": dict(os.environ),
            "subnormals": ((single * np.float32(1)).tobytes(), (double * 1).tobytes()),
            "sums of halves": np.float64(1) + np.float64(2.0**-53) + np.float64(2.0**-52),  # rounding mode
            "error state": np.geterr(),
            "random": random.getstate(),
            "NumPy's random": repr(np.random.get_state()),
            "warnings": list(warnings.filters),
            "affinity": os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else 0,
            "hooks": (sys.excepthook, sys.displayhook, sys.gettrace(), sys.getswitchinterval()),
            "locale": locale.setlocale(locale.LC_ALL),
            "folder": os.getcwd(),
        }

    def changes(before, after):
        return [name for name in before if before[name] != after[name]]
"""


@pytest.mark.any_isa
def test_import_and_work_leave_no_trace():
    run = python(STATE + """
    before = state()
    assert all(np.frombuffer(before["subnormals"][1])), "subnormal numbers were lost before"
    import fastnn
    print(changes(before, state()))
    network = fastnn.Network([3, 4, 1], activation="gelu")
    X = np.ones((5, 3))
    network.fit(X, X[:, 0])
    network.predict(X), network.gradients(X, X[:, 0]), fastnn.activations.tanh(1e-310)
    print(changes(before, state()))
    """)
    assert run.stdout == "[]\n[]\n", run.stdout + run.stderr
    assert run.stderr == ""


@pytest.mark.any_isa
def test_the_check_of_traces_can_fail():
    run = python(STATE + """
    before = state()
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *args: None)
    os.environ["TRACE"] = "1"
    np.seterr(divide="ignore")
    random.random(), np.random.random()
    warnings.simplefilter("ignore")
    print(changes(before, state()), flush=True)
    """)
    noticed = [
        "threads", "system threads", "signals", "environment", "error state", "random", "NumPy's random",
        "warnings",
    ]
    if not os.path.exists("/proc/self/task"):
        noticed.remove("system threads")
    assert run.stdout == f"{noticed}\n", run.stderr


@pytest.mark.any_isa
def test_import_needs_numpy_and_safetensors_alone():
    run = python("""
        import sys, fastnn
        others = {"scipy", "sklearn", "pytest", "hypothesis", "Cython", "pandas", "tqdm", "matplotlib", "torch",
                  "onnx", "onnxruntime"}
        print(others.intersection(sys.modules))
    """)
    assert run.stdout == "set()\n", run.stderr


# FASTNN_ISA


@pytest.mark.any_isa
@pytest.mark.parametrize("name", sorted(dispatch.BUILT))
def test_an_instruction_set_can_be_forced(name):
    if name not in dispatch.FOUND:
        pytest.skip(f"NOT TESTED: this processor does not run {name}")
    run = python("""
        import fastnn
        print(fastnn.show_config(mode="dict")["instruction set in use"])
        print(fastnn.Network([2, 3, 1]).predict([1, 2]).shape)
    """, FASTNN_ISA=name)
    assert run.stdout == f"{name}\n(1,)\n", run.stderr


@pytest.mark.any_isa
def test_the_best_set_is_used_unless_one_is_forced():
    script = "import fastnn; print(fastnn.show_config(mode='dict')['instruction set in use'])"
    for environment in ({}, {"FASTNN_ISA": ""}):
        run = python(script, **environment)
        assert run.stdout.split() == [dispatch.FOUND[0]], run.stderr


@pytest.mark.any_isa
@pytest.mark.parametrize(
    "name", ["avx3", "AVX2", "avx2 ", "none", *sorted({"neon", "sse2"}.difference(dispatch.FOUND))])
def test_an_unknown_or_unsupported_set_is_an_import_error_that_names_the_possible_ones(name):
    run = python("import fastnn", FASTNN_ISA=name)
    last = run.stderr.strip().splitlines()[-1]
    assert run.returncode == 1
    assert last.startswith("ImportError: ") and "FASTNN_ISA" in last and repr(name) in last
    assert all(found in last for found in dispatch.FOUND)


@pytest.mark.any_isa
def test_a_processor_that_runs_nothing_that_was_built_is_an_import_error(monkeypatch):
    monkeypatch.setattr(dispatch, "FOUND", ())
    with pytest.raises(ImportError, match=r"built for .*, but this processor runs none of them"):
        dispatch.choose()


@pytest.mark.any_isa
def test_show_config(capsys):
    config = fastnn.show_config(mode="dict")
    assert config["fastnn"] == fastnn.__version__ and config["numpy"] == np.__version__
    assert config["instruction sets built"] == dispatch.BUILT
    assert config["instruction sets found"] == dispatch.FOUND
    assert config["threads"] == fastnn.get_num_threads() and config["compiler"]
    assert fastnn.show_config() is None
    printed = capsys.readouterr().out
    assert all(name in printed for name in [*config, *dispatch.BUILT, fastnn.__version__])
    with pytest.raises(ValueError, match="mode is 'html'"):
        fastnn.show_config("html")


# Threads


def progress_during(function):
    """Whether another thread comes round while a function runs: never, unless the GIL is released.

    On one core the system may let a whole call pass before it turns to the other thread, so the
    function is called until it has, 500 times at most. Python itself never hands the GIL over here.
    """
    count, ready, done = 0, threading.Event(), threading.Event()

    def come_round():
        nonlocal count
        while not done.is_set():
            count += 1
            ready.set()
            time.sleep(0)       # hands the GIL over

    interval = sys.getswitchinterval()
    sys.setswitchinterval(100)  # nobody is asked to
    other = threading.Thread(target=come_round)
    try:
        other.start()
        ready.wait()
        before, calls = count, 0
        while count == before and calls < 500:
            function()
            calls += 1
        return count > before
    finally:
        done.set()
        sys.setswitchinterval(interval)
        other.join()


def long_dense_forward():
    x = np.ones((1200, 1200))
    y = np.empty_like(x)
    return lambda: ops.dense_forward(y, x, x, x[0])


def long_dense_backward():
    x = np.ones((900, 900))
    outputs = np.empty_like(x), np.empty_like(x), np.empty(900)
    return lambda: ops.dense_backward(*outputs, x, x, x)


def long_activation():
    z = np.ones((2000, 2000))
    return lambda: ops.activation_forward(z, z, "tanh")


def long_slope():
    z = np.ones((2000, 2000))
    return lambda: ops.activation_backward(z, z, z, z, "gelu")


def long_loss():
    z = np.ones((2000, 2000))
    return lambda: ops.loss_forward_backward(None, z, z, "binary_cross_entropy", "sigmoid")


def long_update():
    w, g = np.ones(4_000_000), np.ones(4_000_000)
    return lambda: ops.sgd_update(w, g, 0.1)


def long_fit():
    network = fastnn.Network([20, 64, 1])
    X = np.ones((20_000, 20), np.float32)
    return lambda: network.fit(X, X[:, 0], batch_size=4)


def long_predict():
    network = fastnn.Network([64, 512, 512, 1])
    X = np.ones((4_000, 64), np.float32)
    return lambda: network.predict(X)


@pytest.mark.any_isa
@pytest.mark.parametrize("prepare", [
    long_dense_forward, long_dense_backward, long_activation, long_slope, long_loss, long_update, long_fit,
    long_predict,
])
def test_other_threads_go_on(prepare):
    assert progress_during(prepare())


@pytest.mark.any_isa
def test_the_check_of_the_gil_can_fail():
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        pytest.skip("NOT TESTED: there is no GIL")
    library = ctypes.PyDLL(None)        # holds the GIL, as CDLL does not
    assert not progress_during(lambda: library.usleep(1000))
    assert progress_during(lambda: ctypes.CDLL(None).usleep(1000))


def test_eight_threads_predict_the_serial_bits():
    for dtype in ("float32", "float64"):
        network = fastnn.Network([33, 65, 40, 7], activation="gelu", output="softmax", dtype=dtype, seed=60)
        X = np.random.default_rng(61).normal(size=(403, 33)).astype(dtype)
        y = np.arange(403) % 7
        expected, loss = network.predict(X).tobytes(), network.evaluate(X, y)
        inputs = [X, X[:1], X[7:12], X[::-3]] * 24
        serial = [network.predict(rows).tobytes() for rows in inputs]
        with ThreadPoolExecutor(8) as pool:
            many = list(pool.map(lambda rows, network=network: network.predict(rows).tobytes(), inputs))
            losses = list(pool.map(lambda _, network=network, X=X, y=y: network.evaluate(X, y), range(24)))
        assert many == serial and set(losses) == {loss}
        assert network.predict(X).tobytes() == expected


def test_threads_that_call_operations_do_not_disturb_each_other():
    rng = np.random.default_rng(62)
    x, w, b = rng.normal(size=(70, 600)), rng.normal(size=(600, 300)), rng.normal(size=300)

    def result(first):
        y = np.full((60, 300), np.nan)
        ops.dense_forward(y, x[first:first + 60], w, b, "tanh")
        return y.tobytes()

    serial = [result(i % 10) for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda i: result(i % 10), range(40))) == serial


@pytest.mark.any_isa
def test_networks_train_side_by_side():
    def trained(seed):
        network = fastnn.Network([5, 40, 1], seed=seed)
        X = np.random.default_rng(seed).normal(size=(300, 5))
        network.fit(X, X[:, 0], epochs=3)
        return network.get_parameters().tobytes()

    serial = [trained(seed) for seed in range(16)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(trained, range(16))) == serial


# Interruption


@pytest.mark.any_isa
@pytest.mark.parametrize("optimizer", ["SGD(1e-4)", "Adam(1e-4)"])
def test_control_c_stops_a_fit_after_a_whole_step(optimizer):
    """The signal comes within an epoch of a minute; what is left is what the steps until then make."""
    run = python(f"""
        import os, signal, threading
        import numpy as np, fastnn

        X = np.random.default_rng(70).normal(size=(1_000_000, 4)).astype(np.float32)
        y = X[:, 0]
        network, same = (fastnn.Network([4, 512, 512, 1], seed=71) for _ in range(2))
        signal.signal(signal.SIGINT, signal.default_int_handler)    # a background job may inherit "ignore"
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        signal.alarm(20)        # kills who does not listen
        try:
            network.fit(X, y, batch_size=1, shuffle=False, optimizer=fastnn.{optimizer})
        except KeyboardInterrupt:
            signal.alarm(0)
            print("interrupted", network.epochs_trained)
        steps = network.optimizer.steps
        print(0 < steps < len(X), np.isfinite(network.get_parameters()).all())
        same.fit(X[:steps], y[:steps], batch_size=1, shuffle=False, optimizer=fastnn.{optimizer})
        print(network.get_parameters().tobytes() == same.get_parameters().tobytes())
        for other in (network, same):
            other.fit(X[:50], y[:50], batch_size=1, shuffle=False)
        trained_on = network.get_parameters().tobytes() == same.get_parameters().tobytes()
        print(network.optimizer.steps - steps, trained_on)
    """)
    expected = ["interrupted 0", "True True", "True", "50 True"]
    assert run.stdout.splitlines() == expected, run.stdout + run.stderr


@pytest.mark.any_isa
@pytest.mark.parametrize("call", ["predict(X)", "evaluate(X, X[:, 0])"])
def test_control_c_stops_predictions_and_evaluations(call):
    run = python(f"""
        import os, signal, threading
        import numpy as np, fastnn

        X = np.ones((1_000_000, 4))         # which take half a minute
        network = fastnn.Network([4, 1024, 1024, 1], dtype="float64")
        signal.signal(signal.SIGINT, signal.default_int_handler)
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        signal.alarm(10)
        try:
            network.{call}
        except KeyboardInterrupt:
            print("interrupted")
    """, FASTNN_NUM_THREADS="1")
    assert run.stdout == "interrupted\n", run.stderr


def test_subnormal_numbers_survive_import_and_training():
    """Flush-to-zero must never leak out of the library; a fresh process sees the import too."""
    script = """
        import numpy as np

        def subnormals_survive():
            single, double = np.full(9, 1e-40, dtype=np.float32), np.full(9, 1e-310)
            products = (single * np.float32(1), double * 1.0, np.float64(5e-324) * 1.0)
            return all(bool(np.all(product != 0)) for product in products)

        survived = [subnormals_survive()]
        import fastnn
        survived.append(subnormals_survive())
        for dtype in ("float32", "float64"):
            network = fastnn.Network([3, 4, 1], activation="tanh", output="identity", dtype=dtype)
            X = np.linspace(-1, 1, 30).reshape(10, 3)
            network.fit(X, X[:, 0], epochs=3, optimizer=fastnn.Adam(0.01))
            survived.append(subnormals_survive())
            network.predict(X), network.gradients(X, X[:, 0]), network.evaluate(X, X[:, 0])
            survived.append(subnormals_survive())
            try:
                network.fit(X, 1e30 * X[:, 0], epochs=1000, optimizer=fastnn.SGD(1e30))
            except fastnn.DivergenceError:
                survived.append(subnormals_survive())
        print(survived)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == str([True] * 8)


def test_training_changes_no_setting_of_numpy():
    X, y = regression_data(10, 3, 1)
    before = np.geterr()
    network = fastnn.Network([3, 4, 1], activation="tanh", output="identity")
    with np.errstate(all="raise"):
        network.fit(X, y, epochs=2)
        network.predict(X)
    assert np.geterr() == before


@pytest.mark.any_isa
def test_the_gil_stays_off_where_it_is_off():
    """Importing a module that does not say it can do without switches it on again."""
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("NOT TESTED: this Python has a GIL")
    assert python("import sys, fastnn; print(sys._is_gil_enabled())").stdout.split() == ["False"]
