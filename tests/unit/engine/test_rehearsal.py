"""rehearse: made-up batches teach what batches cost, and a plugin that makes up nonsense is told so."""

import logging
import time
from collections.abc import Sequence
from typing import Any

import pytest

from headrace.engine.guard import MemoryGuard
from headrace.engine.rehearsal import rehearse
from headrace.hardware.virtual import VirtualMemory, VirtualMeter
from headrace.memory.allowance import Allowance
from headrace.sdk.config import BaseConfig
from headrace.sdk.device import Device
from headrace.sdk.messages import Outcome, Prepared
from headrace.sdk.plugin import ModelPluginInterface


class Plugin(ModelPluginInterface):
    """Makes up items of whatever size the test says."""

    def __init__(self, size: Any, config: BaseConfig | None = None) -> None:
        self._size = size
        self.batches: list[int] = []
        self.initialize(config or BaseConfig(), Device("cpu"))

    def load_model(self) -> None:
        """Nothing to load."""

    def infer(self, batch: Sequence[Prepared]) -> list[Outcome]:
        self.batches.append(len(batch))
        return [Outcome(output=1) for _ in batch]

    def cleanup(self) -> None:
        """Nothing to free."""

    def sample(self, size: int) -> Prepared | None:
        return Prepared(size=self._size)


@pytest.fixture
def guard() -> MemoryGuard:
    return MemoryGuard(VirtualMeter(VirtualMemory(2**30), Device("cpu"), 1.0), Allowance(time.monotonic))


@pytest.mark.parametrize("size", [10**30, -1, "large", float("nan")])
def test_items_of_sizes_that_there_are_not_are_not_run(
    guard: MemoryGuard, size: Any, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = Plugin(size)
    with caplog.at_level(logging.WARNING):
        rehearse("m", plugin, guard)
    assert plugin.batches == []
    assert "sample(16) gave the size" in caplog.text


def test_each_shape_is_run_once(guard: MemoryGuard) -> None:
    plugin = Plugin(7)
    rehearse("m", plugin, guard)
    assert plugin.batches[0] == 1
    assert len(plugin.batches) == len(set(plugin.batches))


def test_no_batch_has_more_units_than_the_user_allows(guard: MemoryGuard) -> None:
    plugin = Plugin(7, BaseConfig(max_batch_tokens=30))
    rehearse("m", plugin, guard)
    assert plugin.batches == [1, 4]
