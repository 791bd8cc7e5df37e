"""`diagnostics.advise`: a sick network gets its advice and no other, and a healthy one none."""

import re

import numpy as np
import pytest
from helpers import same_bits
from rows_to_diagnose import DIGITS, X, Y, digits, with_nan

import fastnn
from fastnn.diagnostics import advise, largest_stable_rate

pytestmark = pytest.mark.any_isa


def network(*arguments, weights=None, **options):
    result = fastnn.Network(*arguments, **options)
    for layer, factor in (weights or {}).items():
        result.weights[layer][...] *= factor
    return result


def with_dead_units():
    result = fastnn.Network([64, 32, 10], output="softmax")
    result.biases[0][:20] = -50
    return result


def with_equal_weights():
    result = fastnn.Network([64, 8, 10], output="softmax")
    result.weights[0][...] = 0.5
    return result


def with_equal_units():
    result = fastnn.Network([4, 8, 1])
    result.weights[0][...] = result.weights[0][:, :1]
    return result


def with_dead_output():
    result = fastnn.Network([4, 8, 1], output="relu")
    result.biases[1][...] = -1000
    return result


SICK = {
    "classes as numbers": (
        lambda: network([64, 32, 1]), *digits,
        "the targets are the whole numbers 0 to 9, and so look like classes, .*output='softmax' with 10 outputs"),
    "vanishing": (
        lambda: network([64, *[32] * 10, 10], "sigmoid", "softmax"), *digits,
        r"layers 1 to \d receive up to \de\+0\d times less gradient than layer 11: sigmoid .*'relu'"),
    "vanishing, small weights": (
        lambda: network([64, 32, 32, 10], "tanh", "softmax", weights={2: 1e-4}), *digits,
        r"layers 1 to 2 receive up to \de\+0\d times less .* too small; try initializer=None"),
    "exploding": (
        lambda: network([64, *[32] * 6, 10], "relu", "softmax", weights=dict.fromkeys(range(7), 8)), *digits,
        r"the gradient is \de\+0\d times as large as the weights.*clip_norm=1"),
    "overflowing": (
        lambda: network([4, 8, 1], weights={0: 1e20, 1: 1e20}), X, Y, "the loss is inf, because .* for float32"),
    "dead": (with_dead_units, *digits, r"\d\d% of the units of layer 1 \(relu\) are off for all 1797 rows"),
    "saturated": (
        lambda: network([64, 32, 10], "tanh", "softmax", weights={0: 30}), *digits,
        r"\d\d% of the values of layer 1 \(tanh\) are saturated before training"),
    "not standardised": (
        lambda: network([4, 8, 1]), X * [1, 1, 500, 1] + [0, 40, 0, 0], Y,
        r"X has columns far from mean 0 and deviation 1 \(1: mean 40.*; 2: mean .*, deviation \d+\): standardise"),
    "tiny column": (lambda: network([4, 8, 1]), X * [1, 1, 1e-4, 1], Y,
                    r"\(2: mean .*, deviation 0.0001\d\): standardise"),
    "sigmoid and mse": (
        lambda: network([4, 8, 1], output="sigmoid", loss="mse"), X, Y > 0, "leave loss=None.*binary_cross_entropy"),
    "far targets": (lambda: network([4, 8, 1]), X, 300 + 50 * Y, "the targets are of size 3.*standardise the targets"),
    "targets out of reach": (
        lambda: network([4, 8, 1], output="tanh"), X, 2 * Y, r"\d\d% of the targets lie outside .* tanh .*, -1 to 1 "),
    "negative targets": (
        lambda: network([4, 8, 1], output="softplus"), X, Y, r"\d\d% of the targets .* softplus .*, 0 to infinity "),
    "equal weights": (with_equal_weights, *digits,
                      "the 8 units of layer 1 have equal weights, so they compute the same: draw"),
    "equal units": (with_equal_units, X, Y, "the 8 units of layer 1 have equal weights"),
    "dead output": (with_dead_output, X, abs(Y), r"100% of the units of layer 2 \(relu\) .* or output='identity'"),
    "counts": (lambda: network([4, 8, 1], output="exp", loss="poisson"), X, np.rint(5000 + 50 * Y),
               r"the targets are of size 5.01e\+03 .*: set network.biases\[-1\]\[...\] = 8.5, the logarithm"),
    "huge targets": (lambda: network([4, 8, 1]), X, 1e7 * Y, r"the targets are of size .*: standardise the targets"),
    "huge targets, leaky": (lambda: network([4, 8, 1], output="leaky_relu"), X, -1e7 * abs(Y),
                            "the targets are of size .*: standardise the targets"),
    "targets of two scales": (lambda: network([4, 8, 2]), X, np.hstack([Y, Y**2 / 1e4]),
                              r"the targets' columns are of different scales \(deviation .* to .*\)"),
    "0 and 1 as numbers": (lambda: network([4, 8, 1]), X, Y > 0, "but the output identity is .*: try output='sigmoid'"),
    "constant column and target": (lambda: network([5, 8, 1]), np.hstack([X, np.full((60, 1), 7)]), Y,
                                   r"X has constant columns \(4 is 7\)"),
    "zeros as targets": (lambda: network([4, 8, 1]), X, 0 * Y, "all 60 rows have the same target"),
    "NaN": (with_nan, *digits, "layer 2 holds 3 weights or biases that are NaN or infinite"),
    "one class": (lambda: network([64, 32, 10], output="softmax"), DIGITS[:90], np.full(90, 3),
                  "all 90 rows have the same target, 3, so"),
    "constant column": (lambda: network([5, 8, 1]), np.hstack([X, np.ones((60, 1))]), Y,
                        r"X has constant columns \(4 is 1\)"),
    "copied columns": (lambda: network([6, 8, 1]), np.hstack([X, X[:, 1:3]]), Y,
                       r"X has columns that repeat others \(4 is 1; 5 is 2\)"),
}


@pytest.mark.parametrize("case", SICK)
def test_a_sick_network_gets_its_advice_and_no_other(case):
    build, inputs, targets, expected = SICK[case]
    sick = build()
    before = sick.get_parameters()
    [sentence] = advise(sick, inputs, targets)
    assert re.search(expected, sentence), sentence
    assert sentence.isprintable() and same_bits(before, sick.get_parameters())


@pytest.mark.parametrize("rate, momentum", [(0.6, 0), (1.2, 0.9)])
def test_a_rate_above_the_stable_bound_is_named(rate, momentum):
    sick = fastnn.Network([4, 1])
    bound = largest_stable_rate(sick, X, Y) * (1 + momentum)
    history = sick.fit(X, Y, epochs=8, batch_size=60, optimizer=fastnn.SGD(2 * bound, momentum=momentum))
    [sentence] = advise(sick, X, Y, history)
    assert f"the learning rate {2 * bound:.3g} is above the stable bound {bound:.2g}: try " in sentence
    assert sentence.startswith("the loss rose from ")


def history_of(loss, validation=(), rate=0.001):
    result = fastnn.Network([4, 8, 1]).fit(X, Y, epochs=0)
    result.loss[:], result.validation_loss[:], result.learning_rate[:] = loss, validation, [rate] * len(loss)
    return result


@pytest.mark.parametrize("loss, expected", [
    ([1, 0.5, 0.8, 0.4, 0.7, 0.4, 0.6, 0.4],
     "the loss oscillates: it rose by more than 10% in 3 of 7 epochs, with learning rate 0.001: try 0.0003"),
    ([1, 2, 3, 4], "the loss rose from 1 to 4, with learning rate 0.001: try 0.0003"),
    ([-2, -1, -0.5], "the loss rose from -2 to -0.5, with learning rate 0.001: try 0.0003"),
    ([1, 0.9, 0.8, 30, 0.5, 0.4, 0.3, 0.2],
     "the loss rose from 1 to 30 on its way, with learning rate 0.001: try 0.0003"),
    ([1.0 - 1e-4 * epoch for epoch in range(10)],
     "the loss has hardly fallen in 10 epochs, from 1 to 0.9991: try a learning rate above 0.001, and if that does not "
     "help, ask whether X tells of the targets at all"),
    ([1.0 - 1e-4 * epoch for epoch in range(9)], None),
    ([-168.2, -168.3, -168.2, -168.4], None),
    ([8e-6, 2e-5, 8e-6, 1.7e-5], None),
    ([1e-3 - 1e-8 * epoch for epoch in range(20)], None),
])
def test_advice_from_a_loss(loss, expected):
    assert advise(fastnn.Network([4, 8, 1]), X, Y, history_of(loss)) == ([expected] if expected else [])


@pytest.mark.parametrize("loss, validation, warns", [
    ([1, 0.5, 0.2, 0.1], [1.1, 0.62, 0.9, 1.52], True),
    ([1, 0.5, 0.2, 0.1], [1.1, 0.62, 0.60, 0.65], False),
    ([1, 0.2, 0.205, 0.21], [1.1, 0.62, 0.9, 1.52], False),
])
def test_overfitting_is_seen(loss, validation, warns):
    advice = advise(fastnn.Network([4, 8, 1]), X, Y, history_of(loss, validation))
    assert [sentence.split(" while")[0] for sentence in advice] == warns * [
        "the validation loss rose from 0.62 in epoch 2 to 1.52 in epoch 4,"]


def test_a_history_of_losses_alone_and_one_whose_rate_ends_at_0():
    rising = history_of([1, 2, 3, 4])
    rising.learning_rate[:] = [0.2, 0.1, 0.05, 0]
    assert advise(fastnn.Network([4, 8, 1]), X, Y, rising) == [
        "the loss rose from 1 to 4, with learning rate 0.2: try 0.07"]
    rising.learning_rate.clear()
    assert advise(fastnn.Network([4, 8, 1]), X, Y, rising) == ["the loss rose from 1 to 4: try a smaller learning rate"]


def test_the_bound_is_that_of_the_optimizer_that_made_the_history():
    net = fastnn.Network([4, 8, 1])
    history = net.fit(X, Y, epochs=4, optimizer=fastnn.Adam(5.0))
    history.loss[:] = [1, 2, 3, 4]
    net = fastnn.Network([4, 8, 1])
    net.fit(X, Y, optimizer=fastnn.SGD(1e-5))
    assert advise(net, X, Y, history) == ["the loss rose from 1 to 4, with learning rate 5: try 2"]


def test_one_class_for_all_rows():
    rare = (np.arange(60) == 7).astype(int)
    net = fastnn.Network([4, 8, 2], output="softmax")
    history = net.fit(X, rare, epochs=3, optimizer=fastnn.Adam(0.02))
    net.biases[-1][...] = [5, -5]
    [sentence] = advise(net, X, rare, history)
    assert sentence.startswith("the network predicts the same class for all 60 rows, which are of several: train for")


def test_a_network_saturated_by_training():
    net = fastnn.Network([4, 16, 1], "sigmoid")
    net.weights[0][...] *= 300
    assert "saturated before training" in advise(net, X, Y)[0]
    net.fit(X, Y, optimizer=fastnn.SGD(1e-9))
    [sentence] = advise(net, X, Y)
    assert re.fullmatch(r"\d\d% of the values of layer 1 \(sigmoid\) are saturated, so hardly any gradient passes: its "
                        "weights have become too large; try new ones and a smaller learning rate", sentence)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "gelu", "selu"])
@pytest.mark.parametrize("hidden", [[128], [32, 32, 32]])
def test_a_healthy_network_gets_none(activation, hidden):
    classes = fastnn.Network([64, *hidden, 10], activation, "softmax")
    numbers = fastnn.Network([4, *hidden, 1], activation)
    for healthy, inputs, targets in ((classes, *digits), (numbers, X, Y)):
        assert advise(healthy, inputs, targets) == []
        history = healthy.fit(inputs, targets, epochs=10)
        assert advise(healthy, inputs, targets, history) == []


def test_rows_of_python_numbers_get_the_same_advice():
    """As a frame holds them in columns of objects."""
    net = fastnn.Network([4, 8, 1])
    far = 1e3 * Y
    assert advise(net, X.astype(object), far.astype(object)) == advise(net, X, far) != []


def test_few_rows_are_no_reason_for_advice():
    xor = fastnn.Network([2, 8, 1], output="sigmoid")
    inputs, targets = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), [0, 1, 1, 0]
    history = xor.fit(inputs, targets, epochs=300, optimizer=fastnn.Adam(0.05))
    assert advise(xor, inputs, targets, history) == []
    assert advise(xor, inputs[:1], targets[:1]) == []
    assert advise(fastnn.Network([2, 4, 1]), [[3.5, 1.0]], [1.0]) == []


@pytest.mark.parametrize("y", [
    np.arange(200) % 5 + 1,                     # grades
    np.arange(200) % 5 / 2,                     # halves
    np.arange(200) % 40,                        # more than are likely to be classes
    np.concatenate([np.zeros(190), [1, 2, 4]]),  # a gap
    [0, 1, 2] * 4,                              # few rows
    np.arange(400).reshape(200, 2) % 3,         # two targets
])
def test_whole_numbers_that_may_well_be_numbers(y):
    y = np.asarray(y, np.float64)
    rows = np.random.default_rng(0).normal(size=(len(y), 4))
    assert not any("classes" in sentence for sentence in advise(fastnn.Network([4, 8, y[0].size]), rows, y))
