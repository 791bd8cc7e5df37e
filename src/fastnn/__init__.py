"""fastnn: dense neural networks on a CPU, trained by compiled kernels.

>>> import fastnn
>>> net = fastnn.Network([4, 16, 3], activation="relu", output="softmax")
>>> net.n_parameters
131
"""

from . import activations, ops
from ._config import show_config
from ._threads import get_num_threads, set_num_threads
from ._version import __version__
from .network import Gradients, Network
from .optimizers import SGD, Adam
from .training import DivergenceError, History

__all__ = [
    "SGD",
    "Adam",
    "DivergenceError",
    "Gradients",
    "History",
    "Network",
    "__version__",
    "activations",
    "get_num_threads",
    "ops",
    "set_num_threads",
    "show_config",
]
