"""Population: many networks of one shape, as one object. Checks what users pass, and hands arrays to the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import checked_integer, checked_sizes, real_array, shown
from .._words import explains
from ..activations import ACTIVATIONS
from ..core import Rows
from ..initializers import draw_each
from ..training.evaluation import mean_loss
from ..training.lbfgs import LBFGS
from ..training.levenberg_marquardt import LevenbergMarquardt
from ..training.metrics import METRICS, checked_metrics, measured
from ..training.rows import inputs, tells_classes
from ..training.settings import checked_settings
from ..training.trainable import engine_of
from . import file
from .alone import Soloists
from .fit import Asked, Plan, Training
from .given import Side, all_inputs, all_targets, all_weights, sides
from .history import PopulationHistory
from .members import checked_dropout, checked_seeds, grouped
from .optimizers import checked_optimizers
from .state import OWN, PopulationState, at_rest, penalties
from .stopping import MemberStopping

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .._types import (
        ActivationName,
        AnyLoss,
        AnyOptimizer,
        Array,
        ArrayLike,
        Callback,
        DType,
        EarlyStopping,
        FloatArray,
        HiddenName,
        InitializerName,
        Integers,
        LossName,
        Metrics,
        Network,
        Path,
    )
    from ..optimizers import Optimizer
    from ..training.settings import FitSettings

SHUFFLES = "own", "shared", False


class Population(PopulationState):
    """n networks of one shape, which train and predict in one call.

    Small networks are computed together, each in a lane of the processor's vectors. This is several times as fast as
    one network after the other. Every member has the same bits as a separate `Network`.

    Parameters
    ----------
    layer_sizes, activation, output, loss, initializer, dtype, label_smoothing
        As for a `Network`. They are the same for all members. The initializers are "he_normal", "he_uniform",
        "glorot_normal", "glorot_uniform", "lecun_normal" and "lecun_uniform".
    n : int
        The number of networks.
    seeds : int, sequence of n int or None
        The seed of each member, for its initial weights, its order of rows and its dropout. One number is the seed of
        all members. None means 0, 1, … n-1.
    dropout : float, array (n,) or array (n, hidden layers)
        The probability with which a training step sets an output of a hidden layer to zero: one number for all, one
        for each member, or one for each hidden layer of each member.
    l1, l2 : float or array (n,)
        Penalties, as for a `Network`: one number for all members, or one for each.

    Attributes
    ----------
    layer_sizes, activations, loss, dtype, n, seeds, dropout, label_smoothing
        The arguments that built the population.
    l1, l2 : arrays (n,)
        The penalties. They may be set between fits, to one number or to n numbers.
    parameters : array (n, n_parameters)
        W0, b0, W1, b1, … of every member, row by row. Training changes this memory. `population.parameters = values`
        checks the values and sets all of them. To set some of them, write into the array.
    weights, biases : tuples of arrays (n, n_in, n_out) and (n, n_out)
        Views of `parameters`, one for each layer.
    n_parameters : int
        The number of parameters of one member.
    optimizer : Optimizer, tuple of n, or None
        The optimizer of the last fit.
    epochs_trained : int
        The largest number of epochs of any member. `epochs` is an array (n,) with the number of each member.

    Notes
    -----
    `population[i]` is a `Network` with the parameters and the training state of member i. It is a copy, which trains
    independently. `len(population)` is n.

    See Also
    --------
    Network : one network.
    EarlyStopping : applies to each member separately.

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> x = np.linspace(-1, 1, 40)[:, None]
    >>> ensemble = fastnn.Population([1, 16, 1], 8, activation="tanh")
    >>> history = ensemble.fit(x, x**2, epochs=600, optimizer=fastnn.Adam(0.02))
    >>> ensemble.predict(x).shape
    (8, 40, 1)
    >>> mean, deviation = ensemble.mean_std(x)
    >>> float(np.abs(mean - x**2).max()) < 0.05
    True
    >>> np.array_equal(ensemble[3].predict(x), ensemble.predict(x)[3])
    True
    """

    @explains
    def __init__(self, layer_sizes: Sequence[int], n: int, activation: HiddenName | str | Sequence[str] = "relu",
                 output: ActivationName | str = "identity", loss: LossName | str | AnyLoss | None = None,
                 initializer: InitializerName | str | None = None, dtype: DType = "float32", *,
                 seeds: int | Sequence[int] | None = None, dropout: ArrayLike = 0.0, l1: ArrayLike = 0.0,
                 l2: ArrayLike = 0.0, label_smoothing: float = 0.0) -> None:
        n = checked_integer("n", n, 1)
        settings = {"layer_sizes": layer_sizes, "activation": activation, "output": output, "loss": loss,
                    "initializer": initializer, "dtype": dtype, "label_smoothing": label_smoothing}
        hidden = len(checked_sizes(layer_sizes)) - 2
        self.build(settings, checked_seeds(seeds, n), checked_dropout(dropout, n, hidden), penalties("l1", l1, n),
                   penalties("l2", l2, n))
        for layer, weights in enumerate(self.weights):
            draw_each(weights, initializer or ACTIVATIONS[self.activations[layer]].initializer, self.seeds, layer)

    def __iter__(self) -> Iterator[Network]:
        return (self[member] for member in range(self.n))

    def __repr__(self) -> str:
        return (f"Population({list(self.layer_sizes)}, n={self.n}, activation={list(self.activations[:-1])}, "
                f"output={self.activations[-1]!r}, loss={self.loss!r}, dtype={self.dtype!r})")

    def __getitem__(self, member: int) -> Network:
        if not isinstance(member, (int, np.integer)):
            raise TypeError(f"a member is {shown(member)}, but must be a number from 0 to {self.n - 1}; for several "
                            "call select")
        if not -self.n <= member < self.n:
            raise IndexError(f"there is no member {member}: there are {self.n}")
        member = int(member) % self.n
        if self.optimizers is None and self.soloists is not None:
            return self.soloists.member(self, member)
        return file.member(self, member)

    @explains
    def select(self, members: ArrayLike) -> Population:
        """Another population of these members, in this order, with all of their state. A member may come twice.

        For successive halving, `population.select(best)`; for population-based training, `population.select(parents)`
        and then other learning rates.
        """
        chosen = real_array("members", members)
        if chosen.dtype.kind == "b" and chosen.shape == (self.n,):
            chosen = np.flatnonzero(chosen)
        if chosen.ndim != 1 or chosen.dtype.kind not in "iu" or not len(chosen):
            raise TypeError(f"members is {shown(members)}, but must be a 1-D array of numbers of members, or a mask of "
                            f"{self.n}")
        if chosen.min() < 0 or chosen.max() >= self.n:
            wrong = chosen.min() if chosen.min() < 0 else chosen.max()
            raise IndexError(f"members holds {wrong}, but there are members 0 to {self.n - 1}")
        return file.chosen(self, chosen.astype(np.intp))

    @explains
    def fit(self, X: ArrayLike, y: ArrayLike, *, rows: Any = None, epochs: int = 1, batch_size: int | None = None,
            optimizer: AnyOptimizer | Sequence[Optimizer] | None = None, shuffle: str | bool = "own",
            validation_data: Any = None, sample_weight: ArrayLike | None = None, metrics: Metrics = (),
            tol: float | None = None, early_stopping: EarlyStopping | None = None, time_budget: float | None = None,
            callbacks: Iterable[Callback] = (), progress: bool = False,
            threads: int | None = None) -> PopulationHistory:
        """Trains every member. A second fit continues where the last one stopped.

        Parameters
        ----------
        X : array (rows, n_inputs) or (n, rows, n_inputs)
            The same rows for all members, or rows of each member's own.
        y : array
            As for `Network.fit`: shared, or with an axis of members before the others.
        rows : None, int, or one entry for each member
            Which rows each member learns from. None is all rows. An int is a number of random folds: member i leaves
            out fold i (after the last fold comes the first again). An array (rows,) of whole numbers gives the fold of
            each row. A sequence of n arrays has row numbers, masks, or pairs (learned, left out) as scikit-learn's
            splitters give them. An array (n, rows) of floats gives the weight of each row.
        epochs, batch_size, tol, time_budget, progress, threads
            As for `Network.fit`, the same for all. Members are shared among threads.
        optimizer : Optimizer, sequence of n Optimizers, or None
            One for all members, or one for each: `[fastnn.Adam(rate) for rate in rates]`. They have one class, and
            agree in whether they use momentum and clipping. None is the optimizer of the last fit, or Adam(). The
            population keeps the state; the objects that you pass do not change. New values of their settings count from
            the next fit on. Another object or list begins with a new state. With LBFGS or LevenbergMarquardt the
            members train one after the other, without callbacks. Each has a copy, which continues from fit to fit, and
            is not saved.
        shuffle : "own", "shared" or False
            "own": each member has its own random order of rows, as its network alone would have. "shared": all members
            have the same batches, which is faster. False: the rows keep their order.
        validation_data : "rest", (X, y), (X, y, sample_weight), float or None
            "rest" is the rows that a member leaves out by `rows`. The others are as for `Network.fit`, shared or with
            an axis of members.
        sample_weight : array (rows,), (n, rows) or None
        metrics : sequence of str and callables
            As for `Network.fit`, for every member.
        early_stopping : EarlyStopping or None
            Each member stops by itself. The population keeps what it remembers.
        callbacks : sequence of Callback
            Called after each epoch with a fit. Its `network` is the population, its `history` a PopulationHistory, its
            `members` those that still train. Its `stop(reason, members)` ends the training of some.

        Returns
        -------
        PopulationHistory : arrays (epochs, n).

        Raises
        ------
        DivergenceError
            If the loss of every member is no longer finite. If this happens to some members only, these stop, with the
            parameters from the beginning of their last good epoch. A RuntimeWarning names them, and `stopped_by` is
            "diverged" for them.
        ValueError, TypeError
            If arguments do not fit. The sentence names the member, and nothing has changed.
        KeyboardInterrupt
            After Ctrl-C. Each member has the parameters of a completed step.
        RuntimeError
            If another thread is training this population, or if a callback of this fit tries to. (Predictions are
            possible meanwhile. Copies and saves wait for the end of a step.)
        """
        engine = self.engine
        settings = checked_settings(
            epochs=epochs, batch_size=batch_size, shuffle=True, steps_per_epoch=None, tol=tol, time_budget=time_budget,
            threads=threads, early_stopping=early_stopping, callbacks=callbacks, progress=progress, optimizer=None,
            last_optimizer=None, class_weight=None)
        if not any(shuffle is each or shuffle == each for each in SHUFFLES if not isinstance(shuffle, np.ndarray)):
            raise ValueError(f"shuffle is {shown(shuffle)}, but must be 'own', 'shared' or False")
        learned, validated = sides(engine, self.engine.model, self.seeds, X, y, rows, sample_weight, validation_data)
        if shuffle == "shared" and len({learned.rows.count(member) for member in range(self.n)}) > 1:
            raise ValueError("shuffle is 'shared', but members have different numbers of rows: pass shuffle='own'")
        if shuffle == "shared" and learned.chosen is not None:
            raise ValueError("shuffle is 'shared', but rows gives members different rows: pass shuffle='own'")
        if not engine.all_finite(range(self.n)).all():
            member = int(np.flatnonzero(~engine.all_finite(range(self.n)))[0])
            raise ValueError(f"parameters of member {member} hold NaN or infinity, but must be finite; set them before "
                             "training")
        asked = Asked(learned, validated, settings.epochs, self._functions(metrics), settings.tol,
                      settings.time_budget)
        engine.model.acquire()
        try:
            if self._training:
                raise RuntimeError("a callback cannot train the population whose fit called it; train a copy of it: "
                                   "copy.copy(population)")
            soloists = self._soloists_for(optimizer)
            if soloists is not None:
                return self._train_alone(soloists, asked, settings)
            plan = Plan(**vars(asked), optimizers=checked_optimizers(optimizer, self.optimizers, self.n),
                        batch_size=settings.batch_size or 32, shuffle=shuffle,
                        stopping=self._stopping_for(settings.early_stopping), callbacks=tuple(
                            callback for callback in settings.callbacks if callback is not settings.early_stopping))
            return self._train(plan, settings.threads)
        finally:
            engine.model.release()

    def _stopping_for(self, settings: EarlyStopping | None) -> MemberStopping | None:
        """What an EarlyStopping remembers of every member; the last fit's, if it is the same."""
        if settings is None:
            return None
        stopping = self.stopping or self._watched
        return stopping if stopping is not None and stopping.settings is settings else MemberStopping(
            settings, self.engine)

    def _soloists_for(self, optimizer: Any) -> Soloists | None:
        """The members as networks, if the optimizer takes all rows at once."""
        if optimizer is None and self.optimizers is None:
            return self.soloists
        if not isinstance(optimizer, (LBFGS, LevenbergMarquardt)):
            return None
        last = self.soloists
        return last if last is not None and last.given is optimizer else Soloists(self, optimizer)

    def _train_alone(self, soloists: Soloists, asked: Asked, settings: FitSettings) -> PopulationHistory:
        """A fit of members one after the other."""
        name = type(soloists.given).__name__
        if any(callback is not settings.early_stopping for callback in settings.callbacks):
            raise ValueError(f"optimizer is {name}, with which members train one after the other: leave out callbacks "
                             "and progress, or train each of the population's networks by itself")
        if settings.batch_size is not None:
            raise ValueError(f"batch_size is {settings.batch_size}, but {name} takes all rows at once; leave it out")
        before = self.optimizers, self.stopping, self.soloists, self.engine.states, self.engine.counts()
        self.optimizers, self.stopping, self.soloists, self._training = None, None, soloists, True
        self.engine.set_states(())
        try:
            return soloists.fit(self, asked, settings.early_stopping, settings.threads)
        except BaseException:
            if not soloists.begun():
                self.optimizers, self.stopping, self.soloists = before[:3]
                self.engine.set_states(before[3])
                self.engine.set_counts(before[4])
            raise
        finally:
            self._training = False

    def _functions(self, metrics: Metrics) -> dict[str, Any]:
        """{name: function} of metrics."""
        if isinstance(metrics, tuple) and not metrics:
            return {}
        functions = checked_metrics(metrics, self.engine.model.loss, tells_classes(self.engine.model))
        for name in functions:
            if hasattr(PopulationHistory, name) or name == "epochs":
                raise ValueError(f"metrics holds a function called {name!r}, a name that the PopulationHistory has "
                                 "already; give it another __name__")
        return functions

    def _train(self, plan: Plan, threads: int | None) -> PopulationHistory:
        """Runs a fit. An error before the first step leaves everything as it was."""
        engine = self.engine
        before = self.optimizers, self.stopping, self.soloists, engine.states, engine.counts()
        engine.most_threads, self._training = threads or 0, True
        try:
            plan.optimizers.prepare(engine, plan.optimizers is not self.optimizers)
            for member in range(self.n):
                engine.set_penalties(member, self._l1[member], self._l2[member])
            self.optimizers, self.stopping, self.soloists = plan.optimizers, plan.stopping, None
            self._watched = plan.stopping or self._watched
            return Training(self, engine, plan).run()
        except BaseException:
            if np.array_equal(engine.counts()[:, :2], before[4][:, :2]):
                self.optimizers, self.stopping, self.soloists = before[:3]
                engine.set_states(before[3])
                engine.set_counts(before[4])
                if self.optimizers is not None:
                    self.optimizers.prepare(engine, False)
            raise
        finally:
            engine.most_threads, self._training = 0, False

    @explains
    def predict(self, X: ArrayLike) -> FloatArray:
        """Every member's outputs for X (rows, n_inputs): (n, rows, n_outputs). For a 1-D X, one sample,
        (n, n_outputs)."""
        array = real_array("X", X)
        single = array.ndim == 1
        if array.ndim == 3:
            raise ValueError(f"X has shape {array.shape}, but predict takes (rows, {self.layer_sizes[0]}) for all "
                             "members; for rows of each member's own call predict_each")
        outputs = self.outputs(all_inputs(self.engine.model, array[None] if single else array, self.n))
        return outputs[:, 0] if single else outputs

    @explains
    def predict_each(self, X: ArrayLike) -> FloatArray:
        """Member i's outputs for X[i]: X (n, rows, n_inputs) gives (n, rows, n_outputs), and X (n, n_inputs), one row
        for each, gives (n, n_outputs).

        >>> import numpy as np, fastnn
        >>> policies = fastnn.Population([4, 32, 2], 512)
        >>> policies.predict_each(np.zeros((512, 4), np.float32)).shape
        (512, 2)
        """
        array = real_array("X", X)
        if array.ndim not in (2, 3) or len(array) != self.n:
            raise ValueError(f"X has shape {array.shape}, but must be ({self.n}, {self.layer_sizes[0]}), a row for "
                             f"each member, or ({self.n}, rows, {self.layer_sizes[0]})")
        if array.ndim == 3:
            return self.outputs(all_inputs(self.engine.model, array, self.n))
        return self.outputs(inputs(self.engine.model, array, given=X)[:, None])[:, 0]

    @explains
    def mean_std(self, X: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """The mean over members of their outputs for X (rows, n_inputs), and the standard deviation: an ensemble's
        answer, and how much its members disagree (Lakshminarayanan, Pritzel and Blundell, 2017). Both
        (rows, n_outputs), summed in float64 in the members' order, in the population's dtype."""
        outputs = self.predict(X).astype(np.float64)
        mean = np.add.reduce(outputs, axis=0) / self.n
        deviation = np.sqrt(np.add.reduce((outputs - mean) ** 2, axis=0) / self.n)
        return mean.astype(self.dtype), deviation.astype(self.dtype)

    @explains
    def evaluate(self, X: ArrayLike, y: ArrayLike, *, rows: Any = None,
                 sample_weight: ArrayLike | None = None) -> Array:
        """Every member's mean loss over the rows of X, float64 (n,). Rows are shared, or of each member's own; `rows`
        are as for `fit`."""
        side, _ = sides(self.engine, self.engine.model, self.seeds, X, y, rows, sample_weight, None)
        return self.mean_losses(side, np.arange(self.n))

    @explains
    def score(self, X: ArrayLike, y: ArrayLike, *, sample_weight: ArrayLike | None = None) -> Array:
        """Every member's `Network.score`, float64 (n,): accuracy for classes, else r²."""
        side = self._side(X, y, sample_weight)
        name, outputs = "accuracy" if tells_classes(self.engine.model) else "r2", self.outputs(side.X)
        scores = []
        for member in range(self.n):
            targets, weights = side.of(member)
            scores.append(measured(name, METRICS[name].function, targets, outputs[member], weights))
        return np.array(scores)

    def _side(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None) -> Side:
        """Checked rows, all of which every member has."""
        rows = all_inputs(self.engine.model, X, self.n)
        weights = all_weights("sample_weight", sample_weight, self.n, rows.shape[-2])
        return Side(self.engine, rows, *all_targets(self.engine.model, y, self.n, rows), weights, None)

    def outputs(self, X: FloatArray) -> FloatArray:
        """Every member's outputs for checked inputs, shared or for each; for the modules of population/."""
        out = np.empty((self.n, X.shape[-2], self.layer_sizes[-1]), self.dtype)
        if self.engine.fits_lanes(1):
            self.engine.predict(X, self.all_groups, out)
            return out
        engine = self.new_engine()
        for member in range(self.n):
            engine.unpack(self.parameters[member], engine.parameters)
            engine.predict(X if X.ndim == 2 else X[member], out[member])
        return out

    def mean_losses(self, side: Side, members: Integers) -> Array:
        """float64 (len(members),): the mean loss of these members over their rows; for the modules of population/."""
        if self.engine.fits_lanes(1):
            ordered, groups = grouped(members.tolist(), [-side.rows.count(member) for member in range(self.n)],
                                      self.engine.lanes)
            losses: Array = self.engine.evaluate(side.rows, ordered, groups)[np.argsort(ordered)]
            return losses
        network = self[0]           # it gets the parameters of one member after the other
        engine, several = engine_of(network), []
        for member in members.tolist():
            engine.unpack(self.parameters[member], engine.parameters)
            several.append(mean_loss(network, Rows(engine, *side.arrays_of(member))))
        return np.array(several)

    def __reduce__(self) -> tuple[Any, ...]:
        others = {name: value for name, value in vars(self).items() if name not in OWN}
        with at_rest(self):
            return file.rebuilt, (type(self), *file.parts(self)), others or None

    @explains
    def save(self, path: Path) -> None:
        """Saves the population and the whole state of its training to one safetensors file, as `Network.save` does;
        `Population.load(path)` reads it."""
        file.save(self, path)

    @classmethod
    @explains
    def load(cls, path: Path, *, loss: Any = None) -> Population:
        """The population that `save` wrote. `loss` is the Python function that it learned with, which a file cannot
        hold. FormatError for anything else."""
        return file.load(cls, path, loss)

