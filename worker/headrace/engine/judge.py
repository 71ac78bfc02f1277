"""Judge: what a dead engine's items have to do with its death. Pure policy, no process."""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from headrace.engine.breaker import Breaker
from headrace.engine.suspects import Suspects
from headrace.engine.watch import Running
from headrace.engine.work import WorkItem
from headrace.errors import EngineDied, HeadraceError, TimeLimitExceeded

#: Deaths in one stage (starting, loading a model) after which the waiting items fail.
STAGE_DEATHS = 3
#: The stage before an engine is ready; a model's name stands for loading that model.
_STARTING = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Death:
    """How an engine ended, and what it had then."""

    #: Its exit in words.
    how: str
    #: The stages that had begun and not ended.
    running: Sequence[Running]
    #: The stage for whose time limit it was killed, None if it died by itself.
    overdue: Running | None
    #: Whether it had ever said that it takes windows.
    was_ready: bool
    #: Items that it had been sent and that have no outcome.
    sent: Collection[int]


@dataclass(slots=True)
class Verdict:
    """Who fails, and who must run alone from now on."""

    failed: list[tuple[Sequence[int], HeadraceError]] = field(default_factory=list)
    suspects: set[int] = field(default_factory=set)
    #: Models that are not loaded for now, and why.
    unloadable: dict[str, str] = field(default_factory=dict)


class Judge:
    """Fails the guilty of each death; remembers what is held against the others."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nobody is accused yet.

        Args:
            clock: Monotonic seconds.
        """
        self.suspects = Suspects()
        self._stage_deaths: dict[str, int] = {}
        #: Models that engines die of as they load them.
        self._breaker = Breaker(clock)
        #: Models that were being loaded beside the batch of another as an engine died: nothing shall run beside that
        #: again, since nobody knows which of the two it was.
        self.load_alone: set[str] = set()

    def started(self) -> None:
        """An engine got ready."""
        self._stage_deaths.pop(_STARTING, None)

    def loaded(self, model: str) -> None:
        """A model got resident."""
        self._stage_deaths.pop(model, None)
        self._breaker.reset(model)

    def refused(self, items: Iterable[WorkItem]) -> list[tuple[Sequence[int], HeadraceError]]:
        """Items of models that would kill one engine more if they were loaded now."""
        waiting: defaultdict[str, list[int]] = defaultdict(list)
        for item in items:
            waiting[item.terms.model].append(item.item_id)
        refusals = {model: self._breaker.refusal(model) for model in waiting}
        return [(waiting[model], EngineDied(said)) for model, said in refusals.items() if said]

    def judge(self, death: Death, items: Mapping[int, WorkItem]) -> Verdict:
        """Decide about a death.

        Args:
            death: What is known of it.
            items: Every item without an outcome, by its id.
        """
        verdict = Verdict()
        stages = [death.overdue] if death.overdue else death.running
        begun = {each.stage for each in stages}
        crowded = "load" in begun and not begun.isdisjoint({"infer", "generate"})
        for load in (each for each in stages if each.stage == "load"):
            if crowded:
                self.load_alone.add(load.model)
            elif error := self._load_died(load, death):
                verdict.failed.append(([each for each, item in items.items() if item.terms.model == load.model], error))
                verdict.unloadable[load.model] = str(error)
        if not death.was_ready:
            message = f"the engine cannot start ({death.how}): see the worker's log"
            verdict.failed += self._stage_died(_STARTING, list(items), message)
        groups = [[each for each in stage.item_ids if each in items] for stage in stages if stage.stage != "load"]
        if not stages and death.was_ready and death.sent:
            # It died between two stages: whatever it had is suspect, else this may go on for ever.
            groups = [sorted(death.sent)]
        self._accuse(groups, death, verdict, alone=all(each.stage != "load" for each in stages))
        return verdict

    def _accuse(self, groups: Sequence[Sequence[int]], death: Death, verdict: Verdict, *, alone: bool) -> None:
        if death.overdue and len(groups) == 1 and len(groups[0]) == 1:
            limit = f"the item ran longer than its limit of {death.overdue.limit:g} s"
            verdict.failed.append((groups[0], TimeLimitExceeded(limit)))
            return
        verdict.suspects.update(each for group in groups for each in group)
        guilty = self.suspects.accuse(groups, alone=alone)
        if guilty:
            message = f"the engine died ({death.how}) each time it ran this item alone: see the worker's log"
            verdict.failed.append((guilty, EngineDied(message)))

    def _load_died(self, load: Running, death: Death) -> HeadraceError | None:
        """Why the model is not loaded for now; None if it is tried again."""
        if death.overdue:
            message = f"loading model {load.model} took longer than {load.limit:g} s"
            return TimeLimitExceeded(self._breaker.trip(load.model, message))
        message = f"the engine died while it loaded model {load.model} ({death.how})"
        if not self._breaker.tripped(load.model) and not self._is_last(load.model):
            return None
        return EngineDied(self._breaker.trip(load.model, message))

    def _stage_died(
        self, stage: str, item_ids: Sequence[int], message: str
    ) -> Iterable[tuple[Sequence[int], HeadraceError]]:
        return [(item_ids, EngineDied(message))] if self._is_last(stage) else []

    def _is_last(self, stage: str) -> bool:
        """Count a death in a stage; return whether there were enough of them."""
        deaths = self._stage_deaths.pop(stage, 0) + 1
        if deaths < STAGE_DEATHS:
            self._stage_deaths[stage] = deaths
        return deaths >= STAGE_DEATHS
