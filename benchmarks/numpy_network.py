"""The NumPy baseline: the same training step, in place, without an allocation that NumPy lets one avoid.

As good as a careful person would write it: `out=` everywhere, one product a direction, the
optimizer's update as few passes as ufuncs allow. float32.
"""

import numpy as np


class NumPyNetwork:
    """A dense network with the parameters of a fastnn one; `step` trains on one batch and returns its mean loss."""

    def __init__(self, network, batch, learning_rate, adam):
        self.weights = [w.copy() for w in network.weights]
        self.biases = [b.copy() for b in network.biases]
        self.activations, self.loss = network.activations, network.loss
        self.outputs = [np.empty((batch, b.size), np.float32) for b in self.biases]
        self.deltas = [np.empty_like(y) for y in self.outputs]
        self.prepare_update([*self.weights, *self.biases], learning_rate, adam)

    @classmethod
    def of_parameters(cls, parameters, learning_rate):
        """Adam alone, on one array."""
        network = cls.__new__(cls)
        network.prepare_update([parameters], learning_rate, adam=True)
        return network

    def prepare_update(self, parameters, learning_rate, adam):
        self.learning_rate, self.adam, self.steps = np.float32(learning_rate), adam, 0
        self.parameters = parameters
        self.gradients = [np.empty_like(p) for p in self.parameters]
        self.first = [np.zeros_like(p) for p in self.parameters]
        self.second = [np.zeros_like(p) for p in self.parameters]
        self.scratch = [np.empty_like(p) for p in self.parameters]

    def step(self, x, t):
        layers = len(self.weights)
        inputs = x
        for w, b, activation, y in zip(self.weights, self.biases, self.activations, self.outputs, strict=True):
            np.dot(inputs, w, out=y)
            y += b
            if activation == "relu":
                np.maximum(y, 0, out=y)
            elif activation == "tanh":
                np.tanh(y, out=y)
            inputs = y
        loss = self.output_delta(t)
        for layer in reversed(range(layers)):
            delta = self.deltas[layer]
            np.dot((self.outputs[layer - 1] if layer else x).T, delta, out=self.gradients[layer])
            delta.sum(axis=0, out=self.gradients[layers + layer])
            if layer:
                below, y = self.deltas[layer - 1], self.outputs[layer - 1]
                np.dot(delta, self.weights[layer].T, out=below)
                if self.activations[layer - 1] == "relu":
                    below *= y > 0
                else:
                    y *= y                      # tanh: 1 - y**2, y is not needed any more
                    np.subtract(1, y, out=y)
                    below *= y
        self.update()
        return loss

    def output_delta(self, t):
        """The loss; deltas[-1] := its gradient."""
        y, delta = self.outputs[-1], self.deltas[-1]
        if self.loss == "cross_entropy":
            y -= y.max(axis=1, keepdims=True)
            rows = np.arange(len(y))
            picked = y[rows, t]
            np.exp(y, out=delta)
            total = delta.sum(axis=1, keepdims=True)
            delta /= total
            delta[rows, t] -= 1
            delta /= len(y)
            return float((np.log(total[:, 0]) - picked).mean())
        np.subtract(y, t, out=delta)
        loss = float(np.vdot(delta, delta)) / delta.size
        delta *= np.float32(2 / delta.size)
        return loss

    def update(self):
        self.steps += 1
        correction = np.float32(1 / np.sqrt(1 - 0.999**self.steps))
        rate = np.float32(self.learning_rate / (1 - 0.9**self.steps))
        for p, g, m, v, s in zip(
            self.parameters, self.gradients, self.first, self.second, self.scratch, strict=True
        ):
            if not self.adam:
                g *= self.learning_rate
                p -= g
                continue
            np.subtract(g, m, out=s)
            s *= np.float32(0.1)
            m += s
            g *= g
            g *= np.float32(0.001)
            v *= np.float32(0.999)
            v += g
            np.sqrt(v, out=s)
            s *= correction
            s += np.float32(1e-8)
            np.divide(m, s, out=s)
            s *= rate
            p -= s
