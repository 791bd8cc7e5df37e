"""The arguments of `fit`, checked, but for its rows: rows.py, sources.py and validation.py check those.

`Network.fit` calls `checked_settings`; training reads the `FitSettings` that it returns, and checks nothing again.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from .._checks import checked_integer, is_whole, number, optional, plain, sequence, shown, yes_or_no
from .._words import object_meant
from ..core.thread_count import MOST as MOST_THREADS
from ..optimizers import Adam, Optimizer
from .callback import Callback
from .early_stopping import EarlyStopping
from .progress import ProgressBar
from .whole_batch import WholeBatchOptimizer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._types import AnyOptimizer, ClassWeight

COUNT_OR_NONE, AMOUNT_OR_NONE = optional(partial(checked_integer, low=1)), optional(partial(number, low=0))
THREADS_OR_NONE = optional(partial(checked_integer, low=1, high=MOST_THREADS))


@dataclass
class FitSettings:
    """What a fit was asked for, beside rows; `Network.fit` says what each is."""

    epochs: int
    batch_size: int | None
    shuffle: bool
    steps_per_epoch: int | None
    tol: float | None
    time_budget: float | None
    threads: int | None
    early_stopping: EarlyStopping | None
    callbacks: tuple[Callback, ...]         # with the EarlyStopping and the progress bar
    optimizer: AnyOptimizer
    class_weight: ClassWeight | None


def checked_settings(*, epochs: Any, batch_size: Any, shuffle: Any, steps_per_epoch: Any, tol: Any, time_budget: Any,
                     threads: Any, early_stopping: Any, callbacks: Any, progress: Any, optimizer: Any,
                     last_optimizer: AnyOptimizer | None, class_weight: Any) -> FitSettings:
    """The arguments of `fit`, checked in this order; `last_optimizer` is that of the fit before."""
    return FitSettings(
        epochs=checked_integer("epochs", epochs, 0),
        batch_size=COUNT_OR_NONE("batch_size", batch_size),
        shuffle=yes_or_no("shuffle", shuffle),
        steps_per_epoch=COUNT_OR_NONE("steps_per_epoch", steps_per_epoch),
        tol=AMOUNT_OR_NONE("tol", tol),
        time_budget=AMOUNT_OR_NONE("time_budget", time_budget),
        threads=THREADS_OR_NONE("threads", threads),
        early_stopping=checked_early_stopping(early_stopping),
        callbacks=(*([early_stopping] if early_stopping is not None else []), *checked_callbacks(callbacks),
                   *([ProgressBar()] if yes_or_no("progress", progress) else [])),
        optimizer=checked_optimizer(optimizer, last_optimizer),
        class_weight=checked_class_weight(class_weight))


def checked_early_stopping(early_stopping: object) -> EarlyStopping | None:
    """An EarlyStopping, or None."""
    if early_stopping is not None and not isinstance(early_stopping, EarlyStopping):
        raise TypeError(f"early_stopping is {shown(early_stopping)}, but must be a fastnn.EarlyStopping, such "
                        "as fastnn.EarlyStopping(patience=10), or None")
    return early_stopping


def checked_callbacks(callbacks: Iterable[Callback]) -> tuple[Callback, ...]:
    """A tuple of callbacks."""
    callbacks = sequence("callbacks", callbacks, "be a sequence of fastnn.Callback instances")
    for index, callback in enumerate(callbacks):
        if not isinstance(callback, Callback):
            raise TypeError(f"callbacks[{index}] is {shown(callback)}, but must be an instance of a subclass of "
                            "fastnn.Callback")
        if isinstance(callback, EarlyStopping):
            raise TypeError(f"callbacks[{index}] is an EarlyStopping; pass it as early_stopping=")
    return callbacks


def is_optimizer(value: object) -> TypeGuard[AnyOptimizer]:
    """Whether a value is an optimizer of either kind: of steps, or of iterations over all rows."""
    return isinstance(value, (Optimizer, WholeBatchOptimizer))


def checked_optimizer(optimizer: object, last: AnyOptimizer | None) -> AnyOptimizer:
    """The optimizer to train with; None is the last one, else Adam()."""
    if optimizer is None:
        return last or Adam()
    if not is_optimizer(optimizer):
        raise TypeError(f"optimizer is {shown(optimizer)}, but must be an optimizer such as "
                        f"{object_meant('an optimizer', optimizer, 'fastnn.SGD(0.1)')}")
    return optimizer


def checked_class_weight(class_weight: object) -> ClassWeight | None:
    """class_weight as None, "balanced" or a dictionary {int: float}, from any mapping and pandas' Series."""
    class_weight = plain(class_weight)
    if class_weight is None or (isinstance(class_weight, str) and class_weight == "balanced"):
        return class_weight     # type: ignore[return-value]
    if isinstance(class_weight, str) or not hasattr(class_weight, "items"):
        one_each = False
        with suppress(ValueError):      # such as a list whose rows have different lengths
            one_each = not isinstance(class_weight, str) and np.ndim(class_weight) == 1     # type: ignore[arg-type]
        came = " ".join(shown(class_weight).split())
        raise TypeError(f"class_weight is {came}, but must be 'balanced' or a dictionary {{class: weight}}"
                        + ("; pass dict(enumerate(class_weight))" if one_each else ""))
    weights: dict[int, float] = {}
    for label, weight in class_weight.items():
        if not (is_whole(label) or isinstance(label, np.bool_)):
            raise ValueError(f"class_weight names the class {label!r}, but classes are the numbers 0, 1, …")
        if int(label) in weights:
            raise ValueError(f"class_weight names the class {label!r} twice, but each has one weight")
        weights[int(label)] = number(f"class_weight[{label}]", weight, low=0)
    return weights
