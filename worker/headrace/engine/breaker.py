"""Breaker: what has killed engines is not tried for a while, and then once."""

import time
from collections.abc import Callable
from dataclasses import dataclass

#: Seconds for which it is not tried at first; each further failure doubles them, up to the second number.
FIRST_PAUSE, LAST_PAUSE = 30.0, 600.0


@dataclass(frozen=True, slots=True)
class _Pause:
    reason: str
    seconds: float
    #: Monotonic seconds.
    until: float


class Breaker:
    """The pauses of things that are known by a name."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing has failed yet.

        Args:
            clock: Monotonic seconds.
        """
        self._clock = clock
        self._pauses: dict[str, _Pause] = {}

    def trip(self, name: str, reason: str) -> str:
        """It has failed: begin a pause; return the reason with when it ends."""
        before = self._pauses.get(name)
        seconds = min(2 * before.seconds, LAST_PAUSE) if before else FIRST_PAUSE
        self._pauses[name] = _Pause(reason, seconds, self._clock() + seconds)
        return _in_words(reason, seconds)

    def tripped(self, name: str) -> bool:
        """Whether it has failed since it last succeeded: one more failure is enough."""
        return name in self._pauses

    def refusal(self, name: str) -> str | None:
        """Why it is not to be tried now, and when it will be; None if it may be tried."""
        pause = self._pauses.get(name)
        if pause is None or (left := pause.until - self._clock()) <= 0:
            return None
        return _in_words(pause.reason, left)

    def reset(self, name: str) -> None:
        """It has succeeded."""
        self._pauses.pop(name, None)


def _in_words(reason: str, seconds: float) -> str:
    return f"{reason}; it is tried again in {seconds:.0f} s"
