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
import math
import os
import re
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ._types import Array, Path

FORMAT_VERSION = 1

# What a header may hold. A parser makes up to 50 times as much of its text, and recurses as deep as that is nested.
LARGEST_HEADER = 2**22      # bytes of names, shapes and description
MOST_ARRAYS = 21_000
LARGEST_TEXT = 2**20        # characters of the description and of what stands beside it, as JSON
MOST_VALUES = 2**16         # that these hold, more or less
DEEPEST = 100               # lists and dictionaries within each other
TOO_DEEP = f"lists and dictionaries nested more than {DEEPEST} deep, which a file cannot hold"

DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"), "I64": np.dtype("<i8"), "F32": np.dtype("<f4"), "I32": np.dtype("<i4")}
CODES = {dtype: code for code, dtype in DTYPES.items()}
Layout = dict[str, tuple[np.dtype[Any], tuple[int, ...]]]        # dtype and shape of each array

OPENING = '{"__metadata__":{"fastnn":"'
ENTRY = re.compile(r':\{"dtype":"(\w{1,20})","shape":\[([\d,]{0,1000})\],"data_offsets":\[(\d{1,20}),(\d{1,20})\]\}')
TOKENS = re.compile(r'"[^"]*"|[][{},:]')
DECODER = json.JSONDecoder()

# What parsing raises at malformed bytes. Anything else, such as MemoryError, is not the file's fault.
MALFORMED: tuple[type[Exception], ...] = (ValueError, TypeError, LookupError, AttributeError, OverflowError)

# Opens no link, waits for no device, and leaves what is in a file: another may be writing it.
AS_IT_IS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
TO_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

# What a system says that cannot sync a folder, or not for this user.
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
    replace_file(path, *encoded(description, tensors))


def encoded(description: dict[str, Any], tensors: Mapping[str, Array], spare: int = 0) -> list[bytes | memoryview]:
    """What a file of these holds, one piece after the other; the arrays' own memory where their layout fits.

    TypeError or ValueError for what a file cannot hold, or `read_model` would refuse; or could not hold if the
    description were longer by `spare` bytes.
    """
    check_depth(description)
    description = json.loads(_to_json(description))     # as it will be read: a tuple is a list, a key a string
    arrays = {name: np.asarray(a, a.dtype.newbyteorder("<"), order="C") for name, a in tensors.items()}
    wrong = [name for name, array in arrays.items() if array.dtype not in CODES]
    if wrong:
        raise TypeError(f"{wrong[0]} has dtype {arrays[wrong[0]].dtype}, but a file holds float32, float64, int32 and "
                        "int64")
    label = _to_json(_content(description, arrays))
    _check_text(label, spare)
    layout = {name: (array.dtype, array.shape) for name, array in arrays.items()}
    header = _header(label, layout).encode()
    if len(header) > LARGEST_HEADER - 2 * spare or len(arrays) > MOST_ARRAYS:
        raise ValueError(f"the description and the names of {len(arrays)} arrays take {len(header)} bytes, but must "
                         f"fit in {LARGEST_HEADER}, and there can be {MOST_ARRAYS} arrays")
    return [len(header).to_bytes(8, "little"), header, *(arrays[name].reshape(-1).data for name in _ordered(layout))]


def read_model(path: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """Returns the description and the arrays that `write_model` saved as path; or raises FormatError or OSError.

    The header is checked before the arrays are read. The arrays share one block of memory, of their size.
    """
    path = os.fspath(path)
    expected = "a safetensors file"
    with open_regular(path) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            header_size = _check_start(file.read(START), size)
            file.seek(8)
            text = file.read(header_size).decode()

            expected = "metadata of fastnn"
            if not text.startswith(OPENING):
                raise ValueError("a safetensors file of something else; load reads what Network.save wrote")
            if not text.isascii():
                raise ValueError("a header that is not ASCII")
            label, end = DECODER.raw_decode(text, len(OPENING) - 1)
            _check_text(label)
            content = json.loads(label)

            expected = f"format version {FORMAT_VERSION} at most"     # first: a newer one may change all that follows
            version = content.get("format_version")
            if isinstance(version, int) and version > FORMAT_VERSION:
                raise ValueError(f"format version {version}; upgrade fastnn")

            expected = "JSON exactly as fastnn writes it"       # so no key is there twice, and no bit is free
            layout, total = _parsed(text, end)
            if text != _header(label, layout):
                raise ValueError("another spelling of the same content")
            del text

            expected = f"{8 + header_size + total} bytes"
            if size != 8 + header_size + total:
                raise ValueError(f"{size} bytes: {'it was cut short' if size < 8 + header_size + total else 'more'}; "
                                 f"{AGAIN}")
            data = np.empty(total, np.uint8)
            view = data.data        # readinto calls an array without memory for its buffer a wrong kind of argument
            if (count := file.readinto(view)) != total:         # type: ignore[attr-defined]
                raise ValueError(f"{8 + header_size + count} bytes: it has become shorter meanwhile")

            expected = "arrays"
            tensors, place = {}, 0
            for name, (dtype, shape) in layout.items():
                tensors[name] = np.ndarray(shape, dtype, data, place)
                place += tensors[name].nbytes
            tensors = dict(sorted(tensors.items()))
            right = _content(content.get("description"), tensors)
            expected = f"checksum {right['checksum']}"
            if content.get("checksum") != right["checksum"]:
                raise ValueError(f"checksum {content.get('checksum')!r:.80}; {AGAIN}")

            expected = "JSON exactly as fastnn writes it"
            if label != _to_json(right):
                raise ValueError("another spelling of the same content")
            return right["description"], tensors
        except MALFORMED as error:
            raise FormatError(f"{path} cannot be read as a model: expected {expected}, but got: {error}") from error


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


def _parsed(text: str, place: int) -> tuple[Layout, int]:
    """The arrays that a header tells of from this place on, behind the description, and how many bytes they have."""
    if text[place] != "}":
        raise ValueError("further metadata")
    layout: Layout = {}
    total, place = 0, place + 1
    while text.startswith(',"', place):
        name, place = DECODER.raw_decode(text, place + 1)
        entry = ENTRY.match(text, place)
        if entry is None or len(layout) == MOST_ARRAYS:
            raise ValueError(f"{name!r:.80} without its dtype, shape and data_offsets, or as one array too many")
        code, sizes, first, last = entry.groups()
        if code not in DTYPES:
            raise ValueError(f"{name!r:.80} of dtype {code}")
        shape = tuple(int(size) for size in sizes.split(",")) if sizes else ()
        before, total = total, total + math.prod(shape) * DTYPES[code].itemsize
        if (int(first), int(last)) != (before, total):
            raise ValueError(f"{name!r:.80} with data_offsets {first}, {last}, which its shape {sizes:.80} overflows "
                             "or does not fill, or which do not begin where the array before it ends")
        layout[name] = DTYPES[code], shape
        place = entry.end()
    return layout, total


def _header(label: str, layout: Layout) -> str:
    """The header of a file, padded so that the arrays behind it are aligned: ASCII."""
    if "__metadata__" in layout:
        raise ValueError("'__metadata__' cannot be the name of an array")
    entries, total = [f'{{"__metadata__":{{"fastnn":{_to_json(label)}}}'], 0
    for name in _ordered(layout):
        dtype, shape = layout[name]
        before, total = total, total + math.prod(shape) * dtype.itemsize
        entries.append(f'{_to_json(name)}:{{"dtype":"{CODES[dtype]}","shape":[{",".join(map(str, shape))}],'
                       f'"data_offsets":[{before},{total}]}}')
    size = sum(map(len, entries)) + len(entries)
    return ",".join(entries) + "}" + " " * (-size % 8)


def _ordered(layout: Layout) -> list[str]:
    """The arrays' names as a file has them: the largest dtype first, so that all are aligned, then by name."""
    return sorted(layout, key=lambda name: (-layout[name][0].itemsize, name))


def _content(description: object, arrays: Mapping[str, Array]) -> dict[str, Any]:
    """The metadata: the checksum covers the rest of it, and each array's name, dtype, shape and bytes.

    The first part of what is hashed is JSON, which tells its own end and how many bytes follow for which array.
    """
    if not isinstance(description, dict):
        raise TypeError(f"description is a {type(description).__name__}, but must be a dict")
    content = {"format_version": FORMAT_VERSION, "description": description}
    arrays = dict(sorted(arrays.items()))
    shapes = [(name, array.dtype.name, array.shape) for name, array in arrays.items()]
    digest = hashlib.sha256(_to_json([content, shapes]).encode())
    for array in arrays.values():
        digest.update(array.reshape(-1).data)
    return content | {"checksum": f"sha256:{digest.hexdigest()}"}


def _to_json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _check_text(text: str, spare: int = 0) -> None:
    """Refuses JSON that takes a parser too much memory or too deep a recursion, before one sees it.

    With `spare`, what would be so with so many bytes more.
    """
    if len(text) > LARGEST_TEXT - spare:
        raise ValueError(f"the description and the metadata take {len(text)} bytes, but must fit in {LARGEST_TEXT}")
    depth = values = 0
    for token in TOKENS.finditer(text.replace("\\\\", "").replace('\\"', "")):      # strings without escapes
        depth += (token[0] in "[{") - (token[0] in "]}")
        values += token[0] in "[{,:"
        if depth > DEEPEST:
            raise ValueError(TOO_DEEP)
        if values > MOST_VALUES - spare // 8:
            raise ValueError(f"the description and the metadata hold too many values, more than {MOST_VALUES}; keep "
                             "numbers as lists of floats, which a file holds as arrays, or in a file of their own")


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


def read_regular(path: Path) -> bytes:
    """The content of a regular file; OSError for anything else, such as a pipe or a device, without waiting for it."""
    with open_regular(path) as file:
        return file.read()


def open_regular(path: Path) -> BinaryIO:
    """A regular file, or one that a link leads to, opened for reading; OSError for anything else."""
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


def replace_file(path: Path, *pieces: bytes | memoryview) -> None:
    """Makes the pieces together the content of the file path, in one step, and returns when that is on the disk.

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
            file.writelines(pieces)
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
    return target, os.path.join(folder, f".{name}.fastnn-tmp"), old     # one name, to clear away a killed save's


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
        file.close()                    # the other has renamed or removed it meanwhile


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
