"""A device of 100 MiB, and models that are too many for it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from headrace.engine.placing import Placing
from headrace.engine.residency import Residency
from headrace.hardware.virtual import VirtualMemory, VirtualMeter
from headrace.memory.store import CostStore
from headrace.plugins.catalog import Catalog, FoundPlugin
from headrace.plugins.factory import PluginFactory
from headrace.plugins.manager import PluginManager
from headrace.sdk import BaseConfig, Device, ModelPluginInterface, Outcome, PluginManifest, Prepared
from headrace.sdk.messages import Footprint

MIB = 2**20
#: MiB of each part of a model's weights. `tight` leaves some batches no room beside `a`.
WEIGHTS = {
    "a": [30.0],
    "b": [40.0],
    "c": [50.0],
    "coy": [60.0],
    "giant": [200.0],
    "shy": [60.0, 60.0],
    "steps": [30.0] * 4,
    "tight": [69.95],
    "large": [65.0],
    "broken": [30.0],
}
#: Those that do not say how large they are.
SILENT = ("coy", "shy", "steps")


class Heavy(ModelPluginInterface):
    """Weights of a size, and nothing else."""

    loads_beside: ClassVar[bool] = True
    weights: Any = None

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def load_model(self) -> None:
        """Take what the weights need."""
        self.log.append(f"load {self.name}")
        self.weights = [torch.empty(int(part * MIB), dtype=torch.uint8) for part in WEIGHTS[self.name]]
        if self.name == "broken":
            raise ValueError("no such file")

    def infer(self, batch: Sequence[Prepared]) -> list[Outcome]:
        """Take a little."""
        torch.empty(sum(item.size for item in batch) * 1000, dtype=torch.uint8)
        return [Outcome(output=1) for _ in batch]

    def cleanup(self) -> None:
        """Drop the weights."""
        self.weights = None
        self.log.append(f"cleanup {self.name}")

    def sample(self, size: int) -> Prepared | None:
        """Of any size."""
        return Prepared(size=size)

    def footprint(self) -> Footprint:
        """What it takes, if it says."""
        return Footprint(weights=0 if self.name in SILENT else int(sum(WEIGHTS[self.name]) * MIB))


class Factory(PluginFactory):
    """Gives out heavy plugins."""

    def __init__(self, log: list[str], pinned: str, keep_alive: float | None) -> None:
        super().__init__({})
        self.log, self.pinned, self.keep_alive = log, pinned, keep_alive

    def create(self, found: FoundPlugin, device: Device) -> ModelPluginInterface:
        """One of the models."""
        plugin = Heavy(found.manifest.name, self.log)
        plugin.initialize(BaseConfig(pinned=plugin.name in self.pinned.split(), keep_alive=self.keep_alive), device)
        return plugin


class World:
    """A device of 100 MiB and a residency on it."""

    def __init__(
        self,
        folder: Path,
        *,
        pinned: str = "",
        keep_alive: float | None = None,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.log: list[str] = []
        self.evicted: list[str] = []
        self.memory = VirtualMemory(100 * MIB)
        manifests = [PluginManifest(name=name, version="1", entry_point="a:B", task="t") for name in WEIGHTS]
        catalog = Catalog(
            plugins={each.name: FoundPlugin(manifest=each, folder=folder, root=None) for each in manifests}
        )
        device = Device("cpu")
        self.store = CostStore(folder / "costs")
        self.residency = Residency(
            PluginManager(catalog, Factory(self.log, pinned, keep_alive), device),
            VirtualMeter(self.memory, device, 1.0),
            self.store,
            placing=Placing(folder / "offload"),
            on_evicting=self._on_evicting,
            clock=clock,
        )

    def _on_evicting(self, model: str) -> None:
        self.log.append("quiesce")
        self.evicted.append(model)
