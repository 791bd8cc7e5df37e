"""Keras: a Sequential model's configuration and weights as a Network. Keras itself is not needed.

Configurations of Keras 2 and 3 are read. Two functions can be others than those of the same name here: "leaky_relu" has
the slope 0.2 (the layer LeakyReLU 0.3 by default) and is refused, as fastnn's is 0.01; "gelu" is the exact one, as
here, unless a layer has approximate=True.

Shapes are known as far as a configuration declares them. Arrays of more than two dimensions are refused, as Dense,
Softmax and others compute something else on them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import sequence
from .chain import Chain, unsupported
from .spellings import SPELLINGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._types import AnyLoss, Array, ArrayLike, LossName
    from ..network import Network

    _Shape = tuple[int | None, ...]      # of a layer's inputs; None where a size is free

FUNCTIONS = {function: name for name, spelling in SPELLINGS.items() for function in spelling.keras}
SLOPES = (0.01, float(np.float32(0.01)))     # Keras 2 keeps it in float32
LAST = (-1, 1, [-1], [1], (-1,), (1,))      # the second axis of two, in all spellings
# Layers that are activations, each with the values that its constants may have.
LAYERS: dict[str, tuple[str, dict[str, tuple[Any, ...]]]] = {
    "ReLU": ("relu", {"max_value": (None,), "negative_slope": (0, None), "threshold": (0, None)}),
    "LeakyReLU": ("leaky_relu", {"negative_slope": SLOPES, "alpha": SLOPES,
                                 "max_value": (None,), "threshold": (0, None)}),     # of a ReLU with a slope
    "ELU": ("elu", {"alpha": (1,)}),
    "Softmax": ("softmax", {"axis": LAST}),
}
# Layers that change nothing outside training.
TRAINING = ("GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization")
# Layers that may have arrays of any number of dimensions, if a Flatten follows.
ANY_RANK = ("InputLayer", "Sequential", "Flatten", "Reshape", "Identity", "Rescaling", "Normalization", *TRAINING)
NORMALIZATION_EPSILON = 1e-7    # Keras's own, for a Normalization's deviation
SUPPORTED = (f"only InputLayer, Dense, Activation, {', '.join(LAYERS)}, BatchNormalization, Normalization, Rescaling, "
             f"Dropout, {', '.join(TRAINING)}, Identity, Flatten, Reshape and Sequential can become a fastnn.Network")


def from_keras(config: dict[str, Any] | list[Any], weights: Sequence[ArrayLike], *,
               loss: LossName | str | AnyLoss | None = None, seed: int = 0) -> Network:
    """A Network that computes what a Keras Sequential model computes. Keras need not be installed.

    Parameters
    ----------
    config : dict
        What `model.get_config()` returns, or `json.loads(model.to_json())`, or the parsed config.json of a
        .keras file.
    weights : list of arrays
        What `model.get_weights()` returns. The network has their dtype. Half precision becomes float32. If a
        normalization becomes part of a layer, and float32 would lose it, the network is float64.
    loss, seed : as for Network

    Raises
    ------
    ValueError
        If the model has a layer, an activation or a constant that fastnn does not have, or a layer for arrays that are
        not rows. The sentence names the layer.

    Notes
    -----
    BatchNormalization, Normalization and Rescaling become part of the Dense beside them. Dropout becomes the dropout of
    the hidden layer. Other layers that act only in training, such as GaussianNoise, are left out.

    Examples
    --------

    >>> import numpy as np, fastnn
    >>> config = {"name": "model", "layers": [
    ...     {"class_name": "InputLayer", "config": {"batch_shape": [None, 4]}},
    ...     {"class_name": "Dense", "config": {"name": "hidden", "units": 8, "activation": "relu", "use_bias": True}},
    ...     {"class_name": "Dense", "config": {"name": "out", "units": 1, "activation": "linear", "use_bias": False}}]}
    >>> weights = [np.ones((4, 8), "float32"), np.zeros(8, "float32"), np.ones((8, 1), "float32")]
    >>> fastnn.interchange.from_keras(config, weights).predict([1, 2, 3, 4])
    array([80.], dtype=float32)
    """
    weights = sequence("weights", weights, "be the list that model.get_weights() returns")
    return read_model(config, [array(values) for values in weights]).network(loss, seed)


def read_model(config: Any, weights: list[Array]) -> Chain:
    """The layers of a model as a chain, if they take all of the weights and give rows."""
    chain, remaining = Chain(), list(weights)
    shape = read(listed(config), remaining, chain, declared(config))
    if remaining:
        raise ValueError(f"weights holds {len(weights)} arrays, but the layers of config take "
                         f"{len(weights) - len(remaining)}")
    if shape is not None and len(shape) != 2:
        raise ValueError(f"the outputs of config have the shape {shape}, but those of a fastnn.Network are rows")
    return chain


def array(values: ArrayLike) -> Array:
    """Weights as an array; halves become float32, which holds them exactly."""
    result = np.asarray(values)
    return result.astype(np.float32) if result.dtype.name in ("float16", "bfloat16") else result


def listed(config: Any) -> list[dict[str, Any]]:
    """The list of layers in a model's configuration: within one dict or two, or in old files the list itself."""
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


def declared(layer: Any) -> _Shape | None:
    """The shape of a layer's or a model's inputs, if its configuration has it."""
    for holder in (layer, layer.get("config"), layer.get("build_config")) if isinstance(layer, dict) else ():
        for key in ("batch_shape", "batch_input_shape", "build_input_shape", "input_shape"):
            shape = holder.get(key) if isinstance(holder, dict) else None
            if isinstance(shape, (list, tuple)) and all(size is None or isinstance(size, int) for size in shape):
                return tuple(shape)
    return None


def read(layers: list[dict[str, Any]], weights: list[Array], chain: Chain, shape: _Shape | None,
         place: str = "layer ") -> _Shape | None:
    """Adds layers to the chain, takes their arrays from the front of `weights`, returns the shape of the outputs."""
    for index, layer in enumerate(layers):
        kind, config = layer["class_name"], layer["config"]
        where = f"{place}{index} ({config.get('name', kind)})"
        shape = declared(layer) or shape
        if shape is not None and len(shape) != 2 and kind not in ANY_RANK:
            raise ValueError(f"{where} is a {kind} of inputs of shape {shape}, but a fastnn.Network has rows, of shape "
                             "(None, n), and this is another function; begin with a Flatten")
        if kind == "Sequential":
            shape = read(listed(layer), weights, chain, shape, f"{place}{index}.")
        elif kind == "Dense":
            kernel, *biases = taken(where, weights, 1 + config.get("use_bias", True))
            if shape is not None and kernel.ndim == 2 and shape[1] not in (None, len(kernel)):
                raise ValueError(f"{where} has weights for {len(kernel)} inputs, but config declares {shape[1]}")
            chain.linear(where, kernel, *biases)
            if len(chain.biases[-1]) != config.get("units"):
                raise ValueError(f"{where} has {config.get('units')} units, but its weights are for "
                                 f"{len(chain.biases[-1])}")
            activate(where, config.get("activation"), chain)
            shape = None, len(chain.biases[-1])
        elif kind == "BatchNormalization" and config.get("axis", -1) in LAST and not config.get("renorm"):
            chain.affine(where, *batch_normalization(where, config, weights))
        elif kind == "Normalization" and config.get("axis", -1) in (*LAST, None, (), []):
            chain.affine(where, *normalization(where, config, weights))
        elif kind == "Rescaling":
            chain.affine(where, constants(where, config.get("scale")), constants(where, config.get("offset", 0.0)))
        elif kind == "Activation":
            activate(where, config.get("activation"), chain)
        elif kind in LAYERS:
            activate(where, layer, chain)
        elif kind == "Dropout" and config.get("noise_shape") is None:
            chain.dropout(where, config.get("rate"))
        elif kind in ("Flatten", "Reshape") and config.get("data_format") != "channels_first":
            shape = reshaped(shape, config.get("target_shape", [-1]))
        elif kind not in ("InputLayer", "Identity", *TRAINING):
            raise unsupported(where, f"a {kind}({shown(config)})", SUPPORTED)
    return shape


def taken(where: str, weights: list[Array], n: int) -> list[Array]:
    """Removes the first n arrays from the list, and returns them."""
    if len(weights) < n:
        raise ValueError(f"{where} takes {n} arrays, but weights has {len(weights)} left for it")
    first = weights[:n]
    del weights[:n]
    return first


def batch_normalization(where: str, config: dict[str, Any], weights: list[Array]) -> tuple[Array, Array]:
    """(scale, shift) of a BatchNormalization, from gamma and beta, if it has them, and the mean and variance."""
    scaled, centered = config.get("scale", True), config.get("center", True)
    parts = [part.astype(np.float64) for part in taken(where, weights, 2 + bool(scaled) + bool(centered))]
    if len({part.shape for part in parts}) > 1:
        raise ValueError(f"{where} has arrays of the shapes {', '.join(str(part.shape) for part in parts)}, but all of "
                         "a BatchNormalization have one shape")
    *learned, mean, variance = parts
    with np.errstate(divide="ignore", invalid="ignore"):        # the chain refuses what is not finite
        scale = (learned[0] if scaled else 1) / np.sqrt(variance + config.get("epsilon", 1e-3))
    return scale, (learned[-1] if centered else 0) - mean * scale


def normalization(where: str, config: dict[str, Any], weights: list[Array]) -> tuple[Array, Array]:
    """(scale, shift) of a Normalization, from its constants, or from its arrays, of which the third is a count."""
    if config.get("mean") is None:
        mean, variance, _ = taken(where, weights, 3)
    else:
        mean, variance = constants(where, config["mean"]), constants(where, config.get("variance"))
    if mean.shape != variance.shape:
        raise ValueError(f"{where} has a mean of shape {mean.shape} and a variance of shape {variance.shape}, but they "
                         "must have one shape")
    mean = mean.astype(np.float64)
    with np.errstate(invalid="ignore"):
        deviation = np.maximum(np.sqrt(variance.astype(np.float64)), NORMALIZATION_EPSILON)
    return (deviation, mean) if config.get("invert") else (1 / deviation, -mean / deviation)


def constants(where: str, value: Any) -> Array:
    """Numbers in a configuration, which may be an array as Keras serialises it."""
    if isinstance(value, dict) and value.get("class_name") == "__numpy__":
        value = value["config"]["value"]
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{where} has the constants {value!r}, but they must be numbers") from None


def reshaped(shape: _Shape | None, target: Sequence[int]) -> _Shape | None:
    """A shape after a Reshape to `target`, in which -1 stands for the size that remains."""
    sizes = None if shape is None or None in shape[1:] else math.prod(size or 0 for size in shape[1:])
    left = None if sizes is None else sizes // max(1, math.prod(size for size in target if size > 0))
    return None, *(size if size > 0 else left for size in target)


def activate(where: str, activation: Any, chain: Chain) -> None:
    """Adds an activation: a name, or a function or layer as Keras serialises it. "linear" and None add nothing."""
    name, constants = activation, None
    if isinstance(activation, dict):
        name, constants = activation.get("class_name"), activation.get("config")
        if isinstance(constants, str):      # {"class_name": "function", "config": "relu", …}
            name, constants = constants, None
    constants = constants or {}
    if name is None or name == "linear":
        return
    if name == "ReLU" and constants.get("negative_slope"):
        name = "LeakyReLU"
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
    """A configuration as arguments, without those that are lists or dictionaries."""
    return ", ".join(f"{key}={value!r}" for key, value in config.items() if isinstance(value, (int, float, str)))
