"""Programs in processes of their own: for what may kill a process, or must be seen from outside.

Tests hand in the source of a program and get what it printed. No test is here.
"""

import json
import os
import subprocess
import sys
import textwrap

import pytest

NEEDS_PROC = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="NOT TESTED: no /proc here")


def python(script, timeout=300, **environment):
    """Runs a script in a fresh process; returns it when it has ended."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("FASTNN_", "OMP_"))}
    return subprocess.run([sys.executable, "-c", textwrap.dedent(script)], env=clean | environment,
                          capture_output=True, text=True, timeout=timeout, check=False)


def answer(script, **options):
    """What a script in a process of its own writes as its last line, in JSON."""
    run = python(script, **options)
    assert run.returncode == 0, f"exit code {run.returncode}\n{run.stdout[-3000:]}\n{run.stderr[-3000:]}"
    return json.loads(run.stdout.splitlines()[-1])
