"""How large the next batch is to be: headrace, and what it is compared with.

Each gets the same windows of items and takes the smallest first, as headrace does: what sorting gains is no part
of the comparison. Where memory ends, each halves the batch and goes on, so that nothing is lost.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence

from headrace.engine.batch import BatchExecutor, Entry
from headrace.engine.guard import MemoryGuard
from headrace.engine.messages import Message
from headrace.engine.outcomes import Answer, Report
from headrace.engine.rehearsal import rehearse
from headrace.memory.oom import drop_frames, is_out_of_memory
from headrace.sdk.messages import Outcome, Prepared
from headrace.sdk.plugin import ModelPluginInterface

Window = Sequence[Prepared]


class Policy(ABC):
    """Runs windows on a plugin."""

    @abstractmethod
    def run(self, plugin: ModelPluginInterface, window: Window) -> list[Answer]:
        """Run a window's items in batches; an item's id is its place in the window."""


class Items(Policy):
    """Takes so many items, whatever is free."""

    def __init__(self, size: int) -> None:
        self.size = size

    def run(self, plugin: ModelPluginInterface, window: Window) -> list[Answer]:
        """Run the smallest items first."""
        left, answers = by_size(window), list[Answer]()
        while left:
            batch = left[: max(1, self.fitting([window[each].size for each in left]))]
            answers += self._run(plugin, window, batch)
            left = left[len(batch) :]
        return answers

    def fitting(self, sizes: Sequence[int]) -> int:
        """How many of ascending sizes run next."""
        return self.size

    def went_well(self) -> None:
        """Memory sufficed."""

    def failed(self) -> None:
        """Memory ended."""

    def _run(self, plugin: ModelPluginInterface, window: Window, batch: list[int]) -> list[Answer]:
        try:
            outcomes = plugin.infer([window[each] for each in batch])
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            drop_frames(error)
        else:
            self.went_well()
            return [Answer(each, outcome) for each, outcome in zip(batch, outcomes, strict=True)]
        self.failed()
        if len(batch) == 1:
            # No outcome: it counts as lost.
            return []
        middle = len(batch) // 2
        return self._run(plugin, window, batch[:middle]) + self._run(plugin, window, batch[middle:])


class Tokens(Items):
    """Takes so many padded tokens, whatever is free."""

    def fitting(self, sizes: Sequence[int]) -> int:
        """As many as are within the tokens once they are as long as the last of them."""
        return sum(count * size <= self.size for count, size in enumerate(sizes, 1))


class Halving(Items):
    """Begins large and halves for good, as accelerate's `find_executable_batch_size` does."""

    def failed(self) -> None:
        """Never try as many again."""
        self.size = max(1, self.size // 2)


class Additive(Items):
    """Takes some items more after each batch that went well, and half as many after one that did not."""

    def __init__(self, size: int, step: int) -> None:
        super().__init__(size)
        self._step = step

    def went_well(self) -> None:
        """Grow."""
        self.size += self._step

    def failed(self) -> None:
        """Shrink."""
        self.size = max(1, self.size // 2)


class AdditiveTokens(Additive, Tokens):
    """The same in padded tokens."""


class Headrace(Policy):
    """The engine's own executor, guard and cost model; nothing of them is made again here."""

    def __init__(self, guard: MemoryGuard) -> None:
        self._guard = guard
        self._heard = Heard()
        self._executor = BatchExecutor(report=self._heard)
        self._rehearsed = False

    def run(self, plugin: ModelPluginInterface, window: Window) -> list[Answer]:
        """Run the rehearsal first, as an engine does after loading; then each window."""
        if not self._rehearsed:
            rehearse("benchmark", plugin, self._guard)
            self._rehearsed = True
        self._heard.answers = []
        now = time.monotonic()
        entries = [Entry(item_id=number, prepared=item, arrived=now) for number, item in enumerate(window)]
        self._executor.run("benchmark", plugin, entries, self._guard)
        return self._heard.answers


class Heard(Report):
    """Keeps answers instead of sending them."""

    def __init__(self) -> None:
        super().__init__(lambda _: None)
        self.answers: list[Answer] = []

    def send(self, message: Message) -> None:
        """Nobody waits for it."""

    def answer(self, model: str, seconds: float, answers: Sequence[Answer]) -> None:
        """Keep them."""
        self.answers += answers


def by_size(window: Window) -> list[int]:
    """Places in a window, those of the smallest items first."""
    return sorted(range(len(window)), key=lambda each: window[each].size)


def lost(window: Window, answers: Sequence[Answer]) -> int:
    """Items without exactly one good outcome."""
    good: dict[int, list[Outcome]] = {}
    for answer in answers:
        good.setdefault(answer.item_id, []).append(answer.outcome)
    return sum(len(found := good.get(each, [])) != 1 or not found[0].ok for each in range(len(window)))
