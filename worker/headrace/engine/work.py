"""What goes into a supervisor and what comes out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from headrace.engine.messages import Window
from headrace.engine.process import EngineProcess
from headrace.sdk.messages import Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What holds for every item of a job."""

    model: str
    params: dict[str, Any]
    #: Epoch seconds, or None.
    deadline: float | None = None
    #: Epoch seconds after which an item must not start, or None.
    expires: float | None = None
    #: Hard limit of a batch with such an item in seconds, or None for the model's own.
    time_limit: float | None = None
    #: 1, and one more for each worker that died while the job ran.
    attempt: int = 1
    #: For the log.
    job_id: str = ""


class WorkItem(NamedTuple):
    """One input that must get one outcome.

    Performance: a tuple, since there is one for every item.
    """

    item_id: int
    input: Any
    terms: Terms
    #: Its place among the inputs of its job.
    position: int = 0


class Listener(Protocol):
    """Who hears from the supervisor, always on the thread that calls it."""

    def on_outcomes(self, model: str, seconds: float, outcomes: Sequence[tuple[int, Outcome]]) -> None:
        """Items were answered; `seconds` is what their batch took, 0 if they never ran."""

    def on_connected(self, engine: EngineProcess) -> None:
        """An engine was spawned; watch its `fileno`."""

    def on_unsent(self, engine: EngineProcess) -> None:
        """The engine does not take all now: call `on_writable` when its `outlet` takes more."""

    def on_disconnected(self, engine: EngineProcess) -> None:
        """The engine died; its descriptors close after this."""


def encode_window(items: Sequence[WorkItem], *, load_alone: bool = False) -> tuple[bytes, list[int], list[int]]:
    """Encode items of one model as a `Window`.

    JSON allows what msgpack does not: numbers over 64 bits, lone surrogates, any depth.

    Args:
        items: One or more.
        load_alone: As `Window` has it.

    Returns:
        The message, empty if there is none, the ids of its items, and those of items that cannot be sent.
    """
    if encoded := _encoded(items, load_alone):
        return encoded, [item.item_id for item in items], []
    good = [item for item in items if _encoded([item], load_alone)]
    sent = [item.item_id for item in good]
    return _encoded(good, load_alone), sent, [item.item_id for item in items if item.item_id not in set(sent)]


def _encoded(items: Sequence[WorkItem], load_alone: bool) -> bytes:  # noqa: FBT001 - private
    if not items:
        return b""
    numbers: dict[int, int] = {}
    rows = [(item.item_id, item.input, numbers.setdefault(id(item.terms), len(numbers))) for item in items]
    terms = {id(item.terms): item.terms for item in items}
    told = [(each.params, each.deadline, each.expires, each.attempt) for each in terms.values()]
    try:
        return Window(model=items[0].terms.model, items=rows, terms=told, load_alone=load_alone).encode()
    except (TypeError, ValueError, OverflowError):
        return b""
