"""Initial weights: which spread each scheme gives, and random numbers with the same bits everywhere.

Bits come from our own generator (`kernels/random.pxd`), since the methods of NumPy's may change
between versions; what is made of them here uses only + - * / and square roots, which every
machine rounds alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .core import random_bits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ._types import Array

# Variance of the weights: 2 / n_in (He et al., 2015), 2 / (n_in + n_out) (Glorot and Bengio,
# 2010), 1 / n_in (LeCun et al., 1998).
VARIANCES: dict[str, Callable[[int, int], float]] = {
    "he": lambda n_in, n_out: 2 / n_in,
    "glorot": lambda n_in, n_out: 2 / (n_in + n_out),
    "lecun": lambda n_in, n_out: 1 / n_in,
}
INITIALIZERS = tuple(f"{scheme}_{shape}" for scheme in VARIANCES for shape in ("normal", "uniform"))

PIECE = 2**14       # weights drawn at a time; intermediate results take some ten times their memory


def draw(weights: Array, name: str, seed: int, layer: int) -> None:
    """weights (n_in, n_out) := random ones by the initializer `name`, a function of the seed and the layer's number."""
    scheme, shape = name.split("_")
    n_in, n_out = weights.shape
    deviation = np.sqrt(VARIANCES[scheme](n_in, n_out))
    rows, columns = max(1, PIECE // n_out), min(n_out, PIECE)       # some whole rows, or a part of one
    for row in range(0, n_in, rows):
        for column in range(0, n_out, columns):
            piece = weights[row:row + rows, column:column + columns]
            bits = random_bits(seed, layer, row * n_out + column, piece.size)
            piece[...] = spread(shape, deviation, bits).reshape(piece.shape)


def draw_each(weights: Array, name: str, seeds: Sequence[int], layer: int) -> None:
    """`draw` for weights (n, n_in, n_out) of n networks, of which each has its seed; small ones are drawn together."""
    scheme, shape = name.split("_")
    n, n_in, n_out = weights.shape
    if n_in * n_out > PIECE:
        for own, seed in zip(weights, seeds, strict=True):
            draw(own, name, seed, layer)
        return
    deviation, together = np.sqrt(VARIANCES[scheme](n_in, n_out)), PIECE // (n_in * n_out)
    for first in range(0, n, together):
        bits = np.concatenate([random_bits(seed, layer, 0, n_in * n_out) for seed in seeds[first:first + together]])
        weights[first:first + together] = spread(shape, deviation, bits).reshape(-1, n_in, n_out)


def spread(shape: str, deviation: float, bits: Array) -> Array:
    """Random numbers (n,) in float64 of mean 0 and this deviation, each made of 64 bits."""
    uniform = ((bits >> np.uint64(12)) + 0.5) * 2.0**-52            # inside 0 … 1
    if shape == "uniform":
        return (2 * uniform - 1) * (np.sqrt(3) * deviation)
    return normal_quantile(uniform) * deviation


# Coefficients of algorithm AS 241 (Wichura, 1988), numerator and denominator, lowest power first.
CENTRE = (
    (3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
     4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3),
    (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
     2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3),
)
SIDE = (
    (1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
     1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9),
)
TAIL = (
    (6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
     2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7),
    (1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
     7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15),
)


def normal_quantile(p: Array) -> Array:
    """The standard normal quantile of p in 0 … 1, to 1e-15 (algorithm AS 241, Wichura, 1988)."""
    q = p - 0.5
    quantile = q * ratio(CENTRE, 0.180625 - q * q)
    outer = np.abs(q) > 0.425
    depth = np.sqrt(-natural_log(np.minimum(p, 1 - p)[outer]))
    quantile[outer] = np.copysign(np.where(depth <= 5, ratio(SIDE, depth - 1.6), ratio(TAIL, depth - 5)), q[outer])
    return quantile


def ratio(coefficients: Sequence[Sequence[float]], x: Array) -> Array:
    """A rational function, by Horner's rule."""
    numerator, denominator = coefficients
    above: Any = 0
    below: Any = 0
    for a, b in zip(reversed(numerator), reversed(denominator), strict=True):
        above, below = above * x + a, below * x + b
    return above / below


def natural_log(x: Array) -> Array:
    """log(x), by the series 2 artanh((f - 1) / (f + 1)) for x = f 2^e: numpy.log's bits depend on the machine."""
    f, e = np.frexp(x)
    low = f < np.sqrt(0.5)
    f, e = np.where(low, 2 * f, f), e - low
    s = (f - 1) / (f + 1)
    series = 0
    for term in range(21, 0, -2):
        series = series * (s * s) + 1 / term
    return e * 0.69314718055994531 + 2 * s * series
