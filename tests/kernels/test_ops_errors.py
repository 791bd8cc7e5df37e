"""Functions of `fastnn.ops` refuse wrong arguments in a sentence that names them, and then have written nothing."""

import itertools

import numpy as np
import pytest
from helpers import (
    ACTIVATIONS,
    DTYPES,
    OPERATIONS,
    PAIRS,
)

from fastnn import ops
from fastnn.losses import NAMES


def arguments(function, dtype="float64"):
    """Right arguments for a function of `fastnn.ops`, by name, for m = 3, k = 2, n = 4."""
    name = {
        "dense_forward": "dense_forward relu", "dense_backward": "dense_backward",
        "activation_forward": "activation_forward tanh", "activation_backward": "activation_backward tanh",
        "loss_forward_backward": "loss mse tanh", "sgd_update": "sgd_update",
        "adam_update": "adam_update",
    }[function]
    outputs, inputs = OPERATIONS[name].arrays(3, 2, 4, dtype)
    extra = {
        "dense_forward": {"activation": "relu"}, "dense_backward": {},
        "sgd_update": {"learning_rate": 0.1}, "adam_update": {"step": 3},
        "loss_forward_backward": {"loss": "mse", "activation": "tanh", "weights": np.ones(3)},
    }.get(function, {"activation": "tanh"})
    return outputs, inputs, extra


def argument(function, name):
    outputs, inputs, extra = arguments(function)
    return (outputs | inputs | extra)[name]


def assert_refused(function, change, error, *words):
    """A call with some arguments replaced raises an error with these words; no output is touched."""
    outputs, inputs, extra = arguments(function)
    every = outputs | inputs | extra
    before = {key: a.tobytes() for key, a in outputs.items()}
    change = change(every) if callable(change) else change
    with pytest.raises(error) as caught:
        getattr(ops, function)(**(every | change))
    for word in words:
        assert word in str(caught.value)
    assert {key: a.tobytes() for key, a in outputs.items()} == before


def each_argument(kinds=("outputs", "inputs")):
    cases = []
    for function in ops.__all__:
        outputs, inputs, _ = arguments(function)
        names = [*(outputs if "outputs" in kinds else ()), *(inputs if "inputs" in kinds else ())]
        cases += [(function, name) for name in names]
    return pytest.mark.parametrize(("function", "name"), cases)


@pytest.mark.any_isa
@pytest.mark.parametrize("function", ops.__all__)
def test_right_arguments_are_taken(function):
    for dtype in DTYPES:
        outputs, inputs, extra = arguments(function, dtype)
        getattr(ops, function)(**outputs, **inputs, **extra)
        assert not any(np.isnan(a).any() for a in outputs.values())


@pytest.mark.any_isa
@each_argument()
def test_a_wrong_dtype_is_a_type_error(function, name):
    for dtype in ("float16", "longdouble", "int64", ">f8", "complex128", "bool"):
        words = f"{name} has dtype {np.dtype(dtype)}, but must have float"
        assert_refused(function, {name: np.ones(argument(function, name).shape, dtype)}, TypeError, words)
    assert_refused(function, lambda a: {name: a[name].astype(object)}, TypeError, "dtype object")
    # Which of two arrays that differ is wrong, nobody can say.
    words = "has dtype float", "must have float"
    assert_refused(function, lambda a: {name: a[name].astype("float32")}, TypeError, *words)


@pytest.mark.any_isa
@each_argument()
def test_a_wrong_shape_is_a_value_error(function, name):
    def longer(a, axis):
        return {name: np.concatenate([a[name], a[name].take([0], axis=axis)], axis=axis)}

    for axis in range(argument(function, name).ndim):
        words = "has shape", "must have shape"
        assert_refused(function, lambda a, axis=axis: longer(a, axis), ValueError, *words)
    assert_refused(function, lambda a: {name: a[name][None]}, ValueError, name + " has shape")
    assert_refused(function, lambda a: {name: a[name][0, ...]}, ValueError, name + " has shape")


@pytest.mark.any_isa
@pytest.mark.parametrize(("function", "name", "shape", "words"), [
    ("dense_forward", "y", (3, 5), "y has shape (3, 5), but must have shape (3, 4)"),
    ("dense_forward", "b", (5,), "b has shape (5,), but must have shape (4"),
    ("dense_forward", "w", (3, 4), "w has shape (3, 4), but must have shape (2"),
    ("dense_backward", "dx", (3, 3), "dx has shape (3, 3), but must have shape (3, 2)"),
    ("dense_backward", "dw", (4, 2), "dw has shape (4, 2), but must have shape (2, 4)"),
    ("dense_backward", "db", (3,), "db has shape (3,), but must have shape (4"),
    ("activation_forward", "y", (4, 3), "y has shape (4, 3), but must have shape (3, 4)"),
    ("activation_backward", "dz", (3, 1), "dz has shape (3, 1), but must have shape (3, 4)"),
    ("loss_forward_backward", "t", (3, 1), "t has shape (3, 1), but must have shape (3, 4)"),
    ("loss_forward_backward", "weights", (4,), "weights has shape (4,), but must have shape (3"),
    ("loss_forward_backward", "weights", (3, 1), "weights has shape (3, 1), but must have shape (3"),
    ("sgd_update", "parameters", (5,), "gradients has shape (4,), but must have shape (5"),
])
def test_a_wrong_shape_is_named_with_the_right_one(function, name, shape, words):
    assert_refused(function, {name: np.ones(shape)}, ValueError, words)


@pytest.mark.any_isa
@each_argument()
def test_a_list_is_no_array(function, name):
    assert_refused(function, lambda a: {name: a[name].tolist()}, TypeError, name + " is a list")


@pytest.mark.any_isa
@each_argument(["outputs"])
def test_a_read_only_output_is_refused(function, name):
    def read_only(a):
        copy = a[name].copy()
        copy.flags.writeable = False
        return {name: copy}

    assert_refused(function, read_only, ValueError, name + " is read-only")


@pytest.mark.any_isa
@each_argument()
def test_none_is_refused_where_an_array_is_needed(function, name):
    if (function, name) in {("dense_backward", "dx"), ("dense_backward", "dw"), ("dense_backward", "db"),
                            ("loss_forward_backward", "dz")}:
        outputs, inputs, extra = arguments(function)
        getattr(ops, function)(**(outputs | inputs | extra | {name: None}))
    else:
        assert_refused(function, {name: None}, TypeError, name + " is ")


@pytest.mark.any_isa
@pytest.mark.parametrize("function", [f for f in ops.__all__ if "activation" in arguments(f)[2]])
def test_an_unknown_activation_gets_a_suggestion(function):
    words = "activation is 'Relu'", "did you mean 'relu'?"
    assert_refused(function, {"activation": "Relu"}, ValueError, *words)
    assert_refused(function, {"activation": "sigmiod"}, ValueError, "did you mean 'sigmoid'?", "softplus")
    for other in (None, 3, b"relu", np.tanh):
        assert_refused(function, {"activation": other}, TypeError, "activation is ", "relu")


@pytest.mark.any_isa
def test_an_unknown_loss_gets_a_suggestion():
    function = "loss_forward_backward"
    words = "loss is 'crossentropy'", "did you mean 'cross_entropy'?"
    assert_refused(function, {"loss": "crossentropy"}, ValueError, *words)
    assert_refused(function, {"loss": "MSE"}, ValueError, "did you mean 'mse'?", "huber")
    assert_refused(function, {"loss": None}, TypeError, "loss is None", "mse")


@pytest.mark.any_isa
def test_a_loss_with_an_activation_that_it_does_not_go_with():
    tried = 0
    for loss, activation in itertools.product(NAMES, ACTIVATIONS):
        if (loss, activation) not in PAIRS:
            needed = {"focal": "sigmoid"} | dict(PAIRS[-3:])
            needed = needed.get(loss, "cross_entropy")
            change = {"loss": loss, "activation": activation}
            words = repr(loss), repr(activation), repr(needed)
            assert_refused("loss_forward_backward", change, ValueError, *words)
            tried += 1
    assert tried == len(NAMES) * len(ACTIVATIONS) - len(PAIRS) == 48


@pytest.mark.any_isa
@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 0)])
def test_a_mean_of_nothing_is_refused(shape):
    change = {"dz": np.ones(shape), "z": np.ones(shape), "t": np.ones(shape), "weights": None}
    words = f"z has shape {shape}", "at least one element"
    assert_refused("loss_forward_backward", change, ValueError, *words)


@pytest.mark.any_isa
def test_weights_that_are_all_zero_are_refused_by_name():
    assert_refused("loss_forward_backward", {"weights": np.zeros(3)}, ValueError, "weights")


@pytest.mark.any_isa
@pytest.mark.parametrize("rate", ["0.1", None, np.ones(3), 1j])
def test_a_learning_rate_is_a_number(rate):
    assert_refused("sgd_update", {"learning_rate": rate}, TypeError, "learning_rate")


@pytest.mark.any_isa
def test_dense_backward_names_the_output_that_needs_a_missing_input():
    assert_refused("dense_backward", {"x": None}, TypeError, "x is None", "dw")
    assert_refused("dense_backward", {"w": None}, TypeError, "w is None", "dx")


@pytest.mark.any_isa
def test_updates_refuse_what_they_cannot_use():
    w, g, v = (np.ones(16) for _ in range(3))
    with pytest.raises(ValueError, match="velocity is None, but momentum needs it"):
        ops.sgd_update(w, g, 0.1, momentum=0.9)
    with pytest.raises(ValueError, match="second shares memory with gradients"):
        ops.adam_update(w, g, v, g, 1)
    with pytest.raises(ValueError, match="step is 0, but must be at least 1"):
        ops.adam_update(w, g, v, np.ones(16), 0)
    with pytest.raises(ValueError, match="velocity has shape"):
        ops.sgd_update(w, g, 0.1, velocity=np.ones(4), momentum=0.9)
    assert np.array_equal(w, np.ones(16))
