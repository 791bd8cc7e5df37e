"""ONNX: a Network as a file, and a file that holds a chain of dense layers as a Network.

onnx_graph.py makes the graph that is written. Files are written for opset 13, the first one in which all operators that
spell activations have their present meaning (Softmax along the last axis). Every ONNX Runtime since 1.6 reads them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import library
from ..training.trainable import checked_network
from .contents import checked_names
from .onnx_graph import Graph, add_network, write
from .onnx_reader import read_chain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._types import AnyLoss, LossName, Path
    from ..network import Network


def to_onnx(network: Network, path: Path, *, columns: Iterable[object] | None = None,
            classes: Iterable[object] | None = None) -> None:
    """Writes the network to an ONNX file: from "input" (n, n_inputs) to "output" (n, n_outputs), n being free.

    The file is written completely or not at all. The same arguments make the same bytes. `from_onnx` gives the same
    parameters back. Dropout is left out, because it acts only in training.

    Parameters
    ----------
    network : Network
    path : str or path
    columns, classes : sequences of names, optional
        The names of the inputs and of the outputs. One sigmoid output may have two classes. The file has them as
        metadata, "columns" and "classes", each a list in JSON. With ONNX Runtime:
        `json.loads(session.get_modelmeta().custom_metadata_map["classes"])`.

    Raises
    ------
    ValueError
        If there are more or fewer names than columns or classes.
    TypeError
        If the names are no sequence.
    OSError
        If the file cannot be written.
    ImportError
        If ONNX is not installed.

    >>> import tempfile, pathlib, fastnn
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "digits.onnx"
    >>> fastnn.interchange.to_onnx(fastnn.Network([64, 128, 10], output="softmax"), path)
    >>> fastnn.interchange.from_onnx(path)
    Network([64, 128, 10], activation=['relu'], output='softmax', loss='cross_entropy', dtype='float32', seed=0)
    """
    onnx = library("onnx", "ONNX", "onnx", "to_onnx")
    checked_network(network)
    names = checked_names(network, columns, classes)
    write(onnx, path, graph_of(onnx, network), names)


def graph_of(onnx: Any, network: Network) -> Any:
    """A network as a GraphProto."""
    graph = Graph(onnx)
    add_network(graph, network, "input")
    graph.nodes[-1].output[0] = "output"
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(network.dtype))
    sizes = {"input": network.layer_sizes[0], "output": network.layer_sizes[-1]}
    ends = ([onnx.helper.make_tensor_value_info(name, kind, ["n", size])] for name, size in sizes.items())
    return graph.finished(*ends)


def from_onnx(path: Path, *, loss: LossName | str | AnyLoss | None = None, seed: int = 0) -> Network:
    """A Network that computes what an ONNX file computes.

    Parameters
    ----------
    path : str or path
        A file of opset 7 or later. Its graph must be a chain from one input of rows to one output, of layers (Gemm or
        MatMul) and fastnn's activations. Weights may be in other files in the model's folder, as PyTorch writes them.
    loss, seed : as for Network

    Raises
    ------
    FormatError
        If the file is no ONNX file.
    ValueError
        If the graph is no such chain. The sentence names the node and its place.
    OSError
        If a file cannot be read.
    ImportError
        If ONNX is not installed.

    Notes
    -----
    - An activation is recognised by what it computes, up to the rounding of its constants, whichever operators the file
      uses for it.
    - Scalings and shifts of columns beside a layer become part of its weights: Add, Sub, Mul, Div, BatchNormalization
      in inference, and the Scaler of ai.onnx.ml. All other parameters keep their bits.
    - Constants are computed first. Identity, Dropout in inference, and a Cast, Reshape or Flatten that changes no rows
      are skipped.
    - The network has the dtype of the weights, or float64 if float32 would lose the scaling of an input. Names in the
      file are not read.

    See Also
    --------
    to_onnx : The other direction.
    """
    return read_chain(library("onnx", "ONNX", "onnx", "from_onnx"), path).network(loss, seed)
