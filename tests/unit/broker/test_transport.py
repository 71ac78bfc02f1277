"""The leased transport: what a consumer gets, in which order, and what becomes of the rest."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from celery import Celery
from kombu import Connection, Consumer, Exchange, Queue

from headrace.broker.claims import Claim, Claims
from headrace.broker.incoming import NoJob
from headrace.broker.transport import leased_transport
from tests.utils.waiting import wait_until

MILL, WEIR = "infer.mill", "infer.weir"


class Worker:
    """A consumer of two models, with room that the test sets."""

    def __init__(self, url: str, client: redis.Redis, *more: str) -> None:
        self.claims = Claims(client, lease_seconds=60)
        self.claims.begin()
        self.room = dict.fromkeys((MILL, WEIR, *more), 10)
        self.messages: list[Any] = []
        self._connection = Connection(url)
        self._connection.transport_cls = leased_transport(self.claims, self.room.__getitem__)
        queues = [Queue(name, Exchange(name), routing_key=name) for name in self.room]
        self.consumer = Consumer(self._connection.channel(), queues, on_message=self.messages.append)
        self.consumer.consume()

    def look(self) -> None:
        """One turn of the event loop."""
        try:
            self._connection.drain_events(timeout=0.02)
        except TimeoutError:
            return

    def get(self, count: int) -> list[str]:
        """Look until so many messages have come; return their ids."""
        wait_until(lambda: self.look() or len(self.messages) >= count, 5)
        return [message.headers["id"] for message in self.messages]

    @property
    def kept(self) -> int:
        """Messages that kombu keeps until they are acknowledged."""
        qos = self.consumer.channel.qos
        qos._flush()
        return len(qos._delivered)

    def close(self) -> None:
        """Give the connection back."""
        self._connection.release()


@pytest.fixture
def worker(url: str, client: redis.Redis) -> Iterator[Worker]:
    worker = Worker(url, client)
    yield worker
    worker.close()


@pytest.fixture
def send(app: Celery) -> Callable[..., None]:
    """Queues jobs as a stock producer does."""

    def send(*job_ids: str, model: str = MILL, queue: str | None = None) -> None:
        for job_id in job_ids:
            app.send_task(model, args=[1], task_id=job_id, queue=queue or model)

    return send


def test_a_stock_producers_jobs_come_in_order(worker: Worker, send: Callable[..., None]) -> None:
    send("a", "b", "c")
    assert worker.get(3) == ["a", "b", "c"]


def test_a_job_that_comes_while_all_lists_are_empty_is_heard_of(worker: Worker, send: Callable[..., None]) -> None:
    worker.look()
    worker.look()
    send("a", model=WEIR)
    assert worker.get(1) == ["a"]
    send("b")
    assert worker.get(2) == ["a", "b"]


def test_a_model_without_room_waits_and_holds_up_no_other(
    worker: Worker, send: Callable[..., None], client: redis.Redis
) -> None:
    worker.room[MILL] = 0
    send("a", "b")
    send("c", model=WEIR)
    assert worker.get(1) == ["c"]
    assert client.llen(MILL) == 2
    worker.room[MILL] = 1
    assert worker.get(2) == ["c", "a"]


def test_high_comes_before_normal_and_normal_before_low(worker: Worker, send: Callable[..., None]) -> None:
    send("low", queue=f"{MILL}.low")
    send("later", queue=f"{MILL}\x06\x166")
    send("normal")
    send("high", queue=f"{MILL}.high")
    assert worker.get(4) == ["high", "normal", "later", "low"]


def test_a_full_redis_stops_nothing_for_good(worker: Worker, send: Callable[..., None], client: redis.Redis) -> None:
    send("a")
    client.config_set("maxmemory", 1)
    for _ in range(3):
        worker.look()
    client.config_set("maxmemory", 0)
    assert worker.get(1) == ["a"]
    client.config_set("maxmemory", 1)
    for _ in range(3):
        worker.look()
    assert worker.claims.renew()
    client.config_set("maxmemory", 0)
    send("b")
    assert worker.get(2) == ["a", "b"]


def test_the_levels_of_a_model_share_its_room(worker: Worker, send: Callable[..., None], client: redis.Redis) -> None:
    send("normal", "normal too")
    send("high", queue=f"{MILL}.high")
    worker.room[MILL] = 2
    assert worker.get(2)[:2] == ["high", "normal"]


@pytest.mark.parametrize("garbage", [b"no JSON", b"[1]", b"{}", b'{"properties": 5}', b"\xff\xfe", b"[" * 200_000])
def test_what_is_no_message_is_put_aside_and_stops_nothing(
    worker: Worker, send: Callable[..., None], client: redis.Redis, garbage: bytes
) -> None:
    client.lpush(MILL, garbage)
    send("a")
    assert worker.get(1) == ["a"]
    assert client.lrange("dead.mill", 0, -1) == [garbage]
    assert worker.claims.count == 1


@pytest.mark.parametrize("error", [NoJob("not mine"), ValueError("nobody's"), redis.DataError("no text")])
def test_kombu_keeps_nothing_of_what_was_put_aside(
    worker: Worker, send: Callable[..., None], client: redis.Redis, error: Exception
) -> None:
    def refuse(_: Any) -> None:
        raise error

    worker.consumer.on_message = refuse
    send("a", "b")
    client.lpush(MILL, b"no JSON")
    wait_until(lambda: worker.look() or client.llen("dead.mill") == 3, 5)
    assert (worker.kept, worker.claims.count) == (0, 0)


def test_an_acknowledged_message_is_gone_and_a_rejected_one_comes_again(
    worker: Worker, send: Callable[..., None]
) -> None:
    send("a", "b", "c")
    worker.get(3)
    done, dropped, again = worker.messages
    done.ack()
    dropped.reject()
    again.requeue()
    assert worker.get(4) == ["a", "b", "c", "c"]
    worker.claims.flush()
    assert worker.claims.keep_only([]) == 1


def test_a_closed_connection_gives_nothing_back_by_itself(
    worker: Worker, send: Callable[..., None], client: redis.Redis
) -> None:
    send("a")
    worker.get(1)
    worker.close()
    assert client.llen(MILL) == 0
    assert worker.claims.keep_only([worker.messages[0].delivery_tag]) == 0
    assert worker.claims.keep_only([]) == 1
    assert client.llen(MILL) == 1


def test_without_a_lease_nothing_comes(worker: Worker, send: Callable[..., None], client: redis.Redis) -> None:
    client.delete(f"headrace:lease:{worker.claims.incarnation}")
    send("a")
    worker.look()
    worker.look()
    assert worker.messages == []
    assert worker.claims.lost
    worker.claims.begin()
    assert worker.get(1) == ["a"]


def test_what_cannot_be_taken_now_comes_once_it_can(worker: Worker, send: Callable[..., None]) -> None:
    refusals = iter([redis.OutOfMemoryError("full"), redis.OutOfMemoryError("full")])

    def take(message: Any) -> None:
        if message.headers["id"] == "b" and (error := next(refusals, None)):
            raise error
        worker.messages.append(message)

    worker.consumer.on_message = take
    send("a", "b", "c")
    assert worker.get(3) == ["a", "c", "b"]


def test_what_cannot_be_put_aside_now_is_once_it_can_and_holds_up_nothing(
    worker: Worker, send: Callable[..., None], client: redis.Redis
) -> None:
    client.lpush(MILL, b"no JSON")
    send("a")
    refused = worker.claims.bury

    def full(claim: Claim, **_: str) -> None:
        worker.claims.bury = refused  # type: ignore[method-assign]
        raise redis.OutOfMemoryError("full")

    worker.claims.bury = full  # type: ignore[method-assign]
    assert worker.get(1) == ["a"]
    wait_until(lambda: worker.look() or client.llen("dead.mill"), 5)


def test_what_was_not_delivered_when_the_lease_ran_out_is_another_workers(
    worker: Worker, send: Callable[..., None], client: redis.Redis
) -> None:
    def refuse(_: Any) -> None:
        raise redis.OutOfMemoryError("full")

    worker.consumer.on_message = refuse
    send("a")
    wait_until(lambda: worker.look() or worker.claims.count, 5)
    worker.claims.begin()
    worker.look()
    assert worker.kept == 0
    worker.consumer.on_message = worker.messages.append
    send("b")
    assert worker.get(1) == ["b"]
    worker.look()
    assert len(worker.messages) == 1


def test_a_worker_of_many_models_waits_for_all_of_them(
    url: str, client: redis.Redis, send: Callable[..., None]
) -> None:
    models = [f"infer.model_{number}" for number in range(30)]
    worker = Worker(url, client, *models)
    try:
        for _ in range(3):
            worker.look()
        for model in models:
            send(model, model=model)
        assert sorted(worker.get(len(models))) == sorted(models)
    finally:
        worker.close()
