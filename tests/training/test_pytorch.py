"""What PyTorch computes in float64, recorded by tools/record_pytorch.py: optimizers, clipping, penalties, losses.

Optimizers are compared after 25 steps; schedules in test_schedules.py.
"""

import json

import numpy as np
import pytest
from helpers import DATA

import fastnn
from fastnn import losses, ops

RECORD = json.loads((DATA / "pytorch.json").read_text(encoding="utf-8"))
PROBLEM = {name: np.array(values) for name, values in RECORD["optimizers"]["problem"].items()}
NAMES = {"lr": "learning_rate", "eps": "epsilon", "lr_decay": "learning_rate_decay",
         "clip_grad_norm_": "clip_norm", "clip_grad_value_": "clip_value"}
LOSSES = RECORD["losses"]


def optimizer_of(case):
    """fastnn's optimizer with the arguments that PyTorch's had."""
    arguments = case["arguments"] | {name: case[name] for name in NAMES if name in case}
    if "betas" in arguments:
        arguments["beta1"], arguments["beta2"] = arguments.pop("betas")
    return getattr(fastnn, case["class"])(**{NAMES.get(name, name): value for name, value in arguments.items()})


def network_of(case):
    network = fastnn.Network([5, 7, 3], activation="tanh", dtype="float64",
                             l1=case.get("l1", 0.0), l2=case.get("l2", 0.0))
    for name, array in (("w0", network.weights[0]), ("b0", network.biases[0]),
                        ("w1", network.weights[1]), ("b1", network.biases[1])):
        array[...] = PROBLEM[name]
    return network


def errors(case, **changes):
    """The largest relative errors of the 25 losses and of the parameters after them."""
    network, optimizer = network_of(case | changes), optimizer_of(case | changes)
    history = network.fit(PROBLEM["x"], PROBLEM["t"], epochs=25, batch_size=20, optimizer=optimizer, shuffle=False)
    parameters = np.concatenate([np.ravel(case["parameters"][name]) for name in ("w0", "b0", "w1", "b1")])
    return (np.abs(np.array(history.loss) / case["loss"] - 1).max(),
            np.abs(network.get_parameters() - parameters).max() / np.abs(parameters).max())


@pytest.mark.parametrize("name", RECORD["optimizers"]["cases"])
def test_25_steps_are_those_of_pytorch(name):
    loss_error, parameter_error = errors(RECORD["optimizers"]["cases"][name])
    assert loss_error < 1e-10 and parameter_error < 1e-10, (loss_error, parameter_error)


@pytest.mark.parametrize("name, changes", [
    ("adam", {"arguments": {"lr": 0.01, "eps": 1e-7}}), ("adamw", {"arguments": {"lr": 0.01, "weight_decay": 0.0101}}),
    ("rprop", {"arguments": {"lr": 0.01, "etas": (0.5, 1.2001)}}), ("sgd_clip_norm", {"clip_grad_norm_": 0.0500001}),
    ("adagrad", {"arguments": {"lr": 0.05, "lr_decay": 1e-6}}), ("sgd_l1_l2", {"l1": 0.0100001}),
    ("rmsprop", {"arguments": {"lr": 0.01, "alpha": 0.990001}})])
def test_a_slightly_different_rule_would_be_noticed(name, changes):
    assert max(errors(RECORD["optimizers"]["cases"][name], **changes)) > 1e-9


def one_hot(labels):
    return np.eye(4)[labels]


def loss_case(name):
    """(logits or predictions, targets, loss, activation, row weights) of a recorded case."""
    inputs, arguments = LOSSES["inputs"], LOSSES["cases"][name]["arguments"]
    compared = [np.array(inputs[key]) for key in LOSSES["cases"][name]["compared"]]
    z, t = compared[0], one_hot(compared[1]) if compared[1].ndim == 1 else compared[1]
    if name.startswith("cross_entropy"):
        smoothing, weight = arguments.get("label_smoothing", 0), arguments.get("weight")
        weights = None if weight is None else np.array(weight)[compared[1]]
        return z, (1 - smoothing) * t + smoothing / 4, "cross_entropy", "softmax", weights
    if name == "binary_cross_entropy":
        return z, t, name, "sigmoid", None
    if name.startswith("focal"):
        return z, t, losses.focal(arguments["gamma"]), "sigmoid" if "binary" in name else "softmax", None
    if name.startswith("quantile"):
        return z, t, losses.quantile(arguments["q"]), "identity", None
    return z, t, "huber", "identity", None


@pytest.mark.parametrize("name", [name for name in LOSSES["cases"] if name not in ("smooth_l1_beta", "huber_delta")])
def test_losses_and_their_gradients_are_those_of_pytorch(name):
    z, t, loss, activation, weights = loss_case(name)
    dz = np.empty_like(z)
    value = ops.loss_forward_backward(dz, z, t, loss, activation, weights)
    assert value == pytest.approx(LOSSES["cases"][name]["value"], rel=1e-12)
    np.testing.assert_allclose(dz, LOSSES["cases"][name]["gradient"], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("labels", [True, False], ids=["labels", "rows"])
def test_label_smoothing_in_fit_is_that_of_pytorch(labels):
    case = LOSSES["cases"]["cross_entropy_label_smoothing"]
    network = fastnn.Network([4, 4], output="softmax", dtype="float64", label_smoothing=0.1)
    network.weights[0][...] = np.eye(4)
    logits, y = np.array(LOSSES["inputs"]["logits"]), np.array(LOSSES["inputs"]["labels"])
    history = network.fit(logits, y if labels else one_hot(y), batch_size=6, shuffle=False, optimizer=fastnn.SGD(1.0))
    assert history.loss[0] == pytest.approx(case["value"], rel=1e-12)
    np.testing.assert_allclose(-network.biases[0], np.sum(case["gradient"], axis=0), rtol=1e-10)


def test_class_weights_in_fit_are_those_of_pytorch():
    case = LOSSES["cases"]["cross_entropy_class_weights"]
    network = fastnn.Network([4, 4], output="softmax", dtype="float64")
    network.weights[0][...] = np.eye(4)
    history = network.fit(LOSSES["inputs"]["logits"], LOSSES["inputs"]["labels"], batch_size=6, shuffle=False,
                          optimizer=fastnn.SGD(1.0), class_weight=dict(enumerate([1.0, 2.0, 0.5, 3.0])))
    assert history.loss[0] == pytest.approx(case["value"], rel=1e-12)
    np.testing.assert_allclose(-network.biases[0], np.sum(case["gradient"], axis=0), rtol=1e-10)


@pytest.mark.any_isa
def test_lbfgs_ends_where_scipy_ends():
    from scipy.optimize import minimize
    network, free = network_of({}), network_of({})

    def objective(v):
        free.set_parameters(v)
        gradients = free.gradients(PROBLEM["x"], PROBLEM["t"])
        pairs = zip(gradients.weights, gradients.biases, strict=True)
        return gradients.loss, np.concatenate([part.ravel() for pair in pairs for part in pair])

    expected = minimize(objective, free.get_parameters(), jac=True, method="L-BFGS-B",
                        options={"maxiter": 5000, "maxfun": 10**6, "gtol": 1e-7, "ftol": 1e-4}).fun
    history = network.fit(PROBLEM["x"], PROBLEM["t"], epochs=5000, optimizer=fastnn.LBFGS(tolerance_change=1e-4))
    assert network.evaluate(PROBLEM["x"], PROBLEM["t"]) == history.loss[-1]
    assert history.stopped_by == "converged" and history.loss[-1] == pytest.approx(expected, rel=1e-5)
    assert len(history.loss) == network.epochs_trained < 5000
