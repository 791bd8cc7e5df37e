"""fastnn: dense neural networks on a CPU, trained by compiled kernels.

>>> import fastnn
>>> net = fastnn.Network([4, 16, 3], activation="relu", output="softmax")
>>> net.n_parameters
131
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import activations, losses, ops, schedules
from ._version import __version__
from ._words import PUBLIC
from .callbacks import Callback, CheckpointEvery, EarlyStopping
from .core.config import show_config
from .core.thread_count import get_num_threads, set_num_threads
from .network import Gradients, Network, load
from .optimizers import SGD, Adagrad, Adam, AdamW, RMSprop, Rprop
from .storage.model_file import FormatError
from .training import DivergenceError, Fit, History
from .training.lbfgs import LBFGS
from .training.levenberg_marquardt import LevenbergMarquardt

if TYPE_CHECKING:
    from . import diagnostics, distributed, interchange, plot
    from .population.history import PopulationHistory
    from .population.model import Population
    from .tables.model import TableClassifier, TableRegressor

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
    "LevenbergMarquardt",
    "Network",
    "Population",
    "PopulationHistory",
    "RMSprop",
    "Rprop",
    "TableClassifier",
    "TableRegressor",
    "__version__",
    "activations",
    "diagnostics",
    "distributed",
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


def __getattr__(name: str) -> Any:
    """Imports the modules that few programs need, when they are first named.

    There is an import statement for each, as PyInstaller and its kin find modules by these. `fastnn.sklearn` has none:
    it would bring scikit-learn, SciPy and pandas into every frozen program.
    """
    match name:
        case "diagnostics":
            import fastnn.diagnostics
        case "distributed":
            import fastnn.distributed
        case "interchange":
            import fastnn.interchange
        case "plot":
            import fastnn.plot
        case "Population":
            import fastnn.population.model
            return fastnn.population.model.Population
        case "PopulationHistory":
            import fastnn.population.history
            return fastnn.population.history.PopulationHistory
        case "TableClassifier" | "TableRegressor":
            import fastnn.tables.model
            return getattr(fastnn.tables.model, name)
        case "sklearn":
            return import_module("fastnn.sklearn")
        case _:
            hint = f"; {PUBLIC[name]}" if name in PUBLIC else ""
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
    return getattr(fastnn, name)
