"""An ONNX file as a simplified graph, which `onnx_reader` reads. This module knows no layers.

Only regular files are opened. Weights may be in other files within the model's folder; a path that leads out of it is
refused. Nodes whose inputs are constants are evaluated, and nodes on which the output does not depend are left out. No
code from the file is run.
"""

from __future__ import annotations

import math
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..storage.model_file import FormatError
from .onnx_operators import DTYPES, OPERATORS

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._types import Array, Path

STANDARD = ("", "ai.onnx")      # the names of ONNX's own domain
OLDEST, NEWEST = 7, 28          # opsets whose operators are understood; before 7, Add and Gemm broadcast in another way
SMALL = 64                      # elements of a constant that shapes may depend on


class Node(NamedTuple):
    """A node: its name in errors, its operator, its inputs and output, its attributes with their defaults."""

    where: str
    operator: str               # after its domain and a dot, if that is not ONNX's own
    inputs: tuple[str, ...]     # "" for an input that is left out
    output: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Value:
    """An input or output of the graph as the file declares it; None is a size that the file leaves open."""

    name: str
    dtype: int                  # TensorProto.DataType
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        sizes = ", ".join("n" if size is None else str(size) for size in self.shape)
        return f"{self.name!r} with the shape ({sizes})"


@dataclass(frozen=True)
class Graph:
    """A graph with one input and one output: the nodes that depend on the input, in order, and constants."""

    input: Value
    output: Value
    nodes: list[Node]
    constants: dict[str, Array]
    skeleton: Any               # the ModelProto without the weights


def read_graph(onnx: Any, path: Path, supported: str) -> Graph:
    """The graph in a file; FormatError where it is no ONNX file, ValueError where it cannot be a Graph."""
    from google.protobuf.message import DecodeError  # which ONNX is built on
    name = os.fsdecode(path)
    data = read_file(name)
    try:
        model = onnx.load_model_from_string(data)
        check_versions(onnx, model)
        for node in model.graph.node:
            for attribute in node.attribute:
                load(onnx, attribute.t, os.path.dirname(name))
        skeleton = without_weights(onnx, model)
        onnx.checker.check_model(skeleton)
        return simplified(onnx, model, skeleton, os.path.dirname(name), supported)
    except (DecodeError, UnicodeDecodeError, onnx.checker.ValidationError, FormatError) as error:
        raise FormatError(f"{name} is not a valid ONNX file: {' '.join(str(error).split())}") from None


def check_shapes(onnx: Any, graph: Graph) -> None:
    """Refuses a file whose shapes and types contradict each other, by ONNX's own rules."""
    try:
        onnx.shape_inference.infer_shapes(graph.skeleton, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, UnicodeDecodeError) as error:
        raise ValueError(f"the shapes or types in the file contradict each other: {' '.join(str(error).split())}"
                         ) from None


def read_file(name: str, start: int = 0, length: int | None = None) -> bytes:
    """The bytes of a regular file, or a part of them; FormatError for a pipe, a device, a file that is too short."""
    with open(os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        status = os.fstat(file.fileno())
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(f"{name} is a directory, but must be a file")
        if not stat.S_ISREG(status.st_mode):
            raise FormatError(f"{name} is a pipe or a device, but must be a regular file")
        length = status.st_size - start if length is None else length
        if start + length > status.st_size:
            raise FormatError(f"{name} has {status.st_size} bytes, but a tensor needs those from {start} to "
                              f"{start + length}")
        file.seek(start)
        return file.read(length)


def check_versions(onnx: Any, model: Any) -> None:
    """Refuses opsets in which operators may mean something else, functions of the file's own, and sparse tensors."""
    newest = min(NEWEST, onnx.defs.onnx_opset_version())
    for opset in model.opset_import:
        if opset.domain in STANDARD and not OLDEST <= opset.version <= newest:
            cure = "upgrade onnx" if newest < opset.version <= NEWEST else (
                "export the model again for one of these, or convert it with onnx.version_converter")
            raise ValueError(f"the file is of opset {opset.version}, but opsets {OLDEST} to {newest} are understood: "
                             f"{cure}")
    if model.functions:
        raise ValueError("the file defines operators of its own, which are not read; write them out with "
                         "inline_local_functions of onnx.inliner")
    if model.graph.sparse_initializer:
        raise ValueError(f"the tensor {model.graph.sparse_initializer[0].values.name!r} is sparse, but only dense ones "
                         "are read")


def without_weights(onnx: Any, model: Any) -> Any:
    """The model with inputs in place of all but small constants: so it can be checked without copying the weights."""
    result = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    graph = result.graph
    graph.name = model.graph.name
    for part in ("node", "input", "output", "value_info"):
        getattr(graph, part).extend(getattr(model.graph, part))
    inputs = {value.name for value in graph.input}
    for tensor in model.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL and size_of(tensor) <= SMALL:
            graph.initializer.append(tensor)
        elif tensor.name not in inputs:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return result


def simplified(onnx: Any, model: Any, skeleton: Any, folder: str, supported: str) -> Graph:
    """The nodes on which the output depends, with constants evaluated. The skeleton loses all other nodes."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    inputs, outputs = [value for value in model.graph.input if value.name not in tensors], model.graph.output
    if len(inputs) != 1 or len(outputs) != 1:
        reads, gives = ([value.name for value in values] for values in (inputs, outputs))
        raise ValueError(f"the graph has the inputs {reads} and the outputs {gives}, but {supported}, with one of "
                         f"each: onnx.utils.extract_model(path, new_path, {reads[:1]}, {gives[-1:]}) writes one")
    opsets = {"" if opset.domain in STANDARD else opset.domain: opset.version for opset in model.opset_import}
    needed = {outputs[0].name}
    live = []
    for index, proto in reversed(list(enumerate(model.graph.node))):
        used = [name for name in proto.output if name in needed]
        if used:
            node = as_node(onnx, index, proto, opsets)
            if used != [proto.output[0]]:
                raise ValueError(f"{node.where} gives {used}: the graph is no chain, and {supported}")
            needed.update(proto.input)
            live.append((proto, node))
    live.reverse()
    del skeleton.graph.node[:]
    skeleton.graph.node.extend(proto for proto, _ in live)
    constants: dict[str, Array] = {}
    for name in needed & tensors.keys():
        load(onnx, tensors[name], folder)
        constants[name] = as_array(onnx, tensors[name])
    nodes = []
    for _, node in live:
        if all(name in constants for name in node.inputs if name):
            constants[node.output] = evaluated(node, [constants.get(name) for name in node.inputs])
        else:
            nodes.append(node)
    return Graph(declared(inputs[0]), declared(outputs[0]), nodes, constants, skeleton)


def declared(value: Any) -> Value:
    """A ValueInfoProto as a Value. A sequence or a map gets the dtype 0 and the shape ()."""
    kind = value.type.tensor_type
    shape = tuple(size.dim_value if size.dim_value > 0 else None for size in kind.shape.dim)     # some write -1
    return Value(value.name, kind.elem_type, shape)


def as_node(onnx: Any, index: int, proto: Any, opsets: dict[str, int]) -> Node:
    """A NodeProto as a Node. Attributes that it leaves out get the defaults of the file's opset."""
    domain = "" if proto.domain in STANDARD else proto.domain
    operator = f"{domain}.{proto.op_type}".lstrip(".")
    try:
        known = onnx.defs.get_schema(proto.op_type, opsets.get(domain, 0), domain).attributes
    except onnx.defs.SchemaError:           # of an operator that ONNX does not define
        known = {}
    given = [attribute.default_value for attribute in known.values() if attribute.default_value.type]
    try:
        settings = {attribute.name: as_setting(onnx, attribute) for attribute in (*given, *proto.attribute)}
    except ValueError as error:
        raise FormatError(f"node {index} {proto.name!r} ({operator}): {error}") from None
    return Node(f"node {index} {proto.name!r} ({operator})", operator, tuple(proto.input), proto.output[0], settings)


def as_setting(onnx: Any, attribute: Any) -> Any:
    """The value of an attribute: a number, text, or an array, for lists of numbers in the dtype of the attribute."""
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.type == onnx.AttributeProto.TENSOR:
        return as_array(onnx, value)
    if attribute.type in (onnx.AttributeProto.FLOATS, onnx.AttributeProto.INTS):
        return np.array(value, np.float32 if attribute.type == onnx.AttributeProto.FLOATS else np.int64)
    return value.decode() if isinstance(value, bytes) else value


def load(onnx: Any, tensor: Any, folder: str) -> None:
    """Reads the data of a tensor from another file in the model's folder. Links must not lead out of it."""
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    root = os.path.realpath(folder)
    cure = "onnx.save(onnx.load(path), path) makes one file of a model"
    if "\0" in location or os.path.isabs(location) or ".." in location.split("/"):
        real = ""
    else:
        real = os.path.realpath(os.path.join(root, location))
    if os.path.commonpath([root, real or "/"]) != root or real == root:
        raise ValueError(f"the tensor {tensor.name!r} lies in {location!r}, but only files in the model's own folder "
                         f"are read; {cure}")
    expected = size_of(tensor) * np.dtype(DTYPES.get(tensor.data_type, "V0")).itemsize
    try:
        start, length = int(entries.get("offset", 0)), int(entries.get("length", expected))
    except ValueError as error:
        raise FormatError(f"the tensor {tensor.name!r}: {error}") from None
    if start < 0 or length != expected:
        raise FormatError(f"the tensor {tensor.name!r} has {length} bytes from {start} of another file, but its shape "
                          f"and type need {expected}")
    try:
        tensor.raw_data = read_file(real, start, length)
    except FileNotFoundError:
        raise FileNotFoundError(f"the tensor {tensor.name!r} lies in the file {location!r}, which is not beside the "
                                f"model; put it there (where both are, {cure})") from None
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]


def size_of(tensor: Any) -> int:
    """The number of elements of a TensorProto."""
    if min(tensor.dims, default=0) < 0:
        raise FormatError(f"the tensor {tensor.name!r} has the shape {tuple(tensor.dims)}")
    return math.prod(tensor.dims)


def as_array(onnx: Any, tensor: Any) -> Array:
    """A TensorProto as an array."""
    try:
        return onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError, LookupError) as error:
        raise FormatError(f"the tensor {tensor.name!r}: {error}") from None


def evaluated(node: Node, inputs: list[Array | None]) -> Array:
    """The output of a node whose inputs are constants. It is never much larger than these."""
    first, *others = inputs or [None]
    if node.operator == "Constant":
        for form, dtype in CONSTANTS.items():
            if form in node.settings:
                return np.asarray(node.settings[form], dtype)
    try:
        if node.operator in RESHAPING and first is not None:
            return RESHAPING[node.operator](node.settings, first, *others)
        if node.operator in JOINING and all(part is not None and part.size <= SMALL for part in inputs):
            return JOINING[node.operator](node.settings, *inputs)
        if node.operator in OPERATORS and first is not None:
            shapes = [part.shape for part in inputs if part is not None]
            if math.prod(np.broadcast_shapes(*shapes)) <= max(map(math.prod, shapes)):
                with np.errstate(all="ignore"):
                    result = np.asarray(OPERATORS[node.operator](node.settings, *inputs))
                floats = [part.dtype for part in inputs if part is not None and part.dtype.kind == "f"]
                keep = result.dtype.kind != "f" or node.operator == "Cast" or not floats
                return result if keep else result.astype(floats[0])
    except (ValueError, TypeError, LookupError) as error:
        raise ValueError(f"{node.where} cannot be evaluated: {error}") from None
    raise ValueError(f"{node.where} makes a constant in a way that is not read; constants may be made by Constant, "
                     f"{', '.join(RESHAPING)}, element-wise operators, and {' and '.join(JOINING)} of shapes")


# {attribute of a Constant that may hold its value: dtype, or None for that of the value}.
CONSTANTS = {"value": None, "value_float": np.float32, "value_floats": np.float32, "value_int": np.int64,
             "value_ints": np.int64}


def reshaped(settings: dict[str, Any], values: Array, shape: Array) -> Array:
    """Reshape: 0 stands for the size as it is, unless allowzero is set."""
    return values.reshape([values.shape[axis] if size == 0 and not settings.get("allowzero") else size
                           for axis, size in enumerate(shape.tolist())])


def squeezed(settings: dict[str, Any], values: Array, axes: Array | None = None) -> Array:
    """Squeeze: the axes were an attribute before opset 13."""
    axes = settings.get("axes") if axes is None else axes
    return values.squeeze(None if axes is None else tuple(axes.tolist()))


def unsqueezed(settings: dict[str, Any], values: Array, axes: Array | None = None) -> Array:
    """Unsqueeze: the axes were an attribute before opset 13."""
    axes = settings["axes"] if axes is None else axes
    return np.expand_dims(values, tuple(axes.tolist()))


RESHAPING: dict[str, Callable[..., Array]] = {
    "Transpose": lambda settings, values: values.transpose(settings.get("perm")),
    "Reshape": reshaped, "Squeeze": squeezed, "Unsqueeze": unsqueezed,
    "Flatten": lambda settings, values: values.reshape(math.prod(values.shape[:settings["axis"]]), -1),
}
JOINING: dict[str, Callable[..., Array]] = {
    "Concat": lambda settings, *parts: np.concatenate(parts, settings["axis"]),
    "Gather": lambda settings, values, places: values.take(places, settings["axis"]),
}
PICKING = (*RESHAPING, *JOINING, "Cast", "Identity")        # operators that choose and join sizes, without arithmetic
