"""Writes the comparison's tables into docs/performance.md, from the results in record/. Nothing is learned here.

    python benchmarks/tables/page.py

A folder of record/ has the results of one kind of processor; its files tables-*.json may have different methods, each
beside the reference, and ratios are taken within a file. Of a method in several files, the last file's results count.
"""

import json
from pathlib import Path

from contenders import METHODS
from scores import REFERENCE, by_table, over_tables, relative

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/performance.md"
BEGIN, END = "<!-- models of tables: written by benchmarks/tables/page.py -->", "<!-- end of models of tables -->"


def over_all(compared):
    """One row a method, the best first: what counts over all tables."""
    summary = over_tables(compared)
    most = max((row["tables"] for row in summary.values()), default=0)
    lines = ["| method | error | fit time | mean rank | rows predicted a second |", "|---|---|---|---|---|"]
    for method, row in summary.items():
        fewer = f" ({row['tables']} of {most} tables)" if row["tables"] < most else ""
        lines.append(f"| {METHODS[method].title}{fewer} | {row['error_ratio']:.3f} | {row['fit_ratio']:.3g} "
                     f"| {row['rank']:.1f} | {round(row['rows_a_second'], -3):,.0f} |")
    return lines


def per_table(compared):
    """One row a table: the error of each method and, in brackets, its ratio to the reference; the least is bold."""
    errors, ratios = by_table(compared, "error"), by_table(compared, "error_ratio")
    rows = {table: result for (table, _, _), result in compared.items()}
    methods = list(over_tables(compared))
    lines = [f"| table | rows × columns | {' | '.join(METHODS[name].title for name in methods)} |",
             "|---" * (len(methods) + 2) + "|"]
    for table, found in errors.items():
        cells = [cell(found.get(name), ratios[table].get(name), found.get(name) == min(found.values()))
                 for name in methods]
        lines.append(f"| {table} | {rows[table]['rows']:,} × {rows[table]['columns']} | {' | '.join(cells)} |")
    return lines


def cell(error, ratio, least):
    if error is None:
        return "–"
    text = f"{error:.4g}" if error < 1e4 else f"{error:,.0f}"
    return f"{f'**{text}**' if least else text} ({ratio:.2f})"


def caption(runs):
    """Where the figures are from: machine, date, commits and versions."""
    versions = {METHODS[name].package: version for run in runs for name, version in run["versions"].items()}
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    commits = ", ".join(dict.fromkeys(str(run["commit"]) for run in runs))
    first = runs[0]
    return f"{first['processor']}, one thread; Python {first['python']}, {told}; {first['date']}, commit {commits}."


def failures(runs):
    """A line for each method that could not learn from a table."""
    failed = {(r["table"], METHODS[r["method"]].title): r["failed"]
              for run in runs for r in run["results"] if "failed" in r}
    return [f"{title} did not learn from {table}: {why}" for (table, title), why in failed.items()]


def section(folder):
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("tables-*.json"))]
    compared = {key: result for run in runs for key, result in relative(run["results"]).items()}
    return [caption(runs), "", f"Ratios are to {METHODS[REFERENCE].title}.", "", *over_all(compared), "",
            *per_table(compared), "", *(line for told in failures(runs) for line in (told, ""))]


def main():
    folders = sorted({path.parent for path in (ROOT / "benchmarks/record").glob("*/tables-*.json")})
    lines = [line for folder in folders for line in section(folder)] or ["NOT MEASURED.", ""]
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    PAGE.write_text("\n".join([before + BEGIN, "", *lines, END]) + rest.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
