"""Which instruction sets may run here: what the processor has and the operating system supports; who made it.

Compiled for the baseline of the architecture, so that the question itself runs anywhere.
"""

cdef extern from *:
    """
    #if defined(__x86_64__)
    #include "processor.h"
    #define FASTNN_RUNS_SSE2 1
    #define FASTNN_RUNS_AVX2 (fastnn_x86_level() >= 1)
    #define FASTNN_RUNS_AVX512 (fastnn_x86_level() >= 2)
    #define FASTNN_RUNS_NEON 0
    #define FASTNN_INTEL fastnn_made_by_intel()
    #else
    #define FASTNN_INTEL 0
    #define FASTNN_RUNS_SSE2 0
    #define FASTNN_RUNS_AVX2 0
    #define FASTNN_RUNS_AVX512 0
    #if defined(__aarch64__)
    #define FASTNN_RUNS_NEON 1
    #else
    #define FASTNN_RUNS_NEON 0
    #endif
    #endif
    """
    bint RUNS_SSE2 "FASTNN_RUNS_SSE2"
    bint RUNS_AVX2 "FASTNN_RUNS_AVX2"
    bint RUNS_AVX512 "FASTNN_RUNS_AVX512"
    bint RUNS_NEON "FASTNN_RUNS_NEON"
    bint INTEL "FASTNN_INTEL"
    const char *COMPILER "__VERSION__"


def supported():
    """Names of the instruction sets that this machine can run, best first."""
    runs = {"avx512": RUNS_AVX512, "avx2": RUNS_AVX2, "sse2": RUNS_SSE2, "neon": RUNS_NEON}
    return tuple(name for name, answer in runs.items() if answer)


def is_intel():
    """Whether the processor says that Intel made it."""
    return INTEL


def compiler():
    """The version of the compiler that built the package."""
    return COMPILER.decode("ascii", "replace")
