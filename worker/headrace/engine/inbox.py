"""Inbox: windows that wait in the engine, prepared while the batch before them runs."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from headrace.engine.batch import Entry
from headrace.engine.messages import Window


@dataclass(frozen=True, slots=True)
class Waiting:
    """A window and, once its model is resident, its preparation."""

    window: Window
    #: None until the model is loaded, since `prepare` may need what `load_model` makes; it gives None where
    #: the model was evicted meanwhile.
    entries: Future[list[Entry] | None] | None


class Inbox:
    """A queue with one reader; one Condition owns all of its state."""

    def __init__(self) -> None:
        self._waiting: deque[Waiting] = deque()
        self._closed = False
        self._changed = threading.Condition()

    def put(self, waiting: Waiting) -> None:
        """Add a window and wake the reader."""
        with self._changed:
            self._waiting.append(waiting)
            self._changed.notify()

    def close(self) -> None:
        """Let the reader end once it asks again."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    @property
    def idle(self) -> bool:
        """Whether no window waits."""
        return not self._waiting

    def take(self, most: Callable[[str], int]) -> Sequence[Waiting]:
        """Wait for a window; return it with prepared ones of its model.

        Args:
            most: Items of a model that a turn has at most, unless its first window alone has more: the
                rest is prepared, and the worker is at what the turn brought, while the next turn runs.

        Returns:
            Windows of one model in the order of arrival; empty once the inbox is closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return []
            return self._pop_turn(most)

    def _pop_turn(self, most: Callable[[str], int]) -> list[Waiting]:
        first = self._waiting.popleft()
        turn = [first]
        room = most(first.window.model) - len(first.window.items)
        for each in self._waiting:
            if _joins(each, first):
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
