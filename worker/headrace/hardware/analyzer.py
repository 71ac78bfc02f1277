"""HardwareAnalyzer: the devices of this machine, and what is free of each now."""

import logging
from collections.abc import Collection, Sequence
from functools import lru_cache

from headrace.hardware.cuda_meter import CudaMeter
from headrace.hardware.host import Memory, host_memory
from headrace.hardware.host_meter import HostMeter
from headrace.hardware.meter import MemoryMeter
from headrace.hardware.nvml import Nvml
from headrace.hardware.profile import DeviceProfile
from headrace.hardware.virtual import VirtualMemory, VirtualMeter, virtual_profile
from headrace.sdk.device import Device
from headrace.settings import get_settings, visible_gpus

logger = logging.getLogger(__name__)


class HardwareAnalyzer:
    """Reads devices; one that cannot be read has sizes of 0."""

    def __init__(self, nvml: Nvml, virtual: VirtualMemory | None = None) -> None:
        self._nvml = nvml
        #: Stands in for the memory of every device, if there is one.
        self.virtual = virtual

    def gpus(self) -> Sequence[Device]:
        """The GPUs that may be used, as `cuda:0` and so on."""
        return [Device("cuda", index) for index in range(len(self._nvml.gpus()))]

    def uuid(self, device: Device) -> str:
        """A GPU's UUID, by which an engine is bound to it; empty if there is none such."""
        uuids = self._nvml.gpus() if device.kind == "cuda" else []
        return uuids[device.index] if device.index < len(uuids) else ""

    def profile(self, device: Device, *, ours: Collection[int] = ()) -> DeviceProfile:
        """A device as it is now.

        Args:
            device: Which.
            ours: Ids of our own processes, to tell what they use from what others do.
        """
        if self.virtual is not None:
            return virtual_profile(self.virtual, device)
        if device.kind == "cuda":
            return self._nvml.profile(device, ours)
        try:
            memory = host_memory()
        except (OSError, ValueError, KeyError) as error:
            logger.warning("the host's memory cannot be read: %s", error)
            memory = Memory(total=0, free=0)
        return DeviceProfile(device=device, total=memory.total, free=memory.free)

    def meter(self, device: Device, utilization: float) -> MemoryMeter:
        """What watches a device's memory for the process that has it.

        Args:
            device: As this process sees it: its one GPU is `cuda:0`.
            utilization: Share of the device's memory that may be in use, by whomever.
        """
        if self.virtual is not None:
            return VirtualMeter(self.virtual, device, utilization)
        kind = CudaMeter if device.kind == "cuda" else HostMeter
        return kind(lambda: self.profile(device), utilization)

    def close(self) -> None:
        """Let go of the driver."""
        self._nvml.close()


@lru_cache(maxsize=1)
def get_hardware_analyzer() -> HardwareAnalyzer:
    """The process's own."""
    source = get_settings().virtual_memory
    return HardwareAnalyzer(Nvml(visible_gpus()), VirtualMemory(source) if source is not None else None)
