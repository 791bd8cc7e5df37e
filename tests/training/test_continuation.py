"""Going on exactly: n calls of one epoch are one call of n, and so is a run that was saved, copied or killed between.

Bit for bit, with every optimizer, schedules, shuffling, dropout, weights and early stopping, on any
number of threads.
"""

import copy
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
from helpers import regression_data, same_bits

import fastnn
from fastnn import schedules

EPOCHS = 6
OPTIMIZERS = {
    "SGD": lambda: fastnn.SGD(0.02),
    "SGD, everything": lambda: fastnn.SGD(0.02, momentum=0.9, nesterov=True, weight_decay=1e-3, clip_norm=0.5),
    "Adam": lambda: fastnn.Adam(0.01),
    "Adam, clipped": lambda: fastnn.Adam(0.01, clip_norm=0.1, clip_value=0.05),
    "AdamW": lambda: fastnn.AdamW(0.01),
    "RMSprop": lambda: fastnn.RMSprop(0.003, momentum=0.5),
    "Adagrad": lambda: fastnn.Adagrad(0.05, learning_rate_decay=0.01),
    "Rprop": lambda: fastnn.Rprop(0.01),
    "steps": lambda: fastnn.SGD(schedules.StepDecay(0.05, every=2, factor=0.5)),
    "exponential": lambda: fastnn.Adam(schedules.ExponentialDecay(0.01, 0.9)),
    "cosine with warm-up": lambda: fastnn.AdamW(schedules.WarmUp(schedules.CosineDecay(0.01, EPOCHS), 30)),
    "one cycle": lambda: fastnn.SGD(schedules.OneCycle(0.1, 100), momentum=0.9),
    "plateau": lambda: fastnn.SGD(schedules.ReduceOnPlateau(0.1, factor=0.5, patience=0)),
}
X, Y = regression_data(70, 6, 2, "float32", seed=51)
FIT = {"batch_size": 8, "validation_data": (X[:20] + 0.1, Y[:20]), "sample_weight": np.linspace(0.5, 2, len(X))}


def build(**changes):
    arguments = {"activation": ["tanh", "relu"], "seed": 52, "dropout": [0.2, 0.4], "l1": 1e-4, "l2": 1e-3}
    return fastnn.Network([6, 16, 33, 2], **arguments | changes)


def everything(network):
    """All that training has made, as bytes."""
    stopping, rate = network.early_stopping, network.optimizer.learning_rate
    return [network.get_parameters().tobytes(), *(block.tobytes() for block in network.optimizer.state),
            network.optimizer.steps, network.optimizer.epochs, network.epochs_trained, network._engine.steps,
            rate.state() if isinstance(rate, schedules.Schedule) else rate,
            stopping and (stopping.best, stopping.best_epoch, stopping.waited, stopping.best_parameters.tobytes())]


def once_more(network, epochs=1, optimizer=None):
    return network.fit(X, Y, epochs=epochs, optimizer=optimizer, early_stopping=network.early_stopping
                       or fastnn.EarlyStopping(100), **FIT)


def uninterrupted(optimizer):
    network = build()
    history = once_more(network, EPOCHS, OPTIMIZERS[optimizer]())
    return network, history


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_n_calls_of_one_epoch_are_one_call_of_n(name):
    expected, history = uninterrupted(name)
    network = build()
    parts = [once_more(network, optimizer=OPTIMIZERS[name]() if epoch == 0 else None) for epoch in range(EPOCHS)]
    assert everything(network) == everything(expected)
    for kind in ("loss", "validation_loss", "learning_rate"):
        assert [value for part in parts for value in getattr(part, kind)] == getattr(history, kind)


def saved_and_loaded(network, folder):
    network.save(folder / "model.safetensors")
    return fastnn.load(folder / "model.safetensors")


WAYS = {"file": saved_and_loaded, "pickle": lambda network, _: pickle.loads(pickle.dumps(network)),
        "deepcopy": lambda network, _: copy.deepcopy(network)}


@pytest.mark.any_isa
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_copy_goes_on_as_the_original(name, way, tmp_path):
    expected, _ = uninterrupted(name)
    network = build()
    once_more(network, 2, OPTIMIZERS[name]())
    before = everything(network)
    twin = WAYS[way](network, tmp_path)
    assert everything(network) == before == everything(twin)
    assert repr(twin) == repr(network) and repr(twin.optimizer) == repr(network.optimizer)
    once_more(twin, EPOCHS - 2)
    assert everything(twin) == everything(expected)
    assert everything(network) == before                    # they share nothing


@pytest.mark.any_isa
def test_what_is_not_kept_would_be_noticed(tmp_path):
    network = build()
    once_more(network, 2, OPTIMIZERS["Adam"]())
    for change in (lambda n: setattr(n.optimizer, "steps", 0), lambda n: setattr(n._engine, "steps", 0),
                   lambda n: setattr(n, "_epochs_trained", 0), lambda n: n.optimizer.state[1].fill(0)):
        twin = saved_and_loaded(network, tmp_path)
        change(twin)
        once_more(twin)
        right = saved_and_loaded(network, tmp_path)
        once_more(right)
        assert not same_bits(twin.get_parameters(), right.get_parameters())


@pytest.mark.any_isa
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_fit_that_diverged_leaves_no_trace(name):
    """Steps of a bad epoch are done, and undone: what follows is what would have followed without it."""
    network, expected = build(), build()
    for each in (network, expected):
        once_more(each, 2, OPTIMIZERS[name]())
    wrong = Y.copy()
    wrong[-1] = 1e30            # whose square is infinite in float32
    with pytest.raises(fastnn.DivergenceError, match="epoch 3, step 9"):
        network.fit(X, wrong, shuffle=False, early_stopping=network.early_stopping, **FIT)
    assert everything(network) == everything(expected)
    for each in (network, expected):
        once_more(each)
    assert everything(network) == everything(expected)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_threads_change_no_bit(name, dtype):
    wide_X, wide_Y = regression_data(200, 300, 200, dtype, seed=53)
    results = []
    for threads in (1, 2, 3):
        network = fastnn.Network([300, 200, 200], activation="tanh", dtype=dtype, dropout=0.3, l2=1e-3)
        network.fit(wide_X, wide_Y, epochs=2, batch_size=100, optimizer=OPTIMIZERS[name](), threads=threads)
        results.append((network.get_parameters().tobytes(), [block.tobytes() for block in network.optimizer.state]))
    assert results[0] == results[1] == results[2]


RUN = """
import sys, numpy as np, fastnn
from pathlib import Path

class Record(fastnn.Callback):
    # The losses go into the file, too; what stands last on standard output is where a killed run was.
    def on_epoch_end(self, fit):
        print("epoch", flush=True)
        fit.network.metadata["losses"].append([fit.history.loss[-1], fit.history.validation_loss[-1]])

class Begin(fastnn.Callback):
    def on_fit_begin(self, fit):
        print("saved", flush=True)

    on_epoch_end = on_fit_begin

path = Path(sys.argv[1])
rng = np.random.default_rng(54)
X, Y = rng.normal(size=(2000, 64)), rng.normal(size=(2000, 1))
if path.exists():
    net = fastnn.load(path)
else:
    net = fastnn.Network([64, 200, 100, 1], dropout=0.2)
    net.metadata["losses"] = []
net.fit(X, Y, epochs=15 - net.epochs_trained, batch_size=500, threads=int(sys.argv[2]),
        optimizer=net.optimizer or fastnn.Adam(
            fastnn.schedules.WarmUp(fastnn.schedules.CosineDecay(0.01, 15), 20), clip_norm=1.0),
        validation_data=0.2, early_stopping=net.early_stopping or fastnn.EarlyStopping(1000),
        callbacks=[Record(), fastnn.CheckpointEvery(path), Begin()])
assert net.epochs_trained == 15 == len(net.metadata["losses"])
print("end")
"""


def run(path, threads, kill_after=None):
    """Trains and checkpoints, or goes on with it, until the end or so many seconds after the fit began; returns
    what it had done last ("saved" is: an epoch was under way) and how long it took."""
    with subprocess.Popen([sys.executable, "-c", RUN, path, str(threads)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as process:
        first, begin = process.stdout.readline(), time.perf_counter()
        if kill_after is not None:
            time.sleep(kill_after)
            process.kill()
        output, errors = process.communicate(timeout=60)
    last = (first + output).split()[-1:]
    assert process.returncode == -signal.SIGKILL or last == ["end"], errors
    return last[0], time.perf_counter() - begin


@pytest.mark.any_isa
@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.nightly)])
def test_a_run_that_was_killed_goes_on_to_the_same_bits(kills, tmp_path):
    """Killed at random times, so often in the middle of an epoch, and gone on with by another number of threads, it
    makes the file of a run that was left alone: weights, optimizer, schedule, losses, best epoch."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    _, seconds = run(whole, threads=1)
    assert run(killed, threads=2)[0] == "end" and killed.read_bytes() == whole.read_bytes()
    rng, ends = np.random.default_rng(55), Counter()
    while ends["saved"] < kills:
        done = fastnn.load(killed).epochs_trained if killed.exists() else 0
        if done == 15:
            killed.unlink()
        last, _ = run(killed, 1 + ends.total() % 3, rng.uniform(0, seconds * (1 - done % 15 / 15)))
        ends[last] += 1
        if last == "end":
            assert killed.read_bytes() == whole.read_bytes()
    if last != "end":
        run(killed, threads=3)
    print(f"killed {ends['saved']} times in an epoch, {ends['epoch']} times after one; {ends['end']} came to their end")
    assert killed.read_bytes() == whole.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} <= {"whole", "killed"}, os.listdir(tmp_path)


@pytest.mark.any_isa
def test_checkpoints_come_when_they_are_due(tmp_path, monkeypatch):
    saves = []
    monkeypatch.setattr(fastnn.Network, "save", lambda network, path: saves.append(network.epochs_trained))
    network = build()
    network.fit(X, Y, epochs=7, callbacks=[fastnn.CheckpointEvery(tmp_path / "model", epochs=3)])
    assert saves == [3, 6, 7]
    network.fit(X, Y, epochs=3, callbacks=[fastnn.CheckpointEvery(tmp_path / "model", seconds=1000)])
    assert saves == [3, 6, 7, 10]

    class AtOnce(fastnn.Callback):
        def on_epoch_end(self, fit):
            fit.stop()

    network.fit(X, Y, epochs=3, callbacks=[fastnn.CheckpointEvery(tmp_path / "model", epochs=5), AtOnce()])
    assert saves == [3, 6, 7, 10, 11]       # it was stopped after the checkpoint had looked
    with pytest.raises(fastnn.DivergenceError):
        network.fit(X, Y, epochs=500, optimizer=fastnn.SGD(lambda epoch: 1e-4 if epoch < 3 else 3.0),
                    callbacks=[fastnn.CheckpointEvery(tmp_path / "model")])
    assert saves[-2] > saves[-1] == network.epochs_trained > 11     # epochs that were undone are in no file
