"""HungryPlugin: its batches need bytes by a formula, and its outputs tell how large they were."""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from headrace.sdk import BaseConfig, Item, ModelPluginInterface, Outcome, Prepared
from headrace.sdk.messages import Footprint


class HungryConfig(BaseConfig):
    """What a batch needs."""

    #: Bytes of the weights.
    weight_bytes: int = 0
    #: Bytes for each unit, padding included, and for each unit times the longest item: attention's part.
    linear: int = 0
    quadratic: int = 0
    #: Bytes for a unit that it claims to need.
    claim: int = 0
    #: Seconds that a batch takes.
    seconds: float = 0.0
    #: Size of the largest made-up item, 0 for none.
    largest_sample: int = 0
    #: Units, padding included, above which a batch ends the process as the kernel's memory killer does; 0 for none.
    fatal: int = 0
    #: File that gets a line for each batch that begins: its units, padding included.
    ledger: Path | None = None


class HungryPlugin(ModelPluginInterface):
    """Takes memory by torch, if it is to take any."""

    config_class: ClassVar[type[BaseConfig]] = HungryConfig
    config: HungryConfig

    def load_model(self) -> None:
        """Take what the weights need."""
        self.weights = _take(self.config.weight_bytes)

    def prepare(self, items: Sequence[Item]) -> list[Prepared]:
        """An item's size is what it says."""
        return [Prepared(size=item.input["size"], data=item.input) for item in items]

    def infer(self, batch: Sequence[Prepared]) -> list[Outcome]:
        """Take what the batch needs, in two parts, for as long as it takes."""
        longest = max(item.size for item in batch)
        padded = len(batch) * longest
        self._begin(padded)
        held = [_take(padded * self.config.linear), _take(padded * longest * self.config.quadratic)]
        time.sleep(self.config.seconds)
        del held
        return [Outcome(output={"size": item.size, "batch": len(batch)}) for item in batch]

    def _begin(self, padded: int) -> None:
        if self.config.ledger:
            with self.config.ledger.open("a") as ledger:
                ledger.write(f"{padded}\n")
        if 0 < self.config.fatal < padded:
            os.kill(os.getpid(), signal.SIGKILL)

    def cleanup(self) -> None:
        """Give the weights back."""
        self.weights = None

    def sample(self, size: int) -> Prepared | None:
        """An item of that size."""
        if not self.config.largest_sample:
            return None
        return Prepared(size=min(size, self.config.largest_sample))

    def footprint(self) -> Footprint:
        """What it claims."""
        return Footprint(weights=self.config.weight_bytes, per_unit=self.config.claim)


def _take(count: int) -> Any:
    if not count:
        return None
    import torch

    return torch.empty(count, dtype=torch.uint8)
