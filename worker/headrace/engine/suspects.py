"""Suspects: which items to run alone after an engine died. Pure policy, no process.

A group that killed an engine is halved until the death stands alone on its item. An
item is guilty once the engine died twice while it ran nothing else: the first time may
have been the kernel's memory killer or an operator.

For one guilty item among n this takes at most ceil(log2(n)) + 2 deaths: one of the whole
batch, one for each halving, one more alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

#: Deaths alone after which an item is failed.
LONE_DEATHS = 2


@dataclass(slots=True)
class Suspects:
    """A stack of groups of item ids that must run one group at a time."""

    _groups: list[list[int]] = field(default_factory=list)
    _lone_deaths: dict[int, int] = field(default_factory=dict)

    def accuse(self, groups: Iterable[Sequence[int]], *, alone: bool = True) -> list[int]:
        """Take in the groups that were running when an engine died.

        Args:
            groups: Their item ids.
            alone: Whether nothing ran beside them.

        Returns:
            Items that are guilty now and must not run again.
        """
        running = [list(group) for group in groups if group]
        if alone and len(running) == 1 and len(running[0]) == 1:
            return self._died_alone(running[0][0])
        for group in running:
            middle = (len(group) + 1) // 2
            self._groups.extend(half for half in (group[middle:], group[:middle]) if half)
        return []

    def _died_alone(self, item_id: int) -> list[int]:
        deaths = self._lone_deaths[item_id] = self._lone_deaths.get(item_id, 0) + 1
        if deaths >= LONE_DEATHS:
            del self._lone_deaths[item_id]
            return [item_id]
        self._groups.append([item_id])
        return []

    def take(self) -> list[int]:
        """The next group to run with nothing else in the engine; empty if there is none."""
        return self._groups.pop() if self._groups else []

    def give_back(self, group: list[int]) -> None:
        """The group could not be run: it is the next one again."""
        if group:
            self._groups.append(group)

    def forget(self, item_id: int) -> None:
        """The item has an outcome: nothing is held against it any more."""
        self._lone_deaths.pop(item_id, None)

    def drop(self, item_ids: Iterable[int]) -> None:
        """Take items out of every group, because they were cancelled."""
        gone = set(item_ids)
        kept = ([item for item in group if item not in gone] for group in self._groups)
        self._groups = [group for group in kept if group]

    def __bool__(self) -> bool:
        """Whether a group waits."""
        return bool(self._groups)
