"""One file that holds a description and named arrays: written wholly or not at all, read exactly or refused.

The file is a safetensors file, so that other tools can read the arrays. Its metadata has one key,
"fastnn", whose text is JSON: the format's version, the description and a checksum of everything.
The same content makes the same bytes. Nothing in a file is ever run, and reading opens no other.

Nothing here knows networks: what a description says, and which arrays it needs, is the caller's.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import safetensors.numpy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .._types import Array, Path

FORMAT_VERSION = 1

# What a header may hold. A parser takes up to 50 times the memory of its text, and recurses as deep as that is nested.
LARGEST_HEADER = 2**22      # bytes of names, shapes and description
MOST_LAYERS = 10_000        # of a network: whatever their sizes, they and half a megabyte of metadata fit into a header
MOST_ARRAYS = 21_000
MOST_HEADER_VALUES = 16 * MOST_ARRAYS       # keys and values, as `_check_json` counts them: 12 for a matrix
LARGEST_TEXT = 2**20        # characters of the description and of what stands beside it, as JSON
MOST_VALUES = 2**16         # keys and values that these hold, about
DEEPEST = 100               # lists and dictionaries within each other
TOO_DEEP = f"lists and dictionaries nested more than {DEEPEST} deep, which a file cannot hold"

# In the order in which safetensors writes them: the largest first, so that all are aligned. As text: NumPy calls equal
# dtypes unequal where it finds no memory to compare them.
CODES = {"<i8": "I64", "<f8": "F64", "<f4": "F32", "<i4": "I32"}

OPENING = '{"__metadata__":{"fastnn":"'
LAST_OFFSET = re.compile(r",(\d{1,20})\]\}\} *$")
TOKENS = re.compile(r'"[^"]*"|[][{},:]')
DECODER = json.JSONDecoder()

# What parsing raises at malformed bytes. Anything else, such as MemoryError, is not the file's fault.
MALFORMED: tuple[type[Exception], ...] = (
    ValueError, TypeError, LookupError, AttributeError, OverflowError, safetensors.SafetensorError)

# Flags that open no link, wait for no device, and leave what is in a file: another process may be writing it.
AS_IT_IS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
TO_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

# Errors of a system that cannot sync a folder, or does not let this user.
NO_SYNC = {errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF,
           errno.EISDIR}

KINDS = {stat.S_IFREG: "a file with several names", stat.S_IFDIR: "a directory", stat.S_IFLNK: "a symbolic link",
         stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}

AGAIN = "copy or download it again"
UNPACK = "unpack it, and load the file in it"
SIGNATURES = [(re.compile(start, re.DOTALL | re.IGNORECASE), what) for start, what in [
    (rb"version https://(git-lfs|hawser)\.", "a Git LFS pointer, which stands for the file: run `git lfs pull`"),
    (rb"(\xef\xbb\xbf)?\s*<", "an HTML or XML page, which a server sends in place of a file: download the file itself"),
    (rb"PK\x03\x04.*\.pkl", "a PyTorch file (a zip archive): load it with torch, and pass its layers to "
                             "fastnn.interchange.from_torch"),
    (rb"PK\x03\x04.*\.npy", "a NumPy archive (.npz): read it with numpy.load"),
    (rb"PK\x03\x04.*(metadata|config)\.json", "a Keras file (a zip archive): load it with Keras, and pass its "
                                             "configuration and weights to fastnn.interchange.from_keras"),
    (rb"PK(\x03\x04|\x05\x06|\x07\x08)", f"a zip archive: {UNPACK}"),
    (rb"\x1f\x8b", f"a file compressed by gzip: {UNPACK}"),
    (rb"BZh[1-9]", f"a file compressed by bzip2: {UNPACK}"),
    (rb"\xfd7zXZ\x00", f"a file compressed by xz: {UNPACK}"),
    (rb"\x28\xb5\x2f\xfd", f"a file compressed by zstd: {UNPACK}"),
    (rb"7z\xbc\xaf\x27\x1c", f"a 7-Zip archive: {UNPACK}"),
    (rb".{257}ustar", f"a tar archive: {UNPACK}"),
    (rb"\x78[\x01\x5e\x9c\xda].{,20}[\x80-\xff]", "a file compressed by zlib, such as joblib writes: load it with "
                                              "joblib, if you trust who made it, and save the network with "
                                              "Network.save"),
    (rb"\x89HDF\r\n\x1a\n", "an HDF5 file, such as Keras writes: load it with Keras, and pass its configuration and "
                           "weights to fastnn.interchange.from_keras"),
    (rb"\x80\x02\x8a\x0al\xfc\x9cF\xf9", "a PyTorch file (a pickle): load it with torch, and pass its layers to "
                                        "fastnn.interchange.from_torch"),
    (rb"\x80[\x02-\x05]", "a pickle: load it with pickle, if you trust who made it, and save the network with "
                          "Network.save"),
    (rb"\x93NUMPY", "a NumPy array (.npy): read it with numpy.load"),
    (rb"\x08[\x01-\x20][\x12\x1a\x22\x28\x32\x3a\x42]", "an ONNX model: read it with fastnn.interchange.from_onnx"),
    (rb"\x00{8}", f"a file of zeros, which a crash or a full disk leaves: {AGAIN}"),
]]
START = 512         # bytes that tell what a file is


class FormatError(ValueError):
    """A file that is not a valid model file."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))        # it may quote the file


def printable(text: str) -> str:
    """Text from a file, for a terminal or a sentence: control characters, marks of direction and the like escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def write_model(path: Path, description: dict[str, Any], tensors: Mapping[str, Array]) -> None:
    """Saves a dict that JSON can express, and a dict of arrays, as the file path.

    Whatever happens, path is afterwards what it was before or the new file. A symbolic link stays, and
    what it points to is replaced. A second save of the same file, from any process, waits for the first.
    The new file has the mode of the old one. A description that a file cannot hold is a TypeError or
    ValueError, and what is there and no regular file an OSError, before the disk is touched.
    """
    label, header, arrays = checked(description, tensors)
    # Twice the file, in Rust and then as bytes: where there is no memory for that, Rust would end the process.
    np.empty(2 * (len(header) + sum(array.nbytes for array in arrays.values())), np.uint8)
    data = _by_rust(safetensors.numpy.save, arrays, {"fastnn": label})
    if not data.startswith(header):
        raise RuntimeError(f"safetensors {safetensors.__version__} writes another header than fastnn reads: install an "
                           "older version, such as 0.8.0")
    replace_file(path, data)


def checked(description: dict[str, Any], tensors: Mapping[str, Array],
            spare: int = 0) -> tuple[str, bytes, dict[str, Array]]:
    """What a file of these holds: the metadata, all that stands before the arrays, and the arrays as they will lie.

    TypeError or ValueError for what a file cannot hold, or `read_model` would refuse; or could not hold if the
    description were longer by `spare` bytes.
    """
    check_depth(description)
    description = json.loads(_to_json(description))     # as it will be read: a tuple is a list, a key a string
    arrays = {name: np.asarray(a, a.dtype.newbyteorder("<"), order="C") for name, a in tensors.items()}
    label = _to_json(_content(description, arrays))
    _check_label(label, spare)
    header = _header(label, arrays, spare)
    _check_json(header[8:].decode())
    return label, header, arrays


def read_model(path: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """Returns the description and the arrays that `write_model` saved as path; or raises FormatError or OSError.

    The header is checked before the arrays are read. Of the bytes that were read nothing stays but the arrays' copies.
    """
    path = os.fspath(path)
    with open_regular(path) as file:
        with _expecting(path, "a safetensors file"):
            size = os.fstat(file.fileno()).st_size
            start = 8 + _check_start(file.read(START), size)
            file.seek(0)
            head = file.read(start)
            text = head[8:].decode()
        content = _label_content(path, text)

        end = start + int(last[1] if (last := LAST_OFFSET.search(text)) else 0)
        with _expecting(path, f"{end} bytes"):
            if size != end:
                raise ValueError(f"{size} bytes: {'it was cut short' if size < end else 'more'}; {AGAIN}")
            data = head + file.read(end - start)        # what was checked, though the file may have changed
            if len(data) != end:
                raise ValueError(f"{len(data)} bytes: it has become shorter meanwhile")

    with _expecting(path, "arrays"):
        tensors = dict(sorted(_by_rust(safetensors.numpy.load, data).items()))
        del data, text
        right = _content(content.get("description"), tensors)
        checksum = right["checksum"]
    with _expecting(path, f"checksum {checksum}"):
        if content.get("checksum") != checksum:
            raise ValueError(f"checksum {content.get('checksum')!r:.80}; {AGAIN}")
    with _expecting(path, "JSON exactly as fastnn writes it"):     # so no key is there twice, and no bit is free
        if head != _header(_to_json(right), tensors):
            raise ValueError("another spelling of the same content")
    return right["description"], tensors


@contextmanager
def _expecting(path: str, expected: str) -> Iterator[None]:
    """Within it, whatever shows that a file is no model becomes a FormatError that says what was expected."""
    try:
        yield
    except MALFORMED as error:
        raise FormatError(f"{path} cannot be read as a model: expected {expected}, but got: {error}") from error


def _label_content(path: str, text: str) -> dict[str, Any]:
    """What a header's text says of the file beside the arrays: its format version, checksum and description."""
    with _expecting(path, "metadata of fastnn"):
        if not text.startswith(OPENING):
            raise ValueError("a safetensors file of something else; load reads what Network.save wrote")
        _check_json(text)
        label, _ = DECODER.raw_decode(text, len(OPENING) - 1)
        _check_label(label)
        content: dict[str, Any] = json.loads(label)
    with _expecting(path, f"format version {FORMAT_VERSION} at most"):      # first: a newer one may change what follows
        version = content.get("format_version")
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise ValueError(f"format version {version}; upgrade fastnn")
    return content


def _check_start(start: bytes, size: int) -> int:
    """The size of the header of a file that begins like this, if it can have one; else ValueError says what it is."""
    header_size = int.from_bytes(start[:8], "little")
    if 0 < header_size <= LARGEST_HEADER and 8 + header_size <= size:
        return header_size
    if not start:
        raise ValueError(f"an empty file; {AGAIN}")
    for signature, what in SIGNATURES:
        if signature.match(start):
            raise ValueError(what)
    if size < 8:
        raise ValueError(f"a file of {size} bytes: it was cut short; {AGAIN}")
    if header_size <= LARGEST_HEADER:
        raise ValueError(f"the first {size} bytes of more than {8 + header_size}: it was cut short; {AGAIN}")
    text = " ".join(start.decode(errors="replace").split())[:60]
    if text.isprintable() and "\ufffd" not in text:
        raise ValueError(f"a text that begins with {text!r}")
    raise ValueError(f"a damaged file, or one of another kind: it begins with {start[:8]!r}, which would be a header "
                     f"of {header_size} bytes, more than {LARGEST_HEADER}")


def _by_rust(function: Callable[..., Any], *arguments: object) -> Any:
    """What a function of safetensors returns; a panic of Rust, which is no Exception, becomes one."""
    try:
        return function(*arguments)
    except BaseException as error:
        if type(error).__name__ != "PanicException":        # its class has no public name
            raise
        if "PyObject pointer is null" in str(error):
            raise MemoryError("no memory for the arrays of a model file") from None
        raise ValueError(f"safetensors failed: {error}") from error


def _header(label: str, arrays: Mapping[str, Array], spare: int = 0) -> bytes:
    """All that stands before the arrays in a file of this metadata, as safetensors writes it; ValueError if that is too
    much, or would be if the metadata were longer by `spare` bytes."""
    if "__metadata__" in arrays:
        raise ValueError("'__metadata__' cannot be the name of an array")
    order, place = list(CODES), 0
    entries: dict[str, Any] = {"__metadata__": {"fastnn": label}}
    for name, array in sorted(arrays.items(), key=lambda item: (order.index(item[1].dtype.str), item[0])):
        offsets = [place, place := place + array.nbytes]
        entries[name] = {"dtype": CODES[array.dtype.str], "shape": array.shape, "data_offsets": offsets}
    header = _to_json(entries, sort_keys=False, ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    if len(header) > LARGEST_HEADER - 2 * spare or len(arrays) > MOST_ARRAYS:
        raise ValueError(f"the description and the names of {len(arrays)} arrays take {len(header)} bytes, but must "
                         f"fit in {LARGEST_HEADER}, and there can be {MOST_ARRAYS} arrays")
    return len(header).to_bytes(8, "little") + header


def _content(description: object, arrays: Mapping[str, Array]) -> dict[str, Any]:
    """The metadata: the checksum covers the rest of it, and each array's name, dtype, shape and bytes.

    The first part of what is hashed is JSON, which tells its own end and how many bytes follow for which array.
    """
    if not isinstance(description, dict):
        raise TypeError(f"description is a {type(description).__name__}, but must be a dict")
    for name, array in arrays.items():
        if array.dtype.str not in CODES:
            raise TypeError(f"{name} has dtype {array.dtype}, but a file holds float32, float64, int32 and int64")
    content = {"format_version": FORMAT_VERSION, "description": description}
    arrays = dict(sorted(arrays.items()))
    shapes = [(name, array.dtype.name, array.shape) for name, array in arrays.items()]
    digest = hashlib.sha256(_to_json([content, shapes]).encode())
    for array in arrays.values():
        digest.update(array.reshape(-1).data)
    return content | {"checksum": f"sha256:{digest.hexdigest()}"}


def _to_json(value: object, sort_keys: bool = True, ensure_ascii: bool = True) -> str:
    return json.dumps(
        value, sort_keys=sort_keys, ensure_ascii=ensure_ascii, separators=(",", ":"), allow_nan=False)


def _check_label(text: str, spare: int = 0) -> None:
    """Refuses metadata that are too large, or would be if they were longer by `spare` bytes."""
    if len(text) > LARGEST_TEXT - spare:
        raise ValueError(f"the description and the metadata take {len(text)} bytes, but must fit in {LARGEST_TEXT}")
    _check_json(text, MOST_VALUES - spare // 8,
                f"the description and the metadata hold too many values, more than {MOST_VALUES}; keep numbers as "
                "lists of floats, which a file holds as arrays, or in a file of their own")


def _check_json(text: str, most: int = MOST_HEADER_VALUES,
                too_many: str = f"a header of too many values, more than {MOST_HEADER_VALUES}") -> None:
    """Refuses JSON that takes a parser too much memory or too deep a recursion, before one sees it."""
    depth = values = 0
    for token in TOKENS.finditer(text.replace("\\\\", "").replace('\\"', "")):      # strings without escapes
        depth += (token[0] in "[{") - (token[0] in "]}")
        values += token[0] in "[{,:"
        if depth > DEEPEST:
            raise ValueError(TOO_DEEP)
        if values > most:
            raise ValueError(too_many)


def check_depth(value: object) -> None:
    """Refuses lists and dictionaries that are nested too deep for a file, or hold themselves: ValueError."""
    level = {id(value): value}
    for _ in range(DEEPEST + 1):
        within = (inner for outer in level.values() if isinstance(outer, dict | list | tuple)
                  for inner in (outer.values() if isinstance(outer, dict) else outer))
        level = {id(inner): inner for inner in within if isinstance(inner, dict | list | tuple)}
        if not level:
            return
    raise ValueError(TOO_DEEP)


def open_regular(path: Path) -> BinaryIO:
    """A regular file, or one that a link leads to, opened for reading; OSError for anything else, such as a pipe or a
    device, without waiting for it."""
    path = os.fspath(path)
    _check_readable(path, os.stat(path))        # first: to open a device may do something
    file = open(path, "rb", opener=lambda name, _: os.open(name, TO_READ))      # noqa: SIM115
    try:
        _check_readable(path, os.fstat(file.fileno()))      # something else may have come after the first look
    except BaseException:
        file.close()
        raise
    return file


def _check_readable(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        error = IsADirectoryError if stat.S_ISDIR(status.st_mode) else OSError
        raise error(f"{path} is {_kind(status)}, but must be a regular file: pass the path of one")


def replace_file(path: Path, data: bytes) -> None:
    """Makes data the content of the file path, in one step, and returns when it is on the disk.

    A symbolic link stays, and what it points to is replaced. The new file has the mode of the old one. OSError
    for what is there and no regular file, before anything is written. A folder that cannot be synced is no error:
    then the system alone decides when the new name is on the disk.
    """
    target, temporary, old = _places(path)
    with _synced(os.path.dirname(target)), _open_alone(temporary) as file:
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


def check_target(path: Path) -> None:
    """Raises the OSError that saving a file as path would raise, as far as that can be known before."""
    target, temporary, _ = _places(path)
    with _synced(os.path.dirname(target)), _open_alone(temporary):
        os.unlink(temporary)


def _places(path: Path) -> tuple[str, str, os.stat_result | None]:
    """The file that a save as path replaces, the one that it writes, and the status of the former, if it is there."""
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    old = None
    with suppress(FileNotFoundError):
        old = os.stat(target)
        _check_regular(target, old, "save under another name")
    # Always the same name, so that a save clears away what a killed one has left.
    return target, os.path.join(folder, f".{name}.fastnn-tmp"), old


@contextmanager
def _synced(folder: str) -> Iterator[None]:
    """Within it names in the folder change; when it ends well they are on the disk, where folders can be synced."""
    opened = None
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)    # first: what fails here has changed nothing
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
    try:
        yield
        if opened is not None:
            _sync(opened)
    finally:
        if opened is not None:
            os.close(opened)


def _sync(folder: int) -> None:
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in NO_SYNC:      # the disk failed, or is full: the new name may be lost
            raise


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
        file.close()                    # another save has renamed or removed it meanwhile: look again


def _check_regular(path: str, status: os.stat_result, advice: str, alone: bool = False) -> None:
    """Refuses what is no regular file; with alone, one that has other names, too."""
    if stat.S_ISREG(status.st_mode) and not (alone and status.st_nlink > 1):
        return
    error = IsADirectoryError if stat.S_ISDIR(status.st_mode) else FileExistsError
    raise error(f"{path} is {_kind(status)}, but must be a regular file or absent: {advice}")


def _kind(status: os.stat_result) -> str:
    return KINDS.get(stat.S_IFMT(status.st_mode), "a device")


def _set_mode(file: BinaryIO, mode: int) -> None:
    if mode != stat.S_IMODE(os.fstat(file.fileno()).st_mode):      # some file systems refuse even what changes nothing
        os.fchmod(file.fileno(), mode)
