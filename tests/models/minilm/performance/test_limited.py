"""MiniLM where the allocator fails far below what the host tells of; the long run is `make limited`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space are Linux's")
def test_every_text_is_embedded_though_memory_ends_on_the_way() -> None:
    command = [sys.executable, "-m", "tests.models.minilm.performance.limited", "15"]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["lost"] == 0
    assert told["errors"] == []
    assert told["failures"]
