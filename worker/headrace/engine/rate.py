"""Rate: how fast a model's items run, and how many of them are a window."""

#: Items in a window before anything was measured.
FIRST_WINDOW = 64
#: Bounds of a window, in items.
SMALLEST_WINDOW, LARGEST_WINDOW = 8, 1024
#: Seconds of work that a window holds.
WINDOW_SECONDS = 1.0
#: Weight of the past when a batch is added to the measured rate.
_MEMORY = 0.8


class Rate:
    """Items per second, as a decaying ratio of sums so that tiny batches weigh little."""

    def __init__(self) -> None:
        self._items = 0.0
        self._seconds = 0.0

    def add(self, items: int, seconds: float) -> None:
        """Note a batch that ran."""
        self._items = self._items * _MEMORY + items
        self._seconds = self._seconds * _MEMORY + seconds

    @property
    def value(self) -> float | None:
        """Items per second, None before the first batch."""
        return self._items / self._seconds if self._seconds else None

    @property
    def window(self) -> int:
        """Items of a window."""
        return window_size(self.value)


def window_size(rate: float | None) -> int:
    """Items that take about `WINDOW_SECONDS`.

    Example:
        >>> window_size(None), window_size(200.0), window_size(1.0)
        (64, 200, 8)
    """
    if rate is None:
        return FIRST_WINDOW
    return max(SMALLEST_WINDOW, min(LARGEST_WINDOW, round(rate * WINDOW_SECONDS)))
