"""What every test of pictures needs."""

import pytest


@pytest.fixture(autouse=True)
def _no_figure_stays_open():
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="NOT TESTED: matplotlib is not installed")
    yield
    pyplot.close("all")
