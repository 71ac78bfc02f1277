"""Session: the items of one continuous model that have begun, until each has its outcome."""

import logging
import time
from collections.abc import Callable, Iterable

from headrace.engine.batch import Entry
from headrace.engine.cache_budget import CacheBudget
from headrace.engine.messages import Window
from headrace.engine.outcomes import Answer, Report
from headrace.engine.resident import Resident
from headrace.errors import DeadlineExceeded, HeadraceError, JobRevoked, OutOfMemory
from headrace.memory.oom import drop_frames, is_out_of_memory
from headrace.sdk.continuous import ContinuousPluginInterface
from headrace.sdk.messages import Outcome

logger = logging.getLogger(__name__)

#: How often an item is begun for which memory ends, the cache smaller each time.
_TRIES = 4


class Session:
    """Adds items to a plugin, has it step, and answers each item as it ends; one thread uses it."""

    def __init__(
        self,
        model: str,
        resident: Resident,
        plugin: ContinuousPluginInterface,
        budget: CacheBudget,
        *,
        report: Report,
        cancelled: set[int],
    ) -> None:
        """Nothing has begun.

        Args:
            model: Its name.
            resident: The model on the device.
            plugin: Its plugin.
            budget: Sizes the plugin's cache.
            report: Hears of outcomes.
            cancelled: Ids of items that nobody wants; others add to it at any time.
        """
        self._model = model
        self._guard = resident.guard
        self._plugin = plugin
        self._budget = budget
        self._report = report
        self._cancelled = cancelled
        self._entries: dict[int, Entry] = {}
        self._tries: dict[int, int] = {}
        self._windows: list[Window] = []
        #: Monotonic seconds of the last answer, or of the end of a pause.
        self._since = 0.0
        #: Monotonic seconds since when nothing of it has run.
        self.paused = time.monotonic()

    @property
    def item_ids(self) -> list[int]:
        """Of all that has begun."""
        return list(self._entries)

    @property
    def progress(self) -> dict[int, int]:
        """How far each item is, by its id."""
        return dict(self._plugin.progress)

    def join(self, windows: Iterable[Window], entries: Iterable[Entry]) -> None:
        """Begin items; those that cannot run are answered."""
        self._windows = [each for each in self._windows if any(item[0] in self._entries for item in each.items)]
        self._windows += windows
        for entry in entries:
            if error := entry.prepared.error or self._unwanted(entry):
                self._cancelled.discard(entry.item_id)
                self._report.answer(self._model, 0.0, [Answer(entry.item_id, Outcome(error=error))])
            else:
                self._entries[entry.item_id] = entry
                self._plugin.add(entry.item_id, entry.prepared)

    def run(self, is_over: Callable[[], bool]) -> None:
        """Step until nothing is left or a slice of time is over; a plugin that raises runs its items in parts."""
        self._since = time.monotonic()
        try:
            self._budget.fit()
            while self._entries and not is_over():
                self._cut()
                self._step()
        except Exception:
            logger.exception("a step of %s failed: its items run again in parts", self._model)
            failed = True
        else:
            failed = False
        # Outside the except block, which would keep alive what the step had.
        if failed:
            self._run_in_parts()
        self.paused = time.monotonic()

    def suspend(self) -> list[Window]:
        """The model leaves the device: the windows of what has no outcome yet."""
        left, self._entries = self._entries, {}
        for key in left:
            self._plugin.cancel(key, "cancelled")
        rows = ((window, [item for item in window.items if item[0] in left]) for window in self._windows)
        return [Window(model=self._model, items=items, terms=window.terms) for window, items in rows if items]

    def rest(self) -> None:
        """Nothing runs, and nothing waits: give the cache back."""
        if self._plugin.cache.held:
            self._plugin.resize(0)

    # -- steps

    def _step(self) -> None:
        with self._budget.measured():
            ended = self._plugin.step()
        lacking = [key for key, outcome in ended if outcome.error and is_out_of_memory(outcome.error)]
        self._answer([Answer(key, outcome) for key, outcome in ended if key not in lacking])
        if lacking:
            for _, outcome in ended:
                if outcome.error:
                    drop_frames(outcome.error)
            self._lack(lacking)

    def _lack(self, keys: Iterable[int]) -> None:
        """Memory has ended for items: they begin again once there is more."""
        self._budget.ended()
        for key in keys:
            self._tries[key] = self._tries.get(key, 1) + 1
            if self._tries[key] <= _TRIES:
                self._plugin.add(key, self._entries[key].prepared)
            else:
                error = OutOfMemory("memory ended each time the item ran: shorten it, or use a larger device")
                self._answer([Answer(key, Outcome(error=error))])

    def _answer(self, answers: list[Answer]) -> None:
        wanted = [each for each in answers if self._entries.pop(each.item_id, None)]
        if not wanted:
            return
        for each in wanted:
            self._tries.pop(each.item_id, None)
            self._cancelled.discard(each.item_id)
        now = time.monotonic()
        # Since the last answer: what runs beside these is answered in its turn.
        self._report.answer(self._model, max(now - self._since, 1e-6), wanted)
        self._since = now

    def _cut(self) -> None:
        """End what nobody wants, or wants no longer."""
        now = time.time()
        late = [key for key, entry in self._entries.items() if entry.deadline is not None and entry.deadline < now]
        revoked = self._cancelled.intersection(self._entries)
        for key in revoked:
            self._plugin.cancel(key, "cancelled")
            self._answer([Answer(key, Outcome(error=JobRevoked("the job was revoked while it ran")))])
        for key in (key for key in late if key in self._entries):
            begun = self._plugin.progress.get(key, 0) > 0
            outcome = self._plugin.cancel(key, "deadline")
            error = DeadlineExceeded("the job's deadline passed before it ran: allow more time or add workers")
            self._answer([Answer(key, outcome if outcome and begun else Outcome(error=error))])

    def _unwanted(self, entry: Entry) -> HeadraceError | None:
        if entry.item_id in self._cancelled:
            return JobRevoked("the job was revoked before it ran")
        if entry.expires is not None and entry.expires < time.time():
            return JobRevoked("the job expired before it ran")
        return None

    def _run_in_parts(self) -> None:
        """Find by halves whose item makes the plugin raise."""
        entries = list(self._entries.values())
        for entry in entries:
            self._plugin.cancel(entry.item_id, "cancelled")
        outcomes = self._guard.infer(self._plugin, [entry.prepared for entry in entries])
        self._answer([Answer(entry.item_id, outcome) for entry, outcome in zip(entries, outcomes, strict=True)])
