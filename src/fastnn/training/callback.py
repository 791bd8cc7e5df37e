"""Callback: the base class of what is called while a network trains. `Fit` in fit.py calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .._types import Fit


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
