"""Report: whole messages from any thread, and an outcome that can't be sent fails alone."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgpack
import numpy as np
import pytest

from headrace.engine.messages import Cancel, Decoder, Ended, Message, Outcomes, Started
from headrace.engine.outcomes import Answer, Report
from headrace.errors import InferenceFailed, InvalidInput
from headrace.sdk.messages import Outcome


class Wire:
    """Keeps what is written, one byte at a time as a slow socket takes it."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> None:
        for byte in data:
            self.data.append(byte)
            time.sleep(0)

    @property
    def messages(self) -> list[Message]:
        return list(Decoder().feed(bytes(self.data)))


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def report(wire: Wire) -> Report:
    return Report(wire.write)


def _rows(wire: Wire) -> Sequence[Any]:
    (message,) = wire.messages
    assert isinstance(message, Outcomes)
    return message.outcomes


STARTED, ENDED = Started(stage="infer", model="m", item_ids=[1, 2]), Ended(stage="infer")


def test_a_stage_is_announced_and_ended(report: Report, wire: Wire) -> None:
    with report.stage("infer", "m", [1, 2]):
        assert wire.messages == [STARTED]
    assert wire.messages == [STARTED, ENDED]


@pytest.mark.parametrize(("error", "ended"), [(ValueError, [ENDED]), (MemoryError, [ENDED]), (SystemExit, [])])
def test_only_what_ends_the_process_leaves_a_stage_open(
    report: Report, wire: Wire, error: type[BaseException], ended: list[Message]
) -> None:
    with pytest.raises(error), report.stage("infer", "m", [1, 2]):
        raise error
    assert wire.messages == [STARTED, *ended]


def test_outcomes_go_in_one_message_with_their_batchs_time(report: Report, wire: Wire) -> None:
    report.answer("m", 0.5, [Answer(2, Outcome(output="b")), Answer(1, Outcome(output=None))])
    assert wire.messages == [Outcomes(model="m", seconds=0.5, outcomes=[[2, "b", None], [1, None, None]])]  # type: ignore[list-item]  # msgpack has no tuples


def test_an_error_goes_with_its_code_and_without_an_output(report: Report, wire: Wire) -> None:
    report.answer("m", 0.0, [Answer(1, Outcome(error=InvalidInput("no text")))])
    ((item_id, output, error),) = _rows(wire)
    assert (item_id, output) == (1, None)
    assert error == {"code": "invalid_input", "message": "no text", "retryable": False}


@pytest.mark.parametrize(
    "output",
    [
        object(),
        {"a": {1, 2}},
        "\ud800",
        2**64,
        np.array([object()]),
        np.array(["a"]),
        {("a", "b"): 0.5},
        [[{b"key": 1}]],
        msgpack.ExtType(9, b""),
        [msgpack.Timestamp(1)],
        [0.0, float("nan")],
        np.array([np.inf], np.float32),
    ],
    ids=repr,
)
def test_an_output_that_cannot_be_sent_fails_alone(report: Report, wire: Wire, output: Any) -> None:
    report.answer("m", 0.5, [Answer(1, Outcome(output="a")), Answer(2, Outcome(output=output))])
    good, bad = _rows(wire)
    assert good == [1, "a", None]
    assert bad[:2] == [2, None]
    assert bad[2]["code"] == "invalid_output"
    assert "the plugin's output cannot be sent" in bad[2]["message"]


def test_an_error_whose_message_cannot_be_sent_is_still_an_error(report: Report, wire: Wire) -> None:
    report.answer("m", 0.5, [Answer(1, Outcome(error=InferenceFailed("\ud800")))])
    ((_, _, error),) = _rows(wire)
    assert error["code"] == "inference_failed"


@pytest.mark.parametrize("value", [np.float32(0.5), np.int64(3), np.bool_(True)], ids=lambda value: value.dtype.name)  # noqa: FBT003 - a value, no flag
def test_a_numpy_scalar_goes_as_the_number_that_it_is(report: Report, wire: Wire, value: np.generic) -> None:
    report.answer("m", 0.5, [Answer(1, Outcome(output=value))])
    assert _rows(wire)[0][1] == value.item()


def test_messages_of_many_threads_stay_whole(report: Report, wire: Wire) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: report.send(Cancel(item_ids=[number])), range(200)))
    assert sorted(message.item_ids for message in wire.messages if isinstance(message, Cancel)) == [
        [number] for number in range(200)
    ]


def test_a_worker_that_is_gone_is_no_outcome_that_cannot_be_sent() -> None:
    def broken(data: bytes) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        Report(broken).answer("m", 0.5, [Answer(1, Outcome(output="a"))])
