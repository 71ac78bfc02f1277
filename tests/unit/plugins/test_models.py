"""KnownModels: what a client may ask for, from workers and from this machine."""

import logging
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import UnknownModel
from headrace.plugins.discovery import discover
from headrace.plugins.models import KnownModels
from tests.utils.plugins import manifest, write_plugin


def _known(folder: Path, **published: dict[str, Any]) -> KnownModels:
    return KnownModels(lambda: published, lambda: discover([folder]))


def test_models_of_workers_and_of_this_machine_are_known(tmp_path: Path) -> None:
    write_plugin(tmp_path / "plug_a")
    known = _known(tmp_path, plug_b=manifest("plug_b"))
    assert {"plug_a", "plug_b"} <= known.all().keys()
    assert known.get("plug_b").name == "plug_b"


def test_what_a_worker_serves_stands_over_what_lies_here(tmp_path: Path) -> None:
    write_plugin(tmp_path / "plug_a", version="1.0.0")
    assert _known(tmp_path, plug_a=manifest("plug_a", version="2.0.0")).get("plug_a").version == "2.0.0"


def test_a_manifest_of_another_version_is_told_and_hides_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known = _known(tmp_path, strange={"name": "strange", "shape": "round"}, plug_b=manifest("plug_b"))
    with caplog.at_level(logging.WARNING):
        assert "strange" not in known.all()
    assert "manifest of strange is not understood" in caplog.text
    assert known.get("plug_b").name == "plug_b"


def test_an_unknown_model_is_refused_with_the_one_that_was_meant(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="did you mean 'plug_b'"):
        _known(tmp_path, plug_b=manifest("plug_b")).get("plug_bb")
