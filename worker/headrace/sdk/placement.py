"""Placement and Placed: where a model's weights are to be, and where they are."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where the weights of a model are to be, and how much memory they may take.

    The limits hold; the split is what the sizes of the model's files promise.
    On a CPU the device is the host, so nothing is `on_host`.

    Example:
        >>> Placement(on_device=700, reason="all of it fits").paged
        False
    """

    #: Bytes of weights that stay on the device.
    on_device: int
    #: Bytes of weights that stay in the host's memory and are copied to a GPU for their turn.
    on_host: int = 0
    #: Bytes of weights that are read from disk for their turn.
    on_disk: int = 0
    #: Most bytes that weights may take of the device, what is there for its turn included.
    device_limit: int = 0
    #: Most bytes that weights may take of the host's memory, likewise; 0 where the device is a CPU.
    host_limit: int = 0
    #: Private folder for weights that can't be read where they lie; needed if the placement is paged.
    offload_folder: Path | None = None
    #: Why, in one sentence.
    reason: str

    @property
    def paged(self) -> bool:
        """Whether any weights are not on the device."""
        return self.on_host + self.on_disk > 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """Where a loaded model's parameters are.

    Example:
        >>> Placed(on_device=300, on_disk=400, largest=100).paged
        True
    """

    #: Bytes of parameters on the device, in the host's memory beside a GPU, and on disk.
    on_device: int
    on_host: int = 0
    on_disk: int = 0
    #: Bytes of the largest module that is brought onto the device for its turn; 0 if none is.
    largest: int = 0

    @property
    def paged(self) -> bool:
        """Whether any parameters are not on the device."""
        return self.on_host + self.on_disk > 0
