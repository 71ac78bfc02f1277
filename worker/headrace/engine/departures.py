"""Departures: models that leave a device, and what that gives back."""

import logging
from collections.abc import Callable
from functools import partial

from headrace.engine.placing import Placing
from headrace.engine.prospects import Prospects
from headrace.hardware.meter import MemoryMeter
from headrace.plugins.manager import PluginManager

logger = logging.getLogger(__name__)


class Departures:
    """Evicts models; one thread uses it."""

    def __init__(
        self,
        manager: PluginManager,
        meter: MemoryMeter,
        placing: Placing,
        prospects: Prospects,
        on_evicting: Callable[[str], None],
    ) -> None:
        """Nobody has left.

        Args:
            manager: Unloads plugins.
            meter: Watches the device.
            placing: Has what paged models have on disk.
            prospects: Takes in what was known of who leaves.
            on_evicting: As `Residency` has it.
        """
        self._manager = manager
        self._meter = meter
        self._placing = placing
        self._prospects = prospects
        self._on_evicting = on_evicting
        #: How many have left, and the bytes that this gave back.
        self.count = self.freed = 0

    def evict(self, model: str) -> None:
        """Take a model off the device."""
        resident = self._prospects.residents.pop(model)
        self._prospects.records.keep(resident, now=True)
        held = self._meter.held
        self.unload(model)
        self.freed += max(0, held - self._meter.held)
        self._prospects.left(model, resident.facts)
        self.count += 1
        logger.info("model %s evicted", model)

    def evict_idle(self, *, besides: str) -> int:
        """Take all models but one and the pinned ones off the device; return how many."""
        idle = [name for name in self._prospects.residents.evictable if name != besides]
        for name in idle:
            self.evict(name)
        return len(idle)

    def unload(self, model: str) -> None:
        """Clean a plugin up, whether it was taken in or not."""
        self._manager.unload(model, partial(self._on_evicting, model))
        self._placing.release(model)
        self._meter.release()
