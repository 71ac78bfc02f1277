"""Ceiling: it finds what there is in a few failures, stays below it, and forgets in the end."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.memory.ceiling import Ceiling


def test_there_is_no_limit_before_anything_failed() -> None:
    ceiling = Ceiling()
    ceiling.had(100.0)
    assert ceiling.limit(0.0) == float("inf")


@given(truth=st.floats(10, 1e12), first=st.floats(1.01, 1000))
def test_it_comes_close_to_the_truth_in_few_failures_and_then_has_none(truth: float, first: float) -> None:
    ceiling = Ceiling()
    ceiling.failed(truth * first, 0.0)
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
    ceiling.failed(50.0, 100.0)
    assert ceiling.limit(101.0) < 50.0
    assert ceiling.limit(701.0) == float("inf")


def test_a_failure_below_what_was_once_had_counts_more() -> None:
    ceiling = Ceiling()
    ceiling.had(100.0)
    ceiling.failed(50.0, 0.0)
    assert ceiling.limit(0.0) < 50.0
