"""Every kernel beside its NumPy expression, float32, operands in cache."""

import numpy as np
import pytest

from fastnn import ops, reference

CONTENDERS = ("fastnn", "numpy")
PRODUCTS = ((64, 64, 64), (32, 128, 784), (128, 256, 784), (512, 1024, 1024))


def uniform(*shape):
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def prove(ours, numpys, tolerance=1e-5):
    np.testing.assert_allclose(ours, numpys, rtol=tolerance, atol=tolerance * np.abs(numpys).max())


def test_peak(measure, kernels, turn):
    rounds = 50_000
    flops = kernels.multiply_add_chains("float32", rounds)
    measure("multiply-add peak", "fastnn", lambda: kernels.multiply_add_chains("float32", rounds), flops)


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("m, n, k", PRODUCTS)
def test_dense_forward(measure, m, n, k, turn, contender):
    x, w, b, y, expected = uniform(m, k), uniform(k, n), uniform(n), np.empty((m, n), "f"), np.empty((m, n), "f")

    def numpy():
        np.dot(x, w, out=expected)
        np.add(expected, b, out=expected)
        np.maximum(expected, 0, out=expected)

    def fastnn():
        ops.dense_forward(y, x, w, b, "relu")

    numpy(), fastnn()
    prove(y, expected)
    measure(f"forward, ReLU, {m}x{n}x{k}", contender, {"fastnn": fastnn, "numpy": numpy}[contender], 2 * m * n * k)


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("m, n, k", PRODUCTS)
def test_weight_gradient(measure, m, n, k, turn, contender):
    x, dz, dw, expected = uniform(m, k), uniform(m, n), np.empty((k, n), "f"), np.empty((k, n), "f")

    def numpy():
        np.dot(x.T, dz, out=expected)

    def fastnn():
        ops.dense_backward(None, dw, None, dz, x, None)

    numpy(), fastnn()
    prove(dw, expected)
    measure(f"weight gradient {m}x{n}x{k}", contender, {"fastnn": fastnn, "numpy": numpy}[contender], 2 * m * n * k)


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("m, n, k", PRODUCTS)
def test_input_gradient(measure, m, n, k, turn, contender):
    w, dz, dx, expected = uniform(k, n), uniform(m, n), np.empty((m, k), "f"), np.empty((m, k), "f")

    def numpy():
        np.dot(dz, w.T, out=expected)

    def fastnn():
        ops.dense_backward(dx, None, None, dz, None, w)

    numpy(), fastnn()
    prove(dx, expected)
    measure(f"input gradient {m}x{n}x{k}", contender, {"fastnn": fastnn, "numpy": numpy}[contender], 2 * m * n * k)


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("name", sorted(set(reference.ACTIVATIONS) - {"identity"}))
def test_activation_forward(measure, name, turn, contender):
    z, y = uniform(64, 128) * 4, np.empty((64, 128), "f")
    numpy_of = {"relu": lambda z: np.maximum(z, 0), "gelu": tanh_gelu}.get(name, reference.ACTIVATIONS[name][0])

    def numpy():
        return numpy_of(z)

    def fastnn():
        ops.activation_forward(y, z, name)

    fastnn()
    exact = reference.ACTIVATIONS[name][0](z.astype(float))
    prove(y, exact)
    prove(numpy(), exact, 1e-3 if name == "gelu" else 1e-5)
    measure(f"{name}, 8,192 elements", contender, {"fastnn": fastnn, "numpy": numpy}[contender])


def tanh_gelu(z):
    """NumPy has no erf: the tanh approximation, which errs by 5e-4, stands in for its speed."""
    return 0.5 * z * (1 + np.tanh(0.7978845608 * (z + 0.044715 * z * z * z)))


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("name", ("sigmoid", "tanh", "relu", "gelu"))
def test_activation_backward(measure, name, turn, contender):
    z, dy, dz = uniform(64, 128) * 4, uniform(64, 128), np.empty((64, 128), "f")
    y = reference.activation_forward(z.astype(float), name).astype("f")
    numpy_of = {
        "sigmoid": lambda: dy * y * (1 - y),
        "tanh": lambda: dy * (1 - y * y),
        "relu": lambda: dy * (y > 0),
        "gelu": lambda: dy * (y / z + z * np.exp(z * z * -0.5) * np.float32(0.3989422804)),
    }

    def numpy():
        return numpy_of[name]()

    def fastnn():
        ops.activation_backward(dz, dy, y, z, name)

    fastnn()
    exact = reference.activation_backward(dy, z.astype(float), name)
    prove(dz, exact)
    prove(numpy(), exact, 1e-4)
    measure(f"{name} backward, 8,192 elements", contender, {"fastnn": fastnn, "numpy": numpy}[contender])


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("loss, activation, n", (
    ("mse", "identity", 1), ("mse", "identity", 128), ("huber", "identity", 128),
    ("binary_cross_entropy", "sigmoid", 128), ("cross_entropy", "softmax", 10), ("poisson", "exp", 128),
))
def test_loss(measure, loss, activation, n, turn, contender):
    z, dz = uniform(128, n), np.empty((128, n), "f")
    t = reference.softmax(uniform(128, n)[::-1]) if loss == "cross_entropy" else np.abs(uniform(128, n)[::-1])

    def numpy():
        return reference.loss_forward_backward(z, t, loss, activation)

    def fastnn():
        return ops.loss_forward_backward(dz, z, t, loss, activation)

    prove(fastnn(), numpy()[0], 1e-4)
    prove(dz, numpy()[1], 1e-4)
    measure(f"{loss}, 128x{n}", contender, {"fastnn": fastnn, "numpy": numpy}[contender])


@pytest.mark.parametrize("contender", CONTENDERS)
def test_sgd_update(measure, turn, contender):
    ours, theirs, g = uniform(100_000), uniform(100_000), uniform(100_000)
    step = np.empty_like(g)

    def numpy():
        np.multiply(g, np.float32(1e-6), out=step)
        np.subtract(theirs, step, out=theirs)

    def fastnn():
        ops.sgd_update(ours, g, 1e-6)

    numpy(), fastnn()
    prove(ours, theirs)
    measure("SGD update, 100,000 parameters", contender, {"fastnn": fastnn, "numpy": numpy}[contender])


@pytest.mark.parametrize("contender", CONTENDERS)
def test_adam_update(measure, turn, contender):
    gradient = uniform(100_000)
    ours = [uniform(100_000), gradient, np.zeros(100_000, "f"), np.zeros(100_000, "f")]
    p, m, v, s = ours[0].copy(), np.zeros_like(gradient), np.zeros_like(gradient), np.empty_like(gradient)

    def numpy():        # the first step again and again: the work is the same
        np.subtract(gradient, m, out=s)
        np.multiply(s, np.float32(0.1), out=s)
        np.add(m, s, out=m)
        np.multiply(gradient, gradient, out=s)
        np.multiply(s, np.float32(0.001), out=s)
        np.multiply(v, np.float32(0.999), out=v)
        np.add(v, s, out=v)
        np.sqrt(v, out=s)
        np.multiply(s, np.float32(1 / np.sqrt(0.001)), out=s)
        np.add(s, np.float32(1e-8), out=s)
        np.divide(m, s, out=s)
        np.multiply(s, np.float32(1e-6 / 0.1), out=s)
        np.subtract(p, s, out=p)

    def fastnn():
        ops.adam_update(*ours, 1, learning_rate=1e-6)

    numpy(), fastnn()
    prove(ours[0], p)
    prove(ours[3], v)
    measure("Adam update, 100,000 parameters", contender, {"fastnn": fastnn, "numpy": numpy}[contender])
