"""Ceiling: it finds what there is in a few failures, stays below it, and forgets in the end."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.memory.ceiling import Ceiling


def _fail_twice(ceiling: Ceiling, count: float, now: float = 0.0) -> None:
    for _ in range(2):
        ceiling.failed(count, now)


def test_there_is_no_limit_before_anything_failed() -> None:
    ceiling = Ceiling()
    ceiling.had(100.0)
    assert ceiling.limit(0.0) == float("inf")


@given(truth=st.floats(10, 1e12), first=st.floats(1.01, 1000))
def test_it_comes_close_to_the_truth_in_few_failures_and_then_has_none(truth: float, first: float) -> None:
    ceiling = Ceiling()
    _fail_twice(ceiling, truth * first)
    tries = []
    for _ in range(60):
        tried = ceiling.limit(1.0)
        tries.append(tried <= truth)
        if tried <= truth:
            ceiling.had(tried)
        else:
            ceiling.failed(tried, 1.0)
    assert tries.count(False) <= 12
    assert all(tries[-20:])
    assert ceiling.limit(1.0) >= 0.7 * truth


def test_what_failed_is_forgotten_after_a_while() -> None:
    ceiling = Ceiling()
    _fail_twice(ceiling, 50.0, 100.0)
    assert ceiling.limit(101.0) < 50.0
    assert ceiling.limit(701.0) == float("inf")


def test_a_failure_below_what_was_once_had_counts_more() -> None:
    ceiling = Ceiling()
    ceiling.had(100.0)
    _fail_twice(ceiling, 50.0)
    assert ceiling.limit(0.0) < 50.0


@given(truth=st.floats(100, 1e12), share=st.floats(0.0, 0.8))
def test_what_the_process_has_beside_counts_against_it(truth: float, share: float) -> None:
    ceiling = Ceiling()
    for _ in range(2):
        ceiling.failed(truth * (1 - share), 0.0, share * truth)
    ceiling.had(0.5 * truth * (1 - share), share * truth)
    before = ceiling.limit(1.0, share * truth)
    assert ceiling.limit(1.0, share * truth + 0.01 * truth) <= before - 0.009 * truth


def test_what_failed_once_may_be_another_process_that_had_it_for_a_moment() -> None:
    ceiling = Ceiling()
    ceiling.failed(50.0, 0.0)
    assert ceiling.limit(0.0) == float("inf")
    ceiling.had(60.0)
    ceiling.failed(55.0, 1.0)
    assert ceiling.limit(1.0) == float("inf"), "as many were had in between"
    ceiling.failed(55.0, 602.0)
    assert ceiling.limit(602.0) == float("inf"), "the first one is long ago"
    ceiling.had(40.0)
    ceiling.failed(55.0, 603.0)
    assert 40.0 <= ceiling.limit(603.0) < 55.0
