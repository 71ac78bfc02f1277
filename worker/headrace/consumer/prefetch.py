"""Prefetch: of which models a worker claims, so that no job waits here for a device that another worker has free."""

import time
from collections.abc import Callable, Iterable, Mapping

from headrace.broker.registry import BEAT_SECONDS, WorkerRecord
from headrace.consumer.dispatch import Dispatcher
from headrace.engine.states import ModelStates

#: Seconds for which the queue of a model that has left this device must not have run empty before it comes back:
#: by then each worker has told what is on its device.
SETTLE = 3 * BEAT_SECONDS
#: The same of a model that another worker has on its device: after so long, that worker does not keep up.
PATIENCE = 6.0


class Prefetch:
    """How much a worker may claim of each model.

    As much as its lane has room for, of a model that is on the device, is loaded, or is answered with why it
    cannot be. Any other may push out those that are there, or wait until they have had their turn
    (`memory/residency.py`). So it is claimed once nobody else serves it soon; and while those that are there
    have work, one message at a time: the engine knows then that it is wanted.
    """

    def __init__(
        self, models: ModelStates, dispatcher: Dispatcher, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Know of no other worker yet.

        Args:
            models: What the engine has told.
            dispatcher: Has the lanes.
            clock: Monotonic seconds.
        """
        self._models = models
        self._dispatcher = dispatcher
        self._clock = clock
        #: Models that are on the device of another worker.
        self._elsewhere: set[str] = set()
        #: Monotonic seconds of the last look that found the queue of a model empty, or of the first look.
        self._empty_at: dict[str, float] = {}

    def look(self, waiting: Mapping[str, int], others: Callable[[], Iterable[WorkerRecord]]) -> None:
        """Take in what nobody has claimed, and what the others have.

        Args:
            waiting: Messages in the queue of each model that this worker serves.
            others: Tells the other workers; asked only if it matters, since each worker asks for all of them.
        """
        now = self._clock()
        for model, count in waiting.items():
            if not count or model not in self._empty_at:
                self._empty_at[model] = now
        if self._models.resident and any(count and self._is_away(model) for model, count in waiting.items()):
            self._elsewhere = {model for each in others() for model in each.resident}

    def allowed(self, model: str, room: int) -> int:
        """How many messages of a model may be claimed.

        Args:
            model: Its name.
            room: As many as its lane takes.
        """
        if not self._is_away(model):
            return room
        if self._models.resident and self._lag(model) < self._patience(model):
            return 0
        if self._dispatcher.busy_besides(model):
            return 0 if self._dispatcher.lane(model).held else min(1, room)
        return room

    def _is_away(self, model: str) -> bool:
        return self._models.state(model, busy=False) in {None, "EVICTED"}

    def _patience(self, model: str) -> float:
        if model in self._elsewhere:
            return PATIENCE
        # One that was never here may find room beside the others: that is tried at once.
        return 0.0 if self._models.state(model, busy=False) is None else SETTLE

    def _lag(self, model: str) -> float:
        """Seconds for which nobody has kept up with the queue of a model."""
        now = self._clock()
        return now - self._empty_at.get(model, now)
