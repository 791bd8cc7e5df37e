"""Which columns a table model needs: how much worse it answers when the cells of a column change places among the rows.

This is the permutation importance of Breiman (2001) and of Fisher, Rudin and Dominici (2019). It changes no network
and knows none: the caller answers. Of columns that say the same, none seems to matter, as the others still say it.

The time is bounded, however large the table is. At most 400 questions are asked, and each is about 2,000 rows at most.
Where rows are wide there are fewer, down to 200. Up to 200 columns are changed one by one. Of more columns, stretches
of neighbours are changed together at first. The stretch that matters most is then halved, again and again, until all
questions are asked or nothing is left that matters. So the columns that matter most are found, and one that was never
alone has no number.
"""

import heapq
import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..core import random_order
from ..training.metrics import mse
from .encoding import Encoding
from .scores import Integers, log_loss, mean, some_rows

Answers = Callable[[NDArray[np.float32], Integers], NDArray[np.floating]]

MOST_ROWS = 2000        # that one question is about
MOST_VALUES = 2**24     # in these, which take 64 MB, …
FEWEST_ROWS = 200       # … unless so few rows have more
MOST_REPEATS = 5        # of a question, where rows are few and chance is large
ALONE = 200             # columns that are changed one by one
STRETCHES = 100         # of neighbours, where there are more
MOST_CHANGES = 400


def importances(outputs_of: Answers, encoding: Encoding, X: NDArray[np.float32], y: NDArray[np.generic],
                ) -> dict[str, float]:
    """How much the loss grows when a column is shuffled, {column: growth}, the largest first.

    The loss is the log-loss of classes; of numbers the mean squared error divided by the variance of `y`. Growth near
    0, of either sign, means that the column does not matter.

    Parameters
    ----------
    outputs_of : function (some_X, rows) -> outputs
        Answers for rows of X, some of whose columns were shuffled. `some_X` is (m, width) float32, with m <= 2000;
        `rows` is (m,), rising: `some_X[i]` stands for `X[rows[i]]`, and a network that did not train on that row must
        answer for it. The result is the probabilities (m, k) of classes, or numbers (m,) in the units of `y`; it must
        not share memory with `some_X`, which changes afterwards and is not the function's to change.
    encoding : Encoding
        Of the columns that X was made of, which tells how many features each has.
    X : array (n, width) of float32, which `encoding.apply` made; n >= 1. It is not changed.
    y : array (n,): integers from 0 to k-1 for classes, or numbers
    """
    widths = [len(column.names()) for column in encoding.columns]
    if X.ndim != 2 or X.shape != (len(y), sum(widths)) or not len(y):
        raise ValueError(f"X has shape {X.shape} and y has shape {y.shape}, but must be (n, {sum(widths)}) and (n,), "
                         "with one row at least")
    most = min(MOST_ROWS, max(FEWEST_ROWS, MOST_VALUES // sum(widths)))
    rows = some_rows(len(X), most)
    orders = [random_order(len(rows), 0, 1 + repeat) for repeat in range(min(MOST_REPEATS, most // len(rows)))]
    growth = Growth(outputs_of, X[rows], y[rows], rows, np.cumsum([0, *widths]).tolist(), orders)
    names = [column.name for column in encoding.columns]
    found = columns_that_matter(growth.of, len(names))
    return {names[column]: found[column] for column in sorted(found, key=lambda column: (-found[column], column))}


class Growth:
    """The growth of the loss, as a function of the columns that are shuffled; `edges` are those of their features."""

    def __init__(self, outputs_of: Answers, X: NDArray[np.float32], y: NDArray[np.generic], rows: Integers,
                 edges: list[int], orders: list[Integers]) -> None:
        self.outputs_of, self.X, self.y, self.rows, self.edges, self.orders = outputs_of, X, y, rows, edges, orders
        self.unshuffled = loss(y, outputs_of(X, rows))

    def of(self, first: int, stop: int) -> float:
        """That of the columns first … stop-1, which are shuffled together."""
        block = self.X[:, self.edges[first]:self.edges[stop]]
        unshuffled, losses = block.copy(), []
        for order in self.orders:
            block[...] = unshuffled[order]
            losses.append(loss(self.y, self.outputs_of(self.X, self.rows)))
        block[...] = unshuffled
        return math.fsum(losses) / len(losses) - self.unshuffled


def loss(y: NDArray[np.generic], outputs: NDArray[np.floating]) -> float:
    """The log-loss, or the squared error in units of the variance of y."""
    if outputs.ndim == 2:
        return log_loss(y.astype(np.intp), outputs.astype(np.float64))
    true = y.astype(np.float64)
    variance = float(mse(true, np.full((len(true), 1), mean(true))))
    return float(mse(true, outputs[:, None])) / (variance or 1.0)


def columns_that_matter(growth: Callable[[int, int], float], columns: int) -> dict[int, float]:
    """{column: growth} of all columns where they are few, and of those that matter most where they are many."""
    parts = columns if columns <= ALONE else STRETCHES
    cuts = [part * columns // parts for part in range(parts + 1)]
    stretches = [(-growth(first, stop), first, stop) for first, stop in pairwise(cuts)]
    heapq.heapify(stretches)
    alone, changes = {}, parts
    while stretches:
        negative, first, stop = heapq.heappop(stretches)
        if stop - first == 1:
            alone[first] = -negative
        elif negative < 0 and changes + 2 <= MOST_CHANGES:
            middle, changes = (first + stop) // 2, changes + 2
            for low, high in ((first, middle), (middle, stop)):
                heapq.heappush(stretches, (-growth(low, high), low, high))
    return alone
