"""ContinuousExecutor: models whose items join and leave a running batch, a slice of time each."""

import time
from collections.abc import Callable, Mapping, Sequence

from headrace.engine.batch import Entry
from headrace.engine.cache_budget import CacheBudget
from headrace.engine.messages import Progress, Window
from headrace.engine.outcomes import Report
from headrace.engine.resident import Resident
from headrace.engine.session import Session
from headrace.engine.turns import Line
from headrace.hardware.meter import MemoryMeter
from headrace.sdk.continuous import ContinuousPluginInterface

#: Seconds of a slice, unless something joins before.
_SLICE = 1.0


class ContinuousExecutor:
    """Has a session for each continuous model on the device; one thread uses it."""

    def __init__(self, *, report: Report, meter: MemoryMeter, cancelled: set[int]) -> None:
        """Nothing has begun.

        Args:
            report: Hears of outcomes and progress.
            meter: Watches the device.
            cancelled: As `Session` has it.
        """
        self._report = report
        self._meter = meter
        self._cancelled = cancelled
        self._sessions: dict[str, Session] = {}

    @property
    def busy(self) -> bool:
        """Whether anything has begun that has no outcome."""
        return any(session.item_ids for session in self._sessions.values())

    def with_begun(self, lines: Mapping[str, Line]) -> dict[str, Line]:
        """What waits, and what has begun and waits for its next slice."""
        merged = dict(lines)
        for model, session in self._sessions.items():
            if begun := len(session.item_ids):
                line = lines.get(model)
                merged[model] = Line(begun + (line.items if line else 0), session.paused)
        return merged

    def run(
        self,
        model: str,
        resident: Resident,
        windows: Sequence[Window],
        entries: Sequence[Entry],
        *,
        joins: Callable[[], bool],
    ) -> None:
        """Run a slice.

        Args:
            model: On the device.
            resident: As there.
            windows: Those that join.
            entries: Their items, prepared.
            joins: Whether more are ready to join: then the slice is over.
        """
        session = self._sessions.get(model) or self._begin(model, resident)
        session.join(windows, entries)
        if not (item_ids := session.item_ids):
            return
        end = time.monotonic() + _SLICE
        with self._report.stage("generate", model, item_ids):
            session.run(lambda: time.monotonic() > end or joins())
        self._report.send(Progress(model=model, done=session.progress))

    def _begin(self, model: str, resident: Resident) -> Session:
        plugin = resident.plugin
        if not isinstance(plugin, ContinuousPluginInterface):
            raise TypeError(f"model {model} runs batches to their end")
        budget = CacheBudget(resident, plugin, self._meter, time.monotonic)
        session = Session(model, resident, plugin, budget, report=self._report, cancelled=self._cancelled)
        self._sessions[model] = session
        return session

    def suspend(self, model: str) -> list[Window]:
        """A model leaves the device: the windows of what has no outcome yet."""
        session = self._sessions.pop(model, None)
        return session.suspend() if session else []

    def rest(self) -> None:
        """Nothing is left to do: caches are given back."""
        for session in self._sessions.values():
            session.rest()
