"""Taking jobs back that no worker has claimed."""

from typing import Any

import pytest
from celery import Celery

from headrace.broker.connection import Server
from headrace.broker.withdraw import promote, withdraw
from tests.utils.jobs import waiting

QUEUE = "infer.mill"


def _send(app: Celery, *job_ids: str) -> None:
    for job_id in job_ids:
        app.send_task(QUEUE, args=[{"text": job_id}], task_id=job_id)


def _ids(client: Server) -> list[str]:
    return [message.id for message in waiting(client, QUEUE)]


def test_the_named_jobs_are_removed_and_the_others_keep_their_order(client: Server, app: Celery) -> None:
    _send(app, "job-1", "job-2", "job-3", "job-4")
    assert sorted(withdraw(client, QUEUE, ["job-3", "job-1"])) == ["job-1", "job-3"]
    assert _ids(client) == ["job-2", "job-4"]


def test_a_child_of_the_named_job_stays(client: Server, app: Celery) -> None:
    app.send_task(QUEUE, args=["a"], task_id="child", root_id="job-1", parent_id="job-1")
    assert withdraw(client, QUEUE, ["job-1"]) == []
    assert _ids(client) == ["child"]


def test_a_job_that_does_not_wait_is_not_reported(client: Server, app: Celery) -> None:
    _send(app, "job-1")
    assert withdraw(client, QUEUE, ["job-2"]) == []
    assert withdraw(client, QUEUE, []) == []
    assert withdraw(client, "infer.empty", ["job-1"]) == []
    assert _ids(client) == ["job-1"]


@pytest.mark.parametrize(("newer", "found"), [(63, True), (64, True), (4095, True), (4096, False)])
def test_the_first_few_thousand_of_a_queue_are_looked_at(
    client: Server, app: Celery, newer: int, *, found: bool
) -> None:
    _send(app, "job-1")
    client.lpush(QUEUE, *[b"of others"] * newer)
    assert withdraw(client, QUEUE, ["job-1"]) == (["job-1"] if found else [])
    assert client.llen(QUEUE) == newer + (not found)


class _Rival(Server):
    """Claims every job as soon as somebody has seen it."""

    def lrange(self, name: Any, start: int, end: int) -> Any:
        seen = super().lrange(name, start, end)
        self.delete(name)
        return seen


def test_a_job_that_a_worker_claims_meanwhile_is_not_reported(client: Server, app: Celery) -> None:
    _send(app, "job-1")
    assert withdraw(_Rival(connection_pool=client.connection_pool), QUEUE, ["job-1"]) == []


def test_a_promoted_job_is_the_next_one_and_strange_neighbours_do_not_matter(client: Server, app: Celery) -> None:
    _send(app, "job-1", "job-2", "job-3")
    promote(client, QUEUE, ["job-3", "job-9"])
    assert _ids(client) == ["job-3", "job-1", "job-2"]
    client.lpush(QUEUE, b"no JSON about job-1")
    promote(client, QUEUE, ["job-1"])
    assert client.llen(QUEUE) == 4
