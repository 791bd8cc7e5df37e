"""Graphs that other programs write: what is a chain of layers is read for what it computes in ONNX Runtime.

What no network can hold is refused in one sentence that names it.
"""

import numpy as np
import pytest
from example_networks import B, W, X

from fastnn.interchange import from_onnx

pytestmark = pytest.mark.any_isa


@pytest.fixture
def write(onnx, tmp_path):
    """Writes a graph from "x" to "y", of nodes (operator, inputs, output, attributes) and named arrays.

    Inputs are words; "_" stands for one that is left out. `opset` is that of ONNX's own domain.
    """
    def write_graph(*nodes, inputs=("x",), outputs=("y",), opset=20, dtype="float32", shape=("n", 2), gives=("n", "k"),
                    inside=(), out=None, **arrays):
        def value(name, dtype, shape):
            kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
            return onnx.helper.make_tensor_value_info(name, kind, shape)
        protos = []
        for operator, given_names, output, *more in nodes:
            domain, _, name = operator.rpartition(".")
            names = ["" if word == "_" else word for word in given_names.split()]
            protos.append(onnx.helper.make_node(
                name, names, output.split(), f"the_{name}", **dict(*more), domain=domain))
        for index, proto in enumerate(protos):
            if proto.name in {earlier.name for earlier in protos[:index]}:
                proto.name += str(index)
        graph = onnx.helper.make_graph(
            protos, "graph", [value(name, dtype, shape) for name in inputs],
            [value(name, out or dtype, gives) for name in outputs],
            [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
            value_info=[value(*entry) for entry in inside])
        if onnx.defs.onnx_opset_version() < opset < 99:
            pytest.skip(f"NOT TESTED: this onnx does not know opset {opset}")
        opsets = [onnx.helper.make_opsetid("", opset), onnx.helper.make_opsetid("com.microsoft", 1),
                  onnx.helper.make_opsetid("ai.onnx.ml", 3)]
        onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "other.onnx")
        return tmp_path / "other.onnx"
    return write_graph


ARRAYS = {
    "w": W, "wt": W.T.copy(), "b": B, "scalar": np.array([3], "f"), "row": B[None], "v": W.T.copy(),
    "zero": np.array(0, "f"),
    "one": np.array(1, "f"), "half": np.array(0.5, "f"), "small": np.array(0.01, "f"), "sqrt2": np.array(2**0.5, "f"),
    "sqrth": np.array(0.5**0.5, "f"), "slopes": np.full(3, 0.01, "f"), "twenty": np.array(20, "f"),
    "two": np.array(2, "f"), "mean": np.array([0.5, -1, 2], "f"), "sd": np.array([0.5, 3, 2], "f"),
    "mean2": np.array([[0.5, -1]], "f"), "sd2": np.array([0.5, 3], "f"), "false": np.array(False), "f64": np.array(0.5),
    "minus1": np.array([-1, 3]), "flat": W.ravel().copy(), "sizes": np.array([2, 3]), "keep": np.array([0, -1]),
    "axes": np.array([0]), "zero0": np.array(0), "rest": np.array([-1]), "one1": np.array([1]),
    "prime": np.array([7919]), "variance": np.array([0.25, 9, 4], "f"), "gamma": np.array([1.5, -1, 2], "f"),
    "w64": W.astype(float),
    "b64": B.astype(float), "lo": np.array(-3.4028235e38, "f"), "hi": np.array(3.4028235e38, "f"),
    "w2": np.eye(2, dtype="f") * 3, "equal": np.array([0.5, 0.5], "f"),
}
GEMM = ("Gemm", "x w b", "z")


def used(nodes):
    """The arrays that nodes read."""
    words = {word for _, names, *_ in nodes for word in names.split()}
    return {name: array for name, array in ARRAYS.items() if name in words}


def assert_read(path, run, activations, dtype="float32", inputs=None):
    """The file is read as a network of these activations, which computes what ONNX Runtime does."""
    network = from_onnx(path)
    inputs = X[:, :2].astype(dtype) if inputs is None else inputs
    expected = run(path, inputs)
    assert network.activations == activations
    assert np.abs(network.predict(inputs) - expected).max() < 2e-6 * max(1, np.abs(expected).max())
    return network


@pytest.mark.parametrize("nodes", [
    [("Gemm", "x w b", "y")], [("Gemm", "x w", "y")], [("Gemm", "x wt b", "y", {"transB": 1})],
    [("Gemm", "x w b", "y", {"alpha": 0.5, "beta": 2.0})], [("Gemm", "x w scalar", "y")], [("Gemm", "x w row", "y")],
    [("MatMul", "x w", "y")], [("MatMul", "x w", "z"), ("Add", "z b", "y")],
    [("MatMul", "x w", "z"), ("Add", "b z", "y")], [("MatMul", "x w", "z"), ("Add", "z row", "y")],
    [("Constant", "", "c", {"value_floats": [1.0, 2.0, 3.0]}), ("MatMul", "x w", "z"), ("Add", "z c", "y")],
    [("Constant", "", "c", {"value_float": 1.5}), ("MatMul", "x w", "z"), ("Mul", "z c", "y")],
    [("Constant", "", "c", {"value_ints": [2, 3]}), ("Reshape", "flat c", "m"), ("MatMul", "x m", "y")],
    # What is computed from constants alone.
    [("Identity", "b", "same"), ("Gemm", "x w same", "y")], [("Transpose", "wt", "m"), ("MatMul", "x m", "y")],
    [("Transpose", "wt", "m", {"perm": [1, 0]}), ("Gemm", "x m", "y")],
    [("Cast", "w64", "m", {"to": 1}), ("Gemm", "x m", "y")], [("Reshape", "flat sizes", "m"), ("Gemm", "x m", "y")],
    [("Squeeze", "row axes", "c"), ("Gemm", "x w c", "y")], [("Unsqueeze", "b axes", "c"), ("Gemm", "x w c", "y")],
    [("Mul", "b two", "c"), ("Sub", "c mean", "d"), ("Div", "d sd", "e"), ("Neg", "e", "f"), ("Gemm", "x w f", "y")],
    [("Pow", "sizes half", "p"), ("Mul", "p sizes", "i"), ("Cast", "i", "c", {"to": 1}), ("Div", "x c", "d"),
     ("Gemm", "d w b", "y")],      # a power of integers is an integer
    [("Sqrt", "variance", "s"), ("Div", "gamma s", "g"), ("Gemm", "x w b", "z"), ("Mul", "z g", "y")],
    # What the output does not depend on.
    [("ArgMax", "x", "unused"), ("Gemm", "x w b", "y")], [("Gemm", "x w b", "y"), ("Shape", "y", "unused")],
    [("Gemm", "x w b", "y"), ("Relu", "y", "r")], [("Gemm", "x w b", "lost"), ("Gemm", "x w", "y")],
    # What changes nothing.
    [("Identity", "x", "i"), ("Flatten", "i", "f", {"axis": 1}), ("Gemm", "f w b", "z"), ("Identity", "z", "y")],
    [("Flatten", "x", "f", {"axis": -1}), ("Gemm", "f w b", "y")],
    [("Cast", "x", "f", {"to": 1}), ("Gemm", "f w b", "z"), ("Cast", "z", "y", {"to": 1})],
    [("Gemm", "x w b", "z"), ("Reshape", "z minus1", "y")], [("Reshape", "x keep", "r"), ("Gemm", "r w b", "y")],
    [("Shape", "x", "s"), ("Gather", "s zero0", "n"), ("Unsqueeze", "n axes", "u"),
     ("Concat", "u rest", "t", {"axis": 0}), ("Reshape", "x t", "r"),
     ("Gemm", "r w b", "y")],     # x.reshape(len(x), -1)
    [("Gemm", "x w b", "z"), ("Shape", "z", "s"), ("Reshape", "z s", "y")],
    [("Gemm", "x w b", "z"), ("Dropout", "z", "y")], [("Gemm", "x w b", "z"), ("Dropout", "z half false", "y")],
    [("Gemm", "x w b", "z"), ("Dropout", "z half", "y mask")],
    # Scalings and shifts beside a layer.
    [("Sub", "x mean2", "c"), ("Div", "c sd2", "s"), ("Gemm", "s w b", "y")],
    [("Mul", "x sd2", "c"), ("Add", "mean2 c", "s"), ("MatMul", "s w", "y")],
    [("Sub", "one x", "c"), ("Gemm", "c w b", "y")], [("Neg", "x", "c"), ("Gemm", "c w b", "y")],
    [("ai.onnx.ml.Scaler", "x", "s", {"offset": [0.5, -1.0], "scale": [2.0, 0.25]}), ("Gemm", "s w b", "y")],
    [("ai.onnx.ml.Scaler", "x", "s", {"offset": [0.5], "scale": [2.0]}), ("Gemm", "s w b", "y")],
    [GEMM, ("BatchNormalization", "z gamma b mean variance", "y", {"epsilon": 0.01})],
    [GEMM, ("Add", "z scalar", "a"), ("Mul", "a sd", "m"), ("Sub", "mean m", "y")], [GEMM, ("Div", "z sd", "y")],
    [GEMM, ("Gemm", "z v", "y")],
], ids=lambda nodes: " ".join(node[0] for node in nodes))
def test_what_others_write_is_read(nodes, write, run):
    assert_read(write(*nodes, **used(nodes)), run, ("identity",) * sum(
        node[0] in ("Gemm", "MatMul") and node[2] != "lost" for node in nodes))


@pytest.mark.parametrize("nodes", [
    [GEMM, ("Relu", "z", "r"), ("BatchNormalization", "r gamma b mean variance", "n"), ("Gemm", "n v", "y")],
    [GEMM, ("BatchNormalization", "z gamma b mean variance", "n"), ("Relu", "n", "r"), ("Mul", "r sd", "m"),
     ("Add", "m mean", "a"), ("MatMul", "a v", "y")],
    [GEMM, ("Mul", "z two", "a"), ("Clip", "a zero", "c"), ("Neg", "c", "d"), ("Dropout", "d", "e"), ("Gemm", "e v",
                                                                                                      "y")],
    # What is passed over may lie between two functions.
    [GEMM, ("Relu", "z", "r"), ("Identity", "r", "i"), ("Mul", "i sd", "m"), ("Gemm", "m v", "y")],
    [GEMM, ("Mul", "z two", "m"), ("Cast", "m", "c", {"to": 1}), ("Abs", "c", "a"), ("Identity", "a", "d"),
     ("Add", "d c", "s"), ("Mul", "s half", "h"), ("Reshape", "h minus1", "k"), ("Sub", "k mean", "f"),
     ("Gemm", "f v", "y")],
], ids=lambda nodes: " ".join(node[0] for node in nodes))
def test_scalings_around_an_activation_are_read(nodes, write, run):
    assert_read(write(*nodes, **used(nodes)), run, ("relu", "identity"))


ACTIVATED = {
    "relu": [
        [("Relu", "z", "y")], [("Clip", "z zero", "y")], [("Clip", "z zero hi", "y")], [("Max", "z zero", "y")],
        [("Max", "zero z", "y")], [("PRelu", "z zero", "y")], [("LeakyRelu", "z", "y", {"alpha": 0.0})],
        [("ThresholdedRelu", "z", "y", {"alpha": 0.0})], [("Greater", "z zero", "g"), ("Where", "g z zero", "y")],
        [("Relu", "z", "r"), ("Relu", "r", "y")], [("Abs", "z", "a"), ("Add", "a z", "s"), ("Mul", "half s", "y")],
        [("Neg", "z", "n"), ("Min", "n zero", "m"), ("Neg", "m", "y")]],
    "leaky_relu": [
        [("LeakyRelu", "z", "y")], [("PRelu", "z small", "y")], [("PRelu", "z slopes", "y")],
        [("Mul", "z small", "m"), ("Max", "m z", "y")],
        [("GreaterOrEqual", "z zero", "g"), ("Mul", "small z", "m"), ("Where", "g z m", "y")]],
    "elu": [[("Elu", "z", "y")], [("Celu", "z", "y")],
            [("Exp", "z", "e"), ("Sub", "e one", "m"), ("Less", "z zero", "l"), ("Where", "l m z", "y")]],
    "selu": [[("Selu", "z", "y")]],
    "softplus": [
        [("Softplus", "z", "y")], [("Exp", "z", "e"), ("Add", "one e", "s"), ("Log", "s", "y")],
        [("Greater", "z twenty", "g"), ("Softplus", "z", "s"), ("Where", "g z s", "y")]],
    "silu": [[("Sigmoid", "z", "s"), ("Mul", "s z", "y")],
             [("Neg", "z", "n"), ("Exp", "n", "e"), ("Add", "e one", "d"), ("Div", "z d", "y")]],
    "gelu": [
        [("Gelu", "z", "y")], [("Gelu", "z", "y", {"approximate": "none"})],
        [("Div", "z sqrt2", "d"), ("Erf", "d", "e"), ("Add", "e one", "a"), ("Mul", "half a", "h"), ("Mul", "z h",
                                                                                                     "y")],
        [("Mul", "z sqrth", "d"), ("Erf", "d", "e"), ("Add", "one e", "a"), ("Mul", "z half", "h"), ("Mul", "a h",
                                                                                                     "y")]],
    "sigmoid": [[("Sigmoid", "z", "y")], [("Neg", "z", "n"), ("Exp", "n", "e"), ("Add", "e one", "d"), ("Reciprocal",
                                                                                                        "d", "y")]],
    "tanh": [[("Tanh", "z", "y")], [("Mul", "z two", "m"), ("Sigmoid", "m", "s"), ("Mul", "s two", "t"), ("Sub",
                                                                                                          "t one",
                                                                                                          "y")]],
    "exp": [[("Exp", "z", "y")]],
    "softmax": [[("Softmax", "z", "y")], [("Softmax", "z", "y", {"axis": 1})], [("Mul", "z half", "m"), ("Softmax",
                                                                                                         "m", "y")]],
    "identity": [[("Clip", "z lo hi", "y")], [("Exp", "z", "e"), ("Log", "e", "y")], [("Max", "z z", "y")]],
}


@pytest.mark.parametrize("activation, nodes", [
    (name, nodes) for name, spellings in ACTIVATED.items() for nodes in spellings],
    ids=lambda part: part if isinstance(part, str) else " ".join(node[0] for node in part))
def test_an_activation_is_known_by_what_it_computes(activation, nodes, write, run):
    assert_read(write(GEMM, *nodes, **used([GEMM, *nodes])), run, (activation,))


NUMBERS = {"twelve": np.array(12, "f"), "deep": np.zeros((1, 1, 1), "f"), "deep3": np.ones((1, 1, 3), "f"),
           "six": np.array(6, "f"),
           "slope": np.array(0.0100001, "f"),
           "uneven": np.array([0.01, 0.02, 0.01], "f"), "tiny": np.array(1e-6, "f"), "c3": np.array(0.044715, "f"),
           "factor": np.array(1.702, "f"), "large": np.array(1e5, "f"), "threshold": np.array(5, "f"),
           "three": np.array(3, "f"),
           "shape2": np.array([-1, 1]), "wide": np.array([[1.0], [2.0]], "f"), "true": np.array(True),
           "i2": np.array(2)}


@pytest.mark.parametrize("words, nodes", [
    (r"Clip\(0, 6\), which gives 6 at 6.\d+, where relu, the closest", [("Clip", "z zero six", "y")]),
    (r"Clip\(0, 100000\), which gives 100000 at", [("Clip", "z zero large", "y")]),
    (r"LeakyRelu\(alpha=0.02\), which gives -0.02 at -1, where leaky_relu, the closest of fastnn's, gives -0.01",
     [("LeakyRelu", "z", "y", {"alpha": 0.02})]),
    (r"PRelu\(0.0100001\), which gives -0.0100001 at -1", [("PRelu", "z slope", "y")]),
    (r"PRelu\(\), which is not the same function of each column", [("PRelu", "z uneven", "y")]),
    (r"Elu\(alpha=1.00001\), which .* where elu", [("Elu", "z", "y", {"alpha": 1.00001})]),
    (r"Greater\(12\), Softplus\(\), Where\(\), which .* where softplus",
     [("Greater", "z twelve", "g"), ("Softplus", "z", "s"), ("Where", "g z s", "y")]),
    (r"Max\(0\), which is not the same function", [("Max", "z deep", "y")]),
    (r"constant of shape \(1, 1, 3\)", [("Add", "z deep3", "y")]),
    (r"Elu\(alpha=1.01\), which", [("Elu", "z", "y", {"alpha": 1.01})]),
    (r"Celu\(alpha=2\), which", [("Celu", "z", "y", {"alpha": 2.0})]),
    (r"Selu\(alpha=1.673, gamma=1.0507\), which", [("Selu", "z", "y", {"alpha": 1.673, "gamma": 1.0507})]),
    (r"Gelu\(approximate='tanh'\), which gives -0.158808 at -1, where gelu, .* gives -0.1586553",
     [("Gelu", "z", "y", {"approximate": "tanh"})]),
    (r"Mul\(1.702\), Sigmoid\(\), Mul\(\), which .* where gelu", [("Mul", "z factor", "m"), ("Sigmoid", "m", "s"),
                                                                    ("Mul", "s z", "y")]),
    (r"scales or shifts what the activation 'softplus' gives", [("Mul", "z two", "m"), ("Softplus", "m", "s"),
                                                                ("Div", "s two", "y")]),
    (r"Greater\(5\), Softplus\(\), Where\(\), which gives .* where softplus",
     [("Greater", "z threshold", "g"), ("Softplus", "z", "s"), ("Where", "g z s", "y")]),
    (r"Greater\(1e-06\), Where\(0\), which gives 0 at", [("Greater", "z tiny", "g"), ("Where", "g z zero", "y")]),
    (r"HardSigmoid\(alpha=0.2, beta=0.5\), which", [("HardSigmoid", "z", "y")]),
    (r"HardSwish\(\), which", [("HardSwish", "z", "y")]), (r"Mish\(\), which", [("Mish", "z", "y")]),
    (r"Softsign\(\), which", [("Softsign", "z", "y")]), (r"Mul\(\), which", [("Mul", "z z", "y")]),
    (r"Pow\(2\), which", [("Pow", "z i2", "y")]), (r"Abs\(\), which", [("Abs", "z", "y")]),
    (r"Tanh\(\), Relu\(\), which", [("Tanh", "z", "t"), ("Relu", "t", "y")]),
    (r"Relu\(\), Add\(\), which gives", [("Relu", "z", "r"), ("Add", "r z", "y")]),
    (r"Div\(1\), which gives", [("Div", "one z", "y")]),
    (r"Cast\(.*to=7\), but", [("Cast", "z", "i", {"to": 7}), ("Cast", "i", "y", {"to": 1})]),
    (r"Cast\(.*to=10\), but", [("Cast", "z", "i", {"to": 10}), ("Cast", "i", "y", {"to": 1})]),
    (r"Softmax\(axis=0\), but", [("Softmax", "z", "y", {"axis": 0})]),
    (r"LogSoftmax\(axis=-1\), but", [("LogSoftmax", "z", "y")]),
    (r"LayerNormalization\(.*\), but", [("LayerNormalization", "z gamma b", "y")]),
    (r"Flatten\(axis=0\), but", [("Flatten", "z", "y", {"axis": 0})]),
    (r"a Reshape to \[-1, 1\], which may change the rows, but", [("Reshape", "z shape2", "y")]),
    (r"a Dropout that may be in training, but", [("Dropout", "z half true", "y")]),
    (r"a BatchNormalization in training, but",
     [("BatchNormalization", "z gamma b mean variance", "y mo vo", {"training_mode": 1})]),
    (r"scales or shifts what the activation 'tanh' gives", [("Tanh", "z", "t"), ("Mul", "t two", "y")]),
])
def test_what_is_no_activation_of_fastnn_is_refused(words, nodes, write):
    nodes = [GEMM, *nodes]
    read = {word for _, names, *_ in nodes for word in names.split()}
    numbers = {name: array for name, array in NUMBERS.items() if name in read}
    with pytest.raises(ValueError, match=rf"node \d 'the_\w+' \(.*{words}"):
        from_onnx(write(*nodes, **used(nodes), **numbers))


@pytest.mark.parametrize("sentence, nodes", [
    (r"node 0 'the_Gemm' .*transA=1", [("Gemm", "x w", "y", {"transA": 1})]),
    (r"node 0 'the_MatMul' .*product of \['w', 'x'\]", [("MatMul", "w x", "y")]),
    (r"node 0 'the_Gemm' .*product of \['x', 'x'\]", [("Gemm", "x x", "y")]),
    (r"node 0 'the_Gemm' .*constant of shape \(5, 3\)", [("Gemm", "x w many", "y")]),
    (r"node 1 'the_Add' .*constant of shape \(5, 3\)", [("MatMul", "x w", "z"), ("Add", "z many", "y")]),
    (r"node 0 'the_Add' .*constant of shape \(3,\), but .* fits 2 columns", [("Add", "x b", "z"), ("Gemm", "z w",
                                                                                                   "y")]),
    (r"node 0 'the_Relu' .*no layer of weights before", [("Relu", "x", "y")]),
    (r"node 2 'the_Relu' .*has its own", [GEMM, ("Softmax", "z", "t"), ("Relu", "t", "y")]),
    (r"node 2 'the_Gemm2' .*follows 'softmax', which only the output",
     [GEMM, ("Softmax", "z", "s"), ("Gemm", "s v", "y")]),
    (r"node 3 'the_Add' .*reads \['r', 'z'\]: the graph is no chain",
     [GEMM, ("Gemm", "z s3", "z3"), ("Relu", "z3", "r"), ("Add", "r z", "y")]),
    (r"node 2 'the_Add' .*reads \['z', 'z2'\]: the graph is no chain", [GEMM, ("Gemm", "x w", "z2"), ("Add", "z z2",
                                                                                                      "y")]),
    (r"node 1 'the_Gemm1' .*takes 2 inputs, but .* 3 outputs", [GEMM, ("Gemm", "z w", "y")]),
    (r"node 1 'the_Gelu' \(com.microsoft.Gelu\)", [GEMM, ("com.microsoft.Gelu", "z", "y")]),
    (r"node 0 'the_Normalizer' \(ai.onnx.ml.Normalizer\) is Normalizer\(norm='L2'\), but",
     [("ai.onnx.ml.Normalizer", "x", "n", {"norm": "L2"}), ("Gemm", "n w", "y")]),
    (r"node 0 'the_Gemm' .*int64", [("Gemm", "x wi", "y")]),
    (r"node 0 'the_Gemm' .*biases of shape \(3,\) and dtype float64, but", [("Gemm", "x w b64", "y")]),
    (r"node 1 'the_Gemm1' .*dtype float64, but the layers before it have float32", [GEMM, ("Gemm", "z v64", "y")]),
    (r"there is no layer of weights", [("Identity", "x", "y")]),
    (r"node 0 'the_Split' .*gives \['a', 'c'\]: the graph is no chain",
     [("Split", "x", "a c", {"num_outputs": 2}), ("Concat", "a c", "j", {"axis": 1}), ("Gemm", "j w", "y")]),
    (r"node 0 'the_RandomNormal' .*makes a constant in a way that is not read",
     [("RandomNormal", "", "r", {"shape": [2, 3]}), ("Gemm", "x r", "y")]),
    (r"node 0 'the_Add' .*makes a constant in a way", [("Add", "b column", "m"), ("Gemm", "x m", "y")]),
    (r"node 0 'the_Cast' .*cannot be evaluated: TensorProto.DataType 16 is not among those that are read",
     [("Cast", "b", "c", {"to": 16}), ("Cast", "c", "d", {"to": 1}), ("Gemm", "x w d", "y")]),
    (r"node 0 'the_Reshape' .*cannot be evaluated", [("Reshape", "w five", "m"), ("Gemm", "x m", "y")]),
    (r"node 1 'the_Div' .*NaN or infinity", [GEMM, ("Div", "z zeros", "y")]),
    (r"node 1 'the_Relu' .*more than 50 functions", [GEMM, *[("Relu", "z" + "r" * n,
                                                              "zr" + "r" * n) for n in range(60)],
                                                      ("Relu", "z" + "r" * 60, "y")]),
])
def test_what_is_no_chain_of_layers_is_refused(sentence, nodes, write):
    arrays = {"w": W, "b": B, "many": np.ones((5, 3), "f"), "v": W.T.copy(), "scalar": np.array(3, "f"),
              "wi": W.astype(int), "b64": B.astype(float), "v64": W.T.astype(float), "s3": np.eye(3, dtype="f"),
              "column": np.ones((2, 1), "f"), "five": np.array([5]), "zeros": np.zeros(3, "f")}
    with pytest.raises(ValueError, match=sentence):
        from_onnx(write(*nodes, **arrays))


def test_a_graph_with_two_inputs_or_outputs_is_refused(write):
    with pytest.raises(ValueError, match=r"inputs \['x', 'x2'\] and the outputs \['y'\]"):
        from_onnx(write(("Gemm", "x w", "y"), inputs=("x", "x2"), w=W))
    with pytest.raises(ValueError, match=r"the outputs \['y', 'r'\]"):
        from_onnx(write(("Gemm", "x w", "y"), ("Relu", "y", "r"), outputs=("y", "r"), w=W))


@pytest.mark.parametrize("last", [[("Reshape", "a column", "y")], [("Identity", "a", "y")]])
def test_a_pipeline_that_skl2onnx_writes_is_read(last, write, run):
    """A StandardScaler and an MLPRegressor: casts and a reshape that do nothing."""
    nodes = [("ai.onnx.ml.Scaler", "x", "s", {"offset": [0.5, -1.0], "scale": [2.0, 0.25]}),
             ("Cast", "s", "c", {"to": 1}), ("MatMul", "c w", "p"), ("Add", "p row", "q"), ("Sigmoid", "q", "h"),
             ("MatMul", "h v1", "t"), ("Add", "t b1", "a"), *last]
    assert_read(write(*nodes, w=W, row=B[None], v1=W[:1].T.copy(), b1=np.array([[0.5]], "f"), column=np.array([-1, 1]),
                      gives=("n", 1)), run, ("sigmoid", "identity"))


def test_a_classifier_that_skl2onnx_writes_is_read_without_its_labels(onnx, write, run, tmp_path):
    """The sentence that refuses two outputs names the cure, and the cure works."""
    path = write(GEMM, ("Softmax", "z", "s"), ("ArgMax", "s", "label", {"axis": 1, "keepdims": 0}),
                 ("Identity", "s", "y"), **used([GEMM]))
    model = onnx.load(path)
    model.graph.output.insert(0, onnx.helper.make_tensor_value_info("label", 7, ["n"]))
    onnx.save(model, path)
    part = str(tmp_path / "part.onnx")
    with pytest.raises(ValueError, match=r"extract_model\(path, new_path, \['x'\], \['y'\]\) writes one"):
        from_onnx(path)
    onnx.utils.extract_model(str(path), part, ["x"], ["y"])
    assert_read(part, run, ("softmax",))


def test_the_operator_of_silu_is_read(write):
    assert from_onnx(write(GEMM, ("Swish", "z", "y"), opset=24, **used([GEMM]))).activations == ("silu",)


def test_constants_that_are_inputs_too_are_read(onnx, write, run):
    """As files had to be before 2019."""
    path = write(GEMM, ("Relu", "z", "y"), opset=9, **used([GEMM]))
    model = onnx.load(path)
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    onnx.save(model, path)
    assert_read(path, run, ("relu",))


@pytest.mark.parametrize("words, nodes", [
    (r"node \d 'the_Concat\d' .*makes a constant in a way", [("Concat", "w w", "m0", {"axis": 0}), *[
        ("Concat", f"m{n} m{n}", f"m{n + 1}", {"axis": 0}) for n in range(60)], ("Gemm", "x m60", "y")]),
    ("node 0 'the_ConstantOfShape' .*makes a constant", [("ConstantOfShape", "huge", "m"), ("Gemm", "x m", "y")])],
    ids=["Concat", "ConstantOfShape"])
def test_constants_cannot_fill_the_memory(words, nodes, write):
    with pytest.raises(ValueError, match=words):
        from_onnx(write(*nodes, w=W, huge=np.array([10**6, 10**6])))


def test_a_free_size_may_be_minus_one(write, run):
    assert from_onnx(write(("Gemm", "x w", "y"), w=W, shape=(-1, 2), gives=(-1, 3))).layer_sizes == (2, 3)


@pytest.mark.parametrize("sentence, nodes, more", [
    (r"'x' with the shape \(n, 4, 2\), but rows of numbers", [("MatMul", "x w", "z"), ("Softmax", "z", "y",
                                                                                       {"axis": 1})],
     {"shape": ("n", 4, 2), "gives": ("n", 4, 3)}),
    (r"'x' with the shape \(n, 4, 2\), but rows", [("MatMul", "x w", "z"), ("Flatten", "z", "y")], {"shape": ("n", 4,
                                                                                                              2)}),
    (r"'x' with the shape \(2\), but rows", [("MatMul", "x w", "y")], {"shape": (2,), "gives": (3,)}),
    (r"'y' with the shape \(n, 1, 3\), but rows", [GEMM, ("Relu", "z", "y")], {"gives": ("n", 1, 3)}),
    (r"'x' with the shape \(n, 7\), but its layers of weights take 2 columns and give 3", [("Gemm", "x w", "y")],
     {"shape": ("n", 7)}),
    (r"'y' with the shape \(n, 5\), but its layers of weights take 2 columns and give 3", [("Gemm", "x w", "y")],
     {"gives": ("n", 5)}),
    (r"contradict each other: .*\(7\) vs \(3\)|contradict each other: .*3.*7", [GEMM, ("Relu", "z", "y")],
     {"inside": [("z", "float32", ("n", 7))]}),
    (r"contradict each other", [GEMM, ("Relu", "z", "y")], {"inside": [("z", "float32", ("n", 1, 3))]}),
    (r"contradict each other", [("Gemm", "x w b", "y")], {"dtype": "float64"}),
    (r"contradict each other", [("Gemm", "x w b", "y")], {"out": "float64"}),
    (r"contradict each other", [("Cast", "x", "c", {"to": 11}), ("Gemm", "c w b", "y")], {}),
    (r"node 0 'the_Add' .*computes with int64", [("Add", "x i", "a"), ("Cast", "a", "c", {"to": 1}), ("Gemm", "c w b",
                                                                                                      "y")],
     {"dtype": "int64", "out": "float32"}),
    (r"'x' holds no numbers that are known", [("Gemm", "x w b", "y")], {"dtype": "bool", "out": "float32"}),
    (r"node 0 'the_Reshape' .*a Reshape to \[-1, 2\]", [("Reshape", "x two2", "r"), ("Gemm", "r w b", "y")],
     {"shape": ("n", "k")}),
    (r"node 3 'the_Reshape' .*a Reshape to \[2, -1\]",
     [("Shape", "x", "s"), ("Gather", "s one1", "u"), ("Concat", "u rest", "t", {"axis": 0}), ("Reshape", "x t", "r"),
      ("Gemm", "r w b", "y")], {}),
    (r"node 2 'the_Reshape' .*a Reshape to \[7919, -1\]",
     [("Concat", "prime rest", "t", {"axis": 0}), ("Identity", "x", "e"), ("Reshape", "e t", "r"),
      ("Gemm", "r w b", "y")],
     {}),
    (r"node 0 'the_Shape' .*is Shape\(",
     [("Shape", "x", "s"), ("Mul", "s s", "t"), ("Reshape", "x t", "r"), ("Gemm", "r w b", "y")], {}),
    (r"node 1 'the_Reshape' .*a Reshape to \[1, 3\]", [GEMM, ("Reshape", "z one3", "y")], {}),
    (r"opset 6, but opsets 7 to \d+ are understood", [("MatMul", "x w", "z"), ("Add", "z b", "y", {"axis": 0,
                                                                                                   "broadcast": 1})],
     {"opset": 6}),
    (r"opset 99, but opsets 7 to \d+ are understood", [("Gemm", "x w b", "y")], {"opset": 99}),
    (r"node 1 'the_Softmax' .*Softmax\(axis=0\)", [GEMM, ("Softmax", "z", "y", {"axis": 0})], {"opset": 11}),
])
def test_what_is_no_chain_of_rows_is_refused(sentence, nodes, more, write):
    arrays = used(nodes) | {"i": np.array(1), "two2": np.array([-1, 2]), "one3": np.array([1, 3])}
    with pytest.raises(ValueError, match=sentence):
        from_onnx(write(*nodes, **more, **arrays))


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12, 13, 15, 18, 21, 22])
def test_every_opset_that_is_understood(opset, write, run):
    """Softmax without an axis means axis 1 before opset 13; Clip and Squeeze had attributes instead of inputs."""
    clip = [("Clip", "n zero", "c")] if opset >= 11 else [("Clip", "n", "c", {"min": 0.0})]
    squeeze = [("Squeeze", "row axes", "s")] if opset >= 13 else [("Squeeze", "row", "s", {"axes": [0]})]
    nodes = [*squeeze, ("Gemm", "x w s", "z"), ("BatchNormalization", "z gamma b mean variance", "n"), *clip,
             ("Dropout", "c", "d"),
             ("Gemm", "d v scalar", "e"), ("Softmax", "e", "y")]
    assert_read(write(*nodes, opset=opset, **used(nodes)), run, ("relu", "softmax"))


@pytest.mark.parametrize("nodes, more", [
    ([("Cast", "x", "c", {"to": 1}), ("Gemm", "c w b", "y")], {"dtype": "int64", "out": "float32"}),
    ([("Cast", "x", "c", {"to": 1}), ("Gemm", "c w b", "y")], {"dtype": "float64", "out": "float32"}),
    ([("Gemm", "x w b", "z"), ("Cast", "z", "y", {"to": 11})], {"out": "float64"}),
    ([("ai.onnx.ml.Scaler", "x", "s", {"offset": [1.0], "scale": [0.5]}), ("Gemm", "s w b", "y")],
     {"dtype": "int64", "out": "float32"}),
    ([("Reshape", "x same", "r"), ("Gemm", "r w b", "y")], {"shape": (50, 2)}),
    ([("Reshape", "x first", "r"), ("Gemm", "r w b", "y")], {"shape": (50, "k")}),
])
def test_inputs_of_other_dtypes_and_shapes_are_read(nodes, more, write, run):
    arrays = used(nodes) | {"same": np.array([50, 2]), "first": np.array([50, -1])}
    inputs = (X[:, :2] * 3).round().astype(more.get("dtype", "float32"))
    assert_read(write(*nodes, **more, **arrays), run, ("identity",), inputs=inputs)


def test_a_float64_file_is_a_float64_network(write, run):
    network = assert_read(write(("Sub", "x f64", "c"), ("Gemm", "c w64 b64", "z"), ("Tanh", "z", "y"), dtype="float64",
                                **{name: ARRAYS[name] for name in ("f64", "w64", "b64")}), run, ("tanh",), "float64")
    assert network.dtype == "float64"


def test_columns_far_from_zero_make_a_float64_network(write, run):
    """Seconds since 1970: float32 weights would not tell the rows apart."""
    nodes = [("Sub", "x middle", "c"), ("Div", "c day", "s"), ("Gemm", "s w b", "y")]
    network = from_onnx(write(*nodes, **used(nodes), middle=np.array([1.7e9, 0], "f"), day=np.array([86400, 1], "f")))
    inputs = np.array([[1.7e9 + 86400, 1], [1.7e9 - 43200, 0]])
    assert network.dtype == "float64"
    middle = float(np.float32(1.7e9))
    expected = (inputs - [middle, 0]) / [86400, 1] @ W + B
    assert np.abs(network.predict(inputs) - expected).max() < 1e-9


def test_what_only_other_programs_can_read_is_named_with_its_cure(onnx, write, tmp_path):
    path = write(GEMM, ("Relu", "z", "y"), **used([GEMM]))
    model = onnx.load(path)
    function = onnx.helper.make_function("own", "Mine", ["a"], ["c"], [onnx.helper.make_node("Relu", ["a"], ["c"])],
                                         [onnx.helper.make_opsetid("", 20)])
    model.functions.append(function)
    model.opset_import.append(onnx.helper.make_opsetid("own", 1))
    model.graph.node[1].domain, model.graph.node[1].op_type = "own", "Mine"
    onnx.save(model, path)
    with pytest.raises(ValueError, match=r"operators of its own, .*inline_local_functions of onnx.inliner"):
        from_onnx(path)
    from onnx.inliner import inline_local_functions
    onnx.save(inline_local_functions(onnx.load(path)), path)
    assert from_onnx(path).activations == ("relu",)
    values = onnx.helper.make_tensor("sparse", 1, [1], [1.0])
    places = onnx.helper.make_tensor("places", 7, [1], [1])
    model = onnx.load(path)
    model.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, places, [3]))
    onnx.save(model, path)
    with pytest.raises(ValueError, match="the tensor 'sparse' is sparse, but only dense ones are read"):
        from_onnx(path)
