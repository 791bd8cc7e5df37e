"""A report as one HTML page: no scripts, nothing from a network, light and dark, on a phone and on paper.

All text that comes from a table or a model file is escaped here, or by matplotlib inside its pictures. pictures.py
draws them, summary.py has the sentences; the page is the same for the same report.
"""

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

from . import pictures
from .summary import NAMES, brief, calibration_error, counted, cut, growth_of, honesty, predicted_share, trained

if TYPE_CHECKING:
    from .report import Report

EXPLAINED = {
    "accuracy": "share of rows whose class is right",
    "auc": "how well classes are ranked: 1 is perfect, 0.5 is chance",
    "log_loss": "mean of −log p(true class): 0 is perfect",
    "rmse": "typical error; large ones count more",
    "mae": "mean of the absolute error",
    "r2": "share of the variance that is predicted: 1 is perfect, 0 is the mean",
}
LONGEST_NAMES = 60          # characters of a list of classes
TITLES = {"confusion": "Which classes are confused", "points": "Predicted and true", "calibration": "Calibration",
          "importances": "Which columns matter", "curves": "How it learned"}
PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""
STYLE = """\
:root { --paper: #f6f7f9; --card: #ffffff; --ink: #1b1f24; --faint: #5b6470; --line: #dfe3e8; --blue: #0072b2;
  --red: #d55e00 }
@media screen and (prefers-color-scheme: dark) {
  :root { --paper: #14171b; --card: #1d2126; --ink: #e8eaed; --faint: #a0a8b2; --line: #343a42; --blue: #56b4e9;
    --red: #f0883e }
}
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif }
main { max-width: 68rem; margin: 0 auto; padding: 2rem 1rem 3rem }
h1, h2, p, ul, dl, figure { margin: 0 }
h1 { font-size: 2rem; line-height: 1.2; overflow-wrap: anywhere }
h2 { font-size: 1rem; margin-bottom: .5rem }
.kind, .faint, figcaption { color: var(--faint) }
.kind { font-size: .85rem }
.lead { margin-top: .25rem }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 13rem), 1fr)); gap: 1rem;
  margin: 1.5rem 0 1rem }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1rem;
  margin: 1.5rem 0 1rem }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem 1.1rem;
  min-width: 0 }
.tiles p { font-size: .85rem }
.tiles .name { font-size: .95rem; font-weight: 600 }
.tiles .value { font-size: 2rem; line-height: 1.25; font-weight: 600; font-variant-numeric: tabular-nums }
.honest { border-left: .25rem solid var(--blue); padding: .1rem 0 .1rem .9rem }
figure { display: flex; flex-direction: column }
figcaption { font-size: .85rem; margin-top: auto; padding-top: .5rem }
figure div { overflow-x: auto }
svg { display: block; width: 100%; height: auto; overflow: visible }
svg text { font-family: inherit !important }
.wide { grid-column: 1 / -1 }
.wide svg { min-width: 40rem }
.lists { columns: 24rem 2; column-gap: 2rem; font-size: .85rem; padding-left: 1.1rem }
.lists li { overflow-wrap: anywhere; break-inside: avoid }
main > section { margin-top: 1rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1.2rem; font-size: .85rem }
dt { color: var(--faint) }
dd { margin: 0; overflow-wrap: anywhere }
@media print {
  :root { font-size: 10.5px }
  body { background: none }
  main { max-width: none; padding: 0 }
  .card { break-inside: avoid; border-color: #bbb }
  .pictures { grid-template-columns: 1fr 1fr }
  .wide svg { min-width: 0 }
}
"""


def page(report: "Report") -> str:
    """The whole page. Needs matplotlib."""
    body = [head(report), tiles(report), f'<p class="honest">{escape(honesty(report))}</p>',
            element("div", "pictures", "\n".join(figures(report))), *lists(report)]
    return PAGE.format(title=escape(f"{report.target}: report"), style=STYLE, body="\n".join(body))


def head(report: "Report") -> str:
    """What was learned, from how much."""
    some, what = report.classes, "a number"
    if some is not None:
        what = f"one of {len(some) + report.others} classes ({cut(', '.join(some), LONGEST_NAMES)})"
    return (f'<p class="kind">Report on a table model</p>\n<h1>{escape(report.target)}</h1>\n'
            f'<p class="lead faint">{escape(what)}; {escape(trained(report))}</p>')


def tiles(report: "Report") -> str:
    """The scores, each beside that of the same answer for all rows."""
    cards = []
    for name, value in report.scores.items():
        other = "" if name not in report.baseline else (
            f"<p>same answer for all rows: <b>{brief(report.baseline[name])}</b></p>")
        label = "R²" if name == "r2" else NAMES[name]
        cards.append(element("div", "card", f'<p class="name">{label}</p><p class="value">{brief(value)}</p>{other}'
                                            f'<p class="faint">{EXPLAINED[name]}</p>'))
    return element("div", "tiles", "\n".join(cards))


def figures(report: "Report") -> Iterable[str]:
    """The pictures, each with a title and how it is read."""
    for name, svg in pictures.all_of(report):
        if name == "confusion" and pictures.is_wide(report) and report.mixed:
            pairs = [f"{true} taken for {taken}: {counted(rows, 'row')}" for true, taken, rows in report.mixed]
            yield section("Confused most", bullets(pairs))
        wide = " wide" if name == "confusion" and pictures.is_wide(report) else ""
        svg = svg.replace("<svg", f'<svg role="img" aria-label="{TITLES[name]}"', 1)
        yield (f'<figure class="card{wide}"><h2>{TITLES[name]}</h2>\n<div>{svg}</div>\n'
               f"<figcaption>{escape(caption(name, report))}</figcaption></figure>")


def caption(name: str, report: "Report") -> str:
    """How a picture is read."""
    if name == "confusion":
        return ("Rows by true class (down) and predicted class (across). The colour is the share of the true class: "
                "blue is right, red is wrong.")
    if name == "points":
        return f"{counted(len(report.points[0]), 'row')}, drawn by chance. On the dashed line the prediction is right."
    if name == "importances":
        shown, more = min(len(report.importances), pictures.MOST_COLUMNS), ""
        if report.columns > shown:
            more = f" Not shown: {counted(report.columns - shown, 'column')} of less growth, or not tried alone."
        return (f"How much the {growth_of(report)} grows where the cells of a column change places among the rows. Of "
                f"columns that say the same, each seems to matter little.{more}")
    if name == "curves":
        some = "" if report.members == len(report.losses) else f" of the first {len(report.losses)}"
        return f"The loss on each network's own validation rows{some}, and the epoch that was kept."
    return calibration_caption(report)


def calibration_caption(report: "Report") -> str:
    """How calibration is read."""
    off = brief(calibration_error(report), 2)
    if report.classes is None:
        return (f"Rows in groups of like predictions: where the points are near 0, predictions are right on average. "
                f"They are off by {off}; the grey band is ±RMSE.")
    return (f"Rows in groups of like {predicted_share(report)}: on the dashed line it comes true as often as predicted."
            f" Off by {off} on average; upright bars show what chance does, in 95 of 100 cases.")


def lists(report: "Report") -> Iterable[str]:
    """What stands below the pictures: columns and settings."""
    if report.said:
        yield section("What the columns were taken for", bullets(report.said))
    if report.settings:
        yield section("Settings", "<dl>" + "".join(
            f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in report.settings.items()) + "</dl>")


def section(title: str, content: str) -> str:
    return element("section", "card", f"<h2>{title}</h2>\n{content}")


def bullets(texts: Iterable[str]) -> str:
    return element("ul", "lists", "".join(f"<li>{escape(text)}</li>" for text in texts))


def element(tag: str, kind: str, content: str) -> str:
    return f'<{tag} class="{kind}">{content}</{tag}>'
