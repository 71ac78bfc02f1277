"""What items are called in the log: their places in their jobs."""

from collections.abc import Iterable, Mapping

from headrace.engine.work import WorkItem

#: Jobs that one line names, and characters of the id of each: a producer may give any.
_MOST_JOBS, _MOST_CHARACTERS = 8, 64


def name_items(item_ids: Iterable[int], items: Mapping[int, WorkItem]) -> str:
    """Name items by their jobs, a bounded number of them.

    Args:
        item_ids: Those that have an outcome already are left out.
        items: By their ids.

    Example:
        >>> from headrace.engine.work import Terms
        >>> one, other = (Terms(model="m", params={}, job_id=each) for each in ("a", "b"))
        >>> items = [WorkItem(1, None, one, 4), WorkItem(2, None, other, 0), WorkItem(3, None, other, 1)]
        >>> name_items([1, 2, 3], {item.item_id: item for item in items})
        "item 4 of job 'a', 2 items of job 'b'"
    """
    positions: dict[str, list[int]] = {}
    for item in (items[item_id] for item_id in item_ids if item_id in items):
        positions.setdefault(item.terms.job_id, []).append(item.position)
    named = [_name(job_id, of_job) for job_id, of_job in list(positions.items())[:_MOST_JOBS]]
    rest = len(positions) - len(named)
    return ", ".join([*named, f"and {rest} more jobs"] if rest else named)


def _name(job_id: str, positions: list[int]) -> str:
    what = f"item {positions[0]}" if len(positions) == 1 else f"{len(positions)} items"
    return f"{what} of job {job_id[:_MOST_CHARACTERS]!r}"
