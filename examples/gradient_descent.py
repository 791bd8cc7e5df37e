"""One weight learns t = 2x. The learning rate decides whether it converges, swings or diverges.

The cost is J(w) = mean (t - w x)². One step of gradient descent is w := w + 2 η mean(x²) (2 - w), where η
is the learning rate. So every step multiplies the distance to w = 2 by the factor 1 - 2 η mean(x²). The
distance becomes smaller only if this factor lies between -1 and 1.

For every point (x, t) there is a mirror image (-x, -t). So the gradient of the bias is 0, and the network
of one weight and one bias takes the same steps as one weight alone.

Run it: python examples/gradient_descent.py
"""

import numpy as np

import fastnn

LEARNING_RATE = 0.4
GENTLE_POINTS = [(1, 2), (-1, -2), (0, 0), (0, 0)]  # mean x² = 0.5
STEEP_POINTS = [(1, 2), (-1, -2), (2, 4), (-2, -4)]  # mean x² = 2.5


def descend(points, learning_rate, steps, start=0.0):
    """Take steps with all points, from w = start; return w after each step, and the network."""
    x, t = np.array(points, dtype=np.float64).T
    network = fastnn.Network([1, 1], output="identity", loss="mse", dtype="float64")
    network.set_parameters([start, 0.0])  # the weight and the bias
    optimizer = fastnn.SGD(learning_rate)
    path = []
    for _ in range(steps):
        network.fit(x[:, np.newaxis], t, epochs=1, batch_size=len(x), optimizer=optimizer, shuffle=False)
        path.append(network.weights[0].item())
    return path, network


def show(title, points, learning_rate, steps=4, start=0.0):
    path, network = descend(points, learning_rate, steps, start)
    factor = 1 - 2 * learning_rate * np.mean([x * x for x, _ in points])
    print(
        f"{title}: learning rate {learning_rate}, each step multiplies the distance to w = 2 by {factor:.2f}"
    )
    values = [f"{abs(round(w, 4)):g}" for w in (start, *path)]  # abs: 0 instead of -0
    print("  w: " + " -> ".join(values))
    print(f"  bias: {abs(network.biases[0].item()):g}")


def main():
    show("mean x² = 0.5", GENTLE_POINTS, LEARNING_RATE)
    show("mean x² = 0.5", GENTLE_POINTS, LEARNING_RATE, start=0.2)
    show("(1, 2), (2, 4)", STEEP_POINTS, LEARNING_RATE)
    print("  A common slip is to say that these points converge with 0.4. They do not: mean x² is 2.5,")
    print("  the factor is -1, and w swings between 4 and 0 for ever, exactly on the edge of stability.")
    show("(1, 2), (2, 4)", STEEP_POINTS, 0.1)
    try:
        descend(STEEP_POINTS, 0.9, steps=1000)
    except fastnn.DivergenceError as error:
        print(f"(1, 2), (2, 4): learning rate 0.9 diverges: {error}")


if __name__ == "__main__":
    main()
