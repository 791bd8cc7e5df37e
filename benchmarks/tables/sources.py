"""The ten tables that results are reported of, and where they come from. Others are read from a folder alone.

A folder has NAME.csv for each of them; a table that it lacks is fetched once, by scikit-learn or from its address, and
written there. Nothing may be tuned on these ten. Others, such as those to tune on, stand in the folder's tables.json:
{group: {name: {"file": …, "target": …, "task": "classification" or "regression"}}}.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from sklearn.datasets import fetch_openml

GAPS = ["?", " "]           # besides those of pandas: "", NA, NULL …


@dataclass(frozen=True)
class Table:
    name: str
    target: str
    task: str                               # "classification" or "regression"
    source: int | str | None = None         # a number of openml.org, or the address of a CSV file
    left_out: tuple[str, ...] = ()          # columns of the source that say the target again, or number the rows


def classification(name, target, *source):
    return Table(name, target, "classification", *source)


def regression(name, target, *source):
    return Table(name, target, "regression", *source)


GITHUB = "https://raw.githubusercontent.com"
TABLES = {table.name: table for table in (
    classification("adult", "class", 1590),
    classification("titanic", "survived", f"{GITHUB}/mwaskom/seaborn-data/master/titanic.csv", ("alive",)),
    classification("letter", "lettr", 6),
    classification("bank", "y", 1461),
    regression("california", "median_house_value", f"{GITHUB}/ageron/handson-ml2/master/datasets/housing/housing.csv"),
    regression("ames", "SalePrice", 41211),
    regression("diamonds", "price", 42225),
    regression("bike_sharing", "count", 42712),
    regression("abalone", "Rings", 183),
    regression("wine_quality", "quality", 287),
)}


def known(folder):
    """{name: (Table, file)} of the ten and of those in the folder's tables.json."""
    folder = Path(folder)
    found = {name: (table, folder / f"{name}.csv") for name, table in TABLES.items()}
    listed = folder / "tables.json"
    for group in json.loads(listed.read_text(encoding="utf-8")).values() if listed.exists() else ():
        for name, about in group.items():
            found.setdefault(name, (Table(name, about["target"], about["task"]), folder / about["file"]))
    return found


def load(table, path):
    """A table as a frame, its classes as text: a class is a name, whatever it looks like."""
    if not path.exists():
        if table.source is None:
            raise FileNotFoundError(f"{path} is not there, and {table.name} is no table that can be fetched")
        fetch(table).to_csv(path, index=False)
    frame = pd.read_csv(path, na_values=GAPS)
    if table.task == "classification":
        frame[table.target] = frame[table.target].astype(str)
    return frame.dropna(subset=table.target)


def fetch(table):
    if isinstance(table.source, str):
        return pd.read_csv(table.source).drop(columns=list(table.left_out))
    bunch = fetch_openml(data_id=table.source, as_frame=True)
    return bunch.data.drop(columns=list(table.left_out)).assign(**{table.target: bunch.target})
