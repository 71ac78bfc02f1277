"""Residency: models come and go by the room that there is, on a virtual device."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from headrace.engine.placing import Placing
from headrace.engine.residency import Residency
from headrace.errors import SetupFailed
from headrace.hardware.virtual import VirtualMemory, VirtualMeter
from headrace.memory.store import CostStore
from headrace.plugins.catalog import Catalog, FoundPlugin
from headrace.plugins.factory import PluginFactory
from headrace.plugins.manager import PluginManager
from headrace.sdk import BaseConfig, Device, ModelPluginInterface, Outcome, PluginManifest, Prepared
from headrace.sdk.messages import Footprint

MIB = 2**20
#: MiB of each model's weights; `coy` does not say.
WEIGHTS = {"a": 30, "b": 40, "c": 50, "coy": 60, "giant": 200}


class Heavy(ModelPluginInterface):
    """Weights of a size, and nothing else."""

    weights: Any = None

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def load_model(self) -> None:
        self.weights = torch.empty(WEIGHTS[self.name] * MIB, dtype=torch.uint8)
        self.log.append(f"load {self.name}")

    def infer(self, batch: list[Prepared]) -> list[Outcome]:
        torch.empty(sum(item.size for item in batch) * 1000, dtype=torch.uint8)
        return [Outcome(output=1) for _ in batch]

    def cleanup(self) -> None:
        self.weights = None
        self.log.append(f"cleanup {self.name}")

    def sample(self, size: int) -> Prepared | None:
        return Prepared(size=size)

    def footprint(self) -> Footprint:
        return Footprint(weights=0 if self.name == "coy" else WEIGHTS[self.name] * MIB)


class Factory(PluginFactory):
    """Gives out heavy plugins."""

    def __init__(self, log: list[str], pinned: str) -> None:
        super().__init__({})
        self.log, self.pinned = log, pinned

    def create(self, found: FoundPlugin, device: Device) -> ModelPluginInterface:
        plugin = Heavy(found.manifest.name, self.log)
        plugin.initialize(BaseConfig(pinned=plugin.name == self.pinned), device)
        return plugin


class World:
    """A device of 100 MiB and a residency on it."""

    def __init__(self, folder: Path, *, pinned: str = "", clock: Callable[[], float] = lambda: 0.0) -> None:
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
            PluginManager(catalog, Factory(self.log, pinned), device),
            VirtualMeter(self.memory, device, 1.0),
            self.store,
            placing=Placing(folder / "offload"),
            on_evicting=self._on_evicting,
            clock=clock,
        )

    def _on_evicting(self, model: str) -> None:
        self.log.append("quiesce")
        self.evicted.append(model)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    with world.memory.enforce():
        yield world


def test_a_model_that_fits_beside_the_others_moves_nobody(world: World) -> None:
    assert world.residency.load("a").weights == 30 * MIB
    assert world.residency.load("b").weights == 40 * MIB
    assert world.evicted == []
    assert world.memory.held == 70 * MIB


def test_the_longest_unused_make_room_and_no_more_of_them_than_needed(tmp_path: Path) -> None:
    time = [0.0]
    world = World(tmp_path, clock=lambda: time[0])
    with world.memory.enforce():
        world.residency.load("a")
        time[0] = 1.0
        world.residency.load("b")
        time[0] = 2.0
        assert world.residency.get("a") is not None
        world.residency.load("c")
    assert world.evicted == ["b"]
    assert world.log[2:] == ["quiesce", "cleanup b", "load c"]
    assert world.residency.get("b") is None


def test_a_pinned_model_stays(tmp_path: Path) -> None:
    world = World(tmp_path, pinned="a")
    with world.memory.enforce():
        world.residency.load("a")
        world.residency.load("b")
        world.residency.load("c")
    assert world.evicted == ["b"]


def test_a_model_that_does_not_say_how_large_it_is_gets_room_when_it_fails(world: World) -> None:
    world.residency.load("b")
    world.residency.load("coy")
    assert world.evicted == ["b"]
    assert world.memory.held == 60 * MIB


def test_how_large_it_was_is_known_the_next_time(world: World) -> None:
    world.residency.load("coy")
    world.residency.evict("coy")
    world.residency.load("c")
    world.log.clear()
    world.residency.load("coy")
    assert world.log == ["quiesce", "cleanup c", "load coy"]


def test_a_model_that_no_eviction_can_help_is_refused_in_one_sentence(world: World) -> None:
    world.residency.load("a")
    with pytest.raises(SetupFailed, match=r"giant does not fit: its weights take .*, and 100\.0 MiB of 100 are free"):
        world.residency.load("giant")
    assert world.memory.held == 0
    assert world.residency.load("a").weights == 30 * MIB


def test_what_batches_cost_is_measured_after_loading_and_known_the_next_time(world: World) -> None:
    guard = world.residency.load("a").guard
    assert guard.allowance.memory.samples >= 6
    world.residency.evict("a")
    learned = world.residency.load("a").guard.allowance.memory
    assert learned.kept
    assert world.log.count("load a") == 2


def test_closing_keeps_costs_and_cleans_up_the_last_loaded_first(world: World) -> None:
    world.residency.load("a")
    world.residency.load("b")
    world.residency.close()
    assert world.log[2:] == ["cleanup b", "cleanup a"]
    assert len(list((world.store._folder).iterdir())) == 2
