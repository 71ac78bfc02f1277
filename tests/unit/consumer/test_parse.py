"""Parsing: what a message asks for, and messages that ask for nothing that can be done."""

import time
from typing import Any

import pytest

from headrace.broker.results import DEADLINE_HEADER
from headrace.consumer.parse import InvalidJob, parse_seconds
from headrace.errors import InvalidInput
from tests.utils.requests import Desk


def test_one_argument_is_one_input_with_the_keywords_as_params(desk: Desk) -> None:
    job = desk.job({"text": "a"}, kwargs={"temperature": 0.5})
    assert (job.model, job.inputs, job.params) == ("m", [{"text": "a"}], {"temperature": 0.5})
    assert not job.is_chunk
    assert (job.deadline, job.expires, job.time_limit) == (None, None, None)


def test_a_list_is_a_chunk_of_inputs(desk: Desk) -> None:
    job = desk.job(["a", ["b"], None])
    assert job.inputs == ["a", ["b"], None]
    assert job.is_chunk


@pytest.mark.parametrize("value", ["text", 5, None, False, {}])
def test_an_input_may_be_any_json_value(desk: Desk, value: Any) -> None:
    job = desk.job(value)
    assert job.inputs == [value]
    assert not isinstance(job, InvalidJob)


def test_the_model_is_the_tasks_name_without_the_prefix(desk: Desk) -> None:
    assert desk.job("a", model="other").model == "other"


def test_times_are_epoch_seconds(desk: Desk) -> None:
    now = time.time()
    job = desk.job("a", expires=60.0, time_limit=5, headers={DEADLINE_HEADER: now + 30})
    assert job.expires == pytest.approx(now + 60, abs=5)
    assert job.deadline == now + 30
    assert job.time_limit == 5


def test_the_tracer_is_given_the_body_decoded(desk: Desk) -> None:
    job = desk.job({"text": "a"}, kwargs={"n": 1}, link=desk.app.tasks["infer.m"].s())
    name, job_id, headers, (args, kwargs, embed), content_type, encoding = job.trace_args
    assert (name, job_id, headers["id"]) == ("infer.m", job.request.id, job.request.id)
    assert (args, kwargs) == ([{"text": "a"}], {"n": 1})
    assert embed["callbacks"]
    # With a content type the tracer would decode it once more.
    assert (content_type, encoding) == (None, None)


@pytest.mark.parametrize("args", [(), ("a", "b"), (["a"], ["b"])])
def test_any_other_number_of_arguments_is_refused_with_the_right_form(desk: Desk, args: tuple[Any, ...]) -> None:
    job = desk.job(*args)
    assert isinstance(job, InvalidJob)
    (outcome,) = job.results()
    assert isinstance(outcome.error, InvalidInput)
    assert "args=[input]" in str(outcome.error)


@pytest.mark.parametrize("deadline", ["tomorrow", [1], {}])
def test_a_deadline_that_is_no_time_is_refused_and_named(desk: Desk, deadline: Any) -> None:
    job = desk.job("a", headers={DEADLINE_HEADER: deadline})
    assert isinstance(job, InvalidJob)
    assert DEADLINE_HEADER in str(job.results()[0].error)


def test_a_refused_chunk_fails_as_a_whole(desk: Desk) -> None:
    job = desk.job(["a", "b"], headers={DEADLINE_HEADER: "tomorrow"})
    assert not job.is_chunk
    assert job.complete


def test_an_empty_chunk_is_complete_at_once(desk: Desk) -> None:
    job = desk.job([])
    assert isinstance(job, InvalidJob)
    assert (job.complete, job.is_chunk, job.results()) == (True, True, [])


@pytest.mark.parametrize("params", [None, 5, "kw", [1], [["a", 1]]])
def test_params_that_are_no_mapping_are_refused(desk: Desk, params: Any) -> None:
    desk.publish([["a"], params, {}])
    job = desk.parsed()
    assert isinstance(job, InvalidJob)
    assert "kwargs={...}" in str(job.results()[0].error)


@pytest.mark.parametrize("limit", ["x", [1], {"s": 1}, True])
def test_a_time_limit_that_is_no_number_is_refused_and_named(desk: Desk, limit: Any) -> None:
    job = desk.job("a", headers={"timelimit": [limit, None]})
    assert isinstance(job, InvalidJob)
    assert "timelimit" in str(job.results()[0].error)


@pytest.mark.parametrize(("header", "seconds"), [(None, None), (0, 0.0), (12, 12.0), (1.5, 1.5)])
def test_seconds_are_a_number_or_nothing(header: object, seconds: float | None) -> None:
    assert parse_seconds("h", header) == seconds


def test_params_that_the_model_has_not_declared_are_refused(desk: Desk) -> None:
    assert not isinstance(desk.job("a", model="other"), InvalidJob)
    job = desk.job("a", model="other", kwargs={"speed": 1})
    assert isinstance(job, InvalidJob)
    assert "none named 'speed'" in str(job.outcomes[0].error)


@pytest.mark.parametrize("header", ["12", "", [], {"at": 12}, float("nan"), float("inf")])
def test_any_other_seconds_are_refused_with_what_they_were(header: object) -> None:
    with pytest.raises(InvalidInput, match="the header h must be a number of seconds, not") as refused:
        parse_seconds("h", header)
    assert repr(header) in str(refused.value)
