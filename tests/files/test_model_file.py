"""The file of a saved model: what was written comes back exactly, and nothing else ever does.

A second, naive encoder stands here as the oracle: it pins the format, and makes files that are wrong
in one place only. What saving does to the disk is watched, killed and made to fail by strace.
"""

import bz2
import errno
import fcntl
import gzip
import hashlib
import io
import json
import lzma
import os
import pickle
import random
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tarfile
import textwrap
import threading
import tracemalloc
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from copy import deepcopy
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from helpers import NOT_SANITIZED
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

import fastnn
from fastnn import interchange
from fastnn.storage import model_file
from fastnn.storage.model_file import (
    FORMAT_VERSION,
    LARGEST_HEADER,
    LARGEST_TEXT,
    MOST_ARRAYS,
    MOST_NUMBERS,
    MOST_VALUES,
    OPENING,
    FormatError,
    read_model,
    write_model,
)

pytestmark = pytest.mark.any_isa

SOURCES = Path(model_file.__file__).parent
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="NOT TESTED: this is not Linux")


def description():
    return {"layers": [3, 2], "name": "é\n\x1f\"\\", "rate": 0.1, "sub": {"b": None, "a": [True, -0.0, 10**20]}}


def tensors():
    return {
        "weights": np.array([[1.5, -0.0, np.inf], [np.nan, 5e-324, 2.0**1023]]),
        "biases": np.array([1, -2, 3], np.float32),
        "empty": np.empty((0, 4), np.float32),
        "scalar \x1f": np.array(0.1),
    }


def write_bytes(path, data):
    path.unlink(missing_ok=True)    # a new file is quick; some file systems wait for the disk when one is emptied
    path.write_bytes(data)
    return path


def assert_same(actual, expected):
    """Two pairs of description and tensors are equal, to the type and the bit."""
    assert json.dumps(actual[0], sort_keys=True) == json.dumps(expected[0], sort_keys=True)
    assert actual[1].keys() == expected[1].keys()
    for name, array in expected[1].items():
        found = actual[1][name]
        assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())


# The oracle: an encoder that can make any mistake


CODES = {"F32": "float32", "F64": "float64", "I32": "int32", "I64": "int64"}


def to_json(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def parts(description, tensors):
    """(header, content, data): the header without metadata, the metadata without checksum, the arrays' bytes."""
    header, data = {}, b""
    for name, a in sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0])):
        code = next(code for code, dtype in CODES.items() if a.dtype == dtype)
        offsets = [len(data), len(data) + a.nbytes]
        header[name] = {"dtype": code, "shape": list(a.shape), "data_offsets": offsets}
        data += a.tobytes()
    return header, {"format_version": FORMAT_VERSION, "description": description}, data


def checksum(header, content, data):
    """The checksum of what a header claims, right or wrong."""
    entries = sorted(header.items())
    text = to_json([content, [[name, CODES[entry["dtype"]], entry["shape"]] for name, entry in entries]])
    claimed = b"".join(data[slice(*entry["data_offsets"])] for _, entry in entries)
    return "sha256:" + hashlib.sha256(text.encode() + claimed).hexdigest()


def sealed(header, content, data):
    return content | {"checksum": checksum(header, content, data)}


def framed(text, data=b""):
    """A file with this text as its header."""
    text = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def joined(header, label, data, **metadata):
    """A file of a header, the text of the metadata "fastnn" and the bytes."""
    label = label if isinstance(label, str) else to_json(label)
    header = {"__metadata__": {"fastnn": label} | metadata} | header
    return framed(json.dumps(header, separators=(",", ":"), ensure_ascii=False), data)


def encoded(description, tensors):
    header, content, data = parts(description, tensors)
    return joined(header, sealed(header, content, data), data)


# Round trips


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20)
NAMES = st.text(st.characters(exclude_categories=["Cs"])).filter(lambda name: name != "__metadata__")
ARRAYS = st.sampled_from([np.float32, np.float64]).flatmap(
    lambda dtype: arrays(dtype, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)))


def test_whatever_is_written_comes_back(tmp_path):
    @given(st.dictionaries(st.text(), JSON, max_size=4), st.dictionaries(NAMES, ARRAYS, max_size=4))
    def check(description, tensors):
        write_model(tmp_path / "model", description, tensors)
        assert_same(read_model(tmp_path / "model"), (description, tensors))

    check()


def test_every_layout_comes_back_and_can_be_written_to(tmp_path):
    a = np.arange(24.0).reshape(4, 6)
    read_only = a.copy()
    read_only.flags.writeable = False
    layouts = {"Fortran": np.asfortranarray(a), "sliced": a[::2, 1::2], "reversed": a[::-1, ::-1], "transposed": a.T,
               "big-endian": a.astype(">f8"), "read-only": read_only, "NumPy number": np.float64(0.1)}
    write_model(tmp_path / "model", {}, layouts)
    _, found = read_model(tmp_path / "model")
    assert list(found) == sorted(layouts)
    for name, array in layouts.items():
        assert found[name].dtype == np.float64 and np.array_equal(found[name], array)
        found[name][...] = 7


def test_the_format_is_pinned(tmp_path):
    """The bytes are those of the oracle, in any order of what is given, and those of the first release."""
    for order in (1, -1):
        pair = [dict(list(part.items())[::order]) for part in (description(), tensors())]
        write_model(tmp_path / "model", *pair)
        assert (tmp_path / "model").read_bytes() == encoded(description(), tensors())
    digest = hashlib.sha256(encoded(description(), tensors())).hexdigest()
    assert digest == "3248eae704b4efcaa28d847cf937123830c31c639dfb3d6b999ab343b708e160"


def test_tools_for_safetensors_read_the_arrays(tmp_path):
    write_model(tmp_path / "model", description(), tensors())
    assert_same(({}, load_file(tmp_path / "model")), ({}, tensors()))
    with safe_open(tmp_path / "model", framework="np") as file:
        assert list(file.metadata()) == ["fastnn"]


def test_a_path_can_be_a_string_and_a_link_is_followed(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(Path("folder") / "model")
    for _ in range(2):      # the link leads nowhere at first
        write_model(str(tmp_path / "link"), description(), tensors())
        assert (tmp_path / "link").is_symlink()
        assert os.listdir(tmp_path / "folder") == ["model"]
        assert_same(read_model(str(tmp_path / "link")), (description(), tensors()))


# Damage


def accepted(path, damaged):
    """Which of the damaged files, numbered, are read without a FormatError."""
    found = []
    for index, data in enumerate(damaged):
        try:
            read_model(write_bytes(path, data))
        except FormatError:
            continue
        found.append(index)
    return found


def bit_flips(data):
    for index, bit in product(range(len(data)), range(8)):
        yield data[:index] + bytes([data[index] ^ 1 << bit]) + data[index + 1:]


def test_every_bit_counts(tmp_path):
    data = encoded(description(), tensors())
    assert 500 < len(data) < 1200 and not accepted(tmp_path / "model", bit_flips(data))


def test_every_length_counts(tmp_path):
    data = encoded(description(), tensors())
    lengths = [data[:length] for length in range(len(data))] + [data + tail for tail in (b"\0", b" ", b"\0" * 8, data)]
    assert not accepted(tmp_path / "model", lengths)


def test_the_check_of_bits_can_fail(tmp_path, monkeypatch):
    """Without a look at the arrays' bytes, their flips pass."""
    data = encoded(description(), tensors())
    write_model(tmp_path / "model", description(), tensors())
    right = model_file._content(*read_model(tmp_path / "model"))
    monkeypatch.setattr(model_file, "_content", lambda *args: right)
    assert len(accepted(tmp_path / "model", bit_flips(data))) >= 8 * sum(a.nbytes for a in tensors().values())


def newer(**changes):
    header, content, data = parts(description(), tensors())
    return joined(header, content | {"format_version": 2, "checksum": "md5:0"} | changes, data, other="key")


def test_a_newer_version_is_named_before_all_that_it_may_have_changed(tmp_path):
    header, content, data = parts(description(), {})
    exotic = {"a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}
    for data in (newer(), newer(description=[]), joined(exotic, {"format_version": 2}, b"ab"),
                 joined(exotic, '{ "format_version": 2, "a": 1, "a": 2 }', b"ab")):
        with pytest.raises(FormatError) as caught:
            read_model(write_bytes(tmp_path / "model", data))
        message = str(caught.value)
        assert str(tmp_path / "model") in message and "upgrade fastnn" in message
        assert re.search(rf"version {FORMAT_VERSION}\b", message) and re.search(r"version 2\b", message)


def many_arrays(count, name=""):
    """A valid file of so many empty arrays, whose names begin with `name`."""
    names = sorted(f"{name}{i:x}" for i in range(count))
    header = {name: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for name in names}
    return joined(header, sealed(header, parts({}, {})[1], b""), b"")


def hostile():
    """(name, file, words of the message)"""
    header, content, data = parts(description(), tensors())
    good = sealed(header, content, data)
    entry = '"%s":{"dtype":"F64","shape":%s,"data_offsets":%s}'
    deep = "[" * 200_000

    def claimed(**changes):
        changed = deepcopy(header)
        changed["weights"] |= changes
        return joined(changed, sealed(changed, content, data), data)

    def text(*entries):
        return framed(f'{{"__metadata__":{{"fastnn":{json.dumps(to_json(good))}}},{",".join(entries)}}}', bytes(16))

    def labelled(label):
        return joined(header, label, data)

    def described(description, **changes):
        changed = content | {"description": description}
        return labelled(sealed(header, changed, data) | changes)

    yield "nothing", b"", ["safetensors"]
    yield "text", b"PK\3\4 this is another kind of file", ["safetensors"]
    yield "header of 2**64-1 bytes", b"\xff" * 8, [str(2**64 - 1)]
    yield "header of 2**63 bytes", struct.pack("<Q", 2**63) + b"{}", [str(2**63)]
    yield "header longer than the file", struct.pack("<Q", 1000) + b"{}", ["safetensors"]
    yield "header above the limit", framed("{}" + " " * LARGEST_HEADER), [str(LARGEST_HEADER)]
    yield "header in another code", framed(b'{"\xff":1}'), ["safetensors", "utf-8"]
    yield "deep header", framed(deep), ["safetensors"]
    yield "a list as header", framed("[]"), ["metadata"]
    yield "a number as metadata", framed('{"__metadata__":3}'), ["metadata"]
    yield "no metadata", framed('{"a":{"dtype":"F64","shape":[0],"data_offsets":[0,0]}}'), ["something else"]
    yield "a number as label", framed('{"__metadata__":{"fastnn":3}}'), ["metadata"]
    yield "a list as label", labelled([]), ["metadata|version"]
    yield "no JSON", labelled("fastnn"), ["metadata", "Expecting value"]
    yield "NaN in JSON", labelled('{"format_version":1,"description":{"a":NaN}}'), ["Out of range float"]
    yield "infinity in JSON", labelled('{"format_version":1,"description":{"a":1e999}}'), ["Out of range float"]
    yield "a huge number in JSON", labelled("9" * 5000), ["metadata"]
    yield "deep JSON", labelled(deep), ["nested more than 100 deep"]
    yield "deep description", labelled(f'{{"format_version":1,"description":{{"a":{deep}'), ["more than 100 deep"]
    yield "a deep array", framed(f'{OPENING}{{}}"}},"a":{deep}'), ["nested more than 100 deep"]
    yield "a deep name", framed(f'{OPENING}{{}}"}},{deep}'), ["nested more than 100 deep"]
    yield "a deep key of an array", framed(f'{OPENING}{{}}"}},"a":{{"b":{deep}'), ["nested more than 100 deep"]
    yield "many numbers", framed(f'{OPENING}{{}}"}},"a":[{"0," * MOST_NUMBERS}0]}}'), [f"more than {MOST_NUMBERS}"]
    yield "many values", labelled(f"[{','.join(['0'] * (MOST_VALUES + 1))}]"), [f"more than {MOST_VALUES}"]
    yield "a long description", labelled(" " * (LARGEST_TEXT + 1)), [f"fit in {LARGEST_TEXT}"]
    yield "too many arrays", many_arrays(MOST_ARRAYS + 1), [f"there can be {MOST_ARRAYS} arrays"]
    yield "duplicate key in JSON", labelled('{"format_version":1,' + to_json(good)[1:]), ["exactly"]
    yield "spaces in JSON", labelled(json.dumps(good, sort_keys=True)), ["exactly"]
    yield "keys in another order", labelled(
        json.dumps(dict(reversed(good.items())), separators=(",", ":"))), ["exactly"]
    yield "another key", labelled(good | {"code": "import os"}), ["exactly"]
    yield "more metadata", joined(header, good, data, format="pt"), ["exactly"]
    yield "a newer version as text", labelled(good | {"format_version": "2"}), ["exactly|checksum"]
    yield "version true", labelled(good | {"format_version": True}), ["exactly"]
    yield "version 0", labelled(good | {"format_version": 0}), ["exactly"]
    yield "no description", labelled({"format_version": 1, "checksum": "sha256:0"}), ["NoneType", "dict"]
    yield "a list as description", described([1, 2]), ["list", "dict"]
    yield "no checksum", labelled(content), ["checksum"]
    yield "another checksum", labelled(content | {"checksum": "sha256:" + "0" * 64}), ["checksum", "0" * 64, "[1-9a-f]"]
    yield "a long checksum", labelled(content | {"checksum": "0" * 100_000}), ["checksum"]
    yield "an overflowing shape", claimed(shape=[2**62, 4]), ["overflow"]
    yield "an overflowing shape with 0", claimed(shape=[0, 2**63], data_offsets=[0, 0]), ["expected"]
    yield "a negative shape", claimed(shape=[-1, 6]), ["expected"]
    yield "a shape of fractions", claimed(shape=[1.0, 6]), ["expected"]
    yield "a shape of other size", claimed(shape=[2, 4]), ["expected"]
    yield "100 dimensions", claimed(shape=[1] * 97 + [1, 2, 3]), ["dimension"]
    yield "a dtype that NumPy lacks", joined(
        {"a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}, good, b"ab"), ["BF16"]
    yield "bytes that are no number", joined(
        {"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}}, good, b"ab"), ["a has dtype uint8, but"]
    yield "half bytes", joined({"a": {"dtype": "F4", "shape": [1], "data_offsets": [0, 0]}}, good, b""), ["expected"]
    yield "backward offsets", text(entry % ("a", "[2]", "[16,0]")), ["expected"]
    yield "a name of the format's own", text(entry % ("__metadata__", "[2]", "[0,16]")), ["__metadata__"]
    yield "overlap", text(entry % ("a", "[2]", "[0,16]"), entry % ("b", "[1]", "[8,16]")), ["expected"]
    yield "a hole", text(entry % ("a", "[1]", "[8,16]")), ["expected"]
    yield "the same name twice", text(entry % ("a", "[2]", "[0,16]"), entry % ("a", "[2]", "[0,16]")), ["expected"]
    yield "offsets beyond the file", text(entry % ("a", "[200]", "[0,1600]")), ["expected"]
    yield "bytes behind", joined(header, good, data + bytes(8)), ["expected"]


@pytest.mark.parametrize(("data", "words"), [
    pytest.param(data, words, id=name) for name, data, words in hostile()])
def test_hostile_files_get_a_sentence(tmp_path, data, words):
    with pytest.raises(FormatError) as caught:
        read_model(write_bytes(tmp_path / "model", data))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'model'} cannot be read as a model: expected ") and len(message) < 500
    for word in words:
        assert re.search(word, message), f"{word!r} is missing from {message!r}"


PanicException = type("PanicException", (BaseException,), {})      # what a panic of Rust looks like
NO_MEMORY = PanicException("PyObject pointer is null")


@pytest.mark.parametrize(("raised", "expected"), [
    (ValueError("no"), FormatError), (KeyError("no"), FormatError), (OverflowError("no"), FormatError),
    (SafetensorError("no"), FormatError), (PanicException("no"), FormatError), (NO_MEMORY, MemoryError),
    (KeyboardInterrupt(), KeyboardInterrupt), (MemoryError(), MemoryError), (RecursionError(), RecursionError)])
def test_what_parsing_raises_is_a_format_error_but_what_is_not_the_files_fault_is_not(
        tmp_path, monkeypatch, raised, expected):
    def load(data):
        raise raised

    write_model(tmp_path / "model", {}, {})
    monkeypatch.setattr(safetensors.numpy, "load", load)
    with pytest.raises(expected):
        read_model(tmp_path / "model")


def test_a_file_that_cannot_be_read_is_an_os_error(tmp_path):
    for name, error in [("nothing", FileNotFoundError), (".", IsADirectoryError), ("no/model", FileNotFoundError)]:
        with pytest.raises(error):
            read_model(tmp_path / name)
    with pytest.raises(TypeError):
        read_model(0)       # a file descriptor is no path


# Nesting


DEEP = """
    sys.setrecursionlimit(10**6)        # so that nothing but the count keeps a parser from going deeper
    for path in sys.argv[1:]:
        try:
            model_file.read_model(path)
        except model_file.FormatError as error:
            print("refused")
    value = []
    for _ in range(10**5):
        value = {"a": [value]}
    circular = []
    circular.append([circular, circular])
    for wrong in (value, {"a": circular}):
        try:
            model_file.write_model("model", wrong, {})
        except ValueError as error:
            print(error)
"""

def test_nothing_that_is_nested_deep_reaches_a_parser(tmp_path):
    """With a recursion limit at which parsers would run out of stack, in a process of its own."""
    n = 2**19
    texts = ["[" * n, '{"a":' * (n // 4), '{"format_version":1,"description":' + "[" * n, '["\\\\",' * 2 + "[" * n,
             '["\\\\\\"",' + "[" * n, '["]]]]",' * (n // 8), "[" * n + "]" * n, '"' + "[" * n]
    for index, text in enumerate(texts):
        write_bytes(tmp_path / f"label {index}", joined({}, text, b""))
        write_bytes(tmp_path / f"header {index}", framed(text))
        write_bytes(tmp_path / f"behind {index}", framed(f'{OPENING}{{}}"}},"a":{text}'))
        write_bytes(tmp_path / f"beside {index}", framed(f'{{"__metadata__":{{"a":{text}'))
    paths = list(tmp_path.iterdir())
    lines = python(DEEP, *paths).splitlines()
    assert lines == ["refused"] * len(paths) + [
        "lists and dictionaries nested more than 100 deep, which a file cannot hold"] * 2


def nested(depth, inner):
    for level in range(depth):
        inner = [inner, 1] if level % 2 else {"a": inner}
    return {"it": inner}


def test_what_is_written_is_not_too_deep_to_be_read(tmp_path):
    """And brackets in texts do not count: the file of the largest depth that is written is read."""
    text = "[{" * 1000 + '"[' * 9 + '\\"[' * 99 + "\\" * 5
    depth = 0
    while True:
        content = nested(depth, text)
        try:
            write_model(tmp_path / "model", content, {})
        except ValueError as error:
            assert "nested more than 100 deep" in str(error)
            break
        assert read_model(tmp_path / "model") == (content, {})
        depth += 1
    assert 90 < depth <= 100 and read_model(tmp_path / "model")[0] == nested(depth - 1, text)
    with pytest.raises(FormatError, match="nested more than 100 deep"):
        read_model(write_bytes(tmp_path / "model", encoded(content, {})))


# What is no file


ELSE = {"a pipe": os.mkfifo, "a directory": os.mkdir, "a socket": lambda path: a_socket(path, None),
        "a device": lambda path: path.symlink_to("/dev/zero")}


def opened(path):
    with model_file.open_regular(path) as file:
        return file.read()


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


# Mutants


SCALARS = [None, True, 0, -1, 2**63, 2**70, 1e308, -0.0, 0.5, "", "weights", "\ud800", "F32", "I64", [], {}, [[0, 8]]]


def change_tree(rng, tree):
    """Replaces, removes or adds one part somewhere in a dict of dicts and lists."""
    while True:
        keys = list(tree) if isinstance(tree, dict) else range(len(tree))
        key = rng.choice(keys) if keys else None
        if key is None or not isinstance(tree[key], dict | list) or rng.random() < 0.2:
            break
        tree = tree[key]
    action = rng.randrange(4)
    if action == 0 and isinstance(tree, dict):
        tree[rng.choice(["", "a", "weights", "dtype", "shape"])] = deepcopy(rng.choice(SCALARS))
    elif key is not None and action == 1:
        del tree[key]
    elif key is not None and action == 2 and isinstance(tree[key], int):
        tree[key] += rng.choice([-8, -4, -1, 1, 4, 8])
    elif key is not None:
        tree[key] = deepcopy(rng.choice(SCALARS))


def change_bytes(rng, data):
    """Replaces, removes or repeats a few bytes."""
    start = rng.randrange(len(data) + 1)
    stop = start + rng.randrange(9)
    middle = rng.choice([b"", rng.randbytes(stop - start), 2 * data[start:stop], b"[" * 2000, b'"', b"}", b"0", b" "])
    return data[:start] + middle + data[stop:]


def mutants(count):
    """Files with one to three changes; half of them have their checksum made right afterwards, where one can be."""
    rng = random.Random(5)
    for _ in range(count):
        header, content, data = parts(description(), tensors())
        content = sealed(header, content, data)
        for kind in rng.choices(["header", "content", "data"], weights=[3, 3, 1], k=rng.randint(1, 3)):
            if kind == "data":
                data = change_bytes(rng, data)
            else:
                change_tree(rng, header if kind == "header" else content)
        if rng.random() < 0.5:
            content.pop("checksum", None)
            with suppress(AttributeError, KeyError, TypeError, ValueError):
                content = sealed(header, content, data)
        file = joined(header, content, data)
        yield change_bytes(rng, file) if rng.random() < 0.2 else file


def check_mutants(path, count):
    """How many are refused and accepted; what is accepted has the checksum that the oracle gives its content."""
    refused = 0
    for mutant in mutants(count):
        try:
            found = read_model(write_bytes(path, mutant))
        except FormatError:
            refused += 1
            continue
        assert isinstance(found[0], dict)
        label = to_json(sealed(*parts(*found)))
        assert json.dumps(label).encode() in mutant
    return refused, count - refused


@pytest.mark.parametrize("count", [20_000, pytest.param(1_000_000, marks=pytest.mark.nightly)])
def test_mutants_are_refused_or_right(tmp_path, count):
    refused, accepted = check_mutants(tmp_path / "model", count)
    print(f"of {count} files {refused} were refused, {accepted} hold what their checksum says")
    assert refused > count / 2 and accepted > count / 40


@pytest.mark.parametrize(("name", "broken"), [
    ("MALFORMED", ValueError),                                      # other errors get through
    ("_content", lambda description, arrays: {"description": description, "checksum": None}),
    ("_to_json", lambda value, **style: json.dumps(value)),         # nothing is the right spelling any more
])
def test_the_check_of_mutants_can_fail(tmp_path, monkeypatch, name, broken):
    monkeypatch.setattr(model_file, name, broken)
    with pytest.raises((AssertionError, TypeError, AttributeError, SafetensorError)):
        refused, accepted = check_mutants(tmp_path / "model", 500)
        assert refused and accepted


# What reading does to the process


def python(script, *args):
    """What a script prints, in a fresh process that has `read_model` and `write_model`."""
    start = f"import sys; sys.path.insert(0, {str(SOURCES)!r}); import numpy as np, model_file\n"
    run = subprocess.run([sys.executable, "-c", start + textwrap.dedent(script), *map(str, args)],
                         capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


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
        with open("/proc/self/status") as file:
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
    names = sorted(f"{i:x}" for i in range(MOST_NUMBERS // 76))
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


# What saving does to the disk


TEMPORARY = ".model.fastnn-tmp"      # beside a file of the name "model", while that is saved


def old_file(folder):
    """A folder with a model in it that others may not read, and that model's bytes."""
    folder.mkdir()
    write_model(folder / "model", description(), tensors())
    (folder / "model").chmod(0o600)
    return (folder / "model").read_bytes()


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


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
    ({str(i): np.ones([1] * 64) for i in range(MOST_NUMBERS // 64)}, ValueError, f"more than {MOST_NUMBERS}"),
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
        (tmp_path / kept).write_text("important")
    write_model(tmp_path / "model", *NEW)
    assert sorted(os.listdir(tmp_path)) == sorted(["model", name]) and (tmp_path / name).read_text() == "important"
    assert read_model(tmp_path / "model")[0] == NEW[0]


def symbolic_link(path, victim):
    path.symlink_to(victim)


def dangling_link(path, victim):
    path.symlink_to(victim.with_name("nothing"))


def hard_link(path, victim):
    path.hardlink_to(victim)


def fifo(path, victim):
    os.mkfifo(path)


def a_socket(path, victim):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))      # of at most 107 bytes


def a_folder(path, victim):
    path.mkdir()


OTHERS = {symbolic_link: "a symbolic link", dangling_link: "a symbolic link", hard_link: "a file with several names",
          fifo: "a pipe", a_socket: "a socket", a_folder: "a directory"}


@pytest.fixture
def alarm():
    """A save that waits for ever fails."""
    def ring(*args):
        raise AssertionError("a save waits for ever")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


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
        with open(temporary) as other, pytest.raises(BlockingIOError):
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


NEW = {"name": "new"}, {"w": np.arange(5.0)}
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
    calls = re.findall(r"^(\w+)\(", log.read_text(), re.MULTILINE)
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
