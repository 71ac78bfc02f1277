"""Revocations: ids of jobs that must not run, kept where a worker that comes later finds them."""

from collections.abc import Iterable
from typing import Any

from headrace.broker.connection import Server

#: Ids by the epoch second until which they are kept, and a number that each change of it raises.
REVOKED, REVISION = "headrace:revoked", "headrace:revocations"


def revoke(client: Server, job_ids: Iterable[str], *, keep: int) -> None:
    """Have whoever claims these jobs answer that they were revoked.

    Args:
        client: Of the Redis with the jobs.
        job_ids: Celery's ids.
        keep: Seconds for which they are remembered.
    """
    now: Any = client.time()
    ids = client.key(REVOKED)
    with client.pipeline(transaction=True) as pipe:
        pipe.zremrangebyscore(ids, "-inf", now[0])
        for job_id in job_ids:
            pipe.zadd(ids, {job_id: now[0] + keep})
        pipe.incr(client.key(REVISION))
        pipe.execute()
