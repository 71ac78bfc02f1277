"""Lease: keeps a worker's claims its own, on a thread that a busy worker does not hold up."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import redis

from headrace.broker.claims import Claims
from headrace.broker.reaper import Reaper

logger = logging.getLogger(__name__)

#: Renewals within one lease, each of which may wait as long for its answer.
RENEWALS = 4
#: Seconds between two looks for workers that are gone; a longer lease is renewed as often.
_REAP_SECONDS = 1.0


class Lease:
    """Renews one worker's lease, and returns the jobs of workers whose lease has run out.

    A lost lease is noted in `claims`; the worker's own thread begins a new one.
    """

    def __init__(self, claims: Claims, reaper: Reaper, *, seconds: float) -> None:
        self._claims = claims
        self._reaper = reaper
        self._pause = min(_REAP_SECONDS, seconds / RENEWALS)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Self:
        """Begin to renew."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop renewing."""
        self._closed.set()
        self._thread.join()

    def _keep(self) -> None:
        reaped_at = time.monotonic()
        while not self._closed.wait(self._pause):
            try:
                if self._claims.lost:
                    continue
                if not self._claims.renew():
                    logger.error("the lease has run out: what was claimed is dropped, other workers run it")
                if time.monotonic() - reaped_at >= _REAP_SECONDS:
                    reaped_at = time.monotonic()
                    self._reap()
            except redis.RedisError as error:
                logger.warning("the lease cannot be renewed now: %s", error)
            except Exception:
                # This thread must not end: the worker would lose every lease.
                logger.exception("the lease cannot be renewed now")

    def _reap(self) -> None:
        while self._claims.renew() and (returned := self._reaper.reap()):
            logger.warning("%d jobs of a worker that is gone are back in their queues", returned)
        while self._claims.renew() and self._reaper.wake():
            pass


@contextmanager
def leased(claims: Claims, reaper: Reaper, seconds: float) -> Iterator[None]:
    """Hold a lease while the block runs; give back what is claimed still when it ends."""
    try:
        with Lease(claims, reaper, seconds=seconds):
            yield
    finally:
        try:
            claims.keep_only([])
            claims.end()
        except redis.RedisError as error:
            logger.warning("claims could not be given back (%s): they are once the lease has run out", error)
