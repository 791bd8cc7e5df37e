"""Who trains many networks of one shape: fastnn in one call, fastnn one network after the other, and its peers.

They are contenders as contenders.py has them, for the cells of populations. `run` returns the mean loss of each
network, or their outputs; `parameters` returns W0, b0, W1, b1, … with an axis of networks before the others. `peer` is
the contender of a single network whose library this is. All take the batches that `cell.orders` tells, again in each
epoch; fastnn draws them itself, a new order for each epoch, which is a part of its time.
"""

import numpy as np

from .cells import LEARNING_RATE
from .contenders import NumPy as SingleNumPy
from .contenders import Unable, jax_adam, jax_adam_state, jax_network, jax_sgd

MOST_BROADCAST = 16         # networks, and inputs of a layer, that products by broadcasting are worth a try for


class FastNN:
    """fastnn.Population."""

    name = peer = "fastnn"

    def __init__(self, cell, dtype, threads, steps=None):
        import fastnn
        self.cell = cell
        self.population = population = fastnn.Population(
            cell.sizes, cell.networks, activation=cell.activation, output="softmax" if cell.softmax else "identity",
            dtype=dtype)
        population.parameters = vectors = cell.vectors(dtype)
        X = cell.inputs(dtype, steps)
        if cell.trains:
            y, optimizer = cell.targets(dtype, steps), getattr(fastnn, cell.optimizer)(LEARNING_RATE)
            self.run = lambda: population.fit(X, y, batch_size=cell.batch, optimizer=optimizer,
                                              shuffle="own" if cell.own else "shared").loss[0]
        elif cell.sets:
            def run():
                population.parameters = vectors
                return population.predict_each(X)

            self.run = run
        else:
            self.run = lambda: population.predict_each(X)

    def parameters(self):
        return split(self.population.parameters, self.cell)


class OneByOne:
    """A fastnn.Network each, one after the other."""

    name, peer = "one by one", "fastnn"

    def __init__(self, cell, dtype, threads, steps=None):
        import fastnn
        self.cell = cell
        self.networks = [fastnn.Network(
            cell.sizes, activation=cell.activation, output="softmax" if cell.softmax else "identity", dtype=dtype,
            seed=member if cell.own else 0) for member in range(cell.networks)]
        vectors = cell.vectors(dtype)
        for network, vector in zip(self.networks, vectors, strict=True):
            network.set_parameters(vector)
        X = cell.inputs(dtype, steps)
        if cell.trains:
            y = cell.targets(dtype, steps)
            optimizers = [getattr(fastnn, cell.optimizer)(LEARNING_RATE) for _ in self.networks]
            self.run = lambda: np.array([
                network.fit(X, y, batch_size=cell.batch, optimizer=optimizer).loss[0]
                for network, optimizer in zip(self.networks, optimizers, strict=True)])
            return

        def run():
            if cell.sets:
                for network, vector in zip(self.networks, vectors, strict=True):
                    network.set_parameters(vector)
            return np.array([network.predict(row) for network, row in zip(self.networks, X, strict=True)])

        self.run = run

    def parameters(self):
        return split(np.stack([network.get_parameters() for network in self.networks]), self.cell)


class NumPy(SingleNumPy):
    """Stacked products, in place. The other contenders are checked against it."""

    peer = "numpy"

    def __init__(self, cell, dtype, threads=1, steps=None):
        self.cell, self.steps = cell, steps or cell.steps
        self.vectors = cell.vectors(dtype)
        self.set()
        self.X = cell.inputs(dtype, steps)
        self.outputs = [np.empty((cell.networks, cell.batch, n), dtype) for n in cell.sizes[1:]]
        if not cell.trains:
            self.run = self.predict
            return
        self.t, self.orders = cell.targets(dtype, steps), cell.orders(steps)
        self.deltas = [np.empty_like(y) for y in self.outputs]
        self.updates = 0
        self.weights, self.biases = ([np.ascontiguousarray(p) for p in each] for each in (self.weights, self.biases))
        self.gradients, self.first, self.second, self.scratch = (
            [np.zeros_like(p) for p in self.parameters()] for _ in range(4))
        self.run = self.epoch

    def set(self):
        arrays = split(self.vectors, self.cell)
        self.weights, self.biases = arrays[0::2], arrays[1::2]

    def predict(self):
        if self.cell.sets:
            self.set()
        return self.forward(self.X[:, None])[:, 0].copy()

    def epoch(self):
        total = 0.0
        for order in self.orders:
            x = self.X[order]
            self.forward(x)
            total = total + self.output_delta(self.t[order])
            self.backward(x)
            self.update()
        return total / self.steps

    def forward(self, x):
        for w, b, y in zip(self.weights, self.biases, self.outputs, strict=True):
            np.matmul(x, w, out=y)
            y += b[:, None]
            if y is not self.outputs[-1]:
                self.activate(y)
            x = y
        return x

    def output_delta(self, t):
        """The loss of each network; deltas[-1] := its gradient."""
        y, delta = self.outputs[-1], self.deltas[-1]
        if self.cell.softmax:
            np.subtract(y, y.max(axis=2, keepdims=True), out=delta)
            np.exp(delta, out=delta)
            delta /= delta.sum(axis=2, keepdims=True)
            at = np.broadcast_to(t, y.shape[:2])[..., None]
            right = np.take_along_axis(delta, at, axis=2)
            np.put_along_axis(delta, at, right - 1, axis=2)
            delta /= self.cell.batch
            return -np.log(right).mean(axis=(1, 2))
        np.subtract(y, t, out=delta)
        loss = np.square(delta).mean(axis=(1, 2))
        delta *= 2 / (self.cell.batch * self.cell.sizes[-1])
        return loss

    def backward(self, x):
        for layer in reversed(range(len(self.weights))):
            delta, below = self.deltas[layer], self.outputs[layer - 1] if layer else x
            np.matmul(below.swapaxes(-1, -2), delta, out=self.gradients[2*layer])
            delta.sum(axis=1, out=self.gradients[2*layer + 1])
            if layer:
                np.matmul(delta, self.weights[layer].swapaxes(-1, -2), out=self.deltas[layer - 1])
                self.times_slope(self.deltas[layer - 1], below)


class Torch:
    """PyTorch with stacked parameters, baddbmm and the fused optimizers."""

    name = peer = "torch"

    def __init__(self, cell, dtype, threads, steps=None):
        import torch
        torch.set_num_threads(threads)
        self.cell = cell
        self.arrays = [torch.from_numpy(array if array.ndim == 3 else array[:, None]).requires_grad_(cell.trains)
                       for pair in cell.parameters(dtype) for array in pair]
        X = torch.from_numpy(cell.inputs(dtype, steps))
        activation = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}[cell.activation]

        def outputs(x, arrays):
            for w, b in zip(arrays[0:-2:2], arrays[1:-2:2], strict=True):
                x = activation(torch.baddbmm(b, x, w))
            return torch.baddbmm(arrays[-1], x, arrays[-2])

        if cell.trains:
            self.run = self.training(torch, outputs, X, torch.from_numpy(cell.targets(dtype, steps)),
                                     torch.from_numpy(cell.orders(steps)).long())
        else:
            self.run = self.prediction(torch, outputs, X[:, None], cell.vectors(dtype))

    def prediction(self, torch, outputs, X, vectors):
        @torch.inference_mode()
        def predict():
            arrays = self.arrays
            if self.cell.sets:
                arrays = [torch.from_numpy(array if array.ndim == 3 else array[:, None])
                          for array in split(vectors, self.cell)]
            return outputs(X, arrays)[:, 0].numpy()

        return predict

    def training(self, torch, outputs, X, targets, orders):
        cell, shape = self.cell, (self.cell.networks, self.cell.batch)
        optimizer = getattr(torch.optim, cell.optimizer)(self.arrays, lr=LEARNING_RATE, fused=True)

        def losses_of(x, t):
            z = outputs(x.expand(cell.networks, *x.shape[-2:]), self.arrays)
            if not cell.softmax:
                return (z - t).square().mean((1, 2))
            labels = t.expand(shape).reshape(-1)
            return torch.nn.functional.cross_entropy(z.flatten(0, 1), labels, reduction="none").view(shape).mean(1)

        def epoch():
            total = torch.zeros(cell.networks, dtype=torch.float64)
            for order in orders:
                optimizer.zero_grad()
                losses = losses_of(X[order], targets[order])
                losses.sum().backward()
                optimizer.step()
                total += losses.detach()
            return total.numpy() / len(orders)

        return epoch

    def parameters(self):
        return [array.detach().numpy() for array in self.arrays]


class JAX:
    """vmap over networks, the first axis; a whole epoch as one compiled scan."""

    name = peer = "jax"
    last = False        # whether networks are the last axis

    def __init__(self, cell, dtype, threads, steps=None):
        import jax
        import jax.numpy as jnp
        jax.config.update("jax_enable_x64", dtype == "float64")
        jax.config.update("jax_platforms", "cpu")
        self.jax, self.cell = jax, cell
        self.state = [jnp.asarray(np.moveaxis(array, 0, -1) if self.last else array)
                      for pair in cell.parameters(dtype) for array in pair]
        X = cell.inputs(dtype, steps)
        if cell.trains:
            orders = cell.orders(steps)
            if self.last and cell.own:
                orders = orders.swapaxes(1, 2)
            self.run = self.training(jnp.asarray(X), jnp.asarray(cell.targets(dtype, steps)), jnp.asarray(orders))
        else:
            self.run = self.prediction(X, cell.vectors(dtype))

    def loss_and_gradients(self):
        axis = 0 if self.cell.own else None
        return self.jax.vmap(self.jax.value_and_grad(jax_network(self.jax, self.cell)[1]), (0, axis, axis))

    def batch(self, X, t, order):
        return X[order], t[order]

    def training(self, X, t, orders):
        jax, adam = self.jax, self.cell.optimizer == "Adam"
        if adam:
            self.state = jax_adam_state(jax, self.state)
        step = (jax_adam if adam else jax_sgd)(jax, self.loss_and_gradients())

        def epoch_of(state, X, t, orders):
            state, losses = jax.lax.scan(lambda state, order: step(state, self.batch(X, t, order)), state, orders)
            return state, losses.mean(axis=0)

        compiled = jax.jit(epoch_of, donate_argnums=0)

        def epoch():
            self.state, losses = compiled(self.state, X, t, orders)
            return np.asarray(losses)

        return epoch

    def prediction(self, X, vectors):
        if self.last:
            raise Unable("predicts with networks as the first axis")
        outputs = self.jax.vmap(jax_network(self.jax, self.cell)[0])
        if self.cell.sets:
            predict = self.jax.jit(lambda vectors, X: outputs(split(vectors, self.cell), X))
            return lambda: np.asarray(predict(vectors, X))
        predict = self.jax.jit(outputs)
        return lambda: np.asarray(predict(self.state, X))

    def parameters(self):
        arrays = self.state[0] if self.cell.optimizer == "Adam" else self.state
        return [np.moveaxis(array, -1, 0) if self.last else np.asarray(array) for array in arrays]


class JAXLast(JAX):
    """The same with networks as the last axis of all arrays."""

    name = "jax, networks last"
    last = True

    def product(self, x, w):
        return self.jax.numpy.einsum("bkn,kmn->bmn" if x.ndim == 3 else "bk,kmn->bmn", x, w)

    def batch(self, X, t, order):
        x, y = super().batch(X, t, order)
        if self.cell.own:
            x = self.jax.numpy.moveaxis(x, 1, 2)
            y = y if self.cell.softmax else self.jax.numpy.moveaxis(y, 1, 2)
        else:
            y = y[..., None]
        return x, y

    def loss_and_gradients(self):
        jax, cell = self.jax, self.cell
        activation = {"relu": jax.nn.relu, "tanh": jax.numpy.tanh, "sigmoid": jax.nn.sigmoid}[cell.activation]

        def losses_of(arrays, x, t):
            for w, b in zip(arrays[0:-2:2], arrays[1:-2:2], strict=True):
                x = activation(self.product(x, w) + b)
            z = self.product(x, arrays[-2]) + arrays[-1]
            if cell.softmax:
                at = jax.numpy.broadcast_to(t, (cell.batch, cell.networks))[:, None]
                losses = -jax.numpy.take_along_axis(jax.nn.log_softmax(z, axis=1), at, axis=1).mean(axis=(0, 1))
            else:
                losses = ((z - t)**2).mean(axis=(0, 1))
            return losses.sum(), losses

        def both(arrays, x, t):
            (_, losses), gradients = jax.value_and_grad(losses_of, has_aux=True)(arrays, x, t)
            return losses, gradients

        return both


class JAXBroadcast(JAXLast):
    """The same with products as sums of broadcast factors, which XLA compiles to loops: good for few small networks."""

    name = "jax, broadcast"

    def __init__(self, cell, dtype, threads, steps=None):
        if max(cell.networks, *cell.sizes[:-1]) > MOST_BROADCAST:
            raise Unable("is for few small networks")
        super().__init__(cell, dtype, threads, steps)

    def product(self, x, w):
        return ((x[:, :, None] if x.ndim == 3 else x[:, :, None, None]) * w).sum(1)


def split(vectors, cell):
    """[W0 (networks, n_in, n_out), b0 (networks, n_out), W1, …] of vectors (networks, parameters): views."""
    arrays, start = [], 0
    for n_in, n_out in zip(cell.sizes, cell.sizes[1:], strict=False):
        for shape in ((n_in, n_out), (n_out,)):
            size = int(np.prod(shape))
            arrays.append(vectors[:, start:start + size].reshape(len(vectors), *shape))
            start += size
    return arrays


POPULATION_CONTENDERS = {kind.name: kind for kind in (FastNN, OneByOne, NumPy, Torch, JAX, JAXLast, JAXBroadcast)}
