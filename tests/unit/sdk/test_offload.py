"""The offload folder: private, empty, and careful of what is not ours."""

from pathlib import Path

import pytest

from headrace.errors import SetupFailed
from headrace.sdk.offload import fresh_folder, remove_folder


def test_a_fresh_folder_is_for_its_user_alone(tmp_path: Path) -> None:
    folder = fresh_folder(tmp_path / "offload" / "some")
    assert folder.stat().st_mode & 0o777 == 0o700


def test_what_another_engine_left_goes(tmp_path: Path) -> None:
    folder = fresh_folder(tmp_path / "some")
    (folder / "old.safetensors").write_bytes(b"old")
    folder.chmod(0o755)
    assert list(fresh_folder(folder).iterdir()) == []
    assert folder.stat().st_mode & 0o777 == 0o700


def test_removing_takes_the_weights_and_the_folder(tmp_path: Path) -> None:
    folder = fresh_folder(tmp_path / "some")
    (folder / "old.safetensors").write_bytes(b"old")
    remove_folder(folder)
    remove_folder(folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["notes.txt", "folder"])
def test_a_folder_with_other_things_loses_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "model.safetensors").touch()
    (tmp_path / name).mkdir()
    with pytest.raises(SetupFailed, match=f"holds {name}, which is not ours"):
        fresh_folder(tmp_path)
    assert (tmp_path / "model.safetensors").exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "model.safetensors").touch()
    (tmp_path / "some").symlink_to(tmp_path / "weights")
    with pytest.raises(SetupFailed, match="is no folder"):
        remove_folder(tmp_path / "some")
    assert (tmp_path / "weights" / "model.safetensors").exists()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SetupFailed, match="can't be made"):
        fresh_folder(tmp_path / "file" / "some")


def test_a_folder_that_cannot_be_removed_is_told(tmp_path: Path) -> None:
    folder = fresh_folder(tmp_path / "some")
    (folder / "a_folder.safetensors").mkdir()
    with pytest.raises(SetupFailed, match="can't be removed"):
        remove_folder(folder)
