"""Turns: which of the models that have work runs next on the engine's device."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from headrace.engine.residency import Residency
from headrace.memory.demand import Demand
from headrace.memory.residency import MAX_WAIT, ModelState, Turn, expired, next_turn, unfit

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Line:
    """What waits of one model in the engine."""

    items: int
    #: Monotonic seconds since when the oldest waits.
    since: float


class Turns:
    """Asks the policy of `headrace.memory.residency` whose turn it is; one thread uses it."""

    def __init__(self, residency: Residency, clock: Callable[[], float] = time.monotonic) -> None:
        self._residency = residency
        self._clock = clock
        self._demand: defaultdict[str, Demand] = defaultdict(Demand)

    def choose(self, lines: Mapping[str, Line]) -> Turn:
        """The model that runs next, and those that leave for it.

        Args:
            lines: Of each model that has work, in the order of arrival.
        """
        first = next(iter(lines))
        if len(lines) == 1 and first in self._residency.resident:
            # Performance: the only one has nothing to wait for.
            return Turn(model=first)
        if refused := next((model for model in lines if self._residency.refuses(model)), None):
            return Turn(model=refused)
        now, room = self._clock(), self._residency.room
        states = self._states(lines, now, {*lines, *self._residency.resident})
        turn = next_turn(states, room, held=now - self._residency.swapped_at)
        # What cannot be loaded now gets the time that others wait at most, and is answered with why.
        late = [each.name for each in states if each.unserved >= MAX_WAIT and each.name in unfit(states, room)]
        return Turn(model=late[0]) if late else turn or Turn(model=first)

    def note(self, model: str, items: int) -> None:
        """Count what a turn brings."""
        self._demand[model].note(items, self._clock())

    def evict_expired(self, lines: Mapping[str, Line]) -> None:
        """Have those leave that nobody has needed for their `keep_alive`.

        Args:
            lines: As in `choose`.
        """
        for model in expired(self._states(lines, self._clock(), self._residency.resident)):
            logger.info("model %s is not needed any more", model)
            self._residency.evict(model)

    def _states(self, lines: Mapping[str, Line], now: float, models: Iterable[str]) -> list[ModelState]:
        return [self._state(model, lines.get(model, Line(0, now)), now) for model in sorted(models)]

    def _state(self, model: str, line: Line, now: float) -> ModelState:
        facts = self._residency.prospects.facts(model)
        return ModelState(
            name=model,
            bytes=self._residency.prospects.takes(model),
            load_seconds=facts.load_seconds,
            resident=facts.resident,
            pinned=facts.pinned,
            waiting=line.items,
            oldest=now - line.since if line.items else 0.0,
            idle=now - facts.used_at,
            demand=self._demand[model].rate(now),
            keep_alive=facts.keep_alive,
        )
