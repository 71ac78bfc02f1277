"""PluginManifest: what is wrong with a file is said with its name."""

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import ManifestError
from headrace.sdk.manifest import PluginManifest, read_manifest
from tests.utils.plugins import manifest, write_manifest


def _read(folder: Path, **changes: Any) -> PluginManifest:
    return read_manifest(write_manifest(folder, json.dumps(manifest("upper", **changes))))


def test_a_valid_manifest_is_read(tmp_path: Path) -> None:
    read = _read(tmp_path)
    assert (read.name, read.module, read.class_name) == ("upper", "upper.plugin", "Upper")
    assert read.devices == ["cpu", "cuda"]
    assert read.batching == "dynamic"


def test_a_manifest_survives_json(tmp_path: Path) -> None:
    read = _read(tmp_path, weights={"path": "weights"})
    assert PluginManifest.model_validate(json.loads(json.dumps(read.model_dump(mode="json")))) == read


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "Upper Case"}, "name"),
        ({"name": "../upper"}, "name"),
        ({"name": ""}, "name"),
        ({"version": None}, "version"),
        ({"entry_point": "upper.plugin"}, "entry_point"),
        ({"entry_point": "upper plugin:Upper"}, "entry_point"),
        ({"config": "../default.toml"}, "config"),
        ({"config": "/etc/passwd"}, "config"),
        ({"devices": []}, "devices"),
        ({"devices": ["tpu"]}, "devices"),
        ({"batching": "static"}, "batching"),
        ({"requirements": ["torch =>"]}, "requirements"),
        ({"input_schema": {"type": "strange"}}, "input_schema"),
        ({"weights": {}}, "weights"),
        ({"field": "other"}, "field"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_field(tmp_path: Path, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ManifestError) as caught:
        _read(tmp_path, **changes)
    assert str(tmp_path / "plugin_manifest.json") in str(caught.value)
    assert field in str(caught.value)


def test_an_unknown_field_and_a_missing_one_come_with_the_fix(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"version: missing, add it; surprise: unknown field, remove it"):
        _read(tmp_path, version=None, surprise=1)


def test_what_is_not_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="is not JSON"):
        read_manifest(write_manifest(tmp_path, "{"))


def test_what_is_no_object_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no valid manifest"):
        read_manifest(write_manifest(tmp_path, "[]"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot be read"):
        read_manifest(tmp_path / "plugin_manifest.json")
