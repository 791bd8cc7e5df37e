"""Where pickles of earlier versions look for LBFGS."""

from .training.lbfgs import LBFGS

__all__ = ["LBFGS"]
