"""ONNX: a Network as a file, and a file that holds a chain of dense layers as a Network.

An activation is a list of steps (`Step`): the writer makes nodes of them, the reader looks for
them, and what the writer makes is what the reader knows. They are ONNX's own operators wherever
ONNX Runtime computes these in the network's dtype. In float64 it lacks kernels for LeakyRelu, Elu,
Selu, Softplus and Erf; the first four are composed of simpler operators, and Erf is computed in
float32 between two casts: a float64 gelu of z errs by up to 1e-7 |z| there.

Files are written for opset 13, in which each of these operators got its present meaning (Softmax
along the last axis): every ONNX Runtime since 1.6 reads them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._optional import library
from .._version import __version__
from ..model_file import FormatError, replace_file
from .chain import Chain, layers, unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._types import AnyLoss, Array, LossName, Path
    from ..network import Network

STANDARD = ("", "ai.onnx")      # the names of ONNX's own domain
OPSET, IR_VERSION = 13, 7       # of the same release, ONNX 1.8
FLOAT, DOUBLE = 1, 11           # TensorProto.DataType


class Step(NamedTuple):
    """A node: its operator, its inputs ("z", the results of earlier steps as "0", "1", …, numbers), its attributes."""

    operator: str
    inputs: tuple[str | float, ...] = ("z",)
    attributes: dict[str, Any] = {}


def composed(*steps: tuple[Any, ...]) -> list[Step]:
    """Steps from (operator, inputs), each of one more line of a formula."""
    return [Step(operator, tuple(inputs)) for operator, *inputs in steps]


SQRT2 = 2.0**0.5
SELU_SCALE, SELU_SCALE_ALPHA = 1.0507009873554804934, 1.7580993408473768599
EXPM1_NEGATIVE = [("Min", "z", 0.0), ("Exp", "0"), ("Sub", "1", 1.0), ("Max", "z", 0.0)]
COMMON: dict[str, list[Step]] = {
    "identity": [],
    "sigmoid": [Step("Sigmoid")],
    "tanh": [Step("Tanh")],
    "relu": [Step("Relu")],
    "silu": composed(("Sigmoid", "z"), ("Mul", "z", "0")),
    "softmax": [Step("Softmax", attributes={"axis": -1})],
    "exp": [Step("Exp")],
}
WRITTEN = {
    "float32": COMMON | {
        "leaky_relu": [Step("LeakyRelu", attributes={"alpha": 0.01})],
        "elu": [Step("Elu", attributes={"alpha": 1.0})],
        "selu": [Step("Selu", attributes={"alpha": SELU_SCALE_ALPHA / SELU_SCALE, "gamma": SELU_SCALE})],
        "softplus": [Step("Softplus")],
        "gelu": composed(("Div", "z", SQRT2), ("Erf", "0"), ("Add", "1", 1.0), ("Mul", "z", "2"), ("Mul", "3", 0.5)),
    },
    "float64": COMMON | {
        "leaky_relu": composed(("Mul", "z", 0.01), ("Max", "z", "0")),
        "elu": composed(*EXPM1_NEGATIVE, ("Add", "3", "2")),
        "selu": composed(*EXPM1_NEGATIVE, ("Mul", "2", SELU_SCALE_ALPHA), ("Mul", "3", SELU_SCALE), ("Add", "5", "4")),
        "softplus": composed(("Abs", "z"), ("Neg", "0"), ("Exp", "1"), ("Add", "2", 1.0), ("Log", "3"),
                             ("Max", "z", 0.0), ("Add", "5", "4")),
        "gelu": [Step("Div", ("z", SQRT2)), Step("Cast", ("0",), {"to": FLOAT}), Step("Erf", ("1",)),
                 Step("Cast", ("2",), {"to": DOUBLE}), Step("Add", ("3", 1.0)), Step("Mul", ("z", "4")),
                 Step("Mul", ("5", 0.5))],
    },
}
# Read too: the operators of later opsets, and the spellings of other writers.
OTHERS = {"gelu": [Step("Gelu", attributes={"approximate": "none"})],
          "silu": [Step("Swish", attributes={"alpha": 1.0})],
          "softmax": [Step("Softmax", attributes={"axis": 1})]}
# Longest first: silu begins like sigmoid.
READ = sorted(
    ((name, steps) for table in (*WRITTEN.values(), OTHERS) for name, steps in table.items() if steps),
    key=lambda spelling: -len(spelling[1]))
# Attributes that a node may leave out.
DEFAULTS: dict[str, dict[str, Any]] = {
    "LeakyRelu": {"alpha": 0.01}, "Elu": {"alpha": 1.0}, "Selu": {"alpha": 1.67326319, "gamma": 1.05070102},
    "Softmax": {"axis": -1}, "Gelu": {"approximate": "none"}, "Swish": {"alpha": 1.0}, "Flatten": {"axis": 1},
    "Gemm": {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}}
SUPPORTED = ("only chains of Gemm (without transA) or MatMul and Add, of Identity, Flatten and of fastnn's activations "
             "with their constants can become a fastnn.Network")


def to_onnx(network: Network, path: Path) -> None:
    """Writes the network to an ONNX file: from "input" (n, n_inputs) to "output" (n, n_outputs), n being free.

    The file is written wholly or not at all, and the same network makes the same bytes. `from_onnx`
    gives the same parameters back. Dropout is a matter of training, and is left out. OSError where
    the file cannot be written, ImportError without ONNX.

    >>> import tempfile, pathlib, fastnn
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "digits.onnx"
    >>> fastnn.interchange.to_onnx(fastnn.Network([64, 128, 10], output="softmax"), path)
    >>> fastnn.interchange.from_onnx(path)
    Network([64, 128, 10], activation=['relu'], output='softmax', loss='cross_entropy', dtype='float32', seed=0)
    """
    onnx = library("onnx", "ONNX", "onnx", "to_onnx")
    dtype = np.dtype(network.dtype)
    nodes: list[Any] = []
    constants: dict[str, Array] = {}

    def constant(name: str, value: Any) -> str:
        constants.setdefault(name, np.array(value, dtype))
        return name

    value = "input"
    for index, (weights, biases, activation) in enumerate(layers(network)):
        inputs = [value, constant(f"weights.{index}", weights), constant(f"biases.{index}", biases)]
        z = value = f"layer.{index}"
        nodes.append(onnx.helper.make_node("Gemm", inputs, [z], z))
        for number, (operator, givens, attributes) in enumerate(WRITTEN[network.dtype][activation]):
            inputs = [constant(f"constant.{given!r}", given) if isinstance(given, float) else
                      z if given == "z" else f"{z}.{activation}.{given}" for given in givens]
            value = f"{z}.{activation}.{number}"
            nodes.append(onnx.helper.make_node(operator, inputs, [value], value, **attributes))
    nodes[-1].output[0] = "output"
    kind = onnx.helper.np_dtype_to_tensor_dtype(dtype)
    sizes = {"input": network.layer_sizes[0], "output": network.layer_sizes[-1]}
    ends = [[onnx.helper.make_tensor_value_info(name, kind, ["n", size])] for name, size in sizes.items()]
    graph = onnx.helper.make_graph(
        nodes, "fastnn", *ends, [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()])
    model = onnx.helper.make_model(
        graph, producer_name="fastnn", producer_version=__version__, ir_version=IR_VERSION,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)])
    replace_file(path, model.SerializeToString(deterministic=True))


def from_onnx(path: Path, *, loss: LossName | str | AnyLoss | None = None, seed: int = 0) -> Network:
    """The Network that computes what an ONNX file computes.

    Parameters
    ----------
    path : str or path
        A file whose graph is a chain of Gemm or MatMul and Add, with fastnn's activations as `to_onnx`,
        PyTorch and others write them. Weights that lie in other files are not read.
    loss, seed : as for Network

    Raises
    ------
    FormatError
        For what is no ONNX file.
    ValueError
        For a graph that is no such chain; the sentence names the node and its place.
    OSError, ImportError
        Where the file cannot be read; without ONNX.
    """
    onnx = library("onnx", "ONNX", "onnx", "from_onnx")
    graph, nodes, constants = read_graph(onnx, path)
    inputs = [value.name for value in graph.input if value.name not in constants]
    outputs = [value.name for value in graph.output]
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(f"the graph has the inputs {inputs} and the outputs {outputs}, but {SUPPORTED}: "
                         "with one of each")
    chain, value, index = Chain(), inputs[0], 0
    while index < len(nodes):
        node = nodes[index]
        kind = node.op_type if node.domain in STANDARD else f"{node.domain}.{node.op_type}"
        where = f"node {index} {node.name!r} ({kind})"
        if value not in node.input:
            raise ValueError(f"{where} reads {list(node.input)}, but not {value!r}, which the node before it gives: "
                             f"the graph is no chain, and {SUPPORTED}")
        length = 1
        if kind == "Gemm":
            gemm(onnx, where, node, value, constants, chain)
        elif kind == "MatMul" and node.input[0] == value and node.input[1] in constants:
            chain.linear(where, constants[node.input[1]])
        elif kind == "Add" and (other := the_other(node, value)) in constants:
            chain.add(where, row(where, constants[other], len(chain.biases[-1]) if chain.biases else 1))
        elif kind != "Identity" and (kind != "Flatten" or attributes(onnx, node)["axis"] != 1):
            name, length = activation(onnx, where, nodes[index:], value, constants)
            chain.activation(where, name)
        index += length
        value = nodes[index - 1].output[0]
    if value != outputs[0]:
        raise ValueError(f"the last node gives {value!r}, but the graph's output is {outputs[0]!r}: the graph is no "
                         f"chain, and {SUPPORTED}")
    return chain.network(loss, seed)


def read_graph(onnx: Any, path: Path) -> tuple[Any, list[Any], dict[str, Array]]:
    """What is in a file of valid ONNX that has all its weights with it: (graph, nodes, {name: constant})."""
    from google.protobuf.message import DecodeError  # which ONNX is built on
    path = os.fspath(path)
    with open(path, "rb") as file:
        data = file.read()
    try:
        graph = (model := onnx.load_model_from_string(data)).graph
        tensors = [*graph.initializer, *(attribute.t for node in graph.node for attribute in node.attribute)]
        elsewhere = [tensor.name for tensor in tensors if tensor.data_location == onnx.TensorProto.EXTERNAL]
        if not elsewhere:
            onnx.checker.check_model(model)
            nodes = [node for node in graph.node if node.op_type != "Constant"]
            constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
            constants |= {node.output[0]: constant_value(onnx, node) for node in graph.node
                          if node.op_type == "Constant"}
    except (DecodeError, onnx.checker.ValidationError, ValueError, TypeError, LookupError) as error:
        raise FormatError(f"{path!s} is not a valid ONNX file: {error}") from None
    if elsewhere:
        raise ValueError(f"the tensor {elsewhere[0]!r} lies in another file, which is not read; save the model as one "
                         "file")
    return graph, nodes, constants


def constant_value(onnx: Any, node: Any) -> Array:
    """The value of a Constant node, which has one attribute."""
    value = onnx.helper.get_attribute_value(node.attribute[0])
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.array(value)


def attributes(onnx: Any, node: Any) -> dict[str, Any]:
    """The attributes of a node, those that it leaves out among them."""
    given = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    given = {name: value.decode() if isinstance(value, bytes) else value for name, value in given.items()}
    return DEFAULTS.get(node.op_type, {}) | given


def gemm(onnx: Any, where: str, node: Any, value: str, constants: Mapping[str, Array], chain: Chain) -> None:
    """Takes up alpha * value @ B + beta * C, B being transposed if transB says so."""
    settings = attributes(onnx, node)
    missing = [name for name in node.input[1:] if name and name not in constants]
    if node.input[0] != value or missing or settings["transA"] or constants[node.input[1]].ndim != 2:
        raise unsupported(where, f"a product of {list(node.input)} with transA={settings['transA']}", SUPPORTED)
    weights = constants[node.input[1]]
    weights = weights.T if settings["transB"] else weights
    biases = None
    if len(node.input) > 2 and node.input[2]:
        biases = row(where, constants[node.input[2]], weights.shape[-1])
        biases = biases * biases.dtype.type(settings["beta"])
    chain.linear(where, weights * weights.dtype.type(settings["alpha"]), biases)


def row(where: str, values: Array, n: int) -> Array:
    """A constant that is broadcast to rows of n numbers, as one such row."""
    try:
        return np.broadcast_to(values, (1, n))[0]
    except ValueError:
        raise ValueError(f"{where} adds a constant of shape {values.shape}, but one that is the same for every row "
                         f"and fits {n} outputs was expected") from None


def the_other(node: Any, value: str) -> str | None:
    """The name of the input that is not `value`, of a node with two."""
    return next((name for name in node.input if name != value), None)


def activation(onnx: Any, where: str, nodes: list[Any], z: str,
               constants: Mapping[str, Array]) -> tuple[str, int]:
    """The activation that begins with the first of these nodes, and how many of them it takes."""
    for name, steps in READ:
        results = {"z": z}
        for number, (step, node) in enumerate(zip(steps, nodes, strict=False)):
            if not same_step(onnx, step, node, results, constants):
                break
            results[str(number)] = node.output[0]
        if len(results) == len(steps) + 1:
            return name, len(steps)
    others = [name for name in nodes[0].input if name and name != z and name not in constants]
    if others:
        raise ValueError(f"{where} reads {others} beside {z!r}: the graph is no chain, and {SUPPORTED}")
    text = ", ".join(f"{key}={value!r}" for key, value in attributes(onnx, nodes[0]).items())
    raise unsupported(where, f"{nodes[0].op_type}({text})", SUPPORTED)


def same_step(onnx: Any, step: Step, node: Any, results: Mapping[str, str],
              constants: Mapping[str, Array]) -> bool:
    """Whether a node does what a step says."""
    settings = attributes(onnx, node)
    orders = [node.input] if step.operator in ("Sub", "Div") else [node.input, node.input[::-1]]
    return (step.operator == node.op_type and node.domain in STANDARD
            and len(step.inputs) == len(node.input)
            and any(all(same_input(given, name, results, constants)
                        for given, name in zip(step.inputs, order, strict=True)) for order in orders)
            and settings.keys() == step.attributes.keys()
            and all(close(settings[key], value) for key, value in step.attributes.items()))


def same_input(given: str | float, name: str, results: Mapping[str, str],
               constants: Mapping[str, Array]) -> bool:
    """Whether an input is what a step says: a number, or the result of a step."""
    if isinstance(given, float):
        values = constants.get(name, np.empty(0))
        return values.size == 1 and values.dtype.kind == "f" and close(values.item(), given)
    return name == results[given]


def close(a: Any, b: Any) -> bool:
    """Whether two constants are the same, up to float32's rounding."""
    return a == b or isinstance(b, float) and abs(a - b) < 1e-6 * abs(b)
