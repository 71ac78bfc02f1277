"""Watch: what the engine is busy with, since when, how long that may take, and whether it says anything at all."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from headrace.engine.messages import Ended, Stage, Started
from headrace.engine.names import name_items
from headrace.engine.work import WorkItem

#: Seconds that an engine which has work may say nothing outside of all stages: it does nothing long there.
SILENCE_LIMIT = 60.0
#: Seconds of silence that one look counts at most.
_LOOK_LIMIT = 1.0
#: Stages by what keeps the engine from anything else.
_RANK: tuple[Stage, ...] = ("infer", "generate", "load", "prepare")


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
        #: Seconds of silence that were counted, and when it was looked last.
        self._silence = 0.0
        self._looked_at = clock()

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
        self.heard()

    def overdue(self) -> Running | None:
        """A stage that has passed its limit, if there is one."""
        now = self._clock()
        return next((each for each in self._running.values() if now - each.since > each.limit), None)

    def heard(self) -> None:
        """The engine has said something."""
        self._silence = 0.0

    def is_silent(self, *, has_work: bool) -> bool:
        """Whether it has had work for too long without a word or a stage; to be asked a few times a second."""
        now = self._clock()
        # Hazard: a worker that was held up itself, by Redis say, must not hold its own time against the engine.
        passed, self._looked_at = min(now - self._looked_at, _LOOK_LIMIT), now
        self._silence = self._silence + passed if has_work and not self._running else 0.0
        return self._silence > SILENCE_LIMIT

    @property
    def foremost(self) -> Sequence[int]:
        """Items of the batch that runs; without one those of what it waits for, unless that is a load.

        None either while items run step by step: one that nobody wants leaves with the next step.

        To end an engine for an item that is prepared beside a batch, or before a model that must be
        loaded in any case, would cost the others more than the item does.
        """
        foremost = min(self._running.values(), key=lambda each: _RANK.index(each.stage), default=None)
        return foremost.item_ids if foremost and foremost.stage not in {"load", "generate"} else ()

    def __iter__(self) -> Iterator[Running]:
        """Everything that runs."""
        return iter(tuple(self._running.values()))


def describe(running: Sequence[Running], items: Mapping[int, WorkItem]) -> str:
    """What was running, for the log."""
    return "; ".join(_describe(each, items) for each in running) or "nothing"


def _describe(running: Running, items: Mapping[int, WorkItem]) -> str:
    what = f"{running.stage} of {len(running.item_ids)} {running.model} items"
    return f"{what} ({name_items(running.item_ids, items) or 'all of them answered'})"
