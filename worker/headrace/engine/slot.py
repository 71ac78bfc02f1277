"""EngineSlot: the place of one engine, filled again with back-off when it dies."""

from collections.abc import Callable

from headrace.engine.process import EngineProcess
from headrace.lifetime import Backoff

#: Seconds from spawn to Ready.
_START_LIMIT = 60.0
#: Seconds before a restart: none after the first death, then doubling between these.
_FIRST_DELAY, _LAST_DELAY = 0.1, 5.0


class EngineSlot:
    """Knows whether there is an engine, whether it is ready, and when the next one is due."""

    def __init__(self, spawn: Callable[[], EngineProcess], clock: Callable[[], float]) -> None:
        self._spawn = spawn
        self._clock = clock
        self._backoff = Backoff(_FIRST_DELAY, _LAST_DELAY)
        self._spawned_at = 0.0
        self._restart_at = 0.0
        #: The running engine, None between a death and the restart.
        self.engine: EngineProcess | None = None
        #: Whether it has said that it takes windows.
        self.ready = False
        self._starts = 0
        #: Engines that were ended on purpose.
        self._replaced = 0

    @property
    def restarts(self) -> int:
        """Engines started in place of one that died."""
        return max(0, self._starts - self._replaced - 1)

    @property
    def pid(self) -> int | None:
        """Process id of the running engine."""
        return self.engine.pid if self.engine else None

    def fill(self) -> EngineProcess:
        """Spawn an engine."""
        engine = self._spawn()
        engine.start()
        self.engine, self.ready = engine, False
        self._spawned_at = self._clock()
        self._starts += 1
        return engine

    def postpone(self) -> None:
        """No engine could be spawned: wait before the next try."""
        self._restart_at = self._clock() + max(_FIRST_DELAY, self._backoff.next_delay())

    def is_due(self) -> bool:
        """Whether the next engine should be spawned now."""
        return self.engine is None and self._clock() >= self._restart_at

    def is_late(self) -> bool:
        """Whether the engine should have been ready by now."""
        return self.engine is not None and not self.ready and self._clock() - self._spawned_at > _START_LIMIT

    def empty(self) -> bool:
        """The engine has died: plan the next one; return whether the dead one was ready."""
        was_ready, self.ready = self.ready, False
        self.engine = None
        self._restart_at = self._clock() + self._backoff.next_delay()
        return was_ready

    def close(self) -> None:
        """End the engine in order; none is planned."""
        if self.engine:
            self.engine.close()
            self._vacate()

    def kill(self) -> None:
        """End the engine at once; none is planned."""
        if self.engine:
            self.engine.kill()
            self.engine.reap()
            self._vacate()

    def _vacate(self) -> None:
        self.engine, self.ready = None, False

    def replace(self) -> None:
        """The engine is ended on purpose: the next one is due at once."""
        self._vacate()
        self._replaced += 1
        self._restart_at = self._clock()

    def prove(self) -> None:
        """The engine has answered something: its next death is a first one."""
        self._backoff.reset()
