"""PluginFactory: every way in which a plugin can't be created is a clear error."""

from pathlib import Path
from typing import Any

import pytest

from headrace.errors import ConfigError, HeadraceError, MissingRequirement, PluginImportFailed, SetupFailed
from headrace.plugins.discovery import discover
from headrace.plugins.factory import PluginFactory
from headrace.sdk import Device, Item, ModelPluginInterface
from tests.utils.plugins import write_plugin

IMPORT = "from headrace.sdk import *\n"
METHODS = "\n    def load_model(self): ...\n    def infer(self, batch): ...\n    def cleanup(self): ...\n"


def _create(folder: Path, device: str = "cpu", **overrides: Any) -> ModelPluginInterface:
    found = discover([folder]).get(folder.name)
    return PluginFactory({folder.name: overrides}).create(found, Device.parse(device))


def test_a_plugin_is_imported_configured_and_initialised(tmp_path: Path) -> None:
    write_plugin(tmp_path / "plug_a")
    plugin = _create(tmp_path / "plug_a", max_batch_size=2)
    assert plugin.config.max_batch_size == 2
    assert plugin.device.name == "cpu:0"
    assert plugin.infer(plugin.prepare([Item(input={"text": "a"})]))[0].output == "A"


def test_the_users_table_stands_over_the_plugins_file_over_the_defaults(tmp_path: Path) -> None:
    write_plugin(tmp_path / "plug_a", config="default.toml")
    (tmp_path / "plug_a" / "default.toml").write_text('max_batch_size = 3\ndtype = "float32"\n')
    config = _create(tmp_path / "plug_a", max_batch_size=2).config
    assert (config.max_batch_size, config.dtype, config.batch_time_limit) == (2, "float32", 300.0)


def test_the_manifests_weights_are_relative_to_its_folder_and_the_users_replace_them(tmp_path: Path) -> None:
    write_plugin(tmp_path / "plug_a", weights={"path": "weights"})
    default, own = _create(tmp_path / "plug_a").config, _create(tmp_path / "plug_a", weights={"hub": "a/b"}).config
    assert default.weights is not None
    assert default.weights.path == tmp_path / "plug_a" / "weights"
    assert own.weights is not None
    assert (own.weights.hub, own.weights.path) == ("a/b", None)


def test_weights_in_the_plugins_file_are_relative_to_its_folder_too(tmp_path: Path) -> None:
    write_plugin(tmp_path / "plug_a", config="default.toml")
    (tmp_path / "plug_a" / "default.toml").write_text('[weights]\npath = "weights"\n')
    weights = _create(tmp_path / "plug_a").config.weights
    assert weights is not None
    assert weights.path == tmp_path / "plug_a" / "weights"


@pytest.mark.parametrize(
    ("text", "message"),
    [("max_batch_size = 0\n", "max_batch_size"), ("surprise = 1\n", "surprise: unknown field"), ("= 1", "is not TOML")],
)
def test_a_wrong_configuration_names_its_file_and_field(tmp_path: Path, text: str, message: str) -> None:
    write_plugin(tmp_path / "plug_a", config="default.toml")
    (tmp_path / "plug_a" / "default.toml").write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        _create(tmp_path / "plug_a")
    assert str(tmp_path / "plug_a" / "default.toml") in str(caught.value)


def test_a_wrong_value_of_the_users_names_the_table(tmp_path: Path) -> None:
    write_plugin(tmp_path / "plug_a")
    with pytest.raises(ConfigError, match=r"\[models\.plug_a\]\): max_batch_size"):
        _create(tmp_path / "plug_a", max_batch_size="many")


def test_a_configuration_file_that_is_missing_is_named(tmp_path: Path) -> None:
    write_plugin(tmp_path / "plug_a", config="gone.toml")
    with pytest.raises(ConfigError, match=r"gone\.toml cannot be read"):
        _create(tmp_path / "plug_a")


@pytest.mark.parametrize(
    ("requirement", "message"),
    [
        ("no-such-package>=1", "needs no-such-package>=1, which is not installed; run: pip install"),
        ("numpy<1", "needs numpy<1, and .* is installed"),
    ],
)
def test_a_requirement_that_is_not_met_comes_with_the_command(tmp_path: Path, requirement: str, message: str) -> None:
    write_plugin(tmp_path / "plug_a", source="raise AssertionError('imported')", requirements=[requirement])
    with pytest.raises(MissingRequirement, match=message):
        _create(tmp_path / "plug_a")


def test_a_requirement_for_another_system_does_not_count(tmp_path: Path) -> None:
    write_plugin(tmp_path / "plug_a", requirements=["no-such-package; sys_platform == 'nowhere'", "numpy>=1"])
    assert _create(tmp_path / "plug_a").device.kind == "cpu"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_module", "does not import .*No module named 'no_such_module'"),
        ("syntax error", "does not import .*SyntaxError"),
        ("raise SystemExit(1)", "does not import .*SystemExit"),
        ("", "is no ModelPluginInterface"),
        ("class Upper: ...", "is no ModelPluginInterface"),
        (IMPORT + "class Upper(ModelPluginInterface): ...", "lacks cleanup, infer, load_model"),
    ],
)
def test_an_entry_point_that_is_no_plugin_names_manifest_and_reason(tmp_path: Path, source: str, message: str) -> None:
    path = write_plugin(tmp_path / "plug_a", source=source)
    with pytest.raises(PluginImportFailed, match=message) as caught:
        _create(tmp_path / "plug_a")
    assert str(path) in str(caught.value)


def test_a_module_of_the_same_name_elsewhere_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_plugin(tmp_path / "ours" / "plug_a")
    write_plugin(tmp_path / "theirs" / "plug_a")
    monkeypatch.syspath_prepend(str(tmp_path / "theirs"))
    with pytest.raises(PluginImportFailed, match=r"but that module is .*theirs.*rename"):
        _create(tmp_path / "ours" / "plug_a")


def test_a_plugin_cannot_stand_in_for_an_installed_package(tmp_path: Path) -> None:
    write_plugin(tmp_path / "plug_a", source=IMPORT + "import json\nclass Upper(ModelPluginInterface):" + METHODS)
    (tmp_path / "json.py").write_text("raise AssertionError('imported')")
    assert _create(tmp_path / "plug_a").device.kind == "cpu"


def test_a_device_that_the_model_does_not_run_on_is_refused(tmp_path: Path) -> None:
    write_plugin(tmp_path / "plug_a", devices=["cuda"])
    with pytest.raises(SetupFailed, match="runs on cuda, and this worker has cpu:0"):
        _create(tmp_path / "plug_a")


@pytest.mark.parametrize(
    ("error", "expected"), [("ValueError('no')", SetupFailed), ("WeightsError('no')", HeadraceError)]
)
def test_what_initialize_raises_is_a_headrace_error(tmp_path: Path, error: str, expected: type[HeadraceError]) -> None:
    source = (
        IMPORT
        + "from headrace.errors import WeightsError\nclass Upper(ModelPluginInterface):"
        + METHODS
        + f"    def initialize(self, config, device): raise {error}\n"
    )
    write_plugin(tmp_path / "plug_a", source=source)
    with pytest.raises(expected, match="no"):
        _create(tmp_path / "plug_a")
