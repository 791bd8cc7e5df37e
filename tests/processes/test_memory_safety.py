"""No argument, and nothing that runs at the same time, makes kernels read or write outside of their memory.

Each script runs in a process of its own: where a check is missing, that process dies by a signal. Scripts print
what came instead: results, or the first words of errors.
"""

import signal

import numpy as np
import pytest
from programs import NEEDS_PROC, answer

import fastnn

pytestmark = pytest.mark.any_isa

SETUP = """
    import json, sys, threading
    import numpy as np
    import fastnn
    from concurrent.futures import ThreadPoolExecutor

    rng = np.random.default_rng(300)
    X, y = rng.normal(size=(64, 8)).astype("f"), rng.normal(size=(64, 1)).astype("f")

    def outcome(function):
        try:
            function()
            return "ok"
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    sys.setswitchinterval(1e-5)
"""

# Ownership


@pytest.mark.parametrize("widths", ["equal", "different"])
def test_an_optimizer_is_taken_by_one_of_many_fits_that_begin_at_once(widths):
    outcomes = answer(SETUP + f"""
    outcomes = []
    for round in range(60):
        optimizer = fastnn.Adam(0.01) if round % 2 else fastnn.SGD(0.01, momentum=0.9)
        networks = [fastnn.Network([8, 16 if {widths == "equal"} else 16 * (1 + i), 1]) for i in range(8)]
        begin = threading.Barrier(8)

        def fit(network):
            begin.wait()
            return outcome(lambda: network.fit(X, y, epochs=3, optimizer=optimizer))

        with ThreadPoolExecutor(8) as pool:
            outcomes.append(sorted(pool.map(fit, networks)))
    print(json.dumps(outcomes))
    """)
    refused = ("ValueError: optimizer holds the state of another network and cannot train this one too; create one for "
               "each")
    assert outcomes == [[refused] * 7 + ["ok"]] * 60


def test_what_a_fit_keeps_for_one_network_is_taken_by_one_of_many():
    """Early stopping, and a schedule that remembers: two networks would mix their best parameters or their losses."""
    outcomes = answer(SETUP + """
    outcomes = []
    for round in range(30):
        stopping, schedule = fastnn.EarlyStopping(2), fastnn.schedules.ReduceOnPlateau(0.01)
        options = [{"early_stopping": stopping, "optimizer": fastnn.SGD(0.01)} if round % 2 else
                   {"optimizer": fastnn.SGD(schedule)} for _ in range(4)]
        begin = threading.Barrier(4)

        def fit(arguments):
            network = fastnn.Network([8, 16, 1])
            begin.wait()
            return outcome(lambda: network.fit(X, y, epochs=3, **arguments)).split(":")[0]

        with ThreadPoolExecutor(4) as pool:
            outcomes.append(sorted(pool.map(fit, options)))
    print(json.dumps(outcomes))
    """)
    assert outcomes == [["ValueError"] * 3 + ["ok"]] * 30


def test_a_network_that_gets_no_optimizer_leaves_it_as_it_was():
    """It belongs to nobody yet, and can train another network."""
    class Scarce(fastnn.Adam):
        def initial_state(self, blocks, size, dtype):
            raise MemoryError

    optimizer = Scarce()
    with pytest.raises(MemoryError):
        fastnn.Network([2, 1]).fit(np.eye(2), [0, 1], optimizer=optimizer)
    assert optimizer.network_engine is None and optimizer.state == ()


@pytest.mark.parametrize("change", ["momentum = 0", "momentum = 0.5", "learning_rate = 0.5"])
@pytest.mark.parametrize("train", ["train_on_batch(X, y)", "fit(X, y)", "fit(X, y, optimizer=fastnn.Adam())"])
def test_a_python_loss_that_trains_its_own_network_is_refused_before_anything_changes(change, train):
    refusals, blocks, mine = answer(SETUP + f"""
    refusals, blocks = set(), set()

    def loss(outputs, targets):
        optimizer.{change}
        refusals.add(outcome(lambda: network.{train}))
        blocks.add(len(optimizer.state))
        return float(np.square(outputs - targets).mean()), 2 * (outputs - targets) / outputs.size

    network, optimizer = fastnn.Network([8, 16, 1], loss=loss), fastnn.SGD(0.01, momentum=0.9)
    outcome(lambda: network.fit(X, y, epochs=3, batch_size=32, optimizer=optimizer))
    print(json.dumps([sorted(refusals), sorted(blocks), network.optimizer is optimizer]))
    """)
    assert refusals == ["RuntimeError: a Python loss cannot train the network that it belongs to"]
    assert blocks == [1] and mine


# A network without an engine, or with another one


CALLS = {
    "predict": "predict(X)", "predict to out": "predict(X, out=np.empty((64, 1), 'f'))", "one row": "predict(X[0])",
    "list": "predict(X.tolist())", "train_on_batch": "train_on_batch(X, y)", "one sample": "train_on_batch(X[0], 1.0)",
    "fit": "fit(X, y)", "evaluate": "evaluate(X, y)", "gradients": "gradients(X, y)",
    "layer_outputs": "layer_outputs(X)", "get_parameters": "get_parameters()", "save": "save('never.safetensors')",
}


@pytest.mark.parametrize("call", CALLS)
def test_a_network_without_its_init_says_so(call):
    outcomes = answer(SETUP + f"""
    class Mine(fastnn.Network):
        def __init__(self):
            self.name = "mine"

    print(json.dumps([outcome(lambda: network.{CALLS[call]})
                      for network in (Mine(), fastnn.Network.__new__(fastnn.Network))]))
    """)
    assert outcomes == [
        f"RuntimeError: this {name} has no layers yet; call super().__init__(layer_sizes, …) in its __init__ first"
        for name in ("Mine", "Network")]


def test_a_call_keeps_its_engine_when_init_is_called_again():
    """By another thread, with other sizes: each call works with the old ones or the new ones, or is refused."""
    outcomes = answer(SETUP + f"""
    network, go_on = fastnn.Network([8, 256, 256, 1]), True
    rows, targets = rng.normal(size=(2000, 8)).astype("f"), rng.normal(size=(2000, 1)).astype("f")

    def build():
        for number in range(10**9):
            if not go_on:
                return
            network.__init__([8, 256, 256, 1] if number % 2 else [600, 20, 20])

    thread = threading.Thread(target=build)
    thread.start()
    outcomes = set()
    for _ in range(30):
        for call in {[CALLS[name] for name in CALLS if name != "save"]!r}:
            X, y = rows, targets
            outcomes.add(outcome(lambda: eval("network." + call)).split(":")[0])
    go_on = False
    thread.join()
    print(json.dumps(sorted(outcomes)))
    """)
    assert set(outcomes) <= {"ok", "ValueError", "RuntimeError"}


def test_what_a_fit_keeps_to_go_back_to_is_of_the_sizes_that_the_network_has_now():
    """A callback calls __init__ again, with more layers: the blocks of the fit under way are none of the next one."""
    outcomes = answer(SETUP + """
    class Again(fastnn.Callback):
        def on_epoch_end(self, fit):
            fit.network.__init__([8, 700, 300, 1])
            fit.stop()

    network = fastnn.Network([8, 4, 1])
    network.fit(X, y)
    network.fit(X, y, callbacks=[Again()])
    print(json.dumps([outcome(lambda: network.fit(X, y, epochs=2)) for _ in range(10)]))
    """)
    assert outcomes == ["ok"] * 10


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="NOT TESTED: no timer here")
def test_a_signal_that_comes_while_a_step_waits_cannot_train():
    """The handler's larger batch would take the memory of the step that waits."""
    outcomes = answer(SETUP + """
    import signal, time
    from fastnn.training.trainable import at_rest

    def handler(number, frame):
        network.train_on_batch(X, y)

    network = fastnn.Network([8, 300, 1])
    network.train_on_batch(X[0], y[0].item())
    holding = threading.Event()

    def copies():
        with at_rest(network):
            holding.set()
            time.sleep(0.5)

    thread = threading.Thread(target=copies)
    thread.start()
    holding.wait()
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    outcomes = [outcome(lambda: network.train_on_batch(X[0], y[0].item()))]
    thread.join()
    outcomes.append(outcome(lambda: network.train_on_batch(X[0], y[0].item())))
    print(json.dumps(outcomes))
    """)
    assert outcomes == ["RuntimeError: a signal handler cannot train a network in the middle of its training", "ok"]


# Arguments that change while they are read, or lie


@pytest.mark.parametrize("call", ["fit(rows, sneaky)", "evaluate(rows, sneaky)", "gradients(rows, sneaky)",
                                  "train_on_batch(rows, sneaky)", "fit(rows, y, sample_weight=sneaky)",
                                  "fit(X, y, validation_data=(rows, sneaky))"])
@pytest.mark.parametrize("shape", [(512, 1), (1, 512), (4, 128), (512,)])
def test_inputs_whose_shape_changes_while_targets_are_read(call, shape):
    """What was checked is what is read: by a view of our own."""
    answers = answer(SETUP + f"""
    class Sneaky:
        def __array__(self, dtype=None, copy=None):
            rows.shape = {shape}
            return np.ones(64, "f")

        def __len__(self):
            return 64

    rows, sneaky = X.copy(), Sneaky()
    network, twin = fastnn.Network([8, 16, 1]), fastnn.Network([8, 16, 1])
    done = outcome(lambda: network.{call})
    rows, sneaky = X, np.ones(64, "f")
    network = twin, network
    network[0].{call}
    print(json.dumps([done, bool((network[0].get_parameters() == network[1].get_parameters()).all())]))
    """)
    assert answers == ["ok", True]


def test_an_out_whose_attributes_lie_is_judged_by_its_memory():
    outcomes = answer(SETUP + """
    class Liar(np.ndarray):
        shape = property(lambda self: (64, 1))
        dtype = property(lambda self: np.dtype("f"))
        size = property(lambda self: 64)
        flags = property(lambda self: np.zeros(1).flags)

    network = fastnn.Network([8, 16, 1])
    small, whole = np.zeros((2, 1), "f").view(Liar), np.zeros((64, 1), "f")
    print(json.dumps([outcome(lambda: network.predict(X, out=small)),
                      bool((network.predict(X, out=whole.view(np.matrix)) == network.predict(X)).all()),
                      bool((whole == network.predict(X)).all())]))
    """)
    assert outcomes == ["ValueError: out has shape (2, 1), but the result has shape (64, 1)", True, True]


def test_labels_that_change_while_they_are_checked():
    """They are copied first: an index that was out of range would be a write somewhere else."""
    outcomes = answer(SETUP + """
    labels, inputs = np.zeros(2_000_000, np.intp), np.zeros((2_000_000, 1), "f")
    network, go_on = fastnn.Network([1, 2], output="softmax"), True

    def toggle():
        while go_on:        # Python may turn to the other thread once a round: after either value
            labels[0] = 2**40 - labels[0]

    thread = threading.Thread(target=toggle)
    thread.start()
    outcomes = {outcome(lambda: network.evaluate(inputs, labels)).split(",")[0] for _ in range(30)}
    outcomes |= {outcome(lambda: network.fit(inputs[:9], labels[:9], class_weight={0: 2})).split(",")[0]
                 for _ in range(100)}
    go_on = False
    thread.join()
    print(json.dumps(sorted(outcomes)))
    """)
    assert set(outcomes) <= {"ok", "ValueError: y holds the label 1099511627776"}


@pytest.mark.parametrize("kernel", ["adam", "adamw", "rmsprop", "adagrad", "rprop"])
def test_an_optimizer_of_another_kernel_has_the_state_that_this_one_keeps(kernel):
    """A subclass that changes its kernel alone gets as many blocks as that kernel reads and writes."""
    blocks = answer(SETUP + f"""
    class Mine(fastnn.SGD):
        kernel = "{kernel}"

    class Look(fastnn.Callback):
        def on_fit_begin(self, fit):
            print(json.dumps([len(optimizer.state), len({{block.size for block in optimizer.state}})]))

    optimizer = Mine()
    fastnn.Network([8, 16, 1]).fit(X, y, epochs=0, optimizer=optimizer, callbacks=[Look()])
    """)
    assert blocks == [1 if kernel in ("rmsprop", "adagrad") else 2, 1]


@pytest.mark.parametrize("state", ["()", "(np.zeros(3, 'f'),) * 2", "(np.zeros(size, dtype)[::2],) * 2",
                                   "(np.zeros(size, 'f2'),) * 2", "([0.0] * size,) * 2", "(None, None)"])
def test_state_that_is_not_laid_out_like_the_parameters_is_refused(state):
    outcomes = answer(SETUP + f"""
    class Mine(fastnn.Adam):
        def initial_state(self, blocks, size, dtype):
            return {state}

    optimizer = Mine()
    class Other(fastnn.Adam):
        kernel = "none"

    print(json.dumps([outcome(lambda: fastnn.Network([8, 16, 1]).fit(X, y, optimizer=optimizer)).split(" ")[0],
                      outcome(lambda: Other().bind(fastnn.Network([8, 1])._engine))]))
    """)
    assert outcomes[0] == "TypeError:" and "kernel is 'none', which does not exist" in outcomes[1]


def test_rates_that_are_fewer_than_their_shape_says():
    outcomes = answer(SETUP + """
    class Liar(np.ndarray):
        shape = property(lambda self: (64,))

    class Mine(fastnn.schedules.Schedule):
        def rates(self, epoch, first_step, steps):
            return np.full(1, 0.1).view(Liar)

    print(json.dumps(outcome(lambda: fastnn.Network([8, 1]).fit(X, y, batch_size=1, optimizer=fastnn.SGD(Mine())))))
    """)
    assert outcomes.startswith("ValueError: rates")


@pytest.mark.parametrize("value, error", [(-5, ValueError), (2**62, ValueError), (2**63 - 1, ValueError),
                                          (2**70, ValueError), (1.5, TypeError), (True, TypeError), (None, TypeError)])
@pytest.mark.parametrize("name", ["steps", "epochs"])
def test_what_an_optimizer_has_done_is_a_count(name, value, error):
    """Below zero Adam's power would never end."""
    optimizer = fastnn.Adam()
    with pytest.raises(error, match=name):
        setattr(optimizer, name, value)
    assert getattr(optimizer, name) == 0
    setattr(optimizer, name, 2**62 - 1)
    fastnn.Network([2, 1]).fit(np.eye(2), [0, 1], optimizer=optimizer, epochs=2)
    assert getattr(optimizer, name) == 2**62 + 1


# Scratch memory


@NEEDS_PROC
def test_many_threads_share_the_scratch_memory_of_one():
    """64 threads ask for what they use, some 0.5 MB each, and not for 64 copies of the inputs."""
    grown, same = answer(SETUP + """
    def most():
        with open("/proc/self/status", encoding="utf-8") as file:
            return int(next(line for line in file if line.startswith("VmPeak")).split()[1]) << 10

    inputs, targets = rng.normal(size=(8192, 512)).astype("f"), np.zeros((8192, 64), "f")
    network = fastnn.Network([512, 64])
    fastnn.set_num_threads(1)
    single = network.gradients(inputs, targets)
    fastnn.set_num_threads(64)
    network.predict(inputs)     # the threads' own stacks come with their first work
    before = most()
    several = network.gradients(inputs, targets)
    print(json.dumps([most() - before, single.weights[0].tobytes() == several.weights[0].tobytes()]))
    """)
    assert same and grown < 128 << 20       # the inputs are 16 MB
