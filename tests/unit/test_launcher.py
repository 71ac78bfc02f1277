"""Launcher: one worker per device, watched from their start and drained at the end."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.broker.connection import connect
from headrace.broker.embedded import EmbeddedBroker
from headrace.broker.registry import Registry, WorkerRecord
from headrace.errors import ConfigError, HeadraceError
from headrace.hardware.analyzer import get_hardware_analyzer
from headrace.hardware.host import usable_cores
from headrace.launcher import Launcher, log_file, parse_devices, worker_name
from headrace.lifetime import ManagedProcess
from headrace.sdk.device import Device
from headrace.settings import Settings
from tests.utils.processes import is_alive
from tests.utils.waiting import wait_until

CPUS = [Device("cpu", 0), Device("cpu", 1)]
#: Tells that it runs and which signals it gets; ends on those that its arguments name.
_WORKER = """
import signal, sys, time
def end(number, frame):
    print(signal.Signals(number).name, flush=True)
    if signal.Signals(number).name in sys.argv[1:]:
        sys.exit(0)
for number in (signal.SIGTERM, signal.SIGQUIT):
    signal.signal(number, end)
print("runs", flush=True)
while True:
    time.sleep(60)
"""


class Stand:
    """A launcher whose workers are scripts."""

    def __init__(self, folder: Path, *ends_on: str) -> None:
        self.log = folder / "workers.log"
        self.launcher = Launcher("redis://nowhere", CPUS, log_file=self.log)
        self.launcher._workers = [
            ManagedProcess(name, [sys.executable, "-I", "-S", "-c", _WORKER, *ends_on], {}, self.launcher._log)
            for name in ("cpu0", "cpu1")
        ]

    @property
    def told(self) -> list[str]:
        return self.log.read_text().split()

    def start(self) -> None:
        self.launcher.start()
        wait_until(lambda: self.told.count("runs") == 2)

    def pids(self) -> list[int]:
        return [worker.pid for worker in self.launcher.workers if worker.pid]


class TestDevices:
    @pytest.mark.parametrize(
        ("text", "devices"),
        [
            ("cpu", ["cpu:0"]),
            ("cpu:3", ["cpu:3"]),
            ("cpu:1,cpu:0", ["cpu:1", "cpu:0"]),
            ("cpu, cpu:1", ["cpu:0", "cpu:1"]),
        ],
    )
    def test_devices_are_read_in_their_order(self, text: str, devices: list[str]) -> None:
        assert [device.name for device in parse_devices(text)] == devices

    def test_auto_is_every_gpu_or_one_cpu(self) -> None:
        gpus = [gpu.name for gpu in get_hardware_analyzer().gpus()]
        assert [device.name for device in parse_devices("auto")] == (gpus or ["cpu:0"])

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("cpu:0,cpu", "names a device twice"),
            ("cuda:99", "has no cuda:99"),
            ("cpu,cuda:98,cuda:99", "has no cuda:98, cuda:99"),
            ("gpu", "unknown device 'gpu'"),
            ("", "unknown device ''"),
            ("cpu,", "unknown device ''"),
            ("auto,cpu", "unknown device 'auto'"),
            ("cpu:-1", "unknown device 'cpu:-1'"),
        ],
    )
    def test_what_is_no_device_here_is_refused(self, text: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            parse_devices(text)

    def test_a_workers_name_tells_device_and_host(self) -> None:
        assert worker_name(Device("cuda", 3), "run-7-") == f"run-7-gpu3@{socket.gethostname()}"


class TestWorkers:
    def _worker(self, *devices: Device) -> ManagedProcess:
        return Launcher("redis://here", devices, models=["a", "b"], prefix="run-", loglevel="DEBUG").workers[0]

    def test_a_worker_is_told_its_name_device_parent_and_models(self) -> None:
        worker = self._worker(Device("cpu", 1))
        assert worker.name == worker_name(Device("cpu", 1), "run-")
        assert worker._command == [
            *(sys.executable, "-P", "-m", "headrace.consumer"),
            *("--name", worker.name, "--device", "cpu:1", "--parent", str(os.getpid())),
            *("--models", "a,b", "--loglevel", "DEBUG"),
        ]
        assert worker._environment["HEADRACE_REDIS_URL"] == "redis://here"

    def test_cpu_workers_share_the_cores(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        cpus = [Device("cpu", index) for index in range(2 * usable_cores())]
        assert self._worker(cpus[0])._environment["OMP_NUM_THREADS"] == str(usable_cores())
        assert self._worker(cpus[0], Device("cuda"))._environment["OMP_NUM_THREADS"] == str(usable_cores())
        assert self._worker(*cpus)._environment["OMP_NUM_THREADS"] == "1"

    def test_a_number_of_threads_that_the_user_set_stays(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OMP_NUM_THREADS", "7")
        assert self._worker(Device("cpu"))._environment["OMP_NUM_THREADS"] == "7"


class TestLife:
    def test_a_worker_that_dies_is_replaced(self, tmp_path: Path) -> None:
        stand = Stand(tmp_path, "SIGTERM")
        stand.start()
        first = stand.pids()
        os.kill(first[0], signal.SIGKILL)
        wait_until(lambda: stand.told.count("runs") == 3)
        assert stand.launcher.restarts == 1
        assert stand.pids()[1] == first[1]
        stand.launcher.close()

    def test_stop_is_warm_and_ends_all_workers(self, tmp_path: Path) -> None:
        stand = Stand(tmp_path, "SIGTERM")
        stand.start()
        assert not stand.launcher.join(0)
        stand.launcher.stop()
        assert stand.launcher.join(10)
        assert sorted(stand.told) == ["SIGTERM", "SIGTERM", "runs", "runs"]
        assert not any(map(is_alive, stand.pids()))
        assert stand.launcher.restarts == 0
        stand.launcher.close()

    def test_hurry_turns_a_warm_shutdown_into_a_cold_one(self, tmp_path: Path) -> None:
        stand = Stand(tmp_path, "SIGQUIT")
        stand.start()
        stand.launcher.stop()
        wait_until(lambda: stand.told.count("SIGTERM") == 2)
        assert not stand.launcher.join(0)
        stand.launcher.hurry()
        assert stand.launcher.join(10)
        assert stand.told.count("SIGQUIT") == 2
        stand.launcher.close()

    def test_hurry_from_the_start_is_cold_at_once(self, tmp_path: Path) -> None:
        stand = Stand(tmp_path, "SIGQUIT")
        stand.start()
        stand.launcher.hurry()
        assert stand.launcher.join(10)
        assert sorted(stand.told) == ["SIGQUIT", "SIGQUIT", "runs", "runs"]
        stand.launcher.close()

    def test_the_block_of_a_launcher_ends_with_its_workers(self, tmp_path: Path) -> None:
        stand = Stand(tmp_path, "SIGTERM")
        with stand.launcher:
            wait_until(lambda: stand.told.count("runs") == 2)
        assert not any(map(is_alive, stand.pids()))
        assert stand.launcher._log is not None
        assert stand.launcher._log.closed

    def test_a_launcher_that_was_not_started_can_be_closed(self) -> None:
        launcher = Launcher("redis://nowhere", CPUS)
        launcher.close()
        assert [worker.pid for worker in launcher.workers] == [None, None]


class TestLog:
    def test_its_folder_is_made_for_the_user_alone(self, tmp_path: Path) -> None:
        settings = Settings(state_dir=tmp_path / "state")
        path = log_file(settings, "up.log")
        assert path == tmp_path / "state" / "logs" / "up.log"
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert log_file(settings, "up.log") == path

    def test_a_folder_that_cannot_be_made_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "state").touch()
        with pytest.raises(ConfigError, match=f"cannot make {tmp_path}/state/logs"):
            log_file(Settings(state_dir=tmp_path / "state"), "up.log")


class TestReady:
    @pytest.fixture
    def registry(self, tmp_path: Path) -> Iterator[Registry]:
        with EmbeddedBroker(tmp_path, bundled=True) as url, connect(url, Settings()) as client:
            yield Registry(client)

    def test_it_waits_for_the_first_sign_of_life_of_every_worker(self, registry: Registry) -> None:
        launcher = Launcher("redis://nowhere", CPUS)
        first, second = (WorkerRecord(name=worker.name) for worker in launcher.workers)
        registry.beat(first)
        waiting = threading.Thread(target=launcher.wait_ready, args=(registry, 10.0))
        waiting.start()
        waiting.join(0.05)
        assert waiting.is_alive()
        registry.beat(second)
        waiting.join(10)
        assert not waiting.is_alive()

    def test_who_dies_again_and_again_is_not_waited_for(self, registry: Registry, tmp_path: Path) -> None:
        # A worker for a URL that is none ends as it starts.
        launcher = Launcher("rubbish://", CPUS[:1], log_file=tmp_path / "worker.log")
        with launcher, pytest.raises(HeadraceError, match=r"again and again: see .*worker\.log"):
            launcher.wait_ready(registry, 60.0)

    def test_a_redis_that_is_away_is_waited_for(self) -> None:
        launcher = Launcher("redis://nowhere", CPUS)
        nowhere = connect("redis://127.0.0.1:1/0", Settings())
        with nowhere, pytest.raises(HeadraceError, match="no sign of life"):
            launcher.wait_ready(Registry(nowhere), 0.0)

    def test_whoever_does_not_show_up_is_named(self, registry: Registry) -> None:
        launcher = Launcher("redis://nowhere", CPUS)
        names = sorted(worker.name for worker in launcher.workers)
        with pytest.raises(HeadraceError, match=f"no sign of life of {names[0]}, {names[1]} after 0 s"):
            launcher.wait_ready(registry, 0.0)
