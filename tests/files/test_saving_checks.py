"""What leaves has passed the checks of what comes in: whatever a file could not bring back is refused before a save."""

import copy
import enum
import os
import pickle
from fractions import Fraction

import numpy as np
import pytest
from saved_networks import copied, deep, deeply_copied, everything, goes_with, pickled, trained

import fastnn
from fastnn import schedules
from fastnn.losses import Loss

pytestmark = pytest.mark.any_isa

LM = fastnn.LevenbergMarquardt()
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
    (LM, "optimizer", "mu", 0, "mu is 0"), (LM, "optimizer", "mu", 1e11, "mu is 100000000000.0, but must be at"),
    (LM, "optimizer", "mu_max", 1e-30, "but must be at most mu_max, which is 1e-30"),
    (LM, "optimizer", "mu_factor", 1, "mu_factor is 1"), (LM, "optimizer", "max_parameters", 0, "max_parameters is 0"),
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
    network = trained(copy.copy(optimizer), **goes_with(optimizer))
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
                                                 fastnn.Adagrad(), fastnn.Rprop(), fastnn.LBFGS(), LM))], ids=str)
def test_whatever_is_set_is_refused_or_comes_back(part, optimizer, tmp_path, monkeypatch):
    """Every public attribute, set to odd values: each is refused when it is set, or at the latest by a save that
    leaves the file as it is, or is there again after loading and copying."""
    monkeypatch.setattr(os, "fsync", lambda file: None)      # the slowest part of a save
    network, path, came_back = trained(copy.copy(optimizer), **goes_with(optimizer)), tmp_path / "model", 0
    path.write_text("old", encoding="utf-8")
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
                assert path.read_text(encoding="utf-8") == "old" and name in REFUSED_WHEN_SAVED, (name, error)
            else:
                came_back += 1
                assert everything(fastnn.load(path)) == whole, (name, value)
                for twin in (copied, pickled):
                    assert everything(twin(network)) == whole, (name, value)
                path.write_text("old", encoding="utf-8")
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
