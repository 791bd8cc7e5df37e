"""Keras: a Sequential model's configuration and weights as a Network. Keras itself is not needed.

The spellings of Keras 2 and 3 are read. Two of its functions are not what their names say elsewhere:
"leaky_relu" has the slope 0.2 (the layer LeakyReLU 0.3 where nothing else is said) and is refused,
for fastnn's is 0.01; "gelu" is the exact one, as here, unless a layer says approximate=True.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .chain import Chain, unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._types import AnyLoss, ArrayLike, LossName
    from ..network import Network

FUNCTIONS = {
    "linear": "identity", "sigmoid": "sigmoid", "tanh": "tanh", "relu": "relu", "elu": "elu", "selu": "selu",
    "softplus": "softplus", "silu": "silu", "swish": "silu", "gelu": "gelu", "softmax": "softmax",
    "exponential": "exp",
}
SLOPES = (0.01, float(np.float32(0.01)))     # Keras 2 keeps it in float32
# Layers that are activations, each with the values that its constants may have.
LAYERS: dict[str, tuple[str, dict[str, tuple[Any, ...]]]] = {
    "ReLU": ("relu", {"max_value": (None,), "negative_slope": (0, None), "threshold": (0, None)}),
    "LeakyReLU": ("leaky_relu", {"negative_slope": SLOPES, "alpha": SLOPES}),
    "ELU": ("elu", {"alpha": (1,)}),
    "Softmax": ("softmax", {"axis": (-1, 1, [-1], [1])}),
}
SUPPORTED = (f"only InputLayer, Dense, Activation, {', '.join(LAYERS)}, Dropout, Flatten and Sequential can become a "
             "fastnn.Network")


def from_keras(config: dict[str, Any] | list[Any], weights: Sequence[ArrayLike], *,
               loss: LossName | str | AnyLoss | None = None, seed: int = 0) -> Network:
    """The Network that computes what a Keras Sequential model computes.

    Parameters
    ----------
    config : dict
        What `model.get_config()` returns, or `json.loads(model.to_json())`, or the parsed config.json of a
        .keras file.
    weights : list of arrays
        What `model.get_weights()` returns. The network has their dtype.
    loss, seed : as for Network

    Raises
    ------
    ValueError
        For layers, activations and constants that fastnn does not have; the sentence names the layer.

    >>> import numpy as np, fastnn
    >>> config = {"name": "model", "layers": [
    ...     {"class_name": "InputLayer", "config": {"batch_shape": [None, 4]}},
    ...     {"class_name": "Dense", "config": {"name": "hidden", "units": 8, "activation": "relu", "use_bias": True}},
    ...     {"class_name": "Dense", "config": {"name": "out", "units": 1, "activation": "linear", "use_bias": False}}]}
    >>> weights = [np.ones((4, 8), "float32"), np.zeros(8, "float32"), np.ones((8, 1), "float32")]
    >>> fastnn.interchange.from_keras(config, weights).predict([1, 2, 3, 4])
    array([80.], dtype=float32)
    """
    chain, remaining = Chain(), list(weights)
    read(listed(config), remaining, chain)
    if remaining:
        raise ValueError(f"weights holds {len(weights)} arrays, but the layers of config take "
                         f"{len(weights) - len(remaining)}")
    return chain.network(loss, seed)


def listed(config: Any) -> list[dict[str, Any]]:
    """The list of layers in a model's configuration, which is wrapped in one dict or two, or (in old files) in none."""
    if isinstance(config, dict) and config.get("class_name") not in (None, "Sequential"):
        raise ValueError(f"config is that of a {config['class_name']}, but only that of a Sequential can be read")
    layers = config
    for key in ("config", "layers"):
        layers = layers.get(key, layers) if isinstance(layers, dict) else layers
    if isinstance(config, dict) and "input_layers" in config.get("config", config):
        raise ValueError("config is that of a functional model, but only that of a Sequential can be read")
    if not (isinstance(layers, list) and all(isinstance(layer, dict) and "class_name" in layer and
                                             isinstance(layer.get("config"), dict) for layer in layers)):
        raise ValueError("config is not the configuration of a Keras model; pass what model.get_config() returns")
    return layers


def read(layers: list[dict[str, Any]], weights: list[ArrayLike], chain: Chain, place: str = "layer ") -> None:
    """Takes up layers, and from the front of the list `weights` what belongs to them."""
    for index, layer in enumerate(layers):
        kind, config = layer["class_name"], layer["config"]
        where = f"{place}{index} ({config.get('name', kind)})"
        if kind == "Sequential":
            read(listed(layer), weights, chain, f"{place}{index}.")
        elif kind == "Dense":
            n_arrays = 1 + config.get("use_bias", True)
            if len(weights) < n_arrays:
                raise ValueError(f"{where} takes {n_arrays} arrays, but weights has {len(weights)} left for it")
            chain.linear(where, *weights[:n_arrays])
            del weights[:n_arrays]
            if len(chain.biases[-1]) != config.get("units"):
                raise ValueError(f"{where} has {config.get('units')} units, but its weights are for "
                                 f"{len(chain.biases[-1])}")
            activate(where, config.get("activation"), chain)
        elif kind == "Activation":
            activate(where, config.get("activation"), chain)
        elif kind in LAYERS:
            activate(where, layer, chain)
        elif kind == "Dropout" and config.get("noise_shape") is None:
            chain.dropout(where, config.get("rate"))
        elif kind != "InputLayer" and (kind != "Flatten" or config.get("data_format") == "channels_first"):
            raise unsupported(where, f"a {kind}({shown(config)})", SUPPORTED)


def activate(where: str, activation: Any, chain: Chain) -> None:
    """Takes up an activation: a name, or what Keras serialises a function or a layer to. None and "linear" are none."""
    name, constants = activation, None
    if isinstance(activation, dict):
        name, constants = activation.get("class_name"), activation.get("config")
        if isinstance(constants, str):      # {"class_name": "function", "config": "relu", …}
            name, constants = constants, None
    constants = constants or {}
    if name is None or name == "linear":
        return
    if name == "leaky_relu":
        raise ValueError(f"{where} has the activation 'leaky_relu', whose slope in Keras is 0.2, but fastnn's is 0.01; "
                         "in Keras, LeakyReLU(0.01) would be the same")
    if isinstance(name, str) and name in LAYERS:
        name, allowed = LAYERS[name]
        for constant, values in allowed.items():
            if constant in constants and constants[constant] not in values:
                raise ValueError(f"{where} is a {name} with {constant}={constants[constant]!r}, but fastnn's is that "
                                 f"of {constant}={values[0]!r}")
        if name == "leaky_relu" and not {"negative_slope", "alpha"} & constants.keys():
            raise ValueError(f"{where} is a leaky_relu with Keras's own slope 0.3, but fastnn's is 0.01")
        chain.activation(where, name)
    elif isinstance(name, str) and name in FUNCTIONS and not constants:
        chain.activation(where, FUNCTIONS[name])
    else:
        raise ValueError(f"{where} has the activation {activation!r}, which fastnn does not have; known are "
                         f"{', '.join(FUNCTIONS)}, and the layers {', '.join(LAYERS)}")


def shown(config: dict[str, Any]) -> str:
    """A configuration as arguments, as far as they are short."""
    return ", ".join(f"{key}={value!r}" for key, value in config.items() if isinstance(value, (int, float, str)))
