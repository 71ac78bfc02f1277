import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from headrace.broker.waiter import Meta
from headrace.chunking import MOST_BYTES, Chunking
from headrace.errors import BrokerUnavailable, HeadraceError, InvalidInput, QueueFull
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
        self.refuse: Callable[[], Exception | None] = lambda: None
        self._waiting: list[tuple[Future[Meta], list[Any]]] = []
        self._futures: dict[str, Future[Meta]] = {}
        self.sent: dict[str, list[Any]] = {}
        self.discarded: list[str] = []
        self.cancelled: list[str] = []

    def mapper(self, *, max_chunks: int = 3) -> Mapper:
        """A mapper of chunks of two inputs."""
        return Mapper(
            jobs=self,
            read=lambda source: (source, 1),
            on_wait=self._answer_oldest,
            chunking=Chunking(lambda: 1, chunk_size=2, max_chunks=max_chunks),
        )

    def _answer_oldest(self) -> None:
        self._answer(*self._waiting.pop(0))

    def send(self, job_id: str, values: list[Any]) -> None:
        if error := self.refuse():
            raise error
        self.sent[job_id] = values
        if self.interrupted:
            raise KeyboardInterrupt
        if self._busy:
            self._waiting.append((self._futures[job_id], values))
        else:
            self._answer(self._futures[job_id], values)

    def expect(self, job_id: str) -> Future[Meta]:
        return self._futures.setdefault(job_id, Future())

    def seek(self, job_ids: Sequence[str]) -> None:
        self.sought = list(job_ids)

    def discard(self, job_ids: Sequence[str]) -> None:
        self.discarded += job_ids

    def abandon(self, job_ids: Sequence[str]) -> None:
        self.cancelled += job_ids

    def _answer(self, future: Future[Meta], values: list[Any]) -> None:
        future.set_result({"status": "SUCCESS", "result": [{"ok": True, "output": value} for value in values]})


def test_a_mapping_that_is_read_to_its_end_cancels_nothing() -> None:
    queue = Queue()
    items = list(queue.mapper().run(range(10), ordered=True))
    assert [item.output for item in items] == list(range(10))
    assert queue.discarded == list(queue.sent)
    assert queue.cancelled == []


def test_a_mapping_that_is_left_early_cancels_what_is_in_flight() -> None:
    queue = Queue(busy=True)
    items = queue.mapper().run(range(100), ordered=True)
    next(items)
    items.close()
    assert len(queue.sent) == 3
    assert queue.cancelled == list(queue.sent)[1:]


def test_a_job_during_whose_sending_the_mapping_is_interrupted_is_cancelled_too() -> None:
    queue = Queue()
    queue.interrupted = True
    with pytest.raises(KeyboardInterrupt):
        list(queue.mapper().run(range(4), ordered=True))
    assert queue.cancelled == list(queue.sent) != []


def test_an_error_while_reading_cancels_what_is_in_flight() -> None:
    def broken():
        yield from range(4)
        raise OSError("the disk is gone")

    queue = Queue(busy=True)
    with pytest.raises(OSError, match="the disk is gone"):
        list(queue.mapper(max_chunks=10).run(broken(), ordered=True))
    assert queue.cancelled == list(queue.sent)[:2]


def test_a_slow_source_gets_its_items_as_soon_as_they_are_answered() -> None:
    read = 0

    def slow() -> Iterator[int]:
        nonlocal read
        while read < 100:
            read += 1
            yield read

    items = Queue().mapper(max_chunks=32).run(slow(), ordered=True)
    assert next(items).output == 1
    assert read == 2


def test_a_full_queue_is_waited_for() -> None:
    queue = Queue()
    refusals = iter([QueueFull("full"), QueueFull("full")])

    queue.refuse = lambda: next(refusals, None)
    waits: list[None] = []
    mapper = dataclasses.replace(queue.mapper(), on_wait=lambda: waits.append(None))
    items = list(mapper.run(range(4), ordered=True))
    assert [item.output for item in items] == [0, 1, 2, 3]
    assert len(waits) == 2


def test_a_queue_that_stays_full_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.mapper._FULL_SECONDS", 0.05)

    queue = Queue()
    queue.refuse = lambda: QueueFull("full")
    mapper = dataclasses.replace(queue.mapper(), on_wait=lambda: None)
    with pytest.raises(QueueFull):
        list(mapper.run(range(4), ordered=True))


def test_a_redis_that_goes_away_between_two_chunks_is_waited_for() -> None:
    queue = Queue()
    answers = iter([None, BrokerUnavailable("away"), BrokerUnavailable("away")])
    queue.refuse = lambda: next(answers, None)
    waits: list[None] = []
    mapper = dataclasses.replace(queue.mapper(), on_wait=lambda: waits.append(None))
    assert [item.output for item in mapper.run(range(4), ordered=True)] == [0, 1, 2, 3]
    assert len(waits) == 2


@pytest.mark.parametrize("taken", [0, 1])
def test_a_redis_that_takes_nothing_ends_a_mapping_at_once_or_in_the_end(
    monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    monkeypatch.setattr("headrace.mapper._AWAY_SECONDS", 0.05)
    queue = Queue()
    queue.refuse = lambda: BrokerUnavailable("away") if len(queue.sent) == taken else None
    waits: list[None] = []
    mapper = dataclasses.replace(queue.mapper(), on_wait=lambda: waits.append(None))
    with pytest.raises(BrokerUnavailable):
        list(mapper.run(range(4), ordered=True))
    assert bool(waits) is bool(taken)


def test_a_chunk_of_many_bytes_ends_early() -> None:
    queue = Queue()
    mapper = dataclasses.replace(
        queue.mapper(), read=lambda source: (source, MOST_BYTES // 2), chunking=Chunking(lambda: 1, chunk_size=100)
    )
    assert [item.output for item in mapper.run(range(5), ordered=True)] == list(range(5))
    assert list(queue.sent.values()) == [[0, 1], [2, 3], [4]]


def test_refused_elements_are_answered_in_their_places_and_sent_to_nobody() -> None:
    def read(source: int) -> tuple[int, int]:
        if source % 3 == 1:
            raise InvalidInput("no")
        return source, 1

    queue = Queue()
    items = list(dataclasses.replace(queue.mapper(), read=read).run(range(7), ordered=True))
    assert [item.index for item in items] == list(range(7))
    assert [item.output for item in items] == [0, None, 2, 3, None, 5, 6]
    assert [isinstance(item.error, HeadraceError) for item in items] == [index % 3 == 1 for index in range(7)]
    assert [1, 4] not in queue.sent.values()


def test_a_run_of_refused_elements_alone_is_answered_without_a_job() -> None:
    def refuse(source: Any) -> tuple[Any, int]:
        raise InvalidInput("no")

    queue = Queue()
    items = list(dataclasses.replace(queue.mapper(), read=refuse).run(range(5), ordered=True))
    assert [item.index for item in items] == list(range(5))
    assert queue.sent == {}


def test_the_next_chunks_are_as_large_as_the_rate_allows() -> None:
    queue = Queue()
    chunking = Chunking(lambda: 1)
    mapper = dataclasses.replace(queue.mapper(), chunking=chunking)
    list(mapper.run(range(200), ordered=True))
    assert {len(values) for values in list(queue.sent.values())[:-1]} == {16}  # no seconds were told
    chunking.ran(16, 0.8)
    queue.sent.clear()
    list(mapper.run(range(200), ordered=True))
    assert [len(values) for values in queue.sent.values()] == [20] * 10
