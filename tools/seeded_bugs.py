"""Tests the tests: seeds known bugs into copies of the sources, one at a time, and looks whether tests notice.

    python tools/seeded_bugs.py [--list] [--only NAME]

The sources are copied and compiled in a temporary folder, for one instruction set; there the tests that
bugs.py names must pass. Then each bug gets a copy of that folder: its edit is made, the modules that it reaches
are compiled again, and its tests run until the first that fails. A bug that none notices is a missing
test; where the tests do not end, nothing is decided: they may hang, or the machine is busy. The exit code is 0 only if
every bug was caught.
"""

import argparse
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from bugs import BUGS, Bug

ROOT = Path(__file__).parents[1]
COPIED = ("src", "tests", "setup.py", "pyproject.toml", "README.md", "LICENSE")
INSTRUCTION_SET = "neon" if platform.machine().lower() in ("aarch64", "arm64") else "avx2"
CORE = [path.stem for path in ROOT.glob("src/fastnn/core/*.pyx")]
KERNELS = [f"_{INSTRUCTION_SET}_f32", f"_{INSTRUCTION_SET}_f64"]
SECONDS = 300       # for the tests of one bug
SURVIVED = "SURVIVED"
UNDECIDED = f"NOT DECIDED in {SECONDS} s"


def main() -> None:
    parser = argparse.ArgumentParser(description="Seeds known bugs and looks whether tests notice.")
    parser.add_argument("--only", metavar="NAME", choices=[bug.name for bug in BUGS], help="one bug alone")
    parser.add_argument("--list", action="store_true", help="print the bugs, and seed none")
    arguments = parser.parse_args()
    bugs = [bug for bug in BUGS if arguments.only in (None, bug.name)]
    if arguments.list:
        for bug in bugs:
            print(f"{bug.name}: {bug.what}")
        return
    for bug in bugs:
        edited(ROOT, bug)

    with tempfile.TemporaryDirectory(prefix="seeded-bugs-") as folder:
        clean = Path(folder, "clean")
        copy_sources(clean)
        build(clean, [*CORE, *KERNELS])
        caught_by = run_tests(clean, sorted({test for bug in bugs for test in bug.tests}), limit=None)
        if caught_by:
            raise SystemExit(f"without any bug {caught_by} fails: what it notices proves nothing")
        print("without a bug all tests pass", flush=True)
        rows = []
        for bug in bugs:
            rows.append((bug.name, *seeded(bug, clean, Path(folder, bug.name))))
            print(*rows[-1], sep=": ", flush=True)

    print()
    print_table([("bug", "caught by", "seconds"), *rows])
    answers = [caught_by for _, caught_by, _ in rows]
    survived, undecided = answers.count(SURVIVED), answers.count(UNDECIDED)
    print(f"\n{len(rows) - survived - undecided} of {len(rows)} caught, {survived} survived, {undecided} not decided")
    sys.exit(survived + undecided > 0)


def edited(folder: Path, bug: Bug) -> str:
    """The text of the bug's file, with the bug."""
    text = (folder / "src" / "fastnn" / bug.file).read_text(encoding="utf-8")
    if (times := text.count(bug.old)) != 1:
        raise SystemExit(f"{bug.name} cannot be seeded: {bug.file} has its text {times} times, not once:\n{bug.old}")
    return text.replace(bug.old, bug.new)


def seeded(bug: Bug, clean: Path, folder: Path) -> tuple[str, str]:
    """(the test that noticed, seconds that it took) in a copy of the clean folder with this bug."""
    start = perf_counter()
    shutil.copytree(clean, folder)
    (folder / "src" / "fastnn" / bug.file).write_text(edited(folder, bug), encoding="utf-8")
    if modules := reached(bug.file):
        build(folder, modules)
    caught_by = run_tests(folder, bug.tests, SECONDS)
    shutil.rmtree(folder)
    return caught_by or SURVIVED, f"{perf_counter() - start:.0f}"


def reached(file: str) -> list[str]:
    """The compiled modules that a change of this file reaches."""
    if file.startswith("kernels/"):
        return KERNELS
    if file.endswith(".py"):
        return []
    return ["runtime"] if file == "core/team.h" else [Path(file).stem]


def copy_sources(folder: Path) -> None:
    folder.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name,
                            ignore=shutil.ignore_patterns("*.so", "*.c", "*.egg-info", "__pycache__"))
        else:
            shutil.copy2(ROOT / name, folder / name)


def environment(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("FASTNN_")} | more


def build(folder: Path, modules: list[str]) -> None:
    run = subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=folder, text=True,
                         env=environment(FASTNN_MODULES=",".join(modules)), capture_output=True, check=False)
    if run.returncode:
        raise SystemExit(f"{folder.name} does not compile:\n{run.stdout}{run.stderr}")


def with_folder(test: str) -> str:
    """tests/kernels/test_ops.py::test_losses for test_ops.py::test_losses; no two folders have files of one name."""
    [path] = (ROOT / "tests").rglob(test.partition("::")[0])
    return str(path.relative_to(ROOT).with_name(test))


def run_tests(folder: Path, tests: tuple[str, ...] | list[str], limit: float | None) -> str:
    """The first of these tests that fails, "" where all pass, or UNDECIDED where they take longer than the limit."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *map(with_folder, tests)],
        cwd=folder, env=environment(PYTHONPATH=str(folder / "src")), text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return UNDECIDED
    if process.returncode == 0:
        return ""
    failed = re.search(r"^(?:FAILED|ERROR) tests/\w+/(.+?)(?: - .*)?$", output, re.MULTILINE)
    crashed = re.search(r'/tests/\w+/(test_\w+\.py)", line \d+ in (test_\w+)', output)
    if process.returncode == 1 and failed:
        return failed[1]
    if process.returncode < 0 and crashed:
        return f"{crashed[1]}::{crashed[2]} ({signal.Signals(-process.returncode).name})"
    raise SystemExit(f"the tests of {folder.name} could not be run:\n{output}")     # such as a name that is none's


def print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, caught_by, seconds in rows:
        print(f"{name:{widths[0]}}  {caught_by:{widths[1]}}  {seconds:>{widths[2]}}")


if __name__ == "__main__":
    main()
