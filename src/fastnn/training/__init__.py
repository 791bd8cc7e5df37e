"""What happens around the training steps: rows, epochs, history, ways to stop."""

from .fit import DivergenceError, Fit, History

__all__ = ["DivergenceError", "Fit", "History"]
