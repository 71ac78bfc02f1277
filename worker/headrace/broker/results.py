"""Results in Redis: Celery's layout for everyone, msgpack and one channel for our client."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import redis
from celery.backends.redis import RedisBackend
from celery.exceptions import BackendStoreError

from headrace.broker import codec
from headrace.broker.connection import Server, may_pass
from headrace.broker.revocations import revoke
from headrace.broker.scripts import script
from headrace.errors import JobRevoked, error_from_name

#: Message header by which our client asks for msgpack; its value is the codec's name.
REPLY_HEADER = "headrace_reply"
#: Message header with the channel on which the client hears the id of a finished job.
NOTIFY_HEADER = "headrace_notify"
PACKED = "msgpack"
#: Message header that a worker's transport sets: a line for each worker that died while the job ran.
LOST_HEADER = "headrace_lost"
#: Message header that it sets for a job that is revoked.
REVOKED_HEADER = "headrace_revoked"
#: Seconds that a revocation is kept where results are kept for ever.
_KEEP_SECONDS = 7 * 86_400
#: Redis refuses longer values, by closing the connection.
_MOST_BYTES = 512 * 1024 * 1024
#: Message header with the time, in epoch seconds, after which the result is of no use.
DEADLINE_HEADER = "headrace_deadline"


def wants_packed(request: Any) -> bool:
    """Whether the job's sender reads msgpack."""
    return request is not None and getattr(request, REPLY_HEADER, None) == PACKED


def result_key(job_id: str) -> str:
    """The Redis key of a job's result."""
    return f"celery-task-meta-{job_id}"


def value_of(meta: dict[str, Any]) -> Any:
    """The output in a stored result.

    Raises:
        HeadraceError: If the job failed or was revoked.
    """
    status, result = meta["status"], meta["result"]
    if status == "SUCCESS":
        return result
    if status == "REVOKED":
        raise JobRevoked(f"job {meta.get('task_id')} was revoked or expired")
    message = " ".join(str(part) for part in result.get("exc_message") or [])
    raise error_from_name(str(result.get("exc_type")), message)


@dataclass(frozen=True, kw_only=True, slots=True)
class Write:
    """A result that is to be stored, and told on a channel."""

    key: str
    state: str
    value: bytes | str
    channel: str = ""
    notice: bytes | str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settlement:
    """A job's message, and what is to be stored for it."""

    #: Number of its claim; None for a result that no claim stands for.
    number: int | None
    writes: Sequence[Write]
    #: The job's id, if workers have died while it ran.
    lost: str = ""


_collected: ContextVar[list[Write] | None] = ContextVar("collected", default=None)


@contextmanager
def collecting() -> Iterator[list[Write]]:
    """Keep results that the block would store; whoever calls commits them."""
    writes: list[Write] = []
    token = _collected.set(writes)
    try:
        yield writes
    finally:
        _collected.reset(token)


class Committer:
    """Stores results of jobs and drops their claims, in one call."""

    def __init__(self, client: redis.Redis) -> None:
        self._script = script(client, "commit")

    def commit(
        self, settlements: Sequence[Settlement], *, expires: int | None, keys: Sequence[str] = ("", "", "")
    ) -> list[str]:
        """Commit a group.

        Args:
            settlements: A job each.
            expires: Seconds that the results are kept; None for ever.
            keys: Of the worker's claims, of those that have begun, of the attempts that jobs have lost.

        Returns:
            For each job "done", "gone" if it is claimed no more, or why Redis refuses its result.
        """
        arguments: list[int | str | bytes] = [expires or 0]
        for each in settlements:
            arguments += ["" if each.number is None else each.number, each.lost, len(each.writes)]
            for write in each.writes:
                arguments += [write.state, write.value, write.channel, write.notice]
        results = [write.key for each in settlements for write in each.writes]
        answers: Any = self._script(keys=[*keys, *results], args=arguments)
        return [answer.decode() for answer in answers]


class ResultBackend(RedisBackend):  # type: ignore[misc]  # Celery has no types
    """Celery's Redis backend, which also writes and reads packed results."""

    def _get_client(self) -> type[Server]:
        return Server

    def _create_client(self, **params: Any) -> Server:
        client: Server = super()._create_client(**params)
        client.prefix = self.app.conf.result_backend_transport_options.get("global_keyprefix", "")
        return client

    def on_task_call(self, producer: Any, task_id: str) -> dict[str, Any]:
        """Subscribe to nothing as a job is sent: our client hears of results on a channel of its own.

        Celery would subscribe here once per job and, without Redis, try twenty times. Its own
        `AsyncResult.get` subscribes when it begins to wait.
        """
        return {}

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        meta = self._get_result_meta(result=result, state=state, traceback=traceback, request=request)
        if lost := getattr(request, LOST_HEADER, None):
            meta["lost_attempts"] = lost
        write = self._write(task_id, state, meta | {"task_id": task_id}, request)
        collected = _collected.get()
        if collected is None:
            (answer,) = Committer(self.client).commit([Settlement(number=None, writes=[write])], expires=self.expires)
            if answer != "done":
                raise redis.ResponseError(answer)
        else:
            collected.append(write)
        return result

    def mark_as_failure(self, task_id: str, exc: BaseException, *args: Any, **options: Any) -> Any:
        """Celery's own, unless it is Redis that failed while a link or a part of a chord was published.

        Then the whole job is settled again, and nobody may hear of a failure: no errback, no chord.
        """
        if _collected.get() is None or not may_pass(exc):
            return super().mark_as_failure(task_id, exc, *args, **options)
        return None

    def mark_as_revoked(self, task_id: str, reason: str = "", request: Any = None, **options: Any) -> None:
        """Store REVOKED, unless a broadcast has come to a worker that has not got the job.

        Another one may run it: whoever has claimed it, or will, is to answer.
        """
        if request is None:
            revoke(self.client, [task_id], keep=self.expires or _KEEP_SECONDS)
        else:
            super().mark_as_revoked(task_id, reason, request=request, **options)

    def _write(self, task_id: str, state: str, meta: dict[str, Any], request: Any) -> Write:
        key = _text(self.get_key_for_task(task_id))
        key.encode()  # raises here, not in the call that commits others too
        packed = wants_packed(request)
        value = codec.pack(meta) if packed else self.encode(meta)
        if len(value) > _MOST_BYTES:
            raise BackendStoreError(f"a result of {len(value)} bytes is more than Redis takes", task_id=task_id)
        if not packed:
            return Write(key=key, state=state, value=value, channel=key, notice=value)
        channel = getattr(request, NOTIFY_HEADER, None)
        # A producer may send anything in a header; a channel that is none must not undo a result.
        channel = channel if isinstance(channel, str) and channel.isascii() else ""
        return Write(key=key, state=state, value=value, channel=channel, notice=task_id)

    def decode(self, payload: Any) -> Any:
        """Decode JSON or msgpack, whichever the first byte tells."""
        if isinstance(payload, bytes) and codec.is_packed(payload):
            return codec.unpack(payload)
        return super().decode(payload)


def _text(key: bytes | str) -> str:
    return key.decode() if isinstance(key, bytes) else key
