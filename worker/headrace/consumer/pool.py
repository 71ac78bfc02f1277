"""BatchPool: Celery's pool interface on top of one engine process.

Everything here runs on the worker's event loop: the engine's socket is one of the
loop's readers, so no state is shared between threads.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import redis
from celery.concurrency.base import BasePool, apply_target
from celery.worker import state

from headrace.broker.app import INFER
from headrace.broker.claims import Claims
from headrace.broker.connection import ping
from headrace.consumer.job import Job
from headrace.consumer.lane import Lane
from headrace.consumer.parse import InvalidJob, parse_job
from headrace.consumer.request import JobRequest
from headrace.consumer.settle import Settler
from headrace.engine.process import EngineProcess
from headrace.engine.supervisor import EngineSupervisor
from headrace.errors import HeadraceError
from headrace.sdk.messages import Outcome
from headrace.settings import child_environment, get_settings

logger = logging.getLogger(__name__)

#: Seconds that a warm shutdown may take.
DRAIN_LIMIT = 330.0
#: Messages that a worker claims at most. Lanes hold far fewer: it bounds countdowns and retries,
#: which wait in the worker's memory until they are due.
HELD_LIMIT = 4096
#: Seconds between two looks at time limits, back-offs and queue delays.
_TICK = 0.05


class BatchPool(BasePool):  # type: ignore[misc]  # Celery has no types
    """Puts jobs into lanes, hands windows to the engine, settles what comes back."""

    signal_safe = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        settings = get_settings()
        self._max_delay = settings.max_queue_delay_ms / 1000
        self._lanes: dict[str, Lane] = {}
        self._jobs: dict[int, Job] = {}
        #: Jobs that are not settled.
        self._open: set[Job] = set()
        #: A suspect of a dead worker, which the engine has with nothing beside it.
        self._alone: Job | None = None
        self._hub: Any = None
        self._draining = False
        #: Name of the device, set by the worker before it starts.
        self.device = str(self.app.conf.get("headrace_device", "cpu:0"))
        self.claims: Claims = self.app.headrace_claims
        self.settler: Settler = self.app.headrace_settler
        self.supervisor = EngineSupervisor(
            partial(EngineProcess, self.device, child_environment()),
            self,
            load_time_limit=settings.load_time_limit,
        )

    # -- Celery's pool interface

    def on_start(self) -> None:
        """Spawn the engine; it imports nothing heavy before a model's first job."""
        self.supervisor.start()

    def register_with_event_loop(self, loop: Any) -> None:
        """Have the worker's loop watch the engine, after every (re)connection."""
        self._hub = loop
        if self.supervisor.engine:
            self.on_connected(self.supervisor.engine)
        loop.call_repeatedly(_TICK, self._tick)

    def on_apply(self, target: Callable[..., Any], args: Any, kwargs: Any, **options: Any) -> Job | None:
        """Take a job, or run one of Celery's own tasks at once."""
        if not str(args[0]).startswith(INFER):
            callback, accept_callback = options["callback"], options["accept_callback"]
            apply_target(target, args, kwargs, callback, accept_callback)
            return None
        request: JobRequest = options["callback"].__self__
        job = parse_job(request, target, args, time_limit=options.get("timeout"), arrived=time.monotonic())
        job.on_terminate = self._on_terminate
        if not self.claims.number_of(job.tag):
            # It waited for its time while the lease ran out: another worker has it.
            state.task_ready(request)
            return None
        self._open.add(job)
        if isinstance(job, InvalidJob):
            self._settle(job)
            return job
        self._lane(job.model).put(job)
        return job

    def flush(self) -> None:
        """Drop what has not started: the connection is gone, and Celery has forgotten it."""
        for lane in self._lanes.values():
            lane.clear()
        self._open = {job for job in self._open if job.started}

    def claimed_tags(self) -> list[str]:
        """Delivery tags of the messages that are not settled."""
        return [job.tag for job in self._open] + self.settler.tags

    def abandon(self) -> None:
        """Drop everything: the lease has run out, so other workers run it."""
        for job in self._open:
            job.closed = True
            self._lane(job.model).discard(job)
            state.task_ready(job.request)
        self.supervisor.cancel([item_id for job in self._open for item_id in job.item_ids])
        self._open.clear()
        self.settler.drop()

    def on_close(self) -> None:
        """Warm shutdown begins: what the engine has finishes, the rest goes back."""
        self._draining = True

    def on_stop(self) -> None:
        """Finish what the engine has; what is claimed still goes back when the lease ends."""
        self._draining = True
        # Redis may be away and stay so: whatever was not settled by then goes to another worker.
        watchdog = threading.Timer(DRAIN_LIMIT, os._exit, [1])
        watchdog.daemon = True
        watchdog.start()
        answers = self._broker_answers()
        if answers:
            self._drop_revoked()
        self.flush()
        if answers:
            self._drain()
            self.supervisor.close()
        else:
            # Nothing can be stored or given back now; Redis has it all under our lease.
            self.supervisor.kill()
        watchdog.cancel()

    def _drop_revoked(self) -> None:
        """Answer what was revoked while it waited, so that it does not go back to its queue."""
        for job in list(self._open):
            if not job.started and self._unwanted(job):
                self._lane(job.model).discard(job)

    def _drain(self) -> None:
        try:
            while not state.should_terminate and self._hub and (self._jobs or self.settler.busy or self._hub._ready):  # noqa: SLF001 - acknowledgements wait there
                self._hub.run_once()
                # After a lost connection the loop watches neither the engine nor our timer.
                self._tick()
        except (redis.RedisError, OSError) as error:
            logger.warning("ending with jobs unsettled, which other workers run again: %s", error)

    def on_terminate(self) -> None:
        """Cold shutdown: the engine ends now, every unsettled job goes back."""
        self.supervisor.kill()

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Signal nothing: the pid is shared by all jobs of the batch. See `Job.terminate`."""

    # -- credit

    def room(self, queue: str) -> int:
        """How many messages the consumer may claim from this queue now."""
        if self._draining or self.settler.busy:
            return 0
        return max(0, min(self._lane(queue.removeprefix(INFER)).room, HELD_LIMIT - self.claims.count))

    @property
    def resident(self) -> list[str]:
        """Models whose weights are on the device."""
        return sorted(self.supervisor.loaded)

    def batch_limits(self) -> str:
        """Largest batch of each resident model, as Flower shows it."""
        return ", ".join(
            f"{each.model}: {each.max_batch_size} items, {each.max_batch_tokens or 'any number of'} units"
            for each in self.supervisor.loaded.values()
        )

    # -- lanes to engine

    def _lane(self, model: str) -> Lane:
        return self._lanes.setdefault(model, Lane(model))

    def feed(self) -> None:
        """Hand over what is due; called when all messages of a claim are in their lanes, and every tick."""
        if self.settler.busy:
            return
        now = time.monotonic()
        for lane in self._next_lanes():
            if lane.ready(now, max_delay=self._max_delay):
                self._hand_over(lane)

    def _next_lanes(self) -> Iterable[Lane]:
        """All lanes; or while a suspect of a dead worker waits or runs, its own, and nothing beside it."""
        if self._alone is not None and not self._alone.closed:
            return [self._lane(self._alone.model)] if self._alone.waiting else []
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
                job.request.on_accepted(self.supervisor.engine_pid or 0, time.monotonic())
            items = list(job.hand_over(count))
            lane.handed += len(items)
            self._jobs.update((item.item_id, job) for item in items)
            window += items
        self.supervisor.submit(window)

    def _note_begun(self, jobs: Sequence[Job]) -> None:
        try:
            self.claims.begun({job.tag: job.request.id for job in jobs})
        except redis.RedisError as error:
            logger.warning("if this worker dies now, its jobs will have lost no attempt: %s", error)

    def _unwanted(self, job: Job) -> bool:
        """Whether a job was closed, or was revoked or has expired before it began; it is answered then."""
        if job.closed or job.started:
            return job.closed
        if job.request.id in state.revoked or job.request.maybe_expire():
            self._settle(job)
        return job.closed

    def _tick(self) -> None:
        self.supervisor.tick()
        if self.claims.lost:
            self.abandon()
            self._begin_anew()
        self.settler.tick()
        self.feed()

    def _begin_anew(self) -> None:
        try:
            self.claims.begin()
        except redis.ResponseError as error:
            # Connection errors are the consumer's: it reconnects.
            logger.warning("no new lease can be had now: %s", error)

    # -- engine to settler

    def on_outcomes(self, model: str, seconds: float, outcomes: Sequence[tuple[int, Outcome]]) -> None:
        """Note outcomes; settle the jobs that they complete."""
        lane = self._lane(model)
        lane.handed -= len(outcomes)
        if seconds:
            lane.rate.add(len(outcomes), seconds)
        touched: dict[Job, None] = {}
        for item_id, outcome in outcomes:
            job = self._jobs.pop(item_id)
            job.outcomes[item_id] = outcome
            if seconds:
                job.batch_sizes[item_id] = len(outcomes)
            touched[job] = None
        for job in touched:
            job.seconds += seconds
        self._settle(*(job for job in touched if job.complete and not job.closed))
        self.feed()

    def _settle(self, *jobs: Job) -> None:
        self.settler.settle(jobs, self._over)

    def _over(self, job: Job) -> None:
        self._open.discard(job)
        state.task_ready(job.request)

    def _broker_answers(self) -> bool:
        try:
            ping(str(self.app.conf.broker_url), get_settings())
        except HeadraceError as error:
            logger.warning("ending without settling what runs: %s", error)
            return False
        return True

    def on_connected(self, engine: EngineProcess) -> None:
        """Watch a new engine's socket."""
        if self._hub:
            self._hub.add_reader(engine.fileno(), self.supervisor.on_readable)

    def on_disconnected(self, engine: EngineProcess) -> None:
        """Stop watching before the descriptor can be used again."""
        if self._hub:
            self._hub.remove(engine.fileno())

    # -- revoke

    def _on_terminate(self, job: Job) -> None:
        if job.closed:
            return
        state.revoked.add(job.request.id)
        self._lane(job.model).discard(job)
        self.supervisor.cancel(job.item_ids)
        self._settle(job)

    def _get_info(self) -> dict[str, Any]:
        return {
            **super()._get_info(),
            "max-concurrency": 1,
            "processes": [self.supervisor.engine_pid],
            "device": self.device,
        }
