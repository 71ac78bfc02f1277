"""What the worker's loop watches of an engine: a real loop and a real child that reads."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from kombu.asynchronous import Hub

from headrace.consumer.sockets import unwatch, watch, watch_room
from headrace.engine.process import EngineProcess
from headrace.settings import child_environment
from tests.utils.waiting import wait_until

_READER = """
import socket, sys
engine = socket.socket(fileno=int(sys.argv[1]))
left = int(sys.argv[2])
while left:
    left -= len(engine.recv(min(left, 1 << 16)))
engine.recv(1)
"""
LARGE = 1 << 25


class Reader(EngineProcess):
    """A child that reads so many bytes and then one; it stands for its own supervisor besides."""

    heard = 0

    def _command(self, fd: int) -> list[str]:
        return [sys.executable, "-I", "-S", "-c", _READER, str(fd), str(LARGE)]

    def on_writable(self) -> None:
        """Send on."""
        self.send(b"")

    def on_readable(self) -> None:
        """Note it."""
        self.heard += 1


@pytest.fixture
def hub() -> Iterator[Any]:
    hub = Hub()
    yield hub
    hub.close()


@pytest.fixture
def engine() -> Iterator[Any]:
    engine = Reader("cpu:0", child_environment())
    engine.start()
    yield engine
    engine.kill()
    engine.reap()


@pytest.mark.parametrize("found", [True, False])
def test_the_loop_sends_on_until_the_engine_has_all_and_hears_it_meanwhile(
    hub: Any, engine: Any, *, found: bool
) -> None:
    if found:
        # By a loop that is new, since the last one was lost with its connection.
        engine.send(bytes(LARGE))
        watch(hub, engine, engine)
    else:
        watch(hub, engine, engine)
        engine.send(bytes(LARGE))
        for _ in range(2):
            watch_room(hub, engine, engine)
    assert (list(hub.readers), list(hub.writers)) == ([engine.fileno()], [engine.outlet()])
    wait_until(lambda: hub.run_once() or not engine.unsent)
    assert (list(hub.readers), list(hub.writers)) == ([engine.fileno()], [])
    engine.send(b"x")
    wait_until(lambda: hub.run_once() or engine.heard)


def test_a_loop_that_watches_no_more_watches_neither(hub: Any, engine: Any) -> None:
    engine.send(bytes(LARGE))
    watch(hub, engine, engine)
    unwatch(hub, engine)
    assert not hub.readers
    assert not hub.writers
