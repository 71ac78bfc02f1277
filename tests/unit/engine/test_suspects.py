"""Suspects: one guilty item is found in few deaths, and no innocent is blamed."""

import math

from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.suspects import Suspects


def _find(suspects: Suspects, batch: list[int], guilty: set[int]) -> tuple[list[int], int]:
    """Play an engine that dies on every group with a guilty item in it."""
    found, deaths = suspects.accuse([batch]), 1
    while group := suspects.take():
        if guilty.isdisjoint(group):
            continue
        found += suspects.accuse([[item for item in group if item not in found]])
        deaths += 1
    return found, deaths


@given(st.integers(1, 300), st.data())
def test_one_guilty_item_is_found_within_two_log2_plus_two_deaths(size: int, data: st.DataObject) -> None:
    guilty = data.draw(st.integers(0, size - 1))
    found, deaths = _find(Suspects(), list(range(size)), {guilty})
    assert found == [guilty]
    assert deaths <= 2 * math.log2(size) + 2


@given(st.integers(1, 64), st.data())
def test_every_guilty_item_is_found_and_no_other(size: int, data: st.DataObject) -> None:
    guilty = data.draw(st.sets(st.integers(0, size - 1)))
    suspects = Suspects()
    if not guilty:
        assert suspects.accuse([list(range(size))]) == []
        return
    found, _ = _find(suspects, list(range(size)), guilty)
    assert sorted(found) == sorted(guilty)


def test_a_death_that_does_not_repeat_blames_nobody() -> None:
    suspects = Suspects()
    assert suspects.accuse([[1, 2, 3, 4]]) == []
    groups = []
    while group := suspects.take():
        groups.append(group)
    assert sorted(item for group in groups for item in group) == [1, 2, 3, 4]


def test_a_single_item_gets_a_second_try() -> None:
    suspects = Suspects()
    assert suspects.accuse([[7]]) == []
    assert suspects.take() == [7]
    assert suspects.accuse([[7]]) == [7]


def test_an_outcome_clears_the_record() -> None:
    suspects = Suspects()
    suspects.accuse([[7]])
    suspects.take()
    suspects.forget(7)
    assert suspects.accuse([[7]]) == []


def test_items_of_two_stages_are_both_suspects_but_not_alone() -> None:
    suspects = Suspects()
    assert suspects.accuse([[1], [2]]) == []
    assert {tuple(suspects.take()), tuple(suspects.take())} == {(1,), (2,)}


def test_cancelled_items_leave_their_groups() -> None:
    suspects = Suspects()
    suspects.accuse([[1, 2]])
    suspects.drop([1, 2])
    assert not suspects
