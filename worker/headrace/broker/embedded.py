"""The broker that comes along when no Redis is given: a user's side of it."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_SH
from functools import cached_property
from pathlib import Path
from types import TracebackType

from headrace.broker import guardian
from headrace.broker.folder import BrokerFolder
from headrace.broker.server import Server, find_server
from headrace.broker.starter import Starter
from headrace.errors import BrokerUnavailable, ConfigError

_POLL = 0.02
_LOCK_SECONDS = 20.0
_END_SECONDS = 3.0


class EmbeddedBroker:
    """A share in the one server of a state folder: the first user starts it, the last ends it.

    How the processes agree on that is told in `headrace.broker.guardian`. With
    `start_server=False` it joins a server that is up and never starts one.

    Example:
        >>> with EmbeddedBroker(Path("/tmp/headrace-demo"), bundled=True) as url:
        ...     print(url.partition("?")[2])
        virtual_host=0
    """

    def __init__(self, state_dir: Path, *, bundled: bool, start_server: bool = True) -> None:
        self._state_dir = state_dir
        self._bundled = bundled
        self._start_server = start_server
        self._share: int | None = None

    def start(self) -> str:
        """Take a share, start the server if none is up, and return its URL.

        Raises:
            ConfigError: If the state folder cannot be used.
            BrokerUnavailable: If there is no server, or it does not start; the message has its log's end.
        """
        if self._share is None:
            self._share = self._create_or_join() if self._start_server else self._join()
        return self.url

    def close(self) -> None:
        """Give the share back; the last user waits a moment for the server to end."""
        if self._share is None:
            return
        # Hazard: close, never LOCK_UN: a forked child that uses the broker has the same lock.
        os.close(self._share)
        self._share = None
        _wait_until(self._has_ended, _END_SECONDS)

    @property
    def url(self) -> str:
        """`redis+socket:///path?virtual_host=0`, which Celery and Flower take.

        Raises:
            BrokerUnavailable: If the broker is not started.
        """
        if self._share is None:
            raise BrokerUnavailable("the embedded broker is not started: call start(), or use it in a `with`")
        return self._folder.url

    def __enter__(self) -> str:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def _server(self) -> Server:
        return find_server(bundled=self._bundled)

    @cached_property
    def _folder(self) -> BrokerFolder:
        return BrokerFolder(self._state_dir, self._server.data_name)

    @cached_property
    def _starter(self) -> Starter:
        return Starter(self._folder, self._server)

    def _create_or_join(self) -> int:
        self._folder.create()
        with _file_errors(self._folder):
            start = self._lock(guardian.START_LOCK, LOCK_EX)
            try:
                # Before the look at the server: from here on its guardian will not end it.
                share = self._lock(guardian.USERS_LOCK, LOCK_SH)
                with _closed_on_error(share):
                    self._starter.await_answer(summon=True)
            finally:
                os.close(start)
            # Without start.lock: others may come in while a large data file is read.
            with _closed_on_error(share):
                self._starter.await_ready()
        return share

    def _join(self) -> int:
        if not self._folder.exists():
            raise self._none_up()
        with _file_errors(self._folder):
            share = self._lock(guardian.USERS_LOCK, LOCK_SH)
            with _closed_on_error(share):
                if not self._starter.on_duty():
                    raise self._none_up()
                self._starter.await_ready()
        return share

    def _lock(self, name: str, mode: int) -> int:
        descriptor = guardian.take_lock(self._folder.path / name, mode, _LOCK_SECONDS)
        if descriptor is None:
            raise BrokerUnavailable(
                f"other processes have been starting or ending the broker in {self._folder.path}"
                f" for {_LOCK_SECONDS:.0f} s: try again, or see {self._folder.log}"
            )
        return descriptor

    def _has_ended(self) -> bool:
        """Whether the server has ended, or goes on for other users."""
        path = self._folder.path
        with suppress(OSError):
            users = path / guardian.USERS_LOCK
            shared = guardian.is_held(users, alone=False) and not guardian.is_held(users)
            locks = (path / guardian.GUARDIAN_LOCK, path / guardian.SERVER_LOCK)
            return shared or not any(guardian.is_held(lock) for lock in locks)
        return True

    def _none_up(self) -> BrokerUnavailable:
        return BrokerUnavailable(
            f"no broker runs in {self._folder.path}: start one with `headrace up`, or set HEADRACE_REDIS_URL"
        )


@contextmanager
def shared(url: str, state_dir: Path, *, bundled: bool) -> Iterator[None]:
    """Keep the embedded broker up for a block of a process that was given its URL.

    A worker that outlives its launcher must still find the broker, to settle what it runs.
    Any other URL is nobody's business here.
    """
    broker = EmbeddedBroker(state_dir, bundled=bundled, start_server=False)
    joined = url.startswith("redis+socket://") and running_url(state_dir, bundled=bundled) == url
    if joined:
        broker.start()
    try:
        yield
    finally:
        broker.close()


def running_url(state_dir: Path, *, bundled: bool) -> str | None:
    """The URL of an embedded broker that is up now, without a share in it; None without one.

    Raises:
        ConfigError: If the state folder cannot be used.
    """
    try:
        folder = BrokerFolder(state_dir, find_server(bundled=bundled).data_name)
    except BrokerUnavailable:
        return None
    with _file_errors(folder):
        up = folder.exists() and guardian.is_held(folder.path / guardian.GUARDIAN_LOCK)
        return folder.url if up and guardian.ask(folder.socket, "PING") else None


@contextmanager
def _closed_on_error(descriptor: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        os.close(descriptor)
        raise


@contextmanager
def _file_errors(folder: BrokerFolder) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"cannot lock or write files in {folder.path} ({error.strerror}):"
            " free some space, or set HEADRACE_STATE_DIR to a local folder"
        ) from error


def _wait_until(predicate: Callable[[], bool], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not predicate() and time.monotonic() < deadline:
        time.sleep(_POLL)
