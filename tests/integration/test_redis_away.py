"""A worker whose Redis is gone for good, and a run whose Redis comes back."""

import json
import subprocess
import time
from pathlib import Path

import pytest

from headrace.broker.connection import ping
from headrace.broker.server import find_server
from headrace.client import Client
from headrace.errors import BrokerUnavailable, JobLost
from headrace.launcher import Launcher, parse_devices
from headrace.settings import Settings
from tests.integration.commands import started
from tests.utils.servers import unguarded
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


#: Longer than a worker may be silent before it counts as gone, and shorter than the minute for which a run waits.
_AWAY_SECONDS = 12.0
#: What survives a server that is killed.
_DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


def test_a_run_on_somebody_elses_worker_outlasts_an_outage(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target, part = (tmp_path / name for name in ("in.jsonl", "out.jsonl", "out.jsonl.part"))
    texts = [f"text {number}" for number in range(20_000)]
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    with unguarded(tmp_path, *_DURABLE) as (url, server):
        monkeypatch.setenv("HEADRACE_REDIS_URL", url)
        launcher = Launcher(url, parse_devices("cpu"), models=["faulty"], log_file=tmp_path / "worker.log")
        with launcher, Client(url, settings=settings) as client:
            launcher.wait_ready(client.registry)
            arguments = ("run", "-i", str(source), "-o", str(target), "-m", "faulty", "--chunk-size", "8")
            with started(*arguments) as run:
                wait_until(lambda: part.exists() and part.stat().st_size, 30)
                server.kill()
                server.wait()
                time.sleep(_AWAY_SECONDS)
                assert run.poll() is None
                with unguarded(tmp_path, *_DURABLE):
                    out, err = run.communicate(timeout=60)
                    assert run.returncode == 0, err
                    launcher.stop()
                    assert launcher.join(timeout=20)
    assert [json.loads(line)["output"]["text"] for line in target.read_text().splitlines()] == texts
    assert not list((settings.state_dir / "logs").glob("run-*")), "a worker of its own was started"
    assert "failures                  0\n" in out


def test_a_map_whose_jobs_redis_has_lost_ends_with_an_error_for_each(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.broker.sent._SEEK_SECONDS", 2.0)
    inputs = ({"text": str(number)} for number in range(6))
    # Nobody serves them; a second later they are nowhere.
    items = client.map("faulty", inputs, chunk_size=2, max_chunks=3, on_wait=lambda: client.redis.flushall() and None)
    found = list(items)
    assert [item.index for item in found] == list(range(6))
    assert {type(item.error) for item in found} == {JobLost}
    assert "send it again" in str(found[0].error)
