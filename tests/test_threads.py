"""Threads change how long work takes, and nothing else.

The bits do not depend on how many there are; small work and a fork have none; nothing runs when
there is nothing to do; and their number is what the process may use or the user says.
"""

import copy
import hashlib
import os
import pickle
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from helpers import same_bits
from test_process import python

import fastnn
from fastnn.core import thread_count
from fastnn.interchange.chain import layers

COUNTS = (1, 2, 3, 4, 7, 8, 16)


@pytest.fixture
def number():
    """Sets how many threads share large work; as before afterwards."""
    before = thread_count.limit
    yield fastnn.set_num_threads
    thread_count.limit = before


def large_network(dtype="float32", **options):
    """A network whose step is worth 16 threads, and rows for it: 100 a batch and 30 in the last."""
    rng = np.random.default_rng(3)
    X = rng.uniform(-1, 1, (230, 384))
    return fastnn.Network([384, 500, 33, 10], output="softmax", dtype=dtype, **options), X, rng.integers(0, 10, 230)


def train(threads, optimizer, dtype="float32"):
    network, X, y = large_network(dtype, activation=["relu", "gelu"])
    history = network.fit(X, y, epochs=2, batch_size=100, optimizer=optimizer, threads=threads)
    return network.get_parameters(), history.loss


# What is divided: many layers and one, rows and columns; activations that do and do not keep z; dropout, penalties,
# clipping. Each step is sure to be shared, by 16 threads if so many are asked for; the last batch is a smaller one.
NETWORKS = {    # layer sizes, rows, rows of a batch, options
    "classes": ([384, 500, 33, 10], 230, 100, {"activation": ["relu", "gelu"], "output": "softmax"}),
    "deep": ([200] * 7, 220, 96, {"activation": "tanh", "dropout": 0.2, "l2": 1e-3}),
    "one wide layer": ([64, 3000, 1], 250, 100, {"activation": "softplus", "loss": "huber"}),
    "many rows": ([20, 64, 33, 3], 13_000, 6000, {"activation": ["silu", "elu"], "output": "sigmoid"}),
    "odd sizes": ([151, 331, 301, 5], 300, 127, {"activation": ["leaky_relu", "selu"], "l1": 1e-4}),
}
OPTIMIZERS = {
    "SGD": lambda: fastnn.SGD(0.01),
    "momentum, clipped": lambda: fastnn.SGD(0.01, momentum=0.9, nesterov=True, clip_norm=0.5),
    "Adam": lambda: fastnn.Adam(0.001),
}
CASES = [(net, dtype, optimizer) for net in NETWORKS for dtype in ("float32", "float64") for optimizer in OPTIMIZERS]


def digest(network, history):
    """All that a fit has made, as one hash."""
    state = [network.optimizer.steps, network.optimizer.epochs, network.epochs_trained, history.loss]
    bits = [network.get_parameters().tobytes(), *(block.tobytes() for block in network.optimizer.state)]
    return hashlib.sha256(repr(state).encode() + b"".join(bits)).hexdigest()


def trained(net, dtype, optimizer, threads, epochs=1):
    """A network of the list, and its history."""
    sizes, rows, batch, options = NETWORKS[net]
    rng = np.random.default_rng(6)
    X, y = rng.uniform(-1, 1, (rows, sizes[0])), rng.uniform(0, 1, (rows, sizes[-1]))
    network = fastnn.Network(sizes, dtype=dtype, seed=7, **options)
    return network, network.fit(X, y.argmax(1) if options.get("output") == "softmax" else y, epochs=epochs,
                                batch_size=batch, optimizer=OPTIMIZERS[optimizer](), threads=threads)


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
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from fastnn import core
        from test_threads import COUNTS, NETWORKS, trained
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


SHARED_WORK = """
    import os, time
    import numpy as np, fastnn
    from fastnn import core
    X = np.random.default_rng(0).uniform(-1, 1, (256, 400)).astype("f")
    def train(**options):
        network = fastnn.Network([400, 400, 1])
        network.fit(X, X[:, 0], batch_size=256, **options)
        return network.get_parameters().tobytes()
"""


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
@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="NOT TESTED: no /proc here")
def test_a_network_is_trained_by_one_thread_at_a_time():
    """Two at once would train in the same memory. Predictions may come at any time."""
    net, rows = fastnn.Network([4, 8, 1]), np.ones((5, 4), np.float32)
    inside, go_on = threading.Event(), threading.Event()

    class Waits(fastnn.Callback):
        def on_epoch_end(self, fit):
            net.train_on_batch(rows, np.ones(5))        # of the same thread
            inside.set()
            assert go_on.wait(60)

    with ThreadPoolExecutor(1) as pool:
        fit = pool.submit(net.fit, rows, np.ones(5), callbacks=[Waits()])
        assert inside.wait(60)
        before = net.get_parameters()
        for train in (lambda: net.fit(rows, np.ones(5)), lambda: net.fit(rows, np.ones(5), optimizer=fastnn.LBFGS()),
                      lambda: net.train_on_batch(rows, np.ones(5)), lambda: net.train_on_batch(rows[0], 1.0)):
            with pytest.raises(RuntimeError, match=r"is being trained by another thread; wait .*copy\.copy"):
                train()
        assert net.predict(rows).shape == (5, 1) and same_bits(net.get_parameters(), before)
        copy.copy(net).fit(rows, np.ones(5))
        go_on.set()
        fit.result()
    net.fit(rows, np.ones(5))
    with pytest.raises(ValueError, match="y has"):
        net.train_on_batch(rows, np.ones(4))
    with ThreadPoolExecutor(1) as pool:                 # an error has not kept the network
        pool.submit(net.train_on_batch, rows, np.ones(5)).result()


def blocks_of(network):
    """The parameters, and each block of the optimizer's state."""
    return [network.get_parameters(), *map(network._engine.packed, network.optimizer.state)]


COPIES = {
    "get_parameters": lambda network, path: [network.get_parameters()],
    "copy": lambda network, path: blocks_of(copy.copy(network)),
    "deepcopy": lambda network, path: blocks_of(copy.deepcopy(network)),
    "pickle": lambda network, path: blocks_of(pickle.loads(pickle.dumps(network))),
    "save": lambda network, path: (network.save(path), blocks_of(fastnn.load(path)))[1],
    "an export": lambda network, path: [layers(network)[0][0].ravel()],
}


@pytest.mark.any_isa
@pytest.mark.parametrize("training", ["fit", "train_on_batch"])
@pytest.mark.parametrize("way", COPIES)
def test_what_is_copied_while_another_thread_trains_is_of_one_step(way, training, tmp_path):
    """Here all weights learn the same, and so do all their moments: in a copy of several steps some would differ."""
    n_in, n_out, stop = 400, 500, threading.Event()
    X, y = np.ones((32, n_in), np.float32), np.ones((32, n_out), np.float32)
    network = fastnn.Network([n_in, n_out])
    network.set_parameters(np.zeros(network.n_parameters))
    network.fit(X, y, optimizer=fastnn.Adam(1e-4))

    class Ends(fastnn.Callback):
        def on_epoch_end(self, fit):
            if stop.is_set():
                fit.stop()

    def train():
        if training == "fit":
            network.fit(X, y, epochs=100_000, callbacks=[Ends()])
        while not stop.is_set():
            network.train_on_batch(X, y)

    with ThreadPoolExecutor(1) as pool:
        trained = pool.submit(train)
        try:
            copies = []
            for _ in range(10):
                copies.append(COPIES[way](network, tmp_path / "model.safetensors"))
                time.sleep(0.003)
        finally:
            stop.set()
        trained.result()
    for blocks in copies:
        assert [len(np.unique(block[:n_in * n_out])) for block in blocks] == [1] * len(blocks)
    assert len({blocks[0][0] for blocks in copies}) > 1        # it did train meanwhile


@pytest.mark.any_isa
def test_a_training_goes_on_while_many_threads_copy_without_end():
    """Steps and copies take turns. Where copies always came first, fifteen threads would keep a fit from its end."""
    network, done = fastnn.Network([8, 16, 3]), threading.Event()
    X, y = np.ones((300, 8), np.float32), np.ones((300, 3), np.float32)

    def fit():
        try:
            network.fit(X, y, epochs=50)
        finally:
            done.set()

    def copies():
        number = 0
        while not done.is_set() and number < 100_000:
            network.get_parameters()
            number += 1
        return number

    with ThreadPoolExecutor(16) as pool:
        trained, *counts = [pool.submit(fit), *(pool.submit(copies) for _ in range(15))]
        trained.result()
        assert all(count.result() < 100_000 for count in counts)


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


def test_a_python_loss_cannot_train_its_network():
    def loss(outputs, targets):
        net.train_on_batch(np.ones((7, 4)), np.ones(7))
        return 0.0, np.zeros_like(outputs)

    net = fastnn.Network([4, 8, 1], loss=loss)
    with pytest.raises(RuntimeError, match="a Python loss cannot train the network that it belongs to"):
        net.fit(np.ones((5, 4)), np.ones(5))


def test_what_a_python_loss_raises_reaches_its_own_caller_alone():
    """Threads that ask one network for gradients at the same time: each gets its own error, or finite numbers."""
    mine = threading.local()

    def loss(outputs, targets):
        time.sleep(1e-5)                # others run
        if mine.error is not None:
            raise mine.error
        return 0.5, np.ones_like(outputs)

    net = fastnn.Network([4, 8, 1], loss=loss)
    begin = threading.Barrier(4)

    def ask(number):
        mine.error = KeyError(number) if number % 2 else None
        begin.wait()
        outcomes = set()
        for _ in range(200):
            try:
                outcomes.add(net.gradients(np.ones((5, 4)), np.ones(5)).loss)
            except KeyError as error:
                outcomes.add(str(error))
        return outcomes

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == [{0.5}, {"1"}, {0.5}, {"3"}]


def test_a_fit_that_is_refused_before_it_begins_keeps_the_network_from_nobody():
    class Broken(fastnn.schedules.Schedule):
        def state(self):
            raise OSError("no state")

    net = fastnn.Network([4, 8, 1])
    with pytest.raises(OSError, match="no state"):
        net.fit(np.ones((5, 4)), np.ones(5), optimizer=fastnn.SGD(Broken()))
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(net.fit, np.ones((5, 4)), np.ones(5)).result().loss


def test_what_is_copied_while_lbfgs_searches_is_what_it_accepted():
    """Its line search tries points that it does not take: nobody copies or saves these."""
    rng = np.random.default_rng(301)
    X = rng.normal(size=(4000, 10)).astype("f")
    net, copies, done = fastnn.Network([10, 32, 1], activation="tanh"), set(), threading.Event()
    accepted = {net.get_parameters().tobytes()}

    class Keep(fastnn.Callback):
        def on_epoch_end(self, fit):
            accepted.add(fit.network.get_parameters().tobytes())

    def look():
        while not done.is_set():
            copies.add(net.get_parameters().tobytes())

    with ThreadPoolExecutor(1) as pool:
        looked = pool.submit(look)
        try:
            net.fit(X, np.sin(3 * X.sum(axis=1)), epochs=40, optimizer=fastnn.LBFGS(), callbacks=[Keep()])
        finally:
            done.set()
        looked.result()
    assert copies <= accepted and len(copies) > 1


def test_what_is_copied_has_the_best_parameters_of_its_best_loss():
    """Early stopping finds a better epoch while another thread copies the network."""
    rng = np.random.default_rng(302)
    X = rng.normal(size=(16, 300)).astype("f")
    y = X[:, 0]
    net, done, copies = fastnn.Network([300, 1000, 300, 1]), threading.Event(), []

    def look():
        while not done.is_set():
            copies.append(copy.copy(net))

    with ThreadPoolExecutor(1) as pool:
        looked = pool.submit(look)
        try:
            net.fit(X, y, epochs=60, batch_size=16, optimizer=fastnn.Adam(1e-5),
                    early_stopping=fastnn.EarlyStopping(90))
        finally:
            done.set()
        looked.result()
    for twin in copies:
        if twin.early_stopping is not None and twin.early_stopping.best is not None:
            twin.early_stopping.restore(twin)
            assert twin.evaluate(X, y) == twin.early_stopping.best
    assert len(copies) > 1


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
        with open(f"/proc/self/task/{thread}/stat") as file:
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


@pytest.mark.any_isa
@pytest.mark.parametrize("bad, error", [(0, ValueError), (-1, ValueError), (1025, ValueError), (1.5, TypeError),
                                        ("2", TypeError), (True, TypeError)])
def test_a_number_of_threads_is_checked(bad, error, number):
    network, X, y = large_network()
    number(2)
    with pytest.raises(error, match=f"n is {bad!r}, "):
        fastnn.set_num_threads(bad)
    assert fastnn.get_num_threads() == 2
    with pytest.raises(error, match=f"threads is {bad!r}, "):
        network.fit(X, y, threads=bad)
    assert network.epochs_trained == 0


@pytest.mark.any_isa
def test_the_environment_sets_the_number():
    script = "import fastnn; print(fastnn.get_num_threads(), fastnn.show_config(mode='dict')['threads'])"
    assert python(script, FASTNN_NUM_THREADS="3").stdout == "3 3\n"
    for bad in ("0", "-1", "two", "1.5", "4096"):
        run = python(script, FASTNN_NUM_THREADS=bad)
        assert run.returncode == 1
        assert f"FASTNN_NUM_THREADS is '{bad}', but must be an integer from 1 to 1024" in run.stderr


@pytest.mark.any_isa
@pytest.mark.parametrize("text, most", [("1", 1), ("2", 2), ("2,1", 2), (" 3 ", 3), ("64", 64), ("", None), ("0", None),
                                        ("-1", None), ("many", None)])
def test_openmps_limit_is_obeyed_below_what_the_process_may_use(text, most, monkeypatch, number):
    """It never raises the number, and what the user says to fastnn comes first."""
    number(None)
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert thread_count.openmp_limit() == (most or thread_count.MOST)
    monkeypatch.setattr(thread_count, "available_processors", lambda: 4)
    monkeypatch.setattr(thread_count, "OPENMP_LIMIT", thread_count.openmp_limit())
    assert fastnn.get_num_threads() == min(most or 4, 4)
    number(5)
    assert fastnn.get_num_threads() == 5


@pytest.mark.any_isa
def test_openmps_limit_is_read_at_import():
    script = "import fastnn; print(fastnn.get_num_threads())"
    assert python(script, OMP_NUM_THREADS="1").stdout == "1\n"
    assert python(script, OMP_NUM_THREADS="1", FASTNN_NUM_THREADS="3").stdout == "3\n"


@pytest.mark.any_isa
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="NOT TESTED: no affinity masks here")
def test_the_affinity_mask_is_respected():
    run = python(SHARED_WORK + """
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    assert fastnn.get_num_threads() == 1
    train()
    assert core.team_size() == 1
    fastnn.set_num_threads(2)               # what the user says is obeyed
    train()
    assert core.team_size() == 2
    """)
    assert run.returncode == 0, run.stderr


@pytest.mark.any_isa
@pytest.mark.parametrize("quota, most", [(0.5, 1), (1.0, 1), (1.5, 2), (64.0, 10**6), (None, 10**6)])
def test_the_control_groups_quota_is_respected(quota, most, monkeypatch, number):
    number(None)
    monkeypatch.setattr(thread_count, "OPENMP_LIMIT", thread_count.MOST)
    monkeypatch.setattr(thread_count, "QUOTA", None)
    without = fastnn.get_num_threads()
    monkeypatch.setattr(thread_count, "QUOTA", quota)
    assert fastnn.get_num_threads() == min(without, most)


@pytest.mark.any_isa
def test_without_an_affinity_mask_all_processors_count(monkeypatch, number):
    """As on macOS, which has none."""
    number(None)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    monkeypatch.setattr(thread_count, "QUOTA", None)
    assert fastnn.get_num_threads() == 3


@pytest.mark.any_isa
@pytest.mark.parametrize("files, quota", [
    ({"proc": "0::/a/b\n", "sys/a/b/cpu.max": "max 100000\n", "sys/a/cpu.max": "150000 100000\n"}, 1.5),
    ({"proc": "0::/a\n", "sys/a/cpu.max": "200000 100000\n", "sys/cpu.max": "50000 100000\n"}, 0.5),
    ({"proc": "0::/\n", "sys/cpu.max": "max 100000\n"}, None),
    ({"proc": "4:cpu:/x\n", "sys/cpu/cpu.cfs_quota_us": "300000\n", "sys/cpu/cpu.cfs_period_us": "100000\n"}, 3.0),
    ({"proc": "4:cpu:/x\n", "sys/cpu/cpu.cfs_quota_us": "-1\n", "sys/cpu/cpu.cfs_period_us": "100000\n"}, None),
    ({}, None),
])
def test_the_control_groups_quota_is_read(files, quota, tmp_path):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert thread_count.cgroup_quota(tmp_path / "proc", tmp_path / "sys") == quota


@pytest.mark.any_isa
def test_threadpoolctl_sees_and_limits_the_number(number):
    threadpoolctl = pytest.importorskip("threadpoolctl", reason="NOT TESTED: threadpoolctl is not installed")
    number(3)
    ours, = [info for info in threadpoolctl.threadpool_info() if info["user_api"] == "fastnn"]
    assert ours["num_threads"] == 3 and ours["version"] == fastnn.__version__
    with threadpoolctl.threadpool_limits(1):
        assert fastnn.get_num_threads() == 1
    assert fastnn.get_num_threads() == 3


def sanitized_team(tmp_path, *options):
    """What ThreadSanitizer says of tests/team_check.c."""
    gcc, program = shutil.which("gcc"), tmp_path / "team_check"
    here = Path(__file__).parent
    if gcc is None:
        pytest.skip("NOT TESTED: there is no gcc")
    built = subprocess.run(
        [gcc, "-std=gnu11", "-g", "-O1", "-Wall", "-Werror", "-fsanitize=thread", *options,
         "-I", here.parent / "src/fastnn/core", here / "team_check.c", "-o", program, "-pthread"],
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
