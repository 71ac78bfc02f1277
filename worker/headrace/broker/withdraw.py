"""Jobs that no worker has claimed: taken back, or brought to the head of their queue."""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from headrace.broker.connection import Server
from headrace.broker.scripts import script

_PAGE = 64
#: Messages that are looked at: a queue of others' jobs may be of any length.
_MOST_MESSAGES = 4096


def withdraw(client: Server, queue: str, job_ids: Sequence[str]) -> list[str]:
    """Remove waiting jobs from a queue, and return the ids of those that were removed.

    A job that is not among the few thousand that came last is left there.
    """
    removed = []
    for job_id, message in list(_find(client, queue, job_ids)):
        # A worker may have claimed it since it was seen.
        if client.lrem(client.key(queue), 1, message):  # type: ignore[arg-type]  # bytes are as good as str here
            removed.append(job_id)
    return removed


def promote(client: Server, queue: str, job_ids: Sequence[str]) -> None:
    """Make waiting jobs the next ones: those that were revoked are answered soon then.

    A job that is not among the few thousand that came last is left there.
    """
    promote_one = script(client, "promote")
    for _, message in list(_find(client, queue, job_ids)):
        promote_one(keys=[client.key(queue)], args=[message])


def _find(client: Server, queue: str, job_ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    wanted = {job_id.encode(): job_id for job_id in job_ids}
    for start in range(0, _MOST_MESSAGES, _PAGE):
        page: Any = client.lrange(client.key(queue), start, start + _PAGE - 1)
        for message in page:
            # Performance: most messages are others', and to search them is cheaper than to parse them.
            found = (job_id for key, job_id in wanted.items() if key in message)
            yield from ((job_id, message) for job_id in found if _job_id(message) == job_id)
        if len(page) < _PAGE:
            return


def _job_id(message: bytes) -> Any:
    try:
        return orjson.loads(message)["headers"]["id"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        # Whatever somebody has put there: a worker will put it aside.
        return None
