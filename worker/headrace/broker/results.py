"""Results in Redis: Celery's layout for everyone, msgpack and one channel for our client."""

from typing import Any

from celery import states
from celery.backends.redis import RedisBackend

from headrace.broker import codec
from headrace.errors import JobRevoked, error_from_name

#: Message header by which our client asks for msgpack; its value is the codec's name.
REPLY_HEADER = "headrace_reply"
#: Message header with the channel on which the client hears the id of a finished job.
NOTIFY_HEADER = "headrace_notify"
PACKED = "msgpack"
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


class ResultBackend(RedisBackend):  # type: ignore[misc]  # Celery has no types
    """Celery's Redis backend, which also writes and reads packed results."""

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
        if not wants_packed(request):
            return super()._store_result(task_id, result, state, traceback=traceback, request=request, **kwargs)
        meta = self._get_result_meta(result=result, state=state, traceback=traceback, request=request)
        if self._get_task_meta_for(task_id)["status"] == states.SUCCESS:
            return result
        payload = codec.pack(meta | {"task_id": task_id})
        channel = getattr(request, NOTIFY_HEADER, None)
        # A producer may send anything in a header; a channel that is none must not undo a result.
        self.ensure(self._set_packed, (task_id, payload, channel if isinstance(channel, str) else None))
        return result

    def _set_packed(self, task_id: str, payload: bytes, channel: str | None) -> None:
        with self.client.pipeline(transaction=True) as pipe:
            pipe.set(self.get_key_for_task(task_id), payload, ex=self.expires)
            if channel:
                pipe.publish(channel, task_id)
            pipe.execute()

    def decode(self, payload: Any) -> Any:
        """Decode JSON or msgpack, whichever the first byte tells."""
        if isinstance(payload, bytes) and codec.is_packed(payload):
            return codec.unpack(payload)
        return super().decode(payload)
