"""Sender: an ordinary Celery message with the headers that our client wants its answer by."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from celery.app.task import Context

from headrace.broker.connection import Server, connect
from headrace.broker.options import SendOptions
from headrace.broker.results import DEADLINE_HEADER, NOTIFY_HEADER, PACKED, REPLY_HEADER
from headrace.broker.revocations import revoke
from headrace.broker.sender import Sender
from headrace.errors import BrokerUnavailable, InvalidInput, QueueFull
from headrace.settings import Settings
from tests.utils.jobs import Message, waiting
from tests.utils.servers import unguarded
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
        with pytest.raises(BrokerUnavailable, match=r"does not take the job: it is full: free .*maxmemory") as caught:
            sender.send("mill", 1)
    finally:
        client.config_set("maxmemory", "0")
    assert not any(word in str(caught.value) for word in ("secret", "script", "OOM"))


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


def test_a_date_that_is_none_is_refused(sender: Sender, client: redis.Redis) -> None:
    with pytest.raises(InvalidInput, match="expires in 1e\\+20 s"):
        sender.send("mill", 1, SendOptions(expires=1e20))
    assert client.llen("infer.mill") == 0


def test_a_redis_that_is_silent_may_have_the_job(settings: Settings, tmp_path: Path) -> None:
    with unguarded(tmp_path) as (url, server), connect(url, settings, timeout=0.2) as client:
        sender = Sender(client, "redis://:secret@host", CHANNEL)
        sender.send("mill", 1)
        server.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(BrokerUnavailable, match=r"may have queued it.*same idempotency_key") as caught:
                sender.send("mill", 2, idempotency_key="a")
        finally:
            server.send_signal(signal.SIGCONT)
        wait_until(lambda: client.llen("infer.mill") == 2)
        sender.send("mill", 2, idempotency_key="a")
        assert client.llen("infer.mill") == 2
    assert "secret" not in str(caught.value)


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

    @pytest.mark.parametrize("state", ["FAILURE", "REVOKED"])
    @pytest.mark.parametrize("packed", [True, False])
    def test_a_job_without_an_output_frees_its_key(
        self, app: Celery, sender: Sender, client: redis.Redis, state: str, *, packed: bool
    ) -> None:
        first = sender.send("mill", 1, idempotency_key="a")
        headers = {"id": first} | ({REPLY_HEADER: PACKED} if packed else {})
        app.backend.store_result(first, ValueError("no"), state, request=Context(headers))
        second = sender.send("mill", 1, idempotency_key="a")
        assert second != first
        assert sender.send("mill", 1, idempotency_key="a") == second
        assert client.llen("infer.mill") == 2

    @pytest.mark.parametrize("state", ["SUCCESS", "STARTED", "RETRY"])
    def test_a_job_that_has_or_may_have_an_output_keeps_it(self, app: Celery, sender: Sender, state: str) -> None:
        first = sender.send("mill", 1, idempotency_key="a")
        app.backend.store_result(first, "FAILURE", state)
        assert sender.send("mill", 1, idempotency_key="a") == first

    def test_a_job_that_was_cancelled_frees_its_key_unless_it_has_an_output(
        self, app: Celery, sender: Sender, client: Server
    ) -> None:
        done, cancelled = (sender.send("mill", 1, idempotency_key=key) for key in "ab")
        app.backend.store_result(done, 1, "SUCCESS")
        revoke(client, [done, cancelled], keep=60)
        assert sender.send("mill", 1, idempotency_key="a") == done
        assert sender.send("mill", 1, idempotency_key="b") != cancelled

    def test_of_many_at_once_after_a_failure_one_is_queued(
        self, app: Celery, sender: Sender, client: redis.Redis
    ) -> None:
        first = sender.send("mill", 1, idempotency_key="a")
        app.backend.store_result(first, ValueError("no"), "FAILURE")
        with ThreadPoolExecutor(8) as threads:
            ids = set(threads.map(lambda _: sender.send("mill", 1, idempotency_key="a"), range(50)))
        assert len(ids) == 1
        assert client.llen("infer.mill") == 2

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
