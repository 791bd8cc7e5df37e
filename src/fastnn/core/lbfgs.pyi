"""Types of lbfgs.pyx, where the docstrings are."""

from collections.abc import Callable
from typing import Self

from typing_extensions import disjoint_base

from .._types import FloatArray
from .batch import Rows
from .model import Model
from .trainer import CompiledOptimizer

@disjoint_base
class CompiledLBFGS(CompiledOptimizer):
    def keep(self, model: Model, most: int) -> None: ...

@disjoint_base
class Minimisation:
    @property
    def reason(self) -> str | None: ...
    @property
    def loss(self) -> float: ...
    def __new__(
        cls, model: Model, optimizer: CompiledLBFGS, rows: Rows,
        shared: Callable[[FloatArray], tuple[float, FloatArray]] | None, tolerance_gradient: float,
        tolerance_change: float, most_evaluations: float,
    ) -> Self: ...
    def release(self) -> None: ...
    def iterate(self) -> bool: ...
