"""What happens after every epoch: scikit-learn's bookkeeping, and its callbacks, as callbacks of a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..callbacks import Callback

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._types import Array, FloatArray, Weights
    from ..network import Network
    from ..training.fit import Fit
    from .multilayer import Multilayer

SMALLEST_RATE = 1e-6        # at which learning_rate="adaptive" stops
SLOWER = 5                  # and what it divides a rate by


class Books(Callback):
    """What scikit-learn does after every epoch: it keeps the curves and the best, and stops or slows down.

    `best_parameters` are those of the best score of the rows held out; None where nothing is scored, or no score was a
    number. Where the score says nothing of these rows (their targets are equal, or it is one row), their loss decides;
    `nothing_to_tell` where the targets to learn are equal, too, and a loss that goes on falling is no failure.
    """

    def __init__(self, estimator: Multilayer, optimizer: Any, outputs: int, codes: Array, weight: Weights,
                 held_out: tuple[Array, Array, Weights] | None) -> None:
        self.estimator, self.held_out, self.outputs = estimator, held_out, outputs
        self.scored = estimator.early_stopping and held_out is not None and not estimator._by_lbfgs()
        self.by_loss = held_out is not None and not estimator._can_score(*held_out[1:])
        self.nothing_to_tell = self.by_loss and not estimator._can_score(codes, weight)
        self.best_parameters: FloatArray | None = None
        self.best = -np.inf     # score, or minus the loss
        self.sgd = optimizer if estimator.solver == "sgd" else None     # whose learning rate moves here
        self.first_rate, self.tol = estimator._number("learning_rate_init") * outputs, estimator._number("tol")
        self.loss_factor = outputs if estimator._loss_summed() else 1
        self.loss_constant = estimator._loss_constant(codes, weight)
        self.validation_constant = 0 if held_out is None else estimator._loss_constant(*held_out[1:])

    def value(self, loss: float, network: Network) -> float:
        """A loss of the network's as scikit-learn's, which has the penalty of a batch in it: alpha / 2 * sum(w ** 2) /
        rows."""
        value = self.loss_factor * loss + self.loss_constant
        if network.l2:
            value += network.l2 / 2 * self.outputs * sum(
                float(np.square(w, dtype=np.float64).sum()) for w in network.weights)
        return value

    def on_fit_begin(self, fit: Fit) -> None:
        fit.model = self.model
        network = fit.network
        if self.scored and network.epochs_trained:      # scores of other rows cannot be compared with those of these
            assert self.held_out is not None
            X, codes, weight = self.held_out
            self.keep_better(network, network.evaluate(X, codes, sample_weight=weight) if self.by_loss else np.nan)

    def model(self) -> Network:
        """What `to_network` would give if the fit ended here."""
        return self.estimator._as_network(self.best_parameters)

    def on_epoch_end(self, fit: Fit) -> None:
        estimator, network = self.estimator, fit.network
        estimator.n_iter_ += 1
        estimator.loss_ = self.value(fit.history.loss[-1], network)
        estimator.loss_curve_.append(estimator.loss_)
        if fit.history.validation_loss:
            estimator.validation_loss_curve_.append(
                self.loss_factor * fit.history.validation_loss[-1] + self.validation_constant)
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")
        if estimator._by_lbfgs():
            estimator.best_loss_ = min(estimator.loss_curve_)
            return
        estimator.t_ += fit.rows
        improved = self.score(fit) if self.scored else self.compare_loss()
        estimator._no_improvement_count = 0 if improved else estimator._no_improvement_count + 1
        if self.sgd is not None and estimator.learning_rate == "invscaling":
            self.change_rate(self.first_rate / (estimator.t_ + 1) ** estimator._number("power_t"))
        if estimator._no_improvement_count > estimator.n_iter_no_change:
            self.stop_or_slow_down(fit)

    def score(self, fit: Fit) -> bool:
        """Whether the rows held out say that this is better than the best by tol; keeps the best parameters."""
        estimator = self.estimator
        score, improved = self.keep_better(fit.network, fit.history.validation_loss[-1])
        estimator.validation_scores_.append(score)
        if estimator.verbose:
            print(f"Validation score: {score:f}")
        return improved

    def keep_better(self, network: Network, loss: float) -> tuple[float, bool]:
        """(score of the rows held out, whether it is better than the best by tol); the better parameters are kept."""
        estimator = self.estimator
        assert self.held_out is not None
        X, codes, weight = self.held_out
        outputs = network.predict(X)
        score = estimator._score(outputs, codes, weight) if np.isfinite(outputs).all() else np.nan
        value = -(self.loss_factor * loss + self.validation_constant) if self.by_loss else score
        improved = bool(value >= self.best + self.tol)
        if value > self.best:
            self.best, estimator.best_validation_score_ = value, score
            self.best_parameters = network.get_parameters()
        return score, improved

    def compare_loss(self) -> bool:
        """Whether the training loss is better than the best by tol."""
        estimator = self.estimator
        improved = bool(estimator.loss_ <= estimator.best_loss_ - self.tol)
        estimator.best_loss_ = min(estimator.best_loss_, estimator.loss_)
        return improved

    def change_rate(self, rate: float) -> None:
        """Sets SGD's learning rate. scikit-learn's velocity has the rates of its steps in it, ours has not."""
        assert self.sgd is not None
        for velocity in self.sgd.state:
            velocity *= self.sgd.learning_rate / rate
        self.sgd.learning_rate = rate

    def stop_or_slow_down(self, fit: Fit) -> None:
        estimator = self.estimator
        what = "Validation score" if self.scored else "Training loss"
        message = (f"{what} did not improve more than tol={self.tol:f} for {estimator.n_iter_no_change} "
                   "consecutive epochs.")
        if self.sgd is not None and estimator.learning_rate == "adaptive":
            if self.sgd.learning_rate > SMALLEST_RATE * estimator._summed_outputs():
                self.change_rate(self.sgd.learning_rate / SLOWER)
                estimator._no_improvement_count = 0
                if estimator.verbose:
                    print(f"{message} Setting learning rate to {self.sgd.learning_rate:f}")
                return
            message += " Learning rate too small."
        fit.stop("tol")
        if estimator.verbose:
            print(f"{message} Stopping.")


class Forwarded(Callback):
    """Tells scikit-learn's own callbacks (`estimator.set_callbacks`) of every epoch."""

    def __init__(self, context: Any, hooks: Mapping[str, Any]) -> None:
        self.context, self.hooks = context, hooks

    def on_fit_begin(self, fit: Fit) -> None:
        self.epoch = self.context.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(**self.hooks)

    def on_epoch_end(self, fit: Fit) -> None:
        if self.epoch.call_on_fit_task_end(
                **self.hooks, reconstruction_attributes=self.hooks["estimator"]._reconstruction):
            fit.stop()
        elif fit.history.stopped_by is None and fit.epoch < fit.epochs:
            self.on_fit_begin(fit)
