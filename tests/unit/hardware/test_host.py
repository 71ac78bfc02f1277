"""The host: the control group's limit counts when it is below the host's RAM."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from headrace.hardware.host import Memory, host_memory

GIB = 2**30


def _host(tmp_path: Path) -> Path:
    file = tmp_path / "meminfo"
    file.write_text(f"MemTotal: {8 * GIB // 1024} kB\nMemFree: 1 kB\nMemAvailable: {4 * GIB // 1024} kB\n")
    return file


def _group(root: Path, limit: str, used: int, *, version: int = 2, below: str = "") -> Path:
    folder = root / ("sys/fs/cgroup" if version == 2 else "sys/fs/cgroup/memory") / below
    folder.mkdir(parents=True)
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    return folder


def _own_group(root: Path, line: str) -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(f"12:pids:/x\n{line}\n")


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


@pytest.mark.parametrize(("version", "line"), [(2, "0::/a/b"), (1, "4:cpu,memory:/a/b")])
def test_the_least_limit_of_the_groups_above_counts(tmp_path: Path, version: int, line: str) -> None:
    _own_group(tmp_path, line)
    _group(tmp_path, "max" if version == 2 else str(2**63), 0, version=version)
    _group(tmp_path, str(2 * GIB), GIB, version=version, below="a")
    _group(tmp_path, str(3 * GIB), GIB // 2, version=version, below="a/b")
    _group(tmp_path, str(GIB), GIB, version=version, below="other")
    assert host_memory(_host(tmp_path), tmp_path) == Memory(total=2 * GIB, free=GIB)


@pytest.mark.parametrize("version", [1, 2])
def test_what_the_kernel_keeps_of_files_is_free(tmp_path: Path, version: int) -> None:
    folder = _group(tmp_path, str(2 * GIB), 2 * GIB, version=version)
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {GIB // 2}\ntotal_inactive_file {GIB}\n")
    assert host_memory(_host(tmp_path), tmp_path).free == (GIB if version == 1 else GIB // 2)


@pytest.mark.parametrize("line", ["0::/../../elsewhere", "0::/of/the/host", "garbage", ""])
def test_a_group_that_cannot_be_seen_leaves_the_mounts_own(tmp_path: Path, line: str) -> None:
    _own_group(tmp_path, line)
    _group(tmp_path, str(2 * GIB), GIB)
    assert host_memory(_host(tmp_path), tmp_path) == Memory(total=2 * GIB, free=GIB)


def test_a_limit_that_the_kernel_holds_this_process_to_is_seen(tmp_path: Path) -> None:
    """In a real group of version 1 or 2, if one can be made."""
    group = _made_group("512M")
    if group is None:
        pytest.skip("a control group can be made by root alone, where its tree is writable")
    code = (
        "import os, sys, pathlib; pathlib.Path(sys.argv[1], 'cgroup.procs').write_text(str(os.getpid()));"
        "from headrace.hardware.host import host_memory; print(*host_memory())"
    )
    try:
        done = subprocess.run([sys.executable, "-c", code, str(group)], capture_output=True, text=True, check=True)
    finally:
        group.rmdir()
    total, free = map(int, done.stdout.split())
    assert total == 512 * 2**20
    assert 0.8 * total < free <= total


def _made_group(limit: str) -> Path | None:
    for mount, name in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(mount) / f"headrace-test-{os.getpid()}"
        try:
            group.mkdir()
            (group / name).write_text(limit)
        except OSError:
            with suppress(OSError):
                group.rmdir()
        else:
            return group
    return None
