"""Report: how the engine's threads tell the worker what happens."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from headrace.broker import codec
from headrace.engine.messages import Ended, Message, Outcomes, Stage, Started, error_to_wire
from headrace.errors import InferenceFailed, InvalidOutput
from headrace.sdk.messages import Outcome


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of one item."""

    item_id: int
    outcome: Outcome


class Report:
    """Sends messages whole, whichever thread they come from."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._lock = threading.Lock()

    def send(self, message: Message) -> None:
        """Encode and write one message."""
        data = message.encode()
        with self._lock:
            self._write(data)

    @contextmanager
    def stage(self, stage: Stage, model: str, item_ids: list[int]) -> Iterator[None]:
        """Name the suspects before something that may kill the engine, and clear them after it.

        What ends the process (SystemExit, say) leaves them suspects.
        """
        self.send(Started(stage=stage, model=model, item_ids=item_ids))
        try:
            yield
        except Exception:
            self.send(Ended(stage=stage))
            raise
        self.send(Ended(stage=stage))

    def answer(self, model: str, seconds: float, answers: Sequence[Answer]) -> None:
        """Send outcomes; one that can't be encoded becomes an error of its own item."""
        rows = [_row(answer) for answer in answers]
        try:
            for _, output, _ in rows:
                codec.check(output)
            self.send(Outcomes(model=model, seconds=seconds, outcomes=rows))
        except (TypeError, ValueError, OverflowError):
            checked = [_encodable(row) for row in rows]
            self.send(Outcomes(model=model, seconds=seconds, outcomes=checked))


_Row = tuple[int, Any, dict[str, Any] | None]


def _row(answer: Answer) -> _Row:
    error = answer.outcome.error
    if error is not None:
        return answer.item_id, None, error_to_wire(error)
    return answer.item_id, answer.outcome.output, None


def _encodable(row: _Row) -> _Row:
    try:
        codec.check(row[1])
        Outcomes(model="", seconds=0.0, outcomes=[row]).encode()
    except (TypeError, ValueError, OverflowError) as error:
        kind = InferenceFailed if row[2] else InvalidOutput
        return row[0], None, kind(f"the plugin's output cannot be sent: {error}").to_wire()
    return row
