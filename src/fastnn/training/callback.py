"""Callback: the base class of what is called while a network trains. `Fit` in fit.py calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .._types import Fit


class Callback:
    """The base class of callbacks, which `fit` calls during training.

    Write a subclass, and pass instances of it to `fit(callbacks=[…])`. Each method gets the present `Fit`, which has
    `fit.network`, `fit.history`, `fit.epoch` (epochs done), `fit.epochs` (epochs asked for) and `fit.stop()`. A class
    that prints, draws or saves sets `on_every_rank = False`. Then only the first process calls it if several
    processes train together.

    See Also
    --------
    CheckpointEvery : saves the network during a fit.
    EarlyStopping : stops a fit that no longer improves.

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
        """Called before the first epoch."""

    def on_epoch_end(self, fit: Fit) -> None:
        """Called after every epoch, when the history has its values."""

    def on_fit_end(self, fit: Fit) -> None:
        """Called after the last epoch, or after the error that ended the fit."""
