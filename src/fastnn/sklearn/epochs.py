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
            value += self.penalty(network.l2, sum(
                float(np.square(w, dtype=np.float64).sum()) for w in network.weights))
        return value

    def penalty(self, l2: float, squares: float) -> float:
        """That of weights whose squares have this sum."""
        return l2 / 2 * self.outputs * squares

    def validation(self, loss: float) -> float:
        return self.factor * loss + self.validation_constant


class HeldOut(NamedTuple):
    """Rows that decide which parameters are best, and how these are scored."""

    X: Array
    codes: Array
    weight: Weights
    score: Callable[[FloatArray, Array, Weights], float]    # of outputs for these rows
    by_loss: bool       # the loss decides, as the score says nothing: the targets are equal, or it is one row


class Epoch(NamedTuple):
    """What a network's epoch was."""

    loss: float                             # of training, with the penalty, as scikit-learn reports it
    validation_loss: float | None
    rows: int
    network: Callable[[], Network]          # with the parameters after the epoch


class Bookkeeping:
    """What scikit-learn does after every epoch: it records the curves and the best, and stops or slows down.

    `best_parameters` are those of the best score of the rows held out. They are None where no rows are held out, or no
    score was a number. `set_rate(rate, factor)` gives SGD another learning rate, and multiplies its velocity.
    """

    set_rate: Callable[[float, float], None]

    def __init__(self, estimator: Multilayer, loss: ReportedLoss, optimizer: Any, held_out: HeldOut | None,
                 epochs_without_improvement: int) -> None:
        self.estimator, self.loss, self.held_out = estimator, loss, held_out
        self.all_rows = takes_all_rows(estimator.solver)
        self.best_parameters: FloatArray | None = None
        self.best = -np.inf     # score, or minus the loss
        self.sgd = optimizer if estimator.solver == "sgd" else None     # the learning rate changes here
        self.first_rate, self.tol = float(estimator.learning_rate_init) * loss.outputs, float(estimator.tol)
        self.epochs_without_improvement = epochs_without_improvement

    def begin(self, network: Network) -> None:
        """Scores the parameters before the first epoch of a fit that goes on."""
        held_out = self.held_out
        if held_out is not None and network.epochs_trained:     # earlier scores may be those of other rows
            self.keep_better(held_out, network, network.evaluate(
                held_out.X, held_out.codes, sample_weight=held_out.weight) if held_out.by_loss else np.nan)

    def end_epoch(self, epoch: Epoch) -> bool:
        """Records an epoch; returns whether the fit ends with it."""
        estimator = self.estimator
        estimator.n_iter_ += 1
        estimator.loss_ = epoch.loss
        estimator.loss_curve_.append(epoch.loss)
        if epoch.validation_loss is not None:
            estimator.validation_loss_curve_.append(self.loss.validation(epoch.validation_loss))
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")
        if self.all_rows:
            estimator.best_loss_ = min(estimator.loss_curve_)
            return False
        estimator.t_ += epoch.rows
        improved = self.compare_loss() if self.held_out is None else self.compare_score(self.held_out, epoch)
        self.epochs_without_improvement = 0 if improved else self.epochs_without_improvement + 1
        if self.sgd is not None and estimator.learning_rate == "invscaling":
            self.change_rate(self.first_rate / (estimator.t_ + 1) ** float(estimator.power_t))
        return self.epochs_without_improvement > estimator.n_iter_no_change and self.stops()

    def compare_score(self, held_out: HeldOut, epoch: Epoch) -> bool:
        """Whether the score of the rows held out is better than the best by tol; keeps the best parameters."""
        assert epoch.validation_loss is not None
        score, improved = self.keep_better(held_out, epoch.network(), epoch.validation_loss)
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
        factor = self.sgd.learning_rate / rate
        self.sgd.learning_rate = rate
        self.set_rate(rate, factor)

    def stops(self) -> bool:
        """Whether the fit ends, now that nothing improves any more; with learning_rate="adaptive" it may slow down."""
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
                return False
            message += " Learning rate too small."
        if estimator.verbose:
            print(f"{message} Stopping.")
        return True


class BookkeepingOfOne(Callback):
    """Bookkeeping as a callback of `Network.fit`. `model` makes what `to_network` would give of parameters."""

    def __init__(self, books: Bookkeeping, model: Callable[[FloatArray | None], Network]) -> None:
        self.books, self.model = books, model
        books.set_rate = self.scale_velocity

    def scale_velocity(self, rate: float, factor: float) -> None:
        """The optimizer has its rate already."""
        assert self.books.sgd is not None
        for velocity in self.books.sgd.state:
            velocity *= factor

    def on_fit_begin(self, fit: Fit) -> None:
        fit.model = lambda: self.model(self.books.best_parameters)      # what `to_network` gives if the fit ends here
        self.books.begin(fit.network)

    def on_epoch_end(self, fit: Fit) -> None:
        validation = fit.history.validation_loss[-1] if fit.history.validation_loss else None
        loss = self.books.loss.training(fit.history.loss[-1], fit.network)
        if self.books.end_epoch(Epoch(loss, validation, fit.rows, lambda: fit.network)):
            fit.stop("tol")


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
