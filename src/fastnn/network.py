"""Network: the face of the library. Checks what users pass, and hands arrays to the engine."""

import sys
from numbers import Integral
from typing import NamedTuple

import numpy as np

from . import _dispatch, training
from ._core import LOSSES, Engine, Trainer
from ._names import choose
from .activations import ACTIVATIONS, HIDDEN
from .initializers import INITIALIZERS, initial_weights
from .losses import check_pair, default_loss
from .optimizers import Adam, Optimizer, number


class Gradients(NamedTuple):
    """A mean loss and its gradient with respect to every layer's weights and biases."""

    loss: float
    weights: tuple
    biases: tuple


class Network:
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
        self.layer_sizes = checked_sizes(layer_sizes)
        self.activations = (*checked_hidden(activation, len(self.layer_sizes) - 2), choose("output", output, ACTIVATIONS))
        self.loss = default_loss(output) if loss is None else choose("loss", loss, LOSSES)
        check_pair(self.loss, output)
        if initializer is not None:
            choose("initializer", initializer, INITIALIZERS)
        self.dtype = checked_dtype(dtype)
        self.seed = checked_integer("seed", seed, 0, 2**64 - 1)
        check_memory(self.layer_sizes, self.dtype)
        self.engine = Engine(_dispatch.kernels, self.dtype, self.layer_sizes, self.activations, self.loss)
        self.weights, self.biases = self.engine.views(self.engine.parameters)
        self.optimizer = None
        self.epochs_trained = 0
        for layer, (weights, name) in enumerate(zip(self.weights, self.activations, strict=True)):
            scheme = initializer or ACTIVATIONS[name].initializer
            weights[...] = initial_weights(scheme, *weights.shape, self.seed, layer)

    def __repr__(self):
        return (f"Network({list(self.layer_sizes)}, activation={list(self.activations[:-1])}, "
                f"output={self.activations[-1]!r}, loss={self.loss!r}, dtype={self.dtype!r}, seed={self.seed})")

    @property
    def n_parameters(self):
        """The number of weights and biases."""
        return sum((n_in + 1) * n_out for n_in, n_out in zip(self.layer_sizes, self.layer_sizes[1:], strict=False))

    def get_parameters(self):
        """A copy of all parameters, shape (n_parameters,): W0, b0, W1, b1, … row by row."""
        return packed(self.weights, self.biases)

    def set_parameters(self, v):
        """Sets all parameters from a 1-D array in the order of `get_parameters`."""
        v = real_array("v", v)
        if v.shape != (self.n_parameters,):
            raise ValueError(f"v has shape {v.shape}, but this network has {self.n_parameters} parameters")
        start = 0
        for view in interleaved(self.weights, self.biases):
            view[...] = v[start:start + view.size].reshape(view.shape)
            start += view.size

    def predict(self, X, *, out=None):
        """The outputs for X, after the output activation.

        X is (n, n_inputs) and the result (n, n_outputs); a 1-D X is one sample and gives a 1-D
        result. `out`, of the network's dtype, receives the result. A row's outputs never
        depend on the other rows, bit for bit.
        """
        single = np.ndim(X) == 1
        inputs = self._inputs(X[None] if single and isinstance(X, np.ndarray) else [X] if single else X)
        shape = (len(inputs), self.layer_sizes[-1])[single:]
        if out is None:
            result = np.empty(shape, self.dtype)
        else:
            result = check_out(out, shape, self.dtype)
            if np.may_share_memory(inputs, result):
                inputs = inputs.copy()
        self.engine.predict(inputs, result)
        if out is not None and result is not out:
            out[...] = result
        return result if out is None else out

    def layer_outputs(self, X):
        """A list of what flows through the layers for X (n, n_inputs): X itself, then every layer's activation."""
        outputs = [self._inputs(X)]
        for weights, biases, activation in zip(self.weights, self.biases, self.activations, strict=True):
            outputs.append(np.empty((len(outputs[0]), weights.shape[1]), self.dtype))
            self.engine.kernels.dense_forward(outputs[-1], outputs[-2], weights, biases, activation)
        return outputs

    def evaluate(self, X, y, *, sample_weight=None):
        """The mean loss over the rows of X, a float."""
        inputs = self._inputs(X)
        return self.engine.evaluate(inputs, *self._targets(y, len(inputs)), checked_weights(sample_weight, len(inputs)))

    def gradients(self, X, y, *, sample_weight=None):
        """The mean loss over the rows of X and its gradients: `Gradients(loss, weights, biases)`. Changes nothing."""
        inputs = self._inputs(X)
        loss, block = self.engine.gradients(
            inputs, *self._targets(y, len(inputs)), checked_weights(sample_weight, len(inputs)))
        return Gradients(loss, *self.engine.views(block))

    def fit(self, X, y, *, epochs=1, batch_size=None, optimizer=None, shuffle=True, tol=None):
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
        if optimizer is None:
            optimizer = self.optimizer or Adam()
        elif not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer is {optimizer!r}, but must be an optimizer such as fastnn.SGD(0.1)")
        optimizer.bind(self.engine)
        trainer = Trainer(self.engine, inputs, targets, labels, batch, bool(shuffle),
                          optimizer.kernel, optimizer.settings(), optimizer.state)
        self.optimizer = optimizer
        return training.run(self, trainer, optimizer, epochs, tol)

    def _inputs(self, X):
        """X as the engine wants it: (n, n_inputs), finite, C-contiguous, of the network's dtype."""
        inputs = real_array("X", X)
        if inputs.ndim != 2:
            raise ValueError(f"X has {inputs.ndim} dimensions, but must have 2: (samples, {self.layer_sizes[0]})")
        if inputs.shape[1] != self.layer_sizes[0]:
            raise ValueError(
                f"X has {inputs.shape[1]} features, but this network was built for {self.layer_sizes[0]} inputs")
        if not len(inputs):
            raise ValueError("X has 0 rows, but at least 1 is needed")
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
        if y.shape != (rows, outputs):
            raise ValueError(f"y has shape {y.shape}, but must have shape ({rows}, {outputs}): one column per output")
        targets = self._converted("y", y)
        if self.loss == "cross_entropy":
            check_range("y", targets, 0, 1, "probabilities")
            if np.abs(targets.sum(axis=1) - 1).max() > 1e-3:
                row = int(np.abs(targets.sum(axis=1) - 1).argmax())
                raise ValueError(
                    f"y holds probabilities that sum to {targets[row].sum():g} in row {row}, but each row must sum to 1")
        elif self.loss == "binary_cross_entropy":
            check_range("y", targets, 0, 1, "binary_cross_entropy's targets")
        elif self.loss == "poisson":
            check_range("y", targets, 0, np.inf, "poisson's targets")
        return targets, None

    def _converted(self, name, array):
        """A 2-D array in the network's dtype, aligned and C-contiguous; refuses NaN and infinity."""
        with np.errstate(over="ignore"):
            converted = np.require(array, self.dtype, "CA")
        if not self.engine.kernels.all_finite(converted):
            row, column = np.argwhere(~np.isfinite(converted))[0]
            raise ValueError(
                f"{name} holds {array[row, column]} in row {row}, column {column}, "
                f"but must be finite in {self.dtype}")
        return converted


def real_array(name, values):
    """values as a NumPy array of real numbers or booleans."""
    try:
        array = np.asarray(values)
    except ValueError:      # ragged
        raise ValueError(f"{name} is ragged, but must be a regular array of numbers") from None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {array.dtype}, but must hold real numbers")
    return array


def checked_integer(name, value, low, high=sys.maxsize):
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}, but must be an integer")
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}, but must be " + (f"at least {low}" if value < low else f"at most {high}"))
    return int(value)


def checked_sizes(layer_sizes):
    try:
        sizes = tuple(layer_sizes)
    except TypeError:
        raise TypeError(f"layer_sizes is {layer_sizes!r}, but must be a sequence such as [64, 128, 10]") from None
    if len(sizes) < 2:
        raise ValueError(f"layer_sizes is {list(sizes)}, but must hold at least 2 sizes: inputs and outputs")
    return tuple(checked_integer(f"layer_sizes[{i}]", size, 1) for i, size in enumerate(sizes))


def checked_hidden(activation, layers):
    """The activations of the hidden layers, from one name or one per layer."""
    names = (activation,) * layers if isinstance(activation, str) else tuple(activation)
    if len(names) != layers:
        raise ValueError(f"activation has {len(names)} names, but there are {layers} hidden layers")
    for name in names if layers else (activation,) * isinstance(activation, str):
        choose("activation", name, HIDDEN)
    return names


def checked_dtype(dtype):
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = None
    if name not in ("float32", "float64"):
        raise ValueError(f"dtype is {dtype!r}, but must be 'float32' or 'float64'")
    return name


def check_memory(sizes, dtype):
    """Refuses a network whose parameters cannot be addressed."""
    n_parameters = sum((n_in + 1) * (n_out + 64) for n_in, n_out in zip(sizes, sizes[1:], strict=False))
    if n_parameters * np.dtype(dtype).itemsize > sys.maxsize // 8:
        raise ValueError(
            f"layer_sizes is {list(sizes)}, which makes {n_parameters:.3g} parameters: more than memory can hold")


def checked_labels(y, classes):
    """Integer labels (n,) in 0 … classes-1."""
    if y.dtype.kind not in "iu":
        raise TypeError(
            f"y has dtype {y.dtype}, but softmax takes integer labels (n,) or probabilities (n, {classes}); "
            "convert labels with y.astype(int)")
    if y.min() < 0 or y.max() >= classes:
        wrong = y.min() if y.min() < 0 else y.max()
        raise ValueError(f"y holds the label {wrong}, but labels must be in 0 … {classes - 1} for {classes} outputs")
    return np.require(y, np.intp, "CA")


def check_range(name, values, low, high, meaning):
    wrong = (values < low) | (values > high)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        bounds = f"between {low} and {high}" if high < np.inf else f"at least {low}"
        raise ValueError(
            f"{name} holds {values[row, column]:g} in row {row}, column {column}, but {meaning} must be {bounds}")


def checked_weights(sample_weight, rows):
    """Weights (n,) in float64, or None."""
    if sample_weight is None:
        return None
    weights = real_array("sample_weight", sample_weight)
    if weights.shape != (rows,):
        raise ValueError(f"sample_weight has shape {weights.shape}, but must have one weight for each of {rows} rows")
    weights = np.require(weights, np.float64, "CA")
    if not np.isfinite(weights).all() or weights.min() < 0 or not weights.any():
        raise ValueError("sample_weight must be finite, not negative, and not all zero")
    return weights


def check_out(out, shape, dtype):
    """The memory to predict into: `out` itself, or a stand-in where its layout does not fit."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out is a {type(out).__name__}, but must be a NumPy array")
    if out.shape != shape:
        raise ValueError(f"out has shape {out.shape}, but the result has shape {shape}")
    if out.dtype != dtype:
        raise ValueError(f"out has dtype {out.dtype}, but the result has dtype {dtype}")
    if not out.flags.writeable:
        raise ValueError("out is read-only, but the result is written to it; pass a writable array")
    fits = out.flags.c_contiguous and out.flags.aligned and out.dtype.isnative
    return out if fits else np.empty(shape, dtype)


def interleaved(weights, biases):
    """W0, b0, W1, b1, …"""
    return [array for pair in zip(weights, biases, strict=True) for array in pair]


def packed(weights, biases):
    return np.concatenate([array.ravel() for array in interleaved(weights, biases)])
