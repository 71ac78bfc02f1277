"""What an engine does not take at once: it waits, arrives whole and in order, and holds nobody up."""

import hashlib
import os
import select
import time
from pathlib import Path

import pytest

from headrace.engine.messages import Shutdown
from headrace.engine.process import EngineProcess
from tests.utils.scripts import start
from tests.utils.supervised import Bench
from tests.utils.waiting import wait_until

#: Reads so many bytes once there is a file, and says what they are.
_DIGESTING = """
import hashlib
while not os.path.exists({gate!r}):
    time.sleep(0.01)
digest, left = hashlib.sha256(), {size}
while left:
    data = engine.recv(min(left, 1 << 20))
    digest.update(data)
    left -= len(data)
engine.sendall(digest.digest())
time.sleep(60)
"""


def test_64_megabytes_to_an_engine_that_reads_nothing_for_long_hold_nobody_up_and_arrive_whole(
    started: list[EngineProcess], tmp_path: Path
) -> None:
    gate, parts = tmp_path / "gate", [os.urandom(count) for count in (1 << 26, 1, 1 << 20, 7)]
    process = start(_DIGESTING.format(gate=str(gate), size=sum(map(len, parts))), started)
    begin = time.monotonic()
    for part in parts:
        process.send(part)
    assert time.monotonic() - begin < 2
    assert process.unsent
    gate.touch()

    def sent() -> bool:
        select.select([], [process.outlet()], [], 10)
        process.send(b"")
        return not process.unsent

    wait_until(sent, 30)
    process._connection.settimeout(10)
    assert process._connection.recv(99) == hashlib.sha256(b"".join(parts)).digest()


def test_what_an_engine_has_not_taken_is_no_matter_once_it_is_gone(started: list[EngineProcess]) -> None:
    process = start("time.sleep(60)", started)
    process.send(bytes(1 << 26))
    process.kill()
    process._running.wait(10)
    with pytest.raises(OSError, match=r"pipe|reset"):
        process.send(b"")
    process.reap()
    assert not process.unsent


def test_an_engine_that_is_told_to_end_hears_all_that_it_was_sent_before(started: list[EngineProcess]) -> None:
    size = (1 << 24) + len(Shutdown().encode())
    process = start(f"got = 0\nwhile got < {size}: got += len(engine.recv(1 << 20))\nos._exit(7)", started)
    process.send(bytes(1 << 24))
    process.close()
    assert process._running.returncode == 7


def test_an_engine_that_takes_no_more_is_sent_the_rest_later_and_is_not_dead(running: Bench) -> None:
    engine = running.engines.last
    engine.takes = 0
    running.submit(1)
    running.submit(2)
    assert ("unsent", engine) in running.heard.engines
    assert running.windows == []
    engine.takes = 5
    running.supervisor.on_writable()
    assert running.windows == []
    engine.takes = 10_000
    running.supervisor.tick()
    assert running.windows == [[1], [2]]
    assert engine.calls == []


def test_an_engine_that_is_found_dead_as_it_is_sent_the_rest_is_replaced(running: Bench) -> None:
    engine = running.engines.last
    engine.takes = 0
    running.submit(1)
    engine.deaf = True
    running.supervisor.on_writable()
    assert engine.calls == ["reap"]
    running.supervisor.tick()
    running.hear(running.engines.ready())
    assert running.windows == [[1]]
