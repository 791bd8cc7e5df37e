"""Every test runs once for each instruction set that was built, unless it asks not to.

A set that this processor cannot run is reported as NOT TESTED: a skip, never a pass.
"""

from pathlib import Path

import pytest
from hypothesis import settings

from fastnn.core import dispatch

HELPERS = [path.stem for path in Path(__file__).parent.rglob("*.py") if not path.name.startswith(("test_", "conftest"))]
pytest.register_assert_rewrite(*HELPERS)    # so that an assertion there shows its values, too

settings.register_profile("fastnn", derandomize=True, deadline=None, max_examples=50, print_blob=True)
settings.load_profile("fastnn")


def pytest_generate_tests(metafunc):
    once = metafunc.definition.get_closest_marker("any_isa")
    metafunc.parametrize("isa", ["any"] if once else sorted(dispatch.BUILT), indirect=True, scope="session")


@pytest.fixture(autouse=True, scope="session")
def isa(request):
    """The instruction set that networks and `fastnn.ops` use in this test."""
    if request.param == "any":
        yield None
        return
    if request.param not in dispatch.FOUND:
        pytest.skip(f"NOT TESTED: this processor does not run {request.param}")
    chosen = dispatch.kernels
    dispatch.kernels = dispatch.load(request.param)
    yield request.param
    dispatch.kernels = chosen
