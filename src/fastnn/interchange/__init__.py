"""Models from and for other tools: ONNX, PyTorch, scikit-learn, Keras and C.

Only the network is converted, without the state of its training. Each other library is imported when it is used;
`from_keras` and `to_c` need none. Parameters keep their bits, unless a scaling beside a layer becomes part of it. A
piece without a counterpart is refused, and the error names it. Results differ by more than rounding in two places, both
in float64: gelu in ONNX, whose Erf runs in float32 (1e-7), and PyTorch's softplus beyond 20 (2e-9).
"""

from .c import to_c
from .keras import from_keras
from .onnx import from_onnx, to_onnx
from .sklearn import from_sklearn, to_sklearn
from .torch import from_torch, to_torch

__all__ = ["from_keras", "from_onnx", "from_sklearn", "from_torch", "to_c", "to_onnx", "to_sklearn", "to_torch"]
