"""The examples in the docstrings of public modules run and print what they say."""

import doctest
from importlib import import_module

import pytest

import fastnn


@pytest.mark.any_isa
@pytest.mark.parametrize("name", [
    "", ".activations", ".callbacks", ".lbfgs", ".losses", ".network", ".ops", ".optimizers", ".schedules"])
def test_examples(name):
    results = doctest.testmod(import_module(fastnn.__name__ + name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.attempted > 0
    assert results.failed == 0
