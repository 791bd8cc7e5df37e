"""Losses: which there are, which output activation each goes with, and which is the default.

A network's `loss` is a name, or one of the functions below where a loss has a parameter, or a
Python function `(outputs, targets) -> (value, gradient)`. The formulas are in
`kernels/losses.pxd` (fast) and `reference.py` (readable). The kernels say which losses there are, and all about them.

>>> import fastnn
>>> fastnn.Network([8, 32, 1], loss=fastnn.losses.quantile(0.9)).loss
quantile(0.9)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from ._checks import after, choose, number, shown
from ._words import explains, meant
from .activations import takes_row
from .core import dispatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._types import AnyLoss

__all__ = ["Loss", "focal", "quantile"]

# The names that editors offer; test_typing.py compares them with NAMES.
LossName = Literal["mse", "half_mse", "mae", "huber", "poisson", "binary_cross_entropy", "cross_entropy", "quantile",
                   "focal"]

FACTS = tuple(dispatch.kernels.losses.values())
NAMES = tuple(dict.fromkeys(loss["name"] for loss in FACTS))
# These are computed from the pre-activations of their output activations, so that large logits stay finite.
PAIRED = {name: outputs for name in NAMES
          if (outputs := tuple(loss["output"] for loss in FACTS if loss["name"] == name and not loss["of_output"]))}
# Those that have a parameter, with its default.
PARAMETERS: dict[str, float] = {loss["name"]: loss["parameter"] for loss in FACTS if not math.isnan(loss["parameter"])}
CHECKS: dict[str, Callable[[str, object], float]] = {
    "quantile": partial(number, low=0, high=1, open_low=True), "focal": partial(number, low=0)}
# Those whose targets are classes, or probabilities of them.
CLASSIFYING = tuple(dict.fromkeys(loss["name"] for loss in FACTS if (loss["lowest"], loss["highest"]) == (0, 1)))
LIBRARIES = ("torch", "keras", "tensorflow", "jax", "sklearn")      # whose losses return no gradient


@dataclass(frozen=True, init=False)
class Loss:
    """A loss of the library's own: its name, and its parameter if it has one (else 0).

    Both are checked when it is built; without a parameter, "quantile" has 0.5 and "focal" 2.

    >>> Loss("focal")
    focal(2.0)
    """

    name: str
    parameter: float

    def __init__(self, name: str, parameter: float | None = None) -> None:
        name = choose("loss", name, NAMES)
        if parameter is None:
            parameter = PARAMETERS.get(name, 0.0)
        elif name in CHECKS:
            parameter = CHECKS[name](f"the parameter of loss {name!r}", parameter)
        elif number(f"the parameter of loss {name!r}", parameter):
            raise ValueError(f"the parameter of loss {name!r} is {shown(parameter)}, but this loss has none; leave it "
                             "out")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "parameter", float(parameter))

    def __repr__(self) -> str:
        return f"{self.name}({self.parameter})" if self.name in PARAMETERS else repr(self.name)


@explains
def quantile(q: float = 0.5) -> Loss:
    """The quantile or pinball loss (Koenker and Bassett, 1978), whose minimum is the q-quantile of the targets.

    The loss of an output a and a target t is max(q (t - a), (q - 1) (t - a)), averaged over elements; 0 < q < 1.
    `loss="quantile"` means q = 0.5, the median.

    See Also
    --------
    fastnn.Network : its argument `loss`.
    """
    return Loss("quantile", CHECKS["quantile"]("q", q))


@explains
def focal(gamma: float = 2.0) -> Loss:
    """The focal loss (Lin et al., 2017): cross-entropy times (1 - p)**gamma, p being the target class's probability.

    Samples that are predicted well count less, so the network learns rare classes. The loss is averaged over elements
    with sigmoid, and over rows with softmax. gamma is >= 0, and 0 is cross-entropy. `loss="focal"` means gamma = 2.

    See Also
    --------
    fastnn.Network : its argument `loss`.
    """
    return Loss("focal", CHECKS["focal"]("gamma", gamma))


def as_named(loss: AnyLoss) -> str | AnyLoss:
    """The name of a loss; a Loss where it has a parameter of its own, or the Python function."""
    return loss.name if isinstance(loss, Loss) and as_loss(loss.name) == loss else loss


def as_loss(loss: Any) -> AnyLoss:
    """A Loss from a name or a Loss; a Python function stays one."""
    if isinstance(loss, Loss):
        return Loss(loss.name, loss.parameter)      # checked once more: it may have been unpickled
    if not callable(loss):
        return Loss(loss)
    for function, example in ((quantile, "fastnn.losses.quantile(0.9)"), (focal, "fastnn.losses.focal(2.0)")):
        if loss is function:
            raise TypeError(f"loss is {shown(loss)}, which makes losses; call it, such as {example}")
    if isinstance(loss, type) or str(getattr(loss, "__module__", "")).split(".")[0] in LIBRARIES:
        raise TypeError(f"loss is {shown(loss)}, but must be a name, one of fastnn.losses or a Python function "
                        f"(outputs, targets) -> (value, gradient){after(meant('loss', loss, NAMES))}")
    return loss


def default_loss(output: str) -> str:
    """The loss that a network with this output activation gets when none is named."""
    return {"softmax": "cross_entropy", "sigmoid": "binary_cross_entropy"}.get(output, "mse")


def check_pair(loss: str, output: str, argument: str = "output") -> None:
    """Refuses a loss that does not go with the output activation, and names what does."""
    needed = PAIRED.get(loss)
    if needed is not None and output not in needed:
        names = " or ".join(map(repr, needed))
        raise ValueError(f"loss {loss!r} goes with {argument} {names}, but the {argument} is {output!r}")
    if needed is None and takes_row(output):
        names = " or ".join(repr(name) for name, outputs in PAIRED.items() if output in outputs)
        raise ValueError(f"{argument} {output!r} goes with loss {names}, but the loss is {loss!r}")
