"""What the processor is said to support: asked by CPUID, and not by a library of the compiler."""

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fastnn.core import cpu

pytestmark = [
    pytest.mark.any_isa,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="NOT TESTED: this processor has no CPUID"),
]
NEEDED = {"avx2": {"avx2", "fma"}, "avx512": {"avx2", "fma", "avx512f", "avx512dq", "avx512bw", "avx512vl"}}
EMULATOR = shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64")


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="NOT TESTED: no /proc/cpuinfo to compare with")
def test_the_system_says_the_same():
    """Linux lists what the processor has and what it saves when it switches threads."""
    text = Path("/proc/cpuinfo").read_text()
    flags = set(next(line for line in text.splitlines() if line.startswith("flags")).split())
    wanted = [name for name in ("avx512", "avx2") if NEEDED[name] <= flags]
    assert cpu.supported() == (*wanted, "sse2")
    assert cpu.is_intel() == ("GenuineIntel" in text)


@pytest.mark.skipif(EMULATOR is None, reason="NOT TESTED: qemu-user is not installed")
@pytest.mark.parametrize("processor, supported, intel", [
    ("Nehalem", ["sse2"], True),
    ("SandyBridge", ["sse2"], True),        # AVX, but neither AVX2 nor FMA
    ("Haswell", ["avx2", "sse2"], True),
    ("Haswell,-fma", ["sse2"], True),
    ("EPYC", ["avx2", "sse2"], False),
])
def test_an_emulated_processor(processor, supported, intel):
    """The module alone is loaded: NumPy may need more than such a processor has."""
    program = f"""
        from importlib.util import module_from_spec, spec_from_file_location
        spec = spec_from_file_location("fastnn.core.cpu", {cpu.__file__!r})
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        print(*module.supported(), module.is_intel())
    """
    lines = "\n".join(line.strip() for line in program.splitlines())
    run = subprocess.run([EMULATOR, "-cpu", processor, sys.executable, "-S", "-c", lines],
                         capture_output=True, text=True, timeout=120, check=True)
    assert run.stdout.split() == [*supported, str(intel)]
