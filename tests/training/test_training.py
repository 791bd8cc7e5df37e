"""Training: every route to a number gives the same bits, and optimizers follow their documented rules.

One batch of `fit` is gradients and update done by hand; n calls of one epoch are one call of n. The
optimizers are compared with the update rules that PyTorch documents, written here and in reference.py in NumPy.
"""

import gc
import itertools
import weakref

import numpy as np
import pytest
from helpers import ACTIVATIONS, DTYPES, PAIRS, packed, regression_data, same_bits

import fastnn
from fastnn import ops, reference
from fastnn.activations import HIDDEN
from fastnn.core import Rows, Trainer

RELATIVE_TOLERANCE = {"float32": 1e-6, "float64": 1e-14}
OPTIMIZERS = {
    "sgd": lambda: fastnn.SGD(0.05),
    "momentum": lambda: fastnn.SGD(0.05, momentum=0.9),
    "nesterov": lambda: fastnn.SGD(0.05, momentum=0.9, nesterov=True),
    "weight_decay": lambda: fastnn.SGD(0.05, weight_decay=0.1),
    "everything": lambda: fastnn.SGD(0.05, momentum=0.8, nesterov=True, weight_decay=0.01),
    "adam": lambda: fastnn.Adam(0.01),
    "adam_other_betas": lambda: fastnn.Adam(0.01, beta1=0.8, beta2=0.99, epsilon=1e-6),
    "adamw": lambda: fastnn.AdamW(0.01, weight_decay=0.1),
    "rmsprop": lambda: fastnn.RMSprop(0.01, momentum=0.9, weight_decay=0.1),
    "adagrad": lambda: fastnn.Adagrad(0.05, learning_rate_decay=0.1, weight_decay=0.1),
    "rprop": lambda: fastnn.Rprop(0.01),
    "clipped": lambda: fastnn.SGD(0.05, clip_value=0.1, clip_norm=0.2),
}


TRAINING = [
    ([1, 1], "identity", "mse"),
    ([3, 7, 2], "identity", "huber"),
    ([2, 16, 1], "sigmoid", "binary_cross_entropy"),
    ([20, 64, 32, 1], "identity", "half_mse"),
    ([64, 65, 10], "softmax", "cross_entropy"),
    ([5, 4, 3], "exp", "poisson"),
    ([5, 40, 3], "identity", "mse"),    # rows of 192 bytes in float32
]


def training_data(sizes, loss, n, dtype):
    X, y = regression_data(n, sizes[0], sizes[-1], dtype, seed=15)
    if loss == "cross_entropy":
        return X, np.arange(n) % sizes[-1]
    if loss == "binary_cross_entropy":
        return X, (y > 0).astype(dtype)
    return X, np.round(np.abs(y)) if loss == "poisson" else y


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("sizes", "output", "loss"), TRAINING)
@pytest.mark.parametrize("n", [1, 2, 7, 32, 65])
def test_one_batch_of_fit_is_gradients_and_update_by_hand(sizes, output, loss, n, dtype):
    network = fastnn.Network(sizes, activation="tanh", output=output, loss=loss, dtype=dtype, seed=16)
    X, y = training_data(sizes, loss, n, dtype)
    for _ in range(3):
        old, gradients = network.get_parameters(), network.gradients(X, y)
        by_hand = old.copy()
        fastnn.ops.sgd_update(by_hand, packed(gradients), 0.1)
        optimizer = network.optimizer or fastnn.SGD(0.1)
        history = network.fit(X, y, epochs=1, batch_size=n, optimizer=optimizer, shuffle=False)
        assert same_bits(network.get_parameters(), by_hand)
        np.testing.assert_allclose(
            by_hand,
            old - 0.1 * packed(gradients),
            rtol=RELATIVE_TOLERANCE[dtype],
            atol=RELATIVE_TOLERANCE[dtype],
        )
        assert history.loss == [pytest.approx(gradients.loss, rel=RELATIVE_TOLERANCE[dtype])]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", reference.ACTIVATIONS)
def test_every_activation_takes_the_path_of_small_networks(activation, dtype):
    """Predictions are the reference's; a step has the bits of the update by `gradients`, which take the other path."""
    hidden = activation if activation in HIDDEN else "tanh"
    for sizes, n in itertools.product([[3, 5, 1], [3, 5, 2], [4, 1, 20]], [1, 2, 3, 4, 7, 8]):
        network, twin = (fastnn.Network(sizes, activation=hidden, output=activation, loss="mse", dtype=dtype, seed=16)
                         for _ in range(2))
        X, y = regression_data(n, sizes[0], sizes[-1], dtype, seed=15)
        # The step comes first, lest it finds what the others left in memory that is given again.
        network.fit(X, y, batch_size=n, optimizer=fastnn.SGD(0.1), shuffle=False)
        by_hand = twin.get_parameters()
        ops.sgd_update(by_hand, packed(twin.gradients(X, y)), 0.1)
        assert same_bits(network.get_parameters(), by_hand), (sizes, n)

        expected = X.astype(float)
        for w, b, name in zip(twin.weights, twin.biases, twin.activations, strict=True):
            expected = reference.dense_forward(expected, w.astype(float), b.astype(float), name)
        tolerance = 10 * RELATIVE_TOLERANCE[dtype]
        np.testing.assert_allclose(twin.predict(X), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("loss", "output"), PAIRS)
def test_a_chain_of_neurons_is_gradients_and_update_by_hand(loss, output, dtype):
    hidden = [name for name in ACTIVATIONS if name not in ("softmax", "exp")]
    network = fastnn.Network([1] * (len(hidden) + 2), activation=hidden, output=output, loss=loss, dtype=dtype, seed=21)
    by_hand = fastnn.Network(network.layer_sizes, activation=hidden, output=output, loss=loss, dtype=dtype, seed=21)
    X = np.random.default_rng(0).uniform(-1, 1, (8, 1)).astype(dtype)
    y = np.ones((8, 1), dtype) if output == "softmax" else abs(X)
    losses = []
    for row in range(8):
        parameters, gradients = by_hand.get_parameters(), by_hand.gradients(X[row:row + 1], y[row:row + 1])
        fastnn.ops.sgd_update(parameters, packed(gradients), 0.1)
        by_hand.set_parameters(parameters)
        losses.append(gradients.loss)
    history = network.fit(X, y, batch_size=1, optimizer=fastnn.SGD(0.1), shuffle=False)
    assert same_bits(network.get_parameters(), by_hand.get_parameters())
    assert history.loss == [pytest.approx(np.mean(losses), rel=1e-12)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_chain_of_neurons_takes_each_steps_own_rate(dtype):
    network, by_hand = (fastnn.Network([1, 1, 1], activation="tanh", dtype=dtype, seed=22) for _ in range(2))
    X = np.linspace(-1, 1, 6, dtype=dtype)[:, None]
    y = abs(X)
    for row in range(6):
        parameters, gradients = by_hand.get_parameters(), by_hand.gradients(X[row:row + 1], y[row:row + 1])
        fastnn.ops.sgd_update(parameters, packed(gradients), 0.5**(row + 1))
        by_hand.set_parameters(parameters)
    halved = fastnn.schedules.ExponentialDecay(0.5, factor=0.5, by="step")
    network.fit(X, y, batch_size=1, optimizer=fastnn.SGD(halved), shuffle=False)
    assert same_bits(network.get_parameters(), by_hand.get_parameters())


@pytest.mark.parametrize("layers", [1, 2, 16, 17])
def test_chains_of_any_length(layers):
    X, y = regression_data(30, 1, 1, "float32")
    networks = [fastnn.Network([1] * (layers + 1), activation="tanh", seed=22) for _ in range(2)]
    networks[0].fit(X, y, epochs=2, batch_size=1, optimizer=fastnn.SGD(0.05))
    networks[1].fit(X, y, epochs=2, batch_size=1, optimizer=fastnn.SGD(0.05, momentum=1e-30))      # the general path
    np.testing.assert_allclose(*(network.get_parameters() for network in networks), rtol=1e-6)


def test_a_chain_that_diverges_is_as_it_was():
    X, y = regression_data(30, 1, 1, "float32")
    network = fastnn.Network([1, 1, 1], activation="relu", seed=23)
    network.biases[0][...] = 1
    network.fit(X, y, batch_size=1, optimizer=fastnn.SGD(1e-3))
    before = network.get_parameters()
    with pytest.raises(fastnn.DivergenceError, match="epoch 2, step"):
        network.fit(X, 1e30 * y, batch_size=1, epochs=9, optimizer=fastnn.SGD(1e10))
    assert same_bits(network.get_parameters(), before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_last_batch_may_be_short(dtype):
    X, y = regression_data(10, 3, 2, dtype)
    network = fastnn.Network([3, 5, 2], activation="tanh", output="identity", dtype=dtype, seed=17)
    by_hand = fastnn.Network([3, 5, 2], activation="tanh", output="identity", dtype=dtype, seed=17)
    total = 0.0
    for rows in (slice(0, 4), slice(4, 8), slice(8, 10)):
        parameters, gradients = by_hand.get_parameters(), by_hand.gradients(X[rows], y[rows])
        fastnn.ops.sgd_update(parameters, packed(gradients), 0.1)
        by_hand.set_parameters(parameters)
        total += gradients.loss * len(X[rows])
    history = network.fit(X, y, epochs=1, batch_size=4, optimizer=fastnn.SGD(0.1), shuffle=False)
    assert same_bits(network.get_parameters(), by_hand.get_parameters())
    assert history.loss == [pytest.approx(total / 10, rel=RELATIVE_TOLERANCE[dtype])]


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_batch_larger_than_the_data_is_all_of_it(shuffle):
    X, y = regression_data(10, 3, 2)

    def train(batch_size):
        network = fastnn.Network([3, 5, 2], activation="tanh", output="identity", seed=18)
        network.fit(X, y, epochs=3, batch_size=batch_size, optimizer=fastnn.Adam(0.01), shuffle=shuffle)
        return network.get_parameters().tobytes()

    assert train(10) == train(11) == train(1000)
    assert train(10) != train(9)


def test_default_batch_size_is_32_and_default_optimizer_is_adam():
    X, y = regression_data(100, 3, 2)

    def train(**options):
        network = fastnn.Network([3, 5, 2], activation="tanh", output="identity", seed=19)
        network.fit(X, y, epochs=2, **options)
        return network.get_parameters().tobytes()

    assert train() == train(batch_size=32, optimizer=fastnn.Adam()) == train(optimizer=fastnn.Adam(1e-3))
    assert train() != train(batch_size=31)


# fmt: off
GOLDEN_LOSSES = {
    "sgd": [
        1.7273020756908994, 1.3733302982084952, 1.1739534802266023, 1.1178019441477862, 1.110742220304166,
        1.0829281487025668, 1.0610940359747476, 1.0326695104524368, 0.9770679406481837, 0.8595783354893082,
    ],
    "adam": [
        1.8117241370916737, 1.2091503398255783, 1.155504381659662, 1.1494320034578613, 1.137195263133245,
        1.082683150047125, 1.0330757608419765, 0.992912478977546, 0.9509534595542392, 0.9123810166397629,
    ],
}
# fmt: on


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_golden_losses(optimizer, dtype, tolerance):
    """Ten losses of a 4-6-5-3 network, computed once in float64 NumPy from the formulas."""
    network = fastnn.Network([4, 6, 5, 3], activation=["tanh", "gelu"], output="softmax", dtype=dtype)
    network.set_parameters((np.arange(network.n_parameters) * 7 % 11 - 5) / 5)
    X, y = (np.arange(48).reshape(12, 4) * 5 % 13 - 6) / 6, np.arange(12) * 2 % 3
    updates = {"sgd": fastnn.SGD(0.5, momentum=0.5, weight_decay=0.01), "adam": fastnn.Adam(0.05)}[optimizer]
    history = network.fit(X, y, epochs=10, batch_size=5, optimizer=updates, shuffle=False)
    np.testing.assert_allclose(history.loss, GOLDEN_LOSSES[optimizer], rtol=tolerance)


class UpdateRules:
    """The update rules that PyTorch documents for torch.optim.SGD and torch.optim.Adam, in float64 NumPy."""

    @staticmethod
    def sgd(learning_rate, momentum=0.0, nesterov=False, weight_decay=0.0):
        buffer = None

        def update(p, g):
            nonlocal buffer
            g = g + weight_decay * p
            if momentum:
                buffer = g if buffer is None else momentum * buffer + g
                g = g + momentum * buffer if nesterov else buffer
            return p - learning_rate * g

        return update

    @staticmethod
    def adam(learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-8):
        m = v = t = 0

        def update(p, g):
            nonlocal m, v, t
            t += 1
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g**2
            return p - learning_rate * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + epsilon)

        return update

    @staticmethod
    def of_reference(rule, *state):
        """A rule of reference.py: called with parameters, gradient, state and the number of the step, from 1."""
        t = 0

        def update(p, g):
            nonlocal state, t
            t += 1
            p, *state = rule(p, g, state, t)
            return p

        return update


RULES = {
    "sgd": lambda: UpdateRules.sgd(0.05),
    "momentum": lambda: UpdateRules.sgd(0.05, momentum=0.9),
    "nesterov": lambda: UpdateRules.sgd(0.05, momentum=0.9, nesterov=True),
    "weight_decay": lambda: UpdateRules.sgd(0.05, weight_decay=0.1),
    "everything": lambda: UpdateRules.sgd(0.05, momentum=0.8, nesterov=True, weight_decay=0.01),
    "adam": lambda: UpdateRules.adam(0.01),
    "adam_other_betas": lambda: UpdateRules.adam(0.01, beta1=0.8, beta2=0.99, epsilon=1e-6),
    "adamw": lambda: UpdateRules.of_reference(
        lambda p, g, state, t: reference.adamw_update(p, g, *state, 0.01, 0.9, 0.999, 1e-8, 0.1, t), 0, 0),
    "rmsprop": lambda: UpdateRules.of_reference(
        lambda p, g, state, t: reference.rmsprop_update(p, g, *state, 0.01, 0.99, 1e-8, 0.9, 0.1), 0, 0),
    "adagrad": lambda: UpdateRules.of_reference(
        lambda p, g, state, t: reference.adagrad_update(p, g, *state, 0.05, 0.1, 1e-10, t, 0.1), 0),
    "rprop": lambda: UpdateRules.of_reference(
        lambda p, g, state, t: reference.rprop_update(p, g, *state, 0.5, 1.2, 1e-6, 50), 0, 0.01),
    "clipped": lambda: UpdateRules.of_reference(
        lambda p, g, state, t: [p - 0.05 * clipped for clipped in reference.clipped([g], 0.1, 0.2)]),
}


def path_of_fit(optimizer, steps=25):
    X, y = regression_data(12, 4, 2)
    network = fastnn.Network([4, 6, 2], activation="tanh", output="identity", dtype="float64", seed=20)
    path = []
    for _ in range(steps):
        network.fit(X, y, epochs=1, batch_size=12, optimizer=optimizer, shuffle=False)
        path.append(network.get_parameters())
    return np.array(path)


def path_of_rule(update, steps=25):
    X, y = regression_data(12, 4, 2)
    network = fastnn.Network([4, 6, 2], activation="tanh", output="identity", dtype="float64", seed=20)
    path = []
    for _ in range(steps):
        network.set_parameters(update(network.get_parameters(), packed(network.gradients(X, y))))
        path.append(network.get_parameters())
    return np.array(path)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_follows_its_documented_rule(name):
    np.testing.assert_allclose(
        path_of_fit(OPTIMIZERS[name]()), path_of_rule(RULES[name]()), rtol=0, atol=1e-12
    )


def test_the_check_of_the_optimizers_can_fail():
    """No two rules agree within the tolerance, nor does Adam's with an epsilon that is a little larger."""
    paths = {name: path_of_rule(rule()) for name, rule in RULES.items()}
    for one, other in itertools.combinations(paths, 2):
        assert np.abs(paths[one] - paths[other]).max() > 1e-4
    almost = path_of_rule(UpdateRules.adam(0.01, epsilon=1.1e-8))
    assert np.abs(paths["adam"] - almost).max() > 1e-11


def test_adam_takes_its_first_step_at_the_learning_rate():
    X, y = regression_data(12, 4, 2)
    network = fastnn.Network([4, 6, 2], activation="tanh", output="identity", dtype="float64", seed=20)
    network.set_parameters(np.random.default_rng(21).normal(size=network.n_parameters))
    start, gradient = network.get_parameters(), packed(network.gradients(X, y))
    assert np.abs(gradient).min() > 1e-3
    network.fit(X, y, epochs=1, batch_size=12, optimizer=fastnn.Adam(0.01), shuffle=False)
    np.testing.assert_allclose(network.get_parameters() - start, -0.01 * np.sign(gradient), rtol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_many_calls_of_one_epoch_are_one_call_of_many(name, dtype):
    X, y = regression_data(30, 4, 2)

    def train(epochs_of_call, *, name_it_again):
        network = fastnn.Network([4, 6, 2], activation="tanh", output="identity", dtype=dtype, seed=21)
        optimizer, losses = OPTIMIZERS[name](), []
        for call, epochs in enumerate(epochs_of_call):
            given = optimizer if call == 0 or name_it_again else None  # None: the last one
            losses += network.fit(X, y, epochs=epochs, batch_size=8, optimizer=given).loss
            network.predict(X)  # has no part in the random state
        assert network.epochs_trained == sum(epochs_of_call) == len(losses)
        assert network.optimizer is optimizer
        return losses, network.get_parameters().tobytes()

    at_once = train([6], name_it_again=True)
    assert train([1] * 6, name_it_again=True) == at_once
    assert train([1] * 6, name_it_again=False) == at_once
    assert train([2, 3, 1], name_it_again=True) == at_once


def test_an_optimizer_belongs_to_one_network():
    X, y = regression_data(8, 3, 1)
    first, second = (fastnn.Network([3, 1], output="identity", seed=seed) for seed in (0, 1))
    optimizer = fastnn.SGD(0.1, momentum=0.9)
    first.fit(X, y, optimizer=optimizer)
    before = second.get_parameters()
    with pytest.raises(ValueError, match=r"(?i)optimizer.*network"):
        second.fit(X, y, optimizer=optimizer)
    assert same_bits(second.get_parameters(), before)
    assert second.optimizer is None and second.epochs_trained == 0
    first.fit(X, y, optimizer=optimizer)
    assert first.epochs_trained == 2


def test_a_new_optimizer_starts_afresh():
    X, y = regression_data(8, 3, 1)
    network, fresh = (fastnn.Network([3, 1], output="identity", seed=0) for _ in range(2))
    network.fit(X, y, epochs=3, optimizer=fastnn.Adam(0.1), shuffle=False)
    fresh.set_parameters(network.get_parameters())
    second = fastnn.Adam(0.1)
    for one, optimizer in ((network, second), (fresh, fastnn.Adam(0.1))):
        one.fit(X, y, epochs=3, optimizer=optimizer, shuffle=False)
    assert network.optimizer is second
    assert same_bits(network.get_parameters(), fresh.get_parameters())


def test_tol_stops_after_the_first_epoch_below_it():
    X, y = regression_data(32, 3, 1)
    y = X.sum(axis=1)

    def train(**options):
        network = fastnn.Network([3, 1], output="identity", dtype="float64", seed=22)
        history = network.fit(X, y, epochs=200, batch_size=8, optimizer=fastnn.SGD(0.05), **options)
        return network, history.loss

    _, all_losses = train()
    assert len(all_losses) == 200
    stop = 1 + next(epoch for epoch, loss in enumerate(all_losses) if loss < 1e-3)
    assert 1 < stop < 200
    network, losses = train(tol=1e-3)
    assert losses == all_losses[:stop]
    assert network.epochs_trained == stop
    assert train(tol=losses[-1])[1] == all_losses[: stop + 1]  # below it, not at it


# Shuffling


def order_of_visits(network, X, optimizer):
    """Train one epoch on the rows of the identity matrix, one a batch, and read their order from the steps.

    The bias grows with every step, so each row's own weight moves less than that of the row before it.
    """
    network.set_parameters(np.zeros(network.n_parameters))
    network.fit(X, np.ones(len(X)), epochs=1, batch_size=1, optimizer=optimizer)
    steps = network.weights[0][:, 0]
    assert np.all(steps > 0) and len(set(steps.tolist())) == len(steps)
    expected = 0.002 * 0.998 ** np.arange(len(steps))  # one visit each: w = 0, b = 1 - 0.998^t
    np.testing.assert_allclose(np.sort(steps)[::-1], expected, rtol=1e-2)
    return tuple(np.argsort(-steps).tolist())


def orders(n, epochs, seed):
    network = fastnn.Network([n, 1], output="identity", loss="mse", dtype="float64", seed=seed)
    optimizer = fastnn.SGD(0.001)
    return [order_of_visits(network, np.eye(n), optimizer) for _ in range(epochs)]


def test_an_epoch_visits_every_row_once_in_an_order_that_the_seed_decides():
    first, second = orders(16, epochs=2, seed=23)
    assert sorted(first) == sorted(second) == list(range(16))
    assert first != second
    assert orders(16, epochs=2, seed=23) == [first, second]
    assert orders(16, epochs=2, seed=24) != [first, second]


def test_every_order_is_equally_likely():
    counts = dict.fromkeys(itertools.permutations(range(4)), 0)
    for order in orders(4, epochs=2400, seed=25):
        counts[order] += 1
    chi_square = sum((count - 100) ** 2 / 100 for count in counts.values())
    assert chi_square < 50  # 23 degrees of freedom: exceeded once in a thousand times


# Large batches, where products are packed


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "sizes, rows",
    [((64, 64, 64, 10), 8192), ((64, 64, 10), 20000), ((64, 256, 256, 10), 512), ((300, 700, 600, 3), 200)],
)
def test_gradients_of_large_batches(sizes, rows, dtype):
    X, y = regression_data(rows, sizes[0], sizes[-1], dtype)
    network = fastnn.Network(sizes, activation="tanh", output="identity", dtype=dtype)
    loss, weights, biases = network.gradients(X, y)
    outputs = [x.astype(float) for x in network.layer_outputs(X)]
    delta = 2 * (outputs[-1] - y) / y.size
    tolerance = {"float32": 2e-5, "float64": 1e-12}[dtype]
    assert loss == pytest.approx(np.mean((outputs[-1] - y) ** 2), rel=tolerance)
    for layer in reversed(range(len(weights))):
        _, dw, db = reference.dense_backward(delta, outputs[layer], network.weights[layer])
        assert np.abs(weights[layer] - dw).max() <= tolerance * np.abs(dw).max()
        assert np.abs(biases[layer] - db).max() <= tolerance * np.abs(db).max()
        delta = delta @ network.weights[layer].T.astype(float) * (1 - outputs[layer] ** 2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [700, 2100])       # on either side of a product's largest block
def test_a_large_batch_of_fit_is_gradients_and_update_by_hand(rows, dtype):
    X, y = regression_data(rows, 64, 300, dtype)
    network = fastnn.Network([64, 300, 300], activation="relu", output="identity", dtype=dtype)
    parameters = network.get_parameters()
    ops.sgd_update(parameters, packed(network.gradients(X, y)), 0.1)
    network.fit(X, y, batch_size=rows, optimizer=fastnn.SGD(0.1), shuffle=False)
    assert same_bits(network.get_parameters(), parameters)


def test_rows_of_wide_layers_do_not_depend_on_the_batch():
    X, _ = regression_data(1000, 300, 1, "float32")
    network = fastnn.Network([300, 700, 600, 3], activation="relu", output="identity")
    together = network.predict(X)
    assert all(same_bits(network.predict(X[i:i + 1]), together[i:i + 1]) for i in range(0, 1000, 37))


# State that must survive errors


def test_a_refused_constant_changes_nothing():
    X, y = regression_data(20, 3, 1)
    network = fastnn.Network([3, 4, 1], activation="relu", output="identity")
    optimizer = fastnn.Adam(0.01)
    network.fit(X, y, epochs=3, optimizer=optimizer)
    before = optimizer.steps, optimizer.learning_rate
    for value, error in ((-1.0, ValueError), ("x", TypeError), (float("nan"), ValueError), (10**400, ValueError)):
        with pytest.raises(error, match="learning_rate"):
            optimizer.learning_rate = value
    assert (optimizer.steps, optimizer.learning_rate) == before


def test_what_a_network_is_cannot_be_changed():
    network = fastnn.Network([3, 4, 1], activation="relu", output="identity")
    for name in ("layer_sizes", "activations", "loss", "dtype", "seed", "weights", "biases", "epochs_trained"):
        with pytest.raises(AttributeError):
            setattr(network, name, None)


def test_labels_may_change_while_they_are_trained_on():
    X, labels = np.zeros((50, 2), "f"), np.zeros(50, np.intp)
    network = fastnn.Network([2, 3], output="softmax")
    optimizer = fastnn.SGD(0.1)
    network.fit(X, labels, optimizer=optimizer)
    targets, copied = fastnn.training.rows.targets(network._engine, labels, 50)
    assert targets is None and not np.shares_memory(copied, labels)


@pytest.mark.parametrize("size", [1e308, 1e-310])
def test_extreme_sample_weights_are_relative(size):
    X, y = regression_data(4, 3, 1)
    network = fastnn.Network([3, 1], output="identity", dtype="float64")
    weights = np.array([1.0, 2.0, 0.0, 1.5])
    assert network.gradients(X, y, sample_weight=weights / 2 * size).loss == pytest.approx(
        network.gradients(X, y, sample_weight=weights).loss, rel=1e-5)


@pytest.mark.parametrize("loss, output, target", [
    ("mse", "identity", 3e25), ("quantile", "identity", 3e38), ("poisson", "exp", 1), ("cross_entropy", "softmax", 1),
    ("focal", "softmax", 1), ("focal", "sigmoid", 1)])
def test_a_row_of_weight_zero_counts_for_nothing_even_where_its_loss_overflows(loss, output, target):
    rows, labels = np.ones((4, 2), np.float32), output == "softmax"
    network, twin = (fastnn.Network([2, 2 if labels else 1], output=output, loss=loss, seed=0) for _ in range(2))
    rows[3] = 3e38 * np.sign(network.weights[0][:, 0])       # its output overflows
    targets = np.array([1, 0, 1, target], np.intp if labels else np.float32)
    with np.errstate(all="ignore"):
        assert network.evaluate(rows, targets, sample_weight=[1, 1, 1, 0]) == twin.evaluate(rows[:3], targets[:3])
    rows[3] = 1
    options = {"epochs": 3, "batch_size": 4, "shuffle": False}
    assert network.fit(rows, targets, sample_weight=[1, 1, 1, 0], **options).loss == pytest.approx(
        twin.fit(rows[:3], targets[:3], **options).loss)


def test_an_epsilon_that_rounds_to_zero_is_refused():
    X, y = regression_data(4, 3, 1)
    network = fastnn.Network([3, 1], output="identity")
    with pytest.raises(ValueError, match="epsilon"):
        network.fit(X, y, optimizer=fastnn.Adam(epsilon=1e-40))
    assert network.optimizer is None


def test_training_refuses_parameters_that_are_not_finite():
    X, y = regression_data(4, 3, 1)
    network = fastnn.Network([3, 1], output="identity")
    with pytest.raises(ValueError, match="v holds nan"):
        network.set_parameters(np.full(4, np.nan))
    network.weights[0][0] = np.nan
    with pytest.raises(ValueError, match="weights or biases"):
        network.fit(X, y)


@pytest.mark.any_isa
def test_memory_of_a_network_is_freed_without_the_collector():
    network = fastnn.Network([3, 1], output="identity")
    network.predict(np.zeros((2, 3)))
    watch = weakref.ref(network)
    parameters = weakref.ref(network.weights[0].base)
    gc.disable()
    try:
        del network
        assert watch() is None and parameters() is None
    finally:
        gc.enable()


# A History, printed


def test_a_history_is_printed_in_some_lines_however_long_it_is():
    history = fastnn.History(["validation_accuracy", "validation_<b>"])
    history.loss = [3.0 - i / 1000 for i in range(1000)]
    history.validation_loss = [np.nan, *np.abs(np.arange(999.0) - 500).tolist()]
    history.validation_accuracy.extend([0.1, 0.9, *[0.5] * 998])
    history._metrics["validation_<b>"].extend([7.0] * 1000)
    history.learning_rate, history.seconds = [0.01] * 1000, [0.002] * 1000
    history.stopped_by = "early_stopping"
    assert repr(history) == """\
History of 1000 epochs in 2 s, stopped by 'early_stopping'
                       first   best  in epoch   last
  loss                     3  2.001      1000  2.001
  validation_loss        nan      0       502    498
  validation_accuracy    0.1    0.9         2    0.5
  validation_<b>           7                       7
  learning_rate         0.01                    0.01"""
    html = history._repr_html_()
    assert "<th>in epoch</th>" in html and "<td>validation_&lt;b&gt;</td>" in html and "<b>" not in html
    assert "&#x27;early_stopping&#x27;" in html
    assert html.count("<tr>") == html.count("</tr>") == 6 and html.startswith("<table>") and html.endswith("</table>")


def test_a_history_of_nothing_and_of_one_epoch():
    assert repr(fastnn.History()) == "History of 0 epochs in 0 s"
    assert fastnn.History()._repr_html_() == "<table><caption>History of 0 epochs in 0 s</caption></table>"
    history = fastnn.Network([2, 1]).fit(np.eye(2), [0, 1])
    assert repr(history).startswith("History of 1 epoch in ") and "\n  loss " in repr(history)


@pytest.mark.any_isa
def test_the_loss_of_rows_does_not_depend_on_their_order():
    """Rows that a training has put in order are evaluated as they stand."""
    engine = fastnn.Network([3, 4, 2])._engine
    rows = Rows(engine, *regression_data(50, 3, 2, engine.dtype, seed=1), None, None)
    loss = engine.evaluate(rows)
    rows.arrange(np.arange(50)[::-1].copy())
    assert engine.evaluate(rows) == loss


@pytest.mark.any_isa
def test_rows_that_were_arranged_are_shuffled_again():
    """An order that was set between two epochs does not stay."""
    def trained(arranged):
        network, optimizer = fastnn.Network([3, 4, 2]), fastnn.SGD(0.1)
        engine = network._engine
        optimizer.bind(engine)
        rows = Rows(engine, *regression_data(50, 3, 2, engine.dtype, seed=1), None, None)
        trainer = Trainer(engine, optimizer, True, [])
        for number in range(2):
            trainer.epoch(rows, 10, 0.1, number)
            if arranged:
                rows.arrange(np.arange(50))
        return network.get_parameters()

    assert same_bits(trained(True), trained(False))
