"""Revocations: kept where workers that come later find them, and for a while only."""

from celery import Celery

from headrace.broker.connection import Server
from headrace.broker.revocations import REVOKED, revoke


def _revoked(client: Server) -> list[bytes]:
    found: list[bytes] = client.zrange(REVOKED, 0, -1)
    return found


def test_what_is_old_is_forgotten(client: Server) -> None:
    revoke(client, ["old"], keep=0)
    revoke(client, ["new"], keep=60)
    assert _revoked(client) == [b"new"]


def test_a_broadcast_to_a_worker_without_the_job_stores_no_result(app: Celery, client: Server) -> None:
    app.backend.mark_as_revoked("job-1", reason="revoked", store_result=True)
    assert not client.exists("celery-task-meta-job-1")
    assert _revoked(client) == [b"job-1"]
