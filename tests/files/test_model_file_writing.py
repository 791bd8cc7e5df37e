"""Writing a model file: wherever a save is killed or fails, the old file or the new one is there, and no other changes.

System calls are watched, killed and made to fail by strace where it is installed.
"""

import errno
import fcntl
import os
import re
import shutil
import stat
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import safetensors.numpy
from model_files import (
    NEW,
    NO_MEMORY,
    SOURCES,
    TEMPORARY,
    PanicException,
    a_socket,
    description,
    encoded,
    framed,
    mode,
    old_file,
    tensors,
    write_bytes,
)

from fastnn.storage import model_file
from fastnn.storage.model_file import (
    LARGEST_HEADER,
    MOST_ARRAYS,
    MOST_HEADER_VALUES,
    OPENING,
    FormatError,
    read_model,
    write_model,
)

pytestmark = pytest.mark.any_isa


@pytest.mark.parametrize(("wrong", "error"), [
    ({"a": object()}, TypeError), ({"a": np.float32(1)}, TypeError), ({1: 0, "1": 0}, TypeError), ([1], TypeError),
    ({"a": float("nan")}, ValueError), ({"a": "x" * LARGEST_HEADER}, ValueError),
])
def test_what_json_cannot_express_never_reaches_the_disk(tmp_path, wrong, error):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(error):
            write_model(folder / "model", wrong, tensors())
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(("arrays", "error", "words"), [
    ({"a": np.ones(3, np.float16)}, TypeError, "a has dtype float16, but a file holds float32"),
    ({"a": np.array(["text"])}, TypeError, "a has dtype <U4"),
    ({"__metadata__": np.ones(3)}, ValueError, "'__metadata__' cannot be the name"),
    ({"x" * LARGEST_HEADER: np.ones(3)}, ValueError, f"must fit in {LARGEST_HEADER}"),
    ({str(i): np.ones(1) for i in range(MOST_ARRAYS + 1)}, ValueError, f"there can be {MOST_ARRAYS} arrays"),
    ({str(i): np.ones([1] * 64) for i in range(MOST_HEADER_VALUES // 64)}, ValueError,
     f"more than {MOST_HEADER_VALUES}"),
], ids=["half precision", "text", "a name of the format's own", "a long name", "many", "many dimensions"])
def test_arrays_that_no_file_holds_never_reach_the_disk(tmp_path, arrays, error, words):
    with pytest.raises(error, match=words):
        write_model(tmp_path / "model", {}, arrays)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(("raised", "error"), [(NO_MEMORY, MemoryError), (PanicException("no"), ValueError)])
def test_a_panic_never_reaches_the_disk(tmp_path, monkeypatch, raised, error):
    def save(arrays, metadata):
        raise raised

    monkeypatch.setattr(safetensors.numpy, "save", save)
    with pytest.raises(error):
        write_model(tmp_path / "model", {}, {})
    assert not os.listdir(tmp_path)


def test_a_header_that_would_not_be_read_never_reaches_the_disk(tmp_path, monkeypatch):
    """As of another version of safetensors, which aligns the arrays at 64 bytes, say."""
    def save(arrays, metadata):
        return framed(OPENING + " " * 64)

    monkeypatch.setattr(safetensors.numpy, "save", save)
    with pytest.raises(RuntimeError, match=r"safetensors \d.* writes another header than fastnn reads: install"):
        write_model(tmp_path / "model", {}, {})
    assert not os.listdir(tmp_path)


def test_keys_become_strings_and_tuples_lists(tmp_path):
    write_model(tmp_path / "model", {9: (1, 2), 10: ()}, {})
    assert read_model(tmp_path / "model") == ({"9": [1, 2], "10": []}, {})


def test_a_path_that_cannot_be_written_is_an_os_error(tmp_path):
    (tmp_path / "folder").mkdir()
    for name, error in [("missing/model", FileNotFoundError), ("folder", IsADirectoryError)]:
        with pytest.raises(error):
            write_model(tmp_path / name, {}, {})
    assert os.listdir(tmp_path) == ["folder"] and not os.listdir(tmp_path / "folder")


@pytest.mark.parametrize("name", ["model.tmp", "model~", ".model", ".model.tmp"])
def test_files_of_the_user_beside_the_model_stay(tmp_path, name):
    """A save that is killed leaves TEMPORARY, and the next clears that away, but nothing else."""
    for kept in (name, TEMPORARY):
        (tmp_path / kept).write_text("important", encoding="utf-8")
    write_model(tmp_path / "model", *NEW)
    assert sorted(os.listdir(tmp_path)) == sorted(["model", name])
    assert (tmp_path / name).read_text(encoding="utf-8") == "important"
    assert read_model(tmp_path / "model")[0] == NEW[0]


def symbolic_link(path, victim):
    path.symlink_to(victim)


def dangling_link(path, victim):
    path.symlink_to(victim.with_name("nothing"))


def hard_link(path, victim):
    path.hardlink_to(victim)


def fifo(path, victim):
    os.mkfifo(path)


def a_folder(path, victim):
    path.mkdir()


OTHERS = {symbolic_link: "a symbolic link", dangling_link: "a symbolic link", hard_link: "a file with several names",
          fifo: "a pipe", a_socket: "a socket", a_folder: "a directory"}


@pytest.mark.usefixtures("alarm")
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(("make", "kind"), OTHERS.items())
def test_what_is_no_file_of_its_own_is_not_written_to(tmp_path, monkeypatch, make, kind, late):
    """Under the temporary name; also if it comes only after the save has looked."""
    def lstat(path, real=os.lstat, **options):
        if late and os.fspath(path).endswith(TEMPORARY):
            raise FileNotFoundError
        return real(path, **options)

    monkeypatch.chdir(tmp_path)
    before = old_file(tmp_path / "a")
    victim = write_bytes(tmp_path / "victim", b"important")
    make(tmp_path / "a" / TEMPORARY, victim)
    found = (tmp_path / "a" / TEMPORARY).lstat()
    with monkeypatch.context() as patch, pytest.raises(OSError) as caught:
        patch.setattr(os, "lstat", lstat)
        write_model(tmp_path / "a" / "model", *NEW)
    assert late or str(caught.value) == (
        f"{tmp_path / 'a' / TEMPORARY} is {kind}, but must be a regular file or absent: remove it, and save again")
    left = (tmp_path / "a" / TEMPORARY).lstat()
    assert (left.st_ino, left.st_mode, left.st_nlink) == (found.st_ino, found.st_mode, found.st_nlink)
    assert victim.read_bytes() == b"important" and (tmp_path / "a" / "model").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["a", "victim"] and len(os.listdir(tmp_path / "a")) == 2


@pytest.mark.usefixtures("alarm")
@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize(("make", "error"), [
    (fifo, FileExistsError), (a_socket, FileExistsError), (a_folder, IsADirectoryError)])
def test_only_a_regular_file_is_replaced(tmp_path, monkeypatch, make, error, link):
    """And nothing is written before that is known."""
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "model", None)
    (tmp_path / "link").symlink_to("model")
    opened = []
    monkeypatch.setattr(model_file, "_open_alone", opened.append)
    with pytest.raises(error) as caught:
        write_model(tmp_path / ("link" if link else "model"), *NEW)
    assert str(caught.value) == (f"{tmp_path / 'model'} is {OTHERS[make]}, but must be a regular file or absent: "
                                 "save under another name")
    assert not opened and sorted(os.listdir(tmp_path)) == ["link", "model"]


def test_a_device_is_not_replaced():
    """A terminal's: in its folder nobody can make files, so that no mistake does harm."""
    try:
        ends = os.openpty()
    except OSError as error:
        pytest.skip(f"NOT TESTED: there are no terminals here: {error}")
    try:
        with pytest.raises(FileExistsError, match="is a device, but must be a regular file or absent: save under"):
            write_model(os.ttyname(ends[1]), *NEW)
    finally:
        for end in ends:
            os.close(end)


def test_a_file_of_several_names_is_replaced_under_one(tmp_path):
    old_file(tmp_path / "a")
    hard_link(tmp_path / "other", tmp_path / "a" / "model")
    write_model(tmp_path / "a" / "model", *NEW)
    assert read_model(tmp_path / "a" / "model")[0] == NEW[0] and read_model(tmp_path / "other")[0] == description()


@pytest.mark.parametrize("wanted", [0o600, 0o640, 0o666, 0o755, 0o444, 0o000])
def test_a_save_keeps_who_may_read_the_file(tmp_path, monkeypatch, wanted):
    """Nobody else can read it while it is written, and the owner can write what a killed save leaves."""
    def fsync(file, real=os.fsync):
        if stat.S_ISREG(os.fstat(file).st_mode):
            assert stat.S_IMODE(os.fstat(file).st_mode) == wanted | stat.S_IWUSR
        real(file)

    old_file(tmp_path / "a")
    (tmp_path / "a" / "model").chmod(wanted)
    monkeypatch.setattr(os, "fsync", fsync)
    write_model(tmp_path / "a" / "model", *NEW)
    assert mode(tmp_path / "a" / "model") == wanted


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_new_file_has_the_mode_of_any_other(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_model(tmp_path / "model", *NEW)
    finally:
        os.umask(before)
    assert mode(tmp_path / "model") == 0o666 & ~umask


def test_the_mode_is_set_only_where_it_differs(tmp_path, monkeypatch):
    """Some file systems refuse it even to the owner, and there all files have one."""
    def fchmod(file, mode):
        raise PermissionError("no modes here")

    write_model(tmp_path / "model", description(), tensors())
    monkeypatch.setattr(os, "fchmod", fchmod)
    write_model(tmp_path / "model", *NEW)
    (tmp_path / "model").chmod(0o600)
    with pytest.raises(PermissionError, match="no modes here"):
        write_model(tmp_path / "model", description(), tensors())
    assert os.listdir(tmp_path) == ["model"] and read_model(tmp_path / "model")[0] == NEW[0]


def test_a_name_too_long_for_the_temporary_one_is_an_os_error(tmp_path):
    with pytest.raises(OSError, match="File name too long"):
        write_model(tmp_path / ("m" * 250), *NEW)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_an_interrupt_leaves_the_old_file(tmp_path, monkeypatch, name):
    def interrupt(*args):
        raise KeyboardInterrupt

    before = old_file(tmp_path / "a")
    monkeypatch.setattr(os, name, interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_model(tmp_path / "a" / "model", {}, {})
    assert os.listdir(tmp_path / "a") == ["model"] and (tmp_path / "a" / "model").read_bytes() == before


def test_a_save_syncs_its_data_before_the_rename_and_the_folder_after_it(tmp_path, monkeypatch):
    """What strace sees below, also where there is none."""
    calls = []

    def fsync(file, real=os.fsync):
        status = os.fstat(file)
        calls.append("fsync of the folder" if stat.S_ISDIR(status.st_mode) else f"fsync of {status.st_size} bytes")
        real(file)

    def replace(*paths, real=os.replace):
        calls.append("replace")
        real(*paths)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    write_model(tmp_path / "model", *NEW)
    assert calls == [f"fsync of {len(encoded(*NEW))} bytes", "replace", "fsync of the folder"]


def refusing(monkeypatch, name, code):
    """os.open or os.fsync of a folder fails by this error."""
    real = getattr(os, name)

    def call(what, *args, **options):
        if os.path.isdir(what) if name == "open" else stat.S_ISDIR(os.fstat(what).st_mode):
            raise OSError(code, os.strerror(code))
        return real(what, *args, **options)

    monkeypatch.setattr(os, name, call)


@pytest.mark.parametrize("code", ["EACCES", "EPERM", "EINVAL", "ENOTSUP", "ENOSYS"])
@pytest.mark.parametrize("name", ["open", "fsync"])
def test_a_folder_that_cannot_be_synced_is_no_error(tmp_path, monkeypatch, name, code):
    """It may not be listed, say, or its file system knows no such thing."""
    old_file(tmp_path / "a")
    refusing(monkeypatch, name, getattr(errno, code))
    write_model(tmp_path / "a" / "model", *NEW)
    assert os.listdir(tmp_path / "a") == ["model"] and read_model(tmp_path / "a" / "model")[0] == NEW[0]


def test_a_folder_that_may_be_written_but_not_listed_takes_a_save(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("NOT TESTED: root may list every folder")
    old_file(tmp_path / "a")
    (tmp_path / "a").chmod(0o300)
    try:
        write_model(tmp_path / "a" / "model", *NEW)
        assert read_model(tmp_path / "a" / "model")[0] == NEW[0]
    finally:
        (tmp_path / "a").chmod(0o700)


@pytest.mark.parametrize(("name", "code", "left"), [
    ("open", "EMFILE", "old"), ("open", "EIO", "old"), ("fsync", "EIO", "new"), ("fsync", "ENOSPC", "new")])
def test_a_folder_that_fails_is_an_error(tmp_path, monkeypatch, name, code, left):
    """Before anything is written, where it fails so early; the new name may not be on the disk, where it fails late."""
    before = old_file(tmp_path / "a")
    refusing(monkeypatch, name, getattr(errno, code))
    with pytest.raises(OSError) as caught:
        write_model(tmp_path / "a" / "model", *NEW)
    assert caught.value.errno == getattr(errno, code) and os.listdir(tmp_path / "a") == ["model"]
    assert (tmp_path / "a" / "model").read_bytes() == {"old": before, "new": encoded(*NEW)}[left]


@pytest.mark.usefixtures("alarm")
def test_a_target_is_checked_without_a_trace(tmp_path, monkeypatch):
    """`check_target` raises what a save would raise, and leaves what is there, or nothing."""
    monkeypatch.chdir(tmp_path)
    before = old_file(tmp_path / "a")
    model_file.check_target(tmp_path / "a" / "model")
    model_file.check_target(tmp_path / "a" / "new")
    assert os.listdir(tmp_path / "a") == ["model"] and (tmp_path / "a" / "model").read_bytes() == before
    os.mkfifo(tmp_path / "pipe")
    for path in ("missing/model", "a", "pipe", "a/" + "m" * 250):
        with pytest.raises(OSError) as checked:
            model_file.check_target(path)
        with pytest.raises(OSError) as saved:
            write_model(path, *NEW)
        assert (type(checked.value), str(checked.value)) == (type(saved.value), str(saved.value))
    assert sorted(os.listdir(tmp_path)) == ["a", "pipe"] and os.listdir(tmp_path / "a") == ["model"]


@pytest.mark.parametrize("mode", [fcntl.LOCK_EX, fcntl.LOCK_SH])
def test_a_save_keeps_others_out_until_its_file_is_renamed(tmp_path, monkeypatch, mode):
    def replace(temporary, target, real=os.replace):
        with open(temporary, encoding="utf-8") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, mode | fcntl.LOCK_NB)
        real(temporary, target)

    monkeypatch.setattr(os, "replace", replace)
    write_model(tmp_path / "model", *NEW)
    assert os.listdir(tmp_path) == ["model"]


def check_saves_at_once(path):
    """Four threads save one file, each its own model: no save fails, and what is read meanwhile is always whole."""
    done = threading.Event()
    write_model(path, {"saver": 0}, {"w": np.full(20_000, 0.0)})

    def watch():
        while not done.is_set():
            found, arrays = read_model(path)
            assert np.all(arrays["w"] == found["saver"])

    def save(saver):
        for _ in range(10):
            write_model(path, {"saver": saver}, {"w": np.full(20_000, float(saver))})

    with ThreadPoolExecutor(5) as pool:
        watcher = pool.submit(watch)
        try:
            list(pool.map(save, range(1, 5)))
        finally:
            done.set()
        watcher.result()


def test_saves_of_one_file_wait_for_each_other(tmp_path):
    check_saves_at_once(tmp_path / "model")
    assert os.listdir(tmp_path) == ["model"]


def test_the_check_of_saves_at_once_can_fail(tmp_path, monkeypatch):
    monkeypatch.setattr(model_file.fcntl, "flock", lambda *args: None)
    with pytest.raises((OSError, FormatError)):
        for _ in range(20):     # the first round should do
            check_saves_at_once(tmp_path / "model")


SAVE = """
    import ctypes, os, sys
    sys.path.insert(0, FOLDER)
    import numpy as np, model_file
    BREAK
    ctypes.CDLL(None).prctl(0x59616d61, ctypes.c_ulong(-1))     # PR_SET_PTRACER: anyone may trace this process
    os.write(1, b"ready\\n")
    os.read(0, 1)
    try:
        model_file.write_model("model", {"name": "new"}, {"w": np.arange(5.0)})
    except OSError as error:
        os._exit(error.errno)
    os._exit(0)
"""
NOT_ATOMIC = "os.replace = lambda source, target: (os.unlink(target), os.rename(source, target))"
NO_SYNC = "os.fsync = lambda file: None"


def traced():
    """Whether strace is there and may trace."""
    return shutil.which("strace") and subprocess.run(["strace", "-o", os.devnull, "true"], check=False).returncode == 0


NEEDS_STRACE = pytest.mark.skipif(not traced(), reason="NOT TESTED: strace is not installed")


def save(folder, *options, sabotage=""):
    """(exit code of a save of NEW, the names of its system calls); strace comes when only the save is left to do.

    Its environment is empty: what measures coverage of the tests would make system calls of its own.
    """
    log = folder.with_suffix(".log")
    script = textwrap.dedent(SAVE.replace("BREAK", sabotage).replace("FOLDER", repr(str(SOURCES))))
    with subprocess.Popen([sys.executable, "-c", script], cwd=folder, env={}, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        with subprocess.Popen(["strace", "-p", str(process.pid), "-o", log, *options], stderr=subprocess.PIPE,
                              text=True) as tracer:
            assert "attached" in (line := tracer.stderr.readline()), line
            process.stdin.close()
    calls = re.findall(r"^(\w+)\(", log.read_text(encoding="utf-8"), re.MULTILINE)
    calls = [name for name in calls[1:] if name != "madvise"]   # without the read that waited, and the allocator's own
    return process.returncode, calls


def check_kills(folder, sabotage=""):
    """Kills a save before each of its system calls; returns how often the old and the new file was there."""
    before = old_file(folder / "whole")
    code, calls = save(folder / "whole", sabotage=sabotage)
    after = (folder / "whole" / "model").read_bytes()
    assert code == 0 and after == encoded(*NEW) != before

    def kill(index):
        name, here = calls[index], folder / str(index)
        old_file(here)
        inject = f"inject={name}:signal=SIGKILL:when={calls[:index + 1].count(name)}"
        code, _ = save(here, "-e", inject, sabotage=sabotage)
        assert code == -9, f"{name} was not reached"
        assert set(os.listdir(here)) <= {"model", TEMPORARY}
        left = (here / "model").read_bytes() if (here / "model").exists() else None
        assert left in (before, after), f"killed at {name}, a save leaves neither file"
        assert mode(here / "model") == 0o600
        write_model(here / "model", *NEW)
        assert os.listdir(here) == ["model"] and (here / "model").read_bytes() == after
        return left == before

    with ThreadPoolExecutor(2) as pool:
        old = list(pool.map(kill, range(len(calls))))
    return old.count(True), old.count(False)


@NEEDS_STRACE
def test_a_killed_save_leaves_the_old_file_or_the_new_one(tmp_path):
    old, new = check_kills(tmp_path)
    assert old > 10 and new > 3


@NEEDS_STRACE
def test_the_check_of_kills_can_fail(tmp_path):
    with pytest.raises(AssertionError, match="leaves neither"):
        check_kills(tmp_path, sabotage=NOT_ATOMIC)


def steps(folder, sabotage=""):
    """The calls of a save that count, in order."""
    old_file(folder)
    _, calls = save(folder, sabotage=sabotage)
    return [re.sub("rename.*", "rename", name) for name in calls if re.match("write|fsync|rename", name)]


@NEEDS_STRACE
def test_the_data_is_on_the_disk_before_the_name_and_the_name_before_the_return(tmp_path):
    assert steps(tmp_path / "a") == ["write", "fsync", "rename", "fsync"]
    assert steps(tmp_path / "b", NO_SYNC) != ["write", "fsync", "rename", "fsync"]


@NEEDS_STRACE
@pytest.mark.parametrize(("call", "error", "left"), [
    ("write", "ENOSPC", "old"), ("write", "EIO", "old"), ("fsync", "ENOSPC", "old"), ("fsync", "EIO", "old"),
    ("/rename.*", "ENOSPC", "old"), ("/rename.*", "EIO", "old"), ("ftruncate", "EIO", "old"),
    ("fchmod", "EPERM", "old"), ("openat", "EACCES", "old"),
    ("fsync:2", "EIO", "new"),      # the folder's: nothing can take the new name back
])
def test_a_full_or_failing_disk_leaves_the_old_file_and_no_other(tmp_path, call, error, left):
    before = old_file(tmp_path / "a")
    call, _, first = call.partition(":")
    code, _ = save(tmp_path / "a", "-e", f"inject={call}:error={error}:when={first or 1}+")
    assert code == getattr(errno, error)
    assert os.listdir(tmp_path / "a") == ["model"]
    assert (tmp_path / "a" / "model").read_bytes() == {"old": before, "new": encoded(*NEW)}[left]
