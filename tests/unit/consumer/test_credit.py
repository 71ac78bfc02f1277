"""Credit: a full lane keeps its own queue shut, and no other."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from headrace.broker.app import INFER
from headrace.consumer.credit import HELD_LIMIT, Credit, OpenQueues
from tests.utils.requests import Desk

QUEUES = [INFER + "m", INFER + "other"]


class Channel:
    """A worker's claims: a real consumer on both queues, and lanes that the test fills."""

    def __init__(self, app: Celery) -> None:
        self.full: set[str] = set()
        self.claimed: list[str] = []
        self._connection = app.connection_for_read()
        channel = self._connection.channel()
        channel.brpop_timeout = 0.02
        queues = [app.amqp.queues[name] for name in QUEUES]
        self._consumer = app.amqp.TaskConsumer(channel, queues=queues, on_message=self._on_message)
        self._consumer.consume()
        self.qos = channel.qos
        pool: Any = SimpleNamespace(has_room=lambda queue: queue not in self.full)
        consumer: Any = SimpleNamespace(pool=pool, task_consumer=self._consumer)
        Credit(consumer).start(consumer)

    def _on_message(self, message: Any) -> None:
        self.claimed.append(message.delivery_info["routing_key"])
        message.ack()

    def drain(self, *, wait: float = 0.1) -> list[str]:
        """Claim until nothing more comes; return the queues in order."""
        self.claimed.clear()
        try:
            while True:
                self._connection.drain_events(timeout=wait)
        except TimeoutError:
            return list(self.claimed)

    def close(self) -> None:
        """Give the connection back."""
        self._connection.release()


@pytest.fixture
def channel(desk: Desk) -> Iterator[Channel]:
    """A channel with credit."""
    channel = Channel(desk.app)
    yield channel
    channel.close()


def test_only_open_queues_are_asked() -> None:
    full = {"b"}
    queues = OpenQueues(["a", "b", "c"], lambda queue: queue not in full)
    assert queues.consume(3) == ["a", "c"]
    full.clear()
    assert queues.consume(3) == ["a", "b", "c"]


def test_queues_take_turns_whichever_are_open() -> None:
    queues = OpenQueues(["a", "b", "c"], lambda queue: queue != "b")
    assert queues.rotate("a") == "a"
    assert queues.consume(3) == ["c", "a"]
    queues.rotate("unknown")
    assert queues.consume(3) == ["c", "a"]


def test_no_more_queues_are_asked_than_the_channel_wants() -> None:
    assert OpenQueues(["a", "b", "c"], lambda _: True).consume(2) == ["a", "b"]


def test_it_follows_the_channels_own_list() -> None:
    queues = OpenQueues(["a"], lambda queue: queue == "a")
    assert queues
    queues.update(["b", "c"])
    assert not queues


def test_with_room_in_every_lane_every_queue_is_read(channel: Channel, desk: Desk) -> None:
    for model in ("m", "other", "m"):
        desk.send("a", model=model)
    assert sorted(channel.drain()) == [QUEUES[0], QUEUES[0], QUEUES[1]]


def test_a_full_lane_leaves_its_messages_in_redis_and_stops_no_other(channel: Channel, desk: Desk) -> None:
    channel.full = {QUEUES[0]}
    for model in ("m", "other", "m", "other"):
        desk.send("a", model=model)
    assert channel.drain() == [QUEUES[1], QUEUES[1]]
    assert desk.redis.llen(QUEUES[0]) == 2
    channel.full = set()
    assert channel.drain() == [QUEUES[0], QUEUES[0]]


def test_with_every_lane_full_nothing_is_claimed(channel: Channel, desk: Desk) -> None:
    channel.full = set(QUEUES)
    assert not channel.qos.can_consume()
    desk.send("a")
    assert channel.drain() == []
    assert desk.redis.llen(QUEUES[0]) == 1


def test_messages_that_wait_outside_of_lanes_are_bounded(channel: Channel) -> None:
    held = channel.qos._delivered
    held.update(dict.fromkeys(range(HELD_LIMIT)))
    assert not channel.qos.can_consume()
    channel.qos._dirty.add(0)  # acknowledged, and not yet swept out
    assert channel.qos.can_consume()
    held.clear()
    channel.qos._dirty.clear()
