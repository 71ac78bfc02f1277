"""CacheBudget: how much of the device a continuous model's cache has, by the memory that there is now."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from headrace.engine.resident import Resident
from headrace.hardware.meter import MemoryMeter
from headrace.sdk.continuous import ContinuousPluginInterface

#: How much more than the largest step so far a step may take.
_MARGIN = 1.25
#: Share of the room that is left for a step while nobody knows what one takes.
_FOR_A_STEP = 0.1
#: Steps of which each is measured; then one in so many seconds.
_LEARNING, _SELDOM = 16, 2.0
#: A cache that lacks memory gives up this much more than it must, so that it is not moved again at once.
_RELIEF = 0.9
#: A cache that grows, grows by this share at least; one that is so many times too large shrinks.
_GROWTH, _TOO_LARGE = 1 / 8, 4
#: By how much a step's measured need is raised when memory has ended during one.
_RAISED = 2.0


class CacheBudget:
    """Grows the cache with what runs, and shrinks it when others need the memory."""

    def __init__(
        self, resident: Resident, plugin: ContinuousPluginInterface, meter: MemoryMeter, clock: Callable[[], float]
    ) -> None:
        """Nothing runs.

        Args:
            resident: The model on the device.
            plugin: Its plugin.
            meter: Watches the device.
            clock: Monotonic seconds.
        """
        self._guard = resident.guard
        self._plugin = plugin
        self._meter = meter
        self._clock = clock
        allowance = resident.guard.allowance
        #: Bytes that a step takes beside the cache, as far as was seen; 0 for unknown.
        self._step = max((allowance.bound(shape) for shape, _ in allowance.memory.kept), default=0.0)
        self._steps, self._measure_at = 0, 0.0

    def fit(self) -> None:
        """Have the cache be as large as is wanted, and as the memory allows."""
        cache = self._plugin.cache
        room = self._room(cache.held)
        if room < cache.least:
            self._guard.make_room(cache.least - room)
            room = self._room(cache.held)
        target = cache.held
        if room < cache.held:
            target = int(_RELIEF * room)
        elif cache.wanted > cache.held:
            target = max(cache.wanted, int((1 + _GROWTH) * cache.held))
            # Performance: a cache that memory bounds is not moved for every little that gets free.
            target = min(target, room) if room >= min(target, (1 + _GROWTH) * cache.held) else cache.held
        elif cache.held > _TOO_LARGE * cache.wanted:
            target = cache.wanted
        if target != cache.held:
            self._plugin.resize(target)
            self._meter.release()

    def _room(self, held: int) -> int:
        # Hazard: a device on which others have taken too much tells of no room, not of how much is lacking. So a
        # share is given up at each look until there is some.
        room = held + self._meter.room
        return max(0, room - int(_MARGIN * self._step or _FOR_A_STEP * room))

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure a step, if it is time to."""
        begin = self._clock()
        if self._meter.crowded or (self._steps >= _LEARNING and begin < self._measure_at):
            yield
            return
        self._meter.begin(exactly=True)
        yield
        self._steps, self._measure_at = self._steps + 1, self._clock() + _SELDOM
        if peak := self._meter.end():
            self._step = max(self._step, peak.at_least)

    def ended(self) -> None:
        """Memory has ended during a step: leave more for the next."""
        self._meter.release()
        self._step = _RAISED * max(self._step, _FOR_A_STEP * (self._plugin.cache.held + self._meter.room))
        self.fit()
