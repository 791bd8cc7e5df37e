"""The recipe for an activation in CONTRIBUTING.md, followed to the letter: softsign is added to a copy of the sources.

It takes three files, and a fourth for other libraries. The copy is compiled for one instruction set, as those of
tools/seeded_bugs.py are, and there softsign is an activation like any other.
"""

import os
import shutil
import subprocess
import sys
from difflib import unified_diff
from pathlib import Path
from textwrap import dedent

import pytest

from fastnn.activations import ACTIVATIONS
from fastnn.core import dispatch
from fastnn.interchange.spellings import SPELLINGS

pytestmark = pytest.mark.any_isa

ROOT = next(folder for folder in Path(__file__).parents if (folder / "setup.py").is_file())

# By file: (what stands there, what stands there then).
RECIPE = {
    "kernels/activations.pxd": [
        ("from .simd cimport (LANES, ", "from .simd cimport (LANES, absolute, "),
        ("SOFTMAX, EXP\n", "SOFTMAX, EXP, SOFTSIGN\n"),
        ("cdef inline void softmax_row(", """\
cdef inline vec softsign(vec z) noexcept nogil:
    \"""z / (1 + |z|)\"""
    return z / (fill(1) + absolute(z))

cdef inline vec softsign_slope(vec z, vec y) noexcept nogil:
    cdef vec root = fill(1) / (fill(1) + absolute(z))
    return root * root


cdef inline void softmax_row("""),
        ("""b"exp", exp, exp_slope, False)\n""", """b"exp", exp, exp_slope, False)
    elif activation == SOFTSIGN:
        elementwise(task, args, b"softsign", softsign, softsign_slope, True)\n"""),
    ],
    "activations.py": [
        ('"silu", "gelu"]', '"silu", "gelu",\n                     "softsign"]'),
        ('    "softplus", "tanh",\n', '    "softplus", "softsign", "tanh",\n'),
        ("\nACTIVATIONS: ", 'softsign = Activation("softsign", "z / (1 + |z|)")\n\nACTIVATIONS: '),
    ],
    "reference.py": [
        ('    "exp": (np.exp, np.exp),\n', """    "exp": (np.exp, np.exp),
    "softsign": (lambda z: z / (1 + np.abs(z)), lambda z: 1 / (1 + np.abs(z)) ** 2),\n"""),
    ],
    "interchange/spellings.py": [
        ('sklearn="exp"),      # PyTorch has no module\n', """sklearn="exp"),      # PyTorch has no module
    "softsign": Spelling(
        composed(("Abs", "z"), ("Add", "0", 1.0), ("Div", "z", "1")),
        c="z / (1 + fabs@(z))", torch=("Softsign", {}), keras=("softsign",)),\n"""),
    ],
}

CHECK = """
    import numpy as np

    import fastnn
    from fastnn import reference
    from fastnn.activations import HIDDEN, softsign

    assert HIDDEN["softsign"] is softsign
    value, slope = reference.ACTIVATIONS["softsign"]
    for dtype, tolerance in (("float32", 5e-7), ("float64", 1e-15)):
        z = np.linspace(-30, 30, 1001).astype(dtype)
        np.testing.assert_allclose(softsign(z), value(z.astype(float)), rtol=tolerance)
        np.testing.assert_allclose(softsign.derivative(z), slope(z.astype(float)), rtol=tolerance)
        X = np.random.default_rng(0).normal(size=(256, 2)).astype(dtype)
        y = X[:, 0] * X[:, 1]
        network = fastnn.Network([2, 16, 1], activation="softsign", output="identity", dtype=dtype, seed=0)
        assert fastnn.diagnostics.check_gradients(network, X, y)
        history = network.fit(X, y, epochs=200, batch_size=32, optimizer=fastnn.Adam(0.02))
        assert history.loss[-1] < 0.05 * history.loss[0]
    fastnn.interchange.to_c(network, "network.h")
    with open("network.h") as file:
        assert "y[j] = z / (1 + fabs(z));" in file.read()
"""


def test_every_activation_is_spelled():
    assert list(SPELLINGS) == list(ACTIVATIONS)


@pytest.mark.nightly
def test_an_activation_is_three_files_and_twenty_lines(tmp_path):
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("*.so", "*.c", "__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, tmp_path / name)
    assert sum(follow(tmp_path, file) for file in RECIPE if not file.startswith("interchange/")) <= 20
    follow(tmp_path, "interchange/spellings.py")

    clean = {name: value for name, value in os.environ.items() if not name.startswith("FASTNN_")}
    kernels = f"_{dispatch.kernels.instruction_set}"
    core = ",".join(path.stem for path in (ROOT / "src/fastnn/core").glob("*.pyx"))
    run(tmp_path, ["setup.py", "-q", "build_ext", "--inplace"],
        clean | {"FASTNN_MODULES": f"{core},{kernels}_f32,{kernels}_f64"})
    run(tmp_path, ["-c", dedent(CHECK)], clean | {"PYTHONPATH": str(tmp_path / "src")})


def follow(folder, file):
    """Makes the edits of one file, each of a text that stands there once; returns how many lines it adds or changes."""
    path = folder / "src" / "fastnn" / file
    before = text = path.read_text(encoding="utf-8")
    for old, new in RECIPE[file]:
        assert text.count(old) == 1, (file, old)
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return sum(line.startswith("+") for line in list(unified_diff(before.splitlines(), text.splitlines()))[2:])


def run(folder, command, environment):
    done = subprocess.run([sys.executable, *command], cwd=folder, env=environment, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 0, done.stdout
