from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from headrace.broker.waiter import Meta
from headrace.mapper import Mapper


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is worth a second's wait."""
    monkeypatch.setattr("headrace.mapper._WAIT_SECONDS", 0.01)


class Queue:
    """Answers every job with its inputs: at once, or the oldest one when the mapper waits."""

    def __init__(self, *, busy: bool = False, lost: bool = False) -> None:
        self._busy = busy
        self._lost = lost
        self.recalled: list[str] = []
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
            recall=self._recall,
        )

    def _recall(self, job_ids: Sequence[str]) -> None:
        """As workers do: a job that one of them has claimed again is answered, as revoked."""
        self.recalled += job_ids
        for future, _ in self._waiting:
            future.set_result({"status": "REVOKED", "result": None})
        self._waiting.clear()

    def _answer_oldest(self) -> bool:
        self._answer(*self._waiting.pop(0))
        lost, self._lost = self._lost, False
        return lost

    def send(self, values: list[Any]) -> str:
        job_id = f"job-{len(self.sent)}"
        self.sent[job_id] = values
        return job_id

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
    assert list(queue.sent) == ["job-0", "job-1", "job-2"]
    assert queue.cancelled == ["job-1", "job-2"]


def test_an_error_while_reading_cancels_what_is_in_flight() -> None:
    def broken():
        yield from range(4)
        raise OSError("the disk is gone")

    queue = Queue(busy=True)
    with pytest.raises(OSError, match="the disk is gone"):
        list(queue.mapper().run(broken(), chunk_size=2, max_chunks=10, ordered=True))
    assert queue.cancelled == ["job-0", "job-1"]


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


def test_jobs_in_flight_are_sent_anew_when_a_worker_died() -> None:
    queue = Queue(busy=True, lost=True)
    items = list(queue.mapper().run(range(4), chunk_size=2, max_chunks=2, ordered=True))
    assert [item.output for item in items] == list(range(4))
    assert queue.recalled == ["job-1"]
    assert queue.sent["job-2"] == queue.sent["job-1"]
