"""Checks gradients: `Network.gradients` against differences of `Network.evaluate`, in a float64 copy of the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import number
from .hessian import float64_twin, move_biases, packed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .._types import ArrayLike, FloatArray
    from ..network import Gradients, Network

CHECKED = 2_000                 # parameters at most
# Three central differences, at h, 2 h and 4 h, are extrapolated twice, which leaves an error of order h**6. h is one of
# these steps, divided by the layer's largest input: it changes no pre-activation by more than the step. Smaller steps
# than the first are for elements near a kink.
STEPS = (1e-3, 1e-4, 1e-5, 1e-6)
NOT_TINY = 1e-3                 # errors are relative to at least this share of the largest element
AGREE = 1e-8                    # no smaller step is tried where differences agree to this relative error
TOLERANCE = 1e-6                # above the error by rounding (1e-8), and below that by a mistake


@dataclass(frozen=True)
class GradientCheck:
    """The result of `check_gradients`: the parameter with the largest error. As a condition it is `passed`.

    Attributes
    ----------
    worst : str
        Its name, such as "weights[1][3, 2]".
    analytic, numeric : float
        Its derivative as `gradients` computes it, and as differences of `evaluate` give it.
    error : float
        Their difference, minus the uncertainty of `numeric`, relative to the larger one (near 0, see
        `check_gradients`).
    passed : bool
        Whether the error is within the tolerance.
    """

    worst: str
    analytic: float
    numeric: float
    error: float
    passed: bool

    def __bool__(self) -> bool:
        return self.passed


def check_gradients(network: Network, X: ArrayLike, y: ArrayLike, *, tolerance: float | None = None) -> GradientCheck:
    """Compares `network.gradients` with differences of `network.evaluate`. It is most useful for a Python loss.

    Both are computed in float64 for any dtype, so a Python loss gets float64 arrays. Up to 2,000 parameters are
    compared. Of more, a random sample of 2,000 is compared, which is always the same. `tolerance` is the largest
    relative error that passes; None is 1e-6. Elements below 1e-3 of the largest are compared with that share of it. No
    element is compared more closely than rounding allows.

    The numerical derivative is Richardson's extrapolation of central differences (Richardson, 1911). There is no
    derivative at a kink, such as that of ReLU or of an absolute error. Biases of zero put whole rows at kinks. So the
    comparison moves the biases by random numbers of size 1e-3, which are always the same. Near a kink the differences
    disagree with each other. Then the steps become smaller, from 1e-3 down to 1e-6, and the remaining disagreement does
    not count as an error.

    >>> import numpy as np, fastnn
    >>> def squared(outputs, targets):
    ...     return np.mean((outputs - targets) ** 2), (outputs - targets) / outputs.size    # forgets the 2
    >>> net = fastnn.Network([2, 1], loss=squared)
    >>> check = fastnn.diagnostics.check_gradients(net, np.eye(2), [1, 0])
    >>> check.passed, round(check.numeric / check.analytic, 6)
    (False, 2.0)
    """
    tolerance = TOLERANCE if tolerance is None else number("tolerance", tolerance, low=0, open_low=True)
    twin, generator = float64_twin(network), np.random.default_rng(0)
    move_biases(twin, generator)
    gradients, inputs = twin.gradients(X, y), twin.layer_outputs(X)
    rounding = 10 * 2**-52 * max(1.0, abs(gradients.loss), float(np.abs(inputs[-1]).max()))    # of a loss
    largest = float(np.abs(packed(gradients)).max())
    if 0 < largest < rounding / (STEPS[0] * tolerance):
        raise ValueError(f"the loss is {gradients.loss:.3g} and its largest slope {largest:.3g}, which is less than "
                         "rounding leaves of differences; scale the targets or the loss, or check an untrained network")
    checks = []
    for name, analytic, (numeric, doubt, step) in derivatives(twin, gradients, inputs, y, generator):
        scale = max(abs(analytic), abs(numeric), NOT_TINY * largest, rounding / (step * tolerance))
        difference = abs(analytic - numeric) - doubt
        error = 0.0 if difference <= 0 else difference / scale
        checks.append(GradientCheck(name, analytic, numeric, error, error <= tolerance))
    return checks[int(np.argmax([check.error for check in checks]))]     # NaN counts as the largest


def derivatives(network: Network, gradients: Gradients, inputs: Sequence[FloatArray], y: ArrayLike,
                generator: np.random.Generator) -> Iterator[tuple[str, float, tuple[float, float, float]]]:
    """(name, derivative in `gradients`, result of `derivative`) for each parameter, or for a sample of 2,000.

    `inputs` are those of each layer; the first are X.
    """
    sample = np.arange(network.n_parameters)
    if len(sample) > CHECKED:
        sample = np.sort(generator.choice(sample, CHECKED, replace=False))
    start = 0
    for layer, x in enumerate(inputs[:-1]):
        steps = [step / max(1.0, float(np.abs(x).max())) for step in STEPS]
        for kind in ("weights", "biases"):
            values, slopes = getattr(network, kind)[layer], getattr(gradients, kind)[layer]
            for element in sample[(start <= sample) & (sample < start + values.size)] - start:
                index = np.unravel_index(element, values.shape)
                yield (f"{kind}[{layer}][{', '.join(map(str, index))}]", float(slopes[index]),
                       derivative(lambda: network.evaluate(inputs[0], y), values, index, steps))
            start += values.size


def derivative(loss: Callable[[], float], values: FloatArray, index: tuple[Any, ...],
               steps: Sequence[float]) -> tuple[float, float, float]:
    """(d loss / d values[index], its uncertainty, the step).

    Steps are tried until differences of several widths, and those to both sides, agree. What they disagree by is the
    uncertainty.
    """
    value = float(values[index])

    def loss_at(shift: float) -> float:
        values[index] = value + shift
        return loss()

    here, tried = loss_at(0), []
    for h in steps:
        widths = h, 2 * h, 4 * h
        above, below = ([loss_at(sign * width) for width in widths] for sign in (1, -1))
        d1, d2, d4 = ((a - b) / (2 * width) for a, b, width in zip(above, below, widths, strict=True))
        once, wider = (4 * d1 - d2) / 3, (4 * d2 - d4) / 3
        # The slope on the right less that on the left, which are alike up to h**3 where there is no kink.
        b1, b2, _ = ((a - 2 * here + b) / width for a, b, width in zip(above, below, widths, strict=True))
        numeric, doubt = (16 * once - wider) / 15, abs(once - wider) + abs(2 * b1 - b2) / 2
        tried.append((doubt, numeric, h))
        if doubt <= AGREE * abs(numeric):
            break
    values[index] = value
    doubt, numeric, h = min(tried)
    return numeric, doubt, h
