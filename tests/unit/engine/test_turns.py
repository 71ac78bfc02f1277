"""Turns: the engine follows the policy, and makes room as it says."""

from collections.abc import Callable
from pathlib import Path

from headrace.engine.turns import Line, Turns
from headrace.memory.residency import MAX_WAIT, Turn
from tests.utils.residents import World


class Clock:
    """Seconds that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def _run(world: World, turns: Turns, turn: Turn) -> None:
    turns.note(turn.model, 1)
    if not world.residency.get(turn.model):
        world.residency.load(turn.model, evict=turn.evict)


def _loaded(world: World, turns: Turns, clock: Clock, *models: str) -> None:
    for model in models:
        _run(world, turns, turns.choose({model: Line(1, clock.now)}))
        clock.now += 10.0


def _lines(clock: Callable[[], float], **waited: float) -> dict[str, Line]:
    """Of each model, for how long its oldest item has waited."""
    return {model: Line(1, clock() - seconds) for model, seconds in waited.items()}


def test_a_resident_model_goes_on_while_another_would_have_to_make_it_leave(tmp_path: Path) -> None:
    clock = Clock()
    world = World(tmp_path, clock=clock)
    turns = Turns(world.residency, clock)
    with world.memory.enforce():
        _loaded(world, turns, clock, "c", "coy")
        assert world.evicted == ["c"]
        assert turns.choose(_lines(clock, c=20.0, coy=1.0)) == Turn(model="coy")
        clock.now += MAX_WAIT
        turn = turns.choose(_lines(clock, c=MAX_WAIT + 20.0, coy=1.0))
        assert turn == Turn(model="c", evict=("coy",))
        _run(world, turns, turn)
    assert world.evicted == ["c", "coy"]
    assert world.residency.resident == ["c"]


def test_a_model_that_fits_beside_the_others_does_not_wait(tmp_path: Path) -> None:
    clock = Clock()
    world = World(tmp_path, clock=clock)
    turns = Turns(world.residency, clock)
    with world.memory.enforce():
        _loaded(world, turns, clock, "a")
        assert turns.choose(_lines(clock, a=1.0, b=2.0)) == Turn(model="b")


def test_a_model_that_cannot_run_has_its_turn_to_be_answered(tmp_path: Path) -> None:
    clock = Clock()
    world = World(tmp_path, pinned="c", clock=clock)
    turns = Turns(world.residency, clock)
    with world.memory.enforce():
        _loaded(world, turns, clock, "c")
        assert turns.choose({"giant": Line(1, clock.now)}) == Turn(model="giant")


def test_a_model_that_nobody_needs_leaves_after_its_time(tmp_path: Path) -> None:
    clock = Clock()
    world = World(tmp_path, keep_alive=60.0, clock=clock)
    turns = Turns(world.residency, clock)
    with world.memory.enforce():
        _loaded(world, turns, clock, "a", "b")
        clock.now += 45.0
        turns.evict_expired({})
        assert world.evicted == ["a"]
        clock.now += 10.0
        turns.evict_expired({})
    assert world.evicted == ["a", "b"]


def test_a_model_that_was_never_loaded_is_not_taken_for_one_without_weights(tmp_path: Path) -> None:
    clock = Clock()
    world = World(tmp_path, clock=clock)
    turns = Turns(world.residency, clock)
    with world.memory.enforce():
        _loaded(world, turns, clock, "a", "b")
        world.residency.expect("c")
        assert turns.choose(_lines(clock, a=1.0, b=1.0, c=20.0)).model != "c"
        assert turns.choose(_lines(clock, c=20.0)) == Turn(model="c", evict=("a",))


def test_a_model_that_has_just_run_and_left_is_not_due_again_for_what_still_waits(tmp_path: Path) -> None:
    clock = Clock()
    world = World(tmp_path, clock=clock)
    turns = Turns(world.residency, clock)
    with world.memory.enforce():
        _loaded(world, turns, clock, "c", "coy")
        clock.now += MAX_WAIT
        _run(world, turns, Turn(model="coy"))
        _run(world, turns, turns.choose(_lines(clock, c=300.0, coy=200.0)))
        assert world.residency.resident == ["c"]
        clock.now += 10.0
        # Most of what waits for it has waited for long.
        assert turns.choose(_lines(clock, c=1.0, coy=210.0)) == Turn(model="c")


def test_work_for_a_model_that_cannot_be_loaded_does_not_wait_for_ever(tmp_path: Path) -> None:
    clock = Clock()
    world = World(tmp_path, pinned="c", clock=clock)
    turns = Turns(world.residency, clock)
    with world.memory.enforce():
        _loaded(world, turns, clock, "coy", "c")
        assert world.evicted == ["coy"]
        assert turns.choose(_lines(clock, c=1.0, coy=2.0)) == Turn(model="c")
        clock.now += MAX_WAIT
        assert turns.choose(_lines(clock, c=1.0, coy=MAX_WAIT)) == Turn(model="coy")
        world.residency.expect("giant")
        assert turns.choose(_lines(clock, c=1.0, giant=0.0)) == Turn(model="giant")


def test_a_swap_holds_whoever_asked_for_it(tmp_path: Path) -> None:
    clock = Clock()
    world = World(tmp_path, clock=clock)
    with world.memory.enforce():
        world.residency.load("c")
        assert world.residency.swapped_at == float("-inf")
        clock.now += 5.0
        # It does not say how large it is: the residency finds out.
        world.residency.load("coy")
    assert world.residency.swapped_at == clock.now


def test_a_model_that_is_needed_stays_whatever_its_time(tmp_path: Path) -> None:
    clock = Clock()
    world = World(tmp_path, keep_alive=60.0, pinned="b", clock=clock)
    turns = Turns(world.residency, clock)
    with world.memory.enforce():
        _loaded(world, turns, clock, "a", "b")
        clock.now += 500.0
        turns.evict_expired(_lines(clock, a=1.0))
        assert world.evicted == []
        turns.evict_expired({})
    assert world.evicted == ["a"]
