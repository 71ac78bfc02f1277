"""BatchPool: Celery's pool interface on top of one engine process.

Everything here runs on the worker's event loop: the engine's socket is one of the
loop's readers, so no state is shared between threads.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from celery.concurrency.base import BasePool, apply_target
from celery.worker import state

from headrace.broker.app import INFER
from headrace.broker.claims import Claims
from headrace.consumer.binding import Binding, end_worker
from headrace.consumer.dispatch import Dispatcher
from headrace.consumer.job import Job
from headrace.consumer.open_jobs import OpenJobs
from headrace.consumer.parse import InvalidJob, parse_job
from headrace.consumer.prefetch import Prefetch
from headrace.consumer.request import JobRequest
from headrace.consumer.settle import Settler
from headrace.consumer.shutdown import drain
from headrace.consumer.sockets import unwatch, watch, watch_room
from headrace.engine.process import EngineProcess
from headrace.engine.supervisor import EngineSupervisor
from headrace.hardware.analyzer import get_hardware_analyzer
from headrace.sdk.device import Device
from headrace.sdk.messages import Outcome
from headrace.settings import get_settings

logger = logging.getLogger(__name__)

#: Messages that a worker claims at most, countdowns apart (`consumer/strategy.py`), and bytes of them at
#: which it claims no more. Lanes bound both for most models.
HELD_LIMIT, HELD_BYTES = 4096, 256 * 1024 * 1024
#: Seconds between two looks at time limits, back-offs and queue delays.
_TICK = 0.05
#: Seconds between two looks for a lost lease, for which a full Redis may give no other, and for revokes.
_LOOK_SECONDS = 0.25


class BatchPool(BasePool):  # type: ignore[misc]  # Celery has no types
    """Puts jobs into lanes, hands windows to the engine, settles what comes back."""

    signal_safe = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        settings = get_settings()
        #: Those that have all their outcomes.
        self._complete: list[Job] = []
        #: Whether the loop will settle them next.
        self._called = False
        #: Monotonic seconds of the next look whether the lease is lost, or anything was revoked.
        self._look_at = 0.0
        self._hub: Any = None
        self._draining = False
        #: Name of the device, set by the worker before it starts.
        self.device = str(self.app.conf.get("headrace_device", "cpu:0"))
        self.claims: Claims = self.app.headrace_claims
        self.settler: Settler = self.app.headrace_settler
        device, gpu = Device.parse(self.device), str(self.app.conf.get("headrace_gpu", ""))
        self._binding = Binding(device, get_hardware_analyzer().uuid, uuid=gpu, give_up=end_worker)
        self.supervisor = EngineSupervisor(self.make_engine, self, load_time_limit=settings.load_time_limit)
        self.dispatcher = Dispatcher(
            self.supervisor,
            self.claims,
            unwanted=self._unwanted,
            max_queue_delay=settings.max_queue_delay_ms / 1000,
        )
        self.prefetch = Prefetch(self.supervisor.models, self.dispatcher)
        self.open = OpenJobs(self.claims, self.dispatcher, self.settler)

    def make_engine(self) -> EngineProcess:
        """An engine that is to be started."""
        return self._binding.make_engine()

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
        job.on_terminate = self.open.terminate
        if not self.claims.number_of(job.tag):
            # It waited for its time while the lease ran out: another worker has it.
            state.task_ready(request)
            request.acknowledge()
            return None
        self.open.add(job)
        if isinstance(job, InvalidJob):
            self._settle(job)
            return job
        self.dispatcher.put(job)
        return job

    def flush(self) -> None:
        """Drop what has not started; nothing is wanted until the consumer polls again."""
        self.claims.wanting = ()
        self.open.keep_started()

    def on_close(self) -> None:
        """Warm shutdown begins: what the engine has finishes, the rest goes back."""
        self._draining = True
        self.claims.wanting = ()

    def on_stop(self) -> None:
        """Finish what the engine has."""
        self._draining = True
        drain(self, str(self.app.conf.broker_url))

    def drop_revoked(self) -> None:
        """Answer what was revoked while it waited."""
        self.open.drop_unwanted(self._unwanted)

    def settle_answered(self) -> None:
        """Settle what the engine has answered."""
        self.supervisor.on_readable()
        self._settle_complete()

    @property
    def unsettled(self) -> bool:
        """Whether something runs, or is not settled."""
        busy = self.dispatcher.busy or self._complete or self.settler.busy
        # Acknowledgements wait in the loop's own list.
        return bool(self._hub and (busy or self._hub._ready))  # noqa: SLF001

    def turn(self) -> None:
        """Go through the event loop once."""
        self._hub.run_once()
        # After a lost connection the loop watches neither the engine nor our timer.
        self._tick()

    def end_engine(self, *, in_order: bool) -> None:
        """End the engine, now or after its plugins have cleaned up."""
        if in_order:
            self.supervisor.close()
        else:
            self.supervisor.kill()

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
        if self.claims.held_bytes >= HELD_BYTES:
            return 0
        held = self.claims.count - len(state.scheduled_requests)
        model = queue.removeprefix(INFER)
        return self.prefetch.allowed(model, max(0, min(self.dispatcher.lane(model).room, HELD_LIMIT - held)))

    @property
    def resident(self) -> list[str]:
        """Models whose weights are on the device."""
        return self.supervisor.models.resident

    # -- to the engine and back

    def feed(self) -> None:
        """Hand over what is due; called when all messages of a claim are in their lanes, and every tick."""
        if not self.settler.busy:
            self.dispatcher.feed()

    def _unwanted(self, job: Job) -> bool:
        """Whether a job was closed, or was revoked or has expired before it began; it is answered then."""
        if job.closed or job.started:
            return job.closed
        if job.request.id in state.revoked or job.request.maybe_expire():
            self._settle(job)
        return job.closed

    def _tick(self) -> None:
        self.supervisor.tick()
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_SECONDS
            self.open.hear_of_revoked()
            self.open.withdraw_revoked()
            if self.claims.lost:
                self.open.begin_anew()
        self.settler.tick()
        self._settle_complete()

    def on_outcomes(self, model: str, seconds: float, outcomes: Sequence[tuple[int, Outcome]]) -> None:
        """Note outcomes; the jobs that they complete are settled next."""
        self._complete += self.dispatcher.answered(model, seconds, outcomes)
        if self._hub and not self._called:
            # Performance: when all that the engine has said is read, so that it is one commit.
            self._called = True
            self._hub.call_soon(self._settle_complete)

    def _settle_complete(self) -> None:
        """Settle what has all its outcomes; also called every tick, since a lost connection resets the loop."""
        self._called = False
        complete, self._complete = self._complete, []
        self._settle(*(job for job in complete if not job.closed))
        self.feed()

    def _settle(self, *jobs: Job) -> None:
        self.settler.settle(jobs, self.open.over)

    def on_connected(self, engine: EngineProcess) -> None:
        """Watch a new engine's socket."""
        if self._hub:
            watch(self._hub, engine, self.supervisor)

    def on_unsent(self, engine: EngineProcess) -> None:
        """Send on once the engine takes more."""
        if self._hub:
            watch_room(self._hub, engine, self.supervisor)

    def on_disconnected(self, engine: EngineProcess) -> None:
        """Stop watching before the descriptor can be used again."""
        if self._hub:
            unwatch(self._hub, engine)

    def _get_info(self) -> dict[str, Any]:
        return {
            **super()._get_info(),
            "max-concurrency": 1,
            "processes": [self.supervisor.engine_pid],
            "device": self.device,
        }
