"""Lifetimes of child processes: ended with their parent, restarted with back-off."""

import contextlib
import ctypes
import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import IO

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
#: Seconds before a restart: none after the first death, then doubling between these.
_FIRST_DELAY, _LAST_DELAY = 0.5, 30.0
#: A process that lived this long, in seconds, is restarted at once when it dies.
_HEALTHY_SECONDS = 60.0


def end_with_parent(parent: int, signum: int) -> None:
    """Ask for `signum` once the thread that spawned this process ends (Linux; nothing elsewhere).

    Args:
        parent: The parent's pid as it was before the spawn: it may have died since.
        signum: The signal to get.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signum)
    if os.getppid() != parent:
        os.kill(os.getpid(), signum)


class Backoff:
    """Delays before restarts: none after the first death, then doubling up to a limit."""

    def __init__(self, first: float, last: float) -> None:
        self._first = first
        self._last = last
        self._deaths = 0

    def next_delay(self) -> float:
        """Count a death; return the seconds to wait."""
        self._deaths += 1
        # The exponent is bounded so that a day of deaths does not overflow a float.
        return 0.0 if self._deaths == 1 else min(self._last, self._first * 2.0 ** min(self._deaths - 2, 60))

    def reset(self) -> None:
        """Something worked: the next death is a first one again."""
        self._deaths = 0


class ManagedProcess:
    """A child process that is spawned again, with back-off, whenever it dies."""

    def __init__(self, name: str, command: Sequence[str], environment: dict[str, str], log: IO[bytes] | None) -> None:
        self.name = name
        self._command = list(command)
        self._environment = environment
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._backoff = Backoff(_FIRST_DELAY, _LAST_DELAY)
        self._restart_at: float | None = None
        self._starts = 0

    def start(self) -> None:
        """Spawn it, now or, where the system cannot, with back-off."""
        self._restart_at = None
        try:
            self._spawn()
        except OSError:
            logger.exception("%s cannot be spawned: trying again", self.name)
            self._plan_restart(self._started)
        else:
            self._starts += 1

    def _spawn(self) -> None:
        self._started = time.monotonic()
        # In a session of its own, so that Ctrl-C reaches only the launcher.
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log or 2,
            stderr=self._log or 2,
            start_new_session=True,
        )

    @property
    def restarts(self) -> int:
        """Starts after the first one."""
        return max(0, self._starts - 1)

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
            self.start()

    def _plan_restart(self, now: float) -> None:
        if now - self._started > _HEALTHY_SECONDS:
            self._backoff.reset()
        delay = self._backoff.next_delay()
        self._restart_at = now + delay
        status = self._process.returncode if self._process else None
        logger.error("%s ended with %s; restart in %.1f s", self.name, status, delay)

    def signal(self, signum: int) -> None:
        """Signal the process if it runs."""
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
