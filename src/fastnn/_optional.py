"""Libraries that only some of fastnn needs: imported when used, and asked for by name where they are missing."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

# What pip is asked for: the extras of pyproject.toml, but without fastnn itself, which is on no index.
EXTRAS = {
    "lbfgs": ("scipy>=1.11",),
    "mpi": ("mpi4py>=4", "mpich>=4.3"),
    "onnx": ("onnx>=1.16",),
    "plot": ("matplotlib>=3.8",),
    "progress": ("tqdm>=4.60",),
    "sklearn": ("scikit-learn>=1.9",),
    "torch": ("torch>=2",),
}


def library(module: str, name: str, extra: str, user: str) -> ModuleType:
    """The module of an optional library; an ImportError that says who needs it and how to get it."""
    try:
        return import_module(module)
    except ImportError:
        if getattr(sys, "frozen", False):       # PyInstaller and its kin set this
            cure = f"is not part of this frozen program: write `import {module}` in it, and freeze it again"
        else:
            cure = f"is not installed: pip install {' '.join(map(repr, EXTRAS[extra]))}"
        raise ImportError(f"{user} needs {name}, which {cure}") from None
