"""The lines of a report, as `fastnn train` prints them: scores, confusion, important columns, calibration.

Only what a `Report` holds comes in, and only lines go out: nothing is measured here. page.py takes from here what both
say, so that they say the same.
"""

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .report import Report

WIDTH = 100             # characters of a line
MOST_CLASSES = 10       # in a confusion table
MOST_COLUMNS = 10       # by their importance
LONGEST_NAME = 28
BAR = 30                # characters of the longest bar

NAMES = {"accuracy": "accuracy", "auc": "AUC", "log_loss": "log-loss", "rmse": "RMSE", "mae": "MAE", "r2": "r2"}


def lines(report: "Report") -> list[str]:
    """All of them; an empty line stands between two parts."""
    parts = [[f"{trained(report)}."], textwrap.wrap(honesty(report), WIDTH), score_lines(report),
             confusion_lines(report), importance_lines(report), calibration_lines(report)]
    return [line.rstrip() for part in parts if part for line in ("", *part)][1:]


# Sentences


def trained(report: "Report") -> str:
    """What learned from how much, and how long it took."""
    best = report.best_epochs
    epochs = "" if not best else f", best after {min(best)}" + (f" to {max(best)}" if max(best) > min(best) else "")
    epochs += "" if not best else " epoch" if max(best) == 1 else " epochs"
    seconds = "" if report.seconds is None else f", trained in {duration(report.seconds)}"
    return (f"{counted(report.members, 'network')}{epochs}{seconds}, on {counted(report.rows, 'row')} with "
            f"{counted(report.columns, 'column')}")


def honesty(report: "Report") -> str:
    """What the scores are measured on, and in which direction they are wrong."""
    if report.members == 1:
        return (f"Measured on the {counted(report.validated, 'row')} that were held out; slightly optimistic, as the "
                "network chose its epoch by these rows.")
    some = "" if report.out_of_fold else f", for {report.validated:,} of the rows"
    return (f"Out of fold{some}: each row is predicted by the one network that did not train on it; slightly "
            f"optimistic, as it chose its epoch by these rows; the mean of all {report.members} is usually better.")


def growth_of(report: "Report") -> str:
    """What grows where a column matters."""
    return "log-loss" if report.classes is not None else "squared error, in variances of the target,"


def predicted_share(report: "Report") -> str:
    """The probability that calibration is about."""
    classes = report.classes or ()
    return f"p({classes[1]})" if len(classes) == 2 and not report.others else "p(predicted class)"


def calibration_error(report: "Report") -> float:
    """The mean distance, over rows, of what was predicted and what came true in a bin."""
    rows = sum(each.rows for each in report.calibration)
    return sum(abs(each.predicted - each.true) * each.rows for each in report.calibration) / max(rows, 1)


# Tables


def score_lines(report: "Report") -> list[str]:
    """Each score, and that of the same answer for all rows."""
    return aligned([("", "model", "same answer for all rows"), *(
        (NAMES[name], brief(value), brief(report.baseline[name]) if name in report.baseline else "")
        for name, value in report.scores.items())])


def confusion_lines(report: "Report") -> list[str]:
    """The confusion table of a few classes; of more, the most frequent confusions."""
    if report.classes is None:
        return []
    if len(report.classes) > MOST_CLASSES:
        mixed = [(cut(true, LONGEST_NAME), "taken for", cut(taken, LONGEST_NAME), counted(rows, "row"))
                 for true, taken, rows in report.mixed]
        count = len(report.classes) + report.others
        return [f"of {count} classes, those confused most", *aligned(mixed, "<<<>")] if mixed else []
    names = [cut(name, max(6, 70 // len(report.classes))) for name in report.classes]
    right = [f"{true[place] / sum(true):.1%}" if sum(true) else "" for place, true in enumerate(report.confusion)]
    table: list[tuple[str, ...]] = [("true \\ predicted", *names, "right"), *(
        (name, *(f"{count:,}" if count else "." for count in counts), share)
        for name, counts, share in zip(names, report.confusion, right, strict=True))]
    return aligned(table)


def importance_lines(report: "Report") -> list[str]:
    """The columns that matter most, with a bar."""
    some, rest = report.importances[:MOST_COLUMNS], report.columns - MOST_COLUMNS
    if not some:
        return []
    growths = [growth for _, growth in some]
    bars = ["#" * round(BAR * max(growth, 0) / (max(growths) or 1)) for growth in growths]
    table = [(cut(name, LONGEST_NAME), growth, bar)
             for (name, _), growth, bar in zip(some, alike(growths), bars, strict=True)]
    more = [f"  … and {rest:,} more"] if rest > 0 else []
    return [f"most important columns: growth of the {growth_of(report)} where one is shuffled",
            *aligned(table, "<><"), *more]


def calibration_lines(report: "Report") -> list[str]:
    """The bins, side by side."""
    bins, numbers = report.calibration, report.classes is None
    values = [value for each in bins for value in each[:2]]
    cells = alike(values) if numbers else [f"{value:.2f}" for value in values]
    table = [("predicted", *cells[::2]), ("mean truth" if numbers else "true share", *cells[1::2]),
             ("rows", *(f"{each.rows:,}" for each in bins))]
    what = "their prediction" if numbers else predicted_share(report)
    return [f"calibration: rows by {what}; off by {brief(calibration_error(report), 2)} on average", *aligned(table)]


# Words


def aligned(table: Sequence[Sequence[str]], sides: str = "") -> list[str]:
    """Rows of cells as lines. `sides` has < or > for each column; without, all but the first end at their right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    sides = sides or "<" + ">" * (len(widths) - 1)
    return ["  " + "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True))
            for row in table]


def brief(value: float, digits: int = 4) -> str:
    """A number in so many digits, or as a whole one if it has more; with an exponent only far from 1."""
    if 10 ** (digits - 1) <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:#.{digits}g}"


def alike(values: Sequence[float]) -> list[str]:
    """Numbers with equally many decimals: the largest has about four digits."""
    largest = max(map(abs, values), default=0.0)
    if not 1e-4 <= largest < 1e9:
        return [brief(value, 3) for value in values]
    decimals = max(0, 3 - math.floor(math.log10(largest)))
    return [f"{value:z,.{decimals}f}" for value in values]


def counted(count: int, what: str) -> str:
    """1 row, 2 rows."""
    return f"{count:,} {what}{'s' * (count != 1)}"


def cut(text: str, most: int) -> str:
    """Text of at most so many characters."""
    return text if len(text) <= most else f"{text[:most - 1]}…"


def duration(seconds: float) -> str:
    """Seconds, or minutes and seconds."""
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
