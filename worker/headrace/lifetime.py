"""Lifetimes: have the kernel end a child process when its parent is gone."""

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
