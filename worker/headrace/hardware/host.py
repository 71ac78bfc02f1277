"""The host: its memory, as far as this control group may use it, and its cores."""

import os
from pathlib import Path
from typing import NamedTuple

#: Where Linux tells a control group's memory limit and use: version 2, then version 1.
_CGROUP_FILES = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


class Memory(NamedTuple):
    """Bytes."""

    total: int
    free: int


def host_memory(meminfo: Path = Path("/proc/meminfo"), cgroup_root: Path = Path("/")) -> Memory:
    """The smaller of the host's RAM and this control group's limit, total and free."""
    told = meminfo.read_bytes()
    host = Memory(total=_kibibytes(told, b"MemTotal:"), free=_kibibytes(told, b"MemAvailable:"))
    group = _cgroup_memory(cgroup_root)
    if group is None or group.total >= host.total:
        return host
    return Memory(total=group.total, free=min(host.free, group.free))


def _kibibytes(told: bytes, field: bytes) -> int:
    begin = told.index(field) + len(field)
    return int(told[begin : told.index(b"kB", begin)]) * 1024


def _cgroup_memory(root: Path) -> Memory | None:
    for limit_name, usage_name in _CGROUP_FILES:
        limit_file, usage_file = root / limit_name.lstrip("/"), root / usage_name.lstrip("/")
        if limit_file.is_file() and usage_file.is_file():
            limit = limit_file.read_text().strip()
            if limit == "max":
                return None
            return Memory(total=int(limit), free=max(0, int(limit) - int(usage_file.read_text())))
    return None


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
