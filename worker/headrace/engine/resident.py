"""Resident: a model on the device, and what is known of those that are not."""

from dataclasses import dataclass

from headrace.engine.guard import MemoryGuard
from headrace.memory.store import CostKey
from headrace.sdk.plugin import ModelPluginInterface


@dataclass(kw_only=True, slots=True)
class Resident:
    """A model on the device."""

    plugin: ModelPluginInterface
    guard: MemoryGuard
    key: CostKey
    #: Bytes that its weights take of the device.
    weights: int
    #: Seconds that loading them took.
    load_seconds: float
    #: Monotonic seconds when it ran last, and when its costs were kept last.
    used_at: float
    kept_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What is known of a model that was asked for, on the device or not."""

    resident: bool = False
    #: Bytes and seconds of its last load in this process; 0 before it.
    weights: int = 0
    load_seconds: float = 0.0
    pinned: bool = False
    keep_alive: float | None = None
    #: Monotonic seconds when it ran or was loaded last.
    used_at: float = float("-inf")
