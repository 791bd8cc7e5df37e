"""Records what PyTorch computes in float64: tests/data/pytorch.json, which the tests agree with.

    python tools/record_pytorch.py

Run it with a Python that has PyTorch (2.13 made the file; no test needs it). Inputs are simple
formulas and stand in the file, so that a test reads everything from there. Classes and arguments
carry PyTorch's names, and an argument that is left out is PyTorch's default.
"""

import json
import re
import textwrap
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import lr_scheduler

TARGET = Path(__file__).parent.parent / "tests" / "data" / "pytorch.json"
EPOCHS = 30
STEPS = 25


def waves(*shape, start=0.0):
    """sin(k**2) for k = start, start + 1, … in this shape; of sin(k), every matrix would have rank 2."""
    return torch.sin((start + torch.arange(torch.Size(shape).numel(), dtype=torch.float64)) ** 2).reshape(shape)


# Schedules: the rate of each of 30 epochs.

# Falls, falls by less than the threshold for longer than any patience, falls, rises, falls, stands still.
PLATEAU_LOSSES = [1.0, 0.8, 0.7, *(0.65 - 1e-6 * k for k in range(13)), 0.5, 0.51, 0.49, 0.4899, 0.6, 0.55, 0.48,
                  *[0.47] * 7]

SCHEDULES = {       # name: the rate of the optimizer, then schedulers (several multiply) and their arguments
    "step": (0.1, {"StepLR": {"step_size": 7}}),
    "step_half": (0.3, {"StepLR": {"step_size": 4, "gamma": 0.5}}),
    "exponential": (0.2, {"ExponentialLR": {"gamma": 0.9}}),
    "cosine": (0.1, {"CosineAnnealingLR": {"T_max": 40}}),
    "cosine_final": (0.1, {"CosineAnnealingLR": {"T_max": 29, "eta_min": 0.01}}),
    "one_cycle": (0.5, {"OneCycleLR": {"max_lr": 0.5, "total_steps": 30, "cycle_momentum": False}}),
    "one_cycle_other": (0.5, {"OneCycleLR": {"max_lr": 0.5, "total_steps": 30, "pct_start": 0.45, "div_factor": 10.0,
                                             "final_div_factor": 100.0, "cycle_momentum": False}}),
    "one_cycle_falling": (0.5, {"OneCycleLR": {"max_lr": 0.5, "total_steps": 30, "pct_start": 0.02,
                                               "cycle_momentum": False}}),       # no step is left for the rise
    "plateau": (0.1, {"ReduceLROnPlateau": {"factor": 0.5, "patience": 2}}),
    "plateau_default": (0.1, {"ReduceLROnPlateau": {}}),
    "plateau_bounded": (0.1, {"ReduceLROnPlateau": {"factor": 0.3, "patience": 0, "threshold": 0.1, "min_lr": 0.002}}),
    "plateau_tiny": (1e-7, {"ReduceLROnPlateau": {"factor": 0.5, "patience": 1}}),
    "warm_up": (0.1, {"LinearLR": {"start_factor": 1 / 8, "total_iters": 7}}),
    "warm_up_exponential": (0.1, {"LinearLR": {"start_factor": 1 / 8, "total_iters": 7},
                                  "ExponentialLR": {"gamma": 0.9}}),
    "warm_up_cosine": (0.1, {"LinearLR": {"start_factor": 1 / 5, "total_iters": 4},
                             "CosineAnnealingLR": {"T_max": 40}}),
}


def schedule(lr, schedulers):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    running = [getattr(lr_scheduler, name)(optimizer, **arguments) for name, arguments in schedulers.items()]
    rates = []
    for loss in PLATEAU_LOSSES:
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for scheduler in running:
            scheduler.step(*[loss] if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) else [])
    return {"lr": lr, "schedulers": schedulers, "rates": rates}


# Optimizers: 25 full-batch steps of a small network.

PROBLEM = {
    "x": waves(20, 5),
    "t": waves(20, 3, start=0.5),
    "w0": 0.6 * waves(5, 7, start=1),
    "b0": 0.1 * waves(7, start=2),
    "w1": 0.5 * waves(7, 3, start=3),
    "b1": 0.1 * waves(3, start=4),
}
PARAMETERS = ("w0", "b0", "w1", "b1")

OPTIMIZERS = {      # name: class, its arguments, and what is done beside
    "sgd": ("SGD", {"lr": 0.05}),
    "sgd_momentum": ("SGD", {"lr": 0.05, "momentum": 0.9}),
    "sgd_nesterov": ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    "sgd_weight_decay": ("SGD", {"lr": 0.05, "weight_decay": 0.1}),
    "sgd_everything": ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "adam": ("Adam", {"lr": 0.01}),
    "adam_other": ("Adam", {"lr": 0.01, "betas": [0.8, 0.99], "eps": 1e-6}),
    "adamw": ("AdamW", {"lr": 0.01}),
    "adamw_weight_decay": ("AdamW", {"lr": 0.01, "weight_decay": 0.1}),
    "rmsprop": ("RMSprop", {"lr": 0.01}),
    "rmsprop_everything": ("RMSprop", {"lr": 0.01, "alpha": 0.9, "momentum": 0.8, "weight_decay": 0.01}),
    "adagrad": ("Adagrad", {"lr": 0.05}),
    "adagrad_everything": ("Adagrad", {"lr": 0.05, "lr_decay": 0.05, "weight_decay": 0.01}),
    "rprop": ("Rprop", {"lr": 0.01}),
    "rprop_other": ("Rprop", {"lr": 0.01, "etas": [0.4, 1.3], "step_sizes": [1e-5, 0.05]}),
    "sgd_clip_norm": ("SGD", {"lr": 0.05}, {"clip_grad_norm_": 0.05}),
    "adam_clip_value": ("Adam", {"lr": 0.01}, {"clip_grad_value_": 0.01}),
    "sgd_l1_l2": ("SGD", {"lr": 0.05}, {"l1": 0.01, "l2": 0.02}),
}


def train(name, arguments, beside=None):
    """`loss` is the mean of (y - t)**2 before each step; `objective`, with a penalty, is what is minimised."""
    beside = beside or {}
    p = {name: nn.Parameter(PROBLEM[name].clone()) for name in PARAMETERS}
    optimizer = getattr(torch.optim, name)(list(p.values()), **arguments)
    losses, objectives = [], []
    for _ in range(STEPS):
        y = torch.tanh(PROBLEM["x"] @ p["w0"] + p["b0"]) @ p["w1"] + p["b1"]
        loss = objective = ((y - PROBLEM["t"]) ** 2).mean()
        for w in (p["w0"], p["w1"]) if "l1" in beside else ():
            objective = objective + beside["l1"] * w.abs().sum() + beside["l2"] / 2 * (w * w).sum()
        optimizer.zero_grad()
        objective.backward()
        for clip in beside.keys() & {"clip_grad_norm_", "clip_grad_value_"}:
            getattr(nn.utils, clip)(p.values(), beside[clip])
        optimizer.step()
        losses.append(loss.item())
        objectives.append(objective.item())
    record = {"class": name, "arguments": arguments, **beside, "loss": losses}
    return record | ({"objective": objectives} if "l1" in beside else {}) | {"parameters": p}


# Losses: value, and gradient with respect to the output (logits or prediction).

LOSS_INPUTS = {
    "logits": 2.0 ** torch.arange(-1, 5, dtype=torch.float64)[:, None] * waves(6, 4),   # rows from small to large
    "labels": torch.tensor([0, 1, 2, 3, 1, 2]),
    "binary_targets": (waves(6, 4, start=0.5) > 0).double(),
    "predictions": 2 * waves(6, 4),
    "targets": waves(6, 4, start=0.7),
}
CLASS_WEIGHTS = [1.0, 2.0, 0.5, 3.0]


def focal_binary(z, t, gamma):
    """Mean over elements of -(1 - p)**gamma * log(p), p the probability of what is true (Lin et al., 2017)."""
    z = torch.where(t == 1, z, -z)
    return -(torch.exp(gamma * F.logsigmoid(-z)) * F.logsigmoid(z)).mean()


def focal_softmax(z, labels, gamma):
    """The same for classes, mean over rows; log(1 - p) from the logits of the other classes."""
    log_all = torch.logsumexp(z, 1)
    log_p = z.gather(1, labels[:, None])[:, 0] - log_all
    others = z.masked_fill(F.one_hot(labels, z.shape[1]).bool(), -torch.inf)
    return -(torch.exp(gamma * (torch.logsumexp(others, 1) - log_all)) * log_p).mean()


def quantile(y, t, q):
    return torch.maximum(q * (t - y), (q - 1) * (t - y)).mean()


LOSSES = {          # name: function, the names of what it compares, its arguments
    "cross_entropy_label_smoothing": (F.cross_entropy, ("logits", "labels"), {"label_smoothing": 0.1}),
    "cross_entropy_class_weights": (F.cross_entropy, ("logits", "labels"), {"weight": CLASS_WEIGHTS}),
    "binary_cross_entropy": (F.binary_cross_entropy_with_logits, ("logits", "binary_targets"), {}),
    "focal_binary_2": (focal_binary, ("logits", "binary_targets"), {"gamma": 2.0}),
    "focal_binary_0.5": (focal_binary, ("logits", "binary_targets"), {"gamma": 0.5}),
    "focal_softmax_2": (focal_softmax, ("logits", "labels"), {"gamma": 2.0}),
    "focal_softmax_0.5": (focal_softmax, ("logits", "labels"), {"gamma": 0.5}),
    "quantile_0.1": (quantile, ("predictions", "targets"), {"q": 0.1}),
    "quantile_0.9": (quantile, ("predictions", "targets"), {"q": 0.9}),
    "smooth_l1": (F.smooth_l1_loss, ("predictions", "targets"), {}),
    "smooth_l1_beta": (F.smooth_l1_loss, ("predictions", "targets"), {"beta": 0.5}),
    "huber": (F.huber_loss, ("predictions", "targets"), {}),
    "huber_delta": (F.huber_loss, ("predictions", "targets"), {"delta": 0.5}),
}


def differentiate(function, compared, arguments):
    output, target = (LOSS_INPUTS[name] for name in compared)
    output = output.clone().requires_grad_()
    tensors = {name: torch.tensor(value, dtype=torch.float64) if isinstance(value, list) else value
               for name, value in arguments.items()}
    value = function(output, target, **tensors)
    value.backward()
    return {"function": function.__name__, "compared": compared, "arguments": arguments, "value": value.item(),
            "gradient": output.grad}


def layout(value, indent=""):
    """JSON with one line for a short value, else one for each member; long lists of numbers are folded."""
    if isinstance(value, torch.Tensor):
        value = value.tolist()
    deeper = indent + " "
    if isinstance(value, dict):
        members = [f"{json.dumps(name)}: {layout(member, deeper)}" for name, member in value.items()]
        ends = "{}"
    elif value and isinstance(value, list) and isinstance(value[0], list):
        members = [layout(row, deeper) for row in value]
        ends = "[]"
    else:
        return textwrap.fill(json.dumps(value, allow_nan=False), 104, subsequent_indent=deeper, break_on_hyphens=False)
    line = ends[0] + ", ".join(members) + ends[1]
    if "\n" not in line and len(line) < 80:
        return line
    return ends[0] + "\n" + ",\n".join(deeper + member for member in members) + "\n" + indent + ends[1]


def main():
    torch.set_num_threads(1)
    assert len(PLATEAU_LOSSES) == EPOCHS
    record = {
        "torch": re.match(r"[\d.]+", torch.__version__)[0],
        "schedules": {"plateau_losses": PLATEAU_LOSSES,
                      "cases": {name: schedule(*case) for name, case in SCHEDULES.items()}},
        "optimizers": {"problem": PROBLEM, "cases": {name: train(*case) for name, case in OPTIMIZERS.items()}},
        "losses": {"inputs": LOSS_INPUTS, "cases": {name: differentiate(*case) for name, case in LOSSES.items()}},
    }
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(layout(record) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
