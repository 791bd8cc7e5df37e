"""The members of a table's model: networks of one shape, each trained on all rows but its own part.

`train` divides the rows into as many folds as there are members. A member learns from the rows of all folds but its
own, and by that one its best epoch is chosen. So the members together answer for each row without having learned from
it: out of fold. A single member has an eighth of the rows as its fold, and answers for that eighth.

What a member keeps is no epoch's own parameters but their running mean over epochs (Polyak and Juditsky, 1992; Izmailov
et al., "Averaging Weights Leads to Wider Optima and Better Generalization", 2018): on 19 development tables a single
network's error is 4 % smaller with it, and that of eight 0.6 %.

This module knows no tables and no columns. Rows come as a matrix, in the order of the folds.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Event, Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..callbacks import Callback
from ..core import random_order
from ..core.thread_count import get_num_threads
from ..network import Network
from ..optimizers import AdamW
from ..schedules import CosineDecay

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..training.fit import Fit

SINGLE_FOLDS = 8            # a single member is validated on one of so many folds
FOLDS = 2**64 - 2           # stands for an epoch: its order of rows deals them out, and no epoch has that number
SEEDS = 1_000_003           # how far the seeds of two models are apart: more than a model has members


@dataclass(frozen=True)
class Settings:
    """How each member is built and trained."""

    hidden: tuple[int, ...]
    activation: str         # of the hidden layers
    epochs: int
    patience: int           # epochs without a better validation loss after which a member stops
    batch_size: int
    learning_rate: float
    weight_decay: float
    memory: float           # the share of earlier epochs in the running mean of parameters; 0 to below 1


@dataclass(frozen=True)
class Folds:
    """Which rows each member is validated on: fold i are the rows order[starts[i]:starts[i + 1]]."""

    order: NDArray[np.intp]
    starts: tuple[int, ...]
    members: int

    @classmethod
    def of(cls, n: int, members: int, seed: int, classes: NDArray[np.intp] | None = None) -> Folds:
        """Deals n rows out at random, each class evenly."""
        count = members if members > 1 else SINGLE_FOLDS
        shuffled = random_order(n, seed, FOLDS)
        if classes is not None:
            shuffled = shuffled[np.argsort(classes[shuffled], kind="stable")]
        folds = [shuffled[fold::count] for fold in range(count)]
        # Within a fold rows are in the table's order, whatever their class.
        order = np.concatenate([np.sort(fold) for fold in folds])
        starts = np.cumsum([0, *map(len, folds)])
        return cls(order, tuple(starts.tolist()), members)

    def own(self, member: int) -> slice:
        """The places of a member's own fold in the order."""
        return slice(self.starts[member], self.starts[member + 1])

    def repeated(self) -> NDArray[np.intp]:
        """The order, and once more all of it but the last fold. So all rows but those of any one fold follow each
        other, and no member needs a copy of its own."""
        return self.order if self.members == 1 else np.concatenate([self.order, self.order[:self.starts[-2]]])

    @property
    def answered(self) -> int:
        """How many rows, from the first in the order, have an answer out of fold."""
        return self.starts[self.members]


@dataclass(frozen=True)
class Trained:
    """Members, and what they say out of fold."""

    networks: list[Network]
    outputs: NDArray[np.float64]        # (rows answered, n_outputs), in the order of the folds
    losses: list[list[float]]           # of each member, the validation loss of each epoch
    best_epochs: list[int]


def train(X: NDArray[np.float32], y: NDArray[Any], folds: Folds, settings: Settings, n_outputs: int, seed: int,
          listener: Listener | None = None, time_budget: float | None = None) -> Trained:
    """Trains the members, several at once, and answers out of fold.

    X and y are in the order of `folds.repeated()`; y holds numbers of classes (n,), or targets (n, 1). The listener
    is told by one thread at a time. The result depends on the machine only where a `time_budget` in seconds ends
    training; `in_time` says how many epochs fit into it.
    """
    threads = min(folds.members, get_num_threads())
    run = Run(listener, None if time_budget is None else monotonic() + time_budget)

    def one(member: int) -> tuple[Network, list[float], int]:
        return run.member(member, X, y, folds, settings, n_outputs, (seed * SEEDS + member) % 2**64, threads)

    members = range(folds.members)
    if threads == 1:
        trained = list(map(one, members))
    else:
        with ThreadPoolExecutor(threads) as pool:
            futures = [pool.submit(one, member) for member in members]
            try:
                trained = [future.result() for future in futures]
            except BaseException:           # Ctrl-C comes to this thread alone
                run.stopped.set()
                pool.shutdown(cancel_futures=True)
                raise
    networks = [network for network, _, _ in trained]
    outputs = np.concatenate([network.predict(X[folds.own(member)]) for member, network in enumerate(networks)])
    return Trained(networks, outputs.astype(np.float64), [losses for _, losses, _ in trained],
                   [epoch for _, _, epoch in trained])


def in_time(X: NDArray[np.float32], y: NDArray[Any], folds: Folds, settings: Settings, n_outputs: int,
            time_budget: float) -> Settings:
    """Settings with as many epochs as are likely to be done in time, at least one: the learning rate falls over these,
    so that a budget ends training well. An epoch over some of the rows is timed."""
    rows = min(len(folds.order), 64 * settings.batch_size)
    start = monotonic()
    network = built(X.shape[1], n_outputs, settings, 0)
    network.fit(X[:rows], y[:rows], epochs=1, batch_size=settings.batch_size, threads=1,
                optimizer=AdamW(settings.learning_rate, weight_decay=settings.weight_decay))
    epoch = (monotonic() - start) * len(folds.order) / rows
    waves = math.ceil(folds.members / min(folds.members, get_num_threads()))
    return replace(settings, epochs=max(1, min(settings.epochs, int(0.9 * time_budget / (epoch * waves)))))


def built(width: int, n_outputs: int, settings: Settings, seed: int) -> Network:
    """A network with its initial weights."""
    return Network([width, *settings.hidden, n_outputs], settings.activation,
                   "identity" if n_outputs == 1 else "softmax", seed=seed)


class Listener(Protocol):
    """Who is told of each member's epochs."""

    def on_epoch_end(self, epoch: int, loss: float) -> None: ...     # its validation loss

    def on_fit_end(self, left: int) -> None: ...       # epochs that the member left out, as it had stopped


class Run:
    """What the members that train at once share: the time, who is told of epochs, and whether to stop."""

    def __init__(self, listener: Listener | None, end: float | None) -> None:
        self.listener, self.end = listener, end
        self.stopped, self.lock = Event(), Lock()

    def member(self, member: int, X: NDArray[np.float32], y: NDArray[Any], folds: Folds, settings: Settings,
               n_outputs: int, seed: int, threads: int) -> tuple[Network, list[float], int]:
        """A member as it was at its best epoch, its validation losses, and that epoch."""
        own, n = folds.own(member), len(folds.order)
        others = slice(own.stop, own.start + n) if folds.members > 1 else slice(own.stop, n)
        network = built(X.shape[1], n_outputs, settings, seed)
        mean = RunningMean(self, built(X.shape[1], n_outputs, settings, seed), X[own], y[own], settings)
        optimizer = AdamW(CosineDecay(settings.learning_rate, settings.epochs * steps(others, settings), by="step"),
                          weight_decay=settings.weight_decay)
        budget = None if self.end is None else max(0.001, self.end - monotonic())
        network.fit(X[others], y[others], epochs=settings.epochs, batch_size=settings.batch_size, optimizer=optimizer,
                    time_budget=budget, callbacks=[mean], threads=1 if threads > 1 else None)
        return mean.best(), mean.losses, mean.best_epoch


def steps(rows: slice, settings: Settings) -> int:
    """Of an epoch over these rows."""
    return math.ceil((rows.stop - rows.start) / settings.batch_size)


class RunningMean(Callback):
    """The running mean of a member's parameters, and the best of these by the loss on its own fold.

    mean := (memory * sum + parameters) / weight, with the sum and the weight of the epochs before.
    """

    def __init__(self, run: Run, network: Network, X: NDArray[np.float32], y: NDArray[Any], settings: Settings) -> None:
        self.run, self.network, self.X, self.y, self.settings = run, network, X, y, settings
        self.sum, self.weight = np.zeros(network.n_parameters), 0.0
        self.losses: list[float] = []
        self.best_epoch, self.parameters = 0, network.get_parameters()

    def on_epoch_end(self, fit: Fit) -> None:
        if self.run.stopped.is_set():
            fit.stop()
            return
        memory = self.settings.memory
        self.sum = memory * self.sum + fit.network.get_parameters()
        self.weight = memory * self.weight + 1
        self.network.set_parameters(self.sum / self.weight)
        self.losses.append(self.network.evaluate(self.X, self.y))
        if self.losses[-1] <= min(self.losses):
            self.best_epoch, self.parameters = fit.epoch, self.network.get_parameters()
        elif fit.epoch - self.best_epoch >= self.settings.patience:
            fit.stop()
        if self.run.listener is not None:
            with self.run.lock:
                self.run.listener.on_epoch_end(fit.epoch, self.losses[-1])

    def on_fit_end(self, fit: Fit) -> None:
        if self.run.listener is not None and not self.run.stopped.is_set():
            with self.run.lock:
                self.run.listener.on_fit_end(self.settings.epochs - fit.epoch)

    def best(self) -> Network:
        """The network with the best mean."""
        self.network.set_parameters(self.parameters)
        return self.network
