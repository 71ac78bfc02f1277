"""The interface of plugins whose items join and leave a running batch."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from headrace.errors import InferenceFailed
from headrace.sdk.messages import Outcome, Prepared
from headrace.sdk.plugin import ModelPluginInterface

#: Why an item is cut short.
Cut = Literal["cancelled", "deadline"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheState:
    """Bytes of the cache in which a plugin keeps what its items have computed so far."""

    #: That it has now.
    held: int = 0
    #: That would let as many of its items run at once as may.
    wanted: int = 0
    #: That the largest of its items needs even alone.
    least: int = 0


class ContinuousPluginInterface(ModelPluginInterface):
    """A model that runs its items step by step: `add`, `step` and `cancel` in place of `infer`.

    The engine sizes the plugin's cache by the memory that there is: it asks for `cache` and calls `resize`, before
    the first step and whenever items have joined or the memory has become another. All of it is on one thread.
    """

    @property
    @abstractmethod
    def concurrency(self) -> int:
        """Items that run at once, at most."""

    @abstractmethod
    def add(self, key: int, item: Prepared) -> None:
        """Line an item up; its outcome comes from a step.

        Args:
            key: Names it from now on; no two that are here have the same.
            item: As `prepare` made it.
        """

    @abstractmethod
    def step(self) -> list[tuple[int, Outcome]]:
        """Run one step of all that runs, which is short; those that have ended with it, by their keys.

        An item that cannot run fails alone. Where the step itself raises, all that is here is cancelled, and run
        again in parts until the exception stands alone on its item.
        """

    @abstractmethod
    def cancel(self, key: int, cut: Cut) -> Outcome | None:
        """End an item now and free what it had of the cache; what there is of it, None if it is not here."""

    @property
    @abstractmethod
    def progress(self) -> Mapping[int, int]:
        """How far each item is that is here, in units that the plugin's users know (tokens)."""

    @property
    @abstractmethod
    def cache(self) -> CacheState:
        """What the cache has, and what it is wanted to have."""

    @abstractmethod
    def resize(self, count: int) -> None:
        """Have a cache of so many bytes, or somewhat fewer; what does not fit waits, and loses nothing."""

    def infer(self, batch: Sequence[Prepared]) -> list[Outcome]:
        """Run a batch to its end, in a cache as large as it wants."""
        done: dict[int, Outcome] = {}
        for key, item in enumerate(batch):
            self.add(key, item)
        try:
            self.resize(self.cache.wanted)
            while self.progress:
                done.update(self.step())
        finally:
            for key in list(self.progress):
                self.cancel(key, "cancelled")
            self.resize(0)
        lost = Outcome(error=InferenceFailed("the plugin has lost the item: correct its step"))
        return [done.get(key, lost) for key in range(len(batch))]
