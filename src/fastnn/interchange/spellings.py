"""How other libraries spell fastnn's activations: a row an activation, which readers and writers take from here.

For ONNX an activation is a list of steps (`Step`), each of which becomes a node. Operators of ONNX are used where
ONNX Runtime has them for the network's dtype. For float64 it lacks LeakyRelu, Elu, Selu, Softplus and Erf. The first
four are composed of simpler operators. Erf is computed in float32 between two casts, so a float64 gelu of z has an
error of up to 1e-7 |z| there. The reader of ONNX needs no spelling: it knows an activation by what it computes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

FLOAT, DOUBLE = 1, 11           # TensorProto.DataType


class Step(NamedTuple):
    """A node: its operator, its inputs ("z", the results of earlier steps as "0", "1", …, numbers), its attributes."""

    operator: str
    inputs: tuple[str | float, ...] = ("z",)
    attributes: dict[str, Any] = {}


class Spelling(NamedTuple):
    """An activation in other libraries; None and () where there is nothing to write or to read."""

    onnx: list[Step]
    onnx_float64: list[Step] | None = None              # where it is another one
    c: str | None = None                                # the value of z, see c.py; None: c.py has a function
    torch: tuple[str, dict[str, Any]] | None = None     # a class of torch.nn, and the constants that it must have
    keras: tuple[str, ...] = ()                         # functions
    sklearn: str | None = None


def composed(*steps: tuple[Any, ...]) -> list[Step]:
    """Steps from (operator, inputs), each of one more line of a formula."""
    return [Step(operator, tuple(inputs)) for operator, *inputs in steps]


SQRT2 = 2.0**0.5
SELU_SCALE, SELU_SCALE_ALPHA = 1.0507009873554804934, 1.7580993408473768599
EXPM1_NEGATIVE = [("Min", "z", 0.0), ("Exp", "0"), ("Sub", "1", 1.0), ("Max", "z", 0.0)]
SPELLINGS = {
    "identity": Spelling([], keras=("linear",), sklearn="identity"),
    "sigmoid": Spelling(
        [Step("Sigmoid")],
        c="z < 0 ? exp@(z) / (1 + exp@(z)) : 1 / (1 + exp@(-z))",
        torch=("Sigmoid", {}), keras=("sigmoid",), sklearn="logistic"),
    "tanh": Spelling([Step("Tanh")], c="tanh@(z)", torch=("Tanh", {}), keras=("tanh",), sklearn="tanh"),
    "relu": Spelling([Step("Relu")], c="z < 0 ? 0 : z", torch=("ReLU", {}), keras=("relu",), sklearn="relu"),
    "leaky_relu": Spelling(     # Keras's function has another slope
        [Step("LeakyRelu", attributes={"alpha": 0.01})],
        composed(("Mul", "z", 0.01), ("Max", "z", "0")),
        c="z < 0 ? {0.01} * z : z",
        torch=("LeakyReLU", {"negative_slope": 0.01})),
    "elu": Spelling(
        [Step("Elu", attributes={"alpha": 1.0})],
        composed(*EXPM1_NEGATIVE, ("Add", "3", "2")),
        c="z < 0 ? $expm1(z) : z",
        torch=("ELU", {"alpha": 1.0}), keras=("elu",)),
    "selu": Spelling(
        [Step("Selu", attributes={"alpha": SELU_SCALE_ALPHA / SELU_SCALE, "gamma": SELU_SCALE})],
        composed(*EXPM1_NEGATIVE, ("Mul", "2", SELU_SCALE_ALPHA), ("Mul", "3", SELU_SCALE), ("Add", "5", "4")),
        c="z < 0 ? {1.7580993408473768599} * $expm1(z) : {1.0507009873554804934} * z",
        torch=("SELU", {}), keras=("selu",)),
    "softplus": Spelling(
        [Step("Softplus")],
        composed(("Abs", "z"), ("Neg", "0"), ("Exp", "1"), ("Add", "2", 1.0), ("Log", "3"), ("Max", "z", 0.0),
                 ("Add", "5", "4")),
        c="(z < 0 ? 0 : z) + $log1p(exp@(-fabs@(z)))",
        torch=("Softplus", {"beta": 1.0, "threshold": 20.0}), keras=("softplus",)),
    "silu": Spelling(
        composed(("Sigmoid", "z"), ("Mul", "z", "0")),
        c="z < 0 ? z * exp@(z) / (1 + exp@(z)) : z / (1 + exp@(-z))",
        torch=("SiLU", {}), keras=("silu", "swish")),
    "gelu": Spelling(
        composed(("Div", "z", SQRT2), ("Erf", "0"), ("Add", "1", 1.0), ("Mul", "z", "2"), ("Mul", "3", 0.5)),
        [Step("Div", ("z", SQRT2)), Step("Cast", ("0",), {"to": FLOAT}), Step("Erf", ("1",)),
         Step("Cast", ("2",), {"to": DOUBLE}), Step("Add", ("3", 1.0)), Step("Mul", ("z", "4")),
         Step("Mul", ("5", 0.5))],
        c="{0.5} * z * $erfc({-0.70710678118654752440} * z)",
        torch=("GELU", {"approximate": "none"}), keras=("gelu",)),
    "softmax": Spelling(
        [Step("Softmax", attributes={"axis": -1})],
        torch=("Softmax", {"dim": -1}), keras=("softmax",), sklearn="softmax"),
    "exp": Spelling([Step("Exp")], c="exp@(z)", keras=("exponential",), sklearn="exp"),      # PyTorch has no module
}
