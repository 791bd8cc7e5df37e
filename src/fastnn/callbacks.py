"""Callbacks: what is called while a network trains. `Fit` in training/fit.py calls them.

A callback that raises ends the fit: the network keeps the parameters of the epoch just done,
the other callbacks' `on_fit_end` are called, and the error reaches the caller of `fit`.

Callback and EarlyStopping are defined in training/, which uses them itself; CheckpointEvery, which saves, is defined
here.
"""

from __future__ import annotations

import os
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, ClassVar

from ._checks import Settings, checked_integer, number, optional, shown
from ._words import explains
from .storage.state import check_saveable
from .training.callback import Callback
from .training.early_stopping import EarlyStopping

if TYPE_CHECKING:
    from ._types import Fit, Path

__all__ = ["Callback", "CheckpointEvery", "EarlyStopping"]


def checked_path(name: str, value: Path) -> Path:
    """A path, as text or as an object that stands for one."""
    try:
        os.fspath(value)
    except TypeError:
        raise TypeError(f"{name} is {shown(value)}, but must be text or a pathlib.Path") from None
    return value


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
        check_saveable(fit.network, self.path)      # before the work, not after it
        self._time, self._saved = monotonic(), fit.network.epochs_trained

    def on_epoch_end(self, fit: Fit) -> None:
        done = fit.network.epochs_trained
        due = done % self.epochs == 0 if self.seconds is None else monotonic() - self._time >= self.seconds
        if due or fit.epoch == fit.epochs or fit.history.stopped_by is not None:
            self._save(fit)

    def on_fit_end(self, fit: Fit) -> None:
        # A callback after this one may have stopped the fit, or divergence may have taken back epochs that were saved.
        done = fit.network.epochs_trained
        if done < self._saved or (fit.history.stopped_by is not None and done != self._saved):
            self._save(fit)

    def _save(self, fit: Fit) -> None:
        self._time, self._saved = monotonic(), fit.network.epochs_trained
        fit.model().save(self.path)
