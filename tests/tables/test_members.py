"""Members of a table's model: who learns from which rows, what is answered out of fold, and when training ends."""

from dataclasses import replace

import numpy as np
import pytest

import fastnn
from fastnn.tables import members
from fastnn.tables.members import Folds, Settings, in_time, train

pytestmark = pytest.mark.any_isa
SETTINGS = Settings((8,), "relu", epochs=6, patience=6, batch_size=16, learning_rate=0.01, weight_decay=0.01,
                    memory=0.5, smoothing=0.0)


def problem(n=100, classes=3, members=4, seed=0):
    """(X, y, folds), the former two in the order of the folds."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(n, 5)).astype(np.float32)
    y = (X[:, 0] + X[:, 1] > np.array([[-0.5], [0.7]])).sum(axis=0).astype(np.intp)[:n] % classes
    folds = Folds.of(n, members, seed, y)
    return X[folds.order], y[folds.order], folds


@pytest.mark.parametrize("n, members", [(20, 8), (100, 4), (101, 7), (57, 1), (16, 8)])
def test_each_row_is_in_one_fold_and_each_member_learns_from_all_others(n, members):
    labels = np.arange(n) % 3
    folds = Folds.of(n, members, 5, labels)
    assert sorted(folds.order) == list(range(n))
    sizes = np.diff(folds.starts)
    assert sizes.max() - sizes.min() <= 1
    for member in range(members):
        rows = folds.order[folds.own(member)], folds.order[folds.others(member)]
        assert sorted(np.concatenate(rows)) == list(range(n))
    assert folds.answered == (n if members > 1 else sizes[0])


def test_folds_have_their_share_of_each_class():
    labels = np.array([0] * 80 + [1] * 16 + [2] * 4)
    folds = Folds.of(100, 4, 0, labels)
    counts = np.array([np.bincount(labels[folds.order[folds.own(member)]], minlength=3) for member in range(4)])
    assert (np.ptp(counts, axis=0) <= 1).all() and (counts[:, 2] == 1).all()


def test_folds_depend_on_the_seed_alone():
    first, again, other = (Folds.of(50, 5, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.order, again.order)
    assert (first.order != other.order).any()


@pytest.mark.parametrize("members", [1, 4])
def test_answers_are_out_of_fold(members):
    X, y, folds = problem(members=members)
    trained = train(X, y, folds, SETTINGS, 3, 0)
    assert len(trained.networks) == members and trained.outputs.shape == (folds.answered, 3)
    for member, network in enumerate(trained.networks):
        own = folds.own(member)
        np.testing.assert_array_equal(trained.outputs[own], network.predict(X[own]))
        losses = trained.losses[member]
        assert len(losses) == 6 and trained.best_epochs[member] == np.argmin(losses) + 1
        assert network.evaluate(X[own], y[own]) == pytest.approx(min(losses), rel=1e-6)
        assert network.optimizer is None


@pytest.mark.parametrize("memory", [0.0, 0.75])
def test_what_is_kept_is_the_running_mean_of_the_parameters(memory, monkeypatch):
    X, y, folds = problem(members=1)
    seen = []
    on_epoch_end = members.RunningMean.on_epoch_end

    def watched(self, fit):
        seen.append(fit.network.parameters[0].astype(np.float64))
        on_epoch_end(self, fit)

    monkeypatch.setattr(members.RunningMean, "on_epoch_end", watched)
    trained = train(X, y, folds, replace(SETTINGS, memory=memory), 3, 0)
    epochs = trained.best_epochs[0]
    shares = memory ** np.arange(epochs)[::-1]
    mean = sum(share * each for share, each in zip(shares, seen, strict=False)) / shares.sum()
    np.testing.assert_allclose(trained.networks[0].get_parameters(), mean, rtol=1e-6)


def log_loss(probabilities, y):
    return -np.mean(np.log(probabilities[np.arange(len(y)), y]))


def test_labels_are_smoothed_while_members_train_and_their_probabilities_are_sharpened_afterwards():
    X, y, folds = problem(n=400, members=4)
    hard, smooth = (replace(SETTINGS, smoothing=share, epochs=60, patience=60) for share in (0.0, 0.2))
    trained = train(X, y, folds, smooth, 3, 0)
    assert log_loss(trained.outputs, y) < 0.97 * min(np.mean([min(losses) for losses in trained.losses]), 10)
    for member, network in enumerate(trained.networks):
        own = folds.own(member)
        np.testing.assert_array_equal(trained.outputs[own], network.predict(X[own]))
        assert network.label_smoothing == 0
    largest = [train(X, y, folds, settings, 3, 0).networks[0].weights[-1].max() for settings in (hard, smooth)]
    assert largest[0] != largest[1]


def test_sharpening_multiplies_all_logits_by_the_factor_that_is_best_out_of_fold():
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(5_000, 3))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = np.array([rng.choice(3, p=row) for row in true])
    for factor in (1.0, 2.0, 0.5):
        shown = np.exp(logits / factor)
        shown /= shown.sum(axis=1, keepdims=True)
        assert members.sharpness(shown, y) == pytest.approx(factor, rel=0.1)
    always_right = 0.85 * np.eye(3)[y] + 0.05
    assert members.sharpness(always_right, y) == 2          # the largest one, as no row says how much is too much
    assert members.sharpness(np.eye(3)[y], y) <= 2          # nor is a logarithm infinite


def test_a_member_does_not_learn_from_its_own_fold():
    X, y, folds = problem()
    settings = Settings((8,), "relu", 1, 1, 16, 0.01, 0.01, 0.5, 0.0)      # with one epoch, its fold cannot even choose
    before = train(X, y, folds, settings, 3, 0).networks
    changed, own = y.copy(), folds.own(2)
    changed[own] = (changed[own] + 1) % 3
    after = train(X, changed, folds, settings, 3, 0).networks
    same = [bool((old.get_parameters() == new.get_parameters()).all()) for old, new in zip(before, after, strict=True)]
    assert same == [False, False, True, False]


def test_the_bits_do_not_depend_on_how_many_threads_there_are():
    X, y, folds = problem()
    results = []
    for threads in (1, 3):
        fastnn.set_num_threads(threads)
        try:
            results.append(train(X, y, folds, SETTINGS, 3, 7))
        finally:
            fastnn.set_num_threads(None)
    np.testing.assert_array_equal(results[0].outputs, results[1].outputs)
    for one, other in zip(*(result.networks for result in results), strict=True):
        np.testing.assert_array_equal(one.get_parameters(), other.get_parameters())


def test_members_and_seeds_begin_with_other_weights():
    X, y, folds = problem()
    networks = [*train(X, y, folds, SETTINGS, 3, 0).networks, *train(X, y, folds, SETTINGS, 3, 1).networks]
    assert len({network.weights[0].tobytes() for network in networks}) == 8


def test_numbers_are_learned_by_one_output():
    X, y, folds = problem()
    trained = train(X, y[:, None].astype(np.float32), folds, SETTINGS, 1, 0)
    assert trained.outputs.shape == (100, 1) and trained.networks[0].activations[-1] == "identity"


class Listener:
    """Writes down what it is told."""

    def __init__(self, error=None):
        self.epochs, self.ends, self.error = [], 0, error

    def on_epoch_end(self, epoch, loss):
        self.epochs.append(epoch)
        if self.error is not None:
            raise self.error

    def on_fit_end(self, left):
        self.ends += 1
        self.left = left


def test_each_epoch_of_each_member_is_told():
    X, y, folds = problem()
    listener = Listener()
    train(X, y, folds, SETTINGS, 3, 0, listener)
    assert sorted(listener.epochs) == sorted([*range(1, 7)] * 4) and listener.ends == 4


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupt_stops_all_members(threads):
    X, y, folds = problem()
    listener = Listener(KeyboardInterrupt())
    fastnn.set_num_threads(threads)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(X, y, folds, Settings((8,), "relu", 10_000, 10_000, 16, 0.01, 0.01, 0.5, 0.0), 3, 0, listener)
    finally:
        fastnn.set_num_threads(None)
    assert len(listener.epochs) <= 4       # each of those that had begun, once


def test_a_member_stops_when_nothing_gets_better():
    X, y, folds = problem()
    settings = Settings((8,), "relu", 500, 3, 16, 0.05, 0.0, 0.5, 0.0)
    trained = train(X, y, folds, settings, 3, 0)
    for losses, best in zip(trained.losses, trained.best_epochs, strict=True):
        assert len(losses) == best + 3 < 500


def test_a_time_budget_lowers_the_number_of_epochs():
    X, y, folds = problem()
    many = Settings((8,), "relu", 10_000_000, 9, 16, 0.01, 0.01, 0.5, 0.0)
    short, long = (in_time(X, y, folds, many, 3, budget) for budget in (1e-6, 1e6))
    assert short.epochs == 1 and 1 < long.epochs <= many.epochs
    assert in_time(X, y, folds, SETTINGS, 3, 1e6) == SETTINGS
