"""Residency: which model runs next on a device, and which ones make room for it. Pure: numbers in, numbers out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: Seconds that a model with work goes without running before others are stopped for it. Where all run dry in
#: turn, a round takes the sum of their loads over the share of time that work leaves; less than that costs swaps.
MAX_WAIT = 120.0
#: Seconds for which the device runs what it has, per second of the load that would then stop it.
AMORTISE = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelState:
    """What the policy knows of a model."""

    name: str
    #: What it takes on the device once it is loaded; an estimate before its first load.
    bytes: int
    #: Seconds of a load, with what it takes to evict others for it; an estimate before the first one.
    load_seconds: float
    resident: bool
    #: Whether it stays resident, whatever else needs the room.
    pinned: bool = False
    #: Items that wait for it.
    waiting: int = 0
    #: Seconds that the oldest of them has waited; 0 if none does.
    oldest: float = 0.0
    #: Seconds since it last ran, or was loaded if it has not run since; infinite if neither.
    idle: float = float("inf")
    #: Items that arrive per second (`headrace.memory.demand.Demand`); 0 if nobody counts them.
    demand: float = 0.0
    #: Seconds of idleness after which it is evicted though nobody needs the room; None for never.
    keep_alive: float | None = None

    @property
    def unserved(self) -> float:
        """Seconds for which it has had work and has not run."""
        return min(self.oldest, self.idle) if self.waiting else 0.0

    @property
    def dearness(self) -> tuple[float, bool, float, str]:
        """Orders models by what it costs to evict them: seconds of load that will be paid again soon, then last use."""
        return self.demand * self.load_seconds, self.waiting > 0, -self.idle, self.name


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """Evict these, load the model if it is not resident, run one window of it."""

    model: str
    evict: tuple[str, ...] = ()


def next_turn(
    models: Sequence[ModelState],
    room: int,
    *,
    held: float,
    max_wait: float = MAX_WAIT,
    amortise: float = AMORTISE,
) -> Turn | None:
    """Choose what a device does next; to be asked whenever a window has ended or work has come to an idle device.

    Resident models run while any has work, since their work costs no load, the longest unserved one first.
    Once they have none, the longest unserved of the others is loaded. It is loaded earlier where it fits
    beside the resident ones, and where it has gone unserved for `max_wait` and the device has run for `amortise`
    times its load since it last swapped: so much work has paid for it. `longest_unserved` is the bound that follows.

    Args:
        models: All models of the device, in any order.
        room: Bytes free beside the resident models.
        held: Seconds since the last load that evicted something ended; infinite if there was none.
        max_wait: Seconds that a model with work goes without running before others are stopped for it.
        amortise: How many times its load the device runs before others are stopped for a model: loads that
            stop others take at most 1 of `1 + amortise` seconds.

    Returns:
        None if no model has work that can run; `unfit` tells those that never will.

    Example:
        >>> a = ModelState(name="a", bytes=6, load_seconds=2.0, resident=True, waiting=9, oldest=1.0, idle=0.0)
        >>> b = ModelState(name="b", bytes=6, load_seconds=2.0, resident=False, waiting=1, oldest=5.0)
        >>> next_turn([a, b], room=2, held=30.0)
        Turn(model='a', evict=())
        >>> next_turn([a, b], room=2, held=30.0, max_wait=5.0)
        Turn(model='b', evict=('a',))
    """
    reclaimable = room + _evictable_bytes(models)
    ready = _longest_unserved(model for model in models if model.waiting and model.resident)
    away = [model for model in models if model.waiting and not model.resident and model.bytes <= reclaimable]
    due = _longest_unserved(model for model in away if model.bytes <= room or model.unserved >= max_wait)
    if due and (ready is None or (due.unserved >= ready.unserved and _paid(due, room, held=held, amortise=amortise))):
        chosen: ModelState | None = due
    else:
        chosen = ready or _longest_unserved(away)
    return Turn(model=chosen.name, evict=_evicted_for(chosen, models, room)) if chosen else None


def unfit(models: Sequence[ModelState], room: int) -> tuple[str, ...]:
    """Name the models that cannot be loaded, since the pinned ones leave too little room even if all others go.

    Their jobs are to be answered with an error: `next_turn` never chooses them.

    Args:
        models: All models of the device.
        room: Bytes free beside the resident ones.
    """
    reclaimable = room + _evictable_bytes(models)
    return tuple(model.name for model in models if not model.resident and model.bytes > reclaimable)


def expired(models: Sequence[ModelState]) -> tuple[str, ...]:
    """Name the resident models to evict because nobody has needed them for their `keep_alive`."""
    unneeded = [model for model in _evictable(models) if not model.waiting]
    return tuple(each.name for each in unneeded if each.keep_alive is not None and each.idle >= each.keep_alive)


def longest_unserved(
    load_seconds: Sequence[float], window: float, *, max_wait: float = MAX_WAIT, amortise: float = AMORTISE
) -> float:
    """Bound how long a model that fits can have work and not run, whatever the load.

    `max_wait + max(load) + sum over all models of ((1 + amortise) * load + window)`, in seconds. Let a model
    have gone unserved for `max_wait`. (1) The turn that the device is in ends after a load at most, and its window.
    (2) From then on only models that have gone unserved for longer are loaded before it, or run before it outside
    of a hold; each does so once, since running makes it the least unserved, and all grow alike. (3) Before each of
    these loads, and its own, the device holds what it has for `amortise` loads and the rest of a window.

    So long a job waits at most for each turn of its model until its own. That is one turn as long as turns take
    all that waits; they do, unless others are due by then, and last for `amortise` loads even so. No such number
    exists for the jobs of a device that has more work than time: their models take turns, and lines grow.

    Args:
        load_seconds: Of each model that the device serves.
        window: Seconds of the longest window.
        max_wait: As in `next_turn`.
        amortise: As in `next_turn`.

    Example:
        >>> longest_unserved([2.0, 2.0, 2.0], 1.0, max_wait=60.0, amortise=10.0)
        131.0
    """
    return max_wait + max(load_seconds) + sum((1 + amortise) * load + window for load in load_seconds)


def _paid(model: ModelState, room: int, *, held: float, amortise: float) -> bool:
    """Whether the device has run for long enough since its last swap, if it takes one to load the model."""
    return model.bytes <= room or held >= amortise * model.load_seconds


def _longest_unserved(models: Iterable[ModelState]) -> ModelState | None:
    # The name makes the choice the same whatever the order.
    return max(models, key=lambda model: (model.unserved, model.name), default=None)


def _evictable(models: Iterable[ModelState]) -> list[ModelState]:
    return [model for model in models if model.resident and not model.pinned]


def _evictable_bytes(models: Iterable[ModelState]) -> int:
    return sum(model.bytes for model in _evictable(models))


def _evicted_for(chosen: ModelState, models: Iterable[ModelState], room: int) -> tuple[str, ...]:
    """The cheapest to lose until there is room, less those that turn out not to be needed."""
    missing = 0 if chosen.resident else chosen.bytes - room
    evicted: list[ModelState] = []
    for model in sorted(_evictable(models), key=lambda model: model.dearness):
        if missing > 0:
            evicted.append(model)
            missing -= model.bytes
    for model in evicted[::-1]:
        if missing + model.bytes <= 0:
            evicted.remove(model)
            missing += model.bytes
    return tuple(model.name for model in evicted)
