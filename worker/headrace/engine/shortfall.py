"""Shortfalls: what loads for which memory ended have shown, and how a model that does not fit is refused."""

from collections.abc import Callable, Sequence

from headrace.errors import ModelTooLarge
from headrace.hardware.meter import MemoryMeter
from headrace.memory.oom import bytes_tried

#: Seconds after which a load is tried again whatever an earlier one has shown.
_KEEP_SECONDS = 600.0


class Shortfalls:
    """Bytes that loads had and asked for when memory ended: the least that the next ones need."""

    def __init__(self, meter: MemoryMeter, clock: Callable[[], float]) -> None:
        """Nothing was tried yet.

        Args:
            meter: Watches the device.
            clock: Monotonic seconds.
        """
        self._meter = meter
        self._clock = clock
        #: The model whose load is watched.
        self._watched = ""
        #: Bytes, and when they are forgotten.
        self._needed: dict[str, tuple[int, float]] = {}

    def watch(self, model: str) -> None:
        """Begin to watch a load."""
        self._meter.begin(exactly=False)
        self._watched = model

    def unwatch(self) -> None:
        """The load runs beside batches: what it takes can't be told from what they do."""
        self._watched = ""

    def note(self, model: str, error: BaseException) -> None:
        """Take in that memory ended for a load."""
        peak = self._meter.end() if self._watched == model else None
        needed = (peak.at_least if peak else 0) + bytes_tried(error)
        self._watched = ""
        self._needed[model] = max(needed, self.needed(model)), self._clock() + _KEEP_SECONDS

    def forget(self, model: str) -> None:
        """Take in that a load has gone through."""
        self._watched = ""
        self._needed.pop(model, None)

    def needed(self, model: str) -> int:
        """Bytes that a load needs at least; 0 for unknown."""
        needed, until = self._needed.get(model, (0, 0.0))
        return needed if self._clock() < until else 0


def too_large(
    model: str, *, weights: int, needed: int, obtainable: int, total: int, pinned: Sequence[str] = ()
) -> ModelTooLarge:
    """Refuse a model that does not fit.

    Args:
        model: Its name.
        weights: Bytes that its weights take; 0 for unknown.
        needed: Bytes that a load was seen to need at least; 0 for unknown.
        obtainable: Bytes that can be free for it at most.
        total: Bytes of the device; 0 for unknown.
        pinned: Models that do not leave for it.

    Example:
        >>> print(too_large("m", weights=0, needed=3 * 2**20, obtainable=2**20, total=2**21, pinned=["n"]))
        model m does not fit: loading it takes 3.0 MiB or more, and at most 1.0 MiB of 2 can be free for it \
while n is pinned; use a larger device, a smaller dtype, or end what else uses it
    """
    if needed > weights:
        takes = f"loading it takes {_mib(needed)} MiB or more"
    elif weights:
        takes = f"its weights take {_mib(weights)} MiB"
    else:
        takes = "memory ended while it was loaded"
    room = f"at most {_mib(obtainable)} MiB" if total else "less"
    of_all = f" of {total / 2**20:,.0f}" if total else ""
    stay = f" while {' and '.join(pinned)} {'are' if len(pinned) > 1 else 'is'} pinned" if pinned else ""
    return ModelTooLarge(
        f"model {model} does not fit: {takes}, and {room}{of_all} can be free for it{stay}; "
        "use a larger device, a smaller dtype, or end what else uses it"
    )


def _mib(count: int) -> str:
    return f"{count / 2**20:,.1f}"
