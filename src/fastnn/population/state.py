"""A population's data: its engine, what it was built with, and how far its training has come.

`PopulationState` is the base class of Population, which adds what users call. The other modules of population/ read and
set these data.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import number, real_array
from ..core import Engine, PopulationEngine, dispatch
from ..losses import as_named
from ..training.rows import converted
from ..training.trainable import checked_arguments
from .members import grouped, one_each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .._types import AnyOptimizer, Array, ArrayLike, EarlyStopping, FloatArray, Integers
    from ..optimizers import Optimizer
    from .alone import Soloists
    from .optimizers import MemberOptimizers
    from .stopping import MemberStopping


# Attributes that `build` and a file give; whatever else an instance has belongs to a subclass or a user.
OWN = ("engine", "new_engine", "initializer", "_seeds", "optimizers", "stopping", "soloists", "all_groups", "_l1",
       "_l2", "_training", "_watched")


@contextmanager
def at_rest(population: PopulationState) -> Iterator[None]:
    """Within it no other thread does training steps, so what is copied belongs to one step."""
    model = population.engine.model
    model.lock(False)
    try:
        yield
    finally:
        model.unlock()


class PopulationState:
    """What a population is; `build` gives it its engine."""

    engine: PopulationEngine
    new_engine: Callable[[], Engine]            # an Engine of the members' shape
    initializer: str | None
    optimizers: MemberOptimizers | None         # of the last fit
    stopping: MemberStopping | None
    soloists: Soloists | None                   # where the last fit took all rows at once: members as networks
    _watched: MemberStopping | None             # the last that was not None: a later fit may pass it again
    all_groups: Integers                        # of all members, for what changes none

    def build(self, settings: dict[str, Any], seeds: Sequence[int], dropout: Array, l1: Array, l2: Array) -> None:
        """Makes it a population of len(seeds) members whose parameters are zero. `settings` are arguments of a
        Network; the others are checked."""
        arguments = checked_arguments(**settings, seed=0, dropout=0.0, l1=0.0, l2=0.0)
        dtype, sizes, activations, loss, _, *others = arguments
        most = tuple(dropout.max(axis=0, initial=0).tolist())

        def new_engine() -> Engine:
            return Engine(dispatch.kernels, dtype, sizes, activations, loss, (*most, 0.0), *others)

        self.new_engine = new_engine
        self.engine = PopulationEngine(new_engine, len(seeds), seeds, np.hstack([dropout, np.zeros((len(seeds), 1))]))
        self._seeds, self.initializer = tuple(seeds), settings["initializer"]
        self.optimizers = self.stopping = self.soloists = None
        self._training, self._watched = False, None
        self.all_groups = grouped(range(len(seeds)), [0] * len(seeds), self.engine.lanes)[1]
        self._l1, self._l2 = l1, l2

    def __getattr__(self, name: str) -> Any:
        if name in OWN:
            raise RuntimeError(f"this {type(self).__name__} has no members yet; call super().__init__(layer_sizes, n, "
                               "…) in its __init__ first")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __len__(self) -> int:
        return self.engine.n

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of initial weights, the order of rows and dropout of each member."""
        return self._seeds

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Inputs, units of each hidden layer, outputs."""
        return self.engine.model.layer_sizes

    @property
    def activations(self) -> tuple[str, ...]:
        """One name for each layer of weights."""
        return self.engine.model.activations

    @property
    def loss(self) -> Any:
        """The loss: its name, a Loss with a parameter of its own, or a Python function."""
        return as_named(self.engine.model.loss)

    @property
    def dtype(self) -> str:
        """Of parameters and outputs."""
        return self.engine.model.dtype

    @property
    def n(self) -> int:
        """How many networks."""
        return self.engine.n

    @property
    def n_parameters(self) -> int:
        """Of one member."""
        return self.engine.n_parameters

    @property
    def dropout(self) -> Array:
        """(n, hidden layers): the share of each member's hidden layers."""
        shares: Array = self.engine.dropout[:, :-1].copy()
        return shares

    @property
    def label_smoothing(self) -> float:
        """The share of every target that is spread evenly."""
        return self.engine.model.label_smoothing

    @property
    def l1(self) -> Array:
        """(n,): the factor of |w| in each member's loss."""
        return self._l1.copy()

    @l1.setter
    def l1(self, values: ArrayLike) -> None:
        self._l1 = penalties("l1", values, self.n)

    @property
    def l2(self) -> Array:
        """(n,): twice the factor of w**2 in each member's loss."""
        return self._l2.copy()

    @l2.setter
    def l2(self, values: ArrayLike) -> None:
        self._l2 = penalties("l2", values, self.n)

    @property
    def parameters(self) -> FloatArray:
        """(n, n_parameters): the memory that training changes."""
        return self.engine.parameters

    @parameters.setter
    def parameters(self, values: ArrayLike) -> None:
        array = real_array("parameters", values)
        if array.shape != self.parameters.shape:
            raise ValueError(f"parameters has shape {array.shape}, but must have {self.parameters.shape}: a row for "
                             "each member")
        np.copyto(self.parameters, converted("parameters", array, self.engine.model))

    @property
    def optimizer(self) -> AnyOptimizer | tuple[Optimizer, ...] | None:
        """That of the last fit: one for all members, or one for each."""
        if self.soloists is not None:
            return self.soloists.given
        return None if self.optimizers is None else self.optimizers.given

    @property
    def early_stopping(self) -> EarlyStopping | None:
        """That of the last fit."""
        return None if self.stopping is None else self.stopping.settings

    @property
    def epochs(self) -> Integers:
        """(n,): the epochs that each member has done."""
        return self.engine.counts()[:, 1]

    @property
    def epochs_trained(self) -> int:
        """Epochs of the member that has done most."""
        return int(self.epochs.max())

    @property
    def weights(self) -> tuple[FloatArray, ...]:
        """One array (n, n_in, n_out) for each layer: views of `parameters`."""
        return tuple(weights for weights, _ in self._layers())

    @property
    def biases(self) -> tuple[FloatArray, ...]:
        """One array (n, n_out) for each layer: views of `parameters`."""
        return tuple(biases for _, biases in self._layers())

    def _layers(self) -> Iterator[tuple[FloatArray, FloatArray]]:
        """The weights and the biases of every layer."""
        start = 0
        for n_in, n_out in pairwise(self.layer_sizes):
            stop = start + n_in * n_out
            # As strides, since a reshape of a part of each row would copy it.
            weights = np.lib.stride_tricks.as_strided(
                self.parameters[:, start:stop], (self.n, n_in, n_out),
                (self.parameters.strides[0], n_out * self.parameters.itemsize, self.parameters.itemsize))
            yield weights, self.parameters[:, stop:stop + n_out]
            start = stop + n_out


def penalties(name: str, values: Any, n: int) -> Array:
    """A penalty of each member, checked: float64 (n,)."""
    return np.array(one_each(name, values, n, partial(number, low=0)))
