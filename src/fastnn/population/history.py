"""PopulationHistory: what a fit of many networks records after each epoch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..training.history import History, record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas

    from .._types import Array

MOST_SHOWN = 5          # members that stopped, by name


class PopulationHistory:
    """What `Population.fit` recorded: arrays (epochs, n), a row for each epoch and a column for each member.

    Attributes
    ----------
    loss : array
        Mean training losses, as in a `History`. NaN where a member had stopped before.
    validation_loss : array
        Mean losses on the validation rows; of shape (0, n) without these.
    learning_rate : array
        That of each epoch's last step; none of LBFGS and LevenbergMarquardt.
    seconds : array (epochs,)
        What each epoch took, for all members together.
    epochs : array (n,) of int
        How many epochs of this fit each member has done, and kept.
    stopped_by : list of str or None
        What ended each member's training before the last epoch: "tol", "early_stopping", "time_budget", "callback",
        "diverged"; None where it was just the number of epochs.

    Each metric is an array too, under its name. `history[i]` is the History of member i, and `len(history)` is n.
    """

    def __init__(self, n: int, metrics: Iterable[str] = (), validated: bool = False) -> None:
        self.stopped_by: list[str | None] = [None] * n
        self.epochs = np.zeros(n, np.intp)
        self._rows: dict[str, list[Array]] = {"loss": []}
        if validated:
            self._rows["validation_loss"] = []
        self._metrics = tuple(metrics)
        self._rows |= {name: [] for name in self._metrics}
        self._seconds: list[float] = []

    def __len__(self) -> int:
        return len(self.stopped_by)

    def __getattr__(self, name: str) -> Any:
        rows: dict[str, list[Array]] = vars(self).get("_rows", {})
        if name in ("validation_loss", "learning_rate") or name in rows:
            values = rows.get(name, [])
            return np.array(values) if values else np.empty((0, len(self)))
        if name == "seconds":
            return np.array(self._seconds)
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(f"PopulationHistory has no {name!r}; it has {', '.join([*rows, 'seconds'])}")

    def __getitem__(self, member: int) -> History:
        """The History of one member."""
        history = History(self._metrics)
        done = int(self.epochs[member])
        columns = {name: [float(row[member]) for row in rows[:done]] for name, rows in self._rows.items()}
        for epoch in range(done):
            validation_loss, rate = (columns[name][epoch] if name in columns else None
                                     for name in ("validation_loss", "learning_rate"))
            record(history, columns["loss"][epoch], validation_loss, rate,
                   [columns[name][epoch] for name in self._metrics])
        history.seconds.extend(self._seconds[:done])
        history.stopped_by = self.stopped_by[member]
        return history

    def as_dict(self) -> dict[str, Array]:
        """{name: array}, for everything that was recorded."""
        return {name: getattr(self, name) for name in [*self._rows, "seconds"]}

    def to_frame(self) -> pandas.DataFrame:
        """A pandas DataFrame with a row for each epoch of each member. Needs pandas."""
        import pandas
        index = pandas.MultiIndex.from_product([range(len(self)), range(1, len(self._seconds) + 1)],
                                               names=["member", "epoch"])
        return pandas.DataFrame({name: getattr(self, name).T.ravel() for name in self._rows}, index=index)

    def latest(self, name: str = "validation_loss") -> Array:
        """(n,): each member's value after its last epoch that was kept, also where it stopped early; NaN without one.

        >>> import numpy as np, fastnn
        >>> x = np.linspace(-1, 1, 20)[:, None]
        >>> history = fastnn.Population([1, 1], 3).fit(x, 3 * x, epochs=5, optimizer=fastnn.Adam(0.1))
        >>> np.array_equal(history.latest("loss"), history.loss[-1])
        True
        """
        return self._latest(list(getattr(self, name)))

    def last(self) -> dict[str, float]:
        """{name: the mean over members of its latest values}"""
        latest = {name: self._latest(rows) for name, rows in self._rows.items() if rows}
        return {name: float(np.nanmean(values)) for name, values in latest.items() if not np.isnan(values).all()}

    def __repr__(self) -> str:
        """Some lines, however many members there are."""
        epochs = f"{len(self._seconds)} epoch{'s' * (len(self._seconds) != 1)}"
        lines = [f"PopulationHistory of {len(self)} networks, {epochs} in {math.fsum(self._seconds):.3g} s"]
        for name, rows in self._rows.items():
            if rows and name != "learning_rate":
                first, last = np.array(rows[0]), self._latest(rows)
                if np.isnan(last).all():
                    continue
                lines.append(f"  {name}: median {np.median(first):.4g} at first, {np.nanmedian(last):.4g} at last; "
                             f"best {np.nanmin(last):.4g}, worst {np.nanmax(last):.4g}")
        for reason in sorted({reason for reason in self.stopped_by if reason is not None}):
            members = [str(i) for i, each in enumerate(self.stopped_by) if each == reason]
            more = f" and {len(members) - MOST_SHOWN} more" * (len(members) > MOST_SHOWN)
            lines.append(f"  stopped by {reason!r}: {len(members)}, members {', '.join(members[:MOST_SHOWN])}{more}")
        return "\n".join(lines)

    def _latest(self, rows: Sequence[Array]) -> Array:
        """Each member's latest value; NaN where no epoch of it was kept."""
        return np.array([rows[int(done) - 1][member] if done else math.nan for member, done in enumerate(self.epochs)])


def record_all(history: PopulationHistory, members: Sequence[int], values: dict[str, Array], seconds: float) -> None:
    """Adds an epoch of these members; the others have NaN."""
    for name, column in values.items():
        row = np.full(len(history), np.nan)
        row[members] = column
        history._rows.setdefault(name, []).append(row)
    history._seconds.append(seconds)
    history.epochs[members] += 1


def of_members(histories: Sequence[History | None]) -> PopulationHistory:
    """What members have recorded one by one; None is one that diverged. Epochs that a member did not do are NaN."""
    told = [history for history in histories if history is not None]
    lists = [name for name in told[0].as_dict() if name != "seconds"]
    epochs = max(len(history.loss) for history in told)
    result = PopulationHistory(len(histories), [name for name in lists if name not in ("loss", "validation_loss")],
                               "validation_loss" in lists)
    for epoch in range(epochs):
        members = [member for member, history in enumerate(histories)
                   if history is not None and epoch < len(history.loss)]
        those = [history for history in told if epoch < len(history.loss)]
        values = {name: np.array([history.as_dict()[name][epoch] for history in those]) for name in lists}
        record_all(result, members, values, math.fsum(history.seconds[epoch] for history in those))
    result.stopped_by = ["diverged" if history is None else history.stopped_by for history in histories]
    return result
