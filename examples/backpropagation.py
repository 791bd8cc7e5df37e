"""Two sigmoid neurons in a row: forward pass, backward pass, one update, and the whole training.

x -> a1 = sigmoid(w1 x + b1) -> a2 = sigmoid(w2 a1 + b2). E is the error of the output a2 for the target t.
A common slip is to define E = (t - a2)² and to print the gradients of half of it. Both losses are shown.

Run it: python examples/backpropagation.py
"""

import numpy as np

import fastnn

X, TARGET = np.array([[0.1]]), np.array([0.25])
PARAMETERS = {"w1": 0.15, "b1": 0.4, "w2": 0.45, "b2": 0.65}
LEARNING_RATE = 0.4
SMALL_ERROR, MOST_EPOCHS = 0.001, 1000


def two_neurons(loss):
    network = fastnn.Network([1, 1, 1], activation="sigmoid", output="sigmoid", loss=loss, dtype="float64")
    network.set_parameters(np.array(list(PARAMETERS.values())))
    return network


def forward():
    network = two_neurons("mse")
    _, a1, a2 = network.layer_outputs(X)
    z1 = X @ network.weights[0] + network.biases[0]
    z2 = a1 @ network.weights[1] + network.biases[1]
    print("forward")
    for name, value in {"z1": z1, "a1": a1, "z2": z2, "a2": a2}.items():
        print(f"  {name} = {value.item():.4f}")


def backward(loss):
    network = two_neurons(loss)
    error, d_weights, d_biases = network.gradients(X, TARGET)
    gradients = {"w1": d_weights[0], "b1": d_biases[0], "w2": d_weights[1], "b2": d_biases[1]}
    network.fit(X, TARGET, epochs=1, batch_size=1, optimizer=fastnn.SGD(LEARNING_RATE), shuffle=False)
    updated = dict(zip(PARAMETERS, network.get_parameters(), strict=True))
    print(f'loss="{loss}": E = {error:.6f}')
    for name in ("w2", "b2", "w1", "b1"):
        print(
            f"  dE/d{name} = {gradients[name].item():<10.4g}"
            f" {name}: {PARAMETERS[name]} -> {updated[name]:.4f}"
        )


def train(loss):
    """Train until the error is small, or for MOST_EPOCHS; return the error of each epoch."""
    network, optimizer, errors = two_neurons(loss), fastnn.SGD(LEARNING_RATE), []
    while len(errors) < MOST_EPOCHS:
        errors.append(network.train_on_batch(X, TARGET, optimizer=optimizer))  # the error before the update
        if errors[-1] < SMALL_ERROR:
            break
    return errors


def main():
    forward()
    backward("half_mse")
    print("  These are the gradients of half the squared error. (Rounding on the way gives 0.05706.)")
    backward("mse")
    print("  This is E = (t - a2)² without the half. E is 0.2165; a common slip is 0.2176. The gradients are")
    print("  those of half_mse times the factor 2. To leave out this factor is another common slip.")
    for loss in ("half_mse", "mse"):
        errors = train(loss)
        print(f'loss="{loss}": training stops after {len(errors)} epochs with E = {errors[-1]:.6f}')


if __name__ == "__main__":
    main()
