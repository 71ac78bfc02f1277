"""The stream between worker and engine: what goes in comes out, however it is cut."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.messages import (
    Cancel,
    Decoder,
    Ended,
    Evicted,
    Loaded,
    LoadFailed,
    Message,
    Outcomes,
    Progress,
    Ready,
    Shutdown,
    Started,
    Window,
    error_from_engine,
    error_to_wire,
)
from headrace.errors import InferenceFailed, InvalidInput
from tests.utils.windows import window_of

EXAMPLES = [
    Cancel(item_ids=[1, 2**63 - 1]),
    Ended(stage="load"),
    Evicted(model="m"),
    LoadFailed(model="m", reason="no such file"),
    Loaded(model="m", seconds=1.5, max_batch_size=64, max_batch_tokens=None, batch_time_limit=300.0, attention="a"),
    Outcomes(model="m", seconds=0.0, outcomes=[]),
    Progress(model="m", done={7: 3}),
    Ready(),
    Shutdown(),
    Started(stage="prepare", model="m", item_ids=[3]),
    Window(model="m", items=[], terms=[]),
]

messages = st.one_of(
    st.builds(
        Started, stage=st.sampled_from(["load", "infer"]), model=st.text(), item_ids=st.lists(st.integers(0, 99))
    ),
    st.builds(Window, model=st.text(), items=st.just([]), terms=st.just([])),
)


def _received(data: bytes) -> list[Message]:
    return list(Decoder().feed(data))


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_every_kind_arrives_as_it_was_sent(message: Message) -> None:
    assert _received(message.encode()) == [message]


def test_the_examples_are_all_kinds_that_there_are() -> None:
    assert {type(message).__name__ for message in EXAMPLES} == set(Message.kinds)


@given(st.lists(messages), st.integers(1, 50))
def test_messages_survive_any_cut_of_the_stream(sent: list[Message], step: int) -> None:
    stream = b"".join(message.encode() for message in sent)
    decoder = Decoder()
    received = [
        message for start in range(0, len(stream), step) for message in decoder.feed(stream[start : start + step])
    ]
    assert received == sent


def test_a_window_carries_input_params_deadline_and_expiry() -> None:
    sent = window_of((1, {"text": "é"}), params={"top": 3}, deadline=5.5, attempt=2)
    (window,) = _received(sent.encode())
    assert isinstance(window, Window)
    assert [list(item) for item in window.items] == [[1, {"text": "é"}, 0]]
    assert [list(terms) for terms in window.terms] == [[{"top": 3}, 5.5, None, 2]]


def test_arrays_travel_in_outcomes() -> None:
    (received,) = _received(
        Outcomes(model="m", seconds=0.5, outcomes=[(1, np.arange(3, dtype="float32"), None)]).encode()
    )
    assert isinstance(received, Outcomes)
    assert received.outcomes[0][1].tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("value", "error"), [(["Nonsense", []], KeyError), (["Ended", []], ValueError), (["Ready", [1]], ValueError)]
)
def test_what_is_no_message_is_refused(value: list[Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        Message.decode(value)


def test_an_error_keeps_code_message_retryable_and_traceback() -> None:
    error = InferenceFailed("ValueError: no")
    error.retryable = True
    error.__cause__ = ValueError("no")
    back = error_from_engine(error_to_wire(error))
    assert type(back) is InferenceFailed
    assert str(back) == "ValueError: no"
    assert back.retryable
    assert "ValueError: no" in str(back.__cause__)


def test_an_error_of_a_plugins_own_class_keeps_its_code() -> None:
    class OutOfTokens(InferenceFailed):
        code = "out_of_tokens"
        retryable = True

    back = error_from_engine(error_to_wire(OutOfTokens("none left")))
    assert (back.code, back.retryable, str(back)) == ("out_of_tokens", True, "none left")


def test_of_a_long_traceback_the_end_travels() -> None:
    error = InferenceFailed("no")
    error.__cause__ = ValueError("x" * 100_000 + "the end")
    wire = error_to_wire(error)
    assert len(wire["traceback"]) == 8_000
    assert wire["traceback"].endswith("the end\n")


def test_an_error_without_a_cause_has_no_traceback() -> None:
    back = error_from_engine(error_to_wire(InvalidInput("no")))
    assert back.__cause__ is None
    assert not back.retryable
