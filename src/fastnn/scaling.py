"""Standardising: columns brought to mean 0 and standard deviation 1, and back.

A network learns best from such columns; a `Scaling` is what was measured to make them. `folded`
makes scalings part of a network, for places where there is nothing but the network. Used by the
estimators and the command line; networks themselves know nothing of it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .network import Network

MOST_DEVIATIONS = 1000     # from a mean to 0 in float32, which then rounds numbers to 1/10,000 of a deviation
ROUNDING = 16 * np.finfo(np.float64).eps    # times a column's size: a smaller deviation is an error by rounding
SINGLE = 1e-30, 1e30       # deviations between these fit into float32, and so do weights divided or multiplied by them


@dataclass(frozen=True)
class Scaling:
    """The mean and the standard deviation of each column, float64 (n_columns,).

    The deviation of a constant column counts as 1, or as its largest error by rounding if that is more."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def of(cls, columns: ArrayLike, weights: NDArray[np.float64] | None = None) -> "Scaling":
        """That of an array (rows, n_columns), whose rows may have weights (rows,)."""
        columns = np.asarray(columns, np.float64)
        if weights is not None:
            columns, weights = columns[weights > 0], weights[weights > 0]
        # The first row is subtracted, and the unit is a power of 2: numbers of any offset and size keep their digits.
        first = columns[0]
        with np.errstate(over="ignore", invalid="ignore"):
            apart = columns - first
            largest = np.abs(apart).max(axis=0)
            unit = np.ldexp(1.0, np.frexp(largest)[1] - 1)
            apart /= unit
            centre = np.average(apart, axis=0, weights=weights)
            mean = first + centre * unit
            scale = np.sqrt(np.average(np.square(apart - centre), axis=0, weights=weights)) * unit
        if not np.isfinite(scale).all():
            raise ValueError(f"column {int(np.argmin(np.isfinite(scale)))} holds numbers that are too large to be "
                             "standardised")
        constant = scale <= ROUNDING * np.abs(first)
        return cls(mean, np.where(constant, np.maximum(largest, 1.0), scale))

    def apply(self, columns: ArrayLike) -> NDArray[np.float64]:
        """Columns as they come -> standardised."""
        return (self._checked(columns) - self.mean) / self.scale

    def undo(self, columns: ArrayLike) -> NDArray[np.float64]:
        """Standardised -> as they came."""
        return self._checked(columns) * self.scale + self.mean

    def fits_single(self) -> bool:
        """Whether float32 tells rows of such columns apart, and holds their numbers."""
        low, high = SINGLE
        return bool(((np.abs(self.mean) <= MOST_DEVIATIONS * self.scale) & (self.scale >= low)
                     & (self.scale <= high)).all())

    def _checked(self, columns: ArrayLike) -> NDArray[np.float64]:
        """An array that is as wide as the one that was measured, for NumPy would repeat a single column."""
        columns = np.asarray(columns, np.float64)
        if columns.shape[-1:] != self.mean.shape:
            raise ValueError(f"columns has shape {columns.shape}, but the scaling is that of {len(self.mean)} columns")
        return columns


def folded(network: Network, inputs: Scaling | None = None, targets: Scaling | None = None) -> Network:
    """A new network that takes rows as they come, and gives results as they are read.

    It computes what `network` computes between `inputs.apply` and `targets.undo`, with the scalings in
    the weights and biases of its first and last layer. Its dtype is that of `network`; float64 where
    float32 would not tell rows or results apart (some mean is many deviations from 0, such as the time
    in seconds since 1970), or cannot hold them. Targets can be scaled back only after an output
    'identity'. ValueError too where weights or biases with the scalings inside are not finite in float64.
    """
    if targets is not None and network.activations[-1] != "identity":
        raise ValueError(f"the output is {network.activations[-1]!r}, but targets are scaled back only after "
                         "'identity'")
    weights = [w.astype(np.float64) for w in network.weights]
    biases = [b.astype(np.float64) for b in network.biases]
    with np.errstate(over="ignore", invalid="ignore"):
        if inputs is not None:
            weights[0] /= inputs.scale[:, None]
            # Not by a matrix product: a BLAS sums in another order on each processor.
            biases[0] -= sum(mean * row for mean, row in zip(inputs.mean, weights[0], strict=True))
        if targets is not None:
            weights[-1] *= targets.scale
            biases[-1] = targets.undo(biases[-1])
    for layer, arrays in enumerate(zip(weights, biases, strict=True)):
        if not all(np.isfinite(array).all() for array in arrays):
            raise ValueError(f"layer {layer} would hold numbers beyond float64 with the scalings in its weights and "
                             "biases; give the columns of X and y another unit before training")
    single = all(scaling is None or scaling.fits_single() for scaling in (inputs, targets))
    result = Network(network.layer_sizes, network.activations[:-1], network.activations[-1], loss=network.loss,
                     dtype=network.dtype if single else "float64", seed=network.seed)
    for layer in range(len(weights)):
        result.weights[layer][...] = weights[layer]
        result.biases[layer][...] = biases[layer]
    return result
