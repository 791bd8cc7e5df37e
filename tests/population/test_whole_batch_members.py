"""Members of a population that take all rows at once, one after the other: L-BFGS and Levenberg-Marquardt."""

import copy

import numpy as np
import pytest
from helpers import same_bits
from twins import data

import fastnn

pytestmark = pytest.mark.any_isa
OPTIMIZERS = [fastnn.LBFGS, fastnn.LevenbergMarquardt]
X, Y = data(40, 3)
FOLDS = [(np.arange(i, 40), np.arange(i)) for i in (4, 9, 15)]


def built(seeds=(0, 1, 2), dtype="float64"):
    return fastnn.Population([3, 6, 1], len(seeds), activation="tanh", dtype=dtype, seeds=seeds)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_each_member_is_its_network_alone_also_in_a_second_fit(kind, dtype):
    population, optimizer = built(dtype=dtype), kind()
    options = {"metrics": ["mae"], "epochs": 6}
    first = population.fit(X, Y, rows=FOLDS, validation_data="rest", optimizer=optimizer, **options)
    second = population.fit(X, Y, rows=FOLDS, validation_data="rest", **options)
    assert population.optimizer is optimizer
    for member, (learned, left) in enumerate(FOLDS):
        network = fastnn.Network([3, 6, 1], activation="tanh", dtype=dtype, seed=member)
        alone = [network.fit(X[learned], Y[learned], validation_data=(X[left], Y[left]), optimizer=own, **options)
                 for own in (kind(), None)]
        assert same_bits(population.parameters[member], network.get_parameters())
        for together, one in zip((first, second), alone, strict=True):
            assert (together[member].loss, together[member].validation_mae) == (one.loss, one.validation_mae)
        one = population[member]
        assert type(one.optimizer) is kind and one.epochs_trained == network.epochs_trained
        assert same_bits(one.fit(X, Y, epochs=2).loss, network.fit(X, Y, epochs=2).loss)


def test_members_that_stop_early_have_shorter_histories():
    population = built()
    history = population.fit(X, Y, epochs=300, optimizer=fastnn.LBFGS(tolerance_change=1e-3))
    assert set(history.stopped_by) == {"converged"} and history.loss.shape == (history.epochs.max(), 3)
    for member in range(3):
        done = history.epochs[member]
        assert np.isfinite(history.loss[:done, member]).all() and np.isnan(history.loss[done:, member]).all()
    assert history.learning_rate.shape == (0, 3)


def test_steps_before_and_after_go_on_from_the_same_parameters():
    population = built()
    population.fit(X, Y, epochs=2, optimizer=fastnn.Adam(0.01))
    population.fit(X, Y, epochs=2, optimizer=fastnn.LBFGS())
    population.parameters[1] *= 0.5
    other = copy.deepcopy(population)
    population.fit(X, Y, epochs=2, optimizer=fastnn.SGD(0.01))
    other.fit(X, Y, epochs=2, optimizer=fastnn.SGD(0.01))
    assert same_bits(population.parameters, other.parameters) and (population.epochs == 6).all()


def test_a_file_has_the_parameters_and_no_optimizer(tmp_path):
    population = built()
    population.fit(X, Y, epochs=3, optimizer=fastnn.LBFGS())
    population.save(tmp_path / "model")
    loaded = fastnn.Population.load(tmp_path / "model")
    assert same_bits(loaded.parameters, population.parameters) and loaded.optimizer is None
    assert (loaded.epochs == 3).all()


@pytest.mark.parametrize("options, words", [
    ({"callbacks": [fastnn.Callback()]}, "leave out callbacks"), ({"batch_size": 8}, "batch_size is 8"),
], ids=["callbacks", "batch size"])
def test_what_does_not_go_with_them_is_refused_and_changes_nothing(options, words):
    population = built()
    population.fit(X, Y, optimizer=fastnn.Adam(0.01))
    before = population.parameters.copy(), population.optimizer
    with pytest.raises(ValueError, match=words):
        population.fit(X, Y, optimizer=fastnn.LBFGS(), **options)
    assert same_bits(population.parameters, before[0]) and population.optimizer is before[1]
