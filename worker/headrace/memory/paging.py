"""Pure planning of weights: sizes in, a Placement or a refusal out."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.errors import ModelTooLarge
from headrace.sdk.placement import Placement


@dataclass(frozen=True, kw_only=True, slots=True)
class Rooms:
    """Bytes that a model may take."""

    #: Of the device: weights and a batch.
    device: int
    #: Of the host's memory, beside a GPU; 0 where the device is a CPU.
    host: int = 0


def plan_placement(
    model: str, blocks: Sequence[int], *, rooms: Rooms, batch: int = 0, offload_folder: Path | None = None
) -> Placement:
    """Keep the first blocks on the device, the next ones on the host, the others on disk.

    Room is left on the device for a batch and the largest block that is brought there for its
    turn; beside a GPU, the host keeps room for the largest one that comes from disk. That is how
    accelerate fills devices, so that its own split is this one where its blocks are.

    Args:
        model: Its name, for the refusal.
        blocks: Bytes of each layer and other module that is moved as a whole, in the order in which
            they run; none for unknown, which is placed on the device.
        rooms: What there is now.
        batch: Bytes that the smallest batch needs.
        offload_folder: See `Placement`.

    Raises:
        ModelTooLarge: If the largest block and the batch don't fit on the device together.

    Example:
        >>> place = plan_placement("m", [30, 10, 10, 10], rooms=Rooms(device=55), batch=5)
        >>> place.on_device, place.on_disk, place.device_limit
        (40, 20, 50)
        >>> plan_placement("m", [30, 10, 10, 10], rooms=Rooms(device=30), batch=5)
        Traceback (most recent call last):
        headrace.errors.ModelTooLarge: model m does not fit: ...
    """
    weights, limit = sum(blocks), rooms.device - batch
    if not blocks or weights <= limit:
        reason = (
            f"the weights ({_mib(weights)}) fit on the device" if blocks else "how large the weights are is unknown"
        )
        return Placement(on_device=weights, device_limit=max(0, limit), reason=reason)
    if max(blocks) > limit:
        raise _too_large(model, blocks, rooms, batch)
    on_device, others = _keep_first(blocks, limit)
    on_host, others = _keep_first(others, rooms.host)
    on_disk = sum(others)
    return Placement(
        on_device=on_device,
        on_host=on_host,
        on_disk=on_disk,
        device_limit=limit,
        host_limit=rooms.host,
        offload_folder=offload_folder,
        reason=f"of {_mib(weights)} of weights the device keeps {_mib(on_device)}, the host {_mib(on_host)} "
        f"and the disk {_mib(on_disk)}, since {_mib(limit)} are free beside the smallest batch",
    )


def _keep_first(blocks: Sequence[int], limit: int) -> tuple[int, Sequence[int]]:
    """Bytes of as many first blocks as fit beside the largest of the others, and those others."""
    kept = itertools.accumulate(blocks, initial=0)
    largest = [*itertools.accumulate(reversed(blocks), max, initial=0)][::-1]
    # The sum of both never falls, so those that fit are the first ones.
    fitting = [held for held, turn in zip(kept, largest, strict=True) if held + turn <= limit]
    return (fitting[-1], blocks[len(fitting) - 1 :]) if fitting else (0, blocks)


def _too_large(model: str, blocks: Sequence[int], rooms: Rooms, batch: int) -> ModelTooLarge:
    return ModelTooLarge(
        f"model {model} does not fit: its largest module ({_mib(max(blocks))}) and the smallest batch ({_mib(batch)}) "
        f"must be on the device together, and {_mib(rooms.device)} are free there; use a larger device, a smaller "
        "dtype, or end what else uses it"
    )


def _mib(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"
