"""Builds wheels for several platforms on one machine, by zig's C compiler, and checks what they need of a platform.

    python tools/wheels.py [PLATFORM …]     # all of PLATFORMS, into dist/

zig brings the headers of old C libraries and of other processors, so a wheel for manylinux_2_17 or for arm64 comes from
any x86-64 Linux. A wheel is for the Python that runs this. auditwheel looks whether its symbols are those of its tag.
The same commit gives the same bytes: times in the archive are those of the commit.

Needs what pyproject.toml builds with, and `pip install build wheel ziglang auditwheel` (make wheels does that).
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
# For each platform tag: zig's target, and the name that Python gives such a platform in the names of modules.
PLATFORMS = {
    "manylinux_2_17_x86_64": ("x86_64-linux-gnu.2.17", "x86_64-linux-gnu"),
    "manylinux_2_17_aarch64": ("aarch64-linux-gnu.2.17", "aarch64-linux-gnu"),
    "musllinux_1_2_x86_64": ("x86_64-linux-musl", "x86_64-linux-musl"),
    "musllinux_1_2_aarch64": ("aarch64-linux-musl", "aarch64-linux-musl"),
}


def run(*command, **more):
    return subprocess.run([str(part) for part in command], check=True, **more)


def build(platform, source, folder):
    """The wheel of a platform in a folder, from a copy of the sources."""
    target, name = PLATFORMS[platform]
    compiler = f"{sys.executable} {ROOT / 'tools/zig_cc.py'} {target}"
    date = run("git", "log", "-1", "--format=%ct", cwd=ROOT, capture_output=True, text=True).stdout.strip()
    environment = os.environ | {
        "CC": compiler, "LDSHARED": f"{compiler} -shared", "SOURCE_DATE_EPOCH": date,
        "_PYTHON_HOST_PLATFORM": f"linux-{name.partition('-')[0]}",
        "SETUPTOOLS_EXT_SUFFIX": f".{sysconfig.get_config_var('SOABI').rpartition('-x86_64')[0]}-{name}.so"}
    with tempfile.TemporaryDirectory() as made:
        # Without isolation: pip would fetch NumPy for the platform that is built for.
        log = Path(made, "log")
        with log.open("w") as output:
            command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", made, source]
            failed = subprocess.run(command, env=environment, stdout=output, stderr=subprocess.STDOUT).returncode
        if failed:
            raise SystemExit(f"{platform}: the build failed\n{log.read_text()[-3000:]}")
        (wheel,) = Path(made).glob("*.whl")
        tagged = run(sys.executable, "-m", "wheel", "tags", "--platform-tag", platform, wheel,
                     env=os.environ | {"SOURCE_DATE_EPOCH": date}, capture_output=True, text=True).stdout.strip()
        return Path(shutil.copy(Path(made, tagged), folder))


def audited(wheel, platform):
    """An error if auditwheel finds that a wheel needs more than its tag promises.

    On a system of glibc it knows no wheels of musl. These may need the C library alone, which zig calls libc.so: musl's
    loader takes any such name for itself.
    """
    said = run(sys.executable, "-m", "auditwheel", "show", wheel, capture_output=True, text=True).stdout
    libraries = re.search(r"required by the wheel:\s*({.*?})", said, re.DOTALL)
    alone = libraries is None or set(json.loads(libraries[1])) <= {"libc.so"}
    fits = alone if platform.startswith("musllinux") else f'"{platform}"' in said
    if not fits:
        raise SystemExit(f"{wheel.name} does not fit its tag {platform}: {said}")


def main():
    wanted = sys.argv[1:] or list(PLATFORMS)
    if unknown := set(wanted) - set(PLATFORMS):
        sys.exit(f"unknown platforms {sorted(unknown)}; known are {', '.join(PLATFORMS)}")
    folder = ROOT / "dist"
    folder.mkdir(exist_ok=True)
    for platform in wanted:
        with tempfile.TemporaryDirectory() as copy:
            source = Path(copy, "fastnn")
            run("git", "clone", "-q", ROOT, source)
            wheel = build(platform, source, folder)
        audited(wheel, platform)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        print(f"{wheel.name}  {wheel.stat().st_size:,} bytes  sha256 {digest[:16]}…", flush=True)


if __name__ == "__main__":
    main()
