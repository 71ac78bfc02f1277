"""Workers on GPUs that NVML's stand-in shows; no kernel runs, since there is no CUDA behind it."""

import subprocess
import sys
from pathlib import Path

import pytest

from headrace.broker.embedded import EmbeddedBroker
from headrace.client import Client
from headrace.settings import Settings
from tests.utils.gpus import Gpu, StandIn
from tests.utils.processes import children_of
from tests.utils.waiting import wait_until

pytestmark = pytest.mark.integration

UUIDS = ["GPU-first-1", "GPU-second-2"]


def test_each_gpu_has_a_worker_whose_engine_sees_it_and_no_other(settings: Settings, tmp_path: Path) -> None:
    stand_in = StandIn(tmp_path, [Gpu(uuid=uuid) for uuid in UUIDS])
    with EmbeddedBroker(settings.state_dir, bundled=True) as url, Client(url, settings=settings) as client:
        # In the other order: `cuda:0` is the second one.
        environment = {**stand_in.environment, "HEADRACE_REDIS_URL": url, "CUDA_VISIBLE_DEVICES": "1,0"}
        command = [sys.executable, "-m", "headrace", "worker", "--models", "faulty"]
        with subprocess.Popen(command, env=environment) as launcher:
            workers = wait_until(lambda: _two(client), 60)
            assert [(each.partition("@")[0], device) for each, device in workers] == [
                ("gpu0", "cuda:0"),
                ("gpu1", "cuda:1"),
            ]
            engines = wait_until(lambda: _engines(launcher.pid), 20)
            assert engines == {"cuda:0": UUIDS[1], "cuda:1": UUIDS[0]}
            launcher.terminate()
            assert launcher.wait(60) == 0


def _two(client: Client) -> list[tuple[str, str]]:
    workers = sorted((worker.name, worker.device) for worker in client.registry.workers())
    return workers if len(workers) == 2 else []


def _engines(launcher: int) -> dict[str, str]:
    """Of each worker's device, the GPU that its engine sees; empty until there are two."""
    engines = {}
    for worker in children_of(launcher):
        words = _words(worker, "cmdline")
        for engine in children_of(worker):
            shown = [each.partition("=")[2] for each in _words(engine, "environ") if "CUDA_VISIBLE_DEVICES=" in each]
            if "--device" in words and shown:
                engines[words[words.index("--device") + 1]] = shown[0]
    return engines if len(engines) == 2 else {}


def _words(pid: int, file: str) -> list[str]:
    return Path(f"/proc/{pid}/{file}").read_text().split("\0")
