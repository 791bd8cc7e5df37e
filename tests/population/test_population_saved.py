"""A population goes on to the same bits after save and load, select, copies, and as networks of its own."""

import copy
import pickle

import numpy as np
import pytest
from helpers import same_bits
from twins import Twins, assert_same_network, data

import fastnn
from fastnn import schedules
from fastnn.storage.model_file import read_model, write_model

pytestmark = pytest.mark.any_isa
N = 5
X, Y = data(30, 4)
FIT = {"batch_size": 8, "validation_data": 0.3}
FIRST = fastnn.SGD(0.01)        # of an earlier fit: what an optimizer counts is its own
OPTIMIZERS = {
    "none": lambda: None,
    "SGD": lambda: fastnn.SGD(0.05), "momentum": lambda: fastnn.SGD(0.05, momentum=0.9),
    "Adam": lambda: fastnn.Adam(0.01),
    "each": lambda: [fastnn.AdamW(rate) for rate in np.geomspace(1e-4, 0.1, N)],
    "step decay": lambda: fastnn.Adam(schedules.StepDecay(0.05, 2)),
    "cosine of each": lambda: [fastnn.SGD(schedules.CosineDecay(rate, 11)) for rate in np.geomspace(1e-3, 0.1, N)],
    "plateau": lambda: fastnn.SGD(schedules.ReduceOnPlateau(0.1, patience=0, min_change=0.3)),
    "plateau of each": lambda: [fastnn.SGD(schedules.ReduceOnPlateau(rate, patience=0, min_change=0.3))
                                for rate in np.geomspace(1e-3, 0.1, N)],
}


def trained(name, **arguments):
    """Twins with a little of everything behind them: another optimizer, and early stopping that waits."""
    twins = Twins([4, 6, 5, 1], N, seeds=[3, 1, 4, 1, 5], dropout=[0, 0.2, 0, 0.1, 0.5],
                  l1=[0, 0.01, 0, 0, 0.1], l2=0.01, **arguments)
    if name != "none":
        twins.fit(X, Y, epochs=2, optimizer=FIRST, **FIT)
        twins.fit(X, Y, epochs=3, optimizer=OPTIMIZERS[name](), early_stopping=fastnn.EarlyStopping(9), **FIT)
    return twins


def saved(population, folder):
    population.save(folder / "model")
    return fastnn.Population.load(folder / "model")


WAYS = {
    "save": saved, "copy": lambda population, _: copy.copy(population),
    "deepcopy": lambda population, _: copy.deepcopy(population),
    "pickle": lambda population, _: pickle.loads(pickle.dumps(population)),
    "select": lambda population, _: population.select(np.arange(N)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("way", WAYS)
def test_a_copy_goes_on_to_the_same_bits_and_leaves_the_original(way, name, tmp_path):
    twins = trained(name, dtype="float32" if way in ("copy", "select") else "float64")
    other = WAYS[way](twins.population, tmp_path)
    for i, network in enumerate(twins.alone):
        assert_same_network(other[i], network, f"member {i} of the copy")
    if other.optimizer is not None:
        before = other.parameters.copy()
        twins.fit(X, Y, epochs=3, **FIT)
        assert same_bits(other.parameters, before), "training the original changes the copy"
        twins.population = other
        twins.histories = []
        other.fit(X, Y, epochs=3, **FIT)
        twins.check("after it went on")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_member_is_a_network_that_goes_on_by_itself(name):
    twins = trained(name)
    before = twins.population.parameters.copy()
    for i, network in enumerate(twins.alone):
        member = twins.population[i]
        for each in (member, network):
            each.fit(X, Y, epochs=2, optimizer=None, **FIT)
        assert_same_network(member, network, f"member {i}")
    assert same_bits(twins.population.parameters, before)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_selected_members_go_on_to_the_same_bits(name):
    twins, members = trained(name), [4, 0, 4]
    population = twins.population.select(members)
    assert population.n == 3 and population.seeds == (5, 3, 5)
    alone = [copy.deepcopy(twins.alone[member]) for member in members]
    before = twins.population.parameters.copy()
    history = population.fit(X, Y, epochs=3, **FIT)
    for i, network in enumerate(alone):
        assert network.fit(X, Y, epochs=3, **FIT).learning_rate == history[i].learning_rate
        assert_same_network(population[i], network, f"member {members[i]}")
    assert same_bits(twins.population.parameters, before)


def test_select_takes_masks_and_ranges():
    population = fastnn.Population([4, 6, 1], N)
    assert population.select(np.arange(N) % 2 == 0).seeds == (0, 2, 4)
    assert population.select(range(2, 4)).seeds == (2, 3)


def test_iteration_and_indices():
    population = fastnn.Population([4, 6, 1], N, seeds=[9, 8, 7, 6, 5])
    assert [member.seed for member in population] == [9, 8, 7, 6, 5] and len(population) == N
    assert population[-1].seed == population[np.int64(4)].seed == 5


def test_early_stopping_of_a_loaded_population_waits_on(tmp_path):
    options = {"epochs": 2, "batch_size": 8, "validation_data": 0.3}
    population = fastnn.Population([4, 6, 1], N)
    population.fit(X, Y, optimizer=fastnn.Adam(0.2), early_stopping=fastnn.EarlyStopping(3, min_change=0.3), **options)
    other = saved(population, tmp_path)
    histories = [each.fit(X, Y, **(options | {"epochs": 9}), early_stopping=each.early_stopping)
                 for each in (population, other)]
    assert histories[0].stopped_by == histories[1].stopped_by and "early_stopping" in histories[0].stopped_by
    assert same_bits(population.parameters, other.parameters) and same_bits(*(each.loss for each in histories))


def mse(outputs, targets):
    return ((outputs - targets) ** 2).mean(), 2 * (outputs - targets) / outputs.size


def test_a_python_loss_is_passed_to_load(tmp_path):
    population = fastnn.Population([4, 6, 1], N, loss=mse)
    population.fit(X, Y)
    population.save(tmp_path / "model")
    with pytest.raises(TypeError, match="loss is None.*Python loss function|loss=…"):
        fastnn.Population.load(tmp_path / "model")
    other = fastnn.Population.load(tmp_path / "model", loss=mse)
    for each in (population, other):
        each.fit(X, Y)
    assert same_bits(population.parameters, other.parameters)


def test_a_python_function_as_schedule_is_not_saved(tmp_path):
    population = fastnn.Population([4, 6, 1], N)
    population.fit(X, Y)
    population.save(tmp_path / "model")
    before = (tmp_path / "model").read_bytes()
    population.fit(X, Y, optimizer=fastnn.SGD(lambda epoch: 0.1))
    with pytest.raises(TypeError, match="learning_rate is .*Python.*function"):
        population.save(tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == before


def test_a_checkpoint_is_the_population(tmp_path):
    population = fastnn.Population([4, 6, 1], N)
    checkpoint = fastnn.CheckpointEvery(tmp_path / "model", 2)
    population.fit(X, Y, epochs=3, optimizer=fastnn.Adam(0.01), callbacks=[checkpoint])
    assert (fastnn.Population.load(tmp_path / "model").epochs == 3).all()
    other = fastnn.Population.load(tmp_path / "model")
    for each in (population, other):
        each.fit(X, Y)
    assert same_bits(population.parameters, other.parameters)


@pytest.mark.parametrize("arguments", [
    {"n": 2500, "optimizer": True}, {"n": 33_000}, {"n": 30_000, "seeds": True}], ids=str)
def test_large_populations_are_saved(arguments, tmp_path):
    """Seeds and optimizers of thousands."""
    n = arguments["n"]
    seeds = 2**63 + np.arange(n, dtype=np.uint64) if "seeds" in arguments else None
    population = fastnn.Population([1, 1], n, seeds=None if seeds is None else [int(seed) for seed in seeds])
    if "optimizer" in arguments:
        population.fit(X[:3, :1], Y[:3], optimizer=[fastnn.Adam(rate) for rate in np.geomspace(1e-4, 0.1, n)])
    other = saved(population, tmp_path)
    assert other.seeds == population.seeds and same_bits(other.parameters, population.parameters)


# Files that are no populations


def test_other_files_are_told_apart(tmp_path):
    population = fastnn.Population([4, 6, 1], N)
    population.save(tmp_path / "population")
    population[0].save(tmp_path / "network")
    with pytest.raises(fastnn.FormatError, match=r"holds a population.*fastnn\.Population\.load"):
        fastnn.load(tmp_path / "population")
    with pytest.raises(fastnn.FormatError, match=r"holds no population.*fastnn\.load"):
        fastnn.Population.load(tmp_path / "network")
    with pytest.raises(FileNotFoundError):
        fastnn.Population.load(tmp_path / "nothing")


def test_changed_bytes_and_other_lengths_are_refused(tmp_path):
    path = tmp_path / "model"
    population = fastnn.Population([1, 1], 2)
    population.fit([[1.0]], [1.0], optimizer=fastnn.SGD(0.1, momentum=0.5))
    population.save(path)
    good = path.read_bytes()
    fastnn.Population.load(path)
    for place in range(0, len(good), 5):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1 << place % 8]) + good[place + 1:])
        with pytest.raises(fastnn.FormatError):
            fastnn.Population.load(path)
    for length in range(0, len(good), 97):
        path.write_bytes(good[:length])
        with pytest.raises(fastnn.FormatError):
            fastnn.Population.load(path)


def changed(description, tensors):
    """Files whose checksum is right, and which hold something else than a population."""
    plain = description["population"]
    optimizer, stopping = plain["optimizers"][0], plain["early_stopping"]

    def with_part(**parts):
        return {"population": plain | parts}, tensors

    def with_tensor(name, array):
        return description, tensors | {name: array}

    for value in ([1], None, 3, "a", {}, {"network": []}, {"network": None}, {"network": {}}):
        yield f"population {value}", ({"population": value}, tensors)
    yield "another part", with_part(code="import os")
    for name in plain:
        for value in (3, "a", [], [1], {}, True):
            yield f"{name} {value}", with_part(**{name: value})
    for name, value in {"layer_sizes": [2**40, 2**40], "activation": "foo", "loss": {"name": "foo", "parameter": 0.0},
                        "dtype": "int8", "label_smoothing": 2.0, "initializer": 3, "seed": 3,
                        "output": "softmax"}.items():
        yield f"{name} {value}", with_part(network=plain["network"] | {name: value})
    arguments = optimizer["arguments"]
    for value in ([optimizer] * 2, [optimizer | {"name": "LBFGS"}], [optimizer | {"name": "foo"}], [arguments],
                  [optimizer | {"arguments": {}}], [optimizer | {"arguments": arguments | {"learning_rate": -1.0}}],
                  [optimizer | {"arguments": arguments | {"learning_rate": {"name": "open"}}}]):
        yield f"optimizers {value}", with_part(optimizers=value)
    for part, value in {"patience": -1, "best_of": 3, "mode": "foo", "code": 1}.items():
        yield f"early_stopping {part} {value}", with_part(early_stopping=stopping | {part: value})
    for name, array in tensors.items():
        yield f"no {name}", (description, {key: value for key, value in tensors.items() if key != name})
        yield f"{name} of another dtype", with_tensor(name, array.astype("i4"))
        yield f"{name} of another shape", with_tensor(name, array[:-1])
        yield f"{name} of more dimensions", with_tensor(name, array[None])
    for name in ("counts", "dropout", "l1", "l2", "early_stopping.best_epoch", "early_stopping.waited"):
        yield f"{name} negative", with_tensor(name, -tensors[name] - 1)
    for name in ("dropout", "l1", "l2"):
        yield f"NaN in {name}", with_tensor(name, tensors[name] * np.nan)
    yield "huge counts", with_tensor("counts", tensors["counts"] + 2**62)
    yield "too many blocks of state", with_tensor("optimizer.2", tensors["optimizer.0"])
    yield "a block of another name", with_tensor("optimizer.x", tensors["optimizer.0"])
    yield "another name", with_tensor("other", tensors["optimizer.0"])
    yield "a constant that there is not", with_tensor("constant.foo", tensors["l1"])
    yield "a rate below 0", with_tensor("constant.learning_rate", tensors["l1"] - 1)


def test_hostile_files_are_refused_in_a_sentence(tmp_path):
    """Each is a whole file with a right checksum."""
    path, wrong = tmp_path / "model", []
    population = fastnn.Population([2, 3, 1], 3)
    population.fit(X[:, :2], Y, optimizer=fastnn.Adam(0.01), early_stopping=fastnn.EarlyStopping(3))
    population.save(path)
    description, tensors = read_model(path)
    for name, parts in changed(description, tensors):
        write_model(path, *parts)
        try:
            fastnn.Population.load(path)
            wrong.append(f"{name}: taken")
        except fastnn.FormatError as error:
            if len(str(error)) > 1500:
                wrong.append(f"{name}: a sentence of {len(str(error))} characters")
        except Exception as error:      # whatever comes is a finding
            wrong.append(f"{name}: {type(error).__name__}: {error}")
    assert not wrong, "\n".join(wrong)
