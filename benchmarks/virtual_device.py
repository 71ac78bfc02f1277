"""A device on a virtual clock: what a policy does to the items that wait for its models."""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from headrace.memory.demand import Demand
from headrace.memory.residency import ModelState, Turn, longest_unserved

#: Models that fit on the device at once; each takes one byte of it.
SLOTS = 2
WINDOW_SECONDS = 1.0
ITEM_SECONDS = 0.05
EVICT_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What does not depend on the policy."""

    #: Share of the time that the items which arrive keep the device at work.
    load: float
    #: Seconds of a load, for each model; the first one gets the most items.
    load_seconds: tuple[float, ...] = (2.0,) * 6
    #: Seconds for which items arrive.
    duration: float = 1200.0

    @property
    def swap_seconds(self) -> dict[str, float]:
        """Seconds of a load that evicts another model, by name."""
        return {f"m{rank}": seconds + EVICT_SECONDS for rank, seconds in enumerate(self.load_seconds, 1)}

    @property
    def bound(self) -> float:
        """What headrace's policy promises."""
        return longest_unserved(list(self.swap_seconds.values()), WINDOW_SECONDS)


def arrivals(setting: Setting, seed: int) -> deque[tuple[float, str]]:
    """Seconds and model of each item: Poisson, and by Zipf's law with the exponent 1."""
    source = random.Random(seed)  # noqa: S311  a simulation, no secret
    names = list(setting.swap_seconds)
    shares = [1 / rank for rank in range(1, len(names) + 1)]
    found: deque[tuple[float, str]] = deque()
    now = 0.0
    while (now := now + source.expovariate(setting.load / ITEM_SECONDS)) < setting.duration:
        found.append((now, source.choices(names, shares)[0]))
    return found


class Lane:
    """What waits for a model, and what is known of it."""

    def __init__(self) -> None:
        self.arrived: deque[float] = deque()
        self.demand = Demand()
        self.last_ran = -float("inf")


class Device:
    """A device on a virtual clock."""

    def __init__(self, setting: Setting, seed: int) -> None:
        self._swap_seconds = setting.swap_seconds
        self._coming = arrivals(setting, seed)
        self._now = 0.0
        self._last_swap = -float("inf")
        self.lanes = {name: Lane() for name in setting.swap_seconds}
        #: In the order in which they were loaded.
        self.resident: list[str] = []
        self.loads = 0
        self.waited: list[float] = []
        #: Seconds for which a model had work and did not run, at worst.
        self.unserved = 0.0

    @property
    def room(self) -> int:
        """How many models more would fit."""
        return SLOTS - len(self.resident)

    @property
    def held(self) -> float:
        """Seconds since the last load that evicted a model."""
        return self._now - self._last_swap

    def states(self) -> list[ModelState]:
        """What a policy may know."""
        return [
            ModelState(
                name=name,
                bytes=1,
                load_seconds=self._swap_seconds[name],
                resident=name in self.resident,
                waiting=len(lane.arrived),
                oldest=self._now - lane.arrived[0] if lane.arrived else 0.0,
                idle=self._now - lane.last_ran,
                demand=lane.demand.rate(self._now),
            )
            for name, lane in self.lanes.items()
        ]

    def run(self, policy: Callable[["Device"], Turn | None]) -> "Device":
        """Run all that arrives as the policy has it."""
        self._receive()
        while self._coming or any(lane.arrived for lane in self.lanes.values()):
            turn = policy(self)
            if turn is None:
                self._now = self._coming[0][0]
            else:
                self._make_resident(turn)
                self._run_window(self.lanes[turn.model])
            self._receive()
        return self

    def _receive(self) -> None:
        while self._coming and self._coming[0][0] <= self._now:
            at, name = self._coming.popleft()
            self.lanes[name].arrived.append(at)
            self.lanes[name].demand.note(1, at)

    def _make_resident(self, turn: Turn) -> None:
        for name in turn.evict:
            self.resident.remove(name)
            self._now += EVICT_SECONDS
        if turn.model not in self.resident:
            self.resident.append(turn.model)
            self.loads += 1
            self._now += self._swap_seconds[turn.model] - EVICT_SECONDS
            self._receive()
        if turn.evict:
            self._last_swap = self._now
        if self.room < 0:
            raise RuntimeError(f"the policy has more resident than there is room for: {self.resident}")

    def _run_window(self, lane: Lane) -> None:
        self.unserved = max(self.unserved, min(self._now - lane.arrived[0], self._now - lane.last_ran))
        count = min(len(lane.arrived), round(WINDOW_SECONDS / ITEM_SECONDS))
        self.waited += [self._now - lane.arrived.popleft() for _ in range(count)]
        self._now += count * ITEM_SECONDS
        lane.last_ran = self._now
