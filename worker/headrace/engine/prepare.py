"""Preparation: items in, entries out, whatever a plugin's `prepare` raises."""

from collections.abc import Set as AbstractSet

from headrace.engine.batch import Entry
from headrace.engine.bisect import bisecting
from headrace.engine.messages import Window
from headrace.errors import BatchLawBroken, HeadraceError, InferenceFailed, describe
from headrace.sdk.beside import split
from headrace.sdk.messages import Item, Prepared
from headrace.sdk.plugin import ModelPluginInterface

#: Units of the largest item that batches are planned with, far beyond what any model takes.
LARGEST_SIZE = 2**40


def prepare_window(
    plugin: ModelPluginInterface, window: Window, arrived: float = 0.0, *, beside: AbstractSet[str] = frozenset()
) -> list[Entry]:
    """Prepare a window's items; one that makes `prepare` raise carries the error alone.

    Args:
        plugin: It is loaded.
        window: Items of it.
        arrived: Monotonic seconds when the window came.
        beside: Params that may stand beside an input; they stand over those of the job.
    """
    items = [
        Item(input=given, params=params | own if own else params, attempt=attempt)
        for _, value, number in window.items
        for params, _, _, attempt in (window.terms[number],)
        for given, own in (split(value, beside),)
    ]
    prepared = bisecting(
        plugin.prepare, items, kind=Prepared, failed=lambda caught: Prepared(error=_as_headrace_error(caught))
    )
    return [
        Entry(item_id=item_id, prepared=_with_size(each), deadline=deadline, expires=expires, arrived=arrived)
        for (item_id, _, number), each in zip(window.items, prepared, strict=True)
        for _, deadline, expires, _ in (window.terms[number],)
    ]


def _as_headrace_error(caught: BaseException) -> HeadraceError:
    if isinstance(caught, HeadraceError):
        return caught
    error = InferenceFailed(f"prepare raised {describe(caught)}")
    error.__cause__ = caught
    return error


def _with_size(prepared: Prepared) -> Prepared:
    if has_good_size(prepared):
        return prepared
    return Prepared(
        error=BatchLawBroken(
            f"prepare gave the size {prepared.size!r}, which is no whole number from 0 to {LARGEST_SIZE}: "
            "correct the plugin"
        )
    )


def has_good_size(prepared: Prepared) -> bool:
    """Whether a plugin gave a size that batches can be planned with."""
    size: object = prepared.size
    # A bool is an int to Python.
    return type(size) is int and 0 <= size <= LARGEST_SIZE
