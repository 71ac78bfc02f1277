"""Reaper: returns to their queues the jobs of workers that are gone, and those whose time has come."""

import logging

from headrace.broker.connection import Server
from headrace.broker.marks import ATTEMPTS
from headrace.broker.scripts import script

logger = logging.getLogger(__name__)

#: Seconds that the attempts which jobs have lost are remembered after the last of them.
_KEEP_SECONDS = 7 * 86_400
#: Jobs that one call returns, and bytes of them: the server answers nobody else meanwhile.
_AT_ONCE, _BYTES_AT_ONCE = 500, 8 * 1024 * 1024
#: Seconds until a job is tried again whose list is none.
AGAIN_SECONDS = 60


class Reaper:
    """What any worker does for all of them, once a second."""

    def __init__(self, client: Server, *, lease_seconds: float) -> None:
        self._client = client
        self._base = client.key("headrace:")
        self._lease_seconds = lease_seconds
        self._reap = script(client, "reap")
        self._wake = script(client, "wake")

    def reap(self) -> int:
        """Return some jobs of workers whose lease has run out; return how many."""
        keys = [f"{self._base}incarnation", self._client.key(ATTEMPTS)]
        limits = [self._lease_seconds, _AT_ONCE, _KEEP_SECONDS, _BYTES_AT_ONCE]
        return int(self._reap(keys=keys, args=[self._base, *limits]))

    def wake(self) -> int:
        """Return some jobs that were put aside until now; return how many."""
        keys = [f"{self._base}delayed"]
        returned, unwritable = self._wake(keys=keys, args=[_AT_ONCE, _BYTES_AT_ONCE, AGAIN_SECONDS])
        if unwritable:
            lists = b", ".join(sorted(set(unwritable))).decode()
            logger.error("jobs wait that cannot be returned, since these are no lists: %s", lists)
        return int(returned)
