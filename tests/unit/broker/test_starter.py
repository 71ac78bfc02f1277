"""What a user does with each answer of the server."""

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.broker import guardian, starter
from headrace.broker.embedded import EmbeddedBroker
from headrace.broker.folder import BrokerFolder
from headrace.broker.server import Server
from headrace.broker.starter import Starter
from headrace.errors import BrokerUnavailable, ConfigError

SERVER = Server(binary=Path("/bin/false"), engine="valkey", major=9)


@pytest.fixture
def folder(tmp_path: Path) -> BrokerFolder:
    folder = BrokerFolder(tmp_path, SERVER.data_name)
    folder.create()
    return folder


@pytest.fixture
def subject(folder: BrokerFolder) -> Starter:
    return Starter(folder, SERVER)


@pytest.fixture
def on_duty(folder: BrokerFolder) -> Iterator[None]:
    """Somebody holds the guardian's lock."""
    lock = guardian.take_lock(folder.path / guardian.GUARDIAN_LOCK, fcntl.LOCK_EX, 0)
    assert lock is not None
    yield
    os.close(lock)


@pytest.fixture
def replies(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the server give these replies, the last one for ever."""

    def answer(*lines: str | None) -> None:
        left = list(lines)
        monkeypatch.setattr(guardian, "ask", lambda *_: left.pop(0) if len(left) > 1 else left[0])

    return answer


@pytest.mark.parametrize("reply", ["+PONG", "-BUSY Valkey is busy running a script", "-NOAUTH"])
def test_a_server_that_answers_is_ready(
    subject: Starter, on_duty: None, replies: Callable[..., None], reply: str
) -> None:
    replies(None, "-LOADING Valkey is loading the dataset in memory", None, reply)
    subject.await_ready()


def test_a_server_that_reads_its_data_for_ever_is_reported(
    subject: Starter, on_duty: None, replies: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starter, "_LOAD_SECONDS", 0.05)
    replies("-LOADING")
    with pytest.raises(BrokerUnavailable, match="still reading"):
        subject.await_ready()


def test_a_full_disk_is_reported(subject: Starter, on_duty: None, replies: Callable[..., None]) -> None:
    replies("-MISCONF Errors writing to the AOF file: No space left on device")
    with pytest.raises(BrokerUnavailable, match=r"cannot write.*No space left"):
        subject.await_ready()


def test_a_server_that_never_answers_is_reported_with_the_logs_end(
    subject: Starter,
    folder: BrokerFolder,
    on_duty: None,
    replies: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(starter, "_START_SECONDS", 0.05)
    folder.log.write_text("its last words")
    replies(None)
    with pytest.raises(BrokerUnavailable, match=r"did not answer(.|\n)*its last words"):
        subject.await_answer(summon=True)


@pytest.mark.parametrize(
    ("status", "words"), [(guardian.ORPHAN, "end it yourself"), (1, "did not start"), (None, "did not start")]
)
def test_a_guardian_that_does_not_start_is_reported(
    subject: Starter, monkeypatch: pytest.MonkeyPatch, status: int | None, words: str
) -> None:
    monkeypatch.setattr(subject, "_run_guardian", lambda: status)
    with pytest.raises(BrokerUnavailable, match=words):
        subject.await_answer(summon=True)


def test_another_guardian_that_came_first_is_waited_for(
    subject: Starter, monkeypatch: pytest.MonkeyPatch, replies: Callable[..., None]
) -> None:
    came = iter([guardian.TAKEN, 0])
    monkeypatch.setattr(subject, "_run_guardian", lambda: next(came))
    monkeypatch.setattr(subject, "on_duty", iter([False, False, True]).__next__)
    replies("+PONG")
    assert subject.await_answer(summon=True) == "+PONG"


def test_a_guardian_that_takes_too_long_counts_as_failed(subject: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starter, "_START_SECONDS", 0.001)
    assert subject._run_guardian() is None


@pytest.mark.parametrize("name", [guardian.START_LOCK, guardian.USERS_LOCK])
def test_a_lock_that_is_never_free_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("headrace.broker.embedded._LOCK_SECONDS", 0.05)
    broker = EmbeddedBroker(tmp_path, bundled=True)
    broker._folder.create()
    lock = guardian.take_lock(broker._folder.path / name, fcntl.LOCK_EX, 0)
    assert lock is not None
    try:
        with pytest.raises(BrokerUnavailable, match="try again"):
            broker.start()
    finally:
        os.close(lock)


def test_a_file_system_without_locks_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(ConfigError, match=r"No locks available.*local folder"):
        EmbeddedBroker(tmp_path, bundled=True).start()


def test_closing_twice_or_unstarted_does_nothing(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path, bundled=True)
    broker.close()
    broker.close()
    assert list(tmp_path.iterdir()) == []
