"""Bisection: an exception ends up alone on the item that causes it."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from headrace.errors import BatchLawBroken

Given = TypeVar("Given")
Made = TypeVar("Made")


def bisecting(
    call: Callable[[Sequence[Given]], list[Made]],
    items: Sequence[Given],
    *,
    kind: type[Made],
    failed: Callable[[BaseException], Made],
    before_halves: Callable[[], None] = lambda: None,
) -> list[Made]:
    """Call a plugin's method; where it raises, halve the items until each answer stands alone.

    Args:
        call: `infer` or `prepare`: N in, N out, in order.
        items: What it gets.
        kind: What each of its answers must be.
        failed: Makes the answer of an item that raises alone.
        before_halves: Called between the exception and the halves, when nothing of the whole is alive.
    """
    try:
        return _checked(call(items), kind=kind, expected=len(items))
    except (Exception, SystemExit) as caught:  # noqa: BLE001 - a plugin may raise anything; every item is answered
        if len(items) == 1:
            return [failed(caught)]
    # Outside the except block: there the exception's frames would keep the batch's
    # tensors alive while the halves run.
    before_halves()
    middle = len(items) // 2
    halves = (items[:middle], items[middle:])
    return [
        made for half in halves for made in bisecting(call, half, kind=kind, failed=failed, before_halves=before_halves)
    ]


def _checked(made: object, *, kind: type[Made], expected: int) -> list[Made]:
    if not isinstance(made, list) or not all(isinstance(each, kind) for each in made):
        raise BatchLawBroken(f"the plugin must return a list of {kind.__name__}: correct it")
    if len(made) != expected:
        raise BatchLawBroken(f"the plugin got {expected} items and returned {len(made)} of {kind.__name__}: correct it")
    return made
