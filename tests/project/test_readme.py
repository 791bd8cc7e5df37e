"""The README's example prints what the README says, and its links lead somewhere."""

import contextlib
import io
import re

import pytest
from helpers import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_example():
    code, printed = re.search(r"```python\n(.*?)```\n\n```\n(.*?)```", README, re.DOTALL).groups()
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(code, {})
    assert numbers(output.getvalue()) == pytest.approx(numbers(printed), abs=2e-4)      # sse2 rounds differently


def numbers(text):
    return [float(number) for number in re.findall(r"[\d.]+", text)]


@pytest.mark.any_isa
def test_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


@pytest.mark.any_isa
def test_it_can_be_read_in_a_few_minutes():
    assert len(README.splitlines()) <= 120
