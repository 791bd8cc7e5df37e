"""fastnn: dense neural networks on a CPU, trained by compiled kernels.

>>> import fastnn
>>> net = fastnn.Network([4, 16, 3], activation="relu", output="softmax")
>>> net.n_parameters
131
"""

from . import activations, diagnostics, interchange, losses, ops, plot, schedules
from ._config import show_config
from ._threads import get_num_threads, set_num_threads
from ._version import __version__
from .callbacks import Callback, CheckpointEvery, EarlyStopping
from .lbfgs import LBFGS
from .model_file import FormatError
from .network import Gradients, Network, load
from .optimizers import SGD, Adagrad, Adam, AdamW, RMSprop, Rprop
from .training import DivergenceError, Fit, History

__all__ = [
    "LBFGS",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Callback",
    "CheckpointEvery",
    "DivergenceError",
    "EarlyStopping",
    "Fit",
    "FormatError",
    "Gradients",
    "History",
    "Network",
    "RMSprop",
    "Rprop",
    "__version__",
    "activations",
    "diagnostics",
    "get_num_threads",
    "interchange",
    "load",
    "losses",
    "ops",
    "plot",
    "schedules",
    "set_num_threads",
    "show_config",
]
