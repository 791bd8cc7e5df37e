"""Types of network.pyx, where the docstrings are."""

from numpy.typing import ArrayLike
from typing_extensions import disjoint_base

from .._types import AnyOptimizer, Array, FloatArray
from ..optimizers import Optimizer
from .batch import Rows
from .model import Model
from .trainer import Trainer

class Engine(Model):
    def predict(self, x: FloatArray, out: FloatArray) -> None: ...
    def evaluate(self, rows: Rows) -> float: ...
    def gradients(self, rows: Rows, parameters: FloatArray | None = None) -> tuple[float, FloatArray]: ...
    def layer_outputs(self, x: FloatArray, slopes: bool = False) -> list[FloatArray]: ...

@disjoint_base
class CompiledNetwork:
    _engine: Engine
    _optimizer: AnyOptimizer | None
    def predict(self, X: ArrayLike, *, out: Array | None = None) -> FloatArray: ...
    def train_on_batch(
        self, X: ArrayLike, y: ArrayLike, *, sample_weight: ArrayLike | None = None,
        optimizer: Optimizer | None = None,
    ) -> float: ...
    def _online_trainer(self, engine: Engine, optimizer: Optimizer) -> Trainer: ...
