"""What optimizers share that take all rows at once: an iteration is an epoch, and nothing of a step is theirs.

`WholeBatchOptimizer` has the methods of `MinibatchOptimizer` in fit.py, but for `loop`; `whole_batch` checks the rows
of such a fit. The searches themselves are in lbfgs.py and levenberg_marquardt.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from .._checks import Settings, checked_count
from .rows import as_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._types import Fit, FloatArray, History, Ranks
    from ..core import Engine, Rows
    from .divergence import State
    from .settings import FitSettings


class WholeBatchOptimizer(Settings):
    """An optimizer whose epoch is one iteration over all rows. It has no learning rate; unless a subclass says so, it
    keeps no blocks and belongs to no network."""

    _checks: ClassVar = {"steps": checked_count, "epochs": checked_count}
    _arguments: ClassVar[tuple[str, ...]]       # the names of those of __init__

    steps: int
    epochs: int

    def __init__(self, **arguments: Any) -> None:
        for name, value in arguments.items():
            setattr(self, name, value)
        self.steps = self.epochs = 0

    def arguments(self) -> dict[str, float]:
        """The arguments that would make it again."""
        return {name: getattr(self, name) for name in self._arguments}

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.arguments().items())
        return f"{type(self).__name__}({arguments})"

    @property
    def state(self) -> tuple[FloatArray, ...]:
        """The blocks that it keeps between fits."""
        return ()

    def bind(self, engine: Engine) -> None:
        """Makes this the optimizer of one network, if it keeps something of it."""

    def loop(self, engine: Engine, X: object, y: object, sample_weight: object, settings: FitSettings,
             ranks: Ranks) -> Callable[[Fit, State], History]:
        """Checks the rows of a fit; returns the function that trains on them."""
        raise NotImplementedError

    def for_single_steps(self) -> NoReturn:
        """Refuses `train_on_batch`."""
        raise ValueError(f"optimizer is {type(self).__name__}, which needs all rows at once: call fit, or pass another "
                         "optimizer")

    def memory(self) -> tuple[Any, ...]:
        """What a fit changes, for `bring_back`."""
        return self.steps, self.epochs

    def bring_back(self, memory: tuple[Any, ...], engine: Engine) -> None:
        """Makes it as it was."""
        self.steps, self.epochs = memory

    def count_epoch(self) -> None:
        """One more iteration is done."""
        self.steps += 1
        self.epochs += 1

    def observe(self, loss: float) -> None:
        """Does nothing: there is no schedule that the loss would concern."""


def whole_batch(name: str, engine: Engine, X: object, y: object, sample_weight: object, settings: FitSettings,
                ranks: Ranks) -> Rows:
    """All rows, which the optimizer of this name takes at once; refuses what such an optimizer does not go with."""
    if y is None:
        raise ValueError(f"optimizer is {name}, which needs all rows at once, but X is an iterable of batches")
    rows = as_rows(engine, X, y, sample_weight, settings.class_weight, ranks.size == 1, ranks)
    if settings.steps_per_epoch is not None:
        raise ValueError(f"steps_per_epoch is {settings.steps_per_epoch}, but an epoch of {name} is one iteration over "
                         "all rows; leave it out")
    if settings.batch_size is not None and settings.batch_size < len(rows):
        raise ValueError(f"batch_size is {settings.batch_size}, but {name} takes all {len(rows)} rows at once; leave "
                         "it out")
    if engine.label_smoothing:
        raise ValueError(f"label_smoothing is {engine.label_smoothing}, but {name} does not support it; "
                         "smooth y itself, or pass another optimizer")
    if any(engine.dropout):
        raise ValueError(f"optimizer is {name}, which needs a loss that stays the same, but the network has dropout")
    return rows
