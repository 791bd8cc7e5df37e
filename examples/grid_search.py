"""A pipeline of scikit-learn's around a network of ours: scale, train, and search the best settings with threads.

`fastnn.sklearn.MLPClassifier` takes the place of scikit-learn's; while it trains, other threads run, so a search
needs no processes. The same search with scikit-learn's own runs beside it for comparison with --compare.

Run it: python examples/grid_search.py [--compare]        (needs scikit-learn)
"""

import argparse
import warnings
from time import perf_counter

from joblib import parallel_backend
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from fastnn.sklearn import MLPClassifier

GRID = {"mlp__hidden_layer_sizes": [(32,), (64, 32)], "mlp__alpha": [1e-4, 1e-1, 1.0]}


def search(classifier, X, y):
    """The fitted search, and its seconds."""
    pipeline = Pipeline([("scale", StandardScaler()), ("mlp", classifier(max_iter=40, random_state=0))])
    start = perf_counter()
    with parallel_backend("threading", n_jobs=2), warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        found = GridSearchCV(pipeline, GRID, cv=3).fit(X, y)
    return found, perf_counter() - start


def main(arguments=None):
    """Search, print, and return the accuracy on held-out digits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compare", action="store_true", help="search with scikit-learn's MLPClassifier, too")
    options = parser.parse_args(arguments)

    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.25, stratify=y, random_state=0)
    found, seconds = search(MLPClassifier, X, y)
    accuracy = found.score(X_test, y_test)
    print(f"best of {len(found.cv_results_['params'])} settings: {found.best_params_}")
    print(f"accuracy in cross-validation {found.best_score_:.4f}, on {len(y_test)} held-out digits {accuracy:.4f}")
    print(f"fastnn: {seconds:.2f} s")
    if options.compare:
        found, theirs = search(TheirClassifier, X, y)
        print(f"scikit-learn: {theirs:.2f} s, accuracy on held-out digits {found.score(X_test, y_test):.4f}")
    return accuracy


if __name__ == "__main__":
    main()
