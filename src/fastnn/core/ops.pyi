"""Types of ops.pyx, where the docstrings are."""

from typing import Self

from numpy.typing import ArrayLike
from typing_extensions import disjoint_base

from .._types import FloatArray, Weights

def weight_sum(weights: Weights, rows: int) -> float: ...

@disjoint_base
class Kernels:
    @property
    def instruction_set(self) -> str: ...
    def __new__(cls, float32: object, float64: object) -> Self: ...
    def dense_forward(
        self, y: FloatArray, x: FloatArray, w: FloatArray, b: FloatArray, activation: str = "identity"
    ) -> None: ...
    def dense_backward(
        self, dx: FloatArray | None, dw: FloatArray | None, db: FloatArray | None, dz: FloatArray,
        x: FloatArray | None, w: FloatArray | None,
    ) -> None: ...
    def activation_forward(self, y: FloatArray, z: FloatArray, activation: str) -> None: ...
    def activation_backward(
        self, dz: FloatArray, dy: FloatArray, y: FloatArray, z: FloatArray, activation: str
    ) -> None: ...
    def loss_forward_backward(
        self, dz: FloatArray | None, z: FloatArray, t: FloatArray, loss: str, activation: str = "identity",
        weights: ArrayLike | None = None,
    ) -> float: ...
    def sgd_update(
        self, parameters: FloatArray, gradients: FloatArray, learning_rate: float, velocity: FloatArray | None = None,
        momentum: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False,
    ) -> None: ...
    def adam_update(
        self, parameters: FloatArray, gradients: FloatArray, first: FloatArray, second: FloatArray, step: int,
        learning_rate: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8,
    ) -> None: ...
    def all_finite(self, array: FloatArray) -> bool: ...
    def multiply_add_chains(self, dtype: str, rounds: int) -> int: ...
