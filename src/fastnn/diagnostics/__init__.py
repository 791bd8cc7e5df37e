"""Diagnostics: how a network is, and what to do about it.

Measures of gradients, activations and curvature; a check of gradients; a callback that records while a network trains;
and `advise`, which says in sentences what is wrong. They read a Network, through its engine where it must be fast, and
change nothing. Losses are those of `evaluate`: without penalties, dropout and label smoothing. Layers are counted from
the input side; sentences call `weights[0]` layer 1.

>>> import numpy as np, fastnn
>>> rng = np.random.default_rng(0)
>>> X, y = rng.normal(size=(200, 32)), rng.integers(0, 10, 200)
>>> deep = fastnn.Network([32, *[32] * 8, 10], activation="sigmoid", output="softmax")
>>> for sentence in fastnn.diagnostics.advise(deep, X, y):
...     print(sentence)
layers 1 to 4 receive up to 2e+05 times less gradient than layer 9: sigmoid in hidden layers has a slope of a \
quarter at most; try activation='relu'
"""

from .advice import advise
from .checking import GradientCheck, check_gradients
from .hessian import curvature, largest_stable_rate
from .layers import LayerStatistics, Watch, activation_statistics, gradient_norms

__all__ = [
    "GradientCheck", "LayerStatistics", "Watch", "activation_statistics", "advise", "check_gradients", "curvature",
    "gradient_norms", "largest_stable_rate",
]
