"""How long a small network takes to a small training error: LevenbergMarquardt beside LBFGS and Adam.

    python benchmarks/tight_targets.py

Each optimizer trains the same networks (5 seeds) on the same rows until the mean squared error of an epoch is below the
target; the table has the median of milliseconds of wall time, and of epochs. For Adam it is the best of its settings;
the time of the others is not counted. "-" is where fewer than three seeds came there.
"""

import statistics
from time import perf_counter

import numpy as np

import fastnn

SEEDS = range(5)
SECONDS = 5.0
ADAM = [(rate, batch) for rate in (0.001, 0.003, 0.01, 0.03) for batch in (16, 64)]


def peaks(x, y):
    """A landscape of three hills and three hollows, known from MATLAB."""
    return (3 * (1 - x)**2 * np.exp(-x**2 - (y + 1)**2) - 10 * (x / 5 - x**3 - y**5) * np.exp(-x**2 - y**2)
            - np.exp(-(x + 1)**2 - y**2) / 3)


def mackey_glass(count):
    """The series x[t + 1] = 0.9 x[t] + 0.2 x[t - 17] / (1 + x[t - 17]**10) (Mackey and Glass, 1977)."""
    series = [1.2] * 18
    while len(series) < count:
        series.append(0.9 * series[-1] + 0.2 * series[-18] / (1 + series[-18]**10))
    return np.array(series)


def reach(angles):
    """How far the tip of an arm of two links is to the right, by the angles of both joints."""
    first, second = angles.T
    return 2 * np.cos(first) + np.cos(first + second)


def falling(state):
    """The angular acceleration of a pole on a cart, by the pole's angle, its speed and the force (Barto, Sutton and
    Anderson, 1983)."""
    angle, speed, force = state.T
    push = (force + 0.05 * speed**2 * np.sin(angle)) / 1.1
    return (9.8 * np.sin(angle) - np.cos(angle) * push) / (0.5 * (4 / 3 - 0.1 * np.cos(angle)**2 / 1.1))


def friedman(x):
    """The first function of Friedman (1991), of five inputs."""
    return 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5)**2 + 10 * x[:, 3] + 5 * x[:, 4]


def problems():
    """{name: (hidden sizes, X, y, target)}, y of deviation 1."""
    generator = np.random.default_rng(0)
    x = np.linspace(-1, 1, 100)
    plane = generator.uniform(-3, 3, (600, 2))
    series = mackey_glass(900)[300:]
    angles = generator.uniform(-np.pi, np.pi, (500, 2))
    states = generator.uniform(-1, 1, (500, 3)) * [1.0, 3.0, 10.0]
    cube = generator.uniform(0, 1, (800, 5))
    noisy = friedman(cube) + generator.normal(size=800)
    past = np.stack([series[18 - lag:len(series) - 6 - lag] for lag in (18, 12, 6, 0)], axis=1)
    return {name: (hidden, (X - X.mean(axis=0)) / X.std(axis=0), (y - y.mean()) / y.std(), target)
            for name, hidden, X, y, target in (
                ("sine", [10], x[:, None], np.sin(3 * np.pi * x), 1e-3),
                ("peaks", [20], plane / 3, peaks(*plane.T), 5e-3),
                ("Mackey-Glass", [10], past, series[24:], 1e-3),
                ("robot arm", [20], angles, reach(angles), 3e-4),
                ("pole on a cart", [10], states, falling(states), 1e-5),
                ("Friedman, with noise", [15], cube, noisy, 0.04))}


def run(hidden, X, y, target, make, seed, **arguments):
    """(milliseconds, epochs) to the target; None if it was not reached in time."""
    network = fastnn.Network([X.shape[1], *hidden, 1], activation="tanh", dtype="float64", seed=seed)
    start = perf_counter()
    history = network.fit(X, y, epochs=100_000, optimizer=make(), tol=target, time_budget=SECONDS, threads=1,
                          **arguments)
    return (1e3 * (perf_counter() - start), len(history.loss)) if history.stopped_by == "tol" else None


def median(*arguments, **others):
    """The medians over seeds of `run`; None if fewer than three came to the target."""
    results = [result for seed in SEEDS if (result := run(*arguments, seed, **others)) is not None]
    return tuple(map(statistics.median, zip(*results, strict=True))) if len(results) >= 3 else None


def main():
    print("| problem, network, rows, mse | LevenbergMarquardt | LBFGS | Adam |\n|---|---|---|---|")
    for name, problem in problems().items():
        hidden, X, _, target = problem
        found = [median(*problem, fastnn.LevenbergMarquardt), median(*problem, fastnn.LBFGS)]
        of_adam = [median(*problem, lambda rate=rate: fastnn.Adam(rate), batch_size=batch) for rate, batch in ADAM]
        found.append(min(filter(None, of_adam), default=None))
        cells = [f"{each[0]:.3g} ms, {each[1]:.0f}" if each else "-" for each in found]
        shape = "-".join(map(str, (X.shape[1], *hidden, 1)))
        print(f"| {name}, {shape}, {len(X)}, {target:g} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
