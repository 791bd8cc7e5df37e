"""Each member learns from rows of its own, validates on its own and stops by itself, as its network alone does."""

import copy

import numpy as np
import pytest
from helpers import same_bits
from twins import Twins, data, labels

import fastnn

N, ROWS = 5, 40
X, Y = data(ROWS, 4, 1)
PLAIN = {"activation": "tanh"}
FIT = {"epochs": 2, "batch_size": 8}


def own(array, n=N):
    """Other rows for each member."""
    rng = np.random.default_rng(21)
    return np.array([array[rng.permutation(len(array))] for _ in range(n)])


# X and y, shared or of each member's own


@pytest.mark.parametrize("shape", ["(rows, 1)", "(rows,)"])
@pytest.mark.parametrize("y_own", [False, True], ids=["y shared", "y own"])
@pytest.mark.parametrize("X_own", [False, True], ids=["X shared", "X own"])
def test_rows_shared_or_own(X_own, y_own, shape):
    y = Y if shape == "(rows, 1)" else Y[:, 0]
    twins = Twins([4, 6, 1], N, **PLAIN)
    for _ in range(2):
        twins.fit(own(X) if X_own else X, own(y) if y_own else y, y_axes=y.ndim, optimizer=fastnn.Adam(0.01), **FIT)


@pytest.mark.parametrize("kind", ["labels", "probabilities"])
@pytest.mark.parametrize("y_own", [False, True], ids=["y shared", "y own"])
@pytest.mark.parametrize("X_own", [False, True], ids=["X shared", "X own"])
def test_classes_shared_or_own(X_own, y_own, kind):
    y = labels(ROWS) if kind == "labels" else np.eye(3)[labels(ROWS)] * 0.7 + 0.1
    twins = Twins([4, 6, 3], N, output="softmax")
    twins.fit(own(X) if X_own else X, own(y) if y_own else y, y_axes=y.ndim, metrics=["accuracy"],
              validation_data=0.25, optimizer=fastnn.Adam(0.01), **FIT)


def test_one_sigmoid_learns_from_labels_of_each_member():
    y = own(labels(ROWS, 2))
    twins = Twins([4, 6, 1], N, output="sigmoid")
    twins.fit(X, y, y_axes=1, metrics=["accuracy"], optimizer=fastnn.Adam(0.01), **FIT)


@pytest.mark.any_isa
@pytest.mark.parametrize("n, outputs", [(1, 1), (4, 1), (1, 4), (4, 4), (4, 3), (3, 4)])
def test_as_many_members_as_rows_or_outputs(n, outputs):
    """An X or y whose shape says two things is shared."""
    x, y = data(4, 4, outputs)
    twins = Twins([4, 3, outputs], n)
    twins.fit(x, y, y_axes=2)
    twins.fit(own(x, n), own(y, n), y_axes=2)


# Which rows


def lists(lengths, seed=31):
    rng = np.random.default_rng(seed)
    return [rng.permutation(ROWS)[:length] for length in lengths]


LENGTHS = [30, 7, 30, 1, 40]
LISTS = lists(LENGTHS)
REST = [np.setdiff1d(np.arange(ROWS), rows) for rows in LISTS]
WAYS = {
    "arrays": LISTS, "a tuple of lists": tuple(rows.tolist() for rows in LISTS),
    "of small integers": [rows.astype(np.uint8) for rows in LISTS],
}


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("way", WAYS)
def test_numbers_of_rows_of_different_lengths(way, dropout):
    twins = Twins([4, 6, 1], N, dropout=dropout)
    twins.fit(X, Y, rows=WAYS[way], learned=LISTS, metrics=["mae"], optimizer=fastnn.Adam(0.01), **FIT)
    twins.fit(X, Y, optimizer=fastnn.Adam(0.01), **FIT)


@pytest.mark.any_isa
def test_rows_that_come_twice_count_twice():
    rows = [np.random.default_rng(member).integers(0, ROWS, ROWS) for member in range(N)]
    assert all(len(np.unique(each)) < ROWS for each in rows)
    Twins([4, 6, 1], N).fit(X, Y, rows=rows, learned=rows, **FIT)


@pytest.mark.parametrize("X_own", [False, True], ids=["X shared", "X own"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_of_own_arrays(X_own, dtype):
    rows = lists([20, 30, 33, 20, 20])
    rest = [np.setdiff1d(np.arange(ROWS), each) for each in rows]
    weights = np.random.default_rng(4).uniform(0, 2, (N, ROWS))
    weights[:, :5] = 0
    Twins([4, 6, 1], N, dtype=dtype).fit(
        own(X) if X_own else X, own(Y), y_axes=2, rows=rows, learned=rows, left_out=rest, validation_data="rest",
        sample_weight=weights, metrics=["mae", "r2"], optimizer=fastnn.Adam(0.01), **FIT)


@pytest.mark.any_isa
def test_masks():
    masks = np.array([np.isin(np.arange(ROWS), rows) for rows in LISTS])
    learned = [np.flatnonzero(mask) for mask in masks]
    for way in (masks, list(masks), masks.tolist()):
        Twins([4, 6, 1], N).fit(X, Y, rows=way, learned=learned, **FIT)


@pytest.mark.any_isa
def test_pairs_as_splitters_give_them():
    """(learned, left out), where rows may be in neither, and both may be equally long."""
    for learned, left_out in ((30, 10), (20, 20), (5, 3)):
        orders = lists([ROWS] * N, seed=learned)
        pairs = [(order[:learned], order[learned:learned + left_out]) for order in orders]
        twins = Twins([4, 6, 1], N)
        twins.fit(X, Y, rows=pairs, learned=[train for train, _ in pairs], left_out=[test for _, test in pairs],
                  validation_data="rest", metrics=["mae"], optimizer=fastnn.Adam(0.01), **FIT)


@pytest.mark.any_isa
def test_the_rest_are_the_rows_that_a_member_leaves_out():
    rows, rest = [*LISTS[:4], LISTS[0]], [*REST[:4], REST[0]]
    twins = Twins([4, 6, 1], N)
    twins.fit(X, Y, rows=rows, learned=rows, left_out=rest, validation_data="rest", metrics=["mse"], **FIT)


@pytest.mark.any_isa
def test_the_fold_of_each_row():
    """Numbers of folds need not begin at 0, nor follow each other; after the last fold comes the first."""
    fold_of = np.array([3, 7, 8])[np.random.default_rng(3).integers(0, 3, ROWS)]
    folds = [3, 7, 8, 3, 7]
    learned = [np.flatnonzero(fold_of != fold) for fold in folds]
    left_out = [np.flatnonzero(fold_of == fold) for fold in folds]
    for way in (fold_of, fold_of.tolist()):
        Twins([4, 6, 1], N).fit(X, Y, rows=way, learned=learned, left_out=left_out, validation_data="rest", **FIT)


@pytest.mark.any_isa
def test_a_number_of_folds_deals_out_all_rows():
    """As members see it: each row is left out by one fold, folds are equally large, and the same ones in each fit."""
    ids = np.arange(ROWS, dtype=float)[:, None]
    seen = []

    def left_out(y, outputs):
        seen.append(np.sort(y[:, 0]).astype(int))
        return 0.0

    twins = Twins([4, 6, 1], N)
    dealt = fastnn.Population([4, 6, 1], N, seeds=[9, 8, 7, 6, 5])
    dealt.fit(X, ids, rows=3, validation_data="rest", metrics=[left_out], optimizer=fastnn.SGD(1e-9))
    folds, seen = seen, []
    assert len(folds) == N and same_bits(np.sort(np.concatenate(folds[:3])), np.arange(ROWS))
    assert sorted(map(len, folds[:3])) == [13, 13, 14]
    assert same_bits(folds[3], folds[0]) and same_bits(folds[4], folds[1])
    assert not same_bits(folds[0], np.arange(len(folds[0])) * 3), "not at random"
    twins.fit(X, Y, rows=3, learned=[np.setdiff1d(np.arange(ROWS), fold) for fold in folds], left_out=folds,
              validation_data="rest", **FIT)


@pytest.mark.any_isa
def test_leaving_one_row_out():
    x, y = data(6, 4)
    everything = np.arange(6)
    twins = Twins([4, 6, 1], 6)
    twins.fit(x, y, rows=everything, learned=[np.delete(everything, i) for i in everything],
              left_out=[[i] for i in everything], validation_data="rest", **FIT)


# Weights


@pytest.mark.parametrize("each", [False, True], ids=["shared", "own"])
@pytest.mark.parametrize("sizes", [[4, 6, 1], [4, 200, 60, 1]], ids=["lanes", "wide"])
def test_sample_weight(sizes, each):
    weights = np.random.default_rng(8).uniform(0, 2, (N, ROWS))
    weights[:, :9] = 0
    weights = weights if each else weights[0]
    twins = Twins(sizes, N, **PLAIN)
    twins.fit(X, Y, sample_weight=weights, metrics=["mae"], optimizer=fastnn.SGD(0.05), **FIT)
    found = twins.population.evaluate(X, Y, sample_weight=weights)
    scores = twins.population.score(X, Y, sample_weight=weights)
    for i, network in enumerate(twins.alone):
        mine = weights[i] if each else weights
        assert found[i] == network.evaluate(X, Y, sample_weight=mine)
        assert scores[i] == network.score(X, Y, sample_weight=mine)


def test_a_batch_whose_weights_are_zero_for_some_members():
    weights = np.ones((N, ROWS))
    weights[1, :8] = weights[3, 8:32] = 0
    Twins([4, 6, 1], N).fit(X, Y, sample_weight=weights, shuffle=False, optimizer=fastnn.SGD(0.1, momentum=0.9), **FIT)


def test_rows_as_weights():
    """They count as sample_weight does, and multiply it; the rest are the rows of weight 0."""
    weights = np.random.default_rng(8).uniform(0, 2, (N, ROWS))
    weights[np.random.default_rng(9).uniform(size=(N, ROWS)) < 0.4] = 0
    rest = [np.flatnonzero(row == 0) for row in weights]
    counts = np.random.default_rng(10).uniform(0.5, 1, ROWS)
    for sample_weight in (None, counts):
        twins = Twins([4, 6, 1], N)
        population, optimizer = twins.population, fastnn.Adam(0.01)
        history = population.fit(X, Y, rows=weights, sample_weight=sample_weight, validation_data="rest",
                                 optimizer=optimizer, **FIT)
        extra = np.ones(ROWS) if sample_weight is None else sample_weight
        for i, network in enumerate(twins.alone):
            validation = (X[rest[i]], Y[rest[i]]) if sample_weight is None else (X[rest[i]], Y[rest[i]], extra[rest[i]])
            alone = network.fit(X, Y, sample_weight=weights[i] * extra, validation_data=validation,
                                optimizer=copy.copy(optimizer), **FIT)
            assert history[i].loss == alone.loss and history[i].validation_loss == alone.validation_loss
        twins.check("with rows as weights")


# Order


@pytest.mark.parametrize("shuffle", [False, "own"])
def test_order_of_rows(shuffle):
    twins = Twins([4, 6, 1], N)
    twins.fit(X, Y, shuffle=shuffle, **FIT)
    twins.fit(own(X), own(Y), y_axes=2, shuffle=shuffle, **FIT)
    twins.fit(X, Y, rows=LISTS, learned=LISTS, shuffle=shuffle, **FIT)


@pytest.mark.parametrize("X_own", [False, True], ids=["X shared", "X own"])
def test_shared_batches(X_own):
    """All take the same random batches in each epoch: equal members stay equal, and see all rows."""
    seen = []

    def loss(outputs, targets):
        seen.append(tuple(targets[:, 0]))
        return ((outputs - targets) ** 2).mean(), 2 * (outputs - targets) / outputs.size

    ids = np.arange(ROWS, dtype=float)
    rows = (np.array([X] * 3), np.array([ids] * 3)) if X_own else (X, ids)
    fastnn.Population([4, 6, 1], 3, loss=loss, seeds=[1, 2, 3]).fit(*rows, shuffle="shared", **FIT)
    steps = ROWS // 8
    batches = {batch: seen.count(batch) for batch in seen}
    assert len(batches) == 2 * steps and set(batches.values()) == {3}
    first = [batch for batch in dict.fromkeys(seen)][:steps]
    assert sorted(sum(first, ())) == list(range(ROWS)) and sum(first, ()) != tuple(range(ROWS))
    for sizes in ([4, 6, 1], [4, 300, 80, 1]):
        population = fastnn.Population(sizes, 3, seeds=[5, 6, 5])
        loss_of = population.fit(*rows, shuffle="shared", optimizer=fastnn.Adam(0.01), **FIT).loss
        assert same_bits(population.parameters[0], population.parameters[2]) and same_bits(loss_of[:, 0], loss_of[:, 2])
        assert not same_bits(population.parameters[0], population.parameters[1])


@pytest.mark.any_isa
def test_shared_batches_are_those_of_one_shuffled_network():
    """In each step what the lanes share changes nothing: order is all that "shared" says."""
    seen = []

    def watching(outputs, targets):
        seen.append(targets[:, 0].astype(int))
        return ((outputs - targets) ** 2).mean(), 2 * (outputs - targets) / outputs.size

    ids = np.arange(ROWS, dtype=float)
    fastnn.Population([4, 6, 1], N, loss=watching).fit(X, ids, shuffle="shared", batch_size=8)
    order = np.concatenate(list(dict.fromkeys(map(tuple, seen))))
    population = fastnn.Population([4, 6, 1], N)
    history = population.fit(X, Y, shuffle="shared", batch_size=8, optimizer=fastnn.SGD(0.05))
    for i in range(N):
        alone = fastnn.Network([4, 6, 1], seed=i)
        loss = alone.fit(X[order], Y[order], shuffle=False, batch_size=8, optimizer=fastnn.SGD(0.05)).loss
        assert same_bits(population.parameters[i], alone.get_parameters()) and history[i].loss == loss


# Validation, early stopping, tol


def validations():
    x, y = data(12, 4, seed=5)
    weights = np.random.default_rng(6).uniform(0, 1, 12)
    return {"a fraction": 0.3, "rows": (x, y), "weighted rows": (x, y, weights), "own rows": (own(x), own(y)),
            "own weights": (x, y, np.array([np.roll(weights, i) for i in range(N)])), "own y": (x, own(y))}


VALIDATIONS = validations()


@pytest.mark.parametrize("sizes", [[4, 6, 1], [4, 200, 60, 1]], ids=["lanes", "wide"])
@pytest.mark.parametrize("name", VALIDATIONS)
def test_validation(name, sizes):
    twins = Twins(sizes, N, **PLAIN)
    for _ in range(2):
        twins.fit(X, Y, validation_data=VALIDATIONS[name], metrics=["mae", "r2"], optimizer=fastnn.Adam(0.01), **FIT)


@pytest.mark.any_isa
def test_a_fraction_of_the_rows_of_each_member():
    twins = Twins([4, 6, 1], N)
    rows = lists([30, 7, 30, 2, 40])
    twins.fit(X, Y, rows=rows, learned=rows, validation_data=0.25, sample_weight=np.linspace(0.1, 1, ROWS), **FIT)


@pytest.mark.any_isa
@pytest.mark.parametrize("stopping", [
    fastnn.EarlyStopping(1, min_change=0.02), fastnn.EarlyStopping(1, min_change=0.02, restore_best=False),
    fastnn.EarlyStopping(1, min_change=0.02, monitor="validation_mae"),
    fastnn.EarlyStopping(2, min_change=0.05, monitor="loss"), fastnn.EarlyStopping(50)], ids=repr)
@pytest.mark.parametrize("sizes", [[4, 6, 1], [4, 200, 60, 1]], ids=["lanes", "wide"])
def test_each_member_stops_by_itself(sizes, stopping):
    twins = Twins(sizes, N, **PLAIN)
    options = {"epochs": 12, "batch_size": 8, "validation_data": 0.3, "metrics": ["mae"]}
    history = twins.fit(X, Y, optimizer=[fastnn.Adam(rate) for rate in (0.5, 0.001, 0.02, 0.1, 1e-6)],
                        early_stopping=stopping, **options)
    if stopping.patience < 50:
        assert len(set(history.epochs.tolist())) > 1, "all stopped at the same epoch: this proves little"
    assert (history.epochs == [len(alone.loss) for alone in twins.histories]).all()


@pytest.mark.any_isa
def test_early_stopping_goes_on_with_the_next_fit():
    options = {"epochs": 3, "batch_size": 8, "validation_data": 0.3}
    twins, stopping = Twins([4, 6, 1], N), fastnn.EarlyStopping(2, min_change=0.01)
    mine = [copy.deepcopy(stopping) for _ in range(N)]
    for fit in range(3):
        optimizer = [fastnn.Adam(rate) for rate in (0.5, 0.001, 0.02, 0.1, 1e-6)] if fit == 0 else None
        history = twins.population.fit(X, Y, early_stopping=stopping, optimizer=optimizer, **options)
        for i, network in enumerate(twins.alone):
            alone = network.fit(X, Y, early_stopping=mine[i], optimizer=optimizer and copy.copy(optimizer[i]),
                                **options)
            assert history[i].loss == alone.loss and history.stopped_by[i] == alone.stopped_by
        twins.check(f"after fit {fit}")


@pytest.mark.any_isa
def test_tol_stops_each_member_by_itself():
    twins = Twins([4, 6, 1], 17, **PLAIN)
    history = twins.fit(X, Y, epochs=30, batch_size=8, tol=0.1, optimizer=[
        fastnn.Adam(rate) for rate in np.geomspace(1e-4, 0.1, 17)])
    assert len(set(history.epochs.tolist())) > 3 and {"tol", None} == set(history.stopped_by)


@pytest.mark.any_isa
def test_what_stops_first():
    """An epoch in which tol and early stopping agree."""
    for stopping in (fastnn.EarlyStopping(1, min_change=100.0), fastnn.EarlyStopping(2, min_change=100.0)):
        Twins([4, 6, 1], N).fit(X, Y, epochs=5, tol=1e9, early_stopping=stopping)
