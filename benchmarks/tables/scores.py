"""The arithmetic of the comparison: what an error is, and how methods stand to the reference over several tables.

Nothing is read, learned or timed here. A result is a dict: table, split, method, test_rows, error, fit and predict
(processor seconds), or failed (a sentence) in the place of the last three. compare.py makes them, page.py
prints what comes out.
"""

from statistics import geometric_mean, mean

import numpy as np
from sklearn.metrics import roc_auc_score

REFERENCE = "hist-gradient-boosting"
LEAST = 1e-6                # an error or a time below that counts as that: a ratio to 0 says nothing


def error(truth, answer, classes=None):
    """1 - AUC for two classes, the share of wrong answers for more, the root of the mean squared error for numbers.

    truth: (n,), of classes or numbers. answer: probabilities (n, classes), their columns in the order of `classes`;
    numbers (n,) where classes is None.
    """
    if classes is None:
        return float(np.sqrt(np.mean((np.asarray(truth, float) - answer) ** 2)))
    if len(classes) == 2:
        return float(1 - roc_auc_score(np.asarray(truth) == classes[1], answer[:, 1]))
    return float(np.mean(np.asarray(classes)[answer.argmax(axis=1)] != np.asarray(truth)))


def relative(results):
    """{(table, split, method): result with error_ratio and fit_ratio}: to the reference, on the same rows in one run.

    What failed, or has no reference, is left out.
    """
    done = {(r["table"], r["split"], r["method"]): r for r in results if "failed" not in r}
    found = {}
    for key, result in done.items():
        reference = done.get((*key[:2], REFERENCE))
        if reference is not None:
            found[key] = {**result, **{f"{what}_ratio": max(result[what], LEAST) / max(reference[what], LEAST)
                                       for what in ("error", "fit")}}
    return found


def by_table(compared, what):
    """{table: {method: mean of the splits}} of "error", "fit" …; ratios have a geometric mean."""
    average = geometric_mean if what.endswith("_ratio") else mean
    values = {}
    for (table, _, method), result in compared.items():
        values.setdefault(table, {}).setdefault(method, []).append(result[what])
    return {table: {method: average(found) for method, found in methods.items()} for table, methods in values.items()}


def ranks(errors):
    """{method: its rank}: the least error is 1; equal errors share the mean of their ranks."""
    return {method: 1 + sum(other < value for other in errors.values())
            + (sum(other == value for other in errors.values()) - 1) / 2 for method, value in errors.items()}


def over_tables(compared):
    """{method: {error_ratio, fit_ratio, rank, rows_a_second, tables}}, the best first: over the tables that a method
    learned from, geometric means of the ratios, its mean rank, how fast all rows were predicted; how many tables."""
    errors, fits = by_table(compared, "error_ratio"), by_table(compared, "fit_ratio")
    ranked = {table: ranks(methods) for table, methods in by_table(compared, "error").items()}
    summary = {}
    for method in {method for methods in errors.values() for method in methods}:
        tables = [table for table in errors if method in errors[table]]
        own = [result for (_, _, name), result in compared.items() if name == method]
        summary[method] = {
            "error_ratio": geometric_mean(errors[table][method] for table in tables),
            "fit_ratio": geometric_mean(fits[table][method] for table in tables),
            "rank": mean(ranked[table][method] for table in tables),
            "rows_a_second": sum(r["test_rows"] for r in own) / max(sum(r["predict"] for r in own), LEAST),
            "tables": len(tables)}
    return dict(sorted(summary.items(), key=lambda item: (item[1]["error_ratio"], item[0])))
