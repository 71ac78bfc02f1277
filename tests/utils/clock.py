"""A clock that the test moves."""


class Clock:
    """Stands where `time.monotonic` does."""

    def __init__(self, now: float = 100.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """The time that the test has set."""
        return self.now
