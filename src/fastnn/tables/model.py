"""TableClassifier and TableRegressor: models of tables as people have them.

`fit` finds out what columns hold (task.py), trains the members (members.py), and reports what they are worth
(report.py). The classes have scikit-learn's methods, and need no scikit-learn. The command line is their shell.
"""

from __future__ import annotations

import inspect
import sys
import warnings
from dataclasses import replace
from importlib import import_module
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np

from .._checks import checked_integer, number, sequence, yes_or_no
from .._words import explains
from ..network import Network, load
from ..storage.model_file import FormatError
from ..training.metrics import r2
from . import file
from .defaults import settings_for
from .given import holds_texts, table_and_target, table_of, texts
from .importance import MOST_ROWS, importances
from .members import Folds, Settings, built, in_time, train
from .out_of_fold import report_of
from .progress import Progress
from .recipe import Recipe, mean_outputs
from .report import Report
from .scores import some_rows
from .task import Kind, Task, task_of, truth_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from .._types import Path
    from .kinds import Column

T = TypeVar("T", bound="TableModel")


class TableModel:
    """What TableClassifier and TableRegressor share."""

    kind: ClassVar[Kind]

    recipe_: Recipe
    networks_: list[Network]
    report_: Report | None
    n_features_in_: int

    @explains
    def __init__(self, members: int = 8, *, hidden: Sequence[int] | None = None, epochs: int | None = None,
                 drop: Sequence[str] = (), kinds: Mapping[str, str] | None = None, missing: Sequence[str] = (),
                 time_budget: float | None = None, seed: int = 0, progress: bool = False) -> None:
        self.members = members
        self.hidden = hidden
        self.epochs = epochs
        self.drop = drop
        self.kinds = kinds
        self.missing = missing
        self.time_budget = time_budget
        self.seed = seed
        self.progress = progress

    def fit(self, X: Any, y: Any) -> Self:
        """Learns one column of a table from the other columns. Returns the model itself.

        A second fit starts again. It raises TypeError if X is no table, OSError if a file cannot be read, and
        ValueError if there is nothing to learn, such as with fewer than 20 rows with a target. Then the model does not
        change.

        Parameters
        ----------
        X : path, frame, dict of columns, array (n, columns) or list of rows
            A file is CSV or similar text, also compressed, Excel or Parquet. A frame comes from pandas, polars or
            pyarrow. Cells are numbers, text, dates or empty. Columns without names are called "0", "1", …
        y : str, or sequence (n,)
            The name of the column to learn, or the target itself. Rows without a target are left out.
        """
        table, target = table_and_target(X, y)
        kinds = dict(self.kinds or {})
        if self.kind == "classification" and not isinstance(y, str) and holds_texts(y):
            kinds.setdefault(target, "category")        # labels come back as they came: "1" is no 1
        task = task_of(table, target, self.kind, drop=texts("drop", self.drop), kinds=kinds,
                       missing=texts("missing", self.missing))
        return self.fit_task(task, len(table.cells) - 1)

    def fit_task(self, task: Task, n_features: int) -> Self:
        """`fit` for a task that was found out already, of a table of so many columns beside the target."""
        recipe, settings, start = task.recipe, self.settings(task), monotonic()
        folds = Folds.of(len(task.rows), self.members, self.seed,
                         None if recipe.classes is None else task.y)      # type: ignore[arg-type]
        X = recipe.encoding.apply(task.columns, rows=task.rows[folds.order])
        y = recipe.targets(task.learned)[folds.order]
        if self.time_budget is not None:
            settings = in_time(X, y, folds, settings, recipe.n_outputs, self.time_budget)
        progress = Progress(self.members, settings.epochs) if self.progress else None
        try:
            trained = train(X, y, folds, settings, recipe.n_outputs, self.seed, progress, self.time_budget)
        finally:
            if progress is not None:
                progress.close()
        self.recipe_, self.networks_, self.n_features_in_ = recipe, trained.networks, n_features
        self.report_ = None
        try:
            self.report_ = report_of(task, folds, trained, X, settings, monotonic() - start)
        except (ArithmeticError, MemoryError, ValueError) as error:     # a model is worth more than its report
            warnings.warn(f"the model is trained, but there is no report: {error}", stacklevel=2)
        return self

    def settings(self, task: Task) -> Settings:
        """How the members will be trained: the defaults for this task, but for what the user says.

        All arguments are checked here, and that a file can hold the model: before any work.
        """
        members = checked_integer("members", self.members, 1, file.MOST_MEMBERS)
        checked_integer("seed", self.seed, 0, 2**64 - 1)
        yes_or_no("progress", self.progress)
        if self.time_budget is not None:
            number("time_budget", self.time_budget, 0, open_low=True)
        recipe, rows = task.recipe, len(task.rows)
        if rows < 2 * members:
            raise ValueError(f"there are {rows} rows to learn from, but {members} members need {2 * members}: pass "
                             "fewer members")
        width = len(recipe.encoding.names())
        settings = settings_for(rows, members, recipe.classes is not None)
        if self.hidden is not None:
            hidden = sequence("hidden", self.hidden, "be the sizes of the hidden layers")
            settings = replace(settings, hidden=tuple(checked_integer("hidden", size, 1) for size in hidden))
        if self.epochs is not None:
            epochs = checked_integer("epochs", self.epochs, 1)
            settings = replace(settings, epochs=epochs, patience=max(settings.patience, epochs // 5))
        file.check_saveable(recipe, [built(width, recipe.n_outputs, settings, [0])[0]] * members)
        return settings

    def _columns(self, X: Any) -> dict[str, Column]:
        """The columns of rows to predict."""
        self._check_fitted()
        table = table_of(X, list(self.recipe_.readings))
        features = getattr(self, "n_features_in_", len(table.cells))
        if isinstance(X, np.ndarray | list) and self.recipe_.target not in table.cells and len(table.cells) != features:
            raise ValueError(f"{table.path} has {len(table.cells)} columns, but the model learned from one of "
                             f"{features}, and columns without names must be the same")
        return self.recipe_.columns(table)

    def _check_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            learn = sys.modules.get("sklearn.exceptions")       # whoever catches its error has imported it
            raise (ValueError if learn is None else learn.NotFittedError)(
                f"this {type(self).__name__} has learned nothing yet: call fit first")

    def _with_truth(self, X: Any, y: Any) -> tuple[dict[str, Column], NDArray[np.intp], NDArray[Any]]:
        """(columns, the rows with a target, of these the number of the class, or the number itself)."""
        self._check_fitted()
        table, target = table_and_target(X, self.recipe_.target if y is None else y)
        rows, truth = truth_of(self.recipe_, table, target)
        return self.recipe_.columns(table), rows, truth

    def answers(self, X: Any) -> NDArray[np.float64]:
        """Probabilities (n, classes), or numbers (n,), for the rows of a table as `fit` takes it."""
        columns = self._columns(X)
        return self.recipe_.answers(self.networks_, columns)

    def explain(self, X: Any = None, y: Any = None) -> dict[str, float]:
        """How much each column matters, the most important first: {column: how much the loss grows without it}.

        The loss is the mean log-loss for classes, and the mean squared error over the target's variance for numbers;
        a column is taken away by shuffling it among the rows (permutation importance: Breiman, "Random Forests",
        2001). Without arguments it is what `fit` measured out of fold, of the 30 most important columns. Else it is
        measured on up to 2,000 of these rows, which are passed as to `score`. ValueError where the file that was loaded
        has no report and no rows are passed, or where no row has a class that the model knows.
        """
        self._check_fitted()
        if X is None:
            if self.report_ is None:
                raise ValueError("the model's file has no report: pass rows and their target, explain(X, y)")
            return dict(self.report_.importances)
        columns, rows, truth = self._with_truth(X, y)
        recipe = self.recipe_
        known = np.flatnonzero(truth >= 0) if recipe.classes is not None else np.arange(len(rows))
        if not len(known):
            raise ValueError("no row has a class that the model knows; pass some that do")
        some = known[some_rows(len(known), MOST_ROWS)]

        def answers(features: NDArray[np.float32], _: NDArray[np.intp]) -> NDArray[np.float64]:
            outputs = mean_outputs(self.networks_, features)
            return outputs if recipe.classes is not None else recipe.numbers(outputs)

        return importances(answers, recipe.encoding, recipe.encoding.apply(columns, rows=rows[some]), truth[some])

    def save(self, path: Path) -> None:
        """Writes model and report to one safetensors file, in clear text but for the weights: no pickle, no code.

        Whatever happens, the file is the old one or the new one. OSError where it cannot be written.
        """
        self._check_fitted()
        report = None if self.report_ is None else self.report_.as_metadata()
        file.save(path, self.recipe_, self.networks_, report)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The model that `save` or `fastnn train` wrote.

        FormatError for any other file, and for a model of the other class. Of the constructor's arguments a file
        knows `members` alone: a fit of the loaded model has the defaults of the others.
        """
        return loaded(cls, file.load(path), path)

    def to_onnx(self, path: Path) -> None:
        """Writes the whole to an ONNX file: values of columns go in, the answer comes out (`pip install onnx`).

        Each column is an input (n, 1) of its name: double for a number (NaN is a gap) and a date (seconds since 1970),
        string for text (empty is a gap), without spaces around it. Outputs are "prediction" (n, 1), double; or "label"
        (n,), int64 or string, and "probabilities" (n, n_classes), float. It needs opset 13 and ai.onnx.ml 2.

        ImportError without ONNX; OSError where the file cannot be written.
        """
        self._check_fitted()
        from .onnx_export import to_onnx
        to_onnx(self.recipe_, self.networks_, path)

    def to_c(self, path: Path) -> None:
        """Writes the whole to one header of C99, which C++ takes too, without dependencies.

        A row is a struct with a member for each column: double for a number or a date (seconds since 1970; NAN is a
        gap), `const char *` for text (NULL is a gap). The comment at its head says how to call it, and it tests itself.

        ValueError for a name of a file that C cannot include or that is a header of its library; OSError where the file
        cannot be written.
        """
        self._check_fitted()
        from .c_export import to_c
        to_c(self.recipe_, self.networks_, path)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor, as scikit-learn's `clone` and searches ask for them."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: Any) -> Self:
        """Changes arguments of the constructor, and returns itself; ValueError for others. `fit` checks values."""
        for name, value in params.items():
            if name not in self._names():
                raise ValueError(f"{name!r} is no parameter of {type(self).__name__}; it has "
                                 f"{', '.join(self._names())}")
            setattr(self, name, value)
        return self

    @classmethod
    def _names(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self).__init__).parameters
        changed = [f"{name}={value!r}" for name, value in self.get_params().items()
                   if value is not defaults[name].default and value != defaults[name].default]
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "recipe_")


class TableClassifier(TableModel):
    """A classifier for tables, with text, dates, numbers and empty cells in any column.

    The columns are encoded: numbers are scaled and put into piecewise-linear bins (Gorishniy, Rubachev, Babenko, "On
    Embeddings for Numerical Features in Tabular Deep Learning", 2022), categories become features of 0 and 1, and dates
    become days and parts of the calendar. `members` networks learn from these features, with AdamW, a cosine
    schedule and smoothed labels. Each network is validated on a different part of the rows. The prediction is the mean
    of their probabilities. The class has the methods of a scikit-learn estimator, but does not need scikit-learn.

    Parameters
    ----------
    members : int
        The number of networks. 8 networks have about 6 % less error than 1, and take five times as long. A single
        network is also validated on rows that it does not learn from.
    hidden : sequence of int, optional
        The sizes of the hidden layers. None means (128, 128).
    epochs : int, optional
        The largest number of passes over the rows. Each network keeps the parameters of its best epoch, and stops if a
        fifth of the epochs brings no improvement. None means 100 for small tables, down to 20 for large tables, and a
        quarter more if the target is a number.
    drop : sequence of str
        The names of columns to leave out.
    kinds : dict, optional
        The kinds of columns, {name: "number", "category", "date" or "text"}. The kinds of all other columns are found
        out from their cells. Columns of kind "text" are left out.
    missing : sequence of str
        Cell texts that mean a missing value, such as "-200". Empty cells are always missing values. Among numbers and
        dates, NA, ? and similar texts are missing values, too.
    time_budget : float, optional
        The number of seconds for training. Training has as many epochs as fit into this time.
    seed : int
        The seed, from 0, of the initial weights, the order of rows and the folds. Without a time budget, the same seed
        gives the same bits on every machine and for any number of threads.
    progress : bool
        Whether to show the progress of training and its likely end: with a bar of tqdm, or lines on standard error.

    Attributes
    ----------
    classes_ : array (n_classes,)
        The sorted labels. They are texts if y is a sequence of texts. If y is the name of a column, whole numbers
        become integers, even if the file has them as text.
    report_ : Report
        The quality of the model, measured out of fold: `print(model.report_)`.
    recipe_ : Recipe
        How columns are read (`recipe_.readings`) and encoded (`recipe_.encoding.names()` are the features).
    networks_ : list of Network
        The members, in float32. They compute probabilities from features (n, width).
    n_features_in_ : int
        The number of columns of the table in `fit`, without the target. A model that was loaded does not have it.

    See Also
    --------
    TableRegressor : predicts numbers.
    fastnn.sklearn.MLPClassifier : a classifier for matrices of numbers.

    Examples
    --------
    >>> import fastnn
    >>> table = {"petals": [5, 3, 5, 4, 3] * 8, "colour": ["red", "", "red", "blue", "white"] * 8}
    >>> model = fastnn.TableClassifier(members=2, epochs=30).fit(table, "colour")
    >>> model.predict({"petals": [5, 4]})
    array(['red', 'blue'], dtype='<U5')
    >>> model.predict_proba({"petals": [5, 4, None]}).shape
    (3, 3)
    >>> model.report_.rows, sorted(model.report_.scores)
    (32, ['accuracy', 'auc', 'log_loss'])
    """

    kind = "classification"

    @property
    def classes_(self) -> NDArray[Any]:
        """The labels (n_classes,), sorted, in the order of `predict_proba`."""
        self._check_fitted()
        return np.array(self.recipe_.classes)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most likely class (n,) of each row of a table: one of `classes_`.

        X is as in `fit`, with or without the target and other columns. ValueError where a column is missing or a cell
        cannot be read; gaps, and categories that no row had before, are answered for.
        """
        return self.classes_[self.answers(X).argmax(axis=1)]

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """The probability (n, n_classes) of each class, in the order of `classes_`, float64. X is as in `predict`."""
        return self.answers(X)

    def score(self, X: Any, y: Any = None) -> float:
        """The accuracy: the share of rows whose class is right, of those with a target.

        y is as in `fit`; without it the table must have the target's column. A class that `fit` never saw is wrong.
        """
        columns, rows, truth = self._with_truth(X, y)
        answers = self.recipe_.answers(self.networks_, columns)[rows]
        return float(np.mean(answers.argmax(axis=1) == truth))

    def __sklearn_tags__(self) -> Any:
        return tags("classifier")


class TableRegressor(TableModel):
    """A regressor for tables, with text, dates, numbers and empty cells in any column.

    It has the parameters and attributes of `fastnn.TableClassifier`, without `classes_`. The members learn the target,
    scaled to mean 0 and standard deviation 1, with the mean squared error. `predict` returns `recipe_.mean` +
    `recipe_.scale` * (the mean of the members' outputs).

    See Also
    --------
    TableClassifier : predicts classes.
    fastnn.sklearn.MLPRegressor : a regressor for matrices of numbers.

    Examples
    --------
    >>> import fastnn
    >>> table = {"size": [1.0, 2.0, 3.0, None] * 10, "price": [10.0, 20.0, 30.0, 20.0, 11.0, 19.0, 31.0, 21.0] * 5}
    >>> model = fastnn.TableRegressor(members=2).fit(table, "price")
    >>> model.predict({"size": [2.0, None]}).shape
    (2,)
    >>> model.score(table) > 0.9
    True
    """

    kind = "regression"

    def predict(self, X: Any) -> NDArray[np.float64]:
        """The number for each row of a table, (n,) float64.

        X is as in `fit`, with or without the target and other columns. ValueError where a column is missing or a cell
        cannot be read; gaps, and categories that no row had before, are answered for.
        """
        return self.answers(X)

    def score(self, X: Any, y: Any = None) -> float:
        """r² of the rows with a target: 1 is perfect, 0 as good as the mean.

        y is as in `fit`; without it the table must have the target's column.
        """
        columns, rows, truth = self._with_truth(X, y)
        return float(r2(truth, self.recipe_.answers(self.networks_, columns)[rows, None]))

    def __sklearn_tags__(self) -> Any:
        return tags("regressor")


def loaded(kind: type[T], contents: file.Contents, path: Path) -> T:
    """A model of this class with what a file holds; FormatError for a file of the other class."""
    if (contents.recipe.classes is None) != (kind.kind == "regression"):
        other = TableRegressor if kind.kind == "classification" else TableClassifier
        raise FormatError(f"{path} holds a {other.__name__}: load it with fastnn.{other.__name__}.load")
    model = kind(members=len(contents.networks))
    model.recipe_, model.networks_ = contents.recipe, contents.networks
    try:
        model.report_ = None if contents.report is None else Report.from_metadata(contents.report)
    except ValueError as error:
        raise FormatError(f"{path} is not a valid model: {error}") from None
    return model


def opened(path: Path) -> TableClassifier | TableRegressor | Network:
    """The model that a file holds, of whichever class."""
    try:
        contents = file.load(path)
    except file.NoTable:
        return load(path)
    if contents.recipe.classes is None:
        return loaded(TableRegressor, contents, path)
    return loaded(TableClassifier, contents, path)


def tags(kind: str) -> Any:
    """What scikit-learn asks an estimator about itself. It alone calls this, so it is there.

    A statement would bring it, SciPy and pandas into every frozen program.
    """
    utils = import_module("sklearn.utils")
    return utils.Tags(
        estimator_type=kind, target_tags=utils.TargetTags(required=True),
        classifier_tags=utils.ClassifierTags() if kind == "classifier" else None,
        regressor_tags=utils.RegressorTags() if kind == "regressor" else None,
        input_tags=utils.InputTags(allow_nan=True, string=True, categorical=True))
