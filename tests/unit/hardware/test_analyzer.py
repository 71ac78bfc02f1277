"""HardwareAnalyzer, through a stand-in for NVML's library whose values change while a process reads them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from headrace.hardware.analyzer import get_hardware_analyzer
from headrace.hardware.nvml import visible_of
from headrace.sdk.device import Device
from tests.utils.gpus import Gpu, StandIn

GIB = 2**30
UUIDS = ["GPU-aaaa-1", "GPU-aabb-2", "GPU-cccc-3"]

#: Tells all devices as often as it is asked to, by a line on its standard input with ids of our processes.
READER = """
import dataclasses, json, sys
from headrace.hardware.analyzer import get_hardware_analyzer
analyzer = get_hardware_analyzer()
for line in sys.stdin:
    ours = json.loads(line)
    print(json.dumps([dataclasses.asdict(analyzer.profile(gpu, ours=ours)) for gpu in analyzer.gpus()]), flush=True)
"""


class Reader:
    """A process that sees the stand-in's GPUs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def read(self, *ours: int) -> list[dict[str, Any]]:
        """What it sees now."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(ours) + "\n")
        self._process.stdin.flush()
        told: list[dict[str, Any]] = json.loads(self._process.stdout.readline())
        return told


@contextmanager
def _reader(stand_in: StandIn, visible: str | None = None) -> Iterator[Reader]:
    environment = dict(stand_in.environment)
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    if visible is not None:
        environment["CUDA_VISIBLE_DEVICES"] = visible
    with subprocess.Popen(
        [sys.executable, "-c", READER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Reader(process)


@pytest.fixture
def stand_in(tmp_path: Path) -> StandIn:
    """Two GPUs."""
    return StandIn(tmp_path, [Gpu(uuid=UUIDS[0]), Gpu(uuid=UUIDS[2], name="Other", capability=(8, 6), free=GIB)])


def test_a_gpu_tells_what_it_is_and_has(stand_in: StandIn) -> None:
    stand_in.change(0, pid=77, pid_bytes=3 * GIB)
    with _reader(stand_in) as reader:
        first, second = reader.read(77)
    assert (first["uuid"], first["name"], first["compute_capability"]) == (UUIDS[0], "Stand-In-H100", [9, 0])
    assert (first["total"], first["free"]) == (84 * GIB, 80 * GIB)
    assert (first["used_by_us"], first["used_by_others"]) == (3 * GIB, GIB)
    assert (first["utilisation"], first["driver"]) == (0.5, "580.0.stand-in")
    assert (second["uuid"], second["used_by_us"], second["used_by_others"]) == (UUIDS[2], 0, 83 * GIB)


def test_memory_that_another_process_takes_is_seen_at_once(stand_in: StandIn) -> None:
    with _reader(stand_in) as reader:
        free = [reader.read()[0]["free"]]
        for now in (5 * GIB, 70 * GIB):
            stand_in.change(0, free=now)
            free.append(reader.read()[0]["free"])
    assert free == [80 * GIB, 5 * GIB, 70 * GIB]


@pytest.mark.parametrize(
    ("visible", "uuids"),
    [("1,0", [UUIDS[2], UUIDS[0]]), ("1", [UUIDS[2]]), (UUIDS[2], [UUIDS[2]]), ("", []), (None, [UUIDS[0], UUIDS[2]])],
)
def test_gpus_come_in_the_order_in_which_cuda_shows_them(
    stand_in: StandIn, visible: str | None, uuids: list[str]
) -> None:
    with _reader(stand_in, visible) as reader:
        assert [each["uuid"] for each in reader.read()] == uuids


def test_a_gpu_that_is_lost_has_nothing_and_the_others_go_on(stand_in: StandIn) -> None:
    with _reader(stand_in) as reader:
        reader.read()
        stand_in.change(0, total=0)
        lost, other = reader.read()
    assert (lost["total"], lost["free"]) == (0, 0)
    assert other["total"] == 84 * GIB


def test_a_gpu_that_was_lost_before_anybody_looked_does_not_hide_the_others(stand_in: StandIn) -> None:
    stand_in.change(0, total=0)
    for visible, uuids in ((None, [UUIDS[2]]), (UUIDS[2], [UUIDS[2]]), ("1", [UUIDS[2]]), ("0,1", [])):
        with _reader(stand_in, visible) as reader:
            assert [each["uuid"] for each in reader.read()] == uuids


def test_a_driver_that_fails_shows_no_gpus_and_is_asked_again(stand_in: StandIn) -> None:
    with _reader(stand_in) as reader:
        assert len(reader.read()) == 2
        stand_in.unload()
        assert reader.read() == []
        stand_in.change(0, free=GIB)
        assert len(reader.read()) == 2


@pytest.mark.parametrize(
    ("visible", "shown"),
    [
        (None, UUIDS), ("2,0", [UUIDS[2], UUIDS[0]]), (" 1 , 2 ", UUIDS[1:]), ("GPU-c", [UUIDS[2]]),
        ("0,GPU-aa", [UUIDS[0]]),  # two begin so
        ("0,3,1", [UUIDS[0]]), ("1,1", [UUIDS[1]]), ("-1", []), ("", []), ("none", []),
    ],
)  # fmt: skip
def test_what_cuda_shows_ends_where_a_word_names_no_gpu(visible: str | None, shown: list[str]) -> None:
    assert visible_of(UUIDS, visible) == shown


def test_this_machines_host_has_memory() -> None:
    profile = get_hardware_analyzer().profile(Device("cpu"))
    assert 0 < profile.free <= profile.total
    assert (profile.uuid, profile.compute_capability) == ("", None)


def test_a_gpu_that_is_not_there_has_no_uuid_and_no_memory() -> None:
    analyzer = get_hardware_analyzer()
    assert analyzer.uuid(Device("cuda", 99)) == analyzer.uuid(Device("cpu")) == ""
    assert analyzer.profile(Device("cuda", 99)).total == 0
