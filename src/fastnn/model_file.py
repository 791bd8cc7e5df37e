"""One file that holds a description and named arrays: written wholly or not at all, read exactly or refused.

The file is a safetensors file, so that other tools can read the arrays. Its metadata has one key,
"fastnn", whose text is JSON: the format's version, the description and a checksum of everything.
The same content makes the same bytes. Nothing in a file is ever run, and reading opens no other.

Nothing here knows networks: what a description says, and which arrays it needs, is the caller's.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import safetensors.numpy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._types import Array, Path

FORMAT_VERSION = 1
LARGEST_HEADER = 2**19      # bytes of names, shapes and description: a parser makes up to 50 times as much of them

# What parsers raise at malformed bytes. Anything else, such as MemoryError, is not the file's fault.
MALFORMED: tuple[type[Exception], ...] = (
    ValueError, TypeError, LookupError, AttributeError, RecursionError, safetensors.SafetensorError)

# Opens no link, waits for no device, and leaves what is in a file: another may be writing it.
AS_IT_IS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK

KINDS = {stat.S_IFREG: "a file with several names", stat.S_IFDIR: "a directory", stat.S_IFLNK: "a symbolic link",
         stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


class FormatError(ValueError):
    """A file that is not a valid model file."""


def write_model(path: Path, description: dict[str, Any], tensors: Mapping[str, Array]) -> None:
    """Saves a dict that JSON can express, and a dict of arrays, as the file path.

    Whatever happens, path is afterwards what it was before or the new file. A symbolic link stays, and
    what it points to is replaced. A second save of the same file, from any process, waits for the first.
    The new file has the mode of the old one. A description that a file cannot hold is a TypeError or
    ValueError, and what is there and no regular file an OSError, before the disk is touched.
    """
    description = json.loads(_to_json(description))     # as it will be read: a tuple is a list, a key a string
    arrays = {name: np.asarray(a, a.dtype.newbyteorder("<"), order="C") for name, a in tensors.items()}
    metadata = {"fastnn": _to_json(_content(description, arrays))}
    try:
        data = safetensors.numpy.save(arrays, metadata)
    except BaseException as error:
        _check_memory(path, error)
        raise
    if (size := int.from_bytes(data[:8], "little")) > LARGEST_HEADER:
        raise ValueError(
            f"the description and the arrays' names take {size} bytes, but must fit in {LARGEST_HEADER}")
    replace_file(path, data)


def read_model(path: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """Returns the description and the arrays that write_model saved as path; or raises FormatError or OSError."""
    path = os.fspath(path)
    with open(path, "rb") as file:
        data = file.read()      # once: what is checked is what is returned
    expected = "a safetensors file"
    try:
        if (size := int.from_bytes(data[:8], "little")) > LARGEST_HEADER:
            raise ValueError(f"a header of {size} bytes, more than {LARGEST_HEADER}")
        text = data[8:8 + size].decode()
        header = json.loads(text)

        expected = "metadata of fastnn"
        metadata = header.get("__metadata__")
        if not isinstance(metadata, dict) or "fastnn" not in metadata:
            raise ValueError("a safetensors file of something else")
        content = json.loads(metadata["fastnn"])

        expected = f"format version {FORMAT_VERSION} at most"     # first: a newer one may change all that follows
        version = content.get("format_version")
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise ValueError(f"format version {version}; upgrade fastnn")

        expected = "arrays"
        tensors = dict(sorted(safetensors.numpy.load(data).items()))
        right = _content(content.get("description"), tensors)
        expected = f"checksum {right['checksum']}"
        if content.get("checksum") != right["checksum"]:
            raise ValueError(f"checksum {content.get('checksum')!s:.80}")

        expected = "JSON exactly as fastnn writes it"       # so no key is there twice, and no bit is free
        canonical = {"__metadata__": {"fastnn": _to_json(right)}}
        if text.rstrip(" ") != _to_json(header | canonical, sort_keys=False, ensure_ascii=False):
            raise ValueError("another spelling of the same content")
        return right["description"], tensors
    except BaseException as error:
        _check_memory(path, error)
        # A panic of Rust is no Exception, and its class has no public name.
        if not isinstance(error, MALFORMED) and type(error).__name__ != "PanicException":
            raise
        raise FormatError(f"{path} cannot be read as a model: expected {expected}, but got: {error}") from error


def _check_memory(path: Path, error: BaseException) -> None:
    """Raises MemoryError for the panic that safetensors makes of one."""
    if type(error).__name__ == "PanicException" and "PyObject pointer is null" in str(error):
        raise MemoryError(f"no memory for the model in {os.fspath(path)!r}") from None


def _content(description: object, arrays: Mapping[str, Array]) -> dict[str, Any]:
    """The metadata: the checksum covers the rest of it, and each array's name, dtype, shape and bytes.

    The first part of what is hashed is JSON, which tells its own end and how many bytes follow for which array.
    """
    if not isinstance(description, dict):
        raise TypeError(f"description is a {type(description).__name__}, but must be a dict")
    content = {"format_version": FORMAT_VERSION, "description": description}
    arrays = dict(sorted(arrays.items()))
    kinds = [(name, array.dtype.name, array.shape) for name, array in arrays.items()]
    digest = hashlib.sha256(_to_json([content, kinds]).encode())
    for array in arrays.values():
        digest.update(array.reshape(-1).data)
    return content | {"checksum": f"sha256:{digest.hexdigest()}"}


def _to_json(value: object, sort_keys: bool = True, ensure_ascii: bool = True) -> str:
    return json.dumps(
        value, sort_keys=sort_keys, ensure_ascii=ensure_ascii, separators=(",", ":"), allow_nan=False)


def replace_file(path: Path, data: bytes) -> None:
    """Makes data the content of the file path, in one step, and returns when it is on the disk.

    A symbolic link stays, and what it points to is replaced. The new file has the mode of the old one. OSError
    for what is there and no regular file, before anything is written.
    """
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name}.fastnn-tmp")     # the same each time, to clear away a killed save's
    old = None
    with suppress(FileNotFoundError):
        old = os.stat(target)
        _check_regular(target, old, "save under another name")
    with _open_alone(temporary) as file:
        try:
            file.truncate(0)
            mode = stat.S_IMODE((old or os.fstat(file.fileno())).st_mode)
            _set_mode(file, mode | stat.S_IWUSR)    # before the data, which may be secret; a next save must open it
            file.write(data)
            file.flush()
            os.fsync(file.fileno())     # before the new name: else a crash could leave it with half the data
            os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        _set_mode(file, mode)
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _open_alone(name: str) -> BinaryIO:
    """The file of that name, opened for writing when nobody else has it; a regular file of one name, or OSError."""
    advice = "remove it, and save again"
    while True:
        with suppress(FileNotFoundError):
            _check_regular(name, os.lstat(name), advice, alone=True)
        file = open(name, "wb", opener=lambda name, _: os.open(name, AS_IT_IS, 0o666))      # noqa: SIM115
        try:
            _check_regular(name, os.fstat(file.fileno()), advice, alone=True)   # it may have come after the first look
            with suppress(OSError):     # without locks, as on some network drives, saves must be kept apart
                fcntl.flock(file, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samefile(name, file.fileno()):
                    return file
        except BaseException:
            file.close()                # or the lock would stay as long as somebody keeps the error
            raise
        file.close()                    # the other has renamed or removed it meanwhile


def _check_regular(path: str, status: os.stat_result, advice: str, alone: bool = False) -> None:
    """Refuses what is no regular file; with alone, one that has other names, too."""
    if stat.S_ISREG(status.st_mode) and not (alone and status.st_nlink > 1):
        return
    kind = KINDS.get(stat.S_IFMT(status.st_mode), "a device")
    error = IsADirectoryError if stat.S_ISDIR(status.st_mode) else FileExistsError
    raise error(f"{path} is {kind}, but must be a regular file or absent: {advice}")


def _set_mode(file: BinaryIO, mode: int) -> None:
    if mode != stat.S_IMODE(os.fstat(file.fileno()).st_mode):      # some file systems refuse even what changes nothing
        os.fchmod(file.fileno(), mode)
