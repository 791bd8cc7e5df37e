"""Tell benign tumours from malignant ones: 569 cases of 30 measurements, a quarter of them held out, a
network of 30-16-1.

One sigmoid output is the probability of a benign tumour. The measurements are standardised with the mean
and the standard deviation of the training cases alone: the held-out cases must not leak into the
training.

Run it: python examples/tumours.py [--seed 0] [--epochs 30]        (needs scikit-learn, for the table)
"""

import argparse
from time import perf_counter

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import fastnn


def print_confusion(labels, predicted):
    """One row per true class, one column per predicted class."""
    print("true\\predicted  malignant  benign")
    for label, name in enumerate(("malignant", "benign")):
        malignant, benign = (int(np.sum((labels == label) & (predicted == guess))) for guess in (0, 1))
        print(f"{name:14s}  {malignant:9d}  {benign:6d}")


def main(arguments=None):
    """Train, print, and return the share of the held-out cases that were classified correctly."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the split and of the network (default 0)")
    parser.add_argument("--epochs", type=int, default=30, help="passes over the training cases (default 30)")
    options = parser.parse_args(arguments)

    cases, labels = load_breast_cancer(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        cases, labels, test_size=0.25, stratify=labels, random_state=options.seed
    )
    mean, deviation = X_train.mean(axis=0), X_train.std(axis=0)
    X_train, X_test = (X_train - mean) / deviation, (X_test - mean) / deviation

    network = fastnn.Network([30, 16, 1], activation="tanh", output="sigmoid", seed=options.seed)
    optimizer = fastnn.SGD(learning_rate=0.1, weight_decay=0.01)

    seconds = 0.0  # of training alone, without the evaluation
    print("epoch      loss  held-out accuracy  seconds")
    for epoch in range(1, options.epochs + 1):
        start = perf_counter()
        history = network.fit(X_train, y_train, epochs=1, batch_size=16, optimizer=optimizer)
        seconds += perf_counter() - start
        predicted = network.predict_classes(X_test)
        accuracy = float(np.mean(predicted == y_test))
        print(f"{epoch:5d}  {history.loss[-1]:8.5f}  {accuracy:17.2%}  {seconds:7.3f}")

    print_confusion(y_test, predicted)
    print(f"{accuracy:.2%} of {len(y_test)} held-out cases right after {seconds:.3f} s of training")
    return accuracy


if __name__ == "__main__":
    main()
