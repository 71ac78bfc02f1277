"""Dead letters: what was put aside can be seen, sent again, deleted."""

import time
from typing import Any

import pytest
from celery import Celery

from headrace.broker.app import INFER
from headrace.broker.claims import Claims
from headrace.broker.connection import Server
from headrace.broker.dead import DeadLetters, read
from headrace.broker.sender import Sender
from headrace.errors import AttemptsExhausted
from tests.utils.jobs import waiting


@pytest.fixture
def letters(client: Server) -> DeadLetters:
    return DeadLetters(client)


def _bury(client: Server, *payloads: bytes, model: str = "mill", why: str = "no message") -> None:
    claims = Claims(client, lease_seconds=60)
    claims.begin()
    for payload in payloads:
        client.lpush(INFER + model, payload)
        claims.bury(*claims.claim({INFER + model: 1}), model=model, why=why)


def _buried_job(app: Celery, client: Server, value: Any = "a") -> str:
    """Put a job aside, with its failure; return its id."""
    job_id = Sender(client, "redis://h", "channel").send("mill", value)
    message: Any = client.rpop("infer.mill")
    _bury(client, message, why="3 workers died")
    app.backend.store_result(job_id, AttemptsExhausted("3 workers died"), "FAILURE")
    return job_id


def test_each_tells_its_job_and_why_it_is_here(app: Celery, client: Server, letters: DeadLetters) -> None:
    _bury(client, b"no JSON")
    job_id = _buried_job(app, client)
    _bury(client, b"[1]", model="weir")
    assert letters.models() == ["mill", "weir"]
    told = [(letter.job_id, letter.reason) for letter in letters.of("mill")]
    assert told == [(None, "no message"), (job_id, "3 workers died")]
    client.delete(f"celery-task-meta-{job_id}")
    assert [letter.reason for letter in letters.of("mill")] == ["no message", "3 workers died"]
    found = letters.find(job_id)
    assert found is not None
    assert found.model == "mill"
    assert letters.find("another") is None
    assert found.since is not None
    assert 0 <= time.time() - found.since < 60
    assert (letters.has("mill"), letters.has("another")) == (True, False)
    nameless = next(letters.of("weir"))
    assert len(nameless.name) == 12
    assert letters.find(nameless.name) == nameless


def test_a_reason_of_an_older_version_has_no_time(client: Server, letters: DeadLetters) -> None:
    _bury(client, b"a", why="told\nin two lines")
    (letter,) = letters.of("mill")
    assert letter.reason == "told\nin two lines"
    client.hset("headrace:dead:mill", letter.digest, "12 workers\ndied")
    (letter,) = letters.of("mill")
    assert (letter.since, letter.reason) == (None, "12 workers\ndied")


def test_many_come_oldest_first(client: Server, letters: DeadLetters) -> None:
    payloads = [str(each).encode() for each in range(250)]
    _bury(client, *payloads)
    assert [letter.payload for letter in letters.of("mill")] == payloads


def test_one_that_is_sent_again_is_a_job_again(app: Celery, client: Server, letters: DeadLetters) -> None:
    job_id = _buried_job(app, client, {"text": "a"})
    (letter,) = letters.of("mill")
    assert letters.retry(letter)
    assert not letters.retry(letter)
    (message,) = waiting(client, "infer.mill")
    assert (message.id, message.args) == (job_id, [{"text": "a"}])
    assert not client.exists("dead.mill", "headrace:dead:mill", f"celery-task-meta-{job_id}")


def test_purging_deletes_those_of_one_model(client: Server, letters: DeadLetters) -> None:
    _bury(client, b"a", b"b")
    _bury(client, b"c", model="weir")
    assert letters.purge("mill") == 2
    assert letters.purge("mill") == 0
    assert letters.models() == ["weir"]
    assert not client.exists("headrace:dead:mill")


def test_a_message_is_shown_as_far_as_it_can_be_read(app: Celery, client: Server, letters: DeadLetters) -> None:
    job_id = _buried_job(app, client, {"text": "a"})
    (letter,) = letters.of("mill")
    shown = read(letter.payload)
    assert shown["headers"]["id"] == job_id
    assert shown["body"][0] == [{"text": "a"}]
    assert read(b"\xff no JSON") == "\\xff no JSON"
    assert read(b'{"body": "no base64!"}') == {"body": "no base64!"}
