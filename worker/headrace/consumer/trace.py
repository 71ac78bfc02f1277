"""Trace: Celery's own tracer, run for a job whose outcomes are there.

The tracer calls the task's `run`, which finds the job here and returns or raises its outcome. So
states, retries, links, chains, chords and events are Celery's own; only what it would store is
kept for the commit.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

from celery.app.task import Context
from celery.exceptions import Reject
from celery.states import SUCCESS

from headrace.broker.connection import may_pass
from headrace.broker.results import Write, collecting
from headrace.consumer.job import Job
from headrace.errors import HeadraceError, InferenceFailed, describe
from headrace.sdk.messages import Outcome

logger = logging.getLogger(__name__)

_settling: ContextVar[Job | None] = ContextVar("settling", default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """A message that was answered and is to be committed."""

    tag: str
    writes: Sequence[Write]
    #: Called once it is committed: acknowledges, and tells Celery's events.
    tell: Callable[[], None]
    #: Called when its claim is gone, one way or the other.
    over: Callable[[], None] = lambda: None
    #: Called if another worker has it: lets kombu forget the message.
    gone: Callable[[], None] = lambda: None
    #: The job's id, if workers have died while it ran.
    lost: str = ""
    #: Makes a failure of it that takes its place, if Redis never takes it.
    refuse: Callable[[HeadraceError], "Settled"] | None = None

    @property
    def size(self) -> int:
        """Bytes of its results."""
        return sum(len(write.value) for write in self.writes)


def traced(job: Job, over: Callable[[Job], None]) -> Settled:
    """Run the tracer, which publishes links, chains and parts of chords; store nothing.

    Args:
        job: With all its outcomes.
        over: Called with the job when its claim is gone.

    Raises:
        RedisError: Or what `may_pass` knows: something could not be published now.
    """
    backend, request = job.request.task.backend, job.request
    settled = partial(_settled, job, over)
    with collecting() as writes:
        try:
            with _current(job):
                failed, returned, _ = job.trace(*job.trace_args)
            if failed:
                _raise_what_was_not_the_jobs(returned)
        except Exception as error:
            if may_pass(error):
                raise
            logger.exception("job %s could not be settled", request.id)
            told = f"the outcome cannot be stored or sent on ({describe(error)}): mind the job's headers and links"
            writes.clear()
            _, _, headers, (_, _, embed), *_ = job.trace_args
            fail(backend, request.id, headers, InferenceFailed(told), embed)
            return settled(writes=writes, tell=request.acknowledge)
    # Flower shows the time of the job's batch, not that of the tracer's bookkeeping.
    tell = partial(request.on_success, (failed, returned, job.seconds))
    return settled(writes=_last(writes), tell=tell, refuse=partial(refused, job, over))


def refused(job: Job, over: Callable[[Job], None], error: HeadraceError, embed: Any = None) -> Settled:
    """A failure in place of an outcome that Redis never takes.

    Args:
        job: With all its outcomes.
        over: Called with the job when its claim is gone.
        error: Why it fails.
        embed: The third part of its message's body, if links and chords have not heard of its outcome yet.

    Raises:
        RedisError: Or what `may_pass` knows: something could not be published now.
    """
    request = job.request

    def tell() -> None:
        request.acknowledge()
        request.send_event("task-failed", exception=repr(error), traceback="")

    with collecting() as writes:
        fail(request.task.backend, request.id, job.trace_args[2], error, embed)
    return _settled(job, over, writes=writes, tell=tell)


def _settled(job: Job, over: Callable[[Job], None], **what: Any) -> Settled:
    request = job.request
    return Settled(tag=job.tag, over=partial(over, job), gone=request.acknowledge, lost=request.lost_id, **what)


def _last(writes: Sequence[Write]) -> Sequence[Write]:
    """Of each key what was stored last, unless that followed a success."""
    last: dict[str, Write] = {}
    for write in writes:
        if write.key not in last or last[write.key].state != SUCCESS:
            last[write.key] = write
    return list(last.values())


def _raise_what_was_not_the_jobs(returned: Any) -> None:
    """Raise what kept Celery from publishing: its tracer makes a failure of the job's own of it."""
    # billiard wraps it to carry the traceback.
    cause = getattr(returned.exception, "exc", returned.exception)
    if isinstance(cause, Reject):
        # A retry that could not be sent.
        raise cause.reason
    if may_pass(cause):
        raise cause


def fail(backend: Any, job_id: str, headers: Mapping[str, Any], error: HeadraceError, embed: Any = None) -> None:
    """Store a FAILURE past the tracer, for a message that Celery can make nothing of.

    Args:
        backend: Stores it.
        job_id: The job's.
        headers: Of its message.
        error: What to tell.
        embed: The third part of its body: a chain, a chord and errbacks hear of the failure too.
    """
    links = embed if isinstance(embed, dict) else {}
    none = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    request = Context({**headers, **none, **links}, children=[], delivery_info={})
    backend.mark_as_failure(job_id, error, request=request)


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
    return [_row(job.outcomes[item_id], *job.batches.get(item_id, (0, 0.0))) for item_id in job.item_ids]


def _row(outcome: Outcome, batch_size: int, seconds: float) -> dict[str, Any]:
    row: dict[str, Any] = {"ok": outcome.error is None, "batch_size": batch_size, "seconds": seconds}
    if outcome.error is not None:
        return row | {"error": outcome.error.to_wire()}
    row["output"] = outcome.output
    return row
