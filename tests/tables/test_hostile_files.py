"""Model files of tables in which one value was replaced, whichever it is: FormatError, or a model that answers."""

import copy

import numpy as np
import pytest

import fastnn
from fastnn.storage.model_file import FormatError, read_model, write_model

pytestmark = pytest.mark.any_isa
HOSTILE = None, True, -1, 10**30, 0.5, -1e308, "", "x" * 50_000, "\0\x1b[2J", [], [[[]]], {}, [1e308] * 17
TABLE = {"size": [None, 1.5, 2.5, 4.0, 7.0, 5.0] * 10, "colour": ["red", "green", "", "blue", "red"] * 12,
         "day": np.arange("2024-01-01", "2024-03-01", dtype="datetime64[D]")}
TARGETS = {fastnn.TableClassifier: ["a", "b", "a", "c"] * 15, fastnn.TableRegressor: np.arange(60) % 7 + 0.5}


def places(plain, way=()):
    """The way to each value in lists and dictionaries; of a list to its first two."""
    yield way
    parts = plain.items() if isinstance(plain, dict) else enumerate(plain[:2]) if isinstance(plain, list) else ()
    for part, value in parts:
        yield from places(value, (*way, part))


def replaced(plain, way, value):
    """A copy in which another value stands there."""
    if not way:
        return value
    result = part = copy.deepcopy(plain)
    for step in way[:-1]:
        part = part[step]
    part[way[-1]] = value
    return result


@pytest.mark.parametrize("kind", TARGETS)
def test_any_other_value_is_refused_or_fine(kind, tmp_path):
    model = kind(members=2, hidden=[4], epochs=2).fit(TABLE, TARGETS[kind])
    model.save(tmp_path / "m")
    description, tensors = read_model(tmp_path / "m")
    ways, refused = list(places(description)), 0
    for number, way in enumerate(ways):
        for value in HOSTILE[number % 3::3]:
            try:
                write_model(tmp_path / "m", replaced(description, way, value), tensors)
            except (AttributeError, TypeError, ValueError):     # nobody can write it
                continue
            try:
                other = kind.load(tmp_path / "m")
            except FormatError:
                refused += 1
                continue
            if list(other.recipe_.readings) == list(TABLE):
                assert np.isfinite(other.answers(TABLE)).all()
                assert other.report_ is None or "\x1b" not in other.report_.text()
            other.save(tmp_path / "n")
    assert refused > len(ways)
