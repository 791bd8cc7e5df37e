"""fastnn: dense neural networks on a CPU, trained by compiled kernels.

>>> import fastnn
>>> net = fastnn.Network([4, 16, 3], activation="relu", output="softmax")
>>> net.n_parameters
131
"""

from . import activations, ops
from ._config import show_config
from .network import Gradients, Network
from .optimizers import SGD, Adam
from .training import DivergenceError, History

__all__ = [
    "Adam", "DivergenceError", "Gradients", "History", "Network", "SGD", "activations", "ops", "show_config",
]
__version__ = "0.1.0"
