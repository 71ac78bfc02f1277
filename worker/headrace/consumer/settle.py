"""Settle: run Celery's own tracer for a job whose outcomes are complete.

The tracer calls the task's `run`, which finds the job here and returns or raises its
outcome. So states, retries, links, chains, chords and events are Celery's own.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import redis
from celery.app.task import Context
from celery.exceptions import BackendError
from celery.states import FAILURE, READY_STATES
from kombu.exceptions import OperationalError

from headrace.consumer.job import Job
from headrace.errors import HeadraceError, InferenceFailed, describe
from headrace.sdk.messages import Outcome

logger = logging.getLogger(__name__)

_settling: ContextVar[Job | None] = ContextVar("settling", default=None)


def settle(job: Job) -> bool:
    """Store the job's outcome, acknowledge it, and tell Celery's events.

    Never raises: the other jobs of the batch must be settled too.

    Returns:
        Whether it is over; if not, the job is not acknowledged and must be settled again.
    """
    job.closed = True
    try:
        if job.is_revoked():
            announce_revoked(job)
        else:
            _trace(job)
    except Exception as error:
        logger.exception("job %s could not be settled", job.request.id)
        if _may_pass(error):
            return False
        return _give_up(job, error)
    return True


def _may_pass(error: Exception) -> bool:
    """Whether Redis may take it later; anything else would fail the same way for ever."""
    passing = (redis.RedisError, OSError, OperationalError, BackendError)
    return isinstance(error, passing) and not isinstance(error, redis.DataError)


def _give_up(job: Job, error: Exception) -> bool:
    failure = InferenceFailed(f"the outcome cannot be stored ({describe(error)}): mind the job's headers")
    try:
        store_failure(job.request.task.backend, job.request.id, job.trace_args[2], failure)
    except Exception:
        logger.exception("the failure of job %s could not be stored", job.request.id)
        return False
    job.request.acknowledge()
    return True


def store_failure(backend: Any, job_id: str, headers: Mapping[str, Any], error: HeadraceError) -> None:
    """Store a FAILURE past the tracer, for a message that Celery can make nothing of."""
    backend.store_result(job_id, error, FAILURE, request=Context(headers, children=[]))


def _trace(job: Job) -> None:
    with _current(job):
        failed, returned, _ = job.trace(*job.trace_args)
    # The tracer turns a backend that refuses (a full Redis, say) into a failure of its own.
    if failed and returned.internal and not _is_stored(job):
        # billiard wraps it to carry the traceback.
        raise getattr(returned.exception, "exc", returned.exception)
    # Flower shows the time of the job's batch, not that of the tracer's bookkeeping.
    job.request.on_success((failed, returned, job.seconds))


def _is_stored(job: Job) -> bool:
    return job.request.task.backend.get_state(job.request.id) in READY_STATES


def announce_revoked(job: Job) -> None:
    """Mark a job REVOKED and acknowledge it, unless Celery's terminate did so already."""
    job.closed = True
    if not job.request._already_revoked:  # noqa: SLF001 - Celery's terminate sets it and has no getter
        expired = job.request.maybe_expire() or False
        job.request._announce_revoked("expired" if expired else "revoked", job.started, None, expired)  # noqa: SLF001 - stores, acknowledges, tells


def current_job() -> Job:
    """The job that is being settled.

    Raises:
        HeadraceError: If the task runs outside of headrace's pool.
    """
    job = _settling.get()
    if job is None:
        raise HeadraceError("infer tasks run in a headrace worker only: start one with `headrace worker`")
    return job


@contextmanager
def _current(job: Job) -> Iterator[None]:
    token = _settling.set(job)
    try:
        yield
    finally:
        _settling.reset(token)


def single_result(job: Job) -> Any:
    """A single job's output.

    Raises:
        HeadraceError: The item's error, with the engine's traceback as its cause.
    """
    outcome = job.results()[0]
    if outcome.error is not None:
        raise outcome.error
    return outcome.output


def chunk_result(job: Job) -> list[dict[str, Any]]:
    """A chunk's outcomes, one mapping per input, in order."""
    return [_row(job.outcomes[item_id]) | {"batch_size": job.batch_sizes.get(item_id, 0)} for item_id in job.item_ids]


def _row(outcome: Outcome) -> dict[str, Any]:
    if outcome.error is not None:
        return {"ok": False, "error": outcome.error.to_wire()}
    return {"ok": True, "output": outcome.output}
