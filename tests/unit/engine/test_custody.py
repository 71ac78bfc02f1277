"""Custody: an item is in one place from its submission to its outcome."""

import pytest

from headrace.engine.custody import Custody
from headrace.engine.work import Terms, WorkItem


@pytest.fixture
def custody() -> Custody:
    """Four items, of which the engine has the first two."""
    custody = Custody()
    custody.take(WorkItem(each, each, Terms(model="m", params={})) for each in (1, 2, 3, 4))
    custody.take_unsent()
    custody.sent.update([1, 2])
    custody.keep([3, 4])
    return custody


def test_what_waits_is_taken_once_in_order(custody: Custody) -> None:
    custody.keep([2])
    assert custody.take_unsent() == [2, 3, 4]
    assert custody.take_unsent() == []


def test_a_cancel_tells_what_the_engine_has_and_what_waits(custody: Custody) -> None:
    assert custody.cancel([1, 3, 99]) == ([1], [3])
    assert custody.cancelled == {1}


def test_an_item_leaves_once(custody: Custody) -> None:
    custody.cancel([1])
    custody.terminated.add(1)
    left = custody.forget(1)
    assert left is not None
    assert left.item_id == 1
    assert (custody.forget(1), custody.sent, custody.cancelled, custody.terminated) == (None, {2}, set(), set())


def test_what_an_engine_had_comes_before_what_waited_and_suspects_wait_elsewhere(custody: Custody) -> None:
    custody.take_back({2})
    assert custody.take_unsent() == [1, 3, 4]
    assert custody.sent == set()
    assert 2 in custody.items
