"""Guards for tests whose subject is not memory."""

import time

from headrace.engine.guard import MemoryGuard
from headrace.hardware.virtual import VirtualMemory, VirtualMeter
from headrace.memory.allowance import Allowance
from headrace.sdk.device import Device


def roomy_guard() -> MemoryGuard:
    """A guard of a device with a TiB, whose first batch may be of any size."""
    meter = VirtualMeter(VirtualMemory(2**40), Device("cpu"), 1.0)
    return MemoryGuard(meter, Allowance(time.monotonic, per_unit=1.0))
