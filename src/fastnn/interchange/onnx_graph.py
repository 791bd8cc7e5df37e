"""A graph of ONNX that is being written: its nodes and constants, a Network as a chain of them, and its file.

onnx.py writes a Network alone, tables/onnx_export.py the model of a whole table around several. spellings.py says which
operators an activation is written as. Nothing is read here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._version import __version__
from ..storage.model_file import replace_file
from .contents import in_json, layers
from .spellings import SPELLINGS, Step

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .._types import Array, Path
    from ..network import Network

OPSET, IR_VERSION = 13, 7       # of the same release, ONNX 1.8


class Graph:
    """Nodes in their order, and constants by name. Names that `apply` makes begin with the prefix."""

    def __init__(self, onnx: Any, prefix: str = "") -> None:
        self.onnx = onnx
        self.prefix = prefix
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}

    def node(self, operator: str, inputs: Iterable[str], output: str, **attributes: Any) -> str:
        """A node that has the name of its output; returns this name."""
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def constant(self, name: str, value: Array) -> str:
        """A constant; one of this name that is there already stays."""
        self.constants.setdefault(name, value)
        return name

    def apply(self, operator: str, *inputs: str | float | Array, **attributes: Any) -> str:
        """A node with a name of its own. Inputs are names of values, or constants: an int is an int64, a float a
        double, an array what it is."""
        names = [value if isinstance(value, str) else self._anonymous(value) for value in inputs]
        return self.node(operator, names, f"{self.prefix}{operator}.{len(self.nodes)}", **attributes)

    def _anonymous(self, value: float | Array) -> str:
        """A constant without a name of its own; the same number is the same constant."""
        name = f"array.{len(self.constants)}" if isinstance(value, np.ndarray) else f"constant.{value!r}"
        return self.constant(self.prefix + name, np.asarray(value))

    def finished(self, inputs: list[Any], outputs: list[Any]) -> Any:
        """The GraphProto, from these inputs to these outputs (ValueInfoProto), without what no output depends on."""
        needed = {value.name for value in outputs}
        nodes = []
        for node in reversed(self.nodes):
            if node.output[0] in needed:
                needed.update(node.input)
                nodes.append(node)
        tensors = [self.onnx.numpy_helper.from_array(array, name) for name, array in self.constants.items()
                   if name in needed]
        return self.onnx.helper.make_graph(nodes[::-1], "fastnn", inputs, outputs, tensors)


def add_network(graph: Graph, network: Network, value: str, prefix: str = "") -> str:
    """Adds for each layer a Gemm, then the steps of its activation; from `value` to what is returned.

    Names begin with the prefix.
    """
    dtype = np.dtype(network.dtype)
    for index, (weights, biases, activation) in enumerate(layers(network)):
        z = value = graph.node("Gemm", [value, graph.constant(f"{prefix}weights.{index}", weights),
                                        graph.constant(f"{prefix}biases.{index}", biases)], f"{prefix}layer.{index}")
        for number, (operator, givens, attributes) in enumerate(steps(activation, network.dtype)):
            inputs = [graph.constant(f"{prefix}constant.{given!r}", np.array(given, dtype)) if isinstance(given, float)
                      else z if given == "z" else f"{z}.{activation}.{given}" for given in givens]
            value = graph.node(operator, inputs, f"{z}.{activation}.{number}", **attributes)
    return value


def steps(activation: str, dtype: str) -> list[Step]:
    """What computes the activation in this dtype."""
    spelling = SPELLINGS[activation]
    other = spelling.onnx_float64 if dtype == "float64" else None
    return spelling.onnx if other is None else other


def write(onnx: Any, path: Path, graph: Any, metadata: Mapping[str, Any], domains: Mapping[str, int] | None = None,
          ) -> None:
    """Writes a GraphProto to a file, wholly or not at all; the same arguments make the same bytes.

    Metadata are plain values, and written in JSON. `domains` are the versions of other operators than ONNX's own.
    """
    opsets = [onnx.helper.make_opsetid(domain, version) for domain, version in {"": OPSET, **(domains or {})}.items()]
    model = onnx.helper.make_model(graph, producer_name="fastnn", producer_version=__version__, ir_version=IR_VERSION,
                                   opset_imports=opsets)
    onnx.helper.set_model_props(model, {key: in_json(value) for key, value in metadata.items()})
    replace_file(path, model.SerializeToString(deterministic=True))
