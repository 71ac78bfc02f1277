"""MemoryMeter: what of a device's memory is free, and what a batch takes of it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from headrace.hardware.profile import DeviceProfile


@dataclass(frozen=True, slots=True)
class Peak:
    """Bytes that a batch needed beyond what was held before it.

    The two differ where freed memory stays with the process: what a batch takes of that is not seen.
    """

    at_least: int
    at_most: int


class MemoryMeter(ABC):
    """Watches the memory of the device that this process has; one thread uses it."""

    #: Bytes by which a peak may be wrong.
    error: int = 0

    def __init__(self, profile: Callable[[], DeviceProfile], utilization: float) -> None:
        """Note the limit.

        Args:
            profile: Reads the device.
            utilization: Share of the device's memory that may be in use, by whomever.
        """
        self.profile = profile
        self._utilization = utilization
        #: Bytes that are kept from batches, and those that this process had when that began.
        self._reserved = self._held_before = 0

    @property
    def room(self) -> int:
        """Bytes that a batch may take now."""
        profile = self.profile()
        return max(0, profile.free + self.spare - int((1 - self._utilization) * profile.total) - self._promised)

    def reserve(self, count: int) -> None:
        """Keep so many bytes from batches, all that was freed given back: another thread takes them meanwhile."""
        self._reserved, self._held_before = count, self.held

    def unreserve(self) -> None:
        """The other thread has what it has."""
        self._reserved = 0

    @property
    def crowded(self) -> bool:
        """Whether another thread takes memory, so that a peak tells nothing of a batch."""
        return self._reserved > 0

    @property
    def _promised(self) -> int:
        """What of the reserve was not taken yet; between two batches."""
        return max(0, self._reserved - max(0, self.held - self._held_before)) if self.crowded else 0

    def on_thread(self) -> AbstractContextManager[Any]:
        """For a thread beside the main one that takes memory of the device, while it does."""
        return nullcontext()

    @property
    @abstractmethod
    def held(self) -> int:
        """Bytes of the device that this process has."""

    @property
    def spare(self) -> int:
        """Bytes that this process has and does not use: a batch may take them."""
        return 0

    @abstractmethod
    def begin(self, *, exactly: bool) -> None:
        """Begin to watch.

        Args:
            exactly: Whether to give back first what was freed, which costs some milliseconds, so that
                the peak's two numbers are the same.
        """

    @abstractmethod
    def end(self) -> Peak | None:
        """The peak since `begin`; None where it cannot be known."""

    @abstractmethod
    def release(self) -> None:
        """Give back to the device what this process has and does not use."""
