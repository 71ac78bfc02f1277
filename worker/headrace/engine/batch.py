"""BatchExecutor: prepared items in, exactly one outcome each out."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headrace.engine.guard import MemoryGuard
from headrace.engine.outcomes import Answer, Report
from headrace.engine.rate import Rate
from headrace.errors import DeadlineExceeded, HeadraceError, JobRevoked
from headrace.sdk.messages import Outcome, Prepared
from headrace.sdk.plugin import ModelPluginInterface


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """An item on its way through the executor."""

    item_id: int
    prepared: Prepared
    #: Epoch seconds after which nobody wants the result; None for no deadline.
    deadline: float | None = None
    #: Epoch seconds after which it must not start; None for never.
    expires: float | None = None
    #: Monotonic seconds since when the engine has it.
    arrived: float = 0.0


class BatchExecutor:
    """Plans prepared items into batches, runs them, and answers every item."""

    def __init__(
        self,
        *,
        report: Report,
        cancelled: Callable[[int], bool] = lambda _: False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._report = report
        self._cancelled = cancelled
        self._clock = clock
        self._rates: defaultdict[str, Rate] = defaultdict(Rate)

    def window(self, model: str) -> int:
        """Items that take about a second; the worker hands over as many at once."""
        return self._rates[model].window

    def run(self, model: str, plugin: ModelPluginInterface, entries: Sequence[Entry], guard: MemoryGuard) -> None:
        """Answer the items that can't run, then run the rest in the largest batches that fit at the time."""
        left = [entry for entry in entries if not self._refused(model, entry)]
        while left:
            left = self._run_planned(model, plugin, self._plan(plugin, left, guard), guard)

    def _plan(self, plugin: ModelPluginInterface, left: Sequence[Entry], guard: MemoryGuard) -> list[list[Entry]]:
        now = time.monotonic()
        sizes = [entry.prepared.size for entry in left]
        batches = guard.plan(sizes, plugin.config, ages=[now - entry.arrived for entry in left])
        return [[left[position] for position in batch] for batch in batches]

    def _run_planned(
        self, model: str, plugin: ModelPluginInterface, batches: Sequence[list[Entry]], guard: MemoryGuard
    ) -> list[Entry]:
        """Run batches until the memory has become another; return what is left."""
        for number, batch in enumerate(batches):
            if number and guard.outdated([entry.prepared.size for entry in batch]):
                return [entry for batch in batches[number:] for entry in batch]
            self._run_batch(model, plugin, batch, guard)
        return []

    def _refused(self, model: str, entry: Entry) -> bool:
        if entry.prepared.error is None:
            return False
        self._report.answer(model, 0.0, [Answer(entry.item_id, Outcome(error=entry.prepared.error))])
        return True

    def _run_batch(self, model: str, plugin: ModelPluginInterface, batch: Sequence[Entry], guard: MemoryGuard) -> None:
        wanted = [entry for entry in batch if not self._unwanted(model, entry)]
        if not wanted:
            return
        with self._report.stage("infer", model, [entry.item_id for entry in wanted]):
            begin = time.monotonic()
            outcomes = guard.infer(plugin, [entry.prepared for entry in wanted])
            # A clock that did not tick would show a runtime of zero for work that was done.
            seconds = max(time.monotonic() - begin, 1e-6)
            answers = [Answer(entry.item_id, outcome) for entry, outcome in zip(wanted, outcomes, strict=True)]
            self._rates[model].add(len(answers), seconds)
            self._report.answer(model, seconds, answers)

    def _unwanted(self, model: str, entry: Entry) -> bool:
        error: HeadraceError
        if self._cancelled(entry.item_id):
            error = JobRevoked("the job was revoked before it ran")
        elif entry.expires is not None and entry.expires < self._clock():
            error = JobRevoked("the job expired before it ran")
        elif entry.deadline is not None and entry.deadline < self._clock():
            error = DeadlineExceeded("the job's deadline passed before it ran: allow more time or add workers")
        else:
            return False
        self._report.answer(model, 0.0, [Answer(entry.item_id, Outcome(error=error))])
        return True
