"""Network: the face of the library. Checks what users pass, and hands arrays to the engine."""

from itertools import pairwise
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from . import _dispatch, training
from ._checks import (
    check_memory,
    check_out,
    check_range,
    checked_dtype,
    checked_hidden,
    checked_integer,
    checked_labels,
    checked_sizes,
    checked_weights,
    choose,
    number,
    real_array,
)
from ._core import LOSSES, Engine, Predicting, Trainer
from ._threads import MOST as MOST_THREADS
from .activations import ACTIVATIONS, HIDDEN
from .initializers import INITIALIZERS, initial_weights
from .losses import check_pair, default_loss
from .optimizers import Adam, Optimizer


class Gradients(NamedTuple):
    """A mean loss and its gradient with respect to every layer's weights and biases."""

    loss: float
    weights: tuple
    biases: tuple


class Network(Predicting):
    """A dense feed-forward network: layers of `activation(x @ weights + biases)`.

    Parameters
    ----------
    layer_sizes : sequence of int
        Inputs, units of each hidden layer, outputs: two numbers at least.
    activation : str or sequence of str
        Of the hidden layers: one name, or one per hidden layer.
    output : str
        Activation of the last layer.
    loss : str or None
        None: "cross_entropy" for softmax, "binary_cross_entropy" for sigmoid, else "mse".
    initializer : str or None
        Of all weights; None chooses for each layer by its activation: "he_normal" for ReLU and
        its kin, "lecun_normal" for selu, else "glorot_uniform". Biases start at zero.
    dtype : "float32" or "float64"
    seed : int
        Everything random in this network comes from it: initial weights, order of the rows.

    Attributes
    ----------
    layer_sizes, activations, loss, dtype, seed
        What it was built with; `activations` has one name per layer of weights.
    weights, biases : tuples of arrays, shapes (n_in, n_out) and (n_out,)
        Views of the memory that training changes: `net.weights[0][...] = W` sets a layer.
    n_parameters : int
    optimizer : the optimizer of the last fit, or None
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

    def __init__(self, layer_sizes, activation="relu", output="identity", loss=None, initializer=None,
                 dtype="float32", seed=0):
        sizes = checked_sizes(layer_sizes)
        hidden = checked_hidden(activation, len(sizes) - 2, HIDDEN, ACTIVATIONS)
        activations = (*hidden, choose("output", output, ACTIVATIONS))
        loss = default_loss(output) if loss is None else choose("loss", loss, LOSSES)
        check_pair(loss, output)
        if initializer is not None:
            choose("initializer", initializer, INITIALIZERS)
        dtype = checked_dtype(dtype)
        self._seed = checked_integer("seed", seed, 0, 2**64 - 1)
        check_memory(sizes, dtype)
        self._engine = Engine(_dispatch.kernels, dtype, sizes, activations, loss)
        self._weights, self._biases = self._engine.views(self._engine.parameters)
        self._optimizer = None
        self._epochs_trained = 0
        self._last_good = []        # blocks to go back to, see training.py
        for layer, (weights, name) in enumerate(zip(self.weights, self.activations, strict=True)):
            scheme = initializer or ACTIVATIONS[name].initializer
            weights[...] = initial_weights(scheme, *weights.shape, self.seed, layer)

    def __repr__(self):
        return (f"Network({list(self.layer_sizes)}, activation={list(self.activations[:-1])}, "
                f"output={self.activations[-1]!r}, loss={self.loss!r}, dtype={self.dtype!r}, seed={self.seed})")

    # What it is cannot be changed, so it always agrees with the engine.
    layer_sizes = property(attrgetter("_engine.layer_sizes"))
    activations = property(attrgetter("_engine.activations"))
    loss = property(attrgetter("_engine.loss"))
    dtype = property(attrgetter("_engine.dtype"))
    seed = property(attrgetter("_seed"))
    weights = property(attrgetter("_weights"))
    biases = property(attrgetter("_biases"))
    optimizer = property(attrgetter("_optimizer"))
    epochs_trained = property(attrgetter("_epochs_trained"))

    @property
    def n_parameters(self):
        """The number of weights and biases."""
        return sum((n_in + 1) * n_out for n_in, n_out in pairwise(self.layer_sizes))

    def get_parameters(self):
        """A copy of all parameters, shape (n_parameters,): W0, b0, W1, b1, … row by row."""
        return packed(self.weights, self.biases)

    def set_parameters(self, v):
        """Sets all parameters from a 1-D array in the order of `get_parameters`."""
        v = real_array("v", v)
        if v.shape != (self.n_parameters,):
            raise ValueError(f"v has shape {v.shape}, but this network has {self.n_parameters} parameters")
        v = self._converted("v", v[None])[0]
        start = 0
        for view in interleaved(self.weights, self.biases):
            view[...] = v[start:start + view.size].reshape(view.shape)
            start += view.size

    def _predict_converted(self, X, out):
        """`predict` for arguments that must be checked and converted first."""
        X = real_array("X", X)
        single = X.ndim == 1
        inputs = self._inputs(X[None] if single else X)
        shape = (len(inputs), self.layer_sizes[-1])[single:]
        if out is None:
            result = np.empty(shape, self.dtype)
        else:
            result = check_out(out, shape, self.dtype)
            if np.may_share_memory(inputs, result):
                inputs = inputs.copy()
        self._engine.predict(inputs, result)
        if out is not None and result is not out:
            out[...] = result
        return result if out is None else out

    def layer_outputs(self, X):
        """A list of what flows through the layers for X (n, n_inputs): X itself, then every layer's activation."""
        outputs = [self._inputs(X)]
        for weights, biases, activation in zip(self.weights, self.biases, self.activations, strict=True):
            outputs.append(np.empty((len(outputs[0]), weights.shape[1]), self.dtype))
            self._engine.kernels.dense_forward(outputs[-1], outputs[-2], weights, biases, activation)
        return outputs

    def evaluate(self, X, y, *, sample_weight=None):
        """The mean loss over the rows of X, a float."""
        inputs = self._inputs(X)
        weights = checked_weights("sample_weight", sample_weight, len(inputs))
        return self._engine.evaluate(inputs, *self._targets(y, len(inputs)), weights)

    def gradients(self, X, y, *, sample_weight=None):
        """The mean loss over the rows of X and its gradients: `Gradients(loss, weights, biases)`. Changes nothing."""
        inputs = self._inputs(X)
        weights = checked_weights("sample_weight", sample_weight, len(inputs))
        loss, block = self._engine.gradients(inputs, *self._targets(y, len(inputs)), weights)
        return Gradients(loss, *self._engine.views(block))

    def fit(self, X, y, *, epochs=1, batch_size=None, optimizer=None, shuffle=True, tol=None,
            threads=None):
        """Trains on the rows of X, and goes on where the last fit stopped.

        Parameters
        ----------
        X : array (n, n_inputs)
        y : array
            For softmax integer labels (n,) or probabilities (n, n_outputs); for others (n,)
            when there is one output, or (n, n_outputs).
        epochs : int
            Passes over the rows. n calls of one epoch equal one call of n, bit for bit.
        batch_size : int or None
            Rows a step; None is 32. The last batch of an epoch may be shorter.
        optimizer : Optimizer or None
            None is the last fit's, else Adam(). It belongs to this network from now on.
        shuffle : bool
            Whether every epoch takes the rows in another random order.
        tol : float or None
            Training stops after an epoch whose loss is below it.
        threads : int or None
            The most threads that share a step; None is what `set_num_threads` says. The result
            never depends on it, bit for bit.

        Returns
        -------
        History : `loss`, a list with the mean training loss of each epoch.

        Raises
        ------
        DivergenceError
            When the loss stops being finite; parameters, optimizer and random state are those
            of the last good epoch again.
        """
        inputs = self._inputs(X)
        targets, labels = self._targets(y, len(inputs))
        epochs = checked_integer("epochs", epochs, 0)
        batch = min(32 if batch_size is None else checked_integer("batch_size", batch_size, 1), len(inputs))
        if tol is not None:
            tol = number("tol", tol, low=0)
        if threads is not None:
            threads = checked_integer("threads", threads, 1, MOST_THREADS)
        if optimizer is None:
            optimizer = self.optimizer or Adam()
        elif not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer is {optimizer!r}, but must be an optimizer such as fastnn.SGD(0.1)")
        if not self._engine.kernels.all_finite(self._engine.parameters):
            raise ValueError("weights or biases hold NaN or infinity, but must be finite; set them before training")
        optimizer.bind(self._engine)
        trainer = Trainer(self._engine, inputs, targets, labels, batch, bool(shuffle),
                          optimizer.kernel, optimizer.settings(), optimizer.state, optimizer.steps, threads)
        self._optimizer = optimizer
        return training.run(self, trainer, optimizer, epochs, tol)

    def _inputs(self, X):
        """X as the engine wants it: (n, n_inputs), finite, C-contiguous, of the network's dtype."""
        inputs = real_array("X", X)
        if inputs.shape[:1] == (0,):
            raise ValueError(f"X has 0 rows (its shape is {inputs.shape}), but at least 1 is needed")
        if inputs.ndim != 2:
            raise ValueError(f"X has {inputs.ndim} dimensions, but must have 2: (samples, {self.layer_sizes[0]})")
        if inputs.shape[1] != self.layer_sizes[0]:
            raise ValueError(
                f"X has {inputs.shape[1]} features, but this network was built for {self.layer_sizes[0]} inputs")
        return self._converted("X", inputs)

    def _targets(self, y, rows):
        """(targets (n, n_outputs) of the network's dtype, None), or (None, labels) for integer labels."""
        outputs = self.layer_sizes[-1]
        y = real_array("y", y)
        if y.ndim not in (1, 2):
            raise ValueError(f"y has {y.ndim} dimensions, but must have 1 or 2")
        if len(y) != rows:
            raise ValueError(f"y has {len(y)} rows, but X has {rows}")
        if self.loss == "cross_entropy" and y.ndim == 1:
            return None, checked_labels(y, outputs)
        if y.ndim == 1 and outputs == 1:
            y = y[:, None]
        if self.loss == "cross_entropy" and y.shape != (rows, outputs):
            raise ValueError(
                f"y has shape {y.shape}, but softmax takes labels ({rows},) or probabilities ({rows}, {outputs})")
        if y.shape != (rows, outputs):
            raise ValueError(f"y has shape {y.shape}, but must have shape ({rows}, {outputs}): one column per output")
        targets = self._converted("y", y)
        if self.loss == "cross_entropy":
            check_range("y", targets, 0, 1, "probabilities")
            if np.abs(targets.sum(axis=1) - 1).max() > 1e-3:
                row = int(np.abs(targets.sum(axis=1) - 1).argmax())
                raise ValueError(
                    f"y holds probabilities that sum to {targets[row].sum():g} in row {row}, but each must sum to 1")
        elif self.loss == "binary_cross_entropy":
            check_range("y", targets, 0, 1, "binary_cross_entropy's targets")
        elif self.loss == "poisson":
            check_range("y", targets, 0, np.inf, "poisson's targets")
        return targets, None

    def _converted(self, name, array):
        """A 2-D array in the network's dtype, aligned and C-contiguous; refuses NaN and infinity."""
        converted = array
        if not (array.dtype == self.dtype and array.flags.carray):
            with np.errstate(over="ignore"):
                converted = np.require(array, self.dtype, "CA")
        if not self._engine.kernels.all_finite(converted):
            row, column = np.argwhere(~np.isfinite(converted))[0]
            raise ValueError(
                f"{name} holds {array[row, column]} in row {row}, column {column}, "
                f"but must be finite in {self.dtype}")
        return converted


def interleaved(weights, biases):
    """W0, b0, W1, b1, …"""
    return [array for pair in zip(weights, biases, strict=True) for array in pair]


def packed(weights, biases):
    return np.concatenate([array.ravel() for array in interleaved(weights, biases)])
