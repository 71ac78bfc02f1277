"""plan_batches: a partition, within both limits, sorted by size."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.memory.plan import plan_batches

sizes = st.lists(st.integers(0, 512), max_size=200)
limits = st.tuples(st.integers(1, 64), st.none() | st.integers(1, 2048))


@given(sizes, limits)
def test_every_item_is_in_exactly_one_batch(sizes: list[int], limits: tuple[int, int | None]) -> None:
    batches = plan_batches(sizes, max_batch_size=limits[0], max_batch_tokens=limits[1])
    assert sorted(position for batch in batches for position in batch) == list(range(len(sizes)))


@given(sizes, limits)
def test_batches_keep_both_limits_unless_one_item_alone_breaks_them(
    sizes: list[int], limits: tuple[int, int | None]
) -> None:
    for batch in plan_batches(sizes, max_batch_size=limits[0], max_batch_tokens=limits[1]):
        assert 0 < len(batch) <= limits[0]
        if limits[1] is not None and len(batch) > 1:
            assert len(batch) * max(sizes[position] for position in batch) <= limits[1]


@given(sizes, limits)
def test_batches_come_in_ascending_size(sizes: list[int], limits: tuple[int, int | None]) -> None:
    batches = plan_batches(sizes, max_batch_size=limits[0], max_batch_tokens=limits[1])
    flat = [sizes[position] for batch in batches for position in batch]
    assert flat == sorted(flat)


@given(sizes, limits)
def test_two_neighbours_would_not_fit_into_one(sizes: list[int], limits: tuple[int, int | None]) -> None:
    batches = plan_batches(sizes, max_batch_size=limits[0], max_batch_tokens=limits[1])
    for batch, following in itertools.pairwise(batches):
        grown = [*batch, following[0]]
        over_size = len(grown) > limits[0]
        over_tokens = limits[1] is not None and len(grown) * max(sizes[each] for each in grown) > limits[1]
        assert over_size or over_tokens


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_and_one(count: int) -> None:
    assert plan_batches([3] * count, max_batch_size=8) == [[0]] * count
