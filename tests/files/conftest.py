"""What tests of files ask for by name."""

import signal

import pytest


@pytest.fixture
def alarm():
    """A save that waits for ever fails."""
    def ring(*args):
        raise AssertionError("a save waits for ever")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
