"""The compiled half: arrays and pointers, threads, the GIL; which instruction set is used."""

from importlib.util import find_spec

if find_spec("fastnn.core.cpu") is None:
    raise ImportError(f"fastnn has no compiled modules for this Python in {__path__[0]}: install it by pip, which "
                      "compiles them; they cannot be imported from a zip file")
from .._core import (
    Engine,
    Kernels,
    Rows,
    Running,
    Trainer,
    Updating,
    aligned_zeros,
    called,
    count_fork,
    random_bits,
    random_order,
    spread_order,
    team_size,
    weight_sum,
)

__all__ = [
    "Engine", "Kernels", "Rows", "Running", "Trainer", "Updating", "aligned_zeros", "called", "count_fork",
    "random_bits", "random_order", "spread_order", "team_size", "weight_sum",
]
