"""What Flower shows: one task per job, with its state and the time of its batch."""

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from headrace.cli.flower import flower_child
from headrace.client import Client
from headrace.errors import InferenceFailed, JobRevoked
from headrace.monitoring.flower import FlowerOptions, usable_port
from tests.integration.cluster import Cluster
from tests.utils.waiting import wait_until

SINGLE_JOBS = 1000


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=20) as response:  # noqa: S310 - our own URL
        return json.load(response)


def test_each_of_a_thousand_jobs_has_its_own_task_with_state_and_runtime(
    client: Client, cluster: Cluster, tmp_path: Path
) -> None:
    options = FlowerOptions(broker=client.url, port=usable_port("127.0.0.1", 0))
    with (
        cluster.workers("faulty"),
        flower_child(options, tmp_path / "flower.log") as flower,
    ):
        wait_until(flower.answers, timeout=30)
        # Flower shows what it has heard, and it hears only from now on.
        wait_until(lambda: _get(f"{options.url}/api/workers?refresh=1"), timeout=30)
        busy = client.submit("faulty", {"text": "busy", "do": "sleep", "seconds": 1.0})
        ran = tmp_path / "ran"
        revoked = client.submit("faulty", {"text": "never", "do": "retry", "path": str(ran)})
        revoked.cancel()
        failed = client.submit("faulty", {"text": "x", "do": "raise"})
        jobs = client.submit_many("faulty", [{"text": str(each)} for each in range(SINGLE_JOBS)])
        assert [job.result(timeout=60)["text"] for job in jobs] == [str(each) for each in range(SINGLE_JOBS)]
        with pytest.raises(JobRevoked):
            revoked.result(timeout=20)
        with pytest.raises(InferenceFailed):
            failed.result(timeout=20)

        def seen() -> dict[str, Any]:
            tasks: dict[str, Any] = _get(f"{options.url}/api/tasks?limit=5000")
            return tasks if all(job.id in tasks and tasks[job.id]["state"] == "SUCCESS" for job in jobs) else {}

        tasks = wait_until(seen, timeout=30)
        assert all(tasks[job.id]["runtime"] > 0 for job in jobs)
        assert tasks[busy.id]["runtime"] == pytest.approx(1.0, abs=0.5)
        assert tasks[failed.id]["state"] == "FAILURE"
        assert "ValueError" in tasks[failed.id]["traceback"]
        assert tasks[revoked.id]["state"] == "REVOKED"
        assert not ran.exists()
        (worker,) = _get(f"{options.url}/api/workers?refresh=1").values()
        assert worker["stats"]["headrace_device"] == "cpu:0"
        assert worker["stats"]["headrace_free_bytes"] > 0
        assert "faulty" in worker["stats"]["headrace_resident_models"]
        assert worker["stats"]["headrace_batch_limit"]
