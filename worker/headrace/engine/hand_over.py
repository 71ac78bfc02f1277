"""HandOver: what the engine gets next, and what becomes of it when the engine has gone."""

from collections.abc import Callable, Collection, Sequence

from headrace.engine.custody import Custody
from headrace.engine.suspects import Suspects


class HandOver:
    """Hands over all that waits; or, while there are suspects, one group of them and nothing beside it."""

    def __init__(self, custody: Custody, suspects: Suspects) -> None:
        self._custody = custody
        self._suspects = suspects
        self._isolating = False

    def feed(self, send: Callable[[Sequence[int]], list[int]]) -> None:
        """Send what is due.

        Args:
            send: Sends items; returns those that were not, since the engine turned out to be dead.
        """
        if self._isolating and self._custody.sent:
            return
        self._isolating = bool(self._suspects)
        if not self._isolating:
            self._custody.keep(send(self._custody.take_unsent()))
        elif not self._custody.sent:
            self._suspects.give_back(send(self._suspects.take()))

    def take_back(self, suspects: Collection[int]) -> None:
        """The engine has died: what it had waits again, these suspects apart."""
        self._custody.take_back(suspects)
        self._isolating = False

    def undo(self) -> None:
        """The engine was ended on purpose: what it had waits as it did before."""
        suspects = sorted(self._custody.sent) if self._isolating else []
        self._suspects.give_back(suspects)
        self.take_back(suspects)
