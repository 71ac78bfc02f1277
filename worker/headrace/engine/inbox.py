"""Inbox: windows that wait in the engine, prepared while the batch before them runs."""

import threading
from collections import deque
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from headrace.engine.batch import Entry
from headrace.engine.messages import Window
from headrace.engine.turns import Line


@dataclass(frozen=True, slots=True)
class Waiting:
    """A window and, once its model is resident, its preparation."""

    window: Window
    #: None until the model is loaded, since `prepare` may need what `load_model` makes; it gives None where
    #: the model was evicted meanwhile.
    entries: Future[list[Entry] | None] | None
    #: Monotonic seconds.
    arrived: float = 0.0


class Inbox:
    """A queue with one reader; one Condition owns all of its state."""

    def __init__(self) -> None:
        self._waiting: deque[Waiting] = deque()
        self.closed = self._woken = False
        self._changed = threading.Condition()

    def put(self, waiting: Waiting) -> None:
        """Add a window and wake the reader."""
        with self._changed:
            self._waiting.append(waiting)
            self._changed.notify()

    def close(self) -> None:
        """Let the reader end once it asks again."""
        with self._changed:
            self.closed = True
            self._changed.notify()

    def wake(self) -> None:
        """Have the reader wait no longer, this once."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    @property
    def idle(self) -> bool:
        """Whether no window waits."""
        return not self._waiting

    def wait(self, timeout: float | None = None, *, only: Collection[str] | None = None) -> dict[str, Line]:
        """Wait for a window; what waits of each model, in the order of arrival.

        Args:
            timeout: Seconds after which nothing has come; None for no limit.
            only: Models for which it is waited; None for all.

        Returns:
            Nothing if nothing has come, or the inbox is closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._wanted(only) or self.closed or self._woken, timeout)
            self._woken = False
            return {} if self.closed else self._lines(self._wanted(only))

    def has(self, model: str) -> bool:
        """Whether a window of a model waits that is prepared, or is yet to be."""
        # Performance: no lock, since it is asked between two steps; what has just come is seen after the next.
        mine = [each for each in tuple(self._waiting) if each.window.model == model]
        return any(each.entries is None or each.entries.done() for each in mine)

    def item_ids(self, model: str) -> list[int]:
        """Of all that waits for a model."""
        with self._changed:
            return [item[0] for each in self._waiting if each.window.model == model for item in each.window.items]

    def take(self, model: str, most: int) -> Sequence[Waiting]:
        """Take the first window of a model for which there is one, and prepared ones of it, in the order of arrival.

        Args:
            model: Its name.
            most: Items that a turn has at most, unless its first window alone has more: the rest is prepared, and
                the worker is at what the turn brought, while the next turn runs.
        """
        with self._changed:
            return self._pop(model, most)

    def _wanted(self, only: Collection[str] | None) -> Sequence[Waiting]:
        return [each for each in self._waiting if only is None or each.window.model in only]

    def _lines(self, wanted: Sequence[Waiting]) -> dict[str, Line]:
        lines: dict[str, Line] = {}
        for each in wanted:
            model, items = each.window.model, len(each.window.items)
            before = lines.get(model)
            lines[model] = Line(before.items + items, before.since) if before else Line(items, each.arrived)
        return lines

    def _pop(self, model: str, most: int) -> list[Waiting]:
        first = next(each for each in self._waiting if each.window.model == model)
        turn = [first]
        room = most - len(first.window.items)
        for each in self._waiting:
            if each is not first and _joins(each, first):
                room -= len(each.window.items)
                if room < 0:
                    break
                turn.append(each)
        taken = {id(each) for each in turn}
        self._waiting = deque(each for each in self._waiting if id(each) not in taken)
        return turn


def _joins(candidate: Waiting, first: Waiting) -> bool:
    ready = candidate.entries is not None and candidate.entries.done()
    return ready and candidate.window.model == first.window.model
