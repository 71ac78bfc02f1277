"""Settling: Celery stores and tells the outcome, and only then the message is acknowledged."""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from celery import signature
from celery.app.task import Context
from celery.states import EXCEPTION_STATES
from celery.worker import state
from redis.backoff import NoBackoff
from redis.retry import Retry

from headrace.broker.reaper import Reaper
from headrace.broker.results import NOTIFY_HEADER, PACKED, REPLY_HEADER
from headrace.consumer.job import Job
from headrace.consumer.outbox import LOSSES
from headrace.consumer.trace import current_job
from headrace.errors import HeadraceError, InferenceFailed, InvalidInput, JobRevoked, ResultTooLarge
from headrace.sdk.messages import Outcome
from tests.utils.requests import Desk, answer
from tests.utils.waiting import wait_until

pytestmark = pytest.mark.filterwarnings("ignore:Exception raised outside body:RuntimeWarning")  # as Celery tells of it

LINK = signature("infer.other", args=["linked"])
PACKED_REPLY = {REPLY_HEADER: PACKED}
GOOD, BAD = Outcome(output={"text": "a"}), Outcome(error=InferenceFailed("told to"))
REVOKED = Outcome(error=JobRevoked("before it ran"))


@pytest.fixture
def set_memory(desk: Desk) -> Iterator[Callable[[int], object]]:
    """Sets the server's `maxmemory`: with 1 byte it refuses results, with 0 there is no limit."""
    yield lambda limit: desk.redis.config_set("maxmemory", limit)
    desk.redis.config_set("maxmemory", 0)


def test_an_output_is_stored_then_acknowledged_and_told_with_its_batches_seconds(desk: Desk) -> None:
    job = answer(desk.job({"text": "a"}), GOOD)
    job.seconds = 2.5
    assert desk.unacked == 1
    assert desk.settle(job)
    assert (desk.meta(job.request.id)["status"], desk.meta(job.request.id)["result"]) == ("SUCCESS", {"text": "a"})
    assert desk.unacked == 0
    assert job.closed
    kind, fields = desk.events.sent[-1]
    assert (kind, fields["runtime"]) == ("task-succeeded", 2.5)


def test_an_error_is_stored_as_a_failure_of_its_own_class_and_acknowledged(desk: Desk) -> None:
    job = answer(desk.job({"text": "a"}), Outcome(error=InvalidInput("no text")))
    assert desk.settle(job)
    meta = desk.meta(job.request.id)
    assert meta["status"] == "FAILURE"
    assert isinstance(meta["result"], InvalidInput)
    assert str(meta["result"]) == "no text"
    assert desk.unacked == 0
    assert desk.events.kinds[-1] == "task-failed"


def test_the_engines_traceback_is_stored_with_the_error(desk: Desk) -> None:
    error = InferenceFailed("told to")
    error.__cause__ = ValueError("deep in the plugin")
    job = answer(desk.job({"text": "a"}), Outcome(error=error))
    desk.settle(job)
    assert "deep in the plugin" in desk.meta(job.request.id)["traceback"]


def test_a_chunk_succeeds_with_one_row_per_input_in_order(desk: Desk) -> None:
    job = answer(desk.job([1, 2, 3]), GOOD, BAD, GOOD)
    del job.batches[job.item_ids[1]]  # never in a batch
    assert desk.settle(job)
    good = {"ok": True, "output": {"text": "a"}, "batch_size": 3, "seconds": 0.5}
    bad = {"ok": False, "error": {"code": "inference_failed", "message": "told to"}, "batch_size": 0, "seconds": 0.0}
    assert desk.meta(job.request.id)["result"] == [good, bad, good]


def test_outcomes_that_came_out_of_order_are_stored_in_the_order_of_the_inputs(desk: Desk) -> None:
    job = desk.job(["a", "b"])
    first, second = job.hand_over(2)
    job.outcomes[second.item_id] = Outcome(output="b")
    job.outcomes[first.item_id] = Outcome(output="a")
    desk.settle(job)
    assert [row["output"] for row in desk.meta(job.request.id)["result"]] == ["a", "b"]


def test_a_job_revoked_while_it_ran_is_stored_revoked_whatever_its_outcome(desk: Desk) -> None:
    job = answer(desk.job({"text": "a"}), GOOD)
    state.revoked.add(job.request.id)
    assert desk.settle(job)
    assert desk.meta(job.request.id)["status"] == "REVOKED"
    assert desk.unacked == 0
    assert desk.events.sent[-1] == (
        "task-revoked", {"uuid": job.request.id, "terminated": True, "signum": None, "expired": False},
    )  # fmt: skip


def test_a_job_that_expired_before_any_item_ran_is_told_as_expired(desk: Desk) -> None:
    job = answer(desk.job([1, 2], expires=60.0), REVOKED, REVOKED)
    job.request.expires = job.request.expires.replace(year=2000)
    assert desk.settle(job)
    assert desk.meta(job.request.id)["status"] == "REVOKED"
    assert desk.events.sent[-1][1]["expired"]


def test_a_chunk_of_which_something_ran_keeps_what_it_has(desk: Desk) -> None:
    job = answer(desk.job([1, 2]), GOOD, REVOKED)
    assert desk.settle(job)
    assert [row["ok"] for row in desk.meta(job.request.id)["result"]] == [True, False]


def test_what_celerys_terminate_has_announced_is_not_announced_again(desk: Desk) -> None:
    job = desk.job({"text": "a"})
    job.request.announce_revoked(terminated=True)
    assert desk.settle(job)
    assert desk.events.kinds == ["task-revoked"]
    assert desk.unacked == 0


@pytest.mark.parametrize("headers", [{}, {REPLY_HEADER: PACKED}])
def test_a_result_that_redis_refuses_is_not_acknowledged_and_can_be_settled_again(
    desk: Desk, set_memory: Callable[[int], object], headers: dict[str, str]
) -> None:
    job = answer(desk.job({"text": "a"}, headers=headers), GOOD)
    set_memory(1)
    assert not desk.settle(job)
    assert desk.unacked == 1
    set_memory(0)
    assert desk.settle_again()
    assert desk.meta(job.request.id)["result"] == {"text": "a"}
    assert desk.unacked == 0


def test_one_result_that_redis_refuses_holds_up_no_other(desk: Desk) -> None:
    jobs = [answer(desk.job({"text": "a"}), GOOD) for _ in range(3)]
    committed = desk.claims.commit

    def refuse_first(settlements: Any, **options: Any) -> list[str]:
        return ["OOM", *committed(settlements[1:], **options)]

    desk.claims.commit = refuse_first  # type: ignore[method-assign]
    assert not desk.settle(*jobs)
    assert [desk.meta(job.request.id)["status"] for job in jobs] == ["PENDING", "SUCCESS", "SUCCESS"]
    assert desk.unacked == 1
    desk.claims.commit = committed  # type: ignore[method-assign]
    assert desk.settle_again()
    assert desk.events.kinds == ["task-succeeded"] * 3


@pytest.fixture
def small_values(desk: Desk) -> Iterator[None]:
    """A server that closes the connection of whoever sends a value of more than a megabyte."""
    (most,) = desk.redis.config_get("proto-max-bulk-len").values()
    # As the worker's own: it tells at once when a connection is lost.
    desk.redis.set_retry(Retry(NoBackoff(), 0))
    desk.redis.config_set("proto-max-bulk-len", 1 << 20)
    yield
    desk.redis.config_set("proto-max-bulk-len", most)


@pytest.mark.usefixtures("small_values")
@pytest.mark.parametrize("megabytes", [2, 100])
@pytest.mark.parametrize("headers", [{}, PACKED_REPLY])
def test_a_result_for_which_redis_closes_the_connection_fails_and_blocks_no_other(
    desk: Desk, headers: dict[str, str], megabytes: int
) -> None:
    jobs = [answer(desk.job({"text": "a"}, headers=headers), GOOD) for _ in range(3)]
    large = answer(desk.job({"text": "a"}, headers=headers), Outcome(output="x" * (megabytes << 20)))
    desk.settle(jobs[0], large, *jobs[1:])
    wait_until(desk.settle_again)
    assert [desk.meta(job.request.id)["status"] for job in jobs] == ["SUCCESS"] * 3
    meta = desk.meta(large.request.id)
    assert (meta["status"], type(meta["result"])) == ("FAILURE", ResultTooLarge)
    assert f"{megabytes << 20}"[:3] in str(meta["result"])
    assert sorted(desk.events.kinds) == ["task-failed"] + ["task-succeeded"] * 3
    assert desk.unacked == 0


@pytest.mark.usefixtures("small_values")
def test_a_link_for_which_redis_closes_the_connection_fails_its_job_and_blocks_no_other(desk: Desk) -> None:
    errback = signature("infer.faulty", args=["failed"], immutable=True)
    large = desk.job({"text": "a"}, link=LINK, link_error=errback)
    answer(large, Outcome(output="x" * (2 << 20)))
    others = [answer(desk.job({"text": "a"}, link=LINK), GOOD) for _ in range(2)]
    desk.settle(others[0], large, others[1])
    wait_until(desk.settle_again)
    assert [desk.meta(job.request.id)["status"] for job in others] == ["SUCCESS"] * 2
    assert isinstance(desk.meta(large.request.id)["result"], ResultTooLarge)
    assert (desk.redis.llen("infer.other"), desk.redis.llen("infer.faulty")) == (2, 1)
    assert desk.unacked == 0


def test_connections_that_are_lost_while_redis_is_away_fail_no_job(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [answer(desk.job({"text": "a"}), GOOD) for _ in range(2)]
    pool, away = desk.redis.connection_pool, redis.ConnectionPool(port=1)
    monkeypatch.setattr(desk.redis, "connection_pool", away)
    desk.redis.set_retry(Retry(NoBackoff(), 0))
    assert not desk.settle(*jobs)
    assert not any(desk.settle_again() for _ in range(4 * LOSSES))
    monkeypatch.setattr(desk.redis, "connection_pool", pool)
    assert desk.settle_again()
    assert [desk.meta(job.request.id)["status"] for job in jobs] == ["SUCCESS"] * 2


def test_a_group_that_loses_its_connection_a_few_times_succeeds_and_is_told_once(desk: Desk) -> None:
    jobs = [answer(desk.job({"text": "a"}), GOOD) for _ in range(3)]
    committed, losses = desk.claims.commit, iter(range(LOSSES + 1))

    def flaky(*arguments: Any, **options: Any) -> list[str]:
        answers = committed(*arguments, **options)
        if next(losses, None) is not None:
            raise redis.ConnectionError
        return answers

    desk.claims.commit = flaky  # type: ignore[method-assign]
    desk.settle(*jobs)
    wait_until(desk.settle_again)
    assert [desk.meta(job.request.id)["status"] for job in jobs] == ["SUCCESS"] * 3
    assert desk.events.kinds == ["task-succeeded"] * 3


def test_a_commit_whose_answer_was_lost_is_told_once(desk: Desk) -> None:
    job = answer(desk.job({"text": "a"}), GOOD)
    committed = desk.claims.commit

    def deaf(*arguments: Any, **options: Any) -> list[str]:
        committed(*arguments, **options)
        raise redis.TimeoutError

    desk.claims.commit = deaf  # type: ignore[method-assign]
    assert not desk.settle(job)
    desk.claims.commit = committed  # type: ignore[method-assign]
    assert desk.settle_again()
    assert desk.events.kinds == ["task-succeeded"]


@pytest.mark.parametrize("options", [{}, {"link": LINK}, {"headers": PACKED_REPLY}])
def test_a_worker_that_was_taken_for_dead_changes_and_publishes_nothing(desk: Desk, options: dict[str, Any]) -> None:
    job = answer(desk.job({"text": "a"}, **options), GOOD)
    desk.claims.end()
    wait_until(Reaper(desk.redis, lease_seconds=0.001).reap, 5)
    over: list[Job] = []
    desk.settler.settle([job], over.append)
    assert over == [job]
    assert desk.meta(job.request.id)["status"] == "PENDING"
    assert desk.redis.llen("infer.m") == 1
    assert desk.redis.llen("infer.other") == 0
    assert desk.events.sent == []


def test_links_and_chains_are_sent_once_however_often_the_result_is_refused(
    desk: Desk, set_memory: Callable[[int], object]
) -> None:
    job = answer(desk.job({"text": "a"}, link=LINK), GOOD)
    committed = desk.claims.commit

    def full(*_: Any, **__: Any) -> list[str]:
        raise redis.OutOfMemoryError("full")

    desk.claims.commit = full  # type: ignore[method-assign]
    assert not desk.settle(job)
    assert not desk.settle_again()
    desk.claims.commit = committed  # type: ignore[method-assign]
    assert desk.settle_again()
    assert desk.redis.llen("infer.other") == 1
    assert desk.meta(job.request.id)["status"] == "SUCCESS"


def test_a_link_that_cannot_be_sent_is_no_failure_of_its_job(desk: Desk, set_memory: Callable[[int], object]) -> None:
    job = answer(desk.job({"text": "a"}, link=LINK), GOOD)
    set_memory(1)
    assert not desk.settle(job)
    set_memory(0)
    assert desk.meta(job.request.id)["status"] == "PENDING"
    assert desk.settle_again()
    assert desk.meta(job.request.id)["status"] == "SUCCESS"
    assert desk.redis.llen("infer.other") == 1


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ("SUCCESS", "FAILURE", "SUCCESS"), ("FAILURE", "SUCCESS", "FAILURE"), ("REVOKED", "SUCCESS", "REVOKED"),
        ("RETRY", "SUCCESS", "SUCCESS"), ("STARTED", "FAILURE", "FAILURE"), ("SUCCESS", "RETRY", "SUCCESS"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("headers", [{}, {REPLY_HEADER: PACKED}])
def test_a_final_state_is_replaced_by_none(
    desk: Desk, headers: dict[str, str], first: str, second: str, kept: str
) -> None:
    for each in (first, second):
        result = ValueError(each) if each in EXCEPTION_STATES else None
        desk.app.backend.store_result("id", result, each, request=Context(headers, children=[]))
    assert desk.meta("id")["status"] == kept


def test_outcomes_that_are_large_go_in_several_calls(desk: Desk) -> None:
    jobs = [answer(desk.job("a"), Outcome(output="x" * 5_000_000)) for _ in range(3)]
    desk.redis.config_resetstat()
    assert desk.settle(*jobs)
    stats: Any = desk.redis.info("commandstats")
    assert stats["cmdstat_evalsha"]["calls"] >= 2
    assert [desk.meta(job.request.id)["status"] for job in jobs] == ["SUCCESS"] * 3


def test_a_failure_that_its_sender_wants_no_result_of_is_acknowledged_without_one(desk: Desk) -> None:
    job = answer(desk.job({"text": "a"}, ignore_result=True), BAD)
    assert desk.settle(job)
    assert desk.meta(job.request.id)["status"] == "PENDING"
    assert desk.unacked == 0


def test_a_key_that_holds_something_else_is_replaced(desk: Desk) -> None:
    job = answer(desk.job({"text": "a"}), GOOD)
    desk.redis.rpush(f"celery-task-meta-{job.request.id}", "no result")
    assert desk.settle(job)
    assert desk.meta(job.request.id)["status"] == "SUCCESS"


def test_a_message_under_an_id_that_is_no_key_is_put_aside_and_holds_up_no_other(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.publish([[{"text": "a"}], {}, {}], id="\ud800")
    with caplog.at_level(logging.ERROR), pytest.raises(AssertionError, match="is empty"):
        desk.parsed()
    job = answer(desk.job({"text": "a"}), GOOD)
    assert desk.settle(job)
    assert desk.meta(job.request.id)["status"] == "SUCCESS"
    assert "ud800" in caplog.text
    assert desk.redis.llen("dead.m") == 1
    assert desk.unacked == 0


@pytest.mark.parametrize("error", [TypeError("a header"), redis.DataError("a header"), KeyError("args")])
def test_what_can_never_be_settled_is_a_failure_that_says_so(desk: Desk, error: Exception) -> None:
    job = answer(desk.job({"text": "a"}), GOOD)
    job.trace = _raising(error)
    assert desk.settle(job)
    meta = desk.meta(job.request.id)
    assert meta["status"] == "FAILURE"
    assert f"{type(error).__name__}: " in str(meta["result"])
    assert desk.unacked == 0


@pytest.mark.parametrize("error", [redis.ConnectionError(), redis.BusyLoadingError(), ConnectionResetError()])
def test_what_redis_may_take_later_is_settled_again(desk: Desk, error: Exception) -> None:
    job = answer(desk.job({"text": "a"}), GOOD)
    job.trace = _raising(error)
    assert not desk.settle(job)
    assert desk.meta(job.request.id)["status"] == "PENDING"
    assert desk.unacked == 1


def test_behind_what_cannot_be_sent_the_rest_keeps_its_turn_and_what_was_sent_is_committed(desk: Desk) -> None:
    first, stuck, last = (answer(desk.job({"text": "a"}, link=LINK), GOOD) for _ in range(3))
    stuck.trace, trace = _raising(ConnectionResetError()), stuck.trace
    assert not desk.settle(first, stuck, last)
    assert desk.redis.llen("infer.other") == 1
    assert not desk.settle_again()
    assert [desk.meta(job.request.id)["status"] for job in (first, stuck, last)] == ["SUCCESS", "PENDING", "PENDING"]
    stuck.trace = trace
    assert desk.settle_again()
    sent = [json.loads(each)["headers"]["parent_id"] for each in reversed(desk.redis.lrange("infer.other", 0, -1))]
    assert sent == [job.request.id for job in (first, stuck, last)]


def _raising(error: Exception) -> Callable[..., Any]:
    def trace(*_: object) -> None:
        raise error

    return trace


def test_a_notify_channel_that_is_none_does_not_undo_a_result(desk: Desk) -> None:
    job = answer(desk.job("a", headers={REPLY_HEADER: PACKED, NOTIFY_HEADER: {"a": 1}}), GOOD)
    assert desk.settle(job)
    assert desk.meta(job.request.id)["status"] == "SUCCESS"
    assert desk.unacked == 0


def test_there_is_no_current_job_outside_of_settling(desk: Desk) -> None:
    desk.settle(answer(desk.job({"text": "a"}), BAD))
    with pytest.raises(HeadraceError, match="headrace worker"):
        current_job()


def test_a_retry_that_a_full_redis_refuses_is_sent_once_there_is_room(
    desk: Desk, set_memory: Callable[[int], object]
) -> None:
    job = answer(desk.job({"text": "a"}), Outcome(error=_retryable()))
    set_memory(1)
    assert not desk.settle(job)
    set_memory(0)
    assert desk.settle_again()
    assert desk.meta(job.request.id)["status"] == "RETRY"
    assert (desk.redis.llen("infer.m"), desk.unacked) == (1, 0)


def test_a_retry_that_can_never_be_sent_is_a_failure_that_says_so(desk: Desk) -> None:
    job = answer(desk.job({"text": "a"}), Outcome(error=_retryable()))
    desk.redis.set("infer.m", "no list")
    assert desk.settle(job)
    meta = desk.meta(job.request.id)
    assert meta["status"] == "FAILURE"
    assert "sent on" in str(meta["result"])
    assert desk.unacked == 0


def _retryable() -> HeadraceError:
    error = InferenceFailed("come again")
    error.retryable = True
    return error


def test_a_link_that_can_never_be_sent_fails_its_job_and_holds_up_no_other(desk: Desk) -> None:
    linked, other = answer(desk.job("a", link=LINK), GOOD), answer(desk.job("b"), GOOD)
    desk.redis.set("infer.other", "no list")
    assert desk.settle(linked, other)
    assert [desk.meta(job.request.id)["status"] for job in (linked, other)] == ["FAILURE", "SUCCESS"]
    assert desk.unacked == 0


def test_no_errback_hears_of_a_link_that_waited_for_room(desk: Desk, set_memory: Callable[[int], object]) -> None:
    errback = signature("infer.faulty", args=["failed"], immutable=True)
    job = answer(desk.job({"text": "a"}, link=LINK, link_error=errback), GOOD)
    set_memory(1)
    assert not desk.settle(job)
    set_memory(0)
    assert desk.settle_again()
    assert desk.meta(job.request.id)["status"] == "SUCCESS"
    assert (desk.redis.llen("infer.other"), desk.redis.llen("infer.faulty")) == (1, 0)


def test_a_revoke_that_redis_refuses_is_stored_once_it_takes_it(
    desk: Desk, set_memory: Callable[[int], object]
) -> None:
    chord = signature("infer.other", args=["body"], options={"task_id": "body", "chord_size": 1})
    request = desk.job("a", chord=chord, group_id="group-1").request
    state.revoked.add(request.id)
    set_memory(1)
    request.announce_revoked(terminated=False)
    assert desk.settler.tags == [request.tag]
    assert not request.acknowledged
    set_memory(0)
    assert desk.settle_again()
    assert desk.meta(request.id)["status"] == "REVOKED"
    assert desk.unacked == 0


def test_a_worker_that_was_taken_for_dead_fails_no_chord_by_a_revoke(desk: Desk) -> None:
    chord = signature("infer.other", args=["body"], options={"task_id": "body", "chord_size": 1})
    request = desk.job("a", chord=chord, group_id="group-1").request
    desk.claims.end()
    wait_until(Reaper(desk.redis, lease_seconds=0.001).reap, 5)
    request.announce_revoked(terminated=False)
    assert not desk.settler.busy
    assert (desk.meta(request.id)["status"], desk.meta("body")["status"]) == ("PENDING", "PENDING")


def test_what_a_cold_shutdown_cancels_goes_back_to_its_queue(desk: Desk) -> None:
    request = desk.job("a").request
    request.cancel(None)
    assert (desk.meta(request.id)["status"], desk.unacked) == ("PENDING", 1)
