"""CostModel: its bound holds for what it has seen and for what is alike, and is not far above it."""

import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.memory.cost import CostModel
from headrace.memory.shape import Shape

MIB = 2**20
Truth = Callable[[Shape], float]

#: Costs of plugins that pad, that pack, and that attend over everything.
TRUTHS: dict[str, Truth] = {
    "constant": lambda _: 50 * MIB,
    "padded": lambda shape: 50 * MIB + shape.items * shape.longest * 20_000,
    "packed": lambda shape: 20 * MIB + shape.units * 30_000,
    "quadratic": lambda shape: 50 * MIB + shape.items * shape.longest * 20_000 + shape.items * shape.longest**2 * 40,
    "no constant": lambda shape: shape.items * 3 * MIB,
}


def _shapes(rng: random.Random, most: int) -> Iterator[Shape]:
    while True:
        yield Shape.of([rng.randint(1, 256) for _ in range(rng.randint(1, most))])


@pytest.mark.parametrize("truth", TRUTHS.values(), ids=TRUTHS)
@pytest.mark.parametrize("seed", range(3))
def test_after_a_few_batches_the_bound_holds_and_is_close(truth: Truth, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - no secret
    model, ratios = CostModel(), []
    for count, shape in zip(range(150), _shapes(rng, 64), strict=False):
        cost = truth(shape) * rng.uniform(0.97, 1.03)
        if count >= 20:
            ratios.append(model.bound(shape) / cost)
        model.learn(shape, cost)
    assert sum(ratio < 1 for ratio in ratios) <= 1
    assert sum(ratios) / len(ratios) < 1.15


@pytest.mark.parametrize("truth", TRUTHS.values(), ids=TRUTHS)
def test_twice_what_was_ever_seen_is_bounded_too(truth: Truth) -> None:
    rng, model = random.Random(7), CostModel()  # noqa: S311 - no secret
    for _, shape in zip(range(60), _shapes(rng, 16), strict=False):
        model.learn(shape, truth(shape) * rng.uniform(0.98, 1.02))
    large = Shape.of([256] * 32)
    assert truth(large) <= model.bound(large) <= 1.5 * truth(large)


sizes = st.lists(st.integers(1, 512), min_size=1, max_size=40)


@given(st.lists(st.tuples(sizes, st.floats(1, 1e10)), min_size=1, max_size=15))
def test_whatever_was_seen_is_within_the_bound(seen: list[tuple[list[int], float]]) -> None:
    model = CostModel()
    for each, cost in seen:
        model.learn(Shape.of(each), cost)
    for each, cost in seen:
        assert model.bound(Shape.of(each)) >= cost * 0.999


@given(st.lists(st.tuples(sizes, st.floats(1, 1e10)), min_size=1, max_size=10), sizes, sizes)
def test_a_larger_batch_never_costs_less(seen: list[tuple[list[int], float]], some: list[int], more: list[int]) -> None:
    model = CostModel()
    for each, cost in seen:
        model.learn(Shape.of(each), cost)
    assert model.bound(Shape.of(some)) <= model.bound(Shape.of(some + more)) * (1 + 1e-9)


def test_what_did_not_fit_is_bounded_above_what_there_was() -> None:
    model, shape = CostModel(), Shape.of([100] * 8)
    model.refuse(shape, 7e6)
    assert model.bound(shape) > 7e6
    for _ in range(20):
        model.learn(shape, 5e6)
    assert model.bound(shape) < 7e6
    model.refuse(shape, 9e6)
    assert model.bound(shape) > 9e6


def test_a_cost_that_grew_is_followed_and_a_single_scare_is_forgiven() -> None:
    model, shape = CostModel(), Shape.of([10] * 4)
    for _ in range(30):
        model.learn(shape, 1e6)
    model.learn(shape, 3e6)
    assert model.bound(shape) >= 3e6
    for _ in range(200):
        model.learn(shape, 1e6)
    assert model.bound(shape) < 1.2e6 * 1.1


def test_nothing_is_known_at_first_and_nothing_is_learned_from_nothing() -> None:
    model = CostModel()
    model.learn(Shape.of([1]), 0.0)
    assert (model.samples, model.bound(Shape.of([5])), model.kept) == (0, 0.0, [])


def test_items_of_any_size_that_is_allowed_can_be_learned_from() -> None:
    model = CostModel()
    for items in (1, 2, 4):
        model.learn(Shape(items, items * 2**40, 2**40), items * 1e6)
    assert model.bound(Shape(1, 2**40, 2**40)) >= 1e6


def test_kept_costs_of_nothing_are_none() -> None:
    model = CostModel()
    model.restore([(Shape(1, 1, 1), 0.0)])
    assert model.samples == 0
    assert model.bound(Shape(1, 1, 1)) == 0.0


def test_an_item_of_no_units_is_learned_from_where_all_others_cost_by_units() -> None:
    model = CostModel()
    for size in range(10, 130, 10):
        model.learn(Shape(1, size, size), 1000.0 * size)
    empty = Shape(1, 0, 0)
    assert model.bound(empty) == 0.0
    model.refuse(empty, 10.0)
    model.learn(empty, 1.0)
    assert 1.0 <= model.bound(empty) < 1000.0
    assert 1e5 <= model.bound(Shape(1, 100, 100)) < 2e5


def test_what_is_kept_counts_each_batch_once_however_often_it_is_restored() -> None:
    model = CostModel()
    model.learn(Shape.of([5]), 100.0)
    for _ in range(8):
        again = CostModel()
        again.restore(model.kept)
        model = again
    assert (model.samples, model.kept) == (1, [(Shape.of([5]), 100.0)])
