"""What a device has and what is free of it, now."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from headrace.sdk.device import Device

logger = logging.getLogger(__name__)

#: Where Linux tells a control group's memory limit and use: version 2, then version 1.
_CGROUP_FILES = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """A device's memory in bytes."""

    total: int
    free: int


def probe(device: Device) -> Memory:
    """Read the device's memory; zeros where it can't be read."""
    try:
        return _gpu_memory(device.index) if device.kind == "cuda" else host_memory()
    except Exception as error:  # noqa: BLE001 - a probe that fails must not take the worker with it
        logger.warning("memory of %s cannot be read: %s", device.name, error)
        return Memory(total=0, free=0)


def host_memory(meminfo: Path = Path("/proc/meminfo"), cgroup_root: Path = Path("/")) -> Memory:
    """The smaller of the host's RAM and this control group's limit, total and free."""
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    host = Memory(total=_kibibytes(fields["MemTotal"]), free=_kibibytes(fields["MemAvailable"]))
    group = _cgroup_memory(cgroup_root)
    if group is None or group.total >= host.total:
        return host
    return Memory(total=group.total, free=min(host.free, group.free))


def _kibibytes(field: str) -> int:
    return int(field.split(maxsplit=1)[0]) * 1024


def _cgroup_memory(root: Path) -> Memory | None:
    for limit_name, usage_name in _CGROUP_FILES:
        limit_file, usage_file = root / limit_name.lstrip("/"), root / usage_name.lstrip("/")
        if limit_file.is_file() and usage_file.is_file():
            limit = limit_file.read_text().strip()
            if limit == "max":
                return None
            return Memory(total=int(limit), free=max(0, int(limit) - int(usage_file.read_text())))
    return None


def _gpu_memory(index: int) -> Memory:
    import pynvml

    pynvml.nvmlInit()
    try:
        info = pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(index))
        return Memory(total=int(info.total), free=int(info.free))
    finally:
        pynvml.nvmlShutdown()


def gpu_count() -> int:
    """GPUs that the driver shows; 0 without a driver or without nvidia-ml-py."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # noqa: BLE001 - any failure means the same: there is no GPU to be had
        return 0
    try:
        return int(pynvml.nvmlDeviceGetCount())
    finally:
        pynvml.nvmlShutdown()


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
