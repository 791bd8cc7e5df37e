"""fastnn and its peers: each does a cell's work as a good user of that library would write it.

A contender is made for one cell, and holds that cell's data in the form that suits it best. Its method `run` is what
is timed: one epoch, which returns the mean loss of its steps, or one prediction, which returns the outputs.
`parameters` returns W0, b0, W1, b1, … afterwards. A contender imports its library when it is made. Where it cannot do a
cell it raises `Unable` with the reason.
"""

from functools import partial
from itertools import pairwise

import numpy as np

from .cells import LEARNING_RATE


class Unable(Exception):
    """A contender cannot do a cell; the message says why."""


class FastNN:
    name, package = "fastnn", "fastnn-mlp"

    def __init__(self, cell, dtype, threads, steps=None):
        import fastnn
        self.net = fastnn.Network(cell.sizes, activation=cell.activation,
                                  output="softmax" if cell.softmax else "identity", dtype=dtype)
        for w, b, (weights, biases) in zip(self.net.weights, self.net.biases, cell.parameters(dtype), strict=True):
            w[...], b[...] = weights, biases
        X = cell.inputs(dtype, steps)
        if cell.trains:
            y = cell.targets(dtype, steps)
            optimizer = getattr(fastnn, cell.optimizer)(LEARNING_RATE)
            self.run = lambda: self.net.fit(X, y, batch_size=cell.batch, optimizer=optimizer, shuffle=False).loss[0]
        else:
            self.run = partial(self.net.predict, X)

    def parameters(self):
        return [array for pair in zip(self.net.weights, self.net.biases, strict=True) for array in pair]


class NumPy:
    """Steps in place, with as few allocations as NumPy allows. The other contenders are checked against it."""

    name = package = "numpy"

    def __init__(self, cell, dtype, threads=1, steps=None):
        self.cell, self.steps = cell, steps or cell.steps
        self.weights, self.biases = zip(*cell.parameters(dtype), strict=True)
        self.x = cell.inputs(dtype, steps)
        self.outputs = [np.empty((cell.batch, n), dtype) for n in cell.sizes[1:]]
        if cell.trains:
            self.t = cell.targets(dtype, steps)
            self.deltas = [np.empty_like(y) for y in self.outputs]
            self.updates = 0
            self.gradients, self.first, self.second, self.scratch = (
                [np.zeros_like(p) for p in self.parameters()] for _ in range(4))
        self.run = self.epoch if cell.trains else lambda: self.forward(self.x).copy()

    def parameters(self):
        return [array for pair in zip(self.weights, self.biases, strict=True) for array in pair]

    def epoch(self):
        batch, total = self.cell.batch, 0.0
        for start in range(0, self.steps * batch, batch):
            x, t = self.x[start:start + batch], self.t[start:start + batch]
            self.forward(x)
            total += self.output_delta(t)
            self.backward(x)
            self.update()
        return total / self.steps

    def forward(self, x):
        for w, b, y in zip(self.weights, self.biases, self.outputs, strict=True):
            np.dot(x, w, out=y)
            y += b
            if y is not self.outputs[-1]:
                self.activate(y)
            elif self.cell.softmax and not self.cell.trains:
                self.exponentiate(y)
                y /= y.sum(axis=1, keepdims=True)
            x = y
        return x

    def activate(self, y):
        if self.cell.activation == "relu":
            np.maximum(y, 0, out=y)
        elif self.cell.activation == "tanh":
            np.tanh(y, out=y)
        else:
            np.negative(y, out=y)
            np.exp(y, out=y)
            y += 1
            np.reciprocal(y, out=y)

    @staticmethod
    def exponentiate(y):
        y -= y.max(axis=1, keepdims=True)
        np.exp(y, out=y)

    def output_delta(self, t):
        """The loss; deltas[-1] := its gradient."""
        y, delta = self.outputs[-1], self.deltas[-1]
        if self.cell.softmax:
            rows = np.arange(len(y))
            delta[...] = y
            self.exponentiate(delta)
            delta /= delta.sum(axis=1, keepdims=True)
            loss = -float(np.log(delta[rows, t]).mean())
            delta[rows, t] -= 1
            delta /= len(y)
            return loss
        np.subtract(y, t, out=delta)
        loss = float(np.vdot(delta, delta)) / delta.size
        delta *= 2 / delta.size
        return loss

    def backward(self, x):
        for layer in reversed(range(len(self.weights))):
            delta = self.deltas[layer]
            np.dot((self.outputs[layer - 1] if layer else x).T, delta, out=self.gradients[2*layer])
            delta.sum(axis=0, out=self.gradients[2*layer + 1])
            if layer:
                below, y = self.deltas[layer - 1], self.outputs[layer - 1]
                np.dot(delta, self.weights[layer].T, out=below)
                self.times_slope(below, y)

    def times_slope(self, delta, y):
        """delta := delta * slope, computed from y, which is overwritten."""
        if self.cell.activation == "relu":
            delta *= y > 0
        elif self.cell.activation == "tanh":
            y *= y
            np.subtract(1, y, out=y)
            delta *= y
        else:
            delta *= y
            np.subtract(1, y, out=y)
            delta *= y

    def update(self):
        self.updates += 1
        correction = 1 / float(np.sqrt(1 - 0.999**self.updates))
        rate = LEARNING_RATE / (1 - 0.9**self.updates)
        for p, g, m, v, s in zip(
                self.parameters(), self.gradients, self.first, self.second, self.scratch, strict=True):
            if self.cell.optimizer == "SGD":
                g *= LEARNING_RATE
                p -= g
                continue
            np.subtract(g, m, out=s)
            s *= 0.1
            m += s
            g *= g
            g *= 0.001
            v *= 0.999
            v += g
            np.sqrt(v, out=s)
            s *= correction
            s += 1e-8
            np.divide(m, s, out=s)
            s *= rate
            p -= s


class Torch:
    """PyTorch as its tutorials have it, with the fused optimizers."""

    name = package = "torch"
    compiled = False

    def __init__(self, cell, dtype, threads, steps=None):
        import torch
        torch.set_num_threads(threads)
        torch.compiler.reset()      # otherwise the ninth network that runs through the same line would not be compiled
        nn = torch.nn
        activation = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}[cell.activation]
        self.linear = [nn.Linear(n_in, n_out, dtype=getattr(torch, dtype)) for n_in, n_out in pairwise(cell.sizes)]
        modules = [module for linear in self.linear for module in (linear, activation())][:-1]
        with torch.no_grad():
            for linear, (weights, biases) in zip(self.linear, cell.parameters(dtype), strict=True):
                linear.weight[...] = torch.from_numpy(weights.T)
                linear.bias[...] = torch.from_numpy(biases)
        X = torch.from_numpy(cell.inputs(dtype, steps))
        if cell.trains:
            targets = torch.from_numpy(cell.targets(dtype, steps))
            batches = list(zip(X.split(cell.batch), targets.split(cell.batch), strict=True))
            self.run = self.training(torch, nn.Sequential(*modules), cell, batches)
        else:
            self.run = self.prediction(torch, nn.Sequential(*modules, *[nn.Softmax(dim=1)] * cell.softmax), X)

    def prediction(self, torch, model, X):
        model = torch.compile(model) if self.compiled else model

        @torch.inference_mode()
        def predict():
            return model(X).numpy()

        return predict

    def training(self, torch, model, cell, batches):
        measure = torch.nn.CrossEntropyLoss() if cell.softmax else torch.nn.MSELoss()

        def loss_of(x, t):
            return measure(model(x), t)

        loss_of = torch.compile(loss_of) if self.compiled else loss_of
        optimizer = getattr(torch.optim, cell.optimizer)(model.parameters(), lr=LEARNING_RATE, fused=True)

        def epoch():
            total = torch.zeros((), dtype=torch.float64)
            for x, t in batches:
                optimizer.zero_grad()
                loss = loss_of(x, t)
                loss.backward()
                optimizer.step()
                total += loss.detach()
            return total.item() / len(batches)

        return epoch

    def parameters(self):
        return [array.detach().numpy() for linear in self.linear for array in (linear.weight.T, linear.bias)]


class TorchCompile(Torch):
    """The same with the model and its loss, and so their gradients, through torch.compile."""

    name = "torch.compile"
    compiled = True


class JAX:
    """A whole epoch as one compiled scan."""

    name = package = "jax"

    def __init__(self, cell, dtype, threads, steps=None):
        import jax
        import jax.numpy as jnp
        jax.config.update("jax_enable_x64", dtype == "float64")
        jax.config.update("jax_platforms", "cpu")
        self.state = [jnp.asarray(array) for pair in cell.parameters(dtype) for array in pair]
        self.adam = cell.optimizer == "Adam"
        X = cell.inputs(dtype, steps)
        logits, loss_of = jax_network(jax, cell)

        if cell.trains:
            steps = steps or cell.steps
            t = cell.targets(dtype, steps)
            self.run = self.training(jax, loss_of, jnp.asarray(X.reshape(steps, cell.batch, -1)),
                                     jnp.asarray(t.reshape(steps, cell.batch, *t.shape[1:])))
        else:
            predict = jax.jit(lambda parameters, x: (
                jax.nn.softmax(logits(parameters, x)) if cell.softmax else logits(parameters, x)))
            self.run = lambda: np.asarray(predict(self.state, X))

    def training(self, jax, loss_of, X, t):
        if self.adam:
            self.state = jax_adam_state(jax, self.state)
        step = (jax_adam if self.adam else jax_sgd)(jax, jax.value_and_grad(loss_of))

        def epoch_of(state, x, t):
            state, losses = jax.lax.scan(step, state, (x, t))
            return state, losses.mean()

        compiled = jax.jit(epoch_of, donate_argnums=0)

        def epoch():
            self.state, loss = compiled(self.state, X, t)
            return float(loss)

        return epoch

    def parameters(self):
        return [np.asarray(array) for array in (self.state[0] if self.adam else self.state)]


def jax_network(jax, cell):
    """Of one network: (parameters, rows) -> outputs before softmax, and (parameters, rows, targets) -> loss."""
    activation = {"relu": jax.nn.relu, "tanh": jax.numpy.tanh, "sigmoid": jax.nn.sigmoid}[cell.activation]

    def logits(parameters, x):
        for w, b in zip(parameters[0:-2:2], parameters[1:-2:2], strict=True):
            x = activation(x @ w + b)
        return x @ parameters[-2] + parameters[-1]

    def loss_of(parameters, x, t):
        z = logits(parameters, x)
        if cell.softmax:
            return -jax.numpy.take_along_axis(jax.nn.log_softmax(z), t[:, None], axis=1).mean()
        return ((z - t)**2).mean()

    return logits, loss_of


def jax_adam_state(jax, parameters):
    """Parameters, both moments and the count of steps."""
    first, second = ([jax.numpy.zeros_like(p) for p in parameters] for _ in range(2))
    return parameters, first, second, jax.numpy.zeros((), parameters[0].dtype)


def jax_sgd(jax, loss_and_gradients):
    """(parameters, batch) -> (parameters, loss): a step of SGD."""
    def step(state, batch):
        loss, gradients = loss_and_gradients(state, *batch)
        return [p - LEARNING_RATE*g for p, g in zip(state, gradients, strict=True)], loss

    return step


def jax_adam(jax, loss_and_gradients):
    """(state, batch) -> (state, loss): a step of Adam."""
    def step(state, batch):
        parameters, first, second, count = state
        loss, gradients = loss_and_gradients(parameters, *batch)
        count = count + 1
        first = [m + 0.1*(g - m) for m, g in zip(first, gradients, strict=True)]
        second = [0.999*v + 0.001*g*g for v, g in zip(second, gradients, strict=True)]
        rate = LEARNING_RATE / (1 - 0.9**count)
        correction = 1 / jax.numpy.sqrt(1 - 0.999**count)
        parameters = [p - rate * m / (jax.numpy.sqrt(v)*correction + 1e-8)
                      for p, m, v in zip(parameters, first, second, strict=True)]
        return (parameters, first, second, count), loss

    return step


class ScikitLearn:
    """MLPClassifier or MLPRegressor; an epoch is a `fit` that goes on."""

    name, package = "scikit-learn", "scikit-learn"

    def __init__(self, cell, dtype, threads, steps=None):
        import warnings

        from sklearn.neural_network import MLPClassifier, MLPRegressor
        warnings.simplefilter("ignore")
        if cell.softmax:
            estimator, scale, gain = MLPClassifier, 1, 1
        else:       # its loss is half of ours; its gradient is not divided by the number of outputs
            estimator, scale, gain = MLPRegressor, 2, cell.sizes[-1] / 2
        self.model = estimator(
            hidden_layer_sizes=cell.sizes[1:-1], activation=cell.activation.replace("sigmoid", "logistic"), alpha=0.0,
            solver=(cell.optimizer or "SGD").lower(), momentum=0.0, batch_size=cell.batch,
            learning_rate_init=LEARNING_RATE / (gain if cell.optimizer == "SGD" else 1),
            epsilon=1e-8 * 0.001**0.5 * gain,       # as in the others' first step: theirs is corrected for bias
            shuffle=False, max_iter=1, warm_start=True)
        X = cell.inputs(dtype, steps)
        rows = np.resize(X, (1000, cell.sizes[0]))
        t = np.zeros((len(rows), cell.sizes[-1]), dtype)
        self.model.fit(rows, np.arange(len(rows)) % cell.sizes[-1] if cell.softmax else self.shaped(t))
        for coefs, intercepts, (weights, biases) in zip(
                self.model.coefs_, self.model.intercepts_, cell.parameters(dtype), strict=True):
            coefs[...], intercepts[...] = weights, biases
        if cell.trains:
            t = self.shaped(cell.targets(dtype, steps))
            if cell.softmax and len(np.unique(t)) < cell.sizes[-1]:
                raise Unable("needs every class among the rows that it is fitted to")
            self.run = lambda: scale * self.model.fit(X, t).loss_curve_[-1]
        else:
            self.run = partial(self.model.predict_proba if cell.softmax else self.model.predict, X)

    @staticmethod
    def shaped(t):
        return t[:, 0] if t.shape[1:] == (1,) else t

    def parameters(self):
        return [array for pair in zip(self.model.coefs_, self.model.intercepts_, strict=True) for array in pair]


class ONNXRuntime:
    """Predictions only: a chain of Gemm nodes."""

    name, package = "onnxruntime", "onnxruntime"

    def __init__(self, cell, dtype, threads, steps=None):
        if cell.trains:
            raise Unable("does not train")
        import onnxruntime
        from onnx import TensorProto, helper, numpy_helper
        nodes, initializers, flowing = [], [], "x"
        last = len(cell.sizes) - 2
        operator = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid"}[cell.activation]
        for layer, (weights, biases) in enumerate(cell.parameters(dtype)):
            initializers += [numpy_helper.from_array(weights, f"w{layer}"),
                             numpy_helper.from_array(biases, f"b{layer}")]
            nodes.append(helper.make_node("Gemm", [flowing, f"w{layer}", f"b{layer}"], [f"z{layer}"]))
            flowing = f"z{layer}"
            if layer < last or cell.softmax:
                nodes.append(helper.make_node(operator if layer < last else "Softmax", [flowing], [f"y{layer}"]))
                flowing = f"y{layer}"
        kind = TensorProto.FLOAT if dtype == "float32" else TensorProto.DOUBLE
        graph = helper.make_graph(
            nodes, "network", [helper.make_tensor_value_info("x", kind, [None, cell.sizes[0]])],
            [helper.make_tensor_value_info(flowing, kind, [None, cell.sizes[-1]])], initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        X = cell.inputs(dtype)
        self.run = partial(session.run, None, {"x": X})


CONTENDERS = {kind.name: kind for kind in (FastNN, NumPy, Torch, TorchCompile, JAX, ScikitLearn, ONNXRuntime)}
