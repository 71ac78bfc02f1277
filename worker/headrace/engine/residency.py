"""Residency: which models are on the device, what they take of it, and who makes room for whom."""

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial

from headrace.engine.placing import Placing
from headrace.engine.prospects import Prospects
from headrace.engine.records import Records
from headrace.engine.resident import Resident, Residents
from headrace.errors import HeadraceError, describe
from headrace.hardware.meter import MemoryMeter
from headrace.memory.oom import drop_frames, is_out_of_memory
from headrace.memory.store import CostStore
from headrace.plugins.manager import PluginManager
from headrace.sdk.plugin import ModelPluginInterface

logger = logging.getLogger(__name__)


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
        self._on_evicting = on_evicting
        self._clock = clock
        self._residents = Residents()
        #: What is known of models that are not on the device, too.
        self.prospects = Prospects(self._records, meter, self._residents, clock)
        #: Bytes that this process had of the device before the present load.
        self._held_before = 0
        self._evictions = 0
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
        evictions = self._evictions
        try:
            return self._load_or_refuse(model, evict)
        finally:
            if self._evictions > evictions:
                self.swapped_at = self._clock()

    def evict(self, model: str) -> None:
        """Take a model off the device."""
        resident = self._residents.pop(model)
        self._records.keep(resident, now=True)
        held = self._meter.held
        self._unload(model)
        # Others may leave for the first batch of a model that is being loaded.
        self._held_before += min(0, self._meter.held - held)
        self.prospects.left(model, resident.facts)
        self._evictions += 1
        logger.info("model %s evicted", model)

    def evict_idle(self, *, besides: str) -> int:
        """Take all models but one and the pinned ones off the device; return how many."""
        idle = [name for name in self._residents.evictable if name != besides]
        for name in idle:
            self.evict(name)
        return len(idle)

    def keep(self) -> None:
        """Keep what was learned since the last time, now and then."""
        for resident in self._residents.values():
            self._records.keep(resident)

    def close(self) -> None:
        """Take all off the device, the last loaded one first."""
        for resident in self._residents.values():
            self._records.keep(resident, now=True)
        self._residents.clear()
        self._manager.close()
        self._placing.close()

    # -- loading

    def _load_or_refuse(self, model: str, evict: Sequence[str]) -> Resident:
        loaded = self._try(model, evict)
        # Hazard: those that cannot help must not leave for it, again and again.
        if (
            loaded is None
            and self.prospects.least(model) <= self.prospects.obtainable
            and self.evict_idle(besides=model)
        ):
            self._manager.forget_failure(model)
            loaded = self._try(model, ())
        if loaded is None:
            error = self.prospects.refusal(model)
            self._manager.note_failure(model, error)
            raise error
        return loaded

    def _try(self, model: str, evict: Sequence[str]) -> Resident | None:
        """Load a model; None if memory ended."""
        try:
            return self._load(model, evict)
        except HeadraceError as error:
            if not is_out_of_memory(error):
                raise
            logger.warning("model %s: memory ended while it was loaded: %s", model, describe(error))
            failure = error
        # Outside the except block, and without frames: they would keep alive what was half loaded.
        drop_frames(failure)
        self._meter.release()
        return None

    def _load(self, model: str, evict: Sequence[str]) -> Resident:
        begin = self._clock()
        try:
            plugin = self._manager.load(model, before_load=partial(self._make_room, evict=evict))
        except HeadraceError as error:
            self._placing.release(model)
            if is_out_of_memory(error):
                self.prospects.shortfalls.note(model, error)
            raise
        try:
            resident = self._records.measure(
                model,
                plugin,
                load_seconds=self._clock() - begin,
                make_room=partial(self._give_way, model),
            )
        except Exception:
            # Nobody would ever evict it.
            self._unload(model)
            raise
        resident.weights = max(0, self._meter.held - self._held_before)
        self._residents[model] = resident
        self.prospects.shortfalls.forget(model)
        return resident

    def _unload(self, model: str) -> None:
        self._manager.unload(model, partial(self._on_evicting, model))
        self._placing.release(model)
        self._meter.release()

    # -- room

    def _give_way(self, model: str, needed: int) -> None:
        """Have the others leave for an item; not if it needs more than there would be even so."""
        if needed <= self.prospects.obtainable:
            self.evict_idle(besides=model)

    def _make_room(self, model: str, plugin: ModelPluginInterface, *, evict: Sequence[str]) -> None:
        """Have others leave until the weights fit, as far as is known how large they are; page what does not."""
        facts = self.prospects.estimate(model, plugin)
        least = self.prospects.least(model)
        if least > self.prospects.obtainable:
            raise self.prospects.refusal(model)
        for victim in evict:
            self.evict(victim)
        wanted = max(facts.weights, least) + facts.batch
        while wanted > self._meter.room and self._residents.evictable:
            self.evict(self._residents.evictable[0])
        self._meter.release()
        if least > self._meter.room:
            # Hazard: tried all the same, the kernel may end the engine for it, or another process.
            raise self.prospects.refusal(model)
        if plugin.pages_weights:
            plugin.placement = self._placing.plan(model, plugin, self._meter, batch=facts.batch)
        self._held_before = self._meter.held
        self.prospects.shortfalls.watch(model)
