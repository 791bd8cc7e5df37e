"""The compiled half, where arrays become pointers, threads work and the GIL is released; the choice of kernels.

The names below are what the rest of the package builds on. `dispatch` holds the kernels in use.
"""

from importlib.util import find_spec

if find_spec("fastnn.core.cpu") is None:
    raise ImportError(f"fastnn has no compiled modules for this Python in {__path__[0]}: install it by pip, which "
                      "compiles them; they cannot be imported from a zip file")
# A statement for each compiled module: PyInstaller does not see what these import from each other.
from .batch import Rows, called, random_bits, random_order, spread_order
from .lbfgs import CompiledLBFGS, Minimisation
from .model import Model
from .network import CompiledNetwork, Engine
from .ops import Kernels
from .population import PopulationEngine, PopulationRows
from .runtime import aligned_zeros, team_size
from .trainer import CompiledOptimizer, Trainer

__all__ = [
    "CompiledLBFGS", "CompiledNetwork", "CompiledOptimizer", "Engine", "Kernels", "Minimisation", "Model",
    "PopulationEngine", "PopulationRows", "Rows", "Trainer", "aligned_zeros", "called", "random_bits", "random_order",
    "spread_order", "team_size",
]
