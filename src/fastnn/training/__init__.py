"""What happens around the training steps: rows, epochs, history, ways to stop."""

from .divergence import DivergenceError
from .fit import Fit
from .history import History

__all__ = ["DivergenceError", "Fit", "History"]
