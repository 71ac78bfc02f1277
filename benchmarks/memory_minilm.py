"""MiniLM on a virtual device whose budget a process beside it changes, by the real clock."""

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson

from benchmarks.attempts import Attempt, Tally, tally
from benchmarks.cotenant import MIB
from benchmarks.memory_policies import Additive, Halving, Headrace, Items, Policy, Window, lost
from headrace.engine.guard import MemoryGuard
from headrace.hardware.virtual import VirtualMemory, VirtualMeter, write_virtual
from headrace.memory.allowance import Allowance
from headrace.memory.oom import bytes_tried, is_out_of_memory
from headrace.memory.shape import Shape
from headrace.sdk.device import Device
from headrace.sdk.messages import Item, Outcome, Prepared
from headrace.sdk.plugin import ModelPluginInterface

ROOT = Path(__file__).parents[1]
MANIFEST = ROOT / "plugin_pkgs" / "minilm" / "plugin_manifest.json"
TEXTS = ROOT / "benchmarks" / "data" / "sentences.jsonl"
#: Bytes of the device beyond the model's weights, and texts in a window.
ROOM, WINDOW = 64 * MIB, 256
#: Share of a run that is not counted.
WARM_UP = 0.2

OTHERS: dict[str, Callable[[], Policy]] = {
    "8 items": lambda: Items(8),
    "32 items": lambda: Items(32),
    "128 items": lambda: Items(128),
    "halving": lambda: Halving(WINDOW),
    "additive": lambda: Additive(8, 8),
}


class Watched(ModelPluginInterface):
    """A plugin, and what each of its batches came to."""

    def __init__(self, plugin: ModelPluginInterface, memory: VirtualMemory) -> None:
        self.initialize(plugin.config, plugin.device)
        self.plugin, self.memory = plugin, memory
        self.attempts: list[Attempt] = []

    def load_model(self) -> None:
        """It is loaded."""

    def cleanup(self) -> None:
        """Others go on with it."""

    def sample(self, size: int) -> Prepared | None:
        """The plugin's."""
        return self.plugin.sample(size)

    def infer(self, batch: Sequence[Prepared]) -> list[Outcome]:
        """Run a batch and note it."""
        begin, free, held = time.monotonic(), self.memory.free, self.memory.held
        self.memory.peak = held
        try:
            outcomes = self.plugin.infer(batch)
        except Exception as error:
            if is_out_of_memory(error):
                self._note(begin, batch, self.memory.peak - held + bytes_tried(error), free=free)
            raise
        self._note(begin, batch, self.memory.peak - held)
        return outcomes

    def _note(self, begin: float, batch: Sequence[Prepared], need: int, *, free: int | None = None) -> None:
        shape = Shape.of([item.size for item in batch])
        # What it would have needed later is not known: a batch that is far too large may count as ended by a step.
        stepped = free is not None and need <= free
        end = time.monotonic()
        self.attempts.append(Attempt(begin=begin, end=end, shape=shape, need=need, ok=free is None, stepped=stepped))


def compare(seed: int, *, seconds: float) -> dict[str, Tally]:
    """Run every policy on one seed: the same texts and the same co-tenant."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "device"
        write_virtual(path, total=2**40)
        memory = VirtualMemory(path)
        with memory.enforce():
            plugin = _load()
            total = memory.held + ROOM
            found = {}
            for name in ("headrace", *OTHERS):
                with _cotenant(path, total, seed):
                    found[name] = _run(name, plugin, memory, seed, seconds)
            plugin.cleanup()
    return found


def complaints(tallies: dict[str, Tally]) -> list[str]:
    """What was promised and does not hold."""
    ours = tallies["headrace"]
    found = [f"{name} lost {each.lost} of {each.items} items" for name, each in tallies.items() if each.lost]
    found += [
        f"more OOMs in 1,000 batches than {name}"
        for name in OTHERS
        if ours.failed_per_1000 > tallies[name].failed_per_1000
    ]
    return found


def _load() -> ModelPluginInterface:
    from headrace.attention import load_attention
    from headrace.hardware.profile import DeviceProfile
    from headrace.sdk.testing import create_plugin

    device = Device("cpu")
    plugin = create_plugin(MANIFEST, device, {"max_batch_size": "auto", "max_batch_tokens": "auto", "shards": 1})
    plugin.attention = load_attention(DeviceProfile(device=device), plugin.config.dtype)
    plugin.load_model()
    # Its first batch loads what is loaded late.
    plugin.infer(plugin.prepare([Item(input={"text": "first"})] * 2))
    return plugin


@contextmanager
def _cotenant(path: Path, total: int, seed: int) -> Iterator[None]:
    """A process that takes and frees memory of the device, which begins with all of it free."""
    write_virtual(path, total=total)
    command = [sys.executable, "-m", "benchmarks.cotenant", str(path), str(total), str(ROOM), str(seed)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None  # noqa: S101  a pipe was asked for
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def _run(name: str, plugin: ModelPluginInterface, memory: VirtualMemory, seed: int, seconds: float) -> Tally:
    watched, policy, begin = Watched(plugin, memory), _make(name, memory), time.monotonic()
    items = missing = 0
    for window in _windows(plugin, seed):
        if time.monotonic() >= begin + seconds:
            break
        missing += lost(window, policy.run(watched, window))
        items += len(window)
    return tally(watched.attempts, begin=begin + WARM_UP * seconds, end=begin + seconds, items=items, lost=missing)


def _make(name: str, memory: VirtualMemory) -> Policy:
    if name != "headrace":
        return OTHERS[name]()
    return Headrace(MemoryGuard(VirtualMeter(memory, Device("cpu"), 1.0), Allowance(time.monotonic)))


def _windows(plugin: ModelPluginInterface, seed: int) -> Iterator[Window]:
    source = random.Random(seed)  # noqa: S311  a measurement, no secret
    texts = [orjson.loads(line)["text"] for line in TEXTS.read_bytes().splitlines()]
    while True:
        # Texts of several sentences, too: the sample's own are short.
        chosen = [" ".join(source.choices(texts, k=source.choice([1, 1, 1, 2]))) for _ in range(WINDOW)]
        yield plugin.prepare([Item(input={"text": text}) for text in chosen])
