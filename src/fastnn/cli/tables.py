"""A network learns from a table, and predicts the rows of another.

fastnn.tables reads them as text, finds out what columns are, and encodes those that are not plain numbers. A `Recipe`
is what a model must know of the table that it learned from: columns, how they are read and scaled or encoded, classes.
It is kept in `Network.metadata`. Errors name the column and the row.
"""

from collections.abc import Iterator, Mapping, Sequence
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
from ..tables.columns import Column, Reading, column_of, columns_of, convert, gives_away
from ..tables.encoding import Encoding
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
class Encoded:
    """Columns that are not all numbers without gaps: how their cells are read, and values encoded."""

    readings: dict[str, Reading]
    encoding: Encoding

    @classmethod
    def of(cls, columns: dict[str, Column], rows: NDArray[np.intp]) -> "Encoded":
        """That of columns, learned from some of their rows."""
        return cls({name: column.reading for name, column in columns.items()}, Encoding.of(columns, rows))

    def of_table(self, table: Table) -> NDArray[np.floating]:
        """The matrix for the rows of a table."""
        try:
            columns = {name: convert(name, reading, table.column(name), table.first_row)
                       for name, reading in self.readings.items()}
        except ValueError as error:
            raise ValueError(f"{table.path}: {error}") from None
        return self.encoding.apply(columns)

    def as_metadata(self) -> dict[str, Any]:
        """Plain values, for a model file."""
        return {"readings": [reading.as_metadata() for reading in self.readings.values()],      # in columns' order
                "encoding": self.encoding.as_metadata()}

    @classmethod
    def from_metadata(cls, plain: Mapping[str, Any]) -> "Encoded":
        """What `as_metadata` wrote; ValueError or TypeError for anything else."""
        encoding = Encoding.from_metadata(plain["encoding"])
        readings = [Reading.from_metadata(reading) for reading in plain["readings"]]
        if [column.kind for column in encoding.columns] != [reading.kind for reading in readings]:
            raise ValueError("columns are encoded in another way than they are read")
        return cls({column.name: reading for column, reading in zip(encoding.columns, readings, strict=True)}, encoding)


@dataclass(frozen=True)
class Recipe:
    """What a model knows of its table: which columns it reads, how they become numbers, what its outputs mean."""

    target: str
    columns: list[str]
    inputs: Scaling | Encoded
    targets: Scaling | None         # for regression
    labels: list[str] | None        # for classification: the classes

    def as_metadata(self) -> dict[str, Any]:
        """Plain values, for a model file."""
        inputs = scaled(self.inputs) if isinstance(self.inputs, Scaling) else self.inputs.as_metadata()
        return {"target": self.target, "columns": self.columns, "inputs": inputs,
                "targets": None if self.targets is None else scaled(self.targets), "labels": self.labels}

    def features(self, table: Table) -> NDArray[np.floating]:
        """What the network reads of a table, (rows, inputs)."""
        if isinstance(self.inputs, Encoded):
            return self.inputs.of_table(table)
        return self.inputs.apply(numbers(table, self.columns))

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
            inputs = inputs_of(plain["inputs"], columns)
            targets = scaling(plain["targets"], 1) if labels is None else None
            outputs = 1 if labels is None else len(labels)
            width = len(columns) if isinstance(inputs, Scaling) else len(inputs.encoding.names())
            if (network.layer_sizes[0], network.layer_sizes[-1]) != (width, outputs):
                raise ValueError("the network has other sizes")
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise ValueError(f"what the model says of its table is not what fastnn writes: {error}") from None
        return cls(target, columns, inputs, targets, labels)

    def outputs(self) -> list[str]:
        """The name of each of the network's outputs."""
        return [self.target] if self.labels is None else [f"p({label})" for label in self.labels]

    def folded(self, network: Network) -> Network:
        """A network with the scalings in its weights: it takes and gives numbers as in the table."""
        if isinstance(self.inputs, Encoded):
            kinds = {name: reading.kind for name, reading in self.inputs.readings.items()}
            raise ValueError("the model reads columns that are not all numbers without gaps "
                             f"({', '.join(f'{name}: {kind}' for name, kind in list(kinds.items())[:5])}), which no "
                             "export can hold yet; use fastnn predict, or train with --drop")
        return folded(network, self.inputs, self.targets)


def inputs_of(plain: dict[str, Any], columns: list[str]) -> Scaling | Encoded:
    """What `Recipe.as_metadata` wrote of the inputs."""
    if "encoding" not in plain:
        return scaling(plain, len(columns))
    encoded = Encoded.from_metadata(plain)
    if list(encoded.readings) != columns:
        raise ValueError("the columns are not those that are read")
    return encoded


def scaled(scaling: Scaling) -> dict[str, list[float]]:
    """A Scaling as plain values."""
    return {part: array.tolist() for part, array in asdict(scaling).items()}


def scaling(plain: dict[str, list[float]], columns: int) -> Scaling:
    """A Scaling from plain values; ValueError where they are no scaling of so many columns."""
    mean, scale = (np.array(plain[part], np.float64) for part in ("mean", "scale"))
    if mean.shape != (columns,) or scale.shape != (columns,):
        raise ValueError(f"there are scalings of {mean.size} columns, not {columns}")
    if not (np.isfinite(mean).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise ValueError("a mean or a scale is no finite number, or a scale not above 0")
    return Scaling(mean, scale)


def check_kind(table: Table, goal: Column) -> None:
    """Refuses a target of numbers with text in less than half of the rows: these are more likely gaps than classes."""
    if goal.kind != "category":
        return
    cells = table.column(goal.name)
    text = [row for row, value in enumerate(goal.values) if value is not None and as_number(cells[row]) is None]
    if text and len(text) < len(cells) / 2:
        raise ValueError(f"{table.path}: row {text[0] + table.first_row}, column {goal.name!r} is {cells[text[0]]!r}, "
                         "but other rows hold numbers; leave the row out, say --missing with what it holds, or "
                         "--task classification")


def labels_of(goal: Column, known: NDArray[np.intp], table: Table, task: str | None) -> list[str] | None:
    """The classes in a target column, sorted, or None where it holds numbers to predict.

    Text means classes, and so do at most 20 different whole numbers, unless `task` says otherwise.
    """
    cells = table.column(goal.name)
    distinct = {cells[row] for row in known.tolist()}
    numeric = goal.kind == "number"
    values = np.asarray(goal.values, np.float64)[known] if numeric else None
    whole = values is not None and bool((values == np.floor(values)).all())
    if task == "regression" or (task is None and numeric and not (whole and len(distinct) <= MOST_CLASSES)):
        return None
    plain = all(as_number(cell) is not None for cell in distinct)
    return sorted(distinct, key=lambda cell: (float(cell), cell)) if plain else sorted(distinct)


@dataclass(frozen=True)
class Trained:
    """A network that learned from a table, and its scores on the rows that were held out."""

    network: Network
    epochs: int
    rows: int
    held_out: int
    scores: dict[str, float]
    said: list[str]         # of each column what it was taken for

    @property
    def recipe(self) -> Recipe:
        recipe = Recipe.of(self.network)
        assert recipe is not None
        return recipe


def columns_to_learn_from(
        table: Table, target: str, drop: Sequence[str], kinds: Mapping[str, str], missing: Sequence[str],
        ) -> tuple[dict[str, Column], Column, list[str]]:
    """(columns to learn from, the target, a line about each column).

    The former are all but those in `drop`, those that nothing can be learned from, and those that say the target again.
    Ids are taken where there is nothing else. ValueError where nothing is left.
    """
    for name in drop:
        table.column(name)
    if target in drop:
        raise ValueError(f"the column {target!r} is the target, and cannot be dropped")
    cells = {name: column for name, column in table.cells.items() if name not in drop}
    try:
        columns = columns_of(cells, target, kinds, missing, table.first_row)
    except ValueError as error:
        raise ValueError(f"{table.path}: {error}") from None
    goal = columns.pop(target)
    again = {name for name, column in columns.items() if name not in kinds and gives_away(column, goal)}
    said = [f"{name}: left out, says {target} again ({column.said})" if name in again else f"{name}: {column.said}"
            for name, column in columns.items()]
    used = {name: column for name, column in columns.items() if not column.left_out and name not in again}
    if not used:
        used = {name: column_of(name, table.cells[name], "number", missing) for name, column in columns.items()
                if column.kind == "id" and None not in map(as_number, table.cells[name])}
        said = [f"{name}: {used[name].said}" for name in used] or said
    if not used:
        why = f": {'; '.join(said[:5])}" if said else ""
        raise ValueError(f"{table.path} has no column left to learn from beside {target!r}{why}")
    return used, goal, said


def rows_with(goal: Column, table: Table) -> NDArray[np.intp]:
    """The rows that hold a target; ValueError where they are too few."""
    known = np.array([value is not None and value == value for value in goal.values], bool)     # NaN is a gap
    if known.sum() < FEWEST_ROWS:
        raise ValueError(f"{table.path} has {known.sum()} rows to learn from, but at least {FEWEST_ROWS} are needed")
    return np.flatnonzero(known)


def all_plain(columns: dict[str, Column]) -> bool:
    """Whether all columns hold numbers as Python writes them, without gaps: then scaling is all that they need."""
    return all(column.kind == "number" and column.reading == Reading("number", column.reading.gaps)
               and not np.isnan(column.values).any() for column in columns.values())       # type: ignore[arg-type]


def class_numbers(table: Table, target: str, labels: list[str], known: NDArray[np.intp]) -> NDArray[np.intp]:
    """The place in `labels` of the class of each known row; ValueError where these can hardly be classes."""
    if len(labels) > len(known) / 2:
        raise ValueError(f"{table.path}: column {target!r} has {len(labels)} different texts in {len(known)} rows, "
                         "which are too many to be classes")
    if len(labels) < 2:
        raise ValueError(f"{table.path}: column {target!r} is {labels[0]!r} in each row, but there must be two "
                         "classes at least")
    places, cells = {label: place for place, label in enumerate(labels)}, table.column(target)
    return np.array([places[cells[row]] for row in known.tolist()], np.intp)


def train(table: Table, target: str, *, drop: Sequence[str] = (), task: str | None = None,
          kinds: Mapping[str, str] | None = None, missing: Sequence[str] = (), hidden: Sequence[int] = (64, 32),
          epochs: int = 500, seed: int = 0, callbacks: Sequence[Callback] = (), progress: bool = False) -> Trained:
    """Learns the column `target` from all others but those in `drop`.

    `kinds` says what columns are, `missing` which cells are gaps; both are found out otherwise. `seed` gives the order
    of the rows, of which a fifth is held out for the scores. A tenth of the others decides when to stop. Inputs, and
    targets that are numbers, are standardised; columns of text, of dates or with gaps are encoded.
    """
    table.column(target)
    seed = checked_integer("seed", seed, 0, 2**64 - 1)
    epochs = checked_integer("epochs", epochs, 1)
    columns, goal, said = columns_to_learn_from(table, target, drop, kinds or {}, missing)
    if task is None:
        check_kind(table, goal)
    known = rows_with(goal, table)
    labels = labels_of(goal, known, table, task)
    held_out, rows = np.split(known[random_order(len(known), seed, 0)], [round(HELD_OUT * len(known))])
    inputs = Scaling.of(numbers(table, list(columns))[rows]) if all_plain(columns) else Encoded.of(columns, rows)
    y, targets = targets_of(table, goal, labels, known, rows)
    recipe = Recipe(target, list(columns), inputs, targets, labels)
    X = recipe.features(table)
    outputs = 1 if labels is None else len(labels)
    network = Network([X.shape[1], *hidden, outputs], output="identity" if labels is None else "softmax", seed=seed,
                      l2=L2)
    network.metadata[KEY] = recipe.as_metadata()
    check_saveable(network)         # before the work, not after it
    stopping = EarlyStopping(max(PATIENCE, PATIENT_STEPS * BATCH // len(rows)))
    network.fit(X[rows], y[rows], epochs=epochs, batch_size=BATCH, optimizer=Adam(LEARNING_RATE),
                validation_data=VALIDATING, early_stopping=stopping, callbacks=callbacks, progress=progress)
    stopping.restore(network)       # the best parameters, also where training ended before its patience did
    return Trained(network, network.epochs_trained, len(rows), len(held_out),
                   scores(network.predict(X[held_out]), y[held_out], recipe), said)


def targets_of(table: Table, goal: Column, labels: list[str] | None, known: NDArray[np.intp],
               rows: NDArray[np.intp]) -> tuple[NDArray[Any], Scaling | None]:
    """(what to learn in each row, its scaling in the rows that train). Rows that are not known hold nothing."""
    if labels is not None:
        y = np.zeros(len(table), np.intp)
        y[known] = class_numbers(table, goal.name, labels, known)
        return y, None
    if goal.kind != "number":
        numbers(table, [goal.name])             # says which cell is none
    values = np.asarray(goal.values, np.float64)[:, None]
    targets = Scaling.of(values[rows])
    return targets.apply(np.nan_to_num(values)), targets


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
    outputs = network.predict(recipe.features(table))
    if recipe.labels is None:
        assert recipe.targets is not None
        yield recipe.outputs()
        yield from ([f"{value:.12g}"] for value in recipe.targets.undo(outputs)[:, 0])
        return
    yield [recipe.target, *recipe.outputs()]
    for row in outputs:
        yield [recipe.labels[row.argmax()], *(f"{share:.6f}" for share in row)]
