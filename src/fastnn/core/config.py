"""show_config: what was built, what runs here, what is in use."""

from typing import Any, Literal, overload

import numpy as np

from .._version import __version__
from . import cpu, dispatch
from .thread_count import get_num_threads


@overload
def show_config(mode: Literal["stdout"] = "stdout") -> None: ...
@overload
def show_config(mode: Literal["dict"]) -> dict[str, Any]: ...
def show_config(mode: str = "stdout") -> dict[str, Any] | None:
    """Prints the version, the compiler, the instruction sets (built, found, in use) and the number of threads.

    mode="dict" returns them as a dictionary instead.
    """
    config = {
        "fastnn": __version__,
        "numpy": np.__version__,
        "compiler": cpu.compiler(),
        "instruction sets built": dispatch.BUILT,
        "instruction sets found": dispatch.FOUND,
        "instruction set in use": dispatch.kernels.instruction_set,
        "threads": get_num_threads(),
    }
    if mode == "dict":
        return config
    if mode != "stdout":
        raise ValueError(f"mode is {mode!r}, but must be 'stdout' or 'dict'")
    for name, value in config.items():
        print(f"{name + ':':24}{', '.join(value) if isinstance(value, tuple) else value}")
    return None
