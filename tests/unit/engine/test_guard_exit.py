"""MemoryGuard: a plugin that ends by SystemExit where memory ended fails the one item, and no other."""

import time
from collections.abc import Sequence

from headrace.engine.guard import MemoryGuard
from headrace.hardware.virtual import VirtualMemory, VirtualMeter
from headrace.memory.allowance import Allowance
from headrace.sdk import BaseConfig, Device, ModelPluginInterface, Outcome, Prepared


class Leaver(ModelPluginInterface):
    """Leaves for the item 3."""

    def __init__(self) -> None:
        self.initialize(BaseConfig(), Device("cpu"))

    def load_model(self) -> None:
        """Nothing to load."""

    def cleanup(self) -> None:
        """Nothing to free."""

    def infer(self, batch: Sequence[Prepared]) -> list[Outcome]:
        if any(item.data == 3 for item in batch):
            raise SystemExit(1) from MemoryError()
        return [Outcome(output=1) for _ in batch]


def test_an_item_for_which_the_plugin_leaves_fails_alone() -> None:
    guard = MemoryGuard(VirtualMeter(VirtualMemory(2**30), Device("cpu"), 1.0), Allowance(time.monotonic))
    outcomes = guard.infer(Leaver(), [Prepared(size=1, data=number) for number in range(4)])
    assert [outcome.error is None for outcome in outcomes] == [True, True, True, False]
