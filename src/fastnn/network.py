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
    """A mean loss and its gradients with respect to the weights and biases of each layer: see `Network.gradients`.

    `weights` is a tuple of arrays (n_in, n_out), and `biases` a tuple of arrays (n_out,).
    """

    loss: float
    weights: tuple[FloatArray, ...]
    biases: tuple[FloatArray, ...]


class Network(Trainable):
    """A dense feed-forward network: layers of `activation(x @ weights + biases)`.

    Parameters
    ----------
    layer_sizes : sequence of int
        The number of inputs, of units in each hidden layer, and of outputs. It has 2 to 10,001 numbers.
    activation : str or sequence of str
        The activation of the hidden layers: one name for all of them, or one name per hidden layer.
    output : str
        The activation of the last layer.
    loss : str, Loss, callable or None
        A name, a loss of `fastnn.losses`, or a Python function `(outputs, targets) -> (value, gradient)`. The
        function gets arrays (n, n_outputs). It returns the mean loss and its derivatives with respect to the outputs.
        It is called in every step, with the GIL and on one thread, so it is slow. None means "cross_entropy" for
        softmax, "binary_cross_entropy" for sigmoid, and "mse" for all other outputs.
    initializer : str or None
        How the initial weights are drawn: "he_normal", "he_uniform", "glorot_normal", "glorot_uniform",
        "lecun_normal" or "lecun_uniform". None chooses for each layer by its activation: "he_normal" for relu,
        leaky_relu, elu, softplus, silu and gelu, "lecun_normal" for selu, "glorot_uniform" for all others. Biases
        start at zero.
    dtype : "float32" or "float64"
        The type of all parameters and results.
    seed : int
        All random numbers of this network depend on it: the initial weights, the order of the rows, dropout, and
        the rows that are held out for validation.
    dropout : float or sequence of float
        The probability with which a training step sets an output of a hidden layer to zero, from 0 to below 1: one
        number for all hidden layers, or one per hidden layer. The other outputs are multiplied by 1 / (1 - dropout)
        (Srivastava et al., 2014).
    l1, l2 : float
        Penalties: training adds `l1 * |w| + l2 / 2 * w**2` to the loss for every weight w. Biases have no penalty.
    label_smoothing : float
        The share of every target that training spreads evenly over the classes (over 0 and 1 for a sigmoid), from 0
        to below 1 (Szegedy et al., 2016). Only cross-entropies and the focal loss accept it.

    Attributes
    ----------
    layer_sizes, activations, loss, dtype, seed, dropout, l1, l2, label_smoothing
        The arguments that built the network. `activations` has one name per layer of weights, and `dropout` one
        number per hidden layer. `l1` and `l2` may be set between fits.
    metadata : dict
        Notes of the user about the model, such as names of columns: values that JSON can hold, at most half a
        megabyte, nested at most 90 deep. They are saved and copied with the network. The network does not read them.
    weights, biases : tuples of arrays, shapes (n_in, n_out) and (n_out,)
        Views of the memory that training changes: `net.weights[0][...] = W` sets the weights of the first layer.
    n_parameters : int
        The number of all weights and biases.
    optimizer : the optimizer of the last fit, or None
    early_stopping : the EarlyStopping of the last fit, or None
    epochs_trained : int
        The number of epochs since the network was built.

    Notes
    -----
    Dropout, penalties and label smoothing apply only to training steps. `predict`, `evaluate`, `gradients` and the
    validation do not use them. The training loss in a `History` includes dropout and label smoothing, but no penalties.

    See Also
    --------
    load : reads a network from a file.
    Population : many networks of one shape, which train at the same time.
    History : what `fit` returns.

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
        """Return a copy of all parameters, shape (n_parameters,): W0, b0, W1, b1, … Weights are read row by row."""
        with at_rest(self) as engine:
            return engine.packed(engine.parameters)

    @explains
    def set_parameters(self, v: ArrayLike) -> None:
        """Set all parameters from an array (n_parameters,), in the order of `get_parameters`."""
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
        """Return the outputs of all layers for X (n, n_inputs): a list of X itself, then the output of each layer."""
        X = inputs(self._engine, X)
        return [X, *map(np.ascontiguousarray, self._engine.layer_outputs(X))]

    @explains
    def predict_classes(self, X: ArrayLike) -> Integers:
        """Return the class of each row of X (n, n_inputs), an array (n,) of intp.

        With softmax, the class is the index of the largest output. With one sigmoid, the class is 1 if the output is
        above 0.5, and 0 otherwise. With several sigmoids, each output is a separate yes or no, and the result is an
        array (n, n_outputs) of 0 and 1. If X is 1-D, it is one sample. Other outputs are numbers, not classes: they
        raise a ValueError.

        See Also
        --------
        Network.predict : the outputs themselves.
        Network.score : the accuracy.

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
        """Return how good the predictions for X are: a float, at best 1.

        For classes (softmax, or one sigmoid with a loss for classes) the score is the accuracy: the share of rows
        whose class is right. For numbers, and for several sigmoids, it is the coefficient of determination r²,
        averaged over the outputs; r² is 0 if the predictions are as good as the mean of y. X, y and sample_weight are
        as for `evaluate`.

        See Also
        --------
        Network.evaluate : the loss, and metrics by name.

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
        """Return the mean loss over the rows of X: a float, or a dict if there are metrics.

        X has the shape (n, n_inputs). y and metrics are as for `fit`. `sample_weight` (n,) is the weight of each row,
        in the loss and in the metrics. With metrics the result is {"loss": …} with one more entry per metric.

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
        """Return the mean loss over the rows of X and its gradients: `Gradients(loss, weights, biases)`.

        The network does not change. A number that is too large for the network's dtype becomes infinity or NaN: if
        this happens, scale the inputs and targets. X, y and sample_weight are as for `evaluate`.
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
        """Train on the rows of X, and continue where the last fit stopped.

        Parameters
        ----------
        X : array (n, n_inputs), or an iterable of batches
            An array may be a memory-mapped file, which is not copied as a whole. An iterable needs no y: it gives
            batches (X, y) or (X, y, sample_weight), one for each step, and starts again for every epoch (but see
            `steps_per_epoch`).
        y : array
            With softmax: integer labels (n,) or probabilities (n, n_outputs). With other outputs: (n, n_outputs), or
            (n,) if there is one output. `predict` gives (n, 1) for one output, so compare y (n,) with
            `net.predict(X)[:, 0]`: NumPy's (n, 1) - (n,) has the shape (n, n).
        epochs : int
            The number of passes over the rows. n calls with one epoch equal one call with n epochs, bit for bit.
        batch_size : int or None
            Rows per step. None means 32, and all rows for LBFGS and LevenbergMarquardt. The last batch of an epoch may
            be shorter.
        steps_per_epoch : int or None
            The number of batches of an iterable that make one epoch, for an iterable that is long or has no end. The
            next epoch continues with the next batch. At its end, an iterable starts again, and a generator ends the
            epoch. Each fit starts the iterable again. None means all its batches. Arrays do not accept it.
        optimizer : Optimizer or None
            None means the optimizer of the last fit, or Adam() in the first fit. From now on it belongs to this
            network.
        shuffle : bool
            Whether every epoch takes the rows in a new random order.
        validation_data : (X, y), (X, y, sample_weight), float or None
            Rows whose loss is recorded after every epoch, or the fraction of the rows to hold out for this. The
            rows held out are random, but the same in every fit with this seed. A communicator accepts no fraction.
        sample_weight : array (n,) or None
            The weight of each row, >= 0: the loss of a batch is sum(w * loss) / sum(w). If all weights of a batch
            are zero, the step has a gradient of zero, but momentum, penalties and schedules continue. If all weights of
            an epoch are zero, this is a ValueError. Metrics on training rows are weighted, too.
        class_weight : dict {class: weight}, "balanced" or None
            Multiplies the weight of each row by the weight of its class. "balanced" means n / (classes * rows of the
            class). Only for classes that exclude each other.
        metrics : sequence of str and callables
            Recorded after every epoch: for the validation rows, as `"validation_" + name`, or for the training rows if
            there are no validation rows. Names are "accuracy", "r2", "mae", "mse" and "rmse". A function is
            `(y, outputs) -> float`; y has the shape of the outputs (n, n_outputs), but labels for softmax stay
            labels (n,). `sample_weight` applies to metrics by name, `class_weight` does not. A function with a
            parameter called `sample_weight` gets the weights, or None.
        tol : float or None
            Training stops after an epoch whose training loss is below this number.
        early_stopping : EarlyStopping or None
            Stops the fit when it no longer improves. See `EarlyStopping`.
        time_budget : float or None
            Training stops after this number of seconds. It finishes the present step, or about 10 ms of steps, or
            the iteration of LBFGS or LevenbergMarquardt. This ends the epoch, which is counted, validated and recorded
            like any other; its loss is the mean over the rows that it used. The next fit starts a new epoch. The
            result therefore depends on the speed of the machine.
        callbacks : sequence of Callback
            Objects that are called before the first epoch, after every epoch and at the end.
        progress : bool
            Whether to show a progress bar, which needs tqdm. If the output is not a terminal, one line is printed at
            the end.
        threads : int or None
            The largest number of threads for a step, a validation or a metric. None means the number of
            `set_num_threads`. The result does not depend on it, bit for bit. With a communicator, the ranks of one
            machine divide its processors.
        communicator : mpi4py communicator, fastnn.distributed.DataParallel or None
            The ranks that train together. X, y, sample_weight and validation_data are the rows of this rank.
            batch_size and all losses and metrics are those of all ranks together. See `fastnn.distributed`.

        Returns
        -------
        History
            Lists with one entry per epoch, such as `loss`, the mean training loss.

        Raises
        ------
        DivergenceError
            If the loss is no longer finite. The network is restored to the beginning of the last good epoch, or to
            the beginning of this fit. `DivergenceError` says which.
        KeyboardInterrupt
            After Ctrl-C, within 100 ms or one step. The parameters are those of a completed step. This is also true
            after an error in an iterable, a callback or a Python loss, and if memory runs out. If these parameters
            are not finite, those of the beginning of the last good epoch are restored. If no step was completed,
            everything is as before the fit, also `optimizer` and `early_stopping`.
        RuntimeError
            If another thread is training this network. Predictions are allowed meanwhile: each weight that they use
            is from the last step or the next. Copies and saves wait for the end of a step.

        See Also
        --------
        Network.train_on_batch : one step.
        Network.evaluate : the loss and metrics of any rows.
        Population.fit : trains many networks of one shape.
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
        """Save the network and the whole state of its training to one safetensors file.

        The network that `fastnn.load(path)` returns continues the training with the same bits. The new file is written
        as `.<name>.fastnn-tmp` in the same folder, synced, and then replaces the old file, whose mode it keeps. After
        an interruption `path` is therefore either the old file or the new one.

        Raises
        ------
        OSError
            If the file cannot be written.
        TypeError, ValueError
            If a file cannot hold this network. The disk is not touched.

        See Also
        --------
        load : reads the file.
        CheckpointEvery : saves during a fit.
        """
        state.save(self, path)

    @explains
    def to_c(self, path: Path, *, inputs: ArrayLike | None = None, columns: Iterable[object] | None = None,
             classes: Iterable[object] | None = None) -> None:
        """Write the network to one C99 header without dependencies.

        A file policy.h has the function `policy_predict(input, output)`. See `fastnn.interchange.to_c`.
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
    """Load a network, with the whole state of its training, from a file that `Network.save` wrote.

    No code in the file is run.

    Parameters
    ----------
    path : str or os.PathLike
    loss : callable or None
        The Python function with which the network was trained, as a file cannot hold it. None for all other losses.

    Raises
    ------
    FormatError
        If the file is no model file, is incomplete or changed, or comes from a newer version of fastnn.
    OSError
        If the file cannot be read, or is not a regular file.

    See Also
    --------
    Network.save : writes the file.
    """
    return state.load(Network, path, loss)
