"""ResultWaiter: one thread that hears of finished jobs and fetches their results in groups."""

import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any
from weakref import WeakValueDictionary

import redis
from celery.states import ALL_STATES, FAILURE, READY_STATES

from headrace.broker import codec
from headrace.broker.connection import Server
from headrace.broker.results import result_key
from headrace.errors import BrokerUnavailable, ClientClosed, HeadraceError

logger = logging.getLogger(__name__)

#: Seconds between two looks at everything that is waited for. A notice can get lost
#: while a connection is rebuilt, and a revoke by a worker without the job sends none.
_SWEEP_SECONDS = 1.0
#: Seconds by which each job that is waited for puts the next look off: ten times what it costs.
_SWEEP_SECONDS_EACH = 0.0001
_GROUP = 256
#: Seconds for which results are waited for while Redis is away.
_PATIENCE_SECONDS = 60.0

Meta = dict[str, Any]


class ResultWaiter:
    """Futures for job ids, resolved with the stored result once it is final."""

    def __init__(self, client: Server, channel: str) -> None:
        self._client = client
        self._channel = channel
        self._futures: WeakValueDictionary[str, Future[Meta]] = WeakValueDictionary()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        #: Monotonic seconds at which Redis stopped to answer; None while it does.
        self._lost_at: float | None = None

    def futures(self, job_ids: Sequence[str]) -> list[Future[Meta]]:
        """A future for each job; what is there already is fetched at once.

        Only a future that somebody holds is waited for.
        """
        futures = self.expect(job_ids)
        self._collect([each for each, future in zip(job_ids, futures, strict=True) if not future.done()])
        return futures

    def expect(self, job_ids: Sequence[str]) -> list[Future[Meta]]:
        """A future for each job that is about to be sent; Redis is not asked.

        Raises:
            ClientClosed: If nobody listens any more.
        """
        with self._lock:
            self.check_open()
            futures = [self._futures.setdefault(job_id, Future()) for job_id in job_ids]
        self._start()
        return futures

    def fetch(self, job_ids: Sequence[str]) -> dict[str, Meta]:
        """The final results that are there now, by job id."""
        values: Any = self._client.mget([self._client.key(result_key(job_id)) for job_id in job_ids])
        metas = {job_id: decode(job_id, value) for job_id, value in zip(job_ids, values, strict=True) if value}
        return {job_id: meta for job_id, meta in metas.items() if meta["status"] in READY_STATES}

    def discard(self, job_ids: Iterable[str]) -> None:
        """Delete results that were read and that nobody will ask for again."""
        if keys := [self._client.key(result_key(job_id)) for job_id in job_ids]:
            self._client.unlink(*keys)

    def give_up(self, job_id: str, error: HeadraceError) -> None:
        """Resolve a job's future as failed, unless its result has come."""
        self._resolve(job_id, _failure(error))

    def patiently(self, on_wait: Callable[[], None]) -> Callable[[], None]:
        """Wrap what is called while a result is waited for: it raises once Redis has been away for long.

        Raises:
            BrokerUnavailable: By the wrapper, after a minute.
        """

        def checked() -> None:
            lost_at = self._lost_at
            if lost_at is not None and time.monotonic() - lost_at > _PATIENCE_SECONDS:
                raise BrokerUnavailable(f"Redis has not answered for {_PATIENCE_SECONDS:g} s: begin anew when it does")
            on_wait()

        return checked

    def check_open(self) -> None:
        """Refuse work that nobody would hear of.

        Raises:
            ClientClosed: After `close`.
        """
        if self._closed.is_set():
            raise ClientClosed("the client is closed: make another one")

    def close(self) -> None:
        """Stop listening; futures that are unresolved get an error."""
        self._closed.set()
        if self._thread:
            with contextlib.suppress(redis.RedisError):
                # Wakes the thread, which would listen to the end of its period.
                self._client.publish(self._channel, "")
            self._thread.join(timeout=2 * _SWEEP_SECONDS)
        with self._lock:
            unresolved = [(job_id, future) for job_id, future in self._futures.items() if not future.done()]
            self._futures.clear()
        for job_id, future in unresolved:
            future.set_exception(ClientClosed(f"the client is closed; job {job_id} goes on: ask another one for it"))

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
                self._lost_at = self._lost_at or time.monotonic()
                logger.warning("results cannot be heard (%s): trying again", error)
                self._closed.wait(_SWEEP_SECONDS)
            except Exception:
                # This thread must not end: every other result is waited for on it.
                logger.exception("results cannot be heard: trying again")
                self._closed.wait(_SWEEP_SECONDS)

    def _listen_once(self) -> None:
        pubsub: Any = self._client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        with contextlib.closing(pubsub):
            pubsub.subscribe(self._channel)
            sweep_at = time.monotonic()
            while not self._closed.is_set():
                heard = _drain(pubsub)
                with self._lock:
                    waited = list(self._futures.keys())
                if time.monotonic() >= sweep_at:
                    self._collect(waited)
                    # Not before: a replica that has lost its primary lets one subscribe, and gives no results.
                    self._lost_at = None
                    sweep_at = time.monotonic() + max(_SWEEP_SECONDS, len(waited) * _SWEEP_SECONDS_EACH)
                else:
                    self._collect([job_id for job_id in waited if job_id in heard])

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
    """Ids heard until there is nothing more to read, or for a while; waits for the first one."""
    heard = set()
    deadline = time.monotonic() + _SWEEP_SECONDS
    waiting = True
    while waiting:
        # Hazard: with no time at all redis-py raises for a message of which a part has come.
        message = pubsub.get_message(timeout=_SWEEP_SECONDS)
        if message is not None:
            heard.add(message["data"].decode())
        waiting = time.monotonic() < deadline and pubsub.connection.can_read(timeout=0)
    return heard


def decode(job_id: str, value: bytes) -> Meta:
    """Decode a stored result, packed or JSON; one that cannot be read is a FAILURE of its own."""
    try:
        # Celery writes NaN and Infinity, which only Python's own parser reads.
        meta: Meta = codec.unpack(value) if codec.is_packed(value) else json.loads(value)
        if meta["status"] not in ALL_STATES:
            raise ValueError(f"unknown state {meta['status']!r}")  # noqa: TRY301 - handled like what the parsers raise
    except Exception as error:  # noqa: BLE001 - whatever somebody has stored there
        told = f"the stored result of job {job_id} cannot be read ({type(error).__name__}: {error})"
        return _failure(HeadraceError(told))
    return meta


def _failure(error: HeadraceError) -> Meta:
    return {"status": FAILURE, "result": {"exc_type": type(error).__name__, "exc_message": [str(error)]}}
