"""Turns: which of the models that have work runs next on the engine's device."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from headrace.engine.residency import Residency
from headrace.memory.demand import Demand
from headrace.memory.residency import ModelState, Turn, expired, next_turn

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Line:
    """What waits of one model in the engine."""

    items: int
    #: Monotonic seconds since when the oldest waits.
    since: float


class Turns:
    """Asks the policy of `headrace.memory.residency`, and makes room as it says; one thread uses it."""

    def __init__(self, residency: Residency, clock: Callable[[], float] = time.monotonic) -> None:
        self._residency = residency
        self._clock = clock
        self._demand: defaultdict[str, Demand] = defaultdict(Demand)
        #: Monotonic seconds of the last load that made others leave.
        self._swapped_at = float("-inf")

    def choose(self, lines: Mapping[str, Line]) -> Turn:
        """The model that runs next, and those that leave for it.

        Args:
            lines: Of each model that has work, in the order of arrival.
        """
        if len(lines) > 1:
            now = self._clock()
            turn = next_turn(self._states(lines, now), self._residency.room, held=now - self._swapped_at)
            if turn is not None:
                return turn
        # The only one; or none can run, and the first is answered with why.
        return Turn(model=next(iter(lines)))

    def begin(self, turn: Turn, items: int) -> None:
        """Have those leave that the turn names, and count its items."""
        self._demand[turn.model].note(items, self._clock())
        for model in turn.evict:
            self._residency.evict(model)
            self._swapped_at = self._clock()

    def evict_expired(self) -> None:
        """Have those leave that nobody has needed for their `keep_alive`."""
        for model in expired(self._states({}, self._clock())):
            logger.info("model %s is not needed any more", model)
            self._residency.evict(model)

    def _states(self, lines: Mapping[str, Line], now: float) -> list[ModelState]:
        models = {*lines, *self._residency.resident}
        return [self._state(model, lines.get(model, Line(0, now)), now) for model in sorted(models)]

    def _state(self, model: str, line: Line, now: float) -> ModelState:
        facts = self._residency.facts(model)
        return ModelState(
            name=model,
            bytes=facts.weights,
            load_seconds=facts.load_seconds,
            resident=facts.resident,
            pinned=facts.pinned,
            waiting=line.items,
            oldest=now - line.since if line.items else 0.0,
            idle=now - facts.used_at,
            demand=self._demand[model].rate(now),
            keep_alive=facts.keep_alive,
        )
