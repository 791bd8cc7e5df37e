"""What `fit` does beside stepping: weights, validation, metrics, ways to stop, callbacks, progress, sources of rows.

And that what is refused changes nothing.
"""

import copy
import json
import os
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
from helpers import regression_data, same_bits

import fastnn
from fastnn import schedules

pytestmark = pytest.mark.any_isa
X, Y = regression_data(50, 4, 1, "float32", seed=81)
LABELS = np.arange(50) ** 2 % 3


def regressor(**arguments):
    return fastnn.Network([4, 8, 1], seed=82, **arguments)


def classifier(**arguments):
    return fastnn.Network([4, 8, 3], output="softmax", seed=82, **arguments)


def scripted(values):
    """A metric that returns these values one after the other."""
    values = iter(values)

    def metric(y, outputs):
        return next(values)

    return metric


# Weights


def test_integer_weights_are_repeated_rows():
    weights = np.arange(50) % 3
    repeated = np.repeat(np.arange(50), weights)
    networks = [regressor(dtype="float64") for _ in range(2)]
    a = networks[0].fit(X, Y, epochs=5, batch_size=50, shuffle=False, sample_weight=weights)
    b = networks[1].fit(X[repeated], Y[repeated], epochs=5, batch_size=len(repeated), shuffle=False)
    np.testing.assert_allclose(a.loss, b.loss, rtol=1e-12)
    np.testing.assert_allclose(networks[0].get_parameters(), networks[1].get_parameters(), rtol=1e-9)


def test_equal_weights_are_none_up_to_rounding():
    a, b = regressor(), regressor()
    np.testing.assert_allclose(a.fit(X, Y, epochs=3, sample_weight=np.full(50, 7.0)).loss, b.fit(X, Y, epochs=3).loss,
                               rtol=1e-6)


def test_a_batch_without_weight_has_no_gradient():
    weights = np.repeat([1.0, 0.0], 25)
    network, half = regressor(), regressor()
    network.fit(X, Y, batch_size=25, shuffle=False, sample_weight=weights, optimizer=fastnn.SGD(0.1))
    half.fit(X[:25], Y[:25], batch_size=25, shuffle=False, sample_weight=weights[:25], optimizer=fastnn.SGD(0.1))
    assert same_bits(network.get_parameters(), half.get_parameters())


@pytest.mark.parametrize("kind", ["labels", "rows", "sigmoid"])
@pytest.mark.parametrize("class_weight", ["balanced", {0: 2.0, 1: 0.5}])
def test_class_weights_are_sample_weights(class_weight, kind):
    labels = LABELS if kind != "sigmoid" else (LABELS > 0).astype(int)
    y = {"labels": labels, "rows": np.eye(3)[labels], "sigmoid": labels[:, None]}[kind]
    counts = np.bincount(labels)
    factors = len(labels) / (len(counts) * counts) if class_weight == "balanced" else np.array([2.0, 0.5, 1.0])
    a, b = (classifier() if kind != "sigmoid" else regressor(output="sigmoid") for _ in range(2))
    a.fit(X, y, epochs=3, class_weight=class_weight, sample_weight=1 + np.arange(50))
    b.fit(X, y, epochs=3, sample_weight=factors[labels] * (1 + np.arange(50)))
    np.testing.assert_allclose(a.get_parameters(), b.get_parameters(), rtol=1e-5, atol=1e-7)


# Validation, metrics, History


def test_validation_rows_are_evaluated_after_each_epoch():
    network, twin = regressor(), regressor()
    weights = np.linspace(0, 1, 20)
    history = network.fit(X, Y, epochs=4, validation_data=(X[:20], Y[:20], weights))
    expected = []
    for _ in range(4):
        twin.fit(X, Y)
        expected.append(twin.evaluate(X[:20], Y[:20], sample_weight=weights))
    assert history.validation_loss == expected and same_bits(network.get_parameters(), twin.get_parameters())


def test_a_fraction_is_held_out_at_random_and_never_trained_on():
    seen = []

    def metric(y, outputs):
        seen.append(np.ravel(y))
        return 0.0

    poisoned = np.arange(50.0)
    network = regressor()
    for _ in range(2):
        history = network.fit(X, poisoned, validation_data=0.2, metrics=[metric])
    held_out = seen[0].astype(int)
    assert len(held_out) == 10 and (np.diff(held_out) > 0).all() and list(held_out) != list(range(40, 50))
    assert same_bits(*seen)
    rest = np.setdiff1d(np.arange(50), held_out)
    twin = regressor()
    expected = [twin.fit(X[rest], poisoned[rest]).loss[0] for _ in range(2)]
    assert history.loss == expected[1:] and same_bits(twin.get_parameters(), network.get_parameters())
    assert history.validation_loss == [twin.evaluate(X[held_out], poisoned[held_out])]


def test_weights_go_with_their_rows_when_a_fraction_is_held_out():
    """Rows of weight 0 may have any target, and nothing changes."""
    weight = np.where(np.arange(50) % 3 == 0, 0.0, 1.5)
    other = np.where(weight[:, None] == 0, 1e6, Y.reshape(50, -1)).reshape(Y.shape)
    networks = regressor(), regressor()
    one, two = (network.fit(X, y, epochs=3, sample_weight=weight, validation_data=0.4)
                for network, y in zip(networks, (Y, other), strict=True))
    assert (one.loss, one.validation_loss) == (two.loss, two.validation_loss)
    assert same_bits(networks[0].get_parameters(), networks[1].get_parameters())


def test_metrics_by_name_are_those_of_scikit_learn():
    from sklearn import metrics
    network = regressor()
    history = network.fit(X, Y, metrics=["r2", "mae", "mse", "rmse"])
    outputs = network.predict(X)
    for name, function in (("r2", metrics.r2_score), ("mae", metrics.mean_absolute_error),
                           ("mse", metrics.mean_squared_error), ("rmse", metrics.root_mean_squared_error)):
        assert getattr(history, name) == [pytest.approx(function(Y, outputs), rel=1e-6)], name
    network = classifier()
    for y in (LABELS, np.eye(3)[LABELS]):
        history = network.fit(X, y, metrics="accuracy", validation_data=(X[:30], y[:30]))
        right = metrics.accuracy_score(LABELS[:30], network.predict(X[:30]).argmax(axis=1))
        assert history.validation_accuracy == [right]
    network = regressor(output="sigmoid")
    history = network.fit(X, LABELS > 0, metrics=["accuracy"])
    assert history.accuracy == [metrics.accuracy_score(LABELS > 0, network.predict(X)[:, 0] > 0.5)]


def test_metrics_are_weighted_as_the_loss_is():
    """The names as scikit-learn's; functions get the weights if they have a parameter for them; validation rows too."""
    from sklearn import metrics
    weights = np.random.default_rng(1).uniform(0, 2, 50)
    weights[3:20] = 0
    seen = []

    def weighted(y, outputs, sample_weight):
        seen.append(sample_weight)
        return 0.0

    def unweighted(y, outputs):
        return metrics.mean_absolute_error(y, outputs)

    def by_hand(y, outputs, *, sample_weight=None):
        return metrics.mean_absolute_error(y, outputs, sample_weight=sample_weight)

    names = ["r2", "mae", "mse", "rmse", weighted, unweighted, by_hand, metrics.max_error]
    for validating in (False, True):
        network = regressor(dtype="float64")
        rows = {"validation_data": (X, Y, weights)} if validating else {"sample_weight": weights}
        history = network.fit(X, Y, metrics=names, **rows).as_dict()
        outputs = network.predict(X)
        for name, function in (("r2", metrics.r2_score), ("mae", metrics.mean_absolute_error),
                               ("mse", metrics.mean_squared_error), ("rmse", metrics.root_mean_squared_error),
                               ("by_hand", metrics.mean_absolute_error)):
            expected = function(Y, outputs, sample_weight=weights)
            assert history["validation_" * validating + name] == [pytest.approx(expected, rel=1e-12)], name
            assert expected != pytest.approx(function(Y, outputs), rel=1e-3)
        assert history["validation_" * validating + "unweighted"] == [metrics.mean_absolute_error(Y, outputs)]
        np.testing.assert_array_equal(seen.pop(), weights)
    regressor().fit(X, Y, metrics=[weighted])
    assert seen == [None]
    network = classifier()
    history = network.fit(X, LABELS, metrics="accuracy", validation_data=(X, LABELS, weights))
    right = network.predict(X).argmax(axis=1)
    assert history.validation_accuracy == [pytest.approx(metrics.accuracy_score(LABELS, right, sample_weight=weights))]
    network = regressor(output="sigmoid")
    history = network.fit(X, LABELS > 0, metrics="accuracy", validation_data=0.5, sample_weight=weights)
    assert 0 <= history.validation_accuracy[0] <= 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_function_gets_targets_in_the_shape_of_the_outputs(dtype):
    """One number a row, too, which would else be compared with every output; labels for softmax stay labels."""
    shapes = []

    def squares(y, outputs):
        shapes.append((y.shape, outputs.shape))
        return ((y - outputs) ** 2).mean()

    def right(y, outputs):
        shapes.append((y.shape, outputs.shape))
        return (outputs.argmax(axis=1) == y).mean()

    flat = Y.ravel()
    for validation in ({}, {"validation_data": (X[:20], flat[:20])}):
        network = regressor(dtype=dtype)
        history = network.fit(X, flat, metrics=[squares, "mse"], **validation).as_dict()
        own, named = (values for name, values in history.items() if name.endswith(("squares", "mse")))
        assert own == pytest.approx(named, rel=1e-5)
    network.fit(X, flat.tolist(), metrics=[squares])
    regressor(output="sigmoid", dtype=dtype).fit(X, LABELS > 0, metrics=[squares])
    assert shapes == [((50, 1),) * 2, ((20, 1),) * 2, ((50, 1),) * 2, ((50, 1),) * 2]
    shapes.clear()
    classifier(dtype=dtype).fit(X, LABELS, metrics=[right])
    fastnn.Network([4, 2], dtype=dtype).fit(X, np.hstack([Y, Y]), metrics=[squares])
    assert shapes == [((50,), (50, 3)), ((50, 2), (50, 2))]
    with pytest.raises(ValueError, match=r"y has shape \(3,\), but the metric mae compares it with outputs of shape"):
        fastnn.metrics.measured("mae", fastnn.metrics.mae, np.zeros(3), np.zeros((2, 2)))


@pytest.mark.parametrize("weights", [None, np.array([1.0, 2.0, 0.5])])
@pytest.mark.parametrize("constant", [0.1, 1e9 + 0.1, -1e-300, 0.0])
def test_r2_of_a_constant_is_0_or_1(constant, weights):
    """Its mean may be rounded to another number: what is constant is seen from the numbers themselves."""
    y = np.full((3, 1), constant)
    missed = y + np.array([[0], [1e-12 * max(1, abs(constant))], [0]])
    assert fastnn.metrics.r2(y, missed, weights) == 0 and fastnn.metrics.r2(y, y, weights) == 1
    assert fastnn.metrics.r2(np.hstack([y, [[1], [2], [4]]]), np.hstack([missed, [[1], [2], [4]]]), weights) == 0.5


def test_r2_of_rows_that_count_alone_and_of_any_size():
    from sklearn.metrics import r2_score
    y, outputs = np.array([[1.0], [1.0], [5.0], [2.0]]), np.array([[1.0], [2.0], [3.0], [2.5]])
    assert fastnn.metrics.r2(y, outputs, np.array([1.0, 1, 0, 0])) == 0
    for unit in (1e-200, 1e-3, 1e200):      # whose squares vanish or overflow
        assert fastnn.metrics.r2(y * unit, outputs * unit) == pytest.approx(r2_score(y, outputs), rel=1e-12)


def test_accuracy_is_for_classes_that_exclude_each_other(tmp_path):
    several = fastnn.Network([4, 8, 3], output="sigmoid")
    with pytest.raises(ValueError, match="exclude each other"):
        several.fit(X, np.eye(3)[LABELS], metrics=["accuracy"])
    mapped = np.memmap(tmp_path / "X", "f", "w+", shape=(50, 4))
    with pytest.raises(ValueError, match="metrics need validation_data"):       # which would copy it as a whole
        regressor().fit(mapped, Y, metrics=["mae"])


def test_the_history_is_lists_a_dictionary_and_a_frame():
    history = regressor().fit(X, Y, epochs=3, validation_data=0.1, metrics=["mae"],
                              optimizer=fastnn.SGD(schedules.ExponentialDecay(0.1, 0.5)))
    names = ["loss", "validation_loss", "validation_mae", "learning_rate", "seconds"]
    assert list(history.as_dict()) == names and all(len(values) == 3 for values in history.as_dict().values())
    assert history.learning_rate == [0.1, 0.05, 0.025] and min(history.seconds) > 0
    frame = history.to_frame()
    assert list(frame.columns) == names and list(frame.index) == [1, 2, 3]
    assert list(frame["loss"]) == history.loss and repr(history).startswith("History of ")
    with pytest.raises(AttributeError, match="no 'accuracy'; it has loss, validation_loss"):
        history.accuracy     # noqa: B018


# The ways to stop


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


@pytest.mark.parametrize("make", [fastnn.SGD, fastnn.LBFGS])
def test_a_stop_iteration_reaches_the_caller_as_any_other_error(make):
    """SciPy takes one that its callback raises for the wish to end."""
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
    with pytest.raises(ValueError, match=f"monitor is 'validation_r2', which says nothing here: y .* {words}.*; pass"):
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
    with pytest.raises(ValueError, match="no epoch of this network"):
        stopping.restore(other)
    other.fit(X, Y, early_stopping=copy.deepcopy(stopping))


def test_metrics_need_names_of_their_own():
    for names in (["loss"], ["seconds"], ["same", "same"]):
        metrics = []
        for name in names:
            metrics.append(scripted([1.0]))
            metrics[-1].__name__ = name
        with pytest.raises(ValueError, match=f"called '{names[0]}'"):
            regressor().fit(X, Y, metrics=metrics)


def test_a_metric_that_raises_counts_the_epoch_everywhere():
    network = regressor()
    with pytest.raises(StopIteration):
        network.fit(X, Y, epochs=3, metrics=[scripted([1.0])], optimizer=fastnn.SGD(lambda epoch: 0.1 / (1 + epoch)))
    assert network.epochs_trained == network.optimizer.epochs == 2
    assert network.fit(X, Y).learning_rate == [pytest.approx(0.1 / 3)]


def test_momentum_is_not_set_within_a_fit():
    class SetMomentum(fastnn.Callback):
        def on_epoch_end(self, fit):
            fit.network.optimizer.momentum = 0
            fit.network.train_on_batch(X, Y)

    with pytest.raises(ValueError, match="momentum was set while a fit was under way"):
        regressor().fit(X, Y, epochs=3, optimizer=fastnn.SGD(0.01, momentum=0.9), callbacks=[SetMomentum()])


def test_a_schedule_of_ones_own_is_checked():
    class Wrong(schedules.Schedule):
        by = "step"

        def at(self, t):
            return np.full(3, 0.1)

    with pytest.raises(ValueError, match=r"gave rates of shape \(3,\) for 2 steps"):
        regressor().fit(X, Y, optimizer=fastnn.SGD(Wrong()))


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


# Callbacks


class Recorder(fastnn.Callback):
    def __init__(self, name="", calls=None, fail=None, stop=None):
        self.name, self.calls, self.fail, self.stop = name, [] if calls is None else calls, fail, stop

    def note(self, what, fit):
        self.calls.append((self.name + what, fit.epoch, fit.epochs, len(fit.history.loss)))
        if self.fail == what:
            raise KeyError(what)
        if what == "epoch" and self.stop == fit.epoch:
            fit.stop()

    def on_fit_begin(self, fit):
        self.note("begin", fit)

    def on_epoch_end(self, fit):
        self.note("epoch", fit)

    def on_fit_end(self, fit):
        self.note("end", fit)


def test_callbacks_are_called_in_order_and_can_stop():
    recorder = Recorder(stop=2)
    history = regressor().fit(X, Y, epochs=5, callbacks=[recorder])
    assert recorder.calls == [("begin", 0, 5, 0), ("epoch", 1, 5, 1), ("epoch", 2, 5, 2), ("end", 2, 5, 2)]
    assert len(history.loss) == 2 and history.stopped_by == "callback"


@pytest.mark.parametrize("where, done, after", [
    ("begin", 0, ["a begin", "b begin", "a end"]),
    ("epoch", 1, ["a begin", "b begin", "c begin", "a epoch", "b epoch", "c end", "b end", "a end"]),
    ("end", 2, ["a begin", "b begin", "c begin", *["a epoch", "b epoch", "c epoch"] * 2, "c end", "b end", "a end"])])
def test_a_callback_that_raises_leaves_a_completed_epoch(where, done, after):
    calls = []
    network, twin = regressor(), regressor()
    with pytest.raises(KeyError, match=where):
        network.fit(X, Y, epochs=2, callbacks=[Recorder("a ", calls), Recorder("b ", calls, fail=where),
                                               Recorder("c ", calls)])
    assert [name for name, *_ in calls] == after
    twin.fit(X, Y, epochs=done)
    assert network.epochs_trained == done and same_bits(network.get_parameters(), twin.get_parameters())
    assert network.fit(X, Y).loss == twin.fit(X, Y).loss


def test_one_line_tells_of_the_progress_where_there_is_no_terminal(capfd):
    regressor().fit(X, Y, epochs=3, validation_data=0.2, progress=True)
    out, err = capfd.readouterr()
    assert out == "" and re.fullmatch(r"3 of 3 epochs: loss=\S+, validation_loss=\S+, [\d,]+ rows/s\n", err), err
    regressor().fit(X, Y, epochs=0, progress=True)
    assert capfd.readouterr() == ("", "")


def test_a_bar_shows_the_progress_in_a_terminal():
    import fcntl
    import pty
    import struct
    import termios
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 150, 0, 0))
    code = ("import fastnn, numpy as np; X = np.ones((50, 4)); "
            "fastnn.Network([4, 8, 1]).fit(X, X[:, 0], epochs=7, validation_data=0.2, progress=True)")
    process = subprocess.Popen([sys.executable, "-c", code], stderr=theirs, stdout=theirs)
    assert process.wait(60) == 0
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:         # the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert re.search(r"7/7 .*loss=\S+, validation_loss=\S+, [\d,]+ rows/s", shown.decode()), shown


class Output:
    """A standard error that fails, from its first write or later on."""

    encoding = "ascii"

    def __init__(self, error, writes=0, terminal=True):
        self.error, self.writes, self.terminal = error, writes, terminal

    def isatty(self):
        if self.terminal is None:
            raise ValueError("I/O operation on closed file")
        return self.terminal

    def write(self, text):
        self.writes -= 1
        if self.writes < 0:
            raise self.error
        return len(text)

    def flush(self):
        self.write("")


class NoFile:
    def write(self, text):
        pass


BROKEN = BrokenPipeError(32, "Broken pipe")
OUTPUTS = {
    "none": lambda: None, "no isatty": NoFile, "closed": lambda: Output(ValueError("closed"), terminal=None),
    "broken": lambda: Output(BROKEN), "broken, no terminal": lambda: Output(BROKEN, terminal=False),
    "broken later": lambda: Output(BROKEN, writes=4), "full": lambda: Output(OSError(28, "No space"), writes=4),
    "encoding": lambda: Output(UnicodeEncodeError("ascii", "\u2588", 0, 1, "no")),
    "encoding, no terminal": lambda: Output(UnicodeEncodeError("ascii", "\u2588", 0, 1, "no"), terminal=False),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", OUTPUTS)
def test_a_bar_that_cannot_be_shown_changes_nothing(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", OUTPUTS[name]())
    network, twin = regressor(), regressor()
    history = network.fit(X, Y, epochs=30, progress=True)
    assert history.loss == twin.fit(X, Y, epochs=30).loss and history.stopped_by is None
    assert same_bits(network.get_parameters(), twin.get_parameters())
    del network
    assert capsys.readouterr().out == ""            # nor is the line printed where results are


def test_the_command_line_trains_where_standard_error_is_broken(tmp_path, monkeypatch, capsys):
    from fastnn.__main__ import main
    np.savetxt(tmp_path / "t.csv", np.column_stack([X, Y]), delimiter=",", header="a,b,c,d,y", comments="")
    for index, output in enumerate(OUTPUTS.values()):
        monkeypatch.setattr(sys, "stderr", output())
        out = tmp_path / str(index)
        assert main(["train", str(tmp_path / "t.csv"), "--target", "y", "--epochs", "3", "--out", str(out)]) is None
        assert out.exists() and "saved" in capsys.readouterr().out


# Sources of rows


def mse(outputs, targets):
    return ((outputs - targets) ** 2).mean(), 2 * (outputs - targets) / outputs.size


def test_a_python_loss_trains_as_ours():
    network, ours = regressor(loss=mse, dropout=0.2, dtype="float64"), regressor(dropout=0.2, dtype="float64")
    np.testing.assert_allclose(network.fit(X, Y, epochs=5).loss, ours.fit(X, Y, epochs=5).loss, rtol=1e-12)
    np.testing.assert_allclose(network.get_parameters(), ours.get_parameters(), rtol=1e-9, atol=1e-12)
    assert network.evaluate(X, Y) == pytest.approx(ours.evaluate(X, Y))
    np.testing.assert_allclose(network.gradients(X, Y).weights[0], ours.gradients(X, Y).weights[0], atol=1e-12)
    assert network.train_on_batch(X[0], Y[0, 0]) == pytest.approx(ours.train_on_batch(X[0], Y[0, 0]))


def test_a_python_loss_of_several_outputs_is_the_mean_that_it_says():
    X, y = regression_data(12, 4, 3, seed=83)
    network, ours = (fastnn.Network([4, 5, 3], loss=loss, dtype="float64", seed=1) for loss in (mse, "mse"))
    assert network.gradients(X, y).loss == pytest.approx(ours.gradients(X, y).loss)     # first: nothing ran before
    np.testing.assert_allclose(network.gradients(X, y).weights[1], ours.gradients(X, y).weights[1], atol=1e-12)
    assert network.train_on_batch(X, y) == pytest.approx(ours.train_on_batch(X, y))
    assert network.fit(X, y).loss == [pytest.approx(ours.fit(X, y).loss[0])]
    history = network.fit(X, y, epochs=20, optimizer=fastnn.LBFGS())
    assert history.loss[-1] == pytest.approx(network.evaluate(X, y)) and type(history.loss[-1]) is float


@pytest.mark.parametrize("most", [1, 4, 9])
def test_lbfgs_stops_after_so_many_evaluations(most):
    calls = 0

    def loss(outputs, targets):
        nonlocal calls
        calls += 1
        return mse(outputs, targets)

    history = regressor(loss=loss).fit(X, Y, epochs=50, optimizer=fastnn.LBFGS(max_evaluations=most))
    assert history.stopped_by == "evaluations"
    assert most <= calls <= most + 20 and len(history.loss) <= calls     # a line search that has begun may end
    assert regressor().fit(X, Y, epochs=3, optimizer=fastnn.LBFGS(max_evaluations=1000)).stopped_by is None


def test_lbfgs_is_stopped_between_iterations():
    """By a callback, which leaves the parameters that it saw, and by early stopping, which brings back the best."""
    seen = []

    class AtThree(fastnn.Callback):
        def on_epoch_end(self, fit):
            seen.append(fit.network.get_parameters())
            if fit.epoch == 3:
                fit.stop()

    network = regressor()
    assert network.fit(X, Y, epochs=50, optimizer=fastnn.LBFGS(), callbacks=[AtThree()]).stopped_by == "callback"
    assert len(seen) == 3 and same_bits(network.get_parameters(), seen[-1])
    network = regressor()
    seen.clear()
    watch, stopping = fastnn.Callback(), fastnn.EarlyStopping(2, monitor="validation_metric", mode="min")
    watch.on_epoch_end = lambda fit: seen.append(fit.network.get_parameters())
    history = network.fit(X, Y, epochs=50, optimizer=fastnn.LBFGS(), early_stopping=stopping, callbacks=[watch],
                          metrics=[scripted([3, 1, 2, 2])], validation_data=(X, Y))
    assert history.stopped_by == "early_stopping" and stopping.best_epoch == 2 and len(history.loss) == 4
    assert same_bits(network.get_parameters(), seen[1]) and not same_bits(seen[1], seen[2])
    assert network.fit(X, Y, epochs=0, optimizer=fastnn.LBFGS()).loss == []


def test_lbfgs_that_meets_infinity_leaves_the_last_iteration():
    """The loss fails in a line search, as where a network overflows."""
    calls = 0

    def loss(outputs, targets):
        nonlocal calls
        calls += 1
        return mse(outputs, targets) if calls < 8 else (np.inf, np.zeros_like(outputs))

    network, seen = regressor(loss=loss), []
    watch = fastnn.Callback()
    watch.on_epoch_end = lambda fit: seen.append(fit.network.get_parameters())
    with pytest.raises(fastnn.DivergenceError, match="restored: scale the inputs and targets") as caught:
        network.fit(X, Y, epochs=50, optimizer=fastnn.LBFGS(), callbacks=[watch])
    assert f"in epoch {len(seen) + 1}, step 1;" in str(caught.value) and np.isnan(caught.value.learning_rate)
    assert "learning rate" not in str(caught.value)         # there is none
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert seen and same_bits(network.get_parameters(), seen[-1]) and network.epochs_trained == len(seen)


@pytest.mark.parametrize("size", [1e200, 1e300])
def test_lbfgs_whose_line_search_loses_its_way_has_diverged(size):
    """SciPy's products overflow, and it asks for the loss at NaN."""
    network = regressor(dtype="float64", loss=lambda outputs, targets: (1.0, size * (outputs - targets)))
    before = network.get_parameters()
    with pytest.raises(fastnn.DivergenceError, match="stopped being finite in epoch 1, step 1; .*: scale the inputs"):
        network.fit(X, Y, epochs=50, optimizer=fastnn.LBFGS())
    assert same_bits(network.get_parameters(), before)


def test_lbfgs_of_large_weights_without_a_penalty_has_none():
    """Whose squares overflow: 0 times infinity is no penalty."""
    network = regressor(dtype="float64", activation="tanh")
    network.weights[0][...] *= 1e160
    assert np.isfinite(network.fit(X, Y, epochs=2, optimizer=fastnn.LBFGS()).loss).all()


def test_the_history_of_lbfgs_has_no_learning_rate():
    """As there is none: what is recorded is strict JSON."""
    history = regressor().fit(X, Y, epochs=3, optimizer=fastnn.LBFGS(), validation_data=(X, Y))
    assert history.learning_rate == [] and set(history.as_dict()) == {"loss", "validation_loss", "seconds"}
    assert json.loads(json.dumps([history.as_dict(), history.last()], allow_nan=False))[0] == history.as_dict()
    assert list(history.to_frame().columns) == ["loss", "validation_loss", "seconds"]



def test_labels_of_a_python_loss_are_rows_of_0_and_1():
    def loss(outputs, targets):
        np.testing.assert_array_equal(targets, np.eye(3)[LABELS])
        return mse(outputs, targets)

    network = classifier(loss=loss)
    assert network.evaluate(X, LABELS) == network.evaluate(X, np.eye(3)[LABELS])


def test_a_python_loss_runs_in_the_float_state_of_its_caller():
    seen = []

    def loss(outputs, targets):
        seen.append(np.array([5e-324]) * 1.0)
        return mse(outputs, targets)

    network = regressor(loss=loss)
    network.fit(X, Y)
    network.gradients(X, Y)
    assert len(seen) == 3 and all(value == 5e-324 for value in seen)


@pytest.mark.parametrize("loss, error, words", [
    (lambda a, t: (1.0, a * 1j), TypeError, "gradient of the Python loss has dtype complex"),
    (lambda a, t: 1 / 0, ZeroDivisionError, "division"), (lambda a, t: 1.0, TypeError, "returned a float"),
    (lambda a, t: (1.0, np.zeros(3)), ValueError, r"gradient.*has shape \(3,\)"),
    (lambda a, t: ("no", a), TypeError, "value of the Python loss"),
    (lambda a, t: (np.nan, a), fastnn.DivergenceError, "stopped being finite")])
def test_a_python_loss_that_fails_leaves_everything_as_it_was(loss, error, words):
    network = regressor(loss=loss)
    before = network.get_parameters()
    with pytest.raises(error, match=words):
        network.fit(X, Y, optimizer=fastnn.SGD(0.1))
    assert same_bits(network.get_parameters(), before) and network.epochs_trained == 0
    if error is not fastnn.DivergenceError:
        with pytest.raises(error, match=words):
            network.gradients(X, Y)


def batches(weights=None):
    parts = [X[i:i + 16] for i in range(0, 50, 16)], [Y[i:i + 16] for i in range(0, 50, 16)]
    return list(zip(*parts, *([] if weights is None else [[weights[i:i + 16] for i in range(0, 50, 16)]]), strict=True))


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
anonymous = lambda: int(open("/proc/self/statm").read().split()[5]) * 4096
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


# Own loops


@pytest.mark.parametrize("optimizer", [
    lambda: fastnn.SGD(0.01), lambda: fastnn.Adam(schedules.OneCycle(0.1, 60), clip_norm=0.5)])
@pytest.mark.parametrize("build, y", [(regressor, Y), (classifier, LABELS)], ids=["regression", "labels"])
@pytest.mark.parametrize("arguments", [{}, {"dropout": 0.4}])
def test_train_on_batch_is_a_step_of_fit(arguments, build, y, optimizer):
    network, twin = build(**arguments), build(**arguments)
    losses = []
    for i in range(50):
        target = int(y[i]) if y is LABELS else float(y[i, 0])
        losses.append(network.train_on_batch(X[i], target, optimizer=optimizer() if i == 0 else None))
    history = twin.fit(X, y, batch_size=1, shuffle=False, optimizer=optimizer())
    assert same_bits(network.get_parameters(), twin.get_parameters())
    assert np.mean(losses) == pytest.approx(history.loss[0], rel=1e-12)
    network.train_on_batch(X, y, sample_weight=np.linspace(0, 1, 50))
    twin.fit(X, y, batch_size=50, shuffle=False, sample_weight=np.linspace(0, 1, 50))
    assert same_bits(network.get_parameters(), twin.get_parameters())


def test_train_on_batch_refuses_and_diverges_without_a_change():
    network = regressor(activation="tanh")
    network.train_on_batch(X[0], 1.0, optimizer=fastnn.SGD(0.1))
    before = network.get_parameters()
    one_infinite = np.where(np.arange(4) == 0, np.float32(np.inf), X[0])     # tanh makes the loss finite
    for x, y in ((X[0], np.nan), (X[0, :3], 1.0), (X[0] * np.inf, 1.0), (one_infinite, 1.0), (X[0], [1.0, 2.0]),
                 (X[0], "one")):
        with pytest.raises((TypeError, ValueError)):
            network.train_on_batch(x, y)
    with pytest.raises(fastnn.DivergenceError, match=r"learning rate 0\.1; .* as they were before this call") as caught:
        network.train_on_batch(X[0], 3e38)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert same_bits(network.get_parameters(), before) and network.optimizer.steps == 1
    with pytest.raises(ValueError, match="LBFGS, which needs all rows"):
        network.train_on_batch(X, Y, optimizer=fastnn.LBFGS())
    sigmoid = regressor(output="sigmoid")
    sigmoid.train_on_batch(X[0], 1.0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        sigmoid.train_on_batch(X[0], 1.5)
    classes = classifier()
    classes.train_on_batch(X[0], 2)
    for label in (-1, 3):
        with pytest.raises(ValueError, match=f"y holds the label {label}"):
            classes.train_on_batch(X[0], label)


# Numbers beyond the dtype


HUGE = {
    "the gradient": lambda: (1e18 * X, Y), "its square": lambda: (1e10 * X, 1e15 * X[:, 0]),
    "targets": lambda: (X, 1e20 * X[:, 0]), "inputs": lambda: (1e30 * X, Y), "both": lambda: (1e15 * X, 1e22 * X[:, 0]),
    "one row": lambda: (X, np.where(np.arange(50) == 40, 1e25, Y[:, 0])),
}


@pytest.mark.parametrize("source", ["arrays", "batches", "one row a batch", "mapped", "validated"])
@pytest.mark.parametrize("name", HUGE)
def test_where_no_learning_rate_is_small_enough_the_sentence_says_what_helps(name, source, tmp_path):
    """Also where some steps were possible before the row that is too large came."""
    X, y = HUGE[name]()
    X, y = X.astype("f"), y.astype("f")
    options = {"batch_size": 1 if source == "one row a batch" else 10}
    if source == "batches":
        X, y, options = [(X[i:i + 10], y[i:i + 10]) for i in range(0, 50, 10)], None, {}
    if source == "mapped":
        mapped = np.memmap(tmp_path / "X", "d", "w+", shape=X.shape)
        mapped[...], X = X, mapped
    if source == "validated":
        options["validation_data"] = X, y
    network = regressor()
    before = network.get_parameters()
    with pytest.raises(fastnn.DivergenceError, match="restored: scale the targets and inputs to a size") as caught:
        network.fit(X, y, epochs=9, optimizer=fastnn.Adam(1e-30), **options)
    assert caught.value.overflow and "smaller learning rate" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert same_bits(network.get_parameters(), before) and network.optimizer is None


def test_where_the_learning_rate_was_too_large_the_sentence_says_so():
    with pytest.raises(fastnn.DivergenceError, match="try a smaller learning rate$") as caught:
        regressor().fit(X, Y, epochs=9, optimizer=fastnn.SGD(1e30))
    assert not caught.value.overflow


def test_numbers_beyond_the_dtype_in_a_single_step_and_in_evaluate():
    network = regressor()
    y = (1e20 * X[:, 0]).astype("f")
    with pytest.raises(fastnn.DivergenceError, match="before this call: scale the targets and inputs"):
        network.train_on_batch(X, y)
    network.train_on_batch(X, Y)
    with pytest.raises(fastnn.DivergenceError, match="try a smaller learning rate, or scale the targets and inputs"):
        network.train_on_batch(X, y)
    assert network.evaluate(X, y) == np.inf == network.gradients(X, y).loss
    history = network.fit(X, Y, validation_data=(X, y))
    assert history.validation_loss == [np.inf] and np.isfinite(history.loss).all()
    with pytest.raises(fastnn.DivergenceError, match="scale the inputs and targets"):
        network.fit(X, y, optimizer=fastnn.LBFGS())


# What is refused


@pytest.mark.parametrize("arguments, words", [
    ({"dropout": 1.0}, "dropout is 1.0"), ({"dropout": -0.1}, "dropout is -0.1"), ({"dropout": [0.1] * 2}, "2 numbers"),
    ({"dropout": "some"}, "dropout"), ({"dropout": None}, "dropout is None, but must be a number, or one per hidden"),
    ({"l1": -1}, "l1 is -1"), ({"l2": np.nan}, "l2 is nan"),
    ({"label_smoothing": 0.1}, "goes with a classification loss"), ({"loss": "pinball"}, "loss is 'pinball'"),
    ({"label_smoothing": 1.0, "output": "sigmoid"}, "label_smoothing is 1.0")])
def test_networks_that_cannot_be(arguments, words):
    with pytest.raises((TypeError, ValueError), match=re.escape(words)):
        regressor(**arguments)


@pytest.mark.parametrize("optimizer, name, value, words", [
    (fastnn.SGD(momentum=0.9), "nesterov", "no", "nesterov is 'no', but must be True or False"),
    (fastnn.SGD(), "momentum", 1.5, "momentum is 1.5"), (fastnn.Adam(), "clip_norm", 0, "clip_norm is 0"),
    (fastnn.Rprop(), "etas", 3, "etas is 3, but must hold two numbers"),
    (fastnn.Rprop(), "step_sizes", ("a", "b"), "step_sizes is 'a', but must be a number")])
def test_a_constant_is_checked_when_it_is_set(optimizer, name, value, words):
    before = getattr(optimizer, name)
    with pytest.raises((TypeError, ValueError), match=re.escape(words)):
        setattr(optimizer, name, value)
    assert getattr(optimizer, name) == before


@pytest.mark.parametrize("make, words", [
    (lambda: fastnn.Rprop(schedules.CosineDecay(0.1, 5)), "Rprop finds the sizes of its steps itself"),
    (lambda: fastnn.Rprop(etas=(1.2, 0.5)), "etas is (1.2, 0.5)"),
    (lambda: fastnn.Rprop(step_sizes=(2, 1)), "step_sizes is (2.0, 1.0)"),
    (lambda: fastnn.SGD(nesterov=True), "nesterov is True, but momentum is 0"),
    (lambda: fastnn.EarlyStopping(monitor=3), "monitor is 3, but must be the name of a list"),
    (lambda: fastnn.Rprop(step_sizes=3), "two numbers"),
    (lambda: fastnn.SGD("fast"), "learning_rate is 'fast'"), (lambda: fastnn.SGD(0), "learning_rate is 0"),
    (lambda: fastnn.Adam(clip_norm=0), "clip_norm is 0"), (lambda: fastnn.Adam(clip_value=-1), "clip_value is -1"),
    (lambda: fastnn.RMSprop(alpha=1), "alpha is 1"), (lambda: fastnn.EarlyStopping(0), "patience is 0"),
    (lambda: fastnn.EarlyStopping(mode="best"), "mode is 'best'"), (lambda: fastnn.losses.quantile(0), "q is 0"),
    (lambda: fastnn.losses.focal(-1), "gamma is -1"), (lambda: fastnn.LBFGS(0), "history_size is 0"),
    (lambda: fastnn.CheckpointEvery("x", 2, seconds=3), "only one of them")])
def test_parts_that_cannot_be(make, words):
    with pytest.raises((TypeError, ValueError), match=re.escape(words)):
        make()


def test_accuracy_is_not_for_one_softmax():
    """Which is 1 for every row."""
    with pytest.raises(ValueError, match="which is for classes that exclude each other: softmax of several"):
        fastnn.Network([4, 1], output="softmax").fit(X, np.zeros(50, int), metrics=["accuracy"])


REFUSED = {
    "L-BFGS with batches": ({"X": batches(), "y": None, "optimizer": fastnn.LBFGS()}, "but X is an iterable of"),
    "a fraction of batches": ({"X": batches(), "y": None, "validation_data": 0.2}, "arrays in memory only"),
    "a fraction of other length": ({"y": Y[:3], "validation_data": 0.2}, "y has 3 rows, but X has 50"),
    "balanced batches": ({"X": batches(), "y": None, "class_weight": "balanced"}, "needs all labels at once"),
    "batches that are none": ({"X": [X, Y], "y": None}, "X yielded a ndarray, but each batch must be a tuple (X, y)"),
    "arrays in a tuple": ({"X": (X, Y), "y": None}, "X yielded a ndarray, but each batch must be a tuple (X, y) or "
                          "(X, y, sample_weight); pass arrays one by one: fit(X, y)"),
    "a batch of four": ({"X": [(X, Y, None, 1)], "y": None}, "X yielded a tuple of 4, but each batch must be a tuple "
                        "(X, y) or (X, y, sample_weight)"),
    "shuffle as text": ({"shuffle": "False"}, "shuffle is 'False', but must be True or False"),
    "masked values": ({"X": np.ma.masked_less(X, 0)}, "X is a masked array with masked values"),
    "L-BFGS with mini-batches": ({"optimizer": fastnn.LBFGS(), "batch_size": 10}, "LBFGS takes all 50 rows"),
    "class weights for regression": ({"class_weight": "balanced"}, "class_weight is 'balanced', but goes with"),
    "negative weight": ({"sample_weight": -np.ones(50)}, "sample_weight holds -1.0 in row 0"),
    "NaN weight": ({"sample_weight": np.full(50, np.nan)}, "sample_weight holds nan"),
    "no weight": ({"sample_weight": np.zeros(50)}, "sample_weight is zero for every row"),
    "too few weights": ({"sample_weight": np.ones(3)}, "sample_weight has shape (3,)"),
    "validation of other width": ({"validation_data": (X[:, :3], Y)}, "validation_data: X has 3 features"),
    "validation of other length": ({"validation_data": (X, Y[:3])}, "validation_data: y has 3 rows"),
    "validation without y": ({"validation_data": X}, "validation_data is a ndarray"),
    "all held out": ({"validation_data": 0.99}, "which leaves none"),
    "fraction 1": ({"validation_data": 1.0}, "is 1.0"),
    "fraction 0": ({"validation_data": 0.0}, "validation_data is 0.0"),
    "unknown metric": ({"metrics": ["acuracy"]}, "did you mean 'accuracy'"),
    "metric for classes": ({"metrics": ["accuracy"]}, "which is for classes"),
    "no stopping": ({"early_stopping": True}, "early_stopping is True"),
    "early stopping as a callback": ({"callbacks": [fastnn.EarlyStopping()]}, "pass it as early_stopping="),
    "no callback": ({"callbacks": [print]}, "callbacks[0] is"), "no callbacks": ({"callbacks": 3}, "callbacks is 3"),
    "negative time": ({"time_budget": -1}, "time_budget is -1"), "no y": ({"y": None}, "y is missing"),
    "no optimizer": ({"optimizer": "adam"}, "optimizer is 'adam'"),
    "batch size of an iterable": ({"X": batches(), "y": None, "batch_size": 3}, "batch_size and sample_weight go with"),
    "steps of arrays": ({"steps_per_epoch": 3}, "steps_per_epoch is 3, but goes with an iterable of batches"),
    "steps of L-BFGS": ({"steps_per_epoch": 3, "optimizer": fastnn.LBFGS()}, "an epoch of LBFGS is one iteration"),
    "no steps": ({"X": batches(), "y": None, "steps_per_epoch": 0}, "steps_per_epoch is 0"),
    "metrics of an iterable": ({"X": batches(), "y": None, "metrics": ["r2"]}, "metrics need validation_data"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_fit_refuses_changes_nothing(name):
    arguments, words = REFUSED[name]
    network = regressor()
    network.fit(X, Y, epochs=2)
    twin = copy.deepcopy(network)
    optimizer = network.optimizer
    with pytest.raises((TypeError, ValueError), match=re.escape(words)):
        network.fit(**{"X": X, "y": Y} | arguments)
    assert network.optimizer is optimizer and network.epochs_trained == 2
    assert network.fit(X, Y).loss == twin.fit(X, Y).loss
    assert same_bits(network.get_parameters(), twin.get_parameters())


def test_lbfgs_does_not_smooth_labels():
    network = fastnn.Network([4, 3], output="softmax", label_smoothing=0.1)
    with pytest.raises(ValueError, match="label_smoothing is 0.1, which LBFGS does not know"):
        network.fit(X, LABELS, optimizer=fastnn.LBFGS())


def test_probabilities_that_are_none():
    y = np.full((50, 3), 1 / 3)
    y[7] = 0.5, 0.5, 0.25
    with pytest.raises(ValueError, match=r"y holds probabilities that sum to 1\.25 in row 7, but each must sum to 1"):
        classifier().fit(X, y)


def test_class_weights_that_are_none():
    for class_weight, words in (({3: 1.0}, "names the class 3"), ({0: -1.0}, "class_weight[0] is -1.0"),
                                ("equal", "class_weight is 'equal'")):
        with pytest.raises((TypeError, ValueError), match=re.escape(words)):
            classifier().fit(X, LABELS, class_weight=class_weight)
    with pytest.raises(ValueError, match="Python function"):
        regressor(loss=mse).fit(X, Y, sample_weight=np.ones(50))


@pytest.mark.parametrize("module, use", [
    ("scipy", "fit(X, y, optimizer=fastnn.LBFGS())"), ("tqdm", "fit(X, y, progress=True)")])
def test_a_missing_extra_is_named(module, use):
    code = (f"import sys; sys.modules[{module!r}] = None; sys.modules['{module}.auto'] = None\n"
            f"sys.modules['{module}.optimize'] = None\n"
            f"import fastnn; X, y = [[1.0], [2.0]], [1.0, 2.0]; fastnn.Network([1, 1]).{use}")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert re.search(r"ImportError: .* needs \w+, which is not installed: pip install '\w+>=[\d.]+'",
                     result.stderr), result.stderr


def test_without_progress_nothing_is_printed(capfd):
    regressor().fit(X, Y, epochs=2, validation_data=0.2)
    assert capfd.readouterr() == ("", "")
