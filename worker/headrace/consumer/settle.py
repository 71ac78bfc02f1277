"""Settler: stores the outcomes of jobs and acknowledges their messages, a group in one call."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import redis

from headrace.broker.claims import Claims
from headrace.broker.connection import may_pass
from headrace.broker.results import collecting
from headrace.consumer.job import Job
from headrace.consumer.request import JobRequest
from headrace.consumer.trace import Settled, traced

logger = logging.getLogger(__name__)

#: Seconds until what Redis did not take is committed again.
_AGAIN_SECONDS = 1.0
#: Bytes of results in one call: the server answers nobody else meanwhile.
_MOST_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class _Unanswered:
    """A message whose outcome was not made yet."""

    tag: str
    #: Whether that sends more than a result.
    publishes: bool
    answer: Callable[[], None]
    #: Called instead if another worker has it.
    over: Callable[[], None]


class Settler:
    """Settles jobs; keeps what Redis does not take, and tries again."""

    def __init__(self, claims: Claims, *, expires: int | None) -> None:
        self._claims = claims
        self._expires = expires
        self._unanswered: list[_Unanswered] = []
        self._uncommitted: list[Settled] = []
        self._again_at = 0.0
        self._working = False
        #: Whether a commit was sent and not answered: what is gone then may have been committed.
        self._uncertain = False

    @property
    def busy(self) -> bool:
        """Whether something is still to be settled: no new work is begun meanwhile."""
        return bool(self._uncommitted or self._unanswered)

    @property
    def tags(self) -> list[str]:
        """Delivery tags of what is not committed."""
        return [each.tag for each in self._uncommitted] + [each.tag for each in self._unanswered]

    def settle(self, jobs: Iterable[Job], over: Callable[[Job], None] = lambda _: None) -> None:
        """Store the outcomes of jobs, acknowledge them, tell Celery's events.

        Never raises: the other jobs of the batch must be settled too.

        Args:
            jobs: Each with all its outcomes, or revoked.
            over: Called for each job once it is committed, or another worker has it.
        """
        for job in jobs:
            job.closed = True
            self._take(
                job.tag, partial(self._answer, job, over), partial(_let_go, job, over), publishes=_publishes(job)
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
            self._uncommitted.append(settled)

        self._take(request.tag, answer, request.acknowledge, publishes=request.publishes())
        self._work()

    def tick(self) -> None:
        """Try again what Redis did not take."""
        self._work()

    def drop(self) -> None:
        """Forget everything: the lease has run out, other workers have it."""
        self._uncommitted.clear()
        self._unanswered.clear()
        self._uncertain = False

    def _take(self, tag: str, answer: Callable[[], None], over: Callable[[], None], *, publishes: bool) -> None:
        self._unanswered.append(_Unanswered(tag=tag, publishes=publishes, answer=answer, over=over))

    def _work(self) -> None:
        """Settle what there is; also what comes while that is done, since answering a job may revoke it."""
        if self._working:
            return
        self._working = True
        try:
            while self._unanswered and not self._postponed:
                self._answer_all()
            if not self._postponed:
                self._commit()
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
        for each in unanswered:
            if each.tag in taken:
                each.over()
            else:
                self._answer_one(each)

    def _taken(self, tags: Sequence[str]) -> set[str]:
        """Look before something is published: a worker that was taken for dead must publish nothing."""
        return {tag for tag, held in zip(tags, self._claims.held(tags), strict=True) if not held}

    def _answer_one(self, unanswered: _Unanswered) -> None:
        try:
            unanswered.answer()
        except Exception as error:
            if may_pass(error):
                self._unanswered.append(unanswered)
                self._again(error)
                return
            # Nobody can ask for it, under an id that is no key.
            logger.exception("a job is dropped: its outcome cannot be stored")
            self._uncommitted.append(Settled(tag=unanswered.tag, writes=[], tell=unanswered.over))

    def _answer(self, job: Job, over: Callable[[Job], None]) -> None:
        if job.request.is_revoked:
            over(job)
        elif job.is_revoked():
            job.request.announce_revoked(terminated=job.started)
            over(job)
        else:
            self._uncommitted.append(traced(job, over))

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
        elif answer == "gone":
            settled.gone()
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


def _let_go(job: Job, over: Callable[[Job], None]) -> None:
    over(job)
    job.request.acknowledge()


def _publishes(job: Job) -> bool:
    """Whether settling sends more than a result."""
    return job.request.publishes() or any(each.error and each.error.retryable for each in job.outcomes.values())
