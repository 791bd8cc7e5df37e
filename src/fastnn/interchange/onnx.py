"""ONNX: a Network as a file, and a file that holds a chain of dense layers as a Network.

spellings.py says which operators an activation is written as. Files are written for opset 13, the first one in
which all of these operators have their present meaning (Softmax along the last axis). Every ONNX Runtime since 1.6
reads them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import library
from .._version import __version__
from ..storage.model_file import replace_file
from ..training.trainable import checked_network
from .contents import checked_names, layers
from .onnx_reader import read_chain
from .spellings import SPELLINGS, Step

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._types import AnyLoss, Array, LossName, Path
    from ..network import Network

OPSET, IR_VERSION = 13, 7       # of the same release, ONNX 1.8


def to_onnx(network: Network, path: Path, *, columns: Iterable[object] | None = None,
            classes: Iterable[object] | None = None) -> None:
    """Writes the network to an ONNX file: from "input" (n, n_inputs) to "output" (n, n_outputs), n being free.

    The file is written wholly or not at all, and the same arguments make the same bytes. `from_onnx`
    gives the same parameters back. Dropout is left out, as it acts in training alone.

    Parameters
    ----------
    network : Network
    path : str or path
    columns, classes : sequences of names, optional
        What the inputs and the outputs are called; one sigmoid output may have two classes. They become the file's
        metadata "columns" and "classes", each a list in JSON: with ONNX Runtime,
        `json.loads(session.get_modelmeta().custom_metadata_map["classes"])`.

    Raises
    ------
    ValueError, TypeError
        For names of another number, or that are no sequence.
    OSError, ImportError
        Where the file cannot be written; without ONNX.

    >>> import tempfile, pathlib, fastnn
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "digits.onnx"
    >>> fastnn.interchange.to_onnx(fastnn.Network([64, 128, 10], output="softmax"), path)
    >>> fastnn.interchange.from_onnx(path)
    Network([64, 128, 10], activation=['relu'], output='softmax', loss='cross_entropy', dtype='float32', seed=0)
    """
    onnx = library("onnx", "ONNX", "onnx", "to_onnx")
    checked_network(network)
    names = checked_names(network, columns, classes)
    model = onnx.helper.make_model(
        graph_of(onnx, network), producer_name="fastnn", producer_version=__version__, ir_version=IR_VERSION,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)])
    onnx.helper.set_model_props(model, {key: json.dumps(texts, ensure_ascii=False) for key, texts in names.items()})
    replace_file(path, model.SerializeToString(deterministic=True))


def graph_of(onnx: Any, network: Network) -> Any:
    """A network as a GraphProto: for each layer a Gemm, then the steps of its activation."""
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
        for number, (operator, givens, attributes) in enumerate(steps(activation, network.dtype)):
            inputs = [constant(f"constant.{given!r}", given) if isinstance(given, float) else
                      z if given == "z" else f"{z}.{activation}.{given}" for given in givens]
            value = f"{z}.{activation}.{number}"
            nodes.append(onnx.helper.make_node(operator, inputs, [value], value, **attributes))
    nodes[-1].output[0] = "output"
    kind = onnx.helper.np_dtype_to_tensor_dtype(dtype)
    sizes = {"input": network.layer_sizes[0], "output": network.layer_sizes[-1]}
    ends = [[onnx.helper.make_tensor_value_info(name, kind, ["n", size])] for name, size in sizes.items()]
    return onnx.helper.make_graph(
        nodes, "fastnn", *ends, [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()])


def steps(activation: str, dtype: str) -> list[Step]:
    """What computes the activation in this dtype."""
    spelling = SPELLINGS[activation]
    other = spelling.onnx_float64 if dtype == "float64" else None
    return spelling.onnx if other is None else other


def from_onnx(path: Path, *, loss: LossName | str | AnyLoss | None = None, seed: int = 0) -> Network:
    """The Network that computes what an ONNX file computes.

    Parameters
    ----------
    path : str or path
        A file of opset 7 or later, whose graph leads from one input of rows to one output by layers (Gemm or MatMul)
        and fastnn's activations. An activation is known by what it computes, up to the rounding of its constants,
        whatever the operators that spell it. Scalings and shifts of columns beside a layer (Add, Sub, Mul, Div,
        BatchNormalization in inference, the Scaler of ai.onnx.ml) become part of its weights; other parameters come
        bit by bit. Constants are computed first; Identity, Dropout in inference, and a Cast, Reshape or Flatten that
        changes no rows are passed over. Weights may lie in other files of the model's folder, as PyTorch writes them.
    loss, seed : as for Network

    Raises
    ------
    FormatError
        For what is no ONNX file.
    ValueError
        For a graph that is no such chain; the sentence names the node and its place.
    OSError, ImportError
        Where a file cannot be read; without ONNX.

    The network has the dtype of the weights; float64 where the scaling of an input is so far from 0, or so large or
    small, that float32 would lose it. What the file says of names stays there.
    """
    return read_chain(library("onnx", "ONNX", "onnx", "from_onnx"), path).network(loss, seed)
