"""Signals: the first SIGINT, SIGTERM or SIGHUP asks for an orderly end; the next one, or SIGQUIT, hurries."""

import contextlib
import os
import signal
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Signals:
    """Collects signals for a loop that waits for them."""

    def __init__(self) -> None:
        # A handler may run while the main thread holds an Event's lock; SimpleQueue's put is safe there.
        self._arrived: SimpleQueue[int] = SimpleQueue()
        #: Whether the last one that was told is SIGQUIT: Celery's cold shutdown is wanted.
        self.cold = False

    def wait(self, seconds: float) -> bool:
        """Whether a signal came within some seconds; each is told once."""
        with contextlib.suppress(Empty):
            self.cold = self._arrived.get(timeout=seconds) == signal.SIGQUIT
            return True
        return False

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Note a signal: the handler."""
        self._arrived.put(number)


@contextlib.contextmanager
def collected_signals() -> Iterator[Signals]:
    """Collect SIGINT, SIGTERM, SIGHUP and SIGQUIT for the length of the block."""
    signals = Signals()
    with _handled_by(signals.on_signal):
        yield signals


class Interruption:
    """Raises KeyboardInterrupt for a signal, where it comes and again where it is asked for."""

    def __init__(self, message: str) -> None:
        self._message = message
        self._came = False

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        """Tell of the first signal and raise: the handler."""
        if not self._came:
            self._came = True
            # Hazard: stderr's buffer may be in use by the code that was interrupted.
            with contextlib.suppress(OSError):  # SIGHUP: the terminal may be gone
                os.write(2, f"\nheadrace: {self._message}\n".encode())
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raise if a signal came.

        Hazard: Python swallows what a handler raises while a weak reference's callback or a
        finaliser runs, so a long loop asks again.
        """
        if self._came:
            raise KeyboardInterrupt


@contextlib.contextmanager
def interrupting_signals(message: str) -> Iterator[Interruption]:
    """Raise KeyboardInterrupt for SIGINT, SIGTERM, SIGHUP and SIGQUIT, after a message at the first of them."""
    interruption = Interruption(message)
    with _handled_by(interruption.on_signal):
        yield interruption


@contextlib.contextmanager
def _handled_by(handler: "signal._HANDLER") -> Iterator[None]:
    # What nohup has had ignored stays so; a script that starts us with `&` has SIGINT ignored and may still send it.
    nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    heeded = [number for number in _SIGNALS if not (nohup and number == signal.SIGHUP)]
    before = {number: signal.signal(number, handler) for number in heeded}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
