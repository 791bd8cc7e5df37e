"""Runs tests under valgrind's memcheck: does fastnn read what was never written, or touch memory that is not its own?

    python tools/memcheck.py                                  training, predicting, saving and loading
    python tools/memcheck.py tests/kernels/test_bits.py -k …  what pytest is told

Python and NumPy have reports of their own, such as of lengths that they read past: what counts is a report with a
frame in one of fastnn's modules, but for what began with Python's ints: CPython 3.11 finds the int 0 by a digit that
was never written, times a length of 0, and valgrind warns wherever such a 0 is used. Two errors that are made on
purpose must be noticed first. As valgrind knows no AVX-512, tests of that say NOT TESTED.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = os.path.join(os.path.realpath(Path(importlib.util.find_spec("fastnn").origin).parent), "")
# Rprop: there valgrind's arithmetic makes -0 of the zeros that fill rows, and copies have 0.
TESTS = ("tests/training/test_continuation.py", "tests/training/test_regularisation.py", "tests/files/test_saving.py",
         "tests/files/test_saving_checks.py", "tests/files/test_copies.py",
         "-k", "not sse2 and not Rprop and (not threads or everything)")
ENVIRONMENT = {
    "PYTHONMALLOC": "malloc",                               # each object's memory by itself
    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),  # what only Python in a virtual environment finds
}
PLANTED = {     # fastnn is handed memory that is not what it is said to be
    "UninitCondition": """
with contextlib.suppress(ValueError):       # if it finds NaN
    fastnn.Network([4000, 1]).predict(np.empty((1, 4000), "f"))
""",
    "InvalidRead": """
short = ctypes.create_string_buffer(16_000)
longer = (ctypes.c_char * 20_000).from_address(ctypes.addressof(short))
fastnn.ops.activation_forward(np.empty((1, 5000), "f"), np.frombuffer(longer, "f")[None], "relu")
""",
}


def main() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})     # valgrind runs one thread at a time: others sleep
    for kind, script in PLANTED.items():
        found, _, code = memcheck("-c", f"import contextlib, ctypes; import numpy as np, fastnn.ops\n{script}")
        if code or not any(line.startswith(kind) for line in found):
            raise SystemExit(f"{kind}, made on purpose, was not noticed; so nothing is proved")
    found, others, code = memcheck("-m", "pytest", "-q", "-p", "no:cacheprovider", *(sys.argv[1:] or TESTS))
    print(*found, f"{len(found)} reports with a frame of fastnn, {others} without", sep="\n")
    raise SystemExit(code or min(len(found), 1))


def memcheck(*arguments: str) -> tuple[list[str], int, int]:
    """Runs Python; returns a line for each report with a frame of fastnn, the number of others, and the exit code."""
    with tempfile.TemporaryDirectory(prefix="memcheck-") as folder:
        xml = Path(folder, "reports.xml")
        command = ["valgrind", "--show-leak-kinds=none", "--track-origins=yes", "--num-callers=50",
                   "--child-silent-after-fork=yes", "--xml=yes", f"--xml-file={xml}"]
        python = os.path.realpath(sys.executable)       # of a script that starts it, valgrind would see nothing
        run = subprocess.run([*command, python, *arguments], cwd=ROOT, env=os.environ | ENVIRONMENT, check=False)
        errors = ElementTree.parse(xml).getroot().findall("error")
    ours = [error for error in errors if any((obj.text or "").startswith(PACKAGE) for obj in error.iter("obj"))
            and not any(function.text == "_PyLong_New" for function in error.iter("fn"))]
    return [line(error) for error in ours], len(errors) - len(ours), run.returncode


def line(error: ElementTree.Element) -> str:
    """Its kind and the innermost frames: functions, or modules without symbols (FASTNN_BUILD=profile has them)."""
    places = [Path(frame.findtext("fn") or frame.findtext("obj", "?")).name for frame in error.iter("frame")]
    return " < ".join([error.findtext("kind", "?"), *places[:10]])


if __name__ == "__main__":
    main()
