"""EarlyStopping: stops a fit that no longer improves, and keeps the best parameters.

It asks the fit (fit.py) what is recorded and what the latest value is. Storage asks `described` and `from_description`.
"""

from __future__ import annotations

import math
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .._checks import Settings, checked_count, checked_integer, choose, number, optional, shown, yes_or_no
from .._words import explains, meant
from .callback import Callback
from .fit import latest, recorded, set_watched
from .metrics import mode_of
from .trainable import at_rest, engine_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from .._types import Fit, FloatArray, Network
    from ..core import Engine

# What a fit changes: attributes that `memory` keeps and `bring_back` restores.
REMEMBERED = "best", "best_epoch", "waited", "best_parameters", "_best_of"


def checked_monitor(name: str, value: object) -> str:
    """The name of a list in the History."""
    if not isinstance(value, str):
        raise TypeError(f"{name} is {shown(value)}, but must be the name of a list in the History, or None")
    return str.__str__(value)


def checked_block(name: str, value: object) -> FloatArray:
    """An array; `EarlyStopping.restore` looks whether it fits the network."""
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name} is a {type(value).__name__}, but must be an array, or None")
    return value


def check_best(engine: Engine, block: FloatArray) -> None:
    """Refuses a block that is not one of this network's parameters."""
    parameters = engine.parameters
    if (block.shape, block.dtype) != (parameters.shape, parameters.dtype):
        raise ValueError("early_stopping.best_parameters is not a block of this network's parameters; set it to None")


class EarlyStopping(Settings, Callback):
    """Stop a fit when the monitored value has not improved for `patience` epochs.

    Parameters
    ----------
    patience : int
        The number of epochs without improvement after which the fit stops.
    min_change : float
        A value is an improvement if it is better than the best value by more than this number.
    monitor : str or None
        The name of a list of the `History`, such as "validation_accuracy". None means the validation loss, or the
        training loss if there are no validation rows. `fit` does not accept a score that has no meaning for its rows,
        such as "r2" if all targets are equal.
    mode : "min", "max" or None
        Whether smaller or larger values are better. None works for losses and for the metrics that have a name.
    restore_best : bool
        Whether the network gets the parameters of the best epoch when this object stops the fit. A fit that ends for
        another reason keeps its latest parameters, and `restore(network)` sets the best ones afterwards. A fit
        in which all values were equal also keeps its latest parameters.

    Attributes
    ----------
    best : float or None
        The best value until now.
    best_epoch : int or None
        The value of `epochs_trained` that belongs to the best parameters.
    waited : int
        The number of epochs since the best value.
    best_parameters : array or None
        A copy of the best parameters. `restore` gives them to the network.

    Notes
    -----
    An EarlyStopping belongs to one network. The next fit with the same object continues to count, unless it monitors
    something else. `Network.save` saves it with the network, and `fastnn.load(path).early_stopping` returns it.

    If no value was finite, there is no best epoch, and the fit ends with a RuntimeWarning.

    The training loss in a `History` is a mean over steps, so it does not belong to the parameters of one moment.
    Therefore `monitor="loss"` computes the mean loss over the training rows after each epoch, which takes one more
    forward pass. `evaluate` gives the same number. There are two exceptions:

    - The batches of an iterable are not read again. If an epoch has several batches, the recorded mean is used for the
      parameters at the end of the epoch. If it has one batch, the recorded loss belongs to the parameters before
      the step, and these are kept; with dropout or label smoothing, the last batch is evaluated once more instead.
    - `LBFGS` and `LevenbergMarquardt` already record the loss after the iteration.

    See Also
    --------
    History : the lists that can be monitored.
    CheckpointEvery : saves the network during a fit.
    Network.fit : `tol` and `time_budget` also stop a fit.
    """

    _checks: ClassVar = {
        "patience": partial(checked_integer, low=1), "min_change": partial(number, low=0),
        "monitor": optional(checked_monitor), "mode": optional(partial(choose, known=("min", "max"))),
        "restore_best": yes_or_no, "best": optional(number),
        "best_epoch": optional(checked_count), "waited": checked_count, "best_parameters": optional(checked_block),
        "_best_of": optional(checked_monitor),
    }

    patience: int
    min_change: float
    monitor: str | None
    mode: str | None
    restore_best: bool
    best: float | None
    best_epoch: int | None
    waited: int
    best_parameters: FloatArray | None
    _best_of: str | None        # what `best` is the best of, such as "min loss"

    @explains
    def __init__(self, patience: int = 10, min_change: float = 0.0, monitor: str | None = None,
                 mode: str | None = None, restore_best: bool = True) -> None:
        self.patience = patience
        self.min_change = min_change
        self.monitor = monitor
        self.mode = mode
        self.restore_best = restore_best
        self._best_of = None
        self._forget()

    def __reduce__(self) -> tuple[type[EarlyStopping], tuple[Any, ...]]:
        """A copy has the settings, and belongs to no network yet."""
        return EarlyStopping, tuple(self.settings().values())

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.settings().items())
        return f"EarlyStopping({settings})"

    def settings(self) -> dict[str, Any]:
        """The arguments that would make it again."""
        return {name: getattr(self, name) for name in ("patience", "min_change", "monitor", "mode", "restore_best")}

    def belong(self, engine: Engine | None) -> None:
        """Makes it belong to the network with this engine; to none for None."""
        if engine is None:
            vars(self).pop("_owner", None)
        else:
            vars(self)["_owner"] = engine

    def memory(self) -> tuple[Any, ...]:
        """What a fit changes, for `bring_back`."""
        return vars(self).get("_owner"), *(getattr(self, name) for name in REMEMBERED)

    def bring_back(self, memory: tuple[Any, ...], engine: Engine) -> None:
        """Makes it as it was, unless it belongs to another network than the one with this engine."""
        if vars(self).get("_owner") is not engine:
            return
        owner, *values = memory
        for name, value in zip(REMEMBERED, values, strict=True):
            setattr(self, name, value)
        self.belong(owner)

    def watch(self, fit: Fit) -> None:
        """Prepares for a fit, or refuses one in which it cannot watch. It belongs to the fit's network from now on."""
        lists = recorded(fit)
        self._name = self.monitor or ("validation_loss" if "validation_loss" in lists else "loss")
        mode = self._mode_of(self._name, lists)
        metric = lists[self._name]
        if metric is not None and (reason := metric.says_nothing()):
            raise ValueError(f"monitor is {self._name!r}, which has no meaning here: {reason}; pass more rows, or "
                             "monitor the loss")
        engine = engine_of(fit.network)
        if vars(self).setdefault("_owner", engine) is not engine:       # atomic: two threads may try
            raise ValueError("early_stopping holds the best parameters of another network; create one for each")
        if self.best_parameters is not None:
            check_best(engine, self.best_parameters)
        best_of = f"{mode} {self._name}"
        if self._best_of not in (None, best_of):        # numbers of two kinds are not compared
            self._forget()
        self._best_of = best_of
        self._sign = 1 if mode == "min" else -1
        set_watched(fit, self._name)

    def _mode_of(self, name: str, lists: Collection[str]) -> str:
        """Which values of a list are better; refuses a list that the fit does not record."""
        if name not in lists:
            hint = meant("monitor", name, lists)
            if "validation_loss" not in lists and name.startswith("val"):
                hint = "there is none without validation_data; "
            raise ValueError(f"monitor is {name!r}, which this fit does not record; {hint}it records "
                             f"{', '.join(sorted(lists))}")
        mode = self.mode or mode_of(name)
        if mode is None:
            raise ValueError(f"mode is None, but whether a larger {name!r} is better is not known; "
                             "pass mode='max' or 'min'")
        return mode

    def _forget(self) -> None:
        """There is no best epoch yet."""
        self.best = self.best_epoch = self.best_parameters = None
        self.waited = 0

    def on_fit_begin(self, fit: Fit) -> None:
        self._same = True       # whether every value of this fit equals `best`

    def on_epoch_end(self, fit: Fit) -> None:
        value, parameters, epochs_ago = latest(fit, self._name)
        if math.isfinite(value) and (self.best is None or self._sign * (self.best - value) > self.min_change):
            self._same = self._same and fit.epoch == 1
            copied = parameters.copy()      # a new one: a fit may go back to the one before
            with at_rest(fit.network):      # who copies or saves the network gets all of it, or nothing
                self.best, self.best_epoch, self.waited = value, fit.network.epochs_trained - epochs_ago, 0
                self.best_parameters = copied
            return
        self._same = self._same and value == self.best
        self.waited += 1
        if self.waited >= self.patience:
            fit.stop("early_stopping")
            if self.restore_best and self.best_parameters is not None and not self._same:
                self.restore(fit.network)

    def on_fit_end(self, fit: Fit) -> None:
        ended = fit.epoch == fit.epochs or fit.history.stopped_by is not None
        if ended and fit.epoch and self.best is None and fit.rank == 0:
            warnings.warn(f"EarlyStopping watched {self._name!r}, which was not finite after any epoch, so there is no "
                          "best epoch and the parameters are the latest: pass other rows, or monitor another value",
                          RuntimeWarning, stacklevel=2)

    def restore(self, network: Network) -> None:
        """Set the parameters of the network to those of the best epoch."""
        engine = engine_of(network)
        if self.best_parameters is None or vars(self).get("_owner") is not engine:
            raise ValueError("this EarlyStopping has monitored no epoch of this network, so it has no best parameters; "
                             "pass it to a fit as early_stopping first")
        check_best(engine, self.best_parameters)
        with at_rest(network):
            np.copyto(engine.parameters, self.best_parameters)


def described(stopping: EarlyStopping) -> dict[str, Any]:
    """Its settings and what it remembers, but for the best parameters, as a file holds them."""
    description: dict[str, Any] = {"settings": stopping.settings(), "best": stopping.best,
                                   "best_epoch": stopping.best_epoch, "waited": stopping.waited}
    if stopping._best_of is not None:               # it has watched, and was not read from an older file
        description["best_of"] = stopping._best_of
    return description


def from_description(description: dict[str, Any]) -> EarlyStopping:
    """The EarlyStopping that `described` describes."""
    stopping = EarlyStopping(**description["settings"])
    stopping.best, stopping.best_epoch = description["best"], description["best_epoch"]
    stopping.waited = description["waited"]
    stopping._best_of = description.get("best_of")  # which older files do not have
    return stopping
