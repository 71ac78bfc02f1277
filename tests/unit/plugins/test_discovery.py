"""discover: three places, nothing imported, and one bad manifest hides no other plugin."""

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from headrace.errors import DuplicatePlugin, ManifestError, PluginError, UnknownModel
from headrace.plugins import discovery
from headrace.plugins.discovery import Catalog, discover
from tests.utils.plugins import write_manifest, write_plugin

RAISES = "raise AssertionError('imported')"


def _problems(catalog: Catalog) -> list[type[PluginError]]:
    return [type(problem) for problem in catalog.problems]


@pytest.fixture
def no_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "entry_points", lambda group: ())


def test_the_plugins_that_come_along_are_found() -> None:
    found = discover().get("minilm")
    assert found.folder.parts[-2:] == ("plugin_pkgs", "minilm")
    assert found.root == found.folder.parents[1]


def test_a_folder_of_plugins_is_searched(tmp_path: Path) -> None:
    write_plugin(tmp_path / "plug_a", source=RAISES)
    write_plugin(tmp_path / "plug_b", source=RAISES)
    (tmp_path / "notes").mkdir()
    catalog = discover([tmp_path])
    assert {"plug_a", "plug_b"} <= set(catalog.plugins)
    assert catalog.get("plug_a").root == tmp_path
    assert catalog.problems == []
    assert "plug_a" not in sys.modules


def test_a_folder_that_is_a_plugin_is_taken(tmp_path: Path) -> None:
    write_plugin(tmp_path / "plug_a")
    assert discover([tmp_path / "plug_a"]).get("plug_a").folder == tmp_path / "plug_a"


def test_a_relative_folder_is_remembered_as_an_absolute_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_plugin(tmp_path / "plug_a")
    monkeypatch.chdir(tmp_path)
    assert discover([Path()]).get("plug_a").folder == tmp_path / "plug_a"


def test_an_entry_point_that_lives_elsewhere_needs_no_root(tmp_path: Path) -> None:
    write_plugin(tmp_path / "plug_a", entry_point="installed.module:Upper")
    assert discover([tmp_path]).get("plug_a").root is None


def test_an_installed_package_is_found_by_its_entry_point_and_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plugin(tmp_path / "plug_dist" / "plug_inner", source=RAISES, entry_point="plug_dist.plug_inner.plugin:Upper")
    (tmp_path / "plug_dist" / "__init__.py").write_text(RAISES)
    monkeypatch.syspath_prepend(str(tmp_path))
    point = EntryPoint(name="inner", value="plug_dist.plug_inner", group="headrace.plugins")
    monkeypatch.setattr(discovery, "entry_points", lambda group: (point,))
    found = discover().get("plug_inner")
    assert found.folder == tmp_path / "plug_dist" / "plug_inner"
    assert "plug_dist" not in sys.modules


@pytest.mark.parametrize("value", ["plug_absent", "json.absent", "sys"])
def test_an_entry_point_without_a_package_is_a_problem(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(name="lost", value=value, group="headrace.plugins")
    monkeypatch.setattr(discovery, "entry_points", lambda group: (point,))
    catalog = discover()
    assert "minilm" in catalog.plugins
    assert "'lost'" in str(catalog.problems[0])


@pytest.mark.usefixtures("no_entry_points")
def test_a_broken_manifest_is_a_problem_that_names_its_file(tmp_path: Path) -> None:
    write_manifest(tmp_path / "plug_bad", "{")
    write_plugin(tmp_path / "plug_good")
    catalog = discover([tmp_path])
    assert "plug_good" in catalog.plugins
    assert _problems(catalog) == [ManifestError]
    assert str(tmp_path / "plug_bad" / "plugin_manifest.json") in str(catalog.problems[0])


def test_the_second_of_two_plugins_with_one_name_is_a_problem_that_names_both(tmp_path: Path) -> None:
    write_plugin(tmp_path / "plug_a", name="same")
    write_plugin(tmp_path / "plug_b", name="same")
    catalog = discover([tmp_path])
    assert catalog.get("same").folder.name == "plug_a"
    assert _problems(catalog) == [DuplicatePlugin]
    assert "plug_a" in str(catalog.problems[0])
    assert "plug_b" in str(catalog.problems[0])


def test_one_plugin_found_twice_is_no_problem(tmp_path: Path) -> None:
    write_plugin(tmp_path / "plug_a")
    assert discover([tmp_path, tmp_path / "plug_a"]).problems == []


def test_a_search_folder_that_is_missing_is_a_problem(tmp_path: Path) -> None:
    catalog = discover([tmp_path / "gone"])
    assert "minilm" in catalog.plugins
    assert "gone in HEADRACE_PLUGIN_PATH is no folder" in str(catalog.problems[0])


def test_an_unknown_model_is_refused_with_a_guess_and_what_was_left_out(tmp_path: Path) -> None:
    write_manifest(tmp_path / "plug_bad", "{")
    with pytest.raises(UnknownModel) as caught:
        discover([tmp_path]).get("minilmm")
    assert "did you mean 'minilm'?" in str(caught.value)
    assert "plug_bad" in str(caught.value)


def test_a_name_like_no_other_gets_no_guess() -> None:
    with pytest.raises(UnknownModel, match=r"unknown model 'zzz'\. Known models: .*minilm"):
        discover().get("zzz")


def test_discovery_imports_no_plugin_and_no_torch() -> None:
    code = (
        "import sys; from headrace.plugins.discovery import discover; assert discover().plugins;"
        "print([name for name in ('torch', 'plugin_pkgs', 'transformers') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
