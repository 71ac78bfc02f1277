"""Marks: what is known of jobs is found for all of a group, and asked for only where there is any."""

import pytest
import redis

from headrace.broker.claims import Claims
from headrace.broker.connection import Server
from headrace.broker.marks import ATTEMPTS, Known, Marks
from headrace.broker.revocations import revoke

JOBS = ["a", "b", "c"]


@pytest.fixture
def claims(client: Server) -> Claims:
    claims = Claims(client, lease_seconds=60)
    claims.begin()
    return claims


def test_a_worker_learns_with_its_next_claim_that_there_are_marks(claims: Claims, client: Server) -> None:
    claims.claim({"infer.mill": 1})
    revoke(client, ["a", "elsewhere"], keep=60)
    client.hset(ATTEMPTS, "b", "cpu0@a 1\ncpu1@b 2")
    assert claims.marks.of(JOBS) == Known()
    claims.claim({"infer.mill": 1})
    assert claims.marks.of(JOBS) == Known(lost={"b": ["cpu0@a 1", "cpu1@b 2"]}, revoked={"a"})


def test_nobody_asks_redis_where_there_are_none(client: Server) -> None:
    marks = Marks(Server(port=1))
    assert marks.of(JOBS) == Known()
    marks.revoked = 1
    assert marks.of([]) == Known()
    with pytest.raises(redis.ConnectionError):
        marks.of(JOBS)


def test_jobs_that_a_worker_has_are_looked_for_after_each_revoke_and_once(claims: Claims, client: Server) -> None:
    assert claims.marks.newly_revoked(JOBS) == set()
    revoke(client, ["b", "elsewhere"], keep=60)
    assert claims.marks.newly_revoked([]) == set()
    assert claims.marks.newly_revoked(JOBS) == {"b"}
    assert claims.marks.newly_revoked(JOBS) == set()
    revoke(client, ["c"], keep=60)
    assert claims.marks.newly_revoked(JOBS) == {"b", "c"}
