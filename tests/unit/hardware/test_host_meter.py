"""HostMeter: the kernel's peak of this process, near what was really taken; in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the kernel has no clear_refs")

_CHILD = """
import json, torch
from headrace.hardware.analyzer import get_hardware_analyzer
from headrace.sdk.device import Device

meter = get_hardware_analyzer().meter(Device("cpu"), 0.9)
peaks = []
# Small pieces stay with the process once they were freed; large ones go back to the kernel.
for count, pieces in [(64, 1), (16, 64), (64, 64), (16, 64), (4, 4)]:
    meter.begin(exactly=True)
    held = [torch.ones(count * 2**20 // pieces, dtype=torch.uint8) for _ in range(pieces)]
    del held
    exact = meter.end()
    meter.begin(exactly=False)
    held = [torch.ones(count * 2**20 // pieces, dtype=torch.uint8) for _ in range(pieces)]
    del held
    loose = meter.end()
    peaks.append((count * 2**20, exact.at_least, exact.at_most, loose.at_least, loose.at_most))
before = meter.held
kept = torch.ones(32 * 2**20, dtype=torch.uint8)
grown, error = meter.held - before, meter.error
profile = meter.profile()
meter.release()
meter.reserve(64 * 2**20)
spare = meter.spare
loaded = torch.ones(64 * 2**20, dtype=torch.uint8)
crowded = [spare, meter.spare, meter._promised]
meter.unreserve()
told = {"peaks": peaks, "grown": grown, "error": error, "room": meter.room, "free": profile.free}
print(json.dumps(told | {"crowded": crowded}))
"""


@pytest.fixture(scope="module")
def told() -> dict[str, object]:
    done = subprocess.run([sys.executable, "-c", _CHILD], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_an_exact_peak_is_what_was_taken_up_to_the_stated_error(told: dict[str, object]) -> None:
    for taken, least, most, _, _ in told["peaks"]:
        assert abs(least - taken) <= told["error"]
        assert abs(most - taken) <= told["error"]


def test_a_quick_peak_is_a_bound_on_both_sides(told: dict[str, object]) -> None:
    for taken, _, _, least, most in told["peaks"]:
        assert least - told["error"] <= taken <= most + told["error"]


def test_what_a_load_beside_batches_takes_is_not_theirs_to_take(told: dict[str, object]) -> None:
    spare, later, promised = told["crowded"]
    assert (spare, later) == (0, 0)
    assert promised <= told["error"]


def test_what_it_holds_and_what_room_there_is_are_of_this_process(told: dict[str, object]) -> None:
    assert abs(told["grown"] - 32 * 2**20) <= told["error"]
    assert told["room"] > 0
