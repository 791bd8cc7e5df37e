"""How much memory is taken, and what is said of sizes that no memory holds."""

import gc
import os
import tracemalloc

import numpy as np
import pytest
from helpers import NOT_SANITIZED, regression_data, same_bits
from programs import NEEDS_PROC, answer

import fastnn
from fastnn import initializers
from fastnn.storage import state

pytestmark = pytest.mark.any_isa
X, Y = regression_data(64, 6, 2, "float32", seed=80)


def trained():
    network = fastnn.Network([6, 12, 2], seed=81)
    network.fit(X, Y, epochs=3, batch_size=8, shuffle=False, optimizer=fastnn.Adam(0.01))
    return network


# More memory than there is


LIMITED = """
    import json, resource, time
    import numpy as np, fastnn
    from fastnn import ops

    def in_use():
        with open("/proc/self/statm", encoding="utf-8") as file:
            return int(file.read().split()[0]) * resource.getpagesize()

    def limit(mebibytes):
        resource.setrlimit(resource.RLIMIT_AS, (in_use() + (mebibytes << 20), resource.RLIM_INFINITY))

    def trained():
        net = fastnn.Network([1, 4096, 1], seed=87)
        net.fit(x[:64], x[:64], batch_size=32)
        return net

    def nothing(*shape, dtype="f"):
        return np.broadcast_to(np.zeros((), dtype), shape)

    x = np.linspace(0, 1, 200_000, dtype="f")[:, None]
    net, twin = trained(), trained()
"""


@NEEDS_PROC
def test_what_asks_for_more_than_there_is_gets_a_memory_error_at_once():
    seconds, same, growth = answer(LIMITED + """
    limit(64)
    before, seconds = in_use(), {}
    for name, ask in {
        "fit": lambda: net.fit(x, x, batch_size=len(x)),
        "fit by threads": lambda: net.fit(x, x, batch_size=len(x), threads=2),
        "train on batch": lambda: net.train_on_batch(x, x),
        "gradients": lambda: net.gradients(x, x),
        "layer outputs": lambda: net.layer_outputs(x),
        "network": lambda: fastnn.Network([30_000, 90_000, 1]),
        "predict, 16 GB of inputs": lambda: net.predict(nothing(4 * 10**9, 1)),
        "fit, 40 GB of rows": lambda: net.fit(nothing(10**10, 1), nothing(10**10, 1)),
    }.items():
        start = time.perf_counter()
        try:
            ask()
            seconds[name] = "went well"
        except MemoryError:
            seconds[name] = time.perf_counter() - start
    growth = in_use() - before
    for each in (net, twin):
        each.fit(x[:640], x[:640], epochs=2)
    same = net.get_parameters().tobytes() == twin.get_parameters().tobytes()
    print(json.dumps([seconds, same, growth]))
    """, MALLOC_ARENA_MAX="1")      # glibc reserves 64 MB for a thread that finds the allocator busy
    print({name: value if isinstance(value, str) else f"{1e3 * value:.1f} ms" for name, value in seconds.items()})
    assert all(value != "went well" and value < 1 for value in seconds.values()), seconds
    assert same and growth < 16 << 20


@NEEDS_PROC
@NOT_SANITIZED
@pytest.mark.parametrize("ask", ["save", "load"])
def test_a_model_file_of_more_than_there_is_gets_a_memory_error(ask, tmp_path):
    """At any limit, without an end of the process or a trace on the disk."""
    report, files = answer(LIMITED + f"""
    import os
    from pathlib import Path
    os.chdir({str(tmp_path)!r})
    large = fastnn.Network([2000, 2000])
    large.save("model")
    before = Path("model").read_bytes()
    report = []
    for quarter in range(16):
        limit(quarter * 4 * large.n_parameters // 4 >> 20)
        try:
            large.save("other") if {ask == "save"} else fastnn.load("model")
            report.append("went well")
        except MemoryError:
            report.append("MemoryError")
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert Path("model").read_bytes() == before
    print(json.dumps([report, sorted(os.listdir())]))
    """)
    enough = report.count("went well")
    assert report == ["MemoryError"] * (16 - enough) + ["went well"] * enough and 2 <= enough <= 12, report
    assert files == (["model", "other"] if ask == "save" else ["model"])


SIZES = [2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1, 2**32, 2**32 + 1, 2**62, 2**63 - 1, 2**63, 2**64]


@NEEDS_PROC
def test_sizes_about_to_overflow_get_a_sentence():
    """Units, and rows by views that repeat one number; memory is limited, lest what could be had be filled."""
    answers, same = answer(LIMITED + f"""
    limit(256)
    answers = {{}}
    def ask(name, question):
        try:
            question()
            answers[name] = ["went well", ""]
        except Exception as error:
            answers[name] = [type(error).__name__, str(error)]
    softmax = fastnn.Network([1, 3], output="softmax")
    for n in {SIZES}:
        for sizes in ([n, 1], [1, n], [1, n, 1], [n, n], [4, 3, n]):
            ask(f"Network({{sizes}})", lambda: fastnn.Network(sizes))
        for dtype in ("f", "d", "i1", "f2"):
            def rows(): return nothing(n, 1, dtype=dtype)
            ask(f"predict {{n}} {{dtype}}", lambda: net.predict(rows()))
            ask(f"evaluate {{n}} {{dtype}}", lambda: net.evaluate(rows(), rows()))
            ask(f"gradients {{n}} {{dtype}}", lambda: net.gradients(rows(), rows()))
            ask(f"fit {{n}} {{dtype}}", lambda: net.fit(rows(), rows()))
            ask(f"batch {{n}} {{dtype}}", lambda: net.train_on_batch(rows(), rows()))
        ask(f"labels {{n}}", lambda: softmax.fit(nothing(n, 1), nothing(n, dtype=int)))
        ask(f"features {{n}}", lambda: net.predict(nothing(1, n)))
        out = np.zeros((4, 4), "f")
        ask(f"activation_forward {{n}}", lambda: ops.activation_forward(out, nothing(n, 1), "tanh"))
        ask(f"dense_forward {{n}}", lambda: ops.dense_forward(out, nothing(n, 1), nothing(1, 4), out[0]))
        ask(f"dense_backward {{n}}", lambda: ops.dense_backward(out, None, None, nothing(n, 1), None, nothing(4, 1)))
        ask(f"loss {{n}}", lambda: ops.loss_forward_backward(out, nothing(n, 1), nothing(n, 1), "mse"))
        ask(f"sgd_update {{n}}", lambda: ops.sgd_update(out[0], nothing(n), 0.1))
    same = net.get_parameters().tobytes() == twin.get_parameters().tobytes()
    print(json.dumps([answers, same]))
    """)
    assert same
    for name, (kind, sentence) in answers.items():
        assert kind in ("ValueError", "MemoryError", "OverflowError") and len(sentence) > 20, (name, kind, sentence)


@pytest.mark.parametrize("size", [size for size in SIZES if size < 2**63])
def test_a_batch_size_or_an_epoch_count_beyond_all_rows(size):
    network, twin = trained(), trained()
    twin.fit(X, Y, batch_size=64)
    network.fit(X, Y, batch_size=size)
    network.fit(X, Y, batch_size=64, epochs=size, time_budget=0)
    twin.fit(X, Y, batch_size=64)
    assert same_bits(network.get_parameters(), twin.get_parameters())


# Memory that is taken


def peak(function):
    """(the most memory that a call has taken at a time, what it returns), in bytes; NumPy's arrays are counted, too."""
    function()          # imports and caches
    gc.collect()
    tracemalloc.start()
    try:
        result = function()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


LARGE = [[1500, 1500], [3_000_000, 1], [1, 1_000_000], [300] * 20, [300_000, 17], [100_000, 3, 2, 50_000]]
LITTLE = 2**21 + 2**22  # what is made on the way, whatever the size, and padding


def check_building(sizes, initializer=None):
    taken, network = peak(lambda: fastnn.Network(sizes, initializer=initializer))
    assert taken <= 5 * network.n_parameters + LITTLE, f"{taken / 4 / network.n_parameters:.2f} times"


@pytest.mark.parametrize("sizes", LARGE, ids=str)
@pytest.mark.parametrize("initializer", ["he_normal", "glorot_uniform"])
def test_building_a_network_takes_the_memory_of_its_parameters(sizes, initializer):
    """A quarter more for padding, and some megabytes; initial weights are drawn piece by piece."""
    check_building(sizes, initializer)


def check_loading(sizes, path, state):
    network = fastnn.Network(sizes)
    if state:
        network.fit(np.ones((2, sizes[0]), "f"), np.ones((2, sizes[-1]), "f"), optimizer=fastnn.Adam(1e-9),
                    early_stopping=fastnn.EarlyStopping())
    saving, _ = peak(lambda: network.save(path))
    loading, loaded = peak(lambda: fastnn.load(path))
    size = os.path.getsize(path)
    assert same_bits(loaded.get_parameters(), network.get_parameters())
    assert saving <= 3 * size + LITTLE, f"saving takes {saving / size:.2f} times the file"
    assert loading <= 2.25 * size + LITTLE, f"loading takes {loading / size:.2f} times the file"


@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize("sizes", LARGE, ids=str)
def test_loading_takes_the_file_and_the_network(sizes, state, tmp_path):
    """Nothing is drawn, and nothing copied twice; with the state of Adam and the parameters of early stopping, too.
    Saving takes a copy of the parameters, and twice the file: tracemalloc does not see what Rust takes of that, but
    sees that it is asked for."""
    check_loading(sizes, tmp_path / "model", state)


def test_parameters_are_copied_once():
    network = fastnn.Network([1500, 1500])
    size = 4 * network.n_parameters
    taken, values = peak(network.get_parameters)
    assert taken <= size + 2**16
    assert peak(lambda: network.set_parameters(values))[0] <= 2**16
    wide = values.astype(float)
    assert peak(lambda: network.set_parameters(wide))[0] <= size + 2**16


def test_the_check_of_memory_that_is_taken_can_fail(tmp_path, monkeypatch):
    monkeypatch.setattr(initializers, "PIECE", 2**40)
    with pytest.raises(AssertionError, match="times"):
        check_building([1500, 1500])
    monkeypatch.setattr(state, "build", lambda network, **arguments: network.__init__(**arguments))
    with pytest.raises(AssertionError, match="loading takes .* times the file"):
        check_loading([1500, 1500], tmp_path / "model", False)
