"""Builds the extension modules: the one place that knows compiler flags.

Every instruction set of the target architecture is compiled from one source, for
float32 and float64; `fastnn.core.dispatch` chooses among them at import.

FASTNN_BUILD in the environment selects a build mode:
  (unset)           optimised and stripped
  profile           optimised, with symbols
  debug             -O1 with assertions and symbols
  sanitize          debug with AddressSanitizer and UndefinedBehaviorSanitizer
  thread-sanitizer  debug with ThreadSanitizer
  coverage          debug with gcov counters
FASTNN_MODULES names the modules to build, such as trainer,_avx2_f32; unset, it is all of them.
"""

import os
import platform
import sysconfig

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

# A line for each instruction set: its name in FASTNN_ISA, and the flags that add it to the baseline.
# No -march: a module may only use what `core/cpu.pyx` asks the processor for.
INSTRUCTION_SETS = {
    "x86_64": {
        "sse2": [],
        "avx2": ["-mavx2", "-mfma"],
        "avx512": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mavx2", "-mfma"],
    },
    "aarch64": {"neon": []},
}
MACHINE_ALIASES = {"amd64": "x86_64", "arm64": "aarch64"}

# All flags here come after those of CC, CPPFLAGS and CFLAGS, and so have the last word on what changes bits;
# `compiled_as.h` and `simd.h` stop the build where they have not.

# What every processor of the architecture has, and no more: all modules start from it.
BASELINES = {
    "x86_64": ["-march=x86-64", "-mno-sse3", "-msse2", "-mfpmath=sse"],     # without SSE3 there is no AVX either
    "aarch64": ["-march=armv8-a"],
}
# -fno-fast-math and what follows it: each number is the one that the formula has in C.
PRECISE = ["-fno-fast-math", "-fno-associative-math", "-fno-reciprocal-math", "-fno-finite-math-only", "-fsigned-zeros",
           "-fno-rounding-math", "-fno-single-precision-constant"]
# -ffp-contract=off: a fused multiply-add is written fma(), so that every compiler
# rounds in the same places. -fno-math-errno: sqrt is one instruction. -fno-gcse: with it, gcc 12 keeps
# all sums of a float64 tile in registers (test_cost.py looks).
FLAGS = [*PRECISE, "-ffp-contract=off", "-fno-math-errno", "-fno-gcse", "-fvisibility=hidden", "-Wno-psabi",
         "-Wno-unused-function"]
# A linker that hears of fast math adds code that takes subnormals for zero, from import on and in the whole process.
LINK_FLAGS = ["-O3", "-fno-fast-math", "-fno-unsafe-math-optimizations"]
BUILD_MODES = {
    "": (["-O3", "-g0"], ["-s"]),
    "profile": (["-O3", "-g"], []),
    "debug": (["-O1", "-g", "-UNDEBUG"], []),
    "sanitize": (
        ["-O1", "-g", "-UNDEBUG", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
        ["-fsanitize=address,undefined"],
    ),
    "thread-sanitizer": (["-O1", "-g", "-UNDEBUG", "-fsanitize=thread"], ["-fsanitize=thread"]),
    "coverage": (["-O2", "-g", "--coverage"], ["--coverage"]),
}
HEADERS = [*(f"src/fastnn/core/{name}.h" for name in ("compiled_as", "float_state", "processor", "team")),
           *(f"src/fastnn/kernels/{name}.h" for name in ("simd", "gemm", "elementary", "tables"))]

# The compiled modules of core/, from the ground up: each may use those before it.
CORE = ("cpu", "runtime", "ops", "model", "batch", "trainer", "network", "lbfgs", "population")


def target_machine():
    """The architecture that is built for, which need not be the one that builds."""
    machine = sysconfig.get_platform().rpartition("-")[2].lower()
    if machine == "universal2":     # macOS: one architecture a build, that of ARCHFLAGS or else this machine's
        machine = os.environ.setdefault("ARCHFLAGS", f"-arch {platform.machine()}").split()[-1]
    return MACHINE_ALIASES.get(machine, machine)


def extensions(mode):
    """The modules to build for the target architecture, or those of them that FASTNN_MODULES names."""
    machine = target_machine()
    if machine not in INSTRUCTION_SETS:
        raise SystemExit(f"fastnn has no kernels for {machine!r}; it has them for {', '.join(INSTRUCTION_SETS)}")
    if mode not in BUILD_MODES:
        raise SystemExit(f"FASTNN_BUILD is {mode!r}; it must be one of {', '.join(filter(None, BUILD_MODES))}")
    compile_flags, link_flags = BUILD_MODES[mode]

    def extension(name, flags=(), macros=()):
        source = "src/" + name.replace(".", "/") + ".pyx"
        return Extension(
            name,
            [source],
            include_dirs=["src/fastnn/core", "src/fastnn/kernels", numpy.get_include()],
            depends=HEADERS,
            define_macros=list(macros),
            extra_compile_args=[*compile_flags, *FLAGS, *BASELINES[machine], *flags],
            extra_link_args=[*LINK_FLAGS, *link_flags],
        )

    # Kernels are templates: their constant arguments vanish only where they are inlined.
    inline = ("CYTHON_INLINE", "inline __attribute__((always_inline))")
    kernels = [
        extension(f"fastnn.kernels._{isa}_{dtype}", flags, [inline, (f"FASTNN_{isa.upper()}", None), *macros])
        for isa, flags in INSTRUCTION_SETS[machine].items()
        for dtype, macros in (("f32", []), ("f64", [("FASTNN_F64", None)]))
    ]
    core = [extension(f"fastnn.core.{name}", macros=[("NPY_NO_DEPRECATED_API", "NPY_1_25_API_VERSION")])
            for name in CORE]
    modules = {module.name.rpartition(".")[2]: module for module in (*core, *kernels)}
    wanted = (os.environ.get("FASTNN_MODULES") or ",".join(modules)).split(",")
    if unknown := set(wanted) - set(modules):
        raise SystemExit(f"FASTNN_MODULES names {min(unknown)!r}; there are {', '.join(modules)}")
    return [modules[name] for name in wanted]


mode = os.environ.get("FASTNN_BUILD", "")
setup(
    # A folder for each mode: setuptools takes what lies there for up to date, whatever its flags were.
    options={"build": {"build_base": f"build/{mode or 'release'}"}, "build_ext": {"parallel": True}},
    ext_modules=cythonize(
        extensions(mode),
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "freethreading_compatible": True,       # what objects share is taken in critical sections
        },
    ),
)
