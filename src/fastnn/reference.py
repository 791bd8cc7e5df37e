"""Every operation as one NumPy expression: the oracle that the kernels are tested against.

Nothing in the package imports this file. It is written to be read: no blocking, no padding,
no care for speed; in float64 it is right to rounding. Logits beyond about 700 overflow where
the plain formula does. The notation is that of `kernels/types.pxd`: x (m, k), w (k, n),
b (n,), z = x @ w + b, y = activation(z), t targets, d + name a gradient.
"""

import math

import numpy as np

SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717

erf = np.vectorize(math.erf, otypes=[float])


def normal_cdf(z):
    return 0.5 * (1 + erf(z / math.sqrt(2)))


def normal_density(z):
    return np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(z):
    return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)


# name: (value, derivative), both functions of z
ACTIVATIONS = {
    "identity": (lambda z: z, lambda z: np.ones_like(z)),
    "sigmoid": (sigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z))),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "relu": (lambda z: np.where(z > 0, z, 0), lambda z: np.where(z > 0, 1, 0)),
    "leaky_relu": (lambda z: np.where(z > 0, z, 0.01 * z), lambda z: np.where(z > 0, 1, 0.01)),
    "elu": (lambda z: np.where(z > 0, z, np.expm1(z)), lambda z: np.where(z > 0, 1, np.exp(z))),
    "selu": (
        lambda z: SELU_SCALE * np.where(z > 0, z, SELU_ALPHA * np.expm1(z)),
        lambda z: SELU_SCALE * np.where(z > 0, 1, SELU_ALPHA * np.exp(z)),
    ),
    "softplus": (lambda z: np.log1p(np.exp(z)), sigmoid),
    "silu": (lambda z: z * sigmoid(z), lambda z: sigmoid(z) * (1 + z * (1 - sigmoid(z)))),
    "gelu": (lambda z: z * normal_cdf(z), lambda z: normal_cdf(z) + z * normal_density(z)),
    "exp": (np.exp, np.exp),
}


def activation_forward(z, name):
    """y"""
    return softmax(z) if name == "softmax" else ACTIVATIONS[name][0](z)


def activation_backward(dy, z, name):
    """dz"""
    if name == "softmax":
        return softmax(z) * (dy - (dy * softmax(z)).sum(axis=1, keepdims=True))
    return dy * ACTIVATIONS[name][1](z)


def dense_forward(x, w, b, activation="identity"):
    """y"""
    return activation_forward(x @ w + b, activation)


def dense_backward(dz, x, w):
    """dx, dw, db"""
    return dz @ w.T, x.T @ dz, dz.sum(axis=0)


# name: (loss of each element, its derivative), functions of a = activation(z) and t
LOSSES = {
    "mse": (lambda a, t: (a - t) ** 2, lambda a, t: 2 * (a - t)),
    "half_mse": (lambda a, t: (a - t) ** 2 / 2, lambda a, t: a - t),
    "mae": (lambda a, t: np.abs(a - t), lambda a, t: np.sign(a - t)),
    "huber": (
        lambda a, t: np.where(np.abs(a - t) < 1, (a - t) ** 2 / 2, np.abs(a - t) - 0.5),
        lambda a, t: np.clip(a - t, -1, 1),
    ),
    "binary_cross_entropy": (
        lambda a, t: -t * np.log(a) - (1 - t) * np.log(1 - a),
        lambda a, t: (a - t) / (a * (1 - a)),
    ),
    "cross_entropy": (lambda a, t: -t * np.log(a), lambda a, t: -t / a),
    "poisson": (lambda a, t: a - t * np.log(a), lambda a, t: 1 - t / a),
}

# name: a function of the parameter that gives such a pair; the focal loss has one for sigmoid and one for softmax
PARAMETRIC_LOSSES = {
    "quantile": lambda q: (lambda a, t: np.maximum(q * (t - a), (q - 1) * (t - a)),
                           lambda a, t: np.where(a < t, -q, np.where(a > t, 1 - q, 0))),
    "focal sigmoid": lambda gamma: (
        lambda a, t: -t * (1 - a) ** gamma * np.log(a) - (1 - t) * a**gamma * np.log(1 - a),
        lambda a, t: (t * (gamma * (1 - a) ** (gamma - 1) * np.log(a) - (1 - a) ** gamma / a)
                      - (1 - t) * (gamma * a ** (gamma - 1) * np.log(1 - a) - a**gamma / (1 - a)))),
    "focal softmax": lambda gamma: (
        lambda a, t: -t * (1 - a) ** gamma * np.log(a),
        lambda a, t: t * (gamma * (1 - a) ** (gamma - 1) * np.log(a) - (1 - a) ** gamma / a)),
}


def loss_forward_backward(z, t, loss, activation="identity", weights=None, parameter=None):
    """The mean loss, and dz. The parameter is that of quantile (by default 0.5) or of focal (2)."""
    if loss == "quantile":
        value, derivative = PARAMETRIC_LOSSES[loss](0.5 if parameter is None else parameter)
    elif loss == "focal":
        value, derivative = PARAMETRIC_LOSSES[f"focal {activation}"](2.0 if parameter is None else parameter)
    else:
        value, derivative = LOSSES[loss]
    weights = np.ones(len(z)) if weights is None else weights
    scale = weights[:, None] / weights.sum() / (1 if activation == "softmax" else z.shape[1])
    a = activation_forward(z, activation)
    return (scale * value(a, t)).sum(), activation_backward(scale * derivative(a, t), z, activation)


def sgd_update(w, g, learning_rate):
    """The new w"""
    return w - learning_rate * g


def momentum_update(w, g, v, learning_rate, momentum, weight_decay=0.0, nesterov=False):
    """The new w and velocity v"""
    g = g + weight_decay * w
    v = momentum * v + g
    return w - learning_rate * (g + momentum * v if nesterov else v), v


def adam_update(w, g, m, v, learning_rate, beta1, beta2, epsilon, step):
    """The new w and moments m and v; step counts from 1"""
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    return w - learning_rate * (m / (1 - beta1**step)) / (np.sqrt(v / (1 - beta2**step)) + epsilon), m, v


def adamw_update(w, g, m, v, learning_rate, beta1, beta2, epsilon, weight_decay, step):
    """The new w and moments m and v; step counts from 1"""
    return adam_update((1 - learning_rate * weight_decay) * w, g, m, v, learning_rate, beta1, beta2, epsilon, step)


def rmsprop_update(w, g, v, u, learning_rate, alpha, epsilon, momentum=0.0, weight_decay=0.0):
    """The new w, mean square v and velocity u"""
    g = g + weight_decay * w
    v = alpha * v + (1 - alpha) * g * g
    u = momentum * u + g / (np.sqrt(v) + epsilon)
    return w - learning_rate * u, v, u


def adagrad_update(w, g, s, learning_rate, rate_decay, epsilon, step, weight_decay=0.0):
    """The new w and sum of squares s; step counts from 1"""
    g = g + weight_decay * w
    s = s + g * g
    return w - learning_rate / (1 + (step - 1) * rate_decay) * g / (np.sqrt(s) + epsilon), s


def rprop_update(w, g, last, size, shrink, growth, smallest, largest):
    """The new w, gradient to remember and sizes of steps"""
    agreement = np.sign(g) * np.sign(last)
    size = np.clip(size * np.where(agreement > 0, growth, np.where(agreement < 0, shrink, 1)), smallest, largest)
    g = np.where(agreement < 0, 0, g)
    return w - size * np.sign(g), g, size


def levenberg_marquardt_update(p, jacobian, residuals, mu):
    """The new p, for residuals (m,) with squares whose sum is minimised, and their Jacobian (m, n)"""
    return p - np.linalg.solve(jacobian.T @ jacobian + mu * np.eye(len(p)), jacobian.T @ residuals)


def lbfgs_direction(g, pairs):
    """-H g, where BFGS's formula makes H, an inverse of the curvature, of pairs (s, y), the oldest first"""
    s, y = pairs[-1] if pairs else (g, g)
    H = s @ y / (y @ y) * np.eye(len(g))
    for s, y in pairs:
        V = np.eye(len(g)) - np.outer(y, s) / (s @ y)
        H = V.T @ H @ V + np.outer(s, s) / (s @ y)
    return -H @ g


def strong_wolfe(value, slope, step, value_after, slope_after):
    """Whether a step along a line is long enough and not too long, for values and slopes at both ends"""
    return value_after <= value + 1e-3 * step * slope and abs(slope_after) <= 0.9 * abs(slope)


def clipped(gradients, clip_value=None, clip_norm=None):
    """A list of gradients, held to ±clip_value each element and then to the norm clip_norm all together"""
    if clip_value is not None:
        gradients = [np.clip(g, -clip_value, clip_value) for g in gradients]
    if clip_norm is not None:
        norm = np.sqrt(sum((g**2).sum() for g in gradients))
        gradients = [min(1, clip_norm / (norm + 1e-6)) * g for g in gradients]
    return gradients


def penalty(w, l1, l2):
    """What penalties add to the loss for weights w, and its gradient"""
    return l1 * np.abs(w).sum() + l2 / 2 * (w**2).sum(), l1 * np.sign(w) + l2 * w


def drop_out(y, kept, dropout):
    """What is passed on of y, where `kept` says which elements are"""
    return np.where(kept, y / (1 - dropout), 0)
