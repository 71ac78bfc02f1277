"""Prospects: what is expected of models that are not on the device, and of the room that there can be."""

import logging
from collections.abc import Callable
from dataclasses import replace

from headrace.engine.records import Records
from headrace.engine.resident import Facts, Residents
from headrace.engine.shortfall import Shortfalls, too_large
from headrace.errors import ModelTooLarge, describe
from headrace.hardware.meter import MemoryMeter
from headrace.sdk.plugin import ModelPluginInterface

logger = logging.getLogger(__name__)

#: More bytes than there can be.
_UNTOLD = 2**62


class Prospects:
    """Knows what a load would take before it begins; one thread uses it."""

    def __init__(self, records: Records, meter: MemoryMeter, residents: Residents, clock: Callable[[], float]) -> None:
        """Nothing is known yet.

        Args:
            records: What was kept of earlier loads.
            meter: Watches the device, which has no model of this process yet.
            residents: The models on the device.
            clock: Monotonic seconds.
        """
        #: What was kept of earlier loads.
        self.records = records
        self._meter = meter
        #: Those on the device.
        self.residents = residents
        #: Of those that have left, and of those whose load is yet to come.
        self._away: dict[str, Facts] = {}
        #: What loads for which memory ended have shown.
        self.shortfalls = Shortfalls(meter, clock)
        #: Bytes that this process has of the device beside models, as last seen.
        self._held_beside = meter.held

    def facts(self, model: str) -> Facts:
        """What is known of a model."""
        resident = self.residents.get(model)
        return resident.facts if resident else self._away.get(model, Facts())

    def knows(self, model: str) -> bool:
        """Whether anything is known of a model."""
        return model in self.residents or model in self._away

    def takes(self, model: str) -> int:
        """Bytes that a model has on the device, or needs there to run; one that pages makes do with what it can get."""
        facts = self.facts(model)
        if facts.resident:
            return facts.weights
        needed = max(facts.weights, self.least(model)) + facts.batch
        return min(needed, self._meter.room + self.residents.leaving) if facts.pages else needed

    def least(self, model: str) -> int:
        """Bytes below which a model's load is not tried; 0 for unknown."""
        return max(self.facts(model).least, self.shortfalls.needed(model))

    @property
    def told(self) -> bool:
        """Whether the device tells what it has; nothing is refused, and nobody leaves, for what it does not tell."""
        return self._meter.profile().total > 0

    @property
    def obtainable(self) -> int:
        """Bytes that would be free at most if all left that may."""
        if not self.told:
            return _UNTOLD
        return self.residents.obtainable(self._meter.room, self._meter.held - self._held_beside)

    def expect(self, model: str, create: Callable[[str], ModelPluginInterface]) -> None:
        """Estimate what a model will take; what goes wrong is for its load to tell.

        Args:
            model: Its name.
            create: Imports and initialises its plugin.
        """
        self._away[model] = Facts()
        try:
            self.estimate(model, create(model))
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            logger.warning("what model %s will take is not known: %s", model, describe(error))

    def estimate(self, model: str, plugin: ModelPluginInterface) -> Facts:
        """What a model will take whose plugin was initialised.

        Raises:
            WeightsError: If the plugin pages its weights, and they cannot be read.
        """
        estimated = replace(self.records.estimate(model, plugin), used_at=self.facts(model).used_at)
        self._away[model] = estimated
        return estimated

    def left(self, model: str, facts: Facts) -> None:
        """Take in what was known of a model that has left."""
        self._away[model] = replace(facts, resident=False)
        if not self.residents.evictable:
            # Now it can be told from what libraries have, which no eviction gives back.
            self._held_beside = self._meter.held - self.residents.staying

    def refusal(self, model: str) -> ModelTooLarge:
        """Why a model cannot be loaded here and now."""
        return too_large(
            model,
            weights=self.facts(model).least,
            needed=self.shortfalls.needed(model),
            obtainable=self.obtainable,
            total=self._meter.profile().total,
            pinned=self.residents.pinned,
        )
