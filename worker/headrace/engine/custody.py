"""Custody: the items without an outcome, and which of them the engine has."""

from collections.abc import Collection, Iterable, Sequence

from headrace.engine.work import WorkItem


class Custody:
    """An item is in it from its submission to its outcome, and leaves it once."""

    def __init__(self) -> None:
        #: By their ids.
        self.items: dict[int, WorkItem] = {}
        #: Those that the engine has.
        self.sent: set[int] = set()
        self._unsent: list[int] = []
        #: Items that the engine has and that nobody wants any more.
        self.cancelled: set[int] = set()
        #: Those of them for which the engine is ended, should it run one.
        self.terminated: set[int] = set()

    def take(self, items: Iterable[WorkItem]) -> None:
        """Add items that wait for an engine."""
        for item in items:
            self.items[item.item_id] = item
            self._unsent.append(item.item_id)

    def take_unsent(self) -> Sequence[int]:
        """What waits; it waits no more."""
        unsent, self._unsent = self._unsent, []
        return unsent

    def keep(self, item_ids: Collection[int]) -> None:
        """These could not be sent: they wait again."""
        if item_ids:
            self._unsent = sorted({*item_ids, *self._unsent})

    def cancel(self, item_ids: Iterable[int]) -> tuple[list[int], list[int]]:
        """Note what nobody wants any more; return what the engine has of it, and what waits."""
        known = [item_id for item_id in item_ids if item_id in self.items]
        sent = [item_id for item_id in known if item_id in self.sent]
        self.cancelled.update(sent)
        return sent, [item_id for item_id in known if item_id not in self.sent]

    def forget(self, item_id: int) -> WorkItem | None:
        """An item has its outcome; return it, None if it had one before."""
        for some in (self.sent, self.cancelled, self.terminated):
            some.discard(item_id)
        return self.items.pop(item_id, None)

    def take_back(self, suspects: Collection[int]) -> None:
        """The engine has ended: all that it had waits again, suspects apart."""
        self._unsent = [*sorted(self.sent.difference(suspects)), *self._unsent]
        self.sent.clear()
