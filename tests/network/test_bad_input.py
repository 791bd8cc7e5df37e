"""Wrong arguments get a sentence that names the argument, what came and what was expected.

The network is left as it was. The calls are in bad_cases.py.
"""

import re

import numpy as np
import pytest
from bad_cases import CASES, INFINITY, NAN, build_networks, good_labels, good_targets, good_X

import fastnn


def assert_rejected(function, networks, error, patterns):
    """The call raises such an error, in a sentence with all the words, and changes none of the networks."""

    def state():
        return [
            (network.get_parameters().tobytes(), network.epochs_trained, network.optimizer)
            for network in vars(networks).values()
        ]

    before = state()
    with pytest.raises(error) as caught:
        function(networks)
    assert state() == before
    message = str(caught.value)
    assert len(message.split()) >= 4, f"not a sentence: {message!r}"
    for pattern in patterns:
        assert re.search(pattern, message, re.IGNORECASE), f"{pattern!r} is missing from {message!r}"


@pytest.mark.parametrize(
    ("function", "error", "patterns"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_bad_input(function, error, patterns):
    assert_rejected(function, build_networks(), error, patterns)


def test_no_case_is_there_twice():
    assert len({case[0] for case in CASES}) == len(CASES)


def test_rejected_input_leaves_no_trace_in_later_training():
    """Neither the optimizer's state nor the random state has moved: training goes on to the same bits."""
    clean, tried = build_networks(), build_networks()
    for _, function, error, _ in CASES:
        with pytest.raises(error):
            function(tried)
    for networks in (clean, tried):
        networks.regressor.fit(good_X(), good_targets(), epochs=3, batch_size=2)
        networks.classifier.fit(good_X(), good_labels(), epochs=3, batch_size=2)
    for name in ("regressor", "classifier"):
        one, other = getattr(clean, name), getattr(tried, name)
        assert one.get_parameters().tobytes() == other.get_parameters().tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_finite_is_found_wherever_it_stands(dtype):
    for size in (1, 3, 7, 8, 9, 16, 31, 33):
        network = fastnn.Network([size, 1], dtype=dtype)
        for column in range(size):
            for value in (NAN, INFINITY, -INFINITY):
                X = np.zeros((1, size), dtype)
                X[0, column] = value
                with pytest.raises(ValueError, match=rf"X holds {value} in row 0, column {column},"):
                    network.predict(X)


def test_a_bad_out_is_not_written_to():
    networks = build_networks()
    out = np.full((5, 2), 7, dtype=np.float32)
    with pytest.raises(ValueError, match="out"):
        networks.regressor.predict(good_X(), out=out)
    assert np.all(out == 7)


@pytest.mark.parametrize(
    "function",
    [
        lambda networks: networks.regressor.predict(good_X()),  # raises nothing
        lambda networks: int("63"[:0]),  # another sentence
        lambda networks: (networks.regressor.biases[0][:] + 1).nope,  # another error
        lambda networks: (
            networks.regressor.set_parameters(np.zeros(37)) or networks.regressor.predict(np.zeros(63))
        ),
    ],
)
def test_the_check_can_fail(function):
    with pytest.raises((AssertionError, AttributeError, pytest.fail.Exception)):
        assert_rejected(function, build_networks(), ValueError, [r"\bX\b", "63", r"\b4\b"])


def test_errors_are_one_line_whatever_is_shown():
    """Arrays and other libraries' objects, such as PyTorch's optimizers, show themselves in several."""
    values = np.arange(12.0).reshape(4, 3)
    for call in (lambda: fastnn.SGD(values), lambda: fastnn.Network([3, 1], l2=values),
                 lambda: fastnn.Network([3, 1]).fit(values, values[:, 0], metrics=[lambda y, outputs: values])):
        with pytest.raises(TypeError) as caught:
            call()
        assert "array([[ 0.,  1.,  2.], [ 3.," in str(caught.value) and "\n" not in str(caught.value)
