"""Learning-rate schedules: given as an optimizer's `learning_rate`, they give the rate of every step.

Before each epoch the training loop calls `rates`, after it `observe` with the loss. Time t counts epochs or steps
(`by`) from 0, the optimizer's first. A schedule consists of its arguments, which are checked when it is built and never
change; schedules with equal arguments are equal. Only ReduceOnPlateau has a state: the losses that it has seen. So it
belongs to one optimizer; a copy goes on from the same state, and can belong to another. A file keeps `settings` and
`state`, from which `from_settings` and `set_state` make the schedule again. This module knows no networks, optimizers
or kernels.

A rate has the same bits on every machine. Powers and cosines of NumPy and of the C library depend on the processor, so
they are computed here, by operations that every machine rounds alike.
"""

from __future__ import annotations

import copy
import math
import weakref
from collections.abc import Callable
from dataclasses import Field, dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ._checks import checked_integer, choose, is_number, number, shown
from ._words import explains_dataclass, object_meant

if TYPE_CHECKING:
    from ._types import Array, FloatArray, Integers, LearningRate

POSITIVE: dict[str, Any] = {"low": 0, "open_low": True}
INSIDE_0_1: dict[str, Any] = {"low": 0, "open_low": True, "high": 1}
BOUNDS: dict[str, dict[str, Any]] = {
    "rate": POSITIVE,
    "highest_rate": POSITIVE,
    "final_rate": {"low": 0},
    "lowest_rate": {"low": 0},
    "factor": INSIDE_0_1,
    "rise": INSIDE_0_1,
    "start_divisor": {"low": 1},
    "final_divisor": {"low": 1},
    "min_change": {"low": 0, "high": 1},
}
LEAST = {"every": 1, "length": 1, "patience": 0}
SMALLEST_CHANGE = 1e-8      # of ReduceOnPlateau's rate; PyTorch's `eps`


def as_schedule(learning_rate: LearningRate, name: str = "learning_rate") -> float | Schedule:
    """What an optimizer stores as its learning rate: a Schedule as it is, or a number as a float.

    A callable becomes `Function(learning_rate)`. TypeError for anything else, ValueError for a number that
    is not above 0. Errors call the argument `name`.

    >>> as_schedule(1)
    1.0
    """
    if isinstance(learning_rate, Schedule):
        return learning_rate
    if callable(learning_rate) and not isinstance(learning_rate, type):
        return Function(learning_rate)
    if not is_number(learning_rate):
        such_as = object_meant("a learning rate", learning_rate, "")
        raise TypeError(f"{name} is {shown(learning_rate)}, but must be a number, a schedule or a function of the epoch"
                        f"{', such as ' + such_as if such_as else ''}")
    return number(name, learning_rate, **POSITIVE)


def from_settings(settings: dict[str, Any]) -> Schedule:
    """The schedule that returned these `settings()`. ValueError if none did, as files may hold anything.

    >>> from_settings({"schedule": "StepDecay", "rate": 0.1, "every": 10})
    StepDecay(rate=0.1, every=10, factor=0.1, by='epoch')
    """
    try:
        arguments = {name: from_settings(value) if isinstance(value, dict) else value
                     for name, value in dict(settings).items()}
        return SAVED[choose("schedule", arguments.pop("schedule", None), SAVED)](**arguments)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"these are not the settings of a schedule: {error}") from None


def _checked(name: str, value: Any) -> object:
    """The value of a schedule's argument, checked."""
    if name in BOUNDS:
        return number(name, value, **BOUNDS[name])
    if name in LEAST:
        return checked_integer(name, value, LEAST[name])
    if name == "by":
        return choose(name, value, ("epoch", "step"))
    if name == "schedule_or_rate":
        return as_schedule(value, name)
    if name == "function" and not callable(value):
        raise TypeError(f"{name} is {shown(value)}, but must be a function from t to a learning rate")
    return value


Parts = tuple[Any, Any]     # a number or an array as the sum of two: the second is what rounding took from the first
DIGIT_BITS = 8              # of a digit of an exponent; each digit has a table of powers


def power(base: float, exponents: Integers) -> Array:
    """base ** exponents for a base between 0 and 1 and integers 0 … 2**62.

    The error is half a unit in the last place, and 2**-100 of the value for each 1 of the exponent.

    >>> power(0.1, np.array([0, 1, 2, 1000]))
    array([1.  , 0.1 , 0.01, 0.  ])
    """
    exponents = np.asarray(exponents)
    high, low = np.ones(exponents.shape), np.zeros(exponents.shape)
    for place in range(0, 63, DIGIT_BITS):
        digits = exponents >> place
        if not digits.any():
            break
        table = powers(base, place)[:, digits % 2**DIGIT_BITS]
        high, low = table if place == 0 else product((high, low), (table[0], table[1]))
    return high


@lru_cache(256)
def powers(base: float, place: int) -> Array:
    """base ** (i * 2**place) for i = 0 … 2**DIGIT_BITS - 1, as Parts (2, 2**DIGIT_BITS)."""
    step: Parts = (base, 0.0)
    if place:
        last = powers(base, place - DIGIT_BITS)[:, [1, -1]].tolist()
        step = product(*zip(*last, strict=True))
    table: list[Parts] = [(1.0, 0.0)]
    while len(table) < 2**DIGIT_BITS:
        table.append(product(table[-1], step))
    return np.array(table).T


def product(a: Parts, b: Parts) -> Parts:
    """a * b, to about 100 bits (Dekker, 1971)."""
    (x, x_rest), (y, y_rest) = a, b
    (x_high, x_low), (y_high, y_low) = halves(x), halves(y)
    rounded = x * y
    rest = ((x_high * y_high - rounded) + x_high * y_low + x_low * y_high) + x_low * y_low + (x * y_rest + x_rest * y)
    total = rounded + rest
    return total, rest - (total - rounded)


def halves(x: Any) -> Parts:
    """A number as the sum of two with 26 bits each, so that products of these are exact (Veltkamp, 1968)."""
    shifted = x * (2.0**27 + 1)
    high = shifted - (shifted - x)
    return high, x - high


SERIES = [(-1) ** (k // 2) / math.factorial(k) for k in range(20)]       # Taylor's for cos (even k) and sin (odd k)


def half_cosine(p: Array) -> Array:
    """(1 + cos(pi * p)) / 2 for p in 0 … 2, to 1e-16: exactly 1, 0.5, 0, 0.5, 1 at 0, 0.5, 1, 1.5, 2, and symmetric.

    >>> half_cosine(np.array([0, 0.5, 1, 1.5, 2]))
    array([1. , 0.5, 0. , 0.5, 1. ])
    """
    p = np.minimum(p, 2 - p)                    # 0 … 1: the second half mirrors the first
    q = np.minimum(p, 1 - p)                    # 0 … 1/2: cos(pi - x) is -cos(x)
    cosine = np.where(q < 0.25, series(np.pi * q, 0), series(np.pi * (0.5 - q), 1))     # cos(x) is sin(pi/2 - x)
    return (1 + np.where(p > 0.5, -cosine, cosine)) / 2


def series(x: Array, first: int) -> Array:
    """cos(x) for first = 0, sin(x) for first = 1, by Taylor's series; x is 0 … pi/4."""
    total = np.zeros(x.shape)
    for coefficient in reversed(SERIES[first::2]):
        total = total * (x * x) + coefficient
    return total * x if first else total


def copied(value: Any) -> Any:
    """The value of an attribute in a copy of a schedule. A function stays the same one, anything else is copied."""
    if isinstance(value, Schedule):
        return copy.copy(value)
    return value if callable(value) else copy.deepcopy(value)


class Schedule:
    """What all schedules share. A subclass defines `at`, or its own `rates`."""

    by: str = "epoch"
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]       # for type checkers: each is a dataclass
    _memory: dict[str, Any]                                     # of a schedule that has a state

    def __post_init__(self) -> None:
        for argument in fields(self):
            object.__setattr__(self, argument.name, _checked(argument.name, getattr(self, argument.name)))

    def __getstate__(self) -> dict[str, Any]:
        """A copy or a pickle has the same arguments, a copy of the state, and belongs to no optimizer yet."""
        return {name: copied(value) for name, value in vars(self).items() if name != "_owner"}

    def serve(self, optimizer: object) -> None:
        """Called by an optimizer that gets this schedule. ValueError if it has the state of another optimizer."""

    def at(self, t: Integers) -> FloatArray:
        """The rates (n,) at the times t (n,), integers."""
        raise NotImplementedError

    def rates(self, epoch: int, first_step: int, steps: int) -> float | FloatArray:
        """The rates of the coming epoch: one float, or an array (steps,) if they may differ.

        `epoch` and `first_step` count from 0, since the optimizer's first step.
        """
        if self.by == "epoch":
            return float(self.at(np.arange(epoch, epoch + 1))[0])
        return self.at(np.arange(first_step, first_step + steps))

    def observe(self, loss: float) -> None:
        """Called after each epoch with the validation loss if there is one, else with the training loss."""

    def settings(self) -> dict[str, Any]:
        """The name and the arguments, for JSON; TypeError if an argument is a Python function."""
        arguments = {argument.name: getattr(self, argument.name) for argument in fields(self)}
        return {"schedule": type(self).__name__} | {
            name: value.settings() if isinstance(value, Schedule) else value for name, value in arguments.items()}

    def state(self) -> dict[str, Any]:
        """The state, as a new dict for JSON."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes a state that `state()` returned; ValueError for anything else."""
        if state != {}:
            raise ValueError(f"{type(self).__name__} remembers nothing, but was given the state {shown(state)}")


@explains_dataclass
@dataclass(frozen=True)
class StepDecay(Schedule):
    """A rate that is multiplied by `factor` after every `every` epochs or steps, as PyTorch's StepLR.

    The rate at the time t is rate * factor ** (t // every).

    >>> StepDecay(0.1, every=10, factor=0.5).rates(epoch=25, first_step=2500, steps=100)
    0.025
    """

    rate: float
    every: int
    factor: float = 0.1
    by: str = "epoch"

    @np.errstate(under="ignore")
    def at(self, t: Integers) -> FloatArray:
        return self.rate * power(self.factor, t // self.every)


@explains_dataclass
@dataclass(frozen=True)
class ExponentialDecay(Schedule):
    """A rate that is multiplied by `factor` after each epoch or step, as PyTorch's ExponentialLR.

    The rate at the time t is rate * factor ** t.

    >>> ExponentialDecay(0.1, factor=0.5, by="step").rates(epoch=1, first_step=2, steps=2)
    array([0.025 , 0.0125])
    """

    rate: float
    factor: float
    by: str = "epoch"

    @np.errstate(under="ignore")
    def at(self, t: Integers) -> FloatArray:
        return self.rate * power(self.factor, t)


@explains_dataclass
@dataclass(frozen=True)
class CosineDecay(Schedule):
    """Half a cosine from `rate` to `final_rate` in `length` epochs or steps (Loshchilov and Hutter, 2017).

    The rate at the time t is final_rate + (rate - final_rate) * (1 + cos(pi * t / length)) / 2, as PyTorch's
    CosineAnnealingLR. After `length` it stays at `final_rate`.

    >>> [CosineDecay(0.1, length=2).rates(epoch, 0, 1) for epoch in range(4)]
    [0.1, 0.05, 0.0, 0.0]
    """

    rate: float
    length: int
    final_rate: float = 0.0
    by: str = "epoch"

    @np.errstate(under="ignore")
    def at(self, t: Integers) -> FloatArray:
        p = np.minimum(t, self.length) / self.length
        return self.final_rate + (self.rate - self.final_rate) * half_cosine(p)


@explains_dataclass
@dataclass(frozen=True)
class OneCycle(Schedule):
    """A rate that rises once and falls once, along half cosines, as PyTorch's OneCycleLR (Smith and Topin, 2017).

    It begins with highest_rate / start_divisor, and rises to highest_rate at t = rise * length - 1. Then it falls to
    highest_rate / start_divisor / final_divisor at t = length - 1, and stays there. `rise` is a fraction of `length`.

    >>> OneCycle(1, length=5, rise=0.6, start_divisor=10, final_divisor=10).rates(epoch=0, first_step=0, steps=5)
    array([0.1  , 0.55 , 1.   , 0.505, 0.01 ])
    """

    highest_rate: float
    length: int
    rise: float = 0.3
    start_divisor: float = 25.0
    final_divisor: float = 1e4
    by: str = "step"

    @np.errstate(under="ignore")
    def at(self, t: Integers) -> FloatArray:
        top, end = self.rise * self.length - 1, self.length - 1
        p = np.minimum(1 + (t - top) / (end - top), 2)
        if top > 0:
            p = np.where(t < top, t / top, p)
        start_rate = self.highest_rate / self.start_divisor
        low = np.where(p < 1, start_rate, start_rate / self.final_divisor)
        return self.highest_rate + (low - self.highest_rate) * half_cosine(p)


@explains_dataclass
@dataclass(frozen=True)
class ReduceOnPlateau(Schedule):
    """A rate that is multiplied by `factor` if the loss makes no progress, as PyTorch's ReduceLROnPlateau.

    It falls after more than `patience` epochs without progress. Progress is a loss below best - min_change * abs(best),
    where `best` is the loss at the last progress. The rate does not fall below `lowest_rate`, and does not change by
    1e-8 or less. Losses below 0 differ from PyTorch, where a constant negative loss counts as progress.

    >>> plateau = ReduceOnPlateau(0.1, factor=0.5, patience=1)
    >>> for loss in (3, 2, 2, 2):
    ...     plateau.observe(loss)
    >>> plateau.rates(epoch=4, first_step=400, steps=100)
    0.05
    """

    rate: float
    factor: float = 0.1
    patience: int = 10
    min_change: float = 1e-4
    lowest_rate: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "_memory", {"rate": self.rate, "best": None, "bad_epochs": 0})

    def serve(self, optimizer: object) -> None:
        owner = vars(self).setdefault("_owner", weakref.ref(optimizer))     # also a deleted owner remains the only one
        if owner() is not optimizer:
            raise ValueError(f"learning_rate is {self!r}, which remembers the losses of another optimizer; build one "
                             "for each, or pass copy.copy(schedule), which goes on from what it remembers")

    def rates(self, epoch: int, first_step: int, steps: int) -> float | FloatArray:
        return self._memory["rate"]

    def observe(self, loss: float) -> None:
        memory, best = self._memory, self._memory["best"]
        if math.isfinite(loss) and (best is None or loss < best - self.min_change * abs(best)):
            memory.update(best=float(loss), bad_epochs=0)
            return
        memory["bad_epochs"] += 1
        if memory["bad_epochs"] > self.patience:
            lower = max(memory["rate"] * self.factor, self.lowest_rate)
            if memory["rate"] - lower > SMALLEST_CHANGE:
                memory["rate"] = lower
            memory["bad_epochs"] = 0

    def state(self) -> dict[str, Any]:
        return dict(self._memory)

    def set_state(self, state: dict[str, Any]) -> None:
        try:
            self._memory.update(
                rate=number("rate", state["rate"], low=0),
                best=None if state["best"] is None else number("best", state["best"]),
                bad_epochs=checked_integer("bad_epochs", state["bad_epochs"], 0),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is not the state of a ReduceOnPlateau: {error}") from None


@explains_dataclass
@dataclass(frozen=True)
class WarmUp(Schedule):
    """A warm-up: the rate grows evenly during `length` epochs or steps (Goyal et al., 2017).

    The rate is min(1, (t + 1) / length) times a number, or times the rate of another schedule. The time of the other
    schedule starts with the warm-up, not after it. Its `by` may differ from that of the warm-up.

    >>> WarmUp(0.1, length=4).rates(epoch=0, first_step=0, steps=5)
    array([0.025, 0.05 , 0.075, 0.1  , 0.1  ])
    """

    schedule_or_rate: Schedule | float
    length: int
    by: str = "step"

    @property
    def _schedule(self) -> Schedule:
        inner = self.schedule_or_rate
        return inner if isinstance(inner, Schedule) else _Constant(inner)

    def at(self, t: Integers) -> FloatArray:
        return np.minimum(1, (t + 1) / self.length)

    @np.errstate(under="ignore")
    def rates(self, epoch: int, first_step: int, steps: int) -> float | FloatArray:
        return super().rates(epoch, first_step, steps) * self._schedule.rates(epoch, first_step, steps)

    def serve(self, optimizer: object) -> None:
        self._schedule.serve(optimizer)

    def observe(self, loss: float) -> None:
        self._schedule.observe(loss)

    def state(self) -> dict[str, Any]:
        return self._schedule.state()

    def set_state(self, state: dict[str, Any]) -> None:
        self._schedule.set_state(state)


@dataclass(frozen=True)
class _Constant(Schedule):
    """The number that a WarmUp may hold in place of a schedule."""

    rate: float

    def rates(self, epoch: int, first_step: int, steps: int) -> float | FloatArray:
        return self.rate


@explains_dataclass
@dataclass(frozen=True)
class Function(Schedule):
    """function(t), any Python callable: called once for each epoch, or once for each step.

    It must return a finite number, 0 or more; otherwise a TypeError or ValueError names t and the value. A
    network trained with it is saved with its latest rate alone, as `settings` raises TypeError.

    >>> Function(lambda epoch: 0.1 / (1 + epoch)).rates(epoch=3, first_step=300, steps=100)
    0.025
    """

    function: Callable[[int], float]
    by: str = "epoch"

    def at(self, t: Integers) -> FloatArray:
        return np.array([number(f"the learning rate from function({i})", self.function(i), low=0) for i in t.tolist()])

    def settings(self) -> dict[str, Any]:
        raise TypeError(f"{self!r} cannot be saved, as it holds a Python function; use one of {', '.join(SAVED)}")


SAVED: dict[str, Callable[..., Schedule]] = {kind.__name__: kind for kind in
         (StepDecay, ExponentialDecay, CosineDecay, OneCycle, ReduceOnPlateau, WarmUp)}
