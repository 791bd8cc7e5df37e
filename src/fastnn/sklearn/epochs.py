"""What happens after every epoch: scikit-learn's bookkeeping, and its callbacks, as callbacks of a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..callbacks import Callback

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._types import Array, Weights
    from ..network import Network
    from ..training import Fit
    from .multilayer import Multilayer

SMALLEST_RATE = 1e-6        # at which learning_rate="adaptive" stops
SLOWER = 5                  # and what it divides a rate by


class Books(Callback):
    """What scikit-learn does after every epoch: it keeps the curves and the best, and stops or slows down."""

    def __init__(self, estimator: Multilayer, optimizer: Any, outputs: int, codes: Array, weight: Weights,
                 held_out: tuple[Array, Array, Weights] | None) -> None:
        self.estimator, self.held_out, self.outputs = estimator, held_out, outputs
        self.scored = estimator.early_stopping and held_out is not None and not estimator._by_lbfgs()
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
        if self.scored and self.estimator.best_validation_score_ == -np.inf:
            self.estimator._best_parameters = fit.network.get_parameters()

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
        improved = self.score(network) if self.scored else self.compare_loss()
        estimator._no_improvement_count = 0 if improved else estimator._no_improvement_count + 1
        if self.sgd is not None and estimator.learning_rate == "invscaling":
            self.change_rate(self.first_rate / (estimator.t_ + 1) ** estimator._number("power_t"))
        if estimator._no_improvement_count > estimator.n_iter_no_change:
            self.stop_or_slow_down(fit)

    def score(self, network: Network) -> bool:
        """Whether the score of the rows held out is better than the best by tol; keeps the best parameters."""
        estimator = self.estimator
        assert self.held_out is not None
        X, codes, *weight = self.held_out
        outputs = network.predict(X)
        score = estimator._score(outputs, codes, *weight) if np.isfinite(outputs).all() else np.nan
        improved = bool(score >= estimator.best_validation_score_ + estimator.tol)
        estimator.validation_scores_.append(score)
        if estimator.verbose:
            print(f"Validation score: {score:f}")
        if score > estimator.best_validation_score_:
            estimator.best_validation_score_, estimator._best_parameters = score, network.get_parameters()
        return improved

    def compare_loss(self) -> bool:
        """Whether the training loss is better than the best by tol."""
        estimator = self.estimator
        if estimator.best_loss_ is None:        # early stopping was on in the fit before
            estimator.best_loss_ = np.inf
        improved = bool(estimator.loss_ <= estimator.best_loss_ - estimator.tol)
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
