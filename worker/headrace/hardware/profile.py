"""DeviceProfile: what a device is, and how much of its memory is free now."""

from dataclasses import dataclass

from headrace.sdk.device import Device


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceProfile:
    """One device at one moment; sizes are bytes, and 0 where they cannot be read."""

    device: Device
    #: NVML's, which no CUDA_VISIBLE_DEVICES changes; empty for a CPU.
    uuid: str = ""
    #: As its maker calls it.
    name: str = "CPU"
    #: Major and minor version; None for a CPU.
    compute_capability: tuple[int, int] | None = None
    total: int = 0
    free: int = 0
    #: What processes of ours have of it, and what others have.
    used_by_us: int = 0
    used_by_others: int = 0
    #: Share of the last second in which it computed, 0 to 1; None where nobody tells.
    utilisation: float | None = None
    #: Version of the driver; empty for a CPU.
    driver: str = ""
