"""Where the weights of a model that can be paged are to be, by the memory that there is now."""

from pathlib import Path

from headrace.engine.offload import OffloadFolders
from headrace.hardware.host import host_memory
from headrace.hardware.meter import MemoryMeter
from headrace.memory.blocks import read_blocks
from headrace.memory.paging import Rooms, plan_placement
from headrace.sdk.placement import Placed, Placement
from headrace.sdk.plugin import ModelPluginInterface

_ITEMSIZE = {"float32": 4, "bfloat16": 2, "float16": 2}
#: Share of the room that is left for a batch while nobody knows what one needs.
_FOR_A_BATCH = 0.1
#: Share of the host's free memory that weights of a GPU's model may take.
_OF_THE_HOST = 0.5


class Placing:
    """Plans placements, and owns the folder in which weights wait on disk."""

    def __init__(self, folder: Path) -> None:
        """Take the folder that all engines of this state share; each has its own folders in it."""
        self._folders = OffloadFolders(folder)

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
            SetupFailed: If the folder can't be made.
        """
        on_cpu = plugin.device.kind == "cpu"
        return plan_placement(
            model,
            weight_blocks(plugin),
            rooms=Rooms(device=meter.room, host=0 if on_cpu else int(_OF_THE_HOST * host_memory().free)),
            batch=int(batch or _FOR_A_BATCH * meter.room),
            offload_folder=self._folders.name(model),
        )

    def sweep(self) -> None:
        """Remove what engines that died have left."""
        self._folders.sweep()

    def release(self, model: str) -> None:
        """Remove what a model has on disk that is not loaded any more."""
        self._folders.remove(model)

    def close(self) -> None:
        """Remove what is left, and the claim to it."""
        self._folders.close()


def weight_blocks(plugin: ModelPluginInterface) -> list[int]:
    """Bytes of each part of a plugin's weights that is moved as a whole; none if it names no weights.

    Raises:
        WeightsError: If they cannot be read.
    """
    source = plugin.config.weights
    if source is None:
        return []
    # Performance: only headers are read, so that nothing need be checked yet; what a hub has may be fetched in part.
    folder = source.find() if source.hub is None else None
    return blocks_in(folder or source.resolve(), plugin)


def blocks_in(folder: Path, plugin: ModelPluginInterface) -> list[int]:
    """Bytes of each part of the weights in a folder, in the number type that the plugin is configured for.

    Raises:
        WeightsError: If they cannot be read.
    """
    return read_blocks(folder, itemsize=_ITEMSIZE.get(plugin.config.dtype))


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
