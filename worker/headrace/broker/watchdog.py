"""Watchdog: ends a worker that could claim jobs, and does not."""

import logging
import os
import threading
from collections.abc import Callable
from typing import Self

import redis

from headrace.broker.claims import Claims
from headrace.broker.connection import Server
from headrace.broker.options import SUFFIXES

logger = logging.getLogger(__name__)

#: Seconds between two looks, and looks in a row after which the worker is ended.
_PAUSE, _LOOKS = 1.0, 60


def _exit() -> None:
    # Hazard: the thread that would end the worker in order may be the one that hangs.
    os._exit(1)


class Watchdog:
    """Looks, on a thread of its own, whether the worker claims what there is.

    It counts its own looks, not seconds: a worker that was stopped gets its time when it goes on.
    """

    def __init__(self, client: Server, claims: Claims, *, bark: Callable[[], None] = _exit) -> None:
        """Look at nothing yet.

        Args:
            client: For this thread.
            claims: Tells for which queues the worker has room, and how often Redis has answered its claims.
            bark: Ends the worker, which its launcher starts again.
        """
        self._client = client
        self._claims = claims
        self._bark = bark
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop looking."""
        self._closed.set()
        self._thread.join()

    def _look_on(self) -> None:
        answered, idle = -1, 0
        while not self._closed.wait(_PAUSE):
            if self._claims.answered == answered and self._something_waits():
                idle += 1
            else:
                answered, idle = self._claims.answered, 0
            if idle >= _LOOKS:
                logger.critical("jobs wait, there is room for them, and this worker claims none: it ends")
                self._bark()
                return

    def _something_waits(self) -> bool:
        try:
            return any(
                self._client.llen(self._client.key(queue + suffix))
                for queue in self._claims.wanting
                for suffix in SUFFIXES.values()
            )
        except redis.RedisError:
            # Without Redis nobody can claim.
            return False
