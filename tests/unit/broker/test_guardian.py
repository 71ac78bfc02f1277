"""Locks and questions; the guardian itself is shown with real processes in the integration tests."""

import fcntl
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from headrace.broker import guardian
from headrace.broker.guardian import ask, is_held, take_lock


def test_a_lock_lasts_until_its_descriptor_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held = take_lock(path, fcntl.LOCK_EX, 0)
    assert held is not None
    assert not os.get_inheritable(held)
    assert take_lock(path, fcntl.LOCK_SH, 0.01) is None
    assert is_held(path)
    os.close(held)
    assert not is_held(path)


def test_shares_do_not_count_as_held_alone(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held = take_lock(path, fcntl.LOCK_SH, 0)
    assert held is not None
    assert not is_held(path)
    assert is_held(path, alone=False)
    os.close(held)


def test_a_lock_is_never_taken_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        take_lock(tmp_path / "link", fcntl.LOCK_EX, 0)


@pytest.mark.parametrize(("reply", "line"), [(b"+PONG\r\n", "+PONG"), (b"-ERR x\r\nmore", "-ERR x"), (b"", None)])
def test_the_replys_first_line_is_returned(tmp_path: Path, reply: bytes, line: str | None) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(100) == b"*1\r\n$4\r\nPING\r\n"
                connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        assert ask(path, "PING") == line
        thread.join()


def test_nobody_and_somebody_silent_give_no_reply(tmp_path: Path) -> None:
    path = tmp_path / "s"
    assert ask(path, "PING") is None
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert ask(path, "PING", timeout=0.01) is None


def test_it_needs_nothing_but_the_standard_library(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", guardian.__file__],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert "IndexError" in done.stderr, "it got as far as its arguments"


def run_guardian(folder: Path) -> int:
    command = [sys.executable, "-I", "-S", guardian.__file__, str(folder), str(folder / "s"), "/bin/false"]
    return subprocess.run(command, capture_output=True, check=False).returncode


def test_a_second_guardian_leaves_at_once(tmp_path: Path) -> None:
    held = take_lock(tmp_path / guardian.GUARDIAN_LOCK, fcntl.LOCK_EX, 0)
    assert held is not None
    assert run_guardian(tmp_path) == guardian.TAKEN
    os.close(held)


def test_no_server_starts_beside_one_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guardian, "_ORPHAN_SECONDS", 0.01)
    asked: list[str] = []
    monkeypatch.setattr(guardian, "ask", lambda _, command: asked.append(command))
    held = take_lock(tmp_path / guardian.SERVER_LOCK, fcntl.LOCK_EX, 0)
    assert held is not None
    assert guardian._claim_server_lock(tmp_path, tmp_path / "s") is None
    assert asked == ["SHUTDOWN"]
    os.close(held)
