"""Strategy and consumer: Celery's own, fenced so that no message ends the worker or vanishes.

What they can make nothing of gets a FAILURE, if its id can be read, and is raised again as NoJob,
upon which the transport puts the message aside.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import redis
from celery import Celery
from celery.utils.time import maybe_iso8601, maybe_make_aware
from celery.worker import state
from celery.worker.consumer import Consumer
from celery.worker.strategy import default
from kombu.exceptions import ContentDisallowed

from headrace.broker.incoming import NoJob
from headrace.broker.results import LOST_HEADER, REVOKED_HEADER
from headrace.consumer.trace import fail
from headrace.errors import AttemptsExhausted, HeadraceError, InvalidInput, UnknownModel, describe

#: Jobs with a countdown that wait in the worker, and bytes of all that it has claimed at which no more do.
COUNTDOWNS, COUNTDOWN_BYTES = 1000, 64 * 1024 * 1024

#: What to do about a message that is no message of Celery's.
_PROTOCOL = "send it by Celery's protocol 2"


def fenced(task: Any, app: Celery, consumer: Any, **options: Any) -> Callable[..., None]:
    """Celery's default strategy; what it raises about a message fails that message alone.

    Hazard: an exception that left the transport would end the worker, put the message back, and so
    end the next worker too.
    """
    take = default(task, app, consumer, **options)

    def take_or_refuse(message: Any, *args: Any, **kwargs: Any) -> None:
        if message.headers.get(REVOKED_HEADER):
            state.revoked.add(message.headers["id"])
        lost = message.headers.get(LOST_HEADER) or ()
        if lost and len(lost) >= app.conf.headrace_max_attempts:
            raise _exhausted(app, message, lost)
        try:
            if until := _aside_until(app, message):
                app.headrace_claims.delay(message.delivery_tag, until)
                message.ack()
                return
            take(message, *args, **kwargs)
        except (*consumer.connection_errors, redis.RedisError):
            # Nothing is wrong with the message: the transport delivers it again.
            raise
        except Exception as error:
            raise _unreadable(app, message, error) from error

    return take_or_refuse


class JobConsumer(Consumer):  # type: ignore[misc]  # Celery has no types
    """Celery's consumer; it would acknowledge what it can make nothing of, and answer nobody."""

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """A message that names no task."""
        told = f"the message cannot be read: it names no task: {_PROTOCOL}"
        raise _refused(self.app, message, InvalidInput(told))

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """A message for a task that no plugin of this worker has."""
        queue = message.delivery_info.get("routing_key")
        name = _told_by(message, "task")
        told = f"the queue {queue} has a job of the task {name!r:.80}, for which its worker has no model"
        mend = "send it to the queue that is named as its task; `headrace models` lists those that are served"
        raise _refused(self.app, message, UnknownModel(f"{told}: {mend}"))

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """A message whose body is not what its headers say."""
        raise _unreadable(self.app, message, exc) from exc


def _aside_until(app: Celery, message: Any) -> float | None:
    """Epoch seconds until which a message is put aside in Redis; None for one that is taken now.

    A few with a countdown wait in the worker, where `celery inspect scheduled` and Flower show them. It
    would claim nothing else any more if they all did.
    """
    if not (eta := message.headers.get("eta")):
        return None
    if len(state.scheduled_requests) < COUNTDOWNS and app.headrace_claims.held_bytes < COUNTDOWN_BYTES:
        return None
    until: float = maybe_make_aware(maybe_iso8601(eta), app.timezone).timestamp()
    return until if until > time.time() else None


def _exhausted(app: Celery, message: Any, lost: Sequence[str]) -> NoJob:
    died = [line.rpartition(" ") for line in lost]
    history = ", ".join(f"{name} by {datetime.fromtimestamp(int(seconds), UTC):%F %T} UTC" for name, _, seconds in died)
    told = f"{len(lost)} workers died while they ran the job: {history}; `headrace dead` shows it and sends it again"
    fail(app.backend, message.headers["id"], message.headers, AttemptsExhausted(told), _embed(message))
    return NoJob(told)


def _unreadable(app: Celery, message: Any, error: Exception) -> NoJob:
    return _refused(app, message, InvalidInput(f"the message cannot be read: {_flaw(message, error)}"))


def _flaw(message: Any, error: Exception) -> str:
    """What is wrong with a message, and what its sender is to do."""
    if isinstance(error, ContentDisallowed):
        return f"its body is {message.content_type}: send it with serializer='json'"
    headers = message.headers if isinstance(message.headers, dict) else {}
    for name in ("eta", "expires"):
        if not _is_date(headers.get(name)):
            return f"its {name} is {headers[name]!r:.80}, which is no date: send one as ISO 8601 has it"
    return f"{describe(error)}: {_PROTOCOL}"


def _is_date(value: Any) -> bool:
    try:
        maybe_iso8601(value)
    except (TypeError, ValueError, AttributeError):
        return False
    return value is None or isinstance(value, str | datetime)


def _refused(app: Celery, message: Any, error: HeadraceError) -> NoJob:
    headers = message.headers if isinstance(message.headers, dict) else {}
    if isinstance(job_id := _told_by(message, "id"), str):
        fail(app.backend, job_id, headers, error, _embed(message))
    return NoJob(str(error))


def _told_by(message: Any, field: str) -> Any:
    """A field of a message's headers, or of the body that Celery's first protocol has."""
    for place in ("headers", "payload"):
        # Whatever somebody has put there: to decode the payload may raise too.
        with contextlib.suppress(Exception):
            return getattr(message, place)[field]
    return None


def _embed(message: Any) -> Any:
    """What the body says of chain, chord and errbacks, as far as it can be read."""
    try:
        return message.payload[2]
    except Exception:  # noqa: BLE001 - whatever somebody has put there
        return None
