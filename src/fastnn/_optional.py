"""Libraries that only some of fastnn needs: imported when used, and asked for by the name of their extra."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType


def library(module: str, name: str, extra: str, user: str) -> ModuleType:
    """The module of an optional library; an ImportError that says who needs it and how to get it."""
    try:
        return import_module(module)
    except ImportError:
        raise ImportError(f"{user} needs {name}, which is not installed: pip install 'fastnn-mlp[{extra}]'") from None
