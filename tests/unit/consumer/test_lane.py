"""Lane: windows by the measured rate, credit in items, order of arrival."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.consumer.job import Job
from headrace.consumer.lane import WINDOWS, Lane, room_for
from headrace.engine.rate import FIRST_WINDOW, LARGEST_WINDOW, SMALLEST_WINDOW

SIZES = st.lists(st.integers(1, FIRST_WINDOW), min_size=1, max_size=60)
LARGE_SIZES = st.lists(st.integers(FIRST_WINDOW + 1, 50 * FIRST_WINDOW), min_size=1, max_size=20)


def _job(count: int, arrived: float = 0.0) -> Job:
    request: Any = SimpleNamespace(id="id", lost_attempts=())
    return Job(
        model="m", request=request, trace=lambda: (0, None, 0.0), trace_args=(), arrived=arrived,
        inputs=list(range(count)), params={}, is_chunk=True,
    )  # fmt: skip


def _hand_over(lane: Lane) -> int:
    taken = sum(len(list(job.hand_over(count))) for job, count in lane.take())
    lane.handed += taken
    return taken


def _held(lane: Lane) -> int:
    return lane.waiting + lane.handed


def _claim(lane: Lane, sizes: list[int]) -> int:
    """Claim messages as long as there is room; return the most items that were held."""
    most = 0
    for size in sizes:
        if lane.room == 0:
            break
        lane.put(_job(size))
        most = max(most, _held(lane))
    return most


def test_an_idle_engine_takes_what_is_there_at_once() -> None:
    lane = Lane("m")
    lane.put(_job(1, arrived=10.0))
    assert lane.ready(10.0, max_delay=60.0)


def test_a_busy_engine_waits_for_company_up_to_the_delay() -> None:
    lane = Lane("m")
    lane.handed = 1
    lane.put(_job(1, arrived=10.0))
    assert not lane.ready(10.25, max_delay=0.5)
    assert lane.ready(10.5, max_delay=0.5)


def test_a_full_window_is_handed_over_without_delay() -> None:
    lane = Lane("m")
    lane.handed = 1
    lane.put(_job(FIRST_WINDOW))
    assert lane.ready(0.0, max_delay=60.0)


def test_no_more_than_two_windows_are_handed_over() -> None:
    lane = Lane("m")
    for _ in range(5):
        lane.put(_job(50))
    assert [_hand_over(lane) for _ in range(2)] == [FIRST_WINDOW] * 2
    assert not lane.ready(100.0, max_delay=0.0)
    assert lane.waiting == 250 - 2 * FIRST_WINDOW


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
    assert lane.waiting == 2 * FIRST_WINDOW


@given(SIZES)
def test_once_the_largest_is_known_messages_up_to_a_window_never_hold_more_than_two(sizes: list[int]) -> None:
    assert _claim(Lane("m"), [max(sizes), *sizes]) <= 2 * FIRST_WINDOW


@given(SIZES)
def test_a_larger_message_than_ever_passes_two_windows_by_no_more_than_it_is_larger(sizes: list[int]) -> None:
    assert _claim(Lane("m"), sizes) <= 2 * FIRST_WINDOW + max(sizes) - sizes[0]


@given(LARGE_SIZES)
def test_larger_messages_never_hold_more_than_a_window_and_one_message(sizes: list[int]) -> None:
    assert _claim(Lane("m"), sizes) <= FIRST_WINDOW + max(sizes)


@given(st.integers(0, 5000), st.integers(SMALLEST_WINDOW, LARGEST_WINDOW), st.integers(1, 5000))
def test_as_many_messages_may_come_as_fit_into_two_windows(held: int, window: int, message: int) -> None:
    room = room_for(held, window, message)
    size = min(message, window)
    assert held + room * size <= max(held, 2 * window)
    assert held + (room + 1) * size > 2 * window


@pytest.mark.parametrize(
    ("held", "message", "room"),
    [(0, 10_000, 2), (64, 10_000, 1), (65, 10_000, 0), (65, 64, 0), (127, 1, 1), (128, 1, 0), (500, 1, 0)],
)
def test_the_bounds_of_room(held: int, message: int, room: int) -> None:
    assert room_for(held, 64, message) == room


def test_a_lane_that_knows_no_size_takes_one_message() -> None:
    lane = Lane("m")
    assert lane.room == 1
    lane.put(_job(1))
    assert lane.room == WINDOWS * FIRST_WINDOW - 1


def test_what_the_engine_has_takes_room_until_it_is_answered() -> None:
    lane = Lane("m")
    lane.put(_job(2 * FIRST_WINDOW))
    _hand_over(lane)
    assert lane.room == 0
    lane.handed -= FIRST_WINDOW + 1
    assert lane.room


def test_the_next_message_is_expected_to_be_as_large_as_the_largest() -> None:
    lane = Lane("m")
    lane.put(_job(FIRST_WINDOW))
    assert lane.room
    lane.put(_job(1))
    assert lane.room == 0


def test_room_grows_with_the_measured_rate() -> None:
    lane = Lane("m")
    lane.put(_job(2 * FIRST_WINDOW))
    assert lane.room == 0
    lane.rate.add(1000, 1.0)
    assert lane.room


def test_a_discarded_job_that_was_begun_gives_back_only_what_waits() -> None:
    lane, job = Lane("m"), _job(3 * FIRST_WINDOW)
    lane.put(job)
    _hand_over(lane)
    lane.discard(job)
    assert (lane.waiting, lane.handed) == (0, FIRST_WINDOW)


def test_jobs_are_handed_over_in_order_of_arrival() -> None:
    lane = Lane("m")
    jobs = [_job(size) for size in (3, 1, 2)]
    for job in jobs:
        lane.put(job)
    assert lane.take() == [(jobs[0], 3), (jobs[1], 1), (jobs[2], 2)]
    assert lane.take() == []


def test_an_empty_lane_is_never_ready() -> None:
    assert not Lane("m").ready(1e9, max_delay=0.0)


def test_an_unwanted_job_leaves_the_line_whole_however_large_it_is() -> None:
    lane, large, small = Lane("m"), _job(10 * FIRST_WINDOW), _job(1)
    lane.put(large)
    lane.put(small)
    assert lane.take(lambda job: job is large) == [(small, 1)]
    assert lane.waiting == 0
