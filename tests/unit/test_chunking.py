"""How many inputs go into a job, and how many jobs are in flight."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.chunking import Chunking
from tests.utils.clock import Clock


def test_a_chunk_grows_to_a_second_of_work_but_not_at_once() -> None:
    chunking = Chunking(lambda: 1)
    sizes = []
    for _ in range(6):
        sizes.append(chunking.size)
        chunking.ran(chunking.size, chunking.size / 500)
    assert sizes == [16, 64, 256, 500, 500, 500]


def test_a_slow_model_gets_one_input_at_a_time_at_once() -> None:
    chunking = Chunking(lambda: 1)
    chunking.ran(16, 160.0)
    assert chunking.size == 1


@given(st.lists(st.tuples(st.integers(0, 5000), st.floats(0, 1e6)), max_size=20))
def test_a_chunk_is_never_empty_nor_without_bound(ran: list[tuple[int, float]]) -> None:
    chunking = Chunking(lambda: 1)
    for items, seconds in ran:
        chunking.ran(items, seconds)
        assert 1 <= chunking.size <= 4096


def test_what_never_ran_teaches_nothing() -> None:
    chunking = Chunking(lambda: 1)
    chunking.ran(0, 0.0)
    chunking.ran(0, 3.0)
    chunking.ran(3, 0.0)
    assert chunking.size == 16


def test_a_size_that_was_asked_for_stays() -> None:
    chunking = Chunking(lambda: 1, chunk_size=7)
    chunking.ran(7, 0.001)
    assert chunking.size == 7


def test_each_worker_has_three_chunks_and_workers_are_counted_now_and_then() -> None:
    workers = [0, 1, 4]
    clock = Clock()
    chunking = Chunking(lambda: workers.pop(0), clock=clock)
    assert [chunking.in_flight, chunking.in_flight] == [4, 4]
    clock.now += 2
    assert chunking.in_flight == 4
    clock.now += 2
    assert chunking.in_flight == 13


def test_a_model_that_runs_many_at_once_has_as_many_in_flight_however_slow_it_is() -> None:
    clock = Clock()
    chunking = Chunking(lambda: 2, concurrency=lambda: 32, clock=clock)
    chunking.ran(8, 4.0)
    assert (chunking.size, chunking.in_flight) == (2, 2 * 48 + 1)
    chunking.ran(2, 100.0)
    assert (chunking.size, chunking.in_flight) == (1, 2 * 96 + 1)


def test_small_chunks_of_a_fast_model_are_many() -> None:
    chunking = Chunking(lambda: 2, chunk_size=50)
    chunking.ran(50, 0.1)
    assert chunking.in_flight == 2 * 30 + 1
    chunking.ran(50, 0.001)
    assert chunking.in_flight == 2 * 32 + 1


def test_a_number_of_chunks_that_was_asked_for_stays() -> None:
    chunking = Chunking(lambda: 9, max_chunks=5)
    chunking.ran(50, 0.001)
    assert chunking.in_flight == 5
