"""The README's example prints what the README says, and its error messages are real."""

import builtins
import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT

import fastnn

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_example():
    code, printed = re.search(r"```python\n(.*?)```\n\n```\n(.*?)```", README, re.DOTALL).groups()
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(code, {})
    assert numbers(output.getvalue()) == pytest.approx(numbers(printed), abs=2e-4)      # sse2 rounds differently


@pytest.mark.any_isa
def test_every_block_of_python_runs(tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 5
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    names = {}
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(io.StringIO()):
        for block in blocks:
            exec(block, names)
    assert output.getvalue().splitlines()[-1] == re.search(r"cross_val_score.*\n```\n\n```\n(.*)\n", README)[1]
    assert names["net"].epochs_trained == len(names["history"].loss)
    assert max(names["history"].validation_accuracy) > 0.98
    if fastnn.show_config(mode="dict")["instruction set in use"] != "sse2":     # which rounds differently
        pattern = r" (\d+)/200 .*, loss=(.*), validation_loss=(.*), validation_accuracy=([\d.]+)"
        epochs, *shown = re.search(pattern, README).groups()
        assert int(epochs) == len(names["history"].loss)
        last = names["history"].last()
        assert [f"{last[name]:.4g}" for name in ("loss", "validation_loss", "validation_accuracy")] == shown
    X = names["X"] / 16
    assert (names["again"].predict(X) == names["net"].predict(X)).all()
    assert names["mlp"].score(X, names["y"]) > 0.98
    assert names["model"].report_.scores["accuracy"] > 0.95
    assert Path("flowers.safetensors").exists() and Path("flowers.h").exists()


def numbers(text):
    return [float(number) for number in re.findall(r"[\d.]+", text)]


@pytest.mark.any_isa
def test_error_messages():
    calls = re.findall(r">>> (.*)\n((?:Value|Type)Error): (.*)", README)
    assert len(calls) == 3
    net = fastnn.Network([64, 128, 10], output="softmax")
    for call, error, message in calls:
        with pytest.raises(getattr(builtins, error), match=re.escape(message.removesuffix("…"))):
            eval(call, {"fastnn": fastnn, "net": net, "X": np.zeros((1, 64)), "y": [0]})


@pytest.mark.any_isa
def test_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


@pytest.mark.any_isa
def test_errors_of_one_output():
    """README says that (n, 1) - (n,) is (n, n), and what to write."""
    assert "`net.predict(X)[:, 0] - y`" in README
    net, X, y = fastnn.Network([2, 1]), np.ones((5, 2)), np.zeros(5)
    assert net.predict(X).shape == (5, 1) and (net.predict(X) - y).shape == (5, 5)
    assert (net.predict(X)[:, 0] - y).shape == (net.predict(X).ravel() - y).shape == (5,)
