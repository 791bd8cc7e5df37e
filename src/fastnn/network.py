"""Network: the face of the library. Checks what users pass, and hands arrays to the engine."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, overload

import numpy as np

from ._checks import (
    check_memory,
    check_out,
    checked_dtype,
    checked_hidden,
    checked_integer,
    checked_shares,
    checked_sizes,
    checked_weights,
    choose,
    is_number,
    number,
    optional,
    real_array,
    shown,
    validation_rows,
    yes_or_no,
)
from ._words import explains, object_meant
from .activations import ACTIVATIONS, HIDDEN
from .callbacks import EarlyStopping, checked_callbacks
from .core import CompiledNetwork, Engine, dispatch
from .core.thread_count import MOST as MOST_THREADS
from .initializers import INITIALIZERS, draw
from .losses import CLASSIFYING, Loss, as_loss, check_pair, default_loss
from .metrics import METRICS, Scored, checked_metrics, measured
from .optimizers import Adam, Optimizer
from .storage import state
from .training import data, lbfgs
from .training.fit import DivergenceError, Fit, History, State, run
from .training.progress import ProgressBar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ._types import (
        ActivationName,
        AnyLoss,
        AnyOptimizer,
        Array,
        ArrayLike,
        Batch,
        ClassWeight,
        Communicator,
        DType,
        FloatArray,
        HiddenName,
        InitializerName,
        Integers,
        LossFunction,
        LossName,
        Metrics,
        Path,
        Validation,
    )
    from .callbacks import Callback


COUNT_OR_NONE, AMOUNT_OR_NONE = optional(partial(checked_integer, low=1)), optional(partial(number, low=0))


class Gradients(NamedTuple):
    """A mean loss and its gradient with respect to every layer's weights and biases."""

    loss: float
    weights: tuple[FloatArray, ...]
    biases: tuple[FloatArray, ...]


OWN = "_weights", "_biases", "_initializer", "_early_stopping", "_epochs_trained", "metadata"   # what parts hold


def read_only(path: str) -> Any:
    """An attribute that gives another one, such as "_engine.seed", and cannot be set."""
    return property(attrgetter(path))


class Network(CompiledNetwork):
    """A dense feed-forward network: layers of `activation(x @ weights + biases)`.

    Parameters
    ----------
    layer_sizes : sequence of int
        Inputs, units of each hidden layer, outputs: two numbers at least, 10,001 at most.
    activation : str or sequence of str
        Of the hidden layers: one name, or one per hidden layer.
    output : str
        Activation of the last layer.
    loss : str, Loss, callable or None
        A name, one of `fastnn.losses`, or a Python function `(outputs, targets) -> (value,
        gradient)` of arrays (n, n_outputs): the mean loss, and its derivatives with respect to
        the outputs. (It is called with the GIL in every step, on one thread: flexible and
        slow.) None: "cross_entropy" for softmax, "binary_cross_entropy" for sigmoid, else "mse".
    initializer : str or None
        Of all weights; None chooses for each layer by its activation: "he_normal" for ReLU and
        its kin, "lecun_normal" for selu, else "glorot_uniform". Biases start at zero.
    dtype : "float32" or "float64"
    seed : int
        Everything random in this network comes from it: initial weights, order of the rows,
        dropout, the rows held out for validation.
    dropout : float or sequence of float
        The share of each hidden layer's outputs that a training step leaves out (the others
        count 1 / (1 - dropout) times): one, or one per hidden layer; 0 to below 1
        (Srivastava et al., 2014).
    l1, l2 : float
        While training, `l1 * |w| + l2 / 2 * w**2` is added to the loss for every weight w (not for
        biases).
    label_smoothing : float
        While training, this share of every target is spread evenly over the classes (over yes and
        no for a sigmoid); 0 to below 1 (Szegedy et al., 2016). For cross-entropies and the focal
        loss.

    Dropout, penalties and smoothing belong to training steps alone: `predict`, `evaluate`,
    `gradients` and validation are without them. (A History's training loss is without penalties; it is that of the
    steps, of what dropout left in, and of smoothed targets.)

    Attributes
    ----------
    layer_sizes, activations, loss, dtype, seed, dropout, l1, l2, label_smoothing
        What it was built with; `activations` has one name per layer of weights, `dropout` one
        number per hidden layer. `l1` and `l2` may be set between fits.
    metadata : dict
        Whatever belongs to the model beside its numbers (names of columns, a note): plain values
        that JSON holds as they are, half a megabyte, nested 90 deep at most. It is saved and copied with the network,
        and never read by it.
    weights, biases : tuples of arrays, shapes (n_in, n_out) and (n_out,)
        Views of the memory that training changes: `net.weights[0][...] = W` sets a layer.
    n_parameters : int
    optimizer : the optimizer of the last fit, or None
    early_stopping : the EarlyStopping of the last fit, or None
    epochs_trained : int

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.float32)
    >>> net = fastnn.Network([2, 8, 1], activation="tanh", output="sigmoid")
    >>> history = net.fit(X, [0, 1, 1, 0], epochs=500, optimizer=fastnn.Adam(0.05))
    >>> net.predict(X).round().ravel()
    array([0., 1., 1., 0.], dtype=float32)
    """

    _drawn = True       # whether initial weights are drawn: not in a copy, nor in what `load` returns

    @explains
    def __init__(self, layer_sizes: Sequence[int], activation: HiddenName | str | Sequence[str] = "relu",
                 output: ActivationName | str = "identity", loss: LossName | str | AnyLoss | None = None,
                 initializer: InitializerName | str | None = None, dtype: DType = "float32", seed: int = 0, *,
                 dropout: float | Sequence[float] = 0.0, l1: float = 0.0, l2: float = 0.0,
                 label_smoothing: float = 0.0) -> None:
        self._engine = Engine(dispatch.kernels, *self._checked_settings(
            layer_sizes, activation, output, loss, initializer, dtype, seed, dropout, l1, l2, label_smoothing))
        self._weights, self._biases = self._engine.views(self._engine.parameters)
        self._initializer = initializer
        self._optimizer = None
        self._early_stopping: EarlyStopping | None = None
        self._epochs_trained = 0
        self.metadata: dict[str, Any] = {}
        if not self._drawn:
            return
        for layer, (weights, name) in enumerate(zip(self.weights, self.activations, strict=True)):
            draw(weights, initializer or ACTIVATIONS[name].initializer, self.seed, layer)

    @staticmethod
    def _checked_settings(layer_sizes: Any, activation: Any, output: Any, loss: Any, initializer: Any, dtype: Any,
                          seed: Any, dropout: Any, l1: Any, l2: Any, label_smoothing: Any) -> tuple[Any, ...]:
        """A network's arguments, checked, as the engine takes them. No network is made."""
        sizes = checked_sizes(layer_sizes)
        if len(sizes) - 1 > state.MOST_LAYERS:
            raise ValueError(f"layer_sizes holds {len(sizes)} sizes, but a network can have at most "
                             f"{state.MOST_LAYERS} layers, or no file would hold it")
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
        if label_smoothing and getattr(loss, "name", None) not in CLASSIFYING:
            raise ValueError(f"label_smoothing is {label_smoothing}, but goes with a classification loss "
                             f"({', '.join(CLASSIFYING)}); the loss is {loss!r}")
        check_memory(sizes, dtype)
        return dtype, sizes, activations, loss, (*dropout, 0.0), l1, l2, label_smoothing, seed

    def __repr__(self) -> str:
        text = (f"Network({list(self.layer_sizes)}, activation={list(self.activations[:-1])}, "
                f"output={self.activations[-1]!r}, loss={self.loss!r}, dtype={self.dtype!r}, seed={self.seed}")
        extras = {"dropout": list(self.dropout) if any(self.dropout) else 0, "l1": self.l1, "l2": self.l2,
                  "label_smoothing": self.label_smoothing}
        return text + "".join(f", {name}={value!r}" for name, value in extras.items() if value) + ")"

    # What it is cannot be changed, so it always agrees with the engine.
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
        loss = self._engine.loss
        return loss.name if isinstance(loss, Loss) and as_loss(loss.name) == loss else loss

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

    def get_parameters(self) -> FloatArray:
        """A copy of all parameters, shape (n_parameters,): W0, b0, W1, b1, … row by row."""
        with self._at_rest() as engine:
            return engine.packed(engine.parameters)

    @explains
    def set_parameters(self, v: ArrayLike) -> None:
        """Sets all parameters from a 1-D array in the order of `get_parameters`."""
        v = real_array("v", v)
        if v.shape != (self.n_parameters,):
            raise ValueError(f"v has shape {v.shape}, but this network has {self.n_parameters} parameters")
        with self._at_rest() as engine:
            engine.unpack(data.converted("v", v[None], engine)[0], engine.parameters)

    @contextmanager
    def _at_rest(self, stepping: bool = False) -> Iterator[Engine]:
        """Within it no other thread does training steps or copies, so what is copied belongs to one step; `stepping` is
        for what is done again and again, and lets others come first."""
        engine = self._engine
        engine.lock(stepping)
        try:
            yield engine
        finally:
            engine.unlock()

    def _predict_converted(self, X: object, out: Array | None) -> FloatArray:
        """`predict` for arguments that must be checked and converted first."""
        array = real_array("X", X)
        single = array.ndim == 1
        inputs = data.inputs(self._engine, array[None] if single else array, given=X)
        shape = (len(inputs), self.layer_sizes[-1])[single:]
        if out is None:
            result = np.empty(shape, self.dtype)
        else:
            result = check_out(out, shape, self.dtype)
            if np.may_share_memory(inputs, result):
                inputs = inputs.copy()
        self._engine.predict(inputs, result)
        if out is not None and not np.may_share_memory(result, out):
            out[...] = result
        return result if out is None else out

    @explains
    def layer_outputs(self, X: ArrayLike) -> list[FloatArray]:
        """A list of what flows through the layers for X (n, n_inputs): X itself, then every layer's activation."""
        X = data.inputs(self._engine, X)
        return [X, *map(np.ascontiguousarray, self._engine.layer_outputs(X))]

    @explains
    def predict_classes(self, X: ArrayLike) -> Integers:
        """The class of each row of X (n, n_inputs), an array (n,) of intp.

        For softmax the number of the largest output, for one sigmoid 1 where the output is above 0.5, else 0. Several
        sigmoids answer one question each: (n, n_outputs) of 0 and 1. A 1-D X is one sample. ValueError for other
        outputs, which are numbers.

        >>> import numpy as np, fastnn
        >>> X, y = np.array([[0.0], [1.0], [2.0]]), [0, 1, 1]
        >>> net = fastnn.Network([1, 2], output="softmax")
        >>> history = net.fit(X, y, epochs=100, optimizer=fastnn.Adam(0.1))
        >>> net.predict_classes(X)
        array([0, 1, 1])
        """
        output = self.activations[-1]
        if output not in ("softmax", "sigmoid"):
            raise ValueError(f"output is {output!r}, which predicts numbers, and no classes: call predict, or build "
                             "the network with output='softmax' or 'sigmoid'")
        outputs = self.predict(X)
        if output == "softmax":
            return outputs.argmax(axis=-1)
        answers = (outputs > 0.5).astype(np.intp)
        return answers[..., 0] if self.layer_sizes[-1] == 1 else answers

    @explains
    def score(self, X: ArrayLike, y: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
        """How good predictions for X are, a float that is 1 at best.

        For classes (softmax, or one sigmoid with a loss of classes) the accuracy: the share of rows whose class is
        right. For numbers the coefficient of determination r²: 0 is as good as the mean of y, a mean over
        outputs; also for several sigmoids, whose outputs are shares. X, y and sample_weight are as for `evaluate`.

        >>> import numpy as np, fastnn
        >>> x = np.linspace(-1, 1, 20)[:, None]
        >>> net = fastnn.Network([1, 1])
        >>> history = net.fit(x, 3 * x - 1, epochs=100, optimizer=fastnn.Adam(0.1))
        >>> net.score(x, 3 * x - 1) > 0.99
        True
        """
        name = "accuracy" if data.tells_classes(self._engine) else "r2"
        rows = data.as_rows(self._engine, X, y)
        weights = checked_weights("sample_weight", sample_weight, len(rows))
        return measured(name, METRICS[name].function, real_array("y", y), self.predict(rows.arrays[0]), weights)

    @overload
    def evaluate(self, X: ArrayLike, y: ArrayLike, *, sample_weight: ArrayLike | None = None,
                 metrics: None = None) -> float: ...

    @overload
    def evaluate(self, X: ArrayLike, y: ArrayLike, *, sample_weight: ArrayLike | None = None,
                 metrics: Metrics) -> dict[str, float]: ...

    @explains
    def evaluate(self, X: ArrayLike, y: ArrayLike, *, sample_weight: ArrayLike | None = None,
                 metrics: Metrics | None = None) -> float | dict[str, float]:
        """The mean loss over the rows of X, a float; with metrics, as for `fit`, {"loss": it, name: each of these}.

        X is (n, n_inputs) and y as for `fit`; `sample_weight` (n,) says how much each row counts, also for metrics.

        >>> import numpy as np, fastnn
        >>> net = fastnn.Network([2, 1])
        >>> net.set_parameters([1, 1, 0])
        >>> net.evaluate([[1, 2], [3, 4]], [3, 6], metrics=["mae", "rmse"])
        {'loss': 0.5, 'mae': 0.5, 'rmse': 0.7071067811865476}
        """
        rows = data.as_rows(self._engine, X, y, sample_weight)
        loss = data.mean_loss(self, rows)
        if metrics is None:
            return loss
        functions = checked_metrics(metrics, self.loss, data.tells_classes(self._engine))
        outputs, targets, weights = self.predict(rows.arrays[0]), real_array("y", y), rows.arrays[3]
        return {"loss": loss} | {name: measured(name, function, targets, outputs, weights)
                                 for name, function in functions.items()}

    @explains
    def gradients(self, X: ArrayLike, y: ArrayLike, *, sample_weight: ArrayLike | None = None) -> Gradients:
        """The mean loss over the rows of X and its gradients: `Gradients(loss, weights, biases)`. Changes nothing.

        Where a number is beyond the network's dtype, they hold infinity or NaN: scale inputs and targets.
        """
        loss, block = self._engine.gradients(data.as_rows(self._engine, X, y, sample_weight))
        return Gradients(loss, *self._engine.views(block))

    @explains
    def fit(self, X: ArrayLike | Iterable[Batch], y: ArrayLike | None = None, *, epochs: int = 1,
            batch_size: int | None = None, steps_per_epoch: int | None = None,
            optimizer: AnyOptimizer | None = None, shuffle: bool = True,
            validation_data: Validation | None = None, sample_weight: ArrayLike | None = None,
            class_weight: ClassWeight | None = None,
            metrics: Metrics = (), tol: float | None = None, early_stopping: EarlyStopping | None = None,
            time_budget: float | None = None, callbacks: Iterable[Callback] = (), progress: bool = False,
            threads: int | None = None, communicator: Communicator | None = None) -> History:
        """Trains on the rows of X, and goes on where the last fit stopped.

        Parameters
        ----------
        X : array (n, n_inputs), or an iterable of batches
            An array may be a memory-mapped file: it is not copied as a whole. Without y, an
            iterable that gives batches (X, y) or (X, y, sample_weight), a step each, anew for
            every epoch; see `steps_per_epoch`.
        y : array
            For softmax integer labels (n,) or probabilities (n, n_outputs); for others (n,)
            when there is one output, or (n, n_outputs). (What `predict` gives is (n, 1) for one output, too:
            compare y (n,) with `net.predict(X)[:, 0]`, as NumPy makes (n, n) of (n, 1) - (n,).)
        epochs : int
            Passes over the rows. n calls of one epoch equal one call of n, bit for bit (but for
            LBFGS, which starts anew each time).
        batch_size : int or None
            Rows a step; None is 32, for LBFGS all. The last batch of an epoch may be shorter.
        steps_per_epoch : int or None
            How many batches of an iterable make an epoch: for one that has no end, or is long. The next
            epoch goes on with the batch after these; an iterable that has come to its end begins anew
            (with each fit, too), a generator ends the epoch. None is all of its batches. Not for arrays.
        optimizer : Optimizer or None
            None is the last fit's, else Adam(). It belongs to this network from now on.
        shuffle : bool
            Whether every epoch takes the rows in another random order.
        validation_data : (X, y), (X, y, sample_weight), float or None
            Rows whose loss is recorded after every epoch, or the fraction of the rows to hold
            out for that: random, and the same ones in every fit with this seed. (No fraction
            with a communicator.)
        sample_weight : array (n,) or None
            How much each row counts, >= 0: a batch's loss is sum(w * loss) / sum(w). A batch
            whose weights are all zero is a step with a gradient of zero, on which momentum, penalties and
            schedules go on; ValueError if those of a whole epoch are. Metrics on training rows are
            weighted, too.
        class_weight : dict {class: weight}, "balanced" or None
            Multiplies each row's weight by that of its class; "balanced" is
            n / (classes * rows of the class). For classes that exclude each other.
        metrics : sequence of str and callables
            Recorded after every epoch, for the validation rows (as `"validation_" + name`) or,
            without these, the training rows: "accuracy", "r2", "mae", "mse", "rmse", or functions
            `(y, outputs) -> float`. y has the shape of the outputs, (n, n_outputs); labels for softmax
            stay labels, (n,). With `sample_weight` they are weighted (without `class_weight`); so is
            a function that has a parameter of this name, to which the weights, or None, are passed.
        tol : float or None
            Training stops after an epoch whose training loss is below it.
        early_stopping : EarlyStopping or None
        time_budget : float or None
            Training stops after so many seconds and the step under way, or some 10 ms of steps; with LBFGS after the
            iteration. The epoch ends there: it counts, and is validated and recorded as any other, its loss being
            the mean over the rows that it has seen. The next fit begins another epoch. So what was learned,
            bit for bit, depends on the machine's speed.
        callbacks : sequence of Callback
        progress : bool
            Whether to show a progress bar (needs tqdm); where the output is not a terminal, one
            line at the end.
        threads : int or None
            The most threads that share a step, a validation or a metric; None is what
            `set_num_threads` says. The result never depends on it, bit for bit. With a
            communicator, ranks of one machine divide its processors.
        communicator : mpi4py communicator, fastnn.distributed.DataParallel or None
            The ranks that train together, each on its part of the rows: X, y, sample_weight and
            validation_data are this rank's own, batch_size and every loss and metric are of all
            ranks together. See `fastnn.distributed`.

        Returns
        -------
        History : lists with one entry per epoch, such as `loss`, the mean training loss.

        Raises
        ------
        DivergenceError
            When the loss stops being finite. Everything is as it was when the last good epoch began: one whose
            mean training loss was finite and not larger than that of this fit's first epoch. It is as it was
            before this fit if there is none, or if the loss over the training rows was smaller then: a
            network is never left worse than it came.
        KeyboardInterrupt
            On Ctrl-C, within 100 ms or one step; the parameters are those of a completed step, as
            they are after an error in an iterable, a callback or a Python loss, and where memory
            ran out. (Of the last good epoch, if they are not finite.) If no step was completed, everything
            is as it was before, also `optimizer` and `early_stopping`.
        RuntimeError
            When another thread is training this network. (Predictions may be asked for meanwhile: each
            weight is one of the last step or the next, for LBFGS also of a point that it tries. Copies and
            saves wait until no step is under way.)
        """
        engine = self._engine
        with ranks_of(communicator) as ranks:
            epochs = checked_integer("epochs", epochs, 0)
            batch_size = COUNT_OR_NONE("batch_size", batch_size)
            shuffle = yes_or_no("shuffle", shuffle)
            steps_per_epoch = COUNT_OR_NONE("steps_per_epoch", steps_per_epoch)
            tol = AMOUNT_OR_NONE("tol", tol)
            time_budget = AMOUNT_OR_NONE("time_budget", time_budget)
            threads = optional(partial(checked_integer, low=1, high=MOST_THREADS))("threads", threads)
            if early_stopping is not None and not isinstance(early_stopping, EarlyStopping):
                raise TypeError(f"early_stopping is {shown(early_stopping)}, but must be a fastnn.EarlyStopping, such "
                                "as fastnn.EarlyStopping(patience=10), or None")
            callbacks = [*([early_stopping] if early_stopping is not None else []), *checked_callbacks(callbacks),
                         *([ProgressBar()] if progress else [])]
            optimizer = self._checked_optimizer(optimizer)
            class_weight = data.checked_class_weight(class_weight)
            if is_number(validation_data):
                if communicator is not None:
                    raise ValueError(f"validation_data is {validation_data}, but with a communicator must be this "
                                     "rank's own rows, (X, y): a fraction would be others on other numbers of ranks")
                (X, y, sample_weight), validation_data = data.split(engine, X, y, sample_weight, validation_data)
            validation = self._checked_validation(validation_data, ranks)
            scored = (X, y, sample_weight) if validation_data is None else validation_data
            scores = self._checked_scores(metrics, scored, validation_data is not None, ranks)
            if isinstance(optimizer, lbfgs.LBFGS):
                rows = lbfgs.whole_batch(self, X, y, sample_weight, class_weight, batch_size, steps_per_epoch, ranks)
            else:
                source = data.source(engine, X, y, sample_weight, class_weight, batch_size, shuffle,
                                     steps_per_epoch, ranks)
            self._check_finite()
            threads = ranks.threads(threads)
            fit = Fit(self, optimizer, epochs, validation, scores, tol, time_budget, callbacks, ranks)
            outer, start = engine.most_threads, None        # of a fit whose callback this one is in
            engine.acquire()
            try:
                engine.most_threads = threads or 0
                start = State(self, optimizer, early_stopping)     # a user's own schedule may raise
                if early_stopping is not None:
                    early_stopping.watch(fit)
                optimizer.bind(engine)
                ranks.agree(self, optimizer, epochs=epochs, batch_size=batch_size, shuffle=shuffle, tol=tol,
                            class_weight=class_weight, early_stopping=early_stopping, time_budget=time_budget)
                self._optimizer, self._early_stopping = optimizer, early_stopping
                if isinstance(optimizer, lbfgs.LBFGS):
                    return lbfgs.run(fit, rows, optimizer)
                return run(fit, source, optimizer, start)
            except BaseException:
                if start is not None and start.is_now():
                    start.bring_back()
                raise
            finally:
                engine.most_threads = outer
                engine.release()

    @explains
    def save(self, path: Path) -> None:
        """Saves the network and the whole state of its training to one safetensors file.

        What `fastnn.load(path)` returns goes on training to the same bits. The file is written
        beside the old one, as `.<name>.fastnn-tmp`, synced and put in its place, with its mode:
        whatever happens, `path` is the old file or the new one. OSError where it cannot be written,
        TypeError or ValueError for what a file cannot hold, before the disk is touched.
        """
        state.save(self, path)

    def _check_saveable(self, path: Path) -> None:
        state.check_saveable(self, path)

    @explains
    def to_c(self, path: Path, *, inputs: ArrayLike | None = None, columns: Iterable[object] | None = None,
             classes: Iterable[object] | None = None) -> None:
        """Writes the network to one dependency-free C99 header, such as policy.h with `policy_predict(input, output)`.

        See `fastnn.interchange.to_c`.
        """
        from .interchange import to_c  # which needs this module
        to_c(self, path, inputs=inputs, columns=columns, classes=classes)

    def __reduce__(self) -> tuple[Callable[..., Network], tuple[Any, ...], dict[str, Any] | None]:
        # What a subclass has put beside it goes along, as with every other object.
        others = {name: value for name, value in vars(self).items() if name not in OWN}
        return state.rebuilt, (type(self), *state.checked_parts(self)), others or None

    def __setstate__(self, others: dict[str, Any]) -> None:
        vars(self).update(others)

    def _checked_optimizer(self, optimizer: object) -> AnyOptimizer:
        """The optimizer to train with: the last one for None."""
        if optimizer is None:
            return self.optimizer or Adam()
        if not isinstance(optimizer, (Optimizer, lbfgs.LBFGS)):
            raise TypeError(f"optimizer is {shown(optimizer)}, but must be an optimizer such as "
                            f"{object_meant('an optimizer', optimizer, 'fastnn.SGD(0.1)')}")
        return optimizer

    def _checked_validation(self, validation_data: Validation | None,
                            ranks: data.Ranks) -> Callable[[], float] | None:
        """The function that gives the validation loss, or None."""
        if validation_data is None:
            return None
        X, y, sample_weight = validation_rows(validation_data, ", or a fraction of the rows")
        try:
            rows = data.as_rows(self._engine, X, y, sample_weight, whole=ranks.size == 1)
        except (TypeError, ValueError) as error:
            raise type(error)(f"validation_data: {error}") from None
        return ranks.mean_loss_of(self, rows)

    def _checked_scores(self, metrics: Metrics, rows: Any, validating: bool, ranks: data.Ranks) -> dict[str, Scored]:
        """{name in the History: function that takes the metric} of rows, (X, y) or (X, y, sample_weight)."""
        functions = checked_metrics(metrics, self.loss, data.tells_classes(self._engine))
        if not functions:
            return {}
        X, y, sample_weight = (*rows, None)[:3]
        if not validating and (y is None or isinstance(X, np.memmap)):
            raise ValueError("metrics need validation_data where X is an iterable of batches or a memory-mapped file")
        X = data.inputs(self._engine, X)
        return {"validation_" * validating + name: Scored(name, function, self, X, y, sample_weight, ranks)
                for name, function in functions.items()}

    def _check_finite(self) -> None:
        if not self._engine.kernels.all_finite(self._engine.parameters):
            raise ValueError("weights or biases hold NaN or infinity, but must be finite; set them before training")

    def _train_converted(self, engine: Engine, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None,
                         optimizer: object) -> float:
        """`train_on_batch` for arguments that must be checked and converted first, or a new optimizer."""
        optimizer = self._checked_optimizer(optimizer)
        if isinstance(optimizer, lbfgs.LBFGS):
            raise ValueError("optimizer is LBFGS, which needs all rows at once: call fit, or pass another optimizer")
        array = real_array("X", X)
        if array.ndim == 1:
            X, y = array[None], real_array("y", y)[None]
            sample_weight = None if sample_weight is None else real_array("sample_weight", sample_weight).ravel()
        rows = data.as_rows(engine, X, y, sample_weight)
        start = None
        try:
            if optimizer.stale or optimizer is not self.optimizer:
                start = State(self, optimizer, None)
                self._check_finite()
                optimizer.bind(engine)
                self._optimizer = optimizer
            trainer = self._online_trainer(engine, optimizer)
            trainer.begin()
            if not trainer.advance(rows, len(rows), optimizer.rates(1)):
                raise DivergenceError(self.epochs_trained + 1, 1, optimizer.last_rate, single=True,
                                               overflow=engine.steps == 0)
        except BaseException:
            if start is not None and start.is_now():
                start.bring_back()
            raise
        return trainer.loss


def ranks_of(communicator: Communicator | None) -> data.Ranks:
    """Those of a fit."""
    if communicator is None:
        return data.ONE
    from .distributed import joined  # which needs MPI
    return joined(communicator)


@explains
def load(path: Path, *, loss: LossFunction | None = None) -> Network:
    """The network that `Network.save` wrote to a file, with the whole state of its fit.

    `loss` is the Python function that it learned with, which a file cannot hold; None for all
    others. FormatError for anything that is not a whole, unchanged model file of this version
    or an older one; OSError where it cannot be read, or is no regular file. No code in the file is run.
    """
    return state.load(Network, path, loss)


def checked_network(network: object) -> Network:
    """network, or an error if it is none."""
    if not isinstance(network, Network):
        cure = "; pass its to_network()" if hasattr(network, "to_network") else ""
        raise TypeError(f"network is a {type(network).__name__}, but must be a fastnn.Network{cure}")
    return network
