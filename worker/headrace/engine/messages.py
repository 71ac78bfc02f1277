"""What the worker and its engine say to each other.

Both directions are a plain stream of msgpack values `[kind, fields]`; msgpack values
delimit themselves, so there are no frames.
"""

import traceback
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from headrace.broker import codec
from headrace.errors import HeadraceError, error_from_wire

#: What an engine may be busy with when it dies.
Stage = Literal["load", "prepare", "infer", "generate"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A message that encodes itself as its class name and its fields in order."""

    kinds: ClassVar[dict[str, type["Message"]]] = {}

    def __init_subclass__(cls) -> None:
        Message.kinds[cls.__name__] = cls

    def encode(self) -> bytes:
        """Encode for the stream.

        Raises:
            TypeError: If a field holds something that msgpack and numpy can't express.
        """
        return codec.pack([type(self).__name__, [getattr(self, field.name) for field in fields(self)]])

    @classmethod
    def decode(cls, value: list[Any]) -> "Message":
        """Build the message again from a decoded stream value."""
        kind, values = value
        target = cls.kinds[kind]
        return target(**{field.name: item for field, item in zip(fields(target), values, strict=True)})


@dataclass(frozen=True, kw_only=True, slots=True)
class Window(Message):
    """Items of one model for the engine to run."""

    model: str
    #: `[item id, input, number of its terms]`.
    items: list[tuple[int, Any, int]]
    #: What items share: `[params, deadline, expires, attempt]`; times in epoch seconds, or None.
    terms: list[tuple[dict[str, Any], float | None, float | None, int]]
    #: Whether nothing may run beside the load of the model, if it has to be loaded.
    load_alone: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancel(Message):
    """Nobody waits for these items any more; skip those that have not begun."""

    item_ids: list[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shutdown(Message):
    """Clean up the plugins and end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready(Message):
    """The engine can take windows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded(Message):
    """A model is resident, with the limits that its batches have."""

    model: str
    #: Seconds that loading took.
    seconds: float
    #: None for as many as the memory takes.
    max_batch_size: int | None
    max_batch_tokens: int | None
    #: Seconds that one `infer` call may take.
    batch_time_limit: float
    #: Items that run at once and are answered one by one; 0 where batches run to their end.
    concurrency: int = 0
    #: Bytes of the device that the weights take.
    weights: int = 0
    #: Where else weights are, in words; empty if all are on the device.
    paged: str = ""
    #: The attention strategy and why it was chosen, in words; empty for a model that brings its own.
    attention: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadFailed(Message):
    """A model cannot be used, for a reason; its jobs were answered with it."""

    model: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Evicted(Message):
    """A model has left the device."""

    model: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Started(Message):
    """The engine begins something that may kill it; the named items are then suspects."""

    stage: Stage
    model: str
    item_ids: list[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended(Message):
    """What `Started` began is over; no suspicion stays."""

    stage: Stage


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcomes(Message):
    """Outcomes of items: `[item id, output, error]`, one of the two None."""

    model: str
    #: Seconds that the items' batch took; 0 for items that never ran.
    seconds: float
    outcomes: list[tuple[int, Any, dict[str, Any] | None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress(Message):
    """How far items are that run step by step."""

    model: str
    #: By their ids: tokens, or whatever the plugin counts.
    done: dict[int, int]


class Decoder:
    """Turns received bytes into messages, keeping what is incomplete."""

    def __init__(self) -> None:
        self._unpacker = codec.unpacker()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that `data` completes."""
        self._unpacker.feed(data)
        for value in self._unpacker:
            yield Message.decode(value)


#: How much of a plugin's traceback travels with its error.
_TRACEBACK_LIMIT = 8_000


def error_to_wire(error: HeadraceError) -> dict[str, Any]:
    """An error with the traceback of its cause, for the worker's log and for Flower."""
    # A plugin's own subclass arrives as the class of its code, so what it adds goes along.
    wire = error.to_wire() | {"retryable": error.retryable}
    if error.__cause__ is None:
        return wire
    trace = "".join(traceback.format_exception(error.__cause__))
    return wire | {"traceback": trace[-_TRACEBACK_LIMIT:]}


class RemoteTraceback(Exception):
    """The engine's traceback, chained under the error that it caused here."""

    def __str__(self) -> str:
        """The text as the engine formatted it."""
        return f'\n"""\n{self.args[0]}"""'


def error_from_engine(wire: dict[str, Any]) -> HeadraceError:
    """Rebuild an engine's error with its traceback as the cause."""
    error = error_from_wire(wire)
    error.retryable = bool(wire.get("retryable"))
    if wire.get("traceback"):
        error.__cause__ = RemoteTraceback(wire["traceback"])
    return error
