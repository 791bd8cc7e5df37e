"""A network's data: its checked arguments, its engine, and what training leaves on it.

`Trainable` is the base class of `Network`, which adds what users call. The functions here are how the rest of the
package (training, storage, callbacks, diagnostics) reads and sets these data. Nothing here trains, predicts or reads
files.
"""

from __future__ import annotations

from contextlib import contextmanager
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .._checks import (
    check_memory,
    checked_dtype,
    checked_hidden,
    checked_integer,
    checked_shares,
    checked_sizes,
    choose,
    number,
)
from ..activations import ACTIVATIONS, HIDDEN
from ..core import CompiledNetwork, Engine, dispatch
from ..initializers import INITIALIZERS
from ..losses import CLASSIFYING, Loss, as_loss, as_named, check_pair, default_loss
from ..storage.model_file import MOST_LAYERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._types import AnyLoss, AnyOptimizer, EarlyStopping, FloatArray, Network


def read_only(path: str) -> Any:
    """A property that reads the attribute at this path, such as "_engine.seed". It cannot be set."""
    return property(attrgetter(path))


class Trainable(CompiledNetwork):
    """What a network is, and how far its training has come; `build` gives it its engine."""

    _engine: Engine
    _optimizer: AnyOptimizer | None             # of the last fit
    _weights: tuple[FloatArray, ...]            # views of the engine's parameters
    _biases: tuple[FloatArray, ...]
    _initializer: str | None
    _early_stopping: EarlyStopping | None       # of the last fit
    _epochs_trained: int
    metadata: dict[str, Any]

    # What a network was built with cannot be changed, so it always agrees with the engine.
    layer_sizes: Final[tuple[int, ...]] = read_only("_engine.layer_sizes")
    activations: Final[tuple[str, ...]] = read_only("_engine.activations")
    dtype: Final[str] = read_only("_engine.dtype")
    seed: Final[int] = read_only("_engine.seed")
    label_smoothing: Final[float] = read_only("_engine.label_smoothing")
    weights: Final[tuple[FloatArray, ...]] = read_only("_weights")
    biases: Final[tuple[FloatArray, ...]] = read_only("_biases")
    optimizer: Final[AnyOptimizer | None] = read_only("_optimizer")
    early_stopping: Final[EarlyStopping | None] = read_only("_early_stopping")
    epochs_trained: Final[int] = read_only("_epochs_trained")

    @property
    def loss(self) -> str | AnyLoss:
        """The name of the loss; a Loss where it has a parameter of its own, or the Python function."""
        return as_named(self._engine.loss)

    @property
    def l1(self) -> float:
        """The factor of |w| in the loss; may be set between fits."""
        return self._engine.l1

    @l1.setter
    def l1(self, value: float) -> None:
        self._engine.l1 = number("l1", value, low=0)

    @property
    def l2(self) -> float:
        """Twice the factor of w**2 in the loss; may be set between fits."""
        return self._engine.l2

    @l2.setter
    def l2(self, value: float) -> None:
        self._engine.l2 = number("l2", value, low=0)

    @property
    def dropout(self) -> tuple[float, ...]:
        """One share per hidden layer."""
        return self._engine.dropout[:-1]

    @property
    def n_parameters(self) -> int:
        """The number of weights and biases."""
        return sum((n_in + 1) * n_out for n_in, n_out in pairwise(self.layer_sizes))


# Attributes that `parts` of storage/state.py saves; whatever else an instance has belongs to a subclass or a user.
OWN = "_weights", "_biases", "_initializer", "_early_stopping", "_epochs_trained", "metadata"


class Progress(NamedTuple):
    """How far a network's training has come, beside the numbers in blocks."""

    optimizer: AnyOptimizer | None
    early_stopping: EarlyStopping | None
    epochs: int
    steps: int


def build(network: Trainable, layer_sizes: Any, activation: Any, output: Any, loss: Any, initializer: Any, dtype: Any,
          seed: Any, dropout: Any, l1: Any, l2: Any, label_smoothing: Any) -> None:
    """Checks a network's arguments, and gives it an engine whose weights and biases are zero."""
    engine = Engine(dispatch.kernels, *checked_arguments(
        layer_sizes, activation, output, loss, initializer, dtype, seed, dropout, l1, l2, label_smoothing))
    network._engine = engine
    network._weights, network._biases = engine.views(engine.parameters)
    network._initializer = initializer
    network._optimizer = network._early_stopping = None
    network._epochs_trained = 0
    network.metadata = {}


def checked_arguments(layer_sizes: Any, activation: Any, output: Any, loss: Any, initializer: Any, dtype: Any,
                      seed: Any, dropout: Any, l1: Any, l2: Any, label_smoothing: Any) -> tuple[Any, ...]:
    """A network's arguments, checked, as the engine takes them. No network is made."""
    sizes = checked_sizes(layer_sizes)
    if len(sizes) - 1 > MOST_LAYERS:
        raise ValueError(f"layer_sizes holds {len(sizes)} sizes, but a network can have at most {MOST_LAYERS} layers, "
                         "or no file would hold it")
    hidden = checked_hidden(activation, len(sizes) - 2, HIDDEN, ACTIVATIONS)
    activations = (*hidden, choose("output", output, ACTIVATIONS))
    loss = as_loss(default_loss(output) if loss is None else loss)
    if isinstance(loss, Loss):
        check_pair(loss.name, output)
    if initializer is not None:
        choose("initializer", initializer, INITIALIZERS)
    dtype = checked_dtype(dtype)
    seed = checked_integer("seed", seed, 0, 2**64 - 1)
    dropout = checked_shares("dropout", dropout, len(sizes) - 2)
    l1, l2 = number("l1", l1, low=0), number("l2", l2, low=0)
    label_smoothing = number("label_smoothing", label_smoothing, low=0, high=1)
    if label_smoothing and not classifies(loss):
        raise ValueError(f"label_smoothing is {label_smoothing}, but goes with a classification loss "
                         f"({', '.join(CLASSIFYING)}); the loss is {loss!r}")
    check_memory(sizes, dtype)
    return dtype, sizes, activations, loss, (*dropout, 0.0), l1, l2, label_smoothing, seed


def classifies(loss: AnyLoss) -> bool:
    """Whether the targets of a loss are classes or their probabilities; of a Python function that is not known."""
    return getattr(loss, "name", None) in CLASSIFYING


def engine_of(network: Trainable) -> Engine:
    """A network's engine. Callers ask once and keep it, as somebody may call `__init__` again meanwhile."""
    return network._engine


def initializer_of(network: Trainable) -> str | None:
    """The initializer that a network was built with."""
    return network._initializer


@contextmanager
def at_rest(network: Trainable, stepping: bool = False) -> Iterator[Engine]:
    """Within it no other thread does training steps or copies, so what is copied belongs to one step.

    `stepping` is for training steps: other threads that wait for a copy come first.
    """
    engine = network._engine
    engine.lock(stepping)
    try:
        yield engine
    finally:
        engine.unlock()


def check_finite(engine: Engine) -> None:
    """Refuses to train parameters that are not finite."""
    if not engine.kernels.all_finite(engine.parameters):
        raise ValueError("weights or biases hold NaN or infinity, but must be finite; set them before training")


def progress_of(network: Trainable) -> Progress:
    """How far a network's training has come."""
    return Progress(network._optimizer, network._early_stopping, network._epochs_trained, network._engine.steps)


def set_progress(network: Trainable, progress: Progress) -> None:
    """Sets how far a network's training has come. It takes no memory, which may have run out: to unpack `progress`,
    which is no plain tuple, would make an iterator."""
    network._optimizer, network._early_stopping = progress.optimizer, progress.early_stopping
    network._epochs_trained, network._engine.steps = progress.epochs, progress.steps


def set_optimizer(network: Trainable, optimizer: AnyOptimizer, early_stopping: EarlyStopping | None) -> None:
    """Gives a network these two, as a fit with them begins."""
    network._optimizer, network._early_stopping = optimizer, early_stopping


def count_epoch(network: Trainable, optimizer: AnyOptimizer) -> None:
    """One more epoch of a network and of its optimizer is done: a copy has both counts, or neither."""
    engine = network._engine
    engine.lock(False)          # not by at_rest, which takes longer than an epoch of a small network's steps
    try:
        network._epochs_trained += 1
        optimizer.count_epoch()
    finally:
        engine.unlock()


def checked_network(network: object) -> Network:
    """network, or an error if it is none."""
    if not isinstance(network, Trainable):
        cure = "; pass its to_network()" if hasattr(network, "to_network") else ""
        raise TypeError(f"network is a {type(network).__name__}, but must be a fastnn.Network{cure}")
    return network      # type: ignore[return-value]    # Network is the one class that is made of it
