"""Lifetimes of child processes: ended with their parent, restarted with back-off."""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


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
