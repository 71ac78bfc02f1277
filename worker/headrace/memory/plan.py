"""Pure planning: sizes in, micro-batches out."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate

from headrace.memory.shape import Shape


def plan_batches(
    sizes: Sequence[int],
    *,
    max_batch_size: int | None = None,
    max_batch_tokens: int | None = None,
    fits: Callable[[Shape], bool] = lambda _: True,
    ages: Sequence[float] = (),
    max_age: float = float("inf"),
) -> list[list[int]]:
    """Pack items into batches of alike size.

    Items are sorted by size, so that a batch pads little, and each batch is as large
    as all limits allow. A batch costs its count times its largest size, which is what
    a padded batch computes. An item that no limit allows runs alone.

    Args:
        sizes: One size per item, in the plugin's unit (tokens, pixels ...).
        max_batch_size: Most items in a batch, None for no limit.
        max_batch_tokens: Most units in a batch, None for no limit.
        fits: Whether the device takes a batch of a shape now; what does not fit does not fit with an
            item more.
        ages: Seconds that each item has waited; none tells that all are young.
        max_age: Seconds after which an item's batch goes before those of younger ones, the oldest first.

    Returns:
        Lists of positions in `sizes`; every position stands in exactly one.

    Example:
        >>> plan_batches([9, 1, 8, 2], max_batch_size=2)
        [[1, 3], [2, 0]]
        >>> plan_batches([9, 1, 8, 2], fits=lambda shape: shape.units <= 11)
        [[1, 3, 2], [0]]
    """
    order = sorted(range(len(sizes)), key=sizes.__getitem__)
    units = list(accumulate((sizes[position] for position in order), initial=0))
    most = max_batch_size or len(order)

    def too_much(begin: int, end: int) -> bool:
        # Sorted ascending, so the last one is the largest of its batch.
        shape = Shape(end - begin, units[end] - units[begin], sizes[order[end - 1]])
        padded = shape.items * shape.longest
        return (max_batch_tokens is not None and padded > max_batch_tokens) or not fits(shape)

    batches: list[list[int]] = []
    begin = 0
    while begin < len(order):
        end = _furthest(begin, min(len(order), begin + most), too_much)
        batches.append(order[begin:end])
        begin = end
    return _oldest_first(batches, ages, max_age)


def _furthest(begin: int, last: int, too_much: Callable[[int, int], bool]) -> int:
    """Where the batch from `begin` ends: one item at least, and as many as are not too much."""
    # Performance: a window of a thousand items asks ten times for each batch, not once for each item.
    ends = range(begin + 2, last + 1)
    return begin + 1 + bisect_left(ends, x=True, key=lambda end: too_much(begin, end))


def _oldest_first(batches: list[list[int]], ages: Sequence[float], max_age: float) -> list[list[int]]:
    if not ages:
        return batches
    age = {id(batch): max(ages[position] for position in batch) for batch in batches}
    late = [batch for batch in batches if age[id(batch)] >= max_age]
    late.sort(key=lambda batch: age[id(batch)], reverse=True)
    return [*late, *(batch for batch in batches if age[id(batch)] < max_age)]
