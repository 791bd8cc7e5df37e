"""Stands in for safetensors' compiled half on a Python for which there is none: the same bytes, the same refusals.

tools/environment.sh puts it into an environment as safetensors/_safetensors_rust.py, beside safetensors' own Python
half. It is for tests alone: what it proves of files is NOT TESTED with the library that users have.
"""

import ctypes
import json
import math
from dataclasses import dataclass

import numpy as np

__version__ = "0.8.0"
DTYPES = {      # in the order of the file, from its end
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "uint16": "U16", "float16": "F16", "int32": "I32",
    "uint32": "U32", "float32": "F32", "complex64": "C64", "float64": "F64", "int64": "I64", "uint64": "U64"}
NUMPY = {code: np.dtype(name) for name, code in DTYPES.items()}


class SafetensorError(Exception):
    pass


@dataclass
class TensorSpec:
    dtype: str
    shape: tuple[int, ...]
    data_ptr: int
    data_len: int


def serialize(specs, metadata=None):
    order = list(DTYPES)
    specs = sorted(specs.items(), key=lambda item: (-order.index(item[1].dtype), item[0]))
    header, stop = {"__metadata__": metadata} if metadata else {}, 0
    for name, spec in specs:
        start, stop = stop, stop + spec.data_len
        header[name] = {"dtype": DTYPES[spec.dtype], "shape": list(spec.shape), "data_offsets": [start, stop]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text,
                     *(ctypes.string_at(spec.data_ptr, spec.data_len) for _, spec in specs)])


def serialize_file(specs, filename, metadata=None):
    with open(filename, "wb") as file:
        file.write(serialize(specs, metadata))


def unique(pairs):
    """The object of these pairs in JSON, which must not name a key twice."""
    if len(dict(pairs)) < len(pairs):
        raise SafetensorError("invalid JSON in header: duplicate key")
    return dict(pairs)


def parse(data):
    """The metadata and (name, dtype, shape, bytes) of each tensor; its parts must follow each other without a gap."""
    data = memoryview(data)
    start = 8 + int.from_bytes(data[:8], "little")
    if len(data) < 8 or start > len(data) or start > 100_000_008:
        raise SafetensorError("invalid header length")
    try:
        header = json.loads(str(data[8:start], "utf-8"), object_pairs_hook=unique)
        metadata = header.pop("__metadata__", None)
        if metadata is not None and not all(isinstance(value, str) for value in metadata.values()):
            raise SafetensorError("metadata that is no text")
        tensors, stop = [], 0
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            (first, last), shape, dtype = entry["data_offsets"], entry["shape"], NUMPY[entry["dtype"]]
            if set(entry) != {"dtype", "shape", "data_offsets"} or not all(
                    type(size) is int and 0 <= size < 2**64 for size in (first, last, *shape)):
                raise SafetensorError(f"{name}: no tensor")
            if math.prod(shape) * dtype.itemsize >= 2**64:
                raise SafetensorError(f"{name}: overflow computing its size")
            if first != stop or last - first != math.prod(shape) * dtype.itemsize:
                raise SafetensorError(f"{name}: invalid offset")
            stop = last
            tensors.append((name, entry["dtype"], shape, data[start + first:start + last]))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise SafetensorError(f"invalid header: {error}") from error
    if start + stop != len(data):
        raise SafetensorError("incomplete metadata, or bytes that belong to no tensor")
    return metadata, tensors


def deserialize(data):
    return [(name, {"dtype": dtype, "shape": shape, "data": bytearray(content)})
            for name, dtype, shape, content in parse(data)[1]]


class safe_open:
    def __init__(self, filename, framework, device="cpu", backend="mmap"):
        with open(filename, "rb") as file:
            self.parsed = parse(file.read())

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def metadata(self):
        return self.parsed[0]

    def get_tensors(self):
        return {name: np.frombuffer(content, NUMPY[dtype]).reshape(shape)
                for name, dtype, shape, content in self.parsed[1]}


_safe_open_handle = None        # safetensors imports the name, and fastnn never calls it
