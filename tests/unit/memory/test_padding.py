"""cut_padding: parts of batches, only where they take less time than the whole."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.memory.padding import cut_padding
from headrace.memory.plan import plan_batches
from headrace.memory.shape import Shape

sizes = st.lists(st.integers(0, 512), max_size=200)


def _padded(shape: Shape) -> float:
    return 500.0 + shape.padded


def _total(batches: list[list[int]], sizes: list[int]) -> float:
    return sum(_padded(Shape.of([sizes[each] for each in batch])) for batch in batches)


@given(sizes, st.none() | st.integers(1, 64))
def test_each_item_stays_in_its_place_and_no_batch_is_empty(sizes: list[int], most: int | None) -> None:
    planned = plan_batches(sizes, max_batch_size=most)
    cut = cut_padding(planned, sizes, seconds=_padded)
    assert [each for batch in cut for each in batch] == [each for batch in planned for each in batch]
    assert all(cut)


@given(sizes)
def test_all_together_take_no_longer(sizes: list[int]) -> None:
    planned = plan_batches(sizes)
    assert _total(cut_padding(planned, sizes, seconds=_padded), sizes) <= _total(planned, sizes)


def test_a_few_long_items_do_not_lengthen_the_many_short_ones() -> None:
    sizes = [512] * 8 + [16] * 504
    (planned,) = plan_batches(sizes)
    short, long = cut_padding([planned], sizes, seconds=_padded)
    assert ({sizes[each] for each in short}, {sizes[each] for each in long}) == ({16}, {512})


@given(sizes)
def test_nothing_is_cut_where_padding_costs_nothing_or_nothing_is_known(sizes: list[int]) -> None:
    planned = plan_batches(sizes)
    assert cut_padding(planned, sizes, seconds=lambda shape: 1.0 + shape.units) == planned
    assert cut_padding(planned, sizes, seconds=lambda _: 0.0) == planned
