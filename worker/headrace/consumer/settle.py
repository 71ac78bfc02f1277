"""Settler: stores the outcomes of jobs and acknowledges their messages, a group in one call."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import redis

from headrace.broker.claims import Claims
from headrace.broker.connection import may_pass
from headrace.broker.results import collecting
from headrace.consumer.job import Job
from headrace.consumer.outbox import LOSSES, Outbox, too_large
from headrace.consumer.request import JobRequest
from headrace.consumer.trace import Settled, refused, traced
from headrace.errors import HeadraceError

logger = logging.getLogger(__name__)

#: Seconds until what Redis did not take is committed again.
_AGAIN_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Unanswered:
    """A message whose outcome was not made yet."""

    tag: str
    #: Whether that sends more than a result.
    publishes: bool
    answer: Callable[[], None]
    #: Called instead if another worker has it.
    over: Callable[[], None]
    #: Makes a failure of it that takes its place, if Redis never takes what it sends.
    refuse: Callable[[HeadraceError], Settled] | None = None


class Settler:
    """Settles jobs; keeps what Redis does not take, and tries again."""

    def __init__(self, claims: Claims, *, expires: int | None) -> None:
        self._claims = claims
        self._outbox = Outbox(claims, expires=expires)
        self._unanswered: list[_Unanswered] = []
        self._again_at = 0.0
        self._working = False
        #: Times in a row that the first one cost its connection, though Redis answers on another.
        self._losses = 0

    @property
    def busy(self) -> bool:
        """Whether something is still to be settled: no new work is begun meanwhile."""
        return bool(self._outbox.tags or self._unanswered)

    @property
    def tags(self) -> list[str]:
        """Delivery tags of what is not committed."""
        return self._outbox.tags + [each.tag for each in self._unanswered]

    def settle(self, jobs: Iterable[Job], over: Callable[[Job], None] = lambda _: None) -> None:
        """Store the outcomes of jobs, acknowledge them, tell Celery's events.

        Never raises: the other jobs of the batch must be settled too.

        Args:
            jobs: Each with all its outcomes, or revoked.
            over: Called for each job once it is committed, or another worker has it.
        """
        for job in jobs:
            job.closed = True
            self._unanswered.append(
                _Unanswered(
                    tag=job.tag,
                    publishes=_publishes(job),
                    answer=partial(self._answer, job, over),
                    over=partial(_let_go, job, over),
                    refuse=partial(refused, job, over, embed=job.trace_args[3][2]),
                )
            )
        self._work()

    def revoke(self, request: JobRequest, *, reason: str, told: Mapping[str, Any], tell: Callable[[], None]) -> None:
        """Store that a request was revoked, and acknowledge it.

        Args:
            request: What Celery or a job revokes.
            reason: "revoked", "expired" or "terminated".
            told: Fields of the event.
            tell: Called once it is committed.
        """

        def finish() -> None:
            request.acknowledge()
            request.send_event("task-revoked", **told)
            tell()

        def answer() -> None:
            with collecting() as writes:
                request.task.backend.mark_as_revoked(
                    request.id,
                    reason,
                    request=request._context,  # noqa: SLF001 - as Celery's own code passes it
                    store_result=request.store_errors,
                )
            settled = Settled(
                tag=request.tag, writes=writes, tell=finish, gone=request.acknowledge, lost=request.lost_id
            )
            self._outbox.add(settled)

        self._unanswered.append(
            _Unanswered(tag=request.tag, publishes=request.publishes(), answer=answer, over=request.acknowledge)
        )
        self._work()

    def tick(self) -> None:
        """Try again what Redis did not take."""
        self._work()

    def drop(self) -> None:
        """Forget everything: the lease has run out, other workers have it."""
        self._outbox.clear()
        self._unanswered.clear()
        self._losses = 0

    def _work(self) -> None:
        """Settle what there is; also what comes while that is done, since answering a job may revoke it."""
        if self._working:
            return
        self._working = True
        try:
            while self.busy and not self._postponed:
                # Before more is sent: what was sent already must not wait for what cannot be.
                if why := self._outbox.commit():
                    self._again(why)
                else:
                    self._answer_all()
        finally:
            self._working = False

    @property
    def _postponed(self) -> bool:
        return time.monotonic() < self._again_at

    # -- answering

    def _answer_all(self) -> None:
        unanswered, self._unanswered = self._unanswered, []
        try:
            taken = self._taken([each.tag for each in unanswered if each.publishes])
        except redis.RedisError as error:
            self._unanswered += unanswered
            self._again(error)
            return
        for position, each in enumerate(unanswered):
            if each.tag in taken:
                each.over()
            elif left := self._answer_one(each):
                # The rest waits: it would fail as slowly, and what is sent keeps its order.
                self._unanswered[:0] = [left, *unanswered[position + 1 :]]
                return

    def _taken(self, tags: Sequence[str]) -> set[str]:
        """Look before something is published: a worker that was taken for dead must publish nothing."""
        return {tag for tag, held in zip(tags, self._claims.held(tags), strict=True) if not held}

    def _answer_one(self, unanswered: _Unanswered) -> _Unanswered | None:
        """Answer a message; return what is to be tried again."""
        try:
            unanswered.answer()
        except Exception as error:
            if may_pass(error):
                self._again(error)
                return self._put_off(unanswered, error)
            # Nobody can ask for it, under an id that is no key.
            logger.exception("a job is dropped: its outcome cannot be stored")
            self._outbox.add(Settled(tag=unanswered.tag, writes=[], tell=unanswered.over))
        self._losses = 0
        return None

    def _put_off(self, unanswered: _Unanswered, error: Exception) -> _Unanswered:
        """The message as it is tried again: as a failure, once it has cost the connection often enough."""
        refuse = unanswered.refuse
        # kombu wraps what it met.
        self._losses += self._outbox.is_refusal(error.__cause__ or error)
        if self._losses < LOSSES or refuse is None:
            return unanswered
        why = too_large("a message that the job's outcome is to send", error)
        logger.error("a job fails: %s", why)
        return replace(unanswered, answer=lambda: self._outbox.add(refuse(why)), refuse=None)

    def _answer(self, job: Job, over: Callable[[Job], None]) -> None:
        if job.request.is_revoked:
            over(job)
        elif job.is_revoked():
            job.request.announce_revoked(terminated=job.started)
            over(job)
        else:
            self._outbox.add(traced(job, over))

    def _again(self, why: object) -> None:
        logger.warning("outcomes cannot be stored now: %s", why)
        self._again_at = time.monotonic() + _AGAIN_SECONDS


def _let_go(job: Job, over: Callable[[Job], None]) -> None:
    over(job)
    job.request.acknowledge()


def _publishes(job: Job) -> bool:
    """Whether settling sends more than a result."""
    return job.request.publishes() or any(each.error and each.error.retryable for each in job.outcomes.values())
