"""Sent: messages whose results are waited for, so that one that Redis has lost can be told."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from headrace.broker.app import INFER
from headrace.broker.connection import Server
from headrace.broker.options import SUFFIXES
from headrace.broker.results import result_key
from headrace.broker.scripts import script

#: Seconds between two searches: each goes through the queue and all that workers have claimed.
_SEEK_SECONDS = 20.0


class Sent:
    """The messages of jobs of one model, as they were sent."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._messages: dict[str, bytes] = {}
        self._clock = clock
        self._next_at = clock() + _SEEK_SECONDS

    def add(self, job_id: str, message: bytes) -> None:
        """Note what was sent as a job."""
        self._messages[job_id] = message

    def forget(self, job_ids: Iterable[str]) -> None:
        """Forget jobs whose results nobody waits for."""
        for job_id in job_ids:
            self._messages.pop(job_id, None)

    def lost(self, client: Server, model: str, job_ids: Iterable[str]) -> list[str]:
        """Which of these have no result and are neither queued, put aside nor claimed; none if it was asked just now.

        Raises:
            RedisError: If Redis does not tell.
        """
        messages = {job_id: self._messages[job_id] for job_id in job_ids if job_id in self._messages}
        if not messages or self._clock() < self._next_at:
            return []
        self._next_at = self._clock() + _SEEK_SECONDS
        base = client.key("headrace:")
        lists = [client.key(INFER + model + suffix) for suffix in SUFFIXES.values()]
        results = [client.key(result_key(job_id)) for job_id in messages]
        keys = [f"{base}delayed", f"{base}incarnation", *lists, *results]
        # In one call, since a message is never nowhere: it moves in one call too.
        found: Any = script(client, "seek")(keys=keys, args=[base, len(lists), *messages.values()])
        return [job_id for job_id, there in zip(messages, found, strict=True) if not there]
