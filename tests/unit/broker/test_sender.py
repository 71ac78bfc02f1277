"""Sender: an ordinary Celery message with the headers that our client wants its answer by."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from celery import Celery

from headrace.broker.results import DEADLINE_HEADER, NOTIFY_HEADER, PACKED, REPLY_HEADER
from headrace.broker.sender import Sender
from headrace.errors import BrokerUnavailable
from tests.utils.jobs import Message, waiting

CHANNEL = "headrace:notify:test"


@pytest.fixture
def sender(app: Celery, client: redis.Redis) -> Sender:
    return Sender(app, "redis://:secret@host:6379/0", CHANNEL)


def _only(client: redis.Redis) -> Message:
    (message,) = waiting(client, "infer.mill")
    return message


def test_a_job_lies_in_its_models_queue(sender: Sender, client: redis.Redis) -> None:
    job_id = sender.send("mill", {"text": "a"}, params={"top": 3})
    message = _only(client)
    assert message.id == job_id
    assert message.headers["task"] == "infer.mill"
    assert (message.args, message.kwargs) == ([{"text": "a"}], {"top": 3})
    assert message.headers[REPLY_HEADER] == PACKED
    assert message.headers[NOTIFY_HEADER] == CHANNEL


def test_a_list_is_one_job(sender: Sender, client: redis.Redis) -> None:
    sender.send("mill", [1, 2, 3], params=None)
    assert (_only(client).args, _only(client).kwargs) == ([[1, 2, 3]], {})


def test_jobs_are_taken_in_the_order_in_which_they_were_sent(sender: Sender, client: redis.Redis) -> None:
    job_ids = [sender.send("mill", each, params=None) for each in range(5)]
    assert [message.id for message in waiting(client, "infer.mill")] == job_ids


def test_without_limits_a_job_waits_for_ever(sender: Sender, client: redis.Redis) -> None:
    sender.send("mill", 1, params=None)
    assert DEADLINE_HEADER not in _only(client).headers
    assert _only(client).headers["expires"] is None


@pytest.mark.parametrize("seconds", [0, 0.5, 60])
def test_limits_become_points_in_time(sender: Sender, client: redis.Redis, seconds: float) -> None:
    before = time.time()
    sender.send("mill", 1, params=None, expires=seconds, deadline=seconds)
    headers, after = _only(client).headers, time.time()
    assert before + seconds <= headers[DEADLINE_HEADER] <= after + seconds
    expires = datetime.fromisoformat(headers["expires"]).astimezone(UTC).timestamp()
    assert before - 0.001 <= expires - seconds <= after


@pytest.mark.parametrize(
    ("inputs", "shown"),
    [({"text": "private"}, "<1 input>"), (["private"], "<1 input>"), (["private"] * 3, "<3 inputs>")],
)
def test_headers_tell_how_much_and_not_what(sender: Sender, client: redis.Redis, inputs: Any, shown: str) -> None:
    sender.send("mill", inputs, params={"key": "private"})
    headers = _only(client).headers
    assert (headers["argsrepr"], headers["kwargsrepr"]) == (shown, "<1 params>")
    assert "private" not in str(headers)


def test_a_full_redis_is_reported_without_the_password(sender: Sender, client: redis.Redis) -> None:
    client.config_set("maxmemory", "1")
    try:
        with pytest.raises(BrokerUnavailable, match=r"does not take the job.*maxmemory") as caught:
            sender.send("mill", 1, params=None)
    finally:
        client.config_set("maxmemory", "0")
    assert "secret" not in str(caught.value)
    assert client.llen("infer.mill") == 0
