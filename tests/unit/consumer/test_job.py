"""Job: its items in order, its outcomes in order, and whether it was revoked."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker import state

from headrace.consumer.job import Job
from headrace.engine.work import Terms
from headrace.errors import InferenceFailed, JobRevoked
from headrace.sdk.messages import Outcome

REVOKED, FAILED, GOOD = Outcome(error=JobRevoked("early")), Outcome(error=InferenceFailed("told to")), Outcome()


@pytest.fixture(autouse=True)
def _nothing_revoked() -> Iterator[None]:
    yield
    state.revoked.clear()


def _job(*inputs: Any, **fields: Any) -> Job:
    request: Any = SimpleNamespace(id="id", lost_attempts=())
    return Job(
        model="m", request=request, trace=lambda: (0, None, 0.0), trace_args=(), arrived=0.0,
        inputs=list(inputs), params={"n": 1}, is_chunk=True, **fields,
    )  # fmt: skip


def test_inputs_are_handed_over_once_each_and_in_order_however_they_are_cut() -> None:
    job = _job("a", "b", "c", "d", "e")
    items = [item for count in (2, 1, 5) for item in job.hand_over(count)]
    assert [item.input for item in items] == ["a", "b", "c", "d", "e"]
    assert [item.item_id for item in items] == job.item_ids
    assert [item.position for item in items] == [0, 1, 2, 3, 4]
    assert job.waiting == 0
    assert list(job.hand_over(1)) == []


def test_what_is_handed_over_no_longer_waits() -> None:
    job = _job("a", "b", "c")
    assert (job.waiting, job.started) == (3, False)
    list(job.hand_over(2))
    assert (job.waiting, job.started) == (1, True)


def test_ids_are_never_used_twice() -> None:
    one, two = _job("a", "b"), _job("a", "b")
    ids = [item.item_id for job in (one, two, one, two) for item in job.hand_over(1)]
    assert len(set(ids)) == 4


def test_an_item_carries_the_jobs_params_and_limits() -> None:
    (item,) = _job("a", deadline=1.0, expires=2.0, time_limit=3.0).hand_over(1)
    assert item.input == "a"
    assert item.terms == Terms(model="m", params={"n": 1}, deadline=1.0, expires=2.0, time_limit=3.0, job_id="id")


def test_it_is_complete_with_its_last_outcome_and_answers_in_the_order_of_its_inputs() -> None:
    job = _job("a", "b", "c")
    items = list(job.hand_over(3))
    for item in reversed(items):
        assert not job.complete
        job.outcomes[item.item_id] = Outcome(output=item.input)
    assert job.complete
    assert [outcome.output for outcome in job.results()] == ["a", "b", "c"]


def test_a_job_that_is_only_in_part_handed_over_is_not_complete() -> None:
    job = _job("a", "b")
    (item,) = job.hand_over(1)
    job.outcomes[item.item_id] = GOOD
    assert not job.complete


@pytest.mark.parametrize(
    ("outcomes", "revoked"),
    [([], False), ([REVOKED], True), ([REVOKED, REVOKED], True), ([REVOKED, GOOD], False), ([REVOKED, FAILED], False)],
)
def test_a_job_of_which_nothing_ran_counts_as_revoked(outcomes: list[Outcome], *, revoked: bool) -> None:
    job = _job("a", "b")
    job.outcomes = dict(enumerate(outcomes))
    assert job.is_revoked() is revoked


def test_a_job_that_celery_was_told_to_revoke_is_revoked_though_it_ran() -> None:
    job = _job("a")
    job.outcomes = {1: GOOD}
    state.revoked.add("id")
    assert job.is_revoked()


def test_terminate_tells_the_pool_which_job_and_signals_nothing() -> None:
    told: list[Job] = []
    job = _job("a", on_terminate=told.append)
    job.terminate(9)
    assert told == [job]
