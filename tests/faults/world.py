"""What is killed: a server that survives on its append-only file, and workers that are started again."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import redis

from headrace.broker.server import find_server
from tests.utils.processes import children_of, is_alive
from tests.utils.proxy import Proxy
from tests.utils.servers import answers, connection
from tests.utils.waiting import wait_until


class Server:
    """A Valkey server that survives on its append-only file, behind a proxy."""

    def __init__(self, folder: Path, *, appendfsync: str = "always") -> None:
        self._folder = folder
        socket = folder / "r.sock"
        #: Where whoever watches connects; nothing comes between.
        self.url = f"redis+socket://{socket}?virtual_host=0"
        self.proxy = Proxy(socket)
        #: Where workers connect.
        self.proxied_url = f"redis://127.0.0.1:{self.proxy.port}/0"
        self._command = [
            str(find_server(bundled=True).binary), "--port", "0", "--unixsocket", str(socket), "--dir", str(folder),
            "--save", "", "--appendonly", "yes", "--appendfsync", appendfsync,
            # The file is a ledger of every write.
            "--auto-aof-rewrite-percentage", "0",
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it on what is on disk."""
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        wait_until(lambda: answers(self.url), 30)

    def signal(self, signum: int) -> None:
        """Signal it."""
        assert self._process
        self._process.send_signal(signum)

    def kill(self) -> None:
        """End it with SIGKILL."""
        assert self._process
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End it and its proxy."""
        self.proxy.close()
        self.kill()

    def set_memory(self, limit: int) -> None:
        """Set `maxmemory`: 1 makes it refuse what would grow it."""
        with connection(self.url) as client:
            client.config_set("maxmemory", limit)


class Workers:
    """Some workers, each started again at once when it dies."""

    def __init__(self, commands: Sequence[Sequence[str]], environment: dict[str, str], log: Path) -> None:
        self._commands = commands
        self._environment = environment
        self._log = log.open("ab")
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * len(commands)
        self.revive()

    def revive(self) -> None:
        """Start those that are dead."""
        for index, command in enumerate(self._commands):
            process = self._processes[index]
            if process is None or process.poll() is not None:
                self._processes[index] = subprocess.Popen(
                    command, env=self._environment, stdout=self._log, stderr=self._log, start_new_session=True
                )

    @property
    def pids(self) -> list[int]:
        """Process ids of those that run."""
        return [process.pid for process in self._processes if process and process.poll() is None]

    def name_of(self, pid: int) -> str:
        """The name of a worker of ours."""
        found = (index for index, process in enumerate(self._processes) if process and process.pid == pid)
        return f"w{next(found, -1)}@chaos"

    def close(self) -> None:
        """End them all, with what they have spawned."""
        families = [(pid, children_of(pid)) for pid in self.pids]
        for pid, children in families:
            for each in (pid, *children):
                send_signal(each, signal.SIGKILL)
        for process in self._processes:
            if process:
                process.wait()
        wait_until(lambda: not any(is_alive(child) for _, children in families for child in children), 10)
        self._log.close()


def children(pid: int) -> list[int]:
    """Process ids of a process's children; none if it has gone."""
    with suppress(OSError):
        return children_of(pid)
    return []


def kill(pid: int) -> bool:
    """End a process with SIGKILL; return whether it was there."""
    return send_signal(pid, signal.SIGKILL)


def send_signal(pid: int, signum: int) -> bool:
    """Signal a process; return whether it was there."""
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return False
    return True


def headrace_workers(server: Server, folder: Path, count: int, lease: float) -> Workers:
    """Workers of ours, on the plugin of the tests."""
    environment = {
        **os.environ,
        "HEADRACE_REDIS_URL": server.proxied_url,
        "HEADRACE_LEASE_SECONDS": str(lease),
        "HEADRACE_STATE_DIR": str(folder / "state"),
        "HEADRACE_PLUGIN_PATH": str(Path(__file__).parents[1] / "plugins"),
        # Everything here is killed from outside: nothing is a job's own fault.
        "HEADRACE_MAX_ATTEMPTS": "1000",
    }
    commands = [
        [sys.executable, "-P", "-m", "headrace.consumer", "--name", f"w{each}@chaos", "--parent", str(os.getpid()),
         "--models", "faulty", "--loglevel", "WARNING"]
        for each in range(count)
    ]  # fmt: skip
    return Workers(commands, environment, folder / "workers.log")


def plain_workers(server: Server, folder: Path, count: int) -> Workers:
    """Celery's own workers, on its own transport."""
    environment = {**os.environ, "CHAOS_URL": server.proxied_url, "PYTHONPATH": str(Path(__file__).parents[2])}
    commands = [
        [sys.executable, "-m", "celery", "-A", "tests.faults.plain:app", "worker", "-P", "prefork", "-c", "1",
         "-n", f"w{each}@chaos", "-l", "WARNING", "--without-mingle", "--without-gossip"]
        for each in range(count)
    ]  # fmt: skip
    return Workers(commands, environment, folder / "workers.log")


def until_answered(act: Callable[[], None]) -> None:
    """Do something as often as it takes; a server that is away is what this is about."""
    wait_until(lambda: _done(act), 60)


def _done(act: Callable[[], None]) -> bool:
    try:
        act()
    except (redis.RedisError, OSError):
        return False
    return True
