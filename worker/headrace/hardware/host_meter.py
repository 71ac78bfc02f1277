"""HostMeter: memory of a CPU worker, as the kernel counts it."""

import ctypes
import gc
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from headrace.hardware.meter import MemoryMeter, Peak
from headrace.hardware.profile import DeviceProfile

_PAGE = os.sysconf("SC_PAGE_SIZE")
_PROCESS = Path("/proc/self")
#: Has the kernel begin to look for a new peak of resident memory: proc(5), clear_refs.
_RESET_PEAK = b"5"


class HostMeter(MemoryMeter):
    """Reads this process's resident memory and its peak (VmHWM).

    The kernel sums resident pages per thread and adds them up in groups of 64, and a library's code gets
    resident as it first runs: hence the error.
    Where there is no /proc (macOS), or a sandbox's does not reset or tell the peak, none is known.
    """

    error = 2 * 2**20

    def __init__(self, profile: Callable[[], DeviceProfile], utilization: float) -> None:
        super().__init__(profile, utilization)
        #: Resident bytes when all that was freed had been given back, and as a batch began.
        self._floor = self._before = 0
        #: Whether the kernel's peak is one since `begin`.
        self._watched = False
        self.release()

    @property
    def held(self) -> int:
        """Resident bytes."""
        try:
            return int((_PROCESS / "statm").read_text().split()[1]) * _PAGE
        except OSError:
            return 0

    @property
    def spare(self) -> int:
        """What has become resident since all was given back: freed, or a plugin's own."""
        # Hazard: what a load takes on another thread is neither.
        return 0 if self.crowded else max(0, self.held - self._floor)

    def begin(self, *, exactly: bool) -> None:
        """Reset the kernel's peak."""
        if exactly:
            self._trim()
        self._before = self.held
        try:
            (_PROCESS / "clear_refs").write_bytes(_RESET_PEAK)
            self._watched = True
        except OSError:
            self._watched = False

    def end(self) -> Peak | None:
        """The peak beyond what was resident as it began, and beyond the floor."""
        peak = _peak() if self._watched else None
        if peak is None:
            return None
        return Peak(max(self.error, peak - self._before), max(self.error, peak - self._floor))

    def release(self) -> None:
        """Collect garbage, and have the C library give back what was freed."""
        gc.collect()
        self._trim()

    def _trim(self) -> None:
        # Performance: without the collection, which takes a tenth of a second once torch is imported.
        trim = getattr(_libc(), "malloc_trim", None)
        if trim is not None:
            trim(0)
        self._floor = self.held


def _peak() -> int | None:
    try:
        status = (_PROCESS / "status").read_text()
    except OSError:
        return None
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), None)
    return int(line.split()[1]) * 1024 if line else None


@lru_cache(maxsize=1)
def _libc() -> Any:
    return ctypes.CDLL(None)
