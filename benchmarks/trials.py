"""How many trials a second: in series, on two threads, on two processes of loky's and on two of Dask's, interleaved.

    python benchmarks/trials.py

A trial trains a network on digits and counts what it gets right. Workers have started and imported everything before
the turns that count; each thread and each process works alone on its trial. docs/howto/sweeps.md has the results.
"""

import os
import statistics
from time import perf_counter

from distributed import Client, LocalCluster
from joblib import Parallel, delayed, parallel_config
from sklearn.datasets import load_digits

import fastnn

JOBS = 2
TURNS = 9
WORK = {    # layers, epochs, trials of a turn
    "64-16-10, 5 epochs": ([64, 16, 10], 5, 100),
    "64-64-10, 30 epochs": ([64, 64, 10], 30, 20),
    "64-512-512-10, 10 epochs": ([64, 512, 512, 10], 10, 4),
}
BACKENDS = {"in series": ("sequential", 1), "threads": ("threading", JOBS), "loky": ("loky", JOBS),
            "Dask": ("dask", JOBS)}


def trial(X, y, layers, epochs, seed):
    network = fastnn.Network(layers, output="softmax", seed=seed)
    network.fit(X, y, epochs=epochs, batch_size=128, threads=1)
    return (network.predict(X).argmax(axis=1) == y).sum()


def turn(backend, jobs, trials, *arguments):
    """What the trials found, and how many were done a second."""
    with parallel_config(backend, n_jobs=jobs):
        start = perf_counter()
        found = Parallel()(delayed(trial)(*arguments, seed) for seed in range(trials))
        return found, trials / (perf_counter() - start)


def main():
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype("float32")
    fastnn.set_num_threads(1)
    with LocalCluster(n_workers=JOBS, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
        print("| trials a second | " + " | ".join(BACKENDS) + " |\n|---" + "|---" * len(BACKENDS) + "|")
        for name, (layers, epochs, trials) in WORK.items():
            turns = []
            for _ in range(1 + TURNS):
                found, rates = zip(*(turn(*backend, trials, X, y, layers, epochs) for backend in BACKENDS.values()),
                                   strict=True)
                assert found == found[:1] * len(found), "other bits"
                turns.append(rates)
            medians = [statistics.median(rates) for rates in zip(*turns[1:], strict=True)]  # the first starts workers
            print(f"| {name} | " + " | ".join(f"{median:.3g}" for median in medians) + " |", flush=True)
    print(f"medians of {TURNS} interleaved turns; {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
