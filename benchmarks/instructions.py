"""Counts the instructions of a training step, cell by cell: a guard against slow-downs that no noise can trip.

    python benchmarks/instructions.py               # counts, beside those of record/instructions.json
    python benchmarks/instructions.py --record      # writes that file

Runs itself under `valgrind --tool=callgrind`, for avx2, as valgrind knows no AVX-512. Counts are
those of one build: another compiler's may differ by some per cent, so the record names the compiler.
"""

import ctypes
import gc
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

RECORD = Path(__file__).parent / "record/instructions.json"
MARKER = "ffi_call"                 # by which ctypes calls: callgrind writes its counts when it is entered
OPERATIONS = 4e7                    # more a step than this, and the cell is counted with a smaller batch …
COUNTED = 2e7                       # of as many the shorter epoch is, so that what `fit` takes is little beside it
LARGEST = 512                       # … and not at all where a layer is wider: counting takes fifty times as long
COMMAND = ("valgrind", "--tool=callgrind", f"--dump-before={MARKER}", "--callgrind-out-file={folder}/counts")


def counted_cells():
    """(cell, steps of the shorter of two epochs); the largest with fewer rows a batch, as counting takes its time."""
    from fastnn.bench.cells import CELLS
    for cell in CELLS:
        if cell.trains and not cell.name.startswith("short-") and max(cell.sizes[1:]) <= LARGEST:
            while cell.flops > OPERATIONS and cell.batch > 32:
                cell = replace(cell, batch=cell.batch // 2)
            yield cell, min(1024, max(1, round(COUNTED / cell.flops)))


def run_cells():
    """Within valgrind: marks the beginning and the end of two epochs of each cell, the second twice as long."""
    from fastnn.bench.contenders import FastNN
    mark = ctypes.CDLL(None).getpid
    gc.disable()                    # it would run in one epoch and not in the other
    for cell, steps in counted_cells():
        for epoch in (FastNN(cell, "float32", 1, steps=steps), FastNN(cell, "float32", 1, steps=2 * steps)):
            epoch.run()
            mark()
            epoch.run()
            mark()


def count():
    """{cell: instructions a step}: the difference of the two epochs, so that what `fit` itself takes drops out."""
    with tempfile.TemporaryDirectory() as folder:
        command = [part.format(folder=folder) for part in COMMAND]
        subprocess.run([*command, sys.executable, __file__, "--inside"], check=True, capture_output=True,
                       env=os.environ | {"FASTNN_ISA": "avx2", "FASTNN_NUM_THREADS": "1", "PYTHONHASHSEED": "0"})
        dumps = [int(re.search(r"^(?:summary|totals): (\d+)", path.read_text(), re.M)[1])
                 for path in sorted(Path(folder).glob("counts.*"), key=lambda path: int(path.suffix[1:]))]
    # Dumps: before the first epoch, the first epoch, before the second, the second, …
    return {cell.name: (dumps[4*index + 3] - dumps[4*index + 1]) / steps
            for index, (cell, steps) in enumerate(counted_cells())}


def compiler():
    import fastnn
    return fastnn.show_config(mode="dict")["compiler"]


def main():
    if "--inside" in sys.argv:
        run_cells()
        return
    counts = {name: round(instructions) for name, instructions in count().items()}
    if "--record" in sys.argv:
        RECORD.write_text(json.dumps({"compiler": compiler(), "instructions": counts}, indent=1) + "\n")
    recorded = json.loads(RECORD.read_text())["instructions"]
    for name, instructions in counts.items():
        print(f"{name:20} {instructions:12,} instructions a step, {instructions / recorded[name] - 1:+.2%}")


if __name__ == "__main__":
    main()
