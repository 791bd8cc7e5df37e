"""Programs that test_distributed.py runs under mpiexec: `python on_ranks.py <function> <folder> [argument]`.

What a function returns goes to <folder>/<rank>.json. No test is here.
"""

import contextlib
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

import fastnn
from fastnn.core import dispatch
from fastnn.distributed import DataParallel, local_rows
from fastnn.distributed.ranks import SeveralRanks

if __name__ == "__main__":      # a test that asks for CASES is no rank
    from mpi4py import MPI

    WORLD = MPI.COMM_WORLD
N = 203     # rows: no multiple of anything


def data(kind, n=N):
    """(network's arguments, X, y) of a task."""
    rng = np.random.default_rng(7)
    X = rng.normal(size=(n, 6)).astype("f")
    classes = (X[:, 0] + 0.3 * rng.normal(size=n) > 0).astype(int) + (X[:, 1] > 0.5)
    if kind == "softmax":
        return dict(layer_sizes=[6, 20, 9, 3], output="softmax"), X, classes
    if kind == "sigmoid":
        return dict(layer_sizes=[6, 12, 1], output="sigmoid", activation="tanh"), X, (classes > 0).astype(int)
    return dict(layer_sizes=[6, 16, 2], activation="gelu"), X, np.stack([X[:, 0] * X[:, 1], X[:, 2] ** 2], 1)


def uneven(n):
    """Rows of this rank where the last has the most."""
    shares = np.arange(1, WORLD.size + 1).cumsum() / (WORLD.size * (WORLD.size + 1) / 2)
    bounds = [0, *np.round(shares * n).astype(int)]
    return slice(bounds[WORLD.rank], bounds[WORLD.rank + 1])


def half_squares(outputs, targets):
    """A Python loss."""
    return 0.5 * np.mean((outputs - targets) ** 2), (outputs - targets) / targets.size


def number_of_rank(y, outputs):
    """A metric that every rank sees differently."""
    return WORLD.rank


def leaping(epoch):
    """A learning rate with which the loss falls, and then does not."""
    return 0.1 if epoch < 4 else 3.0


ON_ONE_MACHINE, NOWHERE = SeveralRanks._on_one_machine, lambda ranks: False
WEIGHTS = np.random.default_rng(8).uniform(0, 2, N)
WEIGHTS[20:60] = 0
LATE_WEIGHTS = np.where(np.arange(N) < 120, 0, WEIGHTS)     # nothing on half of the ranks, and on the first of several
CASES = {
    "adam": dict(optimizer=fastnn.Adam(0.01)),
    "clipped": dict(optimizer=fastnn.Adam(0.01, clip_norm=0.1)),
    "sgd": dict(optimizer=fastnn.SGD(0.1)),
    "momentum": dict(optimizer=fastnn.SGD(0.1, momentum=0.9, nesterov=True, clip_value=0.05)),
    "adamw": dict(optimizer=fastnn.AdamW(0.01)),
    "rmsprop": dict(optimizer=fastnn.RMSprop(0.003)),
    "adagrad": dict(optimizer=fastnn.Adagrad(0.05)),
    "rprop": dict(optimizer=fastnn.Rprop(), batch_size=N, epochs=6),
    "lbfgs": dict(kind="numbers", network=dict(dtype="float64", l2=1e-3), optimizer=fastnn.LBFGS(), batch_size=None,
                  epochs=15),
    "schedule": dict(optimizer=fastnn.SGD(fastnn.schedules.OneCycle(0.2, 30), momentum=0.9)),
    "plateau": dict(optimizer=fastnn.SGD(fastnn.schedules.ReduceOnPlateau(0.1, patience=1, min_change=0.02)),
                    validated=True, epochs=8),
    "dropout": dict(network=dict(dropout=[0.3, 0.2], l1=1e-4, l2=1e-3, label_smoothing=0.1)),
    "weights": dict(sample_weight=WEIGHTS, kind="sigmoid"),
    "late weights": dict(sample_weight=LATE_WEIGHTS, kind="sigmoid", validated=True),
    "lbfgs, late weights": dict(sample_weight=LATE_WEIGHTS, kind="numbers", network=dict(dtype="float64"), epochs=9,
                                optimizer=fastnn.LBFGS(), batch_size=None, validated=True),
    "balanced": dict(class_weight="balanced"),
    "focal": dict(kind="sigmoid", network=dict(loss="focal"), class_weight={1: 3.0}),
    "numbers": dict(kind="numbers", network=dict(dtype="float64"), metrics=["r2", "mae"], validated=True),
    "python": dict(kind="numbers", network=dict(loss=half_squares)),
    "uneven": dict(rows=uneven, validated=True, metrics="accuracy"),
    "order": dict(shuffle=False),
    "whole": dict(batch_size=1000),
    "single": dict(batch_size=1, epochs=1),
    "mapped": dict(kind="softmax", mapped=True, network=dict(dropout=0.25)),
    "early": dict(validated=True, early=3, epochs=60, optimizer=fastnn.Adam(0.05)),
    "early, of its own rows": dict(early=1, epochs=20, optimizer=fastnn.SGD(leaping, clip_norm=1.0),
                                   network=dict(dtype="float64"), sample_weight=WEIGHTS, kind="sigmoid"),
    "early, mapped": dict(early=1, epochs=20, optimizer=fastnn.SGD(leaping, clip_norm=1.0), mapped=True),
    "training metric": dict(metrics=["accuracy"], sample_weight=WEIGHTS),
    "weighted metrics": dict(kind="numbers", metrics=["r2", "rmse"], validated=True, sample_weight=WEIGHTS),
    "metric of each rank": dict(metrics=[number_of_rank], batch_size=16),
    "large": dict(network=dict(layer_sizes=[6, 150, 130, 3]), optimizer=fastnn.Adam(0.003)),
    "large, apart": dict(network=dict(layer_sizes=[6, 150, 130, 3]), optimizer=fastnn.Adam(0.003), apart=True),
    "large float64": dict(network=dict(layer_sizes=[6, 131, 77, 3], dtype="float64")),
}


def trained(case, communicator, folder):
    """A network and its history after a case; None is without ranks."""
    case = dict(case)
    arguments, X, y = data(case.pop("kind", "softmax"))
    network = fastnn.Network(**{**arguments, "seed": 5, **case.pop("network", {})})
    mine = slice(None) if communicator is None else case.pop("rows", local_rows)(N)
    case.pop("rows", None)
    fit = dict(epochs=4, batch_size=32, communicator=communicator) | case
    if fit["batch_size"] is None:
        del fit["batch_size"]
    if "sample_weight" in fit:
        fit["sample_weight"] = fit["sample_weight"][mine]
    if fit.pop("validated", False):
        fit["validation_data"] = X[mine], y[mine], fit.get("sample_weight")
    if early := fit.pop("early", None):
        fit["early_stopping"] = fastnn.EarlyStopping(early)
    if fit.pop("mapped", False):
        path = Path(folder, f"{WORLD.rank}.npy")
        np.save(path, X.astype("d"))
        X = np.load(path, mmap_mode="r")
    # As if the ranks were on several machines.
    SeveralRanks._on_one_machine = NOWHERE if fit.pop("apart", False) else ON_ONE_MACHINE
    if "optimizer" in fit:      # a new one for each network
        kind = type(fit["optimizer"])
        fit["optimizer"] = kind(**fit["optimizer"].arguments())
    history = network.fit(X[mine], y[mine], **fit)
    return network, history


def digest(network):
    """Of everything that training changes."""
    state = getattr(network.optimizer, "state", ())
    blocks = [network.get_parameters(), *state]
    return hashlib.sha256(b"".join(block.tobytes() for block in blocks)).hexdigest()


def cases(folder, setting):
    """{case: digest, parameters, history} of all cases; `setting` is what DataParallel gets."""
    results = {}
    for name, case in CASES.items():
        network, history = trained(case, DataParallel(**json.loads(setting)), folder)
        lists = history.as_dict()
        del lists["seconds"]
        results[name] = dict(digest=digest(network), parameters=network.get_parameters().tolist(), history=lists,
                             stopped_by=history.stopped_by, epochs=network.epochs_trained)
    return results


def whole_batches(folder, case):
    """Parameters after a case with batches of all rows."""
    return trained(CASES[case] | {"batch_size": N}, WORLD, folder)[0].get_parameters().tolist()


def sharded(folder, _):
    """{case: what must be the same} of cases with shards=8, which need rows divided evenly."""
    names = ["adam", "clipped", "momentum", "dropout", "weights", "late weights", "lbfgs, late weights", "numbers",
             "mapped", "early", "lbfgs", "plateau", "large"]
    result = {}
    for name in names:
        network, history = trained(CASES[name], DataParallel(shards=8), folder)
        result[name] = [digest(network), history.loss, history.as_dict().get("validation_loss"),
                        network.get_parameters().tolist()]
    return result


def averaged(folder, every):
    """[digest, parameters] after local SGD."""
    network, _ = trained(dict(optimizer=fastnn.SGD(0.1, momentum=0.5), batch_size=30, epochs=2),
                         DataParallel(sync_every=int(every)), folder)
    return [digest(network), network.get_parameters().tolist()]


def mistakes(folder, _):
    """{name: the error of this rank} of calls that are wrong on one rank, on some or on all."""
    X, y = np.eye(8, 3, dtype="f"), np.zeros(8)
    first, last = WORLD.rank == 0, WORLD.rank == WORLD.size - 1

    def network(**arguments):
        return fastnn.Network(**{"layer_sizes": [3, 4, 1], **arguments})

    def seasoned():
        result = network()
        if last:
            result.weights[0][0, 0] = 1
        return result

    calls = {
        "empty": lambda: network().fit(X[:0] if last else X, y[:0] if last else y, communicator=WORLD),
        "features": lambda: network().fit(X[:, :2] if first else X, y, communicator=WORLD),
        "nan": lambda: network().fit(np.where(last, np.nan, X), y, communicator=WORLD),
        "architecture": lambda: network(layer_sizes=[3, 5 if last else 4, 1]).fit(X, y, communicator=WORLD),
        "size": lambda: network(layer_sizes=[3, 3000 if last else 4, 1]).fit(X, y, communicator=WORLD),
        "dtype": lambda: network(dtype="float64" if last else "float32").fit(X, y, communicator=WORLD),
        "loss": lambda: network(loss="mae" if last else "mse").fit(X, y, communicator=WORLD),
        "parameters": lambda: seasoned().fit(X, y, communicator=WORLD),
        "epochs": lambda: network().fit(X, y, epochs=2 if last else 3, communicator=WORLD),
        "optimizer": lambda: network().fit(X, y, optimizer=fastnn.SGD(0.1 if last else 0.2), communicator=WORLD),
        "validation": lambda: network().fit(X, y, validation_data=(X, y) if last else None, communicator=WORLD),
        "metrics": lambda: network().fit(X, y, metrics=["mse"] if last else [], communicator=WORLD),
        "fraction": lambda: network().fit(X, y, validation_data=0.25, communicator=WORLD),
        "validation weights": lambda: network().fit(X, y, validation_data=(X, y, np.zeros(8)), communicator=WORLD),
        "class_weight": lambda: network(output="sigmoid", loss="binary_cross_entropy").fit(
            X, y, class_weight={1: 3.0 if last else 1.0}, communicator=WORLD),
        "batches": lambda: network().fit([(X, y)], communicator=WORLD),
        "two": lambda: network().fit(X[:0] if first else X[:, :1], y, communicator=WORLD),
        "shards": lambda: network().fit(X[WORLD.rank:], y[WORLD.rank:], batch_size=4,
                                        communicator=DataParallel(shards=WORLD.size * 2)),
        "multiple": lambda: network().fit(X, y, batch_size=3, communicator=DataParallel(shards=WORLD.size * 2)),
        "wrong": lambda: network().fit(X, y, communicator="world"),
        "null": lambda: network().fit(X, y, communicator=MPI.COMM_NULL),
        "weightless": lambda: network().fit(X, y, sample_weight=np.zeros(8), communicator=WORLD),
        "power": lambda: DataParallel(shards=6),
        "both": lambda: DataParallel(shards=8, sync_every=2),
        "never": lambda: DataParallel(sync_every=0),
        "timeout": lambda: DataParallel(timeout=0),
        "isa": lambda: network().fit(X, y, communicator=WORLD),
    }
    result = {}
    for name, call in calls.items():
        try:
            if name == "isa":
                dispatch.kernels = dispatch.load("sse2" if last else dispatch.FOUND[0])
            call()
        except Exception as error:
            result[name] = [type(error).__name__, str(error)]
    return result


class Fails(fastnn.Callback):
    """Raises on one rank, after an epoch."""

    def __init__(self, rank, error, epoch=2):
        self.rank, self.error, self.epoch = rank, error, epoch

    def on_epoch_end(self, fit):
        if fit.epoch == self.epoch and fit.rank == self.rank:
            raise self.error


def left(folder, error):
    """Rank 1 leaves by an error."""
    arguments, X, y = data("softmax")
    error = {"OSError": OSError("disk full"), "KeyboardInterrupt": KeyboardInterrupt()}[error]
    fastnn.Network(**arguments).fit(X[local_rows(N)], y[local_rows(N)], epochs=1000, callbacks=[Fails(1, error)],
                                    communicator=WORLD)


def left_and_went_on(folder, _):
    """Rank 1 leaves by an error, but its program does not end."""
    with contextlib.suppress(OSError):
        left(folder, "OSError")
    time.sleep(300)


class Sleeps(fastnn.Callback):
    """Hears nothing, on rank 0."""

    def on_epoch_end(self, fit):
        if fit.rank == 0:
            time.sleep(300)


def left_alone(folder, _):
    """Rank 1 leaves by an error, but no other rank ends the job."""
    arguments, X, y = data("softmax")
    fastnn.Network(**arguments).fit(X[local_rows(N)], y[local_rows(N)], epochs=3, communicator=WORLD,
                                    callbacks=[Fails(1, OSError("disk full"), epoch=1), Sleeps()])


class Leaves(fastnn.Callback):
    """Raises on rank 0, at the end of the fit."""

    def on_fit_end(self, fit):
        if fit.rank == 0:
            raise OSError("disk full")


def left_at_the_end(folder, _):
    """Rank 0 leaves by an error when all have trained, and its program does not end."""
    arguments, X, y = data("softmax")
    arguments["layer_sizes"] = [6, 3000, 3]     # gradients that are summed in memory of all ranks
    with contextlib.suppress(OSError):
        fastnn.Network(**arguments).fit(X[local_rows(N)], y[local_rows(N)], epochs=1, callbacks=[Leaves()],
                                        communicator=WORLD)
    time.sleep(300)


def failed(folder, _):
    """How much higher MPI's number of a new communicator is than at first: after fits that were refused, and after some
    that diverged."""
    network = fastnn.Network([3, 2, 1])
    X, y = np.eye(8, 3, dtype="f"), np.zeros(8)

    def number():
        copy = WORLD.Dup()
        try:
            return copy.py2f()
        finally:
            copy.Free()

    numbers = [number()]
    for inputs, error in [(X[:, :2], ValueError), (X, fastnn.DivergenceError)]:
        for _ in range(5):
            try:
                network.fit(inputs, y, epochs=2, optimizer=fastnn.SGD(1e38), communicator=WORLD)
            except error:
                pass
            else:
                return "no error"
        numbers.append(number())
    return [later - numbers[0] for later in numbers[1:]]


def diverged(folder, _):
    """[the error, whether the last good epoch is back] where the learning rate is far too large, and where inputs are,
    on one rank alone."""
    arguments, X, y = data("numbers")
    network = fastnn.Network(**arguments)
    network.fit(X[local_rows(N)], y[local_rows(N)], communicator=WORLD)
    before = digest(network)
    result = []
    for rate, scale, setting in [(1e30, 1, dict()), (1e30, 1, dict(sync_every=3)), (0.01, 1e25, dict(sync_every=3))]:
        network.optimizer.learning_rate = rate
        try:
            network.fit(X[local_rows(N)] * (scale if WORLD.rank == 0 else 1), y[local_rows(N)], epochs=5,
                        communicator=DataParallel(**setting))
        except fastnn.DivergenceError as error:
            result.append([str(error), digest(network) == before])
    return result


def exploded(folder, _):
    """[epochs until the error, whether everything is as it was before, whether the error says so] where the loss
    grows for many epochs before it is infinite, and where targets are too large for any learning rate."""
    x = np.linspace(-2, 2, 40, dtype="d")[:, None]
    mine, result = local_rows(40), []
    for rate, scale, batch, setting in [(0.9, 1, 40, dict()), (0.9, 1, 40, dict(sync_every=2)), (9, 1, 10, dict()),
                                        (1e-30, 1e200, 10, dict())]:
        network = fastnn.Network([1, 1], dtype="float64")
        network.fit(x[mine], 2 * x[mine], optimizer=fastnn.SGD(0.01), communicator=WORLD)
        before, optimizer = digest(network), network.optimizer
        try:
            network.fit(x[mine], 2 * scale * x[mine], epochs=1000, batch_size=batch, optimizer=fastnn.SGD(rate),
                        communicator=DataParallel(**setting))
        except fastnn.DivergenceError as error:
            whole = digest(network) == before and network.optimizer is optimizer and network.epochs_trained == 1
            result.append([error.epoch, whole, str(error).split("restored")[1]])
    return result


def out_of_time(folder, _):
    """[steps, epochs, losses, rows, what stopped it] of fits whose time is over at once."""
    arguments, X, y = data("numbers")
    mine, result = local_rows(N), []
    for setting in (dict(), dict(sync_every=3)):
        network, rows = fastnn.Network(**arguments), []
        watch = fastnn.Callback()
        watch.on_epoch_end = lambda fit, rows=rows: rows.append(fit.rows)
        history = network.fit(X[mine], y[mine], epochs=9, batch_size=10, time_budget=0, callbacks=[watch],
                              optimizer=fastnn.SGD(0.01), communicator=DataParallel(**setting))
        result.append([network.optimizer.steps, network.epochs_trained, history.loss, rows, history.stopped_by])
    return result


class Ends(fastnn.Callback):
    """Ends or stops a process in the middle of a fit; a file says which one."""

    def __init__(self, rank, number, path):
        self.rank, self.number, self.path = rank, number, path

    def on_epoch_end(self, fit):
        if fit.network.epochs_trained == 5 and fit.rank == self.rank:
            while fastnn.load(self.path.with_name("checkpoint.safetensors")).epochs_trained < 5:
                time.sleep(0.01)        # rank 0 is about to save
            self.path.write_text(str(os.getpid()), encoding="utf-8")
            os.kill(os.getpid(), self.number)


def run_for_ten_epochs(folder, ends):
    """A run with a checkpoint after every epoch that goes on from it; rank 1 may end or hang after epoch 5."""
    arguments, X, y = data("softmax")
    path = Path(folder, "checkpoint.safetensors")
    network = fastnn.load(path) if path.exists() else fastnn.Network(**arguments, dropout=0.2)
    callbacks = [fastnn.CheckpointEvery(path)]
    if ends and network.epochs_trained < 5:
        callbacks.append(Ends(1, getattr(signal, ends), Path(folder, "pid")))
    mine = local_rows(N)
    network.fit(X[mine], y[mine], epochs=10 - network.epochs_trained, batch_size=32, callbacks=callbacks,
                optimizer=network.optimizer or fastnn.Adam(0.01),
                communicator=DataParallel(shards=4, timeout=2 if ends else 60))
    return [network.epochs_trained, digest(network)]


class Late(fastnn.Callback):
    """Rank 1 comes late after the second epoch, and never after the fourth."""

    def on_epoch_end(self, fit):
        if fit.rank == 1:
            time.sleep({2: 1.5, 4: 300}.get(fit.epoch, 0))


def late_and_lost(folder, _):
    """A rank that answers late is asked again when it cannot answer."""
    arguments, X, y = data("softmax")
    fastnn.Network(**arguments).fit(X[local_rows(N)], y[local_rows(N)], epochs=9, callbacks=[Late()],
                                    communicator=DataParallel(timeout=1))


def lonely(folder, _):
    """Rank 0 alone calls fit."""
    if WORLD.rank == 0:
        arguments, X, y = data("softmax")
        fastnn.Network(**arguments).fit(X, y, communicator=DataParallel(timeout=1))
    else:
        time.sleep(30)


def output(folder, _):
    """What a fit prints and saves; each rank has a folder of its own."""
    arguments, X, y = data("softmax")
    os.mkdir(Path(folder, str(WORLD.rank)))
    os.chdir(Path(folder, str(WORLD.rank)))
    mine = local_rows(N)
    with open("stderr", "w", encoding="utf-8") as file, contextlib.redirect_stderr(file):
        fastnn.Network(**arguments).fit(X[mine], y[mine], epochs=3, progress=True, communicator=WORLD,
                                        callbacks=[fastnn.CheckpointEvery("saved")])
    return [Path("stderr").read_text(encoding="utf-8").count("epochs"), Path("saved").exists()]


if __name__ == "__main__":
    function, folder, argument = [*sys.argv[1:], ""][:3]
    returned = globals()[function](folder, argument)
    Path(folder, f"{WORLD.rank}.json").write_text(json.dumps(returned), encoding="utf-8")
