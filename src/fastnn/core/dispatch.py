"""Chooses one instruction set's kernels, once, at import. All of the package computes with `kernels`.

cpu.pyx says which instruction sets this machine can run. FASTNN_ISA in the environment forces one of them.
"""

import os
from importlib.util import find_spec

from .. import kernels as kernel_modules
from . import Kernels, cpu

KNOWN = ("avx2", "avx512", "neon", "sse2")
BUILT = tuple(name for name in KNOWN if find_spec(f"{kernel_modules.__name__}._{name}_f32"))
FOUND = tuple(name for name in cpu.supported() if name in BUILT)


def load(instruction_set: str, intel: bool = cpu.is_intel()) -> Kernels:
    """The kernels of one instruction set, which must be in FOUND.

    Those of avx512 have two forms with the same bits. `intel` chooses one for the whole process; tests choose both.
    """
    # An import statement for each, as PyInstaller and its kin find modules by these.
    match instruction_set:
        case "avx512":
            import fastnn.kernels._avx512_f32 as single
            import fastnn.kernels._avx512_f64 as double
        case "avx2":
            import fastnn.kernels._avx2_f32 as single
            import fastnn.kernels._avx2_f64 as double
        case "sse2":
            import fastnn.kernels._sse2_f32 as single
            import fastnn.kernels._sse2_f64 as double
        case "neon":
            import fastnn.kernels._neon_f32 as single
            import fastnn.kernels._neon_f64 as double
    kernels = Kernels(single.table, double.table)
    if instruction_set == "avx512":
        kernels.choose_forms(intel, load("avx2") if intel and "avx2" in BUILT else kernels)
    return kernels


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


kernels: Kernels = choose()
