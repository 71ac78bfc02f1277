"""Records: what models have cost on this device, kept between runs."""

import logging
from collections.abc import Callable
from functools import partial

from headrace.engine.estimate import estimate
from headrace.engine.guard import MemoryGuard
from headrace.engine.rehearsal import rehearse
from headrace.engine.resident import Facts, Resident
from headrace.hardware.meter import MemoryMeter
from headrace.memory.allowance import Allowance
from headrace.memory.store import CostKey, Costs, CostStore
from headrace.plugins.manager import PluginManager
from headrace.sdk.plugin import ModelPluginInterface

logger = logging.getLogger(__name__)

#: Seconds after which what was learned is kept again.
_KEEP_SECONDS = 30.0


class Records:
    """Reads what was kept of a model, measures one that was loaded, and keeps what its batches teach."""

    def __init__(
        self, manager: PluginManager, meter: MemoryMeter, store: CostStore, clock: Callable[[], float]
    ) -> None:
        """Nothing is read yet.

        Args:
            manager: Knows the plugins' versions.
            meter: Watches the device.
            store: Keeps costs between runs.
            clock: Monotonic seconds.
        """
        self._manager = manager
        self._meter = meter
        self._store = store
        self._clock = clock

    def estimate(self, model: str, plugin: ModelPluginInterface) -> Facts:
        """What a model will take that is not loaded.

        Raises:
            WeightsError: If the plugin pages its weights, and they cannot be read.
        """
        return estimate(plugin, self._store.load(self._key(model, plugin)))

    def measure(
        self, model: str, plugin: ModelPluginInterface, *, load_seconds: float, make_room: Callable[[int], None]
    ) -> Resident:
        """Measure what the batches of a model cost that was loaded just now, if nobody knows.

        Args:
            model: Its name.
            plugin: It is loaded.
            load_seconds: What the load took.
            make_room: Evicts what the device can do without, for so many bytes.
        """
        self._meter.release()
        key = self._key(model, plugin)
        costs = self._store.load(key)
        allowance, trials = self._allowance(plugin, key, costs), self._store.trials(key)
        if not costs.memory:
            # For a made-up batch others leave only if nothing else fits either.
            give_way = partial(_unless_learned, allowance, make_room)
            guard = MemoryGuard(self._meter, allowance, make_room=give_way, trials=trials, clock=self._clock)
            rehearse(model, plugin, guard)
            self._meter.release()
        guard = MemoryGuard(self._meter, allowance, make_room=make_room, trials=trials, clock=self._clock)
        now = self._clock()
        return Resident(plugin=plugin, guard=guard, key=key, load_seconds=load_seconds, used_at=now, kept_at=now)

    def keep(self, resident: Resident, *, now: bool = False) -> None:
        """Keep what was learned since the last time: now, or now and then."""
        if not now and self._clock() - resident.kept_at <= _KEEP_SECONDS:
            return
        resident.kept_at = self._clock()
        allowance = resident.guard.allowance
        costs = Costs(
            weights=resident.weights,
            load_seconds=resident.load_seconds,
            memory=allowance.memory.kept,
            time=allowance.time.kept,
        )
        self._store.save(resident.key, costs)

    def _allowance(self, plugin: ModelPluginInterface, key: CostKey, costs: Costs) -> Allowance:
        allowance = Allowance(self._clock, per_unit=plugin.footprint().per_unit)
        allowance.restore(costs.memory, costs.time)
        for death in self._store.trials(key).left():
            logger.warning(
                "model %s: an engine has died of a batch of %s: none as large is tried", key.model, death.shape
            )
            allowance.fail(death)
        return allowance

    def _key(self, model: str, plugin: ModelPluginInterface) -> CostKey:
        return CostKey(
            model=model,
            version=self._manager.version(model),
            device=self._meter.profile().name,
            config=plugin.config.model_dump_json() + _split(plugin),
        )


def _unless_learned(allowance: Allowance, make_room: Callable[[int], None], needed: int) -> None:
    if allowance.memory.samples == 0:
        make_room(needed)


def _split(plugin: ModelPluginInterface) -> str:
    """Tells costs of a paged model from those of the whole one: each batch brings weights to the device."""
    placement = plugin.placement
    return f"{placement.on_device}/{placement.on_host}/{placement.on_disk}" if placement and placement.paged else ""
