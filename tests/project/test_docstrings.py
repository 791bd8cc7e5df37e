"""The examples in the docstrings of all modules run and print what they say."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import fastnn

SOURCE = Path(fastnn.__file__).parent
OPTIONAL = {"interchange/onnx.py": "onnx", "interchange/torch.py": "torch"} | dict.fromkeys(
    ("plot/classes.py", "plot/descent.py", "plot/layers.py", "plot/live.py"), "matplotlib")
WITH_EXAMPLES = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py")
                       if ">>>" in path.read_text(encoding="utf-8"))


def test_they_are_found():
    assert len(WITH_EXAMPLES) > 12 and {"network.py", "sklearn/estimators.py", "interchange/c.py"} <= set(WITH_EXAMPLES)


@pytest.mark.any_isa
@pytest.mark.parametrize("path", WITH_EXAMPLES)
def test_examples(path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")     # the pictures need no display
    if path in OPTIONAL:
        pytest.importorskip(OPTIONAL[path], reason=f"NOT TESTED: {OPTIONAL[path]} is not installed")
    name = ".".join(["fastnn", *path.removesuffix(".py").removesuffix("__init__").strip("/").split("/")]).strip(".")
    results = doctest.testmod(import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.attempted > 0
    assert results.failed == 0
