"""A user's program, as type checkers see it: `make lint` checks it with mypy, and test_typing.py runs it."""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import fastnn
from fastnn import schedules
from fastnn.sklearn import MLPClassifier, MLPRegressor

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
y = X[:, 0] - X[:, 1]


class Stop(fastnn.Callback):
    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch_end(self, fit: fastnn.Fit) -> None:
        if fit.epoch == self.epoch and fit.history.loss[-1] < np.inf:
            fit.stop()
            assert_type(fit.model(), fastnn.Network)


def squared(outputs: NDArray[np.float32], targets: NDArray[np.float32]) -> tuple[float, NDArray[Any]]:
    return float(np.mean((outputs - targets) ** 2)), 2 * (outputs - targets) / outputs.size


def bias(y: NDArray[Any], outputs: NDArray[Any]) -> np.floating:
    return np.mean(outputs[:, 0] - y, dtype=np.float64)


def building() -> fastnn.Network:
    fastnn.Network([3, 1], output="exp", loss=fastnn.losses.quantile(0.9), dtype=np.float64, l2=1e-4)
    fastnn.Network((3, 4, 4, 2), ["relu", "tanh"], "softmax", "focal", "he_normal", dropout=[0.1, 0])
    for activation in ("relu", "gelu"):         # a plain str
        network = fastnn.Network([3, 8, 1], activation, loss=squared, seed=1)
    assert_type(network.layer_sizes, tuple[int, ...])
    assert_type(network.activations, tuple[str, ...])
    assert_type(network.weights[0], NDArray[np.floating])
    assert_type(network.n_parameters, int)
    assert_type(network.get_parameters(), NDArray[np.floating])
    return network


def training(network: fastnn.Network) -> None:
    optimizer = fastnn.SGD(schedules.OneCycle(0.1, length=100), momentum=0.9, nesterov=True, clip_norm=1)
    stopping = fastnn.EarlyStopping(patience=5)
    history = network.fit(
        X, y, epochs=5, batch_size=8, optimizer=optimizer, validation_data=0.2, metrics=["mae", bias],
        early_stopping=stopping, callbacks=[Stop(3)], tol=1e-6)
    assert_type(history, fastnn.History)
    assert_type(history.loss, list[float])
    assert_type(history.validation_mae, list[float])
    assert_type(history.last(), dict[str, float])
    assert_type(history.stopped_by, str | None)
    assert_type(stopping.best, float | None)
    assert_type(optimizer.momentum, float)
    assert_type(optimizer.learning_rate, float | schedules.Schedule)
    assert_type(network.optimizer, fastnn.optimizers.Optimizer | fastnn.LBFGS | fastnn.LevenbergMarquardt
                | None)
    damped = fastnn.LevenbergMarquardt(mu=0.1, max_parameters=500)
    assert_type(damped.mu, float)
    fastnn.Network([3, 1]).fit(X, y, optimizer=damped)
    network.fit(((X[i:i + 8], y[i:i + 8]) for i in range(0, 40, 8)), optimizer=optimizer, steps_per_epoch=3)
    fastnn.Network([3, 1]).fit(X.tolist(), y.tolist(), validation_data=(X, y), sample_weight=np.ones(40))
    assert_type(network.train_on_batch(X[0], y[0]), float)
    optimizer.learning_rate = 0.01
    fastnn.Adam(lambda epoch: 0.1 / (1 + epoch))
    fastnn.AdamW(schedules.WarmUp(schedules.StepDecay(0.1, every=10), length=100))


def using(network: fastnn.Network) -> None:
    assert_type(network.predict(X), NDArray[np.floating])
    assert_type(network.predict([1.0, 2, 3], out=np.empty(1, np.float32)), NDArray[np.floating])
    assert_type(network.layer_outputs(X), list[NDArray[np.floating]])
    assert_type(network.evaluate(X, y), float)
    assert_type(network.evaluate(X, y, metrics=["mae", bias]), dict[str, float])
    assert_type(network.score(X, y, sample_weight=np.ones(40)), float)
    assert_type(fastnn.Network([3, 2], output="softmax").predict_classes(X), NDArray[np.intp])
    loss, weights, biases = network.gradients(X, y)
    assert_type(loss, float)
    assert_type(weights, tuple[NDArray[np.floating], ...])
    assert_type(fastnn.activations.sigmoid.derivative(0.5), NDArray[np.floating])
    assert_type(fastnn.get_num_threads(), int)
    assert_type(fastnn.show_config("dict")["fastnn"], Any)
    z, dz = np.ones((2, 3)), np.empty((2, 3))
    assert_type(fastnn.ops.loss_forward_backward(dz, z, z, "mse"), float)


def keeping(network: fastnn.Network) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        network.save(path)
        assert_type(fastnn.load(str(path), loss=squared), fastnn.Network)
        with suppress(fastnn.FormatError):
            fastnn.load(__file__)
        network.to_c(Path(folder) / "model.h", inputs=X[:8], columns=["a", "b", "c"], classes=range(1))
        fastnn.interchange.to_onnx(network, Path(folder) / "model.onnx", columns=range(network.layer_sizes[0]))
        assert_type(fastnn.interchange.from_onnx(Path(folder) / "model.onnx", loss="mae"), fastnn.Network)
        network.l2 = 0.1
        assert_type(network.metadata, dict[str, Any])


def estimating() -> None:
    model = MLPRegressor("huber", (16, 8), ["relu", "gelu"], solver=fastnn.AdamW(1e-3), max_iter=2, standardize=True)
    model.partial_fit(X, y, sample_weight=np.ones(40))
    assert_type(model.predict(X), NDArray[Any])
    ensemble = MLPRegressor(max_iter=2, n_members=2)
    ensemble.fit(X, y)
    assert_type(ensemble.predict(X, return_std=True), tuple[NDArray[Any], NDArray[Any]])
    assert_type(ensemble.to_population(), fastnn.Population)
    assert_type(model.network_, fastnn.Network)
    assert_type(model.coefs_, list[NDArray[np.floating]])
    assert_type(MLPClassifier(dropout=0.1, class_weight="balanced").warm_start, bool)


def mistakes(network: fastnn.Network) -> None:
    """Never called: each line must be an error for mypy, which complains of an `ignore` that it does not need."""
    fastnn.Network(3)                                               # type: ignore[arg-type]
    fastnn.Network([3, 1], activaton="relu")                        # type: ignore[call-arg]
    network.layer_sizes = (3, 2)                                    # type: ignore[misc]
    network.fit(X, y, epochs="many")                                # type: ignore[arg-type]
    network.fit(X, y, lr=0.1)                                       # type: ignore[call-arg]
    fastnn.Adam(lr=0.1)                                             # type: ignore[call-arg]
    fastnn.schedules.StepDecay(0.1, step_size=3)                    # type: ignore[call-arg]
    fastnn.EarlyStopping(min_delta=0.1)                             # type: ignore[call-arg]
    network.evaluate(X, y, metrics=["mae"]) + 1                     # type: ignore[operator]
    network.predict_proba(X)                                        # type: ignore[attr-defined]
    network.fit(X, y, optimizer="adam")                             # type: ignore[arg-type]
    network.fit(X, y, callbacks=[lambda fit: None])                 # type: ignore[list-item]
    network.fit(X, y, class_weight="even")                          # type: ignore[arg-type]
    print(network.optimizer.steps)                                  # type: ignore[union-attr]
    fastnn.SGD(momentum="much")                                     # type: ignore[arg-type]
    fastnn.losses.quantile("median")                                # type: ignore[arg-type]
    fastnn.Network([3, 1], loss=lambda outputs, targets: 1.0)       # type: ignore[arg-type]


network = building()
training(network)
using(network)
keeping(network)
estimating()
