"""Fatal: which sizes are noted before they run, and which are refused once one has ended the process."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.memory.fatal import Fatal
from headrace.memory.shape import Shape

ROOM = 1000


def _shape(items: int, size: int = 1) -> Shape:
    return Shape(items, items * size, size)


def _died(items: int, size: int = 1, *, after: int = 0) -> Fatal:
    fatal = Fatal()
    if after:
        fatal.succeeded(_shape(after, size))
    fatal.died(_shape(items, size), ROOM)
    return fatal


def test_what_is_larger_than_all_that_succeeded_is_a_trial() -> None:
    fatal = Fatal()
    assert fatal.is_trial(_shape(2))
    fatal.succeeded(_shape(8, 10))
    trials = {shape: fatal.is_trial(shape) for shape in (_shape(8, 10), _shape(9, 10), _shape(5, 14), _shape(80))}
    assert list(trials.values()) == [False, True, True, False]


def test_half_of_what_was_fatal_is_allowed_and_no_more() -> None:
    fatal = _died(64)
    assert [fatal.allows(_shape(items), ROOM) for items in (32, 33, 64, 128)] == [True, False, False, False]


def test_what_succeeded_before_is_allowed_and_no_more() -> None:
    fatal = _died(64, after=60)
    assert [fatal.allows(_shape(items), ROOM) for items in (60, 61)] == [True, False]


def test_by_what_is_known_to_be_harmless_a_batch_is_not_judged() -> None:
    fatal = Fatal()
    fatal.succeeded(Shape(100, 100, 1))
    # Fatal for its attention, with as many units.
    fatal.died(Shape(2, 100, 50), ROOM)
    assert [fatal.allows(shape, ROOM) for shape in (_shape(1000), _shape(2, 30), _shape(2, 40))] == [True, True, False]


def test_a_size_that_succeeds_after_all_is_no_longer_fatal() -> None:
    fatal = _died(64)
    fatal.succeeded(_shape(64))
    assert fatal.allows(_shape(1000), ROOM)


def test_with_more_room_it_is_tried_again() -> None:
    fatal = _died(64)
    assert not fatal.allows(_shape(64), 1.2 * ROOM)
    assert fatal.allows(_shape(64), 1.3 * ROOM)


def test_one_item_is_a_trial_only_while_a_size_is_held_to_be_fatal_and_a_few_times() -> None:
    assert not Fatal().is_trial(_shape(1, 10_000))
    fatal = _died(64)
    assert [fatal.is_trial(_shape(1)) for _ in range(20)] == [True] * 16 + [False] * 4


@given(st.integers(1, 10**9), st.lists(st.tuples(st.integers(1, 100), st.integers(0, 10_000)), max_size=5))
def test_one_item_is_never_refused(size: int, deaths: list[tuple[int, int]]) -> None:
    fatal = Fatal()
    for items, longest in deaths:
        fatal.died(_shape(items, longest), ROOM)
    assert fatal.allows(_shape(1, size), 0)


@given(st.integers(2, 100), st.integers(1, 100), st.integers(1, 100), st.integers(0, 100))
def test_what_is_refused_is_refused_with_an_item_more(items: int, size: int, died: int, after: int) -> None:
    fatal = _died(died, 7, after=after)
    if not fatal.allows(_shape(items, size), ROOM):
        assert not fatal.allows(_shape(items + 1, size), ROOM)


@pytest.mark.parametrize("items", [2, 3, 64, 65])
def test_halves_of_a_fatal_batch_lead_to_a_size_that_lives(items: int) -> None:
    fatal, tried = Fatal(), [items]
    while tried[-1] > 1:
        fatal.died(_shape(tried[-1]), ROOM)
        tried.append(max(each for each in range(1, items + 1) if fatal.allows(_shape(each), ROOM)))
    assert all(2 * later <= earlier for earlier, later in pairwise(tried))
