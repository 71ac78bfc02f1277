"""From a Celery request to a Job, or to one that is refused before it reaches a lane."""

import math
from typing import Any

from headrace.broker.app import INFER
from headrace.broker.results import DEADLINE_HEADER
from headrace.consumer.job import Job
from headrace.consumer.request import JobRequest
from headrace.errors import HeadraceError, InvalidInput
from headrace.sdk.messages import Outcome


class InvalidJob(Job):
    """A job whose outcome is an error already."""


def parse_job(request: JobRequest, trace: Any, args: Any, *, time_limit: float | None, arrived: float) -> Job:
    """Read a request's inputs, params and headers.

    A message that is no inference job becomes an InvalidJob, so that it is settled as a
    FAILURE of its own and never stops the worker.
    """
    name, task_id, headers, *_ = args
    positional, params, embed = request._payload  # noqa: SLF001 - Celery decodes the body once, here
    # The tracer refuses other types before it asks for our outcome.
    body = (positional, params if isinstance(params, dict) else {}, embed)
    # The body is decoded already; without a content type the tracer takes it as it is.
    trace_args = (name, task_id, headers, body, None, None)
    common: dict[str, Any] = {
        "model": str(name).removeprefix(INFER),
        "request": request,
        "trace": trace,
        "trace_args": trace_args,
        "arrived": arrived,
    }
    try:
        inputs, deadline = _only_argument(positional), parse_seconds(DEADLINE_HEADER, headers.get(DEADLINE_HEADER))
        params, limit = _keywords(params, request), parse_seconds("timelimit", time_limit)
    except HeadraceError as error:
        return _refused(common, error)
    is_chunk = isinstance(inputs, list)
    job = Job(
        **common,
        inputs=inputs if is_chunk else [inputs],
        params=params,
        is_chunk=is_chunk,
        deadline=deadline,
        expires=request.expires.timestamp() if request.expires else None,
        time_limit=limit,
    )
    return job if job.inputs else _empty(common)


def _only_argument(positional: Any) -> Any:
    if not isinstance(positional, list | tuple) or len(positional) != 1:
        raise InvalidInput("an infer job takes exactly one positional argument: args=[input] or args=[[inputs ...]]")
    return positional[0]


def _keywords(params: Any, request: JobRequest) -> dict[str, Any]:
    if not isinstance(params, dict):
        raise InvalidInput(f"the params of an infer job are keyword arguments: kwargs={{...}}, not {params!r:.80}")
    request.task.params.check(params)
    return params


def _refused(common: dict[str, Any], error: HeadraceError) -> InvalidJob:
    job = InvalidJob(**common, inputs=[None], params={}, is_chunk=False)
    job.item_ids, job.outcomes = [0], {0: Outcome(error=error)}
    return job


def _empty(common: dict[str, Any]) -> InvalidJob:
    return InvalidJob(**common, inputs=[], params={}, is_chunk=True)


def parse_seconds(header: str, value: object) -> float | None:
    """Read a header that holds seconds, or nothing."""
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise InvalidInput(f"the header {header} must be a number of seconds, not {value!r:.80}")
