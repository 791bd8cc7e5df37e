"""fastnn's models of tables beside gradient boosting, other networks and linear models: errors and processor time.

    python benchmarks/tables/compare.py --data FOLDER                   # the ten tables, whoever is installed
    python benchmarks/tables/compare.py --data FOLDER --tables titanic abalone --methods fastnn-8 catboost
    python benchmarks/tables/compare.py --data FOLDER --json benchmarks/record/MACHINE/tables-a.json

All learn from the same 80 % of the rows and answer for the same 20 %, twice; each has its defaults and one thread.
Error is 1 - AUC for two classes, the share of wrong answers for more, RMSE for numbers. Times are processor seconds.
scikit-learn's HistGradientBoosting always takes part: ratios are to it. page.py writes what was recorded into the docs.
"""

import argparse
import json
import platform
import warnings
from datetime import date
from pathlib import Path
from time import process_time

from contenders import METHODS
from page import over_all, per_table
from scores import REFERENCE, error, relative
from sklearn.model_selection import train_test_split
from sources import TABLES, known, load
from threadpoolctl import threadpool_limits

import fastnn
from fastnn.bench import report

SPLITS = 2
WARM_UP = 300               # rows that a method learns from once before it is timed: imports, pools of threads


def seconds(run, *arguments):
    """(what it returns, processor seconds of all threads)"""
    start = process_time()
    result = run(*arguments)
    return result, process_time() - start


def measure(method, table, train, test, seed):
    """A method's error, seconds of fit and seconds of predict."""
    model = METHODS[method].make(table.task, seed)
    _, fit = seconds(model.fit, train, table.target)
    answer, predict = seconds(model.predict, test.drop(columns=table.target))
    return {"error": error(test[table.target].to_numpy(), answer, model.classes), "fit": fit, "predict": predict}


def outcome(method, table, train, test, seed):
    """`measure`, or {"failed": why}: one that cannot learn from a table must not end the comparison."""
    try:
        return measure(method, table, train, test, seed)
    except Exception as problem:            # whatever a peer raises
        return {"failed": f"{type(problem).__name__}: {problem}".splitlines()[0]}


def race(methods, tables, found):
    """Yields a result for each table, split and method; all methods have their turn before the next split."""
    warm = set()
    for name in tables:
        table, path = found[name]
        frame = load(table, path)
        classes = frame[table.target] if table.task == "classification" else None
        for split in range(SPLITS):
            train, test = (part.reset_index(drop=True) for part in train_test_split(
                frame, test_size=0.2, random_state=split, stratify=classes))
            for method in methods:
                if method not in warm:
                    outcome(method, table, train[:WARM_UP], test, split)
                    warm.add(method)
                yield {"table": name, "split": split, "method": method, "task": table.task, "rows": len(frame),
                       "columns": frame.shape[1] - 1, "test_rows": len(test),
                       **outcome(method, table, train, test, split)}


def conditions(methods):
    """Date, commit, machine and versions."""
    return {"date": date.today().isoformat(), "commit": report.commit(), "processor": report.processor(), "threads": 1,
            "python": platform.python_version(), "versions": {name: METHODS[name].version for name in methods}}


def chosen():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, type=Path, help="folder of the tables; those it lacks are fetched")
    parser.add_argument("--tables", nargs="+", default=list(TABLES), help="default: the ten")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS, metavar="METHOD",
                        help=f"default: those installed of {', '.join(METHODS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, too, after each of them")
    arguments = parser.parse_args()
    found = known(arguments.data)
    if unknown := [name for name in arguments.tables if name not in found]:
        parser.error(f"{unknown[0]} is neither one of the ten tables nor in {arguments.data}/tables.json")
    methods = [name for name in METHODS if name in {*arguments.methods, REFERENCE} and METHODS[name].version]
    return methods, arguments.tables, found, arguments.json


def main():
    methods, tables, found, path = chosen()
    warnings.simplefilter("ignore")         # of peers; what fails is told
    fastnn.set_num_threads(1)
    run = {**conditions(methods), "results": []}
    with threadpool_limits(1):
        for result in race(methods, tables, found):
            run["results"].append(result)
            told = result.get("failed") or f"{result['error']:.5g}, {result['fit']:.3g} s"
            print(f"{result['table']} {result['split']} {result['method']}: {told}", flush=True)
            if path:
                path.write_text(json.dumps(run, indent=0) + "\n", encoding="utf-8")
    compared = relative(run["results"])
    print("", *over_all(compared), "", *per_table(compared), sep="\n")


if __name__ == "__main__":
    main()
