"""Reaper: returns to their queues the jobs of workers that are gone, and those whose time has come."""

from headrace.broker.connection import Server
from headrace.broker.marks import ATTEMPTS
from headrace.broker.scripts import script

#: Seconds that the attempts which jobs have lost are remembered after the last of them.
_KEEP_SECONDS = 7 * 86_400
#: Jobs that one call returns: the server answers nobody else meanwhile.
_AT_ONCE = 500


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
        return int(self._reap(keys=keys, args=[self._base, self._lease_seconds, _AT_ONCE, _KEEP_SECONDS]))

    def wake(self) -> int:
        """Return some jobs that were put aside until now; return how many."""
        return int(self._wake(keys=[f"{self._base}delayed"], args=[_AT_ONCE]))
