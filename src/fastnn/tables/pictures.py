"""The pictures of a report, by matplotlib, as SVG to stand inside a page: learning curves, confusion, points,
calibration, importances.

A picture takes its colours from the page, as CSS variables, so that it can be read on light and on dark paper; its text
is text, in the page's font. The same report gives the same bytes. A figure belongs to no pyplot. matplotlib's settings
are others while a picture is drawn, and then what they were.
"""

import io
import math
import re
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from .._checks import library
from ..plot.style import BLUE, VERMILLION, finished, log_scale, whole_numbers
from .scores import Bin
from .summary import brief, cut, predicted_share

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .report import Report

INK = "#010203"             # stands for the colour of the page's text
COLORS = {INK: "currentColor", BLUE: "var(--blue)", VERMILLION: "var(--red)"}
SETTINGS = {
    "svg.fonttype": "none", "text.parse_math": False, "font.family": ["DejaVu Sans"], "font.size": 9.0,
    "figure.facecolor": "none", "axes.facecolor": "none", "axes.edgecolor": INK, "axes.labelcolor": INK,
    "text.color": INK, "xtick.color": INK, "ytick.color": INK, "axes.linewidth": 0.6, "xtick.major.width": 0.6,
    "ytick.major.width": 0.6, "axes.spines.top": False, "axes.spines.right": False}
NOTHING = {"Date": None, "Creator": None, "Format": None, "Type": None}
WIDTH, HEIGHT = 4.6, 3.3    # inches; 442 pixels wide, so that a phone makes the text little smaller
MOST_COLUMNS = 15           # by their importance
FAINTEST = 0.005            # share of a class whose colour can be seen
CHANCE = 1.96               # standard errors of an interval that holds the truth in 95 of 100 cases


def picture(name: str, draw: Callable[["Axes"], None], width: float = WIDTH, height: float = HEIGHT) -> str:
    """An <svg> element that `draw` draws. The name makes its ids differ from those of other pictures in the page."""
    figures = library("matplotlib.figure", "matplotlib", "plot", "the page of a report")
    styles = library("matplotlib.style", "matplotlib", "plot", "the page of a report")
    file = io.StringIO()
    with warnings.catch_warnings(), styles.context(["default", {**SETTINGS, "svg.hashsalt": name}]):
        warnings.simplefilter("ignore")         # of signs that the font lacks by which text is measured
        figure = figures.Figure((width, height), layout="constrained")
        draw(figure.subplots())
        figure.savefig(file, format="svg", metadata=NOTHING)
    text = file.getvalue()
    return for_a_page(text[text.index("<svg"):].strip(), name)


def for_a_page(svg: str, name: str) -> str:
    """SVG with the page's colours, as wide as its place, and with ids of its own; texts stay as they are."""
    def changed(tag: re.Match[str]) -> str:
        text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", tag[0])
        if text.startswith("<svg"):
            text = re.sub(r' (width|height)="[^"]*"', "", text)
        elif text.startswith("<text"):
            text = re.sub(r' transform="rotate\(-0 [^"]*"', "", text)
        for color, variable in COLORS.items():
            text = text.replace(color, variable)
        return text
    return re.sub(r"<[^>]*>", changed, re.sub(r"\n\s*", "\n", svg))


# Learning


def curves(report: "Report") -> str:
    """The validation loss of each member, and its best epoch."""
    def draw(ax: "Axes") -> None:
        losses = [np.array([math.nan if loss is None else loss for loss in each]) for each in report.losses]
        for each, best in zip(losses, report.best_epochs, strict=False):
            epochs = report.every * np.arange(1, len(each) + 1)
            ax.plot(epochs, each, color=BLUE, alpha=0.6, linewidth=1.2)
            place = (best - 1) // report.every
            if 0 <= place < len(each):
                ax.plot(epochs[place], each[place], "o", color=VERMILLION, markersize=4.5)
        known = np.concatenate([each[np.isfinite(each)] for each in losses])
        if len(known) and known.max() > 10 * known.min() > 0:
            log_scale(ax)
            from matplotlib.ticker import LogLocator, NullLocator
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.yaxis.set_minor_locator(NullLocator())
        whole_numbers(ax, 8)
        finished(ax, "epoch", "validation loss")
        ax.yaxis.set_major_formatter(tick)
    return picture("curves", draw)


# Classes


def confusion(report: "Report") -> str:
    """Rows of each true class by the class that was predicted, coloured by their share of the true class."""
    names = [cut(name, 16) for name in report.classes or ()] + [f"{report.others} others"] * (report.others > 0)
    side, width = len(names), 2 * WIDTH if is_wide(report) else WIDTH
    cell = (72 * width - 90) / side         # points that a cell is wide, about
    name_size = min(9.0, max(6.0, 0.75 * cell))

    def draw(ax: "Axes") -> None:
        from matplotlib.patches import Rectangle
        for down, counts in enumerate(report.confusion):
            for across, count in enumerate(counts):
                share = count / sum(counts) if count else 0.0
                if share >= FAINTEST:
                    ax.add_patch(Rectangle((across - 0.5, down - 0.5), 1, 1, alpha=0.6 * share, linewidth=0,
                                           facecolor=BLUE if down == across else VERMILLION))
                if count:
                    text = f"{count:,}"
                    ax.text(across, down, text, ha="center", va="center", in_layout=False,
                            fontsize=min(9.0, cell / (0.65 * len(text))))
        upright = max(map(len, names)) * 0.6 * name_size > cell
        ax.set_xticks(range(side), names, rotation=90 if upright else 0, fontsize=name_size)
        ax.set_yticks(range(side), names, fontsize=name_size)
        finished(ax, "predicted class", "true class")
        squares(ax, side)
    return picture("confusion", draw, width, 1.6 * WIDTH if is_wide(report) else max(HEIGHT, 0.3 * side + 0.9))


def squares(ax: "Axes", side: int) -> None:
    """Lines around cells in the place of those through them."""
    ax.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5))
    ax.grid(visible=False)
    ax.set_xticks(np.arange(side + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(side + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="0.5", alpha=0.25)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)


def is_wide(report: "Report") -> bool:
    """Whether the confusion matrix needs the width of two pictures."""
    return len(report.confusion) > 10


def share_calibration(report: "Report") -> str:
    """The share of rows that came true in each bin, against its mean probability."""
    bins, two = report.calibration, len(report.confusion) == 2

    def draw(ax: "Axes") -> None:
        x, y = (np.array([each[part] for each in bins]) for part in (0, 1))
        bounds = np.array([interval(each) for each in bins])
        low = 0.0 if two else math.floor(10 * min(x.min(), bounds.min())) / 10
        ax.plot([low, 1], [low, 1], "--", color=INK, alpha=0.5, linewidth=1)
        ax.vlines(x, bounds[:, 0], bounds[:, 1], color=BLUE, alpha=0.5, linewidth=1.5)
        ax.plot(x, y, "o-", color=BLUE, markersize=4.5, linewidth=1.2)
        finished(ax, f"mean {predicted_share(report)}", "share of rows that came true")
        margin = 0.02 * (1 - low)
        ax.set(xlim=(low - margin, 1 + margin), ylim=(low - margin, 1 + margin))
    return picture("calibration", draw)


def interval(each: Bin) -> tuple[float, float]:
    """Where the true share may lie, in 95 of 100 cases (Wilson, 1927)."""
    n, square = each.rows, CHANCE**2
    middle = (each.true + square / (2 * n)) / (1 + square / n)
    half = CHANCE / (1 + square / n) * math.sqrt(max(each.true * (1 - each.true), 0) / n + square / (4 * n * n))
    return middle - half, middle + half


# Numbers


def points(report: "Report") -> str:
    """Truth against prediction, of some rows."""
    def draw(ax: "Axes") -> None:
        true, predicted = map(np.array, report.points)
        ends = [min(true.min(), predicted.min()), max(true.max(), predicted.max())]
        ax.plot(ends, ends, "--", color=INK, alpha=0.5, linewidth=1)
        ax.plot(predicted, true, "o", color=BLUE, alpha=0.45, markersize=3.5, markeredgewidth=0)
        finished(ax, f"predicted {report.target}", f"true {report.target}")
        few_ticks(ax)
    return picture("points", draw)


def number_calibration(report: "Report") -> str:
    """How far the mean truth of each bin is from its mean prediction."""
    def draw(ax: "Axes") -> None:
        x = np.array([each.predicted for each in report.calibration])
        y = np.array([each.true for each in report.calibration]) - x
        rmse = report.scores["rmse"]
        ax.axhspan(-rmse, rmse, color=INK, alpha=0.07, linewidth=0)
        ax.axhline(0, color=INK, alpha=0.5, linewidth=1, linestyle="--")
        ax.vlines(x, 0, y, color=BLUE, alpha=0.6, linewidth=1.5)
        ax.plot(x, y, "o", color=BLUE, markersize=4.5)
        finished(ax, f"mean predicted {report.target}", "mean of truth − prediction")
        few_ticks(ax)
    return picture("calibration", draw)


def few_ticks(ax: "Axes") -> None:
    """Fewer ticks across, as their labels may be long numbers; labels as `tick` writes them."""
    ax.locator_params("x", nbins=6)
    ax.xaxis.set_major_formatter(tick)
    ax.yaxis.set_major_formatter(tick)


def tick(value: float, place: float) -> str:
    """The label of a tick: 60,000 or 0.3."""
    return f"{value:,.10g}".replace("-", "−")


# Columns


def importances(report: "Report") -> str:
    """The columns that matter most, as bars."""
    some = report.importances[:MOST_COLUMNS]

    def draw(ax: "Axes") -> None:
        values = [growth for _, growth in some]
        ax.barh(range(len(some)), values, height=0.65, color=BLUE)
        for place, value in enumerate(values):
            ax.annotate(brief(value, 2), (max(value, 0.0), place), (3, 0), textcoords="offset points", va="center",
                        fontsize=8, alpha=0.8)
        ax.set_yticks(range(len(some)), [cut(name, 28) for name, _ in some])
        ax.set_ylim(max(len(some), 6) - 0.4, -0.6)
        ax.tick_params("y", length=0)
        ax.margins(x=0.12)
        finished(ax, f"growth of the {'log-loss' if report.classes else 'squared error ÷ variance'}", "")
        ax.grid(visible=False, axis="y")
        ax.xaxis.set_major_formatter(tick)
    return picture("importances", draw, WIDTH, max(HEIGHT, 0.7 + 0.22 * len(some)))


def all_of(report: "Report") -> Iterable[tuple[str, str]]:
    """(name, <svg>) of each picture that the report has something for, in the order of a page."""
    if report.confusion and not is_wide(report):
        yield "confusion", confusion(report)
    if report.points[0]:
        yield "points", points(report)
    if report.importances:
        yield "importances", importances(report)
    if report.calibration:
        yield "calibration", (number_calibration if report.classes is None else share_calibration)(report)
    if any(report.losses):
        yield "curves", curves(report)
    if is_wide(report):
        yield "confusion", confusion(report)
