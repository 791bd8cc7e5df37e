"""What type checkers read of fastnn is installed, and says what runs. `make lint` runs the checkers themselves."""

import runpy
from importlib.resources import files
from typing import get_args

import pytest
from helpers import TESTS

from fastnn import _types, activations, initializers, losses
from fastnn.training import metrics

pytestmark = pytest.mark.any_isa


@pytest.mark.parametrize("name", [
    "py.typed",
    *(f"core/{name}.pyi" for name in ("batch", "cpu", "model", "network", "ops", "runtime", "trainer")),
])
def test_types_of_compiled_modules_are_installed(name):
    assert (files("fastnn") / name).is_file()


@pytest.mark.parametrize("names, registry", [
    (_types.HiddenName, activations.HIDDEN),
    (_types.InitializerName, initializers.INITIALIZERS),
    (_types.LossName, losses.NAMES),
    (_types.MetricName, metrics.METRICS),
])
def test_an_editor_offers_the_names_that_there_are(names, registry):
    assert sorted(get_args(names)) == sorted(registry)


def test_an_editor_offers_every_activation_for_the_output():
    names = {name for part in get_args(_types.ActivationName) for name in get_args(part)}
    assert names == set(activations.ACTIVATIONS)


def test_the_program_that_mypy_checks_runs():
    runpy.run_path(str(TESTS / "typechecking" / "user_program.py"))
