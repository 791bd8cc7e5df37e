"""What ends a fit of a population: errors of callbacks, metrics and losses, Ctrl-C, time that is up, a callback.

What was done until then is whole steps or epochs of every member, and all goes on from there.
"""

import copy
import io
import signal
import sys
import threading

import numpy as np
import pytest
from helpers import same_bits
from programs import answer
from twins import assert_same_network, data, everything_of, warned

import fastnn

pytestmark = pytest.mark.any_isa
X, Y = data(40, 4, dtype="float32")
FIT = {"batch_size": 8}


# Early stopping that has nothing to look at


def scripted(values):
    values = iter(values)

    def metric(y, outputs):
        return next(values)

    return metric


@pytest.mark.parametrize("value", [np.nan, 1.0], ids=["never finite", "constant"])
def test_a_watched_value_that_says_nothing(value):
    """What early stopping does for a network alone, also what it warns of."""
    def fit(network, **options):
        def metric(y, outputs):
            return value

        return network.fit(X, Y, epochs=8, metrics=[metric], optimizer=fastnn.Adam(0.01),
                           early_stopping=fastnn.EarlyStopping(2, monitor="metric", mode="min"), **FIT)

    population, alone = fastnn.Population([4, 6, 1], 3), [fastnn.Network([4, 6, 1], seed=i) for i in range(3)]
    history, seen = warned(lambda: fit(population))
    expected = [warned(lambda network=network: fit(network)) for network in alone]
    for i, network in enumerate(alone):
        assert history[i].loss == expected[i][0].loss and history.stopped_by[i] == expected[i][0].stopped_by
        assert same_bits(population.parameters[i], network.get_parameters())
    assert bool(seen) == bool(expected[0][1]), [str(warning.message) for warning in expected[0][1]]


def test_a_score_of_constant_targets_is_refused_as_for_a_network():
    options = {"validation_data": (X, 0 * Y), "metrics": ["r2"],
               "early_stopping": fastnn.EarlyStopping(2, monitor="validation_r2")}
    with pytest.raises(ValueError) as alone:
        fastnn.Network([4, 6, 1]).fit(X, Y, **options)
    with pytest.raises(ValueError) as together:
        fastnn.Population([4, 6, 1], 3).fit(X, Y, **options)
    assert str(alone.value).split(",")[0] in str(together.value)


# Errors


class Failing(fastnn.Callback):
    def __init__(self, when, epoch=2):
        self.when, self.epoch, self.ended = when, epoch, 0

    def on_fit_begin(self, fit):
        if self.when == "begin":
            raise OSError("no disk")

    def on_epoch_end(self, fit):
        if self.when == "epoch" and fit.epoch == self.epoch:
            raise OSError("no disk")

    def on_fit_end(self, fit):
        self.ended += 1
        if self.when == "end":
            raise OSError("no disk")


@pytest.mark.parametrize("when, epochs", [("epoch", 2), ("end", 4)])
def test_an_error_in_a_callback_leaves_the_epoch_just_done(when, epochs):
    population, twin, other = (*(fastnn.Population([4, 6, 1], 3) for _ in range(2)), Failing("never"))
    with pytest.raises(OSError, match="no disk"):
        population.fit(X, Y, epochs=4, optimizer=fastnn.Adam(0.01), callbacks=[other, Failing(when)], **FIT)
    twin.fit(X, Y, epochs=epochs, optimizer=fastnn.Adam(0.01), **FIT)
    assert same_bits(population.parameters, twin.parameters) and (population.epochs == epochs).all()
    assert other.ended == 1
    for each in (population, twin):
        each.fit(X, Y, **FIT)
    assert same_bits(population.parameters, twin.parameters)


def raising(y, outputs):
    raise ZeroDivisionError("no metric")


@pytest.mark.parametrize("options, error", [
    ({"callbacks": [Failing("begin")]}, OSError), ({"optimizer": fastnn.SGD(lambda epoch: -1.0)}, ValueError),
    ({"optimizer": [fastnn.SGD(0.1), fastnn.SGD(0.1), fastnn.SGD(lambda epoch: 1 / 0)]}, ZeroDivisionError)],
    ids=["a callback", "a rate", "a schedule of member 2"])
def test_an_error_before_the_first_step_leaves_everything_as_it_was(options, error):
    population = fastnn.Population([4, 6, 1], 3)
    population.fit(X, Y, epochs=2, optimizer=fastnn.Adam(0.01), early_stopping=fastnn.EarlyStopping(5), **FIT)
    before, twin = everything_of(population), population.select(range(3))
    options = {"optimizer": fastnn.SGD(0.1, momentum=0.5)} | options
    with pytest.raises(error):
        population.fit(X, Y, epochs=3, early_stopping=fastnn.EarlyStopping(3), **options, **FIT)
    assert everything_of(population) == before
    for each in (population, twin):
        each.fit(X, Y, **FIT)
    assert same_bits(population.parameters, twin.parameters)


def test_an_error_in_a_metric_reaches_the_caller_and_the_population_works_on():
    population, twin = (fastnn.Population([4, 6, 1], 3) for _ in range(2))
    with pytest.raises(ZeroDivisionError, match="no metric"):
        population.fit(X, Y, epochs=4, optimizer=fastnn.Adam(0.01), metrics=[raising], **FIT)
    twin.fit(X, Y, optimizer=fastnn.Adam(0.01), **FIT)
    assert same_bits(population.parameters, twin.parameters)
    for each in (population, twin):
        each.fit(X, Y, **FIT)
    assert same_bits(population.parameters, twin.parameters)


def mse(outputs, targets):
    return ((outputs - targets) ** 2).mean(), 2 * (outputs - targets) / outputs.size


@pytest.mark.parametrize("call", [1, 4, 9])
def test_an_error_in_a_python_loss_leaves_completed_steps(call):
    """Each member is as after some whole steps: those before the one in which the loss failed."""
    calls = 0

    def loss(outputs, targets):
        nonlocal calls
        calls += 1
        if calls == call:
            raise ZeroDivisionError("no loss")
        return mse(outputs, targets)

    population = fastnn.Population([4, 6, 1], 3, loss=loss)
    with pytest.raises(ZeroDivisionError, match="no loss"):
        population.fit(X, Y, optimizer=fastnn.Adam(0.01), shuffle=False, **FIT)
    done = [member.optimizer.steps if member.optimizer else 0 for member in population]
    assert sum(done) == call - 1
    for i, steps in enumerate(done):
        twin = fastnn.Network([4, 6, 1], loss=mse, seed=i)
        if steps:
            twin.fit(X[:8 * steps], Y[:8 * steps], optimizer=fastnn.Adam(0.01), shuffle=False, **FIT)
        assert same_bits(population.parameters[i], twin.get_parameters())
    assert (population.optimizer is None) == (call == 1)
    population.fit(X, Y, **FIT)


@pytest.mark.parametrize("loss, error, words", [
    (lambda a, t: 1.0, TypeError, "returned a float"), (lambda a, t: (1.0, np.zeros(3)), ValueError, "gradient.*shape"),
    (lambda a, t: ("no", a), TypeError, "value of the Python loss")])
def test_a_python_loss_that_is_wrong_leaves_everything_as_it_was(loss, error, words):
    population = fastnn.Population([4, 6, 1], 3, loss=loss)
    before = everything_of(population)
    with pytest.raises(error, match=words):
        population.fit(X, Y, optimizer=fastnn.SGD(0.1))
    assert everything_of(population) == before


# One at a time


def test_a_population_that_trains_refuses_to_train():
    """In a Python loss, whose step goes on afterwards; it would lose the memory under it."""
    program = """
        import json
        import numpy as np, fastnn
        seen = []
        def loss(outputs, targets):
            if not seen:
                seen.append(None)
                try:
                    population.fit(X, Y, optimizer=fastnn.SGD(0.1, momentum=0.9))
                    seen[0] = "went well"
                except RuntimeError as error:
                    seen[0] = str(error)
            return ((outputs - targets) ** 2).mean(), 2 * (outputs - targets) / outputs.size
        X, Y = np.ones((8, 4), "f"), np.ones((8, 1), "f")
        population = fastnn.Population([4, 2000, 1], 3, loss=loss)
        population.fit(X, Y, epochs=3, optimizer=fastnn.Adam())
        print(json.dumps([seen[0], bool(np.isfinite(population.parameters).all())]))
    """
    sentence, finite = answer(program)
    assert "train" in sentence and sentence != "went well" and finite


def test_another_thread_is_refused_while_a_population_trains():
    """Whatever it wants to change; predictions are answered."""
    population, begun, seen = fastnn.Population([4, 6, 1], 64), threading.Event(), []
    many = np.tile(X, (200, 1)), np.tile(Y, (200, 1))

    class Begun(fastnn.Callback):
        def on_fit_begin(self, fit):
            begun.set()

    trains = threading.Thread(target=lambda: population.fit(*many, epochs=10**6, time_budget=1.0, callbacks=[Begun()]))
    trains.start()
    begun.wait()
    for _ in range(20):
        assert population.predict(X).shape == (64, 40, 1)
        try:
            population.fit(X, Y, optimizer=fastnn.SGD(0.1))
            seen.append("went well")
        except RuntimeError as error:
            seen.append(str(error))
    trains.join()
    assert len(set(seen)) == 1 and "train" in seen[0] and seen[0] != "went well"


# Ctrl-C


INTERRUPTED = """
    import json, os, signal, threading, time
    import numpy as np, fastnn
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rng = np.random.default_rng(83)
    sizes, n = {shape}
    X, y = rng.normal(size=(64, sizes[0])).astype("f"), rng.normal(size=(64, 1)).astype("f")
    fit = dict(batch_size=16, shuffle=False)
    def after(member, steps):
        twin, optimizer = fastnn.Network(sizes, seed=member), fastnn.SGD(1e-3, momentum=0.5)
        twin.fit(X, y, epochs=steps // 4, optimizer=optimizer, **fit)
        if steps % 4:
            twin.fit(X[:steps % 4 * 16], y[:steps % 4 * 16], optimizer=optimizer, **fit)
        return twin
    wrong, delays, all_steps = [], [], []
    for number in range({rounds}):
        population, begun = fastnn.Population(sizes, n), threading.Event()
        class Begun(fastnn.Callback):
            def on_fit_begin(self, fit):
                begun.set()
        def interrupt():
            global sent
            begun.wait()
            time.sleep(rng.uniform(0, 0.03))
            sent = time.perf_counter()
            os.kill(os.getpid(), signal.SIGINT)
        sender = threading.Thread(target=interrupt)
        try:
            sender.start()
            population.fit(X, y, epochs=10**9, optimizer=fastnn.SGD(1e-3, momentum=0.5), callbacks=[Begun()], **fit)
            wrong.append("fit returned")
        except KeyboardInterrupt:
            delays.append(time.perf_counter() - sent)
        sender.join()
        networks = list(population)
        steps = [network.optimizer.steps + {wrong} if network.optimizer else 0 for network in networks]
        all_steps += steps
        for i in {{0, n // 2, n - 1}}:
            twin = after(i, steps[i])
            if networks[i].get_parameters().tobytes() != twin.get_parameters().tobytes():
                wrong.append(f"member {{i}}: not the bits of {{steps[i]}} steps")
        population.fit(X, y, **fit)
    print(json.dumps([wrong, delays, all_steps]))
"""


@pytest.mark.parametrize("shape", [([4, 8, 1], 33), ([64, 600, 1], 3)], ids=["lanes", "wide"])
def test_control_c_leaves_completed_steps_of_every_member(shape):
    wrong, delays, steps = answer(INTERRUPTED.format(shape=shape, rounds=6, wrong=0))
    assert not wrong and len(delays) == 6 and max(delays) < 1
    assert max(steps) > min(steps), "it always came at the same step: this proves little"


def test_the_check_of_control_c_can_fail():
    wrong, *_ = answer(INTERRUPTED.format(shape=([4, 8, 1], 3), rounds=1, wrong=1))
    assert "not the bits of" in wrong[0]


def test_control_c_in_a_callback_leaves_the_epoch_just_done():
    class Interrupts(fastnn.Callback):
        def on_epoch_end(self, fit):
            if fit.epoch == 2:
                signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    population, twin = (fastnn.Population([4, 6, 1], 3) for _ in range(2))
    try:
        with pytest.raises(KeyboardInterrupt):
            population.fit(X, Y, epochs=4, optimizer=fastnn.Adam(0.01), callbacks=[Interrupts()], **FIT)
    finally:
        signal.signal(signal.SIGINT, before)
    twin.fit(X, Y, epochs=2, optimizer=fastnn.Adam(0.01), **FIT)
    assert same_bits(population.parameters, twin.parameters)


# Ends before the last epoch


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sizes", [[4, 6, 1], [4, 200, 60, 1]], ids=["lanes", "wide"])
def test_no_time_is_one_visit_of_steps(sizes, weighted):
    """An epoch that is cut short has the loss of the rows that it has seen."""
    rows = 30_000 if sizes[1] == 6 else 4000
    weights = np.random.default_rng(3).uniform(0, 2, rows) if weighted else None
    x, y = data(rows, 4)
    for shuffle in ("own", False, "shared"):
        population = fastnn.Population(sizes, 3, loss="half_mse")
        history = population.fit(x, y, epochs=9, time_budget=0.0, batch_size=1, shuffle=shuffle, sample_weight=weights,
                                 optimizer=fastnn.SGD(1e-30))
        assert history.stopped_by == ["time_budget"] * 3 and history.loss.shape == (1, 3)
        assert (population.epochs == 1).all() and (history.epochs == 1).all()
        steps = [member.optimizer.steps for member in population]
        assert all(0 < step < rows for step in steps), "the epoch was not cut short: this proves little"
        if shuffle is False:
            seen = [slice(0, step) for step in steps]
            expected = [member.evaluate(x[rows], y[rows], sample_weight=None if weights is None else weights[rows])
                        for member, rows in zip(population, seen, strict=True)]
            np.testing.assert_allclose(history.loss[0], expected, rtol=1e-5)
        else:
            np.testing.assert_allclose(history.loss[0], population.evaluate(x, y, sample_weight=weights), rtol=0.35)
            assert weights is None or (np.abs(weights).mean() > 0.9)


def test_the_loss_of_shared_batches_that_are_cut_short_is_weighted():
    """Every row has the same loss, so whichever were seen, their weighted mean is that."""
    x, y = np.ones((4000, 4), "f"), np.zeros((4000, 1), "f")
    weights = np.random.default_rng(3).uniform(0, 0.1, 4000)
    for shuffle in ("own", False, "shared"):
        population = fastnn.Population([4, 200, 60, 1], 3)
        history = population.fit(x, y, time_budget=0.0, batch_size=1, shuffle=shuffle, sample_weight=weights,
                                 optimizer=fastnn.SGD(1e-30))
        assert population[0].optimizer.steps < 4000
        np.testing.assert_allclose(history.loss[0], population.evaluate(x, y), rtol=1e-5)


def test_a_callback_stops_some_members():
    """The others go on as if nothing had happened, and those have the bits of fewer epochs."""
    class Halves(fastnn.Callback):
        members = []

        def on_epoch_end(self, fit):
            self.members.append(fit.members.tolist())
            if fit.epoch in (2, 3):
                fit.stop("halved", fit.members[::2])

    population = fastnn.Population([4, 6, 1], 9)
    history = population.fit(X, Y, epochs=5, optimizer=fastnn.Adam(0.01), callbacks=[Halves()], **FIT)
    assert Halves.members == [list(range(9)), list(range(9)), [1, 3, 5, 7], [3, 7], [3, 7]]
    expected = {**dict.fromkeys((0, 2, 4, 6, 8), 2), 1: 3, 5: 3, 3: 5, 7: 5}
    assert history.stopped_by == [None if i in (3, 7) else "halved" for i in range(9)]
    for i, epochs in expected.items():
        twin = fastnn.Network([4, 6, 1], seed=i)
        assert history[i].loss == twin.fit(X, Y, epochs=epochs, optimizer=fastnn.Adam(0.01), **FIT).loss
        assert_same_network(population[i], twin, f"member {i}")
    assert population.epochs.tolist() == history.epochs.tolist() == [expected[i] for i in range(9)]


def test_a_callback_stops_all():
    class Stops(fastnn.Callback):
        def on_epoch_end(self, fit):
            assert fit.network is population and fit.epochs == 9 and fit.rows == 3 * 40
            assert isinstance(fit.history, fastnn.PopulationHistory if hasattr(fastnn, "PopulationHistory") else object)
            assert fit.history.loss.shape == (fit.epoch, 3)
            if fit.epoch == 2:
                fit.stop()

    population = fastnn.Population([4, 6, 1], 3)
    history = population.fit(X, Y, epochs=9, callbacks=[Stops()], **FIT)
    assert history.stopped_by == ["callback"] * 3 and history.loss.shape == (2, 3)


@pytest.mark.parametrize("stderr", ["text", "none", "closed"])
def test_progress_never_ends_a_fit(stderr, monkeypatch):
    output = {"text": io.StringIO(), "none": None, "closed": io.StringIO()}[stderr]
    if stderr == "closed":
        output.close()
    monkeypatch.setattr(sys, "stderr", output)
    population, twin = (fastnn.Population([4, 6, 1], 3) for _ in range(2))
    population.fit(X, Y, epochs=3, progress=True, **FIT)
    twin.fit(X, Y, epochs=3, **FIT)
    assert same_bits(population.parameters, twin.parameters)
    assert stderr != "text" or "3 of 3 epochs: loss=" in output.getvalue()


def test_no_epochs_change_nothing():
    population = fastnn.Population([4, 6, 1], 3)
    before = population.parameters.copy()
    history = population.fit(X, Y, epochs=0)
    assert history.loss.shape == (0, 3) and same_bits(population.parameters, before)
    assert history.stopped_by == [None] * 3 and len(history) == 3 and history[1].loss == []


def test_copies_and_files_made_while_it_trains_are_whole(tmp_path):
    """Each has the parameters and the velocity of as many steps as it says."""
    x, y = X[:1], Y[:1]
    population = fastnn.Population([4, 6, 1], 16)
    training = threading.Thread(target=lambda: population.fit(
        x, y, epochs=10**6, time_budget=1.0, optimizer=fastnn.SGD(1e-4, momentum=0.5)))
    training.start()
    copies = []
    while training.is_alive() and len(copies) < 12:
        population.save(tmp_path / "model")
        copies += [fastnn.Population.load(tmp_path / "model"), copy.copy(population), population.select([3, 15])]
    training.join()
    checked = 0
    for each in copies[::5]:
        member = each[each.n - 1]
        steps = member.optimizer.steps if member.optimizer else 0
        if steps == 0:
            continue
        twin = fastnn.Network([4, 6, 1], seed=each.seeds[-1])
        twin.fit(x, y, epochs=steps, optimizer=fastnn.SGD(1e-4, momentum=0.5))
        # The epoch of the last step may not be counted yet, as in a copy of a network.
        assert same_bits(member.get_parameters(), twin.get_parameters()), f"after {steps} steps"
        assert same_bits(member.optimizer.state[0], twin.optimizer.state[0]), f"after {steps} steps"
        assert steps - 1 <= member.epochs_trained <= steps
        checked += 1
    assert checked, "all were made before the first step: this proves little"
