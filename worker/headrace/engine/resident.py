"""Resident: a model on the device, and what is known of those that are not."""

from dataclasses import dataclass

from headrace.engine.guard import MemoryGuard
from headrace.memory.shape import Shape
from headrace.memory.store import CostKey
from headrace.sdk.plugin import ModelPluginInterface


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What is known of a model that was asked for, on the device or not."""

    resident: bool = False
    #: Bytes that its weights take of the device, an estimate before its first load; 0 for unknown.
    weights: int = 0
    #: Bytes below which a load is not tried; 0 for unknown.
    least: int = 0
    #: Bytes that its smallest batch needs beside them; 0 for unknown.
    batch: int = 0
    #: Whether it runs in less than its weights take.
    pages: bool = False
    #: Seconds of its last load, made-up batches apart; 0 for unknown.
    load_seconds: float = 0.0
    pinned: bool = False
    keep_alive: float | None = None
    #: Monotonic seconds when it ran or was loaded last.
    used_at: float = float("-inf")


@dataclass(kw_only=True, slots=True)
class Resident:
    """A model on the device."""

    plugin: ModelPluginInterface
    guard: MemoryGuard
    key: CostKey
    #: Seconds that loading its weights took, made-up batches apart.
    load_seconds: float
    #: Monotonic seconds when it ran last, and when its costs were kept last.
    used_at: float
    kept_at: float
    #: Bytes that its weights take of the device.
    weights: int = 0

    @property
    def facts(self) -> Facts:
        """As the policy wants them."""
        config = self.plugin.config
        return Facts(
            resident=True,
            weights=self.weights,
            batch=int(self.guard.allowance.bound(Shape(1, 1, 1))),
            pages=self.plugin.pages_weights,
            load_seconds=self.load_seconds,
            pinned=config.pinned,
            keep_alive=config.keep_alive,
            used_at=self.used_at,
        )


class Residents(dict[str, Resident]):
    """The models on a device, by name."""

    @property
    def pinned(self) -> list[str]:
        """Those that stay."""
        return [name for name, each in self.items() if each.plugin.config.pinned]

    @property
    def evictable(self) -> list[str]:
        """Those that may leave, the longest unused first."""
        idle = [name for name, each in self.items() if not each.plugin.config.pinned]
        return sorted(idle, key=lambda name: (self[name].used_at, name))

    @property
    def staying(self) -> int:
        """Bytes of the weights of those that stay."""
        return sum(self[name].weights for name in self.pinned)

    @property
    def leaving(self) -> int:
        """Bytes of the weights of all that may leave."""
        return sum(self[name].weights for name in self.evictable)

    def obtainable(self, room: int, gained: int) -> int:
        """Bytes that would be free at most if all left that may.

        Args:
            room: Bytes that are free now.
            gained: Bytes that the process has more than it had without a model. What of them was not measured as a
                model's may be anyone's.
        """
        if not self.evictable:
            return room
        return room + max(self.leaving, gained - self.staying)
