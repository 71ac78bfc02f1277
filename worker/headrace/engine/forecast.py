"""Forecast: what an engine would choose for a model in the memory that there is now, and why."""

from bisect import bisect_left
from dataclasses import asdict, dataclass
from typing import Any, Literal

from headrace.engine.placing import in_words
from headrace.engine.prepare import has_good_size
from headrace.engine.rate import LARGEST_WINDOW
from headrace.engine.residency import Residency
from headrace.engine.resident import Resident
from headrace.hardware.meter import MemoryMeter
from headrace.memory.allowance import Allowance
from headrace.memory.shape import Shape
from headrace.sdk.config import BaseConfig

#: Sizes of items for which a batch is forecast, as far as the plugin makes such items up.
_SIZES = (16, 64, 256, 1024, 4096)

#: What keeps a batch from being larger; `window`: the worker hands over no more at once.
Limit = Literal["memory", "max_batch_size", "max_batch_tokens", "window"]


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchForecast:
    """The largest batch of items of one size."""

    #: Of an item, in the plugin's unit.
    size: int
    #: 0 where not even one item fits.
    items: int
    #: At the peak, at most.
    bytes: int
    #: Items per second, as measured on smaller batches; 0 for unknown.
    rate: float
    limit: Limit


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """What an engine has chosen; sizes are bytes."""

    model: str
    version: str
    #: The device's name, as its maker calls it.
    device: str
    total: int
    #: For weights and batches, before the model was loaded.
    room: int
    weights: int
    #: Where else weights are, in words; empty if all are on the device.
    paged: str
    load_seconds: float
    #: For a batch, beside the weights.
    left: int
    #: Batches from which its cost was learned, made-up ones or those of earlier jobs.
    samples: int
    batches: list[BatchForecast]

    def to_wire(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


def forecast(model: str, version: str, residency: Residency, meter: MemoryMeter) -> Forecast:
    """Load a model as its first job would, and tell what came of it.

    Raises:
        HeadraceError: What `Residency.load` raises, where the model cannot run here.
    """
    room = meter.room
    resident = residency.load(model)
    profile = meter.profile()
    meter.release()
    return Forecast(
        model=model,
        version=version,
        device=profile.name,
        total=profile.total,
        room=room,
        weights=resident.weights,
        paged=in_words(resident.plugin.placed),
        load_seconds=resident.load_seconds,
        left=meter.room,
        samples=resident.guard.allowance.memory.samples,
        batches=_batches(resident, meter.room),
    )


def _batches(resident: Resident, room: int) -> list[BatchForecast]:
    plugin, allowance = resident.plugin, resident.guard.allowance
    if allowance.memory.samples == 0:
        # Nobody knows before its first jobs.
        return []
    samples = [plugin.sample(size) for size in _SIZES]
    sizes = sorted({each.size for each in samples if each is not None and has_good_size(each)}) or [1]
    return [largest_batch(size, room, allowance, plugin.config) for size in sizes]


def largest_batch(size: int, room: float, allowance: Allowance, config: BaseConfig) -> BatchForecast:
    """The largest batch of items of one size that a model with such costs may run in so many bytes."""
    limits: dict[Limit, int] = {"window": LARGEST_WINDOW}
    if config.max_batch_size is not None:
        limits["max_batch_size"] = config.max_batch_size
    if config.max_batch_tokens is not None:
        # One item runs whatever its size.
        limits["max_batch_tokens"] = max(1, config.max_batch_tokens // max(1, size))
    limit = min(limits, key=lambda each: limits[each])
    counts = range(1, limits[limit] + 1)
    within = allowance.within(room)
    items = bisect_left(counts, x=True, key=lambda count: allowance.bound(_shape(count, size)) > within)
    shape = _shape(max(1, items), size)
    seconds = allowance.time.predict(shape)
    return BatchForecast(
        size=size,
        items=items,
        bytes=round(allowance.bound(shape)),
        rate=shape.items / seconds if seconds and items else 0.0,
        limit="memory" if items < limits[limit] else limit,
    )


def _shape(count: int, size: int) -> Shape:
    return Shape(count, count * size, size)
