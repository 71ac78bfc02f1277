"""Lane: windows by the measured rate, credit in items, order of arrival."""

from types import SimpleNamespace
from typing import Any

import pytest

from headrace.consumer.job import Job
from headrace.consumer.lane import FIRST_WINDOW, Lane, Rate, window_size


def _job(count: int, arrived: float = 0.0) -> Job:
    request: Any = SimpleNamespace(id="id")
    return Job(
        model="m", request=request, trace=lambda: (0, None, 0.0), trace_args=(), arrived=arrived,
        inputs=list(range(count)), params={}, is_chunk=True,
    )  # fmt: skip


def _hand_over(lane: Lane) -> int:
    taken = sum(len(list(job.hand_over(count))) for job, count in lane.take())
    lane.handed += taken
    return taken


def test_an_idle_engine_takes_what_is_there_at_once() -> None:
    lane = Lane("m")
    lane.put(_job(1, arrived=10.0))
    assert lane.ready(10.0, max_delay=60.0)


def test_a_busy_engine_waits_for_company_up_to_the_delay() -> None:
    lane = Lane("m")
    lane.handed = 1
    lane.put(_job(1, arrived=10.0))
    assert not lane.ready(10.004, max_delay=0.005)
    assert lane.ready(10.005, max_delay=0.005)


def test_a_full_window_is_handed_over_without_delay() -> None:
    lane = Lane("m")
    lane.handed = 1
    lane.put(_job(FIRST_WINDOW))
    assert lane.ready(0.0, max_delay=60.0)


def test_no_more_than_two_windows_are_handed_over() -> None:
    lane = Lane("m")
    for _ in range(5):
        lane.put(_job(50))
    assert _hand_over(lane) == 2 * FIRST_WINDOW
    assert not lane.ready(100.0, max_delay=0.0)
    assert lane.waiting == 250 - 2 * FIRST_WINDOW
    assert lane.load == pytest.approx(250 / FIRST_WINDOW)


def test_a_chunk_larger_than_two_windows_is_handed_over_in_parts_and_in_order() -> None:
    lane, job = Lane("m"), _job(1000)
    lane.put(job)
    inputs: list[Any] = []
    while lane.waiting:
        inputs += [item.input for each, count in lane.take() for item in each.hand_over(count)]
    assert inputs == list(range(1000))


def test_a_discarded_job_gives_its_credit_back() -> None:
    lane, job = Lane("m"), _job(10)
    lane.put(job)
    lane.discard(job)
    lane.discard(job)
    assert lane.waiting == 0


def test_clear_keeps_jobs_that_have_begun() -> None:
    lane = Lane("m")
    lane.put(_job(3 * FIRST_WINDOW))
    lane.put(_job(5))
    _hand_over(lane)
    lane.clear()
    assert lane.waiting == FIRST_WINDOW


def test_the_window_follows_the_rate_within_bounds() -> None:
    assert [window_size(rate) for rate in (0.1, 100.0, 1e9)] == [8, 100, 1024]


def test_the_rate_is_a_ratio_of_sums() -> None:
    rate = Rate()
    assert rate.value is None
    rate.add(100, 1.0)
    rate.add(1, 0.01)
    assert rate.value == pytest.approx(100)
