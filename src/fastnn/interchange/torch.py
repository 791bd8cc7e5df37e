"""PyTorch: a Network as a torch.nn.Sequential, and back.

Parameters keep their bits, unless a BatchNorm1d becomes part of them. PyTorch stores weights as (n_out, n_in), and has
no module for exp.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import library
from ..training.trainable import checked_network
from .chain import Chain, unsupported
from .contents import layers
from .spellings import SPELLINGS

if TYPE_CHECKING:
    import torch

    from .._types import AnyLoss, Array, LossName
    from ..network import Network

# Modules by the activation that they are, each with its constants.
MODULES = {name: spelling.torch for name, spelling in SPELLINGS.items() if spelling.torch is not None}
SUPPORTED = ("only Linear, BatchNorm1d, Flatten, Identity, Dropout, AlphaDropout and the modules of fastnn's "
             f"activations ({', '.join(module for module, _ in MODULES.values())}) can become a fastnn.Network")


# {part of the name of a class, a base or a hook: what to do about such a module}. They are of unsupported classes, or
# compute something else than their class does.
ADVICE = {
    "torch._dynamo.": "torch.compile made it, and its _orig_mod is what was compiled: pass module._orig_mod",
    "torch.nn.parallel.": "it wraps another module: pass module.module",
    "torch.optim.swa_utils.": "it wraps another module: pass module.module",
    "torch.jit.": "torch.jit made it: pass the module that it was made from",
    "torch.fx.": "torch.fx traced it: pass the module that was traced",
    "torch.nn.modules.lazy.": "it has no sizes yet: call the whole model once with inputs",
    "quantized": "pass the model as it was before it was quantized",
    "torch.nn.utils.parametrize.": "torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight') makes it plain",
    "torch.nn.utils.weight_norm.": "torch.nn.utils.remove_weight_norm(layer) makes it plain",
    "torch.nn.utils.spectral_norm.": "torch.nn.utils.remove_spectral_norm(layer) makes it plain",
    "torch.nn.utils.prune.": "torch.nn.utils.prune.remove(layer, 'weight') makes it plain",
}


def to_torch(network: Network) -> torch.nn.Sequential:
    """The network as a torch.nn.Sequential of Linear and activation modules, with its dtype and parameters.

    Dropout is left out, because it acts only in training.

    Raises
    ------
    ValueError
        If the output is "exp", because PyTorch has no module for it.
    ImportError
        If PyTorch is not installed.

    Examples
    --------

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
    checked_network(network)
    if network.activations[-1] == "exp":
        raise ValueError("the output is 'exp', but PyTorch has no module for it; build the network with "
                         "output='identity' and these weights, and apply torch.exp to what comes out")
    modules = []
    for weights, biases, activation in layers(network):
        linear = torch.nn.utils.skip_init(torch.nn.Linear, *weights.shape, dtype=getattr(torch, network.dtype))
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weights).T)
            linear.bias.copy_(torch.from_numpy(biases))
        modules.append(linear)
        if activation != "identity":
            name, constants = MODULES[activation]
            modules.append(getattr(torch.nn, name)(**constants))
    return torch.nn.Sequential(*modules)


def from_torch(module: torch.nn.Module, *, loss: LossName | str | AnyLoss | None = None,
               seed: int = 0) -> Network:
    """A Network that computes what a torch.nn.Sequential computes in evaluation mode.

    Parameters
    ----------
    module : torch.nn.Sequential
        It may have Linear (float32 or float64, on any device), the modules of fastnn's activations with their
        constants, BatchNorm1d, Dropout, AlphaDropout, Flatten, Identity and Sequential.
    loss, seed : as for Network

    Raises
    ------
    TypeError, ValueError
        If there is any other module. The sentence names it and its place.
    ImportError
        If PyTorch is not installed.

    Notes
    -----
    Between two Linear modules the activation is "identity". Dropout becomes the dropout of the hidden layer, and
    AlphaDropout is left out. BatchNorm1d becomes part of the Linear right before it, or else of the next one, by its
    running mean and variance. If float32 would lose these, the network is float64.

    >>> import torch, fastnn
    >>> fastnn.interchange.from_torch(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Softmax(-1)))
    Network([4, 3], activation=[], output='softmax', loss='cross_entropy', dtype='float32', seed=0)
    """
    torch = library("torch", "PyTorch", "torch", "from_torch")
    if type(module) is not torch.nn.Sequential:
        raise TypeError(f"module is a {type(module).__name__}, but must be a torch.nn.Sequential; "
                        + advice_on_argument(torch, module))
    check_plain("module", module)
    chain = Chain()
    read(torch, module, chain)
    return chain.network(loss, seed)


def read(torch: Any, modules: Any, chain: Chain, place: str = "layer ") -> None:
    """Adds the modules of a Sequential to the chain. Modules of a nested one are called by numbers with dots."""
    activations = {getattr(torch.nn, name): (activation, constants)
                   for activation, (name, constants) in MODULES.items()}
    for index, module in enumerate(modules):
        where, kind = f"{place}{index}", type(module)     # not isinstance: a subclass may compute anything
        if not isinstance(module, torch.nn.Module):     # Sequential takes None, too
            raise unsupported(where, repr(module), SUPPORTED)
        check_plain(where, module)
        if kind is torch.nn.Sequential:
            read(torch, module, chain, f"{where}.")
        elif kind is torch.nn.Linear:
            biases = None if module.bias is None else array(where, module.bias)
            chain.linear(where, array(where, module.weight).T, biases)
        elif kind in (torch.nn.BatchNorm1d, torch.nn.SyncBatchNorm):
            chain.affine(where, *normalization(where, module))
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
        elif not (kind in (torch.nn.Identity, torch.nn.AlphaDropout) or kind is torch.nn.Flatten
                  and module.start_dim == 1 and module.end_dim == -1):
            raise unsupported(where, repr(module), SUPPORTED)


def normalization(where: str, module: Any) -> tuple[Array, Array]:
    """(scale, shift) of a BatchNorm1d in evaluation mode, in float64."""
    if module.running_mean is None or module.running_var is None:
        raise ValueError(f"{where} is {module!r}, which keeps no running mean and variance, so that what it computes "
                         "depends on the batch; train it with track_running_stats=True")
    mean, variance = array(where, module.running_mean), array(where, module.running_var)
    with np.errstate(divide="ignore", invalid="ignore"):        # the chain refuses what is not finite
        scale = 1 / np.sqrt(variance.astype(np.float64) + module.eps)
    if module.weight is not None:
        scale = scale * array(where, module.weight)
    shift = -mean * scale
    return scale, shift if module.bias is None else shift + array(where, module.bias)


def check_plain(where: str, module: Any) -> None:
    """Refuses a module that may compute something else than its class does, with advice if there is some."""
    hooks = hooks_of(module)
    advice = advice_on(module)
    if hooks and not advice:
        advice = "hooks may change anything: remove them by the handles that registering them gave"
    own = [name for name in ("forward", "_call_impl") if name in vars(module)]
    if own and not advice:
        raise unsupported(where, f"{module!r} with a {own[0]} of its own",
                          f"{SUPPORTED}; del module.{own[0]} brings back that of its class")
    if advice:
        raise unsupported(where, f"{module!r} with hooks" if hooks else repr(module), f"{SUPPORTED}; {advice}")


def hooks_of(module: Any) -> list[Any]:
    """The functions called before and after a module's forward: its own hooks, and those of all modules."""
    from torch.nn.modules import module as shared
    return [*shared._global_forward_pre_hooks.values(), *module._forward_pre_hooks.values(),
            *module._forward_hooks.values(), *shared._global_forward_hooks.values()]


def advice_on(module: Any) -> str:
    """What to do about a module whose class or hooks are in ADVICE; an empty text for others."""
    kinds = (*type(module).__mro__, *(base for hook in hooks_of(module) for base in type(hook).__mro__))
    names = [f"{kind.__module__}.{kind.__qualname__}" for kind in kinds]
    return next((advice for piece, advice in ADVICE.items() if any(piece in name for name in names)), "")


def advice_on_argument(torch: Any, module: Any) -> str:
    """What to do about an argument of `from_torch` that is no Sequential."""
    if isinstance(module, Mapping):
        return "load a state_dict into a Sequential of the same layers, with its load_state_dict"
    advice = advice_on(module) if isinstance(module, torch.nn.Module) else ""
    return advice or "torch.nn.Sequential(*layers) makes one, and from_onnx reads what torch.onnx.export writes"


def array(where: str, tensor: Any) -> Array:
    """A parameter as an array."""
    if str(tensor.dtype) not in ("torch.float32", "torch.float64"):
        raise ValueError(f"{where} has dtype {tensor.dtype}, but must be torch.float32 or torch.float64; convert it "
                         "with module.float()")
    if tensor.is_meta:
        raise ValueError(f"{where} lies on the device 'meta', where parameters have no values; load them with "
                         "module.to_empty(device='cpu') and load_state_dict")
    try:
        return tensor.detach().cpu().numpy()
    except (TypeError, RuntimeError) as error:      # sparse, spread over devices, quantized, …
        raise ValueError(f"{where} has parameters that NumPy cannot hold: {error}") from None
