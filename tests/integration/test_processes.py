"""Who imports torch: the engine, and nobody else."""

import subprocess
import sys
from pathlib import Path

from headrace.client import Client
from tests.integration.cluster import Cluster
from tests.utils.processes import children_of


def _maps(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def test_import_headrace_names_neither_torch_nor_transformers() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import headrace; headrace.Client"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "headrace" in imported
    assert imported.isdisjoint({"torch", "transformers", "tokenizers", "safetensors"})


def test_the_engine_maps_torch_and_the_worker_does_not(client: Client, cluster: Cluster) -> None:
    with cluster.workers("minilm") as launcher:
        assert client.submit("minilm", {"text": "mill"}).result(timeout=60).shape == (384,)
        worker = launcher.workers[0].pid
        assert worker is not None
        (engine,) = children_of(worker)
        assert "libtorch" in _maps(engine)
        assert "libtorch" not in _maps(worker)
