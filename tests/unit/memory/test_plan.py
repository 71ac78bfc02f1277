"""plan_batches: a partition, within both limits, sorted by size."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.memory.plan import plan_batches
from headrace.memory.shape import Shape

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


@given(sizes, limits, st.integers(1, 5000))
def test_each_batch_fits_unless_one_item_alone_does_not(
    sizes: list[int], limits: tuple[int, int | None], room: int
) -> None:
    def fits(shape: Shape) -> bool:
        return 10 + shape.items * shape.longest <= room

    batches = plan_batches(sizes, max_batch_size=limits[0], max_batch_tokens=limits[1], fits=fits)
    assert sorted(position for batch in batches for position in batch) == list(range(len(sizes)))
    assert all(len(batch) == 1 or fits(Shape.of([sizes[each] for each in batch])) for batch in batches)


@given(sizes, st.integers(1, 64), st.data())
def test_batches_with_an_item_that_waited_too_long_go_first_the_oldest_before_all(
    sizes: list[int], most: int, data: st.DataObject
) -> None:
    ages = data.draw(st.lists(st.floats(0, 100), min_size=len(sizes), max_size=len(sizes)))
    batches = plan_batches(sizes, max_batch_size=most, ages=ages, max_age=50.0)
    assert sorted(map(tuple, batches)) == sorted(map(tuple, plan_batches(sizes, max_batch_size=most)))
    oldest = [max(ages[position] for position in batch) for batch in batches]
    late = [age for age in oldest if age >= 50.0]
    assert oldest[: len(late)] == sorted(late, reverse=True)
