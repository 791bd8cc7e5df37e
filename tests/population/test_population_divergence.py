"""Members whose loss stops being finite, beside others that go on: each is what its network alone is after its fit.

That network's DivergenceError says to which epoch it went back; a member goes back to the same one.
"""

import copy

import numpy as np
import pytest
from helpers import same_bits
from twins import Twins, assert_same_network, data, everything_of, warned

import fastnn
from fastnn import schedules

pytestmark = pytest.mark.any_isa
X, Y = data(40, 4, dtype="float32")
FIT = {"batch_size": 8}


@pytest.mark.parametrize("sizes", [[4, 6, 1], [4, 200, 60, 1]], ids=["lanes", "wide"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_some_members_diverge_and_the_others_go_on(momentum, sizes):
    """Every other member's bits, history and state are those of its network alone; which one diverged has those that
    its network has after the DivergenceError."""
    rates = [0.01, 1e30, 0.02, 2.0, 0.001, 1e20, 0.05]
    n = len(rates)
    twins = Twins(sizes, n)
    population = twins.population
    population.fit(X, Y, epochs=2, optimizer=fastnn.SGD(1e-3, momentum=momentum), **FIT)
    for network in twins.alone:
        network.fit(X, Y, epochs=2, optimizer=fastnn.SGD(1e-3, momentum=momentum), **FIT)
    optimizers = [fastnn.SGD(rate, momentum=momentum) for rate in rates]
    history, seen = warned(lambda: population.fit(X, Y, epochs=30, optimizer=optimizers, validation_data=0.2, **FIT))
    diverged = []
    for i, network in enumerate(twins.alone):
        try:
            alone = network.fit(X, Y, epochs=30, optimizer=copy.copy(optimizers[i]), validation_data=0.2, **FIT)
            assert_same_network(population[i], network, f"member {i}")
            assert history[i].loss == alone.loss and history[i].validation_loss == alone.validation_loss
            assert history.stopped_by[i] is None and history.epochs[i] == 30
        except fastnn.DivergenceError as error:
            diverged.append(i)
            assert same_bits(population.parameters[i], network.get_parameters()), f"member {i}"
            assert population.epochs[i] == network.epochs_trained == error.restored
            assert history.stopped_by[i] == history[i].stopped_by == "diverged"
            assert history.epochs[i] == error.restored - 2 == len(history[i].loss)
    assert {1, 5} <= set(diverged) and not {0, 2, 4} & set(diverged)
    assert len(seen) == 1 and f"{len(diverged)} of 7 members" in str(seen[0].message) and "1, " in str(seen[0].message)
    assert seen[0].filename == __file__, "the warning points elsewhere"
    assert np.isfinite(population.predict(X)).all()


def growing(rate):
    """A schedule by which a network learns for some epochs, and then explodes."""
    return lambda epoch: rate if epoch < 4 else 0.6


@pytest.mark.parametrize("stopping", [False, True])
def test_good_epochs_before_an_explosion_are_kept(stopping):
    """Also what schedules and early stopping remember of them. Losses are finite for many epochs, in which member 1 has
    good ones; so each member's last good epoch is another."""
    twins = Twins([4, 6, 1], 3, dtype="float64")
    options = {"epochs": 200, "validation_data": 0.2, **FIT}
    optimizers = [fastnn.SGD(growing(0.01), momentum=0.5), fastnn.SGD(lambda epoch: 0.01, momentum=0.5),
                  fastnn.SGD(growing(0.02), momentum=0.5)]
    watching = fastnn.EarlyStopping(300) if stopping else None
    history, _ = warned(lambda: twins.population.fit(X, Y, optimizer=optimizers, early_stopping=watching, **options))
    assert np.isfinite(history.loss[4:6]).all(), "they diverged at once: this proves little"
    for i in (0, 2):
        with pytest.raises(fastnn.DivergenceError) as caught:
            twins.alone[i].fit(X, Y, optimizer=copy.copy(optimizers[i]), early_stopping=copy.copy(watching), **options)
        assert caught.value.restored >= 3, "nothing was kept: this proves little"
        assert history.epochs[i] == caught.value.restored
        assert_same_network(twins.population[i], twins.alone[i], f"member {i}")


def test_divergence_brings_back_what_schedules_and_early_stopping_remember():
    twins = Twins([4, 6, 1], 3, dtype="float64")
    plateau = schedules.ReduceOnPlateau(0.01, patience=0, min_change=0.2, factor=0.5)
    options = {"epochs": 40, "early_stopping": fastnn.EarlyStopping(30), "validation_data": 0.2, **FIT}
    bad = Y.astype(float).copy()
    optimizers = [fastnn.SGD(schedules.WarmUp(copy.deepcopy(plateau), 3)) for _ in range(3)]
    optimizers[1] = fastnn.SGD(schedules.OneCycle(1e3, 60))
    warned(lambda: twins.population.fit(X, bad, optimizer=copy.deepcopy(optimizers), **options))
    for i, network in enumerate(twins.alone):
        mine = options | {"early_stopping": fastnn.EarlyStopping(30)}
        if i == 1:
            with pytest.raises(fastnn.DivergenceError) as caught:
                network.fit(X, bad, optimizer=copy.deepcopy(optimizers[i]), **mine)
            if caught.value.restored == 0:
                continue            # then the network has no optimizer; the population has one for all
        else:
            network.fit(X, bad, optimizer=copy.deepcopy(optimizers[i]), **mine)
        assert_same_network(twins.population[i], network, f"member {i}")


@pytest.mark.parametrize("sizes", [[4, 6, 1], [4, 200, 60, 1]], ids=["lanes", "wide"])
def test_where_all_diverge_everything_is_as_it_was(sizes):
    population = fastnn.Population(sizes, 5)
    population.fit(X, Y, epochs=2, optimizer=fastnn.Adam(0.01), early_stopping=fastnn.EarlyStopping(5), **FIT)
    before, losses = everything_of(population), population.evaluate(X, Y)
    for new in (fastnn.SGD(1e30), [fastnn.SGD(1e30, momentum=0.5) for _ in range(5)]):
        with pytest.raises(fastnn.DivergenceError, match="learning rate"):
            population.fit(X, Y, epochs=9, optimizer=new, early_stopping=fastnn.EarlyStopping(3), **FIT)
        assert everything_of(population) == before
    assert same_bits(population.evaluate(X, Y), losses)


def test_a_diverged_member_learns_again_with_another_rate():
    population, twin = fastnn.Population([4, 6, 1], 2), fastnn.Network([4, 6, 1], seed=1)
    warned(lambda: population.fit(X, Y, epochs=5, optimizer=[fastnn.SGD(0.01), fastnn.SGD(1e30)], **FIT))
    history = population.fit(X, Y, epochs=3, optimizer=fastnn.SGD(0.02), **FIT)
    assert history[1].loss == twin.fit(X, Y, epochs=3, optimizer=fastnn.SGD(0.02), **FIT).loss
    assert same_bits(population.parameters[1], twin.get_parameters()) and population.epochs.tolist() == [8, 3]
    assert population.epochs_trained == 8


def test_targets_beyond_the_dtype_are_divergence_of_that_member_alone():
    y = np.array([Y] * 3)
    y[1] *= 1e25
    population = fastnn.Population([4, 6, 1], 3)
    before = population.parameters.copy()
    history, _ = warned(lambda: population.fit(X, y, epochs=2, optimizer=fastnn.SGD(1e-3), **FIT))
    assert history.stopped_by == [None, "diverged", None] and same_bits(population.parameters[1], before[1])
    for i in (0, 2):
        twin = fastnn.Network([4, 6, 1], seed=i)
        assert history[i].loss == twin.fit(X, Y, epochs=2, optimizer=fastnn.SGD(1e-3), **FIT).loss


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_parameters_that_are_not_finite_are_refused(value):
    population = fastnn.Population([4, 6, 1], 3)
    population.parameters[2, 4] = value
    before = everything_of(population)
    with pytest.raises(ValueError, match=r"parameters of member 2 hold NaN or infinity.*finite"):
        population.fit(X, Y)
    assert everything_of(population) == before
    assert np.isfinite(population.predict(X)[:2]).all()
