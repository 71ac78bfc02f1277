"""Revocations: ids of jobs that must not run, kept where a worker that comes later finds them."""

from collections.abc import Iterable
from typing import Any

import redis

#: Ids by the epoch second until which they are kept, and a number that each change of it raises.
_IDS, REVISION = "headrace:revoked", "headrace:revocations"


def revoke(client: redis.Redis, job_ids: Iterable[str], *, keep: int) -> None:
    """Have whoever claims these jobs answer that they were revoked.

    Args:
        client: Of the Redis with the jobs.
        job_ids: Celery's ids.
        keep: Seconds for which they are remembered.
    """
    now: Any = client.time()
    with client.pipeline(transaction=True) as pipe:
        pipe.zremrangebyscore(_IDS, "-inf", now[0])
        for job_id in job_ids:
            pipe.zadd(_IDS, {job_id: now[0] + keep})
        pipe.incr(REVISION)
        pipe.execute()


def revoked_ids(client: redis.Redis) -> list[str]:
    """All that are remembered."""
    found: Any = client.zrange(_IDS, 0, -1)
    return [job_id.decode() for job_id in found]
