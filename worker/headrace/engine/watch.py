"""Watch: what the engine is busy with, since when, and how long that may take."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from headrace.engine.messages import Ended, Stage, Started


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """One stage that has begun and not ended."""

    stage: Stage
    model: str
    item_ids: list[int]
    #: Monotonic seconds.
    since: float
    #: Seconds that the stage may take.
    limit: float


class Watch:
    """At most one running entry per stage: the engine has one thread for each."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._running: dict[Stage, Running] = {}

    def started(self, message: Started, *, limit: float) -> None:
        """Note what a `Started` names."""
        self._running[message.stage] = Running(
            stage=message.stage,
            model=message.model,
            item_ids=message.item_ids,
            since=self._clock(),
            limit=limit,
        )

    def ended(self, message: Ended) -> None:
        """Clear the stage."""
        self._running.pop(message.stage, None)

    def clear(self) -> None:
        """Nothing runs any more."""
        self._running.clear()

    def overdue(self) -> Running | None:
        """A stage that has passed its limit, if there is one."""
        now = self._clock()
        return next((each for each in self._running.values() if now - each.since > each.limit), None)

    def __iter__(self) -> Iterator[Running]:
        """Everything that runs."""
        return iter(tuple(self._running.values()))


def describe(running: Sequence[Running]) -> str:
    """What was running, for the log."""
    return ", ".join(f"{each.stage} of {len(each.item_ids)} {each.model} items" for each in running) or "nothing"
