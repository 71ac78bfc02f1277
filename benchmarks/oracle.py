"""Oracle: knows what each batch needs, how long it takes and what is free; not what comes."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from benchmarks.memory_policies import Policy, Window, by_size
from benchmarks.shared_device import SharedDevice, Truth
from headrace.engine.outcomes import Answer
from headrace.engine.rate import LARGEST_WINDOW
from headrace.sdk.plugin import ModelPluginInterface


class Oracle(Policy):
    """Runs the fastest batches of all that fit now; plans anew when memory has become another."""

    def __init__(self, device: SharedDevice) -> None:
        self._device = device

    def run(self, plugin: ModelPluginInterface, window: Window) -> list[Answer]:
        """Run the smallest items first; a batch that the co-tenant ended is planned anew."""
        left, answers, planned, counts = by_size(window), list[Answer](), -1, list[int]()
        while left:
            if self._device.free != planned:
                planned = self._device.free
                counts = fastest([window[each].size for each in left], planned, self._device.truth)
            batch = left[: counts[0]]
            try:
                outcomes = plugin.infer([window[each] for each in batch])
            except MemoryError:
                self._device.held, planned = 0, -1
                continue
            answers += [Answer(each, outcome) for each, outcome in zip(batch, outcomes, strict=True)]
            left, counts = left[len(batch) :], counts[1:]
        return answers


def fastest(sizes: Sequence[int], free: int, truth: Truth) -> list[int]:
    """How many of ascending sizes each batch has if all together are to take the least time, each in what is free.

    Exact, by dynamic programming over where the batches end.
    """
    least, counts = np.zeros(len(sizes) + 1), [0] * (len(sizes) + 1)
    for end, longest in enumerate(sizes, 1):
        peaks, seconds = _table(truth, longest, LARGEST_WINDOW)
        # A batch of one item begins last; of one that does not fit either there is no other choice.
        spent = least[:end] + seconds[-end:]
        spent[:-1][peaks[-end:-1] > free] = np.inf
        begin = int(spent.argmin())
        least[end], counts[end] = spent[begin], end - begin
    found, end = list[int](), len(sizes)
    while end:
        found.append(counts[end])
        end -= counts[end]
    return found[::-1]


@cache
def _table(truth: Truth, longest: int, most: int) -> tuple[Any, Any]:
    """Bytes and seconds of batches of so many items down to one, by the longest; arrays."""
    items = np.arange(most, 0, -1)
    return truth.peak(items, longest), truth.seconds(items, longest)
