"""Callbacks: what is called while a network trains. `Fit` in training/fit.py calls them.

A callback that raises ends the fit: the network keeps the parameters of the epoch just done,
the other callbacks' `on_fit_end` are called, and the error reaches the caller of `fit`.
"""

from __future__ import annotations

import math
import os
import warnings
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ._checks import Settings, checked_count, checked_integer, choose, number, optional, sequence, shown, yes_or_no
from ._words import explains, meant
from .metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._types import FloatArray, Path
    from .core import Engine
    from .network import Network
    from .training.fit import Fit


class Callback:
    """Something to be called while a network trains: subclass it, and pass instances in `fit(callbacks=[…])`.

    Each method gets the `Fit` under way: `fit.network`, `fit.history`, `fit.epoch` of
    `fit.epochs`, and `fit.stop()`. A class that prints, draws or saves sets `on_every_rank = False`:
    where several processes train together, only the first calls it.

    >>> import numpy as np, fastnn
    >>> class StopAtTen(fastnn.Callback):
    ...     def on_epoch_end(self, fit: Fit) -> None:
    ...         if fit.epoch == 10:
    ...             fit.stop()
    >>> net = fastnn.Network([2, 1], output="identity")
    >>> len(net.fit(np.eye(2), [0, 1], epochs=100, callbacks=[StopAtTen()]).loss)
    10
    """

    on_every_rank = True

    def on_fit_begin(self, fit: Fit) -> None:
        """Before the first epoch."""

    def on_epoch_end(self, fit: Fit) -> None:
        """After every epoch, when it has been recorded in the history."""

    def on_fit_end(self, fit: Fit) -> None:
        """After the last epoch, or after the error that ended the fit."""


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


def check_best(network: Network, block: FloatArray) -> None:
    """Refuses a block that is not one of this network's parameters."""
    parameters = network._engine.parameters
    if (block.shape, block.dtype) != (parameters.shape, parameters.dtype):
        raise ValueError("early_stopping.best_parameters is not a block of this network's parameters; set it to None")


def checked_path(name: str, value: Path) -> Path:
    """A path, as text or as an object that stands for one."""
    try:
        os.fspath(value)
    except TypeError:
        raise TypeError(f"{name} is {shown(value)}, but must be text or a pathlib.Path") from None
    return value


class EarlyStopping(Settings, Callback):
    """Stops a fit when what it watches has not improved for `patience` epochs.

    Parameters
    ----------
    patience : int
        Epochs without improvement before the fit stops.
    min_change : float
        What counts as one: better than the best so far by more than this.
    monitor : str or None
        A list of the History, such as "validation_accuracy"; None is the validation loss, or the
        training loss where nothing is validated. (`fit` refuses a score that says nothing about its rows: "r2"
        of targets that are all alike.)
    mode : "min", "max" or None
        Which values are better; None knows losses and the metrics that fastnn names.
    restore_best : bool
        Whether the network gets the parameters of the best epoch when the fit is stopped. (A fit
        that reaches its last epoch keeps the latest, so that the next one goes on from there;
        `restore(network)` brings the best ones back.) A fit in which every value was the same keeps the latest too.
        Where no value was finite there is no best epoch: that is a RuntimeWarning at the end of the fit.

    A History's training loss is a mean over steps, each before it was made, and so no epoch's own. "loss" watches
    the mean loss over the training rows after each epoch instead, which `evaluate` gives for the parameters that are
    restored, and which takes one more pass forward. The batches of an iterable are not read again: if an
    epoch is one batch, the recorded loss is that of the parameters before it, and these are kept (with dropout or
    label smoothing, the last batch is looked at once more instead); if it is more, the recorded mean counts
    for the parameters at the end. What `LBFGS` records is the loss of the parameters after the iteration.

    Attributes: `best`, the best value; `best_epoch`, after which epoch the best parameters were there, as
    `epochs_trained` counts; `waited`, epochs since the best value. They go on in the next fit with the same object
    (if it watches the same), so it belongs to one network; they are saved with it:
    `fastnn.load(path).early_stopping` is it again.
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

    def _forget(self) -> None:
        """There is no best epoch yet."""
        self.best = self.best_epoch = self.best_parameters = None
        self.waited = 0

    def settings(self) -> dict[str, Any]:
        """The arguments that would make it again."""
        return {name: getattr(self, name) for name in ("patience", "min_change", "monitor", "mode", "restore_best")}

    @property
    def _engine(self) -> Engine | None:
        """The engine of the network that it belongs to, or None."""
        return vars(self).get("_owner")

    @_engine.setter
    def _engine(self, engine: Engine | None) -> None:
        if engine is None:
            vars(self).pop("_owner", None)
        else:
            vars(self)["_owner"] = engine

    def watch(self, fit: Fit) -> None:
        """Refuses what it cannot watch in a fit, and makes ready for it: it is the fit's network's from now on."""
        self._name = self.monitor or ("validation_loss" if fit._validation is not None else "loss")
        watched = {"loss", *fit.history._metrics} | ({"validation_loss"} if fit._validation is not None else set())
        if self._name not in watched:
            hint = meant("monitor", self._name, watched)
            if fit._validation is None and self._name.startswith("val"):
                hint = "there is none without validation_data; "
            raise ValueError(f"monitor is {self._name!r}, which this fit does not record; {hint}it records "
                             f"{', '.join(sorted(watched))}")
        mode = self.mode or ("min" if self._name.endswith("loss")
                             else METRICS[self._name.removeprefix("validation_")].mode
                             if self._name.removeprefix("validation_") in METRICS else None)
        if mode is None:
            raise ValueError(f"mode is None, but whether a larger {self._name!r} is better is not known; "
                             "pass mode='max' or 'min'")
        if self._name in fit._metrics and (reason := fit._metrics[self._name].says_nothing()):
            raise ValueError(f"monitor is {self._name!r}, which says nothing here: {reason}; pass more rows, or "
                             "monitor the loss")
        engine = fit.network._engine
        if vars(self).setdefault("_owner", engine) is not engine:       # atomic: two threads may try
            raise ValueError("early_stopping holds the best parameters of another network; create one for each")
        if self.best_parameters is not None:
            check_best(fit.network, self.best_parameters)
        best_of = f"{mode} {self._name}"
        if self._best_of not in (None, best_of):        # numbers of two kinds are not compared
            self._forget()
        self._best_of = best_of
        self._sign = 1 if mode == "min" else -1
        fit._watches_loss = self._name == "loss"

    def on_fit_begin(self, fit: Fit) -> None:
        self._same = True       # whether all values of this fit are the best one

    def on_epoch_end(self, fit: Fit) -> None:
        value, parameters, epochs_ago = fit._watched(self._name)
        if math.isfinite(value) and (self.best is None or self._sign * (self.best - value) > self.min_change):
            self._same = self._same and fit.epoch == 1
            copied = parameters.copy()      # a new one: a fit may go back to the one before
            with fit.network._at_rest():    # who copies or saves the network gets all of it, or nothing
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
                          "best one: the parameters are the latest; pass other rows, or monitor something else",
                          RuntimeWarning, stacklevel=2)

    def restore(self, network: Network) -> None:
        """Gives the network the parameters of the best epoch."""
        if self.best_parameters is None or network._engine is not self._engine:
            raise ValueError("no epoch of this network has been watched, so there are no best parameters to restore")
        check_best(network, self.best_parameters)
        with network._at_rest() as engine:
            np.copyto(engine.parameters, self.best_parameters)


class CheckpointEvery(Settings, Callback):
    """Saves the network as it trains: every so many epochs, or seconds, and when the fit ends without an error. If a
    `DivergenceError` takes back epochs that were saved, it saves what is restored.

    Parameters
    ----------
    path : str or os.PathLike
        The file, replaced each time as `Network.save` does: whatever happens, it is a whole one.
    epochs : int or None
        Epochs (as `epochs_trained` counts) from one save to the next; None is 1, unless seconds are given.
    seconds : float or None
        Seconds from one save to the next, looked at after each epoch.

    What can be known of a failing save is raised when the fit begins: a network that a file cannot hold, a
    folder that does not exist or that nobody may write to.

    In the `callbacks` of an estimator of `fastnn.sklearn` the file is what its `to_network` gives, to predict with.
    For all others a run that was killed goes on from it to the same bits::

        net = fastnn.load(path) if path.exists() else fastnn.Network(…)
        net.fit(X, y, epochs=100 - net.epochs_trained, optimizer=net.optimizer or fastnn.Adam(),
                callbacks=[fastnn.CheckpointEvery(path)])
    """

    on_every_rank = False
    _checks: ClassVar = {"path": checked_path, "epochs": partial(checked_integer, low=1),
                         "seconds": optional(partial(number, low=0))}

    path: Path
    epochs: int
    seconds: float | None

    @explains
    def __init__(self, path: Path, epochs: int | None = None, *, seconds: float | None = None) -> None:
        if epochs is not None and seconds is not None:
            raise ValueError(f"epochs is {epochs!r} and seconds is {seconds!r}, but only one of them can be given")
        self.path = path
        self.epochs = 1 if epochs is None else epochs
        self.seconds = seconds

    def on_fit_begin(self, fit: Fit) -> None:
        fit.network._check_saveable(self.path)      # before the work, not after it
        self._time, self._saved = monotonic(), fit.network.epochs_trained

    def on_epoch_end(self, fit: Fit) -> None:
        done = fit.network.epochs_trained
        due = done % self.epochs == 0 if self.seconds is None else monotonic() - self._time >= self.seconds
        if due or fit.epoch == fit.epochs or fit.history.stopped_by is not None:
            self._save(fit)

    def on_fit_end(self, fit: Fit) -> None:
        done = fit.network.epochs_trained       # stopped after that; or a fit that diverged has gone back
        if done < self._saved or (fit.history.stopped_by is not None and done != self._saved):
            self._save(fit)

    def _save(self, fit: Fit) -> None:
        self._time, self._saved = monotonic(), fit.network.epochs_trained
        fit.model().save(self.path)


def checked_callbacks(callbacks: Iterable[Callback]) -> list[Callback]:
    """A list of callbacks."""
    callbacks = list(sequence("callbacks", callbacks, "be a sequence of fastnn.Callback instances"))
    for index, callback in enumerate(callbacks):
        if not isinstance(callback, Callback):
            raise TypeError(f"callbacks[{index}] is {shown(callback)}, but must be an instance of a subclass of "
                            "fastnn.Callback")
        if isinstance(callback, EarlyStopping):
            raise TypeError(f"callbacks[{index}] is an EarlyStopping; pass it as early_stopping=")
    return callbacks
