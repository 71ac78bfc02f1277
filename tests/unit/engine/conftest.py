"""A supervisor over engines without a process, and processes that end with their test."""

from collections.abc import Iterator

import pytest

from headrace.engine.process import EngineProcess
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


@pytest.fixture
def started() -> Iterator[list[EngineProcess]]:
    """Processes to end when the test has."""
    processes: list[EngineProcess] = []
    yield processes
    for process in processes:
        process.kill()
        process.reap()
