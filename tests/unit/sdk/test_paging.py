"""A model twice as large as its budget answers as the whole one does, from less memory."""

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from headrace.errors import MissingRequirement, ModelTooLarge, SetupFailed
from headrace.memory.blocks import read_blocks
from headrace.memory.paging import Rooms, plan_placement
from headrace.sdk import Device, Item, ModelPluginInterface, Placement
from headrace.sdk.paging import load_pretrained, read_placed
from headrace.sdk.testing import PluginContract, infer
from tests.utils.language_models import write_model
from tests.utils.paging_run import ITEMS, MANIFEST, create

CPU = Device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"), width=256)


def _half(folder: Path) -> int:
    return sum(read_blocks(folder, itemsize=4)) // 2


@pytest.fixture
def whole(folder: Path) -> Iterator[ModelPluginInterface]:
    plugin = create(folder)
    plugin.load_model()
    yield plugin
    plugin.cleanup()


@pytest.fixture
def paged(folder: Path, tmp_path: Path) -> Iterator[Any]:
    plugin = create(folder, offload_folder=tmp_path / "offload", device_room=_half(folder))
    plugin.load_model()
    yield plugin
    plugin.cleanup()


def _outputs(plugin: ModelPluginInterface) -> list[np.ndarray]:
    return infer(plugin, plugin.prepare(ITEMS))


def test_outputs_are_those_of_the_whole_model_bit_for_bit(whole: ModelPluginInterface, paged: Any) -> None:
    for one, other in zip(_outputs(paged), _outputs(whole), strict=True):
        assert torch.equal(torch.from_numpy(one), torch.from_numpy(other))


def test_what_waits_on_disk_takes_no_memory(paged: Any) -> None:
    waiting = [name for name, place in paged.model.hf_device_map.items() if place == "disk"]
    assert "model.layers.5" in waiting
    for module in waiting:
        assert all(parameter.is_meta for parameter in paged.model.get_submodule(module).parameters())


@pytest.mark.parametrize("after_a_batch", [False, True])
def test_the_weights_that_are_held_stay_below_the_budget(paged: Any, folder: Path, *, after_a_batch: bool) -> None:
    if after_a_batch:
        _outputs(paged)
    held = sum(parameter.nbytes for parameter in paged.model.parameters() if not parameter.is_meta)
    largest = max(read_blocks(folder, itemsize=4))
    assert 0 < held <= _half(folder) - largest
    assert read_placed(paged.model, CPU).on_device == held


def test_it_tells_where_its_weights_are_as_planned(paged: Any, folder: Path) -> None:
    assert paged.placed.paged
    assert (paged.placed.on_device, paged.placed.on_host) == (paged.placement.on_device, 0)
    assert paged.placed.on_disk == paged.placement.on_disk
    assert 0 < paged.placed.largest <= max(read_blocks(folder, itemsize=4))


def test_the_whole_model_is_on_the_device(whole: ModelPluginInterface, folder: Path) -> None:
    assert whole.placed
    assert not whole.placed.paged
    assert whole.placed.on_device == sum(read_blocks(folder, itemsize=4))


def test_a_placement_with_room_for_all_loads_plainly(folder: Path) -> None:
    plugin: Any = create(folder, device_room=4 * _half(folder))
    plugin.load_model()
    assert not hasattr(plugin.model, "hf_device_map")
    plugin.cleanup()


@pytest.mark.parametrize(("stored", "experts"), [("bfloat16", 0), ("float32", 4)])
def test_weights_that_are_not_used_as_stored_are_paged_too(tmp_path: Path, stored: str, experts: int) -> None:
    folder = write_model(tmp_path / "model", width=128, dtype=stored, experts=experts)
    whole, paged = create(folder), create(folder, offload_folder=tmp_path / "offload", device_room=_half(folder))
    whole.load_model()
    paged.load_model()
    # Experts are merged as they are loaded, so they can't be read where they lie.
    assert bool(list((tmp_path / "offload").iterdir())) == bool(experts)
    assert all(np.array_equal(*each) for each in zip(_outputs(paged), _outputs(whole), strict=True))
    whole.cleanup()
    paged.cleanup()
    assert not (tmp_path / "offload").exists()


def test_cleanup_removes_the_offload_folder_and_a_load_makes_it_anew(paged: Any) -> None:
    path = paged.placement.offload_folder
    assert path.stat().st_mode & 0o777 == 0o700
    before = _outputs(paged)
    paged.cleanup()
    assert not path.exists()
    paged.load_model()
    assert path.is_dir()
    assert all(np.array_equal(*each) for each in zip(_outputs(paged), before, strict=True))


def test_a_budget_below_the_largest_module_is_refused(folder: Path) -> None:
    largest = max(read_blocks(folder, itemsize=4))
    with pytest.raises(ModelTooLarge, match=r"^model paged does not fit: its largest module \([\d.]+ MiB\) and the"):
        create(folder, device_room=largest - 1)
    assert create(folder, device_room=largest).placement


def test_a_plan_that_was_wrong_about_the_model_is_refused_after_all(folder: Path, tmp_path: Path) -> None:
    plugin: Any = create(folder)
    plugin.placement = Placement(
        on_device=0, on_disk=1, device_limit=100, offload_folder=tmp_path / "offload", reason="wrong"
    )
    with pytest.raises(ModelTooLarge, match=r"its largest other module \([\d,]+\) .* and 100 are free there"):
        plugin.load_model()
    plugin.cleanup()
    assert list(tmp_path.iterdir()) == []


def test_paging_without_accelerate_or_a_folder_is_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Placement(on_device=0, on_disk=1, device_limit=100, reason="a test")
    options: dict[str, Any] = {"dtype": torch.float32, "device": CPU}
    with pytest.raises(SetupFailed, match="names no offload folder"):
        load_pretrained(None, folder, placement=place, **options)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingRequirement, match="pip install accelerate"):
        load_pretrained(None, folder, placement=replace(place, offload_folder=tmp_path / "x"), **options)


class Recorded:
    """Stands for a class of transformers: keeps what it was asked for."""

    def __init__(self, **device_map: Any) -> None:
        self.asked: dict[str, Any] = {}
        self.model = nn.Sequential(nn.Linear(4, 4, device="meta"), nn.Linear(4, 4, device="meta"))
        self.model.hf_device_map = device_map

    def from_pretrained(self, folder: Path, **asked: Any) -> Any:
        self.asked = asked
        return self.model


def _load_on_gpu(loader: Recorded, tmp_path: Path) -> Any:
    rooms = Rooms(device=150, host=1000)
    place = plan_placement("some", [80, 80], rooms=rooms, offload_folder=tmp_path / "offload")
    return load_pretrained(loader, tmp_path, dtype=torch.float32, device=Device("cuda"), placement=place)


def test_a_gpu_that_keeps_no_weights_is_refused_since_the_cpu_would_compute(tmp_path: Path) -> None:
    loader = Recorded(**{"0": "cpu", "1": "disk"})
    with pytest.raises(ModelTooLarge, match="none of its weights can stay on cuda:0"):
        _load_on_gpu(loader, tmp_path)
    assert loader.asked["max_memory"] == {0: 150, "cpu": 1000}
    assert loader.asked["device_map"] == "auto"


def test_nothing_is_taken_but_local_safetensors_without_code(tmp_path: Path) -> None:
    loader = Recorded(**{"": "disk"})
    with pytest.raises(ModelTooLarge):
        _load_on_gpu(loader, tmp_path)
    assert (loader.asked["use_safetensors"], loader.asked["local_files_only"]) == (True, True)
    assert loader.asked["trust_remote_code"] is False


def test_beside_a_gpu_what_waits_is_counted_where_it_waits() -> None:
    model = Recorded(**{"0": "cpu", "1.weight": "disk", "1.bias": "cpu"}).model
    placed = read_placed(model, Device("cuda"))
    assert (placed.on_device, placed.on_host, placed.on_disk, placed.largest) == (0, 80 + 16, 64, 80)


def test_a_parameter_that_was_not_loaded_is_told() -> None:
    model = Recorded(**{"": "cpu"}).model
    with pytest.raises(SetupFailed, match=r"parameter 0\.weight was not loaded, though it should be on cpu:0"):
        read_placed(model, CPU)


def test_a_model_without_parameters_has_nothing_anywhere() -> None:
    empty = SimpleNamespace(named_parameters=list, modules=list)
    assert read_placed(empty, CPU).on_device == 0


class TestPagedKeepsTheContract(PluginContract):
    manifest_path = MANIFEST
    good_items = (*ITEMS, Item(input={"ids": [7]}))
    bad_items = ({}, {"ids": []}, {"ids": "1"}, {"ids": ["a"]}, "1")

    @pytest.fixture(scope="class")
    @classmethod
    def plugin(cls, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelPluginInterface]:
        offload = tmp_path_factory.mktemp("state") / "offload"
        plugin = create(folder, offload_folder=offload, device_room=_half(folder))
        plugin.load_model()
        yield plugin
        plugin.cleanup()
