import dataclasses
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from headrace.broker.waiter import Meta
from headrace.errors import QueueFull
from headrace.mapper import Mapper


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is worth a second's wait."""
    monkeypatch.setattr("headrace.mapper._WAIT_SECONDS", 0.01)


class Queue:
    """Answers every job with its inputs: at once, or the oldest one when the mapper waits."""

    def __init__(self, *, busy: bool = False) -> None:
        self._busy = busy
        self.interrupted = False
        self._waiting: list[tuple[Future[Meta], list[Any]]] = []
        self.sent: dict[str, list[Any]] = {}
        self.discarded: list[str] = []
        self.cancelled: list[str] = []

    def mapper(self) -> Mapper:
        return Mapper(
            send=self.send,
            futures=self.futures,
            discard=self.discarded.extend,
            cancel=self.cancelled.extend,
            read=lambda source: source,
            on_wait=self._answer_oldest,
        )

    def _answer_oldest(self) -> None:
        self._answer(*self._waiting.pop(0))

    def send(self, job_id: str, values: list[Any]) -> None:
        self.sent[job_id] = values
        if self.interrupted:
            raise KeyboardInterrupt

    def futures(self, job_ids: Sequence[str]) -> list[Future[Meta]]:
        return [self._future(job_id) for job_id in job_ids]

    def _future(self, job_id: str) -> Future[Meta]:
        future: Future[Meta] = Future()
        if self._busy:
            self._waiting.append((future, self.sent[job_id]))
        else:
            self._answer(future, self.sent[job_id])
        return future

    def _answer(self, future: Future[Meta], values: list[Any]) -> None:
        future.set_result({"status": "SUCCESS", "result": [{"ok": True, "output": value} for value in values]})


def test_a_mapping_that_is_read_to_its_end_cancels_nothing() -> None:
    queue = Queue()
    items = list(queue.mapper().run(range(10), chunk_size=2, max_chunks=3, ordered=True))
    assert [item.output for item in items] == list(range(10))
    assert queue.discarded == list(queue.sent)
    assert queue.cancelled == []


def test_a_mapping_that_is_left_early_cancels_what_is_in_flight() -> None:
    queue = Queue(busy=True)
    items = queue.mapper().run(range(100), chunk_size=2, max_chunks=3, ordered=True)
    next(items)
    items.close()
    assert len(queue.sent) == 3
    assert queue.cancelled == list(queue.sent)[1:]


def test_a_job_during_whose_sending_the_mapping_is_interrupted_is_cancelled_too() -> None:
    queue = Queue()
    queue.interrupted = True
    with pytest.raises(KeyboardInterrupt):
        list(queue.mapper().run(range(4), chunk_size=2, max_chunks=3, ordered=True))
    assert queue.cancelled == list(queue.sent) != []


def test_an_error_while_reading_cancels_what_is_in_flight() -> None:
    def broken():
        yield from range(4)
        raise OSError("the disk is gone")

    queue = Queue(busy=True)
    with pytest.raises(OSError, match="the disk is gone"):
        list(queue.mapper().run(broken(), chunk_size=2, max_chunks=10, ordered=True))
    assert queue.cancelled == list(queue.sent)[:2]


def test_a_slow_source_gets_its_items_as_soon_as_they_are_answered() -> None:
    read = 0

    def slow() -> Iterator[int]:
        nonlocal read
        while read < 100:
            read += 1
            yield read

    items = Queue().mapper().run(slow(), chunk_size=2, max_chunks=32, ordered=True)
    assert next(items).output == 1
    assert read == 2


def test_a_full_queue_is_waited_for() -> None:
    queue = Queue()
    refusals = iter([QueueFull("full"), QueueFull("full")])

    def send(job_id: str, values: list[Any]) -> None:
        if error := next(refusals, None):
            raise error
        queue.send(job_id, values)

    waits: list[None] = []
    mapper = dataclasses.replace(queue.mapper(), send=send, on_wait=lambda: waits.append(None))
    items = list(mapper.run(range(4), chunk_size=2, max_chunks=2, ordered=True))
    assert [item.output for item in items] == [0, 1, 2, 3]
    assert len(waits) == 2


def test_a_queue_that_stays_full_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.mapper._FULL_SECONDS", 0.05)

    def send(job_id: str, values: list[Any]) -> None:
        raise QueueFull("full")

    mapper = dataclasses.replace(Queue().mapper(), send=send, on_wait=lambda: None)
    with pytest.raises(QueueFull):
        list(mapper.run(range(4), chunk_size=2, max_chunks=2, ordered=True))
