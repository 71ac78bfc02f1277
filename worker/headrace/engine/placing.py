"""Where the weights of a model that can be paged are to be, by the memory that there is now."""

import logging
import os
from contextlib import suppress
from pathlib import Path

from headrace.errors import SetupFailed
from headrace.hardware.host import host_memory
from headrace.hardware.meter import MemoryMeter
from headrace.memory.blocks import read_blocks
from headrace.memory.paging import Rooms, plan_placement
from headrace.sdk.offload import remove_folder
from headrace.sdk.placement import Placed, Placement
from headrace.sdk.plugin import ModelPluginInterface

logger = logging.getLogger(__name__)

_ITEMSIZE = {"float32": 4, "bfloat16": 2, "float16": 2}
#: Share of the room that is left for a batch while nobody knows what one needs.
_FOR_A_BATCH = 0.1
#: Share of the host's free memory that weights of a GPU's model may take.
_OF_THE_HOST = 0.5


class Placing:
    """Plans placements, and owns the folder in which weights wait on disk."""

    def __init__(self, folder: Path) -> None:
        """Take the folder that all engines of this state share; each has its own folders in it."""
        self._folder = folder

    def plan(self, model: str, plugin: ModelPluginInterface, meter: MemoryMeter, *, batch: float) -> Placement:
        """Where the weights are to be.

        Args:
            model: Its name.
            plugin: It was initialised, and is to be loaded.
            meter: Watches the device, from which all was evicted that can be.
            batch: Bytes that the smallest batch needs at most; 0 for unknown.

        Raises:
            ModelTooLarge: If the model cannot run here even when it is paged.
            WeightsError: If its weights cannot be read.
        """
        on_cpu = plugin.device.kind == "cpu"
        return plan_placement(
            model,
            weight_blocks(plugin),
            rooms=Rooms(device=meter.room, host=0 if on_cpu else int(_OF_THE_HOST * host_memory().free)),
            batch=int(batch or _FOR_A_BATCH * meter.room),
            offload_folder=self._folder / f"{os.getpid()}-{model}",
        )

    def sweep(self) -> None:
        """Remove what engines that died have left."""
        for path in self._folder.glob("*-*"):
            pid = path.name.partition("-")[0]
            if pid.isdecimal() and not Path("/proc", pid).exists():
                with suppress(SetupFailed):
                    remove_folder(path)


def weight_blocks(plugin: ModelPluginInterface) -> list[int]:
    """Bytes of each part of a plugin's weights that is moved as a whole; none if it names no weights.

    Raises:
        WeightsError: If they cannot be read.
    """
    if plugin.config.weights is None:
        return []
    return read_blocks(plugin.config.weights.resolve(), itemsize=_ITEMSIZE.get(plugin.config.dtype))


def in_words(placed: Placed | None) -> str:
    """Where weights are that are not on the device; empty if all are.

    Example:
        >>> in_words(Placed(on_device=3 * 2**20, on_disk=5 * 2**20))
        'of 8.0 MiB of weights 3.0 are on the device, 0.0 on the host and 5.0 on disk'
    """
    if placed is None or not placed.paged:
        return ""
    device, host, disk = (count / 2**20 for count in (placed.on_device, placed.on_host, placed.on_disk))
    return (
        f"of {device + host + disk:,.1f} MiB of weights {device:,.1f} are on the device, {host:,.1f} on the host "
        f"and {disk:,.1f} on disk"
    )
