"""Validation rows, metrics and the History of a fit: what is computed after each epoch, and how rows weigh in it."""

import copy

import numpy as np
import pytest
from helpers import same_bits
from small_networks import LABELS, X, Y, classifier, regressor, scripted

import fastnn
from fastnn import schedules

pytestmark = pytest.mark.any_isa


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
        fastnn.training.metrics.measured("mae", fastnn.training.metrics.mae, np.zeros(3), np.zeros((2, 2)))


@pytest.mark.parametrize("weights", [None, np.array([1.0, 2.0, 0.5])])
@pytest.mark.parametrize("constant", [0.1, 1e9 + 0.1, -1e-300, 0.0])
def test_r2_of_a_constant_is_0_or_1(constant, weights):
    """Its mean may be rounded to another number: what is constant is seen from the numbers themselves."""
    y = np.full((3, 1), constant)
    missed = y + np.array([[0], [1e-12 * max(1, abs(constant))], [0]])
    assert fastnn.training.metrics.r2(y, missed, weights) == 0 and fastnn.training.metrics.r2(y, y, weights) == 1
    more = np.array([[1], [2], [4]])
    assert fastnn.training.metrics.r2(np.hstack([y, more]), np.hstack([missed, more]), weights) == 0.5


def test_r2_of_rows_that_count_alone_and_of_any_size():
    from sklearn.metrics import r2_score
    y, outputs = np.array([[1.0], [1.0], [5.0], [2.0]]), np.array([[1.0], [2.0], [3.0], [2.5]])
    assert fastnn.training.metrics.r2(y, outputs, np.array([1.0, 1, 0, 0])) == 0
    for unit in (1e-200, 1e-3, 1e200):      # whose squares vanish or overflow
        assert fastnn.training.metrics.r2(y * unit, outputs * unit) == pytest.approx(r2_score(y, outputs), rel=1e-12)


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


def test_metrics_need_names_of_their_own():
    for names in (["loss"], ["seconds"], ["same", "same"]):
        metrics = []
        for name in names:
            metrics.append(scripted([1.0]))
            metrics[-1].__name__ = name
        with pytest.raises(ValueError, match=f"called '{names[0]}'"):
            regressor().fit(X, Y, metrics=metrics)


def test_a_metric_whose_name_begins_with_an_underscore():
    def _error(y, outputs):
        return float(np.abs(y - outputs).max())

    stopping = fastnn.EarlyStopping(monitor="_error", mode="min")
    history = regressor().fit(X, Y, epochs=2, metrics=[_error], early_stopping=stopping)
    assert history._error == history.as_dict()["_error"] and stopping.best == min(history._error)
    assert not hasattr(history, "_other") and copy.copy(history)._error == history._error


def test_a_metric_that_raises_counts_the_epoch_everywhere():
    network = regressor()
    with pytest.raises(StopIteration):
        network.fit(X, Y, epochs=3, metrics=[scripted([1.0])], optimizer=fastnn.SGD(lambda epoch: 0.1 / (1 + epoch)))
    assert network.epochs_trained == network.optimizer.epochs == 2
    assert network.fit(X, Y).learning_rate == [pytest.approx(0.1 / 3)]


def test_accuracy_is_not_for_one_softmax():
    """Which is 1 for every row."""
    with pytest.raises(ValueError, match="which is for classes that exclude each other: softmax of several"):
        fastnn.Network([4, 1], output="softmax").fit(X, np.zeros(50, int), metrics=["accuracy"])
