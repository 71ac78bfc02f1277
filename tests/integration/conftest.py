"""A real broker and real workers for every integration test."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from headrace.broker.embedded import EmbeddedBroker
from headrace.client import Client
from headrace.launcher import Launcher
from headrace.sdk.device import Device
from headrace.settings import Settings, get_settings

PLUGINS = Path(__file__).parents[1] / "plugins"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings with a state folder of the test's own, for this process and its children."""
    monkeypatch.setenv("HEADRACE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("HEADRACE_BROKER", "bundled")
    monkeypatch.setenv("HEADRACE_PLUGIN_PATH", str(PLUGINS))
    for name in ("HEADRACE_REDIS_URL", "REDIS_URL", "HEADRACE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    get_settings.cache_clear()
    yield get_settings()
    get_settings.cache_clear()


@pytest.fixture
def broker(settings: Settings) -> Iterator[str]:
    """URL of a real server on a private socket."""
    with EmbeddedBroker(settings.state_dir, bundled=True) as url:
        yield url


@pytest.fixture
def client(broker: str, settings: Settings) -> Iterator[Client]:
    """A client of that server."""
    with Client(broker, settings=settings) as client:
        yield client


class Cluster:
    """Starts workers that end with the test."""

    def __init__(self, client: Client, log: Path) -> None:
        self.client = client
        self.log = log

    @contextmanager
    def workers(self, *models: str, count: int = 1) -> Iterator[Launcher]:
        """Real workers on the CPU, ready when the block begins and drained at its end."""
        devices = [Device("cpu", index) for index in range(count)]
        with Launcher(self.client.url, devices, models=models, log_file=self.log) as launcher:
            launcher.wait_ready(self.client.registry)
            yield launcher


@pytest.fixture
def cluster(client: Client, tmp_path: Path) -> Iterator[Cluster]:
    """Workers on demand; their log is shown when the test fails."""
    log = tmp_path / "workers.log"
    yield Cluster(client, log)
    if log.exists():
        print(log.read_text()[-20_000:])


def worker_name(device: str = "cpu0") -> str:
    """Name of a worker of this host."""
    return f"{device}@{socket.gethostname()}"


def children(pid: int) -> list[int]:
    """Process ids of a process's children."""
    tasks = Path(f"/proc/{pid}/task")
    return [
        int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()
    ]


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def environment() -> dict[str, str]:
    """A copy of this process's environment."""
    return dict(os.environ)
