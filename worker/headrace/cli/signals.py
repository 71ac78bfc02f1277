"""Signals: the first SIGINT or SIGTERM asks for an orderly end, the next one hurries."""

import contextlib
import os
import signal
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """Collects signals for a loop that waits for them."""

    def __init__(self) -> None:
        # A handler may run while the main thread holds an Event's lock; SimpleQueue's put is safe there.
        self._arrived: SimpleQueue[int] = SimpleQueue()

    def wait(self, seconds: float) -> bool:
        """Whether a signal came within some seconds; each is told once."""
        with contextlib.suppress(Empty):
            self._arrived.get(timeout=seconds)
            return True
        return False

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Note a signal: the handler."""
        self._arrived.put(number)


@contextlib.contextmanager
def collected_signals() -> Iterator[Signals]:
    """Collect SIGINT and SIGTERM for the length of the block."""
    signals = Signals()
    with _handled_by(signals.on_signal):
        yield signals


@contextlib.contextmanager
def interrupting_signals(message: str) -> Iterator[None]:
    """Raise KeyboardInterrupt for SIGINT and SIGTERM, after a message at the first of them."""
    told = False

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal told
        if not told:
            told = True
            # Hazard: stderr's buffer may be in use by the code that was interrupted.
            os.write(2, f"\nheadrace: {message}\n".encode())
        raise KeyboardInterrupt

    with _handled_by(interrupt):
        yield


@contextlib.contextmanager
def _handled_by(handler: "signal._HANDLER") -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
