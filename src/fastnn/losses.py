"""Losses by name: which output activation each goes with, and which is the default.

The formulas are in `kernels/losses.pxd` (fast) and `reference.py` (readable).
"""

# These are computed from the pre-activations of one output activation, so that large logits stay finite.
PAIRED = {"binary_cross_entropy": "sigmoid", "cross_entropy": "softmax", "poisson": "exp"}


def default_loss(output):
    """The loss that a network with this output activation gets when none is named."""
    return {"softmax": "cross_entropy", "sigmoid": "binary_cross_entropy"}.get(output, "mse")


def check_pair(loss, output, argument="output"):
    """Refuses a loss that does not go with the output activation, and names what does."""
    needed = PAIRED.get(loss)
    if needed is not None and output != needed:
        raise ValueError(f"loss {loss!r} goes with {argument} {needed!r}, but the {argument} is {output!r}")
    if needed is None and output == "softmax":
        raise ValueError(f"{argument} 'softmax' goes with loss 'cross_entropy', but the loss is {loss!r}")
