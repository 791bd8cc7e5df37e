"""fastnn's estimators beside scikit-learn's: the same hyper-parameters, ten seeds, scores and times; the overhead.

    python benchmarks/estimators.py

Every seed splits the rows anew and trains both, one after the other; a time ratio is the median of the seeds' own.
Rows are standardised and float64, as scikit-learn's data sets are, unless float32 is said. Single threads: the matrix
products of scikit-learn are held to one, too.
"""

import statistics
import timeit
import warnings
from time import perf_counter

import numpy as np
import sklearn.neural_network
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import fastnn
import fastnn.sklearn
from fastnn.training.sources import InMemory

SEEDS = range(10)
WORK = {
    "digits": (load_digits, "MLPClassifier", {}),
    "digits, early stopping": (load_digits, "MLPClassifier", {"early_stopping": True}),
    "digits, 256-128, batch 32": (load_digits, "MLPClassifier", {"hidden_layer_sizes": (256, 128), "batch_size": 32,
                                                                   "max_iter": 20}),
    "digits, L-BFGS": (load_digits, "MLPClassifier", {"solver": "lbfgs"}),
    "breast cancer": (load_breast_cancer, "MLPClassifier", {}),
    "wine": (load_wine, "MLPClassifier", {}),
    "wine, SGD": (load_wine, "MLPClassifier", {"solver": "sgd", "learning_rate_init": 0.05}),
    "diabetes": (load_diabetes, "MLPRegressor", {"learning_rate_init": 0.01}),
    "diabetes, L-BFGS": (load_diabetes, "MLPRegressor", {"solver": "lbfgs", "max_iter": 50, "alpha": 10.0}),
}


def compare(load, kind, settings, dtype):
    """Scores of both over the seeds, and the seconds of both."""
    X, y = load(return_X_y=True)
    scores, seconds = {"fastnn": [], "scikit-learn": []}, {"fastnn": [], "scikit-learn": []}
    for seed in SEEDS:
        X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=seed)
        scaler = StandardScaler().fit(X_train)
        X_train, X_test = scaler.transform(X_train).astype(dtype), scaler.transform(X_test).astype(dtype)
        for name, library in (("scikit-learn", sklearn.neural_network), ("fastnn", fastnn.sklearn)):
            model = getattr(library, kind)(random_state=seed, **settings)
            start = perf_counter()
            model.fit(X_train, y_train)
            seconds[name].append(perf_counter() - start)
            scores[name].append(model.score(X_test, y_test))
    return scores, seconds


def overhead(dtype):
    """The share of a fit's time outside the engine, on digits: medians of seven."""
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(dtype)
    epoch, spent, shares = InMemory.epoch, 0.0, []

    def timed(self, *arguments):
        nonlocal spent
        start = perf_counter()
        result = epoch(self, *arguments)
        spent += perf_counter() - start
        return result

    InMemory.epoch = timed
    try:
        for seed in range(7):
            spent, start = 0.0, perf_counter()
            fastnn.sklearn.MLPClassifier(random_state=seed).fit(X, y)
            shares.append(1 - spent / (perf_counter() - start))
    finally:
        InMemory.epoch = epoch
    return statistics.median(shares)


def one_row(library, dtype):
    """Microseconds of `predict` for one row: the best of seven."""
    X, y = load_digits(return_X_y=True)
    model = library.MLPClassifier(random_state=0, max_iter=10).fit((X / 16).astype(dtype), y)
    row = (X[:1] / 16).astype(dtype)
    return min(timeit.repeat(lambda: model.predict(row), number=1000, repeat=7)) * 1e3


def main():
    warnings.simplefilter("ignore", ConvergenceWarning)
    fastnn.set_num_threads(1)
    with threadpool_limits(1):
        print("| work | score of fastnn | of scikit-learn | fit of fastnn | of scikit-learn | ratio |")
        print("|---|---|---|---|---|---|")
        for dtype in ("float64", "float32"):
            for name, (load, kind, settings) in WORK.items():
                scores, seconds = compare(load, kind, settings, dtype)
                ours, theirs = (f"{np.mean(s):.4f} ± {np.std(s, ddof=1):.4f}" for s in scores.values())
                ratios = [b / a for a, b in zip(seconds["fastnn"], seconds["scikit-learn"], strict=True)]
                times = " | ".join(f"{statistics.median(s) * 1e3:.0f} ms" for s in seconds.values())
                print(f"| {name}, {dtype} | {ours} | {theirs} | {times} | {statistics.median(ratios):.1f} |",
                      flush=True)
            ours, theirs = one_row(fastnn.sklearn, dtype), one_row(sklearn.neural_network, dtype)
            print(f"{dtype}: {overhead(dtype):.1%} of a fit on digits is outside the engine; predict of one row: "
                  f"fastnn {ours:.1f} µs, scikit-learn {theirs:.1f} µs")


if __name__ == "__main__":
    main()
