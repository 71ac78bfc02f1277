"""Workers on GPUs that NVML's stand-in shows; no kernel runs, since there is no CUDA behind it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headrace.broker.embedded import EmbeddedBroker
from headrace.client import Client
from headrace.settings import Settings
from tests.utils.gpus import Gpu, StandIn
from tests.utils.processes import children_of
from tests.utils.waiting import wait_until

pytestmark = pytest.mark.integration

GIB = 2**30
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


def test_a_worker_that_is_restarted_after_its_gpu_was_lost_does_not_take_another_workers(
    settings: Settings, tmp_path: Path
) -> None:
    stand_in = StandIn(tmp_path, [Gpu(uuid=uuid) for uuid in UUIDS])
    with EmbeddedBroker(settings.state_dir, bundled=True) as url, Client(url, settings=settings) as client:
        environment = {**stand_in.environment, "HEADRACE_REDIS_URL": url}
        command = [sys.executable, "-m", "headrace", "worker", "--models", "faulty"]
        with subprocess.Popen(command, env=environment) as launcher, ended(launcher):
            wait_until(lambda: _two(client), 60)
            wait_until(lambda: _engines(launcher.pid), 20)
            before = children_of(launcher.pid)
            stand_in.lose(0)
            (first,) = [each for each in before if "cuda:0" in _words(each, "cmdline")]
            os.kill(first, signal.SIGKILL)
            wait_until(lambda: first not in children_of(launcher.pid) and len(children_of(launcher.pid)) == 2)
            engines = wait_until(lambda: _engines(launcher.pid), 30)
    assert engines == {"cuda:0": UUIDS[0], "cuda:1": UUIDS[1]}


def test_memory_that_another_process_takes_shrinks_the_next_batch_and_its_return_grows_it_back(
    settings: Settings, tmp_path: Path
) -> None:
    # The plan takes twice what the plugin claims for a unit: 2 GiB an item.
    models = {"hungry": {"claim": GIB, "seconds": 0.02}}
    stand_in = StandIn(tmp_path, [Gpu(uuid=UUIDS[0], total=84 * GIB, free=84 * GIB)])
    with EmbeddedBroker(settings.state_dir, bundled=True) as url, Client(url, settings=settings) as client:
        environment = {
            **stand_in.environment,
            "HEADRACE_REDIS_URL": url,
            "HEADRACE_MODELS": json.dumps(models),
            "HEADRACE_GPU_MEMORY_UTILIZATION": "1",
        }
        command = [sys.executable, "-m", "headrace", "worker", "--models", "hungry"]
        largest = []
        with subprocess.Popen(command, env=environment) as launcher, ended(launcher):
            for free in (84, 5, 84):
                stand_in.change(0, free=free * GIB)
                jobs = client.submit_many("hungry", [{"size": 1}] * 200)
                largest.append(max(job.result(timeout=30)["batch"] for job in jobs))
    assert largest == [42, 2, 42]


def test_a_worker_whose_driver_fails_starts_no_engine_until_the_driver_is_back(
    settings: Settings, tmp_path: Path
) -> None:
    stand_in = StandIn(tmp_path, [Gpu(uuid=UUIDS[0])])
    with EmbeddedBroker(settings.state_dir, bundled=True) as url:
        environment = {**stand_in.environment, "HEADRACE_REDIS_URL": url}
        stand_in.unload()
        log = tmp_path / "log"
        with (
            log.open("wb") as stream,
            subprocess.Popen(_consumer(), env=environment, stderr=stream) as worker,
            ended(worker),
        ):
            wait_until(lambda: "the driver does not tell of cuda:0" in log.read_text(), 20)
            assert children_of(worker.pid) == []
            stand_in.change(0)
            (engine,) = wait_until(lambda: children_of(worker.pid), 20)
            assert _seen_by(engine) == [UUIDS[0]]


def test_a_worker_whose_driver_does_not_come_back_ends_and_gives_its_jobs_back(
    settings: Settings, tmp_path: Path
) -> None:
    stand_in = StandIn(tmp_path, [Gpu(uuid=UUIDS[0])])
    with EmbeddedBroker(settings.state_dir, bundled=True) as url, Client(url, settings=settings) as client:
        environment = {**stand_in.environment, "HEADRACE_REDIS_URL": url}
        stand_in.unload()
        client.submit("hungry", {"size": 1})
        done = subprocess.run(_consumer(), env=environment, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert "the driver has not told of cuda:0 8 times: this worker ends" in done.stderr
        assert (client.redis.llen("infer.hungry"), client.redis.exists("headrace:attempts")) == (1, 0)


def _consumer() -> list[str]:
    command = [sys.executable, "-m", "headrace.consumer", "--name", "gpu0@here", "--device", "cuda:0"]
    return [*command, "--models", "hungry", "--parent", str(os.getpid())]


@contextmanager
def ended(launcher: subprocess.Popen[bytes]) -> Iterator[None]:
    """Ends a launcher, also after a failure."""
    try:
        yield
    finally:
        launcher.terminate()
        launcher.wait(60)


def _two(client: Client) -> list[tuple[str, str]]:
    workers = sorted((worker.name, worker.device) for worker in client.registry.workers())
    return workers if len(workers) == 2 else []


def _engines(launcher: int) -> dict[str, str]:
    """Of each worker's device, the GPU that its engine sees; empty until there are two."""
    engines = {}
    for worker in children_of(launcher):
        words = _words(worker, "cmdline")
        for engine in children_of(worker):
            shown = _seen_by(engine)
            if "--device" in words and shown:
                engines[words[words.index("--device") + 1]] = shown[0]
    return engines if len(engines) == 2 else {}


def _seen_by(engine: int) -> list[str]:
    """The GPUs that CUDA shows to an engine."""
    return [each.partition("=")[2] for each in _words(engine, "environ") if "CUDA_VISIBLE_DEVICES=" in each]


def _words(pid: int, file: str) -> list[str]:
    try:
        return Path(f"/proc/{pid}/{file}").read_text().split("\0")
    except OSError:
        # It has ended meanwhile.
        return []
