"""Waiting for an event with a limit, instead of sleeping and hoping."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(predicate: Callable[[], T], timeout: float = 10.0, *, message: str = "") -> T:
    """Return the predicate's value as soon as it is true.

    Raises:
        AssertionError: If it is not within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not (value := predicate()):
        if time.monotonic() >= deadline:
            raise AssertionError(f"{message or predicate} did not come true within {timeout} s")
        time.sleep(0.01)
    return value
