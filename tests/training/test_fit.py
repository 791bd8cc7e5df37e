"""What `fit` and `train_on_batch` do beside stepping: weights of rows and classes, and numbers beyond the dtype.

What is refused changes nothing.
"""

import copy
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
from helpers import same_bits
from small_networks import LABELS, X, Y, batches, classifier, mse, regressor

import fastnn
from fastnn import schedules

pytestmark = pytest.mark.any_isa


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


# Optimizers


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


REFUSED = {
    "L-BFGS with batches": ({"X": batches(), "y": None, "optimizer": fastnn.LBFGS()}, "but X is an iterable of"),
    "a fraction of batches": ({"X": batches(), "y": None, "validation_data": 0.2}, "be held out of arrays in memory"),
    "a fraction of other length": ({"y": Y[:3], "validation_data": 0.2}, "y has 3 rows, but X has 50"),
    "balanced batches": ({"X": batches(), "y": None, "class_weight": "balanced"}, "needs all labels at once"),
    "batches that are none": ({"X": [X, Y], "y": None}, "X yielded a ndarray, but each batch must be a tuple (X, y)"),
    "arrays in a tuple": ({"X": (X, Y), "y": None}, "X yielded a ndarray, but each batch must be a tuple (X, y) or "
                          "(X, y, sample_weight); pass arrays one by one: fit(X, y)"),
    "a batch of four": ({"X": [(X, Y, None, 1)], "y": None}, "X yielded a tuple of 4, but each batch must be a tuple "
                        "(X, y) or (X, y, sample_weight)"),
    "shuffle as text": ({"shuffle": "False"}, "shuffle is 'False', but must be True or False"),
    "progress as text": ({"progress": "False"}, "progress is 'False', but must be True or False"),
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
    "batch size of an iterable": ({"X": batches(), "y": None, "batch_size": 3}, "batch_size and sample_weight are for"),
    "steps of arrays": ({"steps_per_epoch": 3}, "steps_per_epoch is 3, but X is an array"),
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


def test_probabilities_that_are_none():
    y = np.full((50, 3), 1 / 3)
    y[7] = 0.5, 0.5, 0.25
    with pytest.raises(ValueError, match=r"y holds probabilities that sum to 1\.25 in row 7, but each must sum to 1"):
        classifier().fit(X, y)


def test_class_weights_that_are_none():
    for class_weight, words in (({3: 1.0}, "names the class 3"), ({0: -1.0}, "class_weight[0] is -1.0"),
                                ("equal", "class_weight is 'equal'"),
                                ([[1], [1, 2]], "class_weight is [[1], [1, 2]], but must be 'balanced'")):
        with pytest.raises((TypeError, ValueError), match=re.escape(words)):
            classifier().fit(X, LABELS, class_weight=class_weight)
    with pytest.raises(ValueError, match="Python function"):
        regressor(loss=mse).fit(X, Y, sample_weight=np.ones(50))


def test_a_missing_extra_is_named():
    code = ("import sys; sys.modules['tqdm'] = None; sys.modules['tqdm.auto'] = None\n"
            "import fastnn; fastnn.Network([1, 1]).fit([[1.0], [2.0]], [1.0, 2.0], progress=True)")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert re.search(r"ImportError: .* needs \w+, which is not installed: pip install '\w+>=[\d.]+'",
                     result.stderr), result.stderr
