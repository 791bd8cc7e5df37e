"""What a training step costs, where no clock can lie: instructions executed, and what the innermost loops do.

The counts are those of the recorded compiler; with another one, without valgrind or on another
architecture they are NOT TESTED.
"""

import functools
import json
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

import fastnn
from fastnn import kernels as kernel_modules
from fastnn.core import dispatch

RECORD = json.loads((ROOT / "benchmarks/record/instructions.json").read_text(encoding="utf-8"))
TOLERANCE = 0.03

pytestmark = [pytest.mark.any_isa, pytest.mark.optimised_build,
              pytest.mark.skipif(platform.machine() != "x86_64", reason="NOT TESTED: this is about x86-64 code")]


def slower(counts, recorded):
    """{cell: by how much} for every cell that executes more instructions than recorded, beyond the tolerance."""
    assert counts.keys() == recorded.keys()
    return {cell: f"{counts[cell] / recorded[cell] - 1:+.1%}"
            for cell in counts if counts[cell] > recorded[cell] * (1 + TOLERANCE)}


@pytest.mark.skipif(not shutil.which("valgrind"), reason="NOT TESTED: valgrind is not installed")
@pytest.mark.skipif("avx2" not in dispatch.FOUND, reason="NOT TESTED: this processor does not run avx2")
@pytest.mark.skipif(fastnn.show_config(mode="dict")["compiler"] != RECORD["compiler"],
                    reason=f"NOT TESTED: the counts are those of compiler {RECORD['compiler']}")
def test_no_step_executes_more_instructions_than_recorded():
    printed = subprocess.run([sys.executable, ROOT / "benchmarks/instructions.py"], capture_output=True, text=True,
                             check=True).stdout
    found = re.findall(r"^(\S+) +([\d,]+) instructions", printed, re.M)
    counts = {cell: int(count.replace(",", "")) for cell, count in found}
    assert slower(counts, RECORD["instructions"]) == {}, "to accept that: benchmarks/instructions.py --record"


def test_a_slower_step_would_be_noticed():
    counts = RECORD["instructions"]
    assert slower(counts | {"1-1-1": counts["1-1-1"] * 1.04}, counts) == {"1-1-1": "+4.0%"}


def innermost_loops(disassembly):
    """The bodies of loops without a jump inside: lists of instructions. Needs `objdump -d --no-show-raw-insn`."""
    lines = re.findall(r"^ +([0-9a-f]+):\t(.*)$", disassembly, re.M)
    index = {int(address, 16): i for i, (address, _) in enumerate(lines)}
    for end, (address, instruction) in enumerate(lines):
        jump = re.match(r"j\w+ +([0-9a-f]+)", instruction)
        start = index.get(int(jump[1], 16)) if jump and int(jump[1], 16) <= int(address, 16) else None
        if start is not None:
            body = [text for _, text in lines[start:end]]
            if not any(re.match(r"j|call|ret", text) for text in body):
                yield body


def spilling_tiles(disassembly, rows, sums):
    """(the micro-kernel's loops for so many rows and sums, those that move a vector to or from the stack)."""
    tiles = [body for body in innermost_loops(disassembly)
             if sum("vfmadd" in text for text in body) == sums
             and sum(bool(re.match(r"vbroadcasts[sd] .*\(", text)) for text in body) == rows]
    spilling = [body for body in tiles if any(re.search(r"\(%r[sb]p", text) and "mm" in text for text in body)]
    return len(tiles), spilling


@functools.cache
def disassembly_of(name, dtype):
    module = next(Path(kernel_modules.__path__[0]).glob(f"_{name}_{dtype}.*.so"))
    return subprocess.run(["objdump", "-d", "--no-show-raw-insn", module], capture_output=True, text=True,
                          check=True).stdout


@pytest.mark.skipif(not shutil.which("objdump"), reason="NOT TESTED: objdump is not installed")
@pytest.mark.skipif("lang" in fastnn.show_config(mode="dict")["compiler"], reason="NOT TESTED: for gcc only")
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("name, rows, vectors", [("avx2", 6, 2), ("avx512", 6, 4)])
def test_the_tiles_keep_their_sums_in_registers(name, rows, vectors, dtype):
    tiles, spilling = spilling_tiles(disassembly_of(name, dtype), rows, rows * vectors)
    assert tiles, "the innermost loop of the micro-kernel was not found: this test proves nothing"
    assert not spilling, "\n".join(spilling[0])


@pytest.mark.skipif(not shutil.which("objdump"), reason="NOT TESTED: objdump is not installed")
@pytest.mark.skipif("lang" in fastnn.show_config(mode="dict")["compiler"], reason="NOT TESTED: for gcc only")
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("sums", [16, 18, 20, 24])
def test_the_tiles_for_intel_keep_their_sums_in_registers(sums, dtype):
    """Four steps of k a turn, each multiply-add with its factor from memory, and no other one to or from the stack."""
    unrolled = [body for body in innermost_loops(disassembly_of("avx512", dtype))
                if sum("vfmadd" in text and "{1to" in text for text in body) == 4 * sums
                and sum("vfmadd" in text for text in body) == 4 * sums]
    assert len(unrolled) == 1, "this test proves nothing"
    assert not [text for text in unrolled[0] if re.search(r"\(%r[sb]p", text) and "mm" in text]


def test_a_sum_on_the_stack_would_be_noticed():
    loop = """
    10:\tvbroadcastss (%rax),%zmm27
    16:\tvfmadd231ps %zmm13,%zmm27,%zmm30
    20:\tvmovaps %zmm30,0x40(%rsp)
    28:\tvfmadd231ps %zmm5,%zmm27,%zmm29
    30:\tcmp    %r13,%rbx
    34:\tjg     10 <tile+0x10>
"""
    assert spilling_tiles(loop, 1, 2)[0] == 1 and spilling_tiles(loop, 1, 2)[1]
    assert spilling_tiles(loop.replace("vmovaps %zmm30,0x40(%rsp)", "mov    0x40(%rsp),%rax"), 1, 2) == (1, [])
