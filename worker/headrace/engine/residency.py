"""Residency: which models are on the device, what they take of it, and who makes room for whom."""

import time
from collections.abc import Callable, Sequence

from headrace.engine.arrivals import Arrivals
from headrace.engine.departures import Departures
from headrace.engine.placing import Placing
from headrace.engine.prospects import Prospects
from headrace.engine.records import Records
from headrace.engine.resident import Resident, Residents
from headrace.hardware.meter import MemoryMeter
from headrace.memory.store import CostStore
from headrace.plugins.manager import PluginManager


class Residency:
    """Loads models, evicts those that must make room, and keeps what their batches cost.

    One thread calls it.
    """

    def __init__(
        self,
        manager: PluginManager,
        meter: MemoryMeter,
        store: CostStore,
        *,
        placing: Placing,
        on_evicting: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is resident yet.

        Args:
            manager: Loads and unloads plugins.
            meter: Watches the device.
            store: Keeps costs between runs.
            placing: Plans where the weights of models that page are to be.
            on_evicting: Hears of each model that makes room, once the manager does not give it any more;
                returns when no other thread uses it.
            clock: Monotonic seconds.
        """
        self._manager = manager
        self._meter = meter
        self._records = Records(manager, meter, store, clock)
        self._placing = placing
        self._clock = clock
        self._residents = Residents()
        #: What is known of models that are not on the device, too.
        self.prospects = Prospects(self._records, meter, self._residents, clock)
        self._departures = Departures(manager, meter, placing, self.prospects, on_evicting)
        #: Loads.
        self.arrivals = Arrivals(manager, meter, placing, self.prospects, self._departures, clock)
        #: Monotonic seconds when the last load ended that made others leave.
        self.swapped_at = float("-inf")

    def get(self, model: str) -> Resident | None:
        """A model that is on the device, noted as used now."""
        self.touch(model)
        return self._residents.get(model)

    def touch(self, model: str) -> None:
        """Note that a model was used until now."""
        if model in self._residents:
            self._residents[model].used_at = self._clock()

    @property
    def resident(self) -> list[str]:
        """Models that are on the device."""
        return list(self._residents)

    @property
    def room(self) -> int:
        """Bytes that are free now."""
        return self._meter.room

    def expect(self, model: str) -> None:
        """Import a model's plugin and estimate what it will take."""
        self.prospects.expect(model, self._manager.create)

    def refuses(self, model: str) -> bool:
        """Whether `load` would raise at once, with nobody moved."""
        if model in self._residents:
            return False
        return self._manager.failed_lately(model) or self.prospects.least(model) > self.prospects.obtainable

    def load(self, model: str, *, evict: Sequence[str] = ()) -> Resident:
        """Put a model on the device; others make room for it if they must.

        Args:
            model: Its name.
            evict: Who leaves for it, once nothing but their room is missing.

        Raises:
            HeadraceError: What `PluginManager.load` raises; ModelTooLarge where the device is too small.
        """
        departed = self._departures.count
        try:
            return self.arrivals.load(model, evict)
        finally:
            if self._departures.count > departed:
                self.swapped_at = self._clock()

    def evict(self, model: str) -> None:
        """Take a model off the device."""
        self._departures.evict(model)

    def keep(self) -> None:
        """Keep what was learned since the last time, now and then."""
        for resident in self._residents.values():
            self._records.keep(resident)

    def close(self) -> None:
        """Take all off the device, the last loaded one first."""
        for resident in self._residents.values():
            self._records.keep(resident, now=True)
        self._residents.clear()
        self.arrivals.close()
        self._manager.close()
        self._placing.close()
