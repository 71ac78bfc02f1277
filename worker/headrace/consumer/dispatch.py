"""Dispatcher: hands the jobs of all lanes to the engine, window by window, and takes its outcomes."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import redis

from headrace.broker.claims import Claims
from headrace.consumer.job import Job
from headrace.consumer.lane import WINDOWS, Lane
from headrace.engine.supervisor import EngineSupervisor
from headrace.sdk.messages import Outcome

logger = logging.getLogger(__name__)


class Dispatcher:
    """Owns the lanes, and knows whose items the engine has."""

    def __init__(
        self,
        supervisor: EngineSupervisor,
        claims: Claims,
        *,
        unwanted: Callable[[Job], bool],
        max_queue_delay: float,
    ) -> None:
        """Note what it needs.

        Args:
            supervisor: Gets the windows.
            claims: Notes which jobs have begun.
            unwanted: Whether a job is to leave its lane without running; answers it then.
            max_queue_delay: Seconds that a job waits at most for company while the engine is busy.
        """
        self._supervisor = supervisor
        self._claims = claims
        self._unwanted = unwanted
        self._max_delay = max_queue_delay
        self._lanes: dict[str, Lane] = {}
        #: Whose the items in the engine are.
        self._jobs: dict[int, Job] = {}
        #: A suspect of a dead worker, which the engine has with nothing beside it.
        self._alone: Job | None = None

    @property
    def busy(self) -> bool:
        """Whether the engine has anything."""
        return bool(self._jobs)

    def busy_besides(self, model: str) -> bool:
        """Whether the worker holds anything of another model."""
        return any(lane.held for name, lane in self._lanes.items() if name != model)

    def lane(self, model: str) -> Lane:
        """The lane of a model."""
        if model not in self._lanes:
            self._lanes[model] = Lane(model)
        lane, loaded = self._lanes[model], self._supervisor.models.loaded(model)
        lane.concurrency = loaded.concurrency if loaded else 0
        return lane

    def put(self, job: Job) -> None:
        """Line a job up; `feed` hands it over."""
        self.lane(job.model).put(job)

    def drop(self, jobs: Iterable[Job]) -> None:
        """Nobody wants these any more: what waits leaves its lane, what runs is cancelled."""
        dropped = list(jobs)
        for job in dropped:
            self.lane(job.model).discard(job)
        self._supervisor.cancel([item_id for job in dropped for item_id in job.item_ids])

    def withdraw(self, job: Job) -> None:
        """Have no more items of a job begun; it is complete once those that run have ended."""
        self.lane(job.model).discard(job)
        job.withdraw()
        self._supervisor.cancel(job.item_ids)

    def terminate(self, job: Job) -> None:
        """Drop a job, and end the engine if it runs any of its items."""
        self.lane(job.model).discard(job)
        self._supervisor.terminate(job.item_ids)

    def drop_waiting(self) -> None:
        """Empty the lanes of all that has not begun."""
        for lane in self._lanes.values():
            lane.clear()

    def feed(self) -> None:
        """Hand over what is due, a window at a time: of more at once the engine would make one batch."""
        now = time.monotonic()
        for _ in range(WINDOWS):
            for lane in self._next_lanes():
                if lane.ready(now, max_delay=self._max_delay):
                    self._hand_over(lane)

    def _next_lanes(self) -> Iterable[Lane]:
        """All lanes; or while a suspect of a dead worker waits or runs, its own, and nothing beside it."""
        if self._alone is not None and not self._alone.closed:
            return [self.lane(self._alone.model)] if self._alone.waiting else []
        self._alone = None
        for lane in self._lanes.values():
            if lane.head is not None and lane.head.lost_attempts:
                return [] if self._jobs else [lane]
        return self._lanes.values()

    def _hand_over(self, lane: Lane) -> None:
        window = []
        taken = lane.take(self._unwanted)
        if taken and taken[0][0].lost_attempts:
            self._alone = taken[0][0]
        self._note_begun([job for job, _ in taken if not job.started])
        for job, count in taken:
            if not job.started:
                # Celery sends task-started and remembers the pid of who runs it.
                job.request.progress = partial(self._supervisor.models.progress, job.model, job.item_ids)
                job.request.on_accepted(self._supervisor.engine_pid or 0, time.monotonic())
            items = job.hand_over(count)
            lane.handed += len(items)
            self._jobs.update((item.item_id, job) for item in items)
            window += items
        self._supervisor.submit(window)

    def _note_begun(self, jobs: Sequence[Job]) -> None:
        try:
            self._claims.begun({job.tag: job.request.id for job in jobs})
        except redis.RedisError as error:
            logger.warning("if this worker dies now, its jobs will have lost no attempt: %s", error)

    def answered(self, model: str, seconds: float, outcomes: Sequence[tuple[int, Outcome]]) -> list[Job]:
        """Note outcomes; return the jobs that have all of theirs now."""
        lane = self.lane(model)
        lane.handed -= len(outcomes)
        if seconds:
            lane.rate.add(len(outcomes), seconds)
        touched: dict[Job, None] = {}
        batch = len(outcomes), seconds / max(1, len(outcomes))
        for item_id, outcome in outcomes:
            job = self._jobs.pop(item_id)
            job.outcomes[item_id] = outcome
            if seconds:
                job.batches[item_id] = batch
            touched[job] = None
        for job in touched:
            job.seconds += seconds
        return [job for job in touched if job.complete]
