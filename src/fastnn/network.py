"""Network: the face of the library. Checks what users pass, and hands arrays to the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from ._checks import check_out, checked_weights, real_array
from ._words import explains
from .activations import ACTIVATIONS
from .initializers import draw
from .storage import state
from .training.divergence import DivergenceError, State
from .training.evaluation import mean_loss
from .training.fit import train
from .training.metrics import METRICS, checked_metrics, measured
from .training.ranks import ONE, Ranks
from .training.rows import as_rows, converted, held_out, inputs, takes_labels, tells_classes
from .training.settings import checked_optimizer, checked_settings
from .training.trainable import OWN, Trainable, at_rest, build, check_finite
from .training.validation import scores, validation_loss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ._types import (
        ActivationName,
        AnyLoss,
        AnyOptimizer,
        Array,
        ArrayLike,
        Batch,
        Callback,
        ClassWeight,
        Communicator,
        DType,
        EarlyStopping,
        FloatArray,
        HiddenName,
        History,
        InitializerName,
        Integers,
        LossFunction,
        LossName,
        Metrics,
        Path,
        Validation,
    )
    from .core import Engine


class Gradients(NamedTuple):
    """A mean loss and its gradient with respect to every layer's weights and biases."""

    loss: float
    weights: tuple[FloatArray, ...]
    biases: tuple[FloatArray, ...]


class Network(Trainable):
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

    @explains
    def __init__(self, layer_sizes: Sequence[int], activation: HiddenName | str | Sequence[str] = "relu",
                 output: ActivationName | str = "identity", loss: LossName | str | AnyLoss | None = None,
                 initializer: InitializerName | str | None = None, dtype: DType = "float32", seed: int = 0, *,
                 dropout: float | Sequence[float] = 0.0, l1: float = 0.0, l2: float = 0.0,
                 label_smoothing: float = 0.0) -> None:
        build(self, layer_sizes, activation, output, loss, initializer, dtype, seed, dropout, l1, l2, label_smoothing)
        for layer, (weights, name) in enumerate(zip(self.weights, self.activations, strict=True)):
            draw(weights, initializer or ACTIVATIONS[name].initializer, self.seed, layer)

    def __repr__(self) -> str:
        text = (f"Network({list(self.layer_sizes)}, activation={list(self.activations[:-1])}, "
                f"output={self.activations[-1]!r}, loss={self.loss!r}, dtype={self.dtype!r}, seed={self.seed}")
        extras = {"dropout": list(self.dropout) if any(self.dropout) else 0, "l1": self.l1, "l2": self.l2,
                  "label_smoothing": self.label_smoothing}
        return text + "".join(f", {name}={value!r}" for name, value in extras.items() if value) + ")"

    def get_parameters(self) -> FloatArray:
        """A copy of all parameters, shape (n_parameters,): W0, b0, W1, b1, … row by row."""
        with at_rest(self) as engine:
            return engine.packed(engine.parameters)

    @explains
    def set_parameters(self, v: ArrayLike) -> None:
        """Sets all parameters from a 1-D array in the order of `get_parameters`."""
        v = real_array("v", v)
        if v.shape != (self.n_parameters,):
            raise ValueError(f"v has shape {v.shape}, but this network has {self.n_parameters} parameters")
        with at_rest(self) as engine:
            engine.unpack(converted("v", v[None], engine)[0], engine.parameters)

    def _predict_converted(self, X: object, out: Array | None) -> FloatArray:
        """`predict` for arguments that must be checked and converted first."""
        array = real_array("X", X)
        single = array.ndim == 1
        rows = inputs(self._engine, array[None] if single else array, given=X)
        shape = (len(rows), self.layer_sizes[-1])[single:]
        if out is None:
            result = np.empty(shape, self.dtype)
        else:
            result = check_out(out, shape, self.dtype)
            if np.may_share_memory(rows, result):
                rows = rows.copy()
        self._engine.predict(rows, result)
        if out is not None and not np.may_share_memory(result, out):
            out[...] = result
        return result if out is None else out

    @explains
    def layer_outputs(self, X: ArrayLike) -> list[FloatArray]:
        """A list of what flows through the layers for X (n, n_inputs): X itself, then every layer's activation."""
        X = inputs(self._engine, X)
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
        if takes_labels(self._engine):
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
        name = "accuracy" if tells_classes(self._engine) else "r2"
        rows = as_rows(self._engine, X, y)
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
        rows = as_rows(self._engine, X, y, sample_weight)
        loss = mean_loss(self, rows)
        if metrics is None:
            return loss
        functions = checked_metrics(metrics, self._engine.loss, tells_classes(self._engine))
        outputs, targets, weights = self.predict(rows.arrays[0]), real_array("y", y), rows.arrays[3]
        return {"loss": loss} | {name: measured(name, function, targets, outputs, weights)
                                 for name, function in functions.items()}

    @explains
    def gradients(self, X: ArrayLike, y: ArrayLike, *, sample_weight: ArrayLike | None = None) -> Gradients:
        """The mean loss over the rows of X and its gradients: `Gradients(loss, weights, biases)`. Changes nothing.

        Where a number is beyond the network's dtype, they hold infinity or NaN: scale inputs and targets.
        """
        loss, block = self._engine.gradients(as_rows(self._engine, X, y, sample_weight))
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
            Passes over the rows. n calls of one epoch equal one call of n, bit for bit.
        batch_size : int or None
            Rows a step; None is 32, for LBFGS and LevenbergMarquardt all. The last batch of an epoch may be shorter.
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
            Training stops after so many seconds and the step under way, or some 10 ms of steps; with LBFGS and
            LevenbergMarquardt after the iteration. The epoch ends there: it counts, and is validated and recorded as
            any other, its loss being the mean over the rows that it has seen. The next fit begins another epoch. So
            what was learned, bit for bit, depends on the machine's speed.
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
            weight is one of the last step or the next. Copies and saves wait until no step is under way.)
        """
        engine = self._engine
        with ranks_of(communicator) as ranks:
            settings = checked_settings(
                epochs=epochs, batch_size=batch_size, shuffle=shuffle, steps_per_epoch=steps_per_epoch, tol=tol,
                time_budget=time_budget, threads=threads, early_stopping=early_stopping, callbacks=callbacks,
                progress=progress, optimizer=optimizer, last_optimizer=self.optimizer, class_weight=class_weight)
            rows, validation_data = held_out(engine, X, y, sample_weight, validation_data, ranks)
            validation = validation_loss(self, engine, validation_data, ranks)
            scored = scores(self, engine, metrics, rows, validation_data, ranks)
            loop = settings.optimizer.loop(engine, *rows, settings, ranks)
            check_finite(engine)
            return train(self, engine, settings, loop, validation, scored, ranks)

    @explains
    def save(self, path: Path) -> None:
        """Saves the network and the whole state of its training to one safetensors file.

        What `fastnn.load(path)` returns goes on training to the same bits. The file is written
        beside the old one, as `.<name>.fastnn-tmp`, synced and put in its place, with its mode:
        whatever happens, `path` is the old file or the new one. OSError where it cannot be written,
        TypeError or ValueError for what a file cannot hold, before the disk is touched.
        """
        state.save(self, path)

    @explains
    def to_c(self, path: Path, *, inputs: ArrayLike | None = None, columns: Iterable[object] | None = None,
             classes: Iterable[object] | None = None) -> None:
        """Writes the network to one dependency-free C99 header, such as policy.h with `policy_predict(input, output)`.

        See `fastnn.interchange.to_c`.
        """
        from .interchange.c import to_c
        to_c(self, path, inputs=inputs, columns=columns, classes=classes)

    def __reduce__(self) -> tuple[Callable[..., Network], tuple[Any, ...], dict[str, Any] | None]:
        # Attributes that a subclass or a user has added go along, as with every other object.
        others = {name: value for name, value in vars(self).items() if name not in OWN}
        return state.rebuilt, (type(self), *state.checked_parts(self)), others or None

    def __setstate__(self, others: dict[str, Any]) -> None:
        vars(self).update(others)

    def _train_converted(self, engine: Engine, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None,
                         optimizer: object) -> float:
        """`train_on_batch` for arguments that must be checked and converted first, or a new optimizer."""
        optimizer = checked_optimizer(optimizer, self.optimizer).for_single_steps()
        array = real_array("X", X)
        if array.ndim == 1:
            X, y = array[None], real_array("y", y)[None]
            sample_weight = None if sample_weight is None else real_array("sample_weight", sample_weight).ravel()
        rows = as_rows(engine, X, y, sample_weight)
        start = None
        try:
            if optimizer.stale or optimizer is not self.optimizer:
                start = State(self, optimizer, None)
                check_finite(engine)
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


def ranks_of(communicator: Communicator | None) -> Ranks:
    """The ranks that share a fit; this process alone where there is no communicator."""
    if communicator is None:
        return ONE
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
