"""Optimizers: constants, and the state that they keep between steps.

An optimizer names its kernel in `kernels/updates.pxd`, keeps the blocks of state that this kernel
needs (each laid out like the parameters), and belongs to one network from its first `fit` on.
Constants may be changed between fits. Each is checked whenever it is set, also with the others:
where two must be changed, the error says in which order. The update rules and, where nothing else
is written, the defaults are PyTorch's.

`learning_rate` may be a schedule, see `fastnn.schedules`. Each optimizer also takes
`clip_norm` and `clip_value` (Pascanu, Mikolov and Bengio, 2013): a gradient is held to these
before the step, first each element to ±clip_value, then all of it to the norm clip_norm.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ._checks import Settings, number, optional, sequence, shown, yes_or_no
from ._words import explains
from .core import aligned_zeros
from .schedules import Schedule, as_schedule
from .training.fit import MinibatchOptimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ._types import AnyOptimizer, FloatArray, LearningRate
    from .core import Engine


def rate_or_schedule(name: str, value: LearningRate) -> float | Schedule:
    """A learning rate: a float, or a schedule."""
    return as_schedule(value, name)


def fixed_rate(name: str, value: LearningRate) -> float:
    """A learning rate that is a number."""
    rate = as_schedule(value, name)
    if not isinstance(rate, float):
        raise TypeError(f"{name} is {rate!r}, but Rprop finds the sizes of its steps itself; pass a number")
    return rate


def pair(name: str, values: Sequence[float]) -> tuple[float, float]:
    """Two numbers as a tuple of floats."""
    numbers = sequence(name, values, "hold two numbers")
    if len(numbers) != 2:
        raise TypeError(f"{name} is {shown(values)}, but must hold two numbers")
    return number(name, numbers[0]), number(name, numbers[1])


def checked_etas(name: str, values: Sequence[float]) -> tuple[float, float]:
    """What a step of Rprop shrinks and grows by."""
    shrink, growth = pair(name, values)
    if not 0 < shrink < 1 < growth:
        raise ValueError(f"{name} is {(shrink, growth)!r}, but must hold a number between 0 and 1 and one above 1")
    return shrink, growth


def checked_step_sizes(name: str, values: Sequence[float]) -> tuple[float, float]:
    """The smallest and the largest step of Rprop."""
    smallest, largest = pair(name, values)
    if not 0 < smallest <= largest:
        raise ValueError(f"{name} is {(smallest, largest)!r}, but must hold two positive numbers, smaller first")
    return smallest, largest


NOT_NEGATIVE, BELOW_1 = partial(number, low=0), partial(number, low=0, high=1)
POSITIVE = partial(number, low=0, open_low=True)


class Optimizer(Settings, MinibatchOptimizer):
    """The base class of all optimizers: the learning rate, clipping, the number of steps, and the blocks of state.

    Its attributes are its arguments, and `steps` and `epochs`: how many it has done.
    """

    kernel: str                         # its update in kernels/updates.pxd
    constants: tuple[str, ...] = ()     # arguments beside learning_rate and clipping, as kernels name them, too

    _checks: ClassVar[dict[str, Callable[[str, Any], Any]]] = {
        "learning_rate": rate_or_schedule, "clip_norm": optional(POSITIVE), "clip_value": optional(POSITIVE),
        "momentum": BELOW_1, "nesterov": yes_or_no, "weight_decay": NOT_NEGATIVE,
        "beta1": BELOW_1, "beta2": BELOW_1, "alpha": BELOW_1, "epsilon": POSITIVE,
        "learning_rate_decay": NOT_NEGATIVE, "etas": checked_etas, "step_sizes": checked_step_sizes,
    }

    learning_rate: float | Schedule
    clip_norm: float | None
    clip_value: float | None

    def __init__(self, learning_rate: LearningRate, clip_norm: float | None, clip_value: float | None,
                 **constants: object) -> None:
        clipping = {"clip_norm": clip_norm, "clip_value": clip_value}
        for name, value in {"learning_rate": learning_rate, **clipping, **constants}.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("kernel", "constants"):
            raise AttributeError(f"{name} says which optimizer this is, and cannot be set")
        super().__setattr__(name, value)
        if name in ("learning_rate", "clip_norm", "clip_value", *self.constants):
            self.stale = True

    def _check_together(self, settings: dict[str, Any]) -> None:
        if self.network_engine is not None:
            check_epsilon(settings, self.network_engine.dtype)

    def settings(self) -> dict[str, Any]:
        """The arguments that would make it again, but for the learning rate and clipping."""
        return {name: getattr(self, name) for name in self.constants}

    def arguments(self) -> dict[str, Any]:
        """All arguments that would make it again."""
        clipping = {"clip_norm": self.clip_norm, "clip_value": self.clip_value}
        return {"learning_rate": self.learning_rate, **self.settings(), **clipping}

    def __reduce__(self) -> tuple[Callable[..., Optimizer], tuple[type[Optimizer], dict[str, Any]]]:
        """A copy has the constants, with a schedule of its own, and belongs to no network yet."""
        return remade, (type(self), self.arguments())

    def initial_state(self, blocks: int, size: int, dtype: str) -> tuple[FloatArray, ...]:
        """The blocks of state before the first step, as many as the kernel keeps."""
        return tuple(aligned_zeros(size, dtype) for _ in range(blocks))

    def bind(self, engine: Engine) -> None:
        """Makes this the optimizer of one network, with state of that network's size, and tells the kernel its
        constants."""
        if self.network_engine is engine and not self.stale:
            return
        constants = self.settings()
        check_epsilon(constants, engine.dtype)
        if isinstance(self.learning_rate, Schedule):
            self.learning_rate.serve(self)
        self.prepare(engine, self.kernel, self.learning_rate, clip_norm=self.clip_norm, clip_value=self.clip_value,
                     **constants)

    def rates(self, steps: int) -> float | FloatArray:
        """The learning rates of so many coming steps: a float, or an array if they differ."""
        if isinstance(self.learning_rate, float):
            return self.learning_rate
        rates = self.learning_rate.rates(self.epochs, self.steps, steps)
        if not isinstance(rates, np.ndarray):
            return float(rates)
        if rates.shape != (steps,):
            raise ValueError(f"{self.learning_rate!r} gave rates of shape {rates.shape} for {steps} steps")
        return np.require(rates, np.float64, ("C", "A"))

    def observe(self, loss: float) -> None:
        """Tells a schedule the loss of an epoch: the validation's if there is one."""
        if not isinstance(self.learning_rate, float):
            self.learning_rate.observe(loss)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.arguments().items() if value is not None)
        return f"{type(self).__name__}({arguments})"


class SGD(Optimizer):
    """Stochastic gradient descent, with or without momentum.

    g = gradient + weight_decay * w;  v = momentum * v + g;  w = w - learning_rate * v.
    With nesterov=True: w = w - learning_rate * (g + momentum * v).

    Parameters
    ----------
    learning_rate : float, Schedule or function of the epoch
        How far a step goes.
    momentum : float
        The share of the earlier steps in a step (Polyak, 1964): 0 to below 1; 0.9 is usual.
    nesterov : bool
        Whether the step looks ahead by the momentum (Nesterov, 1983; Sutskever et al., 2013).
    weight_decay : float
        How much of each parameter is added to its gradient, biases too. 0 is none.
    clip_norm : float or None
        The largest norm of the whole gradient; a longer one is scaled down (Pascanu, Mikolov and Bengio, 2013).
    clip_value : float or None
        The largest size of each element of the gradient. It acts before `clip_norm`.

    See Also
    --------
    Adam : Needs less tuning.
    fastnn.diagnostics.largest_stable_rate : The largest learning rate that does not diverge.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.SGD(0.1, momentum=0.9)
    SGD(learning_rate=0.1, momentum=0.9, nesterov=False, weight_decay=0.0)
    """

    kernel = "sgd"
    constants = ("momentum", "nesterov", "weight_decay")

    momentum: float
    nesterov: bool
    weight_decay: float

    @explains
    def __init__(self, learning_rate: LearningRate = 0.01, momentum: float = 0.0, nesterov: bool = False,
                 weight_decay: float = 0.0, *, clip_norm: float | None = None, clip_value: float | None = None) -> None:
        super().__init__(learning_rate, clip_norm, clip_value, momentum=momentum, nesterov=nesterov,
                         weight_decay=weight_decay)

    def _check_together(self, settings: dict[str, Any]) -> None:
        super()._check_together(settings)
        if settings.get("nesterov") and settings.get("momentum") == 0:
            raise ValueError("nesterov is True, but momentum is 0; Nesterov's step needs a momentum above 0: "
                             "set nesterov to False before momentum to 0, or momentum before nesterov")


class Adam(Optimizer):
    """Adam: steps scaled by running means of the gradient and of its square (Kingma and Ba, 2014).

    m = beta1 * m + (1 - beta1) * g;  v = beta2 * v + (1 - beta2) * g**2, and after t steps
    w = w - learning_rate * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + epsilon).

    Parameters
    ----------
    learning_rate : float, Schedule or function of the epoch
        How far a step goes.
    beta1, beta2 : float
        The share of earlier gradients, and of earlier squares, in the running means: 0 to below 1.
    epsilon : float
        Keeps the divisor above 0.
    clip_norm : float or None
        The largest norm of the whole gradient; a longer one is scaled down (Pascanu, Mikolov and Bengio, 2013).
    clip_value : float or None
        The largest size of each element of the gradient. It acts before `clip_norm`.

    See Also
    --------
    AdamW : Adam with weight decay.
    SGD : Can be better, with a learning rate that suits the task.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.Adam()
    Adam(learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-08)
    """

    kernel = "adam"
    constants = ("beta1", "beta2", "epsilon")

    beta1: float
    beta2: float
    epsilon: float

    @explains
    def __init__(self, learning_rate: LearningRate = 1e-3, beta1: float = 0.9, beta2: float = 0.999,
                 epsilon: float = 1e-8, *, clip_norm: float | None = None, clip_value: float | None = None) -> None:
        super().__init__(learning_rate, clip_norm, clip_value, beta1=beta1, beta2=beta2, epsilon=epsilon)


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019).

    First w = (1 - learning_rate * weight_decay) * w, for biases too. Then Adam's step.

    Parameters
    ----------
    learning_rate : float, Schedule or function of the epoch
        How far a step goes.
    beta1, beta2 : float
        As for `Adam`.
    epsilon : float
        Keeps the divisor above 0.
    weight_decay : float
        By how much parameters shrink in each step, as a multiple of the learning rate.
    clip_norm : float or None
        The largest norm of the whole gradient; a longer one is scaled down (Pascanu, Mikolov and Bengio, 2013).
    clip_value : float or None
        The largest size of each element of the gradient. It acts before `clip_norm`.

    See Also
    --------
    Adam : The rule of the step.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.AdamW(weight_decay=0.1)
    AdamW(learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-08, weight_decay=0.1)
    """

    kernel = "adamw"
    constants = ("beta1", "beta2", "epsilon", "weight_decay")

    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float

    @explains
    def __init__(self, learning_rate: LearningRate = 1e-3, beta1: float = 0.9, beta2: float = 0.999,
                 epsilon: float = 1e-8, weight_decay: float = 0.01, *,
                 clip_norm: float | None = None, clip_value: float | None = None) -> None:
        super().__init__(learning_rate, clip_norm, clip_value, beta1=beta1, beta2=beta2, epsilon=epsilon,
                         weight_decay=weight_decay)


class RMSprop(Optimizer):
    """RMSprop: steps scaled by a running mean of the gradient's square (Hinton, 2012).

    g = gradient + weight_decay * w;  v = alpha * v + (1 - alpha) * g**2;
    u = momentum * u + g / (sqrt(v) + epsilon);  w = w - learning_rate * u.

    Parameters
    ----------
    learning_rate : float, Schedule or function of the epoch
        How far a step goes.
    alpha : float
        The share of earlier squares in the running mean: 0 to below 1.
    epsilon : float
        Keeps the divisor above 0.
    momentum : float
        The share of the earlier steps in a step: 0 to below 1.
    weight_decay : float
        How much of each parameter is added to its gradient, biases too. 0 is none.
    clip_norm : float or None
        The largest norm of the whole gradient; a longer one is scaled down (Pascanu, Mikolov and Bengio, 2013).
    clip_value : float or None
        The largest size of each element of the gradient. It acts before `clip_norm`.

    See Also
    --------
    Adam : Has a running mean of the gradient, too, and corrects both at the start.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.RMSprop()
    RMSprop(learning_rate=0.01, alpha=0.99, epsilon=1e-08, momentum=0.0, weight_decay=0.0)
    """

    kernel = "rmsprop"
    constants = ("alpha", "epsilon", "momentum", "weight_decay")

    alpha: float
    epsilon: float
    momentum: float
    weight_decay: float

    @explains
    def __init__(self, learning_rate: LearningRate = 0.01, alpha: float = 0.99, epsilon: float = 1e-8,
                 momentum: float = 0.0, weight_decay: float = 0.0, *,
                 clip_norm: float | None = None, clip_value: float | None = None) -> None:
        super().__init__(learning_rate, clip_norm, clip_value, alpha=alpha, epsilon=epsilon, momentum=momentum,
                         weight_decay=weight_decay)


class Adagrad(Optimizer):
    """Adagrad: steps scaled by the sum of the squares of all gradients (Duchi, Hazan and Singer, 2011).

    g = gradient + weight_decay * w;  s = s + g**2, and in step t
    w = w - learning_rate / (1 + (t - 1) * learning_rate_decay) * g / (sqrt(s) + epsilon).

    Parameters
    ----------
    learning_rate : float, Schedule or function of the epoch
        How far a step goes.
    learning_rate_decay : float
        How fast the learning rate becomes smaller. 0 is not at all.
    weight_decay : float
        How much of each parameter is added to its gradient, biases too. 0 is none.
    epsilon : float
        Keeps the divisor above 0.
    clip_norm : float or None
        The largest norm of the whole gradient; a longer one is scaled down (Pascanu, Mikolov and Bengio, 2013).
    clip_value : float or None
        The largest size of each element of the gradient. It acts before `clip_norm`.

    See Also
    --------
    RMSprop : A running mean instead of the sum, so steps do not become ever smaller.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.Adagrad(0.1)
    Adagrad(learning_rate=0.1, learning_rate_decay=0.0, weight_decay=0.0, epsilon=1e-10)
    """

    kernel = "adagrad"
    constants = ("learning_rate_decay", "weight_decay", "epsilon")

    learning_rate_decay: float
    weight_decay: float
    epsilon: float

    @explains
    def __init__(self, learning_rate: LearningRate = 0.01, learning_rate_decay: float = 0.0,
                 weight_decay: float = 0.0, epsilon: float = 1e-10, *,
                 clip_norm: float | None = None, clip_value: float | None = None) -> None:
        super().__init__(learning_rate, clip_norm, clip_value, learning_rate_decay=learning_rate_decay,
                         weight_decay=weight_decay, epsilon=epsilon)


class Rprop(Optimizer):
    """Resilient backpropagation (Riedmiller and Braun, 1993): only the gradient's sign counts; for whole batches.

    Each weight has its own step size. It is multiplied by etas[1] while the sign of the gradient stays the same. When
    the sign changes, it is multiplied by etas[0], and the weight does not move in this step. `step_sizes` are the
    smallest and the largest size, and `learning_rate` is the first size.

    >>> import fastnn
    >>> fastnn.Rprop()
    Rprop(learning_rate=0.01, etas=(0.5, 1.2), step_sizes=(1e-06, 50.0))
    """

    kernel = "rprop"
    constants = ("etas", "step_sizes")
    _checks = Optimizer._checks | {"learning_rate": fixed_rate}

    learning_rate: float
    etas: tuple[float, float]
    step_sizes: tuple[float, float]

    @explains
    def __init__(self, learning_rate: float = 0.01, etas: Sequence[float] = (0.5, 1.2),
                 step_sizes: Sequence[float] = (1e-6, 50.0), *,
                 clip_norm: float | None = None, clip_value: float | None = None) -> None:
        super().__init__(learning_rate, clip_norm, clip_value, etas=etas, step_sizes=step_sizes)

    def initial_state(self, blocks: int, size: int, dtype: str) -> tuple[FloatArray, ...]:
        gradient, steps = super().initial_state(blocks, size, dtype)
        with np.errstate(over="ignore"):        # training will say that it diverges
            steps[:] = self.learning_rate
        return gradient, steps


def check_epsilon(settings: dict[str, Any], dtype: str) -> None:
    """Refuses an epsilon that is zero in the arithmetic of this dtype."""
    epsilon, smallest = settings.get("epsilon", np.inf), float(np.finfo(dtype).tiny)
    if epsilon < smallest:
        raise ValueError(f"epsilon is {epsilon!r}, but must be at least {smallest:.3g} in {dtype}")


def remade(kind: type[AnyOptimizer], arguments: dict[str, Any]) -> Any:
    """An optimizer of these arguments; its schedule is a copy, which remembers the same."""
    return kind(**{name: copy.copy(value) for name, value in arguments.items()})


OPTIMIZERS: dict[str, type[Optimizer]] = {kind.__name__: kind for kind in (SGD, Adam, AdamW, RMSprop, Adagrad, Rprop)}
