"""A graph of ONNX as a chain of layers.

The graph is cut at each value on which all later nodes depend, and on no other. The nodes between two cuts are a
`Block`, most often of one node. A block is a layer of weights, softmax, a function of each element, or changes nothing.
The functions between two layers are an activation, with scalings and shifts before and after it that become part of the
layers. `onnx_operators` finds the activation by what it computes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .chain import Chain, unsupported
from .onnx_file import PICKING, check_shapes, evaluated, read_graph
from .onnx_operators import DTYPES, GRID, OPERATORS, activation_of

if TYPE_CHECKING:
    from .._types import Array, Path
    from .onnx_file import Graph, Node

SUPPORTED = ("only chains of Gemm (without transA) or MatMul, of scalings and shifts of columns beside them (Add, Sub, "
             "Mul, Div, BatchNormalization, Scaler) and of fastnn's activations can become a fastnn.Network")
SCALER = "ai.onnx.ml.Scaler"
# Operators that are no functions of single elements, and so not in OPERATORS.
LAYERS = ("Gemm", "MatMul", "Softmax", "BatchNormalization", SCALER, "Flatten", "Reshape", "Dropout")
NUMBERS_OF_ROWS = (7919, 104729)    # that `reshape` tries: primes, which sizes of a network hardly equal
LONGEST = 50        # nodes in a run of functions


class Block(NamedTuple):
    """Nodes between two cuts. They depend on the value `source` alone, later nodes on the last one's output alone."""

    source: str
    nodes: list[Node]


def read_chain(onnx: Any, path: Path) -> Chain:
    """The layers of a file. FormatError, ValueError and OSError as `from_onnx` says."""
    graph = read_graph(onnx, path, SUPPORTED)
    reader = Reader(graph)
    for block in blocks(graph):
        reader.take(block)
    reader.finish()
    check_shapes(onnx, graph)
    return reader.chain


def blocks(graph: Graph) -> list[Block]:
    """The graph in as many blocks as possible."""
    uses: dict[str, int] = {graph.output.name: 1}       # how many nodes will read a value
    for node in graph.nodes:
        for name in set(node.inputs) - graph.constants.keys() - {""}:
            uses[name] = uses.get(name, 0) + 1
    result, source, nodes, waiting = [], graph.input.name, [], {graph.input.name}
    for node in graph.nodes:
        for name in set(node.inputs) & waiting:
            uses[name] -= 1
            if not uses[name]:
                waiting.remove(name)
        waiting.add(node.output)
        nodes.append(node)
        if waiting == {node.output}:
            result.append(Block(source, nodes))
            source, nodes = node.output, []
    return result


class Reader:
    """Adds blocks to the chain, in the order of the data. Keeps the dtype and shape of the value between two blocks."""

    def __init__(self, graph: Graph) -> None:
        self.chain, self.graph, self.constants = Chain(), graph, graph.constants
        self.run: list[Block] = []          # functions since the latest layer
        self.dtype = DTYPES.get(graph.input.dtype, "")
        for end in (graph.input, graph.output):
            if DTYPES.get(end.dtype, "bool") == "bool":
                raise ValueError(f"the graph's {end.name!r} holds no numbers that are known here, but {SUPPORTED}")
            if len(end.shape) != 2:
                raise ValueError(f"the graph has {end}, but rows of numbers (n, columns) were expected: {SUPPORTED}")
        self.rows, self.width = graph.input.shape

    def take(self, block: Block) -> None:
        """Adds one block."""
        node = block.nodes[-1]
        if len(block.nodes) == 1 and node.operator in ("Gemm", "MatMul", "Softmax"):
            self.end_run()
            {"Gemm": self.gemm, "MatMul": self.matmul, "Softmax": self.softmax}[node.operator](node, block.source)
        elif not (node.operator == "Reshape" and self.reshape(block) or len(block.nodes) == 1 and self.unchanged(node)):
            self.function(block)

    def finish(self) -> None:
        """Reads the last run, and compares the widths that the file declares."""
        self.end_run()
        sizes = [len(self.chain.weights[0]), len(self.chain.biases[-1])] if self.chain.weights else []
        for end, size in zip((self.graph.input, self.graph.output), sizes, strict=False):
            if end.shape[1] not in (None, size):
                raise ValueError(f"the graph has {end}, but its layers of weights take {sizes[0]} columns and give "
                                 f"{sizes[1]}")

    def gemm(self, node: Node, source: str) -> None:
        """alpha * source @ B + beta * C, where B is transposed if transB is set."""
        settings = node.settings
        if node.inputs[0] != source or source in node.inputs[1:] or settings["transA"]:
            what = f"a product of {list(node.inputs)} with transA={settings['transA']}"
            raise unsupported(node.where, what, SUPPORTED)
        weights = self.constant(node, node.inputs[1])
        if weights.ndim != 2:
            raise unsupported(node.where, f"a product with weights of shape {weights.shape}", SUPPORTED)
        weights = weights.T if settings["transB"] else weights
        biases = None
        if len(node.inputs) > 2 and node.inputs[2]:
            biases = self.row(node, node.inputs[2], weights.shape[1])
        alpha, beta = settings["alpha"], settings["beta"]
        self.chain.linear(node.where, weights, biases if alpha == beta == 1 else None)
        if not alpha == beta == 1:
            self.chain.affine(node.where, alpha, 0 if biases is None else beta * biases.astype(np.float64))
        self.width = weights.shape[1]

    def matmul(self, node: Node, source: str) -> None:
        """source @ B."""
        if node.inputs[0] != source or source == node.inputs[1]:
            raise unsupported(node.where, f"a product of {list(node.inputs)}", SUPPORTED)
        weights = self.constant(node, node.inputs[1])
        self.chain.linear(node.where, weights)
        self.width = weights.shape[1]

    def softmax(self, node: Node, _: str) -> None:
        """Softmax of each row. Of two axes, axis=1 and -1 both mean the last one, also in opsets before 13."""
        if node.settings["axis"] not in (1, -1):
            raise unsupported(node.where, self.called(node), SUPPORTED)
        self.chain.activation(node.where, "softmax")

    def unchanged(self, node: Node) -> bool:
        """Whether a node leaves its rows as they are, up to the rounding of their dtype."""
        settings = node.settings
        if node.operator == "Cast":
            if DTYPES.get(settings["to"]) not in ("float32", "float64"):
                raise unsupported(node.where, self.called(node), SUPPORTED)
            self.dtype = DTYPES[settings["to"]]
            return True
        if node.operator == "Dropout":
            training = node.inputs[2] if len(node.inputs) > 2 else ""
            if training and (training not in self.constants or self.constants[training].any()):
                raise unsupported(node.where, "a Dropout that may be in training", SUPPORTED)
            return True
        if node.operator == "Flatten":
            if settings["axis"] not in (1, -1):
                raise unsupported(node.where, self.called(node), SUPPORTED)
            return True
        return node.operator == "Identity"

    def reshape(self, block: Block) -> bool:
        """Whether a block is a Reshape of its source. It must keep the shape, which other nodes of it put together.

        If the file leaves the number of rows open, two numbers are tried. The nodes only choose and join sizes, without
        arithmetic, so a shape that is right for both numbers is right for all.
        """
        *before, last = block.nodes
        if last.inputs[0] != block.source:
            return False
        for rows in NUMBERS_OF_ROWS if self.rows is None else (self.rows,):
            values = dict(self.constants)
            for node in before:
                if node.operator == "Shape" and node.inputs[0] == block.source and self.width is not None:
                    sizes = np.array([rows, self.width])
                    values[node.output] = sizes[node.settings.get("start"):node.settings.get("end")]
                elif node.operator in PICKING and all(name in values for name in node.inputs if name):
                    values[node.output] = evaluated(node, [values.get(name) for name in node.inputs])
                else:
                    return False
            shape = values[last.inputs[1]].ravel().tolist() if last.inputs[1] in values else []
            same = [size in (-1, known) or size == 0 and not last.settings.get("allowzero")
                    for size, known in zip(shape, (rows, self.width), strict=False)]
            if len(shape) != 2 or shape == [-1, -1] or not all(same):
                raise unsupported(last.where, f"a Reshape to {shape}, which may change the rows", SUPPORTED)
        return True

    def function(self, block: Block) -> None:
        """Adds a block of functions of each element to the run, which is read when the next layer begins."""
        last = block.nodes[-1]
        for node in block.nodes:
            if len(block.nodes) > 1 and node.operator in LAYERS:
                raise ValueError(f"{last.where} reads {[name for name in last.inputs if name not in self.constants]}: "
                                 f"the graph is no chain, and {SUPPORTED}")
            if node.operator not in OPERATORS and node.operator not in LAYERS:
                raise unsupported(node.where, self.called(node), SUPPORTED)
        if last.operator == SCALER:
            self.dtype = "float32"
        if self.dtype not in ("float32", "float64"):
            raise ValueError(f"{last.where} computes with {self.dtype}, but only float32 and float64 are read")
        self.run.append(block)

    def end_run(self) -> None:
        """Reads the functions since the latest layer: scalings and shifts, and among them at most one activation."""
        run, self.run = self.run, []
        straight = [self.affine(block) for block in run]
        curved = [index for index, part in enumerate(straight) if part is None]
        name, start, stop = self.activation(run, curved[0], curved[-1] + 1) if curved else ("identity", 0, 0)
        for index, (block, part) in enumerate(zip(run, straight, strict=True)):
            where = block.nodes[0].where
            if index == start and name != "identity":
                self.chain.activation(where, name)
            if part is not None and not start <= index < stop:
                self.chain.affine(where, *part)

    def activation(self, run: list[Block], first: int, stop: int) -> tuple[str, int, int]:
        """(activation, begin, end): the longest run[begin:end] that contains run[first:stop] and is an activation."""
        if sum(len(block.nodes) for block in run) > LONGEST:
            raise ValueError(f"{run[first].nodes[0].where} is one of more than {LONGEST} functions between two layers, "
                             f"but {SUPPORTED}")
        ends = [(begin, end) for begin in range(first + 1) for end in range(stop, len(run) + 1)]
        for begin, end in sorted(ends, key=lambda ends: ends[0] - ends[1]):
            values = self.on_grid(run[begin:end])
            name = None if values is None else activation_of(values)[0]
            if name is not None:
                return name, begin, end
        values = self.on_grid(run[first:stop])
        what = ", ".join(self.called(node) for block in run[first:stop] for node in block.nodes)
        raise unsupported(run[first].nodes[0].where, f"{what}, " + (
            "which is not the same function of each column" if values is None else activation_of(values)[1]), SUPPORTED)

    def on_grid(self, run: list[Block]) -> Array | None:
        """The values of a part of a run on GRID; None where columns differ."""
        results: dict[str, Any] = {}
        value: Any = GRID
        for block in run:
            results[block.source] = value       # nodes that change nothing may be left out before the block
            for node in block.nodes:
                result = self.computed(node, results)
                if result is None:
                    return None
                results[node.output] = value = result
        return np.broadcast_to(np.asarray(value, np.float64), GRID.shape)

    def computed(self, node: Node, results: dict[str, Any]) -> Any:
        """The output of a node for values on GRID and constants; None where columns differ."""
        inputs = [results[name] if name in results else self.scalar(name) if name else None for name in node.inputs]
        if node.operator not in OPERATORS or any(
                name and part is None for name, part in zip(node.inputs, inputs, strict=True)):
            return None
        if node.operator == "Cast" and DTYPES.get(node.settings["to"]) in ("float32", "float64"):
            return np.asarray(inputs[0], np.float64)        # rounding does not change which function it is
        try:
            with np.errstate(all="ignore"):
                return OPERATORS[node.operator](node.settings, *inputs)
        except (TypeError, ValueError, LookupError) as error:
            raise ValueError(f"{node.where} cannot be evaluated: {error}") from None

    def scalar(self, name: str) -> Array | None:
        """A constant with one value for all rows and columns, as a scalar; None for other constants."""
        values = self.constants[name]
        if not values.size or values.ndim > 2 or values.ndim == 2 and len(values) > 1 or (
                self.width is not None and values.size not in (1, self.width)) or (values != values.flat[0]).any():
            return None
        return values.astype(np.float64 if values.dtype.kind == "f" else values.dtype).flat[0]

    def affine(self, block: Block) -> tuple[Array, Array] | None:
        """(scale, shift) of a block that is scale * x + shift, each one number or one for each column; else None."""
        node = block.nodes[-1]
        one, zero = np.array(1.0), np.array(0.0)
        if len(block.nodes) > 1:
            return None
        if node.operator == "BatchNormalization":
            if node.settings.get("training_mode") or any(name not in self.constants for name in node.inputs[1:]):
                raise unsupported(node.where, "a BatchNormalization in training", SUPPORTED)
            gamma, beta, mean, variance = (
                self.row(node, name, self.width).astype(np.float64) for name in node.inputs[1:])
            self.check_widths(node, gamma, beta, mean, variance)
            with np.errstate(all="ignore"):
                scale = gamma / np.sqrt(variance + node.settings["epsilon"])
            return scale, beta - mean * scale
        if node.operator == SCALER:
            scale, offset = (np.asarray(node.settings.get(name, default), np.float64)
                             for name, default in (("scale", one), ("offset", zero)))
            self.check_widths(node, scale, offset)
            return scale, -offset * scale
        if node.operator == "Neg":
            return -one, zero
        operator = "Add" if node.operator == "Sum" and len(node.inputs) == 2 else node.operator
        if operator not in ("Add", "Sub", "Mul", "Div") or node.inputs[0] == node.inputs[1]:
            return None
        first = node.inputs[0] == block.source
        constant = self.row(node, node.inputs[first], self.width).astype(np.float64)
        with np.errstate(all="ignore"):
            return {"Add": (one, constant), "Sub": (one, -constant) if first else (-one, constant),
                    "Mul": (constant, zero), "Div": (1 / constant, zero) if first else None}[operator]

    def check_widths(self, node: Node, *parts: Array) -> None:
        """Refuses constants for several numbers of columns."""
        widths = sorted({part.size for part in parts} - {1})
        if len(widths) > 1:
            raise ValueError(f"{node.where} has constants for {widths[0]} and for {widths[1]} columns")

    def constant(self, node: Node, name: str) -> Array:
        """A constant that holds numbers."""
        if name not in self.constants or self.constants[name].dtype.kind not in "fiu":
            raise unsupported(node.where, f"{self.called(node)} of {name!r}, which is no array of numbers", SUPPORTED)
        return self.constants[name]

    def row(self, node: Node, name: str, width: int | None) -> Array:
        """A constant that is the same for every row, as one row: of `width` columns, or of as many as it has."""
        values = self.constant(node, name)
        try:
            return np.broadcast_to(values, (1, values.size if width is None else width))[0]
        except ValueError:
            fits = "" if width is None else f" and fits {width} columns"
            raise ValueError(f"{node.where} has a constant of shape {values.shape}, but one that is the same for every "
                             f"row{fits} was expected") from None

    def called(self, node: Node) -> str:
        """A node as a call, with those of its constants that are single numbers."""
        numbers = [self.constants[name] for name in node.inputs if name in self.constants]
        parts = [f"{values.item():.7g}" for values in numbers if values.size == 1 and values.dtype.kind in "fiub"]
        parts += [f"{key}={value:.7g}" if isinstance(value, float) else f"{key}={value!r}"
                  for key, value in sorted(node.settings.items()) if isinstance(value, (int, float, str))]
        return f"{node.operator.rpartition('.')[2]}({', '.join(parts)})"
