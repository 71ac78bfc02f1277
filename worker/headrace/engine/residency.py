"""Residency: which models are on the device, what they take of it, and who makes room for whom."""

import logging
import time
from collections.abc import Callable
from functools import partial

from headrace.engine.guard import MemoryGuard
from headrace.engine.placing import Placing, weight_blocks
from headrace.engine.rehearsal import rehearse
from headrace.engine.resident import Facts, Resident
from headrace.errors import HeadraceError, SetupFailed
from headrace.hardware.meter import MemoryMeter
from headrace.memory.allowance import Allowance
from headrace.memory.oom import drop_frames, is_out_of_memory
from headrace.memory.shape import Shape
from headrace.memory.store import CostKey, Costs, CostStore
from headrace.plugins.manager import PluginManager
from headrace.sdk.plugin import ModelPluginInterface

logger = logging.getLogger(__name__)

#: Seconds after which what was learned is kept again.
_KEEP_SECONDS = 30.0


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
        self._store = store
        self._placing = placing
        self._on_evicting = on_evicting
        self._clock = clock
        self._residents: dict[str, Resident] = {}
        #: Bytes and seconds of the last load of those that have left.
        self._left: dict[str, tuple[int, float]] = {}
        #: Bytes that this process had of the device before the present load.
        self._held_before = 0
        #: Bytes that the weights of the present load take, as far as is known.
        self._wanted = 0

    def get(self, model: str) -> Resident | None:
        """A model that is on the device, noted as used now."""
        resident = self._residents.get(model)
        if resident is not None:
            resident.used_at = self._clock()
        return resident

    @property
    def resident(self) -> list[str]:
        """Models that are on the device."""
        return list(self._residents)

    @property
    def room(self) -> int:
        """Bytes that are free now."""
        return self._meter.room

    def facts(self, model: str) -> Facts:
        """What is known of a model."""
        resident = self._residents.get(model)
        if resident is None:
            weights, load_seconds = self._left.get(model, (0, 0.0))
            return Facts(weights=weights, load_seconds=load_seconds)
        config = resident.plugin.config
        return Facts(
            resident=True,
            weights=resident.weights,
            load_seconds=resident.load_seconds,
            pinned=config.pinned,
            keep_alive=config.keep_alive,
            used_at=resident.used_at,
        )

    def load(self, model: str) -> Resident:
        """Put a model on the device; others make room for it if they must.

        Raises:
            HeadraceError: What `PluginManager.load` raises; SetupFailed also where the device is too small.
        """
        try:
            return self._load(model)
        except HeadraceError as error:
            if not is_out_of_memory(error):
                raise
            failure = error
        # Outside the except block, and without frames: they would keep alive what was half loaded.
        drop_frames(failure)
        if not self.evict_idle(besides=model):
            raise self._too_large(model) from failure
        self._manager.forget_failure(model)
        try:
            return self._load(model)
        except HeadraceError as error:
            raise (self._too_large(model) if is_out_of_memory(error) else error) from error

    def evict(self, model: str) -> None:
        """Take a model off the device."""
        resident = self._residents.pop(model)
        self._left[model] = resident.weights, resident.load_seconds
        self._keep(resident)
        self._manager.unload(model, partial(self._on_evicting, model))
        self._meter.release()
        logger.info("model %s evicted", model)

    def evict_idle(self, *, besides: str) -> int:
        """Take all models but one and the pinned ones off the device; return how many."""
        idle = [name for name, each in self._residents.items() if name != besides and not each.plugin.config.pinned]
        for name in idle:
            self.evict(name)
        return len(idle)

    def keep(self) -> None:
        """Keep what was learned since the last time, now and then."""
        for resident in self._residents.values():
            if self._clock() - resident.kept_at > _KEEP_SECONDS:
                self._keep(resident)

    def close(self) -> None:
        """Take all off the device, the last loaded one first."""
        for resident in self._residents.values():
            self._keep(resident)
        self._residents.clear()
        self._manager.close()

    def _load(self, model: str) -> Resident:
        begin = self._clock()
        plugin = self._manager.load(model, before_load=self._make_room)
        self._meter.release()
        key = self._key(model, plugin)
        costs = self._store.load(key)
        allowance = Allowance(self._clock, per_unit=plugin.footprint().per_unit)
        allowance.restore(costs.memory, costs.time)
        trials = self._store.trials(key)
        for death in trials.left():
            logger.warning("model %s: an engine has died of a batch of %s: none as large is tried", model, death.shape)
            allowance.fail(death)
        guard = MemoryGuard(
            self._meter, allowance, make_room=lambda: self._give_way(model), trials=trials, clock=self._clock
        )
        if not costs.memory:
            rehearse(model, plugin, guard)
        now = self._clock()
        weights = max(0, self._meter.held - self._held_before)
        resident = Resident(
            plugin=plugin, guard=guard, key=key, weights=weights, load_seconds=now - begin, used_at=now, kept_at=now
        )
        self._residents[model] = resident
        return resident

    def _make_room(self, model: str, plugin: ModelPluginInterface) -> None:
        """Evict the longest unused until the weights fit, as far as is known how large they are; page what does not."""
        costs = self._store.load(self._key(model, plugin))
        paged = plugin.pages_weights
        self._wanted = sum(weight_blocks(plugin)) if paged else costs.weights or plugin.footprint().weights
        while self._wanted > self._meter.room and (victim := self._longest_unused()):
            self.evict(victim)
        self._meter.release()
        self._held_before = self._meter.held
        if self._wanted > self._meter.room and not paged:
            # Hazard: tried all the same, the kernel may end the engine for it, or another process.
            raise self._too_large(model)
        if paged:
            least = Allowance(self._clock, per_unit=plugin.footprint().per_unit)
            least.restore(costs.memory, costs.time)
            plugin.placement = self._placing.plan(model, plugin, self._meter, batch=least.bound(Shape(1, 1, 1)))

    def _longest_unused(self) -> str | None:
        idle = [(each.used_at, name) for name, each in self._residents.items() if not each.plugin.config.pinned]
        return min(idle)[1] if idle else None

    def _give_way(self, model: str) -> None:
        self.evict_idle(besides=model)

    def _too_large(self, model: str) -> SetupFailed:
        wanted = f"its weights take {self._wanted / 2**20:,.1f} MiB, and " if self._wanted else ""
        room, total = self._meter.room / 2**20, self._meter.profile().total / 2**20
        return SetupFailed(
            f"model {model} does not fit: {wanted}{room:,.1f} MiB of {total:,.0f} are free on this device; "
            "use a larger one, a smaller dtype, or end what else uses it"
        )

    def _key(self, model: str, plugin: ModelPluginInterface) -> CostKey:
        return CostKey(
            model=model,
            version=self._manager.version(model),
            device=self._meter.profile().name,
            config=plugin.config.model_dump_json() + _split(plugin),
        )

    def _keep(self, resident: Resident) -> None:
        allowance = resident.guard.allowance
        resident.kept_at = self._clock()
        costs = Costs(
            weights=resident.weights,
            load_seconds=resident.load_seconds,
            memory=allowance.memory.kept,
            time=allowance.time.kept,
        )
        self._store.save(resident.key, costs)


def _split(plugin: ModelPluginInterface) -> str:
    """Tells costs of a paged model from those of the whole one: each batch brings weights to the device."""
    placement = plugin.placement
    return f"{placement.on_device}/{placement.on_host}/{placement.on_disk}" if placement and placement.paged else ""
