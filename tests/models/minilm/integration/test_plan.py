"""`headrace plan minilm`: two true plans, and a refusal."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MIB = 2**20


def _plan(state: Path, memory: str, monkeypatch: pytest.MonkeyPatch) -> subprocess.CompletedProcess[str]:
    monkeypatch.setenv("HEADRACE_STATE_DIR", str(state))
    command = [sys.executable, "-m", "headrace", "plan", "minilm", "--memory", memory, "--json"]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)


def _told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_less_memory_gives_smaller_batches_and_very_little_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large, small = (_told(_plan(tmp_path / size, size, monkeypatch)) for size in ("1GiB", "64MiB"))
    assert large["weights"] == small["weights"]
    assert {batch["limit"] for batch in large["batches"]} == {"max_batch_tokens"}
    assert {batch["limit"] for batch in small["batches"]} == {"memory"}
    for one, other in zip(large["batches"], small["batches"], strict=True):
        assert one["size"] == other["size"]
        assert one["items"] > other["items"] > 0
        assert other["bytes"] <= small["left"]
    refused = _plan(tmp_path / "none", "1MiB", monkeypatch)
    assert refused.returncode == 1
    assert "error [model_too_large]: model minilm does not fit: its weights take 43.0 MiB, and" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
