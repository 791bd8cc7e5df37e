"""What happens between epochs: history, the stop at `tol`, and the way back from divergence.

`run` drives a `_core.Trainer`, whose epochs run without Python; `Network.fit` prepares it.
"""

import math
from dataclasses import dataclass, field

import numpy as np


class DivergenceError(ValueError):
    """The loss stopped being finite. The network is as it was after its last good epoch.

    Attributes: `epoch` (counted since the network was built, from 1), `step` (within that
    epoch, from 1), `learning_rate`.
    """

    def __init__(self, epoch, step, learning_rate):
        self.epoch, self.step, self.learning_rate = epoch, step, learning_rate
        super().__init__(epoch, step, learning_rate)

    def __str__(self):
        return (
            f"the loss stopped being finite in epoch {self.epoch}, step {self.step}, with learning rate "
            f"{self.learning_rate:g}; parameters of the last good epoch are restored: try a smaller learning rate"
        )


@dataclass
class History:
    """What a `fit` recorded: lists with one entry per epoch."""

    loss: list = field(default_factory=list)    # mean training loss, taken while the parameters moved


def run(network, trainer, optimizer, epochs, tol):
    """Trains for `epochs` epochs, or until an epoch's loss is below `tol`; returns the History."""
    history = History()
    blocks = (network._engine.parameters, *optimizer.state)
    # Memory that stays for the next fit, as clearing it anew takes long; a fit beside this one gets its own.
    last_good, network._last_good = network._last_good, []
    last_good = [*last_good, *(np.empty_like(block) for block in blocks[len(last_good):])][:len(blocks)]
    try:
        for _ in range(epochs):
            for block, good in zip(blocks, last_good, strict=True):
                np.copyto(good, block)
            steps = optimizer.steps
            try:
                loss = trainer.epoch(optimizer.learning_rate, network.seed, network.epochs_trained)
            finally:
                optimizer.steps = trainer.steps     # also after KeyboardInterrupt
            if not math.isfinite(loss) or not all(network._engine.kernels.all_finite(block) for block in blocks):
                for block, good in zip(blocks, last_good, strict=True):
                    np.copyto(block, good)
                optimizer.steps = steps
                step = trainer.failed_step or trainer.steps_an_epoch
                raise DivergenceError(network.epochs_trained + 1, step, optimizer.learning_rate)
            network._epochs_trained += 1
            history.loss.append(loss)
            if tol is not None and loss < tol:
                break
        trainer.release()       # not after an error: its memory may hold what is not finite
    finally:
        network._last_good = last_good
    return history
