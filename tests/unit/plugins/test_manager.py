"""PluginManager: loads once, remembers failures for a while, cleans up."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from headrace.errors import HeadraceError, ModelTooLarge, SetupFailed, UnknownModel, WeightsError
from headrace.plugins import manager as manager_module
from headrace.plugins.catalog import Catalog, FoundPlugin
from headrace.plugins.factory import PluginFactory
from headrace.plugins.manager import RETRY_AFTER, PluginManager, get_plugin_manager, open_plugin_manager
from headrace.sdk import BaseConfig, Device, ModelPluginInterface, Outcome, PluginManifest, Prepared
from headrace.sdk.attention import AttentionNeed, AttentionStrategy
from headrace.sdk.testing import RecordingAttention

CPU = Device("cpu")


class Plain(ModelPluginInterface):
    """Keeps what was done to it, in `log` of the class."""

    log: ClassVar[list[str]] = []
    raises: ClassVar[dict[str, Exception]] = {}

    def __init__(self, name: str) -> None:
        self.name = name

    def _do(self, what: str) -> None:
        self.log.append(f"{what} {self.name}")
        if what in self.raises:
            raise self.raises[what]

    def load_model(self) -> None:
        self._do("load")

    def infer(self, batch: Sequence[Prepared]) -> list[Outcome]:
        return []

    def cleanup(self) -> None:
        self._do("cleanup")


class Attending(Plain):
    uses_attention = True


class Factory(PluginFactory):
    """Creates without a file."""

    def create(self, found: FoundPlugin, device: Device) -> ModelPluginInterface:
        plugin = (Attending if found.manifest.name.startswith("attending") else Plain)(found.manifest.name)
        plugin.initialize(BaseConfig(dtype="bfloat16"), device)
        return plugin


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def _found(name: str) -> FoundPlugin:
    manifest = PluginManifest(name=name, version="1", entry_point="a:B", task="t")
    return FoundPlugin(manifest=manifest, folder=Path("/nowhere"), root=None)


@pytest.fixture
def catalog() -> Catalog:
    return Catalog(plugins={name: _found(name) for name in ("a", "b", "attending")})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def manager(catalog: Catalog, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> PluginManager:
    monkeypatch.setattr(Plain, "log", [])
    monkeypatch.setattr(Plain, "raises", {})
    return PluginManager(catalog, Factory(), CPU, clock=clock)


def test_a_model_is_loaded_once_and_kept(manager: PluginManager) -> None:
    assert manager.resident() == []
    assert manager.load("a") is manager.load("a")
    assert manager.resident() == ["a"]
    assert Plain.log == ["load a"]


def test_unloading_cleans_up_and_the_next_load_starts_afresh(manager: PluginManager) -> None:
    first = manager.load("a")
    manager.unload("a")
    assert manager.resident() == []
    assert manager.load("a") is not first
    assert Plain.log == ["load a", "cleanup a", "load a"]


def test_unloading_what_is_not_loaded_does_nothing(manager: PluginManager) -> None:
    manager.unload("a")
    assert Plain.log == []


def test_close_cleans_all_up_last_loaded_first_whatever_one_raises(
    manager: PluginManager, caplog: pytest.LogCaptureFixture
) -> None:
    manager.load("a")
    manager.load("b")
    Plain.raises["cleanup"] = ValueError("stuck")
    with caplog.at_level(logging.ERROR):
        manager.close()
    assert Plain.log[2:] == ["cleanup b", "cleanup a"]
    assert manager.resident() == []
    assert "stuck" in caplog.text


def test_a_failed_load_is_cleaned_up_and_raised_again_at_once_until_its_time(
    manager: PluginManager, clock: Clock
) -> None:
    Plain.raises["load"] = ValueError("no memory")
    with pytest.raises(SetupFailed, match="model a: load_model raised ValueError: no memory"):
        manager.load("a")
    assert Plain.log == ["load a", "cleanup a"]
    clock.now += RETRY_AFTER - 1
    with pytest.raises(SetupFailed, match="no memory"):
        manager.load("a")
    assert Plain.log == ["load a", "cleanup a"]
    clock.now += 1
    Plain.raises.clear()
    manager.load("a")
    assert manager.resident() == ["a"]


def test_a_failure_keeps_its_class_and_no_frames_of_the_load(manager: PluginManager) -> None:
    Plain.raises["load"] = WeightsError("another hash")
    for _ in range(2):
        with pytest.raises(WeightsError, match="another hash"):
            manager.load("a")
    assert manager._failures["a"].error is not Plain.raises["load"]


class Strange(SetupFailed):
    """A plugin's own, of more than a message."""

    code = "strange"

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")
        self.retryable = True


def test_a_failure_of_a_plugins_own_class_is_remembered_as_well(manager: PluginManager) -> None:
    Plain.raises["load"] = Strange("no", "reason")
    with pytest.raises(Strange):
        manager.load("a")
    assert manager.failed_lately("a")
    with pytest.raises(HeadraceError, match="no: reason") as caught:
        manager.load("a")
    assert (caught.value.code, caught.value.retryable) == ("strange", True)


def test_what_was_created_before_is_what_is_loaded(manager: PluginManager) -> None:
    created = manager.create("a")
    assert manager.create("a") is created
    assert manager.get("a") is None
    assert Plain.log == []
    assert manager.load("a") is created
    assert manager.create("a") is created
    manager.unload("a")
    assert manager.create("a") is not created


def test_a_failure_may_be_told_in_other_words(manager: PluginManager, clock: Clock) -> None:
    assert not manager.failed_lately("a")
    manager.note_failure("a", ModelTooLarge("too large"))
    with pytest.raises(ModelTooLarge, match="too large"):
        manager.load("a")
    clock.now += RETRY_AFTER
    assert not manager.failed_lately("a")


def test_one_models_failure_is_not_anothers(manager: PluginManager) -> None:
    Plain.raises["load"] = ValueError("no")
    with pytest.raises(SetupFailed):
        manager.load("a")
    Plain.raises.clear()
    manager.load("b")
    assert manager.resident() == ["b"]


def test_an_unknown_model_is_refused(manager: PluginManager) -> None:
    with pytest.raises(UnknownModel):
        manager.load("zzz")


def test_attention_is_made_for_the_dtype_and_only_for_those_who_use_it(
    catalog: Catalog, manager: PluginManager, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[object] = []
    strategy = RecordingAttention()

    def attention(dtype: str, need: AttentionNeed) -> AttentionStrategy:
        asked.extend([dtype, need])
        return strategy

    own = PluginManager(catalog, Factory(), CPU, attention)
    assert own.load("a").attention is None
    assert asked == []
    with caplog.at_level(logging.INFO):
        assert own.load("attending").attention is strategy
    assert asked == ["bfloat16", AttentionNeed()]
    assert f"model attending: attention {strategy}" in caplog.text
    assert manager.load("attending").attention is None


def test_a_process_has_one_manager(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager_module, "_opened", [])
    with pytest.raises(RuntimeError, match="no plugin manager"):
        get_plugin_manager()
    opened = open_plugin_manager(catalog=catalog, factory=Factory(), device=CPU)
    assert get_plugin_manager() is opened
    with pytest.raises(RuntimeError, match="use get_plugin_manager"):
        open_plugin_manager(catalog=catalog, factory=Factory(), device=CPU)
