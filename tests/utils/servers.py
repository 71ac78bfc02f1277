"""Asking a real Redis server on a Unix socket, as tests do."""

from collections.abc import Iterator
from contextlib import contextmanager

import redis

from tests.utils.processes import is_alive
from tests.utils.waiting import wait_until


@contextmanager
def connection(url: str) -> Iterator[redis.Redis]:
    """A client of the server behind a `redis+socket://` URL."""
    path = url.removeprefix("redis+socket://").partition("?")[0]
    with redis.Redis(unix_socket_path=path, socket_timeout=5) as client:
        yield client


def server_pid(url: str) -> int:
    """The server's process id."""
    with connection(url) as client:
        return int(client.info("server")["process_id"])


def answers(url: str) -> bool:
    """Whether the server answers."""
    try:
        with connection(url) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def write(url: str, key: str, value: str) -> None:
    """Set a key."""
    with connection(url) as client:
        client.set(key, value)


def read(url: str, key: str) -> bytes | str | None:
    """Get a key."""
    with connection(url) as client:
        return client.get(key)


def assert_gone(*pids: int) -> None:
    """Wait five seconds at most for the end of each process."""
    wait_until(lambda: not any(map(is_alive, pids)), 5, message=f"the end of processes {pids}")
