"""Preparation: items in, entries out, whatever a plugin's `prepare` raises."""

from collections.abc import Sequence

from headrace.engine.batch import Entry
from headrace.engine.messages import Window
from headrace.errors import BatchLawBroken, HeadraceError, InvalidInput
from headrace.sdk.messages import Item, Prepared
from headrace.sdk.plugin import ModelPluginInterface


def prepare_window(plugin: ModelPluginInterface, window: Window) -> list[Entry]:
    """Prepare a window's items; one that makes `prepare` raise carries the error alone."""
    items = [Item(input=value, params=params) for _, value, params, *_ in window.items]
    prepared = _bisecting(plugin, items)
    return [
        Entry(item_id=item_id, prepared=each, deadline=deadline, expires=expires)
        for (item_id, _, _, deadline, expires), each in zip(window.items, prepared, strict=True)
    ]


def _bisecting(plugin: ModelPluginInterface, items: Sequence[Item]) -> list[Prepared]:
    try:
        return _checked(plugin.prepare(items), expected=len(items))
    except Exception as caught:  # noqa: BLE001 - a plugin may raise anything; every item is answered
        if len(items) == 1:
            return [Prepared(error=_as_refusal(caught))]
    middle = len(items) // 2
    return _bisecting(plugin, items[:middle]) + _bisecting(plugin, items[middle:])


def _checked(prepared: object, *, expected: int) -> list[Prepared]:
    if not isinstance(prepared, list) or not all(isinstance(each, Prepared) for each in prepared):
        raise BatchLawBroken("prepare must return a list of Prepared: correct the plugin")
    if len(prepared) != expected:
        raise BatchLawBroken(f"prepare got {expected} items and returned {len(prepared)}: correct the plugin")
    return prepared


def _as_refusal(caught: Exception) -> HeadraceError:
    if isinstance(caught, HeadraceError):
        return caught
    error = InvalidInput(f"prepare raised {type(caught).__name__}: {caught}")
    error.__cause__ = caught
    return error
