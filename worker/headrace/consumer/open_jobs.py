"""OpenJobs: what this worker has taken and not settled, and what becomes of it when others take it over."""

import logging
from collections.abc import Callable

import redis
from celery.worker import state

from headrace.broker.claims import Claims
from headrace.consumer.dispatch import Dispatcher
from headrace.consumer.job import Job
from headrace.consumer.settle import Settler

logger = logging.getLogger(__name__)


class OpenJobs:
    """The jobs between a claim and its commit."""

    def __init__(self, claims: Claims, dispatcher: Dispatcher, settler: Settler) -> None:
        self._claims = claims
        self._dispatcher = dispatcher
        self._settler = settler
        self._jobs: set[Job] = set()

    def add(self, job: Job) -> None:
        """Take a job in."""
        self._jobs.add(job)

    def over(self, job: Job) -> None:
        """Forget a job: its outcome is with the settler or committed, or another worker has it."""
        self._jobs.discard(job)
        state.task_ready(job.request)

    @property
    def tags(self) -> list[str]:
        """Delivery tags of the messages that are not settled."""
        return [job.tag for job in self._jobs] + self._settler.tags

    def keep_started(self) -> None:
        """Drop what has not started: the connection is gone, and Celery has forgotten it."""
        self._dispatcher.drop_waiting()
        self._jobs = {job for job in self._jobs if job.started}

    def drop_unwanted(self, unwanted: Callable[[Job], bool]) -> None:
        """Take what has not started and is wanted no more out of its lane."""
        self._dispatcher.drop([job for job in list(self._jobs) if not job.started and unwanted(job)])

    def withdraw_revoked(self) -> None:
        """Answer the revoked jobs of which nothing runs; let what runs of the others end."""
        revoked = [job for job in self._jobs if job.request.id in state.revoked and not (job.closed or job.withdrawn)]
        for job in revoked:
            self._dispatcher.withdraw(job)
            if job.complete:
                self._settler.settle([job], self.over)

    def terminate(self, job: Job) -> None:
        """Answer a job, and end the engine if it runs it: Celery's terminate."""
        if job.closed:
            return
        state.revoked.add(job.request.id)
        self._dispatcher.terminate(job)
        self._settler.settle([job], self.over)

    def begin_anew(self) -> bool:
        """Take a new lease and drop everything, since other workers run it; return whether Redis gave one."""
        try:
            self._claims.begin()
        except redis.ResponseError as error:
            # Connection errors are the consumer's: it reconnects.
            logger.warning("no new lease can be had now: %s", error)
            return False
        self._settler.drop()
        dropped = list(self._jobs)
        for job in dropped:
            job.closed = True
            self.over(job)
            # Under the new lease this acknowledges nothing, and kombu keeps the message until then.
            job.request.acknowledge()
        self._dispatcher.drop(dropped)
        return True

    def hear_of_revoked(self) -> None:
        """Look whether any is revoked: the broadcast may not have come here."""
        try:
            state.revoked.update(self._claims.marks.newly_revoked([job.request.id for job in self._jobs]))
        except redis.RedisError as error:
            # If Redis is away the consumer will notice.
            logger.debug("cannot look for what was revoked: %s", error)
