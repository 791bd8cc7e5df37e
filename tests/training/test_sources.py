"""Where a fit takes its rows from: iterables of batches, and files that are mapped into memory."""

import subprocess
import sys

import numpy as np
import pytest
from helpers import same_bits
from small_networks import X, Y, batches, regressor

import fastnn
from fastnn import schedules

pytestmark = pytest.mark.any_isa


@pytest.mark.parametrize("weights", [None, np.linspace(1, 2, 50)], ids=["equal", "weighted"])
def test_an_iterable_of_batches_is_the_same_batches_of_arrays(weights):
    network, twin = regressor(dropout=0.3), regressor(dropout=0.3)
    optimizer, other = (fastnn.Adam(schedules.OneCycle(0.1, 20)) for _ in range(2))
    a = network.fit(batches(weights), epochs=3, optimizer=optimizer)
    b = twin.fit(X, Y, epochs=3, batch_size=16, shuffle=False, sample_weight=weights, optimizer=other)
    assert same_bits(network.get_parameters(), twin.get_parameters())
    np.testing.assert_allclose(a.loss, b.loss, rtol=1e-14)


def test_a_batch_of_an_iterable_may_have_no_weight():
    network, twin = regressor(), regressor()
    network.fit([(X[:25], Y[:25]), (X[25:], Y[25:], np.zeros(25))], optimizer=fastnn.SGD(0.1))
    twin.fit(X[:25], Y[:25], batch_size=25, shuffle=False, optimizer=fastnn.SGD(0.1))
    assert same_bits(network.get_parameters(), twin.get_parameters())


def test_a_generator_serves_one_epoch():
    network = regressor()
    assert len(network.fit(iter(batches())).loss) == 1
    with pytest.raises(ValueError, match="gave no batch for this epoch"):
        network.fit(iter(batches()), epochs=2)
    assert network.epochs_trained == 2


def endless(count=None):
    """Batches without an end; `count` gets how many were taken."""
    for i in range(10**9):
        if count is not None:
            count.append(i)
        start = 10 * i % 50
        yield X[start:start + 10], Y[start:start + 10]


def test_so_many_steps_of_an_iterable_make_an_epoch():
    """A generator goes on where it stopped, and no batch is taken before it is needed."""
    network, twin, count = regressor(), regressor(), []
    history = network.fit(endless(count), steps_per_epoch=3, epochs=4)
    losses = [twin.fit([(X[i:i + 10], Y[i:i + 10]) for i in [10 * j % 50 for j in range(first, first + 3)]]).loss[0]
              for first in range(0, 12, 3)]
    assert history.loss == losses and len(count) == 12 and network.optimizer.steps == 12
    assert same_bits(network.get_parameters(), twin.get_parameters())
    generator = endless()
    parts = regressor()
    for _ in range(4):
        parts.fit(generator, steps_per_epoch=3)
    assert same_bits(network.get_parameters(), parts.get_parameters())


def test_an_iterable_that_ends_within_an_epoch_begins_anew_and_a_generator_ends_it():
    network, twin = regressor(), regressor()
    network.fit(batches(), steps_per_epoch=3, epochs=3)             # of four batches: 0 1 2, 3 0 1, 2 3 0
    for part in ([0, 1, 2], [3, 0, 1], [2, 3, 0]):
        twin.fit([batches()[i] for i in part])
    assert same_bits(network.get_parameters(), twin.get_parameters())
    assert regressor().fit(batches(), steps_per_epoch=9).loss[0] > 0
    network = regressor()
    with pytest.raises(ValueError, match="X gave no batch for this epoch: an iterator can be read only once"):
        network.fit(iter(batches()), steps_per_epoch=3, epochs=5)
    assert network.epochs_trained == 2 and network.optimizer.steps == 4
    with pytest.raises(ValueError, match="X gave no batch"):
        regressor().fit([], steps_per_epoch=3)
    with pytest.raises(TypeError, match="X yielded a NoneType"):
        regressor().fit([None], steps_per_epoch=1)


def test_a_time_budget_ends_an_endless_iterable():
    network = regressor()
    history = network.fit(endless(), time_budget=0.02)
    assert history.stopped_by == "time_budget" and len(history.loss) == network.epochs_trained == 1
    assert network.optimizer.steps >= 1 and np.isfinite(history.loss[0])


def test_weights_of_zero_in_a_time_budget_wait_for_a_row_that_counts():
    weights = np.repeat([0.0, 1.0], 25)
    history = regressor().fit(X, Y, batch_size=5, shuffle=False, time_budget=0, sample_weight=weights)
    assert np.isfinite(history.loss).all() and history.stopped_by == "time_budget"
    history = regressor().fit([(X, Y, np.zeros(50)), (X, Y), (X, Y)], time_budget=0)
    assert np.isfinite(history.loss).all() and history.stopped_by == "time_budget"


@pytest.mark.parametrize("optimizer", [lambda: fastnn.SGD(0.1, momentum=0.9), lambda: fastnn.Adam(0.1)])
@pytest.mark.parametrize("kind", ["sample", "class"])
def test_an_epoch_without_weight_is_refused_and_undone(kind, optimizer):
    weightless = (X, Y, np.zeros(50)) if kind == "sample" else (X, np.ones(50), None)
    good = (X, Y > 0) if kind == "class" else (X, Y)
    network, twin = (regressor(output="sigmoid" if kind == "class" else "identity", l2=0.1) for _ in range(2))
    options = {} if kind == "sample" else {"class_weight": {1: 0.0}}

    class Later:
        epoch = 0

        def __iter__(self):
            self.epoch += 1
            return iter([good, weightless] if self.epoch < 3 else [weightless, weightless])

    with pytest.raises(ValueError, match="is zero for every row of an epoch") as caught:
        network.fit(Later(), epochs=5, optimizer=optimizer(), **options)
    assert not isinstance(caught.value, fastnn.DivergenceError)
    twin.fit([good, weightless], epochs=2, optimizer=optimizer(), **options)
    assert network.epochs_trained == 2 and network.optimizer.steps == 4
    assert same_bits(network.get_parameters(), twin.get_parameters())
    fresh = regressor(output="sigmoid" if kind == "class" else "identity", l2=0.1)
    before, new = fresh.get_parameters(), optimizer()
    with pytest.raises(ValueError, match="is zero for every row of an epoch"):
        fresh.fit([weightless], optimizer=new, **options)
    assert same_bits(fresh.get_parameters(), before) and fresh.optimizer is None and new.steps == 0


@pytest.mark.parametrize("dtype", ["float64", "int16", "float32", ">f4"])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("rows", [203, 196])        # the last part is a batch and some rows, or some rows alone
def test_a_memory_mapped_file_is_the_array_in_memory(rows, shuffle, dtype, tmp_path, monkeypatch):
    monkeypatch.setattr(fastnn.training.sources, "CHUNK_BYTES", 300)        # many parts of several batches each
    mapped = np.memmap(tmp_path / "X", dtype, "w+", shape=(rows, 4))
    mapped[...] = np.arange(4 * rows).reshape(rows, 4) ** 2 % 23 - 11
    y = np.arange(float(rows)) % 5
    networks = regressor(dropout=0.1), regressor(dropout=0.1)
    histories = [network.fit(data, y, epochs=3, batch_size=8, shuffle=shuffle)
                 for network, data in zip(networks, (mapped, np.array(mapped)), strict=True)]
    assert histories[0].loss == histories[1].loss
    assert same_bits(*(network.get_parameters() for network in networks))


def test_a_wrong_number_in_a_memory_mapped_file_is_named_by_its_place(tmp_path):
    mapped = np.memmap(tmp_path / "X", "float64", "w+", shape=(203, 4))
    mapped[77, 2] = np.nan
    for shuffle in (True, False):
        with pytest.raises(ValueError, match="X holds nan in row 77, column 2"):
            regressor().fit(mapped, np.zeros(203), shuffle=shuffle)


@pytest.mark.optimised_build
def test_a_memory_mapped_file_is_not_copied_as_a_whole(tmp_path):
    code = """
import sys
import numpy as np, fastnn
X = np.memmap(sys.argv[1], "float64", "w+", shape=(2_000_000, 16))      # 256 MB, a sparse file
net = fastnn.Network([16, 1])
net.fit(X[:1000], np.zeros(1000))
anonymous = lambda: int(open("/proc/self/statm", encoding="utf-8").read().split()[5]) * 4096
start = anonymous()
peak = 0
class Watch(fastnn.Callback):
    def on_epoch_end(self, fit):
        global peak
        peak = anonymous() - start
net.fit(X, np.zeros(2_000_000), batch_size=10_000, shuffle=False, callbacks=[Watch()])
assert peak < 64 << 20, peak
"""
    subprocess.run([sys.executable, "-c", code, tmp_path / "X"], check=True)
