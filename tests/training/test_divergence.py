"""A fit that fails leaves a network that still works: after divergence, and after a Python loss that raises.

Each is made to happen at every place, or at many; then bits are compared with those of a twin to whom nothing happened.
"""

import json

import numpy as np
import pytest
from helpers import regression_data, same_bits

import fastnn
from fastnn.training import fit

pytestmark = pytest.mark.any_isa


# Divergence


X, Y = regression_data(64, 6, 2, "float32", seed=80)
FIT = {"batch_size": 8, "shuffle": False}
OPTIMIZERS = {
    "SGD": lambda rate: fastnn.SGD(rate), "momentum": lambda rate: fastnn.SGD(rate, momentum=0.9),
    "Adam": lambda rate: fastnn.Adam(rate), "RMSprop": lambda rate: fastnn.RMSprop(rate),
    "Adagrad": lambda rate: fastnn.Adagrad(rate), "AdamW": lambda rate: fastnn.AdamW(rate),
}


def good_network(epochs=3, **options):
    """A network after some epochs that went well."""
    network = fastnn.Network([6, 12, 2], seed=81, **options)
    network.fit(X, Y, epochs=epochs, optimizer=fastnn.Adam(0.01), **FIT)
    return network


def poisoned(step):
    """Batches of which one, counted from 1, makes a loss that is not finite."""
    batches = [(X[i:i + 8].copy(), Y[i:i + 8]) for i in range(0, 64, 8)]
    batches[step - 1][0][...] *= np.float32(1e30)
    return batches


WAYS_TO_DIVERGE = {
    "learning rate": lambda network, optimizer: network.fit(X, Y, epochs=9, optimizer=optimizer(1e30), **FIT),
    "large inputs": lambda network, optimizer: network.fit(1e30 * X, Y, epochs=9, optimizer=optimizer(1e9), **FIT),
    **{f"batch {step}": lambda network, optimizer, step=step: network.fit(
        poisoned(step), optimizer=optimizer(1e-3)) for step in (1, 2, 5, 8)},
}


def check_divergence(diverge, optimizer):
    """It is reported, and the network that learned before is as it was."""
    network = good_network()
    before, loss = network.get_parameters(), network.evaluate(X, Y)
    with pytest.raises(fastnn.DivergenceError) as caught:
        diverge(network, optimizer)
    assert caught.value.epoch >= 4 and caught.value.step >= 1 and caught.value.learning_rate > 0
    assert same_bits(network.get_parameters(), before)
    assert network.evaluate(X, Y) == loss and np.isfinite(network.predict(X)).all()
    return network, caught.value


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("way", WAYS_TO_DIVERGE)
def test_a_good_network_is_never_worse_after_divergence(way, optimizer):
    network, error = check_divergence(WAYS_TO_DIVERGE[way], OPTIMIZERS[optimizer])
    if way.startswith("batch"):
        assert (error.epoch, error.step) == (4, int(way[-1]))
    twin = good_network()
    for each in (network, twin):
        each.fit(X, Y, epochs=2, optimizer=fastnn.Adam(0.01), **FIT)
    assert same_bits(network.get_parameters(), twin.get_parameters())


def test_epochs_before_the_last_good_one_are_kept():
    """An epoch that ended well speaks for the parameters with which it began, not for those that it left."""
    network, twin = good_network(), good_network()
    good = [(X[i:i + 8], Y[i:i + 8]) for i in range(0, 64, 8)]

    class Batches:
        epoch = 0

        def __iter__(self):
            self.epoch += 1
            return iter(good if self.epoch < 3 else poisoned(4))

    with pytest.raises(fastnn.DivergenceError) as caught:
        network.fit(Batches(), epochs=9)
    twin.fit(good)
    assert (caught.value.epoch, caught.value.step, network.epochs_trained) == (6, 4, 4)
    assert caught.value.restored == 4 and "restored, epochs_trained is 4: scale the" in str(caught.value)
    assert same_bits(network.get_parameters(), twin.get_parameters())
    assert network.optimizer.steps == twin.optimizer.steps
    for each in (network, twin):
        each.fit(good)
    assert same_bits(network.get_parameters(), twin.get_parameters())


@pytest.mark.parametrize("step", [1, 3, 8])
def test_a_batch_that_is_refused_leaves_the_steps_before_it(step):
    network, twin = good_network(), good_network()
    batches = [(X[i:i + 8].copy(), Y[i:i + 8]) for i in range(0, 64, 8)]
    batches[step - 1][0][2, 3] = np.nan
    with pytest.raises(ValueError, match="X holds nan in row 2, column 3"):
        network.fit(batches)
    if step > 1:
        twin.fit(batches[:step - 1])
    assert same_bits(network.get_parameters(), twin.get_parameters())


def test_the_check_of_divergence_can_fail(monkeypatch):
    class Forgetful(fit.Trainer):
        def restore(self):
            pass

    monkeypatch.setattr(fit, "Trainer", Forgetful)
    with pytest.raises(AssertionError):
        check_divergence(WAYS_TO_DIVERGE["learning rate"], OPTIMIZERS["SGD"])
    with pytest.raises(AssertionError):
        check_divergence(WAYS_TO_DIVERGE["batch 5"], OPTIMIZERS["SGD"])


def line():
    """The guide's data, and a network that learns w = 2 from them."""
    x = np.linspace(-2, 2, 20)[:, None]
    return x, 2 * x, fastnn.Network([1, 1], dtype="float64", seed=3)


@pytest.mark.parametrize("batch_size", [5, 20])
@pytest.mark.parametrize("source", ["arrays", "batches"])
@pytest.mark.parametrize("optimizer", [
    lambda: fastnn.SGD(0.9), lambda: fastnn.SGD(2.0, momentum=0.5), lambda: fastnn.SGD(1e200),
    lambda: fastnn.SGD(lambda epoch: 100.0 if epoch % 3 == 0 else 0.4), lambda: fastnn.RMSprop(1e160)],
    ids=["slowly", "momentum", "in one step", "now and then", "RMSprop"])
def test_a_network_is_not_worse_after_an_explosion_than_before_the_fit(optimizer, source, batch_size):
    """Its losses are finite for many epochs. Where each was worse, everything is as it was before."""
    x, y, network = line()
    network.fit(x, y, epochs=3, optimizer=fastnn.SGD(0.01))
    before, loss, first = network.get_parameters(), network.evaluate(x, y), network.optimizer
    rows = (x, y) if source == "arrays" else ([(x[i:i + batch_size], y[i:i + batch_size])
                                               for i in range(0, 20, batch_size)], None)
    with pytest.raises(fastnn.DivergenceError, match="try a smaller learning rate") as caught:
        network.fit(*rows, epochs=1000, batch_size=batch_size if source == "arrays" else None, optimizer=optimizer())
    assert network.evaluate(x, y) <= loss and network.epochs_trained == caught.value.restored
    if batch_size == 20:
        assert same_bits(network.get_parameters(), before)
        assert network.optimizer is first and network.epochs_trained == 3


def test_good_epochs_before_an_explosion_are_kept():
    """With a rate that grows, what is restored is as good as the loss had shown."""
    x, y, network = line()
    losses = []
    watch = fastnn.Callback()
    watch.on_epoch_end = lambda fit: losses.append(fit.network.evaluate(x, y))
    with pytest.raises(fastnn.DivergenceError) as caught:
        network.fit(x, y, epochs=1000, batch_size=20, callbacks=[watch],
                    optimizer=fastnn.SGD(lambda epoch: 0.01 if epoch < 50 else 2.0))
    kept = caught.value.restored
    assert 50 <= kept < caught.value.epoch - 1 and network.epochs_trained == network.optimizer.epochs == kept
    assert network.optimizer.steps == kept and network.evaluate(x, y) == losses[kept - 1] < losses[0]


def everything(network, *optimizers):
    """All that a fit may change, as values and identities."""
    def whole(optimizer):
        if optimizer is None:
            return None
        state = [block.tobytes() for block in getattr(optimizer, "state", ())]
        rate = getattr(optimizer, "learning_rate", None)
        memory = rate.state() if isinstance(rate, fastnn.schedules.Schedule) else None
        return (id(optimizer), optimizer.steps, optimizer.epochs, state, memory,
                id(getattr(optimizer, "network_engine", None)))

    stopping = network.early_stopping
    watched = None if stopping is None else (
        id(stopping), stopping.best, stopping.best_epoch, stopping.waited, stopping.best_parameters.tobytes())
    return (network.get_parameters().tobytes(), network.epochs_trained, network._engine.steps, watched,
            json.dumps(network.metadata), [whole(each) for each in (network.optimizer, *optimizers)])


class Refuses(fastnn.Callback):
    def on_fit_begin(self, fit):
        raise OSError("no disk")


def first_batch_fails():
    raise OSError("no disk")
    yield


FAILURES_OF_A_FIRST_EPOCH = {
    "divergence": (lambda: (X, Y), {"optimizer": fastnn.SGD(1e38)}),
    "in the first step": (lambda: (1e30 * X, Y), {}),
    "in the second step": (lambda: (poisoned(2), None), {}),
    "an iterable": (lambda: (first_batch_fails(), None), {}),
    "an empty iterable": (lambda: ([], None), {}),
    "no weights": (lambda: ([(X, Y, np.zeros(64)), (X, Y, np.zeros(64))], None), {}),
    "a callback": (lambda: (X, Y), {"callbacks": [Refuses()]}),
    "a schedule": (lambda: (X, Y), {"optimizer": fastnn.SGD(lambda epoch: -1.0)}),
    "L-BFGS": (lambda: (1e30 * X, Y), {"optimizer": fastnn.LBFGS()}),
}


@pytest.mark.parametrize("other", [False, True], ids=["the same optimizer", "another"])
@pytest.mark.parametrize("name", FAILURES_OF_A_FIRST_EPOCH)
def test_a_fit_that_fails_before_a_good_epoch_leaves_everything_as_it_was(name, other):
    """Its optimizer and EarlyStopping, if they were new, can be used with another network."""
    network = fastnn.Network([6, 12, 2], seed=81)
    plateau = fastnn.schedules.ReduceOnPlateau(0.01, patience=1, min_change=0.9)
    network.fit(X, Y, epochs=5, optimizer=fastnn.Adam(plateau), early_stopping=fastnn.EarlyStopping(9), **FIT)
    rows, options = FAILURES_OF_A_FIRST_EPOCH[name]
    rows, options = rows(), dict(options)
    new = options.pop("optimizer", fastnn.Adam(0.01))
    other = other or name in ("divergence", "a schedule", "L-BFGS")      # failures of the other optimizer
    stopping = fastnn.EarlyStopping(3)
    before, mine = everything(network, new), everything(network)
    with pytest.raises((OSError, ValueError)):
        network.fit(*rows, epochs=9, optimizer=new if other else None, early_stopping=stopping, **options)
    assert everything(network, new) == before and everything(network) == mine
    assert stopping.best is None and stopping.best_parameters is None
    twin = fastnn.Network([6, 12, 2], seed=81)
    if isinstance(new, fastnn.Adam):
        twin.fit(X, Y, optimizer=new, early_stopping=stopping, **FIT)


def test_a_step_that_fails_leaves_the_optimizer_that_there_was():
    network = good_network()
    new = fastnn.SGD(0.1)
    before = everything(network, new)
    for fails in (lambda: network.train_on_batch(1e30 * X, Y, optimizer=new),
                  lambda: network.train_on_batch(X, Y, optimizer=fastnn.SGD(lambda epoch: -1.0))):
        with pytest.raises(ValueError):
            fails()
        assert everything(network, new) == before
    assert network.train_on_batch(X, Y, optimizer=new) > 0 and network.optimizer is new


def test_after_later_divergence_everything_is_that_of_the_last_good_epoch():
    """Moments, counts, a plateau's memory and an EarlyStopping's best, and training goes on as if from there."""
    good = [(X[i:i + 8], Y[i:i + 8]) for i in range(0, 64, 8)]

    class Batches:
        epoch = 0

        def __iter__(self):
            self.epoch += 1
            return iter(good if self.epoch < 6 else poisoned(3))

    def options():
        plateau = fastnn.schedules.ReduceOnPlateau(0.01, patience=0, min_change=0.9)
        return {"optimizer": fastnn.Adam(plateau), "early_stopping": fastnn.EarlyStopping(20),
                "validation_data": (X, Y)}

    network, twin = fastnn.Network([6, 12, 2], seed=81), fastnn.Network([6, 12, 2], seed=81)
    arguments = options()
    with pytest.raises(fastnn.DivergenceError) as caught:
        network.fit(Batches(), epochs=9, **arguments)
    assert caught.value.epoch == 6 and caught.value.restored == 4
    others = options()
    twin.fit(good, epochs=4, **others)
    for each in (network, twin):
        assert each.optimizer.steps == 32
    for _ in range(2):
        mine, theirs = everything(network), everything(twin)
        assert mine[:3] == theirs[:3] and mine[3][1:] == theirs[3][1:]
        assert [part[1:5] for part in mine[5]] == [part[1:5] for part in theirs[5]]
        network.fit(good, **{**arguments, "optimizer": None})
        twin.fit(good, **{**others, "optimizer": None})


def test_an_error_while_parameters_are_not_finite_goes_back_too():
    """As when Ctrl-C comes after a step that made them infinite, and before the loss shows it."""
    network = good_network()
    before = network.get_parameters()

    def batches():
        yield 1e3 * X[:8], Y[:8]
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        network.fit(batches(), optimizer=fastnn.SGD(3e38))
    assert same_bits(network.get_parameters(), before)


# A Python loss that raises


class Stop(BaseException):
    """No Exception, as SystemExit and KeyboardInterrupt are none."""


@pytest.mark.parametrize("error", [ZeroDivisionError, MemoryError, KeyboardInterrupt, SystemExit, Stop])
@pytest.mark.parametrize("call", [1, 2, 11])
def test_what_a_python_loss_raises_reaches_the_caller_after_whole_steps(call, error):
    raised = error("in the loss")

    class Loss:
        calls, fatal = 0, 0

        def __call__(self, outputs, targets):
            self.calls += 1
            if self.calls == self.fatal:
                raise raised
            difference = outputs - targets
            return float((difference**2).mean()), 2 * difference / difference.size

    loss, unharmed = Loss(), Loss()
    network, twin = (fastnn.Network([6, 12, 2], loss=each, seed=82) for each in (loss, unharmed))
    for each in (network, twin):
        each.fit(X, Y, optimizer=fastnn.Adam(0.01), **FIT)
    loss.fatal = loss.calls + call
    with pytest.raises(error) as caught:
        network.fit(X, Y, epochs=2, threads=2, **FIT)
    assert caught.value is raised
    done = call - 1
    assert network.epochs_trained == 1 + done // 8 and network.optimizer.steps == 8 + done
    twin.fit([(X[i:i + 8], Y[i:i + 8]) for i in [8 * (step % 8) for step in range(done)]], epochs=int(done > 0))
    assert same_bits(network.get_parameters(), twin.get_parameters())
    for each in (network, twin):
        each.fit(X, Y, **FIT)
    assert same_bits(network.get_parameters(), twin.get_parameters())
