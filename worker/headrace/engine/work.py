"""What goes into a supervisor and what comes out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from headrace.engine.messages import Window
from headrace.engine.process import EngineProcess
from headrace.sdk.messages import Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkItem:
    """One input that must get one outcome."""

    item_id: int
    model: str
    input: Any
    params: dict[str, Any]
    #: Epoch seconds, or None.
    deadline: float | None = None
    #: Epoch seconds after which it must not start, or None.
    expires: float | None = None
    #: Hard limit of a batch with this item in seconds, or None for the model's own.
    time_limit: float | None = None
    #: 1, and one more for each worker that died while it ran.
    attempt: int = 1


class Listener(Protocol):
    """Who hears from the supervisor, always on the thread that calls it."""

    def on_outcomes(self, model: str, seconds: float, outcomes: Sequence[tuple[int, Outcome]]) -> None:
        """Items were answered; `seconds` is what their batch took, 0 if they never ran."""

    def on_connected(self, engine: EngineProcess) -> None:
        """An engine was spawned; watch its `fileno`."""

    def on_disconnected(self, engine: EngineProcess) -> None:
        """The engine died; its descriptor closes after this."""


Row = tuple[int, Any, dict[str, Any], float | None, float | None, int]


def window_rows(items: Sequence[WorkItem]) -> tuple[list[Row], list[int]]:
    """Rows for a `Window`, and the ids of items that cannot be sent in one.

    JSON allows what msgpack does not: numbers over 64 bits, lone surrogates, any depth.
    """
    rows = [(item.item_id, item.input, item.params, item.deadline, item.expires, item.attempt) for item in items]
    if _encodes(rows):
        return rows, []
    good = [row for row in rows if _encodes([row])]
    sendable = {row[0] for row in good}
    return good, [item.item_id for item in items if item.item_id not in sendable]


def _encodes(rows: list[Row]) -> bool:
    try:
        Window(model="", items=rows).encode()
    except (TypeError, ValueError, OverflowError):
        return False
    return True
