"""Asking a real Redis server on a Unix socket, as tests do."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from headrace.broker.server import find_server
from tests.utils.processes import is_alive
from tests.utils.waiting import wait_until


@contextmanager
def connection(url: str) -> Iterator[redis.Redis]:
    """A client of the server behind a `redis+socket://` URL."""
    path = url.removeprefix("redis+socket://").partition("?")[0]
    with redis.Redis(unix_socket_path=path, socket_timeout=5) as client:
        yield client


@contextmanager
def unguarded(folder: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The URL and the process of a server that nobody starts again when it is killed."""
    socket = folder / "r.sock"
    binary = find_server(bundled=True).binary
    command = [str(binary), "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(folder), *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            url = f"redis+socket://{socket}?virtual_host=0"
            wait_until(lambda: answers(url))
            yield url, process
        finally:
            process.kill()


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
