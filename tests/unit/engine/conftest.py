"""A supervisor over engines without a process."""

import pytest

from tests.utils.supervised import Bench


@pytest.fixture
def bench() -> Bench:
    """A supervisor that has not started."""
    return Bench()


@pytest.fixture
def running(bench: Bench) -> Bench:
    """A supervisor with a ready engine."""
    bench.start()
    return bench
