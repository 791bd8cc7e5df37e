"""What a population answers and what its history tells: outputs, scores, an ensemble's spread, tables."""

import copy
import pickle

import numpy as np
import pytest
from helpers import LAYOUTS, same_bits
from twins import data, labels

import fastnn

N = 9
X, Y = data(50, 4)


def trained(sizes=(4, 6, 1), y=Y, **arguments):
    population = fastnn.Population(sizes, N, **arguments)
    population.fit(X, y, epochs=2, optimizer=fastnn.Adam(0.01))
    return population


# Outputs


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, 2, 31, 32, 33, 50])
@pytest.mark.parametrize("sizes", [(4, 6, 3), (4, 200, 60, 3)], ids=["lanes", "wide"])
def test_outputs_are_those_of_each_network_alone(sizes, rows, dtype):
    population = trained(sizes, np.tile(Y, 3), dtype=dtype)
    networks, x = list(population), X[:rows]
    outputs = population.predict(x)
    assert outputs.shape == (N, rows, 3) and outputs.dtype == dtype
    own = np.array([np.roll(x, i, axis=0) for i in range(N)])
    each = population.predict_each(own)
    for i, network in enumerate(networks):
        assert same_bits(outputs[i], network.predict(x)) and same_bits(each[i], network.predict(own[i]))
    one = population.predict(x[0])
    assert one.shape == (N, 3) and same_bits(one, outputs[:, 0])
    rows_of_members = population.predict_each(own[:, 0])
    assert rows_of_members.shape == (N, 3) and same_bits(rows_of_members, each[:, 0])


@pytest.mark.any_isa
@pytest.mark.parametrize("threads", [1, 2])
def test_outputs_do_not_depend_on_threads(threads):
    population = fastnn.Population([4, 60, 3], 40)
    x = data(500, 4)[0]
    before = fastnn.get_num_threads()
    try:
        fastnn.set_num_threads(threads)
        outputs, losses = population.predict(x), population.evaluate(x, np.zeros((500, 3)))
    finally:
        fastnn.set_num_threads(before)
    for i in (0, 17, 39):
        assert same_bits(outputs[i], population[i].predict(x))
        assert losses[i] == population[i].evaluate(x, np.zeros((500, 3)))


@pytest.mark.any_isa
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_inputs(layout):
    population = trained()
    assert same_bits(population.predict(LAYOUTS[layout](X)), population.predict(X))
    twin = trained()
    for each, x in ((population, LAYOUTS[layout](X)), (twin, X)):
        each.fit(x, Y)
    assert same_bits(population.parameters, twin.parameters)


@pytest.mark.any_isa
def test_inputs_are_not_modified():
    population, x, y = trained(), X.copy(), Y.copy()
    weights, rows = np.linspace(0.5, 1, 50), [np.arange(i, 50) for i in range(N)]
    for array in (x, y, weights, *rows):
        array.flags.writeable = False
    population.fit(x, y, sample_weight=weights, rows=rows)
    population.fit(np.array([x] * N), np.array([y] * N), shuffle="shared")
    assert population.predict_each(np.array([x] * N)).shape == (N, 50, 1)


@pytest.mark.any_isa
def test_the_mean_and_the_deviation_are_those_of_the_outputs():
    for dtype in ("float32", "float64"):
        population = trained(dtype=dtype)
        outputs = population.predict(X).astype(float)
        mean, deviation = population.mean_std(X)
        assert mean.shape == deviation.shape == (50, 1) and mean.dtype == deviation.dtype == dtype
        total = np.zeros((50, 1))
        for member in outputs:
            total += member
        assert same_bits(mean, (total / N).astype(dtype))
        np.testing.assert_allclose(deviation, outputs.std(axis=0), rtol=1e-6)
    assert (fastnn.Population([4, 6, 1], N, seeds=3).mean_std(X)[1] == 0).all()


@pytest.mark.any_isa
@pytest.mark.parametrize("output, outputs", [
    ("identity", 1), ("identity", 3), ("softmax", 3), ("sigmoid", 1), ("exp", 1)])
def test_scores_and_losses_are_those_of_each_network(output, outputs):
    y = labels(50) if output == "softmax" else np.abs(np.tile(Y, outputs)) if output == "exp" else np.tile(Y, outputs)
    y = labels(50, 2) if output == "sigmoid" else y
    population = trained((4, 6, outputs), y, output=output)
    weights = np.random.default_rng(3).uniform(0, 2, (N, 50))
    own_x, own_y = np.array([X[::-1]] * N), np.array([y[::-1]] * N)
    for x, targets in ((X, y), (X, np.array([y] * N)), (own_x, own_y)):
        for given in (None, weights[0], weights):
            losses = population.evaluate(x, targets, sample_weight=given)
            scores = population.score(x, targets, sample_weight=given)
            assert losses.shape == scores.shape == (N,) and losses.dtype == scores.dtype == np.float64
            for i, network in enumerate(population):
                mine = (x if x.ndim == 2 else x[i], targets if targets is y else targets[i])
                weight = given if given is None or given.ndim == 1 else given[i]
                assert losses[i] == network.evaluate(*mine, sample_weight=weight)
                assert scores[i] == network.score(*mine, sample_weight=weight)


# Parameters


@pytest.mark.any_isa
def test_parameters_are_the_memory_that_training_changes():
    population = fastnn.Population([4, 6, 3], N)
    block = population.parameters
    assert block.shape == (N, population.n_parameters) == (N, 4 * 6 + 6 + 6 * 3 + 3)
    network = population[2]
    parts = [part.ravel() for pair in zip(network.weights, network.biases, strict=True) for part in pair]
    assert same_bits(block[2], np.concatenate(parts))
    values = np.random.default_rng(1).normal(size=block.shape)
    population.parameters = values
    assert population.parameters is block or np.shares_memory(population.parameters, block)
    assert same_bits(block, values.astype("f"))
    block[2] = 0.5
    assert same_bits(population.predict(X)[2], population[2].predict(X))
    assert (population[2].get_parameters() == 0.5).all()
    population.fit(X, np.tile(Y, 3))
    assert np.shares_memory(population.parameters, block) and (block[2] != 0.5).any()
    network.set_parameters(np.zeros(population.n_parameters))
    assert (block[2] != 0).any(), "a member is a copy"


@pytest.mark.any_isa
def test_evolution_of_parameters_finds_a_line():
    """Evolution strategies: each round, other parameters around a mean, and the best ones' mean."""
    rng = np.random.default_rng(2)
    population = fastnn.Population([1, 1], 64, dtype="float64")
    x = np.linspace(-1, 1, 20)[:, None]
    mean = np.zeros(2)
    for step in 0.9 ** np.arange(60):
        population.parameters = mean + step * rng.normal(size=(64, 2))
        losses = population.evaluate(x, 2 * x + 1)
        mean = population.parameters[np.argsort(losses)[:8]].mean(axis=0)
    np.testing.assert_allclose(mean, [2, 1], atol=0.02)


# The history


def history_of_some():
    population = fastnn.Population([4, 6, 1], 4)
    return population.fit(X, Y, epochs=6, tol=0.3, validation_data=0.2, metrics=["mae"], optimizer=[
        fastnn.Adam(rate) for rate in (1e-4, 0.05, 1e-3, 0.2)])


@pytest.mark.any_isa
def test_a_history_has_a_row_for_each_epoch_and_a_column_for_each_member():
    history = history_of_some()
    assert {"tol", None} == set(history.stopped_by), "all ended alike: this proves little"
    rows = history.loss.shape[0]
    for name in ("loss", "validation_loss", "validation_mae", "learning_rate"):
        values = getattr(history, name)
        assert values.shape == (rows, 4) and values.dtype == np.float64
        for i in range(4):
            done = history.epochs[i]
            assert np.isfinite(values[:done, i]).all() and np.isnan(values[done:, i]).all()
            assert getattr(history[i], name) == values[:done, i].tolist()
    assert history.seconds.shape == (rows,) and (history.seconds > 0).all()
    assert len(history) == 4 and list(history.as_dict()) == [
        "loss", "validation_loss", "validation_mae", "learning_rate", "seconds"]
    last = {name: np.mean([getattr(history[i], name)[-1] for i in range(4)]) for name in ("loss", "validation_mae")}
    assert {name: history.last()[name] for name in last} == pytest.approx(last)


@pytest.mark.any_isa
def test_a_history_without_validation_is_empty_there():
    history = fastnn.Population([4, 6, 1], 4).fit(X, Y, epochs=2)
    assert history.validation_loss.shape == (0, 4) and "validation_loss" not in history.as_dict()
    with pytest.raises(AttributeError, match=r"validation_mae.*loss"):
        history.validation_mae  # noqa: B018
    with pytest.raises((IndexError, TypeError)):
        history[4]


@pytest.mark.any_isa
def test_a_history_reads_in_a_few_lines_and_as_a_table():
    history = history_of_some()
    text = repr(history)
    assert "4 networks" in text and len(text.splitlines()) < 12 and "loss" in text
    frame = history.to_frame()
    assert len(frame) == sum(history.epochs) or len(frame) == 4 * len(history.loss)
    assert {"loss", "validation_loss", "validation_mae", "learning_rate"} <= set(frame.columns)


@pytest.mark.any_isa
@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_a_history_can_be_copied(way):
    history = history_of_some()
    other = way(history)
    assert same_bits(other.loss, history.loss) and same_bits(other.validation_mae, history.validation_mae)
    assert other.stopped_by == history.stopped_by


@pytest.mark.any_isa
def test_a_metric_may_have_any_name_that_a_history_has_not():
    def epochs(y, outputs):
        return 0.25

    population = fastnn.Population([4, 6, 1], 4)
    try:
        history = population.fit(X, Y, metrics=[epochs])
    except ValueError as error:
        assert "epochs" in str(error)
        return
    assert (np.asarray(history.epochs) == 0.25).all()
