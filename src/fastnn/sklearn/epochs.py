"""What scikit-learn does after every epoch, as callbacks of a fit: curves, the best parameters, ways to stop.

multilayer.py makes these callbacks, and gives them what they need of the estimator besides its public attributes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..callbacks import Callback
from .parameters import takes_all_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .._types import Array, FloatArray, Weights
    from ..network import Network
    from ..training.fit import Fit
    from .multilayer import Multilayer

SMALLEST_RATE = 1e-6        # at which learning_rate="adaptive" stops
SLOWER = 5                  # what learning_rate="adaptive" divides a rate by


class ReportedLoss(NamedTuple):
    """How scikit-learn reports a loss of the network: `factor * loss + constant`, for training with the penalty."""

    outputs: int                    # that scikit-learn sums over: its gradient is so many times ours
    factor: int
    constant: float                 # for the rows to train on
    validation_constant: float      # for the rows to validate with

    def training(self, loss: float, network: Network) -> float:
        """A training loss, with the penalty of a batch: alpha / 2 * sum(w ** 2) / rows."""
        value = self.factor * loss + self.constant
        if network.l2:
            value += network.l2 / 2 * self.outputs * sum(
                float(np.square(w, dtype=np.float64).sum()) for w in network.weights)
        return value

    def validation(self, loss: float) -> float:
        return self.factor * loss + self.validation_constant


class HeldOut(NamedTuple):
    """Rows that decide which parameters are best, and how these are scored."""

    X: Array
    codes: Array
    weight: Weights
    score: Callable[[FloatArray, Array, Weights], float]    # of outputs for these rows
    by_loss: bool       # the loss decides, as the score says nothing: the targets are equal, or it is one row


class Bookkeeping(Callback):
    """What scikit-learn does after every epoch: it records the curves and the best, and stops or slows down.

    `best_parameters` are those of the best score of the rows held out. They are None where no rows are held out, or no
    score was a number.
    """

    def __init__(self, estimator: Multilayer, loss: ReportedLoss, optimizer: Any, held_out: HeldOut | None,
                 model: Callable[[FloatArray | None], Network], epochs_without_improvement: int) -> None:
        self.estimator, self.loss, self.held_out, self.model_of = estimator, loss, held_out, model
        self.best_parameters: FloatArray | None = None
        self.best = -np.inf     # score, or minus the loss
        self.sgd = optimizer if estimator.solver == "sgd" else None     # the learning rate changes here
        self.first_rate, self.tol = float(estimator.learning_rate_init) * loss.outputs, float(estimator.tol)
        self.epochs_without_improvement = epochs_without_improvement

    def on_fit_begin(self, fit: Fit) -> None:
        fit.model = self.model
        network, held_out = fit.network, self.held_out
        if held_out is not None and network.epochs_trained:     # earlier scores may be those of other rows
            self.keep_better(held_out, network, network.evaluate(
                held_out.X, held_out.codes, sample_weight=held_out.weight) if held_out.by_loss else np.nan)

    def model(self) -> Network:
        """What `to_network` would give if the fit ended here."""
        return self.model_of(self.best_parameters)

    def on_epoch_end(self, fit: Fit) -> None:
        estimator = self.estimator
        estimator.n_iter_ += 1
        estimator.loss_ = self.loss.training(fit.history.loss[-1], fit.network)
        estimator.loss_curve_.append(estimator.loss_)
        if fit.history.validation_loss:
            estimator.validation_loss_curve_.append(self.loss.validation(fit.history.validation_loss[-1]))
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")
        if takes_all_rows(estimator.solver):
            estimator.best_loss_ = min(estimator.loss_curve_)
            return
        estimator.t_ += fit.rows
        improved = self.compare_loss() if self.held_out is None else self.compare_score(self.held_out, fit)
        self.epochs_without_improvement = 0 if improved else self.epochs_without_improvement + 1
        if self.sgd is not None and estimator.learning_rate == "invscaling":
            self.change_rate(self.first_rate / (estimator.t_ + 1) ** float(estimator.power_t))
        if self.epochs_without_improvement > estimator.n_iter_no_change:
            self.stop_or_slow_down(fit)

    def compare_score(self, held_out: HeldOut, fit: Fit) -> bool:
        """Whether the score of the rows held out is better than the best by tol; keeps the best parameters."""
        score, improved = self.keep_better(held_out, fit.network, fit.history.validation_loss[-1])
        self.estimator.validation_scores_.append(score)
        if self.estimator.verbose:
            print(f"Validation score: {score:f}")
        return improved

    def keep_better(self, held_out: HeldOut, network: Network, loss: float) -> tuple[float, bool]:
        """(score of the rows held out, whether it is better than the best by tol); keeps the best parameters.

        `loss` is that of these rows, which decides where `held_out.by_loss`.
        """
        outputs = network.predict(held_out.X)
        finite = np.isfinite(outputs).all()
        score = held_out.score(outputs, held_out.codes, held_out.weight) if finite else np.nan
        value = -self.loss.validation(loss) if held_out.by_loss else score
        improved = bool(value >= self.best + self.tol)
        if value > self.best:
            self.best, self.estimator.best_validation_score_ = value, score
            self.best_parameters = network.get_parameters()
        return score, improved

    def compare_loss(self) -> bool:
        """Whether the training loss is better than the best by tol."""
        estimator = self.estimator
        improved = bool(estimator.loss_ <= estimator.best_loss_ - self.tol)
        estimator.best_loss_ = min(estimator.best_loss_, estimator.loss_)
        return improved

    def change_rate(self, rate: float) -> None:
        """Sets SGD's learning rate. scikit-learn's velocity contains the rates of its steps, so ours is scaled."""
        assert self.sgd is not None
        for velocity in self.sgd.state:
            velocity *= self.sgd.learning_rate / rate
        self.sgd.learning_rate = rate

    def stop_or_slow_down(self, fit: Fit) -> None:
        estimator = self.estimator
        what = "Training loss" if self.held_out is None else "Validation score"
        message = (f"{what} did not improve more than tol={self.tol:f} for {estimator.n_iter_no_change} "
                   "consecutive epochs.")
        if self.sgd is not None and estimator.learning_rate == "adaptive":
            if self.sgd.learning_rate > SMALLEST_RATE * self.loss.outputs:
                self.change_rate(self.sgd.learning_rate / SLOWER)
                self.epochs_without_improvement = 0
                if estimator.verbose:
                    print(f"{message} Setting learning rate to {self.sgd.learning_rate:f}")
                return
            message += " Learning rate too small."
        fit.stop("tol")
        if estimator.verbose:
            print(f"{message} Stopping.")


class ForwardedCallbacks(Callback):
    """Tells scikit-learn's own callbacks (`estimator.set_callbacks`) of every epoch.

    `arguments` go to each of them; `reconstruction` returns the attributes that make a copy of the estimator fitted.
    """

    def __init__(self, context: Any, arguments: Mapping[str, Any], reconstruction: Callable[[], Any]) -> None:
        self.context, self.arguments, self.reconstruction = context, arguments, reconstruction

    def on_fit_begin(self, fit: Fit) -> None:
        self.epoch = self.context.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(**self.arguments)

    def on_epoch_end(self, fit: Fit) -> None:
        if self.epoch.call_on_fit_task_end(**self.arguments, reconstruction_attributes=self.reconstruction):
            fit.stop()
        elif fit.history.stopped_by is None and fit.epoch < fit.epochs:
            self.on_fit_begin(fit)
