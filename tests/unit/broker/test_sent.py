"""Sent: a job is lost only if it is nowhere, wherever a message may be."""

import time
from collections.abc import Callable

import pytest

from headrace.broker import codec
from headrace.broker.claims import Claims
from headrace.broker.connection import Server
from headrace.broker.options import SendOptions
from headrace.broker.results import result_key
from headrace.broker.sender import Sender
from headrace.broker.sent import _SEEK_SECONDS, Sent
from tests.utils.clock import Clock

QUEUE = "infer.mill"


def _claimed(client: Server) -> Claims:
    claims = Claims(client, lease_seconds=60)
    claims.begin()
    assert claims.claim({f"{QUEUE}.high": 9, QUEUE: 9})
    return claims


def _claim(client: Server) -> None:
    _claimed(client)


def _delay(client: Server) -> None:
    claims = _claimed(client)
    claims.delay(f"{claims.incarnation}:1", time.time() + 60)


def _claim_and_die(client: Server) -> None:
    _claimed(client).end()


def _give_back(client: Server) -> None:
    assert _claimed(client).keep_only([]) == 1


def _try_again(client: Server) -> None:
    """A retry is another message, and its state says so."""
    client.delete(client.key(QUEUE))
    client.set(client.key(result_key("a")), codec.pack({"status": "RETRY", "result": None}))


def _settle(client: Server) -> None:
    claims = _claimed(client)
    client.set(client.key(result_key("a")), codec.pack({"status": "SUCCESS", "result": 1}))
    claims.forget([1])


PLACES: list[Callable[[Server], object]] = [
    lambda _: None, _claim, _delay, _claim_and_die, _give_back, _try_again, _settle,
]  # fmt: skip


def _send(client: Server, clock: Clock, *, priority: str = "normal") -> Sent:
    sender, options = Sender(client, "redis://", "channel"), SendOptions(priority=priority)  # type: ignore[arg-type]
    message = sender.message("mill", "a", [1], options)
    sender.send_message("mill", message, options)
    sent = Sent(clock)
    sent.add("a", message)
    clock.now += _SEEK_SECONDS
    return sent


@pytest.mark.parametrize("prefix", ["", "app:"])
@pytest.mark.parametrize("place", PLACES)
def test_a_job_that_is_anywhere_is_not_lost(client: Server, place: Callable[[Server], object], prefix: str) -> None:
    client.prefix = prefix
    clock = Clock()
    sent = _send(client, clock)
    place(client)
    assert sent.lost(client, "mill", ["a", "of others"]) == []


def test_an_urgent_job_is_found(client: Server) -> None:
    clock = Clock()
    sent = _send(client, clock, priority="high")
    assert sent.lost(client, "mill", ["a"]) == []
    _claim(client)
    clock.now += _SEEK_SECONDS
    assert sent.lost(client, "mill", ["a"]) == []


@pytest.mark.parametrize("empty", [Server.flushall, lambda client: client.delete(QUEUE)])
def test_one_that_is_nowhere_is_lost_but_redis_is_not_asked_all_the_time(
    client: Server, empty: Callable[[Server], object]
) -> None:
    clock = Clock()
    sent = _send(client, clock)
    client.lpush(QUEUE, b"another")
    assert sent.lost(client, "mill", ["a"]) == []
    empty(client)
    assert sent.lost(client, "mill", ["a"]) == []
    clock.now += _SEEK_SECONDS
    assert sent.lost(client, "mill", ["a"]) == ["a"]
    clock.now += _SEEK_SECONDS
    sent.forget(["a"])
    assert sent.lost(client, "mill", ["a"]) == []
