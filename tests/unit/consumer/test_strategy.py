"""Messages that Celery itself can make nothing of: each fails alone, and none ends the worker."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import Celery, signature
from celery.worker import state

from headrace.broker.app import INFER
from headrace.broker.marks import ATTEMPTS
from headrace.broker.reaper import Reaper
from headrace.broker.results import LOST_HEADER
from headrace.broker.revocations import revoke
from headrace.consumer.strategy import JobConsumer, NoJob, fenced
from headrace.errors import InvalidInput, UnknownModel
from tests.utils.requests import Desk
from tests.utils.waiting import wait_until

BODY = [["a"], {}, {}]


def _consumer(desk: Desk, on_task_request: Callable[[Any], None]) -> Any:
    return SimpleNamespace(
        app=desk.app, hostname="tests", connection_errors=(ConnectionError,), event_dispatcher=desk.events,
        timer=SimpleNamespace(call_at=lambda _eta, call, args, priority: call(*args)),
        qos=SimpleNamespace(increment_eventually=lambda: None), apply_eta_task=on_task_request,
        disable_rate_limits=True, task_buckets={},
        on_task_request=on_task_request, _limit_task=None, _limit_post_eta=None,
        pool=SimpleNamespace(apply_async=lambda *_args, **_options: None),
        controller=SimpleNamespace(state=state),
    )  # fmt: skip


def _execute(request: Any) -> None:
    request.execute_using_pool(None)


def _take(desk: Desk, message: Any, on_task_request: Callable[[Any], None] = _execute) -> None:
    task = desk.app.tasks[message.headers["task"]]
    strategy = fenced(task, desk.app, _consumer(desk, on_task_request))
    strategy(message, None, message.ack_log_error, message.reject_log_error, [])


def _raising(error: Exception) -> Callable[[Any], None]:
    def take(_: Any) -> None:
        raise error

    return take


def test_a_message_that_can_be_read_goes_on_to_the_pool(desk: Desk) -> None:
    taken: list[Any] = []
    job_id = desk.publish(BODY)
    _take(desk, desk.message(), taken.append)
    assert [request.id for request in taken] == [job_id]
    assert desk.unacked == 1


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (5, {}),
        (None, {}),
        (BODY, {"timelimit": ["x"]}),
        (BODY, {"timelimit": 7}),
        (BODY, {"eta": "tomorrow"}),
        (BODY, {"expires": {"at": 1}}),
    ],
)
def test_what_cannot_be_read_is_a_failure_and_no_job(desk: Desk, body: Any, headers: dict[str, Any]) -> None:
    job_id = desk.publish(body, **headers)
    with pytest.raises(NoJob, match="cannot be read"):
        _take(desk, desk.message())
    meta = desk.meta(job_id)
    assert meta["status"] == "FAILURE"
    assert "cannot be read" in str(meta["result"])
    assert desk.unacked == 1


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"eta": "tomorrow"}, "its eta is 'tomorrow', which is no date"),
        ({"eta": 5}, "its eta is 5, which is no date"),
        ({"expires": {"at": 1}}, "its expires is {'at': 1}, which is no date"),
        ({"timelimit": ["x"]}, "protocol 2"),
    ],
)
def test_the_sender_is_told_what_is_wrong(desk: Desk, headers: dict[str, Any], told: str) -> None:
    job_id = desk.publish(BODY, **headers)
    with pytest.raises(NoJob) as refused:
        _take(desk, desk.message())
    assert told in str(refused.value)
    assert str(desk.meta(job_id)["result"]) == str(refused.value)


@pytest.mark.parametrize(
    ("serializer", "alias"), [("pickle", "python-serialize"), ("yaml", "yaml"), ("msgpack", "msgpack")]
)
def test_the_sender_of_another_serializer_is_told_to_use_json(desk: Desk, serializer: str, alias: str) -> None:
    job_id = desk.send("a", serializer=serializer)
    with pytest.raises(NoJob, match=f"its body is .*{alias}: send it with serializer='json'"):
        _take(desk, desk.message())
    assert isinstance(desk.meta(job_id)["result"], InvalidInput)


class TestUnknownTask:
    """The consumer's own part of it needs no connection."""

    @staticmethod
    def _refuse(desk: Desk, message: Any) -> None:
        consumer: Any = SimpleNamespace(app=desk.app)
        JobConsumer.on_unknown_task(consumer, None, message, KeyError())

    def test_it_is_a_failure_that_names_task_and_queue(self, desk: Desk) -> None:
        job_id = desk.publish(BODY, task="infer.nosuch")
        with pytest.raises(NoJob, match=r"queue infer\.m has a job of the task 'infer\.nosuch'.*headrace models"):
            self._refuse(desk, desk.message())
        assert isinstance(desk.meta(job_id)["result"], UnknownModel)

    def test_one_of_the_first_protocol_is_too(self, desk: Desk) -> None:
        message: Any = SimpleNamespace(
            headers={}, payload={"id": "first", "task": "add"}, delivery_info={"routing_key": "infer.m"}
        )
        with pytest.raises(NoJob, match="'add'"):
            self._refuse(desk, message)
        assert desk.meta("first")["status"] == "FAILURE"


def test_a_message_without_an_id_is_told_to_be_none_and_answers_nobody(desk: Desk) -> None:
    job_id = desk.publish(BODY)
    message = desk.message()
    del message.headers["id"]
    with pytest.raises(NoJob):
        _take(desk, message, _raising(KeyError("id")))
    assert desk.meta(job_id)["status"] == "PENDING"
    assert not desk.redis.keys("celery-task-meta-*")


def test_a_refusal_that_cannot_be_stored_is_tried_again(desk: Desk) -> None:
    desk.publish(5)
    message = desk.message()
    desk.redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(redis.ResponseError, match="OOM"):
            _take(desk, message)
    finally:
        desk.redis.config_set("maxmemory", "0")
    assert desk.unacked == 1


def test_a_lost_connection_is_the_consumers_business(desk: Desk) -> None:
    desk.publish(BODY)
    with pytest.raises(ConnectionResetError):
        _take(desk, desk.message(), _raising(ConnectionResetError()))
    assert desk.unacked == 1


def test_workers_take_infer_tasks_by_it(app: Celery) -> None:
    assert app.tasks[INFER + "m"].Strategy == f"{fenced.__module__}:{fenced.__name__}"


def test_a_job_that_has_killed_too_many_workers_is_none_any_more(desk: Desk) -> None:
    desk.app.conf.headrace_max_attempts = 2
    job_id = desk.publish(BODY, **{LOST_HEADER: ["cpu0@a 1700000000", "cpu1@b 1700000060"]})
    message = desk.message()
    message.headers[LOST_HEADER] = ["cpu0@a 1700000000", "cpu1@b 1700000060"]
    with pytest.raises(NoJob):
        _take(desk, message)
    told = str(desk.meta(job_id)["result"])
    assert "2 workers died" in told
    assert "cpu0@a by 2023-11-14 22:13:20 UTC, cpu1@b by 2023-11-14 22:14:20 UTC" in told


def test_what_a_producer_says_of_lost_attempts_is_not_believed(desk: Desk) -> None:
    desk.publish(BODY, **{LOST_HEADER: ["me 1"] * 9})
    assert LOST_HEADER not in desk.message().headers


def test_a_job_that_was_revoked_before_the_worker_started_does_not_run(desk: Desk) -> None:
    job_id = desk.publish(BODY)
    revoke(desk.redis, [job_id], keep=60)
    taken: list[Any] = []
    _take(desk, desk.message(), taken.append)
    assert taken == []
    assert desk.meta(job_id)["status"] == "REVOKED"
    assert desk.unacked == 0


def test_a_chain_and_errbacks_hear_of_a_job_that_has_killed_too_many_workers(desk: Desk) -> None:
    errback = signature("infer.other", args=["failed"], immutable=True)
    last = signature("infer.other", args=["next"], options={"task_id": "last"})
    desk.publish([["a"], {}, {"errbacks": [errback], "chain": [last]}])
    message = desk.message()
    message.headers[LOST_HEADER] = ["cpu0@a 1700000000"] * 9
    with pytest.raises(NoJob):
        _take(desk, message)
    assert desk.meta("last")["status"] == "FAILURE"
    assert desk.redis.llen("infer.other") == 1


@pytest.mark.parametrize("job_id", [None, True, 5, ["a"]])
def test_a_message_whose_id_is_no_text_is_put_aside_and_holds_up_no_other(desk: Desk, job_id: Any) -> None:
    desk.redis.hset(ATTEMPTS, "somebody", "cpu0@a 1")
    desk.publish(BODY, id=job_id)
    good = desk.publish(BODY)
    with pytest.raises(AssertionError, match="is empty"):
        desk.message()
    assert desk.redis.llen("dead.m") == 1
    assert desk.message().headers["id"] == good


def test_more_countdowns_than_a_worker_may_hold_wait_in_redis(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.consumer.strategy.COUNTDOWNS", 0)
    taken: list[Any] = []
    job_id = desk.send("a", countdown=1.0)
    _take(desk, desk.message(), taken.append)
    assert (taken, desk.unacked, desk.redis.zcard("headrace:delayed")) == ([], 0, 1)
    wait_until(Reaper(desk.redis, lease_seconds=60).wake, 5)
    _take(desk, desk.message(), taken.append)
    assert [request.id for request in taken] == [job_id]
