"""next_turn: who runs next, and who makes room for it."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from headrace.memory.residency import ModelState, Turn, expired, next_turn, unfit

NEVER = float("inf")
seconds = st.floats(0, 200)


@st.composite
def some_models(draw):
    count = draw(st.integers(0, 6))
    return [
        ModelState(
            name=f"m{number}",
            bytes=draw(st.integers(0, 10)),
            load_seconds=draw(seconds),
            resident=draw(st.booleans()),
            pinned=draw(st.booleans()),
            waiting=draw(st.integers(0, 3)),
            oldest=draw(seconds),
            idle=draw(seconds | st.just(NEVER)),
            demand=draw(st.floats(0, 10)),
            keep_alive=draw(st.none() | seconds),
        )
        for number in range(count)
    ]


situations = st.tuples(some_models(), st.integers(0, 12), seconds | st.just(NEVER))


def resident(name: str, **what) -> ModelState:
    return ModelState(name=name, bytes=1, load_seconds=2.0, resident=True, **what)


def away(name: str, **what) -> ModelState:
    return ModelState(name=name, bytes=1, load_seconds=2.0, resident=False, **what)


@given(situations)
def test_what_runs_has_work_and_is_not_evicted_for_itself(situation) -> None:
    models, room, held = situation
    turn = next_turn(models, room, held=held)
    assume(turn)
    by_name = {model.name: model for model in models}
    assert by_name[turn.model].waiting
    assert turn.model not in turn.evict


@given(situations)
def test_only_resident_models_are_evicted_and_no_pinned_one(situation) -> None:
    models, room, held = situation
    turn = next_turn(models, room, held=held)
    assume(turn)
    evicted = [model for model in models if model.name in turn.evict]
    assert len(evicted) == len(turn.evict)
    assert all(model.resident and not model.pinned for model in evicted)


@given(situations)
def test_there_is_room_after_the_eviction_and_not_without_any_part_of_it(situation) -> None:
    models, room, held = situation
    turn = next_turn(models, room, held=held)
    assume(turn)
    by_name = {model.name: model for model in models}
    needed = 0 if by_name[turn.model].resident else by_name[turn.model].bytes
    freed = [by_name[name].bytes for name in turn.evict]
    assert by_name[turn.model].resident or needed <= room + sum(freed)
    assert all(room + sum(freed) - each < needed for each in freed)


@given(situations, st.randoms(use_true_random=False))
def test_the_order_of_the_models_does_not_matter(situation, source) -> None:
    models, room, held = situation
    shuffled = list(models)
    source.shuffle(shuffled)
    assert next_turn(shuffled, room, held=held) == next_turn(models, room, held=held)


@given(situations)
def test_a_device_idles_only_when_nothing_that_fits_has_work(situation) -> None:
    models, room, held = situation
    runnable = {model.name for model in models if model.waiting} - set(unfit(models, room))
    assert (next_turn(models, room, held=held) is None) == (not runnable)


@given(situations)
def test_a_resident_model_with_work_is_stopped_only_for_one_that_is_due_and_paid_for(situation) -> None:
    models, room, held = situation
    turn = next_turn(models, room, held=held, max_wait=30.0, amortise=4.0)
    if turn and turn.evict and any(model.resident and model.waiting for model in models):
        loaded = next(model for model in models if model.name == turn.model)
        assert loaded.unserved >= 30.0
        assert held >= 4.0 * loaded.load_seconds


@given(situations)
def test_what_is_unfit_has_no_room_even_if_all_that_may_go_goes(situation) -> None:
    models, room, _ = situation
    free = room + sum(model.bytes for model in models if model.resident and not model.pinned)
    names = unfit(models, room)
    assert all((model.name in names) == (model.bytes > free) for model in models if not model.resident)
    assert not any(model.name in names for model in models if model.resident)


def test_a_model_for_which_pinned_ones_leave_no_room_never_runs_and_is_told() -> None:
    models = [resident("kept", pinned=True), away("other", waiting=1, oldest=900.0)]
    assert next_turn(models, 0, held=NEVER) is None
    assert unfit(models, 0) == ("other",)


def test_no_models_and_no_work() -> None:
    assert next_turn([], 5, held=NEVER) is None
    assert next_turn([resident("a"), away("b")], 5, held=NEVER) is None


def test_resident_work_goes_first() -> None:
    models = [resident("a", waiting=1, oldest=1.0, idle=1.0), away("b", waiting=500, oldest=119.0)]
    assert next_turn(models, 0, held=NEVER) == Turn(model="a")


def test_what_fits_beside_the_others_is_loaded_at_once() -> None:
    models = [resident("a", waiting=1, oldest=9.0, idle=0.0), away("b", waiting=1, oldest=1.0)]
    assert next_turn(models, 1, held=0.0) == Turn(model="b")


def test_what_is_due_waits_until_the_last_swap_has_paid_for_the_next() -> None:
    models = [resident("a", waiting=1, oldest=9.0, idle=0.0), away("b", waiting=1, oldest=199.0)]
    assert next_turn(models, 0, held=19.9) == Turn(model="a")
    assert next_turn(models, 0, held=20.0) == Turn(model="b", evict=("a",))


def test_what_is_due_does_not_wait_for_a_device_with_nothing_to_do() -> None:
    models = [resident("a"), away("b", waiting=1, oldest=199.0)]
    assert next_turn(models, 0, held=0.0) == Turn(model="b", evict=("a",))


def test_a_resident_model_that_has_waited_longer_than_the_due_one_runs_before_it() -> None:
    models = [resident("a", waiting=1, oldest=199.0, idle=198.0), away("b", waiting=1, oldest=197.0)]
    assert next_turn(models, 0, held=NEVER) == Turn(model="a")


def test_a_flood_does_not_count_as_age_once_its_model_has_run() -> None:
    models = [resident("flood", waiting=9999, oldest=999.0, idle=0.0), resident("small", waiting=1, oldest=1.0)]
    assert next_turn(models, 0, held=NEVER) == Turn(model="small")


def test_the_least_wanted_is_evicted_even_if_it_ran_last() -> None:
    models = [resident("hot", idle=9.0, demand=8.0), resident("cold", idle=1.0, demand=1.0), away("b", waiting=1)]
    assert next_turn(models, 0, held=0.0) == Turn(model="b", evict=("cold",))


def test_what_loads_slowly_is_kept_while_the_demand_is_alike() -> None:
    slow = replace(resident("slow", demand=1.0, idle=9.0), load_seconds=30.0)
    models = [slow, resident("fast", demand=1.0), away("b", waiting=1)]
    assert next_turn(models, 0, held=0.0) == Turn(model="b", evict=("fast",))


def test_the_least_recently_used_is_evicted_where_nobody_counts_demand() -> None:
    models = [resident("new", idle=1.0), resident("old", idle=9.0), away("b", waiting=1)]
    assert next_turn(models, 0, held=0.0) == Turn(model="b", evict=("old",))


def test_small_ones_are_spared_when_a_large_one_makes_all_the_room() -> None:
    small, large = resident("small"), replace(resident("large", idle=1.0, demand=1.0), bytes=5)
    models = [small, large, replace(away("b", waiting=1), bytes=5)]
    assert next_turn(models, 0, held=0.0) == Turn(model="b", evict=("large",))


@pytest.mark.parametrize(
    ("state", "ends"),
    [
        (resident("a", idle=300.0, keep_alive=300.0), True),
        (resident("a", idle=299.0, keep_alive=300.0), False),
        (resident("a", idle=300.0, keep_alive=300.0, waiting=1), False),
        (resident("a", idle=300.0, keep_alive=300.0, pinned=True), False),
        (resident("a", idle=300.0), False),
        (away("a", keep_alive=300.0), False),
    ],
)
def test_keep_alive_ends_for_resident_models_that_nobody_needs(state: ModelState, *, ends: bool) -> None:
    assert expired([state]) == (("a",) if ends else ())
