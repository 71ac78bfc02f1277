"""Pure planning: sizes in, micro-batches out."""

from collections.abc import Sequence


def plan_batches(sizes: Sequence[int], *, max_batch_size: int, max_batch_tokens: int | None = None) -> list[list[int]]:
    """Pack items into batches of alike size.

    Items are sorted by size, so that a batch pads little, and each batch is as large
    as both limits allow. A batch costs its count times its largest size, which is what
    a padded batch computes. An item over `max_batch_tokens` runs alone.

    Args:
        sizes: One size per item, in the plugin's unit (tokens, pixels ...).
        max_batch_size: Most items in a batch.
        max_batch_tokens: Most units in a batch, None for no limit.

    Returns:
        Lists of positions in `sizes`; every position stands in exactly one.

    Example:
        >>> plan_batches([9, 1, 8, 2], max_batch_size=2)
        [[1, 3], [2, 0]]
    """
    order = sorted(range(len(sizes)), key=sizes.__getitem__)
    batches: list[list[int]] = []
    for position in order:
        # Sorted ascending, so the newcomer is the largest of its batch.
        if not batches or not _fits(len(batches[-1]) + 1, sizes[position], max_batch_size, max_batch_tokens):
            batches.append([])
        batches[-1].append(position)
    return batches


def _fits(count: int, largest: int, max_size: int, max_tokens: int | None) -> bool:
    return count <= max_size and (max_tokens is None or count * largest <= max_tokens)
