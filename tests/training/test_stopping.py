"""What ends a fit before its last epoch: early stopping, tol and a time budget; and which parameters it leaves."""

import copy

import numpy as np
import pytest
from helpers import regression_data, same_bits
from small_networks import LABELS, X, Y, batches, classifier, mse, regressor, scripted

import fastnn
from fastnn import schedules

pytestmark = pytest.mark.any_isa

SCRIPT = [5, 4, 4.5, 3.95, 3, 3.5, 3.2, 3.1, 9, 9]


@pytest.mark.parametrize("sign, mode", [(1, "min"), (-1, "max")])
@pytest.mark.parametrize("min_change, last, best_epoch", [(0, 8, 5), (0.1, 8, 5), (1.5, 5, 1)])
def test_early_stopping_waits_its_patience(min_change, last, best_epoch, sign, mode):
    script = SCRIPT if min_change != 1.5 else [5, 4, 4.5, 3.95, 3.6, 3]
    patience = 3 if min_change != 1.5 else 4
    stopping = fastnn.EarlyStopping(patience, min_change, monitor="metric", mode=mode)
    network, twin = regressor(), regressor()
    history = network.fit(X, Y, epochs=10, metrics=[scripted([sign * value for value in script])],
                          early_stopping=stopping)
    assert len(history.loss) == last and history.stopped_by == "early_stopping"
    assert stopping.best_epoch == best_epoch and stopping.best == sign * script[best_epoch - 1]
    twin.fit(X, Y, epochs=best_epoch)
    assert same_bits(network.get_parameters(), twin.get_parameters())
    assert network.early_stopping is stopping and network.epochs_trained == last


def test_early_stopping_may_keep_the_last_parameters_and_restore_later():
    stopping = fastnn.EarlyStopping(3, monitor="metric", mode="min", restore_best=False)
    network, twin = regressor(), regressor()
    for part in (SCRIPT[:6], SCRIPT[6:]):       # it goes on in the next fit
        network.fit(X, Y, epochs=len(part), metrics=[scripted(part)], early_stopping=stopping)
    twin.fit(X, Y, epochs=8)
    assert network.epochs_trained == 8 and same_bits(network.get_parameters(), twin.get_parameters())
    stopping.restore(network)
    best = regressor()
    best.fit(X, Y, epochs=5)
    assert same_bits(network.get_parameters(), best.get_parameters())


def test_early_stopping_takes_nan_for_no_improvement():
    stopping = fastnn.EarlyStopping(2, monitor="metric", mode="min")
    history = regressor().fit(X, Y, epochs=9, metrics=[scripted([np.nan, 2, np.nan, 1, np.nan, np.nan])],
                              early_stopping=stopping)
    assert len(history.loss) == 6 and stopping.best == 1


def test_early_stopping_that_never_had_a_best_stops_with_the_last_parameters():
    network, twin = regressor(), regressor()
    with pytest.warns(RuntimeWarning, match="'validation_metric', which was not finite after any epoch"):
        history = network.fit(X, Y, epochs=9, metrics=[scripted([np.nan] * 3)], validation_data=(X, Y),
                              early_stopping=fastnn.EarlyStopping(3, monitor="validation_metric", mode="min"))
    twin.fit(X, Y, epochs=3)
    assert history.stopped_by == "early_stopping" and len(history.loss) == 3
    assert same_bits(network.get_parameters(), twin.get_parameters())


def test_what_it_watches_by_default_and_what_it_cannot():
    stopping = fastnn.EarlyStopping(1000)
    history = regressor().fit(X, Y, epochs=3, validation_data=0.2, early_stopping=stopping)
    assert stopping.best == min(history.validation_loss)
    stopping, network, losses = fastnn.EarlyStopping(1000), regressor(), []
    watch = fastnn.Callback()
    watch.on_epoch_end = lambda fit: losses.append(fit.network.evaluate(X, Y))
    network.fit(X, Y, epochs=3, early_stopping=stopping, callbacks=[watch])
    assert stopping.best == min(losses)
    with pytest.raises(ValueError, match="monitor is 'accuracy', which this fit does not record; it records loss"):
        regressor().fit(X, Y, early_stopping=fastnn.EarlyStopping(monitor="accuracy"))
    with pytest.raises(ValueError, match="whether a larger 'metric' is better is not known"):
        regressor().fit(X, Y, metrics=[scripted([1])], early_stopping=fastnn.EarlyStopping(monitor="metric"))


def growing(epoch):
    """A learning rate with which the loss falls, and then does not."""
    return 0.05 if epoch < 4 else 10.0


def leaping():
    """An optimizer that learns with it, and stays finite."""
    return fastnn.SGD(growing, clip_norm=1.0)


@pytest.mark.parametrize("case", ["one batch", "batches", "weights", "mapped", "python", "dropout", "class weights"])
def test_the_best_training_loss_is_that_of_the_restored_parameters(case, tmp_path):
    """The recorded loss is of parameters that are gone: each row's before its step."""
    arguments, options, rows, evaluated = {}, {"batch_size": 16}, (X, Y), {}
    build = regressor
    if case == "one batch":
        options = {"batch_size": 50}
    elif case == "weights":
        evaluated = {"sample_weight": np.linspace(0, 1, 50)}
        options |= evaluated
    elif case == "mapped":
        mapped = np.memmap(tmp_path / "X", "f", "w+", shape=X.shape)
        mapped[...] = X
        rows = mapped, Y
    elif case == "python":
        arguments = {"loss": mse}
    elif case == "dropout":
        arguments = {"dropout": 0.3, "l2": 0.1}
    elif case == "class weights":
        build, rows, evaluated = classifier, (X, LABELS), {"sample_weight": np.array([1.0, 5.0, 0.0])[LABELS]}
        options["class_weight"] = {1: 5.0, 2: 0.0}
    network, stopping = build(**arguments), fastnn.EarlyStopping(3)
    history = network.fit(*rows, epochs=40, optimizer=leaping(), early_stopping=stopping, **options)
    assert history.stopped_by == "early_stopping" and 1 <= stopping.best_epoch < len(history.loss)
    assert network.evaluate(*rows, **evaluated) == stopping.best
    twin = build(**arguments)
    assert twin.fit(*rows, epochs=len(history.loss), optimizer=leaping(), **options).loss == history.loss
    twin = build(**arguments)
    twin.fit(*rows, epochs=stopping.best_epoch, optimizer=leaping(), **options)
    assert same_bits(network.get_parameters(), twin.get_parameters())


def test_the_best_training_loss_of_a_converted_file(tmp_path, monkeypatch):
    monkeypatch.setattr(fastnn.training.sources, "CHUNK_BYTES", 300)
    mapped = np.memmap(tmp_path / "X", "float64", "w+", shape=X.shape)
    mapped[...] = X
    network, stopping = regressor(), fastnn.EarlyStopping(3)
    weights = np.repeat([0.0, 1.0], 25)         # the first parts weigh nothing
    network.fit(mapped, Y, epochs=40, batch_size=16, optimizer=leaping(), early_stopping=stopping,
                sample_weight=weights)
    assert network.evaluate(X, Y, sample_weight=weights) == pytest.approx(stopping.best, rel=1e-14)


def test_the_best_training_loss_of_batches_that_are_not_read_again():
    """One batch an epoch: the parameters before its step, whose loss it is. More: those at the end."""
    network, stopping = regressor(), fastnn.EarlyStopping(2)
    history = network.fit([(X, Y)], epochs=40, optimizer=leaping(), early_stopping=stopping)
    assert stopping.best == min(history.loss) and network.evaluate(X, Y) == pytest.approx(stopping.best, rel=1e-12)
    assert stopping.best_epoch == history.loss.index(stopping.best)
    network, twin, stopping = regressor(), regressor(), fastnn.EarlyStopping(2)
    history = network.fit(batches(), epochs=40, optimizer=leaping(), early_stopping=stopping)
    assert stopping.best == min(history.loss) and stopping.best_epoch == history.loss.index(stopping.best) + 1
    twin.fit(batches(), epochs=stopping.best_epoch, optimizer=leaping())
    assert same_bits(network.get_parameters(), twin.get_parameters())


@pytest.mark.parametrize("setting", [{"dropout": 0.4}, {"label_smoothing": 0.3}])
def test_the_best_training_loss_of_single_batches_is_one_that_evaluate_gives(setting):
    """What dropout left out, and smoothed targets, make the loss of a step another one."""
    network, stopping = classifier(**setting), fastnn.EarlyStopping(5)
    network.fit([(X, LABELS)], epochs=30, optimizer=fastnn.SGD(0.5), early_stopping=stopping)
    stopping.restore(network)
    assert network.evaluate(X, LABELS) == stopping.best


@pytest.mark.parametrize("weight, error, words", [
    ([1, 2], ValueError, r"sample_weight has shape \(2,\), but must have shape \(1,\): one weight a row"),
    ({0: 1}, TypeError, "sample_weight is a dict, .* class_weight takes"),
])
def test_the_weight_of_a_single_sample_is_one_number(weight, error, words):
    with pytest.raises(error, match=words):
        regressor().train_on_batch(X[0], Y[0], sample_weight=weight)


@pytest.mark.parametrize("loaded", [False, True])
def test_a_best_value_is_not_compared_with_one_of_another_kind(loaded, tmp_path):
    """The same EarlyStopping watches the training loss, and then that of validation rows, which is larger."""
    network, stopping = regressor(), fastnn.EarlyStopping(3)
    network.fit(X, Y, epochs=50, optimizer=fastnn.Adam(0.01), early_stopping=stopping)
    if loaded:
        network.save(tmp_path / "model")
        network = fastnn.load(tmp_path / "model")
        stopping = network.early_stopping
    smaller = stopping.best
    with pytest.raises(ValueError, match="which this fit does not record"):
        stopping.monitor = "validation_mae"
        network.fit(X, Y, early_stopping=stopping)
    stopping.monitor = None
    assert stopping.best == smaller
    validation = X, Y + 5
    history = network.fit(X, Y, epochs=5, early_stopping=stopping, validation_data=validation)
    assert stopping.best == min(history.validation_loss) > smaller and stopping.best_epoch > 50
    stopping.monitor, stopping.mode = "validation_mae", "max"
    history = network.fit(X, Y, epochs=2, early_stopping=stopping, validation_data=validation, metrics=["mae"])
    assert stopping.best == max(history.validation_mae)


def test_best_parameters_of_another_shape_are_refused():
    """Whoever sets them: an array of one number would become all of them."""
    words = "best_parameters is not a block of this network's parameters; set it to None"
    for wrong in (np.array(5.0), np.zeros(1), np.zeros(7)):
        network, stopping = regressor(), fastnn.EarlyStopping(2)
        network.fit(X, Y, early_stopping=stopping)
        stopping.best_parameters, before = wrong, network.get_parameters()
        with pytest.raises(ValueError, match=words):
            stopping.restore(network)
        with pytest.raises(ValueError, match=words):
            network.fit(X, Y, early_stopping=stopping)
        assert same_bits(network.get_parameters(), before) and network.epochs_trained == 1


@pytest.mark.parametrize("make", [fastnn.SGD, fastnn.LBFGS, fastnn.LevenbergMarquardt])
def test_a_stop_iteration_reaches_the_caller_as_any_other_error(make):
    class Stops(fastnn.Callback):
        def on_epoch_end(self, fit):
            next(iter(()))

    def metric(y, outputs):
        raise StopIteration("a metric")

    for options in ({"callbacks": [Stops()]}, {"metrics": [metric]}):
        network = regressor()
        with pytest.raises(StopIteration):
            network.fit(X, Y, epochs=3, optimizer=make(), **options)
        assert network.epochs_trained == 1


def test_numbers_that_round_to_zero_are_no_error_where_numpy_raises():
    """np.seterr(all="raise"): a cast to float32, a rate that has decayed, weights far apart."""
    tiny = np.r_[np.full(49, 1e-300), 1e200]
    with np.errstate(all="raise"):
        network = regressor()
        network.predict(np.full((2, X.shape[1]), 1e-60))
        network.set_parameters(np.full(network.n_parameters, 1e-60))
        network.fit(X, Y, sample_weight=tiny)
        classifier().fit(X, LABELS, sample_weight=tiny, class_weight={0: 1e-300, 1: 1e200})
        network.evaluate(X, np.full(50, 1e-300), metrics=["mse", "mae", "r2"])
        for schedule in (schedules.StepDecay(0.1, 1, 1e-200), schedules.ExponentialDecay(0.1, 0.01),
                         schedules.WarmUp(schedules.ExponentialDecay(1e-3, 1e-5), 3)):
            regressor().fit(X, Y, epochs=200, batch_size=50, optimizer=fastnn.SGD(schedule))


def test_the_best_training_loss_of_lbfgs():
    network, stopping = regressor(dtype="float64", l2=0.01), fastnn.EarlyStopping(1, min_change=0.01)
    history = network.fit(X, Y, epochs=40, optimizer=fastnn.LBFGS(), early_stopping=stopping)
    assert history.stopped_by == "early_stopping" and stopping.best in history.loss
    assert network.evaluate(X, Y) == pytest.approx(stopping.best, rel=1e-12)


@pytest.mark.parametrize("y, weights, words", [
    (Y[:1], None, "of which there are 1"), (np.full(20, 0.1), None, "of which there are 20"),
    (np.repeat([1.0, 2.0], 10), np.repeat([1.0, 0.0], 10), "of which there are 10")])
def test_early_stopping_does_not_watch_a_score_that_says_nothing(y, weights, words):
    """r2 of targets that are all alike is 0, however good or bad the network."""
    validation = (X[:len(y)], y, weights)
    network = regressor()
    with pytest.raises(ValueError, match=f"monitor is 'validation_r2', which has no meaning .*: y .* {words}.*; pass"):
        network.fit(X, Y, validation_data=validation, metrics=["r2"],
                    early_stopping=fastnn.EarlyStopping(monitor="validation_r2"))
    assert network.optimizer is None and network.epochs_trained == 0
    network.fit(X, Y, validation_data=validation, metrics=["r2", "mae"],
                early_stopping=fastnn.EarlyStopping(monitor="validation_mae"))
    two = np.hstack([np.full((50, 1), 0.5), Y])         # one of two outputs says something
    fastnn.Network([4, 2]).fit(X, two, metrics=["r2"], early_stopping=fastnn.EarlyStopping(monitor="r2"))


@pytest.mark.parametrize("script, kept", [([0.5] * 5, 5), ([0.4] + [0.5] * 5, 2), ([0.5] * 4 + [0.4], 1)])
def test_early_stopping_on_a_score_that_stays_keeps_the_latest_parameters(script, kept):
    """If no epoch was better than another, the first one has only learned least; any difference makes one the best."""
    network, twin = regressor(), regressor()
    history = network.fit(X, Y, epochs=30, metrics=[scripted(script)],
                          early_stopping=fastnn.EarlyStopping(4, monitor="metric", mode="max"))
    assert history.stopped_by == "early_stopping" and len(history.loss) == len(script)
    twin.fit(X, Y, epochs=kept)
    assert same_bits(network.get_parameters(), twin.get_parameters())


def test_a_watched_value_that_is_never_finite_is_told_at_the_end():
    def never(y, outputs):
        return np.inf

    for epochs, patience in ((3, 10), (9, 2)):
        with pytest.warns(RuntimeWarning, match="EarlyStopping watched 'never', which was not finite after any epoch"):
            regressor().fit(X, Y, epochs=epochs, metrics=[never],
                            early_stopping=fastnn.EarlyStopping(patience, monitor="never", mode="max"))


def test_settings_of_early_stopping_can_be_read():
    stopping = fastnn.EarlyStopping(3, monitor="r2", mode="max")
    assert eval(repr(stopping), {"EarlyStopping": fastnn.EarlyStopping}).settings() == stopping.settings()
    assert repr(stopping).startswith("EarlyStopping(patience=3, ")


def test_early_stopping_belongs_to_one_network():
    stopping = fastnn.EarlyStopping(3)
    regressor().fit(X, Y, epochs=2, early_stopping=stopping)
    other = regressor()
    with pytest.raises(ValueError, match="best parameters of another network"):
        other.fit(X, Y, early_stopping=stopping)
    assert other.optimizer is None and other.early_stopping is None
    with pytest.raises(ValueError, match="has monitored no epoch of this network, .* pass it"):
        stopping.restore(other)
    other.fit(X, Y, early_stopping=copy.deepcopy(stopping))


def test_tol_and_time_budget_stop():
    network = regressor()
    history = network.fit(X, Y, epochs=10, tol=1e9)
    assert len(history.loss) == 1 and history.stopped_by == "tol"
    history = network.fit(X, Y, epochs=10**6, time_budget=0.05)
    assert history.stopped_by == "time_budget" and sum(history.seconds) >= 0.04
    assert sum(history.seconds[:-1]) < 0.05
    assert network.fit(X, Y, epochs=2).stopped_by is None


@pytest.mark.parametrize("weights", [None, np.linspace(0, 2, 200)], ids=["equal", "weighted"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_time_budget_ends_within_an_epoch(weights, shuffle):
    """After a whole step: the epoch counts, its loss is that of the rows seen, and a twin that saw these agrees."""
    X, y = regression_data(200, 4, 1, "float32", seed=81)
    network, twin = (fastnn.Network([4, 1000, 1000, 1], seed=82) for _ in range(2))     # a step fills a visit
    history = network.fit(X, y, epochs=9, batch_size=50, shuffle=shuffle, time_budget=0, sample_weight=weights,
                          optimizer=fastnn.SGD(0.001), validation_data=(X, y))
    assert history.stopped_by == "time_budget" and network.optimizer.steps == network.epochs_trained == 1
    assert len(history.loss) == len(history.validation_loss) == len(history.seconds) == 1
    seen = fastnn.core.random_order(200, 82, 0)[:50] if shuffle else slice(0, 50)
    other = twin.fit(X[seen], y[seen], batch_size=50, shuffle=False, optimizer=fastnn.SGD(0.001),
                     sample_weight=None if weights is None else weights[seen])
    assert same_bits(network.get_parameters(), twin.get_parameters())
    assert history.loss == pytest.approx(other.loss, rel=1e-14)


def test_a_time_budget_that_is_not_used_up_changes_no_bit():
    weights = np.linspace(0, 2, 50)
    one, two = (regressor().fit(X, Y, epochs=5, batch_size=8, sample_weight=weights, time_budget=budget).loss
                for budget in (None, 1e9))
    assert one == two
