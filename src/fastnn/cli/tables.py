"""A network learns from a table, and predicts the rows of another.

fastnn.tables reads them as text; here columns become numbers. A `Recipe` is what a model must know of the table that it
learned from: columns, scalings, classes. It is kept in `Network.metadata`. Errors name the column and the row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._checks import checked_integer, shown
from ..callbacks import Callback, EarlyStopping
from ..core import random_order
from ..network import Network
from ..optimizers import Adam
from ..scaling import Scaling, folded
from ..storage.model_file import printable
from ..storage.state import check_saveable
from ..tables.reading import Table
from ..training.metrics import r2, rmse

KEY = "fastnn.table"        # of the recipe in Network.metadata; other keys belong to the user
MOST_CLASSES = 20           # a target of at most so many different whole numbers holds classes, unless `task` says no
HELD_OUT = 0.2              # the share of the rows that scores are measured on
VALIDATING = 0.1            # the share of the other rows that decides when to stop
FEWEST_ROWS = 20
LARGEST = 1e100             # absolute value of a cell; its square must be finite
PATIENCE = 30               # epochs without improvement before training stops, at least
PATIENT_STEPS = 1000        # steps without improvement before training stops, at least
BATCH = 32
LEARNING_RATE = 1e-3
L2 = 0.02                   # for standardised columns; small tables need it, large tables hardly change


def numbers(table: Table, names: list[str], instead: str = "leave the row out") -> NDArray[np.float64]:
    """Columns as numbers, (rows, columns). An error advises to fill the cell, or to do what `instead` says."""
    return np.column_stack([numbers_of(table, name, instead) for name in names])


def numbers_of(table: Table, name: str, instead: str) -> NDArray[np.float64]:
    """One column as numbers."""
    cells = table.column(name)
    for row, cell in enumerate(cells, table.first_row):
        if as_number(cell) is None:
            what = repr(cell) if cell else "empty"
            raise ValueError(f"{table.path}: row {row}, column {name!r} is {what}, but must be a finite number; "
                             f"fill it, or {instead}")
    return np.array(cells, np.float64)


def as_number(cell: str) -> float | None:
    """The finite number, below 1e100, that a cell holds, or None."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if abs(value) < LARGEST else None


@dataclass(frozen=True)
class Recipe:
    """What a model knows of its table: which columns it reads, how they are scaled, what its outputs mean."""

    target: str
    columns: list[str]
    inputs: Scaling
    targets: Scaling | None         # for regression
    labels: list[str] | None        # for classification: the classes

    def as_metadata(self) -> dict[str, Any]:
        """Plain values, for a model file."""
        plain = asdict(self)
        for name in ("inputs", "targets"):
            if plain[name] is not None:
                plain[name] = {part: array.tolist() for part, array in plain[name].items()}
        return plain

    @classmethod
    def of(cls, network: Network) -> "Recipe | None":
        """The recipe of a network, or None where it did not learn from a table."""
        plain = network.metadata.get(KEY)
        if plain is None:
            return None
        try:
            target, columns, labels = plain["target"], plain["columns"], plain["labels"]
            for name, texts in (("target", [target]), ("columns", columns), ("labels", labels or [])):
                if not (isinstance(texts, list) and all(isinstance(text, str) for text in texts)):
                    raise TypeError(f"{name} is {shown(plain[name])}")
            inputs = scaling(plain["inputs"], len(columns))
            targets = scaling(plain["targets"], 1) if labels is None else None
            outputs = 1 if labels is None else len(labels)
            if (network.layer_sizes[0], network.layer_sizes[-1]) != (len(columns), outputs):
                raise ValueError("the network has other sizes")
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise ValueError(f"what the model says of its table is not what fastnn writes: {error}") from None
        return cls(target, columns, inputs, targets, labels)

    def outputs(self) -> list[str]:
        """The name of each of the network's outputs."""
        return [self.target] if self.labels is None else [f"p({label})" for label in self.labels]

    def folded(self, network: Network) -> Network:
        """A network with the scalings in its weights: it takes and gives numbers as in the table."""
        return folded(network, self.inputs, self.targets)


def scaling(plain: dict[str, list[float]], columns: int) -> Scaling:
    """A Scaling from plain values; ValueError where they are no scaling of so many columns."""
    mean, scale = (np.array(plain[part], np.float64) for part in ("mean", "scale"))
    if mean.shape != (columns,) or scale.shape != (columns,):
        raise ValueError(f"there are scalings of {mean.size} columns, not {columns}")
    if not (np.isfinite(mean).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise ValueError("a mean or a scale is no finite number, or a scale not above 0")
    return Scaling(mean, scale)


def check_kind(table: Table, target: str) -> None:
    """Refuses a target of numbers with text in less than half of the rows: these are more likely gaps than classes."""
    cells = table.column(target)
    text = [row for row, cell in enumerate(cells) if as_number(cell) is None]
    if text and len(text) < len(cells) / 2:
        raise ValueError(f"{table.path}: row {text[0] + table.first_row}, column {target!r} is {cells[text[0]]!r}, but "
                         "other rows hold numbers; leave the row out, or say --task classification")


def labels_of(cells: list[str], task: str | None) -> list[str] | None:
    """The classes in a target column, sorted, or None where it holds numbers to predict.

    Text means classes, and so do at most 20 different whole numbers, unless `task` says otherwise.
    """
    values = [as_number(cell) for cell in cells]
    numeric = None not in values
    distinct = set(cells)
    whole = numeric and all(float(number).is_integer() for number in values)        # type: ignore[arg-type]
    if task == "regression" or (task is None and numeric and not (whole and len(distinct) <= MOST_CLASSES)):
        return None
    return sorted(distinct, key=lambda cell: (float(cell), cell)) if numeric else sorted(distinct)


@dataclass(frozen=True)
class Trained:
    """A network that learned from a table, and its scores on the rows that were held out."""

    network: Network
    epochs: int
    rows: int
    held_out: int
    scores: dict[str, float]

    @property
    def recipe(self) -> Recipe:
        recipe = Recipe.of(self.network)
        assert recipe is not None
        return recipe


def columns_to_learn_from(table: Table, target: str, drop: Sequence[str]) -> list[str]:
    """All columns but the target and those in `drop`.

    ValueError where there are too few columns or rows, or a cell of the target is empty.
    """
    for name in drop:
        table.column(name)
    if target in drop:
        raise ValueError(f"the column {target!r} is the target, and cannot be dropped")
    columns = [name for name in table.cells if name != target and name not in drop]
    if not columns:
        raise ValueError(f"{table.path} has no column left to learn from beside {target!r}")
    if len(table) < FEWEST_ROWS:
        raise ValueError(f"{table.path} has {len(table)} rows to learn from, but at least {FEWEST_ROWS} are needed")
    for row, cell in enumerate(table.column(target), table.first_row):
        if not cell:
            raise ValueError(f"{table.path}: row {row}, column {target!r} is empty, but is what to learn; leave the "
                             "row out")
    return columns


def class_numbers(table: Table, target: str, labels: list[str]) -> NDArray[Any]:
    """The place in `labels` of each row's class; ValueError where these can hardly be classes."""
    if len(labels) > len(table) / 2:
        raise ValueError(f"{table.path}: column {target!r} has {len(labels)} different texts in {len(table)} rows, "
                         "which are too many to be classes")
    if len(labels) < 2:
        raise ValueError(f"{table.path}: column {target!r} is {labels[0]!r} in each row, but there must be two "
                         "classes at least")
    return np.array([labels.index(cell) for cell in table.column(target)])


def train(table: Table, target: str, *, drop: Sequence[str] = (), task: str | None = None,
          hidden: Sequence[int] = (64, 32), epochs: int = 500, seed: int = 0,
          callbacks: Sequence[Callback] = (), progress: bool = False) -> Trained:
    """Learns the column `target` from all others but those in `drop`.

    `seed` gives the order of the rows, of which a fifth is held out for the scores. A tenth of the others decides when
    to stop. Inputs, and targets that are numbers, are standardised.
    """
    cells = table.column(target)
    seed = checked_integer("seed", seed, 0, 2**64 - 1)
    epochs = checked_integer("epochs", epochs, 1)
    columns = columns_to_learn_from(table, target, drop)
    X = numbers(table, columns, "leave the row or the column (--drop) out")
    if task is None:
        check_kind(table, target)
    labels = labels_of(cells, task)
    order = random_order(len(table), seed, 0)
    held_out, rows = np.split(order, [round(HELD_OUT * len(table))])
    inputs = Scaling.of(X[rows])
    if labels is not None:
        y, targets = class_numbers(table, target, labels), None
        network = Network([len(columns), *hidden, len(labels)], output="softmax", seed=seed, l2=L2)
    else:
        y = numbers(table, [target])
        targets = Scaling.of(y[rows])
        y = targets.apply(y)
        network = Network([len(columns), *hidden, 1], seed=seed, l2=L2)
    recipe = Recipe(target, columns, inputs, targets, labels)
    network.metadata[KEY] = recipe.as_metadata()
    check_saveable(network)         # before the work, not after it
    stopping = EarlyStopping(max(PATIENCE, PATIENT_STEPS * BATCH // len(rows)))
    network.fit(inputs.apply(X[rows]), y[rows], epochs=epochs, batch_size=BATCH, optimizer=Adam(LEARNING_RATE),
                validation_data=VALIDATING, early_stopping=stopping, callbacks=callbacks, progress=progress)
    stopping.restore(network)       # the best parameters, also where training ended before its patience did
    return Trained(network, network.epochs_trained, len(rows), len(held_out),
                   scores(network.predict(inputs.apply(X[held_out])), y[held_out], recipe))


def scores(outputs: NDArray[np.floating], y: NDArray[Any], recipe: Recipe) -> dict[str, float]:
    """Scores of outputs (accuracy; R² and RMSE), and those of always giving the most frequent class or the mean."""
    if recipe.targets is None:
        frequent = np.bincount(y).max() / len(y)
        return {"accuracy": float(np.mean(outputs.argmax(axis=1) == y)), "of the most frequent class": float(frequent)}
    scale = float(recipe.targets.scale[0])
    return {"r2": float(r2(y, outputs)), "rmse": float(rmse(y, outputs)) * scale,
            "of the mean": float(y.std()) * scale}


def predictions(network: Network, table: Table) -> Iterator[list[str]]:
    """Rows of a CSV file: a header, and the network's prediction for each row of the table."""
    recipe = Recipe.of(network)
    if recipe is None:
        raise ValueError("the model learned from arrays, and does not know which columns it needs; load it with "
                         "fastnn.load and call predict")
    missing = [name for name in recipe.columns if name not in table.cells]
    if missing:
        raise ValueError(f"{table.path} has no column {', '.join(map(repr, missing))}, which the model needs; it has "
                         f"{printable(', '.join(table.cells))}")
    outputs = network.predict(recipe.inputs.apply(numbers(table, recipe.columns)))
    if recipe.labels is None:
        assert recipe.targets is not None
        yield recipe.outputs()
        yield from ([f"{value:.12g}"] for value in recipe.targets.undo(outputs)[:, 0])
        return
    yield [recipe.target, *recipe.outputs()]
    for row in outputs:
        yield [recipe.labels[row.argmax()], *(f"{share:.6f}" for share in row)]
