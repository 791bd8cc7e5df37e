"""The examples in the docstrings of public modules run and print what they say."""

import doctest
from importlib import import_module

import pytest

import fastnn

OPTIONAL = {".interchange.onnx": "onnx", ".interchange.sklearn": "sklearn", ".interchange.torch": "torch"}


@pytest.mark.any_isa
@pytest.mark.parametrize("name", [
    "", ".activations", ".callbacks", ".interchange.c", ".interchange.keras", ".interchange.onnx",
    ".interchange.sklearn", ".interchange.torch", ".lbfgs", ".losses", ".network", ".ops", ".optimizers", ".schedules"])
def test_examples(name):
    if name in OPTIONAL:
        pytest.importorskip(OPTIONAL[name], reason=f"NOT TESTED: {OPTIONAL[name]} is not installed")
    results = doctest.testmod(import_module(fastnn.__name__ + name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.attempted > 0
    assert results.failed == 0
