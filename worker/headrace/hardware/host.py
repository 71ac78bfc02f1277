"""The host: its memory, as far as this control group may use it, and its cores."""

import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple


class _Version(NamedTuple):
    """Where Linux tells of a control group's memory: https://docs.kernel.org/admin-guide/cgroup-v2.html#memory."""

    folders: tuple[str, ...]
    #: What names the line of a process's group in its `cgroup` file.
    controller: str
    limit: str
    used: str
    #: The line in `memory.stat` of bytes that the kernel takes back from files when it must.
    reclaimable: bytes


_VERSIONS = (
    _Version(("sys/fs/cgroup", "sys/fs/cgroup/unified"), "", "memory.max", "memory.current", b"inactive_file"),
    _Version(
        ("sys/fs/cgroup/memory",), "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", b"total_inactive_file"
    ),
)


class Memory(NamedTuple):
    """Bytes."""

    total: int
    free: int


def host_memory(meminfo: Path = Path("/proc/meminfo"), cgroup_root: Path = Path("/")) -> Memory:
    """The least of the host's RAM and the limits of this control group and those above it, total and free."""
    told = meminfo.read_bytes()
    host = Memory(total=_kibibytes(told, b"MemTotal:"), free=_kibibytes(told, b"MemAvailable:"))
    limits = [memory for folder, version in _groups(cgroup_root) if (memory := _limit(folder, version, host.total))]
    return Memory(
        total=min([host.total, *(each.total for each in limits)]),
        free=min([host.free, *(each.free for each in limits)]),
    )


def _kibibytes(told: bytes, field: bytes) -> int:
    begin = told.index(field) + len(field)
    return int(told[begin : told.index(b"kB", begin)]) * 1024


@lru_cache(maxsize=8)
def _groups(root: Path) -> list[tuple[Path, _Version]]:
    """Folders of this process's control group and of those above it, as far as they can be seen.

    In a container the mount may be the group's own, and the path one of the host: then the mount alone is there.
    """
    found: list[tuple[Path, _Version]] = []
    for version in _VERSIONS:
        path = _own_path(root, version.controller)
        for mount in (root / folder for folder in version.folders):
            folders = (mount / Path(*path[:depth]) for depth in range(len(path) + 1))
            found += [(folder, version) for folder in folders if (folder / version.limit).is_file()]
    return found


def _own_path(root: Path, controller: str) -> Sequence[str]:
    """Parts of the path of this process's control group below the mount."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return ()
    # As in `4:memory:/a/b`, and `0::/a/b` for version 2.
    rows = (line.split(":", 2) for line in lines if line.count(":") > 1)
    path = next((path for _, controllers, path in rows if controller in controllers.split(",")), "")
    parts = Path(path.lstrip("/")).parts
    return () if ".." in parts else parts


def _limit(folder: Path, version: _Version, host: int) -> Memory | None:
    try:
        told = (folder / version.limit).read_text().strip()
        # Performance: most groups have no limit, or a huge one, and their use takes the kernel a while to sum up.
        if told == "max" or (limit := int(told)) >= host:
            return None
        used = int((folder / version.used).read_text())
    except OSError:
        # The process was moved to another group, and this one removed.
        return None
    return Memory(total=limit, free=max(0, limit - used + _reclaimable(folder, version)))


def _reclaimable(folder: Path, version: _Version) -> int:
    try:
        lines: Iterable[list[bytes]] = map(bytes.split, (folder / "memory.stat").read_bytes().splitlines())
    except OSError:
        return 0
    return next((int(line[1]) for line in lines if line[0] == version.reclaimable), 0)


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
