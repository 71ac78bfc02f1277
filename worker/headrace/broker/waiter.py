"""ResultWaiter: one thread that hears of finished jobs and fetches their results in groups."""

import contextlib
import json
import logging
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Any
from weakref import WeakValueDictionary

import redis
from celery.states import READY_STATES

from headrace.broker import codec
from headrace.broker.results import result_key

logger = logging.getLogger(__name__)

#: Seconds between two looks at everything that is waited for. A notice can get lost
#: while a connection is rebuilt, and a revoke by a worker without the job sends none.
_SWEEP_SECONDS = 1.0
_GROUP = 256

Meta = dict[str, Any]


class ResultWaiter:
    """Futures for job ids, resolved with the stored result once it is final."""

    def __init__(self, client: redis.Redis, channel: str) -> None:
        self._client = client
        self._channel = channel
        self._futures: WeakValueDictionary[str, Future[Meta]] = WeakValueDictionary()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def futures(self, job_ids: Sequence[str]) -> list[Future[Meta]]:
        """A future for each job; what is there already is fetched at once.

        Only a future that somebody holds is waited for.
        """
        self._start()
        with self._lock:
            futures = [self._futures.setdefault(job_id, Future()) for job_id in job_ids]
        self._collect([each for each, future in zip(job_ids, futures, strict=True) if not future.done()])
        return futures

    def fetch(self, job_ids: Sequence[str]) -> dict[str, Meta]:
        """The final results that are there now, by job id."""
        values: Any = self._client.mget([result_key(job_id) for job_id in job_ids])
        metas = {job_id: decode(value) for job_id, value in zip(job_ids, values, strict=True) if value}
        return {job_id: meta for job_id, meta in metas.items() if meta.get("status") in READY_STATES}

    def discard(self, job_ids: Iterable[str]) -> None:
        """Delete results that were read and that nobody will ask for again."""
        if keys := [result_key(job_id) for job_id in job_ids]:
            self._client.unlink(*keys)

    def close(self) -> None:
        """Stop listening; unresolved futures stay so."""
        self._closed.set()
        if self._thread:
            with contextlib.suppress(redis.RedisError):
                # Wakes the thread, which would listen to the end of its period.
                self._client.publish(self._channel, "")
            self._thread.join(timeout=2 * _SWEEP_SECONDS)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, name="headrace-results", daemon=True)
                self._thread.start()

    def _listen(self) -> None:
        while not self._closed.is_set():
            try:
                self._listen_once()
            except redis.RedisError as error:
                logger.warning("results cannot be heard (%s): trying again", error)
                self._closed.wait(_SWEEP_SECONDS)
            except Exception:
                # One strange result must not end the thread that all others wait for.
                logger.exception("a result cannot be read")
                self._closed.wait(_SWEEP_SECONDS)

    def _listen_once(self) -> None:
        pubsub: Any = self._client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        with contextlib.closing(pubsub):
            pubsub.subscribe(self._channel)
            while not self._closed.is_set():
                heard = _drain(pubsub)
                with self._lock:
                    waited = list(self._futures.keys())
                # Silence for a whole period: look at everything.
                self._collect([job_id for job_id in waited if job_id in heard] if heard else waited)

    def _collect(self, job_ids: Sequence[str]) -> None:
        for start in range(0, len(job_ids), _GROUP):
            for job_id, meta in self.fetch(job_ids[start : start + _GROUP]).items():
                self._resolve(job_id, meta)

    def _resolve(self, job_id: str, meta: Meta) -> None:
        with self._lock:
            future = self._futures.pop(job_id, None)
        if future is not None and not future.done():
            future.set_result(meta)


def _drain(pubsub: Any) -> set[str]:
    """Ids heard until there is nothing more to read; waits for the first one."""
    heard = set()
    message = pubsub.get_message(timeout=_SWEEP_SECONDS)
    while message is not None:
        heard.add(message["data"].decode())
        message = pubsub.get_message(timeout=0)
    return heard


def decode(value: bytes) -> Meta:
    """Decode a stored result, packed or JSON."""
    # Celery writes NaN and Infinity, which only Python's own parser reads.
    meta: Meta = codec.unpack(value) if codec.is_packed(value) else json.loads(value)
    return meta
