"""Sender: an ordinary Celery message with the headers that our client wants its answer by."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from celery import Celery

from headrace.broker.results import DEADLINE_HEADER, NOTIFY_HEADER, PACKED, REPLY_HEADER
from headrace.broker.sender import Sender, SendOptions
from headrace.errors import BrokerUnavailable, InvalidInput, QueueFull
from tests.utils.jobs import Message, waiting
from tests.utils.waiting import wait_until

CHANNEL = "headrace:notify:test"


@pytest.fixture
def sender(app: Celery, client: redis.Redis) -> Sender:
    return Sender(client, "redis://:secret@host:6379/0", CHANNEL)


def _only(client: redis.Redis) -> Message:
    (message,) = waiting(client, "infer.mill")
    return message


def test_a_job_lies_in_its_models_queue(sender: Sender, client: redis.Redis) -> None:
    job_id = sender.send("mill", {"text": "a"}, SendOptions(params={"top": 3}))
    message = _only(client)
    assert message.id == job_id
    assert message.headers["task"] == "infer.mill"
    assert (message.args, message.kwargs) == ([{"text": "a"}], {"top": 3})
    assert message.headers[REPLY_HEADER] == PACKED
    assert message.headers[NOTIFY_HEADER] == CHANNEL


def test_a_list_is_one_job(sender: Sender, client: redis.Redis) -> None:
    sender.send("mill", [1, 2, 3])
    assert (_only(client).args, _only(client).kwargs) == ([[1, 2, 3]], {})


def test_jobs_are_taken_in_the_order_in_which_they_were_sent(sender: Sender, client: redis.Redis) -> None:
    job_ids = [sender.send("mill", each) for each in range(5)]
    assert [message.id for message in waiting(client, "infer.mill")] == job_ids


def test_without_limits_a_job_waits_for_ever(sender: Sender, client: redis.Redis) -> None:
    sender.send("mill", 1)
    assert DEADLINE_HEADER not in _only(client).headers
    assert _only(client).headers["expires"] is None


@pytest.mark.parametrize("seconds", [0, 0.5, 60])
def test_limits_become_points_in_time(sender: Sender, client: redis.Redis, seconds: float) -> None:
    before = time.time()
    sender.send("mill", 1, SendOptions(expires=seconds, deadline=seconds))
    headers, after = _only(client).headers, time.time()
    assert before + seconds <= headers[DEADLINE_HEADER] <= after + seconds
    expires = datetime.fromisoformat(headers["expires"]).astimezone(UTC).timestamp()
    assert before - 0.001 <= expires - seconds <= after


@pytest.mark.parametrize(
    ("inputs", "shown"),
    [({"text": "private"}, "<1 input>"), (["private"], "<1 input>"), (["private"] * 3, "<3 inputs>")],
)
def test_headers_tell_how_much_and_not_what(sender: Sender, client: redis.Redis, inputs: Any, shown: str) -> None:
    sender.send("mill", inputs, SendOptions(params={"key": "private"}))
    headers = _only(client).headers
    assert (headers["argsrepr"], headers["kwargsrepr"]) == (shown, "<1 params>")
    assert "private" not in str(headers)


def test_a_full_redis_is_reported_without_the_password(sender: Sender, client: redis.Redis) -> None:
    client.config_set("maxmemory", "1")
    try:
        with pytest.raises(BrokerUnavailable, match=r"does not take the job.*maxmemory") as caught:
            sender.send("mill", 1)
    finally:
        client.config_set("maxmemory", "0")
    assert "secret" not in str(caught.value)
    assert client.llen("infer.mill") == 0


def test_many_jobs_go_in_few_calls_and_stay_in_order(sender: Sender, client: redis.Redis) -> None:
    client.config_resetstat()
    job_ids = sender.send_many("mill", list(range(1200)), SendOptions())
    assert [message.id for message in waiting(client, "infer.mill")] == job_ids
    stats: Any = client.info("commandstats")
    assert stats["cmdstat_evalsha"]["calls"] <= 4  # one is of an unknown script


def test_large_jobs_go_in_more_calls(sender: Sender, client: redis.Redis) -> None:
    assert len(sender.send_many("mill", ["x" * 3_000_000] * 5, SendOptions())) == client.llen("infer.mill") == 5


@pytest.mark.parametrize("priority", ["high", "low"])
def test_urgency_is_a_list_of_its_own(sender: Sender, client: redis.Redis, priority: Any) -> None:
    sender.send("mill", 1, SendOptions(priority=priority))
    assert client.llen(f"infer.mill.{priority}") == 1
    assert client.llen("infer.mill") == 0


@pytest.mark.parametrize("value", [object(), float, 2**70, "\ud800"])
def test_what_is_no_json_is_refused(sender: Sender, client: redis.Redis, value: Any) -> None:
    with pytest.raises(InvalidInput, match="not JSON"):
        sender.send("mill", 1, SendOptions(params={"a": value}))
    assert client.llen("infer.mill") == 0


@pytest.mark.parametrize(
    "options", [SendOptions(expires=1e20), SendOptions(expires=float("nan")), SendOptions(deadline=float("inf"))]
)
def test_a_time_that_is_none_is_refused(sender: Sender, client: redis.Redis, options: SendOptions) -> None:
    with pytest.raises(InvalidInput, match=r"expires|deadline"):
        sender.send("mill", 1, options)
    assert client.llen("infer.mill") == 0


class TestQueueSize:
    @pytest.fixture
    def bounded(self, client: redis.Redis) -> Sender:
        return Sender(client, "redis://h", CHANNEL, max_queue_size=3)

    def test_more_than_may_wait_are_refused_with_the_depth(self, bounded: Sender, client: redis.Redis) -> None:
        bounded.send("mill", 1, SendOptions(priority="high"))
        bounded.send_many("mill", [1, 2], SendOptions())
        with pytest.raises(QueueFull, match="3 jobs of mill wait, and 3 may"):
            bounded.send("mill", 1, SendOptions(priority="low"))
        bounded.send("weir", 1)
        client.rpop("infer.mill")
        bounded.send("mill", 1)

    def test_more_than_may_ever_wait_are_refused_with_what_to_do(self, bounded: Sender, client: redis.Redis) -> None:
        with pytest.raises(QueueFull, match=r"4 jobs are more than may wait \(3, max_queue_size\): send fewer"):
            bounded.send_many("mill", [1, 2, 3, 4], SendOptions())
        assert client.llen("infer.mill") == 0

    def test_a_call_queues_all_or_none(self, bounded: Sender, client: redis.Redis) -> None:
        bounded.send("mill", 1)
        with pytest.raises(QueueFull, match="1 jobs of mill wait"):
            bounded.send_many("mill", [1, 2, 3], SendOptions())
        assert client.llen("infer.mill") == 1

    def test_what_was_queued_before_it_was_full_is_named(
        self, bounded: Sender, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("headrace.broker.sender._MOST_MESSAGES", 2)
        bounded.send("mill", 1)
        with pytest.raises(QueueFull) as caught:
            bounded.send_many("mill", [1, 2, 3], SendOptions())
        assert len(caught.value.job_ids) == 2
        assert client.llen("infer.mill") == 3


class TestIdempotency:
    def test_the_second_job_under_a_key_is_the_first(self, sender: Sender, client: redis.Redis) -> None:
        first = sender.send("mill", 1, idempotency_key="order 7")
        assert sender.send("mill", 2, idempotency_key="order 7") == first
        assert client.llen("infer.mill") == 1

    def test_other_keys_and_other_models_are_other_jobs(self, sender: Sender, client: redis.Redis) -> None:
        ids = {sender.send("mill", 1, idempotency_key=key) for key in ("a", "b", "\n")}
        ids.add(sender.send("weir", 1, idempotency_key="a"))
        ids.add(sender.send("mill", 1))
        assert len(ids) == 5

    def test_the_key_is_free_again_after_the_window(self, client: redis.Redis) -> None:
        sender = Sender(client, "redis://h", CHANNEL, idempotency_window=1)
        first = sender.send("mill", 1, idempotency_key="a")
        wait_until(lambda: sender.send("mill", 1, idempotency_key="a") != first, 5)

    def test_of_many_at_once_one_is_queued(self, sender: Sender, client: redis.Redis) -> None:
        with ThreadPoolExecutor(8) as threads:
            ids = set(threads.map(lambda _: sender.send("mill", 1, idempotency_key="a"), range(50)))
        assert len(ids) == client.llen("infer.mill") == 1

    def test_a_full_redis_keeps_neither_key_nor_job(self, sender: Sender, client: redis.Redis) -> None:
        client.config_set("maxmemory", "1")
        try:
            with pytest.raises(BrokerUnavailable):
                sender.send("mill", 1, idempotency_key="a")
        finally:
            client.config_set("maxmemory", "0")
        assert client.keys("headrace:idempotency:*") == []
