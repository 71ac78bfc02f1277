"""A worker that is told to end: what it finishes, and what goes back to its queue."""

import os
import signal
from pathlib import Path

import pytest

from headrace.client import Client
from headrace.settings import Settings
from tests.integration.cluster import Cluster, forget_settings
from tests.integration.commands import processes_of, started
from tests.utils.waiting import wait_until

pytestmark = pytest.mark.integration


def _begun(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


@pytest.mark.parametrize(("soft", "runs"), [(3.0, 1), (0.0, 2)])
def test_sigquit_sends_back_what_does_not_end_in_time_and_nothing_is_revoked(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, soft: float, runs: int
) -> None:
    monkeypatch.setenv("HEADRACE_WORKER_SOFT_SHUTDOWN_TIMEOUT", str(soft))
    client = cluster.client
    ledger = tmp_path / "begun"
    with cluster.workers("faulty") as launcher:
        job = client.submit("faulty", {"text": "slow", "do": "sleep", "seconds": 1.0, "path": str(ledger)})
        wait_until(lambda: _begun(ledger))
        pid = launcher.workers[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGQUIT)
        assert job.result(timeout=30)["text"] == "slow"
        wait_until(lambda: launcher.workers[0].pid not in {None, pid}, 30)
    assert len(_begun(ledger)) == runs


def test_sigquit_to_the_launcher_is_a_cold_shutdown(client: Client, settings: Settings, tmp_path: Path) -> None:
    ledger, before = tmp_path / "begun", set(processes_of(settings))
    client.submit("faulty", {"text": "slow", "do": "sleep", "seconds": 60.0, "path": str(ledger)})
    with started("worker", "--models", "faulty") as worker:
        wait_until(lambda: _begun(ledger), 30)
        worker.send_signal(signal.SIGQUIT)
        _, err = worker.communicate(timeout=20)
    assert worker.returncode == 0, err
    assert "ending now" in err
    assert "Warm shutdown" not in err
    assert client.redis.llen("infer.faulty") == 1
    assert set(processes_of(settings)) <= before


def test_a_job_that_outlasts_every_warm_shutdown_loses_no_attempt_and_is_completed(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HEADRACE_WORKER_WARM_SHUTDOWN_TIMEOUT", "0.2")
    forget_settings()
    client, ledger = cluster.client, tmp_path / "begun"
    job = client.submit("faulty", {"text": "slow", "do": "sleep", "seconds": 4.0, "path": str(ledger)})
    for stops in range(1, 4):
        with cluster.workers("faulty"):
            wait_until(lambda runs=stops: len(_begun(ledger)) == runs, 30)
        assert (client.redis.llen("infer.faulty"), client.redis.exists("headrace:attempts")) == (1, 0)
        assert not list(client.redis.scan_iter("headrace:begun:*"))
    with cluster.workers("faulty"):
        assert job.result(timeout=30)["attempt"] == 1


def test_a_worker_that_is_killed_while_it_drains_costs_an_attempt(cluster: Cluster, tmp_path: Path) -> None:
    client, ledger = cluster.client, tmp_path / "begun"
    job = client.submit("faulty", {"text": "slow", "do": "sleep", "seconds": 2.0, "path": str(ledger)})
    with cluster.workers("faulty") as launcher:
        wait_until(lambda: _begun(ledger), 30)
        pid = launcher.workers[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: b"Warm shutdown" in cluster.log.read_bytes())
        os.kill(pid, signal.SIGKILL)
        assert job.result(timeout=30)["attempt"] == 2
