"""Ceiling: how much memory there really is, where a device promises more than it gives. Pure."""

#: Share of what failed within which it is not searched any further: what fails moves while caches fill.
_CLOSE = 0.25
#: Seconds after which what failed is forgotten, since the device may have changed.
_FORGET = 600.0


class Ceiling:
    """A bisection between the most that was had and the least that was not.

    A limit on the address space, a control group that cannot be seen and an allocator in pieces
    all make an allocation fail while the device tells of free memory.
    """

    def __init__(self) -> None:
        #: Of the process as a whole.
        self._had = 0.0
        self._failed = float("inf")
        self._until = 0.0
        #: What failed once, and until when it counts: another process may have had it for a moment.
        self._suspected = float("inf")
        self._suspected_until = 0.0

    def limit(self, now: float, held: float = 0.0) -> float:
        """Bytes that may be tried; infinite where nothing has failed.

        Args:
            now: Monotonic seconds.
            held: Bytes that the process has beside what is tried: the device gives the sum of both, and a
                process grows.
        """
        if now >= self._until:
            self._failed = float("inf")
        if self._failed == float("inf"):
            return self._failed
        gap = self._failed - self._had
        most = self._had if gap <= _CLOSE * (self._failed - held) else self._had + gap / 2
        return max(0.0, most - held)

    def had(self, count: float, held: float = 0.0) -> None:
        """So many bytes were had."""
        if held + count >= self._suspected:
            self._suspected = float("inf")
        self._had = min(max(self._had, held + count), self._failed)

    def failed(self, count: float, now: float, held: float = 0.0) -> None:
        """So many bytes could not be had, though the device told of more; it is believed the second time."""
        if self.limit(now) == float("inf") and (self._suspected == float("inf") or now >= self._suspected_until):
            self._suspected, self._suspected_until = held + count, now + _FORGET
            return
        self._failed = min(self._failed, held + count)
        self._had = min(self._had, self._failed - _CLOSE * max(0.0, self._failed - held))
        self._until = now + _FORGET
