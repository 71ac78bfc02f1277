"""Demand: how many items arrive per second. Pure: the time is the caller's."""

import math

#: Seconds after which what has arrived weighs a third.
_MEMORY = 60.0


class Demand:
    """A rate that forgets, so that a model which was busy an hour ago does not keep its place."""

    def __init__(self) -> None:
        self._rate = 0.0
        #: Monotonic seconds of the last arrival.
        self._noted = 0.0

    def note(self, items: int, now: float) -> None:
        """Take in that so many items have arrived.

        Args:
            items: How many.
            now: Monotonic seconds, no less than before.
        """
        self._rate = self.rate(now) + items / _MEMORY
        self._noted = now

    def rate(self, now: float) -> float:
        """Items per second over the last minute or so; below the truth during the first one.

        Example:
            >>> demand = Demand()
            >>> for second in range(600):
            ...     demand.note(5, now=second)
            >>> round(demand.rate(600.0)), round(demand.rate(900.0), 2)
            (5, 0.03)
        """
        return self._rate * math.exp((self._noted - now) / _MEMORY)
