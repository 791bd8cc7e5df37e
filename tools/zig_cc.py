"""A C compiler for wheels: zig's clang for another C library or processor, with the command line of gcc.

    CC="python tools/zig_cc.py x86_64-linux-gnu.2.17" python -m build

zig has one option for the processor, -mcpu=NAME+FEATURE…, and misreads gcc's: with -mno-sse3 it refuses AVX2. So all -m
options become that one.
"""

import os
import sys

BASELINE = {"x86_64": "x86_64", "aarch64": "generic"}       # what every processor of the architecture has
NOT_FEATURES = ("-mfpmath=", "-mno-", "-march=", "-mcpu=", "-msse2")


def main():
    target, *arguments = sys.argv[1:]
    features = [argument[2:] for argument in arguments
                if argument.startswith("-m") and not argument.startswith(NOT_FEATURES)]
    kept = [argument for argument in arguments if not argument.startswith("-m")]
    cpu = "+".join([BASELINE[target.partition("-")[0]], *features])
    os.execv(sys.executable, [sys.executable, "-m", "ziglang", "cc", "-target", target, f"-mcpu={cpu}", *kept])


if __name__ == "__main__":
    main()
