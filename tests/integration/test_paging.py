"""In a process of its own: a paged model takes less memory, and lives where the whole one dies."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headrace.memory.blocks import read_blocks
from tests.utils.language_models import write_model

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and limits memory as Linux does")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # 60 MB on disk, 119 MB in memory: they are copied as they are loaded, so that none of it is page cache.
    return write_model(tmp_path_factory.mktemp("model"), width=768, dtype="bfloat16")


@pytest.fixture(scope="module")
def size(folder: Path) -> int:
    return sum(read_blocks(folder, itemsize=4))


def _run(folder: Path, offload_folder: Path, **options: int) -> subprocess.CompletedProcess[str]:
    asked = {"folder": str(folder), "offload_folder": str(offload_folder), "device_room": 0, "data_room": 0, **options}
    command = [sys.executable, "-m", "tests.utils.paging_run", json.dumps(asked)]
    search = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1", "PYTHONPATH": search}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)


def _told(run: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert run.returncode == 0, run.stderr
    told: dict[str, Any] = json.loads(run.stdout)
    return told


def test_a_paged_model_needs_less_memory_for_the_same_answers(folder: Path, size: int, tmp_path: Path) -> None:
    whole = _told(_run(folder, tmp_path / "offload"))
    paged = _told(_run(folder, tmp_path / "offload", device_room=size // 2))
    assert paged["outputs"] == whole["outputs"]
    # Half of it is paged; what is in use for its turn takes some of that again.
    assert whole["peak"] - paged["peak"] > size // 3


def test_it_lives_under_a_limit_that_the_whole_model_dies_of(folder: Path, size: int, tmp_path: Path) -> None:
    # The mapped file counts as well: whole needs 180 % of the weights' size, paged 140 %.
    limit = size * 160 // 100
    whole = _run(folder, tmp_path / "offload", data_room=limit)
    assert whole.returncode != 0
    assert "allocate memory" in whole.stderr
    paged = _told(_run(folder, tmp_path / "offload", device_room=size // 2, data_room=limit))
    assert paged["outputs"]
    assert not (tmp_path / "offload").exists()
