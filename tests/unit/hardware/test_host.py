"""The host: the control group's limit counts when it is below the host's RAM."""

from pathlib import Path

from headrace.hardware.host import Memory, host_memory

GIB = 2**30


def _host(tmp_path: Path) -> Path:
    file = tmp_path / "meminfo"
    file.write_text(f"MemTotal: {8 * GIB // 1024} kB\nMemFree: 1 kB\nMemAvailable: {4 * GIB // 1024} kB\n")
    return file


def _group(root: Path, limit: str, used: int, *, version: int = 2) -> None:
    folder = root / ("sys/fs/cgroup" if version == 2 else "sys/fs/cgroup/memory")
    folder.mkdir(parents=True)
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")


def test_without_a_group_the_host_counts(tmp_path: Path) -> None:
    assert host_memory(_host(tmp_path), tmp_path) == Memory(total=8 * GIB, free=4 * GIB)


def test_a_smaller_group_counts_in_both_versions(tmp_path: Path) -> None:
    for version in (1, 2):
        root = tmp_path / str(version)
        _group(root, str(2 * GIB), GIB, version=version)
        assert host_memory(_host(tmp_path), root) == Memory(total=2 * GIB, free=GIB)


def test_an_unlimited_or_huge_group_does_not_count(tmp_path: Path) -> None:
    for name, limit in (("max", "max"), ("huge", str(2**63))):
        _group(tmp_path / name, limit, 0)
        assert host_memory(_host(tmp_path), tmp_path / name).total == 8 * GIB


def test_a_group_never_promises_more_than_the_host_has(tmp_path: Path) -> None:
    _group(tmp_path, str(6 * GIB), 0)
    assert host_memory(_host(tmp_path), tmp_path).free == 4 * GIB
