"""Windows as a worker sends them."""

from typing import Any

from headrace.engine.messages import Window


def window_of(
    *rows: tuple[int, Any],
    model: str = "m",
    params: dict[str, Any] | None = None,
    deadline: float | None = None,
    expires: float | None = None,
    attempt: int = 1,
    load_alone: bool = False,
) -> Window:
    """A window of one job's items, each an id and an input."""
    items = [(item_id, value, 0) for item_id, value in rows]
    terms = [(params or {}, deadline, expires, attempt)]
    return Window(model=model, items=items, terms=terms, load_alone=load_alone)
