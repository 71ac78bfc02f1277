"""Pure planning: batches that spend their time on padding are cut."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from math import inf

from headrace.memory.shape import Shape

#: Places at which a batch is tried to be cut, evenly apart.
_CUTS = 16
#: Share of a batch's time that a cut must spare: less than that is within what a prediction is wrong by.
_SPARED = 0.03


def cut_padding(
    batches: Sequence[Sequence[int]], sizes: Sequence[int], *, seconds: Callable[[Shape], float]
) -> list[list[int]]:
    """Cut batches whose parts take less time than the whole.

    Where items are padded, a few long ones make all others as long.

    Args:
        batches: Positions in `sizes`, ascending by size within a batch.
        sizes: One size per item.
        seconds: How long a batch of a shape is expected to take; 0 for unknown.

    Example:
        >>> cut_padding([[1, 3, 2, 0]], [9, 1, 8, 2], seconds=lambda shape: 1 + shape.padded)
        [[1, 3], [2, 0]]
        >>> cut_padding([[1, 3, 2, 0]], [9, 1, 8, 2], seconds=lambda shape: 100 + shape.padded)
        [[1, 3, 2, 0]]
    """
    return [list(batch[begin:end]) for batch in batches for begin, end in _cut(batch, sizes, seconds)]


def _cut(batch: Sequence[int], sizes: Sequence[int], seconds: Callable[[Shape], float]) -> list[tuple[int, int]]:
    ordered = [sizes[position] for position in batch]
    units = list(accumulate(ordered, initial=0))

    def shape_of(begin: int, end: int) -> Shape:
        return Shape(end - begin, units[end] - units[begin], ordered[end - 1])

    def parts(begin: int, end: int) -> list[tuple[int, int]]:
        whole = shape_of(begin, end)
        # Performance: what pads little cannot gain; of the rest some cuts are tried, not all, and parts are cut again.
        if whole.units >= (1 - _SPARED) * whole.padded:
            return [(begin, end)]
        # Items of one size stay together: those behind the cut would gain nothing.
        tried = (begin + whole.items * each // _CUTS for each in range(1, _CUTS))
        cuts = sorted({bisect_right(ordered, ordered[each], each, end) for each in tried} - {end})
        spent = [seconds(shape_of(begin, cut)) + seconds(shape_of(cut, end)) for cut in cuts]
        if min(spent, default=inf) >= (1 - _SPARED) * seconds(whole):
            return [(begin, end)]
        cut = cuts[spent.index(min(spent))]
        return [*parts(begin, cut), *parts(cut, end)]

    return parts(0, len(batch))
