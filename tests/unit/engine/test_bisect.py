"""Bisection: whatever raises, each item has its answer in its place, and only the guilty ones fail."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.bisect import bisecting
from headrace.errors import BatchLawBroken


def _failed(caught: Exception) -> str:
    return type(caught).__name__


class Call:
    """Answers with the items, unless a bad one is among them; counts."""

    def __init__(self, bad: set[str]) -> None:
        self._bad = bad
        self.count = 0

    def __call__(self, items: Sequence[str]) -> list[str]:
        self.count += 1
        if not self._bad.isdisjoint(items):
            raise KeyError
        return [item.upper() for item in items]


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=50))
def test_bad_items_fail_alone_and_the_others_keep_their_places(items: list[str]) -> None:
    answers = bisecting(Call({"b"}), items, kind=str, failed=_failed)
    assert answers == ["KeyError" if item == "b" else item.upper() for item in items]


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_one_bad_item_costs_two_calls_a_halving(size: int) -> None:
    call = Call({"b"})
    bisecting(call, ["a"] * (size - 1) + ["b"], kind=str, failed=_failed)
    assert call.count <= 2 * math.ceil(math.log2(size)) + 1


@pytest.mark.parametrize("made", [None, ("A",), [], ["A", "A"], [1]])
def test_an_answer_that_breaks_the_batch_law_fails_its_item(made: object) -> None:
    def call(_: Sequence[str]) -> list[str]:
        return made  # type: ignore[return-value]

    assert bisecting(call, ["a"], kind=str, failed=_failed) == [BatchLawBroken.__name__]


def test_an_item_that_would_end_the_process_fails_alone() -> None:
    def call(batch: Sequence[str]) -> list[str]:
        if "bad" in batch:
            raise SystemExit(4)
        return [item.upper() for item in batch]

    assert bisecting(call, ["a", "bad", "c"], kind=str, failed=_failed) == ["A", "SystemExit", "C"]


def test_ctrl_c_is_not_caught() -> None:
    def call(_: Sequence[str]) -> list[str]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bisecting(call, ["a", "b"], kind=str, failed=_failed)
