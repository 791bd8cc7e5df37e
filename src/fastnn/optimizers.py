"""Optimizers: constants, and the state that they keep between steps.

An optimizer names its kernel in `kernels/updates.pxd`, says how many blocks of state that
kernel keeps (each laid out like the parameters), and belongs to one network from its first
`fit` on. Constants may be changed between fits; each is checked whenever it is set.
"""

import numpy as np

from ._checks import number
from ._core import aligned_zeros

BOUNDS = {
    "learning_rate": {"low": 0, "open_low": True},
    "momentum": {"low": 0, "high": 1},
    "weight_decay": {"low": 0},
    "beta1": {"low": 0, "high": 1},
    "beta2": {"low": 0, "high": 1},
    "epsilon": {"low": 0, "open_low": True},
}


class Optimizer:
    """What all optimizers share: the learning rate, the steps done, the blocks of state."""

    kernel = None               # its update in kernels/updates.pxd

    def __init__(self, learning_rate):
        self.learning_rate = learning_rate
        self.steps = 0
        self.state = ()
        self._engine = None

    def __setattr__(self, name, value):
        super().__setattr__(name, number(name, value, **BOUNDS[name]) if name in BOUNDS else value)

    def settings(self):
        """The kernel's constants, beside the learning rate."""
        raise NotImplementedError

    def state_blocks(self):
        """How many blocks of state the kernel keeps."""
        raise NotImplementedError

    def bind(self, engine):
        """Makes this the optimizer of one network, and its state that network's size."""
        if self._engine not in (None, engine):
            raise ValueError(
                "optimizer holds the state of another network and cannot train this one too; create one for each"
            )
        self._engine = engine
        if len(self.state) != self.state_blocks():      # the first fit, or momentum was set since
            self.state = tuple(aligned_zeros(engine.parameters.size, engine.dtype) for _ in range(self.state_blocks()))

    def __repr__(self):
        constants = {"learning_rate": self.learning_rate, **self.settings()}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in constants.items())})"


class SGD(Optimizer):
    """Stochastic gradient descent, optionally with momentum (Polyak, 1964; Nesterov as in Sutskever et al., 2013).

    g = gradient + weight_decay * w;  v = momentum * v + g;  w = w - learning_rate * v,
    with Nesterov w = w - learning_rate * (g + momentum * v). The rules are PyTorch's.

    >>> import fastnn
    >>> fastnn.SGD(0.1, momentum=0.9)
    SGD(learning_rate=0.1, momentum=0.9, nesterov=False, weight_decay=0.0)
    """

    kernel = "sgd"

    def __init__(self, learning_rate=0.01, momentum=0.0, nesterov=False, weight_decay=0.0):
        super().__init__(learning_rate)
        self.momentum = momentum
        self.nesterov = bool(nesterov)
        self.weight_decay = weight_decay
        self.settings()

    def settings(self):
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov is True, but momentum is 0; Nesterov's step needs a momentum above 0")
        return {"momentum": self.momentum, "nesterov": self.nesterov, "weight_decay": self.weight_decay}

    def state_blocks(self):
        return 1 if self.momentum else 0


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2014): steps scaled by running means of the gradient and of its square.

    m = beta1 * m + (1 - beta1) * g;  v = beta2 * v + (1 - beta2) * g**2, and after t steps
    w = w - learning_rate * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + epsilon).

    >>> import fastnn
    >>> fastnn.Adam()
    Adam(learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-08)
    """

    kernel = "adam"

    def __init__(self, learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8):
        super().__init__(learning_rate)
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon

    def settings(self):
        return {"beta1": self.beta1, "beta2": self.beta2, "epsilon": self.epsilon}

    def state_blocks(self):
        return 2

    def bind(self, engine):
        smallest = np.finfo(engine.dtype).tiny
        if self.epsilon < smallest:
            raise ValueError(f"epsilon is {self.epsilon!r}, but must be at least {smallest:.3g} in {engine.dtype}")
        super().bind(engine)
