"""Pure planning: sizes in, micro-batches out."""

from collections.abc import Callable, Sequence

from headrace.memory.shape import Shape


def plan_batches(
    sizes: Sequence[int],
    *,
    max_batch_size: int,
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
        max_batch_size: Most items in a batch.
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
        >>> plan_batches([9, 1, 8, 2], max_batch_size=9, fits=lambda shape: shape.units <= 11)
        [[1, 3, 2], [0]]
    """
    order = sorted(range(len(sizes)), key=sizes.__getitem__)
    batches: list[list[int]] = []
    shape = Shape(0, 0, 0)
    for position in order:
        # Sorted ascending, so the newcomer is the largest of its batch.
        grown = Shape(shape.items + 1, shape.units + sizes[position], sizes[position])
        if not batches or not (_allowed(grown, max_batch_size, max_batch_tokens) and fits(grown)):
            batches.append([])
            grown = Shape(1, sizes[position], sizes[position])
        batches[-1].append(position)
        shape = grown
    return _oldest_first(batches, ages, max_age)


def _allowed(shape: Shape, max_size: int, max_tokens: int | None) -> bool:
    return shape.items <= max_size and (max_tokens is None or shape.items * shape.longest <= max_tokens)


def _oldest_first(batches: list[list[int]], ages: Sequence[float], max_age: float) -> list[list[int]]:
    if not ages:
        return batches
    age = {id(batch): max(ages[position] for position in batch) for batch in batches}
    late = [batch for batch in batches if age[id(batch)] >= max_age]
    late.sort(key=lambda batch: age[id(batch)], reverse=True)
    return [*late, *(batch for batch in batches if age[id(batch)] < max_age)]
