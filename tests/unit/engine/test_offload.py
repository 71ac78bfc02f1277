"""OffloadFolders: an engine removes what is its own, or what a dead one has left, whatever ids processes have."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.engine.offload import OffloadFolders
from headrace.errors import SetupFailed
from headrace.sdk.offload import fresh_folder

_DYING = """
import os, sys
from pathlib import Path
from headrace.engine.offload import OffloadFolders
from headrace.sdk.offload import fresh_folder
(fresh_folder(OffloadFolders(Path(sys.argv[1])).name("m")) / "m.safetensors").write_bytes(b"weights")
os.kill(os.getpid(), 9)
"""


def _fill(path: Path) -> Path:
    (fresh_folder(path) / "m.safetensors").write_bytes(b"weights")
    return path


def test_engines_of_the_same_id_do_not_touch_each_others_weights(tmp_path: Path) -> None:
    # Two containers that share the folder have both an engine 7, and do not see each other in /proc.
    one, other = OffloadFolders(tmp_path), OffloadFolders(tmp_path)
    first, second = _fill(one.name("m")), _fill(other.name("m"))
    assert first != second
    OffloadFolders(tmp_path).sweep()
    assert first.is_dir()
    other.remove("m")
    other.close()
    assert [first.is_dir(), second.is_dir()] == [True, False]
    one.close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_engine_left_goes_with_the_next_ones_start(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _DYING, str(tmp_path)], check=False, timeout=30)
    assert done.returncode == -9
    assert len(list(tmp_path.iterdir())) == 2
    OffloadFolders(tmp_path).sweep()
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    (tmp_path / "notes.lock").touch()
    (tmp_path / "123-m").mkdir()
    OffloadFolders(tmp_path).sweep()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_with_other_things_is_told_and_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folders = OffloadFolders(tmp_path)
    (_fill(folders.name("m")) / "notes.txt").touch()
    folders.remove("m")
    folders.close()
    folders.close()
    assert caplog.text.count("holds notes.txt, which is not ours") == 2
    OffloadFolders(tmp_path).sweep()
    assert len(list(tmp_path.iterdir())) == 2


def test_nothing_is_made_before_it_is_needed(tmp_path: Path) -> None:
    folders = OffloadFolders(tmp_path / "offload")
    folders.remove("m")
    folders.sweep()
    folders.close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_claimed_is_told(tmp_path: Path) -> None:
    (tmp_path / "offload").touch()
    with pytest.raises(SetupFailed, match=f"can't be used: {os.strerror(17)}"):
        OffloadFolders(tmp_path / "offload").name("m")
