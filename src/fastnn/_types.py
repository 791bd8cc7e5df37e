"""Types as signatures name them. Type checkers alone read this: no module imports it at run time.

So a module can name Network, and whatever else is defined in rooms above its own.

Where a signature says `LossName | str`, editors offer the names and checkers take any string: programs read names from
files and loop over lists of them, and a wrong one is answered at run time with the right ones. test_typing.py
compares the lists with the registries. Those of activations and losses stand beside their registries.
"""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .activations import ActivationName, HiddenName
from .losses import Loss, LossName
from .network import Network
from .optimizers import Optimizer
from .schedules import Schedule
from .training.callback import Callback
from .training.early_stopping import EarlyStopping
from .training.fit import Fit
from .training.history import History
from .training.lbfgs import LBFGS
from .training.levenberg_marquardt import LevenbergMarquardt
from .training.ranks import Ranks
from .training.sources import Source

__all__ = [
    "ActivationName", "AnyLoss", "AnyOptimizer", "Array", "ArrayLike", "Arrays", "Batch", "Callback", "ClassWeight",
    "Communicator", "DType", "EarlyStopping", "Fit", "Float", "FloatArray", "HiddenName", "History", "InitializerName",
    "Integers", "Labels", "LearningRate", "LossFunction", "LossName", "Metric", "MetricFunction", "MetricName",
    "Metrics", "Network", "Path", "Ranks", "Source", "Validation", "Weights",
]

Path = str | PathLike[str]
Float = float | np.floating                 # what a user's own function returns

Array = NDArray[Any]                        # of any dtype; a user's own function may ask for the network's
FloatArray = NDArray[np.floating]           # of the network's dtype
Integers = NDArray[np.intp]
Labels = Any                                # Integers where there are no other targets, else None: checkers cannot know
Weights = NDArray[np.float64] | None        # one a row
Arrays = tuple[Array, FloatArray | None, Labels, Weights]       # X, targets, labels, weights

InitializerName = Literal["he_normal", "he_uniform", "glorot_normal", "glorot_uniform", "lecun_normal", "lecun_uniform"]
MetricName = Literal["accuracy", "r2", "mae", "mse", "rmse"]
DType = Literal["float32", "float64"] | str | type[float] | type[np.floating] | np.dtype[np.floating]

LossFunction = Callable[[Array, Array], tuple[Float, ArrayLike]]    # (outputs, targets) -> (value, gradient)
AnyLoss = Loss | LossFunction
MetricFunction = Callable[[Array, Array], Float]                    # (y, outputs) -> value
Metric = MetricName | str | MetricFunction
Metrics = Metric | Sequence[Metric]
LearningRate = float | Schedule | Callable[[int], float]
AnyOptimizer: TypeAlias = Optimizer | LBFGS | LevenbergMarquardt

Communicator = Any                          # mpi4py's, which is optional, or distributed.DataParallel
Batch = tuple[ArrayLike, ArrayLike] | tuple[ArrayLike, ArrayLike, ArrayLike | None]
Validation = Batch | float
ClassWeight = Mapping[int, float] | Literal["balanced"]
