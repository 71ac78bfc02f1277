"""Lifetimes with real processes: ended with their parent, restarted with back-off."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.lifetime import Backoff, ManagedProcess
from tests.utils.processes import is_alive
from tests.utils.waiting import wait_until

WORKER = Path(__file__).parents[2] / "worker"
#: Spawns a child that asks to be ended with its parent, and tells its pid once it has asked.
_PARENT = """
import os, subprocess, sys, time
child = [sys.executable, "-S", "-c", sys.argv[1], str(os.getpid() + int(sys.argv[2]))]
sys.exit(subprocess.Popen(child, stdout=1).wait())
"""
_CHILD = """
import os, sys, time
from headrace.lifetime import end_with_parent
print(os.getpid(), flush=True)
end_with_parent(int(sys.argv[1]), 9)
print("asked", flush=True)
time.sleep(60)
"""
SLEEP = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"]

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")


def _family(*, wrong_by: int = 0) -> subprocess.Popen[str]:
    """A parent and its child, which is told a wrong parent's pid if wanted."""
    command = [sys.executable, "-S", "-c", _PARENT, _CHILD, str(wrong_by)]
    return subprocess.Popen(command, env={"PYTHONPATH": str(WORKER)}, stdout=subprocess.PIPE, text=True)


@linux_only
def test_a_child_ends_with_its_parent() -> None:
    with _family() as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        assert parent.stdout.readline() == "asked\n"
        assert is_alive(child)
        parent.kill()
        wait_until(lambda: not is_alive(child))


@linux_only
def test_a_child_whose_parent_was_gone_before_it_asked_ends_at_once() -> None:
    with _family(wrong_by=1) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        assert parent.stdout.read() == ""
        assert not is_alive(child)


def test_delays_double_from_none_to_the_limit_and_start_anew_after_a_reset() -> None:
    backoff = Backoff(0.5, 5.0)
    assert [backoff.next_delay() for _ in range(7)] == [0.0, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    backoff.reset()
    assert [backoff.next_delay() for _ in range(2)] == [0.0, 0.5]


@given(st.floats(0.001, 10), st.floats(10, 1000), st.integers(1, 300))
def test_a_delay_never_shrinks_nor_passes_its_limit(first: float, last: float, deaths: int) -> None:
    backoff = Backoff(first, last)
    delays = [backoff.next_delay() for _ in range(deaths)]
    assert delays == sorted(delays)
    assert delays[-1] <= last


@pytest.fixture
def managed() -> Iterator[Callable[..., ManagedProcess]]:
    """Makes processes that end with the test."""
    made: list[ManagedProcess] = []

    def make(command: list[str]) -> ManagedProcess:
        made.append(ManagedProcess("cpu0@here", command, dict(os.environ), None))
        return made[-1]

    yield make
    for process in made:
        process.signal(signal.SIGKILL)
        assert process.wait(time.monotonic() + 10)


Make = Callable[[list[str]], ManagedProcess]


def _alive_again(process: ManagedProcess) -> bool:
    process.look()
    return process.alive


def _kill(process: ManagedProcess) -> None:
    process.signal(signal.SIGKILL)
    assert process.wait(time.monotonic() + 10)


def test_a_process_that_was_not_started_is_nothing_to_signal_or_wait_for(managed: Make) -> None:
    process = managed(SLEEP)
    process.signal(signal.SIGKILL)
    assert process.wait(time.monotonic())
    assert (process.alive, process.pid, process.restarts) == (False, None, 0)


def test_a_started_process_runs_in_a_session_of_its_own(managed: Make) -> None:
    process = managed(SLEEP)
    process.start()
    pid = process.pid
    assert pid is not None
    assert (process.alive, process.restarts) == (True, 0)
    assert os.getsid(pid) == pid


def test_a_process_that_lives_is_left_alone(managed: Make) -> None:
    process = managed(SLEEP)
    process.start()
    pid = process.pid
    for _ in range(3):
        process.look()
    assert (process.pid, process.restarts) == (pid, 0)


def test_waiting_has_a_limit(managed: Make) -> None:
    process = managed(SLEEP)
    process.start()
    assert not process.wait(time.monotonic() - 1)
    assert not process.wait(time.monotonic() + 0.01)


def test_the_first_death_is_mended_at_once_and_the_next_one_waits(
    managed: Make, caplog: pytest.LogCaptureFixture
) -> None:
    process = managed(SLEEP)
    process.start()
    _kill(process)
    with caplog.at_level(logging.ERROR):
        process.look()
        process.look()
    assert (process.alive, process.restarts) == (True, 1)
    assert "cpu0@here ended with -9; restart in 0.0 s" in caplog.text
    _kill(process)
    process.look()
    process.look()
    assert (process.alive, process.restarts) == (False, 1)
    assert "restart in 0.5 s" in caplog.text
    wait_until(lambda: _alive_again(process), 5)
    assert process.restarts == 2


def test_a_process_that_lived_long_is_mended_at_once_again(managed: Make) -> None:
    process = managed(SLEEP)
    process.start()
    for _ in range(4):
        process._started = time.monotonic() - 61
        _kill(process)
        process.look()
        process.look()
        assert process.alive


def test_a_restart_that_fails_is_tried_again(managed: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    program = tmp_path / "program"
    program.symlink_to("/bin/true")
    process = managed([str(program)])
    process.start()
    assert process.wait(time.monotonic() + 10)
    program.rename(tmp_path / "away")
    process.look()
    process.look()
    assert "cannot be spawned: trying again" in caplog.text
    (tmp_path / "away").rename(program)
    pid = process.pid
    wait_until(lambda: _alive_again(process) or process.pid != pid, 5)


def test_a_first_start_that_fails_is_tried_again(managed: Make, tmp_path: Path) -> None:
    program = tmp_path / "program"
    process = managed([str(program)])
    process.start()
    assert (process.pid, process.alive, process.restarts) == (None, False, 0)
    program.symlink_to("/bin/true")
    wait_until(lambda: _alive_again(process) or process.pid is not None, 5)
    assert process.restarts == 0


def test_restarts_that_fail_are_tried_ever_later_however_long_it_lived(managed: Make, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.symlink_to("/bin/true")
    process = managed([str(program)])
    process.start()
    assert process.wait(time.monotonic() + 10)
    process._started = time.monotonic() - 61
    program.unlink()
    process.look()
    process.look()
    assert process._restart_at is not None
    planned = process._restart_at
    assert planned > time.monotonic() + 0.1
    process._restart_at = time.monotonic()
    process.look()
    assert process._restart_at > time.monotonic() + 0.6


def test_what_it_prints_goes_to_its_log(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        process = ManagedProcess("a", ["/bin/sh", "-c", "echo $WHAT; echo err >&2"], {"WHAT": "out"}, log)
        process.start()
        assert process.wait(time.monotonic() + 10)
    assert (tmp_path / "log").read_text() == "out\nerr\n"
