"""Many users at once, and processes that come and go.

Python threads that share a network or have one each; children by fork, forkserver, spawn and loky,
also of a parent whose threads are at work; the end of a process in the middle of a fit; a second
interpreter. Everybody gets the bits that one alone would get. The many rounds are `nightly`.
"""

import os
import re
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import rounds, same_bits
from programs import python

import fastnn

pytestmark = pytest.mark.any_isa
NEEDS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="NOT TESTED: no fork here")

# Threads of the user's

N_THREADS = 16


def at_once(functions):
    """What functions return that 16 threads call, having begun together."""
    barrier = threading.Barrier(N_THREADS)

    def begin(function):
        barrier.wait()
        return function()

    with ThreadPoolExecutor(N_THREADS) as pool:
        return list(pool.map(begin, functions))


def two_networks():
    """One whose steps are shared by threads, and one whose are not."""
    large = fastnn.Network([384, 500, 33, 10], activation=["relu", "gelu"], output="softmax", seed=90)
    return large, fastnn.Network([8, 16, 3], activation="tanh", seed=91)


@rounds(5, 500)
def test_sixteen_threads_predict_different_sizes_with_one_network(rounds):
    for network in two_networks():
        X = np.random.default_rng(92).normal(size=(400, network.layer_sizes[0])).astype("f")
        y = np.random.default_rng(93).integers(0, 10, 400)
        inputs = [X[: 1 + 26 * index] for index in range(N_THREADS)]
        calls = [lambda rows=rows, network=network: network.predict(rows).tobytes() for rows in inputs]
        if network.layer_sizes[-1] == 10:
            calls[::4] = [lambda rows=rows, network=network, y=y: (network.evaluate(rows, y[:len(rows)]),
                          network.gradients(rows, y[:len(rows)]).weights[1].tobytes()) for rows in inputs[::4]]
        serial = [call() for call in calls]
        for _ in range(rounds):
            assert at_once(calls) == serial


@rounds(2, 100)
def test_sixteen_threads_fit_a_network_each(rounds):
    rng = np.random.default_rng(94)
    X, y = rng.normal(size=(200, 384)).astype("f"), rng.integers(0, 10, 200)

    def trained(index):
        network = fastnn.Network([384, 100 + 10 * (index % 4), 10], output="softmax", seed=index, dropout=0.2)
        network.fit(X, y, epochs=2, batch_size=100, optimizer=fastnn.Adam())
        return network.get_parameters().tobytes()

    calls = [lambda index=index: trained(index) for index in range(N_THREADS)]
    serial = [call() for call in calls]
    assert len(set(serial)) == N_THREADS
    for _ in range(rounds):
        assert at_once(calls) == serial


@rounds(3, 100)
def test_predictions_beside_a_fit_of_the_same_network_do_not_disturb_it(rounds):
    """They see the parameters as they are at the moment, which move; the fit sees nothing of them."""
    for network, twin in zip(two_networks(), two_networks(), strict=True):
        rng = np.random.default_rng(95)
        X = rng.normal(size=(300, network.layer_sizes[0])).astype("f")
        y = rng.integers(0, 10, 300) if network.layer_sizes[-1] == 10 else X[:, :3]
        for each in (network, twin):
            each.fit(X, y, optimizer=fastnn.Adam())
        for _ in range(rounds):
            twin.fit(X, y, epochs=5)
            done = threading.Event()

            def fit(network=network, X=X, y=y, done=done):
                try:
                    network.fit(X, y, epochs=5)
                finally:
                    done.set()

            def look(index, network=network, X=X, y=y, done=done):
                looks = 0
                while not done.is_set() or not looks:
                    assert np.isfinite(network.predict(X[: 1 + 7 * index])).all()
                    assert np.isfinite(network.evaluate(X, y)) and np.isfinite(network.get_parameters()).all()
                    looks += 1
                return looks

            looks = at_once([fit, *(lambda index=index: look(index) for index in range(1, N_THREADS))])
            assert min(looks[1:]) >= 1
            assert same_bits(network.get_parameters(), twin.get_parameters())
            assert same_bits(network.predict(X), twin.predict(X))


# Children


COMMON = """
    import atexit, json, multiprocessing, os, signal, sys, threading, time, warnings
    import numpy as np, fastnn
    from fastnn import core

    warnings.simplefilter("ignore")         # Python warns of forks beside threads: that is the point here
    X = np.random.default_rng(96).uniform(-1, 1, (256, 400)).astype("f")

    def trained(epochs=1, spoil=0):
        net = fastnn.Network([400, 400, 1])
        net.fit(X + np.float32(spoil), X[:, 0], epochs=epochs, batch_size=256, threads=2, optimizer=fastnn.SGD(1e-3))
        return net.get_parameters().tobytes() + net.predict(X).tobytes()

    def keep_busy(stop):
        while not stop.is_set():
            trained(3)
"""
CHILDREN = COMMON + """
    def child(pipe, spoil=0):
        pipe.send(trained(spoil=spoil))
        pipe.close()

    def parent(pipe, how):
        pipe.send(trained() == by_multiprocessing(how))

    def by_fork(spoil=0, deeper=0):
        receive, send = os.pipe()
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(10)                # ends a child that hangs
            result = trained(spoil=spoil)
            if deeper:
                assert by_fork(deeper=deeper - 1) == result
            os.write(send, __import__("hashlib").sha256(result).digest())
            os._exit(0)
        os.close(send)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        digest = os.read(receive, 32)
        os.close(receive)
        assert code == 0, f"the child's exit code is {code}"
        return result_of(digest)

    def result_of(digest):
        return expected if digest == __import__("hashlib").sha256(expected).digest() else digest

    def by_multiprocessing(how, spoil=0):
        context = multiprocessing.get_context(how)
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=child, args=[send, spoil])
        process.start()
        send.close()
        try:
            assert receive.poll(10), f"no answer within 10 s"
            result = receive.recv()
            process.join(10)
            assert process.exitcode == 0, process.exitcode
            return result
        finally:
            process.kill()
            receive.close()

    def by_loky(spoil=0):
        from joblib.externals.loky import get_reusable_executor
        executor = get_reusable_executor(max_workers=1)
        try:
            return executor.submit(trained, 1, spoil).result(timeout=30)    # which starts a Python
        finally:
            executor.shutdown(wait=True, kill_workers=True)

    WAYS = {
        "os.fork": by_fork,
        "child of a child": lambda spoil=0: by_fork(spoil, deeper=1),
        "fork": lambda spoil=0: by_multiprocessing("fork", spoil),
        "forkserver": lambda spoil=0: by_multiprocessing("forkserver", spoil),
        "spawn": lambda spoil=0: by_multiprocessing("spawn", spoil),
        "loky": by_loky,
    }
    expected = None

    def main(way, busy, rounds, spoil):
        global expected
        expected = trained()
        assert core.team_size() == 2
        stop = threading.Event()
        beside = threading.Thread(target=keep_busy, args=[stop])
        if busy:
            beside.start()
        slowest = 0
        for number in range(rounds):
            start = time.perf_counter()
            assert WAYS[way](spoil=spoil) == expected, f"round {number}: other bits"
            slowest = max(slowest, time.perf_counter() - start)
            assert trained() == expected, "other bits in the parent"
        if busy:
            assert beside.is_alive()
            stop.set()
            beside.join()
        print(f"{rounds} children, the slowest in {slowest:.2f} s")

    if __name__ == "__main__":
        main(sys.argv[1], sys.argv[2] == "busy", int(sys.argv[3]), float(sys.argv[4]))
"""


def check_children(folder, way, busy, rounds, spoil=0.0):
    (folder / "children.py").write_text(textwrap.dedent(CHILDREN), encoding="utf-8")
    arguments = [way, "busy" if busy else "idle", str(rounds), str(spoil)]
    run = subprocess.run([sys.executable, folder / "children.py", *arguments], capture_output=True, text=True,
                         timeout=60 + 15 * rounds, check=False)
    assert run.returncode == 0, run.stdout + run.stderr[-3000:]
    print(f"{way}, parent {arguments[1]}: {run.stdout.strip()}")


WAYS = ["os.fork", "child of a child", "fork", "forkserver", "spawn", "loky"]


@NEEDS_FORK
@rounds(5, 200)
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
@pytest.mark.parametrize("way", WAYS)
def test_a_child_gets_the_same_bits_and_its_parent_goes_on(way, busy, rounds, tmp_path):
    """Busy: a thread of the parent is in the middle of a shared fit when the child comes."""
    if way == "loky":
        pytest.importorskip("joblib", reason="NOT TESTED: joblib is not installed")
        rounds = 2 if rounds == 5 else rounds       # each starts two Pythons
    check_children(tmp_path, way, busy, rounds)


@NEEDS_FORK
@pytest.mark.parametrize("way", ["os.fork", "fork"])
def test_the_check_of_children_can_fail(way, tmp_path):
    with pytest.raises(AssertionError, match="round 0: other bits"):
        check_children(tmp_path, way, False, 1, spoil=1e-3)


# The end


LAST = """
    class Last:
        net = fastnn.Network([400, 400, 1])
        def __del__(self, X=X, write=os.write):     # print may be gone by then
            try:
                write(1, b"end" if self.net.predict(X).shape == (256, 1) else b"wrong")
            except TypeError:
                write(1, b"modules are empty")
"""
ENDINGS = {     # script after COMMON, the exit code and what is printed, a regular expression
    "a daemon is in a fit": ("""
    print("end")
    """, 0, "end"),
    "a daemon is in a fit, and sys.exit": ("""
    print("end")
    sys.exit(3)
    """, 3, "end"),
    "a daemon is in a fit, and an error": ("""
    print("end")
    raise ValueError("the last")
    """, 1, "end"),
    "os._exit": ("""
    print("end", flush=True)
    os._exit(7)
    """, 7, "end"),
    "predictions at exit": ("""
    net = fastnn.Network([400, 400, 1])
    before = net.predict(X).tobytes()
    def last():
        print("the same" if net.predict(X).tobytes() == before and trained() == expected else "other bits")
    atexit.register(last)
    expected = trained()
    """, 0, "the same"),
    "a network that outlives its module": (LAST + """
    sys.modules["keep"] = Last()    # not in __main__ too, which a thread that never ends keeps
    """, 0, "end|modules are empty"),       # without a GIL they may be
    "a network that outlives all modules": (LAST + """
    sys.keep = Last()
    """, 0, "end|modules are empty"),
}
DAEMON = """
    threading.Thread(target=keep_busy, args=[threading.Event()], daemon=True).start()
    time.sleep({delay})
"""


def end(name, delay, sabotage=""):
    script, code, printed = ENDINGS[name]
    run = python(COMMON + DAEMON.format(delay=delay) + sabotage + script, timeout=60)
    assert run.returncode == code, f"exit code {run.returncode}: {run.stdout}{run.stderr}"
    assert re.fullmatch(printed, run.stdout.strip()), f"printed {run.stdout!r}"
    assert "Fatal" not in run.stderr and ("Traceback" in run.stderr) == (code == 1), run.stderr


@rounds(5, 500)
@pytest.mark.parametrize("name", ENDINGS)
def test_a_process_ends_while_a_thread_is_in_a_fit(name, rounds):
    delays = np.random.default_rng(97).uniform(0, 0.03, rounds)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda delay: end(name, delay), delays))


@pytest.mark.parametrize("name, sabotage, words", [
    ("a daemon is in a fit", "os.kill(os.getpid(), signal.SIGSEGV)", "exit code"),
    ("a daemon is in a fit", "os.abort()", "exit code"), ("a daemon is in a fit", "sys.exit(1)", "exit code"),
    ("a network that outlives its module", "X = X[1:]", "printed 'wrong"),
    ("a network that outlives its module", "atexit.register(os._exit, 0)", "printed ''")])
def test_the_check_of_endings_can_fail(name, sabotage, words):
    with pytest.raises(AssertionError, match=words):
        end(name, 0, sabotage=f"\n    {sabotage}")


@rounds(2, 50)
@pytest.mark.parametrize("before", ["import fastnn", ""], ids=["second", "first"])
def test_another_interpreter_works_or_says_that_it_does_not(before, rounds):
    """Python's own rule: NumPy's and fastnn's modules are for one interpreter of a process."""
    pytest.importorskip("_testcapi", reason="NOT TESTED: this Python has no _testcapi")
    for _ in range(rounds):
        run = python(COMMON.replace("import numpy as np, fastnn", "import numpy as np, fastnn" if before else "")
                     .split("warnings.simplefilter")[0].replace("from fastnn import core", before) + """
    import _testcapi
    code = '''if True:
        try:
            import fastnn
            print("works", fastnn.Network([2, 3, 1]).predict([[1, 2]]).shape, flush=True)
        except ImportError as error:
            print("ImportError", repr(error)[:200], flush=True)
    '''
    print(_testcapi.run_in_subinterp(code), flush=True)
    import fastnn, numpy as np
    print(fastnn.Network([2, 3, 1]).predict([[1, 2]]).shape)
    """, timeout=60)
        lines = run.stdout.splitlines()
        assert run.returncode in (0, 1) and "Fatal" not in run.stderr, (run.returncode, run.stdout, run.stderr)
        assert lines[0].startswith(("works (1, 1)", "ImportError ")) and lines[1] == "0", run.stdout
        if before:
            assert run.returncode == 0 and lines[2] == "(1, 1)", run.stdout + run.stderr
        else:       # who came second is refused by name
            assert lines[2:] == ["(1, 1)"] or "ImportError" in run.stderr, run.stdout + run.stderr
    print(lines[0])
