"""Dropout, penalties, smoothing and clipping: what one training step does is what the formula says.

A step of plain SGD with learning rate 1 is the gradient, so steps are compared with gradients made in
NumPy; PyTorch's figures are in test_pytorch.py.
"""

import numpy as np
import pytest
from helpers import regression_data, same_bits

import fastnn
from fastnn import reference

DTYPES = ["float32", "float64"]


def step(network, X, y, **optimizer):
    """The gradient that one step with all rows follows, as a list w0, b0, w1, b1, …"""
    before = [array.copy() for pair in zip(network.weights, network.biases, strict=True) for array in pair]
    network.fit(X, y, batch_size=len(X), shuffle=False, optimizer=network.optimizer or fastnn.SGD(1.0, **optimizer))
    after = [array for pair in zip(network.weights, network.biases, strict=True) for array in pair]
    return [old - new for old, new in zip(before, after, strict=True)]


def dropped_out(width, dropout, rows=400, steps=1, dtype="float64", seed=0):
    """Which outputs of one layer each of some steps left out: (steps, rows, width) of booleans.

    The hidden units are 1, and the loss is a sum of outputs, so the gradient of the second layer's weights is
    the sum of what the units passed on. Here each row is a step's batch of its own column: row i has only
    output i, so column i of the gradient is row i.
    """
    network = fastnn.Network([1, width, rows], activation="identity", dtype=dtype, dropout=dropout, seed=seed,
                             loss=lambda outputs, targets: (0.0, np.eye(rows, dtype=dtype)))
    network.weights[0][...], network.biases[0][...] = 0, 1
    passed = []
    for _ in range(steps):
        network.weights[1][...] = 0
        passed.append(step(network, np.zeros((rows, 1)), np.zeros((rows, rows)))[2].T)
        network.weights[0][...], network.biases[0][...] = 0, 1
    passed = np.array(passed)
    kept = passed != 0
    np.testing.assert_allclose(passed[kept], 1 / (1 - dropout), rtol=1e-6)
    return ~kept


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dropout", [0.0, 0.1, 0.5, 0.9])
def test_dropout_leaves_out_its_share_at_random(dropout, dtype):
    dropped = dropped_out(67, dropout, steps=3, dtype=dtype)
    count, deviation = dropped.size, np.sqrt(dropout * (1 - dropout) / dropped.size)
    assert abs(dropped.mean() - dropout) <= 4 * deviation, (dropped.mean(), count)
    if dropout:
        for axes in ((0, 1), (0, 2)):       # no column and no row is favoured
            shares = dropped.mean(axis=axes)
            spread = np.sqrt(dropout * (1 - dropout) * len(shares) / count)
            assert np.abs(shares - dropout).max() < 5 * spread
        flat = dropped.reshape(len(dropped), -1).astype(float) - dropout
        noise = dropout * (1 - dropout) / np.sqrt(flat.shape[1])
        assert abs((flat[0] * flat[1]).mean()) < 4 * noise          # steps are unrelated
        assert abs((flat[:, 1:] * flat[:, :-1]).mean()) < 4 * noise     # neighbours too


def test_dropout_is_a_function_of_seed_step_and_place():
    first = dropped_out(20, 0.3, rows=50, steps=2)
    assert (dropped_out(20, 0.3, rows=50, steps=2) == first).all()
    assert (first[0] != first[1]).any() and (dropped_out(20, 0.3, rows=50, seed=1)[0] != first[0]).any()


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "gelu", "elu"])
def test_a_step_with_dropout_follows_the_gradient_of_the_thinned_network(activation):
    X, y = regression_data(9, 4, 2, seed=61)

    def build(parameters=None):     # anew each time, as a step's number decides what it leaves out
        network = fastnn.Network([4, 6, 5, 2], activation=activation, dtype="float64", dropout=[0.4, 0.25], seed=62)
        for biases in network.biases:
            biases[...] = 0.1       # not 0, where a row without inputs would be at ReLU's kink
        if parameters is not None:
            network.set_parameters(parameters)
        return network

    def loss(parameters):
        return build(parameters).fit(X, y, batch_size=9, shuffle=False, optimizer=fastnn.SGD(1.0)).loss[0]

    start = build().get_parameters()
    numeric = np.array([(loss(start + probe) - loss(start - probe)) / 2e-5 for probe in 1e-5 * np.eye(len(start))])
    got = np.concatenate([part.ravel() for part in step(build(), X, y)])
    np.testing.assert_allclose(got, numeric, rtol=1e-5, atol=1e-8)


def test_what_dropout_passes_on_is_the_formula():
    """With weights of 1 a step's loss is a sum of what was passed on: that of the reference, for the mask that was
    drawn."""
    outputs = np.linspace(1, 2, 67)
    network = fastnn.Network([1, 67, 67], activation="identity", dtype="float64", dropout=0.25, seed=3,
                             loss=lambda outputs, targets: (0.0, np.ones((1, 67))))
    network.weights[0][...], network.biases[0][...], network.weights[1][...] = 0, outputs, 0
    passed = step(network, np.zeros((1, 1)), np.zeros((1, 67)))[2][:, 0]
    kept = passed != 0
    assert 0 < kept.sum() < 67
    np.testing.assert_allclose(passed, reference.drop_out(outputs, kept, 0.25), rtol=1e-12)


def test_lbfgs_follows_the_loss_with_its_penalties():
    """Where it has converged, the gradient of the loss and that of the penalties are opposite."""
    X, y = regression_data(40, 3, 1, seed=66)
    network = fastnn.Network([3, 1], dtype="float64", l2=0.3)
    network.fit(X, y, epochs=200, optimizer=fastnn.LBFGS(tolerance_gradient=1e-10, tolerance_change=0))
    slope = reference.penalty(network.weights[0], 0, 0.3)[1]
    np.testing.assert_allclose(network.gradients(X, y).weights[0], -slope, atol=1e-8)
    assert np.abs(slope).max() > 1e-3


def test_dropout_penalties_and_smoothing_belong_to_training_alone():
    X, y = regression_data(20, 4, 2, seed=63)
    plain = fastnn.Network([4, 8, 2], seed=64)
    network = fastnn.Network([4, 8, 2], seed=64, dropout=0.5, l1=0.1, l2=0.1)
    assert same_bits(network.predict(X), plain.predict(X))
    assert network.evaluate(X, y) == plain.evaluate(X, y)
    assert network.gradients(X, y).loss == plain.gradients(X, y).loss
    penalised = fastnn.Network([4, 8, 2], seed=64, l1=0.1, l2=0.1)
    assert penalised.fit(X, y, shuffle=False).loss == plain.fit(X, y, shuffle=False).loss
    labels = np.arange(20) % 2
    smoothed, sharp = (fastnn.Network([4, 8, 2], output="softmax", seed=64, label_smoothing=s) for s in (0.5, 0.0))
    assert smoothed.evaluate(X, labels) == sharp.evaluate(X, labels)
    assert smoothed.gradients(X, labels).loss == sharp.gradients(X, labels).loss


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("l1, l2", [(0.01, 0.0), (0.0, 0.02), (0.01, 0.02)])
def test_penalties_add_their_gradient_to_weights_and_not_to_biases(l1, l2, dtype):
    X, y = regression_data(12, 5, 3, dtype, seed=65)
    network = fastnn.Network([5, 17, 3], activation="tanh", dtype=dtype, l1=l1, l2=l2)
    for biases in network.biases:
        biases[...] = 0.3
    network.weights[0][0, 0] = 0            # where |w| has no slope
    gradients = network.gradients(X, y)
    expected = [part for w, dw, db in zip(network.weights, gradients.weights, gradients.biases, strict=True)
                for part in (dw + reference.penalty(w, l1, l2)[1], db)]
    for got, part in zip(step(network, X, y), expected, strict=True):
        np.testing.assert_allclose(got, part, rtol=3e-5 if dtype == "float32" else 1e-12,
                                   atol=3e-7 if dtype == "float32" else 1e-15)


@pytest.mark.parametrize("l1, l2", [(0.0, 0.0), (0.1, 0.0), (0.0, 0.2), (0.1, 0.2)])
def test_a_gradient_is_clipped_with_its_penalties(l1, l2):
    X, y = regression_data(12, 5, 3, seed=67)
    network = fastnn.Network([5, 17, 3], activation="tanh", dtype="float64", l1=l1, l2=l2)
    gradients = network.gradients(X, y)
    whole = [part for w, dw, db in zip(network.weights, gradients.weights, gradients.biases, strict=True)
             for part in (dw + reference.penalty(w, l1, l2)[1], db)]
    expected = reference.clipped(whole, clip_value=0.05)
    assert 0 < sum((abs(part) > 0.05).sum() for part in whole) < network.n_parameters
    for got, part in zip(step(network, X, y, clip_value=0.05), expected, strict=True):
        np.testing.assert_allclose(got, part, rtol=1e-12, atol=1e-15)


def test_penalties_can_be_set_between_fits():
    X, y = regression_data(20, 4, 2, seed=69)
    built = fastnn.Network([4, 8, 2], seed=64, l1=0.1, l2=0.2)
    changed = fastnn.Network([4, 8, 2], seed=64)
    changed.l1, changed.l2 = 0.1, 0.2
    for network in (built, changed):
        network.fit(X, y, optimizer=fastnn.SGD(0.1, momentum=0.5))
    assert same_bits(built.get_parameters(), changed.get_parameters())
    built.l2 = changed.l2 = 0.0             # now the optimizer knows the old ones, and a trainer of single steps too
    for network in (built, changed):
        network.train_on_batch(X, y)
    changed.l1 = built.l1 = 0.0
    plain = fastnn.Network([4, 8, 2], seed=64)
    plain.set_parameters(changed.get_parameters())
    before = changed.get_parameters()
    changed.train_on_batch(X, y, optimizer=fastnn.SGD(0.1))
    plain.train_on_batch(X, y, optimizer=fastnn.SGD(0.1))
    assert same_bits(changed.get_parameters(), plain.get_parameters())
    changed.l2 = 1.0
    changed.train_on_batch(X, y)
    plain.train_on_batch(X, y)
    assert not same_bits(changed.get_parameters(), plain.get_parameters())
    assert not same_bits(changed.get_parameters(), before)
    with pytest.raises(ValueError, match="l2 is -1, but must be a finite number at least 0"):
        changed.l2 = -1
    assert changed.l2 == 1.0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [[3, 1], [5, 17, 3], [40, 65, 130, 10]])
@pytest.mark.parametrize("factor", [0.3, 3.0])
def test_clipping_holds_the_norm_of_the_whole_gradient(factor, sizes, dtype):
    X, y = regression_data(12, sizes[0], sizes[-1], dtype, seed=66)
    free = fastnn.Network(sizes, activation="tanh", dtype=dtype)
    gradients = step(free, X, y)
    norm = np.sqrt(sum((part.astype(np.float64) ** 2).sum() for part in gradients))
    network = fastnn.Network(sizes, activation="tanh", dtype=dtype)
    clipped = step(network, X, y, clip_norm=factor * norm)
    scale = min(1, factor * norm / (norm + 1e-6))
    for got, part in zip(clipped, gradients, strict=True):
        np.testing.assert_allclose(got, scale * part, rtol=1e-4 if dtype == "float32" else 1e-9,
                                   atol=1e-6 if dtype == "float32" else 1e-15)


def test_clipping_by_value_holds_each_element_and_comes_before_the_norm():
    X, y = regression_data(12, 5, 3, seed=67)
    gradients = step(fastnn.Network([5, 17, 3], dtype="float64"), X, y)
    bound = np.abs(np.concatenate([part.ravel() for part in gradients])).max() / 3
    held = [np.clip(part, -bound, bound) for part in gradients]
    norm = np.sqrt(sum((part ** 2).sum() for part in held))
    for arguments, scale in (({"clip_value": bound}, 1),
                             ({"clip_value": bound, "clip_norm": norm / 2}, norm / 2 / (norm + 1e-6))):
        network = fastnn.Network([5, 17, 3], dtype="float64")
        for got, part in zip(step(network, X, y, **arguments), held, strict=True):
            np.testing.assert_allclose(got, scale * part, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output, loss", [("softmax", "cross_entropy"), ("sigmoid", "binary_cross_entropy"),
                                          ("softmax", "focal"), ("sigmoid", "focal")])
def test_smoothing_spreads_a_share_of_the_targets(output, loss, dtype):
    X, _ = regression_data(15, 4, 3, dtype, seed=68)
    y = np.eye(3)[np.arange(15) % 3]
    smoothed = fastnn.Network([4, 9, 3], output=output, loss=loss, dtype=dtype, label_smoothing=0.3)
    by_hand = fastnn.Network([4, 9, 3], output=output, loss=loss, dtype=dtype)
    spread = 0.3 / 3 if output == "softmax" else 0.3 / 2       # a sigmoid's classes are yes and no
    by_hand_loss = by_hand.fit(X, 0.7 * y + spread, epochs=3, batch_size=4).loss
    np.testing.assert_allclose(smoothed.fit(X, y, epochs=3, batch_size=4).loss, by_hand_loss, rtol=1e-5)
    np.testing.assert_allclose(smoothed.get_parameters(), by_hand.get_parameters(), rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("q", [0.1, 0.5, 0.9])
def test_the_quantile_loss_finds_the_quantile(q, dtype):
    y = np.random.default_rng(69).normal(size=(400, 1)) ** 2
    network = fastnn.Network([1, 1], loss=fastnn.losses.quantile(q), dtype=dtype)
    network.fit(np.zeros((400, 1)), y, epochs=400, batch_size=400, optimizer=fastnn.Rprop(0.01))
    assert (y <= network.predict(np.zeros((1, 1)))[0, 0]).mean() == pytest.approx(q, abs=0.01)


@pytest.mark.parametrize("dropout", [0, 0.3])
@pytest.mark.parametrize("name", ["l1", "l2"])
def test_a_penalty_that_is_set_counts_for_every_optimizer_from_then_on(name, dropout):
    """It is the network's, whichever optimizer was there when it was set: as if each had been made afterwards."""
    X, y = regression_data(40, 5, 1, "float32", seed=310)

    def trained(fresh):
        network = fastnn.Network([5, 8, 1], seed=311, dropout=dropout)
        first, second = fastnn.SGD(0.01), fastnn.SGD(0.01)
        network.fit(X, y, epochs=2, optimizer=first)
        network.fit(X, y, epochs=2, optimizer=second)
        setattr(network, name, 0.5)
        network.fit(X, y, epochs=2, optimizer=fastnn.SGD(0.01) if fresh else first)
        for x, target in zip(X, y, strict=True):
            network.train_on_batch(x, float(target[0]), optimizer=fastnn.SGD(0.01) if fresh else second)
        return network.get_parameters()

    assert same_bits(trained(fresh=False), trained(fresh=True))
