"""A worker whose Redis is gone for good."""

import subprocess
from pathlib import Path

from headrace.broker.connection import ping
from headrace.broker.server import find_server
from headrace.client import Client
from headrace.errors import BrokerUnavailable
from headrace.launcher import Launcher, parse_devices
from headrace.settings import Settings
from tests.utils.waiting import wait_until


def _answers(url: str, settings: Settings) -> bool:
    try:
        ping(url, settings)
    except BrokerUnavailable:
        return False
    return True


def test_a_warm_shutdown_ends_soon_when_nothing_can_be_settled(tmp_path: Path, settings: Settings) -> None:
    socket = tmp_path / "s.sock"
    command = [str(find_server(bundled=True).binary), "--port", "0", "--save", "", "--dir", str(tmp_path)]
    url = f"redis+socket://{socket}?virtual_host=0"
    with subprocess.Popen([*command, "--unixsocket", str(socket)], stdout=subprocess.DEVNULL) as server:
        try:
            wait_until(lambda: _answers(url, settings))
            launcher = Launcher(url, parse_devices("cpu"), models=["faulty"], log_file=tmp_path / "worker.log")
            with launcher, Client(url, settings=settings) as client:
                launcher.wait_ready(client.registry)
                client.submit("faulty", {"text": "load"}).result(timeout=20)
                client.submit("faulty", {"text": "busy", "do": "sleep", "seconds": 30.0})
                server.kill()
                server.wait()
                launcher.stop()
                assert launcher.join(timeout=20)
        finally:
            server.kill()
