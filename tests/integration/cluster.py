"""A real broker and real workers for integration tests."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace.client import Client
from headrace.hardware.analyzer import get_hardware_analyzer
from headrace.launcher import Launcher
from headrace.sdk.device import Device
from headrace.settings import Settings, get_settings

PLUGINS = Path(__file__).parents[1] / "plugins"
_FOREIGN = ("HEADRACE_REDIS_URL", "REDIS_URL", "HEADRACE_CONFIG")


def forget_settings() -> None:
    """Have settings be read anew, and devices that follow from them."""
    get_settings.cache_clear()
    get_hardware_analyzer.cache_clear()


@contextmanager
def isolated_settings(folder: Path) -> Iterator[Settings]:
    """Settings with a state folder of the test's own, for this process and its children."""
    before = dict(os.environ)
    os.environ.update(
        HEADRACE_STATE_DIR=str(folder / "state"),
        HEADRACE_BROKER="bundled",
        HEADRACE_PLUGIN_PATH=str(PLUGINS),
    )
    for name in _FOREIGN:
        os.environ.pop(name, None)
    forget_settings()
    try:
        yield get_settings()
    finally:
        os.environ.clear()
        os.environ.update(before)
        forget_settings()


class Cluster:
    """Starts workers that end with their block."""

    def __init__(self, client: Client, log: Path) -> None:
        self.client = client
        self.log = log

    @contextmanager
    def workers(self, *models: str, count: int = 1, first: int = 0) -> Iterator[Launcher]:
        """Real workers on the CPU, ready when the block begins and drained at its end."""
        devices = [Device("cpu", index) for index in range(first, first + count)]
        with Launcher(self.client.url, devices, models=models, log_file=self.log) as launcher:
            launcher.wait_ready(self.client.registry)
            yield launcher
