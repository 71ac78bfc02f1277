"""What a dead worker had claimed runs elsewhere soon, and nothing runs twice while its worker lives."""

import os
import signal
import time
from collections import Counter

import pytest

from headrace.broker.dead import DeadLetters
from headrace.broker.reaper import Reaper
from headrace.client import Client
from headrace.errors import AttemptsExhausted
from headrace.settings import Settings
from tests.integration.cluster import Cluster
from tests.utils.waiting import wait_until

pytestmark = pytest.mark.integration

LEASE = 1.0


@pytest.fixture(autouse=True)
def _short_lease(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setenv("HEADRACE_LEASE_SECONDS", str(LEASE))


def _claimed(client: Client) -> Counter[str]:
    """Messages that each incarnation has claimed."""
    keys = [key.decode() for key in client.redis.scan_iter("headrace:claims:*")]
    return Counter({key: client.redis.hlen(key) for key in keys})


def test_a_killed_workers_jobs_are_taken_over_within_a_lease_and_two_seconds(client: Client, cluster: Cluster) -> None:
    with cluster.workers("faulty", count=2) as launcher:
        # Slow from the first one on: a worker that has measured quick ones claims a thousand.
        jobs = client.submit_many(
            "faulty", [{"text": str(each), "do": "sleep", "seconds": 0.01} for each in range(600)]
        )
        wait_until(lambda: len(_claimed(client)) == 2 and min(_claimed(client).values()) > 50)
        victim = launcher.workers[0].pid
        assert victim is not None
        os.kill(victim, signal.SIGKILL)
        dead = time.monotonic()
        gone = set(_claimed(client))
        # The dead one's claims are those that no lease stands for any more.
        wait_until(lambda: any(not client.redis.exists(key.replace("claims", "lease")) for key in gone), 2 * LEASE)
        wait_until(lambda: all(client.redis.exists(key.replace("claims", "lease")) for key in _claimed(client)), 5)
        assert time.monotonic() - dead < LEASE + 2
        assert [job.result(timeout=60)["text"] for job in jobs] == [str(each) for each in range(600)]
    assert _claimed(client) == {}


def test_a_batch_that_outlasts_many_leases_runs_once(client: Client, cluster: Cluster) -> None:
    with cluster.workers("faulty", count=2):
        job = client.submit("faulty", {"text": "long", "do": "sleep", "seconds": 4 * LEASE})
        first = wait_until(lambda: list(_claimed(client)))
        assert job.result(timeout=30)["text"] == "long"
        assert set(_claimed(client)) <= set(first)


def test_a_worker_whose_lease_was_taken_drops_its_jobs_and_goes_on(client: Client, cluster: Cluster) -> None:
    with cluster.workers("faulty") as launcher:
        client.submit("faulty", {"text": "load"}).result(timeout=20)
        jobs = client.submit_many(
            "faulty", [{"text": str(each), "do": "sleep", "seconds": 0.02} for each in range(100)]
        )
        (key,) = wait_until(lambda: list(_claimed(client)))
        os.kill(launcher.workers[0].pid or 0, signal.SIGSTOP)
        lease = key.replace("claims", "lease")
        wait_until(lambda: not client.redis.exists(lease), 3 * LEASE)
        reaper = Reaper(client.redis, lease_seconds=LEASE)
        assert wait_until(reaper.reap, 5) > 0
        os.kill(launcher.workers[0].pid or 0, signal.SIGCONT)
        assert [job.result(timeout=60)["text"] for job in jobs] == [str(each) for each in range(100)]
        assert key not in _claimed(client)


def test_a_job_that_kills_its_workers_is_put_aside_and_takes_no_other_with_it(client: Client, cluster: Cluster) -> None:
    inputs = [{"text": str(each)} for each in range(20)]
    inputs[7]["do"] = "orphan"
    jobs = client.submit_many("faulty", inputs)
    with cluster.workers("faulty"):
        with pytest.raises(AttemptsExhausted, match=r"3 workers died while they ran the job: cpu0@.* UTC") as caught:
            jobs[7].result(timeout=60)
        assert [job.result(timeout=30)["text"] for job in jobs if job is not jobs[7]] == [
            str(each) for each in range(20) if each != 7
        ]
        assert max(job.result()["attempt"] for job in jobs if job is not jobs[7]) == 2
    assert not client.redis.exists("headrace:attempts")
    (letter,) = DeadLetters(client.redis).of("faulty")
    assert (letter.job_id, letter.reason) == (jobs[7].id, str(caught.value))
