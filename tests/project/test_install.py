"""How fastnn is built, installed and packed: the compiler's flags, what pip is asked for, programs that are frozen.

Flags are read from setup.py itself, with stand-ins for setuptools and Cython, and tried on a small piece of C.
"""

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import NOT_SANITIZED, ROOT
from programs import python

import fastnn
from fastnn import _checks
from fastnn.core import dispatch

pytestmark = pytest.mark.any_isa
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CC = shlex.split(os.environ.get("CC", "gcc"))
needs_compiler = pytest.mark.skipif(not shutil.which(CC[0]), reason=f"NOT TESTED: {CC[0]} is not installed")


# Flags


@pytest.fixture
def extensions(monkeypatch):
    """A function that returns {name: extension} as setup.py builds them for a platform: this one, or a given one."""
    built = {}
    cython = SimpleNamespace(cythonize=lambda modules, **_: modules)
    setuptools = SimpleNamespace(Extension=lambda name, sources, **options: SimpleNamespace(name=name, **options),
                                 setup=lambda **options: built.update(options))
    monkeypatch.setitem(sys.modules, "Cython.Build", cython)
    monkeypatch.setitem(sys.modules, "setuptools", setuptools)
    for name in ("FASTNN_BUILD", "FASTNN_MODULES", "ARCHFLAGS"):
        monkeypatch.delenv(name, raising=False)

    def extensions(platform=None):
        if platform:
            monkeypatch.setenv("_PYTHON_HOST_PLATFORM", platform)
        runpy.run_path(str(ROOT / "setup.py"))
        return {module.name.removeprefix("fastnn."): module for module in built["ext_modules"]}
    return extensions


EVERYTHING_THAT_FLAGS_CHANGE = """
    #include "simd.h"
    #include "float_state.h"
    fastnn_vec fused(fastnn_vec a, fastnn_vec b, fastnn_vec c) { return a * b + c / b; }
    fastnn_vec less(fastnn_vec a, fastnn_vec b) { return (fastnn_vec)FASTNN_SELECT_LESS(a, b, a, b); }
    double sum(const double *x, int n) { double s = 0; for (int i = 0; i < n; i++) s += x[i]; return s; }
    void scaled(float *x, int n) { for (int i = 0; i < n; i++) x[i] = x[i] * 0.1 + x[i] / 3 - 0.0; }
    int is_nan(double x) { return x != x; }
    float mixed(float a, float b, double c) { return a * b + c; }
"""
FLAGS_OF_USERS = [
    "-O2", "-ffast-math", "-march=native -mtune=generic",
    "-Ofast -march=native -mtune=generic -mavx512f -mavx512vl -mfma -ffp-contract=fast -frounding-math -fmath-errno"
    " -funsafe-math-optimizations -ffinite-math-only -fassociative-math -fno-signed-zeros -freciprocal-math",
    "-fsingle-precision-constant -mfpmath=387",
]


def assembly(module, before=(), behind=()):
    """What the compiler makes of the piece of C for one kernel module, or None and what it says."""
    macros = [f"-D{name}" if value is None else f"-D{name}={value}" for name, value in module.define_macros]
    folders = [f"-I{ROOT / 'src/fastnn/core'}", f"-I{ROOT / 'src/fastnn/kernels'}"]
    run = subprocess.run([*CC, *before, *folders, *macros, "-S", "-x", "c", "-", "-o", "-", *module.extra_compile_args,
                          *behind], input=EVERYTHING_THAT_FLAGS_CHANGE, capture_output=True, text=True, check=False)
    return (run.stdout if run.returncode == 0 else None), run.stderr


@needs_compiler
@pytest.mark.parametrize("name", dispatch.BUILT)
def test_flags_of_the_user_do_not_change_the_code(name, extensions):
    module = extensions()[f"kernels._{name}_f32"]
    plain, said = assembly(module)
    assert plain, said
    tried = 0
    for flags in FLAGS_OF_USERS:
        if subprocess.run([*CC, *flags.split(), "-S", "-x", "c", os.devnull, "-o", os.devnull], capture_output=True,
                          check=False).returncode == 0:     # or this compiler does not know them
            tried += 1
            assert assembly(module, before=flags.split())[0] == plain, flags
    assert tried > 1


@needs_compiler
@pytest.mark.parametrize("flags", [
    "-ffast-math", "-ffinite-math-only", *(["-mavx512f", "-mavx2", "-mavx"] if "sse2" in dispatch.BUILT else [])])
def test_flags_that_come_last_stop_the_build(flags, extensions):
    name = "kernels._sse2_f64" if "sse2" in dispatch.BUILT else "kernels._neon_f64"
    code, said = assembly(extensions()[name], behind=[flags])
    assert code is None and "setup.py's flags must come last" in said


@needs_compiler
@pytest.mark.parametrize("flags", ["-ffast-math", "-Ofast", "-funsafe-math-optimizations"])
def test_the_linker_adds_nothing_that_changes_the_process(flags, extensions, tmp_path):
    """crtfastm.o makes subnormals zero in the process that loads the module."""
    def linked(*behind):
        run = subprocess.run([*CC, flags, "-shared", "-fPIC", "-x", "c", os.devnull, "-o", tmp_path / "x.so", "-v",
                              *behind], capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        return "crtfastm" in run.stderr
    if not linked():
        pytest.skip("NOT TESTED: this compiler adds nothing anyway")
    for module in extensions().values():
        assert not linked(*(flag for flag in module.extra_link_args if flag != "-s"))


@pytest.mark.parametrize("platform, sets", [
    ("linux-x86_64", ["avx2", "avx512", "sse2"]), ("linux-aarch64", ["neon"]), ("macosx-11.0-arm64", ["neon"]),
    ("macosx-10.13-x86_64", ["avx2", "avx512", "sse2"]), ("win-amd64", ["avx2", "avx512", "sse2"]),
    ("win-arm64", ["neon"]),
])
def test_what_is_built_for_decides_and_not_what_builds(platform, sets, extensions):
    modules = extensions(platform)
    assert sorted({re.match(r"kernels\._(\w+)_f", name)[1] for name in modules if "kernels" in name}) == sets
    other = "-march=armv8-a" if "neon" not in sets else "-march=x86-64"
    assert all(other not in module.extra_compile_args for module in modules.values())


@pytest.mark.parametrize("architecture, sets", [("arm64", {"neon"}), ("x86_64", {"sse2", "avx2", "avx512"})])
def test_a_python_of_two_architectures_builds_one(architecture, sets, extensions, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: architecture)
    modules = extensions("macosx-10.9-universal2")
    assert {name.split("_")[1] for name in modules if "kernels" in name} == sets
    assert os.environ["ARCHFLAGS"] == f"-arch {architecture}"


def test_an_architecture_without_kernels_is_named(extensions):
    with pytest.raises(SystemExit, match="fastnn has no kernels for 'armv7l'; it has them for x86_64, aarch64"):
        extensions("linux-armv7l")


def test_every_package_is_installed():
    """A folder that is left out lacks in a wheel alone: tests of a checkout do not notice."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    folders = {path.parent for path in (ROOT / "src/fastnn").rglob("*.py") if "__pycache__" not in path.parts}
    assert set(listed) == {".".join(folder.relative_to(ROOT / "src").parts) for folder in folders}


# What pip is asked for


def test_an_error_asks_for_what_the_extra_would_bring():
    extras = PROJECT["optional-dependencies"]
    assert {name: tuple(extras[name]) for name in _checks.EXTRAS} == _checks.EXTRAS


def test_every_install_command_works_today():
    """From a copy of the repository: the distribution itself is on no index."""
    texts = {path: path.read_text(encoding="utf-8")
             for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("src/**/*.py")]}
    wanted = [extra for text in texts.values() for extras in re.findall(r'"\.\[([\w,]+)\]"', text)
              for extra in extras.split(",")]
    assert len(wanted) > 15 and set(wanted) <= set(PROJECT["optional-dependencies"])
    assert [path for path, text in texts.items() if re.search(r"pip install[^\n]*fastnn-mlp|fastnn-mlp\[", text)] == []


def test_a_frozen_program_is_told_what_to_import():
    run = python("""
        import sys
        sys.frozen, sys.modules["tqdm.auto"] = True, None
        import fastnn
        fastnn.Network([1, 1]).fit([[1.0]], [1.0], progress=True)
    """)
    assert run.stderr.splitlines()[-1] == (
        "ImportError: progress=True needs tqdm, which is not part of this frozen program: write `import tqdm.auto` in "
        "it, and freeze it again"), run.stderr


# Where there is no folder with modules


def test_without_compiled_modules_there_is_a_sentence(tmp_path):
    """As in a zip file, or where another Python compiled them."""
    with zipfile.ZipFile(tmp_path / "program.zip", "w") as file:
        for path in Path(fastnn.__file__).parent.rglob("*.py"):
            file.write(path, Path("fastnn", path.relative_to(Path(fastnn.__file__).parent)))
    run = python(f"import sys; sys.path.insert(0, {str(tmp_path / 'program.zip')!r}); import fastnn")
    last = run.stderr.splitlines()[-1]
    assert last.startswith("ImportError: fastnn has no compiled modules for this Python in ") and "zip" in last


PROGRAM = """
import sys
import numpy as np
import fastnn
X = np.random.default_rng(0).normal(size=(50, 3))
net = fastnn.Network([3, 8, 1], activation="gelu")
net.fit(X, X[:, 0], epochs=3, optimizer=fastnn.Adam(0.01))
net.to_c(sys.argv[1] + "/net.h")
print(fastnn.show_config("dict")["instruction sets built"], net.get_parameters().tobytes().hex(), fastnn.diagnostics)
"""


@NOT_SANITIZED
def test_a_frozen_program_trains(tmp_path):
    """PyInstaller packs fastnn's modules, every instruction set, and no library that fastnn can do without."""
    pytest.importorskip("PyInstaller", reason="NOT TESTED: PyInstaller is not installed")
    (tmp_path / "eight.py").write_text(PROGRAM, encoding="utf-8")
    frozen = subprocess.run(
        [sys.executable, "-m", "PyInstaller", "--log-level", "ERROR", "--paths", Path(fastnn.__file__).parent.parent,
         "eight.py"], cwd=tmp_path, env=os.environ | {"PYINSTALLER_CONFIG_DIR": str(tmp_path / "cache")},
        capture_output=True, text=True, check=False)
    if "shared library" in frozen.stderr or "library not found" in frozen.stderr:
        pytest.skip(f"NOT TESTED: PyInstaller cannot freeze this Python: {frozen.stderr.splitlines()[-1]}")
    assert frozen.returncode == 0, frozen.stderr
    alone, here = (subprocess.run([*program, tmp_path], capture_output=True, text=True, check=False)
                   for program in ([tmp_path / "dist/eight/eight"], [sys.executable, tmp_path / "eight.py"]))
    assert here.returncode == 0 and alone.stdout.split("<")[0] == here.stdout.split("<")[0], alone.stderr
    assert str(tmp_path) in alone.stdout.split("<")[1]
    packed = {path.name for path in (tmp_path / "dist/eight/_internal").iterdir()}
    assert "numpy" in packed and not packed & {"torch", "pandas", "matplotlib", "scipy", "sklearn", "onnx"}
