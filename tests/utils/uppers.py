"""Plugins that upper-case, and do what a test says besides."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from headrace.plugins.catalog import FoundPlugin
from headrace.plugins.factory import PluginFactory
from headrace.sdk import BaseConfig, Device, Item, ModelPluginInterface, Outcome, Prepared
from headrace.sdk.messages import Footprint


class Upper(ModelPluginInterface):
    """Upper-cases; `on` gives what else to do with a value before it is inferred."""

    def __init__(self, on: dict[str, Callable[[], None]]) -> None:
        self.on = on
        self.keep_alive: float | None = None
        self.log: list[str] = []
        self.weights = 0

    def load_model(self) -> None:
        """Note it."""
        self.log.append("load")
        self.on.get("load", lambda: None)()

    def prepare(self, items: Sequence[Item]) -> list[Prepared]:
        """Note it."""
        self.log += (f"prepare {item.input}" for item in items)
        return [Prepared(data=item.input) for item in items]

    def infer(self, batch: Sequence[Prepared]) -> list[Outcome]:
        """Note it, and do what is said."""
        self.log.append("infer " + " ".join(item.data for item in batch))
        for item in batch:
            self.on.get(item.data, lambda: None)()
        return [Outcome(output=item.data.upper()) for item in batch]

    def cleanup(self) -> None:
        """Note it."""
        self.log.append("cleanup")

    def footprint(self) -> Footprint:
        """So that the first batch is as large as may be."""
        return Footprint(weights=self.weights, per_unit=1)


class Beside(Upper):
    """Loads beside the batches of others."""

    loads_beside: ClassVar[bool] = True

    def __init__(self, on: dict[str, Callable[[], None]]) -> None:
        super().__init__(on)
        self.weights = 1000


class Factory(PluginFactory):
    """Gives out the test's own plugins."""

    def __init__(self, plugins: dict[str, Upper]) -> None:
        super().__init__({})
        self._plugins = plugins

    def create(self, found: FoundPlugin, device: Device) -> ModelPluginInterface:
        """One of them."""
        plugin = self._plugins[found.manifest.name]
        config = BaseConfig(max_batch_size=8, max_batch_tokens=99, batch_time_limit=5.0, keep_alive=plugin.keep_alive)
        plugin.initialize(config, device)
        return plugin
