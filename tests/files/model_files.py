"""Model files for tests: a second, naive encoder of the format, and files that are wrong in one place.

The encoder is the oracle: it pins the format, and can make any mistake. Below it is what the tests of reading and of
writing share. No test is here.
"""

import hashlib
import json
import os
import socket
import stat
import struct
import subprocess
import sys
import textwrap
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

from fastnn.storage import model_file
from fastnn.storage.model_file import (
    FORMAT_VERSION,
    LARGEST_HEADER,
    LARGEST_TEXT,
    MOST_ARRAYS,
    MOST_HEADER_VALUES,
    MOST_VALUES,
    OPENING,
    write_model,
)

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
    yield ("many numbers", framed(f'{OPENING}{{}}"}},"a":[{"0," * MOST_HEADER_VALUES}0]}}'),
           [f"more than {MOST_HEADER_VALUES}"])
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


# Shared by the tests of reading and of writing


PanicException = type("PanicException", (BaseException,), {})      # what a panic of Rust looks like
NO_MEMORY = PanicException("PyObject pointer is null")


def opened(path):
    with model_file.open_regular(path) as file:
        return file.read()


def python(script, *args):
    """What a script prints, in a fresh process that has `read_model` and `write_model`."""
    start = f"import sys; sys.path.insert(0, {str(SOURCES)!r}); import numpy as np, model_file\n"
    run = subprocess.run([sys.executable, "-c", start + textwrap.dedent(script), *map(str, args)],
                         capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


TEMPORARY = ".model.fastnn-tmp"      # beside a file of the name "model", while that is saved


def old_file(folder):
    """A folder with a model in it that others may not read, and that model's bytes."""
    folder.mkdir()
    write_model(folder / "model", description(), tensors())
    (folder / "model").chmod(0o600)
    return (folder / "model").read_bytes()


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def a_socket(path, victim):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))      # of at most 107 bytes


NEW = {"name": "new"}, {"w": np.arange(5.0)}
