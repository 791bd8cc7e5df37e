"""PyTorch: a Network as a torch.nn.Sequential, and back.

Parameters are copied bit by bit. PyTorch keeps weights as (n_out, n_in), and has no module for exp.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._optional import library
from .chain import Chain, layers, unsupported

if TYPE_CHECKING:
    import torch

    from .._types import AnyLoss, Array, LossName
    from ..network import Network

# Modules by the activation that they are, each with its constants.
MODULES: dict[str, tuple[str, dict[str, Any]]] = {
    "sigmoid": ("Sigmoid", {}), "tanh": ("Tanh", {}), "relu": ("ReLU", {}),
    "leaky_relu": ("LeakyReLU", {"negative_slope": 0.01}), "elu": ("ELU", {"alpha": 1.0}), "selu": ("SELU", {}),
    "softplus": ("Softplus", {"beta": 1.0, "threshold": 20.0}), "silu": ("SiLU", {}),
    "gelu": ("GELU", {"approximate": "none"}), "softmax": ("Softmax", {"dim": -1}),
}
SUPPORTED = ("only Linear, Flatten, Identity, Dropout and the modules of fastnn's activations "
             f"({', '.join(module for module, _ in MODULES.values())}) can become a fastnn.Network")


def to_torch(network: Network) -> torch.nn.Sequential:
    """The network as a torch.nn.Sequential of Linear and activation modules, with its dtype and its parameters.

    Dropout is a matter of training, and is left out. ValueError for the output "exp", for which
    PyTorch has no module. ImportError without PyTorch.

    >>> import fastnn
    >>> fastnn.interchange.to_torch(fastnn.Network([4, 8, 3], output="softmax"))
    Sequential(
      (0): Linear(in_features=4, out_features=8, bias=True)
      (1): ReLU()
      (2): Linear(in_features=8, out_features=3, bias=True)
      (3): Softmax(dim=-1)
    )
    """
    torch = library("torch", "PyTorch", "torch", "to_torch")
    if network.activations[-1] == "exp":
        raise ValueError("the output is 'exp', but PyTorch has no module for it; build the network with "
                         "output='identity' and these weights, and apply torch.exp to what comes out")
    modules = []
    for weights, biases, activation in layers(network):
        linear = torch.nn.utils.skip_init(torch.nn.Linear, *weights.shape, dtype=getattr(torch, network.dtype))
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weights.copy()).T)
            linear.bias.copy_(torch.from_numpy(biases.copy()))
        modules.append(linear)
        if activation != "identity":
            name, constants = MODULES[activation]
            modules.append(getattr(torch.nn, name)(**constants))
    return torch.nn.Sequential(*modules)


def from_torch(module: torch.nn.Module, *, loss: LossName | str | AnyLoss | None = None,
               seed: int = 0) -> Network:
    """The Network that computes what a torch.nn.Sequential computes in evaluation mode.

    Parameters
    ----------
    module : torch.nn.Sequential
        Of Linear (float32 or float64, on any device), the modules of fastnn's activations with
        their constants, Flatten, Identity, Sequential, and Dropout, which becomes the hidden
        layer's dropout. Linear after Linear has the activation "identity" between.
    loss, seed : as for Network

    Raises
    ------
    TypeError, ValueError
        For anything else; the sentence names the module and its place.
    ImportError
        Without PyTorch.

    >>> import torch, fastnn
    >>> fastnn.interchange.from_torch(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Softmax(-1)))
    Network([4, 3], activation=[], output='softmax', loss='cross_entropy', dtype='float32', seed=0)
    """
    torch = library("torch", "PyTorch", "torch", "from_torch")
    if type(module) is not torch.nn.Sequential:
        raise TypeError(f"module is a {type(module).__name__}, but must be a torch.nn.Sequential")
    check_no_hooks("module", module)
    chain = Chain()
    read(torch, module, chain)
    return chain.network(loss, seed)


def read(torch: Any, modules: Any, chain: Chain, place: str = "layer ") -> None:
    """Takes up the modules of a Sequential; a nested one's places are numbers with dots."""
    activations = {getattr(torch.nn, name): (activation, constants)
                   for activation, (name, constants) in MODULES.items()}
    for index, module in enumerate(modules):
        where, kind = f"{place}{index}", type(module)     # not isinstance: a subclass may compute anything
        check_no_hooks(where, module)
        if kind is torch.nn.Sequential:
            read(torch, module, chain, f"{where}.")
        elif kind is torch.nn.Linear:
            biases = None if module.bias is None else array(where, module.bias)
            chain.linear(where, array(where, module.weight).T, biases)
        elif kind is torch.nn.Dropout:
            chain.dropout(where, module.p)
        elif kind in activations:
            name, constants = activations[kind]
            for constant, value in constants.items():
                got = getattr(module, constant)
                if got != value and (constant, got) != ("dim", 1):
                    raise ValueError(f"{where} is {module!r}, whose {constant} is {got!r}, but fastnn's {name} is that "
                                     f"of {constant}={value!r}")
            chain.activation(where, name)
        elif not (kind is torch.nn.Identity or kind is torch.nn.Flatten and module.start_dim == 1
                  and module.end_dim == -1):
            raise unsupported(where, repr(module), SUPPORTED)


def check_no_hooks(where: str, module: torch.nn.Module) -> None:
    """Refuses hooks, which may change anything."""
    if module._forward_hooks or module._forward_pre_hooks:
        raise unsupported(where, f"{module!r} with hooks", SUPPORTED)


def array(where: str, tensor: Any) -> Array:
    """A parameter as an array."""
    if str(tensor.dtype) not in ("torch.float32", "torch.float64"):
        raise ValueError(f"{where} has dtype {tensor.dtype}, but must be torch.float32 or torch.float64; convert it "
                         "with module.float()")
    return tensor.detach().cpu().numpy()
