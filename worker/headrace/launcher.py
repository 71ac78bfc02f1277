"""Launcher: one Celery worker process per device, restarted when it dies, drained at the end."""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from headrace.broker.connection import broker_errors
from headrace.broker.registry import Registry
from headrace.errors import BrokerUnavailable, ConfigError, HeadraceError
from headrace.hardware.analyzer import get_hardware_analyzer
from headrace.hardware.host import usable_cores
from headrace.lifetime import ManagedProcess
from headrace.sdk.device import Device
from headrace.settings import Settings, child_environment, get_settings

#: Seconds from the limit of a warm shutdown to a cold one, and from that, the soft one apart, to SIGKILL.
_LATE_LIMIT, _HURRY_LIMIT = 15.0, 5.0
_LOOK_SECONDS = 0.2
#: Deaths of workers before the first sign of life, after which nobody waits for it any more.
_START_DEATHS = 3


def parse_devices(text: str) -> list[Device]:
    """Read `auto`, `cpu`, `cpu:0,cpu:1`, `cuda:0`.

    Raises:
        ConfigError: If a name is none of these, stands twice, or is a GPU that is not there.
    """
    gpus = get_hardware_analyzer().gpus()
    if text == "auto":
        return [*gpus] or [Device("cpu")]
    devices = [Device.parse(name) for name in text.split(",")]
    if len(set(devices)) < len(devices):
        raise ConfigError(f"--devices {text} names a device twice")
    if missing := [device.name for device in devices if device.kind == "cuda" and device not in gpus]:
        raise ConfigError(f"this machine has no {', '.join(missing)}: `headrace doctor` shows its devices")
    return devices


def worker_name(device: Device, prefix: str = "") -> str:
    """`cpu0@host`, `gpu1@host`: one name per device and host, or per prefix too."""
    kind = "gpu" if device.kind == "cuda" else "cpu"
    return f"{prefix}{kind}{device.index}@{socket.gethostname()}"


def log_file(settings: Settings, name: str) -> Path:
    """Where workers log that have no terminal; the folder is made.

    Raises:
        ConfigError: If the state folder can't be written.
    """
    folder = settings.state_dir / "logs"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"cannot make {folder} ({error.strerror}): set HEADRACE_STATE_DIR") from error
    return folder / name


class Launcher:
    """Starts the workers of one machine; a context manager that drains them."""

    def __init__(
        self,
        url: str,
        devices: Sequence[Device],
        *,
        models: Sequence[str] = (),
        prefix: str = "",
        log_file: Path | None = None,
        loglevel: str = "INFO",
    ) -> None:
        self._url = url
        self._log = log_file.open("wb") if log_file else None
        cpus = [device for device in devices if device.kind == "cpu"]
        self._workers = [
            ManagedProcess(
                name := worker_name(device, prefix),
                _command(name, device, models, loglevel),
                _environment(url, device, len(cpus)),
                self._log,
            )
            for device in devices
        ]
        self._closing = threading.Event()
        self._hurry = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="launcher", daemon=True)

    @property
    def workers(self) -> list[ManagedProcess]:
        """The workers, one per device."""
        return list(self._workers)

    @property
    def restarts(self) -> int:
        """Workers that died and were started again."""
        return sum(worker.restarts for worker in self._workers)

    def start(self) -> None:
        """Spawn all workers, and watch them from now on."""
        # The watcher spawns them all: the kernel's parent-death signal belongs to the
        # thread that spawned a child, and this thread lives as long as the workers.
        self._watcher.start()

    def _watch(self) -> None:
        for worker in self._workers:
            worker.start()
        while not self._closing.wait(_LOOK_SECONDS):
            for worker in self._workers:
                worker.look()
        self._drain()

    def _drain(self) -> None:
        if not self._hurry.is_set():
            self._signal(signal.SIGTERM)
            limit = get_settings().worker_warm_shutdown_timeout + _LATE_LIMIT
            if self._wait(limit, until=self._hurry.is_set):
                return
        self._signal(signal.SIGQUIT)
        # Workers let what runs go on for a while, where the settings say so.
        soft = get_settings().worker_soft_shutdown_timeout
        if not self._wait(soft + _HURRY_LIMIT, until=lambda: False):
            self._signal(signal.SIGKILL)
            self._wait(_HURRY_LIMIT, until=lambda: False)

    def _signal(self, signum: int) -> None:
        for worker in self._workers:
            worker.signal(signum)

    def _wait(self, seconds: float, *, until: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + seconds
        for worker in self._workers:
            while not worker.wait(min(deadline, time.monotonic() + _LOOK_SECONDS)):
                if time.monotonic() > deadline or until():
                    return False
        return True

    def stop(self) -> None:
        """Begin the warm shutdown: running batches finish, the rest goes back to its queue."""
        self._closing.set()

    def hurry(self) -> None:
        """Begin a cold shutdown, or turn a warm one into it: what runs goes back to its queue."""
        # In this order: whoever sees that it ends must see how.
        self._hurry.set()
        self._closing.set()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until all workers have ended."""
        self._watcher.join(timeout)
        return not self._watcher.is_alive()

    def wait_ready(self, registry: Registry, timeout: float = 60.0) -> None:
        """Wait until every worker has given its first sign of life.

        Raises:
            HeadraceError: If one does not in time, or keeps dying.
        """
        wanted = {worker.name for worker in self._workers}
        deadline = time.monotonic() + timeout
        while not wanted <= self._seen(registry):
            log = self._log.name if self._log else "its log"
            if self.restarts >= _START_DEATHS * len(wanted):
                raise HeadraceError(f"{', '.join(sorted(wanted))} dies as it starts, again and again: see {log}")
            if time.monotonic() > deadline:
                raise HeadraceError(f"no sign of life of {', '.join(sorted(wanted))} after {timeout:g} s: see {log}")
            self._closing.wait(_LOOK_SECONDS / 2)

    def _seen(self, registry: Registry) -> set[str]:
        """Names of the workers that live; none while Redis is away, which they wait for too."""
        with contextlib.suppress(BrokerUnavailable), broker_errors(self._url):
            return {record.name for record in registry.workers()}
        return set()

    def close(self) -> None:
        """Drain and wait."""
        self.stop()
        if self._watcher.is_alive():
            self._join_or_hurry()
        if self._log:
            self._log.close()

    def _join_or_hurry(self) -> None:
        try:
            self._watcher.join()
        except KeyboardInterrupt:
            # Ctrl-C while the workers drain: whoever waits is out of patience.
            self.hurry()
            self._watcher.join()
            raise

    def __enter__(self) -> Self:
        """Start the workers."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Drain the workers."""
        self.close()


def _command(name: str, device: Device, models: Sequence[str], loglevel: str) -> list[str]:
    base = [sys.executable, "-P", "-m", "headrace.consumer", "--name", name, "--device", device.name]
    # Hazard: named once, for all restarts: with a GPU that drops out of the driver's list, the numbers of those
    # behind it are others.
    gpu = get_hardware_analyzer().uuid(device)
    bound = ["--gpu", gpu] if gpu else []
    return [*base, *bound, "--parent", str(os.getpid()), "--models", ",".join(models), "--loglevel", loglevel]


def _environment(url: str, device: Device, cpu_workers: int) -> dict[str, str]:
    """The worker's environment, which its engine inherits."""
    if device.kind == "cuda":
        return child_environment(HEADRACE_REDIS_URL=url)
    # Workers that share the host share its cores, else their threads fight.
    threads = max(1, usable_cores() // cpu_workers)
    environment = child_environment(HEADRACE_REDIS_URL=url)
    environment.setdefault("OMP_NUM_THREADS", str(threads))
    return environment
