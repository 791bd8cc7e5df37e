"""Copies and pickles of networks, optimizers and schedules have what the original has, and share nothing with it."""

import copy
import pickle

import numpy as np
import pytest
from helpers import DATA
from saved_networks import OPTIMIZERS, X, Y, copied, deeply_copied, everything, mse, pickled, trained

import fastnn
from fastnn import schedules

pytestmark = pytest.mark.any_isa


@pytest.mark.parametrize("optimizer", OPTIMIZERS[:-3], ids=repr)
def test_an_optimizer_is_copied_without_its_network(optimizer):
    optimizer = copy.deepcopy(optimizer)
    fastnn.Network([4, 2]).fit(X, Y, optimizer=optimizer)
    twin = copy.deepcopy(optimizer)
    assert repr(twin) == repr(optimizer) and twin.steps == 0
    fastnn.Network([4, 3, 2]).fit(X, Y, optimizer=twin)


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


# Pickles of earlier versions


def test_pickles_from_before_modules_lay_in_folders_are_read():
    """They name fastnn.persistence, fastnn.lbfgs, fastnn.scaling, fastnn.training and others."""
    found = pickle.loads((DATA / "before_folders.pickle").read_bytes())
    X = np.arange(12.0).reshape(6, 2)
    network = found["network"]
    assert np.allclose(network.predict(X), found["predictions"], rtol=1e-6) and network.epochs_trained == 3
    assert len(found["history"].loss) == 3 and found["scaling"].scale.tolist() == [3, 4]
    assert [repr(found[name]) for name in ("optimizer", "stopping", "loss", "lbfgs")] == [
        repr(fastnn.SGD(0.1, momentum=0.5)), repr(fastnn.EarlyStopping(3)), "focal(1.0)", repr(fastnn.LBFGS(7))]
    assert isinstance(found["checkpoint"], fastnn.CheckpointEvery)
    network.fit(X, [0, 1, 0, 1, 1, 0], early_stopping=network.early_stopping)
