"""Reading a model file: only a regular file is read, what is none is named, and nothing else happens to the process."""

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import struct
import tarfile
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
import safetensors.numpy
from helpers import NOT_SANITIZED
from model_files import (
    ON_LINUX,
    a_socket,
    description,
    encoded,
    framed,
    hostile,
    joined,
    many_arrays,
    opened,
    parts,
    python,
    sealed,
    tensors,
    write_bytes,
)

import fastnn
from fastnn import interchange
from fastnn.storage import model_file
from fastnn.storage.model_file import (
    LARGEST_HEADER,
    LARGEST_TEXT,
    MOST_ARRAYS,
    MOST_HEADER_VALUES,
    MOST_VALUES,
    FormatError,
    read_model,
    write_model,
)

pytestmark = pytest.mark.any_isa


# What is no file


ELSE = {"a pipe": os.mkfifo, "a directory": os.mkdir, "a socket": lambda path: a_socket(path, None),
        "a device": lambda path: path.symlink_to("/dev/zero")}


READERS = {"model": read_model, "load": fastnn.load, "bytes": opened}


@pytest.mark.usefixtures("alarm")
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("kind", ELSE)
@pytest.mark.parametrize("reader", READERS)
def test_only_a_regular_file_is_read(tmp_path, monkeypatch, reader, kind, link, late):
    """Nothing waits for anybody, and nothing reads without end; also if it comes only after the first look."""
    monkeypatch.chdir(tmp_path)
    write_bytes(tmp_path / "file", b"")
    ELSE[kind](tmp_path / "other")
    (tmp_path / "link").symlink_to("other")
    path = tmp_path / ("link" if link else "other")
    if late:
        regular = os.stat(tmp_path / "file")
        monkeypatch.setattr(os, "stat", lambda *args, **options: regular)
    with pytest.raises(OSError) as caught:
        READERS[reader](path)
    if not late:
        assert str(caught.value) == f"{path} is {kind}, but must be a regular file: pass the path of one"
        assert isinstance(caught.value, IsADirectoryError) == (kind == "a directory")


@pytest.mark.parametrize("start", [
    b"", b"not a model", struct.pack("<Q", LARGEST_HEADER + 1) + b"{", struct.pack("<Q", 2**62) + b"{",
    encoded(description(), tensors()), framed('{"a":{"dtype":"F64","shape":[0],"data_offsets":[0,0]}}')])
def test_the_header_is_checked_before_the_rest_is_read(tmp_path, start):
    """A file of 64 GiB, all but its beginning a hole, is refused in no more memory than a header needs."""
    write_bytes(tmp_path / "model", start)
    try:
        os.truncate(tmp_path / "model", 2**36)
    except OSError as error:
        pytest.skip(f"NOT TESTED: no files of 64 GiB here: {error}")
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            read_model(tmp_path / "model")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_regular_file_is_read_as_it_is(tmp_path):
    """Also where a link leads to it."""
    write_bytes(tmp_path / "file", bytes(range(256)) * 99)
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        assert opened(tmp_path / name) == bytes(range(256)) * 99


def test_a_file_that_becomes_shorter_while_it_is_read_is_refused(tmp_path, monkeypatch):
    def check(*args, real=model_file._check_label):
        os.truncate(tmp_path / "model", 20_000)
        real(*args)

    write_model(tmp_path / "model", {}, {"w": np.ones(9000)})
    monkeypatch.setattr(model_file, "_check_label", check)
    with pytest.raises(FormatError, match="but got: 20000 bytes: it has become shorter meanwhile"):
        read_model(tmp_path / "model")


def test_a_header_that_is_another_once_it_was_checked_is_not_parsed(tmp_path, monkeypatch):
    """What is returned is what was read first."""
    def check(*args, real=model_file._check_label):
        with open(tmp_path / "model", "r+b") as file:
            file.write(encoded({"a": "other"}, {"w": np.ones(9000)})[:200])
        real(*args)

    write_model(tmp_path / "model", {"a": "first"}, {"w": np.ones(9000)})
    monkeypatch.setattr(model_file, "_check_label", check)
    assert read_model(tmp_path / "model")[0] == {"a": "first"}


# What it is instead


def in_memory(write):
    """The bytes that a function writes to a file."""
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def zipped(*names):
    def write(file):
        with zipfile.ZipFile(file, "w") as archive:
            for name in names:
                archive.writestr(name, b"content " * 50)
    return in_memory(write)


def tarred(file):
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model"), io.BytesIO())


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
ONNX = bytes.fromhex("08081207") + b"pytorch" + bytes.fromhex("1a05") + b"2.1.0" + b":\x10graph" * 9
WHAT = [
    ("nothing", b"", "an empty file; copy or download it again"),
    ("Git LFS", POINTER, "a Git LFS pointer.*run `git lfs pull`"),
    ("old Git LFS", POINTER.replace(b"git-lfs.github", b"hawser.github"), "a Git LFS pointer"),
    ("HTML", b"<!DOCTYPE html>\n<html lang='en'>\n<body>404</body></html>" * 9, "an HTML or XML page.*download"),
    ("HTML with a mark", "\ufeff\r\n  <html>404</html>".encode(), "an HTML or XML page"),
    ("XML", b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an HTML or XML page"),
    ("JSON", b'{"message": "Not Found", "status": "404"}', "a text that begins with .*Not Found"),
    ("CSV", b"length,width\r\n1.5,\t2\r\n", "a text that begins with 'length,width 1.5, 2'"),
    ("a note", "Länge: 7 µm\n".encode(), "a text that begins with 'Länge: 7 µm'"),
    ("zip", zipped("model.safetensors"), "a zip archive: unpack it"),
    ("empty zip", zipped(), "a zip archive: unpack it"),
    ("PyTorch", zipped("archive/data.pkl", "archive/data/0"), "a PyTorch file.*fastnn.interchange.from_torch"),
    ("old PyTorch", pickle.dumps(0x1950a86a20f9469cfc6c, 2) + pickle.dumps(1001, 2), "a PyTorch file.*from_torch"),
    ("Keras", zipped("metadata.json", "config.json", "model.weights.h5"), "a Keras file.*interchange.from_keras"),
    ("HDF5", b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file.*from_keras"),
    ("npz", in_memory(lambda file: np.savez(file, a=np.ones(3))), "a NumPy archive.*numpy.load"),
    ("npy", in_memory(lambda file: np.save(file, np.ones(3))), "a NumPy array.*numpy.load"),
    *[(f"pickle {p}", pickle.dumps({"weights": [0.5] * 99}, p), "a pickle.*save the network with Network.save")
      for p in (2, 3, 4, 5)],
    ("joblib", zlib.compress(b"content" * 99), "compressed by zlib, such as joblib"),
    ("a formula", b"x^2 + 3 x", "a text that begins with 'x"), ("a short one", b"x^2", "a file of 3 bytes"),
    ("gzip", gzip.compress(b"content" * 99), "compressed by gzip: unpack it"),
    ("bzip2", bz2.compress(b"content" * 99), "compressed by bzip2: unpack it"),
    ("xz", lzma.compress(b"content" * 99), "compressed by xz: unpack it"),
    ("zstd", b"\x28\xb5\x2f\xfd" + bytes(9), "compressed by zstd: unpack it"),
    ("tar", in_memory(tarred), "a tar archive: unpack it"),
    ("ONNX", ONNX, "an ONNX model: read it with fastnn.interchange.from_onnx"),
    ("zeros", bytes(1000), "a file of zeros.*copy or download it again"),
    ("other arrays", safetensors.numpy.save({"a": np.ones(3)}, {"format": "pt"}),
     "a safetensors file of something else; load reads what Network.save wrote"),
    ("noise", bytes(range(255, 0, -1)), "a damaged file, or one of another kind: .* bytes, more than"),
]


@pytest.mark.parametrize(("data", "words"), [pytest.param(data, words, id=name) for name, data, words in WHAT])
def test_what_is_no_model_file_is_named(tmp_path, data, words):
    with pytest.raises(FormatError, match=words) as caught:
        read_model(write_bytes(tmp_path / "model", data))
    assert str(caught.value).startswith(f"{tmp_path / 'model'} cannot be read as a model: expected ")


def test_a_file_that_was_cut_short_is_named(tmp_path):
    """At any length; what is too long, too."""
    data = encoded(description(), tensors())
    for length in range(1, len(data)):
        with pytest.raises(FormatError, match="it was cut short; copy or download it again"):
            read_model(write_bytes(tmp_path / "model", data[:length]))
    with pytest.raises(FormatError, match=f"expected {len(data)} bytes, but got: {len(data) + 3} bytes"):
        read_model(write_bytes(tmp_path / "model", data + b"abc"))


def test_real_files_of_other_tools_are_named(tmp_path):
    network = fastnn.Network([4, 3, 2])
    torch = pytest.importorskip("torch", reason="NOT TESTED: needs PyTorch")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "pt")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "old pt", _use_new_zipfile_serialization=False)
    interchange.to_onnx(network, tmp_path / "onnx")
    interchange.to_c(network, tmp_path / "header.h")
    for name, words in {"pt": "a PyTorch file", "old pt": "a PyTorch file", "onnx": "an ONNX model",
                        "header.h": "a text that begins"}.items():
        with pytest.raises(FormatError, match=words):
            read_model(tmp_path / name)


# What reading does to the process


WATCHED = """
    BREAK
    events = []
    def read(path):
        try:
            model_file.read_model(path)
        except model_file.FormatError:
            pass
    sys.addaudithook(lambda name, args: events.append((name, str(args[0]) if args else "")))
    for path in sys.argv[1:]:
        read(path)
    print(*events, sep="\\n")
"""


def events(paths, sabotage=""):
    """What Python reports of reading these files: imports, opened files, code that is compiled or run."""
    return python(WATCHED.replace("BREAK", sabotage), *paths).splitlines()


def some_files(folder):
    write_model(folder / "good", description(), tensors())
    files = {name: data for name, data, _ in hostile()}
    for name in ("deep JSON", "text", "duplicate key in JSON", "no JSON", "an overflowing shape"):
        write_bytes(folder / name, files[name])
    return sorted(folder.iterdir())


def test_reading_opens_one_file_and_runs_nothing(tmp_path):
    """The audit tells of it twice: when Python's file begins, and when the system's is opened for it."""
    paths = some_files(tmp_path)
    assert events(paths) == [str(("open", str(path))) for path in paths for _ in range(2)]


@pytest.mark.parametrize("sabotage", [
    "load = model_file.json.loads; model_file.json.loads = lambda text: (eval('1'), load(text))[1]",
    "model_file._content = lambda *args: __import__('colorsys')",
    "model_file._content = lambda *args: open('/dev/null').close()",
    "import pickle; model_file._content = lambda *args: pickle.loads(pickle.dumps(print))",
])
def test_the_watch_on_reading_can_fail(tmp_path, sabotage):
    paths = some_files(tmp_path)
    assert events(paths, sabotage) != [str(("open", str(path))) for path in paths for _ in range(2)]


PEAK = """
    def peak():
        with open("/proc/self/status", encoding="utf-8") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    BREAK
    before = peak()
    try:
        DO
    except model_file.FormatError:
        pass
    print(peak() - before)
"""
READ = "kept = model_file.read_model(sys.argv[1])"


def memory(path, sabotage="", doing=READ):
    """By how many bytes reading raises the most that a process has used."""
    return int(python(PEAK.replace("BREAK", sabotage).replace("DO", doing), path))


def costly():
    """Files that are small, and of which parsing makes as much as limits allow: (name, bytes)."""
    values, text, arrays = MOST_VALUES - 999, LARGEST_TEXT - 999, MOST_ARRAYS - 1
    yield "arrays with long names", many_arrays(arrays, "x" * 100)
    names = sorted(f"{i:x}" for i in range(MOST_HEADER_VALUES // 76))
    header = {name: {"dtype": "F32", "shape": [0] * 64, "data_offsets": [0, 0]} for name in names}
    yield "arrays of many dimensions", joined(header, sealed(header, parts({}, {})[1], b""), b"")
    header = json.loads(many_arrays(arrays, "x" * 20)[8:])
    del header["__metadata__"]
    for name, value in {
            "keys": {f"{i:x}": 1 for i in range(values // 2)}, "quotes": '"' * (text // 2),
            "texts in four bytes": [f"\U0001f600{i:x}" for i in range(text // 20)],
            "one text in four bytes": "\U0001f600" + "a" * text}.items():
        yield name, joined(header, sealed(header, parts({"a": value}, {})[1], b""), b"")


@ON_LINUX
@NOT_SANITIZED
def test_reading_takes_twice_the_file_and_little_more(tmp_path):
    """16 MiB more, and 56 for the worst that a hostile header can do: 21,000 arrays."""
    write_model(tmp_path / "large", {}, {"w": np.ones(2**22)})
    write_bytes(tmp_path / "large header", struct.pack("<Q", 2**25) + b" " * 2**25)
    for path in tmp_path.iterdir():
        assert memory(path) <= 2 * path.stat().st_size + 16 * 2**20, path.name
    for name, data in costly():
        path = write_bytes(tmp_path / "costly", data)
        assert memory(path) <= 2 * path.stat().st_size + 56 * 2**20 and read_model(path), name
    wasteful = "loads = model_file.json.loads; model_file.json.loads = lambda text: (np.ones(2**24), loads(text))[1]"
    assert memory(tmp_path / "large", wasteful) > 2 * (tmp_path / "large").stat().st_size + 2**24


@ON_LINUX
@NOT_SANITIZED
def test_writing_takes_twice_the_file_beside_the_arrays(tmp_path):
    """Rust makes it, and Python's bytes are a copy of that."""
    write, arrays = "model_file.write_model(sys.argv[1], {}, arrays)", "arrays = {'w': np.ones(2**22)}"
    assert memory(tmp_path / "model", arrays, write) <= 2 * 2**25 + 4 * 2**20
    assert memory(tmp_path / "model", arrays, f"{write}; np.ones(2**24)") > 2 * 2**25 + 4 * 2**20
