"""The file of a saved model: what was written comes back exactly, and nothing else ever does.

Files that are wrong are made by the second encoder in model_files.py.
"""

import hashlib
import json
import os
import random
import re
from contextlib import suppress
from copy import deepcopy
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from model_files import (
    NO_MEMORY,
    PanicException,
    assert_same,
    description,
    encoded,
    framed,
    hostile,
    joined,
    parts,
    python,
    sealed,
    tensors,
    to_json,
    write_bytes,
)
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from fastnn.storage import model_file
from fastnn.storage.model_file import (
    FORMAT_VERSION,
    OPENING,
    FormatError,
    read_model,
    write_model,
)

pytestmark = pytest.mark.any_isa


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


@pytest.mark.parametrize(("data", "words"), [
    pytest.param(data, words, id=name) for name, data, words in hostile()])
def test_hostile_files_get_a_sentence(tmp_path, data, words):
    with pytest.raises(FormatError) as caught:
        read_model(write_bytes(tmp_path / "model", data))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'model'} cannot be read as a model: expected ") and len(message) < 500
    for word in words:
        assert re.search(word, message), f"{word!r} is missing from {message!r}"


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
