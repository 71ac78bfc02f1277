"""WeightSource: exactly one place, confined, hashed, safetensors only."""

import hashlib
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from headrace.errors import WeightsError
from headrace.sdk.weights import WeightSource


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture
def package(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An installed package that must not be imported."""
    root = tmp_path / "carried_weights"
    root.mkdir()
    (root / "__init__.py").write_text("raise AssertionError('imported')")
    folder.rename(root / "model")
    monkeypatch.syspath_prepend(str(tmp_path))
    return root.name


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"path": "/a", "hub": "b"},
        {"path": "/a", "package": "b"},
        {"path": "/a", "file": "b"},
        {"path": "/a", "revision": "b"},
        {"package": "a.b"},
        {"package": "a", "file": "../b"},
        {"package": "a", "file": "/b"},
        {"hub": "../a"},
        {"hub": "a", "unknown": 1},
        {"path": "/a", "sha256": {"model": "abc"}},
        {"path": "/a", "sha256": {"model": "G" * 64}},
        {"path": "/a", "sha256": {"../model": "0" * 64}},
    ],
)
def test_a_source_that_is_not_exactly_one_confined_place_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        WeightSource.model_validate(values)


def test_a_folder_with_safetensors_is_taken(folder: Path) -> None:
    assert WeightSource(path=folder).resolve() == folder


def test_a_source_survives_json() -> None:
    source = WeightSource(package="a", file="model", sha256={"b": "0" * 64})
    assert WeightSource.model_validate(source.model_dump(mode="json")) == source


def test_the_right_hash_is_accepted(folder: Path) -> None:
    digest = hashlib.sha256(b"weights").hexdigest()
    assert WeightSource(path=folder, sha256={"model.safetensors": digest}).resolve() == folder


def test_another_hash_is_refused_and_the_file_named(folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"model\.safetensors has sha256 .* expected 000"):
        WeightSource(path=folder, sha256={"model.safetensors": "0" * 64}).resolve()


def test_a_hashed_file_that_is_missing_is_named(folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"vocab\.txt is missing"):
        WeightSource(path=folder, sha256={"vocab.txt": "0" * 64}).resolve()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "model.pkl", "model.ckpt"])
def test_weights_that_could_run_code_are_refused(folder: Path, name: str) -> None:
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(WeightsError, match="no safetensors"):
        WeightSource(path=folder).resolve()


def test_pickled_weights_beside_safetensors_are_ignored(folder: Path) -> None:
    (folder / "pytorch_model.bin").touch()
    assert WeightSource(path=folder).resolve() == folder


def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    (folder / "other.safetensors").symlink_to(tmp_path / "secret")
    with pytest.raises(WeightsError, match="leads out of its folder"):
        WeightSource(path=folder).resolve()


def test_a_hub_cache_may_link_to_its_own_blobs(folder: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a" / "snapshots" / "1"
    snapshot.parent.mkdir(parents=True)
    folder.rename(snapshot)
    (snapshot / "model.safetensors").rename(tmp_path / "models--a" / "blob")
    (snapshot / "model.safetensors").symlink_to("../../blob")
    assert WeightSource(path=snapshot).resolve() == snapshot


def test_a_relative_path_is_refused_unless_something_it_is_relative_to_is_given(folder: Path) -> None:
    source = WeightSource(path=Path(folder.name))
    with pytest.raises(WeightsError, match="is relative"):
        source.resolve()
    assert source.relative_to(folder.parent).resolve() == folder


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="gone is no folder"):
        WeightSource(path=tmp_path / "gone").resolve()


def test_a_folder_in_a_package_is_found_without_importing_it(package: str, tmp_path: Path) -> None:
    assert WeightSource(package=package, file="model").resolve() == tmp_path / package / "model"
    assert package not in sys.modules


def test_a_file_in_a_package_means_its_folder(package: str, tmp_path: Path) -> None:
    found = WeightSource(package=package, file="model/model.safetensors").resolve()
    assert found == tmp_path / package / "model"


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(WeightsError, match=r"no_such_package .* is not installed"):
        WeightSource(package="no_such_package").resolve()


def test_a_package_without_the_file_is_named(package: str) -> None:
    with pytest.raises(WeightsError, match="holds no other"):
        WeightSource(package=package, file="other").resolve()


def test_a_link_out_of_the_package_is_refused(package: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / package / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WeightsError, match="holds no link"):
        WeightSource(package=package, file="link").resolve()


def test_a_hub_repository_is_fetched_at_its_revision_and_without_code(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    asked: dict[str, object] = {}

    def download(repository: str, **options: object) -> str:
        asked.update(options, repository=repository)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert WeightSource(hub="owner/name", revision="abc").resolve() == folder
    assert asked["repository"] == "owner/name"
    assert asked["revision"] == "abc"
    assert not any(str(pattern).endswith((".py", ".bin", "*")) for pattern in asked["allow_patterns"])


def test_a_hub_that_cannot_be_reached_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")

    def download(*_: object, **__: object) -> str:
        raise OSError("no route")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(WeightsError, match=r"owner/name .* cannot be fetched \(no route\).*set weights\.path"):
        WeightSource(hub="owner/name").resolve()
