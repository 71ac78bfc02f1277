"""Strategy and consumer: Celery's own, fenced so that no message ends the worker or vanishes.

What they can make nothing of gets a FAILURE, if its id can be read, and is raised again as NoJob,
upon which the transport puts the message aside.
"""

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

from headrace.broker.incoming import NoJob
from headrace.broker.results import LOST_HEADER, REVOKED_HEADER
from headrace.consumer.trace import fail
from headrace.errors import AttemptsExhausted, InvalidInput, describe

#: Jobs with a countdown that wait in the worker, and bytes of all that it has claimed at which no more do.
COUNTDOWNS, COUNTDOWN_BYTES = 1000, 64 * 1024 * 1024


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
            raise _refused(app, message, describe(error)) from error

    return take_or_refuse


class JobConsumer(Consumer):  # type: ignore[misc]  # Celery has no types
    """Celery's consumer; it would acknowledge what it can make nothing of, and answer nobody."""

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """A message that names no task."""
        raise _refused(self.app, message, "it names no task")

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """A message whose body is not what its headers say."""
        raise _refused(self.app, message, describe(exc)) from exc


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


def _refused(app: Celery, message: Any, why: str) -> NoJob:
    told = f"the message cannot be read ({why}): send it by Celery's protocol 2"
    headers = message.headers if isinstance(message.headers, dict) else {}
    if isinstance(job_id := headers.get("id"), str):
        fail(app.backend, job_id, headers, InvalidInput(told), _embed(message))
    return NoJob(told)


def _embed(message: Any) -> Any:
    """What the body says of chain, chord and errbacks, as far as it can be read."""
    try:
        return message.payload[2]
    except Exception:  # noqa: BLE001 - whatever somebody has put there
        return None
