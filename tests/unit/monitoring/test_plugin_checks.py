"""Doctor's look at plugins: whatever one does as it is imported, every plugin has its check."""

from pathlib import Path
from typing import Any

import pytest

from headrace.monitoring.checks import Check, Verdict
from headrace.monitoring.plugin_checks import examine_plugins, import_problems
from headrace.settings import Settings
from tests.utils.plugins import write_plugin


def _settings(folder: Path, **values: Any) -> Settings:
    return Settings(state_dir=folder / "state", redis_url=None, plugin_path=[folder], **values)


def _problem(folder: Path, **values: Any) -> str:
    return import_problems(_settings(folder, **values), ["plug_a"])["plug_a"] or ""


@pytest.fixture(scope="module")
def checks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Check]:
    """What doctor says about a plugin that works, a broken manifest, and two tables of which one is of no model."""
    folder = tmp_path_factory.mktemp("plugins")
    write_plugin(folder / "plug_a")
    write_plugin(folder / "plug_b")
    (folder / "odd").mkdir()
    (folder / "odd" / "plugin_manifest.json").write_text("{")
    settings = _settings(folder, models={"plug_aa": {}, "plug_b": {"max_batch_sise": 3}})
    return {check.name: check for check in examine_plugins(settings)}


def _spoil(folder: Path, line: str) -> None:
    module = folder / "plugin.py"
    module.write_text(f"{line}\n{module.read_text()}")


def test_a_plugin_that_imports_is_ok_beside_a_broken_manifest(checks: dict[str, Check]) -> None:
    assert checks["model plug_a"].verdict is Verdict.OK
    assert "odd/plugin_manifest.json" in checks["plugin"].mend


def test_a_value_that_the_configuration_refuses_is_told(checks: dict[str, Check]) -> None:
    assert checks["model plug_b"].verdict is Verdict.BROKEN
    assert "max_batch_sise" in checks["model plug_b"].mend


def test_a_table_of_no_model_is_told_with_the_name_that_was_meant(checks: dict[str, Check]) -> None:
    assert "did you mean 'plug_a'" in checks["configuration"].found
    assert "[models.plug_aa]" in checks["configuration"].mend


def test_a_missing_requirement_is_told_with_its_fix(tmp_path: Path) -> None:
    needs = ["orjson>=1", "torch; python_version<'3'", "no-such-distribution>=1"]
    write_plugin(tmp_path / "plug_a", requirements=needs)
    assert "pip install 'no-such-distribution>=1'" in _problem(tmp_path)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("import no_such_module", "No module named 'no_such_module'"),
        ("import os; os._exit(4)", "ended with code 4"),
        ("import ctypes; ctypes.string_at(0)", "ended with code -11"),
    ],
)
def test_a_plugin_that_does_not_import_is_told_and_the_next_one_is_still_checked(
    tmp_path: Path, line: str, told: str
) -> None:
    write_plugin(tmp_path / "plug_a")
    write_plugin(tmp_path / "plug_b")
    _spoil(tmp_path / "plug_a", line)
    problems = import_problems(_settings(tmp_path), ["plug_a", "plug_b"])
    assert told in (problems["plug_a"] or "")
    assert problems["plug_b"] is None


def test_what_a_plugin_prints_as_it_is_imported_disturbs_nothing(tmp_path: Path) -> None:
    write_plugin(tmp_path / "plug_a")
    _spoil(tmp_path / "plug_a", "import os; print('hello'); os.write(1, b'[1, 2]\\n3\\n')")
    assert _problem(tmp_path) == ""
