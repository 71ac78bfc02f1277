"""Job: one Celery request on its way from the lane to its settled outcome."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from celery.worker import state

from headrace.consumer.request import JobRequest
from headrace.engine.work import Terms, WorkItem
from headrace.errors import JobRevoked
from headrace.sdk.messages import Outcome

_item_ids = itertools.count(1)


@dataclass(eq=False, kw_only=True)
class Job:
    """A message's inputs, their outcomes as they arrive, and Celery's callbacks.

    Celery keeps only a weak reference to it (as the pool's apply result) and calls
    `terminate` on it.
    """

    model: str
    request: JobRequest
    #: Celery's tracer and its arguments: stores the result, sends links and chords.
    trace: Callable[..., tuple[int, Any, float]]
    trace_args: tuple[Any, ...]
    #: Monotonic seconds at which the job came into its lane.
    arrived: float
    inputs: list[Any]
    params: dict[str, Any]
    #: A job whose argument is a list answers with a list of outcomes.
    is_chunk: bool
    deadline: float | None = None
    expires: float | None = None
    time_limit: float | None = None
    on_terminate: Callable[["Job"], None] = lambda _: None
    #: Items by their position in `inputs`, in hand-over order.
    item_ids: list[int] = field(default_factory=list)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    #: Of each item that ran, how many were in its batch, and its share of that batch's seconds.
    batches: dict[int, tuple[int, float]] = field(default_factory=dict)
    #: Seconds of the batches that the job's items were in.
    seconds: float = 0.0
    #: Revoked, terminated or settled: whatever still arrives is dropped.
    closed: bool = False
    #: It was revoked while it ran: nothing more of it begins, and what runs ends.
    withdrawn: bool = False

    @property
    def tag(self) -> str:
        """Delivery tag of the job's message."""
        return self.request.tag

    @property
    def lost_attempts(self) -> int:
        """Workers that have died while it ran."""
        return len(self.request.lost_attempts)

    @property
    def waiting(self) -> int:
        """Items that were not handed over yet."""
        return len(self.inputs) - len(self.item_ids)

    @property
    def started(self) -> bool:
        """Whether an engine has got any of the job's items."""
        return bool(self.item_ids)

    @property
    def complete(self) -> bool:
        """Whether every input has an outcome."""
        return len(self.outcomes) == len(self.inputs)

    def hand_over(self, count: int) -> list[WorkItem]:
        """Make work items of the next `count` inputs."""
        begin = len(self.item_ids)
        terms = Terms(
            model=self.model,
            params=self.params,
            deadline=self.deadline,
            expires=self.expires,
            time_limit=self.time_limit,
            attempt=self.lost_attempts + 1,
            job_id=self.request.id,
        )
        inputs = enumerate(self.inputs[begin : begin + count], begin)
        items = [WorkItem(next(_item_ids), value, terms, position) for position, value in inputs]
        self.item_ids += [item.item_id for item in items]
        return items

    def withdraw(self) -> None:
        """Forget the inputs that were not handed over."""
        self.withdrawn = True
        del self.inputs[len(self.item_ids) :]

    def results(self) -> list[Outcome]:
        """The outcomes in the order of the inputs."""
        return [self.outcomes[item_id] for item_id in self.item_ids]

    def is_revoked(self) -> bool:
        """Whether a revoke for this job has come at any time, or it expired before any item ran."""
        return self.request.id in state.revoked or self._never_ran()

    def _never_ran(self) -> bool:
        outcomes = self.outcomes.values()
        return bool(outcomes) and all(isinstance(outcome.error, JobRevoked) for outcome in outcomes)

    def terminate(self, signal: int | None = None) -> None:
        """Celery's terminate, after it has marked a running request REVOKED.

        No signal is sent: the worker's own pid is the only one that Celery knows. The engine is ended
        if it runs the job.
        """
        self.on_terminate(self)
