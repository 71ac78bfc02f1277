"""Revocations: kept where workers that come later find them, and for a while only."""

import redis
from celery import Celery

from headrace.broker.claims import Claims
from headrace.broker.revocations import revoke, revoked_ids


def _worker(client: redis.Redis) -> Claims:
    claims = Claims(client, lease_seconds=60)
    claims.begin()
    return claims


def test_a_worker_learns_with_its_next_claim_and_once(client: redis.Redis) -> None:
    worker = _worker(client)
    worker.claim({"infer.mill": 1})
    assert worker.newly_revoked() == []
    revoke(client, ["a", "b"], keep=60)
    worker.claim({"infer.mill": 1})
    assert sorted(worker.newly_revoked()) == ["a", "b"]
    assert worker.newly_revoked() == []


def test_a_worker_that_comes_later_learns_too(client: redis.Redis) -> None:
    revoke(client, ["a"], keep=60)
    worker = _worker(client)
    worker.claim({"infer.mill": 1})
    assert worker.newly_revoked() == ["a"]


def test_what_is_old_is_forgotten(client: redis.Redis) -> None:
    revoke(client, ["old"], keep=0)
    revoke(client, ["new"], keep=60)
    assert revoked_ids(client) == ["new"]


def test_a_broadcast_to_a_worker_without_the_job_stores_no_result(app: Celery, client: redis.Redis) -> None:
    app.backend.mark_as_revoked("job-1", reason="revoked", store_result=True)
    assert not client.exists("celery-task-meta-job-1")
    assert revoked_ids(client) == ["job-1"]
