"""How many trials a second: in series, on two threads, on two processes of loky's and on two of Dask's, interleaved.

    python benchmarks/trials.py

A trial trains a network on digits and counts what it gets right. Workers have started and imported everything before
the turns that count; each thread and each process works alone on its trial. Processor time, that of all processes
together, is what a trial and its way to a worker cost, also where the machine is busy with something else.
docs/howto/sweeps.md has the results.
"""

import os
import statistics
from time import perf_counter

import psutil
from distributed import Client, LocalCluster
from joblib import Parallel, delayed, parallel_config
from sklearn.datasets import load_digits

import fastnn

JOBS = 2
TURNS = 9
WORK = {    # layers, epochs, trials of a turn
    "64-16-10, 5 epochs": ([64, 16, 10], 5, 100),
    "64-64-10, 30 epochs": ([64, 64, 10], 30, 20),
}
BACKENDS = {"in series": ("sequential", 1), "threads": ("threading", JOBS), "loky": ("loky", JOBS),
            "Dask": ("dask", JOBS)}


def trial(X, y, layers, epochs, seed):
    network = fastnn.Network(layers, output="softmax", seed=seed)
    network.fit(X, y, epochs=epochs, batch_size=128, threads=1)
    return (network.predict(X).argmax(axis=1) == y).sum()


def processor_seconds():
    """Of this process and its workers, since they began."""
    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def turn(backend, jobs, trials, *arguments):
    """What the trials found; how many were done a second; milliseconds of processor time for each."""
    with parallel_config(backend, n_jobs=jobs):
        start, used = perf_counter(), processor_seconds()
        found = Parallel()(delayed(trial)(*arguments, seed) for seed in range(trials))
        return found, trials / (perf_counter() - start), 1e3 * (processor_seconds() - used) / trials


def main():
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype("float32")
    fastnn.set_num_threads(1)
    with LocalCluster(n_workers=JOBS, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
        print("| median | " + " | ".join(BACKENDS) + " |\n|---" + "|---" * len(BACKENDS) + "|")
        for name, (layers, epochs, trials) in WORK.items():
            turns = []
            for _ in range(1 + TURNS):
                found, rates, costs = zip(*(turn(*backend, trials, X, y, layers, epochs)
                                            for backend in BACKENDS.values()), strict=True)
                assert found == found[:1] * len(found), "other bits"
                turns.append((rates, costs))
            for what, rows in zip(("trials a second", "ms of processor time a trial"),
                                  zip(*turns[1:], strict=True), strict=True):       # the first turn starts workers
                medians = [statistics.median(row) for row in zip(*rows, strict=True)]
                print(f"| {name}, {what} | " + " | ".join(f"{median:.3g}" for median in medians) + " |", flush=True)
    print(f"medians of {TURNS} interleaved turns; {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
