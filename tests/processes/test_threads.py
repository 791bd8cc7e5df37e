"""Threads change how long work takes, and nothing else.

The bits do not depend on how many there are; small work and a fork have none; and nothing runs when there is nothing to
do. Threads that share a network are in test_threads_of_one_network.py, their number in test_threads_number.py.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, TESTS
from programs import python
from shared_work import CASES, COUNTS, NETWORKS, SHARED_WORK, large_network, train, trained

import fastnn


def digest(network, history):
    """All that a fit has made, as one hash."""
    state = [network.optimizer.steps, network.optimizer.epochs, network.epochs_trained, history.loss]
    bits = [network.get_parameters().tobytes(), *(block.tobytes() for block in network.optimizer.state)]
    return hashlib.sha256(repr(state).encode() + b"".join(bits)).hexdigest()


@pytest.mark.parametrize(("case", "epochs"), [
    *((case, 2) for case in CASES[::5]), *(pytest.param(case, 20, marks=pytest.mark.nightly) for case in CASES)],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else f"{value} epochs")
def test_any_number_of_threads_makes_one_hash_of_weights_state_and_losses(case, epochs):
    """With every change each network, and each optimizer in both dtypes; at night all of them together."""
    hashes = {count: digest(*trained(*case, count, epochs)) for count in COUNTS}
    assert len(set(hashes.values())) == 1, hashes


@pytest.mark.any_isa
def test_the_work_of_these_networks_is_shared():
    """Else the hashes would prove nothing: a forked child, whose team is the caller alone, gets its 16 threads."""
    run = python(f"""
        import os, sys
        sys.path[:0] = {[str(TESTS), str(Path(__file__).parent)]!r}
        from fastnn import core
        from shared_work import COUNTS, NETWORKS, trained
        for net in NETWORKS:
            if os.fork() == 0:
                assert core.team_size() == 1
                trained(net, "float32", "SGD", max(COUNTS))
                os._exit(core.team_size())
            print(os.waitstatus_to_exitcode(os.wait()[1]))
    """)
    assert run.stdout.split() == [f"{max(COUNTS)}"] * len(NETWORKS), run.stderr


@pytest.mark.any_isa
def test_a_hash_notices_one_bit():
    network, history = trained("classes", "float32", "Adam", 2)
    right = digest(network, history)
    for block in (network.biases[2], *network.optimizer.state):
        bits = block.view(np.uint32)
        bits[3] ^= 1
        assert digest(network, history) != right
        bits[3] ^= 1
    assert digest(network, history) == right
    history.loss[-1] = np.nextafter(history.loss[-1], 0)
    assert digest(network, history) != right


BUSY = """
    import time
    print(flush=True)
    while True:                             # works and rests by turns, so that nobody can get used to it
        end = time.monotonic() + 0.003
        while time.monotonic() < end:
            pass
        time.sleep(0.001)
"""


@pytest.fixture
def busy_processors():
    """Two processes for every processor compete with the test."""
    with ExitStack() as stack:
        for _ in range(2 * (os.cpu_count() or 1)):
            busy = stack.enter_context(subprocess.Popen([sys.executable, "-c", textwrap.dedent(BUSY)],
                                                        stdout=subprocess.PIPE))
            stack.callback(busy.kill)
            busy.stdout.readline()
        yield


@pytest.mark.any_isa
@pytest.mark.parametrize("rounds", [7, pytest.param(50, marks=pytest.mark.nightly)])
def test_busy_processors_change_no_bit(rounds, busy_processors):
    """One hash, whoever is delayed, on each number of threads in turn."""
    for case in CASES[::11]:
        hashes = {digest(*trained(*case, COUNTS[repeat % len(COUNTS)])) for repeat in range(rounds)}
        assert len(hashes) == 1, case


def test_a_step_that_may_or_may_not_be_shared_gives_the_same_bits():
    rng = np.random.default_rng(5)
    X, y = rng.uniform(-1, 1, (128 * 200, 64)), rng.uniform(-1, 1, (128 * 200, 64))
    answers = []
    for count in (1, 2, 3):
        network = fastnn.Network([64] * 6, seed=1)
        history = network.fit(X, y, epochs=2, batch_size=128, optimizer=fastnn.Adam(), threads=count)
        answers.append((network.get_parameters().tobytes(), history.loss))
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.any_isa
def test_such_a_step_is_shared_at_first():
    done = python("""
        import numpy as np, fastnn
        from fastnn import core
        X = np.zeros((128 * 20, 64), np.float32)
        fastnn.Network([64] * 6).fit(X, X, batch_size=128, threads=2)
        print(core.team_size())
    """)
    assert done.stdout.split() == ["2"], done.stderr


def test_a_fit_after_one_that_diverged_starts_clean():
    network, X, y = large_network()
    before = network.get_parameters()
    with pytest.raises(fastnn.DivergenceError):
        network.fit(X * 1e20, y, batch_size=100, optimizer=fastnn.SGD(1e20))
    assert np.array_equal(network.get_parameters(), before)
    history = network.fit(X, y, batch_size=100, optimizer=fastnn.Adam())
    assert np.isfinite(history.loss).all()


def test_everything_else_does_too(number):
    network, X, y = large_network()
    X, y = np.tile(X, (4, 1)), np.tile(y, 4)
    weights = np.random.default_rng(4).uniform(0, 2, len(X))
    answers = []
    for count in COUNTS:
        number(count)
        gradients = network.gradients(X, y, sample_weight=weights)
        answers.append([network.predict(X), network.evaluate(X, y), network.evaluate(X, y, sample_weight=weights),
                        gradients.loss, *gradients.weights, *gradients.biases])
    for answer in answers[1:]:
        assert all(np.array_equal(mine, first) for mine, first in zip(answer, answers[0], strict=True))


def test_a_step_shared_by_threads_diverges_like_any_other():
    network, X, y = large_network()
    before = network.get_parameters()
    errors = []
    for count in (1, 3):
        with pytest.raises(fastnn.DivergenceError) as caught:
            network.fit(X * 1e20, y, batch_size=100, optimizer=fastnn.SGD(1e20), threads=count, shuffle=False)
        errors.append(str(caught.value))
        assert np.array_equal(network.get_parameters(), before)
    assert errors[0] == errors[1]


@pytest.mark.any_isa
def test_callers_who_come_together_get_what_each_would_get_alone(number):
    number(2)
    alone = [train(2, fastnn.Adam())[0], large_network()[0].predict(np.tile(large_network()[1], (8, 1)))]
    with ThreadPoolExecutor(4) as pool:
        tasks = [pool.submit(train, 2, fastnn.Adam()) for _ in range(8)]
        tasks += [pool.submit(large_network()[0].predict, np.tile(large_network()[1], (8, 1))) for _ in range(8)]
        results = [task.result() for task in tasks]
    assert all(np.array_equal(result[0], alone[0]) for result in results[:8])
    assert all(np.array_equal(result, alone[1]) for result in results[8:])


@pytest.mark.any_isa
def test_small_work_starts_no_thread():
    run = python(SHARED_WORK + """
    assert core.team_size() == 1
    fastnn.set_num_threads(8)
    network = fastnn.Network([8, 64, 64, 4])
    network.fit(X[:, :8], X[:, :4], batch_size=64)
    network.predict(X[:, :8])
    assert core.team_size() == 1, "small"
    train()
    assert core.team_size() > 1, "large"
    """)
    assert run.returncode == 0, run.stderr


@pytest.mark.any_isa
@pytest.mark.parametrize("options", [
    "validation_data=(X, X[:, 0])", "metrics=['mae']", "optimizer=fastnn.LBFGS(), batch_size=None",
    "callbacks=[Trains(), Predicts()]"])
def test_threads_limits_all_work_of_a_fit_and_nothing_after(options):
    """Validation, metrics, L-BFGS, what callbacks predict, also after a fit of their own."""
    run = python(SHARED_WORK.replace("batch_size=256, **options", "**(dict(batch_size=256) | options)") + f"""
    class Trains(fastnn.Callback):
        def on_epoch_end(self, fit):
            fit.network.fit(X[:2], X[:2, 0], epochs=1, threads=2)

    class Predicts(fastnn.Callback):
        def on_epoch_end(self, fit):
            fit.network.predict(X)

    train(threads=1, {options})
    assert core.team_size() == 1, "limited"
    train({options})
    assert core.team_size() == 2, "not limited"
    """)
    assert run.returncode == 0, run.stderr


@pytest.mark.any_isa
def test_a_forked_child_starts_clean():
    """200 children, some forked while another thread's job runs, train on threads of their own."""
    run = python(SHARED_WORK + """
    import threading, warnings
    warnings.simplefilter("ignore")         # Python warns of forks beside threads: that is the point here
    expected = train(threads=2)
    assert core.team_size() == 2
    stop = threading.Event()
    def keep_busy():
        while not stop.is_set():
            train(threads=2)
    for busy in (False, True):
        beside = threading.Thread(target=keep_busy)
        if busy:
            beside.start()
        for _ in range(100):
            child = os.fork()
            if child == 0:
                good = core.team_size() == 1 and train(threads=2) == expected and core.team_size() == 2
                os._exit(0 if good else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    stop.set()
    beside.join()
    """)
    assert run.returncode == 0, run.stderr


@pytest.mark.any_isa
@pytest.mark.skipif(not hasattr(os, "fork"), reason="NOT TESTED: no fork here")
def test_a_child_that_was_forked_within_a_step_does_not_wait_for_its_end():
    run = python("""
    import os, threading
    import numpy as np
    import fastnn

    inside, go_on = threading.Event(), threading.Event()

    def loss(outputs, targets):
        inside.set()
        go_on.wait(60)
        return 0.0, np.zeros_like(outputs)

    network = fastnn.Network([4, 8, 1], loss=loss)
    thread = threading.Thread(target=network.fit, args=(np.ones((5, 4)), np.ones(5)))
    thread.start()
    inside.wait(60)
    child = os.fork()
    if child == 0:
        network.predict(np.ones((5, 4)))
        try:
            network.get_parameters()
        except RuntimeError as error:
            os._exit(0 if "forked in the middle of a training step" in str(error) else 1)
        os._exit(2)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    go_on.set()
    thread.join()
    network.get_parameters()
    raise SystemExit(code)
    """)
    assert run.returncode == 0, run.stderr


@pytest.mark.any_isa
@pytest.mark.skipif(not hasattr(os, "fork"), reason="NOT TESTED: no fork here")
def test_a_child_may_train_what_a_thread_of_its_parent_was_training():
    """That thread is not in the child: there nobody ends its training. The fork is between two of its steps."""
    run = python("""
    import os, threading
    import numpy as np
    import fastnn

    inside, go_on = threading.Event(), threading.Event()

    class Waits(fastnn.Callback):
        def on_epoch_end(self, fit):
            inside.set()
            go_on.wait(60)

    X, y = np.ones((5, 4)), np.ones(5)
    network = fastnn.Network([4, 8, 1])
    thread = threading.Thread(target=lambda: network.fit(X, y, callbacks=[Waits()]))
    thread.start()
    inside.wait(60)
    child = os.fork()
    if child == 0:
        try:
            network.fit(X, y)
            network.train_on_batch(X, y)
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    go_on.set()
    thread.join()
    raise SystemExit(code)
    """)
    assert run.returncode == 0, run.stderr


def test_nothing_runs_when_there_is_nothing_to_do():
    run = python(SHARED_WORK + """
    train(threads=4)
    def sleeping(thread):
        with open(f"/proc/self/task/{thread}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "S"
    others = [thread for thread in os.listdir("/proc/self/task") if int(thread) != os.getpid()]
    assert len(others) >= 3
    for _ in range(5000):       # as long as it takes: a thread that kept looking would never sleep
        if all(map(sleeping, others)):
            break
        time.sleep(0.001)
    else:
        raise AssertionError("a thread still runs")
    """)
    assert run.returncode == 0, run.stderr


def sanitized_team(tmp_path, *options):
    """What ThreadSanitizer says of team_check.c."""
    gcc, program = shutil.which("gcc"), tmp_path / "team_check"
    if gcc is None:
        pytest.skip("NOT TESTED: there is no gcc")
    built = subprocess.run(
        [gcc, "-std=gnu11", "-g", "-O1", "-Wall", "-Werror", "-fsanitize=thread", *options,
         "-I", ROOT / "src/fastnn/core", Path(__file__).with_name("team_check.c"), "-o", program, "-pthread"],
        capture_output=True, text=True, check=False)
    if "ltsan" in built.stderr:
        pytest.skip("NOT TESTED: there is no ThreadSanitizer")
    assert built.returncode == 0, built.stderr
    return subprocess.run([program], capture_output=True, text=True, timeout=100, check=False, env={})


@pytest.mark.any_isa
def test_the_team_has_no_race(tmp_path):
    done = sanitized_team(tmp_path)
    assert done.returncode == 0 and done.stderr == "" and done.stdout.startswith("1200 jobs")


@pytest.mark.any_isa
def test_the_check_of_races_can_fail(tmp_path):
    done = sanitized_team(tmp_path, "-DFORGETS_TO_WAIT")
    assert done.returncode != 0 and ("WARNING: ThreadSanitizer: data race" in done.stderr or "of job" in done.stderr)
