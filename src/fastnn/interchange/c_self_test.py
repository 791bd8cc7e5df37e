"""The self-test of a header in C: which rows it records, and how exactly its outputs must agree.

A row is worth recording where its outputs show a mistake: other parameters, a missing activation, other inputs. So the
network is compared with `mutants` of itself, and rows are chosen that tell most of them from it. c.py writes the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._checks import real_array
from ..ops import dense_forward
from .contents import divided

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .._types import Array, ArrayLike, FloatArray
    from ..network import Network
    from ..scaling import Scaling

N_TESTS = 8
TOLERANCE = {"float32": 2e-5, "float64": 2e-12}     # of a row's largest output plus `scale`, at least
CANDIDATES = 256        # rows, of which the self-test records those that show most mistakes
LARGER = (1e2, 1e4, 1e6, 1e8)      # times standard normal inputs, for networks whose columns are that large
MOST_MUTANTS = 16
ROUNDING = 16           # a tolerance is so many times the measured rounding: another order of sums changes less


def checked_inputs(network: Network, inputs: ArrayLike) -> FloatArray:
    """Rows (n, n_inputs) in the network's dtype, if they and their outputs are finite."""
    given = real_array("inputs", inputs)
    if given.ndim != 2 or not len(given) or given.shape[1] != network.layer_sizes[0]:
        raise ValueError(f"inputs has shape {given.shape}, but rows of {network.layer_sizes[0]} numbers and one at "
                         "least were expected")
    with np.errstate(over="ignore"):
        rows = given.astype(network.dtype)
    for what, values in (("holds", lambda: rows), ("leads to outputs of", lambda: network.predict(rows))):
        finite = np.isfinite(values()).all(axis=1)
        if not finite.all():
            raise ValueError(f"inputs: row {finite.argmin()} {what} NaN or infinity, but the self-test needs finite "
                             "numbers")
    return rows


def rows_to_record(columns: Scaling | None, network: Network) -> FloatArray:
    """At most eight rows for the self-test of a network whose inputs have such means and deviations (None: 0 and 1).

    Candidates are drawn from a normal distribution; later ones are nearer to the mean. Where these do not show every
    mistake, and nothing is known of the inputs, larger candidates are tried: weights are small where inputs are large.
    """
    sizes = 10.0 ** (-30 * np.linspace(0, 1, CANDIDATES) ** 3)
    rows = np.random.default_rng(network.seed).standard_normal((CANDIDATES, network.layer_sizes[0])) * sizes[:, None]
    first, complete = revealing_rows(network, (rows if columns is None else columns.undo(rows)).astype(network.dtype))
    for larger in LARGER if columns is None and not complete else ():
        try:
            chosen, complete = revealing_rows(network, (larger * rows).astype(network.dtype))
        except ValueError:      # no outputs are finite
            break
        if complete:
            return chosen
    return first


def revealing_rows(network: Network, rows: FloatArray) -> tuple[FloatArray, bool]:
    """(at most eight of the rows, early ones preferred, that show most mistakes; whether they show all of them)

    Mistakes are other inputs, other parameters and a missing activation. A row shows a mistake that changes its outputs
    by ten times the self-test's tolerance. Rows with more rounding than most are left out, as the tolerance would have
    to be larger for them.
    """
    outputs = network.predict(rows)
    finite = np.isfinite(outputs).all(axis=1)
    if not finite.any():
        raise ValueError("the outputs for standard normal inputs and for smaller ones hold NaN or infinity, but must "
                         "be finite in C; give inputs= for which they are finite")
    rows, outputs = rows[finite], outputs[finite]
    errors = rounding(network, rows, outputs)
    exact = errors <= max(float(np.median(errors)), TOLERANCE[network.dtype] / ROUNDING)
    rows, outputs, errors = rows[exact], outputs[exact], errors[exact]
    least = 10 * tolerance(network, errors) * (scale(outputs) + np.abs(outputs).max(axis=1))
    others = [np.broadcast_to(outputs[-1], outputs.shape),
              *(outputs_of(network, *mutant, rows) for mutant in mutants(network))]
    with np.errstate(invalid="ignore"):
        shown = np.array([~(np.abs(other - outputs).max(axis=1) <= least) for other in others])
    chosen: list[int] = []
    while len(chosen) < min(N_TESTS, len(rows)):    # a mistake that chosen rows show counts less
        worth = (shown / (1 + shown[:, chosen].sum(axis=1, keepdims=True))).sum(axis=0)
        worth[chosen] = -1
        chosen.append(int(worth.argmax()))
    return rows[sorted(chosen)], bool(shown[:, chosen].any(axis=1).all())


def mutants(network: Network) -> Iterable[tuple[Sequence[str], Array]]:
    """(activations, parameters) of networks that are wrong: with smaller parameters, and without the activation of one
    of the layers: any, or some of many."""
    yield network.activations, 0.9 * network.get_parameters()
    n_layers = len(network.activations)
    for layer in np.unique(np.linspace(0, n_layers - 1, min(n_layers, MOST_MUTANTS)).astype(int)):
        if network.activations[layer] != "identity":
            yield ([*network.activations[:layer], "identity", *network.activations[layer + 1:]],
                   network.get_parameters())


def rounding(network: Network, rows: FloatArray, outputs: FloatArray) -> FloatArray:
    """The relative error by rounding in each row's outputs.

    It is measured: half of the parameters are made smaller by four units in their last place.
    """
    parameters = network.get_parameters()
    units = np.random.default_rng(0).choice([0, 4], parameters.shape)
    other = outputs_of(network, network.activations, parameters * (1 - units * np.finfo(network.dtype).eps), rows)
    errors = np.abs(other - outputs).max(axis=1) / (scale(outputs) + np.abs(outputs).max(axis=1))
    return np.where(np.isfinite(errors), errors, 1)     # infinite where outputs nearly overflow


def scale(outputs: FloatArray) -> float:
    """What is added to a row's largest output before errors are divided by it: the largest output of all rows, or 1."""
    return min(1.0, max(float(np.abs(outputs).max()), 1e-30))


def tolerance(network: Network, errors: FloatArray) -> float:
    """The relative error that the self-test allows."""
    return max(TOLERANCE[network.dtype], ROUNDING * float(errors.max()))


def outputs_of(network: Network, activations: Sequence[str], parameters: Array, rows: FloatArray) -> FloatArray:
    """The outputs for these rows of the network's layers with other activations or parameters."""
    parameters = parameters.astype(network.dtype)
    for activation, (weights, biases) in zip(activations, divided(network.layer_sizes, parameters), strict=True):
        outputs = np.empty((len(rows), len(biases)), rows.dtype)
        dense_forward(outputs, rows, weights, biases, activation)
        rows = outputs
    return rows
