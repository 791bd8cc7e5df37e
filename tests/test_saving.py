"""Saving a network: what comes back, what a file cannot hold, and that no description fools `load`.

The file itself, its checksum and its way to the disk are in test_model_file.py; that a loaded network
trains on to the same bits, in test_continuation.py.
"""

import copy
import enum
import json
import os
import pickle
import re
from fractions import Fraction

import numpy as np
import pytest
from helpers import regression_data, same_bits

import fastnn
from fastnn import network as network_module
from fastnn import schedules
from fastnn.losses import Loss
from fastnn.storage import model_file, state
from fastnn.storage.model_file import read_model, write_model

pytestmark = pytest.mark.any_isa
X, Y = regression_data(30, 4, 2, seed=71)
OPTIMIZERS = [
    fastnn.SGD(0.1, momentum=0.5), fastnn.Adam(schedules.CosineDecay(0.1, 5), clip_norm=1.0), fastnn.AdamW(),
    fastnn.RMSprop(momentum=0.1), fastnn.Adagrad(), fastnn.Rprop(), fastnn.LBFGS(history_size=5),
    fastnn.SGD(schedules.WarmUp(schedules.ReduceOnPlateau(0.1, patience=0), 3)),
]


def mse(outputs, targets):
    return ((outputs - targets) ** 2).mean(), 2 * (outputs - targets) / outputs.size


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_a_network_comes_back_as_it_was(optimizer, dtype, tmp_path):
    network = fastnn.Network([4, 9, 3, 2], activation=["tanh", "gelu"], initializer="he_uniform", dtype=dtype, seed=7,
                             l1=0.1, l2=0.2, loss=fastnn.losses.quantile(0.3))
    network.metadata = {"columns": ["a", "b"], "mean": [0.1, 1e300], "note": None}
    network.fit(X, Y, epochs=3, optimizer=copy.deepcopy(optimizer))
    network.save(tmp_path / "model.safetensors")
    loaded = fastnn.load(str(tmp_path / "model.safetensors"))
    for name in ("layer_sizes", "activations", "loss", "dtype", "seed", "dropout", "l1", "l2", "label_smoothing",
                 "epochs_trained", "metadata"):
        assert getattr(loaded, name) == getattr(network, name), name
    assert repr(loaded) == repr(network) and repr(loaded.optimizer) == repr(network.optimizer)
    assert (loaded.optimizer.steps, loaded.optimizer.epochs) == (network.optimizer.steps, network.optimizer.epochs)
    assert same_bits(loaded.predict(X), network.predict(X))


def test_an_untrained_network_has_no_optimizer_to_save(tmp_path):
    fastnn.Network([4, 2]).save(tmp_path / "model")
    assert fastnn.load(tmp_path / "model").optimizer is None


def test_an_optimizer_of_the_users_own_is_refused_before_the_disk_is_touched(tmp_path):
    """A file that names its class could not be loaded without it."""
    class Own(fastnn.SGD):
        pass

    network = fastnn.Network([4, 2])
    network.fit(X, Y, optimizer=Own(0.1))
    for save in (lambda: network.save(tmp_path / "model"), lambda: copy.deepcopy(network)):
        with pytest.raises(TypeError, match="optimizer is a Own, but only optimizers of fastnn's own can be saved"):
            save()
    assert not list(tmp_path.iterdir())


def test_other_tools_can_read_the_tensors(tmp_path):
    from safetensors.numpy import load_file
    network = fastnn.Network([4, 9, 2])
    network.fit(X, Y, optimizer=fastnn.Adam())
    network.save(tmp_path / "model.safetensors")
    tensors = load_file(tmp_path / "model.safetensors")
    assert sorted(tensors) == ["biases.0", "biases.1", "optimizer.0", "optimizer.1", "weights.0", "weights.1"]
    assert same_bits(tensors["weights.1"], network.weights[1]) and tensors["optimizer.0"].shape == (65,)


def test_a_python_loss_must_be_given_again(tmp_path):
    network = fastnn.Network([4, 9, 2], loss=mse)
    network.fit(X, Y)
    network.save(tmp_path / "model")
    with pytest.raises(TypeError, match="learned with a Python function.*fastnn.load"):
        fastnn.load(tmp_path / "model")
    with pytest.raises(TypeError, match="loss is 'mse', but must be a function"):
        fastnn.load(tmp_path / "model", loss="mse")
    loaded = fastnn.load(tmp_path / "model", loss=mse)
    assert loaded.loss is mse and loaded.fit(X, Y).loss == network.fit(X, Y).loss
    twin = copy.deepcopy(network)
    assert twin.loss is mse and twin.fit(X, Y).loss == network.fit(X, Y).loss
    fastnn.Network([4, 2]).save(tmp_path / "model")
    with pytest.raises(TypeError, match="has its own: leave it out"):
        fastnn.load(tmp_path / "model", loss=mse)


def test_a_schedule_of_the_users_own_becomes_its_latest_value(tmp_path):
    """Also one that has the name of fastnn's."""
    class StepDecay(schedules.StepDecay):
        def at(self, t):
            return 0.01 + 0 * t

    network = fastnn.Network([4, 9, 2])
    network.fit(X, Y, optimizer=fastnn.SGD(StepDecay(0.1, 2)))
    with pytest.warns(UserWarning, match="cannot hold a Python function"):
        network.save(tmp_path / "model")
    assert fastnn.load(tmp_path / "model").optimizer.learning_rate == 0.01


def test_a_learning_rate_that_is_a_function_becomes_its_latest_value(tmp_path):
    network = fastnn.Network([4, 9, 2])
    network.fit(X, Y, epochs=3, optimizer=fastnn.SGD(lambda epoch: 0.1 / (1 + epoch)))
    with pytest.warns(UserWarning, match="cannot hold a Python function"):
        network.save(tmp_path / "model")
    assert fastnn.load(tmp_path / "model").optimizer.learning_rate == pytest.approx(0.1 / 3)
    assert callable(network.optimizer.learning_rate.function)


@pytest.mark.parametrize("optimizer", OPTIMIZERS[:-2], ids=repr)
def test_an_optimizer_is_copied_without_its_network(optimizer):
    optimizer = copy.deepcopy(optimizer)
    fastnn.Network([4, 2]).fit(X, Y, optimizer=optimizer)
    twin = copy.deepcopy(optimizer)
    assert repr(twin) == repr(optimizer) and twin.steps == 0
    fastnn.Network([4, 3, 2]).fit(X, Y, optimizer=twin)


@pytest.mark.parametrize("before, after", [(0.0, 0.9), (0.9, 0.0)])
def test_momentum_that_was_set_since_the_last_fit_is_saved(before, after, tmp_path):
    network = fastnn.Network([4, 9, 2])
    network.fit(X, Y, optimizer=fastnn.RMSprop(momentum=before))
    network.optimizer.momentum = after
    network.save(tmp_path / "model")
    loaded = fastnn.load(tmp_path / "model")
    assert loaded.fit(X, Y).loss == network.fit(X, Y).loss
    assert same_bits(loaded.get_parameters(), network.get_parameters())


# What leaves has passed the checks of what comes in


def trained(optimizer=None, **arguments):
    """A network with a little of everything that a file holds."""
    network = fastnn.Network([4, 3, 2], **arguments)
    network.fit(X, Y, epochs=2, optimizer=optimizer or fastnn.Adam(), early_stopping=fastnn.EarlyStopping(5))
    return network


def everything(network):
    """What a file must bring back."""
    optimizer, stopping = network.optimizer, network.early_stopping
    block = stopping.best_parameters
    state = getattr(optimizer, "state", ())
    if getattr(optimizer, "momentum", None) == 0:       # which may have been set since the last fit
        state = state[:0 if isinstance(optimizer, fastnn.SGD) else 1]
    return {
        "network": repr(network), "parameters": network.get_parameters().tobytes(), "metadata": network.metadata,
        "optimizer": repr(optimizer), "done": (optimizer.steps, optimizer.epochs),
        "state": [network._engine.packed(block).tobytes() for block in state],
        "stopping": (stopping.settings(), stopping.best, stopping.best_epoch, stopping.waited),
        "best": block if block is None else block.tobytes()}


def copied(network):
    return copy.copy(network)


def deeply_copied(network):
    return copy.deepcopy(network)


def pickled(network):
    return pickle.loads(pickle.dumps(network))


NESTEROV = fastnn.SGD(0.1, momentum=0.9, nesterov=True)
PARTS = {"network": lambda network: network, "optimizer": lambda network: network.optimizer,
         "early_stopping": lambda network: network.early_stopping, "loss": lambda network: network.loss,
         "schedule": lambda network: network.optimizer.learning_rate}


@pytest.mark.parametrize("optimizer, part, name, value, words", [
    (NESTEROV, "optimizer", "momentum", 0, "nesterov is True, but momentum is 0; .* set nesterov to False before"),
    (fastnn.SGD(0.1), "optimizer", "nesterov", True, "momentum is 0; .* momentum before nesterov"),
    (fastnn.Rprop(), "optimizer", "etas", (1.2, 0.5), r"etas is \(1.2, 0.5\), but must hold a number between 0 and 1"),
    (fastnn.Rprop(), "optimizer", "etas", {0.5, 1.2}, r"etas is {.*}, but must hold two numbers"),
    (fastnn.Rprop(), "optimizer", "etas", {0.5: 1, 1.2: 2}, r"etas is {.*}, but must hold two numbers"),
    (fastnn.Rprop(), "optimizer", "step_sizes", (50, 1e-6), r"step_sizes is \(50.0, 1e-06\), but must hold"),
    (fastnn.Rprop(), "optimizer", "step_sizes", (0, 1), r"step_sizes is \(0.0, 1.0\)"),
    (fastnn.Rprop(), "optimizer", "step_sizes", "12", "step_sizes is '12', but must hold two numbers"),
    (fastnn.Rprop(), "optimizer", "learning_rate", schedules.StepDecay(0.1, 2), "Rprop finds the sizes of its steps"),
    (fastnn.Adam(), "optimizer", "epsilon", 1e-39, "epsilon is 1e-39, but must be at least 1.18e-38 in float32"),
    (fastnn.RMSprop(), "optimizer", "epsilon", 1e-39, "epsilon is 1e-39, but must be at least 1.18e-38 in float32"),
    (fastnn.Adam(), "optimizer", "kernel", "sgd", "kernel says which optimizer this is, and cannot be set"),
    (fastnn.Adam(), "optimizer", "constants", (), "constants says which optimizer this is, and cannot be set"),
    (fastnn.LBFGS(), "optimizer", "history_size", 0, "history_size is 0"),
    (fastnn.LBFGS(), "optimizer", "tolerance_gradient", -1, "tolerance_gradient is -1"),
    (fastnn.LBFGS(), "optimizer", "tolerance_change", np.nan, "tolerance_change is nan"),
    (fastnn.LBFGS(), "optimizer", "max_evaluations", 0, "max_evaluations is 0"),
    (fastnn.LBFGS(), "optimizer", "steps", -1, "steps is -1, but must be at least 0"),
    (fastnn.LBFGS(), "optimizer", "epochs", 2**62, "epochs is 4611686018427387904, which is too large"),
    (None, "early_stopping", "patience", 0, "patience is 0"),
    (None, "early_stopping", "mode", "best", "mode is 'best'"),
    (None, "early_stopping", "min_change", -1, "min_change is -1"),
    (None, "early_stopping", "monitor", 3, "monitor is 3"),
    (None, "early_stopping", "restore_best", "no", "restore_best is 'no', but must be True or False"),
    (None, "early_stopping", "best", np.inf, "best is inf"),
    (None, "early_stopping", "best_epoch", 1.5, "best_epoch is"),
    (None, "early_stopping", "waited", -1, "waited is -1"),
    (None, "early_stopping", "best_parameters", [1], "best_parameters is a list, but must be an array, or None"),
    (None, "network", "l1", -1, "l1 is -1"), (None, "network", "l2", np.nan, "l2 is nan"),
    (None, "loss", "parameter", 7.0, "cannot assign"), (None, "loss", "name", "foo", "cannot assign"),
    (fastnn.SGD(schedules.StepDecay(0.1, 2)), "schedule", "rate", -1, "cannot assign"),
], ids=str)
def test_what_load_would_refuse_cannot_be_set(optimizer, part, name, value, words, tmp_path):
    network = trained(copy.copy(optimizer), loss=fastnn.losses.quantile(0.3))
    before, whole = getattr(PARTS[part](network), name), everything(network)
    with pytest.raises((AttributeError, TypeError, ValueError), match=words):
        setattr(PARTS[part](network), name, value)
    after = getattr(PARTS[part](network), name)
    assert (after is before or after == before) and everything(network) == whole
    network.save(tmp_path / "model")
    assert everything(fastnn.load(tmp_path / "model")) == whole


def test_settings_that_go_together_are_set_one_after_the_other():
    optimizer = fastnn.SGD(0.1)
    optimizer.momentum = 0.9
    optimizer.nesterov = True
    optimizer.nesterov = False
    optimizer.momentum = 0
    assert repr(optimizer) == repr(fastnn.SGD(0.1))


class Name(str, enum.Enum):         # noqa: UP042  as older programs have it
    MAX = "max"


class Whole(int):
    pass


class Real(float):
    pass


class Text(str):
    pass


class Table(dict):
    pass


ODD = [
    np.nan, np.inf, -np.inf, -1, -0.0, 0, 1, 0.5, 1e-300, 5e-324, 1e300, 2**62 - 1, 2**62, 2**70, 10**5000, "x" * 10**6,
    "\ud800", "", "\x1b", "loss", "max", Name.MAX, Text("min"), np.float32(0.2), np.float16(0.5), np.longdouble(0.3),
    np.int64(3), np.uint8(2), np.bool_(True), True, None, Real(0.5), Whole(3), Fraction(1, 3), Fraction(10**400, 3), 1j,
    object, b"max", [], (0.5, 1.2), (1e-6, 50), (50, 0.1), (0.5, np.inf), {0.5, 1.2}, np.array([0.5, 1.2]),
    np.array(0.5), np.zeros(5, "f"), Table(), {"a": np.float64(0.5)}, {"a": np.float32(0.5)}, {"a": np.zeros(3)},
    {"\ud800": "\ud800"},
    {"a": Whole(3)}, {Text("a"): Text("b")}, {"a": Name.MAX}, {"a": 10**5000}, {"a": 2**70}, {"a": -0.0}, {"a": "\0"},
    {"a": "x" * 600_000}, {True: 1}, {None: 1}, {1: 2}, {"a": (1,)}, {"a": np.nan}, {"a": Fraction(1, 3)},
    schedules.StepDecay(0.1, 3), schedules.ReduceOnPlateau(0.1), Loss("mse"),
]


def public_attributes(thing):
    """What can be set: neither methods, nor what the compiled half keeps to itself."""
    return sorted(name for name in dir(thing) if not name.startswith("_") and not callable(getattr(thing, name))
                  and name not in ("stale", "scheduled"))


@pytest.mark.parametrize("part, optimizer", [
    ("network", None), ("early_stopping", None), ("loss", None),
    ("schedule", fastnn.SGD(schedules.ReduceOnPlateau(0.1))),
    *(("optimizer", optimizer) for optimizer in (NESTEROV, fastnn.Adam(), fastnn.RMSprop(momentum=0.5),
                                                 fastnn.Adagrad(), fastnn.Rprop(), fastnn.LBFGS()))], ids=str)
def test_whatever_is_set_is_refused_or_comes_back(part, optimizer, tmp_path, monkeypatch):
    """Every public attribute, set to odd values: each is refused when it is set, or at the latest by a save that
    leaves the file as it is, or is there again after loading and copying."""
    monkeypatch.setattr(os, "fsync", lambda file: None)      # the slowest part of a save
    network, path, came_back = trained(copy.copy(optimizer), loss=fastnn.losses.quantile(0.3)), tmp_path / "model", 0
    path.write_text("old")
    for name in public_attributes(PARTS[part](network)):
        before = getattr(PARTS[part](network), name)
        for value in ODD:
            try:
                setattr(PARTS[part](network), name, value)
            except (AttributeError, OverflowError, TypeError, ValueError) as error:
                assert getattr(PARTS[part](network), name) is before or before == getattr(PARTS[part](network), name)
                assert len(str(error)) < 700
                continue
            whole = everything(network)
            try:
                network.save(path)
            except (TypeError, ValueError) as error:
                assert path.read_text() == "old" and name in REFUSED_WHEN_SAVED, (name, error)
            else:
                came_back += 1
                assert everything(fastnn.load(path)) == whole, (name, value)
                for twin in (copied, pickled):
                    assert everything(twin(network)) == whole, (name, value)
                path.write_text("old")
            setattr(PARTS[part](network), name, before)
    assert came_back > 10 or part in ("loss", "schedule")


REFUSED_WHEN_SAVED = ("metadata", "steps", "epochs", "best_parameters", "monitor")


@pytest.mark.parametrize("part, name, value", [
    ("optimizer", "beta1", 7.0), ("optimizer", "epsilon", 1e-39), ("optimizer", "learning_rate", "fast"),
    ("early_stopping", "patience", 0), ("early_stopping", "best", np.inf), ("early_stopping", "waited", 1.5),
    ("loss", "parameter", 7.0), ("loss", "name", "foo"), ("network", "_epochs_trained", -1),
    ("early_stopping", "best_parameters", np.zeros(3, "f")),
    ("early_stopping", "best_parameters", np.zeros((5, 16), "f")),
])
def test_what_was_changed_behind_the_checks_is_refused_before_the_disk_is_touched(part, name, value, tmp_path):
    """By the code that reads: a file that cannot be loaded is never written, copied or pickled."""
    network = trained(loss=fastnn.losses.quantile(0.3))
    network.save(tmp_path / "model")
    good = (tmp_path / "model").read_bytes()
    vars(PARTS[part](network))[name] = value
    for leave in (lambda network: network.save(tmp_path / "model"), copied, deeply_copied, pickle.dumps):
        with pytest.raises((TypeError, ValueError), match="loss" if part == "loss" else name.strip("_")):
            leave(network)
    assert (tmp_path / "model").read_bytes() == good and len(list(tmp_path.iterdir())) == 1


def test_counts_that_no_file_holds_are_refused_before_the_disk_is_touched(tmp_path):
    """Where nothing refused them earlier."""
    network = trained()
    network._engine.steps = -1
    with pytest.raises(ValueError, match="not saved, as fastnn.load would refuse it: steps_trained is -1"):
        network.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def deep(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("levels", [100, 500, 941, 10**5])
def test_metadata_are_a_hundred_deep_at_most(levels, tmp_path):
    """The metadata themselves are one, and so is the description that holds them."""
    network = fastnn.Network([2, 1])
    network.metadata = {"it": deep(97)}
    network.save(tmp_path / "model")
    good = (tmp_path / "model").read_bytes()
    assert fastnn.load(tmp_path / "model").metadata == network.metadata == copied(network).metadata
    network.metadata = {"it": deep(levels)}
    with pytest.raises(ValueError, match="nested more than 100 deep, which a file cannot hold"):
        network.save(tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == good
    network.metadata = {"it": network.metadata}
    network.metadata["it"]["it"] = network.metadata       # itself
    with pytest.raises(ValueError, match="nested more than 100 deep"):
        network.save(tmp_path / "model")


def test_metadata_hold_any_text(tmp_path):
    network = fastnn.Network([2, 1])
    network.metadata = {"\ud800": "\udfff\0\x1b", "": [{"": -0.0}, 1e-320, 2**70, True, None]}
    network.save(tmp_path / "model")
    loaded = fastnn.load(tmp_path / "model").metadata
    assert loaded == network.metadata and repr(loaded[""]) == repr(network.metadata[""])


# Copies


@pytest.mark.parametrize("twin", [copied, deeply_copied, pickled])
def test_a_copy_shares_nothing_with_its_network(twin):
    """Whatever is done to one leaves the other as it was: parameters, optimizer, schedule, early stopping, metadata."""
    plateau = schedules.WarmUp(schedules.ReduceOnPlateau(0.1, factor=0.5, patience=0, min_change=0.9), 3)
    network = trained(fastnn.SGD(plateau, momentum=0.9))
    network.metadata = {"columns": ["a", {"b": [1]}]}
    other = twin(network)
    one, before = everything(network), network.optimizer.learning_rate.state()
    assert everything(other) == one and other.optimizer.learning_rate.state() == before
    other.fit(X, Y, epochs=5, early_stopping=other.early_stopping)
    other.metadata["columns"][1]["b"].append(2)
    assert everything(network) == one and network.optimizer.learning_rate.state() == before
    assert other.optimizer.learning_rate.state() != before
    assert network.fit(X, Y, epochs=5, early_stopping=network.early_stopping).loss


class Named(fastnn.Network):
    """A network with arguments and attributes of its own."""

    def __init__(self, width, name):
        super().__init__([X.shape[1], width, Y.shape[1]])
        self.name = name


@pytest.mark.parametrize("twin", [copied, deeply_copied, pickled])
def test_a_copy_of_a_subclass_has_what_it_holds(twin):
    network = Named(7, name="mine")
    network.fit(X, Y, early_stopping=fastnn.EarlyStopping())
    other = twin(network)
    assert (type(other), other.name, other.layer_sizes) == (Named, "mine", network.layer_sizes)
    assert everything(other) == everything(network)


@pytest.mark.parametrize("twin", [copied, deeply_copied, pickled])
def test_a_copy_of_an_optimizer_has_a_schedule_of_its_own(twin):
    optimizer = fastnn.SGD(schedules.WarmUp(schedules.ReduceOnPlateau(0.1, patience=0, min_change=0.9), 3))
    trained(optimizer)
    before = optimizer.learning_rate.state()
    other = twin(optimizer)
    assert repr(other) == repr(optimizer) and other.learning_rate.state() == before != plateau_memory(0.1)
    trained(other)
    assert optimizer.learning_rate.state() == before != other.learning_rate.state()


def test_a_schedule_of_the_users_own_is_copied_with_what_it_remembers():
    class Noting(schedules.Schedule):
        def __init__(self):
            self.losses = []

        def rates(self, epoch, first_step, steps):
            return 0.1

        def observe(self, loss):
            self.losses.append(loss)

    network = trained(fastnn.SGD(Noting()))
    for twin in (copied, deeply_copied):
        other = twin(network)
        other.fit(X, Y)
        assert len(network.optimizer.learning_rate.losses) == 2 and len(other.optimizer.learning_rate.losses) == 3


def test_a_copy_of_a_schedule_has_its_function():
    class Rate:
        def __call__(self, epoch):
            return 0.1

    rate = Rate()
    for schedule in (schedules.Function(rate), schedules.WarmUp(rate, 3)):
        twin = copied(fastnn.SGD(schedule)).learning_rate
        assert getattr(twin, "schedule_or_rate", twin).function is rate


def plateau_memory(rate):
    return schedules.ReduceOnPlateau(rate).state()


def test_a_loaded_network_of_a_python_loss_has_a_schedule_of_its_own(tmp_path):
    network = trained(fastnn.SGD(schedules.ReduceOnPlateau(0.01)), loss=mse)
    network.save(tmp_path / "model")
    loaded = fastnn.load(tmp_path / "model", loss=mse)
    assert loaded.fit(X, Y).loss == network.fit(X, Y).loss


@pytest.mark.parametrize("make", [
    lambda plateau: plateau, lambda plateau: schedules.WarmUp(plateau, 3),
    lambda plateau: schedules.WarmUp(schedules.WarmUp(plateau, 3), 2)])
def test_a_schedule_that_remembers_serves_one_optimizer(make):
    """Also where the first optimizer is no more: what it left would be taken for one's own."""
    plateau = schedules.ReduceOnPlateau(0.1)
    first = trained(fastnn.SGD(plateau))
    second, before = fastnn.SGD(make(plateau)), everything(first)
    network = fastnn.Network([4, 3, 2])
    for train in (network.fit, network.train_on_batch):
        with pytest.raises(ValueError, match=r"learning_rate is ReduceOnPlateau\(.*remembers the losses of another"):
            train(X, Y, optimizer=second)
    assert everything(first) == before and network.optimizer is None and second.network_engine is None
    del first
    with pytest.raises(ValueError, match="remembers the losses of another optimizer; build one for each, or"):
        network.fit(X, Y, optimizer=second)
    second.learning_rate = copy.copy(second.learning_rate)
    network.fit(X, Y, optimizer=second)
    second.learning_rate = 0.1
    second.learning_rate = again = make(schedules.ReduceOnPlateau(0.1))
    network.fit(X, Y)
    second.learning_rate = 0.1
    network.fit(X, Y)
    second.learning_rate = again        # its own
    network.fit(X, Y)


def test_a_schedule_that_remembers_nothing_serves_any():
    rate = schedules.WarmUp(schedules.CosineDecay(0.1, 5), 3)
    assert trained(fastnn.SGD(rate)).fit(X, Y).loss == trained(fastnn.SGD(rate)).fit(X, Y).loss


def altered(description, path, value):
    *folders, last = path
    inner = description
    for folder in folders:
        inner = inner[folder]
    if value is KeyError:
        del inner[last]
    else:
        inner[last] = value


@pytest.mark.parametrize("path, value", [
    (["network"], KeyError), (["network"], None), (["network", "layer_sizes"], [4, 9, 3]),
    (["network", "layer_sizes"], [4, 2**40, 2]), (["network", "layer_sizes"], [4]), (["network", "layer_sizes"], "49"),
    (["network", "layer_sizes"], [4, 9.0, 2]), (["network", "output"], "softmx"), (["network", "dtype"], "float16"),
    (["network", "dtype"], "float64"), (["network", "seed"], -1), (["network", "loss"], {"name": "no"}),
    (["network", "loss"], 3), (["network", "loss"], {"name": "quantile", "parameter": 7.0}),
    (["network", "activation"], []), (["network", "dropout"], [1.0]), (["network", "extra"], 1),
    (["epochs_trained"], -1), (["epochs_trained"], 1.5), (["epochs_trained"], True), (["steps_trained"], 2**70),
    (["optimizer"], KeyError), (["optimizer", "name"], "Optimizer"), (["optimizer", "name"], "__import__"),
    (["optimizer", "arguments", "beta1"], 2), (["optimizer", "arguments"], []), (["optimizer", "blocks"], 3),
    (["optimizer", "arguments", "learning_rate"], {"settings": {"schedule": "Function"}, "state": {}}),
    (["optimizer", "steps"], "many"), (["early_stopping"], {"settings": {}}), (["early_stopping"], 5),
    (["early_stopping", "settings", "patience"], 0), (["early_stopping", "best"], "abc"),
    (["early_stopping", "best"], [1.0]), (["early_stopping", "best"], 10**400), (["early_stopping", "best"], KeyError),
    (["early_stopping", "best_epoch"], [1]), (["early_stopping", "best_epoch"], 1.5),
    (["early_stopping", "best_epoch"], -1), (["early_stopping", "waited"], None),
    (["metadata"], [["a", 1]]), (["metadata"], []), (["metadata"], "ab"), (["metadata"], None),
], ids=lambda value: str(value)[:60])
def test_a_description_that_is_none_is_refused(path, value, tmp_path):
    network = fastnn.Network([4, 9, 2])
    network.fit(X, Y, optimizer=fastnn.Adam(), early_stopping=fastnn.EarlyStopping())
    network.save(tmp_path / "model")
    description, tensors = read_model(tmp_path / "model")
    write_model(tmp_path / "same", description, tensors)
    fastnn.load(tmp_path / "same")
    altered(description, path, value)
    write_model(tmp_path / "other", description, tensors)      # with the right checksum
    with pytest.raises(fastnn.FormatError, match="other"):
        fastnn.load(tmp_path / "other")


@pytest.mark.parametrize("change, words", [
    (lambda tensors: tensors.pop("weights.1"), "KeyError: 'weights.1'"),
    (lambda tensors: tensors.update(more=np.zeros(3, "f")), "tensors that no part needs: more"),
    (lambda tensors: tensors.update({"optimizer.1": np.zeros(64, "f")}), r"optimizer.1 has shape \(64,\)"),
    (lambda tensors: tensors.update({"weights.0": np.zeros((9, 4), "f")}), r"layer 0 have shapes \(\(9, 4\), \(9,\)\)"),
    (lambda tensors: tensors.update({"weights.0": np.zeros((4, 9), "i4")}), "weights.0 has dtype int32"),
    (lambda tensors: tensors.update({"weights.0": np.zeros((4, 9))}), "weights.0 has dtype float64")])
def test_tensors_that_do_not_fit_are_refused(change, words, tmp_path):
    network = fastnn.Network([4, 9, 2])
    network.fit(X, Y, optimizer=fastnn.Adam())
    network.save(tmp_path / "model")
    description, tensors = read_model(tmp_path / "model")
    change(tensors)
    write_model(tmp_path / "model", description, tensors)
    with pytest.raises(fastnn.FormatError, match=words):
        fastnn.load(tmp_path / "model")


@pytest.mark.parametrize("value", [1.0, np.nan])
def test_early_stopping_is_saved_with_the_best_parameters_or_without(value, tmp_path):
    """NaN is never the best: then there are none, and the file holds none."""
    def metric(y, outputs):
        return value

    network = fastnn.Network([4, 9, 2])
    stopping = fastnn.EarlyStopping(5, monitor="validation_metric", mode="min")
    network.fit(X, Y, epochs=3, validation_data=(X, Y), metrics=[metric], early_stopping=stopping)
    network.save(tmp_path / "model")
    assert ("early_stopping.best" in read_model(tmp_path / "model")[1]) == (value == 1)
    loaded = fastnn.load(tmp_path / "model").early_stopping
    assert (loaded.settings(), loaded.waited) == (stopping.settings(), stopping.waited)
    assert (loaded.best, loaded.best_epoch) == ((1.0, 1) if value == 1 else (None, None))
    assert (loaded.best_parameters is not None) == (value == 1)


def test_what_is_no_file_is_an_oserror(tmp_path):
    with pytest.raises(FileNotFoundError):
        fastnn.load(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError):
        fastnn.Network([4, 2]).save(tmp_path / "no" / "folder")


def test_metadata_that_json_cannot_hold_is_refused_before_the_disk_is_touched(tmp_path):
    network = fastnn.Network([2, 1])
    for wrong in ({"it": np.zeros(3)}, {"it": (1, 2)}, {"it": {1: 2}}, {"it": float("nan")}, {1: "it"}):
        network.metadata = wrong
        with pytest.raises(TypeError, match=r"metadata\[('it'|1)\] is not made of what JSON holds as it is"):
            network.save(tmp_path / "model.safetensors")
    network.metadata = [1]
    with pytest.raises(TypeError, match=r"metadata is \[1\], but must be a dictionary"):
        network.save(tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make, error", [
    (lambda: [], None), (lambda: [0.5] * 63, None), (lambda: [0.5] * 64, None),
    (lambda: [-0.0, 1e-310, 1e300] * 50, None),
    (lambda: {"a": [{"b": [i / 7 for i in range(100)]}, [1.5] * 70], "": [2.5] * 99}, None),
    (lambda: [1] * 100, None), (lambda: [1.0, 1] * 50, None), (lambda: [[0.5] * 64] * 3, None),
    (lambda: [0.1] * 2**18, None), (lambda: [0.1] * (2**18 + 1), ValueError), (lambda: [1] * 2**17, ValueError),
    (lambda: "x" * 2**20, ValueError), (lambda: [float("nan")] * 64, TypeError), (lambda: [True] * 64, None)])
def test_long_lists_of_floats_are_arrays_in_the_file(make, error, tmp_path):
    """They come back as they were, to the type and the bit."""
    network = fastnn.Network([2, 1])
    network.metadata = {"it": make(), "note": "a"}
    if error is not None:
        with pytest.raises(error):
            network.save(tmp_path / "model")
        assert not list(tmp_path.iterdir())
        return
    network.save(tmp_path / "model")
    loaded = fastnn.load(tmp_path / "model").metadata
    assert json.dumps(loaded, sort_keys=True) == json.dumps(network.metadata, sort_keys=True)
    floats = re.findall(r"\d\.\d", str(read_model(tmp_path / "model")[0]["metadata"]))
    assert len(floats) < 64


@pytest.mark.parametrize("change", [
    lambda description, tensors: description.pop("metadata_lists"),
    lambda description, tensors: tensors.pop("metadata.0"),
    lambda description, tensors: tensors.update({"metadata.0": np.ones((8, 8))}),
    lambda description, tensors: tensors.update({"metadata.0": np.ones(64, "f")}),
    lambda description, tensors: tensors.update({"metadata.0": np.full(64, np.inf)}),
    lambda description, tensors: tensors.update({"metadata.0": np.ones(2**18 + 1)}),
    *[lambda description, tensors, places=places: description.update(metadata_lists=places) for places in (
        5, [[]], ["other"], [["note"]], [["note", 0]], [["it", "a"]], [["missing", 1]], [["it"], ["it"]], [[{}]],
        {"it": 1})],
])
def test_lists_of_metadata_that_do_not_fit_are_refused(change, tmp_path):
    network = fastnn.Network([2, 1])
    network.metadata = {"it": [0.5] * 64, "note": "a"}
    network.save(tmp_path / "model")
    description, tensors = read_model(tmp_path / "model")
    write_model(tmp_path / "same", description, tensors)
    assert fastnn.load(tmp_path / "same").metadata == network.metadata
    change(description, tensors)
    write_model(tmp_path / "model", description, tensors)
    with pytest.raises(fastnn.FormatError, match="is not a valid model"):
        fastnn.load(tmp_path / "model")


def test_a_network_of_as_many_layers_as_there_can_be_is_saved_and_loaded(tmp_path):
    network = fastnn.Network([2] + [1] * model_file.MOST_LAYERS, dtype="float64", dropout=0.30000000000000004)
    network.train_on_batch(np.ones((2, 2)), np.ones((2, 1)), optimizer=fastnn.Adam())
    network.save(tmp_path / "model")
    loaded = fastnn.load(tmp_path / "model")
    assert loaded.layer_sizes == network.layer_sizes and same_bits(loaded.get_parameters(), network.get_parameters())


def test_the_largest_network_fits_in_a_header_with_half_a_megabyte_of_metadata():
    """Sizes that no memory holds: the text of a header is made of their shapes alone."""
    sizes = [10**7, 1] * (model_file.MOST_LAYERS // 2) + [10**7]
    arrays = {f"{kind}.{layer}": np.broadcast_to(np.float32(0), (n_in, n_out)[first:])
              for layer, (n_in, n_out) in enumerate(zip(sizes, sizes[1:], strict=False))
              for first, kind in enumerate(["weights", "biases"])}
    description = {"layer_sizes": sizes, "activation": ["leaky_relu"] * len(sizes), "dropout": [0.30000000000000004] *
                   len(sizes), "metadata": "é" * (2**19 // 6), "settings": "a" * 10_000}
    label = json.dumps(description)
    model_file._check_label(label)
    header = model_file._header(label, arrays)
    model_file._check_json(header[8:].decode())
    assert len(header) < model_file.LARGEST_HEADER and len(arrays) < model_file.MOST_ARRAYS - 100


def test_a_network_of_more_layers_than_a_file_holds_is_refused_when_it_is_built():
    with pytest.raises(ValueError, match="layer_sizes holds 10002 sizes, but a network can have at most 10000 layers"):
        fastnn.Network([1] * 10_002)


@pytest.mark.parametrize("spoil, path, words", [
    (lambda network: network.metadata.update(a="x" * 2**20), "model", "must fit in"),
    (lambda network: network.metadata.update(a=np.ones(2)), "model", "is not made of what JSON holds"),
    (lambda network: network.metadata.update(a=deep(98)), "model", "nested more than 100 deep"),
    (lambda network: network.metadata.update(a=deep(100_000)), "model", "nested more than 100 deep"),
    (None, "missing/model", "No such file or directory"), (None, "folder", "is a directory"),
    (None, "pipe", "is a pipe"), (None, "m" * 250, "File name too long")])
def test_a_checkpoint_that_cannot_be_saved_ends_the_fit_before_its_first_epoch(spoil, path, words, tmp_path):
    """And leaves the folder as it was."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    network = fastnn.Network([4, 9, 2])
    if spoil is not None:
        spoil(network)
    before = network.get_parameters()
    with pytest.raises((OSError, ValueError, TypeError), match=words):
        network.fit(X, Y, epochs=3, callbacks=[fastnn.CheckpointEvery(tmp_path / path, epochs=100)])
    assert network.epochs_trained == 0 and same_bits(network.get_parameters(), before)
    assert sorted(os.listdir(tmp_path)) == ["folder", "pipe"]


def test_what_is_checked_before_training_can_be_saved_after_it(tmp_path):
    """At the very limit: the description becomes longer in training, and room for that is kept."""
    def room(spoil, high):
        """The largest number for which a network passes the check, or nearly."""
        low = high - 8192
        while high - low > 128:
            network = fastnn.Network([4, 9, 2], dtype="float64")
            network.metadata["it"] = spoil((low + high) // 2)
            try:
                state.check_saveable(network)
                low = (low + high) // 2
            except ValueError:
                high = (low + high) // 2
        return network, spoil(low)

    for spoil, most in ((lambda n: "x" * n, 2**20), (lambda n: [1] * n, 2**16)):
        network, largest = room(spoil, most)
        network.metadata["it"] = largest
        state.check_saveable(network)
        schedule = schedules.WarmUp(schedules.OneCycle(0.1 / 3, 10**6), 10**6)
        network.fit(X, Y, epochs=2, optimizer=fastnn.AdamW(schedule, clip_norm=1 / 3), validation_data=(X, Y),
                    early_stopping=fastnn.EarlyStopping(10**6, min_change=1 / 7, monitor="validation_loss"))
        network.save(tmp_path / "model")
        assert fastnn.load(tmp_path / "model").metadata == network.metadata


def test_a_checkpoint_keeps_the_old_file_until_it_is_due(tmp_path):
    """The look at the beginning writes nothing."""
    fastnn.Network([4, 2], seed=5).save(tmp_path / "model")
    before = (tmp_path / "model").read_bytes()

    class Look(fastnn.Callback):
        def on_epoch_end(self, fit):
            if fit.epoch < 3:
                assert (tmp_path / "model").read_bytes() == before

    network = fastnn.Network([4, 9, 2])
    network.fit(X, Y, epochs=3, callbacks=[fastnn.CheckpointEvery(tmp_path / "model", epochs=3), Look()])
    assert fastnn.load(tmp_path / "model").epochs_trained == 3 and os.listdir(tmp_path) == ["model"]


def test_no_initial_weights_are_drawn_for_parameters_that_are_kept(tmp_path, monkeypatch):
    """By load, pickle and copies; also of networks that one of the user's own class holds."""
    class Own(fastnn.Network):
        def __init__(self, layer_sizes, *args, **options):
            super().__init__(layer_sizes, *args, **options)
            self.teacher = fastnn.Network([4, 2], seed=3)

    original = Own([4, 9, 2], initializer="he_uniform", seed=2)
    fastnn.Network([4, 9, 2]).save(tmp_path / "model")
    monkeypatch.setitem(globals(), "Own", Own)
    Own.__qualname__ = "Own"
    drawn = []

    def draw(weights, *args, real=network_module.draw):
        drawn.append(weights.shape)
        real(weights, *args)

    monkeypatch.setattr(network_module, "draw", draw)
    fastnn.load(tmp_path / "model")
    assert not drawn
    for copied in (copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))):
        twin = copied(original)
        assert not drawn and type(twin) is Own
        assert same_bits(twin.get_parameters(), original.get_parameters())
        assert same_bits(twin.teacher.get_parameters(), original.teacher.get_parameters())


def test_copies_have_metadata_of_their_own():
    network = fastnn.Network([2, 1])
    network.metadata = {"columns": ["a", "b"]}
    twin = copy.deepcopy(network)
    twin.metadata["columns"].append("c")
    assert network.metadata == {"columns": ["a", "b"]}
    network.metadata = ["a"]
    for leave in (copied, deeply_copied, pickle.dumps):
        with pytest.raises(TypeError, match=r"metadata is \['a'\], but must be a dictionary"):
            leave(network)


def test_a_file_without_metadata_is_one_of_an_older_version(tmp_path):
    fastnn.Network([2, 1]).save(tmp_path / "new")
    description, tensors = read_model(tmp_path / "new")
    del description["metadata"]
    write_model(tmp_path / "old", description, tensors)
    assert fastnn.load(tmp_path / "old").metadata == {}
