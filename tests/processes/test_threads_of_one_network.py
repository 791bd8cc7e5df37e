"""Several threads with one network: one of them trains it at a time, and what is copied meanwhile is of one step."""

import copy
import os
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import same_bits

import fastnn
from fastnn.interchange.contents import layers


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
