"""What users pass as rows: inputs, targets and weights, checked and converted for one engine.

`as_rows` makes the engine's `Rows` of arrays; `held_out` divides them into rows to learn from and rows to validate
with. sources.py knows where a fit takes its rows from, and when.
"""

from __future__ import annotations

from math import fsum
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import (
    check_range,
    checked_labels,
    checked_weights,
    is_number,
    method_of,
    number,
    place,
    real_array,
)
from ..activations import takes_row
from ..core import Rows, random_order
from .evaluation import python_loss
from .ranks import ONE, Ranks
from .trainable import classifies

if TYPE_CHECKING:
    from .._types import Array, ClassWeight, FloatArray, Integers, Labels, Weights
    from ..core import Engine

DTYPES = {name: np.dtype(name) for name in ("float32", "float64")}      # comparing with a name takes five times as long
# `random_order` gets it in place of an epoch's number: that order says which rows are held out.
VALIDATION = 2**64 - 1


def check_inputs(X: object, n_inputs: int) -> Array:
    """X as an array (n, n_inputs) with at least one row."""
    given, X = X, real_array("X", X)
    if X.shape[:1] == (0,):
        raise ValueError(f"X has 0 rows (its shape is {X.shape}), but at least 1 is needed")
    if X.ndim != 2:
        reshape = method_of("X", given, "reshape")
        advice = ""
        if X.ndim == 1:
            advice = f"; pass {reshape}(-1, 1) if it is one column, {reshape}(1, -1) if it is one row"
        elif X.ndim > 2 and X.size == len(X) * n_inputs:
            advice = f"; pass {reshape}(len(X), -1)"
        raise ValueError(f"X has {X.ndim} dimensions, but must have 2: (samples, {n_inputs}){advice}")
    if X.shape[1] != n_inputs:
        raise ValueError(f"X has {X.shape[1]} features, but this network was built for {n_inputs} inputs")
    return X


def fits(array: Array, engine: Engine) -> bool:
    """Whether kernels can read an array where it stands."""
    return array.dtype == DTYPES[engine.dtype] and array.flags.carray


def converted(name: str, array: Array, engine: Engine, numbers: Integers | None = None,
              given: object = None) -> FloatArray:
    """A 2-D array in the network's dtype, aligned and C-contiguous; refuses NaN and infinity. For the error: `numbers`
    are those of its rows, if these are not 0, 1, …; `given` is what the user passed, if that names columns."""
    result = array
    if not fits(array, engine):
        with np.errstate(over="ignore", under="ignore"):
            result = np.require(array, engine.dtype, ("C", "A"))
    if not engine.kernels.all_finite(result):
        row, column = np.unravel_index(np.isfinite(result).argmin(), result.shape)
        at = place(given, (int(row if numbers is None else numbers[row]), int(column)))
        missing = "; fill or drop what is missing" if np.isnan(array[row, column]) else ""
        raise ValueError(f"{name} holds {array[row, column]}{at}, but must be finite in {engine.dtype}{missing}")
    return result


def inputs(engine: Engine, X: object, given: object = None) -> FloatArray:
    """X as the engine wants it: (n, n_inputs), finite, C-contiguous, of the network's dtype; `given` is what the user
    passed, if X was made of it."""
    return converted("X", check_inputs(X, engine.layer_sizes[0]), engine, given=X if given is None else given)


def takes_labels(engine: Engine) -> bool:
    """Whether targets are classes that exclude each other, or probabilities of these."""
    return takes_row(engine.activations[-1])


def tells_classes(engine: Engine) -> bool:
    """Whether outputs say which of several classes a row is of: softmax, or one sigmoid with a loss for that. Others
    are numbers, or yes and no to several questions."""
    one = engine.layer_sizes[-1] == 1
    return not one if takes_labels(engine) else one and classifies(engine.loss)


def targets(engine: Engine, y: object, rows: int) -> tuple[FloatArray | None, Labels]:
    """(targets (n, n_outputs) of the network's dtype, None), or (None, labels) for integer labels."""
    outputs, given = engine.layer_sizes[-1], y
    y = real_array("y", y)
    if y.ndim not in (1, 2):
        raise ValueError(f"y has {y.ndim} dimensions, but must have 1 or 2")
    if len(y) != rows:
        raise ValueError(f"y has {len(y)} rows, but X has {rows}")
    if takes_labels(engine) and y.ndim == 1:
        return None, checked_labels(y, outputs)
    if y.ndim == 1 and outputs == 1:
        y = y[:, None]
    if y.shape != (rows, outputs):
        raise ValueError(misshapen(engine, y, method_of("y", given, "ravel") + "()"))
    values = converted("y", y, engine, given=given)
    check_targets(engine, values)
    return values, None


def check_targets(engine: Engine, values: FloatArray) -> None:
    """Refuses targets (n, n_outputs) that the loss does not take; a Python loss takes any."""
    loss = getattr(engine.loss, "name", None)
    if loss is None:
        return
    if takes_labels(engine):
        check_range("y", values, 0, 1, "probabilities")
        if np.abs(values.sum(axis=1) - 1).max() > 1e-3:
            row = int(np.abs(values.sum(axis=1) - 1).argmax())
            raise ValueError(
                f"y holds probabilities that sum to {values[row].sum():g} in row {row}, but each must sum to 1")
    elif classifies(engine.loss):
        check_range("y", values, 0, 1, f"{loss}'s targets", advice_on_classes(values))
    elif loss == "poisson":
        check_range("y", values, 0, np.inf, "poisson's targets")


def misshapen(engine: Engine, y: Array, flat: str) -> str:
    """The sentence for targets (n,) or (n, k) that do not fit the outputs, and what to do; `flat` makes them (n,)."""
    rows, outputs = len(y), engine.layer_sizes[-1]
    columns = y.shape[1] if y.ndim == 2 else 0
    as_labels = columns < 2 and y.size > 0 and y.dtype.kind in "iu" and y.min() >= 0 and y.max() < outputs
    if takes_labels(engine):
        return (f"y has shape {y.shape}, but softmax takes labels ({rows},) or probabilities ({rows}, {outputs})"
                + (f"; pass labels as {flat}" if columns == 1 else ""))
    advice = ""
    if as_labels:
        advice = f"; for class labels build the network with output='softmax'{f' and pass {flat}' if columns else ''}"
    elif columns > 1:
        one_hot = ((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all()
        advice = f"; for these targets build Network([…, {columns}]{', output=' + repr('softmax') if one_hot else ''})"
    return f"y has shape {y.shape}, but must have shape ({rows}, {outputs}): one column per output{advice}"


def advice_on_classes(values: FloatArray) -> str:
    """What to do where targets should be 0 or 1, and may be classes with other numbers."""
    if values.shape[1] > 1 or not (values == np.floor(values)).all():
        return ""
    classes = np.unique(values)
    if len(classes) <= 2:
        return f"; write two classes as 0 and 1: pass y == {classes[-1]:g}"
    return f"; {len(classes)} classes need Network([…, {len(classes)}], output='softmax')"


def weights(engine: Engine, values: FloatArray | None, labels: Labels, sample_weight: object,
            class_weight: ClassWeight | None, whole: bool = True, ranks: Ranks = ONE) -> Weights:
    """One weight a row, the product of both kinds; None where there is neither."""
    rows = len(labels if values is None else values)
    if (sample_weight is not None or class_weight is not None) and python_loss(engine) is not None:
        raise ValueError("sample_weight and class_weight need a loss of fastnn's own, but the loss is a Python "
                         "function, which can weigh its rows itself")
    sample_weight = checked_weights("sample_weight", sample_weight, rows, whole)
    if class_weight is None:
        return sample_weight
    one_output = engine.layer_sizes[-1] == 1
    if not classifies(engine.loss) or not (takes_labels(engine) or one_output):
        raise ValueError(
            f"class_weight is {class_weight!r}, but goes with classes that exclude each other: output 'softmax', or "
            f"one output 'sigmoid' with a classification loss; here are {engine.layer_sizes[-1]} outputs "
            f"{engine.activations[-1]!r} with loss {engine.loss!r}")
    if values is None:
        shares = None
        counts = np.bincount(labels, minlength=engine.layer_sizes[-1])
    else:
        shares = np.hstack([1 - values, values]) if one_output and not takes_labels(engine) else values
        counts = np.array([fsum(share.tolist()) for share in shares.T])
    every = ranks.gathered("class_weight", counts.tolist())
    factors = class_factors(class_weight, np.array([fsum(count) for count in zip(*every, strict=True)]))
    if shares is None:
        factors = factors[labels]
    else:       # not by a matrix product: a BLAS sums in another order on each processor
        with np.errstate(under="ignore"):
            factors = sum(share.astype(np.float64) * factor for share, factor in zip(shares.T, factors, strict=True))
    with np.errstate(under="ignore"):
        products = factors if sample_weight is None else factors * sample_weight
    return checked_weights("sample_weight times class_weight", products, rows, whole)


def class_factors(class_weight: ClassWeight, counts: Array) -> FloatArray:
    """The weight of each class: n / (classes * count) for "balanced", else from a dictionary {class: weight}."""
    if isinstance(class_weight, str):
        return np.divide(fsum(counts), np.count_nonzero(counts) * counts, out=np.zeros(len(counts)),
                         where=counts > 0)
    factors = np.ones(len(counts))
    for label, weight in class_weight.items():
        if not 0 <= label < len(counts):
            raise ValueError(f"class_weight names the class {label!r}, but classes are 0 … {len(counts) - 1}")
        factors[label] = weight
    return factors


def as_rows(engine: Engine, X: object, y: object, sample_weight: object = None,
            class_weight: ClassWeight | None = None, whole: bool = True, ranks: Ranks = ONE) -> Rows:
    """The engine's `Rows` of these arrays; without `whole` they are a part of the rows to learn from."""
    X = inputs(engine, X)
    values, labels = targets(engine, y, len(X))
    return Rows(engine, X, values, labels,
                weights(engine, values, labels, sample_weight, class_weight, whole, ranks))


def held_out(engine: Engine, X: object, y: object, sample_weight: object, validation_data: Any,
             ranks: Ranks) -> tuple[tuple[Any, Any, Any], Any]:
    """((X, y, sample_weight) to train on, what to validate with): a fraction is held out of the rows; other
    validation_data are as they came."""
    if not is_number(validation_data):
        return (X, y, sample_weight), validation_data
    if ranks is not ONE:
        raise ValueError(f"validation_data is {validation_data}, but with a communicator a fraction would hold out "
                         "other rows for another number of ranks; pass the validation rows of this rank, (X, y)")
    return split(engine, X, y, sample_weight, validation_data)


def split(engine: Engine, X: object, y: object, sample_weight: object,
          fraction: float) -> tuple[Any, Any]:
    """(X, y, sample_weight) to train on and the same to validate with: a random `fraction` of the rows, always the
    same for one seed."""
    fraction = number("validation_data", fraction, low=0, high=1, open_low=True)
    if y is None or isinstance(X, np.memmap):
        raise ValueError(f"validation_data is {fraction}, but a fraction can only be held out of arrays in memory; "
                         "pass the validation rows as (X, y)")
    X = inputs(engine, X)
    targets(engine, y, len(X))      # checked before the split, so that an error names the user's row
    y = real_array("y", y)
    count = max(1, round(fraction * len(X)))
    if count >= len(X):
        raise ValueError(f"validation_data is {fraction}, which leaves none of the {len(X)} rows to train on")
    order = random_order(len(X), engine.seed, VALIDATION)
    if sample_weight is not None:
        sample_weight = checked_weights("sample_weight", sample_weight, len(X))
    learned, validated = ((X[part], y[part], None if sample_weight is None else sample_weight[part])
                          for part in (np.sort(order[count:]), np.sort(order[:count])))
    return learned, validated
