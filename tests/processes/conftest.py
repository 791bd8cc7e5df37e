"""What tests of threads ask for by name."""

import pytest

import fastnn
from fastnn.core import thread_count


@pytest.fixture
def number():
    """Sets how many threads share large work; as before afterwards."""
    before = thread_count.limit
    yield fastnn.set_num_threads
    thread_count.limit = before
