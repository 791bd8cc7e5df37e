"""Chooses one instruction set's kernels, once, at import.

_cpu.pyx says which may run; nothing else in Python knows them by name. FASTNN_ISA in the environment forces one.
"""

import os
from importlib import import_module
from pkgutil import iter_modules

from . import _cpu
from . import kernels as kernel_modules
from ._core import Kernels

BUILT = tuple(
    module.name.removeprefix("_").removesuffix("_f32")
    for module in iter_modules(kernel_modules.__path__)
    if module.name.endswith("_f32")
)
FOUND = tuple(name for name in _cpu.supported() if name in BUILT)


def load(instruction_set: str) -> Kernels:
    """The kernels of one instruction set, which must be in FOUND."""
    tables = (
        import_module(f"{kernel_modules.__name__}._{instruction_set}_{dtype}").table for dtype in ("f32", "f64")
    )
    return Kernels(*tables)


def choose() -> Kernels:
    """The kernels to use: those that FASTNN_ISA names, else the best that runs here."""
    if not FOUND:
        raise ImportError(f"fastnn was built for {', '.join(BUILT)}, but this processor runs none of them")
    forced = os.environ.get("FASTNN_ISA")
    if forced and forced not in FOUND:
        raise ImportError(
            f"FASTNN_ISA is {forced!r}, but this machine can run {', '.join(FOUND)}"
            f" (built: {', '.join(BUILT)}); unset it or choose one of these"
        )
    return load(forced or FOUND[0])


kernels = choose()
