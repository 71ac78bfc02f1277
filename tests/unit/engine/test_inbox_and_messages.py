"""The engine's queue of windows, and the stream that they come over."""

from concurrent.futures import Future
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.inbox import Inbox, Waiting
from headrace.engine.messages import Decoder, Message, Outcomes, Started, Window, error_from_engine, error_to_wire
from headrace.errors import InferenceFailed, InvalidInput


def _waiting(model: str, number: int, *, prepared: bool) -> Waiting:
    future: Future[Any] | None = None
    if prepared:
        future = Future()
        future.set_result([])
    return Waiting(Window(model=model, items=[(number, None, {}, None, None)]), future)


def _numbers(turn: Any) -> list[int]:
    return [waiting.window.items[0][0] for waiting in turn]


def test_a_turn_is_one_model_and_takes_all_its_prepared_windows() -> None:
    inbox = Inbox()
    for waiting in (
        _waiting("a", 1, prepared=False),
        _waiting("b", 2, prepared=True),
        _waiting("a", 3, prepared=True),
        _waiting("a", 4, prepared=False),
    ):
        inbox.put(waiting)
    assert [_numbers(inbox.take()) for _ in range(3)] == [[1, 3], [2], [4]]


def test_a_closed_inbox_ends_its_reader() -> None:
    inbox = Inbox()
    inbox.put(_waiting("a", 1, prepared=True))
    inbox.close()
    assert inbox.take() == []


messages = st.one_of(
    st.builds(
        Started, stage=st.sampled_from(["load", "infer"]), model=st.text(), item_ids=st.lists(st.integers(0, 99))
    ),
    st.builds(Window, model=st.text(), items=st.just([])),
)


@given(st.lists(messages), st.integers(1, 50))
def test_messages_survive_any_cut_of_the_stream(sent: list[Message], step: int) -> None:
    stream = b"".join(message.encode() for message in sent)
    decoder = Decoder()
    received = [
        message for start in range(0, len(stream), step) for message in decoder.feed(stream[start : start + step])
    ]
    assert received == sent


def test_arrays_travel_in_outcomes() -> None:
    sent = Outcomes(model="m", seconds=0.5, outcomes=[(1, np.arange(3, dtype="float32"), None)])
    (received,) = Decoder().feed(sent.encode())
    assert isinstance(received, Outcomes)
    assert received.outcomes[0][1].tolist() == [0.0, 1.0, 2.0]


def test_an_error_keeps_code_message_retryable_and_traceback() -> None:
    error = InferenceFailed("ValueError: no")
    error.retryable = True
    error.__cause__ = ValueError("no")
    back = error_from_engine(error_to_wire(error))
    assert type(back) is InferenceFailed
    assert str(back) == "ValueError: no"
    assert back.retryable
    assert "ValueError: no" in str(back.__cause__)


def test_an_error_without_a_cause_has_no_traceback() -> None:
    back = error_from_engine(error_to_wire(InvalidInput("no")))
    assert back.__cause__ is None
    assert not back.retryable
