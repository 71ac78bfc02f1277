"""MiniLM in a process whose address space is limited: `make limited`.

The device tells of all the memory that the host has; the allocator fails far below that. Prints one JSON
object: items, items without an outcome, errors, and when memory ended, in seconds. Exits with 1 if an item was
lost or failed, if memory never ended, or if it still did after a minute.
"""

import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from headrace.attention import load_attention
from headrace.engine.batch import BatchExecutor, Entry
from headrace.engine.guard import MemoryGuard
from headrace.engine.messages import Decoder, Outcomes
from headrace.engine.outcomes import Report
from headrace.engine.process import FRUGAL
from headrace.hardware.analyzer import get_hardware_analyzer
from headrace.memory.allowance import Allowance
from headrace.sdk import Device, Item
from headrace.sdk.testing import create_plugin

MANIFEST = Path(__file__).parents[4] / "plugin_pkgs" / "minilm" / "plugin_manifest.json"
#: Address space beyond what the loaded model has, and texts in a window.
ROOM, WINDOW = 96 * 2**20, 256
#: Seconds after which memory must not end any more.
SETTLED = 60.0


class Run:
    """A plugin as an engine runs it, and what became of each item."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        device = Device("cpu")
        self.plugin = create_plugin(MANIFEST, device, {"max_batch_size": "auto", "max_batch_tokens": "auto"})
        self.plugin.attention = load_attention(get_hardware_analyzer().profile(device), self.plugin.config.dtype)
        self.plugin.load_model()
        self.plugin.infer(self.plugin.prepare([Item(input={"text": "first"})] * 2))
        self.guard = MemoryGuard(get_hardware_analyzer().meter(device, 0.9), Allowance(time.monotonic))
        self.begin = time.monotonic()
        self.asked = 0
        self._decoder = Decoder()
        self.answered: set[int] = set()
        self.errors: list[str] = []
        #: Seconds after the beginning at which memory had ended.
        self.failures: list[float] = []

    def go_on(self, seconds: float, texts: Sequence[str]) -> None:
        """Run windows for so long."""
        executor = BatchExecutor(report=Report(self._hear))
        while time.monotonic() - self.begin < seconds:
            items = [Item(input={"text": text}) for text in self._rng.sample(texts, WINDOW)]
            prepared = self.plugin.prepare(items)
            entries = [Entry(item_id=self.asked + number, prepared=each) for number, each in enumerate(prepared)]
            self.asked += len(entries)
            executor.run("minilm", self.plugin, entries, self.guard)
            self._note_failures()

    def _hear(self, data: bytes) -> None:
        for message in self._decoder.feed(data):
            if isinstance(message, Outcomes):
                self.answered.update(row[0] for row in message.outcomes)
                self.errors += (row[2]["message"] for row in message.outcomes if row[2])

    def _note_failures(self) -> None:
        new = self.guard.failures - len(self.failures)
        self.failures += [time.monotonic() - self.begin] * new


def limit_address_space(room: int) -> None:
    """Let this process have so many bytes of address space more than it has, and none beyond."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + room, size + room))


def main() -> int:
    """Run for the seconds that the command line names."""
    seconds = float(sys.argv[1])
    if any(os.environ.get(name) != value for name, value in FRUGAL.items()):
        # As an engine is started: what it holds is read as a process begins.
        command = [sys.executable, "-m", __spec__.name, *sys.argv[1:]]
        return subprocess.run(command, check=False, env={**os.environ, **FRUGAL}).returncode
    rng = random.Random(4)  # noqa: S311 - no secret
    # One to 256 tokens: a word is one, the two marks are counted.
    texts = [" ".join(["water"] * rng.randint(1, 254)) for _ in range(2000)]
    run = Run(rng)
    limit_address_space(ROOM)
    run.go_on(seconds, texts)
    lost = run.asked - len(run.answered)
    failures = [round(each, 1) for each in run.failures]
    print(json.dumps({"items": run.asked, "lost": lost, "errors": run.errors, "failures": failures}))
    return int(bool(lost or run.errors or not failures or max(failures) > SETTLED))


if __name__ == "__main__":
    sys.exit(main())
