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
    """Save the network during a fit, at regular intervals, and at the end of a fit without an error.

    If a `DivergenceError` undoes epochs that were saved, the restored network is saved.

    Parameters
    ----------
    path : str or os.PathLike
        The file. Each save replaces it, as `Network.save` does, so the file is always complete.
    epochs : int or None
        The interval in epochs, as `epochs_trained` counts them. None means 1, unless `seconds` is given.
    seconds : float or None
        The interval in seconds. The time is checked after each epoch.

    Raises
    ------
    ValueError
        If both intervals are given.

    Notes
    -----
    The fit raises errors of saving before its first epoch where it can: if a file cannot hold the network, or if the
    folder does not exist or is not writable.

    For an estimator of `fastnn.sklearn`, the file holds what its `to_network` returns, which is for predictions
    only. In all other cases a training that was killed can continue from the file, with the same bits::

        net = fastnn.load(path) if path.exists() else fastnn.Network(…)
        net.fit(X, y, epochs=100 - net.epochs_trained, optimizer=net.optimizer or fastnn.Adam(),
                callbacks=[fastnn.CheckpointEvery(path)])

    See Also
    --------
    Network.save : saves a network once.
    EarlyStopping : keeps the best parameters.
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
