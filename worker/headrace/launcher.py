"""Launcher: one Celery worker process per device, restarted when it dies, drained at the end."""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Self

from headrace.broker.registry import Registry
from headrace.errors import HeadraceError
from headrace.hardware.probes import gpu_count
from headrace.lifetime import Backoff
from headrace.sdk.device import Device
from headrace.settings import child_environment

logger = logging.getLogger(__name__)

#: Seconds before a restart: none after the first death, then doubling between these.
_FIRST_DELAY, _LAST_DELAY = 0.5, 30.0
#: A worker that lived this long, in seconds, is restarted at once when it dies.
_HEALTHY_SECONDS = 60.0
#: Seconds from a warm to a cold shutdown, and from that to SIGKILL.
_DRAIN_LIMIT, _HURRY_LIMIT = 335.0, 5.0
_LOOK_SECONDS = 0.2


def parse_devices(text: str) -> list[Device]:
    """Read `auto`, `cpu`, `cpu:0,cpu:1`, `cuda:0`.

    Raises:
        ConfigError: If a name is none of these.
    """
    if text == "auto":
        return [Device("cuda", index) for index in range(gpu_count())] or [Device("cpu")]
    return [Device.parse(name) for name in text.split(",")]


def worker_name(device: Device, prefix: str = "") -> str:
    """`cpu0@host`: one name per device and host, or per prefix too."""
    return f"{prefix}{device.kind}{device.index}@{socket.gethostname()}"


class WorkerProcess:
    """One worker: spawned again, with back-off, whenever it dies."""

    def __init__(self, name: str, command: Sequence[str], environment: dict[str, str], log: IO[bytes] | None) -> None:
        self.name = name
        self._command = list(command)
        self._environment = environment
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._backoff = Backoff(_FIRST_DELAY, _LAST_DELAY)
        self._restart_at: float | None = None

    def start(self) -> None:
        """Spawn it in a session of its own, so that Ctrl-C reaches only the launcher."""
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log or 2,
            stderr=self._log or 2,
            start_new_session=True,
        )
        self._started = time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id of the latest start."""
        return self._process.pid if self._process else None

    def look(self) -> None:
        """Restart it if it has died and its back-off has passed."""
        now = time.monotonic()
        if self.alive:
            return
        if self._restart_at is None:
            self._plan_restart(now)
        elif now >= self._restart_at:
            self._restart_at = None
            self.start()

    def _plan_restart(self, now: float) -> None:
        if now - self._started > _HEALTHY_SECONDS:
            self._backoff.reset()
        delay = self._backoff.next_delay()
        self._restart_at = now + delay
        status = self._process.returncode if self._process else None
        logger.error("worker %s ended with %s; restart in %.1f s", self.name, status, delay)

    def signal(self, signum: int) -> None:
        """Signal the worker if it runs."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signum)

    def wait(self, deadline: float) -> bool:
        """Wait until it has ended or the monotonic deadline has passed."""
        if self._process is None:
            return True
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return False
        return True


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
        self._log = log_file.open("wb") if log_file else None
        cpus = [device for device in devices if device.kind == "cpu"]
        self._workers = [
            WorkerProcess(
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
    def workers(self) -> list[WorkerProcess]:
        """The workers, one per device."""
        return list(self._workers)

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
        self._signal(signal.SIGTERM)
        if not self._wait(_DRAIN_LIMIT, until=self._hurry.is_set):
            self._signal(signal.SIGQUIT)
            if not self._wait(_HURRY_LIMIT, until=lambda: False):
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
        """Turn the warm shutdown into a cold one."""
        self._closing.set()
        self._hurry.set()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until all workers have ended."""
        self._watcher.join(timeout)
        return not self._watcher.is_alive()

    def wait_ready(self, registry: Registry, timeout: float = 60.0) -> None:
        """Wait until every worker has given its first sign of life.

        Raises:
            HeadraceError: If one does not in time.
        """
        wanted = {worker.name for worker in self._workers}
        deadline = time.monotonic() + timeout
        while not wanted <= {record.name for record in registry.workers()}:
            if time.monotonic() > deadline:
                raise HeadraceError(f"no sign of life of {', '.join(sorted(wanted))} after {timeout:g} s: see its log")
            self._closing.wait(_LOOK_SECONDS / 2)

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
    return [*base, "--parent", str(os.getpid()), "--models", ",".join(models), "--loglevel", loglevel]


def _environment(url: str, device: Device, cpu_workers: int) -> dict[str, str]:
    """The worker's environment, which its engine inherits."""
    if device.kind == "cuda":
        return child_environment(HEADRACE_REDIS_URL=url, CUDA_VISIBLE_DEVICES=str(device.index))
    # Workers that share the host share its cores, else their threads fight.
    threads = max(1, len(os.sched_getaffinity(0)) // cpu_workers)
    return child_environment(HEADRACE_REDIS_URL=url, OMP_NUM_THREADS=str(threads), CUDA_VISIBLE_DEVICES="")
