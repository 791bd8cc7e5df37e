"""History: what a fit records after each epoch, and how that reads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .._words import meant
from .metrics import mode_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas

COLUMNS = ("first", "best", "in epoch", "last")


class History:
    """The values that a `fit` records: lists with one entry per epoch.

    Attributes
    ----------
    loss : list of float
        The mean training loss, without penalties. The loss of each row is measured before the step that uses the row.
    validation_loss : list of float
        The mean loss on the validation rows after the epoch. Empty if there are no validation rows.
    learning_rate : list of float
        The learning rate of the last step. Empty for LBFGS and LevenbergMarquardt, which have none.
    seconds : list of float
        The time of the epoch, with validation and metrics.
    stopped_by : str or None
        The reason why the fit ended early: "tol", "early_stopping", "time_budget" or "callback"; for LBFGS and
        LevenbergMarquardt also "converged" or "line_search" (no better point was found), and for LBFGS "evaluations".
        None if the fit did all its epochs.

    Notes
    -----
    Each metric is a list under its name, such as `history.validation_accuracy`. `print(history)` shows the first, the
    best and the last value of each list. A notebook shows them as a table.

    If `time_budget` ends an epoch early, its values are those of the rows that it used. After a `DivergenceError`, the
    lists that callbacks see keep the epochs that were undone.

    See Also
    --------
    Network.fit : returns a History.
    EarlyStopping : monitors one of the lists.
    """

    loss: list[float]
    validation_loss: list[float]
    learning_rate: list[float]
    seconds: list[float]
    stopped_by: str | None

    def __init__(self, metrics: Iterable[str] = ()) -> None:
        self.loss, self.validation_loss, self.learning_rate, self.seconds = [], [], [], []
        self.stopped_by = None
        self._metrics: dict[str, list[float]] = {name: [] for name in metrics}

    def __getattr__(self, name: str) -> list[float]:
        metrics: dict[str, list[float]] = vars(self).get("_metrics", {})    # which a copy in the making has not yet
        if name in metrics:
            return metrics[name]
        if name.startswith("_"):
            raise AttributeError(name)
        recorded = self.as_dict()
        raise AttributeError(f"History has no {name!r}; {meant('monitor', name, recorded)}it has {', '.join(recorded)}")

    def as_dict(self) -> dict[str, list[float]]:
        """Return a dict {name: list} of all lists that have values."""
        lists = {"loss": self.loss, "validation_loss": self.validation_loss, **self._metrics,
                 "learning_rate": self.learning_rate, "seconds": self.seconds}
        return {name: values for name, values in lists.items() if values or name == "loss"}

    def to_frame(self) -> pandas.DataFrame:
        """Return a pandas DataFrame with one row per epoch, numbered from 1. It needs pandas."""
        import pandas
        return pandas.DataFrame(self.as_dict(), index=pandas.RangeIndex(1, len(self.loss) + 1, name="epoch"))

    def last(self) -> dict[str, float]:
        """Return a dict {name: last value}."""
        return {name: values[-1] for name, values in self.as_dict().items() if values}

    def __repr__(self) -> str:
        """Some lines, however many epochs there are."""
        rows = [("", *COLUMNS), *self._summary()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [f"  {row[0]:{widths[0]}}" + "".join(f"  {cell:>{width}}" for cell, width in
                                                      zip(row[1:], widths[1:], strict=True)) for row in rows]
        return "\n".join([self._headline(), *(line.rstrip() for line in lines if self.loss)])

    def _repr_html_(self) -> str:
        """The same as a table, for notebooks."""
        from html import escape  # 1 ms of the import

        rows = [("th", ("", *COLUMNS)), *(("td", row) for row in self._summary())] if self.loss else []
        cells = "".join("<tr>" + "".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in row) + "</tr>"
                        for kind, row in rows)
        return f"<table><caption>{escape(self._headline())}</caption>{cells}</table>"

    def _headline(self) -> str:
        stopped = f", stopped by {self.stopped_by!r}" if self.stopped_by is not None else ""
        epochs = f"{len(self.loss)} epoch{'s' * (len(self.loss) != 1)}"
        return f"History of {epochs} in {sum(self.seconds):.3g} s{stopped}"

    def _summary(self) -> list[tuple[str, ...]]:
        """For each list its name, and the first, the best and the last value; which is best is known of losses and of
        metrics by name."""
        rows: list[tuple[str, ...]] = []
        for name, values in self.as_dict().items():
            if name == "seconds" or not values:
                continue
            mode = mode_of(name)
            finite = [(value, epoch) for epoch, value in enumerate(values, 1) if math.isfinite(value)]
            best = epoch = ""
            if mode is not None and finite:
                value, number = min(finite) if mode == "min" else max(finite, key=lambda pair: pair[0])
                best, epoch = brief(value), str(number)
            rows.append((name, brief(values[0]), best, epoch, brief(values[-1])))
        return rows


def record(history: History, loss: float, validation_loss: float | None, learning_rate: float | None,
           metrics: Sequence[float]) -> None:
    """Adds an epoch, but for the seconds that it took; the metrics come in the order of their names."""
    history.loss.append(loss)
    if learning_rate is not None:
        history.learning_rate.append(learning_rate)
    if validation_loss is not None:
        history.validation_loss.append(validation_loss)
    for recorded, value in zip(history._metrics.values(), metrics, strict=True):
        recorded.append(value)


def brief(value: float) -> str:
    """A number in four digits."""
    return f"{value:.4g}"
