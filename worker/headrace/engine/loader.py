"""Loader: one model's `load_model` on a thread of its own, while the main one runs batches of others."""

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from headrace.engine.resident import Facts
from headrace.hardware.meter import MemoryMeter
from headrace.sdk.plugin import ModelPluginInterface

logger = logging.getLogger(__name__)

#: How much more than its estimated bytes a load may take while others run.
_MARGIN = 1.25


class Loader:
    """Runs one load at a time; what becomes of it is for the main thread, which calls all of this."""

    def __init__(self, meter: MemoryMeter) -> None:
        """Nothing is being loaded.

        Args:
            meter: Watches the device; keeps the load's bytes from batches.
        """
        self._meter = meter
        self._error: BaseException | None = None
        self._ended = threading.Event()
        #: The model that is being loaded, or was and is to be landed; empty for none.
        self.model = ""
        self._plugin: ModelPluginInterface | None = None
        #: Models beside whose load nothing may run.
        self.alone: set[str] = set()

    def suits(self, model: str, plugin: ModelPluginInterface, facts: Facts) -> bool:
        """Whether batches of others may run while a plugin of known size is loaded."""
        fits = max(_bytes(facts), facts.least) + facts.batch <= self._meter.room
        return plugin.loads_beside and fits and not self.model and model not in self.alone

    def start(
        self,
        model: str,
        plugin: ModelPluginInterface,
        facts: Facts,
        *,
        within: AbstractContextManager[Any],
        then: Callable[[], None],
    ) -> None:
        """Begin.

        Args:
            model: Its name.
            plugin: All is done but `load_model`.
            facts: How large it will be.
            within: Entered on the thread for as long as the load takes.
            then: Called on the thread once it has ended.
        """
        self.model, self._plugin = model, plugin
        self._error = None
        self._ended.clear()
        self._meter.reserve(_bytes(facts))
        try:
            threading.Thread(target=self._run, args=(plugin, within, then), name="load", daemon=True).start()
        except RuntimeError:
            logger.warning("model %s is loaded with nothing beside it: no thread can be started", model)
            self._run(plugin, within, then)

    @property
    def ended(self) -> bool:
        """Whether a load is to be landed."""
        return self._ended.is_set()

    def wait(self) -> None:
        """Wait for the load's end, which the worker's time limit bounds."""
        if self.model:
            self._ended.wait()

    def land(self, timeout: float | None = None) -> tuple[str, ModelPluginInterface, BaseException | None] | None:
        """Wait as `wait` does, or for some seconds; what came of the load, once.

        Returns:
            The model, its plugin, and what `load_model` has raised; None if there is no load, or it goes on.
        """
        if self._plugin is None or not self._ended.wait(timeout):
            return None
        landed = self.model, self._plugin, self._error
        self._ended.clear()
        self.model, self._plugin, self._error = "", None, None
        self._meter.unreserve()
        return landed

    def _run(self, plugin: ModelPluginInterface, within: AbstractContextManager[Any], then: Callable[[], None]) -> None:
        try:
            with within, self._meter.on_thread():
                plugin.load_model()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the main thread raises it again
            self._error = error
        self._ended.set()
        then()


def _bytes(facts: Facts) -> int:
    return int(_MARGIN * facts.weights)
