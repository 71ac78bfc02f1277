"""CudaMeter: memory of a GPU; free bytes from the driver, peaks from torch's allocator.

The allocator's side has never run on a GPU.
"""

import gc
import sys
from collections.abc import Callable
from typing import Any

from headrace.hardware.meter import MemoryMeter, Peak
from headrace.hardware.profile import DeviceProfile


class CudaMeter(MemoryMeter):
    """Asks NVML, which sees other processes, and the caching allocator, which sees this one."""

    def __init__(self, profile: Callable[[], DeviceProfile], utilization: float) -> None:
        super().__init__(profile, utilization)
        self._before = 0

    @property
    def held(self) -> int:
        """Bytes that tensors have."""
        cuda = _cuda()
        return int(cuda.memory_allocated()) if cuda else 0

    @property
    def spare(self) -> int:
        """Bytes that the allocator keeps for the next tensors."""
        cuda = _cuda()
        return int(cuda.memory_reserved() - cuda.memory_allocated()) if cuda else 0

    def begin(self, *, exactly: bool) -> None:
        """Reset the allocator's peak; it is exact in any case."""
        if cuda := _cuda():
            cuda.reset_peak_memory_stats()
        self._before = self.held

    def end(self) -> Peak | None:
        """The allocator's peak beyond what was held; unknown for a plugin without torch."""
        cuda = _cuda()
        if cuda is None:
            return None
        count = int(cuda.max_memory_allocated()) - self._before
        return Peak(count, count)

    def release(self) -> None:
        """Collect garbage and empty the allocator's cache."""
        gc.collect()
        if cuda := _cuda():
            cuda.empty_cache()


def _cuda() -> Any:
    """torch.cuda once a plugin has put something on the GPU; else None."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None
