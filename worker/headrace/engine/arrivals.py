"""Arrivals: how a model gets on a device, with nothing else running or beside the batches of others."""

import contextlib
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from headrace.engine.departures import Departures
from headrace.engine.loader import Loader
from headrace.engine.placing import Placing
from headrace.engine.prospects import Prospects
from headrace.engine.resident import Resident
from headrace.errors import HeadraceError, describe
from headrace.hardware.meter import MemoryMeter
from headrace.memory.oom import drop_frames, is_out_of_memory
from headrace.plugins.manager import PluginManager
from headrace.sdk.plugin import ModelPluginInterface

logger = logging.getLogger(__name__)

#: Seconds that the end of an engine waits for a load beside it.
_CLOSE_SECONDS = 5.0


class Arrivals:
    """Makes room, loads, measures; one thread uses it."""

    def __init__(
        self,
        manager: PluginManager,
        meter: MemoryMeter,
        placing: Placing,
        prospects: Prospects,
        departures: Departures,
        clock: Callable[[], float],
    ) -> None:
        """Nothing is loaded yet.

        Args:
            manager: Loads plugins.
            meter: Watches the device.
            placing: Plans where the weights of models that page are to be.
            prospects: Knows what loads take, and who is on the device.
            departures: Who leaves.
            clock: Monotonic seconds.
        """
        self._manager = manager
        self._meter = meter
        self._placing = placing
        self._prospects = prospects
        self._departures = departures
        self._clock = clock
        #: Loads beside batches.
        self.loader = Loader(meter)
        #: Has the main thread call `land` now, and tell what comes of it; while the loader has a model.
        self._land_now: Callable[[], None] = lambda: None
        #: Before the present load: monotonic seconds, and bytes that this process had and had freed.
        self._began = 0.0
        self._held = self._freed = 0

    # -- with nothing else running

    def load(self, model: str, evict: Sequence[str]) -> Resident:
        """Put a model on the device.

        Args:
            model: Its name.
            evict: Who leaves for it, once nothing but their room is missing.

        Raises:
            HeadraceError: As `Residency.load`.
        """
        loaded = self._try(model, self._loading(model, evict))
        # Hazard: those that cannot help must not leave for it, again and again.
        if (
            loaded is None
            and self._prospects.least(model) <= self._prospects.obtainable
            and self._departures.evict_idle(besides=model)
        ):
            self._manager.forget_failure(model)
            loaded = self._try(model, self._loading(model, ()))
        if loaded is None:
            error = self._prospects.refusal(model)
            self._manager.note_failure(model, error)
            raise error
        return loaded

    def _loading(self, model: str, evict: Sequence[str]) -> Callable[[], ModelPluginInterface]:
        return partial(self._manager.load, model, before_load=partial(self._make_room, evict=evict))

    # -- beside the batches of others

    def begin(
        self,
        model: str,
        *,
        within: Callable[[], AbstractContextManager[Any]],
        then: Callable[[], None],
        land_now: Callable[[], None],
    ) -> bool:
        """Begin to load a model for which nobody need leave, if it allows that.

        Args:
            model: Its name.
            within: Makes what is entered on the load's thread for as long as it lasts.
            then: Called on that thread once `land` is to be called.
            land_now: Called on this one, where an item waits for the room: calls `land`.

        Returns:
            Whether it has begun; if not, `load` is what remains.

        Raises:
            HeadraceError: As `load`, save what the plugin's `load_model` raises.
        """
        facts = self._prospects.facts(model)
        if not facts.weights or not self._prospects.residents:
            return False
        if not self.loader.suits(model, self._manager.create(model), facts):
            return False
        plugin = self._manager.begin(model, before_load=partial(self._make_room, evict=()))
        self._prospects.shortfalls.unwatch()
        self._land_now = land_now
        self.loader.start(model, plugin, facts, within=within(), then=then)
        return True

    def land(self) -> Resident | None:
        """Wait for the load that has begun, and take the model in.

        Returns:
            None if there is none, or memory ended: then nothing runs beside the next load of the model.

        Raises:
            HeadraceError: As `load`.
        """
        landed = self.loader.land()
        if landed is None:
            return None
        model, plugin, error = landed
        resident = self._try(model, partial(self._manager.end, model, plugin, error))
        if resident is None:
            self.loader.alone.add(model)
            self._manager.forget_failure(model)
        return resident

    def close(self) -> None:
        """Clean up what is being loaded, if that ends soon."""
        if landed := self.loader.land(_CLOSE_SECONDS):
            with contextlib.suppress(HeadraceError):
                self._manager.end(*landed)

    # -- both

    def _try(self, model: str, load: Callable[[], ModelPluginInterface]) -> Resident | None:
        """Load a model; None if memory ended."""
        try:
            return self._take_in(model, load)
        except HeadraceError as error:
            if not is_out_of_memory(error):
                raise
            logger.warning("model %s: memory ended while it was loaded: %s", model, describe(error))
            failure = error
        # Outside the except block, and without frames: they would keep alive what was half loaded.
        drop_frames(failure)
        self._meter.release()
        return None

    def _take_in(self, model: str, load: Callable[[], ModelPluginInterface]) -> Resident:
        try:
            plugin = load()
        except HeadraceError as error:
            self._placing.release(model)
            if is_out_of_memory(error):
                self._prospects.shortfalls.note(model, error)
            raise
        try:
            resident = self._prospects.records.measure(
                model,
                plugin,
                load_seconds=self._clock() - self._began,
                make_room=partial(self._give_way, model),
            )
        except Exception:
            # Nobody would ever evict it.
            self._departures.unload(model)
            raise
        # Others may have left for its first batch.
        resident.weights = max(0, self._meter.held - self._held + self._departures.freed - self._freed)
        self._prospects.residents[model] = resident
        self._prospects.shortfalls.forget(model)
        return resident

    def _give_way(self, model: str, needed: int) -> None:
        """Have the others leave for an item; not if it needs more than there would be even so."""
        if self.loader.model:
            self._land_now()
        if needed <= self._prospects.obtainable:
            self._departures.evict_idle(besides=model)

    def _make_room(self, model: str, plugin: ModelPluginInterface, *, evict: Sequence[str]) -> None:
        """Have others leave until the weights fit, as far as is known how large they are; page what does not."""
        self._began = self._clock()
        facts = self._prospects.estimate(model, plugin)
        least = self._prospects.least(model)
        if least > self._prospects.obtainable:
            raise self._prospects.refusal(model)
        for victim in evict:
            self._departures.evict(victim)
        wanted = max(facts.weights, least) + facts.batch
        residents = self._prospects.residents
        while self._prospects.told and wanted > self._meter.room and residents.evictable:
            self._departures.evict(residents.evictable[0])
        self._meter.release()
        if self._prospects.told and least > self._meter.room:
            # Hazard: tried all the same, the kernel may end the engine for it, or another process.
            raise self._prospects.refusal(model)
        if plugin.pages_weights:
            plugin.placement = self._placing.plan(model, plugin, self._meter, batch=facts.batch)
        self._held, self._freed = self._meter.held, self._departures.freed
        self._prospects.shortfalls.watch(model)
