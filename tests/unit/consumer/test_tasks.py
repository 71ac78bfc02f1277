"""Infer tasks: the outcome in the form that its sender reads, and Celery's own retries."""

import logging
from typing import Any

import numpy as np
import pytest
from celery import Celery

from headrace.broker.results import NOTIFY_HEADER, PACKED, REPLY_HEADER
from headrace.consumer.tasks import register_tasks
from headrace.errors import BrokerUnavailable, HeadraceError, InferenceFailed, InvalidInput
from headrace.sdk.messages import Outcome
from tests.utils.requests import Desk, answer

VECTOR = np.array([0.5, 1.5], dtype="float32")
#: What a retryable error leaves, as the engine rebuilds a plugin's own one.
AGAIN = Outcome(error=BrokerUnavailable("not this time"))


def _settled(desk: Desk, outcome: Outcome, **options: Any) -> Any:
    job = answer(desk.job({"text": "a"}, **options), outcome)
    assert desk.settle(job)
    return desk.meta(job.request.id)["result"]


def test_a_plain_producer_gets_an_array_as_a_list(desk: Desk) -> None:
    assert _settled(desk, Outcome(output={"embedding": VECTOR})) == {"embedding": [0.5, 1.5]}


def test_our_client_gets_an_array_as_it_is(desk: Desk) -> None:
    result = _settled(desk, Outcome(output={"embedding": VECTOR}), headers={REPLY_HEADER: PACKED})
    assert result["embedding"].dtype == VECTOR.dtype
    assert np.array_equal(result["embedding"], VECTOR)


def test_a_chunk_of_arrays_is_converted_row_by_row(desk: Desk) -> None:
    job = answer(desk.job([1, 2]), Outcome(output=VECTOR), Outcome(output=VECTOR))
    desk.settle(job)
    assert [row["output"] for row in desk.meta(job.request.id)["result"]] == [[0.5, 1.5], [0.5, 1.5]]


def test_a_retryable_error_is_queued_again_with_its_senders_headers(desk: Desk) -> None:
    headers = {REPLY_HEADER: PACKED, NOTIFY_HEADER: "channel"}
    job = answer(desk.job({"text": "a"}, headers=headers), AGAIN)
    assert desk.settle(job)
    assert desk.meta(job.request.id)["status"] == "RETRY"
    assert desk.unacked == 0
    again = desk.claim(_Nowhere())
    assert (again.id, again.args, again.request_dict["retries"]) == (job.request.id, [{"text": "a"}], 1)
    assert again.eta is not None
    assert {name: again.request_dict[name] for name in headers} == headers


def test_the_last_retry_fails_with_the_error_itself(desk: Desk) -> None:
    result = _settled(desk, AGAIN, retries=3)
    assert isinstance(result, BrokerUnavailable)
    assert desk.redis.llen("infer.m") == 0


def test_an_error_that_will_not_go_away_is_not_retried(desk: Desk) -> None:
    assert isinstance(_settled(desk, Outcome(error=InferenceFailed("told to"))), InferenceFailed)
    assert desk.redis.llen("infer.m") == 0


def test_one_bad_row_of_a_chunk_is_no_reason_to_run_the_others_again(desk: Desk) -> None:
    job = answer(desk.job([1, 2]), Outcome(output=1), AGAIN)
    desk.settle(job)
    assert desk.meta(job.request.id)["status"] == "SUCCESS"
    assert desk.redis.llen("infer.m") == 0


@pytest.mark.parametrize(("error", "traced"), [(InvalidInput("no text"), False), (InferenceFailed("told to"), True)])
def test_only_faults_are_logged_with_their_traceback(
    desk: Desk, caplog: pytest.LogCaptureFixture, error: HeadraceError, *, traced: bool
) -> None:
    with caplog.at_level(logging.INFO, logger="celery.app.trace"):
        _settled(desk, Outcome(error=error))
    (record,) = [each for each in caplog.records if each.name == "celery.app.trace"]
    assert ("Traceback" in caplog.text) is traced
    assert record.levelname == ("ERROR" if traced else "INFO")


def test_every_model_has_a_task_that_is_acknowledged_late_and_takes_any_arguments(app: Celery) -> None:
    register_tasks(app, {"a": {}, "b-2.x": {}})
    for name in ("infer.a", "infer.b-2.x"):
        assert app.tasks[name].acks_late
        assert not app.tasks[name].typing


def test_a_task_that_is_called_outside_of_a_worker_says_what_to_do(app: Celery) -> None:
    with pytest.raises(HeadraceError, match="start one with `headrace worker`"):
        app.tasks["infer.m"]({"text": "a"})


class _Nowhere:
    """A pool for requests that are only looked at."""

    def apply_async(self, *args: Any, **options: Any) -> None:
        """Never called."""
