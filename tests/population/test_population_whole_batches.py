"""L-BFGS and Levenberg-Marquardt in a population: every member is its network alone, and errors leave it as it was."""

import copy

import numpy as np
import pytest
from helpers import same_bits
from twins import Twins, data, everything_of

import fastnn

pytestmark = pytest.mark.any_isa
N = 3
X, Y = data(30, 4)
A, B = data(40, 3)
FOLDS = [(np.arange(i, 40), np.arange(i)) for i in (4, 9, 15)]
OPTIMIZERS = {"LBFGS": fastnn.LBFGS, "LevenbergMarquardt": fastnn.LevenbergMarquardt}


def population(loss="half_mse"):
    return fastnn.Population([4, 6, 1], N, activation="tanh", loss=loss, dtype="float64")


def built(dtype):
    return fastnn.Population([3, 6, 1], 3, activation="tanh", dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_metrics_and_rows_left_out_are_those_of_networks_alone(kind, dtype):
    together, optimizer = built(dtype), kind()
    options = {"metrics": ["mae"], "epochs": 6}
    first = together.fit(A, B, rows=FOLDS, validation_data="rest", optimizer=optimizer, **options)
    second = together.fit(A, B, rows=FOLDS, validation_data="rest", **options)
    assert together.optimizer is optimizer
    for member, (learned, left) in enumerate(FOLDS):
        network = fastnn.Network([3, 6, 1], activation="tanh", dtype=dtype, seed=member)
        alone = [network.fit(A[learned], B[learned], validation_data=(A[left], B[left]), optimizer=own, **options)
                 for own in (kind(), None)]
        assert same_bits(together.parameters[member], network.get_parameters())
        for recorded, one in zip((first, second), alone, strict=True):
            assert (recorded[member].loss, recorded[member].validation_mae) == (one.loss, one.validation_mae)
        one = together[member]
        assert type(one.optimizer) is kind and one.epochs_trained == network.epochs_trained
        assert same_bits(one.fit(A, B, epochs=2).loss, network.fit(A, B, epochs=2).loss)


def test_members_that_stop_early_have_shorter_histories():
    history = built("float64").fit(A, B, epochs=300, optimizer=fastnn.LBFGS(tolerance_change=1e-3))
    assert set(history.stopped_by) == {"converged"} and history.loss.shape == (history.epochs.max(), 3)
    for member in range(3):
        done = history.epochs[member]
        assert np.isfinite(history.loss[:done, member]).all() and np.isnan(history.loss[done:, member]).all()
    assert history.learning_rate.shape == (0, 3)


@pytest.mark.parametrize("adam_first", [False, True], ids=["at once", "after Adam"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_members_are_their_networks_alone(name, adam_first):
    twins = Twins([4, 6, 1], N, activation="tanh", loss="half_mse", dtype="float64", l2=[0, 0.01, 0.1])
    rows = [np.arange(i, 30) for i in range(N)]
    if adam_first:
        twins.fit(X, Y, optimizer=fastnn.Adam(0.01))
    mine, alone = OPTIMIZERS[name](), [OPTIMIZERS[name]() for _ in range(N)]
    for _ in range(2):      # the second fit goes on
        history = twins.population.fit(X, Y, epochs=3, optimizer=mine, rows=rows, validation_data=(X, Y))
        for i, network in enumerate(twins.alone):
            told = network.fit(X[rows[i]], Y[rows[i]], epochs=3, optimizer=alone[i], validation_data=(X, Y))
            assert history[i].loss == told.loss and history[i].validation_loss == told.validation_loss
            assert same_bits(twins.population.parameters[i], network.get_parameters())
            assert same_bits(twins.population.predict(X)[i], network.predict(X))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_copies_and_files_after_another_optimizer(name, tmp_path):
    """What Adam remembered is in the way of none."""
    trained = population()
    trained.fit(X, Y, optimizer=fastnn.Adam(0.01))
    trained.fit(X, Y, epochs=2, optimizer=OPTIMIZERS[name]())
    trained.save(tmp_path / "model")
    for other in (fastnn.Population.load(tmp_path / "model"), copy.deepcopy(trained), trained.select(range(N))):
        assert same_bits(other.parameters, trained.parameters) and other.epochs.tolist() == [3] * N


@pytest.mark.parametrize("options, error", [
    ({"callbacks": [fastnn.Callback()]}, "callbacks"), ({"batch_size": 8}, "batch_size"),
    ({"early_stopping": fastnn.EarlyStopping(3, monitor="foo")}, "foo")], ids=["callbacks", "batch size", "monitor"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_does_not_go_with_them_leaves_everything_as_it_was(name, options, error):
    trained, twin = population(), population()
    for each in (trained, twin):
        each.fit(X, Y, optimizer=fastnn.Adam(0.01))
    before = everything_of(trained)
    with pytest.raises(ValueError, match=error):
        trained.fit(X, Y, optimizer=OPTIMIZERS[name](), **options)
    assert everything_of(trained) == before
    for each in (trained, twin):
        each.fit(X, Y)
    assert same_bits(trained.parameters, twin.parameters)


@pytest.mark.parametrize("kind", ["a loss that is not squared", "a loss beyond all numbers"])
def test_an_error_of_all_members_leaves_everything_as_it_was(kind):
    trained = population("mae" if kind == "a loss that is not squared" else "half_mse")
    trained.fit(X, Y, optimizer=fastnn.Adam(0.01))
    before = everything_of(trained)
    y, optimizer = (Y, fastnn.LevenbergMarquardt()) if "squared" in kind else (Y * 1e300, fastnn.LBFGS())
    with pytest.raises(ValueError):
        trained.fit(X, y, epochs=3, optimizer=optimizer)
    assert everything_of(trained) == before


def test_an_error_in_the_middle_leaves_each_member_of_one_piece():
    """A member's parameters and what its optimizer remembers are of the same iteration; then it goes on from there."""
    calls, fails = 0, 12

    def loss(outputs, targets):
        nonlocal calls
        calls += 1
        if calls == fails:
            raise ZeroDivisionError("no loss")
        return ((outputs - targets) ** 2).mean(), 2 * (outputs - targets) / outputs.size

    trained, optimizer = population(loss), fastnn.LBFGS()
    with pytest.raises(ZeroDivisionError):
        trained.fit(X, Y, epochs=20, optimizer=optimizer)
    for i in range(N):
        member, done = trained[i], int(trained.epochs[i])
        twin = fastnn.Network([4, 6, 1], activation="tanh", loss=loss, dtype="float64", seed=i)
        if done:
            twin.fit(X, Y, epochs=done, optimizer=fastnn.LBFGS())
        assert member.epochs_trained == done
        assert same_bits(member.get_parameters(), twin.get_parameters()), f"member {i} is not as after {done}"
        assert done == 0 or member.optimizer.epochs == done
