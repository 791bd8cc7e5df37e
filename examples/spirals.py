"""Learn to tell two spirals apart, and draw what was learned.

    python examples/spirals.py [PICTURE]

The picture shows the network's answer at every point of the plane, and the loss of each epoch. Needs
`pip install ".[plot]"`. The README's picture was made by it: `python examples/spirals.py docs/spirals.png`.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import fastnn
from fastnn import plot


def spirals(n=600, turns=1.25, noise=0.04, seed=0):
    """Points (n, 2) and the arm, 0 or 1, that each belongs to."""
    rng = np.random.default_rng(seed)
    radius, arm = np.sqrt(rng.uniform(0.02, 1, n)), np.arange(n) % 2
    angle = 2 * np.pi * turns * radius + np.pi * arm
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return points + noise * rng.normal(size=(n, 2)), arm


def main():
    points, arm = spirals()
    net = fastnn.Network([2, 32, 32, 32, 1], activation="relu", output="sigmoid", seed=0)
    history = net.fit(points, arm, epochs=200, optimizer=fastnn.Adam(3e-3))
    print(f"{net.score(points, arm):.1%} of {len(points)} points are on the right side")

    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.8), layout="constrained")
    plot.decision_boundary(net, points, arm, ax=left)
    left.set(title="what the network learned", xlabel="x", ylabel="y")
    plot.loss_curves(history, ax=right)
    right.set(title="how it learned it")
    picture = sys.argv[1] if len(sys.argv) > 1 else "spirals.png"
    figure.savefig(picture, dpi=110)
    print(f"saved {picture}")


if __name__ == "__main__":
    main()
