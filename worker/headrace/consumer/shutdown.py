"""Warm shutdown: what the engine has is finished and settled, all else goes back to its queue.

A planned stop is no death: what does not end in time goes back as well, and has lost no attempt.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import redis
from celery.worker import state

from headrace.broker.connection import ping
from headrace.errors import HeadraceError
from headrace.settings import get_settings

logger = logging.getLogger(__name__)

#: Seconds after the limit in which the engine is killed; a process that has not come so far hangs, and is ended.
_HANGING = 10.0


class Draining(Protocol):
    """A pool that takes no more jobs."""

    @property
    def unsettled(self) -> bool:
        """Whether something runs, or is not settled."""

    def drop_revoked(self) -> None:
        """Answer what was revoked while it waited, so that it does not go back to its queue."""

    def flush(self) -> None:
        """Drop what has not started."""

    def settle_answered(self) -> None:
        """Settle what the engine has answered."""

    def turn(self) -> None:
        """Go through the event loop once."""

    def end_engine(self, *, in_order: bool) -> None:
        """End the engine, now or after its plugins have cleaned up."""


def drain(pool: Draining, url: str) -> None:
    """End a pool within `worker_warm_shutdown_timeout`; what is claimed then is given back with the lease."""
    limit = get_settings().worker_warm_shutdown_timeout
    deadline = time.monotonic() + limit
    with _limit(limit + _HANGING):
        if not _answers(url):
            # Nothing can be stored or given back now; Redis has it all under our lease.
            pool.flush()
            pool.end_engine(in_order=False)
            return
        pool.drop_revoked()
        pool.flush()
        # In a soft shutdown Celery sleeps before it calls this, while the engine works on.
        pool.settle_answered()
        _finish(pool, deadline)
        pool.end_engine(in_order=not (state.should_terminate or pool.unsettled))


def _finish(pool: Draining, deadline: float) -> None:
    try:
        while not state.should_terminate and pool.unsettled:
            if time.monotonic() >= deadline:
                logger.warning("what runs still goes back to its queue, with no attempt lost: it takes too long")
                return
            pool.turn()
    except (redis.RedisError, OSError) as error:
        logger.warning("ending with jobs unsettled, which other workers run again: %s", error)


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """End the process if the block takes longer: Redis may go away and stay so."""
    timer = threading.Timer(seconds, os._exit, [1])
    timer.daemon = True
    timer.start()
    yield
    timer.cancel()


def _answers(url: str) -> bool:
    try:
        ping(url, get_settings())
    except HeadraceError as error:
        logger.warning("ending without settling what runs: %s", error)
        return False
    return True
