"""BatchExecutor and prepare: every item is answered once, whatever is raised at whatever stage."""

from collections.abc import Sequence
from typing import Any

import pytest

from headrace.engine.batch import BatchExecutor, Entry
from headrace.engine.messages import Decoder, Ended, Message, Outcomes, Started
from headrace.engine.outcomes import Report
from headrace.engine.prepare import prepare_window
from headrace.errors import InvalidInput
from headrace.sdk.config import BaseConfig
from headrace.sdk.device import Device
from headrace.sdk.messages import Item, Outcome, Prepared
from headrace.sdk.plugin import ModelPluginInterface
from tests.utils.memory import roomy_guard
from tests.utils.windows import window_of


class Mute(Exception):
    """Raises again when it is printed."""

    def __str__(self) -> str:
        raise KeyError


class Doubler(ModelPluginInterface):
    """Doubles numbers; misbehaves on the inputs that it is told to."""

    def __init__(self, *, bad: frozenset[int] = frozenset(), breaks: str = "raise") -> None:
        self.bad = bad
        self.breaks = breaks
        self.batches: list[list[int]] = []
        self.initialize(BaseConfig(max_batch_size=8), Device("cpu"))

    def load_model(self) -> None:
        """Nothing to load."""

    def cleanup(self) -> None:
        """Nothing to free."""

    def infer(self, batch: Sequence[Prepared]) -> list[Outcome]:
        self.batches.append([item.data for item in batch])
        outcomes: list[Any] = [Outcome(output=item.data * 2) for item in batch]
        if self.bad.isdisjoint(item.data for item in batch):
            return outcomes
        if self.breaks == "raise":
            raise ValueError("no such number")
        if self.breaks == "mute":
            raise Mute
        return {"short": outcomes[:-1], "none": None, "foreign": [1] * len(batch)}[self.breaks]  # type: ignore[return-value]


class Wire:
    """Collects what the executor reports."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    @property
    def messages(self) -> list[Message]:
        return list(Decoder().feed(self.data))

    @property
    def answers(self) -> dict[int, tuple[Any, Any]]:
        rows = [row for message in self.messages if isinstance(message, Outcomes) for row in message.outcomes]
        assert len({row[0] for row in rows}) == len(rows), "an item was answered twice"
        return {row[0]: (row[1], row[2]) for row in rows}


def _run(plugin: Doubler, entries: Sequence[Entry], **options: Any) -> Wire:
    wire = Wire()
    BatchExecutor(report=Report(wire.write), **options).run("doubler", plugin, entries, roomy_guard())
    return wire


def _entries(count: int) -> list[Entry]:
    return [Entry(item_id=100 + each, prepared=Prepared(data=each)) for each in range(count)]


def test_outcomes_belong_to_their_items() -> None:
    answers = _run(Doubler(), _entries(20)).answers
    assert {item_id: output for item_id, (output, _) in answers.items()} == {100 + each: 2 * each for each in range(20)}


@pytest.mark.parametrize("breaks", ["raise", "short", "none", "foreign", "mute"])
def test_a_bad_item_fails_alone(breaks: str) -> None:
    answers = _run(Doubler(bad=frozenset({3, 11}), breaks=breaks), _entries(16)).answers
    assert len(answers) == 16
    assert {item_id for item_id, (_, error) in answers.items() if error} == {103, 111}


def test_an_exception_carries_its_type_message_and_traceback() -> None:
    _, error = _run(Doubler(bad=frozenset({0})), _entries(1)).answers[100]
    assert error["code"] == "inference_failed"
    assert error["message"] == "ValueError: no such number"
    assert "in infer" in error["traceback"]


def test_an_output_that_cannot_be_sent_fails_alone() -> None:
    class Strange(Doubler):
        def infer(self, batch: Sequence[Prepared]) -> list[Outcome]:
            return [Outcome(output=object() if item.data == 1 else item.data) for item in batch]

    answers = _run(Strange(), _entries(3)).answers
    assert answers[100] == (0, None)
    assert answers[102] == (2, None)
    assert "cannot be sent" in answers[101][1]["message"]


def test_refused_items_are_answered_and_never_batched() -> None:
    plugin = Doubler()
    refused = Entry(item_id=1, prepared=Prepared(data=-1, error=InvalidInput("no")))
    answers = _run(plugin, [refused, *_entries(2)]).answers
    assert answers[1][1]["code"] == "invalid_input"
    assert plugin.batches == [[0, 1]]


def test_cancelled_and_late_items_do_not_run() -> None:
    plugin = Doubler()
    late = Entry(item_id=2, prepared=Prepared(data=9), deadline=50.0)
    wire = _run(plugin, [late, *_entries(2)], cancelled=lambda item_id: item_id == 100, clock=lambda: 60.0)
    assert wire.answers[2][1]["code"] == "deadline_exceeded"
    assert wire.answers[100][1]["code"] == "revoked"
    assert plugin.batches == [[1]]


def test_suspects_are_named_before_each_batch_and_cleared_after() -> None:
    kinds = [type(message) for message in _run(Doubler(), _entries(9)).messages]
    assert kinds == [Started, Outcomes, Ended] * 2


def test_prepare_that_raises_refuses_only_its_item() -> None:
    class Picky(Doubler):
        def prepare(self, items: Sequence[Item]) -> list[Prepared]:
            if any(item.input == "bad" for item in items):
                raise RuntimeError("cannot read this")
            return super().prepare(items)

    window = window_of(*enumerate(["a", "bad", "c"]))
    entries = prepare_window(Picky(), window)
    assert [entry.prepared.error is None for entry in entries] == [True, False, True]
    assert "RuntimeError: cannot read this" in str(entries[1].prepared.error)


def test_prepare_that_returns_too_few_is_caught() -> None:
    class Short(Doubler):
        def prepare(self, items: Sequence[Item]) -> list[Prepared]:
            return super().prepare(items)[1:]

    window = window_of((1, "a"), (2, "b"))
    codes = [entry.prepared.error.code for entry in prepare_window(Short(), window) if entry.prepared.error]
    assert codes == ["batch_law_broken"] * 2
