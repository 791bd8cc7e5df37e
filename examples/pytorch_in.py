"""Take a policy from PyTorch and ask it one observation at a time, as a control loop does.

A network of 8-64-64-4 with tanh, the size of a lander's policy: PyTorch needs most of its time to find
out what to do, fastnn to do it. Prints both times per row, and the largest difference of the outputs.

Run it: python examples/pytorch_in.py [--rows 2000]        (needs torch)
"""

import argparse
from time import perf_counter

import numpy as np
import torch

from fastnn import interchange


def seconds_per_row(ask, rows):
    """The best of five passes over the rows, one call a row."""
    best = float("inf")
    for _ in range(5):
        start = perf_counter()
        for row in rows:
            ask(row)
        best = min(best, perf_counter() - start)
    return best / len(rows)


def main(arguments=None):
    """Convert, time, compare; return both times and the largest difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2000, help="observations (default 2000)")
    options = parser.parse_args(arguments)

    torch.manual_seed(0)
    policy = torch.nn.Sequential(
        torch.nn.Linear(8, 64), torch.nn.Tanh(), torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 4)
    )
    network = interchange.from_torch(policy)
    observations = np.random.default_rng(0).normal(size=(options.rows, 8)).astype("float32")

    with torch.inference_mode():
        theirs = policy(torch.from_numpy(observations)).numpy()
        torch_seconds = seconds_per_row(policy, list(torch.from_numpy(observations)))
    ours = network.predict(observations)
    seconds = seconds_per_row(network.predict, list(observations))
    difference = float(np.abs(ours - theirs).max())

    print(f"one row in PyTorch: {torch_seconds * 1e6:6.2f} µs")
    print(f"one row in fastnn:  {seconds * 1e6:6.2f} µs, {torch_seconds / seconds:.0f} times faster")
    print(f"the outputs differ by {difference:.1e} at most")
    return torch_seconds, seconds, difference


if __name__ == "__main__":
    main()
