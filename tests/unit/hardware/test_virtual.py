"""VirtualMemory: counted to the byte, enforced, and changed by others while it is used."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from headrace.errors import ConfigError
from headrace.hardware.virtual import VirtualMemory, VirtualMeter, write_virtual
from headrace.sdk.device import Device

MIB = 2**20


@pytest.fixture(autouse=True)
def _threads() -> object:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_live_tensors_are_counted_once_and_until_they_die() -> None:
    memory = VirtualMemory(64 * MIB)
    with memory.enforce():
        one = torch.zeros(MIB, dtype=torch.uint8)
        view = one.view(16, -1)[3:]
        one.add_(1)
        assert memory.held == MIB
        double = torch.cat([one, one])
        assert (memory.held, memory.free) == (3 * MIB, 61 * MIB)
        del one, double
        assert memory.held == MIB
        del view
        assert (memory.held, memory.peak) == (0, 3 * MIB)


def test_beyond_the_budget_torchs_own_error_is_raised_and_nothing_stays_counted() -> None:
    memory = VirtualMemory(10 * MIB)
    with memory.enforce():
        kept = torch.zeros(4 * MIB, dtype=torch.uint8)
        with pytest.raises(torch.OutOfMemoryError, match=r"tried to allocate 7340032 bytes, 6291456 free"):
            torch.zeros(7 * MIB, dtype=torch.uint8)
        assert memory.held == 4 * MIB == kept.nbytes


def test_what_another_process_takes_is_gone_at_once_and_back_at_once(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    write_virtual(path, total=100)
    memory = VirtualMemory(path)
    assert memory.free == 100
    code = "import sys, pathlib; from headrace.hardware.virtual import write_virtual as w; "
    for others, free in ((70, 30), (0, 100), (200, 0)):
        call = f"w(pathlib.Path(sys.argv[1]), total=100, others={others})"
        subprocess.run([sys.executable, "-c", code + call, str(path)], check=True)
        assert memory.free == free


def test_the_meter_tells_the_room_and_the_exact_peak() -> None:
    memory = VirtualMemory(100 * MIB)
    meter = VirtualMeter(memory, Device("cpu"), 0.75)
    with memory.enforce():
        weights = torch.zeros(10 * MIB, dtype=torch.uint8)
        assert (meter.held, meter.room) == (10 * MIB, 65 * MIB)
        meter.begin(exactly=True)
        for _ in range(3):
            torch.zeros(20 * MIB, dtype=torch.uint8)
        assert meter.end().at_least == 20 * MIB
    assert meter.profile().used_by_us == weights.nbytes


def test_what_another_thread_takes_is_kept_from_batches_until_it_has_it() -> None:
    memory = VirtualMemory(100 * MIB)
    meter = VirtualMeter(memory, Device("cpu"), 1.0)
    taken: list[torch.Tensor] = []

    def take() -> None:
        with meter.on_thread():
            taken.append(torch.zeros(30 * MIB, dtype=torch.uint8))

    meter.reserve(40 * MIB)
    assert (meter.crowded, meter.room) == (True, 60 * MIB)
    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    assert (meter.held, meter.room) == (30 * MIB, 60 * MIB)
    with memory.enforce():
        # Counted by the thread that made it, and not again by one that looks at it.
        taken.append(taken[0].view(30, MIB))
    assert memory.held == 30 * MIB
    meter.unreserve()
    assert (meter.crowded, meter.room) == (False, 70 * MIB)


@pytest.mark.parametrize("content", [b"", b"vm", b"x" * 17])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "device"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"virtual_memory: {path} "):
        VirtualMemory(path)
