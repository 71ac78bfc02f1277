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
    turns.begin(turn, 1)
    if not world.residency.get(turn.model):
        world.residency.load(turn.model)


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
        turns.evict_expired()
        assert world.evicted == ["a"]
        clock.now += 10.0
        turns.evict_expired()
    assert world.evicted == ["a", "b"]
