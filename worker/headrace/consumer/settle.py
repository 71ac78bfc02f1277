"""Settler: stores the outcomes of jobs and acknowledges their messages, a group in one call."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import redis

from headrace.broker.claims import Claims
from headrace.broker.results import collecting
from headrace.consumer.job import Job
from headrace.consumer.request import JobRequest
from headrace.consumer.trace import Settled, may_pass, traced

logger = logging.getLogger(__name__)

#: Seconds until what Redis did not take is committed again.
_AGAIN_SECONDS = 1.0
#: Bytes of results in one call: the server answers nobody else meanwhile.
_MOST_BYTES = 8 * 1024 * 1024


class Settler:
    """Settles jobs; keeps what Redis does not take, and tries again."""

    def __init__(self, claims: Claims, *, expires: int | None) -> None:
        self._claims = claims
        self._expires = expires
        self._uncommitted: list[Settled] = []
        #: Jobs whose links or chord parts could not be published, with what to call when they are over.
        self._untraced: list[tuple[Job, Callable[[Job], None]]] = []
        self._again_at = 0.0
        #: Whether a commit was sent and not answered: what is gone then may have been committed.
        self._uncertain = False

    @property
    def busy(self) -> bool:
        """Whether something is still to be settled: no new work is begun meanwhile."""
        return bool(self._uncommitted or self._untraced)

    @property
    def tags(self) -> list[str]:
        """Delivery tags of what is not committed."""
        return [settled.tag for settled in self._uncommitted] + [job.tag for job, _ in self._untraced]

    def settle(self, jobs: Iterable[Job], over: Callable[[Job], None] = lambda _: None) -> None:
        """Store the outcomes of jobs, acknowledge them, tell Celery's events.

        Never raises: the other jobs of the batch must be settled too.

        Args:
            jobs: Each with all its outcomes, or revoked.
            over: Called for each job once it is committed, or another worker has it.
        """
        for job in jobs:
            job.closed = True
            self._untraced.append((job, over))
        if time.monotonic() >= self._again_at:
            self._settle_all()

    def revoke(self, request: JobRequest, *, reason: str, told: Mapping[str, Any], tell: Callable[[], None]) -> None:
        """Store that a request was revoked, and acknowledge it.

        Args:
            request: What Celery or a job revokes.
            reason: "revoked", "expired" or "terminated".
            told: Fields of the event.
            tell: Called once it is committed.
        """
        with collecting() as writes:
            request.task.backend.mark_as_revoked(
                request.id,
                reason,
                request=request._context,  # noqa: SLF001 - as Celery's own code passes it
                store_result=request.store_errors,
            )

        def finish() -> None:
            request.acknowledge()
            request.send_event("task-revoked", **told)
            tell()

        self._add(Settled(tag=request.tag, writes=writes, tell=finish, lost=request.lost_id))

    def _add(self, settled: Settled) -> None:
        self._uncommitted.append(settled)
        if time.monotonic() >= self._again_at:
            self._commit()

    def tick(self) -> None:
        """Try again what Redis did not take."""
        if self.busy and time.monotonic() >= self._again_at:
            self._settle_all()

    def drop(self) -> None:
        """Forget everything: the lease has run out, other workers have it."""
        self._uncommitted.clear()
        self._untraced.clear()
        self._uncertain = False

    # -- tracing

    def _settle_all(self) -> None:
        untraced, self._untraced = self._untraced, []
        try:
            self._drop_taken([job for job, _ in untraced if _publishes(job)])
        except redis.RedisError as error:
            self._untraced = untraced
            self._again(error)
            return
        for job, over in untraced:
            self._answer(job, over)
        self._commit()

    def _drop_taken(self, jobs: Sequence[Job]) -> None:
        """Look before something is published: a worker that was taken for dead must publish nothing."""
        for job, held in zip(jobs, self._claims.held([job.tag for job in jobs]), strict=True):
            job.taken = not held

    def _answer(self, job: Job, over: Callable[[Job], None]) -> None:
        if job.taken or job.request.is_revoked:
            over(job)
            return
        try:
            if job.is_revoked():
                job.request.announce_revoked(terminated=job.started)
                over(job)
            else:
                self._uncommitted.append(traced(job, over))
        except Exception as error:
            if may_pass(error):
                self._untraced.append((job, over))
                self._again(error)
                return
            # Nobody can ask for it, under an id that is no key.
            logger.exception("job %r is dropped: its outcome cannot be stored", job.request.id)
            self._uncommitted.append(Settled(tag=job.tag, writes=[], tell=job.request.acknowledge))
            over(job)

    # -- committing

    def _commit(self) -> None:
        while self._uncommitted:
            group = _group(self._uncommitted)
            try:
                answers = self._claims.commit(
                    [(each.tag, each.writes, each.lost) for each in group], expires=self._expires
                )
                # Gone since the last try, under a lease that never ran out: it was committed.
                mine = self._uncertain and self._claims.renew()
            except redis.RedisError as error:
                self._uncertain = True
                self._again(error)
                return
            self._uncertain = False
            refused = [each for each, answer in zip(group, answers, strict=True) if answer not in {"done", "gone"}]
            self._uncommitted[: len(group)] = refused
            for each, answer in zip(group, answers, strict=True):
                self._finish(each, answer, committed=answer == "done" or (mine and answer == "gone"))
            if refused:
                self._again(next(answer for answer in answers if answer not in {"done", "gone"}))
                return

    def _finish(self, settled: Settled, answer: str, *, committed: bool) -> None:
        if committed:
            try:
                settled.tell()
            except Exception:
                logger.exception("a job that is settled could not be told of")
        if answer in {"done", "gone"}:
            settled.over()

    def _again(self, why: object) -> None:
        logger.warning("outcomes cannot be stored now: %s", why)
        self._again_at = time.monotonic() + _AGAIN_SECONDS


def _group(settled: Sequence[Settled]) -> Sequence[Settled]:
    """As many as one call may carry, at least one."""
    size = 0
    for count, each in enumerate(settled):
        size += each.size
        if count and size > _MOST_BYTES:
            return settled[:count]
    return list(settled)


def _publishes(job: Job) -> bool:
    """Whether settling sends more than a result."""
    return job.request.publishes() or any(each.error and each.error.retryable for each in job.outcomes.values())
