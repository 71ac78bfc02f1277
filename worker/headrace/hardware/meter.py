"""MemoryMeter: what of a device's memory is free, and what a batch takes of it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

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

    @property
    def room(self) -> int:
        """Bytes that a batch may take now."""
        profile = self.profile()
        return max(0, profile.free + self.spare - int((1 - self._utilization) * profile.total))

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
