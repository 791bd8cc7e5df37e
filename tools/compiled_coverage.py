"""Prints which lines of the compiled code tests have run: those of the kernels once for each instruction set.

    python tools/compiled_coverage.py

It reads what the processes of a build with FASTNN_BUILD=coverage left in build/coverage, by gcov. gcov counts
lines of C; above those of each statement Cython writes which line of a .pyx or .pxd file it was. Such a line, or
one of a header, counts as run if any of its C ran in any copy: kernels are inlined into each other, and compiled for
float32 and for float64. What Cython adds of its own is not counted.
"""

import json
import re
import subprocess
from collections import defaultdict
from pathlib import Path

SOURCES = Path("src/fastnn")
OBJECTS = Path("build/coverage")
KERNELS = {str(path.relative_to(SOURCES)) for path in SOURCES.glob("kernels/*") if path.suffix in (".pxd", ".h")}
REST = {str(path.relative_to(SOURCES)) for path in SOURCES.glob("core/*") if path.suffix in (".pyx", ".h")}
STATEMENT = re.compile(r'\s*/\* "([^"]+)":(\d+)$')     # "fastnn/core/ops.pyx":91, "kernels/types.pxd", "gemm.pxd"


def main():
    runs = defaultdict(lambda: defaultdict(dict))       # {kernels without dtype, or "core": {file: {line: ran}}}
    notes = sorted(OBJECTS.rglob("*.gcno"))
    if not notes:
        raise SystemExit(f"{OBJECTS} holds no notes of gcov: build with FASTNN_BUILD=coverage and run the tests first")
    for note in notes:
        kernels = note.parent.name == "kernels"
        lines = runs[note.stem.removesuffix("_f32").removesuffix("_f64") if kernels else "core"]
        for file, line, ran in lines_of(note):
            lines[file][line] = ran or lines[file].get(line, False)
    counted = {file for lines in runs.values() for file in lines}
    if unseen := sorted(file for file in KERNELS | REST if not file.endswith(".h") and file not in counted):
        raise SystemExit(f"found no line of {', '.join(unseen)} in the C that Cython wrote")
    sets = sorted({note.stem[1:-4] for note in notes if note.parent.name == "kernels"})
    table("kernels", sorted(KERNELS), {name: runs[f"_{name}"] for name in sets})
    table("the rest", sorted(REST), {"all": runs["core"]})


def lines_of(note):
    """(file, line, whether it ran) of every line in one module, as often as it was compiled."""
    printed = subprocess.run(["gcov", "--json-format", "--stdout", note], capture_output=True, text=True, check=True)
    for file in json.loads(printed.stdout)["files"]:
        path = Path(file["file"])
        name = path.as_posix().rpartition("fastnn/")[2]
        statements = statements_of(path) if path.suffix == ".c" else None
        for line in file["lines"]:
            place = statements[line["line_number"] - 1] if statements else (name, line["line_number"])
            if place and place[0] in KERNELS | REST:
                yield *place, line["count"] > 0


def statements_of(path):
    """For every line of a C file that Cython wrote the (file, line) that it was made from, or None."""
    places, place = [], None
    for line in path.read_text(encoding="utf-8").splitlines():
        if mark := STATEMENT.match(line):
            name = mark[1].rpartition("fastnn/")[2]
            place = name if "/" in name else f"{path.parent.name}/{name}", int(mark[2])
        elif line == "}":       # a function ends
            place = None
        places.append(place)
    return places


def table(title, files, columns):
    """A row a file and a column an instruction set; then the lines that ran in no column."""
    print(f"| {title} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|", sep="\n")
    compiled = [file for file in files if any(runs[file] for runs in columns.values())]
    for file in compiled:
        print(f"| {file} | {' | '.join(share(runs[file].values()) for runs in columns.values())} |")
    total = (share([ran for file in compiled for ran in runs[file].values()]) for runs in columns.values())
    print(f"| together | {' | '.join(total)} |\n")
    for file in compiled:
        lines = {line for runs in columns.values() for line in runs[file]}
        run = {line for runs in columns.values() for line, ran in runs[file].items() if ran}
        if lines - run:
            print(f"never run: {file} {', '.join(map(str, sorted(lines - run)))}")
    print()


def share(ran):
    """How many lines ran; `ran` says it of each."""
    ran = list(ran)
    return f"{sum(ran)} of {len(ran)}, {sum(ran) / len(ran):.1%}" if ran else "–"


if __name__ == "__main__":
    main()
