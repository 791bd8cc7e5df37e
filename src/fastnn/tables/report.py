"""What a table model is worth, in a small record: lines for a terminal, plain values for the model's file.

`Report.of` measures outputs, and shortens what would be long: a report takes less than 20 kB of JSON, whatever the
table was. summary.py writes its lines, page.py makes a page of it. out_of_fold.py is the caller: it asks the networks,
which this module does not know. What columns were taken for comes as lines, of which a report keeps some.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from html import escape
from itertools import starmap
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._checks import shown
from ..storage.model_file import printable
from . import scores as measure
from .checks import is_float
from .encoding import LARGEST
from .scores import Bin, Integers
from .summary import cut, lines

MOST_SAID = 20              # lines about columns
MOST_CLASSES = 30           # in the confusion matrix; all others are one class
MOST_MIXED = 5              # pairs of classes that are confused most
MOST_COLUMNS = 30           # with their importance
MOST_CURVES = 8             # members whose losses are kept
MOST_LOSSES = 60            # of such a member
MOST_POINTS = 300           # rows whose truth and prediction are kept
MOST_BEST = 64              # members whose best epoch is kept
MOST_SETTINGS = 30
LENGTHS = (40, 20, 10, 5)   # characters of a name: the first that makes a report small; a line has 3 times as many
LARGEST_SIZE = 20_000       # characters of the report as JSON

CLASS_SCORES = ({"accuracy", "log_loss", "auc"}, {"accuracy", "log_loss"})
NUMBER_SCORES = ({"rmse", "mae", "r2"},)


@dataclass(frozen=True)
class Report:
    """How well a table model predicts rows that did not train the network that predicts them.

    Printed, a report is some lines. Numbers are rounded: scores to 6 digits, all others to 5. `fit` makes it; it is not
    changed afterwards.
    """

    target: str
    rows: int                                   # that have a target
    validated: int                              # of these, how many were predicted: the scores are of them
    columns: int                                # learned from
    members: int                                # networks
    said: tuple[str, ...]                       # lines about columns
    classes: tuple[str, ...] | None             # None where the target is a number
    others: int                                 # rarer classes, which are the last row and column of the confusion
    scores: dict[str, float]                    # accuracy, log_loss and perhaps auc; or rmse, mae, r2
    baseline: dict[str, float]                  # of the same answer for all rows: accuracy, log_loss; or rmse, mae
    confusion: tuple[tuple[int, ...], ...]      # rows by true class (down) and predicted class; empty for numbers
    mixed: tuple[tuple[str, str, int], ...]     # true class, what it was taken for, rows: the most frequent ones
    calibration: tuple[Bin, ...]
    points: tuple[tuple[float, ...], tuple[float, ...]]     # truth and prediction of some rows; empty for classes
    importances: tuple[tuple[str, float], ...]  # growth of the loss where a column is shuffled, the largest first
    losses: tuple[tuple[float | None, ...], ...]    # of the validation rows of each member; None for NaN and infinity
    every: int                                  # each of these losses is the smallest of so many epochs
    best_epochs: tuple[int, ...]                # of each member, from 1
    settings: dict[str, str]
    seconds: float | None = None                # that training took; no part of a file: equal models have equal files

    @classmethod
    def of(cls, target: str, y: ArrayLike, outputs: ArrayLike, *, classes: Sequence[object] | None, rows: int,
           columns: int, members: int, said: Sequence[str] = (), importances: Mapping[str, float] | None = None,
           losses: Sequence[Sequence[float]] = (), best_epochs: Sequence[int] = (),
           settings: Mapping[str, object] | None = None, seconds: float | None = None) -> "Report":
        """The report on outputs of rows that did not train the network that answered.

        y is (n,): the places of the true classes in `classes`, with probabilities (n, k); or numbers, with predictions
        (n,) and None for `classes`. `rows` is how many rows have a target, n or more. `importances` come as the module
        of that name gives them. `losses` has a list for each member.
        """
        every = max([1, *(math.ceil(len(each) / MOST_LOSSES) for each in losses)])
        measured = of_numbers(y, outputs) if classes is None else of_classes(y, outputs, list(map(str, classes)))
        chosen = sorted((importances or {}).items(), key=lambda pair: -pair[1])[:MOST_COLUMNS]
        for length in LENGTHS:
            report = cls(
                target=shortened(target, length), rows=int(rows), columns=int(columns), members=int(members),
                every=every, said=first_lines(said, 3 * length), seconds=seconds, **condensed(measured, length),
                importances=tuple((shortened(name, length), rounded(growth)) for name, growth in chosen),
                losses=tuple(thinned(each, every) for each in losses[:MOST_CURVES]),
                best_epochs=tuple(map(int, best_epochs[:MOST_BEST])),
                settings={shortened(name, length): shortened(as_text(value), length)
                          for name, value in list((settings or {}).items())[:MOST_SETTINGS]})
            if len(json.dumps(report.as_metadata())) <= LARGEST_SIZE:
                break
        return report

    @property
    def out_of_fold(self) -> bool:
        """Whether every row with a target was predicted, each by a network that did not train on it."""
        return self.validated == self.rows

    def text(self) -> str:
        """Some lines of a hundred characters, without a last line break. No name in them can control a terminal."""
        return "\n".join(lines(self))

    __str__ = text

    def _repr_html_(self) -> str:
        """The same lines, for notebooks."""
        return f"<pre>{escape(self.text())}</pre>"

    def as_metadata(self) -> dict[str, Any]:
        """Plain values, for a model file: all but the seconds."""
        return {field.name: as_lists(getattr(self, field.name)) for field in fields(self) if field.name != "seconds"}

    @classmethod
    def from_metadata(cls, plain: object) -> "Report":
        """The report that `as_metadata` wrote; ValueError for anything else."""
        try:
            values = {name: as_tuples(value) for name, value in plain.items()}     # type: ignore[attr-defined]
            report = cls(**{**values, "calibration": tuple(starmap(Bin, values["calibration"]))})
            good = report.seconds is None and report._is_consistent() and report.as_metadata() == plain
        except (AttributeError, LookupError, TypeError, ValueError, RecursionError):
            good = False
        if not good:
            raise ValueError(f"the report on a model is {shown(plain)}, but must be what fastnn writes to a model file")
        return report

    def _is_consistent(self) -> bool:
        """Whether all parts are of their types, and belong to the kind of target."""
        known, side = (NUMBER_SCORES, 0) if self.classes is None else (
            CLASS_SCORES, len(self.classes) + (self.others > 0))
        measured = [*self.scores.values(), *self.baseline.values(), *self.points[0], *self.points[1],
                    *(growth for _, growth in self.importances),
                    *(part for each in self.calibration for part in each[:2]),
                    *(loss for each in self.losses for loss in each if loss is not None)]
        counts = [self.rows, self.validated, self.columns, self.members, self.others, self.every, *self.best_epochs,
                  *(count for each in self.confusion for count in each), *(each.rows for each in self.calibration),
                  *(count for _, _, count in self.mixed)]
        texts = [self.target, *self.said, *(self.classes or ()), *(text for pair in self.mixed for text in pair[:2]),
                 *(name for name, _ in self.importances), *self.settings, *self.settings.values()]
        lists = [self.said, self.mixed, self.calibration, self.importances, self.losses, self.best_epochs,
                 () if self.classes is None else self.classes]
        return (all(type(each) is tuple for each in lists)
                and all(is_float(value, -LARGEST, LARGEST) for value in measured)
                and all(type(count) is int and 0 <= count < 2**53 for count in counts)
                and all(type(text) is str and text.isprintable() for text in texts)
                and set(self.scores) in known and set(self.baseline) == known[-1] - {"r2"}
                and 1 <= self.validated <= self.rows and self.members >= 1 and self.every >= 1
                and len(self.confusion) == side and all(len(each) == side for each in self.confusion)
                and all(each.rows for each in self.calibration)
                and len(self.points) == 2 and len(self.points[0]) == len(self.points[1]))


# What the outputs say


def of_classes(y: ArrayLike, probabilities: ArrayLike, classes: Sequence[str]) -> dict[str, Any]:
    """The fields of a report that are measured from probabilities (n, k)."""
    counts = measure.confusion_matrix(y, probabilities)
    if len(classes) != len(counts):
        raise ValueError(f"there are {len(classes)} classes, but probabilities of {len(counts)}")
    kept, confusion = merged(counts)
    bins = measure.class_calibration(y, probabilities)
    return {"validated": len(np.asarray(y)), "scores": measure.class_scores(y, probabilities),
            "baseline": measure.class_baseline(y, len(classes)), "calibration": bins, "points": ((), ()),
            "classes": [classes[place] for place in kept], "others": len(classes) - len(kept), "confusion": confusion,
            "mixed": [(classes[true], classes[taken], rows) for true, taken, rows in most_mixed(counts)]}


def of_numbers(y: ArrayLike, predictions: ArrayLike) -> dict[str, Any]:
    """The fields of a report that are measured from predictions (n,)."""
    true, predicted = measure.checked_numbers(y, predictions)
    some = measure.some_rows(len(true), MOST_POINTS)
    return {"validated": len(true), "scores": measure.number_scores(true, predicted),
            "baseline": measure.number_baseline(true), "calibration": measure.number_calibration(true, predicted),
            "points": tuple(tuple(map(rounded, values[some].tolist())) for values in (true, predicted)),
            "classes": None, "others": 0, "confusion": (), "mixed": ()}


def merged(counts: Integers) -> tuple[list[int], list[list[int]]]:
    """The places of the classes with the most rows, and the confusion matrix with all others as its last class."""
    k = len(counts)
    if k <= MOST_CLASSES + 1:           # a single class needs no other name
        return list(range(k)), counts.tolist()
    kept = np.sort(np.argsort(-counts.sum(axis=1), kind="stable")[:MOST_CLASSES])
    others = np.setdiff1d(np.arange(k), kept)
    across = np.column_stack([counts[:, kept], counts[:, others].sum(axis=1)])
    return kept.tolist(), np.vstack([across[kept], across[others].sum(axis=0)]).tolist()


def most_mixed(counts: Integers) -> list[tuple[int, int, int]]:
    """The most frequent confusions: (true class, what it was taken for, rows)."""
    wrong = counts - np.diag(np.diag(counts))
    places = np.argsort(-wrong, axis=None, kind="stable")[:MOST_MIXED].tolist()
    found = [(*divmod(place, len(counts)), int(wrong.flat[place])) for place in places]
    return [each for each in found if each[2] > 0]


# Small and plain


def condensed(measured: Mapping[str, Any], length: int) -> dict[str, Any]:
    """The measured fields as a report holds them."""
    classes = measured["classes"]
    return {**measured,
            "scores": {name: rounded(value, 6) for name, value in measured["scores"].items()},
            "baseline": {name: rounded(value, 6) for name, value in measured["baseline"].items()},
            "calibration": tuple(Bin(rounded(each.predicted), rounded(each.true), each.rows)
                                 for each in measured["calibration"]),
            "classes": None if classes is None else tuple(shortened(name, length) for name in classes),
            "confusion": tuple(map(tuple, measured["confusion"])),
            "mixed": tuple((shortened(true, length), shortened(taken, length), rows)
                           for true, taken, rows in measured["mixed"])}


def rounded(value: float, digits: int = 5) -> float:
    """A number in a few digits, within ±1e100, without a negative zero."""
    return float(f"{min(max(value, -LARGEST), LARGEST):.{digits}g}") + 0.0


def thinned(losses: Sequence[float], every: int) -> tuple[float | None, ...]:
    """The smallest loss of each stretch of epochs; None where all are NaN or infinite, which JSON does not know."""
    stretches = [losses[start:start + every] for start in range(0, len(losses), every)]
    known = [[loss for loss in stretch if math.isfinite(loss)] for stretch in stretches]
    return tuple(rounded(min(each)) if each else None for each in known)


def shortened(text: str, most: int) -> str:
    """Text in one line of at most so many characters."""
    return cut(printable(text[:most + 1]), most)


def first_lines(said: Sequence[str], most: int) -> tuple[str, ...]:
    """The first lines, shortened, and how many more there were."""
    kept = tuple(shortened(line, most) for line in said[:MOST_SAID])
    return (*kept, f"… and {len(said) - len(kept)} more") if len(said) > len(kept) else kept


def as_text(value: object) -> str:
    """A setting: text, a number or several of them."""
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def as_lists(value: Any) -> Any:
    """Tuples as lists, however deep."""
    return [as_lists(each) for each in value] if isinstance(value, tuple) else value


def as_tuples(value: Any) -> Any:
    """Lists as tuples, however deep."""
    return tuple(as_tuples(each) for each in value) if isinstance(value, list) else value
